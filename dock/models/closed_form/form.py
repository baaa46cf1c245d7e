"""What all closed forms have in common: blocks of a graph part by part, exactly Hermitian."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from dock.core.arrays import FloatArray
from dock.models.graph import Graph, GraphPart, parts_of
from dock.models.modelfile import Stored
from dock.models.targets import TargetLayout

__all__ = ["ClosedForm", "named_weights", "weights_by_name"]


class ClosedForm(ABC):
    """A model that is linear in fitted coefficients and needs no JAX.

    It is a model of its own and what a network corrects. A form is a frozen dataclass whose first
    field is the layout of its targets.

    Attributes
    ----------
    layout
        The targets.
    part_edges
        Edges of a graph at a time, which bounds the memory.
    """

    part_edges: ClassVar[int]
    layout: TargetLayout

    @property
    @abstractmethod
    def kind(self) -> str:
        """Its name in files and options."""

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

    @property
    def held_out(self) -> tuple[FloatArray, FloatArray] | None:
        """What structures that a fit has not seen were wrong by, None where nobody looked.

        Root mean squares of the parts of on-site blocks (n_species, n_block) and of off-site
        blocks (n_species², n_block), in the unit of the target.
        """
        return None

    @property
    def needs_overlap(self) -> bool:
        """Whether graphs should have the overlap, see `Graph.overlap`."""
        return False

    def predict(self, graph: Graph) -> tuple[FloatArray, FloatArray]:
        """Return padded, Hermitian blocks of atoms and edges, as `TargetLayout.labels` does."""
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


def weights_by_name(**groups: Sequence[Sequence[FloatArray]]) -> dict[str, FloatArray]:
    """Return the coefficients of each kind and part by name, such as ``site_0_3``, for a file."""
    return {
        f"{name}_{kind}_{number}": weights
        for name, kinds in groups.items()
        for kind, parts in enumerate(kinds)
        for number, weights in enumerate(parts)
    }


def named_weights(
    arrays: Mapping[str, Any], name: str, n_kinds: int, n_parts: int
) -> tuple[tuple[FloatArray, ...], ...]:
    """Return the coefficients of one of the groups that `weights_by_name` named."""
    return tuple(
        tuple(np.asarray(arrays[f"{name}_{kind}_{number}"]) for number in range(n_parts))
        for kind in range(n_kinds)
    )
