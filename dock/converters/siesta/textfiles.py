"""SIESTA's text output: XV, STRUCT_OUT, ORB_INDX, EIG, KP, and the version in the log."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from dock.converters.siesta.matrix_file import SIESTA_FILES, SpeciesTable, damaged
from dock.errors import FormatError
from dock.io.files import readable
from dock.io.text import NotANumber, parse_numbers, read_numbers

__all__ = [
    "AtomTable",
    "Eigenvalues",
    "KPoints",
    "OrbitalIndex",
    "read_eig",
    "read_fermi",
    "read_kp",
    "read_orb_indx",
    "read_struct_out",
    "read_version",
    "read_xv",
]

_MAX_ATOMS = 10_000_000


@dataclass(frozen=True, eq=False)
class AtomTable:
    """Cell, positions and species of an XV or STRUCT_OUT file.

    Attributes
    ----------
    path
        The file.
    unit
        ``"bohr"`` or ``"angstrom"``, of `cell` and `positions`.
    cell, positions
        (3, 3) and (n_atoms, 3).
    species
        (n_atoms,) species number, from 0.
    numbers
        (n_atoms,) atomic number; negative for an atom without a nucleus.
    """

    path: Path
    unit: str
    cell: NDArray[np.float64]
    positions: NDArray[np.float64]
    species: NDArray[np.int64]
    numbers: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Eigenvalues:
    """The content of an EIG file.

    Attributes
    ----------
    fermi
        Fermi level, eV (with the constants of that SIESTA).
    energies
        (n_k, n_channels, n_bands), eV. Non-collinear and spin–orbit runs have one channel of twice
        as many levels, whatever the header says.
    """

    fermi: float
    energies: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class KPoints:
    """The content of a KP file: (n_k, 3) Cartesian k in 1/Bohr with 2π, and the weights."""

    cartesian: NDArray[np.float64]
    weights: NDArray[np.float64]

    def fractional(self, cell_bohr: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the points in units of the reciprocal lattice vectors (six digits are on file)."""
        return self.cartesian @ np.asarray(cell_bohr).T / (2 * np.pi)


@dataclass(frozen=True, eq=False)
class OrbitalIndex:
    """The orbitals of the cell from an ORB_INDX file.

    Attributes
    ----------
    species
        Shells of each species; their index is the species number on file from 0.
    atom_species
        (n_atoms,) species of each atom.
    n_supercell
        Orbitals of the auxiliary supercell.
    """

    species: tuple[SpeciesTable, ...]
    atom_species: NDArray[np.int64]
    n_supercell: int


def read_xv(path: Path) -> AtomTable:
    """Read an XV file: vectors and positions in Bohr (velocities are passed over).

    Raises
    ------
    FormatError
        When it is cut or holds other things than numbers.
    """
    return _atoms(path, "bohr", 6)


def read_struct_out(path: Path) -> AtomTable:
    """Read a STRUCT_OUT file: vectors in Å, fractional positions (returned in Å).

    Raises
    ------
    FormatError
        As `read_xv`.
    """
    table = _atoms(path, "angstrom", 3)
    return AtomTable(
        path, table.unit, table.cell, table.positions @ table.cell, table.species, table.numbers
    )


def _atoms(path: Path, unit: str, width: int) -> AtomTable:
    values = _numbers(path)
    header = 3 * width + 1
    if len(values) < header:
        _cut(path, f"{header} numbers before the atoms", len(values))
    n_atoms = values[header - 1]
    if not 1 <= n_atoms <= _MAX_ATOMS or n_atoms != int(n_atoms):
        damaged(path, "the number of atoms cannot be right", f"1 to {_MAX_ATOMS}", n_atoms)
    expected = header + int(n_atoms) * (width + 2)
    if len(values) != expected:
        _cut(path, f"{expected} numbers for {int(n_atoms)} atoms", len(values))
    rows = values[header:].reshape(int(n_atoms), width + 2)
    kinds, numbers = rows[:, 0], rows[:, 1]
    if np.any(kinds < 1) or np.any(kinds != np.rint(kinds)) or np.any(numbers != np.rint(numbers)):
        damaged(path, "a species or atomic number is no whole number", "1, 2, …", "others")
    cell = values[: header - 1].reshape(3, width)[:, :3]
    return AtomTable(
        path, unit, cell, rows[:, 2:5], kinds.astype(np.int64) - 1, numbers.astype(np.int64)
    )


def read_fermi(path: Path) -> float:
    """Return the Fermi level (eV) that an EIG file starts with."""
    with readable(path), path.open("rb") as stream:
        line = stream.readline(200)
    if not line.endswith(b"\n"):
        _cut(path, "a line with the Fermi level", line[:40])
    return float(_words(path, line.split()[:1], 1, (1, 1))[0])


def read_eig(path: Path) -> Eigenvalues:
    """Read an EIG file.

    Raises
    ------
    FormatError
        When it is cut or holds other things than numbers.
    """
    values = _numbers(path)
    if len(values) < 4:
        _cut(path, "the Fermi level and three sizes", len(values))
    n_bands, n_spin, n_k = (int(value) for value in values[1:4])
    channels = 2 if n_spin == 2 else 1
    expected = 4 + n_k * (1 + channels * n_bands)
    if min(n_bands, n_spin, n_k) < 1 or len(values) != expected:
        _cut(path, f"{expected} numbers for {n_k} k-points and {n_bands} bands", len(values))
    table = values[4:].reshape(n_k, 1 + channels * n_bands)
    return Eigenvalues(float(values[0]), table[:, 1:].reshape(n_k, channels, n_bands))


def read_kp(path: Path) -> KPoints:
    """Read a KP file.

    Raises
    ------
    FormatError
        When it is cut or holds other things than numbers.
    """
    values = _numbers(path)
    if len(values) < 1 or len(values) != 1 + 5 * int(values[0]):
        expected = "the number of k-points, then five numbers for each"
        _cut(path, expected, f"{len(values)} numbers")
    rows = values[1:].reshape(-1, 5)
    return KPoints(rows[:, 1:4], rows[:, 4])


def read_orb_indx(path: Path) -> OrbitalIndex:
    """Read the orbitals of the cell from an ORB_INDX file; the rows of the images are left out.

    Raises
    ------
    FormatError
        When it is cut or its orbitals form no whole shells.
    """
    with readable(path), path.open("rb") as stream:
        head = stream.readline(300).split()
        sizes = _words(path, head[:2], 2, (1, 2)).astype(np.int64)
        n_orbitals, n_supercell = int(sizes[0]), int(sizes[1])
        if n_orbitals < 1 or n_supercell % n_orbitals:
            damaged(path, "the sizes cannot be right", "a whole number of cells", sizes.tolist())
        stream.readline(300)
        stream.readline(300)
        rows = [line.split() for line in islice(stream, n_orbitals)]
    if len(rows) < n_orbitals or len(rows[-1]) < 16:
        _cut(path, f"{n_orbitals} orbitals of 16 columns", f"{len(rows)} rows")
    return _group_orbitals(path, rows, n_supercell)


def _group_orbitals(path: Path, rows: list[list[bytes]], n_supercell: int) -> OrbitalIndex:
    bad = next((k for k, row in enumerate(rows) if len(row) != 16), None)
    if bad is not None:
        damaged(path, "a row is wrong", "16 columns", len(rows[bad]), f"orbital {bad + 1}")
    integers = [word for row in rows for word in row[:3] + row[4:9]]
    table = _words(path, integers, len(integers), (4, 8)).astype(np.int64).reshape(-1, 8)
    first = np.flatnonzero(table[:, 3] == 1)
    n_atoms = int(table[-1, 1])
    in_order = np.array_equal(table[:, 0], np.arange(1, len(rows) + 1))
    if not in_order or not np.array_equal(table[first, 1], np.arange(1, n_atoms + 1)):
        damaged(path, "the orbitals are out of order", f"1 to {len(rows)}, atom by atom", "others")
    atom_species = table[first, 2] - 1
    ends = np.append(first[1:], len(rows))
    species: dict[int, SpeciesTable] = {}
    for atom, (begin, end) in enumerate(zip(first, ends, strict=True)):
        kind = int(atom_species[atom])
        if kind in species:
            if end - begin != species[kind].n_orbitals:
                damaged(
                    path,
                    "atoms of one species differ",
                    f"{species[kind].n_orbitals} orbitals",
                    end - begin,
                    f"atom {atom + 1}",
                )
            continue
        species[kind] = _one_species(path, rows[begin:end], table[begin:end])
    if sorted(species) != list(range(len(species))):
        known = max(species) + 1
        empty = SpeciesTable("", None, ())
        return OrbitalIndex(
            tuple(species.get(kind, empty) for kind in range(known)), atom_species, n_supercell
        )
    ordered = tuple(species[kind] for kind in range(len(species)))
    return OrbitalIndex(ordered, atom_species, n_supercell)


def _one_species(path: Path, rows: list[list[bytes]], table: NDArray[np.int64]) -> SpeciesTable:
    label = rows[0][3].decode("utf-8", "replace")
    shells, place = [], 0
    while place < len(rows):
        n, l, m, zeta = (int(value) for value in table[place, 4:8])
        run = table[place : place + 2 * l + 1]
        expected = np.arange(-l, l + 1)
        whole = len(run) == 2 * l + 1 and np.array_equal(run[:, 6], expected)
        if not 0 <= l <= 6 or not whole or np.any(run[:, [4, 5, 7]] != run[0, [4, 5, 7]]):
            where = f"orbital {place + 1} of species {label}"
            damaged(path, "the orbitals are no whole shells", "m = -l to l", f"m = {m}", where)
        shells.append((n, l, zeta, rows[place][9] in (b"T", b"t")))
        place += 2 * l + 1
    return SpeciesTable(label, None, tuple(shells))


def read_version(path: Path) -> tuple[str, bool]:
    """Return the version that a log of SIESTA names ("" if none), and whether its SCF failed.

    Only the first and the last 64 kB are looked at.
    """
    span = 2**16
    with readable(path), path.open("rb") as stream:
        head = stream.read(span)
        stream.seek(max(0, path.stat().st_size - span))
        tail = stream.read(span)
    match = re.search(rb"^\s*(?:Siesta Version|Version)\s*:\s*(\S+)", head, re.MULTILINE)
    known = match is not None and (b"siesta" in head.lower())
    version = match[1].decode("ascii", "replace").strip() if match and known else ""
    return version, b"SCF_NOT_CONV" in head or b"SCF_NOT_CONV" in tail


def _numbers(path: Path) -> NDArray[np.float64]:
    return _finite(path, read_numbers(path, SIESTA_FILES.damaged_fix))


def _words(path: Path, words: list[bytes], count: int, lines: tuple[int, int]) -> NDArray[Any]:
    """Return words as finite numbers.

    `lines` is the line of the first word, and how many words of each line these are.
    """
    try:
        values = parse_numbers(b" ".join(words))
    except NotANumber as error:
        where = f"line {lines[0] + error.index // lines[1]}"
        damaged(path, "a word stands where a number should be", "a number", error.shown, where)
    if values.size != count:
        _cut(path, f"{count} numbers", values.size)
    return _finite(path, values)


def _finite(path: Path, values: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(values).all():
        damaged(path, "numbers are not finite", "finite numbers", "NaN or infinity")
    return values


def _cut(path: Path, expected: object, found: object) -> NoReturn:
    raise FormatError(
        path,
        "the file is cut, or longer than it says",
        expected=expected,
        found=found,
        fix=SIESTA_FILES.cut_fix,
    )
