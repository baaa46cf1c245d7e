"""Batches of few padded shapes, in an order that is a pure function of seed, epoch and step."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dock.models.data.samples import Item

__all__ = ["Batch", "Batcher", "ItemSource", "choose_shapes", "make_batch"]

Batch = dict[str, NDArray[Any]]
Shape = tuple[int, int]
_UNEVEN = 1.2  # largest over smallest number of edges from which batches are filled by edges


class ItemSource(Protocol):
    """Where a batcher takes structures from."""

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(n, 2) atoms and directed edges of each structure."""

    def item(self, index: int) -> Item:
        """Return one structure."""


def make_batch(items: Sequence[Item], shape: Shape | None, dtype: DTypeLike) -> Batch:
    """Join structures into one graph of fixed size.

    Parameters
    ----------
    items
        Structures with labels.
    shape
        (atoms, edges) of the padded batch; None for no padding. Padded edges have mask 0 and lie
        on the last atom, which then is padding too.
    dtype
        Float32 or float64.

    Returns
    -------
    dict
        See `dock.models.network.model.apply`, with ``node_label``, ``edge_label``, ``atom_mask``,
        ``structure`` and ``edge_structure``; ``moments`` and overlaps where the items have them.
    """
    graphs = [item.graph for item in items]
    atoms = np.cumsum([0] + [graph.n_atoms for graph in graphs])
    edges = np.cumsum([0] + [graph.n_edges for graph in graphs])
    n_atoms, n_edges = (int(atoms[-1]), int(edges[-1])) if shape is None else shape
    last = n_atoms - 1

    def joined(parts: list[Any], size: int, fill: float, kind: DTypeLike) -> NDArray[Any]:
        first = np.asarray(parts[0])
        result = np.full((size, *first.shape[1:]), fill, dtype=kind)
        begin = 0
        for part in parts:
            result[begin : begin + len(part)] = part
            begin += len(part)
        return result

    def shifted(name: str, offsets: NDArray[Any]) -> list[Any]:
        return [getattr(g, name) + offset for g, offset in zip(graphs, offsets, strict=False)]

    vectors = joined([graph.vectors for graph in graphs], n_edges, 0.0, dtype)
    vectors[edges[-1] :, 2] = 1.0
    reverse = joined(shifted("reverse", edges), n_edges, 0, np.int32)
    reverse[edges[-1] :] = np.arange(edges[-1], n_edges)
    count = range(len(graphs))
    batch: Batch = {
        "species": joined([graph.species for graph in graphs], n_atoms, 0, np.int32),
        "atom_mask": joined([np.ones(graph.n_atoms) for graph in graphs], n_atoms, 0, dtype),
        "structure": joined([np.full(graphs[k].n_atoms, k) for k in count], n_atoms, 0, np.int32),
        "receiver": joined(shifted("receiver", atoms), n_edges, last, np.int32),
        "sender": joined(shifted("sender", atoms), n_edges, last, np.int32),
        "reverse": reverse,
        "edge_type": joined([graph.edge_type for graph in graphs], n_edges, 0, np.int32),
        "vector": vectors,
        "edge_mask": joined([np.ones(graph.n_edges) for graph in graphs], n_edges, 0, dtype),
        "edge_structure": joined(
            [np.full(graphs[k].n_edges, k) for k in count], n_edges, 0, np.int32
        ),
        "node_label": joined([item.node for item in items], n_atoms, 0.0, dtype),
        "edge_label": joined([item.edge for item in items], n_edges, 0.0, dtype),
    }
    if graphs[0].moments is not None:
        batch["moments"] = joined([graph.moments for graph in graphs], n_atoms, 0.0, dtype)
    overlaps = [item.overlap for item in items if item.overlap is not None]
    if len(overlaps) == len(items):
        batch["overlap_node"] = joined([pair[0] for pair in overlaps], n_atoms, 0.0, dtype)
        batch["overlap_edge"] = joined([pair[1] for pair in overlaps], n_edges, 0.0, dtype)
    return batch


def choose_shapes(sizes: NDArray[np.int64], max_shapes: int) -> list[int]:
    """Return at most `max_shapes` sizes, ascending, that pad the given ones the least.

    Examples
    --------
    >>> choose_shapes(np.array([10, 11, 50, 52, 52]), 2)
    [11, 52]
    """
    distinct, found_counts = np.unique(sizes, return_counts=True)
    values = distinct.astype(np.float64)
    counts = found_counts.astype(np.float64)
    if len(values) > 256:  # rounding up to 256 quantiles keeps the search short
        cut = np.unique(np.quantile(values, np.linspace(0, 1, 256), method="higher"))
        place = np.searchsorted(cut, values)
        counts = np.bincount(place, weights=counts, minlength=len(cut)).astype(np.float64)
        values = np.asarray(cut, dtype=np.float64)
    n = len(values)
    total = np.concatenate([[0.0], np.cumsum(counts)])
    mass = np.concatenate([[0.0], np.cumsum(counts * values)])
    # cost[i, j]: padding when the values i … j−1 all get the size values[j−1]
    cost = np.full((n + 1, n + 1), np.inf)
    for end in range(1, n + 1):
        begin = np.arange(end)
        cost[begin, end] = values[end - 1] * (total[end] - total[begin]) - (mass[end] - mass[begin])
    best = np.full(n + 1, np.inf)
    best[0] = 0.0
    choices = []
    for _ in range(min(max_shapes, n)):
        table = best[:, None] + cost
        choices.append(np.argmin(table, axis=0))
        best = np.minimum(np.min(table, axis=0), np.inf)
    found, end = [], n
    for choice in reversed(choices):
        found.append(int(values[end - 1]))
        end = int(choice[end])
        if end == 0:
            break
    return sorted(found)


class Batcher:
    """Cuts an epoch into batches.

    Structures of much the same size come `batch_size` at a time; uneven ones are taken until their
    edges reach `batch_size` times the mean, so that no batch is much larger than the others.

    Parameters
    ----------
    source
        The structures.
    indices
        Which of them.
    batch_size
        Structures in a batch (on average, for uneven ones).
    seed
        Of the order.
    dtype
        Float32 or float64.
    max_shapes
        Largest number of padded shapes, each of which is compiled once.
    shuffle
        Another order in each epoch; else always the given one.
    parts
        Number of devices that share a batch. The batches do not depend on it; more than one gives
        arrays with a leading axis of that length.
    """

    def __init__(
        self,
        source: ItemSource,
        indices: Sequence[int],
        batch_size: int,
        *,
        seed: int = 0,
        dtype: DTypeLike = np.float32,
        max_shapes: int = 8,
        shuffle: bool = True,
        parts: int = 1,
    ) -> None:
        self.parts = parts
        self.source, self.indices = source, np.asarray(indices, dtype=np.int64)
        self.batch_size = max(1, min(batch_size, len(self.indices)))
        self.seed, self.dtype, self.shuffle = seed, np.dtype(dtype), shuffle
        self._sizes = np.asarray(source.sizes)[self.indices]
        edges = np.maximum(self._sizes[:, 1], 1)
        self._by_edges = self.batch_size > 1 and edges.max() > _UNEVEN * edges.min()
        self._budget = max(int(np.ceil(self.batch_size * edges.mean())), int(edges.max()))
        self._plans: dict[int, list[NDArray[np.int64]]] = {}
        self.shapes = self._choose_shapes(max_shapes)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches of the first epoch (uneven structures vary it by a few)."""
        return len(self.plan(0))

    def plan(self, epoch: int) -> list[NDArray[np.int64]]:
        """Return the batches of an epoch as positions in `indices`."""
        if epoch not in self._plans:
            if len(self._plans) > 8:
                self._plans.clear()
            order = np.arange(len(self.indices))
            if self.shuffle:
                order = np.random.default_rng([self.seed, epoch]).permutation(order)
            self._plans[epoch] = self._cut(order)
        return self._plans[epoch]

    def _cut(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Cut an order into batches; the last may be smaller."""
        if not self._by_edges:
            return [order[k : k + self.batch_size] for k in range(0, len(order), self.batch_size)]
        batches, begin, filled = [], 0, 0
        for place, edges in enumerate(self._sizes[order, 1].tolist()):
            if filled and filled + edges > self._budget:
                batches.append(order[begin:place])
                begin, filled = place, 0
            filled += edges
        return [*batches, order[begin:]]

    def _shares(self, batch: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Divide a batch among the devices, about as many edges to each."""
        if self.parts == 1:
            return [batch]
        edges = np.maximum(self._sizes[batch, 1], 1)
        loads = np.zeros(self.parts)
        shares: list[list[int]] = [[] for _ in range(self.parts)]
        for place in np.argsort(-edges, kind="stable").tolist():
            device = int(np.argmin(loads))
            loads[device] += edges[place]
            shares[device].append(place)
        return [batch[sorted(share)] for share in shares]

    def _size(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return atoms and edges that each device needs room for."""
        totals = [self._sizes[share].sum(axis=0) for share in self._shares(batch)]
        return np.asarray(np.max(totals, axis=0))

    def _choose_shapes(self, max_shapes: int) -> list[Shape]:
        """Return the padded shapes of the first epochs' batches, and one for what may yet come."""
        plans = [batch for epoch in range(4 if self.shuffle else 1) for batch in self.plan(epoch)]
        totals = np.array([self._size(batch) for batch in plans])
        atoms, edges = self._bounds() if self.shuffle else totals.max(axis=0).tolist()
        atoms, edges = max(atoms, int(totals[:, 0].max())), max(edges, int(totals[:, 1].max()))
        padded = len(np.unique(totals, axis=0)) > 1 or edges > int(totals[:, 1].max())
        extra = 1 if padded else 0  # an atom for padded edges to lie on
        last = (atoms + extra, edges)
        if max_shapes == 1 or not padded:
            return [last]
        found = []
        low = -1
        for size in choose_shapes(totals[:, 1], max_shapes - 1):
            inside = (totals[:, 1] > low) & (totals[:, 1] <= size)
            found.append((int(totals[inside, 0].max()) + extra, size))
            low = size
        return found if last in found else [*found, last]

    def _bounds(self) -> Shape:
        """Return more atoms and edges than any batch gives to one device."""
        most = np.sort(self._sizes, axis=0)[::-1]
        if not self._by_edges:
            whole = most[: self.batch_size].sum(axis=0)
        else:
            per_edge = (self._sizes[:, 0] / np.maximum(self._sizes[:, 1], 1)).max()
            whole = np.array([max(most[0, 0], np.ceil(per_edge * self._budget)), self._budget])
        if self.parts > 1:
            whole = np.minimum(whole, np.ceil(whole / self.parts) + most[0])
        return int(whole[0]), int(whole[1])

    @property
    def padding_waste(self) -> float:
        """Share of padded edges in the batches of the first epoch."""
        real = padded = 0
        for batch in self.plan(0):
            real += int(self._sizes[batch, 1].sum())
            padded += self._shape(self._size(batch))[1] * self.parts
        return 1.0 - real / max(padded, 1)

    def _shape(self, size: NDArray[np.int64]) -> Shape:
        """Return the smallest shape that holds a batch, with an atom for padded edges."""
        for atoms, edges in self.shapes:
            fits = size[0] <= atoms and size[1] <= edges
            if fits and (size[0] < atoms or size[1] == edges):
                return atoms, edges
        return int(size[0]) + 1, int(size[1])

    def batch(self, epoch: int, step: int) -> Batch:
        """Return one batch, or one for each device on a leading axis."""
        chosen = self.plan(epoch)[step]
        shape = self._shape(self._size(chosen))
        groups = [
            [self.source.item(int(self.indices[place])) for place in share]
            for share in self._shares(chosen)
        ]
        made = [make_batch(group, shape, self.dtype) for group in groups if group]
        if self.parts == 1:
            return made[0]
        empty = {name: np.zeros_like(value) for name, value in made[0].items()}
        empty["vector"][:, 2] = 1.0
        made += [empty] * (self.parts - len(made))
        return {name: np.stack([one[name] for one in made]) for name in empty}

    def examples(self) -> Iterator[Batch]:
        """Yield one batch of each padded shape of the first epoch."""
        seen: set[Shape] = set()
        for step, chosen in enumerate(self.plan(0)):
            shape = self._shape(self._size(chosen))
            if shape not in seen:
                seen.add(shape)
                yield self.batch(0, step)

    def members(self, epoch: int, step: int) -> list[int]:
        """Return which structures (of the source) a batch holds."""
        return [int(self.indices[place]) for place in self.plan(epoch)[step]]

    def prefetch(self, epoch: int, start: int = 0, depth: int = 4) -> Iterator[Batch]:
        """Yield the batches of an epoch from a step on, made in a thread ahead of their use."""
        found: queue.Queue[Batch | BaseException | None] = queue.Queue(depth)
        stop = threading.Event()

        def put(value: Batch | BaseException | None) -> None:
            while not stop.is_set():
                try:
                    found.put(value, timeout=0.2)
                except queue.Full:
                    continue
                return

        def work() -> None:
            try:
                for step in range(start, len(self.plan(epoch))):
                    if stop.is_set():
                        return
                    put(self.batch(epoch, step))
                put(None)
            except Exception as error:  # noqa: BLE001 - raised again in the thread that asks
                put(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            while (value := found.get()) is not None:
                if isinstance(value, BaseException):
                    raise value
                yield value
        finally:
            stop.set()
            thread.join()
