"""Spectral weights: the share of a supercell's state at a wave vector of the primitive cell.

`BySites` and `ByFunctions` move the orbitals in the two ways that `dock.post.unfold` explains; both
are a `Projector`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dock.core.basis import Basis
from dock.core.calculation import Calculation
from dock.core.kspace import KBuilder
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.post.supercell import Sites
from dock.states.problem import Channel

if TYPE_CHECKING:
    import scipy.sparse

__all__ = ["ByFunctions", "BySites", "Projector", "bloch_sums", "moved_overlap", "orbital_mask"]


class Projector(Protocol):
    """Gives the share of each orbital in the weights of states."""

    def shares(
        self, channel: Channel, q: NDArray[np.float64], vectors: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Return (n_rows, n_states) shares, one row for each orbital of each spin of a spinor."""


class BySites:
    """Moves orbitals from atom to atom."""

    def __init__(self, calc: Calculation, sites: Sites, atoms: NDArray[np.int64] | None) -> None:
        self._sites = sites
        self._kept = orbital_mask(calc, atoms)
        self._slots, self._cells = _places(calc, sites)

    def shares(
        self, channel: Channel, q: NDArray[np.float64], vectors: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Return the shares; see `Projector`."""
        from scipy.sparse import csr_array

        phase = np.exp(2j * np.pi * (self._cells @ q))[:, None]
        own = vectors * self._kept[:, None]
        n_rows = len(self._slots)
        collect = csr_array((np.ones(n_rows), (self._slots, np.arange(n_rows))))
        periodic = (collect @ (phase.conj() * own)) / self._sites.n_cells
        projected = phase * periodic[self._slots] * self._kept[:, None]
        image = channel.overlap.times(self._sites.transform @ q, own)
        shares: NDArray[np.float64] = (image.conj() * projected).real
        return shares


def bloch_sums(
    calc: Calculation,
    sites: Sites,
    q: NDArray[np.float64],
    atoms: NDArray[np.int64] | None = None,
) -> scipy.sparse.csc_array:
    """Return exp(2πi q·T) of each orbital in the column of its orbital of the primitive cell.

    Sparse, (n_rows, n_sums), of some atoms alone where they are given; q (3,) in reciprocal vectors
    of the primitive cell. BySites' P_q is the product of this with its adjoint, over the number of
    cells.
    """
    import scipy.sparse

    slots, cells = _places(calc, sites)
    rows = np.flatnonzero(orbital_mask(calc, atoms))
    used, columns = np.unique(slots[rows], return_inverse=True)
    phases = np.exp(2j * np.pi * (cells[rows] @ q))
    return scipy.sparse.csc_array((phases, (rows, columns.ravel())), shape=(len(slots), len(used)))


def _places(calc: Calculation, sites: Sites) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return `Sites.orbitals` of the rows of the problem: of both spins for spinors."""
    slots, cells = sites.orbitals(calc.basis)
    if calc.spin is Spin.NONCOLLINEAR:
        slots = np.concatenate([slots, slots + slots.max() + 1])
        cells = np.tile(cells, (2, 1))
    return slots, cells


class ByFunctions:
    """Moves orbitals in space: overlaps of all orbitals with their images."""

    def __init__(
        self,
        calc: Calculation,
        cell: NDArray[np.float64],
        n_cells: int,
        atoms: NDArray[np.int64] | None,
    ) -> None:
        spinor = calc.spin is Spin.NONCOLLINEAR
        self._builder = KBuilder(moved_overlap(calc.structure, calc.basis, cell), spinor=spinor)
        self._n_cells = n_cells
        self._kept = orbital_mask(calc, atoms)

    def shares(
        self,
        channel: Channel,  # noqa: ARG002 - the overlap here is another one
        q: NDArray[np.float64],
        vectors: NDArray[Any],
    ) -> NDArray[np.float64]:
        """Return the shares; see `Projector`."""
        own = vectors * self._kept[:, None]
        shares: NDArray[np.float64] = (own.conj() * self._builder.times(q, own)).real
        return shares / self._n_cells


def moved_overlap(structure: Structure, basis: Basis, cell: NDArray[np.float64]) -> AOMatrix:
    """Return ⟨φ_i(r)|φ_j(r − t)⟩ for all vectors t of the primitive lattice.

    It is the overlap matrix of a structure that has the atoms of the supercell in the primitive
    cell: atoms that are images of each other coincide there, which no real structure may.

    Raises `UsageError` where the basis has no radial functions.
    """
    from dock.overlap.assemble import Integrals
    from dock.overlap.neighbours import mixed_pairs, orbital_cutoffs

    dense = replace(structure, cell=cell)
    radii = orbital_cutoffs(basis)
    return Integrals(dense, basis, mixed_pairs(dense, radii, radii)).matrix("overlap")


def orbital_mask(calc: Calculation, atoms: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Return 1 for each row of the problem whose orbital is one of the atoms', 0 for the others."""
    mask = np.ones(calc.basis.n_orbitals)
    if atoms is not None:
        mask = np.isin(calc.basis.table.atom, atoms).astype(np.float64)
    return np.tile(mask, 2 if calc.spin is Spin.NONCOLLINEAR else 1)
