"""Moving blocks in a flat array, against loops over them."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from synthetic import seeds

from dock.core import blocks
from dock.core.blocks import BlockLayout


def random_layout(seed, n_blocks=20):
    """A layout with few different shapes, and random entries of two components."""
    rng = np.random.default_rng(seed)
    layout = BlockLayout(*rng.choice([1, 3, 4], (2, n_blocks)))
    return layout, rng.normal(size=(2, layout.n_entries)), rng


def naive(layout, entries):
    """The blocks one by one."""
    return [
        entries[:, begin : begin + rows * cols].reshape(len(entries), rows, cols)
        for begin, rows, cols in zip(layout.starts, layout.rows, layout.cols, strict=False)
    ]


@pytest.fixture(params=[1, 10, 2**18], autouse=True)
def slice_length(request, monkeypatch):
    """Every result must be the same however small the slices are."""
    monkeypatch.setattr(blocks, "_SLICE", request.param)


@pytest.mark.parametrize("seed", range(8))
def test_starts_and_groups(seed):
    layout, _, rng = random_layout(seed)
    sizes = layout.rows * layout.cols
    np.testing.assert_array_equal(layout.starts, np.concatenate([[0], np.cumsum(sizes)]))
    kind = rng.integers(0, 3, layout.n_blocks)
    seen = []
    for group in layout.groups(kind):
        assert np.all(layout.rows[group.index] == group.rows)
        assert np.all(layout.cols[group.index] == group.cols)
        assert np.all(kind[group.index] == group.kind)
        seen += group.index.tolist()
    assert sorted(seen) == list(range(layout.n_blocks))


@pytest.mark.parametrize("seed", range(8))
def test_read_and_write(seed):
    layout, entries, _ = random_layout(seed)
    copy = np.zeros_like(entries)
    single = naive(layout, entries)
    for group in layout.groups():
        found = layout.read(entries, group)
        np.testing.assert_array_equal(found, np.stack([single[b] for b in group.index], axis=1))
        layout.write(copy, group, found)
    np.testing.assert_array_equal(copy, entries)


@pytest.mark.parametrize("seed", range(8))
def test_take(seed):
    layout, entries, rng = random_layout(seed)
    chosen = rng.integers(0, layout.n_blocks, 15)
    wanted = np.concatenate([naive(layout, entries)[b].reshape(2, -1) for b in chosen], axis=1)
    np.testing.assert_array_equal(layout.take(entries, chosen), wanted)


@pytest.mark.parametrize("seed", range(8))
def test_transpose(seed):
    rng = np.random.default_rng(seed)
    half = rng.choice([1, 3, 4], (2, 10))
    order = rng.permutation(20)
    layout = BlockLayout(*np.concatenate([half, half[::-1]], axis=1)[:, order])
    partner = np.argsort(order)[(order + 10) % 20]
    entries = rng.normal(size=(2, layout.n_entries)) + 1j
    turned = naive(layout, layout.transpose(entries, partner))
    for block, other in zip(turned, partner, strict=True):
        np.testing.assert_array_equal(block, naive(layout, entries)[other].swapaxes(1, 2))


def test_block_max():
    layout, entries, _ = random_layout(3)
    wanted = [np.abs(block).max() for block in naive(layout, entries)]
    np.testing.assert_array_equal(layout.block_max(entries), wanted)


def test_no_blocks():
    layout = BlockLayout(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    assert layout.n_entries == layout.n_blocks == 0
    assert list(layout.groups()) == []
    assert layout.take(np.zeros((1, 0)), np.zeros(0, dtype=np.int64)).shape == (1, 0)


def test_blocks_that_follow_each_other_are_a_view():
    layout = BlockLayout(np.full(6, 3), np.full(6, 4))
    entries = np.zeros((2, layout.n_entries))
    for group in layout.groups():
        assert isinstance(layout.place(group), slice)
        assert np.shares_memory(layout.read(entries, group), entries)


@given(seeds, st.integers(1, 40))
def test_read_from_other_starts(seed, n_blocks):
    layout, entries, rng = random_layout(seed, n_blocks)
    for group in layout.groups():
        starts = rng.integers(0, layout.n_entries - group.rows * group.cols + 1, len(group.index))
        found = layout.read(entries, group, starts)
        for block, begin in zip(found.swapaxes(0, 1), starts, strict=True):
            flat = entries[:, begin : begin + group.rows * group.cols]
            np.testing.assert_array_equal(block.reshape(2, -1), flat)
