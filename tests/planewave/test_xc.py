"""The potential is the derivative of the energy, also where a gradient vanishes."""

from __future__ import annotations

import numpy as np
import pytest

from dock.planewave.local_potential import Waves
from dock.planewave.xc import FUNCTIONALS, functional_of, xc_potential

libxc = pytest.importorskip("pyscf.dft.libxc", reason="pip install 'dock-dft[pyscf]'")

SHAPE = (4, 6, 40)
WAVES = Waves(2 * np.pi * np.diag([1 / 4, 1 / 5, 1 / 9]), SHAPE, 1e4)
POINT = 4 * 5 * 9 / np.prod(SHAPE)


def _energy(name, densities):
    """Return the energy, Hartree, straight from libxc."""
    functional = functional_of(name)
    fields = [one.ravel() for one in densities]
    word = functional.gradient or functional.local
    if functional.gradient:
        fields = [np.vstack([one.ravel(), WAVES.gradient(one).reshape(3, -1)]) for one in densities]
    spin = len(densities) - 1
    per_electron = libxc.eval_xc(word, fields if spin else fields[0], spin=spin, deriv=0)[0]
    return float(np.sum(per_electron * densities.sum(axis=0).ravel())) * POINT


def _densities(n_spins, rng):
    """Two spins whose sum has no gradient at all, or one density with waves along each axis."""
    x, y, z = (2 * np.pi * np.arange(n) / n for n in SHAPE)
    wave = (np.cos(z) + 0.3 * np.cos(x)[:, None, None] + 0.2 * np.sin(y)[:, None]) * 0.02
    return np.stack([0.06 + wave, 0.06 - wave]) if n_spins == 2 else 0.1 + wave[None]


@pytest.mark.parametrize("n_spins", [1, 2])
@pytest.mark.parametrize("name", list(FUNCTIONALS))
def test_derivative_of_the_energy(name, n_spins, rng):
    densities = _densities(n_spins, rng)
    potential = xc_potential(functional_of(name), densities, WAVES.gradient, WAVES.divergence)
    smooth = [WAVES.grid(WAVES.waves(one)) for one in rng.normal(size=densities.shape)]
    change = 1e-5 * np.stack(smooth)
    slope = (_energy(name, densities + change) - _energy(name, densities - change)) / 2
    assert np.sum(potential * change) * POINT == pytest.approx(slope, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("name", list(FUNCTIONALS))
def test_two_equal_spins_are_none(name, rng):
    density = _densities(1, rng)
    one = xc_potential(functional_of(name), density, WAVES.gradient, WAVES.divergence)
    half = np.repeat(density / 2, 2, axis=0)
    two = xc_potential(functional_of(name), half, WAVES.gradient, WAVES.divergence)
    assert np.abs(two - one).max() < 1e-9
