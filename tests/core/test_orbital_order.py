"""Another orbital order for a whole matrix."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from synthetic import hermitian_matrices

from dock.core.basis import Basis
from dock.core.orbital_order import reorder_entries, shell_orders
from dock.core.reorder import Reorder
from dock.errors import ConventionError, LayoutError

CODES = st.sampled_from(["openmx", "siesta", "abacus", "aims"])


def test_table_of_the_codes():
    """Facts: which of our functions stands where, and with which sign."""
    basis = Basis.from_ls({"X": [0, 1, 2]}, ("X",))
    openmx = shell_orders(basis, "openmx")["X"]
    assert openmx.permutation.tolist() == [0, 3, 1, 2, 6, 8, 4, 7, 5]  # s; x y z; z2 x2 xy xz yz
    assert set(openmx.signs.tolist()) == {1}
    siesta = shell_orders(basis, "siesta")["X"]
    assert siesta.permutation.tolist() == list(range(9))
    assert siesta.signs.tolist() == [1, -1, 1, -1, 1, -1, 1, -1, 1]


def test_sorted_shells():
    basis = Basis.from_ls({"X": [1, 0, 0]}, ("X",))
    order = shell_orders(basis, "openmx", sort_by_l=True)["X"]
    assert order.permutation.tolist() == [3, 4, 2, 0, 1]  # s0 s1 x y z
    assert shell_orders(basis, "openmx")["X"].permutation.tolist() == [2, 0, 1, 3, 4]


@given(hermitian_matrices(), CODES, st.booleans())
def test_a_dense_matrix_is_permuted_and_signed(matrix, code, by_l):
    """O' = P O Pᵀ with one block-diagonal P, and the inverse order undoes it."""
    orders = shell_orders(matrix.basis, code, sort_by_l=by_l)
    turned = reorder_entries(matrix.entries, matrix.basis, matrix.pairs, orders)
    back = {label: order.inverse for label, order in orders.items()}
    undone = reorder_entries(turned, matrix.basis, matrix.pairs, back)
    np.testing.assert_array_equal(undone, matrix.entries)
    layout = matrix.layout
    for pair in range(len(matrix.pairs)):
        i, j = int(matrix.pairs.i[pair]), int(matrix.pairs.j[pair])
        left, right = orders[matrix.basis.labels[i]], orders[matrix.basis.labels[j]]
        begin, end = layout.starts[pair : pair + 2]
        shape = (-1, layout.rows[pair], layout.cols[pair])
        before = matrix.entries[:, begin:end].reshape(shape)
        after = turned[:, begin:end].reshape(shape)
        P, Q = np.diag(left.signs)[:, :], np.diag(right.signs)
        expected = P @ before[:, left.permutation][:, :, right.permutation] @ Q
        np.testing.assert_array_equal(after, expected)


def test_the_given_array_is_left_as_it_is(rng):
    from synthetic import random_case

    matrix = random_case(2)
    before = matrix.entries.copy()
    reorder_entries(
        matrix.entries, matrix.basis, matrix.pairs, shell_orders(matrix.basis, "siesta")
    )
    np.testing.assert_array_equal(matrix.entries, before)


def test_refusals():
    from synthetic import random_case

    matrix = random_case(2)
    with pytest.raises(ConventionError, match="nonsense"):
        shell_orders(matrix.basis, "nonsense")
    label = matrix.basis.species[0]
    for wrong in ({}, {label: Reorder(np.array([0]), np.array([1]))}):
        orders = shell_orders(matrix.basis, "openmx")
        size = len(orders.pop(label))
        if wrong and size == 1:
            continue
        with pytest.raises(LayoutError, match=f"an order of {size} orbitals is needed"):
            reorder_entries(matrix.entries, matrix.basis, matrix.pairs, orders | wrong)
