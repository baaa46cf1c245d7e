"""Structures in memory and in shards are the same; stale and foreign shards are not used."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import samples as files
from datasets import make_set

from dock.core.spin import Spin
from dock.errors import FormatError
from dock.models.data.samples import find_samples, load_item
from dock.models.data.store import GraphStore, read_shards, write_shards
from dock.models.targets import TargetLayout

LAYOUT = TargetLayout(("C", "H"), ((0, 1), (0,)), Spin.NONE)


@pytest.fixture
def samples(tmp_path):
    return find_samples(make_set(tmp_path / "set", (2, 3, 4, 3, 2)))


def same(first, second):
    for name in ("vectors", "receiver", "sender", "reverse", "edge_type", "species"):
        np.testing.assert_array_equal(getattr(first.graph, name), getattr(second.graph, name))
    np.testing.assert_array_equal(first.node, second.node)
    np.testing.assert_array_equal(first.edge, second.edge)


@pytest.mark.parametrize("shards", [1, 2, 9])
def test_shards_give_back_everything(samples, tmp_path, shards):
    memory = GraphStore.from_samples(samples, LAYOUT, with_overlap=True)
    paths = write_shards(samples, LAYOUT, tmp_path / "g", shards=shards, with_overlap=True)
    assert len(paths) == min(shards, 5)
    disk = read_shards(paths, LAYOUT, capacity=2)
    assert disk.names == memory.names == tuple(sample.name for sample in samples)
    assert disk.fingerprint() == memory.fingerprint()
    np.testing.assert_array_equal(disk.sizes, memory.sizes)
    assert len(disk) == 5
    for index in (4, 0, 3, 0):
        same(disk.item(index), memory.item(index))
        for one, two in zip(disk.item(index).overlap, memory.item(index).overlap, strict=True):
            np.testing.assert_array_equal(one, two)


def test_moments_are_kept(samples, tmp_path):
    for sample in samples:
        n = sum(1 for _ in (sample.folder / "POSCAR").read_text().splitlines()) - 8
        (sample.folder / "moments.json").write_text(str([[0, 0.5, 1]] * n))
    paths = write_shards(samples, LAYOUT, tmp_path / "g", with_moments=True)
    item = read_shards(paths, LAYOUT).item(1)
    np.testing.assert_array_equal(item.graph.moments, [[0, 0.5, 1]] * 3)


def test_only_stale_shards_are_made_again(samples, tmp_path):
    folder = tmp_path / "g"
    first, second = write_shards(samples, LAYOUT, folder, shards=2)
    times = [path.stat().st_mtime_ns for path in (first, second)]
    old = read_shards([first, second], LAYOUT).fingerprint()
    assert write_shards(samples, LAYOUT, folder, shards=2) == [first, second]
    assert [path.stat().st_mtime_ns for path in (first, second)] == times
    files.rewrite(samples[4].folder / "hamiltonian.h5", entries=lambda entries: entries + 1.0)
    os.utime(samples[4].folder / "hamiltonian.h5", ns=(1, 1))
    write_shards(samples, LAYOUT, folder, shards=2)
    assert first.stat().st_mtime_ns == times[0]
    assert second.stat().st_mtime_ns != times[1]
    assert read_shards([first, second], LAYOUT).fingerprint() != old


def test_many_long_names(samples, tmp_path):
    """HDF5 attributes end at 64 kB; names and stamps of a shard do not."""
    many = [samples[0]._replace(name=f"{number:04d}" + "x" * 240) for number in range(200)]
    item = load_item(samples[0], LAYOUT)
    (path,) = write_shards(many, LAYOUT, tmp_path / "g", read=lambda *_, **__: item)
    assert read_shards([path], LAYOUT).names[199].startswith("0199x")


@pytest.mark.parametrize("kind", ["cut", "empty", "text", "layout"])
def test_a_shard_that_cannot_be_used(samples, tmp_path, kind):
    (path,) = write_shards(samples, LAYOUT, tmp_path / "g")
    layout = LAYOUT
    if kind == "layout":
        layout = TargetLayout(("C", "H"), ((0, 1), (0, 0)), Spin.NONE)
    else:
        content = {"cut": path.read_bytes()[:3000], "empty": b"", "text": b"shard"}[kind]
        path.write_bytes(content)
    with pytest.raises(FormatError, match="Delete it"):
        read_shards([path], layout)
    if kind != "layout":
        write_shards(samples, LAYOUT, tmp_path / "g")
        assert len(read_shards([path], LAYOUT)) == 5


class Half:
    def predict(self, graph):
        n = LAYOUT.n_common
        ones = np.full((graph.n_edges, 1, n, n), 0.5)
        return np.full((graph.n_atoms, 1, n, n), 0.5), ones


def test_a_baseline_is_taken_off(samples):
    store = GraphStore.from_samples(samples, LAYOUT)
    raw = store.item(2)
    store.set_baseline(Half())
    np.testing.assert_array_equal(store.item(2).node, raw.node - 0.5)
    np.testing.assert_array_equal(store.item(2).edge, raw.edge - 0.5)
    assert store.raw(2) is raw
    store.set_baseline(None)
    assert store.item(2) is raw


def test_few_are_kept_and_threads_may_ask_at_once(samples, tmp_path):
    store = read_shards(write_shards(samples, LAYOUT, tmp_path / "g"), LAYOUT, capacity=1)
    plain = GraphStore.from_samples(samples, LAYOUT)
    order = np.random.default_rng(1).integers(0, 5, 200).tolist()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(store.item, order))
    for index, item in zip(order, found, strict=True):
        assert np.array_equal(item.node, plain.item(index).node)
    assert len(store._kept) == 1
