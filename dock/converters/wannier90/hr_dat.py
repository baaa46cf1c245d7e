"""Wannier90's ``_hr.dat`` and ``_tb.dat``: a Hamiltonian by lattice vector, as text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from dock.converters.csr import entries_by_lattice_vector
from dock.core.basis import Basis
from dock.core.matrix import AOMatrix
from dock.core.structure import Structure
from dock.io.files import atomic_path

__all__ = ["dense_blocks", "orbital_centres", "write_hr", "write_tb"]

_PER_LINE = 15  # degeneracies in a line


def dense_blocks(
    matrix: AOMatrix, component: int, *, doubled: bool
) -> Iterator[tuple[NDArray[np.int32], NDArray[Any]]]:
    """Yield each lattice vector and the dense matrix of one component (or of spinors)."""
    size = matrix.basis.n_orbitals * (2 if doubled else 1)
    for R, entries, row, col in entries_by_lattice_vector(matrix, doubled=doubled):
        block = np.zeros((size, size), entries.dtype)
        block[row, col] = entries[0 if doubled else component]
        yield R, block


def write_hr(path: Path, matrix: AOMatrix, component: int, *, doubled: bool) -> None:
    """Write one ``_hr.dat``: ⟨m, 0|O|n, R⟩ with m running fastest; all degeneracies are 1."""
    size = matrix.basis.n_orbitals * (2 if doubled else 1)
    index = _index(size)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        stream.write(_header(size, len(matrix.pairs.lattice_vectors)))
        for R, block in dense_blocks(matrix, component, doubled=doubled):
            row = "{:5d}{:5d}{:5d}%5d%5d %20.12f%20.12f\n".format(*R.tolist())
            stream.write(row * size**2 % _flat(index, block.T))


def write_tb(path: Path, matrix: AOMatrix, component: int, *, doubled: bool) -> None:
    """Write one ``_tb.dat``; the position matrix has the atoms' places on its diagonal."""
    structure, vectors = matrix.structure, matrix.pairs.lattice_vectors
    size = matrix.basis.n_orbitals * (2 if doubled else 1)
    index = _index(size)
    title, *rest = _header(size, len(vectors)).splitlines(keepends=True)
    cell = "".join("".join(f"{x:20.12f}" for x in row) + "\n" for row in structure.cell)
    energies = "%5d%5d   %19.12e %19.12e\n" * size**2
    places = ("%5d%5d   " + "%19.12e " * 6 + "\n") * size**2
    nowhere = places % tuple(np.column_stack([index, np.zeros((size**2, 6))]).ravel().tolist())
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        stream.write(title + cell + "".join(rest))
        for R, block in dense_blocks(matrix, component, doubled=doubled):
            _vector(stream, R)
            stream.write(energies % _flat(index, block.T))
        for R in vectors:
            _vector(stream, R)
            if R.any():
                stream.write(nowhere)
                continue
            values = np.zeros((size, size, 3, 2))
            centres = orbital_centres(structure, matrix.basis, doubled=doubled)
            values[np.arange(size), np.arange(size), :, 0] = centres
            table = np.column_stack([index, values.reshape(size**2, 6)])
            stream.write(places % tuple(table.ravel().tolist()))


def orbital_centres(structure: Structure, basis: Basis, *, doubled: bool) -> NDArray[np.float64]:
    """Return the place of every orbital's atom, (N, 3) or, for spinors, (2N, 3), Å."""
    return np.tile(structure.positions[basis.table.atom], (2 if doubled else 1, 1))


def _header(size: int, n_vectors: int) -> str:
    """Return title, sizes and the degeneracies, fifteen in a line."""
    ones = ["    1"] * n_vectors
    rows = ["".join(ones[begin : begin + _PER_LINE]) for begin in range(0, len(ones), _PER_LINE)]
    return "\n".join(["written by dock", f"{size:12d}", f"{n_vectors:12d}", *rows]) + "\n"


def _index(size: int) -> NDArray[np.int64]:
    """Return (size², 2) orbital numbers from 1, the first running fastest."""
    second, first = np.divmod(np.arange(size * size), size)
    return np.column_stack([first + 1, second + 1])


def _flat(index: NDArray[np.int64], block: NDArray[Any]) -> tuple[float, ...]:
    """Return orbital numbers and values of a block, row after row, for a template."""
    flat = block.ravel()
    return tuple(np.column_stack([index, flat.real, flat.imag]).ravel().tolist())


def _vector(stream: TextIO, R: NDArray[np.int32]) -> None:
    stream.write("\n" + "".join(f"{component:5d}" for component in R.tolist()) + "\n")
