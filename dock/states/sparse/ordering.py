"""Nested dissection of the graph of atoms: an order of elimination with little fill.

A piece is cut into two by the smallest set of atoms that separates one part of it from another (a
maximum flow, so that no smaller set does), both sides are cut again, and each separator is
eliminated after its sides. Which parts are kept apart is tried in several ways: those around two
ends of the piece, measured by steps in the graph, and where positions are known, the two ends in
several directions; in a direction in which the piece closes on itself, a slab and the one opposite
to it, so that the separator is two cuts at once. The cut with the least estimated work is taken.
On a sheet of n atoms separators have O(√n) atoms, in a bulk O(n^⅔).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dock.core.structure import Structure

if TYPE_CHECKING:
    import scipy.sparse

__all__ = ["dissect"]

_LEAF = 5  # atoms that are not cut further
_STARTS = 6  # pairs of ends that are tried for each piece
_QUICK = 4  # of the ways to cut a piece, when the order is only to tell what one would cost
_SHARES = (0.2, 0.3, 0.4, 0.45)  # of a piece that each of two parts to be kept apart has
_NARROWER = 0.7  # by which they shrink where no separator lies between
_ANGLES = np.pi * np.arange(4) / 4  # of directions in the plane of a piece
_PHASES = 2 * np.pi * np.array([0.0, 0.25])  # where a slab begins in a cell that closes on itself
_FLAT = 0.2  # a piece thinner than this share of its width has no directions along its thickness
# Work of a piece of n atoms with g neighbours each, as fitted to dissections of twisted bilayers:
# 1500 n^1.45 multiplications of atoms at g = 56; separators grow as the root of the neighbours.
_WORK, _POWER = 3.6, 1.45

_Piece = tuple[NDArray[np.int64], NDArray[np.int64]]  # atoms, and those around it cut off before


def dissect(
    graph: scipy.sparse.csr_array,
    sizes: NDArray[np.int64],
    structure: Structure | None = None,
    *,
    quick: bool = False,
) -> NDArray[np.int64]:
    """Return the atoms (n,) in an order of elimination with little fill; the same in every run.

    `graph` (n, n) is the symmetric pattern of the atoms' couplings, `sizes` (n,) the orbitals of
    each atom. With the positions and the cell of `structure` there are more cuts to choose from.
    A `quick` order takes a tenth of the time, for some more fill.

    Examples
    --------
    >>> import scipy.sparse
    >>> chain = scipy.sparse.csr_array(np.eye(15) + np.eye(15, k=1) + np.eye(15, k=-1))
    >>> int(dissect(chain, np.ones(15, dtype=np.int64))[-1])  # the middle is eliminated last
    7
    """
    pieces = _Pieces(graph, sizes, structure, quick=quick)
    found: list[NDArray[np.int64]] = []
    nothing = np.empty(0, dtype=np.int64)
    waiting: list[_Piece] = [(np.arange(graph.shape[0]), nothing)]
    while waiting:  # from the last to be eliminated to the first
        atoms, around = waiting.pop()
        if len(atoms) <= _LEAF:
            found.append(atoms)
            continue
        separator, parts = pieces.cut(atoms, around)
        found.append(separator)
        waiting += parts
    return np.concatenate(found[::-1])


class _Pieces:
    """The graph, of which pieces are cut."""

    def __init__(
        self,
        graph: scipy.sparse.csr_array,
        sizes: NDArray[np.int64],
        structure: Structure | None,
        *,
        quick: bool,
    ) -> None:
        self._quick = quick
        self._starts = graph.indptr.astype(np.int64)
        self._indices = graph.indices.astype(np.int64)
        self._sizes = np.asarray(sizes, dtype=np.int64)
        self._local = np.full(graph.shape[0], -1, dtype=np.int64)
        self._rng = np.random.default_rng(0)
        self._fractional = None if structure is None else structure.fractional
        self._cell = None if structure is None else structure.cell
        self._unit = float(np.mean(sizes))  # sizes are counted in atoms of the mean size
        self._work = _WORK * (graph.nnz / graph.shape[0]) ** 1.5

    def cut(
        self, atoms: NDArray[np.int64], around: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], list[_Piece]]:
        """Return the separator of a piece and its sides; what stays whole is all separator."""
        from dock.states.sparse._ordering_kernels import components, subgraph

        nothing = np.empty(0, dtype=np.int64)
        starts, neighbours = subgraph(self._starts, self._indices, atoms, self._local)
        part = _Part(starts, neighbours, self._sizes[atoms])
        label, count = components(starts, neighbours)
        if count > 1:
            ends = np.cumsum(np.bincount(label))
            sides = np.split(atoms[np.argsort(label, kind="stable")], ends[:-1])
            return nothing, [(side, self._touched(side, around)) for side in sides]
        best, least = None, np.inf
        for distance in self._distances(part, atoms):
            for share in _SHARES[-1:] if self._quick else _SHARES:
                for side in part.separate(distance, share):
                    work = self._estimate(side, part.sizes, around)
                    if work < least:
                        best, least = side, work
        if best is None:
            return atoms, []
        separator = atoms[best == 1]
        beyond = np.concatenate([separator, around])
        sides = [atoms[best == 0], atoms[best == 2]]
        return separator, [(side, self._touched(side, beyond)) for side in sides]

    def _estimate(
        self, side: NDArray[np.int8], sizes: NDArray[np.int64], around: NDArray[np.int64]
    ) -> float:
        """Return the multiplications that a cut will take."""
        near, m, far = np.bincount(side, weights=sizes, minlength=3) / self._unit
        if min(near, far) == 0:
            return np.inf
        b = float(self._sizes[around].sum()) / self._unit
        front = m**3 / 6 + m * m * b / 2 + m * b * b / 2
        return float(front + self._work * (near**_POWER + far**_POWER))

    def _touched(
        self, atoms: NDArray[np.int64], candidates: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return those of the candidates that some of the atoms touch."""
        from dock.states.sparse._ordering_kernels import touched

        near = touched(self._starts, self._indices, atoms, candidates, self._local)
        chosen: NDArray[np.int64] = candidates[near]
        return chosen

    def _distances(self, part: _Part, atoms: NDArray[np.int64]) -> list[NDArray[np.float64]]:
        """Return functions on a piece whose lowest and highest parts may be kept apart."""
        known = self._fractional is not None and self._cell is not None
        starts = _STARTS if not self._quick else 1 if known else _QUICK
        found = [part.between_ends(self._rng) for _ in range(starts)]
        if self._fractional is not None and self._cell is not None:
            directions = part.directions(self._fractional[atoms], self._cell)
            found += directions[:: max(1, len(directions) // _QUICK)] if self._quick else directions
        return found


@dataclass(frozen=True, eq=False)
class _Part:
    """A connected part of the graph in compressed rows without the diagonal, and its sizes."""

    starts: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def between_ends(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return steps from one end less those from the other; two ends that chance chooses.

        Fractions of a step are added by chance, so that no two atoms are equal.
        """
        from dock.states.sparse._ordering_kernels import steps

        n = len(self.sizes)

        def farthest(start: int) -> int:
            found, _ = steps(self.starts, self.neighbours, start)
            return int(np.argmax(found + 0.5 * rng.random(n)))

        one = farthest(int(rng.integers(n)))
        other = farthest(one)
        from_one, _ = steps(self.starts, self.neighbours, one)
        from_other, _ = steps(self.starts, self.neighbours, other)
        distance: NDArray[np.float64] = from_one - from_other + 0.01 * rng.random(n)
        return distance

    def directions(
        self, fractional: NDArray[np.floating], cell: NDArray[np.floating]
    ) -> list[NDArray[np.float64]]:
        """Return the positions along several directions, or around where the part is closed."""
        from dock.states.sparse._ordering_kernels import steps, unwrap

        _, queue = steps(self.starts, self.neighbours, 0)
        unwrapped, closed = unwrap(self.starts, self.neighbours, queue, fractional)
        angles = 2 * np.pi * fractional.T
        rings = [angles[k] for k in range(3) if closed[k]]
        pairs = [(a, b) for n, a in enumerate(rings) for b in rings[:n]]
        rings += [a + sign * b for a, b in pairs for sign in (1, -1)]
        found = [np.cos(ring - phase) for ring in rings for phase in _PHASES]
        open_ = np.where(closed, 0.0, unwrapped - unwrapped.mean(axis=0)) @ cell
        _, widths, axes = np.linalg.svd(open_, full_matrices=False)
        along = (open_ @ axes.T).T[widths > max(_FLAT * widths[0], 1e-6)]
        if len(along) < 2:
            return found + list(along)
        found += [np.cos(angle) * along[0] + np.sin(angle) * along[1] for angle in _ANGLES]
        return found + list(along[2:])

    def separate(self, distance: NDArray[np.float64], share: float) -> list[NDArray[np.int8]]:
        """Return smallest separators as labels of the atoms: 0 near, 1 separator, 2 far.

        The nearest and the farthest atoms, `share` of the sizes each, are on their sides; less if
        nothing fits between. Of all smallest separators it is the first and the last.
        """
        from dock.states.sparse._ordering_kernels import smallest_separators

        order = np.argsort(distance, kind="stable")
        reached = np.cumsum(self.sizes[order])
        while True:
            side = np.ones(len(order), dtype=np.int8)
            side[order[reached <= share * reached[-1]]] = 0
            side[order[reached > (1 - share) * reached[-1]]] = 2
            side[order[0]], side[order[-1]] = 0, 2
            found, first, last = smallest_separators(self.starts, self.neighbours, self.sizes, side)
            if found:
                return [first, last]
            if np.count_nonzero(side != 1) == 2:  # the two ends touch
                return []
            share *= _NARROWER
