"""Which cell CP2K counts an atom into: the lattice vectors of its files start from folded atoms.

Positions are folded into the cell around the origin, fractional −½ … ½, along periodic vectors
only. Measured: atoms at 0.9, 0.7, 0.5 and −0.5, 0.45, 0.6 are shifted by 1, 1, 1 and −1, 0, 1. For
atoms at ½ itself the last digit decides, so that the matrix must tell: overlaps fall off with the
distance.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.structure import Structure

__all__ = ["counted_from_positions", "folded_shift"]

_HALF = 1e-5  # of a lattice vector: nearer to ½ the rounding of the code decides


def folded_shift(structure: Structure, read: Callable[[], AOMatrix]) -> NDArray[np.int64]:
    """Return n of each atom, (n_atoms, 3): CP2K has it at τ − n·cell.

    `read` gives an overlap or Hamiltonian whose pairs count as CP2K's files do; it is asked where
    an atom stands at ½.
    """
    fractional = structure.fractional * np.array(structure.pbc)
    # away from zero at ½, as Fortran's ANINT
    nearest = np.sign(fractional) * np.floor(np.abs(fractional) + 0.5)
    shift: NDArray[np.int64] = nearest.astype(np.int64)
    unsure = np.abs(np.abs(fractional - np.trunc(fractional)) - 0.5) < _HALF
    atoms = np.flatnonzero(unsure.any(axis=1)).tolist()
    known = [atom for atom in range(structure.n_atoms) if atom not in atoms] or atoms[:1]
    if not atoms:
        return shift
    matrix = read()
    weight = matrix.layout.block_max(matrix.entries) ** 2
    for atom in sorted({*atoms} - {*known}):
        choices = [
            np.where(unsure[atom], np.floor(fractional[atom]) + np.array(up), shift[atom])
            for up in product((0, 1), repeat=3)
        ]
        found = [_spread(structure, matrix.pairs, weight, shift, (atom, n, known)) for n in choices]
        shift[atom] = choices[int(np.argmin(found))]
        known.append(atom)
    return shift


def _spread(
    structure: Structure,
    pairs: Pairs,
    weight: NDArray[np.float64],
    shift: NDArray[np.int64],
    candidate: tuple[int, NDArray[np.float64], list[int]],
) -> float:
    """Return Σ weight · distance² of the pairs of one atom, shifted so, with known ones."""
    atom, own, known = candidate
    chosen = (pairs.j == atom) & np.isin(pairs.i, known)
    i = pairs.i[chosen]
    cells = pairs.R[chosen] + shift[i] - own
    apart = structure.positions[atom] + cells @ structure.cell - structure.positions[i]
    return float(weight[chosen] @ np.sum(apart**2, axis=1))


def counted_from_positions(pairs: Pairs, shift: NDArray[np.int64]) -> Pairs:
    """Return pairs whose lattice vectors count from the atoms as they stand, not folded."""
    return Pairs(pairs.R + shift[pairs.i] - shift[pairs.j], pairs.i, pairs.j, pairs.n_atoms)
