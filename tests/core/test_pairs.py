"""Pairs against a dictionary of (R, i, j)."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from synthetic import (
    pairs_of,
    random_pairs,
    random_structure,
    seeds,
    triple_sets,
    triples_of,
)

from dock.core.pairs import Pairs
from dock.errors import LayoutError

EXACT = 1e-12  # Å
FAR = 2**20 - 2  # the farthest lattice vector that is allowed


@given(triple_sets(), triple_sets(reach=3))
def test_find(triples, queries):
    pairs = pairs_of(triples, 3)
    place = {key: index for index, key in enumerate(triples)}
    queries = [*queries, *triples, ((FAR, 0, 0), 0, 0), ((2**40, -(2**40), 0), 1, 1)]
    wanted = [place.get(key, -1) for key in queries]
    R, i, j = (np.array([query[part] for query in queries]) for part in range(3))
    np.testing.assert_array_equal(pairs.find(R, i, j), wanted)
    for query, index in zip(queries, wanted, strict=True):
        assert int(pairs.find(*query)) == index


def test_find_outside_the_cell():
    pairs = pairs_of([((0, 0, 0), 0, 1), ((0, 0, 1), 1, 0), ((0, 0, 0), 0, 0)], 2)
    # (0, 1) with two atoms has the key of (−1, 3) and of (1, −1): neither may be found.
    assert pairs.find([[0, 0, 0]] * 4, [-1, 1, 0, 2**62], [3, -1, 2, 0]).tolist() == [-1] * 4
    assert pairs.find(np.zeros((2, 3)), 0, [0, 1]).tolist() == [2, 0]
    with pytest.raises(LayoutError, match="R needs three components"):
        pairs.find([0, 0], 0, 0)


def test_find_among_none():
    empty = pairs_of([], 2)
    assert len(empty) == 0
    assert empty.find(np.zeros((4, 3)), 0, 1).tolist() == [-1] * 4
    assert empty.is_closed
    assert empty.lattice_vectors.shape == (0, 3)
    assert empty.periodic_axes == (False, False, False)
    assert empty.union(empty).is_same(empty)


@given(triple_sets())
def test_partner(triples):
    pairs = pairs_of(triples, 3)
    place = {key: index for index, key in enumerate(triples)}
    wanted = [place.get((tuple(-x for x in R), j, i), -1) for R, i, j in triples]
    np.testing.assert_array_equal(pairs.partner, wanted)
    assert pairs.is_closed == (-1 not in wanted)
    if pairs.is_closed:
        np.testing.assert_array_equal(pairs.require_closed(), wanted)
    else:
        first = pairs.describe(wanted.index(-1))
        with pytest.raises(LayoutError) as caught:
            pairs.require_closed()
        assert f"{first} has no partner (−R, j, i) ({wanted.count(-1)} of" in str(caught.value)


@given(triple_sets(), triple_sets())
def test_union_and_difference(first, second):
    mine, other = pairs_of(first, 3), pairs_of(second, 3)
    union = mine.union(other)
    assert triples_of(union) == first + [key for key in second if key not in first]
    assert (mine.difference(other) == "") == (set(first) == set(second))
    assert mine.is_same(other) == (first == second)
    only = len(set(first) - set(second))
    assert (f"{only} pairs only in the first" in mine.difference(other)) == (only > 0)
    assert mine.difference(other, show=1).count("R=") <= 2


@given(triple_sets(), seeds)
def test_take_and_row_order(triples, seed):
    pairs = pairs_of(triples, 3)
    order = np.random.default_rng(seed).permutation(len(triples))[: len(triples) // 2]
    assert triples_of(pairs.take(order)) == [triples[index] for index in order]
    ordered = triples_of(pairs.take(pairs.row_order()))
    assert ordered == sorted(triples, key=lambda key: (key[1], key[2], key[0]))


@given(triple_sets())
def test_lattice(triples):
    pairs = pairs_of(triples, 3)
    assert [tuple(R) for R in pairs.lattice_vectors.tolist()] == sorted({key[0] for key in triples})
    np.testing.assert_array_equal(pairs.lattice_vectors[pairs.lattice_index], pairs.R)
    wanted = tuple(any(key[0][axis] for key in triples) for axis in range(3))
    assert pairs.periodic_axes == wanted
    onsite = [index for index, (R, i, j) in enumerate(triples) if i == j and R == (0, 0, 0)]
    assert pairs.onsite.tolist() == onsite


@given(st.lists(st.sampled_from([-FAR, -1, 0, 1, FAR]), min_size=3, max_size=3))
def test_far_lattice_vectors(R):
    pairs = pairs_of([(tuple(R), 0, 0)], 1)
    assert pairs.lattice_vectors.tolist() == [R]
    assert int(pairs.find(R, 0, 0)) == 0
    assert int(pairs.find(np.add(R, [0, 0, 1]), 0, 0)) == -1


def test_describe():
    assert pairs_of([((0, -1, 2), 1, 0)], 2).describe(0) == "(R=(0, -1, 2), i=1, j=0)"


@pytest.mark.parametrize(
    ("R", "i", "j", "message"),
    [
        (
            [[0, 0, 0]],
            [2],
            [0],
            "atom index i runs from 2 to 2, but the structure has atoms 0 to 1",
        ),
        ([[0, 0, 0]], [0], [-1], "atom index j runs from -1 to -1"),
        ([[0, 0, 0]], [2**32], [0], "int32 can hold"),
        ([[0, 0, 2**32]], [0], [0], "int32 can hold"),
        ([[0, 0, -(2**31)]], [0], [0], "more than a million cells away"),
        ([[0, FAR + 1, 0]], [0], [0], "more than a million cells away"),
        ([[0, 0, 0.5]], [0], [0], "whole numbers"),
        ([[0, 0, np.nan]], [0], [0], "whole numbers"),
        ([[0, 0]], [0], [0], r"R: expected shape \(1, 3\), found \(1, 2\)"),
        ([[0, 0, 0]], [0], [0, 1], r"j: expected shape \(1\), found \(2,\)"),
        (
            [[0, 0, 1]] * 3,
            [0, 1, 0],
            [1, 0, 1],
            r"\(R=\(0, 0, 1\), i=0, j=1\) occurs twice \(1 such",
        ),
    ],
)
def test_errors(R, i, j, message):
    with pytest.raises(LayoutError, match=message):
        Pairs(np.array(R), np.array(i), np.array(j), 2)


def test_union_of_different_cells():
    with pytest.raises(LayoutError, match="pairs of 2 atoms meet pairs of 3 atoms"):
        pairs_of([], 2).union(pairs_of([], 3))


def test_nobody_changes_them_from_outside(rng):
    pairs = random_pairs(rng, 2)
    R = np.array(pairs.R)
    copy = Pairs(R, pairs.i, pairs.j, 2)
    R += 1
    assert copy.is_same(pairs)
    for array in (pairs.R, pairs.partner, pairs.lattice_vectors, pairs.lattice_index):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_many_pairs_are_found_at_once():
    rng = np.random.default_rng(1)
    R = rng.integers(-50, 51, (200_000, 3))
    i, j = rng.integers(0, 500, (2, 200_000))
    _, once = np.unique(np.column_stack([R, i, j]), axis=0, return_index=True)
    pairs = Pairs(R[once], i[once], j[once], 500)
    np.testing.assert_array_equal(pairs.find(pairs.R, pairs.i, pairs.j), np.arange(len(once)))


@given(seeds)
def test_vectors_and_lengths_are_the_naive_loop(seed):
    rng = np.random.default_rng(seed)
    structure = random_structure(rng, 4)
    pairs = random_pairs(rng, 4)
    wanted = [
        structure.positions[j] + np.array(R) @ structure.cell - structure.positions[i]
        for R, i, j in triples_of(pairs)
    ]
    np.testing.assert_allclose(pairs.vectors(structure), wanted, atol=EXACT)
    np.testing.assert_allclose(pairs.lengths(structure), np.linalg.norm(wanted, axis=1), atol=EXACT)


def test_vectors_need_the_structure_of_the_pairs():
    structure = random_structure(np.random.default_rng(1), 4)
    with pytest.raises(LayoutError, match="pairs of 2 atoms have no place in a structure of 4"):
        pairs_of([((0, 0, 0), 0, 1)], 2).vectors(structure)


def test_an_atom_and_its_image_are_not_on_site():
    pairs = pairs_of([((0, 0, 0), 1, 1), ((0, 0, 0), 0, 1), ((0, 0, 1), 1, 1)], 2)
    assert pairs.is_onsite.tolist() == [True, False, False]
    assert pairs.onsite.tolist() == [0]
