"""Angular momentum, projectors on j, and rectangular overlaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from dock.core.basis import Basis, Shell
from dock.core.structure import Structure
from dock.overlap import compute_overlap
from dock.overlap.mixed import compute_mixed_overlap
from dock.overlap.radial import gaussian_radial
from dock.overlap.separable import angular_momentum, spin_angle


@given(st.integers(0, 4))
def test_commutators_and_square(l):
    Lx, Ly, Lz = angular_momentum(l)
    assert np.allclose(Lx @ Ly - Ly @ Lx, 1j * Lz)
    assert np.allclose(Lx @ Lx + Ly @ Ly + Lz @ Lz, l * (l + 1) * np.eye(2 * l + 1))
    for L in (Lx, Ly, Lz):
        assert np.allclose(L, L.conj().T)
        assert np.allclose(L.real, 0)


@given(st.integers(1, 4))
def test_projectors_on_j(l):
    size = 2 * (2 * l + 1)
    up, down = (spin_angle(l, l + s).transpose(0, 2, 1, 3).reshape(size, size) for s in (0.5, -0.5))
    assert np.allclose(up + down, np.eye(size))
    for part, j in ((up, l + 0.5), (down, l - 0.5)):
        assert np.allclose(part @ part, part)
        assert np.trace(part).real == pytest.approx(2 * j + 1)


def test_mixed_overlaps_of_a_basis_with_itself(rng):
    """They are the overlaps; and a cut far out changes nothing."""
    shells = tuple(Shell(l, radial=gaussian_radial(l, 1.0 + l)) for l in (0, 1, 2))
    structure = Structure(np.eye(3) * 6, rng.uniform(0, 3, (3, 3)), [1, 2, 1])
    basis = Basis({"H": shells, "He": shells[:2]}, structure.labels)
    S = compute_overlap(structure, basis)
    for q_last in (None, 40.0):
        mixed = compute_mixed_overlap(structure, basis, basis, q_last=q_last)
        place = S.pairs.find(mixed.pairs.R, mixed.pairs.i, mixed.pairs.j)
        assert len(place) == len(S.pairs)
        for number, pair in enumerate(place):
            i, j = int(S.pairs.i[pair]), int(S.pairs.j[pair])
            block = S.block(S.pairs.R[pair], i, j)
            assert np.allclose(mixed.block(number), block, atol=1e-8)
