"""From FHI-aims' sparse entries to atom pairs: folded atoms, the cell of the row, the triangle."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.aims.rs_files import EntrySlice, SparseIndices, fold_shifts
from dock.converters.sparse_blocks import distinct, orbital_targets
from dock.core.arrays import FloatArray, Int64Array
from dock.core.basis import Basis
from dock.core.pairs import Pairs
from dock.core.structure import Structure

__all__ = ["BlockPattern"]

_EDGE = 1e-6  # fractional coordinates this near to ±1/2 may have been folded either way


@dataclass(frozen=True, eq=False)
class BlockPattern:
    """The atom pairs of a sparse pattern, and where each entry goes.

    FHI-aims counts cells from atoms folded into (−½, ½] and moves the row's atom, so that a row
    on atom i and a column on atom j of cell c belong to R = n_i − n_j − c, n being the lattice
    vector by which each atom was folded.

    Parameters
    ----------
    indices
        The index tables.
    structure, basis
        Atoms where geometry.in has them, and their functions.
    """

    indices: SparseIndices
    structure: Structure
    basis: Basis

    @cached_property
    def _keys(self) -> NDArray[np.int64]:
        """The distinct (cell, row atom, column atom), as sorted integers."""
        keys = [distinct(self._runs(part)[0]) for part in self.indices.slices()]
        return distinct(np.concatenate(keys))

    def _runs(self, part: EntrySlice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the key of each run of entries of one atom pair, and the runs' lengths."""
        atom, n_atoms = self.basis.table.atom, self.basis.n_atoms
        key = (part.cell * n_atoms + atom[part.row]) * n_atoms + atom[part.col]
        first = np.flatnonzero(np.diff(key, prepend=-1))
        return key[first], np.diff(first, append=len(key))

    @cached_property
    def _direct(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """(cells (n, 3), row atom, column atom) of each key."""
        n_atoms = self.basis.n_atoms
        i, j = self._keys // n_atoms % n_atoms, self._keys % n_atoms
        return self.indices.cells[self._keys // n_atoms**2], i, j

    @cached_property
    def shifts(self) -> NDArray[np.int64]:
        """(n_atoms, 3) n of each atom.

        At the very edge of the folding, rounding decides; the choice that keeps the pairs short
        is the one that was made.
        """
        fractional = self.structure.fractional
        shifts = fold_shifts(fractional)
        distance = np.abs(np.abs(fractional - np.rint(fractional)) - 0.5)
        unsure = distance < _EDGE
        other = np.where(fractional - shifts > 0, shifts + 1, shifts - 1)
        for _ in range(int(unsure.sum())):
            gain = np.where(unsure, self._gain(fractional, shifts, other), 0.0)
            best = np.unravel_index(int(np.argmin(gain)), gain.shape)
            if gain[best] > -1e-6:
                break
            shifts[best], other[best] = other[best], shifts[best]
        return shifts

    def _gain(
        self, fractional: FloatArray, shifts: Int64Array, other: Int64Array
    ) -> NDArray[np.float64]:
        """Return the change of Σ |pair vector|² when one coordinate is folded the other way, Å²."""
        cell = self.structure.cell
        cells, i, j = self._direct
        folded = fractional - shifts
        vectors = (folded[j] - folded[i] - cells) @ cell  # from i to j, the row's cell undone
        apart = i != j
        total = np.zeros((len(fractional), 3))
        count = np.zeros(len(fractional))
        for atoms, sign in ((i[apart], -1.0), (j[apart], 1.0)):
            np.add.at(total, atoms, sign * vectors[apart])
            np.add.at(count, atoms, 1.0)
        step = -(other - shifts)  # how far the folded coordinate moves, in lattice vectors
        squares: NDArray[np.float64] = (cell**2).sum(axis=1)
        return 2 * step * (total @ cell.T) + count[:, None] * step**2 * squares

    @cached_property
    def pairs(self) -> Pairs:
        """All pairs with their partners; the direct ones first, in the order of the keys."""
        cells, i, j = self._direct
        n = self.shifts
        direct = Pairs(n[i] - n[j] - cells, i, j, self.basis.n_atoms)
        alone = np.flatnonzero(direct.partner < 0)
        mirrored = Pairs(-direct.R[alone], direct.j[alone], direct.i[alone], self.basis.n_atoms)
        return direct.union(mirrored)

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        counts = self.basis.counts
        return np.concatenate([[0], np.cumsum(counts[self.pairs.i] * counts[self.pairs.j])])

    @property
    def n_entries(self) -> int:
        """Number of entries of the blocks of all pairs."""
        return int(self._starts[-1])

    def scatter(self, values: NDArray[Any], out: NDArray[np.float64]) -> None:
        """Put a file's numbers into blocks in the order of `dock`, both triangles.

        Parameters
        ----------
        values
            (n_stored,) numbers, the dummy last.
        out
            (n_entries,) zeros, changed in place.
        """
        atom, counts, partner = self.basis.table.atom, self.basis.counts, self.pairs.partner
        local, sign = orbital_targets(self.basis, "aims")
        for part in self.indices.slices():
            key, lengths = self._runs(part)
            direct = np.searchsorted(self._keys, key)
            row, col = local[part.row], local[part.col]
            rows, cols = counts[atom[part.row]], counts[atom[part.col]]
            mine = values[part.begin : part.end] * (sign[part.row] * sign[part.col])
            other = part.row != part.col
            place = np.repeat(self._starts[partner[direct]], lengths) + col * rows + row
            out[place[other]] = mine[other]
            out[np.repeat(self._starts[direct], lengths) + row * cols + col] = mine
