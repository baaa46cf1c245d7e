import numpy as np
import pytest
from repeated import supercell

import dock
from dock.states.problem import Problem
from dock.states.sparse import products
from dock.states.sparse.products import Products

K = {"real": np.array([0.5, 0.0, 0.0]), "complex": np.array([0.13, 0.27, 0.31])}


def both(bundled, run, k, channel=0, threads=1):
    problem = Problem.of(dock.read(bundled / run))
    H, S = problem.sparse(channel, k, "full")
    return Products(*problem.sparse(channel, k, "upper"), threads=threads), H.toarray(), S.toarray()


@pytest.mark.parametrize("kind", K)
@pytest.mark.parametrize("run", ["siesta/graphene", "openmx/o2-nc-soc"])
def test_products_are_those_of_full_matrices(bundled, rng, run, kind):
    applied, H, S = both(bundled, run, K[kind])
    # Files keep partners to single precision; one triangle stands for both here.
    H, S = (np.triu(full) + np.triu(full, 1).conj().T for full in (H, S))
    X = rng.normal(size=(applied.size, 5))
    if applied.is_complex:
        X = X + 1j * rng.normal(size=X.shape)
    HX, SX = applied.apply(X)
    np.testing.assert_allclose(HX, H @ X, atol=1e-11)
    np.testing.assert_allclose(SX, S @ X, atol=1e-12)
    assert HX.flags.f_contiguous
    assert SX.flags.f_contiguous
    assert applied.is_complex == (kind == "complex" or run == "openmx/o2-nc-soc")


def test_two_threads_give_the_same(bundled, rng, monkeypatch):
    monkeypatch.setattr(products, "_LEAST", 10)
    one, _, _ = both(bundled, "siesta/graphene", K["complex"])
    two, _, _ = both(bundled, "siesta/graphene", K["complex"], threads=2)
    X = rng.normal(size=(one.size, 3)) + 0j
    for mine, other in zip(one.apply(X), two.apply(X), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-12)


def test_orbitals_left_out_are_states_of_their_own_far_above(bundled):
    applied, H, _ = both(bundled, "siesta/graphene", K["real"])
    gone = np.array([3, 17])
    kept = np.setdiff1d(np.arange(applied.size), gone)
    HX, SX = applied.without(gone).apply(np.eye(applied.size))
    np.testing.assert_allclose(HX[np.ix_(kept, kept)], H[np.ix_(kept, kept)], atol=1e-7)
    assert not HX[np.ix_(kept, gone)].any()
    assert not SX[np.ix_(gone, kept)].any()
    np.testing.assert_array_equal(SX[np.ix_(gone, gone)], np.eye(2))
    assert HX[3, 3] >= 10 * np.abs(H).max() > 100.0


def test_the_overlap_in_the_place_of_the_hamiltonian(bundled):
    applied, _, S = both(bundled, "siesta/graphene", K["real"])
    HX, SX = applied.of_overlap().apply(np.eye(applied.size))
    np.testing.assert_allclose(HX, S, atol=1e-8)
    np.testing.assert_array_equal(SX, np.eye(applied.size))


def test_shifted_entries_are_those_of_the_pattern(bundled):
    problem = supercell(dock.read(bundled / "siesta/graphene"), (2, 1, 1))
    k = K["complex"]
    applied = Products(*problem.sparse(0, k, "upper"))
    pattern = problem.pattern()
    H, S = problem.dense(0, k)
    rows = np.repeat(np.arange(pattern.n), np.diff(pattern.starts))
    expected = (H - 0.7 * S)[rows, pattern.columns]
    np.testing.assert_allclose(applied.shifted(0.7, np.dtype(np.complex128)), expected, atol=1e-12)
    assert np.array_equal(pattern.columns[pattern.starts[:-1]], np.arange(pattern.n))
