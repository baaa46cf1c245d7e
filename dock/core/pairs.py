"""The sparsity pattern of every matrix: atom pairs (R, i, j)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.arrays import IntArray, frozen, read_only
from dock.core.structure import Structure
from dock.errors import LayoutError

__all__ = ["Pairs"]

_LARGEST_R = 2**20 - 1  # three of them, with room for both signs, fit into 63 bits


@dataclass(frozen=True, eq=False)
class Pairs:
    """Atom pairs ⟨i, cell 0 | … | j, cell R⟩, in any order, each at most once.

    `LayoutError` where an atom is outside the cell, R lies beyond ±2²⁰, or a pair occurs twice.

    Parameters
    ----------
    R
        (n, 3) integer lattice vectors of the second atom, counted from the atoms' stored
        (unwrapped) positions.
    i, j
        (n,) first and second atom, from 0.
    n_atoms
        Number of atoms of the cell.
    """

    R: IntArray
    i: IntArray
    j: IntArray
    n_atoms: int

    def __post_init__(self) -> None:
        first = frozen("i", self.i, np.int32, (None,))
        second = frozen("j", self.j, np.int32, (len(first),))
        lattice = frozen("R", self.R, np.int32, (len(first), 3))
        for name, atoms in (("i", first), ("j", second)):
            if len(atoms) and (atoms.min() < 0 or atoms.max() >= self.n_atoms):
                raise LayoutError(
                    f"pairs: atom index {name} runs from {atoms.min()} to {atoms.max()}, but the "
                    f"structure has atoms 0 to {self.n_atoms - 1}."
                )
        if len(first) and (lattice.max() >= _LARGEST_R or lattice.min() <= -_LARGEST_R):
            raise LayoutError("pairs: a lattice vector R lies more than a million cells away.")
        object.__setattr__(self, "R", lattice)
        object.__setattr__(self, "i", first)
        object.__setattr__(self, "j", second)
        keys = self._sorted_keys
        twice = np.flatnonzero(keys[1:] == keys[:-1])
        if len(twice):
            pair = self.describe(int(self._order[twice[0]]))
            raise LayoutError(f"pairs: {pair} occurs twice ({len(twice)} such pairs).")

    def __repr__(self) -> str:
        """Return how many pairs and lattice vectors there are."""
        count = len(self.lattice_vectors)
        return f"<Pairs: {len(self)} of {self.n_atoms} atoms, {count} lattice vectors>"

    def __len__(self) -> int:
        return len(self.i)

    @cached_property
    def lattice_vectors(self) -> IntArray:
        """(n_R, 3) the distinct lattice vectors, sorted; see `lattice_index`."""
        return self._lattice[0]

    @cached_property
    def lattice_index(self) -> IntArray:
        """(n,) index of each pair's R in `lattice_vectors`."""
        return self._lattice[1]

    @cached_property
    def _lattice(self) -> tuple[IntArray, IntArray]:
        codes, index = np.unique(_encode(self.R), return_inverse=True)
        return read_only(_decode(codes)), read_only(index.astype(np.int32))

    @cached_property
    def _keys(self) -> IntArray:
        return self._key(self.lattice_index, self.i, self.j)

    @cached_property
    def _order(self) -> IntArray:
        return np.argsort(self._keys, kind="stable")

    @cached_property
    def _sorted_keys(self) -> IntArray:
        return self._keys[self._order]

    @cached_property
    def _codes(self) -> IntArray:
        """(n_R,) `_encode` of `lattice_vectors`, ascending."""
        return _encode(self.lattice_vectors)

    def _key(self, lattice: IntArray, i: IntArray, j: IntArray) -> IntArray:
        number = np.int64(self.n_atoms)
        return (lattice.astype(np.int64) * number + i) * number + j

    def find(self, R: ArrayLike, i: ArrayLike, j: ArrayLike) -> IntArray:
        """Return the index of each queried pair, −1 where it is not in the pattern.

        R has the shape (..., 3), else a `LayoutError`; i and j (...).
        """
        lattice = np.asarray(R, dtype=np.int64)
        first, second = np.asarray(i, dtype=np.int64), np.asarray(j, dtype=np.int64)
        if lattice.ndim == 0 or lattice.shape[-1] != 3:
            raise LayoutError(f"pairs: R needs three components, found shape {lattice.shape}.")
        if len(self) == 0:
            shape = np.broadcast_shapes(lattice.shape[:-1], first.shape, second.shape)
            return np.full(shape, -1, dtype=np.int64)
        codes = _encode(np.clip(lattice, -_LARGEST_R, _LARGEST_R))
        place = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        inside = (first >= 0) & (first < self.n_atoms) & (second >= 0) & (second < self.n_atoms)
        wanted = self._key(place, np.where(inside, first, 0), np.where(inside, second, 0))
        slot = np.minimum(np.searchsorted(self._sorted_keys, wanted), len(self) - 1)
        hit = (self._codes[place] == codes) & (self._sorted_keys[slot] == wanted) & inside
        return np.where(hit, self._order[slot], -1)

    @cached_property
    def partner(self) -> IntArray:
        """(n,) index of (−R, j, i) for each pair, −1 where it is missing."""
        return read_only(self.find(-self.R, self.j, self.i))

    @cached_property
    def is_closed(self) -> bool:
        """Whether every pair's partner (−R, j, i) is in the pattern."""
        return bool(np.all(self.partner >= 0))

    def require_closed(self) -> IntArray:
        """Return `partner`, or raise a `LayoutError` naming a pair whose partner is missing."""
        missing = np.flatnonzero(self.partner < 0)
        if len(missing):
            raise LayoutError(
                f"pairs: {self.describe(int(missing[0]))} has no partner (−R, j, i) "
                f"({len(missing)} of {len(self)} pairs). The file holds only one triangle, or is "
                "incomplete."
            )
        return self.partner

    @cached_property
    def is_onsite(self) -> NDArray[np.bool_]:
        """(n,) whether a pair is an atom with itself: (0, i, i), not with its own images."""
        return read_only((self.i == self.j) & ~np.any(self.R != 0, axis=1))

    @property
    def onsite(self) -> IntArray:
        """Indices of the pairs (0, i, i)."""
        return np.flatnonzero(self.is_onsite)

    def vectors(self, structure: Structure) -> NDArray[np.float64]:
        """Return the vectors r_j + R − r_i from each first atom to its second, (n, 3) in Å.

        `LayoutError` where the structure has another number of atoms.

        Examples
        --------
        >>> from dock.core.structure import Structure
        >>> chain = Structure(np.diag([3.0, 9.0, 9.0]), [[0, 0, 0], [1, 0, 0]], [1, 1])
        >>> Pairs([[0, 0, 0], [-1, 0, 0]], [0, 0], [1, 1], 2).vectors(chain).tolist()
        [[1.0, 0.0, 0.0], [-2.0, 0.0, 0.0]]
        """
        if structure.n_atoms != self.n_atoms:
            raise LayoutError(
                f"pairs of {self.n_atoms} atoms have no place in a structure of "
                f"{structure.n_atoms} atoms."
            )
        positions = structure.positions
        between: NDArray[np.float64] = positions[self.j] - positions[self.i]
        return between + self.R @ structure.cell

    def lengths(self, structure: Structure) -> NDArray[np.float64]:
        """Return the distance of the atoms of each pair, (n,) in Å; raises as `vectors`."""
        distances: NDArray[np.float64] = np.linalg.norm(self.vectors(structure), axis=1)
        return distances

    @property
    def periodic_axes(self) -> tuple[bool, bool, bool]:
        """For each lattice vector, whether any pair reaches into a neighbouring cell along it."""
        reach = np.any(self.R != 0, axis=0) if len(self) else np.zeros(3, dtype=bool)
        return bool(reach[0]), bool(reach[1]), bool(reach[2])

    def describe(self, index: int) -> str:
        """Return one pair in words, atoms counted from 0."""
        lattice = tuple(int(component) for component in self.R[index])
        return f"(R={lattice}, i={int(self.i[index])}, j={int(self.j[index])})"

    def take(self, index: ArrayLike) -> Pairs:
        """Return the pairs at the given indices, in that order."""
        chosen = np.asarray(index)
        return Pairs(self.R[chosen], self.i[chosen], self.j[chosen], self.n_atoms)

    def row_order(self) -> IntArray:
        """Return the indices that sort the pairs by i, then j, then R."""
        return np.lexsort((self.lattice_index, self.j, self.i))

    def union(self, other: Pairs) -> Pairs:
        """Return these pairs in their order, followed by those that only `other` has."""
        if other.n_atoms != self.n_atoms:
            raise LayoutError(f"pairs of {self.n_atoms} atoms meet pairs of {other.n_atoms} atoms.")
        new = np.flatnonzero(self.find(other.R, other.i, other.j) < 0)
        return Pairs(
            np.concatenate([self.R, other.R[new]]),
            np.concatenate([self.i, other.i[new]]),
            np.concatenate([self.j, other.j[new]]),
            self.n_atoms,
        )

    def is_same(self, other: Pairs) -> bool:
        """Say whether both hold the same pairs in the same order."""
        return self is other or (
            self.n_atoms == other.n_atoms
            and np.array_equal(self.R, other.R)
            and np.array_equal(self.i, other.i)
            and np.array_equal(self.j, other.j)
        )

    def difference(self, other: Pairs, *, show: int = 3) -> str:
        """Say in words which pairs only one of the two has; empty where they agree as sets."""
        only_here = np.flatnonzero(other.find(self.R, self.i, self.j) < 0)
        only_there = np.flatnonzero(self.find(other.R, other.i, other.j) < 0)
        parts = []
        for side, missing, pairs in (("first", only_here, self), ("second", only_there, other)):
            if len(missing):
                some = ", ".join(pairs.describe(int(index)) for index in missing[:show])
                parts.append(f"{len(missing)} pairs only in the {side}, such as {some}")
        return "; ".join(parts)


def _encode(R: IntArray) -> IntArray:
    """Return one integer per lattice vector, ordered as the vectors are."""
    shifted = R.astype(np.int64) + _LARGEST_R
    width = 2 * _LARGEST_R + 1
    return (shifted[..., 0] * width + shifted[..., 1]) * width + shifted[..., 2]


def _decode(codes: IntArray) -> IntArray:
    """Return the lattice vectors of `_encode`'s integers."""
    width = 2 * _LARGEST_R + 1
    parts = (codes // (width * width), codes // width % width, codes % width)
    return np.stack(parts, axis=-1).astype(np.int32) - np.int32(_LARGEST_R)
