"""Which atoms of a supercell are images of each other, and overlaps with moved orbitals."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dock.core.basis import Basis
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.structure import Structure

__all__ = ["Sites", "find_sites", "layers_of", "moved_overlap"]


@dataclass(frozen=True, eq=False)
class Sites:
    """Where the atoms of a supercell stand in the primitive lattice.

    Attributes
    ----------
    primitive
        The primitive cell with one atom for each site.
    transform : (3, 3) int
        The supercell's vectors in those of the primitive cell.
    site : (n_atoms,) int
        Site of each atom.
    cell : (n_atoms, 3) int
        Primitive lattice vector of each atom.
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

    An atom belongs to the nearest site of its species within the tolerance. Sites are the atoms
    of the primitive structure where one is given; an atom far from all of them becomes a new
    site. Of two atoms at one site of one cell, the second becomes a site of its own.

    Parameters
    ----------
    structure
        The supercell.
    cell
        Primitive lattice vectors as rows, Å.
    transform
        The supercell matrix.
    primitive
        Atoms of the primitive cell.
    tolerance
        Å.
    atoms
        Only these atoms need to be repeated; the others are left out of the note.
    """
    inverse = np.linalg.inv(cell)
    fractional = structure.positions @ inverse
    places: list[NDArray[np.float64]] = []
    labels: list[str] = []
    if primitive is not None:
        places = list(primitive.fractional)
        labels = list(primitive.labels)
    n_given = len(places)
    site = np.zeros(structure.n_atoms, dtype=np.int64)
    lattice = np.zeros((structure.n_atoms, 3), dtype=np.int64)
    taken: set[tuple[int, ...]] = set()
    origin: list[int] = []
    folding = np.linalg.inv(transform.astype(np.float64))
    for atom in range(structure.n_atoms):
        label, where = structure.labels[atom], fractional[atom]
        candidates = _nearest(where, label, places, labels, cell)
        for distance, number, shift in candidates:
            key = (number, *_coset(shift, transform, folding))
            if distance <= tolerance and key not in taken:
                break
        else:
            number, shift = len(places), np.zeros(3, dtype=np.int64)
            places.append(where)
            labels.append(label)
            origin.append(atom)
            key = (number, *_coset(shift, transform, folding))
        taken.add(key)
        site[atom], lattice[atom] = number, shift
    used = np.unique(site)
    counted = site if atoms is None else site[atoms]
    numbers = structure.number_of
    found = Structure(
        cell,
        np.array(places)[used] @ cell,
        np.array([numbers[labels[number]] for number in used]),
        tuple(labels[number] for number in used),
        structure.pbc,
    )
    note = _note(counted, abs(round(float(np.linalg.det(transform)))), n_given)
    return Sites(found, transform, np.searchsorted(used, site), lattice, note)


def _nearest(
    where: NDArray[np.float64],
    label: str,
    places: list[NDArray[np.float64]],
    labels: list[str],
    cell: NDArray[np.float64],
) -> list[tuple[float, int, NDArray[np.int64]]]:
    """Return (distance, site, lattice vector) of the sites of a species, nearest first."""
    own = [number for number, name in enumerate(labels) if name == label]
    if not own:
        return []
    apart = where - np.array([places[number] for number in own])
    shifts = np.rint(apart).astype(np.int64)
    distances = np.linalg.norm((apart - shifts) @ cell, axis=1)
    order = np.argsort(distances, kind="stable")
    return [(float(distances[n]), own[n], shifts[n]) for n in order]


def _coset(
    shift: NDArray[np.int64], transform: NDArray[np.int64], folding: NDArray[np.float64]
) -> tuple[int, ...]:
    """Return the lattice vector modulo those of the supercell."""
    outside = np.floor(shift @ folding + 1e-9).astype(np.int64)
    inside = shift - outside @ transform
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


def moved_overlap(structure: Structure, basis: Basis, cell: NDArray[np.float64]) -> AOMatrix:
    """Return ⟨φ_i(r)|φ_j(r − t)⟩ for all vectors t of the primitive lattice.

    It is the overlap matrix of a structure that has the atoms of the supercell in the primitive
    cell: atoms that are images of each other coincide there, which no real structure may.

    Raises
    ------
    MissingDataError
        When the basis has no radial functions.
    """
    import vesin

    from dock.overlap.assemble import Integrals
    from dock.overlap.neighbours import orbital_cutoffs

    dense = replace(structure, cell=cell)
    radii = orbital_cutoffs(basis)
    reach = np.array([radii[label] for label in structure.labels])
    search = vesin.NeighborList(cutoff=2 * float(reach.max()), full_list=True, n_threads=1)
    i, j, R, distance = search.compute(
        np.array(dense.positions),
        np.array(dense.cell),
        periodic=np.array(dense.pbc),
        quantities="ijSd",
    )
    near = distance < reach[i] + reach[j]
    own = np.arange(structure.n_atoms)
    pairs = Pairs(
        np.concatenate([np.zeros((len(own), 3)), R[near]]),
        np.concatenate([own, i[near]]),
        np.concatenate([own, j[near]]),
        structure.n_atoms,
    )
    return Integrals(dense, basis, pairs).matrix("overlap")


def layers_of(structure: Structure, axis: int = 2, gap: float = 1.5) -> dict[str, list[int]]:
    """Return the layers of a slab from bottom to top: atoms between gaps along the normal.

    Parameters
    ----------
    structure
        The slab.
    axis
        The lattice vector across the layers.
    gap
        Smallest empty distance between two layers, Å.

    Examples
    --------
    >>> slab = Structure(np.diag([3.0, 3, 20]), [[0, 0, 0.2], [0, 0, 3.5], [1, 1, 0.0]], [6, 6, 6])
    >>> layers_of(slab)
    {'layer 1': [0, 2], 'layer 2': [1]}
    """
    others = [number for number in range(3) if number != axis]
    normal = np.cross(*structure.cell[others])
    height = structure.positions @ (normal / np.linalg.norm(normal))
    order = np.argsort(height, kind="stable")
    breaks = np.flatnonzero(np.diff(height[order]) > gap) + 1
    return {
        f"layer {number}": sorted(part.tolist())
        for number, part in enumerate(np.split(order, breaks), 1)
    }
