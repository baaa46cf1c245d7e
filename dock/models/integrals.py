"""Two-centre integrals: σ, π, δ … of the blocks of bonds, which do not change under rotations.

A block that depends on its bond alone, as the overlap's do, is diagonal in m for orbitals quantised
along the bond, with the same value for m and −m (Slater and Koster 1954). These values are a few
numbers for each bond, from which the block follows exactly.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from dock.core.arrays import FloatArray, IntArray
from dock.core.basis import shell_starts
from dock.core.harmonics import real_harmonics
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.errors import LayoutError
from dock.models.backend import Pattern
from dock.models.coupling import clebsch_gordan
from dock.models.graph import Graph, GraphPart, by_kind, parts_of
from dock.models.targets import Irrep, TargetLayout

__all__ = ["Integrals", "add_overlap", "integrals_of", "overlap_of"]

_PART = 20_000  # edges at a time, which bounds the memory


class Integrals:
    """Which two-centre integrals the shells of a common basis have, and blocks from them.

    Parameters
    ----------
    layout
        Species and shells; blocks have one real channel, whatever its spin.

    Attributes
    ----------
    first, second
        (n,) the shell of the common basis at either end of a bond.
    m
        (n,) 0 for σ, 1 for π, 2 for δ, …
    """

    def __init__(self, layout: TargetLayout) -> None:
        self._plain = TargetLayout(layout.species, layout.ls, Spin.NONE, "overlap")
        self._natural = [irrep for irrep in self._plain.irreps if irrep.natural]
        table = [place for irrep in self._natural for place in self._shells(irrep)]
        ls = layout.common_ls
        rows: list[tuple[int, int, int]] = []
        matrix = np.zeros((len(table), len(table)))
        number = {place: column for column, place in enumerate(table)}
        for one, two in dict.fromkeys(place[:2] for place in table):
            l1, l2 = ls[one], ls[two]
            for m in range(min(l1, l2) + 1):
                for J in range(abs(l1 - l2), l1 + l2 + 1, 2):
                    coupled = float(clebsch_gordan(l1, l2, J)[m + l1, m + l2, J])
                    matrix[number[one, two, J], len(rows)] = np.sqrt(2 * J + 1) * coupled
                rows.append((one, two, m))
        self._to_m, self._to_J = matrix, np.linalg.inv(matrix)
        self.first, self.second, self.m = (np.array(column) for column in zip(*rows, strict=True))

    @property
    def size(self) -> int:
        """Integrals of one bond."""
        return len(self.m)

    def _shells(self, irrep: Irrep) -> list[tuple[int, int, int]]:
        """Return for each part of a kind both shells of the common basis, and J."""
        plain, width = self._plain, 2 * irrep.J + 1
        units = np.zeros((irrep.multiplicity, plain.n_block))
        units[np.arange(irrep.multiplicity), irrep.begin + width * np.arange(len(units))] = 1.0
        starts = np.array(shell_starts(plain.common_ls))
        found = []
        for block in plain.uncouple(units)[:, 0]:
            row, column = np.argwhere(np.abs(block) > 1e-9)[0]
            one, two = (int(np.searchsorted(starts, at, "right")) - 1 for at in (row, column))
            found.append((one, two, irrep.J))
        return found

    def of(self, blocks: FloatArray, edges: Graph | GraphPart) -> FloatArray:
        """Return the integrals (n_edges, n) of padded blocks (n_edges, n_common, n_common)."""
        parts, found = self._plain.couple(blocks[:, None]), []
        for irrep, harmonics in self._harmonics(edges):
            own = parts[:, irrep.place].reshape(len(parts), irrep.multiplicity, -1)
            found.append(np.einsum("ecm,em->ec", own, harmonics) / (2 * irrep.J + 1))
        return np.asarray(np.concatenate(found, axis=1) @ self._to_m)

    def blocks(self, integrals: FloatArray, edges: Graph | GraphPart) -> FloatArray:
        """Return the padded blocks (n_edges, n_common, n_common) of integrals (n_edges, n)."""
        radial, column = integrals @ self._to_J, 0
        parts = np.zeros((len(integrals), self._plain.n_block))
        for irrep, harmonics in self._harmonics(edges):
            own = radial[:, column : column + irrep.multiplicity, None] * harmonics[:, None, :]
            parts[:, irrep.place] = own.reshape(len(parts), -1)
            column += irrep.multiplicity
        return self._plain.uncouple(parts)[:, 0]

    def _harmonics(self, edges: Graph | GraphPart) -> list[tuple[Irrep, FloatArray]]:
        """Return √4π Y_J of the edges with each kind of natural parts."""
        directions = edges.vectors / edges.lengths[:, None]
        return [
            (irrep, real_harmonics(irrep.J, directions) * np.sqrt(4 * np.pi))
            for irrep in self._natural
        ]

    def of_matrix(self, matrix: AOMatrix, graph: Graph) -> FloatArray:
        """Return the integrals (n_edges, n) of an overlap on the edges of a graph.

        Pairs that it lacks have zeros; pairs that the graph lacks are left out.
        """
        starts, entries = matrix.layout.starts, matrix.entries[0]
        at = matrix.pairs.find(graph.pairs.R, graph.pairs.i, graph.pairs.j)
        slots, n = self._plain.slots, self._plain.n_common
        found = np.empty((graph.n_edges, self.size))
        for part in parts_of(graph, _PART):
            blocks, own = np.zeros((part.n_edges, n, n)), at[part.edges]
            for kind, here in by_kind(part.edge_type):
                rows, columns = (slots[label] for label in divmod(kind, part.n_species))
                have = here[own[here] >= 0]
                source = starts[own[have]][:, None] + np.arange(len(rows) * len(columns))
                values = entries[source].reshape(len(have), len(rows), len(columns))
                blocks[have[:, None, None], rows[:, None], columns] = values
            found[part.edges] = self.of(blocks, part)
        return found

    def shells_of_orbitals(self) -> IntArray:
        """Return (n_common,) the shell of each orbital of the common basis."""
        ls = np.array(self._plain.common_ls)
        return np.repeat(np.arange(len(ls)), 2 * ls + 1)


@lru_cache(maxsize=16)
def integrals_of(layout: TargetLayout) -> Integrals:
    """Return the integrals of a layout's shells, made once."""
    return Integrals(layout)


def add_overlap(graph: Graph, pattern: Pattern, layout: TargetLayout) -> Graph:
    """Return a graph with the two-centre integrals of the overlap of its pattern.

    Of a pattern without numbers the graph is returned as it is.
    """
    overlap = pattern if isinstance(pattern, AOMatrix) else getattr(pattern, "overlap", None)
    if overlap is None:
        return graph
    return replace(graph, overlap=integrals_of(layout).of_matrix(overlap, graph))


def overlap_of(edges: Graph | GraphPart) -> FloatArray:
    """Return the overlap's integrals (n_edges, n) of edges that have them.

    Raises
    ------
    LayoutError
        When they have not.
    """
    if edges.overlap is None:
        raise LayoutError("the graph was made without the overlap of its structure.")
    return edges.overlap
