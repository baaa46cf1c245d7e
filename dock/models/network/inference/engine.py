"""The compiled predictions: several small structures at once, or a large one part by part.

A part is some neighbouring atoms with all edges that they receive. Each interaction goes through
all parts; between two of them only the features of atoms and edges are kept, so that memory is
that of the features plus one part's work, and several devices take parts in turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from dock.io.progress import Progress, Report
from dock.models.data.batches import Batch, padded
from dock.models.graph import Graph, GraphPart, parts_of
from dock.models.network import blocks as outputs, model as net
from dock.models.network.config import NetworkConfig
from dock.models.network.inference.arrays import joined_arrays, part_arrays, rounded_up
from dock.models.network.layers import norm_lab
from dock.models.targets import TargetLayout

__all__ = ["PART_EDGES", "NetworkEngine"]

PART_EDGES = 8_192
_ABREAST = 2  # parts in flight on each device
Blocks = tuple[NDArray[Any], NDArray[Any]]


@dataclass
class _Work:
    """A large structure on its way: its parts, their features, and the blocks.

    Attributes
    ----------
    sizes, rows
        Padded numbers of atoms and edges of a part, and of atoms of the structure.
    features
        Of the edges of each part between two interactions.
    """

    graph: Graph
    parts: list[GraphPart]
    sizes: tuple[int, int]
    rows: int
    features: list[Any]
    node: NDArray[Any]
    edge: NDArray[Any]

    @classmethod
    def of(cls, graph: Graph, engine: NetworkEngine) -> _Work:
        """Cut a structure."""
        parts = list(parts_of(graph, engine.part_edges))
        n_atoms = rounded_up(max(part.n_atoms for part in parts) + 1)
        n_edges = rounded_up(max(part.n_edges for part in parts))
        rows, features = rounded_up(graph.n_atoms + 1), [None] * len(parts)
        side = (engine.layout.n_channels, engine.layout.n_common, engine.layout.n_common)
        node = np.empty((graph.n_atoms, *side), engine.dtype)
        edge = np.empty((graph.n_edges, *side), engine.dtype)
        return cls(graph, parts, (n_atoms, n_edges), rows, features, node, edge)

    def arrays(self, part: GraphPart) -> Batch:
        """Return the padded arrays of one part."""
        return part_arrays(self.graph, part, self.sizes, self.rows, self.node.dtype)

    def atoms_of(self, part: GraphPart, x: NDArray[Any]) -> NDArray[Any]:
        """Return the features of a part's atoms, padded."""
        return padded([x[part.atoms]], self.sizes[0], 0, x.dtype)


class NetworkEngine:
    """Compiled functions of one network; structures with more than `part_edges` edges are cut."""

    def __init__(
        self,
        params: Any,
        config: NetworkConfig,
        layout: TargetLayout,
        devices: Sequence[Any],
        part_edges: int = PART_EDGES,
    ) -> None:
        self.config, self.layout, self.part_edges = config, layout, part_edges
        self.devices = list(devices)
        self.params = [jax.device_put(params, device) for device in self.devices]
        self.dtype = np.dtype(jax.tree.leaves(params)[0].dtype)
        self._whole = jax.jit(lambda params, batch: net.apply(params, config, layout, batch))
        self._start = jax.jit(lambda params, s, m: net.start_nodes(params, config, s, m))
        self._norm = jax.jit(lambda block, x: norm_lab(block, x, config.channels, config.lmax))
        self._first = jax.jit(self._first_edges)
        self._step = jax.jit(self._interact, donate_argnums=(4,))
        self._ends = jax.jit(self._edge_ends)
        self._sites = jax.jit(self._node_ends)

    # ------------------------------------------------------------------ small structures

    def predict(self, graphs: Sequence[Graph], progress: Report = None) -> list[Blocks]:
        """Return the blocks of each graph; in one program where they are small.

        Progress is that of the parts of a large structure, over all interactions.

        Returns
        -------
        list
            For each graph (n_atoms, n_channels, n_common, n_common) on-site blocks, and
            (n_edges, …) off-site blocks. Partners of a large structure are not yet averaged.
        """
        if len(graphs) == 1 and graphs[0].n_edges > self.part_edges:
            return [self._large(graphs[0], Progress.of(progress))]
        batch = joined_arrays(graphs, self.dtype)
        node, edge = (np.asarray(part) for part in self._whole(self.params[0], batch))
        atoms = np.cumsum([graph.n_atoms for graph in graphs])
        edges = np.cumsum([graph.n_edges for graph in graphs])
        blocks = zip(np.split(node, atoms), np.split(edge, edges), strict=True)
        return list(blocks)[:-1]  # the last are padding

    def groups(self, graphs: Sequence[Graph]) -> Iterator[list[int]]:
        """Yield which graphs to predict together."""
        group: list[int] = []
        total = 0
        for index, graph in enumerate(graphs):
            if group and total + graph.n_edges > self.part_edges:
                yield group
                group, total = [], 0
            group.append(index)
            total += graph.n_edges
        if group:
            yield group

    # ------------------------------------------------------------------ large structures

    def _large(self, graph: Graph, progress: Progress) -> Blocks:
        """Predict a structure part by part."""
        work = _Work.of(graph, self)
        progress.start(self.config.n_blocks * len(work.parts))
        x = self._start_nodes(graph, work.rows)
        for number in range(self.config.n_blocks):
            x = self._sweep(work, number, x, progress)
        for index, part in enumerate(work.parts):
            params, species = self.params[index % len(self.devices)], work.arrays(part)["species"]
            blocks = self._sites(params, work.atoms_of(part, x), species)
            work.node[part.atoms] = np.asarray(blocks)[: part.n_atoms]
        return work.node, work.edge

    def _sweep(self, work: _Work, number: int, x: NDArray[Any], progress: Progress) -> NDArray[Any]:
        """Do one interaction in all parts; return the atoms' new features."""
        blocks = [params["blocks"][number] for params in self.params]
        normed = [
            self._norm(block["norm_x"], jax.device_put(x, device))
            for block, device in zip(blocks, self.devices, strict=True)
        ]
        after = np.zeros_like(x)
        waiting: list[tuple[int, Any, Any]] = []
        for index, part in enumerate(work.parts):
            which = index % len(self.devices)
            params, device = self.params[which], self.devices[which]
            arrays = jax.device_put(work.arrays(part), device)
            e = work.features[index] if number else self._first(params, arrays)
            own = jax.device_put(work.atoms_of(part, x), device)
            e, fresh = self._step(params, blocks[which], normed[which], own, e, arrays)
            is_last = number == self.config.n_blocks - 1
            ends = self._ends(params, e, arrays) if is_last else None
            work.features[index] = None if is_last else e
            waiting.append((index, fresh, ends))
            if len(waiting) > _ABREAST * len(self.devices):
                self._collect(waiting.pop(0), work, after)
            progress.advance()
        for item in waiting:
            self._collect(item, work, after)
        return after

    @staticmethod
    def _collect(item: tuple[int, Any, Any], work: _Work, after: NDArray[Any]) -> None:
        """Wait for one part's results and store them."""
        index, fresh, ends = item
        part = work.parts[index]
        after[part.atoms] = np.asarray(fresh)[: part.n_atoms]
        if ends is not None:
            work.edge[part.edges] = np.asarray(ends)[: part.n_edges]

    def _start_nodes(self, graph: Graph, rows: int) -> NDArray[Any]:
        """Return the first features of all atoms, padded."""
        species, moments = padded([graph.species], rows, 0, np.int32), None
        if graph.moments is not None:
            moments = padded([graph.moments], rows, 0, self.dtype)
        return np.array(self._start(self.params[0], species, moments))

    # ------------------------------------------------------------------ compiled parts

    def _geometry(self, params: Any, arrays: Any) -> net.EdgeGeometry:
        return net.edge_geometry(params, self.config, net.Edges.of(arrays))

    def _first_edges(self, params: Any, arrays: Any) -> jax.Array:
        return net.start_edges(params, self.config, self._geometry(params, arrays))

    def _interact(
        self, params: Any, block: Any, normed: jax.Array, x: jax.Array, e: jax.Array, arrays: Any
    ) -> tuple[jax.Array, jax.Array]:
        """Return the edges' new features, and those of the part's atoms."""
        geometry = self._geometry(params, arrays)
        e, message, logits = net.edge_update(block, self.config, normed, e, geometry)
        local = geometry._replace(edges=geometry.edges._replace(receiver=arrays["local"]))
        summed = net.summed_messages(self.config, message, logits, local, x.shape[0])
        return e, net.node_update(block, self.config, x, summed, arrays["species"])

    def _edge_ends(self, params: Any, e: jax.Array, arrays: Any) -> jax.Array:
        """Return the off-site blocks of a part, each direction by itself."""
        geometry, kind = self._geometry(params, arrays), arrays["edge_type"]
        parts = net.edge_head(params["edge_head"], self.config, self.layout, e, geometry)
        blocks = outputs.edge_blocks(params, self.layout, parts, kind)
        mask = jnp.asarray(self.layout.edge_mask, blocks.dtype)[kind]
        return blocks * mask[:, None]

    def _node_ends(self, params: Any, x: jax.Array, species: jax.Array) -> jax.Array:
        """Return the on-site blocks of a part."""
        parts = net.node_head(params["node_head"], self.config, self.layout, x, species)
        return outputs.node_blocks(params, self.layout, parts, species)
