"""SIESTA's ORB_INDX file: the orbitals of the cell, hence the shells of each species."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.converters.siesta.matrix_file import SpeciesTable, damaged
from dock.converters.siesta.text import cut, word_numbers
from dock.io.files import readable

__all__ = ["OrbitalIndex", "read_orb_indx"]


class OrbitalIndex(NamedTuple):
    """Shells of each species, by its number on file from 0, and the species of each atom."""

    species: tuple[SpeciesTable, ...]
    atom_species: NDArray[np.int64]


def read_orb_indx(path: Path) -> OrbitalIndex:
    """Read the orbitals of the cell from an ORB_INDX file; the rows of the images are left out.

    Raises
    ------
    FormatError
        When it is cut or its orbitals form no whole shells.
    """
    with readable(path), path.open("rb") as stream:
        head = stream.readline(300).split()
        sizes = word_numbers(path, head[:2], 2, (1, 2)).astype(np.int64)
        n_orbitals, n_supercell = int(sizes[0]), int(sizes[1])
        if n_orbitals < 1 or n_supercell % n_orbitals:
            damaged(path, "the sizes cannot be right", "a whole number of cells", sizes.tolist())
        stream.readline(300)
        stream.readline(300)
        rows = [line.split() for line in islice(stream, n_orbitals)]
    if len(rows) < n_orbitals or len(rows[-1]) < 16:
        cut(path, f"{n_orbitals} orbitals of 16 columns", f"{len(rows)} rows")
    return _group_orbitals(path, rows)


def _group_orbitals(path: Path, rows: list[list[bytes]]) -> OrbitalIndex:
    bad = next((k for k, row in enumerate(rows) if len(row) != 16), None)
    if bad is not None:
        damaged(path, "a row is wrong", "16 columns", len(rows[bad]), f"orbital {bad + 1}")
    integers = [word for row in rows for word in row[:3] + row[4:9]]
    table = word_numbers(path, integers, len(integers), (4, 8)).astype(np.int64).reshape(-1, 8)
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
        if kind not in species:
            species[kind] = _species(path, rows[begin:end], table[begin:end])
        elif end - begin != species[kind].n_orbitals:
            expected, where = f"{species[kind].n_orbitals} orbitals", f"atom {atom + 1}"
            damaged(path, "atoms of one species differ", expected, end - begin, where)
    without_atoms = SpeciesTable("", None, ())
    ordered = tuple(species.get(kind, without_atoms) for kind in range(max(species) + 1))
    return OrbitalIndex(ordered, atom_species)


def _species(path: Path, rows: list[list[bytes]], table: NDArray[np.int64]) -> SpeciesTable:
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
