"""Moments of given and random vectors against all states by LAPACK."""

import numpy as np
import pytest
import scipy.linalg

import dock
from dock.errors import SolverError, UsageError
from dock.states.kpm.recursion import Expansion
from dock.states.problem import Problem

N = 60
CASES = {
    "silicon at Γ": ("openmx/si", 0, (0, 0, 0), (1, 1, 1)),
    "graphene at k": ("openmx/graphene-v38", 0, (0.1, 0.37, 0), (1, 1, 1)),
    "spin down": ("openmx/o2-spin", 1, (0, 0, 0), (1, 1, 1)),
    "spin–orbit": ("openmx/o2-nc-soc", 0, (0, 0, 0), (1, 1, 1)),
    "a tile": ("openmx/si", 0, (0, 0.5, 0), (2, 1, 2)),
    "a tile at k": ("openmx/si", 0, (0.13, 0.2, 0), (2, 1, 1)),
}


def prepared(name, **options):
    path, channel, k, tile = CASES[name]
    calc = dock.read(f"fixtures/{path}")
    settings = {"single": False, "tolerance": 1e-10, "origin": calc.fermi_level or 0.0} | options
    k = np.array(k, dtype=float)
    found = Expansion.of(
        Problem.of(calc), channel, k, structure=calc.structure, tile=tile, **settings
    )
    parts = [part.supercell(tile) for part in (calc.hamiltonian, calc.overlap)]
    return found, *Problem(*parts).dense(channel, k)


def exact(found, energies, n=N):
    return np.cos(np.arange(n)[:, None] * np.arccos(found.scale.x(energies)))


@pytest.mark.parametrize("name", CASES)
def test_moments_of_given_vectors(name, rng):
    found, H, S = prepared(name)
    energies, states = scipy.linalg.eigh(H, S)
    low, high = found.scale.bounds
    assert low < energies[0]
    assert energies[-1] < high
    x = rng.normal(size=(found.size, 2)).astype(found.pencil.kind)
    weights = np.abs(states.conj().T @ S @ x) ** 2
    wanted = exact(found, energies) @ weights
    assert np.abs(found.spectral_moments(x, N).T - wanted).max() < 1e-6 * wanted[0].max()
    rows = np.array([0, found.size - 1])
    charges = (states * (S @ states).conj()).real[rows]
    assert np.abs(found.row_moments(rows, N).T - exact(found, energies) @ charges.T).max() < 1e-6


@pytest.mark.parametrize("name", ["silicon at Γ", "graphene at k", "spin–orbit"])
def test_random_vectors_give_traces(name):
    found, H, S = prepared(name)
    wanted = exact(found, scipy.linalg.eigvalsh(H, S)).sum(axis=1)
    each = found.trace_moments(N, 400, (5,))[:, 0]
    error = each.std(axis=0, ddof=1) / np.sqrt(len(each))
    off = np.abs(each.mean(axis=0) - wanted) / np.maximum(error, 1e-5)
    assert np.sqrt(np.mean(off**2)) < 2  # moments of ten levels hang together
    assert off.max() < 5


def test_groups_sum_up_to_all():
    import scipy.sparse

    found, _, _ = prepared("a tile at k")
    halves = np.arange(found.size) < found.size // 2
    groups = scipy.sparse.csr_array(np.stack([halves, ~halves]).astype(float))
    parts, whole = found.trace_moments(N, 3, (1,), groups), found.trace_moments(N, 3, (1,))
    assert np.allclose(parts.sum(axis=1), whole[:, 0], atol=1e-9)


def test_without_compression_the_pencil_is_h_and_s():
    found, H, S = prepared("silicon at Γ", compression=0.0, origin=0.0)
    x = np.eye(len(H))
    assert np.allclose(found.pencil.K.times(x), H, atol=1e-8)
    assert np.allclose(found.pencil.B.times(x), S, atol=1e-8)


def test_a_series_that_grows_begins_again_with_wider_bounds(caplog):
    found, H, S = prepared("silicon at Γ")
    scale = found.scale
    found.scale = type(scale)(scale.transform, scale.low, scale.low + 0.93 * 2 * scale.half_width)
    moments = found.spectral_moments(np.eye(len(H))[:, :1], 400)
    assert "the series grew" in caplog.text
    energies, states = scipy.linalg.eigh(H, S)
    wanted = exact(found, energies, 400) @ np.abs(states.T @ S[:, 0]) ** 2
    assert np.abs(moments[0] - wanted).max() < 1e-5


def test_vectors_without_meaning():
    found, _, _ = prepared("silicon at Γ")
    with pytest.raises(UsageError, match="starting vector 2 is zero"):
        found.spectral_moments(np.stack([np.ones(10), np.zeros(10)], axis=1), 4)
    with pytest.raises(UsageError, match=r"have the shape \(10, m\)"):
        found.spectral_moments(np.ones((9, 1)), 4)


def test_an_overlap_that_is_not_positive_definite():
    calc = dock.read("fixtures/openmx/si")
    S = calc.overlap
    entries = S.entries.copy()
    begin = S.layout.starts[S.pairs.onsite[0]]
    entries[0, begin : begin + 25] = np.diag([1.0, 0.3, 1, 1, 1]).ravel() + 0.0
    entries[0, begin + 1] = entries[0, begin + 5] = 1.2
    broken = Problem(calc.hamiltonian, S.with_entries(entries))
    with pytest.raises(SolverError, match="not positive definite"):
        Expansion.of(broken, structure=calc.structure, origin=0.0, single=False)
