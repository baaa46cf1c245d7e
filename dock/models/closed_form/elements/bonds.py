"""The factors of elements off site: sums over bonds, and least squares for any choice of kinds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dock.core.arrays import FloatArray, IntArray
from dock.models.closed_form.elements.model import (
    ElementForm,
    l_pairs,
    scaled,
    solved,
    spinless,
)
from dock.models.data.samples import Item
from dock.models.graph import by_kind, parts_of
from dock.models.integrals import integrals_of, overlap_of
from dock.models.targets import TargetLayout

__all__ = ["Bonds"]

_FOLDS = 5  # of the kinds of pairs
_PENALTIES = (1e-2, 1e-3, 1e-4, 1e-5)  # relative
_UNJUDGED = 1e-3  # where no kind can be left out
_COMMON = 1e-3  # of those penalties: for what all elements share


@dataclass(frozen=True, eq=False)
class _Class:
    """The integrals of one pair of l and one m: rows of a small problem of their own.

    Attributes
    ----------
    columns
        Which integrals.
    own, other
        For each of them, the shells that have the first and the second l.
    """

    l_own: int
    l_other: int
    m: int
    columns: IntArray
    own: IntArray
    other: IntArray


class Bonds:
    """Sums over the bonds of each kind, from which factors follow for any choice of kinds."""

    def __init__(self, layout: TargetLayout) -> None:
        self._layout, self._integrals = layout, integrals_of(layout)
        # ΣSS, ΣxSS, ΣxxSS, ΣSH, ΣxSH, ΣHH
        self._sums: FloatArray = np.zeros((6, layout.n_species**2, self._integrals.size))
        self._count = np.zeros(layout.n_species**2)

    def add(self, item: Item) -> None:
        """Add the bonds of a structure."""
        graph = item.graph
        for part in parts_of(graph, ElementForm.part_edges):
            blocks = spinless(self._layout, item.edge[part.edges])
            H, S = self._integrals.of(blocks, part), overlap_of(part)
            x = scaled(part.lengths)[:, None]
            terms = np.stack([S * S, x * S * S, x * x * S * S, S * H, x * S * H, H * H])
            for kind, here in by_kind(part.edge_type):
                self._sums[:, kind] += terms[:, here].sum(axis=1)
                self._count[kind] += len(here)

    @property
    def seen(self) -> IntArray:
        """The kinds of pairs that occur."""
        return np.flatnonzero(self._count)

    def judged(self) -> tuple[float, float, float]:
        """Return the best penalty, and the error and size of kinds that are left out.

        Of kinds with both elements in other kinds, each fold is predicted by a fit to the others.
        """
        n = self._layout.n_species
        pairs = [(a, b) for a, b in (divmod(int(kind), n) for kind in self.seen) if a < b]
        if len(pairs) < 2:
            return _UNJUDGED, np.nan, np.nan
        errors, size, count = np.zeros(len(_PENALTIES)), 0.0, 0.0
        for fold in range(min(_FOLDS, len(pairs))):
            out = pairs[fold::_FOLDS]
            left = np.array([kind for a, b in out for kind in (a * n + b, b * n + a)])
            kept = np.setdiff1d(self.seen, left)
            for number, penalty in enumerate(_PENALTIES):
                errors[number] += self._error(self.factors(kept, penalty), left)
            size += float(self._sums[5][left].sum())
            count += self._numbers(left)
        best = int(np.argmin(errors))
        return _PENALTIES[best], float(np.sqrt(errors[best] / count)), float(np.sqrt(size / count))

    def _numbers(self, kinds: IntArray) -> float:
        """Return how many integrals the bonds of some kinds have that do not vanish by padding."""
        return float((self._count[kinds, None] * (self._sums[0][kinds] > 0)).sum())

    def _error(self, factors: FloatArray, kinds: IntArray) -> float:
        """Return the squared error of some kinds, from the sums."""
        integrals, ls = self._integrals, np.array(self._layout.common_ls)
        first, second = np.divmod(kinds, self._layout.n_species)
        k = (
            factors[first][:, integrals.first, ls[integrals.second], integrals.m]
            + factors[second][:, integrals.second, ls[integrals.first], integrals.m]
        )
        k0, k1 = k[..., 0], k[..., 1]
        SS, xSS, xxSS, SH, xSH, HH = self._sums[:, kinds]
        left = HH - 2 * (k0 * SH + k1 * xSH) + k0**2 * SS + 2 * k0 * k1 * xSS + k1**2 * xxSS
        return float(np.maximum(left, 0.0).sum())

    def factors(self, kinds: IntArray, penalty: float) -> FloatArray:
        """Return the factors, see `ElementForm`, fitted to some kinds of pairs."""
        layout = self._layout
        n_shells, l_max = len(layout.common_ls), max(layout.common_ls)
        found = np.zeros((layout.n_species, n_shells, l_max + 1, l_max + 1, 2))
        for one in self._classes():
            self._fit(found, one, kinds, penalty)
        return found

    def _classes(self) -> Iterator[_Class]:
        """Yield the integrals by l ≤ l' and m; of two shells either may come first."""
        integrals, ls = self._integrals, np.array(self._layout.common_ls)
        first, second = ls[integrals.first], ls[integrals.second]
        for l_own, l_other in l_pairs(self._layout):
            for m in range(l_own + 1):
                columns = np.flatnonzero(
                    (first == l_own) & (second == l_other) & (integrals.m == m)
                )
                own, other = integrals.first[columns], integrals.second[columns]
                yield _Class(l_own, l_other, m, columns, own, other)

    def _fit(self, found: FloatArray, one: _Class, kinds: IntArray, penalty: float) -> None:
        """Set the factors of one class: a common value, and what each shell of an element adds."""
        n_shells = found.shape[1]
        n = self._layout.n_species * n_shells
        ends = np.divmod(kinds, self._layout.n_species)
        side = 0 if one.l_own == one.l_other else n
        numbers = np.stack([
            (ends[0][:, None] * n_shells + one.own).reshape(-1),
            (ends[1][:, None] * n_shells + one.other).reshape(-1) + side,
        ])  # fmt: skip
        sums = self._sums[:, kinds][:, :, one.columns].reshape(6, -1)
        known = sums[0] > 0  # others are padding
        shells, places = np.unique(numbers[:, known], return_inverse=True)
        k = _factors_of(places.reshape(2, -1), len(shells), sums[:, known], penalty)
        values = np.tile(k[-1], (n + side, 1))
        values[shells] += k[:-1]
        values = values.reshape(-1, *found.shape[:2], 2)
        for l, own_shells, own in (
            (one.l_other, one.own, values[0]),
            (one.l_own, one.other, values[-1]),
        ):
            used = np.unique(own_shells)
            found[:, used, l, one.m] = own[:, used]


def _factors_of(places: IntArray, n: int, sums: FloatArray, penalty: float) -> FloatArray:
    """Return k⁰ and k¹ of n shells, and behind them what is common to all, (n + 1, 2).

    `places` (2, rows) are the shells at both ends, `sums` those of `Bonds` for each row.
    """
    gram, wanted = np.zeros((2, n + 1, 2, n + 1)), np.zeros((2, n + 1))
    SS, xSS, xxSS, SH, xSH, _ = sums
    # Each bond has the shell of either end, and the common value (the last) twice.
    ends = [(places[0], 1.0), (places[1], 1.0), (np.full_like(places[0], n), 2.0)]
    moments = [(0, 0, SS), (0, 1, xSS), (1, 0, xSS), (1, 1, xxSS)]
    for row, by in ends:
        for power, own in enumerate((SH, xSH)):
            np.add.at(wanted[power], row, by * own)
        for column, times in ends:
            for p, q, own in moments:
                np.add.at(gram[p, :, q, :], (row, column), by * times * own)
    weights = np.ones((2, n + 1))
    weights[:, -1] = _COMMON
    flat = gram.reshape(2 * n + 2, -1)
    return solved(flat, wanted.reshape(-1), penalty * weights.reshape(-1)).reshape(2, -1).T
