"""A supercell in the lattice of its primitive cell: repetition, the sites of its atoms, layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.basis import Basis
from dock.core.structure import AnyStructure, Structure
from dock.errors import UsageError
from dock.states.layers.lattice import layers_of

__all__ = ["Sites", "find_sites", "layers_of", "supercell_of"]

_CELL_TOLERANCE = 0.02  # by which the supercell may miss a whole number of primitive cells


@dataclass(frozen=True, eq=False)
class Sites:
    """Where the atoms of a supercell stand in the primitive lattice.

    Attributes
    ----------
    primitive
        The primitive cell with one atom for each site.
    transform : (3, 3) int
        The supercell's vectors in those of the primitive cell.
    site, cell : (n_atoms,) and (n_atoms, 3) int
        Site and primitive lattice vector of each atom.
    note
        Atoms that are not repeated, in words.
    """

    primitive: Structure
    transform: NDArray[np.int64]
    site: NDArray[np.int64]
    cell: NDArray[np.int64]
    note: str = ""

    @property
    def n_cells(self) -> int:
        """Primitive cells in the supercell."""
        return abs(round(float(np.linalg.det(self.transform))))

    def orbitals(self, basis: Basis) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the number of each orbital among those of all sites, and its (n, 3) cell."""
        counts = np.zeros(int(self.site.max()) + 1, dtype=np.int64)
        counts[self.site] = basis.counts
        first = np.cumsum(counts) - counts
        atom = basis.table.atom
        within = np.arange(basis.n_orbitals) - basis.offsets[atom]
        return first[self.site[atom]] + within, self.cell[atom]


def supercell_of(
    structure: Structure, primitive: AnyStructure | ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the supercell matrix, and the primitive cell that fits the supercell exactly (Å).

    Raises `UsageError` where the supercell does not repeat the primitive cell.
    """
    if Structure.accepts(primitive):
        primitive = Structure.of(primitive)
        ratio = structure.cell @ np.linalg.inv(primitive.cell)
        transform = np.rint(ratio).astype(np.int64)
        worst = float(np.abs(ratio - transform).max())
        if worst > _CELL_TOLERANCE or round(float(np.linalg.det(transform))) == 0:
            raise UsageError(
                "the cell does not repeat the primitive cell: in its vectors it is "
                f"{np.round(ratio, 3).tolist()}, which should be whole numbers. Give the "
                "supercell matrix instead, or a primitive cell in the same orientation."
            )
    else:
        given = np.asarray(primitive)
        if given.shape not in ((3,), (3, 3)) or not np.array_equal(given, np.rint(given)):
            raise UsageError(
                f"a supercell is three or 3 × 3 whole numbers, found {given.tolist()}."
            )
        whole = given.astype(np.int64)
        transform = np.diag(whole) if whole.ndim == 1 else whole
        if round(float(np.linalg.det(transform))) == 0:
            raise UsageError(f"the supercell matrix {transform.tolist()} has no volume.")
    cell = np.linalg.solve(transform.astype(np.float64), np.asarray(structure.cell, np.float64))
    return transform, cell


def find_sites(
    structure: Structure,
    cell: NDArray[np.float64],
    transform: NDArray[np.int64],
    primitive: Structure | None = None,
    *,
    tolerance: float = 0.5,
    atoms: NDArray[np.int64] | None = None,
) -> Sites:
    """Find the site of each atom.

    An atom belongs to the nearest site of its species within the tolerance (Å). Sites are the atoms
    of the primitive structure where one is given; an atom far from all of them becomes a new
    site. Of two atoms at one site of one cell, the second becomes a site of its own. `cell` and
    `transform` are those of `supercell_of`. Where `atoms` are given, only these need to be
    repeated; the others are left out of the note.
    """
    places = _Places(cell, transform)
    if primitive is not None:
        places.where, places.labels = list(primitive.fractional), list(primitive.labels)
    n_given = len(places.where)
    site = np.zeros(structure.n_atoms, dtype=np.int64)
    lattice = np.zeros((structure.n_atoms, 3), dtype=np.int64)
    fractional = structure.positions @ np.linalg.inv(cell)
    for atom, label in enumerate(structure.labels):
        site[atom], lattice[atom] = places.take(label, fractional[atom], tolerance)
    used = np.unique(site)
    labels = tuple(places.labels[number] for number in used)
    sites = Structure(
        cell,
        np.array(places.where)[used] @ cell,
        np.array([structure.number_of[label] for label in labels]),
        labels,
        structure.pbc,
    )
    counted = site if atoms is None else site[atoms]
    note = _note(counted, abs(round(float(np.linalg.det(transform)))), n_given)
    return Sites(sites, transform, np.searchsorted(used, site), lattice, note)


class _Places:
    """The sites so far, and in which primitive cells of the supercell each has its atom."""

    def __init__(self, cell: NDArray[np.float64], transform: NDArray[np.int64]) -> None:
        self.where: list[NDArray[np.float64]] = []  # fractional, in the primitive cell
        self.labels: list[str] = []
        self._cell, self._transform = cell, transform
        self._folding = np.linalg.inv(transform.astype(np.float64))
        self._taken: set[tuple[int, ...]] = set()

    def take(
        self, label: str, where: NDArray[np.float64], tolerance: float
    ) -> tuple[int, NDArray[np.int64]]:
        """Return site and lattice vector of the next atom; a new site where none is free."""
        for distance, number, shift in self._nearest(label, where):
            key = (number, *self._coset(shift))
            if distance <= tolerance and key not in self._taken:
                break
        else:
            number, shift = len(self.where), np.zeros(3, dtype=np.int64)
            self.where.append(where)
            self.labels.append(label)
            key = (number, 0, 0, 0)
        self._taken.add(key)
        return number, shift

    def _nearest(
        self, label: str, where: NDArray[np.float64]
    ) -> list[tuple[float, int, NDArray[np.int64]]]:
        """Return (distance, site, lattice vector) of the sites of a species, nearest first."""
        own = [number for number, name in enumerate(self.labels) if name == label]
        if not own:
            return []
        apart = where - np.array([self.where[number] for number in own])
        shifts = np.rint(apart).astype(np.int64)
        distances = np.linalg.norm((apart - shifts) @ self._cell, axis=1)
        order = np.argsort(distances, kind="stable")
        return [(float(distances[n]), own[n], shifts[n]) for n in order]

    def _coset(self, shift: NDArray[np.int64]) -> tuple[int, ...]:
        """Return the lattice vector modulo those of the supercell."""
        outside = np.floor(shift @ self._folding + 1e-9).astype(np.int64)
        inside = shift - outside @ self._transform
        return tuple(int(component) for component in inside)


def _note(site: NDArray[np.int64], n_cells: int, n_given: int) -> str:
    numbers, counts = np.unique(site, return_counts=True)
    incomplete = int(np.count_nonzero(counts != n_cells))
    extra = int(np.count_nonzero(numbers >= n_given)) if n_given else 0
    words = []
    if incomplete:
        words.append(f"{incomplete} of {len(numbers)} sites do not have {n_cells} atoms each")
    if extra:
        words.append(f"{extra} atoms have no site in the primitive structure")
    return "; ".join(words)
