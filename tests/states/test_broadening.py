"""Gaussians on a grid of energies against the formula, and what lies outside the grid."""

import numpy as np
import pytest

from dock.states.broadening import add_gaussians


def test_levels_are_added_as_gaussians():
    rng = np.random.default_rng(2)
    centres, weights = rng.uniform(-2, 2, 20), rng.uniform(-1, 1, 20)
    energies = -1.5 + 0.01 * np.arange(251)
    density = np.full(251, 0.25)
    add_gaussians(centres, weights, 0.1, -1.5, 0.01, density)
    away = (energies[:, None] - centres) / 0.1
    wanted = 0.25 + np.exp(-0.5 * away**2) @ weights / (0.1 * np.sqrt(2 * np.pi))
    assert density == pytest.approx(wanted, abs=1e-12)  # a Gaussian is 1e-17 at 9 σ


def test_a_level_far_outside_adds_nothing():
    density = np.zeros(11)
    add_gaussians(np.array([-40.0, 40.0]), np.ones(2), 0.5, -1.0, 0.2, density)
    assert not density.any()
