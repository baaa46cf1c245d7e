from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
from full_engine import FullEngine
from repeated import folded, supercell

import dock
from dock.errors import ConvergenceError, SolverError
from dock.states.solver import Want
from dock.states.sparse import slicing
from dock.states.sparse.krylov import Range, Search, ShiftOnState
from dock.states.sparse.products import Products
from dock.states.sparse.slicing import Slicer, Tools

TIMES = (4, 4, 1)
K = np.array([0.13, 0.27, 0.0])
EXACT = 1e-9  # eV: residuals of 1e-8 leave far less


@pytest.fixture(scope="module")
def graphene(bundled):
    """416 orbitals: H and S at a k-point, its energies, and the pattern."""
    calc = dock.read(bundled / "siesta/graphene")
    problem = supercell(calc, TIMES)
    return Products(*problem.sparse(0, K, "upper")), folded(calc, TIMES, K), problem.pattern()


@pytest.fixture(scope="module")
def oxygen(bundled):
    """320 spinors with spin–orbit coupling."""
    calc = dock.read(bundled / "openmx/o2-nc-soc")
    problem = supercell(calc, (16, 1, 1))
    k = np.array([0.2, 0.0, 0.0])
    return (
        Products(*problem.sparse(0, k, "upper")),
        folded(calc, (16, 1, 1), k),
        problem.pattern(),
    )


def slicer(system, *, engine=None, counts=None, kind="complex64", tolerance=1e-8):
    products, _, pattern = system
    analysis = (engine or FullEngine()).analyse(pattern, threads=1)
    counter = counts.analyse(pattern, threads=1) if counts else analysis
    kind = np.dtype(kind)
    return Slicer(products, Tools(analysis, counter, kind, kind, 8, tolerance))


def check(found, energies, low, high):
    """Hold a window against all energies, and its states against H and S."""
    first, stop = np.searchsorted(energies, (low, high))
    assert (found.n_below, len(found.energies)) == (first, stop - first)
    np.testing.assert_allclose(found.energies, energies[first:stop], atol=EXACT)


@pytest.mark.parametrize("kind", ["complex64", "complex128"])
def test_random_windows_miss_nothing(graphene, rng, kind):
    energies = graphene[1]
    for _ in range(6):
        middle, half = rng.uniform(energies[0], 10.0), 10 ** rng.uniform(-2.0, 0.5)
        low, high = middle - half, middle + half
        found = slicer(graphene, kind=kind).find(Want(window=(low, high)))
        check(found, energies, low, high)
        certificate = found.certificate
        assert certificate.between_eV[0] <= low
        assert certificate.between_eV[1] >= high
        assert certificate.counted >= len(found.energies)


def test_states_are_those_of_the_matrices(oxygen):
    products, energies, _ = oxygen
    found = slicer(oxygen).find(Want(nearest=(12, energies[150])))
    first = found.n_below
    np.testing.assert_allclose(found.energies, energies[first : first + 12], atol=EXACT)
    HX, SX = products.apply(found.vectors)
    residuals = np.linalg.norm(HX - SX * found.energies, axis=0)
    assert residuals.max() < 2e-8
    np.testing.assert_allclose(found.residuals, residuals, atol=1e-9)
    np.testing.assert_allclose(found.vectors.conj().T @ SX, np.eye(12), atol=1e-9)


def test_nearest_states_are_the_nearest(graphene):
    energies = graphene[1]
    for energy in (energies[60] + 1e-7, energies[0] - 3.0, 0.5 * (energies[127] + energies[128])):
        found = slicer(graphene).find(Want(nearest=(10, energy)))
        expected = np.sort(np.abs(energies - energy))[:10]
        np.testing.assert_allclose(np.sort(np.abs(found.energies - energy)), expected, atol=EXACT)


class RoughEngine(FullEngine):
    """Its factors in single precision have four levels on the other side of the shift."""

    def analyse(self, pattern, *, threads):
        analysis = super().analyse(pattern, threads=threads)
        factor = analysis.factor

        def rough(values, kind):
            made = factor(values, kind)
            if kind == np.complex64 and made.n_negative > 70:
                levels, vectors = np.linalg.eigh(analysis.full(values.astype(complex)))
                levels[made.n_negative - 4 : made.n_negative] *= -1
                matrix = (vectors * levels) @ vectors.conj().T
                made.lu = scipy.linalg.lu_factor(matrix.astype(kind))
                made.n_negative -= 4
            return made

        analysis.factor = rough
        return analysis


def test_counts_that_are_not_sure_are_taken_in_double_precision(graphene, monkeypatch, caplog):
    """Also where both ends are wrong alike, so that their difference is right."""
    caplog.set_level("INFO", logger="dock")
    energies = graphene[1]
    for first, stop in ((60, 80), (68, 73), (90, 110)):
        low, high = energies[first] - 1e-3, energies[stop - 1] + 1e-3
        searches = slicer(graphene, counts=RoughEngine())
        check(searches.find(Want(window=(low, high))), energies, low, high)
    assert "counted in double precision" in caplog.text
    assert "searched again" not in caplog.text
    monkeypatch.setattr(slicing, "_ROOMY", 0.0)
    with pytest.raises(SolverError, match=r"cannot tell how many states.*double precision needs"):
        slicer(graphene, counts=RoughEngine()).count(energies[90])


def test_counts_that_are_sure_are_not_taken_again(graphene):
    for energy in graphene[1][[10, 60, 127]] + 0.02:
        counter = slicer(graphene)
        assert counter.count(energy) == np.count_nonzero(graphene[1] < energy)
        assert counter.tools.counts.n_counts == 0


@pytest.mark.parametrize("number", [1, 2, 5])
def test_some_states_of_a_crowd(graphene, monkeypatch, caplog, number):
    """A count in single precision is right only in a gap: so far a search must know the states."""
    energies, blur = graphene[1], 0.4
    monkeypatch.setattr(Slicer, "_least_clearance", blur)

    def blurred(self, energy):  # as if each state lay a little elsewhere
        self._counted[energy] = np.count_nonzero(energies + 0.9 * blur * np.sin(number_of) < energy)
        return int(self._counted[energy])

    number_of = np.arange(len(energies))
    monkeypatch.setattr(Slicer, "count", blurred)
    gaps = np.diff(energies[:100])
    crowd = int(np.convolve(gaps, np.ones(4), "valid").argmin()) + 2  # five states side by side
    assert gaps[crowd - 2 : crowd + 2].max() < blur
    caplog.set_level("INFO", logger="dock")
    about = energies[crowd] + 0.37 * gaps[crowd]
    found = slicer(graphene).find(Want(nearest=(number, about)))
    expected = np.sort(np.abs(energies - about))[:number]
    np.testing.assert_allclose(np.sort(np.abs(found.energies - about)), expected, atol=EXACT)
    low, high = energies[crowd] - 1e-3, energies[crowd + 1] + 1e-3
    check(slicer(graphene).find(Want(window=(low, high))), energies, low, high)
    assert "searched again" not in caplog.text


def test_states_by_number(graphene):
    energies = graphene[1]
    found = slicer(graphene).find(Want(bands=(120, 137)))
    assert found.n_below == 120
    np.testing.assert_allclose(found.energies, energies[120:137], atol=EXACT)


def test_wide_windows_are_cut_into_slices(graphene, monkeypatch):
    monkeypatch.setattr(slicing, "LARGEST", 24)
    energies = graphene[1]
    cutter = slicer(graphene)
    found = cutter.find(Want(window=(energies[40] - 1e-3, energies[120] + 1e-3)))
    check(found, energies, energies[40] - 1e-3, energies[120] + 1e-3)
    assert cutter.tools.solves.n_factors >= 4
    monkeypatch.setattr(slicing, "LARGEST", 12)
    found = slicer(graphene).find(Want(nearest=(30, -6.0)))
    expected = np.sort(np.abs(energies + 6.0))[:30]
    np.testing.assert_allclose(np.sort(np.abs(found.energies + 6.0)), expected, atol=EXACT)


def test_a_window_without_a_state(graphene):
    energies = graphene[1]
    gap = int(np.diff(energies[:128]).argmax())
    low, high = energies[gap] + 1e-2, energies[gap + 1] - 1e-2
    found = slicer(graphene).find(Want(window=(low, high)))
    assert (len(found.energies), found.n_below, found.vectors.shape[1]) == (0, gap + 1, 0)
    assert found.certificate.counted == 0
    below = slicer(graphene).find(Want(window=(-900.0, -800.0)))
    assert (len(below.energies), below.n_below) == (0, 0)


def test_a_state_that_a_search_missed_is_searched(graphene, monkeypatch):
    energies = graphene[1]
    searched = Slicer._search
    calls = []

    def forgetful(self, shift, target, expected, seed=0):
        piece = searched(self, shift, target, expected, seed)
        calls.append(seed)
        if len(calls) > 1:
            return piece
        kept = np.arange(len(piece.energies)) != len(piece.energies) // 2
        return replace(
            piece,
            energies=piece.energies[kept],
            vectors=piece.vectors[:, kept],
            residuals=piece.residuals[kept],
        )

    monkeypatch.setattr(Slicer, "_search", forgetful)
    found = slicer(graphene).find(Want(window=(-9.0, -6.0)))
    check(found, energies, -9.0, -6.0)
    assert len(calls) == 2
    assert calls[1] == 1


def test_states_that_stay_missing_are_an_error(graphene, monkeypatch):
    searched = Slicer._search

    def blind(self, *args, **kwargs):
        piece = searched(self, *args, **kwargs)
        return piece.between(-7.5, np.inf)

    monkeypatch.setattr(Slicer, "_search", blind)
    with pytest.raises(ConvergenceError, match=r"inertia counts \d+ states between -9.0.* and \d+"):
        slicer(graphene).find(Want(window=(-9.0, -6.0)))


def test_ends_on_a_state_move_into_a_gap(graphene):
    energies = graphene[1]
    low = energies[100] + 1e-9  # far nearer than single precision can tell
    found = slicer(graphene).find(Want(window=(low, low + 2.0)))
    check(found, energies, low, low + 2.0)
    mark = found.certificate.between_eV[0]
    assert mark < energies[100]
    assert np.abs(energies - mark).min() > 1e-5


def test_marks_stand_in_gaps_that_are_wide_enough():
    energies = np.array([0.0, 1.0, 1.1, 1.2, 2.0])
    assert slicing._mark(energies, 0.5, -1.0, 0.1) == 0.5
    assert slicing._mark(energies, 1.15, 2.5, 0.1) == pytest.approx(1.6)
    assert slicing._mark(energies, 1.15, -0.5, 0.1) == pytest.approx(0.6)
    assert slicing._mark(energies, 1.15, 2.5, 0.01) == pytest.approx(1.15)
    assert slicing._mark(energies, 1.2, 2.5, 0.01) == pytest.approx(1.24)
    # None is wide enough: the widest there is, up to where states are known.
    assert slicing._mark(energies, 1.05, 1.25, 0.1) == pytest.approx(1.15, abs=0.051)
    assert slicing._mark(np.empty(0), 1.0, 2.0, 0.1) == 1.0


def test_the_shift_moves_from_where_nothing_can_be_factored(graphene, caplog):
    engine = FullEngine(refused=["a pivot is singular"])
    found = slicer(graphene, engine=engine).find(Want(nearest=(4, -7.0)))
    expected = np.sort(np.abs(graphene[1] + 7.0))[:4]
    np.testing.assert_allclose(np.sort(np.abs(found.energies + 7.0)), expected, atol=EXACT)
    assert "the shift -7.000000 eV lies on a state: moved to -6.999000 eV" in caplog.text
    with pytest.raises(SolverError, match="out of memory"):
        slicer(graphene, engine=FullEngine(refused=["out of memory"] * 9)).find(
            Want(nearest=(4, -7.0))
        )


def test_a_shift_on_a_state_moves_into_a_gap(oxygen, caplog):
    """Single precision would find this state alone, and nothing else in many blocks."""
    energies = oxygen[1]
    found = slicer(oxygen).find(Want(nearest=(6, float(energies[150]))))
    expected = np.sort(np.abs(energies - energies[150]))[:6]
    np.testing.assert_allclose(
        np.sort(np.abs(found.energies - energies[150])), expected, atol=EXACT
    )
    assert "lies on a state: moved to" in caplog.text


def test_a_shift_moves_to_the_nearest_gap_that_is_wide_enough():
    energies = np.array([-1.0, 0.0, 1e-6, 2e-6, 0.5])
    found = ShiftOnState(1e-6, energies, needed=1e-4, reach=0.4)
    # A tenth of what is to be reached, from one side of the three or the other.
    assert abs(found.better - 1e-6) == pytest.approx(0.04, rel=1e-4)
    found = ShiftOnState(0.49, energies, needed=1e-4, reach=8.0)
    assert found.better == pytest.approx(0.25, abs=1e-5)  # the middle of a gap
    assert ShiftOnState(7.0, np.array([7.0]), 1e-3, 0.1).better in (6.99, 7.01)


def test_states_do_not_depend_on_how_exact_a_solution_is(graphene):
    """Errors of 3 % of every solution: what H and S say of the states is exact all the same."""
    energies = graphene[1]
    engine = FullEngine(noise=0.03)
    found = slicer(graphene, engine=engine).find(Want(nearest=(8, -7.0)))
    expected = np.sort(np.abs(energies + 7.0))[:8]
    np.testing.assert_allclose(np.sort(np.abs(found.energies + 7.0)), expected, atol=EXACT)


def test_the_blur_of_a_factor_is_how_far_its_states_have_moved(graphene):
    """The rule of marks: states of the matrix that was factored, against those of H and S."""
    products, _, pattern = graphene
    analysis = FullEngine().analyse(pattern, threads=1)
    shift, moved = -7.0, 2e-3
    cutter = slicer(graphene)
    search = Search(
        products,
        analysis.factor(products.shifted(shift, np.dtype("c16")), np.dtype("c16")).solve,
        shift,
        block=8,
        capacity=80,
        tolerance=1e-8,
    )
    ritz = search.run(lambda _: Range(-8.0, -6.0), most_blocks=60)
    inside = np.flatnonzero(ritz.inside(Range(-8.0, -6.0)))
    beside = analysis.factor(products.shifted(shift + moved, np.dtype("c8")), np.dtype("c8"))
    blur = cutter._blur(beside, shift, ritz.energies[inside], search.states(ritz, inside))
    assert blur == pytest.approx(moved, rel=1e-2)
    own = analysis.factor(products.shifted(shift, np.dtype("c8")), np.dtype("c8"))
    assert cutter._blur(own, shift, ritz.energies[inside], search.states(ritz, inside)) < 1e-4


def test_a_search_that_does_not_converge_says_so(graphene):
    products, _, pattern = graphene
    factor = (
        FullEngine()
        .analyse(pattern, threads=1)
        .factor(products.shifted(-7.0, products.dtype), products.dtype)
    )
    search = Search(products, factor.solve, -7.0, block=8, capacity=80, tolerance=1e-8)
    with pytest.raises(ConvergenceError, match="did not converge in 5 blocks of 8 vectors"):
        search.run(lambda _: Range(-9.0, -5.0), most_blocks=5)


def test_an_overlap_that_is_not_positive_is_refused(graphene):
    products, _, pattern = graphene
    bad = Products.__new__(Products)
    bad.__dict__.update(products.__dict__)
    bad.S = products.S.copy()
    bad.S[pattern.starts[:-1][:5]] -= 2.0
    with pytest.raises(SolverError, match=r"S is not positive definite: \d+ of 416 eigenvalues"):
        slicer((bad, None, pattern)).require_positive()
    with pytest.raises(SolverError, match="S is not positive definite"):
        slicer((bad, None, pattern)).find(Want(nearest=(8, -7.0)))


def test_equal_molecules_have_equal_states(bundled):
    """Sixteen copies that do not touch: each level sixteen times, more than vectors of a block.

    The window lies about one level, and so does the shift.
    """
    calc = dock.read(bundled / "openmx/o2-spin")
    problem = supercell(calc, TIMES)
    products = Products(*problem.sparse(0, np.zeros(3), "upper"))
    level = folded(calc, TIMES, np.zeros(3))[7 * 16]
    for kind in ("float32", "float64"):
        system = products, None, problem.pattern()
        found = slicer(system, kind=kind).find(Want(window=(level - 1e-3, level + 1e-3)))
        assert (found.n_below % 16, len(found.energies) % 16) == (0, 0)
        assert len(found.energies) > 0
        np.testing.assert_allclose(found.energies, level, atol=EXACT)
