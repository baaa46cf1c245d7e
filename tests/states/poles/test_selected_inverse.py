"""Selected inverses, inertia counts."""

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given

from dock.errors import SolverError
from dock.states.poles.selected_inverse import SelectedInverse


def random_pattern(seed, n_atoms, coupling):
    """A symmetric random graph with its diagonal, and orbital counts."""
    rng = np.random.default_rng(seed)
    dense = rng.random((n_atoms, n_atoms)) < coupling
    dense = dense | dense.T | np.eye(n_atoms, dtype=bool)
    return scipy.sparse.csr_array(dense.astype(float)), rng.integers(1, 5, n_atoms)


@given(st.integers(0, 10**6), st.integers(1, 25), st.floats(0, 0.4), st.integers(1, 2))
def test_entries_of_the_inverse(seed, n_atoms, coupling, threads):
    graph, sizes = random_pattern(seed, n_atoms, coupling)
    atom_of = np.repeat(np.arange(n_atoms), sizes)
    pattern = graph[atom_of][:, atom_of].tocsr()
    pattern.sort_indices()
    rng = np.random.default_rng(seed)
    n = len(atom_of)
    noise = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    hermitian = (noise + noise.conj().T) * pattern.toarray()
    matrix = hermitian + 1.5j * np.eye(n)  # a definite imaginary part, as H − zS has
    solver = SelectedInverse(pattern, atom_of, threads=threads)
    data = matrix[solver.rows, solver.cols]
    found = solver.invert(data)
    exact = np.linalg.inv(matrix)[solver.rows, solver.cols]
    assert np.abs(found - exact).max() < 1e-9
    real = hermitian[solver.rows, solver.cols]
    symmetric = data.real + 2.5j * np.eye(n)[solver.rows, solver.cols]
    symmetric = 0.5 * (symmetric + symmetric[solver.mirror])
    whole = np.zeros((n, n), dtype=complex)
    whole[solver.rows, solver.cols] = symmetric
    exact = np.linalg.inv(whole)[solver.rows, solver.cols]
    assert np.abs(solver.invert(symmetric, symmetric=True) - exact).max() < 1e-9
    assert solver.count_negative(real) == np.count_nonzero(np.linalg.eigvalsh(hermitian) < 0)


def test_a_sheet_is_cut_into_small_fronts():
    side = 20
    ids = np.arange(side * side).reshape(side, side)
    pairs = [
        (ids.ravel(), np.roll(ids, shift, axis).ravel()) for axis in (0, 1) for shift in (1, -1)
    ]
    rows = np.concatenate([ids.ravel(), *[a for a, _ in pairs]])
    cols = np.concatenate([ids.ravel(), *[b for _, b in pairs]])
    graph = scipy.sparse.coo_array((np.ones(len(rows)), (rows, cols))).tocsr()
    solver = SelectedInverse(graph, np.arange(side * side))
    assert solver.largest_front < 5 * side


def test_errors():
    lopsided = scipy.sparse.csr_array(np.array([[1.0, 1.0], [0.0, 1.0]]))
    with pytest.raises(SolverError, match="not symmetric"):
        SelectedInverse(lopsided, np.arange(2))
    unit = scipy.sparse.csr_array(np.eye(2))
    with pytest.raises(SolverError, match="singular"):
        SelectedInverse(unit, np.arange(2)).invert(np.array([0.0 + 0j, 1.0]))
    with pytest.raises(SolverError, match="singular"):
        SelectedInverse(unit, np.arange(2)).invert(np.array([0.0 + 0j, 1.0]), symmetric=True)
