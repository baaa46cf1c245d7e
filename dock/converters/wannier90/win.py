"""Wannier90's ``.win``, as far as readers of the other files look at it, and ``_centres.xyz``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dock.converters.wannier90.hr_dat import orbital_centres
from dock.core.basis import Basis
from dock.core.matrix import AOMatrix
from dock.core.structure import Structure
from dock.io.files import write_text

__all__ = ["write_centres", "write_win"]


def write_centres(path: Path, structure: Structure, basis: Basis, *, doubled: bool) -> None:
    """Write ``_centres.xyz``: a centre ``X`` for each orbital, at its atom, then the atoms."""
    centres = orbital_centres(structure, basis, doubled=doubled)
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
