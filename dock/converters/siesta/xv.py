"""SIESTA's XV and STRUCT_OUT files: cell, positions and species of the last step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dock.converters.siesta.matrix_file import damaged
from dock.converters.siesta.text import cut, file_numbers
from dock.core.arrays import Float64Array, Int64Array

__all__ = ["AtomTable", "read_struct_out", "read_xv"]

_MAX_ATOMS = 10_000_000


@dataclass(frozen=True, eq=False)
class AtomTable:
    """Cell, positions and species of an XV or STRUCT_OUT file.

    Attributes
    ----------
    path
        The file.
    is_in_bohr
        Whether `cell` and `positions` are in Bohr, or else in Å.
    cell, positions
        (3, 3) and (n_atoms, 3).
    species
        (n_atoms,) species number, from 0.
    numbers
        (n_atoms,) atomic number; negative for an atom without a nucleus.
    """

    path: Path
    is_in_bohr: bool
    cell: Float64Array
    positions: Float64Array
    species: Int64Array
    numbers: Int64Array

    def geometry(self, bohr: float) -> tuple[Float64Array, Float64Array]:
        """Return cell and positions in Å, where one Bohr is `bohr` Å."""
        unit = bohr if self.is_in_bohr else 1.0
        return self.cell * unit, self.positions * unit


def read_xv(path: Path) -> AtomTable:
    """Read an XV file: vectors and positions in Bohr (velocities are passed over).

    Raises
    ------
    FormatError
        When it is cut or holds other things than numbers.
    """
    return _atoms(path, 6, is_in_bohr=True)


def read_struct_out(path: Path) -> AtomTable:
    """Read a STRUCT_OUT file: vectors in Å, fractional positions (returned in Å).

    Raises as `read_xv`.
    """
    table = _atoms(path, 3, is_in_bohr=False)
    return replace(table, positions=table.positions @ table.cell)


def _atoms(path: Path, width: int, *, is_in_bohr: bool) -> AtomTable:
    values = file_numbers(path)
    header = 3 * width + 1
    if len(values) < header:
        cut(path, f"{header} numbers before the atoms", len(values))
    n_atoms = values[header - 1]
    if not 1 <= n_atoms <= _MAX_ATOMS or n_atoms != int(n_atoms):
        damaged(path, "the number of atoms cannot be right", f"1 to {_MAX_ATOMS}", n_atoms)
    expected = header + int(n_atoms) * (width + 2)
    if len(values) != expected:
        cut(path, f"{expected} numbers for {int(n_atoms)} atoms", len(values))
    rows = values[header:].reshape(int(n_atoms), width + 2)
    kinds, numbers = rows[:, 0], rows[:, 1]
    if np.any(kinds < 1) or np.any(kinds != np.rint(kinds)) or np.any(numbers != np.rint(numbers)):
        damaged(path, "a species or atomic number is no whole number", "1, 2, …", "others")
    cell = values[: header - 1].reshape(3, width)[:, :3]
    species = kinds.astype(np.int64) - 1
    return AtomTable(path, is_in_bohr, cell, rows[:, 2:5], species, numbers.astype(np.int64))
