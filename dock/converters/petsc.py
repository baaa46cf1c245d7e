"""Exit to PETSc: the lattice vectors and one AIJ matrix for each, in PETSc's binary format."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dock.converters.csr import csr_by_lattice_vector
from dock.converters.format import Format, WriteOptions
from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.io.files import atomic_path, write_text

__all__ = ["FILES", "FORMAT", "write", "write_calculation"]

FILES = {"overlap": "SR.petsc", "hamiltonian": "HR.petsc", "density_matrix": "DR.petsc"}
_MATRIX = 1211216  # PETSc's class id of a matrix
_NEGLIGIBLE = 1e-15  # entries below this are not stored


def write_calculation(calc: Calculation, folder: Path, options: WriteOptions) -> list[Path]:
    """Write ``SR.petsc``, ``HR.petsc`` …, their ``.info`` files, ``misc.toml`` and ``POSCAR``.

    For a PETSc built with complex scalars and 32-bit indices. Each file begins with an N_R × 3
    matrix of the lattice vectors; one N × N matrix for each of them follows, in that order. With
    spin all matrices, the overlap too, are 2N × 2N, up before down. Atoms stay in their order.

    A `dock.converters.format.Writer`; it uses ``quantities``.
    """
    doubled = calc.spin is not Spin.NONE
    written: list[Path] = []
    n_vectors = 0
    for quantity in options.quantities or ():
        matrix = calc.require(quantity)
        path = folder / FILES[quantity]
        n_vectors = _write_matrix(path, matrix, doubled=doubled)
        info = path.with_name(f"{path.name}.info")
        write_text(info, "-matload_block_size 1\n" * n_vectors)
        written += [path, info]
    write_text(folder / "misc.toml", _misc(calc, n_vectors, doubled=doubled))
    write_text(folder / "POSCAR", _poscar(calc.structure))
    return [*written, folder / "misc.toml", folder / "POSCAR"]


def _write_matrix(path: Path, matrix: AOMatrix, *, doubled: bool) -> int:
    """Write one file and return the number of lattice vectors."""
    vectors = matrix.pairs.lattice_vectors
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        indices = np.tile(np.arange(3), len(vectors))
        _write_aij(stream, (len(vectors), 3), np.full(len(vectors), 3), indices, vectors.ravel())
        for _, (part,) in csr_by_lattice_vector(matrix, doubled=doubled):
            part.data[np.abs(part.data) < _NEGLIGIBLE] = 0
            part.eliminate_zeros()
            part.sort_indices()
            _write_aij(stream, part.shape, np.diff(part.indptr), part.indices, part.data)
    return len(vectors)


def _write_aij(
    stream: BinaryIO,
    shape: tuple[int, int],
    row_lengths: NDArray[np.int64],
    columns: NDArray[np.int64],
    values: NDArray[np.generic],
) -> None:
    """Write one matrix: header, row lengths, columns, complex values, all big-endian."""
    header = np.array([_MATRIX, *shape, len(values)], dtype=">i4")
    stream.writelines(part.astype(">i4").tobytes() for part in (header, row_lengths, columns))
    stream.write(values.astype(">c16").tobytes())


def _misc(calc: Calculation, n_vectors: int, *, doubled: bool) -> str:
    """Return the text of misc.toml."""
    atoms = [" ".join(f"{l}," for l in calc.basis.ls(label)) for label in calc.basis.labels]
    shells = " ".join(f"{{ {ls} }}," for ls in atoms)
    size = calc.basis.n_orbitals * (2 if doubled else 1)
    lines = [
        "[misc]",
        "is_basis_orthogonal = 0",
        f"spin_info = {3 if doubled else 0}",
        f"R_quantity = {n_vectors}",
        f"matrix_size = {size}",
        f"fermi_energy = {0.0 if calc.fermi_level is None else calc.fermi_level!r}",
        f'orbits_type = "{{ {shells} }}"',
    ]
    return "\n".join(lines) + "\n"


def _poscar(structure: Structure) -> str:
    """Return a POSCAR in direct coordinates, elements repeated where atoms are not grouped."""
    runs = [(name, len(list(atoms))) for name, atoms in groupby(structure.symbols)]
    lines = ["written by dock", "1.0"]
    lines += ["  " + " ".join(map(repr, row)) for row in structure.cell.tolist()]
    lines += [" ".join(name for name, _ in runs), " ".join(str(count) for _, count in runs)]
    lines += ["Direct"]
    lines += ["  " + " ".join(map(repr, row)) for row in structure.fractional.tolist()]
    return "\n".join(lines) + "\n"


FORMAT = Format(
    "petsc",
    "PETSc binary matrices, one for each lattice vector",
    versions="PETSc 3.x with complex scalars and 32-bit indices",
    notes="SR.petsc, HR.petsc: MatLoad the lattice vectors first, then one matrix for each.",
).writing(tuple(FILES), write_calculation)

write = FORMAT.save
