"""Tetrahedra: exact sums, known integrals, and convergence on free electrons."""

import hypothesis.strategies as st
import lattice_models
import numpy as np
import pytest
from hypothesis import given

from dock.states._tetrahedra_kernels import corner_weights
from dock.states._tetrahedra_shares import add_filled, corner_shares, filled_share
from dock.states.kmesh import KMesh, make_mesh
from dock.states.tetrahedra import Tetrahedra

corner = st.floats(-1, 1, allow_subnormal=False)


def weights_at(energy, e):
    return corner_shares(np.array([energy]), e[:, None])[0][:, 0]


@given(st.lists(corner, min_size=4, max_size=4), st.floats(-1.2, 1.2))
def test_corner_weights_match_monte_carlo_free_quadrature(corners, energy):
    """The filled share of each corner is ∫ over the filled part of its barycentric coordinate."""
    e = np.sort(np.array(corners))
    e += 1e-3 * np.arange(4)  # degenerate corners are another test
    w = weights_at(energy, e)
    n = 24
    a, b, c, d = np.meshgrid(*[np.arange(n)] * 4, indexing="ij")
    inside = a + b + c + d == n - 1
    points = (np.stack([a[inside], b[inside], c[inside], d[inside]]) + 0.25) / n
    filled = (points.T @ e < energy).astype(float)
    numeric = (points * filled).mean(axis=1)
    assert np.abs(w - numeric).max() < 0.03
    assert -1e-12 <= w.sum() <= 1 + 1e-12


@given(st.lists(corner, min_size=4, max_size=4))
def test_weights_are_continuous_and_end_full(corners):
    e = np.sort(np.array(corners))
    assert weights_at(float(e[3]), e).tolist() == [0.25] * 4
    for edge in e[1:3]:
        if min(np.diff(e)) > 1e-3:
            below, above = weights_at(edge - 1e-9, e), weights_at(edge + 1e-9, e)
            assert np.abs(above - below).max() < 1e-5


@given(st.lists(corner, min_size=4, max_size=4), st.floats(-1.2, 1.2), st.booleans())
def test_the_filled_part_is_the_sum_of_its_corners(corners, energy, degenerate):
    e = np.sort(np.array(corners))
    if degenerate:
        e[1] = e[2]
    share = filled_share(np.array([energy]), e[:, None])[0]
    assert share == pytest.approx(weights_at(energy, e).sum(), abs=1e-13)
    compiled = np.zeros(4)
    corner_weights(energy, e, compiled)
    assert np.abs(compiled - weights_at(energy, e)).max() < 1e-14


@given(
    st.lists(st.one_of(corner, st.sampled_from([-0.5, 0.0, 0.3])), min_size=8, max_size=8),
    st.sampled_from([0.01, 0.1, 0.37]),
)
def test_filled_parts_at_many_energies(corners, step):
    """The cubics of the ranges are the filled part, with corners that agree or lie on an energy."""
    e = np.sort(np.array(corners).reshape(4, 2), axis=0)
    volume = np.array([0.25, 0.75])
    out = np.zeros(150)
    add_filled(e, volume, -0.9, step, out)
    energies = -0.9 + step * np.arange(150)
    exact = sum(
        volume[n] * filled_share(energies, np.repeat(e[:, n : n + 1], 150, axis=1))
        for n in range(2)
    )
    # At an energy that is a corner to the last digit, rounding may take it to either side.
    near = np.abs(energies[:, None] - e.ravel()).min(axis=1) < 1e-12
    assert np.abs(out - exact)[~near].max(initial=0) < 1e-11
    assert np.all((out > -1e-12) & (out < 1 + 1e-12))


def test_density_is_the_slope_of_the_filled_part():
    e = np.array([-0.7, -0.2, 0.1, 0.9])
    for energy in np.linspace(-0.69, 0.89, 33):
        density = corner_shares(np.array([energy]), e[:, None])[1][0]
        total = [weights_at(shifted, e).sum() for shifted in (energy - 1e-6, energy + 1e-6)]
        assert density == pytest.approx((total[1] - total[0]) / 2e-6, rel=1e-4, abs=1e-5)


def test_the_tetrahedra_fill_the_cell():
    calc = lattice_models.lattice(3)
    for size in ((1, 1, 1), (2, 3, 4), (5, 5, 1)):
        mesh = KMesh.full(size)
        tetrahedra = Tetrahedra.of(mesh, calc.structure)
        assert tetrahedra.volumes.sum() == pytest.approx(1, abs=1e-12)
        share = np.bincount(
            tetrahedra.corners.ravel(), weights=np.repeat(tetrahedra.volumes, 4) / 4
        )
        assert np.allclose(share, 1 / mesh.n_full)


def test_free_electrons_fill_a_sphere():
    """E = k² up to a radius below the zone edge: N = 4π/3 r³, converging as the step squared."""
    errors = []
    for n in (8, 16, 32):
        mesh = KMesh.full((n, n, n))
        k = mesh.points - np.rint(mesh.points)
        energies = np.sum(k**2, axis=1)[:, None]
        tetrahedra = Tetrahedra.of(mesh, lattice_models.lattice(3).structure)
        exact = 4 / 3 * np.pi * 0.4**3
        errors.append(abs(tetrahedra.filled(energies, 0.16) - exact))
        weights = tetrahedra.occupations(energies, 0.16, corrected=False)
        assert weights.sum() == pytest.approx(tetrahedra.filled(energies, 0.16), abs=1e-12)
        corrected = tetrahedra.occupations(energies, 0.16)
        assert corrected.sum() == pytest.approx(weights.sum(), abs=1e-12)
    assert errors[2] < errors[1] < errors[0]
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.4)


def test_blochl_correction_improves_the_band_energy():
    """At a given number of electrons, as it is meant: E − μN does not feel the error of N."""
    errors = {False: [], True: []}
    for n in (12, 16, 20, 24):
        mesh = KMesh.full((n, n, n))
        k = mesh.points - np.rint(mesh.points)
        energies = np.sum(k**2, axis=1)[:, None]
        tetrahedra = Tetrahedra.of(mesh, lattice_models.lattice(3).structure)
        exact = 4 * np.pi * (0.4**5 / 5 - 0.16 * 0.4**3 / 3)
        for corrected, found in errors.items():
            weights = tetrahedra.occupations(energies, 0.16, corrected=corrected)
            found.append(abs(float((weights * (energies - 0.16)).sum()) - exact))
    assert np.all(np.array(errors[True]) < 0.2 * np.array(errors[False]))


def test_bins_of_points_add_up_to_the_bins(rng):
    calc = lattice_models.lattice(3)
    mesh = make_mesh(calc, (4, 4, 4))
    energies = rng.normal(size=(mesh.n_points, 3))
    energies[:, 2] = 0.37  # a flat band lies in one bin
    tetrahedra = Tetrahedra.of(mesh, calc.structure)
    total = tetrahedra.bin_states(energies, -5.0, 0.013, 900)
    parts = np.zeros((2, 900))
    weights = np.stack([np.ones(3), np.arange(3)])
    for number in range(mesh.n_points):
        tetrahedra.project_point(energies, number, weights, (-5.0, 0.013), parts)
    assert np.abs(total - parts[0]).max() < 1e-13
    first = tetrahedra.bin_states(energies[:, 1:2].copy(), -5.0, 0.013, 900)
    second = tetrahedra.bin_states(energies[:, 2:].copy(), -5.0, 0.013, 900)
    assert np.abs(parts[1] - first - 2 * second).max() < 1e-13
    assert total.sum() == pytest.approx(3, abs=1e-12)
    # A grid that begins and ends inside the bands keeps what is within.
    part = tetrahedra.bin_states(energies, -5.0 + 380 * 0.013, 0.013, 10)
    assert np.abs(part - total[380:390]).max() < 1e-13
