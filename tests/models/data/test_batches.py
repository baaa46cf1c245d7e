"""Batches: a pure function of seed, epoch and step, of few shapes, with little padding."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
from datasets import make_set
from hypothesis import given, strategies as st

from dock.core.spin import Spin
from dock.models.data.batches import Batcher, choose_shapes, make_batch
from dock.models.data.samples import find_samples
from dock.models.data.store import GraphStore
from dock.models.targets import TargetLayout

LAYOUT = TargetLayout(("C", "H"), ((0, 1), (0,)), Spin.NONE)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    sizes = (2, 3, 4, 5, 6, 3, 2, 4, 5, 3)
    folder = make_set(tmp_path_factory.mktemp("set"), sizes)
    return GraphStore.from_samples(find_samples(folder), LAYOUT, with_overlap=True)


class Sizes:
    """A source that knows sizes only."""

    def __init__(self, sizes):
        self.sizes = np.asarray(sizes, dtype=np.int64)


def batcher(sizes, batch_size, **options):
    return Batcher(Sizes(sizes), range(len(sizes)), batch_size, **options)


class TestMakeBatch:
    def test_every_array(self, store):
        items = [store.item(4), store.item(0)]
        graphs = [item.graph for item in items]
        atoms, edges = 8, sum(graph.n_edges for graph in graphs)
        batch = make_batch(items, (atoms + 2, edges + 5), np.float32)
        n, first = graphs[0].n_edges, graphs[0].n_atoms
        assert batch["atom_mask"].tolist() == [1] * 8 + [0] * 2
        assert batch["edge_mask"].sum() == edges
        np.testing.assert_array_equal(batch["structure"][:8], [0] * 6 + [1] * 2)
        np.testing.assert_array_equal(batch["edge_structure"][n:edges], 1)
        np.testing.assert_array_equal(batch["sender"][n:edges], graphs[1].sender + first)
        np.testing.assert_array_equal(batch["receiver"][n:edges], graphs[1].receiver + first)
        np.testing.assert_array_equal(batch["reverse"][n:edges], graphs[1].reverse + n)
        np.testing.assert_array_equal(batch["reverse"][edges:], np.arange(edges, edges + 5))
        assert set(batch["receiver"][edges:]) == {9}
        np.testing.assert_array_equal(batch["vector"][edges:], [[0, 0, 1]] * 5)
        np.testing.assert_array_equal(batch["node_label"][6:8], items[1].node.astype(np.float32))
        np.testing.assert_array_equal(batch["edge_label"][:n], items[0].edge.astype(np.float32))
        np.testing.assert_array_equal(batch["overlap_node"][:6], items[0].overlap[0])
        assert {array.dtype for array in batch.values()} == {np.dtype("f4"), np.dtype("i4")}

    def test_no_padding(self, store):
        batch = make_batch([store.item(1)], None, np.float64)
        assert batch["atom_mask"].all()
        assert batch["edge_mask"].all()
        assert batch["vector"].dtype == np.float64


class TestShapes:
    @given(st.lists(st.integers(1, 30), min_size=1, max_size=9), st.integers(1, 4))
    def test_the_best_there_are(self, sizes, most):
        """Against trying all choices."""
        values = np.array(sizes)

        def padding(shapes):
            ends = np.sort(shapes)
            return int(sum(ends[np.searchsorted(ends, value)] - value for value in sizes))

        found = choose_shapes(values, most)
        assert len(found) <= most
        distinct = sorted(set(sizes))
        others = itertools.combinations(distinct[:-1], min(most, len(distinct)) - 1)
        best = min(padding([*other, distinct[-1]]) for other in others)
        assert padding(found) == best

    def test_many_sizes(self, rng):
        sizes = rng.integers(100, 20_000, 5000)
        found = choose_shapes(sizes, 8)
        assert len(found) == 8
        assert found[-1] == sizes.max()

    @pytest.mark.parametrize("batch_size", [1, 4, 16])
    @pytest.mark.parametrize("kind", ["even", "two", "uniform", "wild"])
    def test_at_most_a_fifth_is_padding(self, rng, kind, batch_size):
        edges = {
            "even": np.full(200, 60),
            "two": np.repeat([40, 400], 100),
            "uniform": rng.integers(100, 2000, 200),
            "wild": np.exp(rng.uniform(3, 8, 200)).astype(int),
        }[kind]
        sizes = np.column_stack([np.maximum(edges // 20, 1), edges])
        made = batcher(sizes, batch_size)
        assert made.padding_waste <= 0.2
        assert len(made.shapes) <= 8

    @pytest.mark.parametrize("parts", [1, 2, 3])
    @pytest.mark.parametrize("batch_size", [1, 3, 7])
    def test_every_batch_of_every_epoch_has_its_place(self, rng, parts, batch_size):
        """All structures once an epoch; a shape with room for them and for padded edges."""
        edges = rng.integers(5, 100, 40)
        edges[7] = 0
        sizes = np.column_stack([rng.integers(1, 9, 40), edges])
        made = batcher(sizes, batch_size, parts=parts)
        for epoch in range(12):
            plan = made.plan(epoch)
            assert sorted(np.concatenate(plan).tolist()) == list(range(40))
            for batch in plan:
                size = made._size(batch)
                atoms, edges = made._shape(size)
                assert (atoms, edges) in made.shapes
                assert size[0] < atoms or (size[1] == edges and size[0] == atoms)

    def test_even_structures_are_not_padded(self):
        made = batcher([(3, 6)] * 40, 10)
        assert made.shapes == [(30, 60)]
        assert made.padding_waste == 0.0
        assert made.steps_per_epoch == 4

    def test_one_shape_for_all(self, rng):
        sizes = np.column_stack([np.full(30, 5), rng.integers(50, 99, 30)])
        assert len(batcher(sizes, 4, max_shapes=1).shapes) == 1

    def test_batches_by_edges_are_of_much_the_same_size(self, rng):
        edges = np.exp(rng.uniform(4, 7, 300)).astype(int)
        made = batcher(np.column_stack([edges // 20 + 1, edges]), 8)
        totals = [edges[batch].sum() for batch in made.plan(3)[:-1]]
        assert max(totals) <= 8 * edges.mean() + 1
        assert min(totals) > 4 * edges.mean()


class TestOrder:
    def test_a_pure_function_of_seed_epoch_and_step(self, store):
        first = Batcher(store, range(10), 3, seed=4)
        again = Batcher(store, range(10), 3, seed=4)
        for step in reversed(range(again.steps_per_epoch)):
            one, two = first.batch(2, step), again.batch(2, step)
            assert all(np.array_equal(one[name], two[name]) for name in one)
            assert first.members(2, step) == again.members(2, step)

    def test_epochs_and_seeds_differ(self, store):
        made = Batcher(store, range(10), 3, seed=4)
        other = Batcher(store, range(10), 3, seed=5)
        orders = [np.concatenate(x.plan(k)).tolist() for x, k in ((made, 0), (made, 1), (other, 0))]
        assert orders[0] != orders[1]
        assert orders[0] != orders[2]

    def test_without_shuffling(self, store):
        made = Batcher(store, [3, 1, 2], 2, shuffle=False)
        assert [made.members(7, step) for step in range(len(made.plan(7)))] == [[3, 1], [2]]

    def test_it_does_not_depend_on_what_was_asked_before(self, store):
        made = Batcher(store, range(10), 3, seed=4)
        for epoch in range(20):
            made.plan(epoch)
        fresh = Batcher(store, range(10), 3, seed=4)
        assert all(map(np.array_equal, made.plan(1), fresh.plan(1)))

    def test_a_batch_larger_than_the_set(self, store):
        assert Batcher(store, range(4), 100).steps_per_epoch == 1


class TestDevices:
    @pytest.mark.parametrize("parts", [2, 3])
    def test_the_same_structures_on_any_number(self, store, parts):
        one = Batcher(store, range(10), 4, seed=1)
        many = Batcher(store, range(10), 4, seed=1, parts=parts)
        assert many.steps_per_epoch == one.steps_per_epoch
        for step in range(one.steps_per_epoch):
            whole, shared = one.batch(0, step), many.batch(0, step)
            assert {len(array) for array in shared.values()} == {parts}
            for name in ("atom_mask", "edge_mask"):
                assert shared[name].sum() == whole[name].sum()
            for name in ("node_label", "edge_label"):
                np.testing.assert_allclose(shared[name].sum(), whole[name].sum(), rtol=1e-5)

    def test_more_devices_than_structures(self, store):
        batch = Batcher(store, [2], 4, parts=3).batch(0, 0)
        assert batch["atom_mask"].sum(1).tolist() == [4, 0, 0]
        assert (np.linalg.norm(batch["vector"], axis=-1) > 0.5).all()

    def test_loads_are_balanced(self, rng):
        edges = rng.integers(50, 500, 64)
        made = batcher(np.column_stack([edges // 10, edges]), 16, parts=4)
        for batch in made.plan(0)[:-1]:
            loads = [edges[share].sum() for share in made._shares(batch)]
            assert max(loads) < 1.5 * np.mean(loads)


class TestPrefetch:
    def test_the_rest_of_an_epoch(self, store):
        made = Batcher(store, range(10), 2, seed=3)
        found = list(made.prefetch(1, 2))
        assert len(found) == len(made.plan(1)) - 2
        for step, batch in enumerate(found, 2):
            np.testing.assert_array_equal(batch["vector"], made.batch(1, step)["vector"])

    def test_an_error_comes_through_and_the_thread_ends(self, store):
        class Broken(Sizes):
            def item(self, index):
                raise MemoryError("no room")

        made = Batcher(Broken(store.sizes), range(10), 2)
        before = threading.active_count()
        with pytest.raises(MemoryError, match="no room"):
            next(made.prefetch(0))
        assert threading.active_count() == before

    def test_stopping_early_ends_the_thread(self, store):
        before = threading.active_count()
        batches = Batcher(store, range(10), 1).prefetch(0)
        next(batches)
        batches.close()
        assert threading.active_count() == before

    def test_examples_cover_the_shapes_in_use(self, store):
        made = Batcher(store, range(10), 3, seed=4)
        examples = {(len(x["species"]), len(x["receiver"])) for x in made.examples()}
        used = {made._shape(made._size(batch)) for batch in made.plan(0)}
        assert examples == used
