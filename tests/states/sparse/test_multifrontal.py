"""The multifrontal engine against dense numbers: solutions, inertia, memory, pivots."""

from concurrent.futures import ThreadPoolExecutor

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
from hypothesis import given, settings

import dock
from dock.errors import LayoutError, SolverError
from dock.states.problem import Problem
from dock.states.sparse import sharing
from dock.states.sparse.blas import blas_threads
from dock.states.sparse.factorisation import Pattern
from dock.states.sparse.multifrontal import Multifrontal

KINDS = ("float32", "float64", "complex64", "complex128")
ACCURACY = {"float32": 3e-4, "float64": 1e-11, "complex64": 3e-4, "complex128": 1e-11}


def pattern_of(upper, atom_of):
    """The pattern of the upper triangle of a dense matrix of booleans."""
    rows = scipy.sparse.csr_array(upper)
    rows.sort_indices()
    return Pattern(rows.indptr.astype(np.int64), rows.indices, atom_of)


def random_problem(seed, n_atoms, coupling, *, spins=1):
    """A Hermitian matrix of full blocks on a random graph, and its pattern."""
    rng = np.random.default_rng(seed)
    graph = rng.random((n_atoms, n_atoms)) < coupling
    graph = graph | graph.T | np.eye(n_atoms, dtype=bool)
    atom_of = np.tile(np.repeat(np.arange(n_atoms), rng.integers(1, 6, n_atoms)), spins)
    where = graph[atom_of][:, atom_of]
    n = len(atom_of)
    noise = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    upper = np.triu(where)
    return np.where(where, noise + noise.conj().T, 0), upper, pattern_of(upper, atom_of)


def error_of(A, x, b):
    """The backward error of a solution."""
    return np.abs(A @ x - b).max() / (np.abs(A).sum(axis=1).max() * np.abs(x).max())


@settings(max_examples=15)
@given(
    st.integers(0, 10**6),
    st.integers(1, 60),
    st.sampled_from([0.0, 0.03, 0.1, 0.4]),
    st.sampled_from([1, 2]),
    st.integers(1, 3),
)
def test_solutions_and_inertia_of_random_graphs(seed, n_atoms, coupling, spins, threads):
    whole, upper, pattern = random_problem(seed, n_atoms, coupling, spins=spins)
    analysis = Multifrontal().analyse(pattern, threads=threads)
    right = np.random.default_rng(seed).normal(size=(pattern.n, 3))
    for kind in KINDS:
        A = whole if kind.startswith("c") else whole.real
        factor = analysis.factor(A[upper], np.dtype(kind))
        x = factor.solve(right)
        assert x.dtype == kind
        assert error_of(A, x, right) < ACCURACY[kind]
        negative = int(np.count_nonzero(np.linalg.eigvalsh(A) < 0))
        assert (factor.n_negative, factor.n_perturbed) == (negative, 0)
        assert analysis.count_negative(A[upper], np.dtype(kind)) == (negative, 0)
    symmetric = np.triu(whole) + np.triu(whole, 1).T
    factor = analysis.factor(symmetric[upper], np.dtype(complex), hermitian=False)
    assert error_of(symmetric, factor.solve(right), right) < 1e-11
    assert factor.n_negative is None


@pytest.mark.parametrize(
    ("folder", "k"),
    [
        ("siesta/graphene", [0, 0, 0]),
        ("siesta/graphene", [0.1, 0.23, 0]),
        ("openmx/mos2", [0.5, 0, 0]),
        ("openmx/mos2", [0.3, 0.2, 0]),
        ("openmx/o2-nc-soc", [0, 0, 0]),
    ],
)
def test_states_below_an_energy(bundled, folder, k):
    problem = Problem.of(dock.read(bundled / folder))
    H, S = problem.sparse(0, np.array(k), "upper")
    counts = problem.hamiltonian.basis.counts
    atom_of = np.repeat(np.arange(len(counts)), counts)
    atom_of = np.tile(atom_of, problem.size // len(atom_of))
    energies = scipy.linalg.eigh(*problem.dense(0, np.array(k)), eigvals_only=True)
    analysis = Multifrontal().analyse(Pattern(H.indptr, H.indices, atom_of), threads=2)
    kinds = [np.dtype(kind) for kind in (KINDS[2:] if np.iscomplexobj(H.data) else KINDS)]
    gaps = np.flatnonzero(np.diff(energies) > 1e-2)
    for number in gaps[:: max(1, len(gaps) // 4)]:
        sigma = 0.5 * (energies[number] + energies[number + 1])
        for kind in kinds:
            counted = analysis.count_negative(H.data - sigma * S.data, kind)
            assert counted == (number + 1, 0), kind
    upper = (H - sigma * S).toarray()  # what was factored; the lower triangle may differ by 1e-11
    A = np.triu(upper) + np.triu(upper, 1).conj().T
    right = np.eye(problem.size)[:, :4]
    for kind in kinds:
        x = analysis.factor(H.data - sigma * S.data, kind).solve(right)
        assert error_of(A, x, right) < ACCURACY[kind.name]


def test_threads_change_no_more_than_rounding():
    whole, upper, pattern = random_problem(5, 400, 0.004)
    right = np.ones((pattern.n, 2))
    analyses = [Multifrontal().analyse(pattern, threads=n) for n in (1, 2, 2)]
    assert len(analyses[1].schedule.subtrees) > 4
    one, two, again = [a.factor(whole[upper], np.dtype(complex)).solve(right) for a in analyses]
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-9 * np.abs(one).max())
    np.testing.assert_array_equal(two, again)


def test_a_shift_on_an_eigenvalue_moves_a_pivot():
    # Two parts that do not touch; the second has an eigenvalue exactly at the shift.
    A = np.array([[2.0, 1.0, 0.0], [1.0, -3.0, 0.0], [0.0, 0.0, 0.0]])
    pattern = pattern_of(np.triu(A != 0) | np.eye(3, dtype=bool), np.array([0, 1, 2]))
    values = np.array([2.0, 1.0, -3.0, 0.0])
    analysis = Multifrontal().analyse(pattern, threads=1)
    for kind in KINDS:
        factor = analysis.factor(values, np.dtype(kind))
        assert (factor.n_negative, factor.n_perturbed) == (1, 1)
        x = factor.solve(np.array([[1.0], [0.0], [0.0]]))
        np.testing.assert_allclose(x[:, 0], [3 / 7, 1 / 7, 0], rtol=1e-6)
    both = np.zeros(4)
    assert analysis.count_negative(both, np.dtype(float))[1] == 3


def test_pivots_of_two_rows():
    # A diagonal of zeros: no pivot of one row exists.
    n = 40
    rng = np.random.default_rng(3)
    B = rng.normal(size=(n, n))
    A = np.block([[np.zeros((n, n)), B], [B.T, np.zeros((n, n))]])
    pattern = pattern_of(np.triu(np.ones((2 * n, 2 * n), dtype=bool)), np.zeros(2 * n, dtype=int))
    analysis = Multifrontal().analyse(pattern, threads=1)
    for kind in KINDS:
        factor = analysis.factor(A[np.triu_indices(2 * n)], np.dtype(kind))
        assert (factor.n_negative, factor.n_perturbed) == (n, 0)
        right = np.ones((2 * n, 1))
        assert error_of(A, factor.solve(right), right) < ACCURACY[kind]


def test_large_fronts_and_what_they_take():
    """A chain of groups, long enough for several panels and blocks in a front."""
    rng = np.random.default_rng(1)
    size, n_atoms = 90, 12
    atom_of = np.repeat(np.arange(n_atoms), size)
    near = np.abs(np.subtract.outer(atom_of, atom_of)) <= 4
    A = rng.normal(size=near.shape)
    A = np.where(near, A + A.T, 0)
    upper = np.triu(near)
    analysis = Multifrontal().analyse(pattern_of(upper, atom_of), threads=2)
    assert max(len(front.own_panels) for front in analysis.fronts) > 1
    assert analysis.n_entries >= np.count_nonzero(upper)
    kind = np.dtype(float)
    assert analysis.memory(kind) >= analysis.n_entries * kind.itemsize
    assert analysis.memory(np.dtype(np.float32)) * 2 == analysis.memory(kind)
    assert analysis.memory(kind, kept=False) < analysis.memory(kind)
    factor = analysis.factor(A[upper], kind)
    assert factor.n_negative == np.count_nonzero(np.linalg.eigvalsh(A) < 0)
    right = rng.normal(size=(len(A), 2)) + 1j * rng.normal(size=(len(A), 2))
    assert error_of(A, factor.solve(right), right) < 1e-11
    factor.close()


def test_errors():
    pattern = pattern_of(np.triu(np.ones((3, 3), dtype=bool)), np.array([0, 0, 1]))
    analysis = Multifrontal().analyse(pattern, threads=1)
    with pytest.raises(SolverError, match="NaN"):
        analysis.factor(np.array([1, 2, 3, 4, np.nan, 6]), np.dtype(float))
    with pytest.raises(LayoutError, match="expected 6 values"):
        analysis.factor(np.ones(5), np.dtype(float))
    with pytest.raises(LayoutError, match="complex values"):
        analysis.factor(np.ones(6, dtype=complex), np.dtype(float))
    for hole in ([0, 1], [1, 1]):
        upper = np.triu(np.ones((3, 3), dtype=bool))
        upper[tuple(hole)] = False
        with pytest.raises(LayoutError, match="full blocks"):
            Multifrontal().analyse(pattern_of(upper, np.array([0, 0, 1])), threads=1)


def test_blas_has_the_threads_of_whoever_asks_last():
    """threadpoolctl 3.8 listens to the first thread alone, and the main one is the first."""
    from threadpoolctl import threadpool_info, threadpool_limits

    def numbers():
        return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}

    def inside():
        with blas_threads(1):
            return numbers()

    with threadpool_limits(limits=2, user_api="blas"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(inside).result() == {1}


@pytest.mark.parametrize("kind", ["float64", "complex128"])
def test_fronts_that_several_threads_share(monkeypatch, kind):
    """However small the parts of a front that each thread takes, the factor is the same."""
    rng = np.random.default_rng(3)
    n = 700  # one front of three panels
    A = rng.normal(size=(n, n)) + (1j * rng.normal(size=(n, n)) if kind[0] == "c" else 0)
    A = A + A.conj().T + np.diag(100.0 * rng.choice([-1, 1], n))  # well conditioned, indefinite
    upper = scipy.sparse.csr_array(np.triu(A))
    atoms = np.repeat(np.arange(n // 7), 7)
    pattern = Pattern(upper.indptr.astype(np.int64), upper.indices, atoms, None)
    right = rng.normal(size=(n, 5)).astype(kind)
    monkeypatch.setattr(sharing, "_LEAST", 10)
    found = {}
    for threads in (1, 3):
        analysis = Multifrontal().analyse(pattern, threads=threads)
        factor = analysis.factor(upper.data.astype(kind), np.dtype(kind))
        assert factor.n_negative == np.count_nonzero(np.linalg.eigvalsh(A) < 0)
        found[threads] = factor.solve(right)
        np.testing.assert_allclose(A @ found[threads], right, atol=1e-8)
    np.testing.assert_allclose(found[3], found[1], atol=1e-9)


def test_a_work_is_done_once_and_whole():
    for size in (0, 1, 99, 250, [5], [1, 1, 1], [9, 0, 0, 1, 30, 2, 2], []):
        length = size if isinstance(size, int) else len(size)
        for threads in (1, 2, 5):
            done = []
            with ThreadPoolExecutor(threads) as pool:
                sharing.among(pool, threads)(lambda a, b, done=done: done.append((a, b)), size)
            places = sorted(place for a, b in done for place in range(a, b))
            assert places == list(range(length))
