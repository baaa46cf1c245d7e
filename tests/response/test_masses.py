"""Effective masses and the band edges that they belong to."""

import dataclasses
from types import MappingProxyType

import numpy as np
import pytest

import dock
from dock.errors import MissingDataError, UsageError
from dock.response import masses
from dock.response.effective_mass import edge_masses, principal_axes
from dock.response.kdata import each
from dock.response.kdotp import KdotP
from dock.response.operators import Operators
from dock.response.velocity import HBAR2_OVER_MASS
from dock.states.kmesh import KMesh
from dock.states.kpath.naming import name_of
from dock.states.kpath.special import SpecialPoints
from dock.states.problem import Problem
from dock.states.stream import levels


def curvatures(calc, k, axis, bands, step):
    """Second derivatives of energies by differences of fourth order, eV Å²."""
    shifts = np.arange(-2, 3)[:, None] * step * axis @ np.linalg.inv(calc.structure.reciprocal)
    energies = levels(Problem.of(calc).hermitian(), k + shifts).energies[0][:, bands]
    return np.array([-1, 16, -30, 16, -1]) @ energies / (12 * step**2)


@pytest.mark.shared
@pytest.mark.parametrize("edge", ["vbm", "cbm"])
def test_masses_of_silicon_are_those_of_differences(shared, edge):
    """Γ with its three bands, and the valley near X: to 1e-4."""
    calc = dock.read(shared / "fixtures/abacus/si2")
    found = masses(calc, edge, mesh=(4, 4, 4), directions=[(1, 1, 0), (1, 2, 3)])
    assert found.kdotp.size == {"vbm": 3, "cbm": 1}[edge]
    assert np.abs(found.slopes).max() < 1e-5
    axes = [*found.axes, *found.directions]
    ours = [*found.masses.T, *found.along]
    for axis, of_axis in zip(axes, ours, strict=True):
        numeric = curvatures(calc, found.k_frac, axis, found.bands, 0.01)
        np.testing.assert_allclose(of_axis, HBAR2_OVER_MASS / numeric, rtol=1e-4)
    if edge == "cbm":
        assert found.name == "0.8707 of Γ–X"
        assert sorted(found.axes.round(6).tolist()) == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
        np.testing.assert_allclose(
            np.sort(1 / found.masses[0]), np.linalg.eigvalsh(found.inverse), rtol=1e-9
        )
    else:
        assert found.name == "Γ"
        heavy_110 = found.along[0][-1]
        assert found.masses[-1, 0] == pytest.approx(-0.2624, abs=1e-3)
        assert heavy_110 < -2  # warped bands


@pytest.mark.shared
def test_masses_with_spin_and_two_kinds_of_holes(shared):
    calc = dock.read(shared / "fixtures/abacus/gaas_soc")
    hole, electron = edge_masses(calc, mesh=KMesh.full((1, 1, 1)))
    assert (hole.name, hole.kdotp.size) == ("Γ", 4)
    light, same, heavy, again = hole.masses[:, 0]
    assert light == pytest.approx(same, rel=1e-4)
    assert heavy == pytest.approx(again, rel=1e-4)
    assert abs(heavy) > 4 * abs(light)
    # k-linear terms of zinc blende: real, and neglected against the tolerance of 1 meV.
    assert 1e-3 < np.abs(hole.slopes).max() < 0.02
    numeric = curvatures(calc, np.zeros(3), np.array([1.0, 0, 0]), slice(18, 20), 0.003)
    np.testing.assert_allclose(electron.masses[:, 0], HBAR2_OVER_MASS / numeric, rtol=2e-4)


def test_second_derivatives_have_the_terms_of_the_overlap():
    """At a point without symmetry, all components, of a single level: against differences."""
    calc = dock.read("fixtures/openmx/mos2")
    k = np.array([0.13, 0.24, 0.0])
    found = masses(calc, k, band=9, tolerance=1e-6)
    for axis in (np.array([1.0, 0, 0]), np.array([0.6, 0.8, 0])):
        numeric = curvatures(calc, k, axis, slice(8, 9), 0.01)
        assert axis @ found.kdotp.hessian @ axis == pytest.approx(float(numeric[0]), rel=1e-4)
    assert "the point is no extremum" in found.table()
    assert "flat m_e" in found.table()  # a layer
    assert found.json()["masses_me"][0][0] is None


def test_the_effective_hamiltonian_is_right_to_second_order():
    """Two neighbouring levels taken as one: energies differ by q³, with slopes and all."""
    calc = dock.read("fixtures/abacus/graphene")
    operators = Operators.of(calc)
    corner = np.array([1 / 3, 1 / 3, 0])
    data = next(each(operators, [corner], lambda data: data))
    kdotp = KdotP.of(data, slice(3, 5))
    errors = []
    for length in (0.02, 0.01):
        q = length * np.array([0.6, 0.8, 0])
        k = corner + q @ np.linalg.inv(calc.structure.reciprocal)
        exact = levels(operators.problem, [k]).energies[0, 0, 3:5]
        errors.append(np.abs(kdotp.at(q) - exact).max())
    assert errors[0] < 2e-4
    assert errors[0] / errors[1] == pytest.approx(8, rel=0.25)


def test_edges_are_found_where_the_mesh_does_not_have_them():
    calc = dock.read("fixtures/openmx/si")
    first = masses(calc, "cbm", mesh=(3, 3, 3))
    second = masses(calc, "cbm", mesh=(4, 4, 4))
    assert first.name == second.name
    np.testing.assert_allclose(
        np.sort(np.abs(first.k_frac)), np.sort(np.abs(second.k_frac)), rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(first.masses, second.masses, rtol=1e-5)


def test_an_edge_away_from_a_level_whose_bands_cross():
    """Rashba's model, H = q²/2m + α (σ × q): the minimum is a ring of radius αm about Γ."""
    from dock.response.extrema import _step

    alpha, D = 0.8, 40.0
    first = alpha * np.array([[[0, 1j], [-1j, 0]], [[0, 1], [1, 0]], np.zeros((2, 2))])
    second = np.einsum("ab,mn->abmn", D * np.eye(3), np.eye(2)).astype(complex)
    step = _step(KdotP(np.zeros(2), first, second), 1.0, 1.0, 1e-3)
    assert np.linalg.norm(step) == pytest.approx(alpha / D)
    slopes, bent = KdotP(np.zeros(2), first, second).along(np.array([1.0, 0, 0]))
    np.testing.assert_allclose(slopes, [-alpha, alpha])
    np.testing.assert_allclose(bent, D)
    stays = _step(KdotP(np.zeros(2), first, second), 1.0, 1.0, 0.1)
    np.testing.assert_allclose(stays, 0, atol=1e-12)


@pytest.mark.shared
def test_a_metal_has_no_edges(shared):
    metal = dock.read(shared / "fixtures/siesta/fe_bcc/fe_bcc.v2.HSX")
    with pytest.raises(UsageError, match="a metal: its bands overlap, so that there is no vbm"):
        masses(metal, "vbm", mesh=(2, 2, 2))


def test_what_is_refused():
    calc = dock.read("fixtures/openmx/si")
    with pytest.raises(UsageError, match="pass band=N, from 1 to 10"):
        masses(calc, [0, 0, 0])
    with pytest.raises(UsageError, match="pass band=N, from 1 to 10"):
        masses(calc, [0, 0, 0], band=11)
    with pytest.raises(UsageError, match="no spin channel 1"):
        masses(calc, [0, 0, 0], band=1, channel=1)
    with pytest.raises(UsageError, match="'vbm', 'cbm' or a k-point"):
        masses(calc, "X")
    with pytest.raises(UsageError, match="leave it out"):
        masses(calc, "vbm", band=4)
    bare = dataclasses.replace(calc, n_electrons=None, fermi_level=None)
    with pytest.raises(MissingDataError, match="electrons=N"):
        masses(bare, "vbm", mesh=(2, 2, 2))


def test_a_figure_needs_energies(tmp_path):
    calc = dock.read("fixtures/openmx/si")
    result = masses(calc, [0.5, 0.5, 0.5], band=4, lines=3, mesh=KMesh.full((1, 1, 1)))
    assert result.plot(tmp_path / "m.png").is_file()
    assert result.lines.shape == (3, 3, result.kdotp.size)
    with pytest.raises(UsageError, match="lines=21"):
        dataclasses.replace(result, lines=None).plot(tmp_path / "n.png")
    result.save(tmp_path / "m.h5")


def test_axes_of_tensors():
    turn = np.linalg.qr(np.arange(9).reshape(3, 3) + np.eye(3))[0]
    axes = principal_axes(turn @ np.diag([1.0, 2.0, 3.0]) @ turn.T)
    np.testing.assert_allclose(np.abs(axes @ turn), np.eye(3), atol=1e-12)
    uniaxial = principal_axes(np.diag([2.0, 5.0, 2.0 + 1e-6]))
    np.testing.assert_allclose(uniaxial, np.eye(3)[[0, 2, 1]], atol=1e-9)


@pytest.mark.parametrize(
    ("k", "name"),
    [
        ((0, 1, 0), "Γ"),
        ((0.5, 0.5, 0), "M"),
        ((0.5, 0, 0), "X"),
        ((0, 0.5, 0), "X"),  # by the operation
        ((-0.3, 0, 0), "0.6 of Γ–X"),
        ((0.5, 0.75, 0), "0.5 of X–M"),
        ((0.1, 0.2, 0), ""),
    ],
)
def test_names_of_points(k, name):
    points = {"GAMMA": (0, 0, 0), "X": (0.5, 0, 0), "M": (0.5, 0.5, 0)}
    known = SpecialPoints(
        MappingProxyType({label: np.array(k, dtype=float) for label, k in points.items()}),
        (("GAMMA", "X", "M"),), "square", (0, 1), "",
    )  # fmt: skip
    swap = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    assert name_of(np.array(k, dtype=float), known, [swap, -np.eye(3, dtype=int)]) == name
