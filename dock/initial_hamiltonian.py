"""The Hamiltonian of superposed free atoms, H₀: what a model need not learn.

H₀ = T + V_nl + ⟨i| Σ v_atom + v_xc[Σ ρ_atom] |j⟩ with the potentials and densities of neutral,
spherical atoms. It belongs to the structure alone, has no adjustable parameter, and is the matrix
of a potential: whatever orbitals are nearly dependent, it has no false states. What it leaves,
H − H₀, is due to the charge that moves between the atoms.

Exchange and correlation are those of the local density (J. P. Perdew and A. Zunger, Phys. Rev. B
23, 5048, 1981), whatever functional a run had, and without spin. Integrals of the potential are
sums over a grid of the cell.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dock.converters.siesta.free_atom import FreeAtom, Projector
from dock.core.arrays import FloatArray
from dock.core.basis import Basis, Radial, Shell
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import LayoutError
from dock.grid.blocks import Block, GridBlocks
from dock.grid.grid import Grid, make_grid
from dock.grid.potential_integrals import integrate_potential
from dock.overlap.assemble import compute_integrals
from dock.overlap.radial import gaussian_radial
from dock.overlap.separable import separable_entries, spin_angle
from dock.units import CODATA2018

__all__ = ["initial_hamiltonian", "local_density_potential"]

_SPACING = 0.1  # Å; as a mesh cut-off of 276 Ry
_SPHERE = np.sqrt(4 * np.pi)  # a function f(r) is the orbital √(4π) f(r) Y₀₀
_EMPTY = 1e-20  # electrons/Bohr³


def initial_hamiltonian(
    structure: Structure,
    basis: Basis,
    pairs: Pairs,
    atoms: Mapping[str, FreeAtom],
    spin: Spin = Spin.NONE,
    *,
    spacing: float = _SPACING,
    jobs: int | None = None,
) -> AOMatrix:
    """Return H₀ of a structure, eV.

    Parameters
    ----------
    basis
        With radial functions.
    pairs
        Closed. Blocks of atoms that meet in neither orbitals nor projectors are zero.
    atoms
        The free atom of each species.
    spin
        Components of the matrix. Spinors get the spin–orbit coupling of projectors with j; else
        both spins have the same matrix.
    spacing
        Largest distance of the grid's points, Å.

    Raises
    ------
    LayoutError
        When a species has no free atom, or the basis belongs to other atoms.
    MissingDataError
        When a shell has no radial function.
    """
    missing = [label for label in basis.species if label not in atoms]
    if missing:
        raise LayoutError(f"there is no free atom of {', '.join(missing)}.")
    grid = make_grid(structure, spacing=spacing)
    potential = _potential(grid, basis.labels, atoms, jobs)
    local = integrate_potential(
        structure, basis, pairs, np.asarray(potential[None], np.float64), jobs=jobs
    )
    kinetic = compute_integrals(structure, basis, ("kinetic",), pairs=pairs, jobs=jobs or 1)
    scalar = np.asarray(kinetic["kinetic"].entries, np.float64) + local
    spinors = spin is Spin.NONCOLLINEAR
    projectors = Basis({label: _shells(atoms[label]) for label in basis.species}, basis.labels)
    table = {label: _strengths(atoms[label].projectors, spinors=spinors) for label in basis.species}
    entries = separable_entries(structure, basis, pairs, projectors, table)
    if spinors:
        entries[[0, 3]] += scalar
    else:
        entries = np.repeat(entries + scalar, spin.n_components, axis=0)
    # ⟨i|β⟩ D ⟨β|j⟩ is Hermitian to rounding; predictions are bit by bit.
    return AOMatrix("hamiltonian0", structure, basis, pairs, spin, entries).hermitian_part()


def _shells(atom: FreeAtom) -> tuple[Shell, ...]:
    """Return the projectors as shells; an atom without any gets one that counts for nothing."""
    shells = tuple(Shell(one.l, radial=one.radial) for one in atom.projectors)
    return shells or (Shell(0, radial=gaussian_radial(0, 20.0)),)


def _strengths(projectors: tuple[Projector, ...], *, spinors: bool) -> NDArray[np.generic]:
    """Return D between all projector functions, (4, n, n) for spinors, else real (1, n, n), eV."""
    sizes = [2 * one.l + 1 for one in projectors] or [1]
    ends = np.cumsum(sizes)
    found = np.zeros((2, 2, ends[-1], ends[-1]), dtype=np.complex128)
    for one, size, end in zip(projectors, sizes, ends, strict=False):
        own = slice(end - size, end)
        found[:, :, own, own] = one.energy * spin_angle(one.l, one.j)
    flat = found.reshape(4, ends[-1], ends[-1])
    return flat if spinors else flat[:1].real


def _potential(
    grid: Grid, labels: tuple[str, ...], atoms: Mapping[str, FreeAtom], jobs: int | None
) -> FloatArray:
    """Return Σ v_atom + v_xc[Σ ρ_atom] on a grid, eV."""
    species = dict.fromkeys(labels)
    shells = {
        label: (_sphere(atoms[label].potential), _sphere(atoms[label].density)) for label in species
    }
    fields = np.zeros((2, *grid.shape))

    def summed(block: Block) -> FloatArray:
        return np.stack([block.values[block.rows + own].sum(axis=0) for own in (0, 1)])

    GridBlocks.of(grid, Basis(shells, labels)).fill(fields, summed, jobs=jobs)
    bohr, hartree = CODATA2018.bohr_angstrom, CODATA2018.hartree_ev
    return np.asarray(fields[0] + local_density_potential(fields[1] * bohr**3) * hartree)


def _sphere(function: Radial) -> Shell:
    """Return the shell whose orbital is a spherical function."""
    return Shell(0, radial=Radial(function.r, function.values * _SPHERE, function.cutoff))


def local_density_potential(density: FloatArray) -> FloatArray:
    """Return the potential of exchange and correlation of a density without spin.

    Electrons/Bohr³ in, Hartree out (Perdew and Zunger 1981, its fit to Ceperley and Alder).

    Examples
    --------
    >>> local_density_potential(np.array([0.1])).round(4).tolist()
    [-0.5176]
    """
    n = np.maximum(density, _EMPTY)
    rs = (3 / (4 * np.pi * n)) ** (1 / 3)
    exchange = -((3 * n / np.pi) ** (1 / 3))
    log, root = np.log(rs), np.sqrt(rs)
    A, B, C, D = 0.0311, -0.048, 0.0020, -0.0116  # rs < 1
    dense = A * log + (B - A / 3) + 2 / 3 * C * rs * log + (2 * D - C) / 3 * rs
    gamma, b1, b2 = -0.1423, 1.0529, 0.3334
    thin = gamma * (1 + 7 / 6 * b1 * root + 4 / 3 * b2 * rs) / (1 + b1 * root + b2 * rs) ** 2
    total = exchange + np.where(rs < 1, dense, thin)
    return np.asarray(np.where(density > _EMPTY, total, 0.0))
