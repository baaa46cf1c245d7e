"""What all closed forms have in common: blocks of a graph part by part, exactly Hermitian."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from dock.core.arrays import FloatArray
from dock.models.graph import Graph, GraphPart, parts_of
from dock.models.modelfile import Stored
from dock.models.targets import TargetLayout

__all__ = ["ClosedForm", "Part", "parts_of_layout"]


class Part(NamedTuple):
    """One kind of irreducible part among the coupled numbers of a block."""

    J: int
    natural: bool
    place: slice
    multiplicity: int


@lru_cache(maxsize=16)
def parts_of_layout(layout: TargetLayout) -> tuple[Part, ...]:
    """Return the kinds of parts in the order of the coupled numbers."""
    parts, begin = [], 0
    for irrep in layout.irreps:
        end = begin + irrep.multiplicity * (2 * irrep.J + 1)
        parts.append(Part(irrep.J, irrep.natural, slice(begin, end), irrep.multiplicity))
        begin = end
    return tuple(parts)


class ClosedForm(ABC):
    """A model that is linear in fitted coefficients and needs no JAX.

    It is a model of its own and what a network corrects. A form is a frozen dataclass whose first
    field is the layout of its targets.

    Attributes
    ----------
    kind
        Its name in files and options.
    part_edges
        Edges of a graph at a time, which bounds the memory.
    """

    kind: ClassVar[str]
    part_edges: ClassVar[int]
    layout: TargetLayout

    @abstractmethod
    def begin(self, graph: Graph) -> Any:
        """Return what `one_way` needs of the whole graph."""

    @abstractmethod
    def one_way(self, part: GraphPart, around: Any) -> tuple[FloatArray, FloatArray]:
        """Return padded blocks of some atoms and their edges, not averaged with the adjoints."""

    @abstractmethod
    def to_arrays(self) -> dict[str, Any]:
        """Return everything but the layout as arrays by name, for a file."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, layout: TargetLayout, arrays: Mapping[str, Any]) -> Self:
        """Make a form from what `to_arrays` returned."""

    def predict(self, graph: Graph) -> tuple[FloatArray, FloatArray]:
        """Return padded, Hermitian blocks of a graph.

        Returns
        -------
        node : ndarray
            (n_atoms, n_channels, n_common, n_common) float64.
        edge : ndarray
            (n_edges, n_channels, n_common, n_common).
        """
        layout = self.layout
        side = (layout.n_channels, layout.n_common, layout.n_common)
        node, edge = np.empty((graph.n_atoms, *side)), np.empty((graph.n_edges, *side))
        around = self.begin(graph)
        for part in parts_of(graph, self.part_edges):
            node[part.atoms], edge[part.edges] = self.one_way(part, around)
        signs = layout.channel_signs[:, None, None]
        onsite = 0.5 * (node + signs * node.swapaxes(-1, -2))
        offsite = 0.5 * (edge + signs * edge[graph.reverse].swapaxes(-1, -2))
        return (
            onsite * layout.node_mask[graph.species][:, None],
            offsite * layout.edge_mask[graph.edge_type][:, None],
        )

    def stored(self) -> Stored:
        """Return the form as a part of a model file."""
        return Stored(self.kind, self.to_arrays())
