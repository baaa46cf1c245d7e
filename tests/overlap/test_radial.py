"""Radial functions: interpolation, norms, transforms, and what is refused."""

import numpy as np
import pytest
from scipy.special import spherical_jn

from dock.core.basis import Basis, Radial, Shell
from dock.errors import MissingDataError, UsageError
from dock.overlap._radial_kernels import bessel_table
from dock.overlap.radial import (
    Function,
    QGrid,
    basis_notes,
    choose_q_grid,
    gaussian_radial,
    interpolate,
    quadrature,
    same_centre,
    shell_norm,
    support,
    transform,
)


def bessel(orders, q, d_step, n_d):
    """Return j_l(q d), d = 0, d_step …, and two derivatives in d: (n_orders, 3, n_q, n_d)."""
    out = np.empty((len(orders), 3, len(q), n_d))
    bessel_table(np.array(orders), np.array(q), d_step, out)
    return out


@pytest.mark.parametrize("l", range(14))
def test_bessel_functions_agree_with_scipy(l):
    x = np.concatenate([[0.0, 1e-8, 1e-3], np.linspace(0.05, 40, 400), [1e3, 2.5e3]])
    found = bessel([l, l + 1], x, 1.0, 2)[:, 0, :, 1]
    assert np.allclose(found[0], spherical_jn(l, x), rtol=1e-10, atol=1e-14)
    assert np.allclose(found[1], spherical_jn(l + 1, x), rtol=1e-10, atol=1e-14)


def test_many_orders_at_many_arguments():
    """Every lane, above and below the arguments from which the recurrence goes upward."""
    orders, q, d = [0, 3, 6, 13], np.array([1e-9, 0.02, 0.6, 7.0, 60.0]), 0.05 * np.arange(91)
    found = bessel(orders, q, 0.05, 91)[:, 0]
    exact = np.array([spherical_jn(l, q[:, None] * d) for l in orders])
    assert np.allclose(found, exact, rtol=0, atol=1e-13)


@pytest.mark.parametrize("l", [0, 1, 2, 3, 7])
def test_bessel_table_has_the_derivatives(l):
    q, d = np.array([0.0, 0.7, 3.0]), np.array([0.0, 0.4, 0.8, 1.2, 1.6, 2.0, 2.4])
    value, slope, curvature = bessel([l], q, 0.4, 7)[0]
    h = 1e-4
    x = q[:, None] * d
    assert np.allclose(value, spherical_jn(l, x), atol=1e-13)
    assert np.allclose(slope, q[:, None] * spherical_jn(l, x, derivative=True), atol=1e-12)
    moved = [spherical_jn(l, q[:, None] * np.abs(d + s * h), derivative=True) for s in (1, -1)]
    moved[1][:, 0] *= (-1) ** (l + 1)  # j_l' of a negative argument
    second = q[:, None] * (moved[0] - moved[1]) / (2 * h)
    assert np.allclose(curvature, second, atol=1e-6)


def test_interpolation_is_exact_for_cubics_and_zero_outside():
    r = np.sort(np.concatenate([[0.0], np.random.default_rng(1).uniform(0, 3, 30), [3.0]]))
    radial = Radial(r, 1 + r - 2 * r**2 + 0.3 * r**3)
    x = np.linspace(0, 3.2, 77)
    values, slopes = interpolate(radial, 0, x)
    inside = x <= 3.0
    assert np.allclose(values[inside], (1 + x - 2 * x**2 + 0.3 * x**3)[inside], atol=1e-12)
    assert np.allclose(slopes[inside], (1 - 4 * x + 0.9 * x**2)[inside], atol=1e-11)
    assert not values[~inside].any()


def test_below_a_logarithmic_mesh_the_function_is_a_power_of_r():
    r = np.geomspace(0.1, 4, 200)
    values, slopes = interpolate(Radial(r, r**2 * np.exp(-r)), 2, np.array([0.0, 0.05]))
    assert values[0] == 0
    assert values[1] == pytest.approx(0.1**2 * np.exp(-0.1) / 4)
    assert slopes[1] == pytest.approx(2 * values[1] / 0.05)


def test_quadrature_integrates_waves():
    r, w = quadrature(gaussian_radial(0, 1.0), 50.0)
    assert np.sum(w) == pytest.approx(r.max(), rel=1e-3)
    assert np.sum(w * np.exp(-r * r) * np.cos(20 * r)) == pytest.approx(
        np.sqrt(np.pi) / 2 * np.exp(-100), abs=1e-12
    )


@pytest.mark.parametrize("l", range(7))
def test_transform_of_gaussians(l):
    exponent = 0.8
    radial = gaussian_radial(l, exponent)
    grid = QGrid(0.3, 40)
    found = transform([Function(radial, l, l, 0)], grid)[0]
    norm = radial.values[-700] / (radial.r[-700] ** l * np.exp(-exponent * radial.r[-700] ** 2))
    exact = norm * np.sqrt(np.pi) / 4 * (grid.q / 2) ** l / exponent ** (l + 1.5)
    assert np.allclose(found, exact * np.exp(-(grid.q**2) / 4 / exponent), atol=1e-11)


def test_q_grid_keeps_the_norm_and_reports_it():
    shells = [Shell(l, radial=gaussian_radial(l, 1.2)) for l in (0, 1, 3)]
    grid, transforms = choose_q_grid(shells)
    part = 2 / np.pi * grid.step * np.sum((grid.q * transforms) ** 2, axis=1)
    assert np.allclose(part, 1, atol=1e-9)


def test_a_kink_at_the_cutoff_does_not_spoil_integrals_on_one_centre():
    # j0(πr) is zero with a slope at r = 1; T is exactly π² ħ²/2m.
    r = np.linspace(0, 1, 800)
    radial = Radial(r, np.sqrt(2) * np.pi * np.sinc(r))
    item = Function(radial, 0, 0, 0)
    assert same_centre(item, item, kinetic=False) == pytest.approx(1, abs=1e-9)
    assert same_centre(item, item, kinetic=True) == pytest.approx(np.pi**2, abs=1e-6)


def test_support_goes_beyond_the_cutoff_only_for_interpolation_tails():
    r = np.linspace(0, 4, 401)
    values = np.where(r < 3, np.exp(-r) * (3 - r) ** 2, 0.0)
    leaking = values.copy()
    leaking[301] = 1e-5
    assert support(Radial(r, values, 3.0)) == pytest.approx(3.0)
    assert support(Radial(r, leaking, 3.0)) == pytest.approx(3.02)
    assert support(Radial(r, np.exp(-r), 3.0)) == 3.0


def test_norms_are_reported_not_repaired():
    good = gaussian_radial(1, 1.0)
    off = Radial(good.r, good.values * 1.01)
    notes = basis_notes(Basis({"X": (Shell(1, "p", off), Shell(1, radial=good))}, ("X",)))
    assert len(notes) == 1
    assert "species X, shell 1" in notes[0]
    assert "1.0201" in notes[0]


def test_a_table_in_another_unit_is_refused():
    good = gaussian_radial(2, 1.0)
    wrong = Radial(good.r, good.values * 0.529177**1.5)
    with pytest.raises(UsageError, match=r"shell 1 .* ∫R²r²dr is 0\.148.*where 1 is expected"):
        basis_notes(Basis({"Mo": (Shell(2, "4d", wrong),)}, ("Mo",)))


def test_a_shell_without_a_function_is_refused():
    with pytest.raises(MissingDataError, match=r"basis of Si: the radial function.*--basis"):
        basis_notes(Basis({"Si": (Shell(0),)}, ("Si",)))


def test_shell_norm_of_a_coarse_table():
    r = np.linspace(0, 8, 60)
    radial = Radial(r, 2 * np.exp(-r))
    assert shell_norm(Shell(0, radial=radial)) == pytest.approx(1, abs=2e-3)
