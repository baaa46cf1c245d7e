"""The layers of a stack, each in its own primitive lattice."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dock.core.structure import Structure
from dock.errors import UsageError

__all__ = ["Lattice", "lattices_of", "layers_of"]

_REACH = 16.0  # Å: the longest lattice vector of a layer that is looked for
_MATCH = 0.25  # Å: by which an atom may miss the place to which a translation moves it
_PARALLEL = 0.1  # of the product of two lengths: the least area of two vectors of a lattice


@dataclass(frozen=True, eq=False)
class Lattice:
    """A layer as a repetition of its primitive cell over the whole cell.

    Attributes
    ----------
    transform : (3, 3) int
        The cell's lattice vectors in those of the primitive cell.
    atoms : (n_cells, n_sites) int
        The atom at each site of each primitive cell.
    cells : (n_cells, n_sites, 3) int
        The primitive lattice vector of each of them, unwrapped as the atoms are.
    orders : (3,) int
        The group of translations modulo the cell is that of three cyclic groups; of these orders.
    turn : (3, 3) int
        The number of a translation t in each of them is (t @ turn) modulo `orders`; cell c of
        `atoms` is the one with these numbers, the last one fastest.
    """

    transform: NDArray[np.int64]
    atoms: NDArray[np.int64]
    cells: NDArray[np.int64]
    orders: NDArray[np.int64]
    turn: NDArray[np.int64]

    @property
    def n_cells(self) -> int:
        """Primitive cells in the cell."""
        return len(self.atoms)

    def momenta(self, k_frac: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the (n_cells, 3) wave vectors that fold to k, in primitive reciprocal vectors.

        Their order is that of the numbers of translations: exp(2πi q·t) is the character of
        the cyclic groups, times that of k.
        """
        numbers = np.indices(tuple(self.orders.tolist())).reshape(3, -1).T
        base: NDArray[np.float64] = k_frac @ np.linalg.inv(self.transform.T.astype(np.float64))
        q: NDArray[np.float64] = base + (numbers / self.orders) @ self.turn.T
        return q


def layers_of(structure: Structure, axis: int = 2, gap: float = 1.5) -> dict[str, list[int]]:
    """Return the layers of a slab from bottom to top: atoms between gaps along the normal.

    `axis` is the lattice vector across the layers, `gap` the smallest empty distance between two
    of them, Å.

    Examples
    --------
    >>> slab = Structure(np.diag([3.0, 3, 20]), [[0, 0, 0.2], [0, 0, 3.5], [1, 1, 0.0]], [6, 6, 6])
    >>> layers_of(slab)
    {'layer 1': [0, 2], 'layer 2': [1]}
    """
    normal = np.cross(*np.delete(structure.cell, axis, axis=0))
    height = structure.positions @ (normal / np.linalg.norm(normal))
    order = np.argsort(height, kind="stable")
    breaks = np.flatnonzero(np.diff(height[order]) > gap) + 1
    return {
        f"layer {number}": sorted(part.tolist())
        for number, part in enumerate(np.split(order, breaks), 1)
    }


def lattices_of(structure: Structure) -> list[Lattice]:
    """Return the layers across the third axis, from bottom to top, with their own lattices.

    Raises
    ------
    UsageError
        For a layer whose atoms are no repetition of a smaller cell: relaxed by more than 0.25 Å,
        with defects, or of one primitive cell alone.
    """
    found = []
    for name, atoms in layers_of(structure).items():
        members = np.array(atoms)
        cell = _primitive_cell(structure, members)
        lattice = None if cell is None else _sorted_into(structure, members, cell)
        if lattice is None:
            raise UsageError(
                f"{name} ({len(atoms)} atoms) is no repetition of a smaller cell, as the solver "
                "'layers' needs: each layer a crystal of its own, its atoms within "
                f"{_MATCH} Å of their sites. Pass solver='sparse'."
            )
        found.append(lattice)
    return found


def _primitive_cell(structure: Structure, atoms: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Return the lattice vectors of a layer that fit the cell exactly, or None.

    The shortest translations that move every atom to one of its species are a basis.
    """
    from scipy.spatial import cKDTree

    inverse = np.linalg.inv(structure.cell)
    where = structure.positions[atoms] @ inverse
    species = np.array(structure.labels)[atoms]
    images = np.array(list(itertools.product((-1, 0, 1), (-1, 0, 1), (0,))))
    tree = cKDTree(np.concatenate([(where + image) @ structure.cell for image in images]))
    names = np.tile(species, len(images))
    rarest = min(set(species.tolist()), key=lambda one: (int(np.sum(species == one)), one))
    first = structure.positions[atoms[np.flatnonzero(species == rarest)[0]]]
    near = np.array(tree.query_ball_point(first, _REACH), dtype=np.int64)
    vectors = tree.data[near[names[near] == rarest]] - first
    lengths = np.linalg.norm(vectors, axis=1)
    basis: list[NDArray[np.float64]] = []
    for vector in vectors[np.argsort(lengths)]:
        length = float(np.linalg.norm(vector))
        if length < 4 * _MATCH or abs(vector[2]) > _MATCH:
            continue
        if basis:
            area = np.linalg.norm(np.cross(basis[0], vector))
            if area < _PARALLEL * np.linalg.norm(basis[0]) * length:
                continue
        moved = where + vector @ inverse
        moved[:, :2] -= np.floor(moved[:, :2])
        distance, at = tree.query(moved @ structure.cell)
        if distance.max() <= _MATCH and np.array_equal(names[at], species):
            basis.append(vector)
        if len(basis) == 2:
            break
    else:
        return None
    ratio = structure.cell @ np.linalg.inv(np.array([*basis, structure.cell[2]]))
    transform: NDArray[np.float64] = np.rint(ratio)
    if np.abs(ratio - transform).max() > 0.5 * _MATCH or abs(np.linalg.det(transform)) < 1.5:
        return None
    return np.asarray(np.linalg.solve(transform, structure.cell))


def _sorted_into(
    structure: Structure, atoms: NDArray[np.int64], cell: NDArray[np.float64]
) -> Lattice | None:
    """Return the layer in a lattice; None where sites are not one atom in each cell."""
    transform = np.rint(structure.cell @ np.linalg.inv(cell)).astype(np.int64)
    orders, turn = _cyclic(transform)
    n_cells = int(np.prod(orders))
    place = structure.positions[atoms] @ np.linalg.inv(cell)
    species = np.array(structure.labels)[atoms]
    sites: list[NDArray[np.int64]] = []
    shifts: list[NDArray[np.int64]] = []
    left = np.ones(len(atoms), dtype=bool)
    while left.any():
        one = int(np.flatnonzero(left)[0])
        apart = place - place[one]
        lattice = np.rint(apart).astype(np.int64)
        lattice[:, 2] = 0  # one cell across
        near = np.linalg.norm((apart - lattice) @ cell, axis=1) < 2 * _MATCH
        mine = np.flatnonzero(near & left & (species == species[one]))
        numbers = lattice[mine] @ turn % orders
        order = np.argsort(np.ravel_multi_index(tuple(numbers.T), tuple(orders)), kind="stable")
        if len(mine) != n_cells or len(np.unique(numbers, axis=0)) != n_cells:
            return None
        sites.append(atoms[mine[order]])
        shifts.append(lattice[mine[order]])
        left[mine] = False
    return Lattice(transform, np.stack(sites, 1), np.stack(shifts, 1), orders, turn)


def _cyclic(transform: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return orders and turn of `Lattice`: the Smith form U M V = D without U.

    Rows of M and their combinations are the lattice that is divided out, so that operations on
    rows need not be kept; those on columns are V.
    """
    M = transform.astype(object).copy()
    V = np.eye(3, dtype=object)
    for d in range(3):
        while True:
            part = np.abs(M[d:, d:])
            row, column = min(
                ((r, c) for r in range(3 - d) for c in range(3 - d) if part[r, c]),
                key=lambda rc: part[rc],
            )
            M[[d, d + row]] = M[[d + row, d]]
            M[:, [d, d + column]] = M[:, [d + column, d]]
            V[:, [d, d + column]] = V[:, [d + column, d]]
            for r in range(d + 1, 3):
                M[r] -= (M[r, d] // M[d, d]) * M[d]
            for c in range(d + 1, 3):
                factor = M[d, c] // M[d, d]
                M[:, c] -= factor * M[:, d]
                V[:, c] -= factor * V[:, d]
            if not np.any(M[d + 1 :, d]) and not np.any(M[d, d + 1 :]):
                break
    return np.abs(np.diag(M)).astype(np.int64), V.astype(np.int64)
