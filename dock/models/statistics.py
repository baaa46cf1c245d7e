"""What is counted over the training structures: sizes of the irreducible parts, ends of edges.

The sizes let a network work with numbers near one; where edges end, blocks fade.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dock.core.arrays import FloatArray, frozen
from dock.models.data.samples import Item
from dock.models.graph import Graph, by_kind
from dock.models.targets import TargetLayout

__all__ = ["Statistics", "StatisticsBuilder", "find_cutoffs"]

_ZERO = 1e-9  # eV; parts that never exceed it are exact zeros of symmetry
_LOOK_BEYOND = 1.2  # times the longest edge: is there a pair without a block?
_LOOKED_AT = 16  # structures, and one of each set of species, show where blocks end
_AXES = {"node_shift": 2, "node_scale": 2, "edge_scale": 2, "longest": 1}  # of the arrays
_LATER = {"shortest": 1, "neighbours": 2}  # of those that files of earlier versions have not


@dataclass(frozen=True, eq=False)
class Statistics:
    """Shift and scale of the parts of a target, in its unit.

    Attributes
    ----------
    node_shift
        (n_species, n_block) mean of the scalar parts of the on-site blocks, else 0.
    node_scale
        (n_species, n_block) root mean square about the shift, the same for the M of one part; 0
        for parts that vanish always.
    edge_scale
        (n_species², n_block) root mean square of the parts of the off-site blocks.
    mean_degree
        Edges per atom.
    longest
        (n_species²,) longest edge of each kind, Å; 0 where there is none.
    shortest
        (n_species²,) shortest edge of each kind, Å; 0 where there is none. None where a file of an
        earlier version does not say it.
    neighbours
        (n_species, 2) fewest and most edges of an atom of each species, or None.
    """

    node_shift: FloatArray
    node_scale: FloatArray
    edge_scale: FloatArray
    mean_degree: float
    longest: FloatArray
    shortest: FloatArray | None = None
    neighbours: FloatArray | None = None

    def __post_init__(self) -> None:
        for name, n_axes in (_AXES | _LATER).items():
            given = getattr(self, name)
            if given is not None:
                array = frozen(name, given, np.float64, (None,) * n_axes)
                object.__setattr__(self, name, array)

    @classmethod
    def of(cls, items: Iterable[Item], layout: TargetLayout) -> Statistics:
        """Count over structures, one after another."""
        builder = StatisticsBuilder(layout)
        for item in items:
            builder.add(item.graph, item.node, item.edge)
        return builder.result()

    def at_least(self, node: FloatArray, edge: FloatArray) -> Statistics:
        """Return the same with scales that are at least some others.

        Where a closed form leaves hardly anything of the structures that it was fitted to, a
        network in that scale could not mend what the form is wrong by elsewhere.
        """
        return replace(
            self,
            node_scale=np.maximum(self.node_scale, node),
            edge_scale=np.maximum(self.edge_scale, edge),
        )

    def to_arrays(self) -> dict[str, Any]:
        """Return the arrays by name, for a file."""
        arrays = {name: getattr(self, name) for name in _AXES | _LATER}
        arrays = {name: array for name, array in arrays.items() if array is not None}
        return {**arrays, "mean_degree": np.float64(self.mean_degree)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Statistics:
        """Make statistics from what `to_arrays` returned."""
        parts = {name: np.asarray(arrays[name]) for name in _AXES}
        parts |= {name: np.asarray(arrays[name]) for name in _LATER if name in arrays}
        return cls(**parts, mean_degree=float(arrays["mean_degree"]))


class StatisticsBuilder:
    """Collects statistics structure by structure, in memory that does not grow."""

    def __init__(self, layout: TargetLayout) -> None:
        self._layout = layout
        n_kinds, n = layout.n_species**2, layout.n_block
        self._count = np.zeros(layout.n_species)
        self._sum, self._squares = np.zeros((2, layout.n_species, n))
        self._edge_count = np.zeros(n_kinds)
        self._edge_squares = np.zeros((n_kinds, n))
        self._longest, self._shortest = np.zeros(n_kinds), np.full(n_kinds, np.inf)
        self._neighbours = np.tile([np.inf, 0.0], (layout.n_species, 1))

    def add(self, graph: Graph, node: FloatArray, edge: FloatArray) -> None:
        """Count the blocks of one structure, as `TargetLayout.labels` gives them."""
        parts = self._layout.couple(node)
        degrees = np.bincount(graph.receiver, minlength=graph.n_atoms)
        for kind, atoms in by_kind(graph.species):
            few, many = self._neighbours[kind]
            own = degrees[atoms]
            self._neighbours[kind] = min(few, own.min()), max(many, own.max())
            self._count[kind] += len(atoms)
            self._sum[kind] += parts[atoms].sum(axis=0)
            self._squares[kind] += (parts[atoms] ** 2).sum(axis=0)
        parts = self._layout.couple(edge)
        for kind, here in by_kind(graph.edge_type):
            self._edge_count[kind] += len(here)
            self._edge_squares[kind] += (parts[here] ** 2).sum(axis=0)
            self._longest[kind] = max(self._longest[kind], float(graph.lengths[here].max()))
            self._shortest[kind] = min(self._shortest[kind], float(graph.lengths[here].min()))

    def result(self) -> Statistics:
        """Return what was collected."""
        count = np.maximum(self._count, 1)[:, None]
        is_scalar = np.zeros(self._layout.n_block, dtype=bool)
        first = self._layout.irreps[0]
        if first.J == 0 and first.natural:
            is_scalar[first.place] = True
        shift = np.where(is_scalar, self._sum / count, 0.0)
        # Σ(x − s)² = Σx² − 2sΣx + ns²
        centred = self._squares - 2 * shift * self._sum + count * shift**2
        edge_count = np.maximum(self._edge_count, 1)[:, None]
        edges = self._edge_count.sum()
        return Statistics(
            shift,
            self._rms(centred / count),
            self._rms(self._edge_squares / edge_count),
            float(edges / max(self._count.sum(), 1)),
            self._longest,
            np.where(np.isfinite(self._shortest), self._shortest, 0.0),
            np.where(np.isfinite(self._neighbours), self._neighbours, 0.0),
        )

    def _rms(self, squares: FloatArray) -> FloatArray:
        """Average mean squares over the M of each part; vanishing parts give 0."""
        result = np.empty_like(squares)
        for irrep in self._layout.irreps:
            width = 2 * irrep.J + 1
            part = squares[:, irrep.place].reshape(len(squares), irrep.multiplicity, width)
            mean = np.sqrt(np.maximum(part.mean(axis=2), 0.0))
            result[:, irrep.place] = np.repeat(np.where(mean < _ZERO, 0.0, mean), width, axis=1)
        return result


def find_cutoffs(graphs: Iterable[Graph], n_species: int) -> FloatArray:
    """Return for each ordered pair of species where edges end, Å; 0 where nothing was cut off.

    An edge kind is cut off when some pair of atoms just beyond its longest edge has no block;
    the cutoff is the distance of the nearest such pair. In molecules every pair has one.
    """
    from dock.overlap.neighbours import orbital_pairs

    longest = np.zeros(n_species**2)
    kept: list[Graph] = []
    seen: set[frozenset[str]] = set()
    for graph in graphs:
        if graph.n_edges:
            np.maximum.at(longest, graph.edge_type, graph.lengths)
        # The same two species may have blocks farther in one crystal than in another: projectors of
        # a third atom reach from one to the other.
        content = frozenset(graph.structure.labels)
        if len(kept) < _LOOKED_AT or content not in seen:
            kept.append(graph)
        seen.add(content)
    absent = np.full(n_species**2, np.inf)
    for graph in kept:
        if not longest.any():
            break
        reach = float(longest.max()) * _LOOK_BEYOND / 2
        around = orbital_pairs(graph.structure, dict.fromkeys(graph.basis.species, reach))
        new = graph.full_pairs.find(around.R, around.i, around.j) < 0
        length = around.lengths(graph.structure)[new]
        kind = graph.species[around.i[new]] * n_species + graph.species[around.j[new]]
        inside = length <= longest[kind] * _LOOK_BEYOND
        np.minimum.at(absent, kind[inside], length[inside])
    both = np.minimum(absent, absent.reshape(n_species, n_species).T.reshape(-1))
    return np.where(np.isfinite(both), np.maximum(both, longest * (1 + 1e-6)), 0.0)
