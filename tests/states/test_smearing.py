"""Smearing functions: derivatives, moments and limits."""

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.special
from hypothesis import given

from dock.errors import UsageError
from dock.states.smearing import BOLTZMANN_EV, Smearing

KINDS = [
    ("fermi-dirac", 1),
    ("gaussian", 1),
    ("methfessel-paxton", 1),
    ("methfessel-paxton", 3),
    ("cold", 1),
]


def slope(function, x, level, h=1e-5):
    return (function(x + h, level) - function(x - h, level)) / (2 * h)


@pytest.mark.parametrize(("kind", "order"), KINDS)
def test_delta_is_minus_the_slope_of_the_occupation(kind, order):
    smearing = Smearing(kind, 0.2, order)
    e = np.linspace(-1.5, 1.5, 301)
    change = slope(smearing.occupation, e, 0.1)
    assert np.abs(smearing.delta(e, 0.1) + change).max() < 1e-7


@pytest.mark.parametrize(("kind", "order"), KINDS)
def test_entropy_obeys_its_differential_equation(kind, order):
    # dS/dx = x df/dx makes E − σ Σ S stationary in the occupations.
    smearing = Smearing(kind, 1.0, order)
    x = np.linspace(-5, 5, 401)
    change = slope(smearing.entropy, x, 0.0)
    assert np.abs(change + x * smearing.delta(x, 0.0)).max() < 1e-8


@pytest.mark.parametrize(("kind", "order"), KINDS)
def test_delta_has_unit_area_and_the_tails_are_empty(kind, order):
    smearing = Smearing(kind, 0.3, order)
    e = np.linspace(-1.05, 1.05, 20001) * smearing.reach
    assert np.trapezoid(smearing.delta(e, 0.0), e) == pytest.approx(1, abs=1e-9)
    ends = smearing.occupation(np.array([-1.0, 1.0]) * smearing.reach, 0.0)
    assert np.abs(ends - [1, 0]).max() < 1e-15


@given(st.floats(-1e4, 1e4), st.floats(1e-4, 10))
def test_fermi_dirac_is_a_probability_everywhere(energy, width):
    filling = Smearing("fermi-dirac", width).occupation(np.array([energy]), 0.0)[0]
    assert 0 <= filling <= 1


def test_methfessel_paxton_removes_the_second_moment():
    e = np.linspace(-4, 4, 40001)
    gauss, mp = Smearing("gaussian", 0.4), Smearing("methfessel-paxton", 0.4, 1)
    assert np.trapezoid(e**2 * gauss.delta(e, 0), e) == pytest.approx(0.08, rel=1e-6)
    assert np.trapezoid(e**2 * mp.delta(e, 0), e) == pytest.approx(0, abs=1e-9)


def test_temperature():
    assert Smearing.fermi_dirac(1000).width == pytest.approx(1000 * BOLTZMANN_EV)


def test_errors():
    with pytest.raises(UsageError, match="smearing is one of"):
        Smearing("lorentz", 0.1)
    with pytest.raises(UsageError, match="width"):
        Smearing("gaussian", 0.0)
    with pytest.raises(UsageError, match="order"):
        Smearing("methfessel-paxton", 0.1, 0)


@given(st.floats(-40, 40))
def test_gaussian_occupations_are_the_error_function_of_scipy(x):
    expected = float(scipy.special.erfc(x))
    found = 2 * Smearing("gaussian", 1.0).occupation(np.array([[x]]), 0.0)
    assert found.shape == (1, 1)
    assert found[0, 0] == pytest.approx(expected, rel=1e-13, abs=1e-300)
