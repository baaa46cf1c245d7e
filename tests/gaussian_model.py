"""Small crystals of Gaussian orbitals, and their orbitals in space written out."""

from itertools import product

import numpy as np

import dock
from dock.core.basis import Basis, Shell
from dock.core.calculation import Calculation
from dock.core.harmonics import real_harmonics
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.overlap.assemble import compute_overlap
from dock.overlap.radial import gaussian_radial, interpolate


def gaussian_basis(labels, lmax=2):
    """Return shells of short Gaussians, s to f."""
    shells = tuple(
        Shell(l, radial=gaussian_radial(l, 2.0 + 0.3 * l, cutoff=2.6)) for l in range(lmax + 1)
    )
    return Basis(dict.fromkeys(labels, shells), tuple(labels))


def orbitals_at(structure, basis, atom, lattice, points):
    """Evaluate the orbitals of one atom image, (n_orbitals, n_points)."""
    d = points - structure.positions[atom] - lattice @ structure.cell
    r = np.linalg.norm(d, axis=1)
    rows = []
    for shell in basis.shells[basis.labels[atom]]:
        radial = interpolate(shell.radial, shell.l, r)[0]
        rows += list((radial[:, None] * real_harmonics(shell.l, d + 1e-12)).T)
    return np.array(rows)


def images(structure, reach=3):
    span = range(-reach, reach + 1)
    return [np.array(shift) for shift in product(span, span, span)]


def model(lmax=1):
    """Return a skewed crystal of two atoms with H from its overlap, and 4 electrons."""
    cell = [[4.2, 0.3, 0.0], [0.0, 4.0, 0.5], [0.2, 0.0, 4.4]]
    structure = Structure(np.array(cell), [[0.1, 0.2, -0.3], [1.9, 2.2, 2.4]], [6, 6])
    basis = Basis(
        {"C": tuple(Shell(l, radial=gaussian_radial(l, 0.9 + 0.3 * l)) for l in range(lmax + 1))},
        structure.labels,
    )
    S = compute_overlap(structure, basis)
    level = np.concatenate([np.full(2 * l + 1, -9.0 + 5 * l) for l in range(lmax + 1)])
    entries = np.array(S.entries)
    for group in S.layout.groups():
        blocks = S.layout.read(entries, group)
        S.layout.write(entries, group, 0.8 * blocks * (level[:, None] + level))
    H = dock.AOMatrix("hamiltonian", structure, basis, S.pairs, Spin.NONE, entries)
    return Calculation(structure, basis, Spin.NONE, {"hamiltonian": H, "overlap": S}, None, 4.0)
