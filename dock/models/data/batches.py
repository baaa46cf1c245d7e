"""Batches of few padded shapes, in an order that is a pure function of seed, epoch and step."""

from __future__ import annotations

import queue
import threading
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dock.models.data.samples import Item
from dock.models.graph import Graph

__all__ = ["Batch", "Batcher", "choose_shapes", "join_graphs", "make_batch", "padded"]

Batch = dict[str, NDArray[Any]]
Shape = tuple[int, int]
_UNEVEN = 1.2  # largest over smallest number of edges from which batches are filled by edges


class ItemSource(Protocol):
    """Where a batcher takes structures from."""

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(n, 2) atoms and directed edges of each structure, of all its channels."""

    def item(self, index: int) -> Item:
        """Return one structure."""


class MoreArrays(Protocol):
    """What a batch has besides graphs and labels."""

    def arrays(
        self, members: Sequence[int], graphs: Sequence[Graph], shape: Shape, dtype: DTypeLike
    ) -> Batch:
        """Return further arrays of some structures, by their numbers in the source."""


def padded(parts: Sequence[NDArray[Any]], size: int, fill: float, dtype: DTypeLike) -> NDArray[Any]:
    """Return arrays one behind another, and the fill value after them."""
    result = np.full((size, *parts[0].shape[1:]), fill, dtype)
    np.concatenate(parts, out=result[: sum(map(len, parts))], casting="unsafe")
    return result


def join_graphs(graphs: Sequence[Graph], shape: Shape, dtype: DTypeLike) -> Batch:
    """Return the arrays that `dock.models.network.model.apply` takes, of graphs side by side.

    `shape` is (atoms, edges) with padding. Padded edges have mask 0 and lie on the last atom, which
    then is padding too. Moments are there where all graphs have them.
    """
    n_atoms, n_edges = shape
    atoms = np.cumsum([0] + [graph.n_atoms for graph in graphs])
    edges = np.cumsum([0] + [graph.n_edges for graph in graphs])
    end = int(edges[-1])

    def shifted(name: str, offsets: NDArray[Any]) -> list[Any]:
        return [getattr(g, name) + offset for g, offset in zip(graphs, offsets, strict=False)]

    reverse = [*shifted("reverse", edges), np.arange(end, n_edges)]
    arrays: Batch = {
        "species": padded([graph.species for graph in graphs], n_atoms, 0, np.int32),
        "receiver": padded(shifted("receiver", atoms), n_edges, n_atoms - 1, np.int32),
        "sender": padded(shifted("sender", atoms), n_edges, n_atoms - 1, np.int32),
        "reverse": padded(reverse, n_edges, 0, np.int32),
        "edge_type": padded([graph.edge_type for graph in graphs], n_edges, 0, np.int32),
        "vector": padded([graph.vectors for graph in graphs], n_edges, 0, dtype),
        "edge_mask": padded([np.ones(end)], n_edges, 0, dtype),
    }
    arrays["vector"][end:, 2] = 1.0
    moments = [graph.moments for graph in graphs if graph.moments is not None]
    if len(moments) == len(graphs):
        arrays["moments"] = padded(moments, n_atoms, 0, dtype)
    return arrays


def make_batch(items: Sequence[Item], shape: Shape | None, dtype: DTypeLike) -> Batch:
    """Join structures with labels into one graph of fixed size; without a shape none is padded.

    Of structures that are learned channel by channel both channels are there, side by side.

    Returns
    -------
    dict
        See `join_graphs`, with ``node_label``, ``edge_label``, ``atom_mask``, ``structure`` and
        ``edge_structure``; overlaps where the items have them.
    """
    whole = np.repeat(np.arange(len(items)), [len(item.channels) for item in items])
    items = [part for item in items for part in item.channels]
    graphs = [item.graph for item in items]
    atoms, edges = [graph.n_atoms for graph in graphs], [graph.n_edges for graph in graphs]
    n_atoms, n_edges = (sum(atoms), sum(edges)) if shape is None else shape
    batch = join_graphs(graphs, (n_atoms, n_edges), dtype) | {
        "atom_mask": padded([np.ones(sum(atoms))], n_atoms, 0, dtype),
        "structure": padded([np.repeat(whole, atoms)], n_atoms, 0, np.int32),
        "edge_structure": padded([np.repeat(whole, edges)], n_edges, 0, np.int32),
        "node_label": padded([item.node for item in items], n_atoms, 0, dtype),
        "edge_label": padded([item.edge for item in items], n_edges, 0, dtype),
    }
    overlaps = [item.overlap for item in items if item.overlap is not None]
    if len(overlaps) == len(items):
        batch["overlap_node"] = padded([node for node, _ in overlaps], n_atoms, 0, dtype)
        batch["overlap_edge"] = padded([edge for _, edge in overlaps], n_edges, 0, dtype)
    return batch


def choose_shapes(sizes: NDArray[np.int64], max_shapes: int) -> list[int]:
    """Return at most `max_shapes` sizes, ascending, that pad the given ones the least.

    Examples
    --------
    >>> choose_shapes(np.array([10, 11, 50, 52, 52]), 2)
    [11, 52]
    """
    values, counts = (part.astype(np.float64) for part in np.unique(sizes, return_counts=True))
    if len(values) > 256:  # rounding up to 256 quantiles keeps the search short
        cut = np.unique(np.quantile(values, np.linspace(0, 1, 256), method="higher"))
        place = np.searchsorted(cut, values)
        counts = np.bincount(place, weights=counts, minlength=len(cut)).astype(np.float64)
        values = cut
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
    shapes, end = [], n
    for choice in reversed(choices):
        shapes.append(int(values[end - 1]))
        end = int(choice[end])
        if end == 0:
            break
    return sorted(shapes)


class Batcher:
    """Cuts an epoch into batches.

    Structures of much the same size come `batch_size` at a time; uneven ones are taken until their
    edges reach `batch_size` times the mean, so that no batch is much larger than the others.

    Parameters
    ----------
    source, indices
        The structures, and which of them.
    batch_size
        Structures in a batch (on average, for uneven ones).
    seed, shuffle
        Of the order, which is another one in each epoch; without shuffling always the given one.
    dtype
        Float32 or float64.
    max_shapes
        Largest number of padded shapes, each of which is compiled once.
    parts
        Number of devices that share a batch. The batches do not depend on it; more than one gives
        arrays with a leading axis of that length.
    more
        Gives further arrays of each batch.
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
        more: MoreArrays | None = None,
    ) -> None:
        self.parts, self.more = parts, more
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
        shapes = []
        low = -1
        for size in choose_shapes(totals[:, 1], max_shapes - 1):
            inside = (totals[:, 1] > low) & (totals[:, 1] <= size)
            shapes.append((int(totals[inside, 0].max()) + extra, size))
            low = size
        return shapes if last in shapes else [*shapes, last]

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
        places = self.plan(epoch)[step]
        shape = self._shape(self._size(places))
        shares = [self._arrays(share, shape) for share in self._shares(places) if len(share)]
        if self.parts == 1:
            return shares[0]
        empty = {name: np.zeros_like(value) for name, value in shares[0].items()}
        empty["vector"][:, 2] = 1.0
        shares += [empty] * (self.parts - len(shares))
        return {name: np.stack([share[name] for share in shares]) for name in empty}

    def _arrays(self, share: NDArray[np.int64], shape: Shape) -> Batch:
        """Return the arrays of the structures at some places."""
        members = [int(number) for number in self.indices[share]]
        items = [self.source.item(number) for number in members]
        batch = make_batch(items, shape, self.dtype)
        if self.more is not None:
            graphs = [item.graph for item in items]
            batch |= self.more.arrays(members, graphs, shape, self.dtype)
        return batch

    def most_in_batch(self, numbers: Collection[int]) -> int:
        """Return how many of some structures (of the source) a device gets at most at a time."""
        own = np.isin(self.indices, list(numbers))
        if not self._by_edges:
            return min(self.batch_size, int(own.sum()))
        filled = np.cumsum(np.sort(self._sizes[own, 1]))
        return max(1, int(np.searchsorted(filled, self._budget, side="right")))

    def examples(self) -> Iterator[Batch]:
        """Yield one batch of each padded shape of the first epoch."""
        shapes = [self._shape(self._size(places)) for places in self.plan(0)]
        for shape in dict.fromkeys(shapes):
            yield self.batch(0, shapes.index(shape))

    def shares(self, epoch: int, step: int) -> list[list[int]]:
        """Return which structures (of the source) of a batch each device gets, in order."""
        shares = self._shares(self.plan(epoch)[step])
        return [[int(number) for number in self.indices[share]] for share in shares if len(share)]

    def members(self, epoch: int, step: int) -> list[int]:
        """Return which structures (of the source) a batch holds."""
        return [int(self.indices[place]) for place in self.plan(epoch)[step]]

    def prefetch(self, epoch: int, start: int = 0, depth: int = 4) -> Iterator[Batch]:
        """Yield the batches of an epoch from a step on, made in a thread ahead of their use."""
        ready: queue.Queue[Batch | BaseException | None] = queue.Queue(depth)
        stop = threading.Event()

        def put(value: Batch | BaseException | None) -> None:
            while not stop.is_set():
                try:
                    ready.put(value, timeout=0.2)
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
            while (value := ready.get()) is not None:
                if isinstance(value, BaseException):
                    raise value
                yield value
        finally:
            stop.set()
            thread.join()
