"""Signed permutations of orbitals: group properties and refusals."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from dock.core.reorder import OrbitalLabel, Reorder, reorder_orbitals
from dock.errors import ConventionError


@st.composite
def changes(draw, n=None):
    size = draw(st.integers(0, 12)) if n is None else n
    permutation = draw(st.permutations(range(size)))
    signs = draw(st.lists(st.sampled_from([-1, 1]), min_size=size, max_size=size))
    return Reorder(np.array(permutation, dtype=np.int64), np.array(signs, dtype=np.int8))


@st.composite
def several(draw, count):
    size = draw(st.integers(0, 12))
    return [draw(changes(size)) for _ in range(count)]


@given(changes())
def test_the_inverse_undoes(change):
    assert change.then(change.inverse) == Reorder.identity(len(change))
    assert change.inverse.then(change).is_identity
    assert change.inverse.inverse == change
    np.testing.assert_array_equal(change.inverse.matrix(), change.matrix().T)


@given(several(3))
def test_composition_is_the_product_of_the_matrices(three):
    a, b, c = three
    np.testing.assert_array_equal(a.then(b).matrix(), b.matrix() @ a.matrix())
    assert a.then(b).then(c) == a.then(b.then(c))
    assert a.then(b).inverse == b.inverse.then(a.inverse)
    assert a.then(Reorder.identity(len(a))) == a


@given(several(2))
def test_applying_is_multiplying_with_the_matrix(two):
    rows, columns = two
    n = len(rows)
    values = np.arange(3.0 * n * n).reshape(3, n, n) + 1j
    M, N = rows.matrix(), columns.matrix()
    np.testing.assert_array_equal(rows.apply_vector(values), values @ M.T)
    np.testing.assert_array_equal(rows.apply_vector(values, axis=1), M @ values)
    np.testing.assert_array_equal(rows.apply_block(values), M @ values @ M.T)
    np.testing.assert_array_equal(rows.apply_block(values, columns), M @ values @ N.T)


@given(several(2))
def test_equal_changes_hash_alike(two):
    a, b = two
    assert a == Reorder(a.permutation.copy(), a.signs.copy())
    assert hash(a) == hash(Reorder(a.permutation.copy(), a.signs.copy()))
    assert (a == b) == bool((a.matrix() == b.matrix()).all())
    assert a != "a change"


@given(st.lists(changes(), max_size=4))
def test_concatenation_is_block_diagonal(parts):
    joined = Reorder.concatenate(parts)
    values = [np.arange(1.0, len(part) + 1) for part in parts]
    expected = [part.apply_vector(v) for part, v in zip(parts, values, strict=True)]
    assert len(joined) == sum(map(len, parts))
    np.testing.assert_array_equal(
        joined.apply_vector(np.concatenate([[], *values])), np.concatenate([[], *expected])
    )


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128", "int64"])
def test_the_type_of_the_data_stays(dtype):
    change = Reorder(np.array([1, 0]), np.array([1, -1]))
    assert change.apply_block(np.eye(2, dtype=dtype)).dtype == dtype


def test_blocks_between_different_atoms():
    rows = Reorder(np.array([1, 0]), np.array([1, -1]))
    block = np.arange(6.0).reshape(2, 3)
    turned = rows.apply_block(block, Reorder.identity(3))
    np.testing.assert_array_equal(turned, [[3, 4, 5], [0, -1, -2]])


def test_the_arrays_are_typed_copied_and_read_only():
    given_order = np.array([1, 0], dtype=np.int32)
    change = Reorder(given_order, np.array([1.0, -1.0]))
    given_order[:] = 0
    assert change.permutation.tolist() == [1, 0]
    assert change.permutation.dtype == np.int64
    assert change.signs.dtype == np.int8
    with pytest.raises(ValueError, match="read-only"):
        change.signs[0] = -1
    assert not change.is_identity


@pytest.mark.parametrize(
    ("permutation", "signs", "message"),
    [
        ([0, 0], [1, 1], "permutation"),
        ([1, 2], [1, 1], "permutation"),
        ([[0, 1]], [1, 1], "permutation"),
        ([0, 1], [1], "signs"),
        ([0, 1], [1, 0], "signs"),
        ([0, 1], [1, 2], "signs"),
    ],
)
def test_what_is_no_signed_permutation(permutation, signs, message):
    with pytest.raises(ConventionError, match=message):
        Reorder(np.array(permutation), np.array(signs))


def test_data_of_another_size():
    change = Reorder.identity(3)
    with pytest.raises(ConventionError, match="has 4 orbitals; expected 3"):
        change.apply_vector(np.zeros(4))
    with pytest.raises(ConventionError, match="has 2 orbitals; expected 3"):
        change.apply_block(np.zeros((3, 2)))
    with pytest.raises(ConventionError, match="has 3 orbitals; expected 2"):
        change.then(Reorder.identity(2))


def test_orbitals_named_one_by_one():
    # A file with p before s, its p shell x, y, z with a minus on x.
    source = [OrbitalLabel(7, 1, -1), OrbitalLabel(7, -1), OrbitalLabel(7, 0), OrbitalLabel(2, 0)]
    change = reorder_orbitals(source)
    assert change.permutation.tolist() == [3, 1, 2, 0]
    assert change.signs.tolist() == [1, 1, 1, -1]
    assert reorder_orbitals(source, source).is_identity
    target = [(7, 0, -1), (2, 0, 1), (7, 1, 1), (7, -1, 1)]
    assert reorder_orbitals(source, target) == change.then(
        reorder_orbitals([(2, 0, 1), (7, -1, 1), (7, 0, 1), (7, 1, 1)], target)
    )


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ([(0, 0, 1), (0, 0, 1)], None),
        ([(0, 0, 1)], [(1, 0, 1)]),
        ([(0, 0, 1)], [(0, 0, 1), (0, 0, 1)]),
        ([(0, 0, 1), (1, 0, 1)], [(0, 0, 1)]),
    ],
)
def test_orbitals_that_do_not_match(source, target):
    with pytest.raises(ConventionError, match="each once"):
        reorder_orbitals(source, target)
