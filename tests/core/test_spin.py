"""Spin: its components, and the formulas of the moments for an electron whose spin is known."""

import numpy as np
import pytest

from dock.core.basis import Basis
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure

EXACT = 1e-14


@pytest.mark.parametrize(
    ("spin", "components", "channels", "degeneracy"),
    [(Spin.NONE, 1, 1, 2), (Spin.COLLINEAR, 2, 2, 1), (Spin.NONCOLLINEAR, 4, 1, 1)],
)
def test_facts(spin, components, channels, degeneracy):
    assert spin.n_components == len(spin.component_names) == components
    assert (spin.n_channels, spin.degeneracy) == (channels, degeneracy)
    assert Spin(spin.value) is spin


def filled_density(direction, n_k=5):
    """The density matrix of one electron in a one-orbital chain, its spin along a direction."""
    structure = Structure(np.diag([2.0, 9, 9]), [[0, 0, 0]], [1])
    basis = Basis.from_ls({"H": [0]}, ["H"])
    cells = np.array([[x, 0, 0] for x in range(-2, 3)])
    zeros = np.zeros(5, dtype=int)
    pairs = Pairs(cells, zeros, zeros, 1)
    s = np.array([0.02, 0.2, 1, 0.2, 0.02])
    overlap = AOMatrix("S", structure, basis, pairs, Spin.NONCOLLINEAR, s)
    x, y, z = direction
    spinor = np.linalg.eigh(np.array([[z, x - 1j * y], [x + 1j * y, -z]]))[1][:, 1]
    entries = np.zeros((4, 5), dtype=complex)
    for k in np.arange(n_k) / n_k:
        norm = (s * np.exp(2j * np.pi * k * cells[:, 0])).sum().real
        c = spinor / np.sqrt(norm)
        rho = np.outer(c, c.conj()).ravel()  # uu, ud, du, dd
        entries += rho[:, None] * np.exp(-2j * np.pi * k * cells[:, 0]) / n_k
    return AOMatrix("DM", structure, basis, pairs, Spin.NONCOLLINEAR, entries), overlap


@pytest.mark.parametrize(
    "direction", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, -1, 0), (0.6, 0.64, -0.48)]
)
def test_moments_of_a_polarised_spinor(direction):
    """The formulas in the docstring of `Spin`, for an electron whose spin is known."""
    density, overlap = filled_density(direction)
    assert density.hermiticity_error() < EXACT
    assert density.dot(overlap) == pytest.approx(1)
    uu, ud, _, dd = density.entries @ overlap.entries[0]  # Tr ρ S: S is real and symmetric
    moment = (2 * ud.real, -2 * ud.imag, (uu - dd).real)
    np.testing.assert_allclose(moment, direction, atol=1e-12)
