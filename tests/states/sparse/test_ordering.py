"""Nested dissection by smallest separators, and the fronts that an order makes."""

import hypothesis.strategies as st
import numpy as np
import scipy.sparse
from hypothesis import given
from scipy.sparse.csgraph import maximum_flow

from dock.core.structure import Structure
from dock.states.sparse._ordering_kernels import smallest_separators
from dock.states.sparse.fronts import eliminate
from dock.states.sparse.ordering import dissect


def random_graph(seed, n_atoms, coupling):
    """A symmetric random graph with its diagonal, and orbital counts."""
    rng = np.random.default_rng(seed)
    dense = rng.random((n_atoms, n_atoms)) < coupling
    dense = dense | dense.T | np.eye(n_atoms, dtype=bool)
    return scipy.sparse.csr_array(dense.astype(float)), rng.integers(1, 5, n_atoms)


def torus(side, reach=1):
    """A square sheet that closes on itself, and its structure."""
    x, y = np.divmod(np.arange(side * side), side)
    steps = [(a, b) for a in range(-reach, reach + 1) for b in range(-reach, reach + 1)]
    cols = [(x + a) % side * side + (y + b) % side for a, b in steps if a * a + b * b <= reach**2]
    rows = np.tile(np.arange(side * side), len(cols))
    graph = scipy.sparse.coo_array((np.ones(len(rows)), (rows, np.concatenate(cols)))).tocsr()
    graph.sum_duplicates()
    positions = np.stack([x, y, np.full(side * side, 5.0)], axis=1).astype(float)
    return graph, Structure(np.diag([side, side, 10.0]), positions, [6] * side**2)


def dense_fill(graph, sizes, order):
    """The entries of one triangle of the factor, by elimination of a dense pattern."""
    pattern = graph.toarray()[order][:, order] != 0
    sizes, count = sizes[order], 0
    for k in range(len(order)):
        touched = np.flatnonzero(pattern[k, k + 1 :]) + k + 1
        count += sizes[k] * (sizes[k] + 1) // 2 + sizes[k] * sizes[touched].sum()
        pattern[np.ix_(touched, touched)] = True
    return count


@given(st.integers(0, 10**6), st.integers(2, 40), st.floats(0, 0.3))
def test_a_separator_is_as_small_as_the_largest_flow(seed, n, coupling):
    graph, sizes = random_graph(seed, n, coupling)
    graph.setdiag(0)
    graph.eliminate_zeros()
    rng = np.random.default_rng(seed)
    side = rng.permutation(np.repeat([0, 1, 2], [n // 4 + 1, n - 2 * (n // 4) - 1, n // 4]))
    if not (side == 2).any():
        return
    found, *labels = smallest_separators(
        graph.indptr.astype(np.int64),
        graph.indices.astype(np.int64),
        sizes,
        side.astype(np.int8),
    )
    touch = graph.toarray() != 0
    assert found == (not touch[np.ix_(side == 0, side == 2)].any())
    if not found:
        return
    # SciPy's flow through nodes split into two; what is outside may flow without limit.
    limit = int(sizes.sum()) + 1
    capacity = np.where(side == 1, sizes, limit)
    network = np.zeros((2 * n + 2, 2 * n + 2), dtype=np.int32)
    network[np.arange(n), n + np.arange(n)] = capacity
    network[n : 2 * n, :n] = np.where(touch, limit, 0)
    network[2 * n, :n] = np.where(side == 0, limit, 0)
    network[n : 2 * n, 2 * n + 1] = np.where(side == 2, limit, 0)
    flow = maximum_flow(scipy.sparse.csr_array(network), 2 * n, 2 * n + 1).flow_value
    for label in labels:
        assert sizes[label == 1].sum() == flow
        assert not touch[np.ix_(label == 0, label == 2)].any()
        assert np.all(label[side == 0] == 0)
        assert np.all(label[side == 2] == 2)


@given(st.integers(0, 10**6), st.integers(1, 60), st.floats(0, 0.2))
def test_fronts_hold_every_atom_once_and_the_fill(seed, n, coupling):
    graph, sizes = random_graph(seed, n, coupling)
    order = dissect(graph, sizes)
    assert sorted(order.tolist()) == list(range(n))
    fronts = eliminate(graph, sizes, order)
    atoms = np.concatenate([front.atoms for front in fronts])
    assert sorted(atoms.tolist()) == list(range(n))
    place = np.empty(n, dtype=int)
    place[atoms] = np.arange(n)
    for number, front in enumerate(fronts):
        assert front.n_all == sizes[front.atoms].sum() + sizes[front.boundary].sum()
        assert np.all(np.diff(place[front.boundary]) > 0)
        assert (front.parent < 0) == (len(front.boundary) == 0)
        if front.parent >= 0:
            parent = fronts[front.parent]
            assert front.parent > number
            assert number in parent.children
            rows = np.repeat(
                np.concatenate([parent.atoms, parent.boundary]),
                sizes[np.concatenate([parent.atoms, parent.boundary])],
            )
            expected = np.repeat(front.boundary, sizes[front.boundary])
            np.testing.assert_array_equal(rows[front.into], expected)
    assert sum(front.n_entries for front in fronts) >= dense_fill(graph, sizes, order)


def test_a_sheet_that_closes_on_itself_is_cut_twice():
    graph, structure = torus(24)
    sizes = np.ones(24 * 24, dtype=np.int64)
    known, unknown = dissect(graph, sizes, structure), dissect(graph, sizes)
    # The last two rings separate the sheet: 48 atoms, of which no order can do with fewer.
    for order in (known, unknown):
        fill = dense_fill(graph, sizes, order)
        assert fill < 9000, fill  # rows after rows: 26 500
    np.testing.assert_array_equal(known, dissect(graph, sizes, structure))
    fronts = eliminate(graph, sizes, known)
    assert max(front.n_all for front in fronts) < 4 * 24


def test_parts_that_do_not_touch_and_a_single_atom():
    graph = scipy.sparse.csr_array(np.eye(500))
    sizes = np.full(500, 3)
    order = dissect(graph, sizes)
    assert sorted(order.tolist()) == list(range(500))
    fronts = eliminate(graph, sizes, order)
    assert sum(front.n_entries for front in fronts) == 500 * 6
    one = eliminate(graph[:1][:, :1], sizes[:1], np.array([0]))
    assert (one[0].n_own, one[0].n_all) == (3, 3)


def test_a_quick_order_takes_little_more_fill():
    """It tells at once what a factorisation would take: from a tenth of the cuts."""
    sheet = 20
    lattice = np.arange(sheet)
    ring = np.zeros((sheet, sheet))
    ring[lattice, (lattice + 1) % sheet] = ring[(lattice + 1) % sheet, lattice] = 1
    one = np.eye(sheet)
    graph = scipy.sparse.csr_array(np.kron(ring, one) + np.kron(one, ring) + np.kron(one, one))
    sizes = np.full(sheet * sheet, 13, dtype=np.int64)
    work = [
        sum(front.n_operations for front in eliminate(graph, sizes, order))
        for order in (dissect(graph, sizes), dissect(graph, sizes, quick=True))
    ]
    assert work[1] < 1.5 * work[0]
