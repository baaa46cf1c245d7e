"""Nested dissection of the graph of atoms: an order of elimination with little fill.

A piece is cut by a level of the breadth-first distances from a far end of it; both sides are cut
again, and each cut (separator) is eliminated after its sides. On a sheet of n atoms the separators
have O(√n) atoms, in a bulk O(n^⅔).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import scipy.sparse

__all__ = ["Node", "dissect"]

_BALANCE = 0.25  # smallest share of a piece that a side may have


@dataclass(eq=False)
class Node:
    """Some atoms that are eliminated together.

    Attributes
    ----------
    children
        Numbers of the nodes whose elimination fills into this one.
    boundary
        Atoms eliminated later that the atoms, or what was eliminated before them, touch; in the
        order of elimination.
    parent
        Number of the node that takes the update, −1 for a root.
    """

    atoms: NDArray[np.int64]
    children: list[int]
    boundary: NDArray[np.int64]
    parent: int = -1


def dissect(
    graph: scipy.sparse.csr_array, sizes: NDArray[np.int64], *, leaf: int = 120
) -> list[Node]:
    """Return the nodes of an elimination tree, children before parents.

    `graph` (n, n) is the symmetric pattern of the atoms' couplings, `sizes` (n,) the orbitals of
    each atom. A piece of less than `leaf` orbitals is not cut further.

    Examples
    --------
    >>> import scipy.sparse
    >>> chain = scipy.sparse.csr_array(np.eye(7) + np.eye(7, k=1) + np.eye(7, k=-1))
    >>> nodes = dissect(chain, np.ones(7, dtype=np.int64), leaf=1)
    >>> sorted(atom for node in nodes for atom in node.atoms.tolist())
    [0, 1, 2, 3, 4, 5, 6]
    """
    nodes: list[Node] = []
    # A piece waits with the node that its separator will become; None marks the way back up.
    stack: list[tuple[NDArray[np.int64], list[int], Node | None]] = []
    roots: list[int] = []
    stack.append((np.arange(graph.shape[0]), roots, None))
    while stack:
        piece, owner, ready = stack.pop()
        if ready is not None:
            owner.append(len(nodes))
            nodes.append(ready)
            continue
        first, separator, second = _cut(graph, piece, sizes, leaf)
        node = Node(separator, [], np.empty(0, dtype=np.int64))
        if len(separator) == 0:  # two parts that do not touch need no node above them
            stack += [(part, owner, None) for part in (first, second)]
            continue
        stack.append((piece, owner, node))
        stack += [(part, node.children, None) for part in (first, second) if len(part)]
    _link(nodes, graph)
    return nodes


def _cut(
    graph: scipy.sparse.csr_array, piece: NDArray[np.int64], sizes: NDArray[np.int64], leaf: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return two sides and what separates them; a piece that stays whole is all separator."""
    nothing = np.empty(0, dtype=np.int64)
    if sizes[piece].sum() <= leaf or len(piece) == 1:
        return nothing, piece, nothing
    part = graph[piece][:, piece]
    level = _levels(part, int(np.argmax(_levels(part, 0, inf=-1))))
    far = np.isinf(level)
    if far.any():
        return piece[~far], nothing, piece[far]
    numbers = level.astype(np.int64)
    weight = np.bincount(numbers, weights=sizes[piece])
    before = np.cumsum(weight) - weight
    after = weight.sum() - before - weight
    balanced = np.minimum(before, after) >= _BALANCE * (before + after)
    if not balanced[1:-1].any():
        balanced = np.minimum(before, after) > 0
    if not balanced.any():
        return nothing, piece, nothing
    cut = int(np.where(balanced, weight, np.inf).argmin())
    between = numbers == cut
    # Atoms of the level that touch nothing beyond it belong to the near side.
    touches = part @ (numbers > cut).astype(np.float64) > 0
    between &= touches
    near = (numbers <= cut) & ~between
    return piece[near], piece[between], piece[numbers > cut]


def _levels(
    graph: scipy.sparse.csr_array, start: int, *, inf: float = np.inf
) -> NDArray[np.float64]:
    """Return breadth-first distances from an atom."""
    from scipy.sparse.csgraph import dijkstra

    steps: NDArray[np.float64] = dijkstra(graph, indices=start, unweighted=True)
    return np.where(np.isinf(steps), inf, steps)


def _link(nodes: list[Node], graph: scipy.sparse.csr_array) -> None:
    """Find parents and boundaries, following the elimination."""
    turn = np.empty(graph.shape[0], dtype=np.int64)
    turn[np.concatenate([node.atoms for node in nodes])] = np.arange(graph.shape[0])
    last = np.array([turn[node.atoms].max() for node in nodes])
    for number, node in enumerate(nodes):
        rows = [graph.indices[graph.indptr[atom] : graph.indptr[atom + 1]] for atom in node.atoms]
        touched = np.unique(np.concatenate([*rows, *(nodes[c].boundary for c in node.children)]))
        later = touched[turn[touched] > last[number]]
        node.boundary = later[np.argsort(turn[later])].astype(np.int64)
        for child in node.children:
            nodes[child].parent = number
