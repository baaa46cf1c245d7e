"""Fronts: which rows of a sparse Hermitian matrix are eliminated together, and what that costs.

An order of elimination of atoms makes a tree; atoms that touch the same later ones form a front,
a dense matrix whose own columns are eliminated and whose rest is an update of its parent. Fronts
that would be small are joined with their parents: their zeros cost less than another front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import scipy.sparse

__all__ = ["Front", "Panel", "eliminate", "panels"]

IntArray = NDArray[np.int64]

_SMALL = 64  # own rows below which a front is joined with its parent for the sake of few fronts
_ZEROS = (0.3, 0.01)  # shares of zeros that a small front, and any, may get by joining
_WIDTH = 256  # columns that are stored together; above their diagonal they have unused room


@dataclass(frozen=True)
class Panel:
    """Some columns of a front, from their first row on, column after column.

    Entry (row, column) of the front stands at ``begin + (column − first) · lead + row − first``.
    """

    first: int
    width: int
    begin: int
    lead: int


def panels(first: int, stop: int, n_rows: int) -> tuple[Panel, ...]:
    """Divide columns first … stop − 1 of a front of `n_rows` rows into panels, one after another.

    Examples
    --------
    >>> [(panel.first, panel.width, panel.begin) for panel in panels(0, 500, 1000)]
    [(0, 250, 0), (250, 250, 250000)]
    """
    count = -(-(stop - first) // _WIDTH)
    found, begin = [], 0
    for number in range(count):
        start = first + (stop - first) * number // count
        end = first + (stop - first) * (number + 1) // count
        found.append(Panel(start, end - start, begin, n_rows - start))
        begin += (end - start) * (n_rows - start)
    return tuple(found)


def _length(parts: Sequence[Panel]) -> int:
    """Return the entries that panels take."""
    return sum(part.width * part.lead for part in parts)


def _offsets(parts: Sequence[Panel]) -> IntArray:
    """Return where row 0 of each column would stand."""
    if not parts:
        return np.empty(0, dtype=np.int64)
    return np.concatenate(
        [part.begin - part.first + np.arange(part.width) * part.lead for part in parts]
    )


@dataclass(eq=False)
class Front:
    """Rows that are eliminated together, and those that this fills.

    Attributes
    ----------
    atoms
        Whose rows are eliminated, in this order.
    boundary
        Atoms eliminated later that the front touches, in the order of elimination.
    first
        Place of the front's first row in the order of elimination of all rows.
    n_own, n_all
        Rows eliminated, and with those of the boundary.
    children
        Numbers of the fronts whose updates come here, in the order of elimination.
    parent
        Number of the front that takes the update, −1 for a root.
    into : (n_all − n_own,)
        Rows of the parent's front where the boundary stands, ascending.
    """

    atoms: IntArray
    boundary: IntArray
    first: int = 0
    n_own: int = 0
    n_all: int = 0
    children: list[int] = field(default_factory=list)
    parent: int = -1
    into: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @property
    def n_rest(self) -> int:
        """Rows of the boundary, and of the update."""
        return self.n_all - self.n_own

    @property
    def n_entries(self) -> int:
        """Entries of the lower triangle of the front's own columns."""
        return self.n_own * (self.n_own + 1) // 2 + self.n_own * self.n_rest

    @property
    def n_operations(self) -> float:
        """Multiplications with addition of the elimination."""
        m, b = float(self.n_own), float(self.n_rest)
        return m**3 / 6 + m * m * b / 2 + m * b * b / 2

    @cached_property
    def own_panels(self) -> tuple[Panel, ...]:
        """The columns that are eliminated."""
        return panels(0, self.n_own, self.n_all)

    @cached_property
    def rest_panels(self) -> tuple[Panel, ...]:
        """The columns of the update, in a store of their own."""
        return panels(self.n_own, self.n_all, self.n_all)

    @property
    def own_length(self) -> int:
        """Entries that the own columns take in memory."""
        return _length(self.own_panels)

    @property
    def rest_length(self) -> int:
        """Entries that the update takes in memory."""
        return _length(self.rest_panels)

    def own_offsets(self) -> IntArray:
        """Return where row 0 of each own column would stand in their store."""
        return _offsets(self.own_panels)

    def rest_offsets(self) -> IntArray:
        """Return where row 0 of each column of the update would stand in its store."""
        return _offsets(self.rest_panels)


def eliminate(graph: scipy.sparse.csr_array, sizes: IntArray, order: IntArray) -> list[Front]:
    """Return the fronts of an order of elimination, children before parents.

    `graph` (n, n) is the symmetric pattern of the atoms' couplings, `sizes` (n,) the rows of each
    atom. The atoms are not eliminated exactly in `order` (n,), but with the same fill.

    Examples
    --------
    >>> import scipy.sparse
    >>> chain = scipy.sparse.csr_array(np.eye(300) + np.eye(300, k=1) + np.eye(300, k=-1))
    >>> fronts = eliminate(chain, np.full(300, 10), np.arange(300))
    >>> sum(len(front.atoms) for front in fronts), max(front.n_rest for front in fronts)
    (300, 10)
    """
    groups, parent = _supernodes(graph, sizes, order)
    fronts = _arranged(groups, parent, graph, sizes)
    _place(fronts, sizes)
    return fronts


def _supernodes(
    graph: scipy.sparse.csr_array, sizes: IntArray, order: IntArray
) -> tuple[list[list[int]], IntArray]:
    """Return groups of atoms that are eliminated together and the group that each one's fill joins.

    Groups come before those that they join; the parent of a root is −1.
    """
    from dock.states.sparse._front_kernels import column_counts, elimination_tree

    n = len(order)
    indptr, indices = graph.indptr.astype(np.int64), graph.indices.astype(np.int64)
    turn = np.empty(n, dtype=np.int64)
    turn[order] = np.arange(n)
    parent = elimination_tree(indptr, indices, order, turn)
    after = _postorder(parent)
    order = order[after]  # atoms of one group now follow each other
    turn[order] = np.arange(n)
    parent = elimination_tree(indptr, indices, order, turn)
    later = column_counts(indptr, indices, order, turn, parent, sizes)
    own = sizes[order]
    # An atom that touches nothing but its parent and what that touches belongs to its group.
    joins = (parent[:-1] == np.arange(1, n)) & (later[:-1] == later[1:] + own[1:])
    begins = np.flatnonzero(np.concatenate([[True], ~joins]))
    group_of = np.searchsorted(begins, np.arange(n), side="right") - 1
    ends = np.append(begins[1:], n)
    above = parent[ends - 1]
    group_parent = np.where(above >= 0, group_of[above], -1)
    rows = np.add.reduceat(own, begins)
    members = [order[a:b].tolist() for a, b in zip(begins, ends, strict=True)]
    return _joined(members, group_parent, rows, later[ends - 1])


def _joined(
    members: list[list[int]], parent: IntArray, rows: IntArray, rest: IntArray
) -> tuple[list[list[int]], IntArray]:
    """Join groups with their parents where that makes few zeros.

    `rows` are the rows of each group, `rest` those of its boundary.
    """
    n = len(members)
    rows, true = rows.copy(), rows * (rows + 1) // 2 + rows * rest
    into = np.arange(n)  # the group that each has become part of
    for child in range(n):
        above = parent[child]
        if above < 0:
            continue
        together = int(rows[child] + rows[above])
        whole = together * (together + 1) // 2 + together * int(rest[above])
        zeros = 1 - (true[child] + true[above]) / whole
        small = min(rows[child], rows[above]) < _SMALL
        if zeros <= _ZEROS[1] or (small and zeros <= _ZEROS[0]):
            into[child] = above
            rows[above] = together
            true[above] += true[child]
            members[above] = members[child] + members[above]
    for child in reversed(range(n)):  # parents come later, and are settled first
        into[child] = into[into[child]]
    kept = np.flatnonzero(into == np.arange(n))
    number = np.full(n, -1, dtype=np.int64)
    number[kept] = np.arange(len(kept))
    above = np.where(parent[kept] >= 0, number[into[parent[kept]]], -1)
    return [members[group] for group in kept], above


def _postorder(parent: IntArray, weight: NDArray[np.float64] | None = None) -> IntArray:
    """Return the nodes of a forest, each behind its children, heaviest children first."""
    n = len(parent)
    children: list[list[int]] = [[] for _ in range(n + 1)]
    ranks = np.arange(n) if weight is None else np.lexsort((np.arange(n), -weight))
    for node in ranks:
        children[parent[node]].append(int(node))
    found: list[int] = []
    stack = list(children[-1])  # taken from the end, and turned round at last
    while stack:
        node = stack.pop()
        found.append(node)
        stack += children[node]
    return np.array(found[::-1], dtype=np.int64)


def _arranged(
    groups: list[list[int]], parent: IntArray, graph: scipy.sparse.csr_array, sizes: IntArray
) -> list[Front]:
    """Return fronts with children and boundaries, in an order that keeps few updates waiting."""
    n = len(groups)
    turn = np.empty(graph.shape[0], dtype=np.int64)
    turn[np.concatenate([np.array(group, dtype=np.int64) for group in groups])] = np.arange(
        graph.shape[0]
    )
    boundaries = _boundaries(groups, parent, graph, turn)
    own = np.array([sizes[group].sum() for group in groups])
    rest = np.array([sizes[boundary].sum() for boundary in boundaries])
    after = _postorder(parent, _excess(parent, own.astype(float), rest.astype(float)))
    number = np.empty(n, dtype=np.int64)
    number[after] = np.arange(n)
    # Atoms of a group keep their order; the groups have moved, and the boundaries with them.
    atoms = [np.array(groups[group], dtype=np.int64) for group in after]
    turn[np.concatenate(atoms)] = np.arange(graph.shape[0])
    fronts = []
    for place, group in enumerate(after):
        boundary = boundaries[group]
        front = Front(atoms[place], boundary[np.argsort(turn[boundary])])
        front.parent = int(number[parent[group]]) if parent[group] >= 0 else -1
        fronts.append(front)
    for place, front in enumerate(fronts):
        if front.parent >= 0:
            fronts[front.parent].children.append(place)
    return fronts


def _boundaries(
    groups: list[list[int]], parent: IntArray, graph: scipy.sparse.csr_array, turn: IntArray
) -> list[IntArray]:
    """Return the atoms that each group touches and that are eliminated after it."""
    touched: list[list[IntArray]] = [[] for _ in groups]
    boundaries = []
    for number, group in enumerate(groups):
        rows = [graph.indices[graph.indptr[atom] : graph.indptr[atom + 1]] for atom in group]
        around = np.unique(np.concatenate([*rows, *touched[number]])).astype(np.int64)
        boundary = around[turn[around] > max(turn[atom] for atom in group)]
        touched[number] = []
        boundaries.append(boundary)
        if parent[number] >= 0:
            touched[parent[number]].append(boundary)
    return boundaries


def _excess(
    parent: IntArray, own: NDArray[np.float64], rest: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how much more memory the elimination of each subtree takes than what it leaves.

    Children with much of it come first (Liu 1986): what the others leave is not yet there.
    """
    n = len(parent)
    left = own * own / 2 + own * rest + rest * rest / 2
    peak = np.zeros(n)
    children: list[list[int]] = [[] for _ in range(n)]
    remain = np.zeros(n)
    for node in range(n):
        waiting = 0.0
        for child in sorted(children[node], key=lambda c: remain[c] - peak[c]):
            peak[node] = max(peak[node], waiting + peak[child])
            waiting += remain[child]
        inner = sum(remain[child] - rest[child] ** 2 / 2 for child in children[node])
        peak[node] = max(peak[node], waiting + left[node])
        remain[node] = inner + left[node]
        if parent[node] >= 0:
            children[parent[node]].append(node)
    return peak - remain


def _place(fronts: list[Front], sizes: IntArray) -> None:
    """Set the places of all rows, and where each boundary stands in the parent's front."""
    position = np.full(len(sizes), -1, dtype=np.int64)  # of an atom's first row in a front
    first = 0
    for front in fronts:
        front.first = first
        front.n_own = int(sizes[front.atoms].sum())
        front.n_all = front.n_own + int(sizes[front.boundary].sum())
        first += front.n_own
    for front in fronts:
        if not front.children:
            continue
        atoms = np.concatenate([front.atoms, front.boundary])
        position[atoms] = np.cumsum(sizes[atoms]) - sizes[atoms]
        for number in front.children:
            child = fronts[number]
            child.into = ranges(position[child.boundary], sizes[child.boundary])


def ranges(begins: IntArray, lengths: IntArray) -> IntArray:
    """Return the integers begins[i] … begins[i] + lengths[i] − 1 for all i, one after another.

    Examples
    --------
    >>> ranges(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    before = np.cumsum(lengths) - lengths
    return np.repeat(begins - before, lengths) + np.arange(int(lengths.sum()))
