"""All structures of a data set, in memory or in sharded HDF5 files."""

from __future__ import annotations

import hashlib
import json
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dock.converters.deeph.folder import FILES
from dock.converters.deeph.pattern import HKB
from dock.core.arrays import FloatArray
from dock.core.basis import Basis
from dock.core.pairs import Pairs
from dock.core.structure import Structure
from dock.errors import FormatError
from dock.io.hdf5 import new_hdf5, open_hdf5
from dock.models.data.moments import MOMENTS_FILE
from dock.models.data.samples import HEADS, Item, Sample, load_item
from dock.models.graph import Graph
from dock.models.targets import TargetLayout, stacked

__all__ = ["GraphStore", "read_shards", "write_shards"]

_FORMAT = "dock graph store 3"
_FIX = "Delete it; it is made again from the unified folders."


class Baseline(Protocol):
    """What is subtracted from the labels."""

    def predict(self, graph: Graph) -> tuple[FloatArray, FloatArray]:
        """Return padded blocks."""


class Read(Protocol):
    """Returns the item of a sample, as `load_item` does."""

    def __call__(
        self, sample: Sample, layout: TargetLayout, *, with_moments: bool, with_overlap: bool
    ) -> Item:
        """Read one structure."""


class GraphStore:
    """Structures by number.

    Parameters
    ----------
    names, raw
        Their names, and what returns one of them with its labels as they were read.
    sizes
        (n, 2) atoms and directed edges of each.
    copies
        How many channels each is learned as.
    digests
        A number for each structure that changes with its labels.
    capacity
        How many to keep in memory; None for all.

    Attributes
    ----------
    sizes
        (n, 2) atoms and directed edges of what each is learned as, see `Item.channels`.
    """

    def __init__(
        self,
        names: Sequence[str],
        raw: Callable[[int], Item],
        sizes: NDArray[np.int64],
        digests: Sequence[int] = (),
        *,
        copies: int = 1,
        capacity: int | None = None,
    ) -> None:
        self.names, self._digests = tuple(names), tuple(digests)
        self._lock = threading.Lock()  # a thread makes batches while another validates
        self.raw, self.sizes, self._capacity = raw, sizes * copies, capacity
        self._kept: OrderedDict[int, Item] = OrderedDict()
        self._baseline: Baseline | None = None

    @classmethod
    def from_samples(
        cls,
        samples: Sequence[Sample],
        layout: TargetLayout,
        *,
        with_moments: bool = False,
        with_overlap: bool = False,
        read: Read = load_item,
    ) -> GraphStore:
        """Read unified folders into memory, see `dock.models.data.samples.label`."""
        items = [
            read(sample, layout, with_moments=with_moments, with_overlap=with_overlap)
            for sample in samples
        ]
        sizes = np.array([[item.graph.n_atoms, item.graph.n_edges] for item in items])
        names = [sample.name for sample in samples]
        digests = [_digest(item) for item in items]
        copies = _copies(layout)
        return cls(names, items.__getitem__, sizes.reshape(-1, 2), digests, copies=copies)

    def __len__(self) -> int:
        return len(self.names)

    def set_baseline(self, baseline: Baseline | None) -> None:
        """Subtract a baseline's prediction from all labels from now on."""
        self._baseline = baseline
        self._kept.clear()

    def item(self, index: int) -> Item:
        """Return one structure, its labels less the baseline."""
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
        item = self.raw(index)
        if self._baseline is not None:
            of_channels = [self._baseline.predict(part.graph) for part in item.channels]
            node, edge = stacked(of_channels)
            item = item._replace(node=item.node - node, edge=item.edge - edge)
        with self._lock:
            self._kept[index] = item
            if self._capacity is not None and len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        return item

    def fingerprint(self) -> str:
        """Return a hash of names, sizes and labels."""
        text = json.dumps([list(self.names), self.sizes.tolist(), list(self._digests)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_shards(
    samples: Sequence[Sample],
    layout: TargetLayout,
    folder: Path,
    *,
    shards: int = 1,
    with_moments: bool = False,
    with_overlap: bool = False,
    read: Read = load_item,
) -> list[Path]:
    """Write a data set as HDF5 shards, ``shard_00000.h5`` …, that are read structure by structure.

    A shard that exists is kept when it was made from the same files for the same layout.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    parts = np.array_split(np.arange(len(samples)), max(1, min(shards, len(samples))))
    for number, part in enumerate(parts):
        path = folder / f"shard_{number:05d}.h5"
        own = [samples[index] for index in part]
        head = _head(own, layout, with_moments=with_moments, with_overlap=with_overlap)
        written.append(path)
        if path.is_file() and _head_of(path) == head:
            continue
        with new_hdf5(path, overwrite=True) as file:
            file["head"] = head  # no attribute: those end at 64 kB
            for place, sample in enumerate(own):
                item = read(sample, layout, with_moments=with_moments, with_overlap=with_overlap)
                _write_item(file.create_group(f"{place:07d}"), item)
    return written


def read_shards(
    paths: Sequence[Path], layout: TargetLayout, *, capacity: int | None = 256
) -> GraphStore:
    """Open shards as a store; structures are read when they are asked for.

    Raises
    ------
    FormatError
        When a file is no shard, is cut, or was made for another layout.
    """
    names: list[str] = []
    places: list[tuple[Path, str]] = []
    sizes: list[tuple[int, int]] = []
    digests: list[int] = []
    for path in paths:
        head = json.loads(_head_of(path) or "{}")
        if head.get("format") != _FORMAT or head["layout"] != layout.fingerprint():
            raise FormatError(
                path,
                "this is no graph shard for these targets",
                expected=f"{_FORMAT}, layout {layout.fingerprint()}",
                found=f"{head.get('format')}, layout {head.get('layout')}",
                fix=_FIX,
            )
        with open_hdf5(path, _FIX) as file:
            for place, name in enumerate(head["names"]):
                group = file[f"{place:07d}"]
                sizes.append((len(group["numbers"]), len(group["pairs"])))
                digests.append(int(group.attrs["digest"]))
                names.append(name)
                places.append((path, f"{place:07d}"))

    def load(index: int) -> Item:
        path, key = places[index]
        with open_hdf5(path, _FIX) as file:
            return _read_item(file[key], layout)

    table = np.array(sizes, dtype=np.int64).reshape(-1, 2)
    return GraphStore(names, load, table, digests, copies=_copies(layout), capacity=capacity)


def _copies(layout: TargetLayout) -> int:
    """Return as how many structures each is learned."""
    return layout.n_channels if layout.is_split else 1


def _head(samples: Sequence[Sample], layout: TargetLayout, **switches: bool) -> str:
    content = {
        "format": _FORMAT,
        "layout": layout.fingerprint(),
        "names": [sample.name for sample in samples],
        "stamps": [
            _stamp(sample.folder, layout, with_density=switches["with_moments"])
            for sample in samples
        ],
    }
    return json.dumps(content | switches, sort_keys=True)


def _stamp(folder: Path, layout: TargetLayout, *, with_density: bool) -> list[int]:
    """Return sizes and times of the files that a structure is read from.

    Moments may be those of the density matrix.
    """
    names = [*HEADS, MOMENTS_FILE, FILES[layout.quantity], HKB, FILES["overlap"]]
    names += [FILES[layout.less]] if layout.less else []
    names += [FILES["density_matrix"]] if with_density else []
    facts = [(folder / name).stat() for name in names if (folder / name).is_file()]
    return [number for fact in facts for number in (fact.st_size, fact.st_mtime_ns)]


def _digest(item: Item) -> int:
    """Return a check sum of positions, labels and, where there are any, moments."""
    check_sum, moments = 0, item.graph.moments
    inputs = () if moments is None else (moments,)
    for array in (item.graph.structure.positions, item.node, item.edge, *inputs):
        check_sum = zlib.crc32(np.ascontiguousarray(array).data, check_sum)
    return check_sum


def _head_of(path: Path) -> str:
    """Return the head of a shard, empty where the file cannot be read."""
    try:
        with open_hdf5(path, _FIX) as file:
            return file["head"].asstr()[()] if "head" in file else ""
    except FormatError:
        return ""


def _write_item(group: Any, item: Item) -> None:
    """Store one structure; labels as float64, so that nothing is lost."""
    graph = item.graph
    structure = graph.structure
    group["cell"], group["positions"] = structure.cell, structure.positions
    group["numbers"], group["pbc"] = structure.numbers, np.array(structure.pbc)
    group["pairs"] = np.column_stack([graph.pairs.R, graph.pairs.i, graph.pairs.j])
    group["node"], group["edge"] = item.node, item.edge
    group.attrs["digest"] = _digest(item)
    group.attrs["labels"] = json.dumps(list(structure.labels))
    if graph.moments is not None:
        group["moments"] = graph.moments
    if graph.overlap is not None:
        group["overlap_integrals"] = graph.overlap
    if item.overlap is not None:
        group["overlap_node"], group["overlap_edge"] = item.overlap


def _read_item(group: Any, layout: TargetLayout) -> Item:
    """Return one structure of a shard."""
    labels = tuple(json.loads(group.attrs["labels"]))
    stored = {name: dataset[()] for name, dataset in group.items()}
    cell, positions, numbers = (stored[name] for name in ("cell", "positions", "numbers"))
    structure = Structure(cell, positions, numbers, labels, stored["pbc"])
    shells = dict(zip(layout.species, layout.ls, strict=True))
    basis = Basis.from_ls({name: shells[name] for name in dict.fromkeys(labels)}, labels)
    table = stored["pairs"]
    pairs = Pairs(table[:, :3], table[:, 3], table[:, 4], len(labels))
    species = np.array([layout.species.index(label) for label in labels], dtype=np.int32)
    further = stored.get("moments"), stored.get("overlap_integrals")
    graph = Graph(structure, basis, pairs, species, layout.n_species, *further)
    overlap = None
    if "overlap_node" in stored:
        overlap = stored["overlap_node"], stored["overlap_edge"]
    return Item(graph, stored["node"], stored["edge"], overlap, layout.is_split)
