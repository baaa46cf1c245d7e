"""Exact integrals of Gaussian orbitals by Gauss–Hermite quadrature: the twin of the engine."""

from math import gamma, sqrt

import numpy as np

from dock.core.basis import Basis, Shell
from dock.core.harmonics import real_harmonics
from dock.core.structure import Structure
from dock.overlap.radial import gaussian_radial
from dock.overlap.twocenter import KINETIC_FACTOR

EXPONENTS = {
    "H": ((0, 0.5), (1, 0.9), (3, 1.2)),
    "C": ((0, 2.0), (2, 0.7), (1, 3.0), (6, 1.1), (4, 0.8), (5, 1.4)),
}


def molecule(positions, numbers=(1, 6, 6, 1)):
    """Return atoms in a box without periodicity."""
    count = len(positions)
    return Structure(np.eye(3) * 60, positions, numbers[:count], pbc=(False, False, False))


def gaussian_basis(labels, exponents=None):
    """Return the Gaussian shells of each species."""
    table = exponents or EXPONENTS
    shells = {
        name: tuple(Shell(l, f"{a}", gaussian_radial(l, a)) for l, a in group)
        for name, group in table.items()
    }
    return Basis(shells, tuple(labels))


def exact(structure, i, j, exponents=None):
    """Return S, T, r, ∇ blocks of atoms i and j: (n, m), (n, m), (3, n, m), (3, n, m)."""
    table = exponents or EXPONENTS
    rows = [
        [
            _shells(structure.positions[[i, j]], first, second)
            for second in table[structure.labels[j]]
        ]
        for first in table[structure.labels[i]]
    ]
    return [
        np.concatenate(
            [np.concatenate([cell[k] for cell in row], axis=-1) for row in rows], axis=-2
        )
        for k in range(4)
    ]


def _shells(centers, first, second):
    (l1, a), (l2, b) = first, second
    total = a + b
    middle = (a * centers[0] + b * centers[1]) / total
    prefactor = np.exp(-a * b / total * np.sum((centers[0] - centers[1]) ** 2))
    x, w = np.polynomial.hermite.hermgauss((l1 + l2 + 4) // 2 + 1)
    points = np.stack(np.meshgrid(x, x, x, indexing="ij"), axis=-1).reshape(-1, 3)
    points = points / sqrt(total) + middle
    weights = (w[:, None, None] * w[None, :, None] * w).ravel() * prefactor / total**1.5
    bra = _norm(l1, a) * real_harmonics(l1, points - centers[0], solid=True)
    shift = points - centers[1]
    solid = _norm(l2, b) * real_harmonics(l2, shift, solid=True)
    laplacian = solid * (4 * b * b * np.sum(shift**2, axis=1) - 2 * b * (2 * l2 + 3))[:, None]
    step = 1e-5
    slope = [
        _norm(l2, b)
        * (
            real_harmonics(l2, shift + e * step, solid=True)
            - real_harmonics(l2, shift - e * step, solid=True)
        )
        / (2 * step)
        - 2 * b * shift @ e[:, None] * solid
        for e in np.eye(3)
    ]
    ket = bra * weights[:, None]
    return (
        ket.T @ solid,
        -KINETIC_FACTOR * (ket.T @ laplacian),
        np.stack([(ket * points[:, [x]]).T @ solid for x in range(3)]),
        np.stack([ket.T @ part for part in slope]),
    )


def _norm(l, exponent):
    return sqrt(2 * (2 * exponent) ** (l + 1.5) / gamma(l + 1.5))
