"""Tetrahedra: exact sums, known integrals, and convergence on free electrons."""

import hypothesis.strategies as st
import lattice_models
import numpy as np
import pytest
from hypothesis import given

from dock.states.kmesh import KMesh, make_mesh
from dock.states.tetrahedra import Tetrahedra, corner_shares, filled_share

corner = st.floats(-1, 1, allow_subnormal=False)


def weights_at(energy, e):
    return corner_shares(np.array([energy]), e[:, None])[0][:, 0]


def blochl(x, e):
    """Return the corner weights of Blöchl, Jepsen and Andersen, (B2) to (B17), as printed."""
    e1, e2, e3, e4 = e
    if x >= e4:
        return np.full(4, 0.25)
    if x <= e1:
        return np.zeros(4)
    if x < e2:
        c = 0.25 * ((x - e1) / (e2 - e1)) * ((x - e1) / (e3 - e1)) * ((x - e1) / (e4 - e1))
        rest = [c * (x - e1) / (e - e1) for e in (e2, e3, e4)]
        return np.array([4 * c - sum(rest), *rest])
    if x < e3:
        c1 = 0.25 * (x - e1) / (e4 - e1) * (x - e1) / (e3 - e1)
        c2 = 0.25 * (x - e1) / (e4 - e1) * (x - e2) / (e3 - e2) * (e3 - x) / (e3 - e1)
        c3 = 0.25 * (x - e2) / (e4 - e2) * (x - e2) / (e3 - e2) * (e4 - x) / (e4 - e1)
        up3, up4 = (e3 - x) / (e3 - e1), (e4 - x) / (e4 - e1)
        return np.array([
            c1 + (c1 + c2) * up3 + (c1 + c2 + c3) * up4,
            c1 + c2 + c3 + (c2 + c3) * (e3 - x) / (e3 - e2) + c3 * (e4 - x) / (e4 - e2),
            (c1 + c2) * (x - e1) / (e3 - e1) + (c2 + c3) * (x - e2) / (e3 - e2),
            (c1 + c2 + c3) * (x - e1) / (e4 - e1) + c3 * (x - e2) / (e4 - e2),
        ])  # fmt: skip
    c = 0.25 * ((e4 - x) / (e4 - e1)) * ((e4 - x) / (e4 - e2)) * ((e4 - x) / (e4 - e3))
    rest = [0.25 - c * (e4 - x) / (e4 - e) for e in (e1, e2, e3)]
    return np.array([*rest, 1 - 4 * c - sum(rest)])


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
    assert np.abs(blochl(energy, e) - weights_at(energy, e)).max() < 1e-14


@given(
    st.lists(st.one_of(corner, st.sampled_from([-0.5, 0.0, 0.3])), min_size=4, max_size=4),
    st.sampled_from([0.01, 0.1, 0.37]),
)
def test_bins_of_one_tetrahedron(corners, step):
    """The pieces between corners are its filled part, also where corners agree or lie on edges."""
    e = np.array(corners)
    one = Tetrahedra(np.arange(4)[None], np.ones(1), 4)
    edges = -0.9 + step * np.arange(150)
    total = one.bin_states(e[:, None], -0.9, step, 149)
    exact = np.diff(filled_share(edges, np.repeat(np.sort(e)[:, None], 150, axis=1)))
    # At an edge that is a corner to the last digit, rounding may take it to either side.
    near = np.abs(edges[:, None] - e).min(axis=1) < 1e-12
    sure = ~(near[1:] | near[:-1])
    assert np.abs(total - exact)[sure].max(initial=0) < 1e-11
    assert np.all((total > -1e-12) & (total < 1 + 1e-12))
    order = np.argsort(e, kind="stable")
    exact = np.diff([blochl(x, e[order]) for x in edges], axis=0).T
    parts = one.project(e[:, None], np.eye(4)[:, :, None], -0.9, step, 149)
    assert np.abs(parts[order] - exact)[:, sure].max(initial=0) < 1e-11
    assert np.abs(parts.sum(axis=0) - total)[sure].max(initial=0) < 1e-11


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
    weights = np.tile(np.stack([np.ones(3), np.arange(3)]), (mesh.n_points, 1, 1))
    parts = tetrahedra.project(energies, weights, -5.0, 0.013, 900)
    assert np.abs(total - parts[0]).max() < 1e-13
    first = tetrahedra.bin_states(energies[:, 1:2].copy(), -5.0, 0.013, 900)
    second = tetrahedra.bin_states(energies[:, 2:].copy(), -5.0, 0.013, 900)
    assert np.abs(parts[1] - first - 2 * second).max() < 1e-13
    assert total.sum() == pytest.approx(3, abs=1e-12)
    # A grid that begins and ends inside the bands keeps what is within.
    part = tetrahedra.bin_states(energies, -5.0 + 380 * 0.013, 0.013, 10)
    assert np.abs(part - total[380:390]).max() < 1e-13
    inner = tetrahedra.project(energies, weights, -5.0 + 380 * 0.013, 0.013, 10)
    assert np.abs(inner - parts[:, 380:390]).max() < 1e-13


def test_blocks_of_bins_join(rng, monkeypatch):
    """Shares of all k-points are made for some bins at a time; so many change nothing."""
    calc = lattice_models.lattice(3)
    mesh = make_mesh(calc, (4, 4, 4))
    energies = rng.normal(size=(mesh.n_points, 2))
    weights = rng.normal(size=(mesh.n_points, 3, 2))
    tetrahedra = Tetrahedra.of(mesh, calc.structure)
    whole = tetrahedra.project(energies, weights, -4.0, 0.05, 160)
    monkeypatch.setattr("dock.states.tetrahedra._BLOCK", 7 * mesh.n_points)
    assert np.abs(tetrahedra.project(energies, weights, -4.0, 0.05, 160) - whole).max() < 1e-14
