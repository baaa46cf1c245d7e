"""The same crystal told otherwise: atoms in other cells, orbitals with other signs."""

import dataclasses

import numpy as np

from dock.core.pairs import Pairs
from dock.core.structure import Structure

NAMES = ("hamiltonian", "overlap", "position")


def moved_by_cells(calc, cells):
    """The same crystal with atoms written in other cells; r counts from the origin of the cell."""
    cells = np.asarray(cells)
    structure = calc.structure
    positions = structure.positions + cells @ structure.cell
    other = Structure(structure.cell, positions, structure.numbers, labels=structure.labels)
    matrices = {}
    for name in NAMES:
        matrix = calc.require(name)
        pairs = matrix.pairs
        R = pairs.R - cells[pairs.j] + cells[pairs.i]
        renamed = Pairs(R, pairs.i, pairs.j, pairs.n_atoms)
        entries = matrix.entries
        if name == "position":
            overlap = calc.require("overlap")
            overlap = overlap.on_pairs(overlap.pairs.union(pairs)).take_pairs(
                overlap.on_pairs(overlap.pairs.union(pairs)).pairs.find(pairs.R, pairs.i, pairs.j)
            )
            shift = np.repeat(
                cells[pairs.i] @ structure.cell, np.diff(matrix.layout.starts), axis=0
            )
            entries = entries + shift.T * overlap.entries
        matrices[name] = type(matrix)(name, other, matrix.basis, renamed, matrix.spin, entries)
    return dataclasses.replace(calc, structure=other, matrices=matrices)


def with_signs(calc, rng):
    """The same crystal with orbitals of random signs."""
    signs = rng.choice([-1.0, 1.0], calc.basis.n_orbitals)
    offsets = calc.basis.offsets
    matrices = {}
    for name in NAMES:
        matrix = calc.require(name)
        pairs, layout = matrix.pairs, matrix.layout
        entries = np.array(matrix.entries)
        for group in layout.groups():
            rows = offsets[pairs.i[group.index]][:, None] + np.arange(group.rows)
            cols = offsets[pairs.j[group.index]][:, None] + np.arange(group.cols)
            factor = signs[rows][:, :, None] * signs[cols][:, None, :]
            layout.write(entries, group, layout.read(matrix.entries, group) * factor)
        matrices[name] = matrix.with_entries(entries)
    return dataclasses.replace(calc, matrices=matrices)
