import threading
import time

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings, strategies as st

from dock import threads
from dock.errors import LayoutError, MissingDataError, SolverError, UsageError
from dock.states import dense, lapack
from dock.states.solver import Want
from dock.states.stream import levels, states

# n eigenvalues of a well-conditioned problem agree between drivers to n·eps·|e|
RTOL = 1e-12


def problem(rng, n, is_complex, spread=1.0):
    a, b = rng.normal(size=(2, n, n))
    if is_complex:
        c, d = rng.normal(size=(2, n, n))
        a, b = a + 1j * c, b + 1j * d
    s = np.linalg.qr(b)[0]
    weights = np.geomspace(1.0, spread, n) if spread != 1.0 else np.linspace(0.3, 2.0, n)
    return a + a.conj().T, (s * weights) @ s.conj().T


def residual(H, S, result):
    x, e = result.vectors, result.energies
    return np.abs(H @ x - S @ x * e).max() / np.abs(H).max()


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("n", [1, 2, 7, 60])
def test_all_states_are_those_of_scipy(rng, n, is_complex):
    H, S = problem(rng, n, is_complex)
    expected = scipy.linalg.eigh(H, S, eigvals_only=True)
    result = dense.solve(H, S, Want(vectors=True))
    np.testing.assert_allclose(result.energies, expected, atol=RTOL * n * np.abs(H).max())
    np.testing.assert_allclose(
        dense.solve(H, S).energies, expected, atol=RTOL * n * np.abs(H).max()
    )
    gram = result.vectors.conj().T @ S @ result.vectors
    np.testing.assert_allclose(gram, np.eye(n), atol=RTOL * n)
    assert residual(H, S, result) < RTOL * n
    assert np.iscomplexobj(result.vectors) == is_complex
    assert (result.n_below, result.n_removed) == (0, 0)
    assert result.smallest_overlap is None


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(3, 30),
    is_complex=st.booleans(),
    vectors=st.booleans(),
    overwrite=st.booleans(),
    order=st.sampled_from("CF"),
    data=st.data(),
)
def test_a_range_is_a_slice_of_everything(seed, n, is_complex, vectors, overwrite, order, data):
    H, S = problem(np.random.default_rng(seed), n, is_complex)
    first = data.draw(st.integers(0, n - 1))
    stop = data.draw(st.integers(first + 1, n))
    expected = scipy.linalg.eigh(H, S, eigvals_only=True)
    result = dense.solve(
        np.array(H, order=order),
        np.array(S, order=order),
        Want(vectors=vectors, bands=(first, stop)),
        overwrite=overwrite,
    )
    np.testing.assert_allclose(result.energies, expected[first:stop], atol=1e-11 * np.abs(H).max())
    assert result.n_below == first
    if vectors:
        assert residual(H, S, result) < 1e-11
        gram = result.vectors.conj().T @ S @ result.vectors
        np.testing.assert_allclose(gram, np.eye(stop - first), atol=1e-11)


@pytest.mark.parametrize("vectors", [False, True])
@pytest.mark.parametrize("is_complex", [False, True])
def test_a_window_keeps_its_states_and_counts_those_below(rng, vectors, is_complex):
    H, S = problem(rng, 40, is_complex)
    values = scipy.linalg.eigh(H, S, eigvals_only=True)
    window = (values[9:11].mean(), values[22:24].mean())
    result = dense.solve(H, S, Want(vectors=vectors, window=window))
    np.testing.assert_allclose(result.energies, values[10:23], rtol=1e-11)
    assert result.n_below == 10
    if vectors:
        assert residual(H, S, result) < 1e-12
    empty = dense.solve(H, S, Want(vectors=vectors, window=(values[-1] + 1, values[-1] + 2)))
    assert empty.energies.shape == (0,)
    assert empty.n_below == 40
    assert not vectors or empty.vectors.shape == (40, 0)


def test_degenerate_states_have_orthonormal_vectors(rng):
    q = np.linalg.qr(rng.normal(size=(30, 30)) + 1j * rng.normal(size=(30, 30)))[0]
    H = (q * np.repeat([-1.0, 2.0, 5.0], 10)) @ q.conj().T
    result = dense.solve(H, np.eye(30), Want(vectors=True, bands=(5, 15)))
    np.testing.assert_allclose(result.energies, np.repeat([-1.0, 2.0], 5), atol=1e-12)
    gram = result.vectors.conj().T @ result.vectors
    np.testing.assert_allclose(gram, np.eye(10), atol=1e-12)


@pytest.mark.parametrize("order", ["C", "F"])
def test_only_the_lower_triangle_is_read_and_inputs_survive(rng, order):
    H, S = (np.array(x, order=order) for x in problem(rng, 12, True))
    expected = dense.solve(H, S).energies
    H[np.triu_indices(12, 1)] = 99.0
    S[np.triu_indices(12, 1)] = 99.0
    before = H.copy(), S.copy()
    np.testing.assert_allclose(dense.solve(H, S).energies, expected, atol=1e-12)
    np.testing.assert_allclose(
        dense.solve(H, S, Want(s_threshold=1e-9)).energies, expected, atol=1e-11
    )
    np.testing.assert_array_equal(H, before[0])
    np.testing.assert_array_equal(S, before[1])
    np.testing.assert_allclose(dense.solve(H, S, overwrite=True).energies, expected, atol=1e-12)


def test_mixed_and_single_precision_types(rng):
    H, S = problem(rng, 10, True)
    real = S.real
    expected = scipy.linalg.eigh(H, real, eigvals_only=True)
    np.testing.assert_allclose(dense.solve(H, real, overwrite=True).energies, expected)
    single = dense.solve(H.astype(np.complex64), real.astype(np.float32))
    assert single.energies.dtype == np.float64
    np.testing.assert_allclose(single.energies, expected, atol=1e-4)


@pytest.mark.parametrize("vectors", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("index_range", [None, (0, 2)])
def test_an_indefinite_overlap_is_explained(rng, vectors, order, index_range):
    H, S = problem(rng, 20, True)
    values, q = np.linalg.eigh(S)
    values[3] = -0.0125
    S = np.array((q * values) @ q.conj().T, order=order)
    H = np.array(H, order=order)
    with pytest.raises(SolverError, match=r"smallest eigenvalue is -1\.250e-02 .*s_threshold=1e-5"):
        dense.solve(H, S, Want(vectors=vectors, bands=index_range), overwrite=True)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(6, 24),
    n_bad=st.integers(1, 4),
    bad=st.sampled_from([0.0, 1e-14, 1e-9, -1e-3]),
    is_complex=st.booleans(),
)
def test_a_threshold_gives_the_states_of_the_good_subspace(seed, n, n_bad, bad, is_complex):
    H, S = problem(np.random.default_rng(seed), n, is_complex)
    values, q = np.linalg.eigh(S)
    values[:n_bad] = bad
    good = q[:, n_bad:]
    expected = scipy.linalg.eigh(
        good.conj().T @ H @ good, np.diag(values[n_bad:]), eigvals_only=True
    )
    S = (q * values) @ q.conj().T
    result = dense.solve(H, S, Want(vectors=True, s_threshold=1e-5))
    np.testing.assert_allclose(result.energies, expected, atol=1e-10 * np.abs(H).max())
    assert result.n_removed == n_bad
    assert result.smallest_overlap == pytest.approx(bad, abs=1e-13)
    gram = result.vectors.conj().T @ S @ result.vectors
    np.testing.assert_allclose(gram, np.eye(n - n_bad), atol=1e-10)
    part = dense.solve(H, S, Want(s_threshold=1e-5, bands=(1, n)))
    np.testing.assert_allclose(part.energies, result.energies[1:], rtol=1e-11, atol=1e-11)


def test_overlap_checks(rng):
    _, S = problem(rng, 15, True, spread=1e-6)
    assert dense.smallest_overlap_eigenvalue(S) == pytest.approx(1e-6, rel=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_named(bad):
    H = np.eye(3)
    H[2, 1] = bad
    with pytest.raises(SolverError, match=r"H holds NaN.*1 of 9, first at row 2, column 1"):
        dense.solve(H, np.eye(3))
    with pytest.raises(SolverError, match="S holds NaN"):
        dense.solve(np.eye(3), H)


def test_opposite_infinities_are_found():
    H = np.diag([np.inf, -np.inf, 1.0])
    with pytest.raises(SolverError, match="2 of 9"):
        dense.solve(H, np.eye(3))


@pytest.mark.parametrize(
    ("H", "S", "message"),
    [
        (np.eye(3), np.eye(4), "H is 3 × 3 and S is 4 × 4"),
        (np.ones((2, 3)), np.eye(2), r"H must be a square matrix.*\(2, 3\)"),
        (np.eye(2), np.ones(2), "S must be a square matrix"),
        (np.empty((0, 0)), np.empty((0, 0)), "square"),
    ],
)
def test_shapes_that_do_not_fit(H, S, message):
    with pytest.raises(LayoutError, match=message):
        dense.solve(H, S)


@pytest.mark.parametrize(
    "options",
    [
        {"window": (1.0, 1.0)},
        {"window": (0.0, np.nan)},
        {"bands": (0, 4)},
        {"bands": (2, 2)},
        {"bands": (-1, 2)},
        {"bands": (0, 1), "window": (0.0, 1.0)},
        {"s_threshold": 0.0},
        {"s_threshold": np.nan},
    ],
)
def test_options_without_meaning(options):
    with pytest.raises(UsageError):
        dense.solve(np.eye(3), np.eye(3), Want(**options))


def test_a_threshold_above_everything():
    with pytest.raises(SolverError, match="smaller s_threshold"):
        dense.solve(np.eye(3), np.eye(3), Want(s_threshold=2.0))


def chain(n, seed=5):
    """A random periodic model: H(k) and S(k) smooth in k, S positive definite."""
    rng = np.random.default_rng(seed)
    h0, h1 = rng.normal(size=(2, n, n))
    s1 = rng.normal(size=(n, n)) * 0.1 / n

    def build(k):
        phase = np.exp(2j * np.pi * k[0])
        H = h0 + h0.T + phase * h1 + np.conj(phase) * h1.T
        return H, np.eye(n) + phase * s1 + np.conj(phase) * s1.T

    return build


KPOINTS = np.linspace([0, 0, 0], [0.5, 0.2, 0], 11)


class Given:
    """H(k) and S(k) as a function of k; what told the size is used, not built again."""

    n_channels = 1

    def __init__(self, build, kpoints):
        self._build = build
        self._first = np.atleast_2d(np.asarray(kpoints, dtype=np.float64))[:1]
        self._waiting = None

    @property
    def size(self):
        if self._waiting is None:
            self._waiting = self._build(self._first[0])
        return len(self._waiting[0])

    def dense(self, channel, k_frac):
        waiting, self._waiting = self._waiting, None
        if waiting is not None and np.array_equal(k_frac, self._first[0]):
            return waiting
        return self._build(k_frac)


def solve_each(build, kpoints, want=None, **run):
    stream = states(Given(build, kpoints), kpoints, want, **run)
    return (at.states for at in stream)


def solve_many(build, kpoints, want=None, **run):
    return levels(Given(build, kpoints), kpoints, want, **run)


def test_threads_give_the_bits_of_serial():
    build = chain(90)
    serial = solve_many(build, KPOINTS, jobs=1)
    threaded = solve_many(build, KPOINTS, jobs=3)
    assert serial.energies.shape == (1, 11, 90)
    np.testing.assert_array_equal(serial.energies, threaded.energies)
    for k, row in zip(KPOINTS, serial.energies[0], strict=True):
        np.testing.assert_allclose(row, scipy.linalg.eigh(*build(k))[0], atol=1e-11)
    one = solve_each(build, KPOINTS, Want(vectors=True), jobs=1)
    two = solve_each(build, KPOINTS, Want(vectors=True), jobs=2)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.vectors, b.vectors)


def test_a_window_is_aligned_by_band_over_k():
    build = chain(30)
    everything = solve_many(build, KPOINTS, jobs=1).energies[0]
    bands = solve_many(build, KPOINTS, Want(window=(-3.0, 4.0)), jobs=2)
    found = bands.energies[0]
    part = everything[:, bands.n_below : bands.n_below + found.shape[1]]
    inside = (part >= -3.0) & (part <= 4.0)
    assert inside.any(axis=0).all()
    np.testing.assert_array_equal(np.isfinite(found), inside)
    np.testing.assert_array_equal(found[inside], part[inside])


def test_removed_states_leave_nan_at_the_top():
    def build(k):
        S = np.diag([1.0, 1.0, 1e-9 if k[0] else 1.0])
        return np.diag([3.0, 1.0, 2.0]) @ S, S

    bands = solve_many(build, [[0, 0, 0], [0.5, 0, 0]], Want(s_threshold=1e-5), jobs=1)
    np.testing.assert_allclose(bands.energies[0], [[1.0, 2.0, 3.0], [1.0, 3.0, np.nan]])
    assert bands.n_removed.tolist() == [[0, 1]]
    np.testing.assert_allclose(bands.smallest_overlap, [[1.0, 1e-9]])
    empty = solve_many(build, [[0, 0, 0]], Want(window=(50.0, 60.0)), jobs=1)
    assert empty.energies.shape == (1, 1, 0)
    assert solve_many(build, np.empty((0, 3)), jobs=1).energies.shape == (1, 0, 0)


def distinct(count):
    return np.linspace(0.0, 0.4, count)[:, None] * [1, 0, 0]


@pytest.mark.parametrize("vectors", [False, True])
def test_the_corners_of_a_path_are_solved_once(vectors):
    """Γ M M K Γ: the second M is the first one's answer, and so is Γ where there are no vectors."""
    base, built = chain(5), []

    def build(k):
        built.append(tuple(k))
        return base(k)

    path = [[0, 0, 0], [0.5, 0, 0], [0.5, -0.0, 0], [0.3, 0, 0], [0, 0, 0]]
    found = list(states(Given(build, path), path, Want(vectors=vectors), jobs=1))
    assert [at.number for at in found] == [0, 1, 2, 3, 4]
    assert built == [(0, 0, 0), (0.5, 0, 0), (0.3, 0, 0)] + [(0, 0, 0)] * vectors
    for one, two in ((1, 2), (0, 4)):
        assert np.array_equal(found[one].states.energies, found[two].states.energies)
        assert np.array_equal(found[two].k_frac, np.abs(path[two]))


def test_progress_and_the_number_of_live_matrices():
    live, peak, lock, steps = 0, 0, threading.Lock(), []
    base = chain(8)

    class Counted(np.ndarray):
        def __del__(self):
            nonlocal live
            if self.base is None:
                with lock:
                    live -= 1

    def build(k):
        nonlocal live, peak
        H, S = base(k)
        counted = np.empty(H.shape, dtype=H.dtype).view(Counted).copy()
        counted[...] = H
        with lock:
            live += 1
            peak = max(peak, live)
        time.sleep(0.002)
        return counted, S

    solve_many(
        build, distinct(30), jobs=2, progress=lambda done, total: steps.append((done, total))
    )
    assert steps == [(i, 30) for i in range(1, 31)]
    # two in work and one just finished in each worker
    assert 1 <= peak <= 4


def test_the_first_error_names_its_k_point_and_cancels_the_rest():
    calls = []
    base = chain(6)

    def build(k):
        calls.append(k[0])
        H, S = base(k)
        return H, (S - 2 * np.eye(6) if k[0] == pytest.approx(0.1) else S)

    kpoints = np.zeros((200, 3))
    kpoints[:, 0] = np.arange(200) / 40
    with pytest.raises(SolverError, match=r"k-point 5 of 200 \(0\.1, 0, 0\): S is not positive"):
        solve_many(build, kpoints, jobs=2)
    assert len(calls) < 30


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (LayoutError("no match"), LayoutError),
        (MemoryError(), SolverError),
        (MissingDataError("S", "here", "Give it."), MissingDataError),
    ],
)
def test_errors_of_the_builder_keep_their_kind(raised, expected):
    def build(k):
        if k[0]:
            raise raised
        return np.eye(2), np.eye(2)

    with pytest.raises(expected) as caught:
        solve_many(build, [[0, 0, 0], [0.25, 0, 0]], jobs=2)
    text = str(caught.value) + " ".join(getattr(caught.value, "__notes__", []))
    assert "k-point 2 of 2 (0.25, 0, 0)" in text


def test_stopping_early_ends_the_threads():
    solved = states(Given(chain(6), KPOINTS), KPOINTS, Want(vectors=True), jobs=2)
    next(solved)
    solved.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("dock-eigen")]


@pytest.mark.parametrize("kpoints", [[[np.nan, 0, 0]], np.zeros((2, 3, 1))])
def test_k_points_without_meaning(kpoints):
    with pytest.raises(LayoutError, match="k-points"):
        solve_many(chain(3), kpoints, jobs=1)


def test_no_jobs():
    with pytest.raises(UsageError, match="At least one job"):
        solve_many(chain(3), KPOINTS, jobs=0)


@given(n=st.integers(1, 50_000), n_k=st.integers(1, 500), jobs=st.integers(1, 128))
def test_plans_use_the_threads_they_are_given(n, n_k, jobs):
    plan = threads.plan_threads(n, n_k, jobs)
    assert 1 <= plan.workers <= min(jobs, n_k)
    assert plan.blas_threads >= 1
    assert plan.workers * plan.blas_threads <= jobs
    assert n > threads.LARGE or plan.blas_threads == 1


def test_calls_release_the_interpreter_lock(rng):
    """While one thread is in LAPACK, another runs Python: it would count nothing otherwise."""
    H, S = problem(rng, 500, True)
    inside, ticks = threading.Event(), 0

    def work():
        inside.set()
        dense.solve(H, S)
        inside.clear()

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    while inside.is_set():
        ticks += 1
        time.sleep(0.0005)
    thread.join()
    assert ticks > 10


def test_the_size_limit_of_lapack_is_explained(monkeypatch):
    monkeypatch.setattr("dock.states.lapack._INT_MAX", 100)
    with pytest.raises(SolverError, match="30 orbitals is too large for the dense solver"):
        dense.solve(np.eye(30), np.eye(30), Want(vectors=True))


def test_no_convergence_is_an_error(monkeypatch):
    monkeypatch.setattr(
        "dock.states.lapack.eigh_generalised", lambda a, b, uplo, vectors: (np.zeros(len(a)), 2)
    )
    with pytest.raises(SolverError, match="did not converge"):
        dense.solve(np.eye(3), np.eye(3))


def test_divide_and_conquer_serves_where_no_representation_is_found(monkeypatch, rng):
    """On some processors stemr ends with 22 for a sound matrix with equal levels."""
    call = lapack._call

    def failing(real, *args, **settings):
        return 22 if real == "stemr" else call(real, *args, **settings)

    H, S = problem(rng, 12, is_complex=True)
    want = Want(vectors=True, bands=(2, 5))
    usual = dense.solve(H, S, want)
    monkeypatch.setattr(lapack, "_call", failing)
    found = dense.solve(H, S, want)
    np.testing.assert_allclose(found.energies, usual.energies, atol=1e-12)
    assert found.n_below == 2
    assert np.abs(residual(H, S, found)).max() < 1e-12
