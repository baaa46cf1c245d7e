"""The text files of Wannier90: ``_hr.dat``, ``_tb.dat``, ``_centres.xyz`` and a ``.win`` stub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from dock.converters.csr import csr_by_lattice_vector
from dock.core.basis import Basis
from dock.core.matrix import AOMatrix
from dock.core.structure import Structure
from dock.io.files import atomic_path, write_text

__all__ = ["dense_blocks", "write_centres", "write_hr", "write_tb", "write_win"]

_PER_LINE = 15  # degeneracies in a line


def dense_blocks(
    matrix: AOMatrix, component: int, *, doubled: bool
) -> Iterator[tuple[NDArray[np.int32], NDArray[Any]]]:
    """Yield each lattice vector and the dense matrix of one component (or of spinors)."""
    for R, parts in csr_by_lattice_vector(matrix, doubled=doubled):
        yield R, parts[0 if doubled else component].toarray()


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
            centres = np.tile(_centres(structure, matrix.basis), (2 if doubled else 1, 1))
            values[np.arange(size), np.arange(size), :, 0] = centres
            table = np.column_stack([index, values.reshape(size**2, 6)])
            stream.write(places % tuple(table.ravel().tolist()))


def write_centres(path: Path, structure: Structure, basis: Basis, *, doubled: bool) -> None:
    """Write ``_centres.xyz``: a centre ``X`` for each orbital, at its atom, then the atoms."""
    centres = np.tile(_centres(structure, basis), (2 if doubled else 1, 1))
    lines = [str(len(centres) + structure.n_atoms), "centres at the atoms, written by dock"]
    names = ["X"] * len(centres) + list(structure.symbols)
    rows = np.concatenate([centres, structure.positions]).tolist()
    lines += [_named_row(name, row) for name, row in zip(names, rows, strict=True)]
    write_text(path, "\n".join(lines) + "\n")


def write_win(
    path: Path, matrix: AOMatrix, mesh: tuple[int, int, int] | None, *, doubled: bool
) -> None:
    """Write the parts of an input that readers of the other files look at."""
    structure = matrix.structure
    size = matrix.basis.n_orbitals * (2 if doubled else 1)
    lines = [f"num_wann = {size}"]
    if mesh is not None:
        lines.append("mp_grid = {} {} {}".format(*mesh))
    lines += ["", "begin unit_cell_cart", "ang"]
    lines += ["".join(f"{x:20.12f}" for x in row) for row in structure.cell.tolist()]
    lines += ["end unit_cell_cart", "", "begin atoms_cart", "ang"]
    rows = structure.positions.tolist()
    lines += [_named_row(name, row) for name, row in zip(structure.symbols, rows, strict=True)]
    write_text(path, "\n".join([*lines, "end atoms_cart", ""]))


def _named_row(name: str, row: list[float]) -> str:
    return f"{name:<4}" + "".join(f"{x:20.12f}" for x in row)


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


def _centres(structure: Structure, basis: Basis) -> NDArray[np.float64]:
    """Return the place of every orbital's atom, (N, 3) Å."""
    return np.asarray(structure.positions[basis.table.atom])
