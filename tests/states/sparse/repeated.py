"""Supercells of real calculations, whose energies are those of the cell at folded k-points."""

from itertools import product

import numpy as np

from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.structure import Structure
from dock.states.problem import Problem
from dock.states.stream import levels


def repeat(matrix, times):
    """Return a matrix of a cell repeated along its three vectors, Hermitian to the last digit."""
    matrix = matrix.hermitian_part()
    cells = np.array(list(product(*map(range, times))))
    number = {tuple(cell): index for index, cell in enumerate(cells)}
    n_atoms, pairs = matrix.basis.n_atoms, matrix.pairs
    R, i, j = [], [], []
    for index, cell in enumerate(cells):
        beyond, inside = np.divmod(cell + pairs.R, times)
        other = np.array([number[tuple(place)] for place in inside])
        R.append(beyond)
        i.append(index * n_atoms + pairs.i)
        j.append(other * n_atoms + pairs.j)
    structure = matrix.structure
    positions = structure.positions[None] + (cells @ structure.cell)[:, None]
    larger = Structure(
        structure.cell * np.array(times)[:, None],
        positions.reshape(-1, 3),
        np.tile(structure.numbers, len(cells)),
        labels=structure.labels * len(cells),
    )
    basis = matrix.basis.select(list(range(n_atoms)) * len(cells))
    everywhere = Pairs(np.concatenate(R), np.concatenate(i), np.concatenate(j), len(larger.numbers))
    entries = np.tile(matrix.entries, len(cells))
    return AOMatrix(matrix.quantity, larger, basis, everywhere, matrix.spin, entries)


def supercell(calc, times):
    """Return the problem of a repeated cell."""
    return Problem(repeat(calc.hamiltonian, times), repeat(calc.overlap, times))


def folded(calc, times, k_frac, channel=0):
    """Return the energies of the repeated cell at a k-point of its own, ascending."""
    small = Problem(calc.hamiltonian.hermitian_part(), calc.overlap.hermitian_part())
    points = [(np.array(k_frac) + np.array(m)) / times for m in product(*map(range, times))]
    return np.sort(levels(small, points).energies[channel].ravel())
