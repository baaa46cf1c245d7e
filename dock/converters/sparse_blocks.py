"""From sparse matrices over orbitals to blocks over atom pairs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dock.core.arrays import IntArray
from dock.core.basis import Basis
from dock.core.orbital_order import shell_orders
from dock.core.pairs import Pairs

__all__ = ["BlockCollector", "distinct", "orbital_targets"]

_SLICE = 2**18  # entries handled at once


def distinct(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each key once, ascending.

    `numpy.unique` does the same, but its first call loads the masked arrays of numpy (14 ms of CPU,
    a tenth of the time that a small run takes), and a million keys of which a tenth differ take it
    0.34 s where sorting takes 0.02 s (numpy 2.4).

    Examples
    --------
    >>> distinct(np.array([5, 3, 5])).tolist()
    [3, 5]
    """
    ordered = np.sort(keys)
    first = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


class _Part(NamedTuple):
    """The atom pairs of one lattice vector."""

    R: tuple[int, int, int]
    i: NDArray[np.int64]
    j: NDArray[np.int64]


def orbital_targets(basis: Basis, code: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return, for each orbital of a code's matrices, its place on the atom in `dock`, and its sign.

    The basis has its shells in the code's order; `code` names the code's convention.

    Examples
    --------
    >>> place, sign = orbital_targets(Basis.from_ls({"C": [0, 1]}, ["C"]), "abacus")
    >>> place.tolist(), sign.tolist()  # s, z, -x, -y
    ([0, 2, 3, 1], [1.0, 1.0, -1.0, -1.0])
    """
    orders = shell_orders(basis, code)
    place = [orders[label].permutation for label in basis.labels]
    sign = [orders[label].signs for label in basis.labels]
    return np.concatenate(place), np.concatenate(sign).astype(np.float64)


class BlockCollector:
    """Collect the atom-pair blocks of one lattice vector after another, in the order of `dock`.

    Parameters
    ----------
    basis
        Which orbital belongs to which atom.
    code
        Name of the convention that the entries come in; ``dock`` leaves them as they are.
    n_components, dtype
        Of the matrix.

    Examples
    --------
    >>> basis = Basis.from_ls({"H": [0]}, ["H", "H"])
    >>> blocks = BlockCollector(basis, "dock", 1, float)
    >>> one = np.array([1])
    >>> blocks.add((0, 0, 0), 0 * one, one, 2.5 * one, 0 * one)
    >>> pairs, entries = blocks.finish()
    >>> [pairs.describe(k) for k in range(len(pairs))], entries.tolist()
    (['(R=(0, 0, 0), i=0, j=1)', '(R=(0, 0, 0), i=0, j=0)', '(R=(0, 0, 0), i=1, j=1)', \
'(R=(0, 0, 0), i=1, j=0)'], [[2.5, 0.0, 0.0, 0.0]])
    """

    def __init__(self, basis: Basis, code: str, n_components: int, dtype: DTypeLike) -> None:
        self._basis = basis
        self._n_components = n_components
        # (n, n_components), flat: it grows in place, so that no second copy is in memory
        self._store: NDArray[Any] = np.zeros(0, dtype=dtype)
        self._used = 0
        self._parts: list[_Part] = []
        self._atom = basis.table.atom
        self._local, self._sign = orbital_targets(basis, code)

    def add(
        self,
        R: tuple[int, int, int],
        rows: IntArray,
        cols: IntArray,
        values: NDArray[Any],
        components: IntArray | None = None,
    ) -> None:
        """Add all entries of one lattice vector; each vector comes once.

        All arrays are (n,); rows and columns are orbitals, counted from 0. Components are None
        where all entries are of the first.
        """
        n_atoms, counts = self._basis.n_atoms, self._basis.counts
        slices = [slice(begin, begin + _SLICE) for begin in range(0, len(rows), _SLICE)]
        runs = [self._runs(rows[part], cols[part]) for part in slices[:1]]
        parts = [key for key, _ in runs]
        parts += [distinct(self._runs(rows[part], cols[part])[0]) for part in slices[1:]]
        keys = distinct(np.concatenate(parts or [np.zeros(0, dtype=np.int64)]))
        i, j = keys // n_atoms, keys % n_atoms
        sizes = counts[i] * counts[j]
        starts = np.cumsum(sizes) - sizes + self._used
        self._reserve(self._used + int(sizes.sum()))
        for part in slices:
            row, col = rows[part], cols[part]
            key, lengths = runs.pop() if runs else self._runs(row, col)
            pair = np.searchsorted(keys, key)
            place = self._local[row]
            place *= np.repeat(counts[j][pair], lengths)
            place += self._local[col]
            place += np.repeat(starts[pair], lengths)
            if self._n_components > 1:
                place *= self._n_components
                if components is not None:
                    place += components[part]
            self._store[place] = values[part] * (self._sign[row] * self._sign[col])
        self._parts.append(_Part(R, i, j))

    def _reserve(self, n_entries: int) -> None:
        """Make room for so many entries of each component, and a little more at once."""
        self._used, size = n_entries, n_entries * self._n_components
        if size > len(self._store):
            self._store.resize(max(size, len(self._store) * 9 // 8), refcheck=False)

    def _runs(self, rows: IntArray, cols: IntArray) -> tuple[NDArray[np.int64], IntArray]:
        """Return atom pair (as one number) and length of each run of entries of one atom pair."""
        key = self._atom[rows] * np.int64(self._basis.n_atoms)
        key += self._atom[cols]
        heads = np.ones(len(key), dtype=bool)
        np.not_equal(key[1:], key[:-1], out=heads[1:])
        first = np.flatnonzero(heads)
        lengths = np.empty_like(first)
        np.subtract(first[1:], first[:-1], out=lengths[:-1])
        lengths[-1:] = len(key) - first[-1:]
        return key[first], lengths

    def finish(self) -> tuple[Pairs, NDArray[Any]]:
        """Return pairs and entries, with zero blocks for missing partners and on-site pairs.

        The collector is empty afterwards.
        """
        pairs = self._closed_pairs()
        counts = self._basis.counts
        total = int((counts[pairs.i] * counts[pairs.j]).sum())
        store, self._store = self._store, np.zeros(0, dtype=self._store.dtype)
        store.resize(total * self._n_components, refcheck=False)
        self._parts, self._used = [], 0
        return pairs, np.ascontiguousarray(store.reshape(total, self._n_components).T)

    def _closed_pairs(self) -> Pairs:
        """Return the collected pairs, followed by those that are missing."""
        n_atoms = self._basis.n_atoms
        atoms = np.arange(n_atoms)
        onsite = Pairs(np.zeros((n_atoms, 3), dtype=np.int32), atoms, atoms, n_atoms)
        if not self._parts:
            return onsite
        vectors, first, second = zip(*self._parts, strict=True)
        lattice = np.repeat(np.array(vectors), [len(atoms) for atoms in first], axis=0)
        collected = Pairs(lattice, np.concatenate(first), np.concatenate(second), n_atoms)
        pairs = collected.union(onsite)
        alone = np.flatnonzero(pairs.partner < 0)
        if len(alone) == 0:
            return pairs
        return pairs.union(Pairs(-pairs.R[alone], pairs.j[alone], pairs.i[alone], n_atoms))
