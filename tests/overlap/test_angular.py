"""Gaunt coefficients and gradients of real harmonics."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from dock.core.harmonics import real_harmonics
from dock.overlap.angular import angular_terms, gaunt, legendre_factors, sphere_gradient


def test_gaunt_of_an_s_function_is_the_norm():
    for l in range(7):
        assert np.allclose(gaunt(0, l, l)[0], np.eye(2 * l + 1) / np.sqrt(4 * np.pi), atol=1e-14)


def test_gaunt_known_value():
    # ∫ z z z² over the sphere: sqrt(1/(5π)) for Y10 Y10 Y20.
    assert gaunt(1, 1, 2)[1, 1, 2] == pytest.approx(np.sqrt(1 / (5 * np.pi)), abs=1e-14)


@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 8))
def test_gaunt_is_symmetric_and_obeys_the_selection_rules(l1, l2, l3):
    table = gaunt(l1, l2, l3)
    assert np.allclose(table, gaunt(l2, l1, l3).transpose(1, 0, 2), atol=1e-13)
    assert np.allclose(table, gaunt(l3, l2, l1).transpose(2, 1, 0), atol=1e-13)
    if (l1 + l2 + l3) % 2 or l3 > l1 + l2 or l3 < abs(l1 - l2):
        assert not table.any()


def test_gaunt_expands_products(rng):
    r = rng.normal(size=(5, 3))
    for l1, l2 in ((1, 1), (2, 3), (6, 6)):
        product = real_harmonics(l1, r)[:, :, None] * real_harmonics(l2, r)[:, None, :]
        total = sum(
            np.einsum("abm,pm->pab", gaunt(l1, l2, L), real_harmonics(L, r))
            for L in range(l1 + l2 + 1)
        )
        assert np.allclose(product, total, atol=1e-12)


def test_sphere_gradient_is_the_gradient_of_solid_harmonics(rng):
    lmax, step = 5, 1e-5
    starts, lm, factor = sphere_gradient(lmax)
    n = (lmax + 1) ** 2
    unit = rng.normal(size=3)
    unit /= np.linalg.norm(unit)
    every = np.concatenate([real_harmonics(l, unit) for l in range(lmax + 1)])
    for axis in range(3):
        shift = np.eye(3)[axis] * step
        above, below = (
            np.concatenate([real_harmonics(l, point, solid=True) for l in range(lmax + 1)])
            for point in (unit + shift, unit - shift)
        )
        for index in range(n):
            part = slice(starts[axis * n + index], starts[axis * n + index + 1])
            found = float(np.sum(factor[part] * every[lm[part]]))
            assert found == pytest.approx((above - below)[index] / (2 * step), abs=1e-8)


def test_angular_terms_are_the_signed_gaunt_coefficients():
    terms = angular_terms([(0, 0), (1, 2), (2, 2), (1, 2)])
    assert set(terms.groups) == {(0, 0), (1, 2), (2, 2)}
    assert terms.factor_start.tolist() == [0, 1, 1 + 2 * 15, 1 + 2 * 15 + 3 * 25]
    assert len(terms.term_start) == terms.factor_start[-1] + 1
    assert terms.term_start[-1] == len(terms.weight) == len(terms.lm)
    # Group (1, 2), channel L = 3 (the second), m₁ = 0, m₂ = 1: sign i^(1−2−3) = +1.
    factor = terms.factor_start[terms.groups[1, 2]] + 15 + 1 * 5 + 3
    part = slice(terms.term_start[factor], terms.term_start[factor + 1])
    table = np.zeros(7)
    table[terms.lm[part] - 9] = terms.weight[part]
    assert np.allclose(table, 8 * gaunt(1, 2, 3)[1, 3])


def test_legendre_factors_give_the_harmonics_along_z():
    up, down = legendre_factors(6)
    previous, current = 0.0, up[0, 0]
    for l in range(1, 7):
        previous, current = current, up[l, 0] * current - down[l, 0] * previous
        assert current == pytest.approx(real_harmonics(l, [0.0, 0.0, 1.0])[l], abs=1e-13)
