"""Matrix elements of a potential on a grid: against overlaps, and linear in the potential."""

from __future__ import annotations

import numpy as np
import pytest

from dock.core.basis import Basis, Shell
from dock.core.structure import Structure
from dock.grid.potential_integrals import integrate_potential
from dock.overlap import compute_overlap
from dock.overlap.radial import gaussian_radial


def _system(cell, places):
    structure = Structure(cell, places, [14] * len(places))
    shells = tuple(Shell(l, radial=gaussian_radial(l, 1.5)) for l in (0, 1, 2))
    basis = Basis({"Si": shells}, structure.labels)
    return structure, basis, compute_overlap(structure, basis)


@pytest.fixture(scope="module")
def oblique():
    """Two atoms in an fcc cell, where the boxes of points are oblique."""
    cell = 2.8 * (np.ones((3, 3)) - np.eye(3))
    return _system(cell, [[0.1, 0.2, 0.3], [1.5, 1.4, 1.6]])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_constant_potential_gives_the_overlap(oblique, sign):
    structure, basis, S = oblique
    field = np.full((1, 24, 24, 24), sign * 3.0)
    found = integrate_potential(structure, basis, S.pairs, field, jobs=1)
    assert np.abs(found - sign * 3.0 * S.entries).max() < 1e-5


def test_linear_and_hermitian(oblique, rng):
    """Potentials of either sign, of one sign and of two components make the same sums."""
    structure, basis, S = oblique
    field = rng.normal(size=(2, 15, 18, 16))
    both = integrate_potential(structure, basis, S.pairs, field, jobs=2)
    shifted = [
        integrate_potential(structure, basis, S.pairs, one[None] + 9.0, jobs=1)[0] for one in field
    ]
    unit = integrate_potential(structure, basis, S.pairs, np.full((1, 15, 18, 16), 9.0), jobs=1)[0]
    assert np.allclose(both, np.array(shifted) - unit, atol=1e-11)
    turned = S.layout.transpose(both, S.pairs.partner)
    assert np.allclose(both, turned, atol=1e-13)


def test_against_plain_sums(oblique, rng):
    """The definition: all orbitals at all points, image by image."""
    from scipy.interpolate import CubicSpline

    from dock.core.harmonics import real_harmonics

    structure, basis, S = oblique
    shape = (6, 8, 7)
    field = rng.normal(size=(1, *shape))
    found = integrate_potential(structure, basis, S.pairs, field, jobs=1)[0]
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 3)
    points = (index / shape) @ structure.cell
    reach = 2
    images = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), -1)
    points = (points[None] + (images.reshape(-1, 3) @ structure.cell)[:, None]).reshape(-1, 3)
    weight = np.tile(field[0].ravel(), (2 * reach + 1) ** 3) * structure.volume / np.prod(shape)

    def orbitals(atom, R):
        vectors = points - structure.positions[atom] - R @ structure.cell
        length = np.linalg.norm(vectors, axis=1)
        parts = []
        for shell in basis.shells["Si"]:
            spline = CubicSpline(shell.radial.r, shell.radial.values)
            radial = np.where(length < shell.radial.r[-1], spline(length), 0.0)
            parts.append(radial * real_harmonics(shell.l, vectors).T)
        return np.concatenate(parts)

    for pair in range(0, len(S.pairs), len(S.pairs) // 5):
        i, j, R = int(S.pairs.i[pair]), int(S.pairs.j[pair]), S.pairs.R[pair]
        expected = (orbitals(i, np.zeros(3)) * weight) @ orbitals(j, R).T
        begin, end = S.layout.starts[pair : pair + 2]
        assert np.allclose(found[begin:end].reshape(expected.shape), expected, atol=1e-6)


def test_vacuum():
    """Boxes that no orbital touches."""
    structure, basis, S = _system(np.diag([6.0, 6.0, 40.0]), [[3.0, 3.0, 20.0]])
    field = np.ones((1, 24, 24, 160))
    found = integrate_potential(structure, basis, S.pairs, field, jobs=1)
    assert np.abs(found - S.entries).max() < 1e-5
