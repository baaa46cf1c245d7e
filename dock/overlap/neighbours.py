"""Atom pairs within reach: the sparsity pattern of the overlap, and that with projectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import FloatArray, IntArray
from dock.core.basis import Basis
from dock.core.pairs import Pairs
from dock.core.structure import AnyStructure, Structure
from dock.errors import LayoutError, UsageError

__all__ = [
    "MAX_IMAGES",
    "check_distances",
    "mixed_pairs",
    "orbital_cutoffs",
    "orbital_pairs",
    "projector_pairs",
]

MAX_IMAGES = 200
"""Most cells along one lattice vector that a cutoff may span."""

CLOSEST = 0.1
"""Å; two atoms nearer than this are an error in the structure."""

_EXPAND = 2**22  # pairs through projectors that are formed at once


class _Bonds(NamedTuple):
    """Directed pairs with their distances; no atom with itself."""

    i: IntArray
    j: IntArray
    R: IntArray
    distance: FloatArray


def orbital_cutoffs(basis: Basis) -> dict[str, float]:
    """Return the radius of the longest orbital of each species, Å.

    Raises
    ------
    UsageError
        When a shell has no radial function.
    """
    cutoffs = {}
    for label in basis.species:
        radii = [shell.radial.cutoff for shell in basis.shells[label] if shell.radial is not None]
        if len(radii) < len(basis.shells[label]):
            raise UsageError(
                f"species {label}: not every shell has a radial function. Give the folder with "
                "the code's basis files (--basis)."
            )
        cutoffs[label] = max(radii)
    return cutoffs


def orbital_pairs(structure: AnyStructure, cutoffs: Mapping[str, float]) -> Pairs:
    """Return all pairs whose orbitals overlap, sorted by first atom, second atom, R.

    Lattice vectors count from the atoms' positions as they are. The cutoff is the radius of each
    species' longest orbital, Å: a pair belongs to the pattern when the atoms are nearer than the
    sum of theirs.

    Raises
    ------
    LayoutError
        When two atoms stand on top of each other.
    UsageError
        When a cutoff reaches over more than `MAX_IMAGES` cells.

    Examples
    --------
    >>> chain = Structure(np.diag([2.0, 20.0, 20.0]), [[0, 0, 0]], [1], pbc=(True, False, False))
    >>> orbital_pairs(chain, {"H": 1.5}).R[:, 0].tolist()
    [-1, 0, 1]
    """
    structure = Structure.of(structure)
    radii = _radii(structure, cutoffs)
    bonds = _bonds(structure, radii, radii)
    _refuse_coincident(bonds)
    return _sorted_pairs(structure.n_atoms, bonds.i, bonds.j, bonds.R)


def check_distances(structure: Structure) -> None:
    """Raise where two atoms stand on top of each other; see `orbital_pairs`."""
    radii = np.full(structure.n_atoms, CLOSEST / 2)
    _refuse_coincident(_bonds(structure, radii, radii))


def _refuse_coincident(bonds: _Bonds) -> None:
    near = np.flatnonzero(bonds.distance < CLOSEST)
    if len(near):
        first = near[0]
        a, b, R = int(bonds.i[first]), int(bonds.j[first]), bonds.R[first].tolist()
        raise LayoutError(
            f"atoms {a} and {b} (counted from 0, the second in cell {R}) are "
            f"{bonds.distance[first]:.4f} Å apart: they stand on top of each other. Repair the "
            "structure."
        )


def projector_pairs(
    structure: Structure, cutoffs: Mapping[str, float], projectors: Mapping[str, float]
) -> Pairs:
    """Return the pairs of `orbital_pairs` and those that meet through a projector only.

    Orbitals of i and j that both reach a projector of some atom k have a matrix element of the
    Hamiltonian, though their overlap is zero. It is the pattern that SIESTA stores. `projectors`
    has the radius of each species' longest projector, Å; 0 or absent for none.
    """
    direct = orbital_pairs(structure, cutoffs)
    to_projector = _bonds(
        structure,
        _radii(structure, cutoffs),
        _radii(structure, {label: projectors.get(label, 0.0) for label in cutoffs}),
    )
    # Every atom also reaches its own projectors.
    own = np.arange(structure.n_atoms, dtype=np.int32)
    atom = np.concatenate([own, to_projector.i])
    center = np.concatenate([own, to_projector.j])
    shift = np.concatenate([np.zeros((len(own), 3), dtype=np.int32), to_projector.R])
    order = np.argsort(center, kind="stable")
    atom, shift = atom[order], shift[order]
    count = np.bincount(center, minlength=structure.n_atoms)
    parts = [_through(atom, shift, count, begin, end) for begin, end in _slabs(count)]
    parts.append(np.column_stack([direct.i, direct.j, direct.R]))
    table = np.unique(np.concatenate(parts), axis=0)
    return Pairs(table[:, 2:], table[:, 0], table[:, 1], structure.n_atoms)


def mixed_pairs(
    structure: Structure, cutoffs: Mapping[str, float], others: Mapping[str, float]
) -> Pairs:
    """Return the pairs ⟨orbital of i, cell 0 | other function of j, cell R⟩ that overlap.

    `cutoffs` and `others` are the radii of each species' longest functions of both kinds, Å.
    """
    bonds = _bonds(structure, _radii(structure, cutoffs), _radii(structure, others))
    return _sorted_pairs(structure.n_atoms, bonds.i, bonds.j, bonds.R)


def _slabs(count: IntArray) -> list[tuple[int, int]]:
    """Cut the centres so that each part forms at most about `_EXPAND` pairs."""
    total = np.cumsum(count.astype(np.int64) ** 2)
    marks = np.searchsorted(total, np.arange(_EXPAND, total[-1] + _EXPAND, _EXPAND)) + 1
    edges = np.unique(np.clip(np.concatenate([[0], marks]), 0, len(count)))
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _through(
    atom: IntArray, shift: IntArray, count: IntArray, begin: int, end: int
) -> NDArray[np.int32]:
    """Return the distinct rows (i, j, R) of all pairs of atoms around centres begin … end."""
    n = count[begin:end].astype(np.int64)
    first = int(count[:begin].sum())
    start = np.repeat(first + np.cumsum(n) - n, n * n)
    place = np.arange(len(start)) - np.repeat(np.cumsum(n * n) - n * n, n * n)
    width = np.repeat(n, n * n)
    left, right = start + place // width, start + place % width
    # The projector of k seen from i stands in cell R_i, so j stands in cell R_i − R_j from i.
    rows = np.column_stack([atom[left], atom[right], shift[left] - shift[right]])
    return np.unique(rows.astype(np.int32), axis=0)


def require_species(structure: Structure, given: Mapping[str, object]) -> None:
    """Raise where a basis, or what is known of it by species, lacks some of a structure."""
    missing = sorted(set(structure.labels) - set(given))
    if missing:
        known = ", ".join(given) or "none"
        raise UsageError(f"the basis lacks the species {', '.join(missing)}. It has: {known}.")


def _radii(structure: Structure, cutoffs: Mapping[str, float]) -> NDArray[np.float64]:
    require_species(structure, cutoffs)
    return np.array([cutoffs[label] for label in structure.labels], dtype=np.float64)


def _bonds(structure: Structure, first: NDArray[np.float64], second: NDArray[np.float64]) -> _Bonds:
    """Return the directed pairs nearer than first[i] + second[j]."""
    reach = float(first.max() + second.max())
    _check_images(structure, reach)
    try:
        found = _search_vesin(structure, reach)
    except ImportError:
        found = _search_tree(structure, reach)
    keep = found.distance < first[found.i] + second[found.j]
    if keep.all():
        return found
    return _Bonds(found.i[keep], found.j[keep], found.R[keep], found.distance[keep])


def _check_images(structure: Structure, reach: float) -> None:
    """Refuse a cutoff that spans more cells than any sensible structure has."""
    heights = structure.volume / np.linalg.norm(
        np.cross(structure.cell[[1, 2, 0]], structure.cell[[2, 0, 1]]), axis=1
    )
    images = np.where(structure.pbc, np.ceil(reach / heights), 0)
    if images.max() > MAX_IMAGES:
        axis = int(images.argmax())
        raise UsageError(
            f"the orbitals reach {reach:.1f} Å, which is {images.max():.0f} cells along lattice "
            f"vector {axis + 1} (planes {heights[axis]:.4f} Å apart); at most {MAX_IMAGES} are "
            "allowed. The cell or the basis is in the wrong unit."
        )


def _search_vesin(structure: Structure, reach: float) -> _Bonds:
    """Search with vesin's cell list, in time proportional to the number of atoms."""
    import vesin

    search = vesin.NeighborList(cutoff=reach, full_list=True, n_threads=1)
    i, j, R, distance = search.compute(
        np.array(structure.positions),
        np.array(structure.cell),
        periodic=np.array(structure.pbc),
        quantities="ijSd",
        copy=False,
    )
    return _Bonds(i.astype(np.int32), j.astype(np.int32), R.astype(np.int32), np.array(distance))


def _search_tree(structure: Structure, reach: float) -> _Bonds:
    """Search with scipy's k-d tree over all images near the atoms."""
    from scipy.spatial import cKDTree

    low = structure.positions.min(axis=0) - reach
    high = structure.positions.max(axis=0) + reach
    inverse = np.linalg.inv(structure.cell)
    corners = np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1).T @ inverse
    fractional = structure.fractional
    lowest = np.floor(corners.min(axis=0) - fractional.max(axis=0)).astype(np.int64)
    highest = np.ceil(corners.max(axis=0) - fractional.min(axis=0)).astype(np.int64)
    axes = [
        np.arange(lowest[a], highest[a] + 1) if structure.pbc[a] else np.zeros(1, dtype=np.int64)
        for a in range(3)
    ]
    cells = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    images, owner, shift = [], [], []
    for cell in cells:
        points = structure.positions + cell @ structure.cell
        inside = np.flatnonzero(np.all((points >= low) & (points <= high), axis=1))
        images.append(points[inside])
        owner.append(inside)
        shift.append(np.broadcast_to(cell, (len(inside), 3)))
    atoms, lattice = np.concatenate(owner), np.concatenate(shift)
    tree, others = cKDTree(structure.positions), cKDTree(np.concatenate(images))
    hits = tree.sparse_distance_matrix(others, reach, output_type="ndarray")
    i, j, R = hits["i"], atoms[hits["j"]], lattice[hits["j"]]
    keep = (i != j) | np.any(R != 0, axis=1)
    i, j, R = (column[keep].astype(np.int32) for column in (i, j, R))
    return _Bonds(i, j, R, hits["v"][keep])


def _sorted_pairs(n_atoms: int, i: IntArray, j: IntArray, R: IntArray) -> Pairs:
    """Return the pairs with the on-site ones, sorted by i, then j, then R."""
    own = np.arange(n_atoms, dtype=np.int32)
    first, second = np.concatenate([own, i]), np.concatenate([own, j])
    lattice = np.concatenate([np.zeros((n_atoms, 3), dtype=np.int32), R])
    low = lattice.min(axis=0).astype(np.int64)
    width = lattice.max(axis=0) - low + 1
    cell = ((lattice[:, 0] - low[0]) * width[1] + lattice[:, 1] - low[1]) * width[2]
    cell += lattice[:, 2] - low[2]
    n_cells = int(np.prod(width))
    if n_atoms * n_atoms * n_cells < 2**62:
        order = np.argsort((first.astype(np.int64) * n_atoms + second) * n_cells + cell)
    else:
        order = np.lexsort((cell, second, first))
    return Pairs(lattice[order], first[order], second[order], n_atoms)
