"""What SIESTA's matrix files have in common: the rows, what they refer to, and the sections."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.io.binary import RecordReader, Rows
from dock.io.files import readable
from dock.io.refusal import Refusal

__all__ = [
    "LABEL_BYTES",
    "MAX_IMAGES",
    "SIESTA_FILES",
    "SYNTHETIC",
    "KGrid",
    "MatrixFile",
    "MatrixReader",
    "SpeciesTable",
    "canonical_images",
    "check_counts",
    "check_nsc",
    "damaged",
    "open_matrix_file",
]

LABEL_BYTES = 20
SYNTHETIC = 200
"""SIESTA's atomic numbers above this are mixtures of elements (the block SyntheticAtoms)."""

MAX_IMAGES = 1_000_000
_MAX_ORBITALS = 10_000_000
_K_GRID = np.dtype([("matrix", "i4", (3, 3)), ("shift", "f8", (3,))])
SIESTA_FILES = Refusal("SIESTA")
damaged = SIESTA_FILES.damaged


@dataclass(frozen=True)
class SpeciesTable:
    """One species as the matrix file lists it.

    Attributes
    ----------
    label
        Species label.
    valence
        Valence charge in electrons, or None.
    shells
        (n, l, zeta, polarised) of each shell in matrix order; n is not reliable for polarisation
        shells.
    """

    label: str
    valence: float | None
    shells: tuple[tuple[int, int, int, bool], ...]

    @property
    def n_orbitals(self) -> int:
        """Number of orbitals of one atom."""
        return sum(2 * l + 1 for _, l, _, _ in self.shells)


class KGrid(NamedTuple):
    """Monkhorst–Pack grid: (3, 3) integers and three displacements."""

    matrix: tuple[tuple[int, ...], ...]
    shift: tuple[float, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class MatrixFile:
    """A file of SIESTA with matrices: everything but the matrices is in memory.

    What a file does not hold is None.

    Attributes
    ----------
    path, kind
        The file and what it is, for messages: ``"HSX version 2"``.
    n_orbitals
        Orbitals of the cell.
    n_spin
        Spin components on file: 1, 2, 4 (non-collinear) or 8 (spin–orbit).
    counts
        int64 (n_orbitals,): entries of each row.
    columns
        Column of each entry, from 1: image · n_orbitals + orbital.
    sections
        Quantity to one `Rows` for each spin component; Ry where they are energies.
    n_images
        Cells of the auxiliary supercell, where the file says no more of it (HSX version 0).
    nsc, images
        Supercell sizes, and the (n_images, 3) lattice vectors of its cells.
    cell, positions
        (3, 3) and (n_atoms, 3) in Bohr.
    orbital_offsets
        (n_atoms + 1,) first orbital of each atom, where the species do not say it.
    species, atom_species
        The species and the index of each atom's.
    numbers
        Atomic number of each species.
    fermi_ry, electrons, temperature_ry
        Fermi level (None also where it is not set), electrons, electronic temperature.
    k_grid
        k-point grid.
    vectors
        Version 0 of HSX: three numbers an entry, from orbital to orbital, Bohr.
    notes
        What the user should know of the file.
    single
        Whether the matrices are in single precision.
    incomplete_edm
        Whether an energy density matrix was left out that has 4 of its 8 components.
    """

    path: Path
    kind: str
    n_orbitals: int
    n_spin: int
    counts: NDArray[np.int64]
    columns: Rows
    sections: Mapping[str, tuple[Rows, ...]]
    n_images: int | None = None
    nsc: tuple[int, int, int] | None = None
    images: NDArray[np.int32] | None = None
    cell: NDArray[np.float64] | None = None
    positions: NDArray[np.float64] | None = None
    orbital_offsets: NDArray[np.int64] | None = None
    species: tuple[SpeciesTable, ...] | None = None
    atom_species: NDArray[np.int64] | None = None
    numbers: tuple[int, ...] | None = None
    fermi_ry: float | None = None
    electrons: float | None = None
    temperature_ry: float | None = None
    k_grid: KGrid | None = None
    vectors: Rows | None = None
    single: bool = False
    notes: tuple[str, ...] = ()
    incomplete_edm: bool = False

    @property
    def is_folded(self) -> bool:
        """Whether all images were added up into the home cell (a Γ run without supercell)."""
        return self.n_images == 1 or self.nsc == (1, 1, 1)


def canonical_images(nsc: tuple[int, int, int]) -> NDArray[np.int32]:
    """Return the lattice vectors of a supercell in SIESTA's order.

    The first lattice direction runs fastest; inside a direction 0, 1, …, n, −n, …, −1.

    Examples
    --------
    >>> canonical_images((3, 1, 1)).tolist()
    [[0, 0, 0], [1, 0, 0], [-1, 0, 0]]
    """
    first, second, third = (np.arange(n) - n * (np.arange(n) > n // 2) for n in nsc)
    grid = np.meshgrid(third, second, first, indexing="ij")
    return np.stack([part.ravel() for part in grid[::-1]], axis=1).astype(np.int32)


def check_nsc(path: Path, values: NDArray[np.int32]) -> tuple[int, int, int]:
    """Return the three supercell sizes, which are odd and positive."""
    first, second, third = (int(value) for value in values)
    good = all(n > 0 and n % 2 == 1 for n in (first, second, third))
    if not good or first * second * third > MAX_IMAGES:
        expected = f"three odd numbers, together at most {MAX_IMAGES} cells"
        damaged(path, "the auxiliary supercell cannot be right", expected, values.tolist())
    return first, second, third


def check_counts(path: Path, n_orbitals: int, n_spin: int, n_atoms: int | None = None) -> None:
    """Refuse sizes that no run of SIESTA has."""
    if not 1 <= n_orbitals <= _MAX_ORBITALS:
        damaged(path, "the number of orbitals cannot be right", f"1 to {_MAX_ORBITALS}", n_orbitals)
    if n_atoms is not None and not 1 <= n_atoms <= n_orbitals:
        damaged(path, "the number of atoms cannot be right", f"1 to {n_orbitals}", n_atoms)
    if n_spin not in (1, 2, 4, 8):
        expected = "1, 2, 4 (non-collinear) or 8 (spin-orbit)"
        damaged(path, "the number of spin components cannot be right", expected, n_spin)


class MatrixReader(RecordReader):
    """A place between the records of a matrix file."""

    def counts(self, n_orbitals: int, n_entries: int | None = None) -> NDArray[np.int64]:
        """Read the entries of each row; `n_entries` is their sum where it is known."""
        counts = self.numbers("i4", n_orbitals, "the entries of each row").astype(np.int64)
        total = int(counts.sum())
        if counts.min() < 0 or (n_entries is not None and total != n_entries):
            expected = "0 or more in each row" + (f", {n_entries} in all" if n_entries else "")
            found = f"{counts.min()} in a row, {total} in all"
            damaged(self.path, "the entries of each row cannot be right", expected, found)
        return counts

    def components(
        self, kind: str, counts: NDArray[np.int64], name: str, n_components: int
    ) -> tuple[Rows, ...]:
        """Pass over the rows of each spin component of a matrix; read when they are asked for."""
        return tuple(
            self.rows(kind, counts, f"{name}, component {number}")
            for number in range(1, n_components + 1)
        )

    def fields(self, layout: np.dtype[Any], what: str, count: int = 1) -> NDArray[Any]:
        """Read one record of `count` structures, in native byte order."""
        data = self.record(what, count * layout.itemsize)
        stored = layout.newbyteorder("<" if self.order == "<" else ">")
        return np.frombuffer(data, stored).astype(layout)

    def k_grid(self) -> KGrid:
        """Read the run's k-point grid."""
        (grid,) = self.fields(_K_GRID, "the k-point grid")
        return KGrid(tuple(map(tuple, grid["matrix"].tolist())), tuple(grid["shift"].tolist()))


@contextlib.contextmanager
def open_matrix_file(path: Path) -> Iterator[MatrixReader]:
    """Open a file of Fortran records at its beginning; raises as `dock.io.binary.open_records`."""
    with readable(path), path.open("rb") as stream:
        yield MatrixReader(path, stream, refusal=SIESTA_FILES)
