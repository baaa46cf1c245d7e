"""The solver as it is called: real systems against full matrices, plans, removals, refusals."""

import numpy as np
import pytest
from full_engine import FullEngine
from repeated import supercell

import dock
from dock.errors import SolverError, UsageError
from dock.states import choice
from dock.states.choice import describe
from dock.states.dense import Dense, solve
from dock.states.memory import Allowance
from dock.states.problem import Problem
from dock.states.solver import Want
from dock.states.sparse import shift_invert
from dock.states.sparse.multifrontal import Multifrontal
from dock.states.sparse.products import Products
from dock.states.sparse.shift_invert import ShiftInvert
from dock.states.sparse.slicing import Slicer, Tools
from dock.states.stream import states

EXACT = 1e-8  # eV
K = [[0.0, 0.0, 0.0], [0.13, 0.27, 0.0]]

# Molecule, semiconductor, metal, spin, spin–orbit coupling; three codes, real and complex k.
SYSTEMS = {
    "siesta/graphene": (3, 3, 1),
    "siesta/o2": (1, 1, 1),
    "openmx/mos2": (2, 2, 1),
    "openmx/o2-spin": (1, 1, 1),
    "openmx/o2-nc-soc": (6, 1, 1),
    "abacus/graphene": (3, 3, 1),
}


def problem_of(bundled, run, times=None):
    """Return the problem of a repeated cell; H and S are Hermitian to the last digit."""
    return supercell(dock.read(bundled / run), times or SYSTEMS[run])


@pytest.mark.parametrize("run", SYSTEMS)
def test_energies_and_states_are_those_of_full_matrices(bundled, run):
    problem = problem_of(bundled, run)
    middle = problem.size // 3
    for at in states(problem, K, Want(vectors=True), solver="dense"):
        energies = at.states.energies
        low, high = energies[middle] - 0.3, energies[min(middle + 8, problem.size - 1)] + 0.3
        want = Want(vectors=True, window=(float(low), float(high)))
        solver = ShiftInvert(precision="single" if at.channel == 0 else "double")
        found = solver.solve(problem, at.channel, at.k_frac, want)
        first, stop = want.within(energies)
        assert (found.n_below, len(found.energies)) == (first, stop - first)
        np.testing.assert_allclose(found.energies, energies[first:stop], atol=EXACT)
        assert found.certificate.residual_eV < 1e-6
        H, S = problem.dense(at.channel, at.k_frac)
        x = found.vectors
        np.testing.assert_allclose(x.conj().T @ S @ x, np.eye(stop - first), atol=1e-8)
        assert np.linalg.norm(H @ x - (S @ x) * found.energies, axis=0).max() < 1e-6
        solver.close()


def test_the_stream_takes_it_for_all_k_points_and_channels(bundled):
    problem = problem_of(bundled, "openmx/o2-spin")
    solver = ShiftInvert(FullEngine())
    analysed = []
    analyse = solver._engine.analyse
    solver._engine.analyse = lambda *args, **kwargs: analysed.append(1) or analyse(*args, **kwargs)
    want = Want(bands=(3, 7))
    found = list(states(problem, K, want, solver=solver, jobs=2))
    assert len(analysed) == 1  # one symbolic step
    for mine, full in zip(found, states(problem, K, solver="dense"), strict=True):
        assert mine.states.vectors is None
        assert mine.states.n_below == 3
        np.testing.assert_allclose(mine.states.energies, full.states.energies[3:7], atol=EXACT)


def test_two_runs_are_equal_to_the_last_bit(bundled):
    problem = problem_of(bundled, "siesta/graphene")
    want = Want(nearest=(6, -7.0))
    one, two = (
        ShiftInvert(FullEngine(), "single").solve(problem, 0, np.array(K[1]), want)
        for _ in range(2)
    )
    np.testing.assert_array_equal(one.energies, two.energies)


def test_counts_in_single_precision_are_not_trusted_where_they_fail(bundled, caplog):
    """On both sides of a level among diffuse states: single precision does not tell them apart."""
    caplog.set_level("INFO", logger="dock")
    problem = problem_of(bundled, "siesta/graphene", (12, 12, 1))  # 288 atoms
    products = Products(*problem.sparse(0, np.zeros(3), "upper"))
    analysis = Multifrontal().analyse(problem.pattern(), threads=2)
    single, double = np.dtype(np.float32), np.dtype(np.float64)
    slicer = Slicer(products, Tools(analysis, analysis, single, single, 8, 1e-7))
    near = ShiftInvert(precision="double").solve(problem, 0, np.zeros(3), Want(nearest=(1, 2.66)))
    level = near.energies[0]
    wrong = 0
    for energy, is_sure in ((level - 1e-7, False), (level + 1e-7, False), (-7.0, True)):
        caplog.clear()
        below, _ = analysis.count_negative(products.shifted(energy, double), double)
        rough, _ = analysis.count_negative(products.shifted(energy, single), single)
        wrong += rough != below
        assert rough == below or not is_sure
        assert slicer.count(energy) == below
        assert ("counted in double precision" in caplog.text) is not is_sure
    assert wrong >= 1


def test_an_engine_that_does_not_count_is_counted_for(bundled):
    problem = problem_of(bundled, "siesta/graphene", (2, 2, 1))
    solver = ShiftInvert(FullEngine(counts=False))
    found = solver.solve(problem, 0, np.array(K[1]), Want(window=(-9.0, -6.0)))
    solves, counts = solver._analysed(problem)
    assert solves.n_counts == 0
    assert counts is not solves
    energies = solve(*problem.dense(0, np.array(K[1]))).energies
    first, stop = np.searchsorted(energies, (-9.0, -6.0))
    assert (found.n_below, len(found.energies)) == (first, stop - first)


def test_the_plan_says_memory_time_precision_and_reason(bundled, monkeypatch):
    problem = problem_of(bundled, "siesta/graphene", (2, 2, 1))
    want = Want(nearest=(6, -7.0))
    plan = ShiftInvert().plan(problem, want, 3, 2)
    assert (plan.solver, plan.workers) == ("sparse", 2)
    assert plan.detail == "multifrontal, double precision"
    assert "full matrices of 104 orbitals would take 0.1 s" in describe(plan)
    single = ShiftInvert(precision="single").plan(problem, want, 3, 2)
    assert single.memory_bytes < plan.memory_bytes
    assert single.seconds > 0
    room = Allowance(plan.memory_bytes - 1, "left by a test")
    monkeypatch.setattr(shift_invert, "allowance", lambda: room)
    assert "single" in ShiftInvert().plan(problem, want, 3, 2).detail


def test_what_it_cannot_do_is_refused(bundled, monkeypatch):
    problem = problem_of(bundled, "siesta/graphene", (2, 2, 1))
    with pytest.raises(UsageError, match="no engine 'mumps'"):
        ShiftInvert("mumps")
    with pytest.raises(UsageError, match="auto, single or double"):
        ShiftInvert(precision="half")
    with pytest.raises(UsageError, match=r"removal='orbital' or removal='window'"):
        ShiftInvert().plan(problem, Want(nearest=(4, 0.0), s_threshold=1e-3), 1, 1)
    monkeypatch.setattr(shift_invert, "LARGE", 100)
    with pytest.raises(UsageError, match="all 104 are asked for"):
        ShiftInvert().plan(problem, Want(), 1, 1)


def test_numbers_that_are_not_finite_are_refused(bundled):
    calc = dock.read(bundled / "siesta/graphene")
    entries = calc.hamiltonian.entries.copy()
    entries[0, 0] = np.nan
    problem = Problem(calc.hamiltonian.with_entries(entries), calc.overlap)
    with pytest.raises(SolverError, match="H holds NaN or infinite numbers"):
        ShiftInvert(FullEngine()).solve(problem, 0, np.zeros(3), Want(nearest=(4, 0.0)))


@pytest.fixture(scope="module")
def nearly_dependent(bundled):
    """Graphene of the DZP basis: S has eigenvalues of 1e-3."""
    return problem_of(bundled, "siesta/graphene", (2, 2, 1))


def test_orbitals_are_left_out_alike_by_both_solvers(nearly_dependent):
    threshold = 2e-3
    S = nearly_dependent.dense(0, np.zeros(3))[1]
    n_small = int(np.count_nonzero(np.linalg.eigvalsh(S) < threshold))
    assert n_small > 0
    want = Want(vectors=True, nearest=(8, -7.0), s_threshold=threshold, removal="orbital")
    full, sparse = Dense(), ShiftInvert(FullEngine())
    for k in map(np.array, K):
        mine = sparse.solve(nearly_dependent, 0, k, want)
        other = full.solve(nearly_dependent, 0, k, want)
        assert mine.n_removed == other.n_removed >= n_small
        distances = [np.sort(np.abs(found.energies + 7.0))[:8] for found in (mine, other)]
        np.testing.assert_allclose(*distances, atol=EXACT)
        gone = np.flatnonzero(~mine.vectors.any(axis=1))
        assert len(gone) == mine.n_removed
        kept = np.setdiff1d(np.arange(len(S)), gone)
        assert np.linalg.eigvalsh(S[np.ix_(kept, kept)])[0] > threshold


def test_states_of_nearly_dependent_orbitals_are_left_out_of_a_window(nearly_dependent):
    k = np.array(K[1])
    H, S = nearly_dependent.dense(0, k)
    every = solve(H, S, Want(vectors=True))
    own = 1 / np.square(np.abs(every.vectors)).sum(axis=0)
    window = (20.0, 45.0)
    here = (every.energies > window[0]) & (every.energies < window[1])
    threshold = float(np.sort(own[here])[2]) * 1.001  # three of the window lie below it
    want = Want(vectors=True, window=window, s_threshold=threshold, removal="window")
    expected = every.energies[here & (own > threshold)]
    for found in (solve(H, S, want), ShiftInvert(FullEngine()).solve(nearly_dependent, 0, k, want)):
        assert found.n_removed == 3
        np.testing.assert_allclose(found.energies, expected, atol=EXACT)
        assert found.vectors.shape[1] == len(expected)


def test_a_threshold_above_all_eigenvalues_leaves_nothing(nearly_dependent):
    for removal in ("project", "orbital"):
        want = Want(nearest=(4, 0.0), s_threshold=99.0, removal=removal)
        with pytest.raises(SolverError, match="No eigenvalue of S exceeds the threshold 99"):
            solve(*nearly_dependent.dense(0, np.zeros(3)), want)
    with pytest.raises(SolverError, match="No eigenvalue of S exceeds the threshold 99"):
        ShiftInvert(FullEngine()).solve(nearly_dependent, 0, np.zeros(3), want)


def test_what_has_no_room_by_far_is_refused_before_matrices_are_read(bundled, monkeypatch):
    """Of files the pairs alone are read, and no order of elimination is sought."""
    problem = Problem.of(dock.read(bundled / "unified/si"))
    reference = ShiftInvert("multifrontal", "single")
    full = reference.plan(problem, Want(nearest=(2, 0.0)), 1, 1).memory_bytes

    def forbidden(*_, **__):
        raise AssertionError("a matrix was read or an order was sought")

    monkeypatch.setattr(shift_invert, "_HUGE", 0)
    fresh = Problem.of(dock.read(bundled / "unified/si"))
    monkeypatch.setattr(type(fresh.row_sources[0]), "__call__", forbidden)
    monkeypatch.setattr(shift_invert.ShiftInvert, "_analysed", forbidden)
    for module in (choice, shift_invert):
        monkeypatch.setattr(module, "allowance", lambda: Allowance(full // 2, "left by a test"))
    with pytest.raises(UsageError, match=r"'sparse' needs \d+ MB .*left by a test.* mpirun"):
        next(states(fresh, K, Want(nearest=(2, 0.0)), solver="sparse"))


def test_a_window_whose_middle_is_a_level_of_many_states(bundled):
    """Sixteen molecules that do not touch: 32 states within 3e-9 eV, and the first shift there."""
    problem = problem_of(bundled, "openmx/o2-spin", (4, 4, 1))
    energies = next(iter(states(problem, K[:1], Want(), solver="dense"))).states.energies
    level = float(energies[problem.size // 3])
    assert np.count_nonzero(np.abs(energies - level) < 1e-6) > 10
    want = Want(window=(level - 1e-3, level + 1e-3))
    for precision in ("double", "single"):
        found = ShiftInvert(precision=precision).solve(problem, 0, np.zeros(3), want)
        first, stop = want.within(energies)
        assert (found.n_below, len(found.energies)) == (first, stop - first)
        np.testing.assert_allclose(found.energies, energies[first:stop], atol=EXACT)
