"""Normal equations of one kind of part of the blocks, and the choice of what is fitted.

What is fitted (nothing, two centres alone, or products with the surroundings up to some degree),
and how strongly high degrees are penalised, is chosen by cross-validation: each fold of the
structures is predicted by a fit to the others. So more functions are taken only where they help on
structures that a fit has not seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import FloatArray
from dock.models.closed_form.three_centre.terms import Terms
from dock.models.targets import Irrep

__all__ = ["FOLDS", "NOTHING", "Equations", "Solution"]

FOLDS = 3
"""Parts of the structures, each predicted by a fit to the others."""

NOTHING = -2
"""The degree of a part for which nothing was fitted."""

_ZERO = 1e-8  # eV; smaller labels are rounding
_SLOPES = (1.0, 1.5, 2.0)
_PENALTIES = (1e-14, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2)
_UNJUDGED = (1.5, 1e-4)  # slope and penalty where nothing can be held out
_AS_GOOD = 1.1  # of the smallest squared error: the smoothest such penalty is taken
_AS_FEW = 1.02  # of the smallest squared error: the fewest such functions are taken
_UNSEEN = 0.1  # of the labels: what a fit may be wrong by elsewhere, where nobody measured it


@dataclass(frozen=True, eq=False)
class Solution:
    """What was fitted to one kind of part.

    Attributes
    ----------
    degree
        Of the products with the surroundings; −1 for two centres alone, `NOTHING` for no function.
    weights
        (functions, multiplicity).
    errors
        (multiplicity,) root mean square of what is left of structures that a fit has not seen.
    centres, limits
        (multiplicity,) of the values that occur: no part is predicted farther from the centre than
        the limit. Functions of many neighbours grow without bound where none was seen.
    judged
        Whether the errors were measured: blocks of this kind occur in more than one fold.
    """

    degree: int
    weights: FloatArray
    errors: FloatArray
    centres: FloatArray
    limits: FloatArray
    judged: bool


class Equations:
    """The normal equations of a kind of part, fold by fold."""

    def __init__(self, terms: Terms, irrep: Irrep) -> None:
        self.terms, self.irrep = terms, irrep
        n, m = terms.n_functions, irrep.multiplicity
        self.gram: FloatArray = np.zeros((FOLDS, n, n))
        self.side: FloatArray = np.zeros((FOLDS, n, m))
        self.square: FloatArray = np.zeros((FOLDS, m))
        self.rows: NDArray[np.int64] = np.zeros(FOLDS, dtype=np.int64)
        self.lowest: FloatArray = np.full(m, np.inf)
        self.highest: FloatArray = np.full(m, -np.inf)

    def add(self, fold: int, functions: FloatArray, parts: FloatArray) -> None:
        """Add rows: (n, 2J + 1, functions), and (n, multiplicity · (2J + 1)) coupled labels."""
        count, width = self.irrep.multiplicity, 2 * self.irrep.J + 1
        table = functions.reshape(-1, functions.shape[-1])
        labels = parts.reshape(-1, count, width).transpose(0, 2, 1).reshape(-1, count)
        # Of scalars their values count, of tensors their lengths.
        sizes = labels if width == 1 else np.sqrt((labels.reshape(-1, width, count) ** 2).sum(1))
        if len(sizes):
            self.lowest = np.minimum(self.lowest, sizes.min(axis=0))
            self.highest = np.maximum(self.highest, sizes.max(axis=0))
        self.gram[fold] += table.T @ table
        self.side[fold] += table.T @ labels
        self.square[fold] += (labels**2).sum(axis=0)
        self.rows[fold] += len(labels)

    def solve(self) -> Solution:
        """Choose what is fitted by the folds, and fit it to all of them."""
        n_rows = max(int(self.rows.sum()), 1)
        size = np.sqrt(self.square.sum(axis=0) / n_rows)
        bounds = self._bounds()
        nothing = Solution(NOTHING, np.zeros((0, 0)), size, *bounds, judged=True)
        if float(np.sqrt(np.mean(size**2))) <= _ZERO:  # by a symmetry of all structures
            return replace(nothing, errors=np.zeros_like(size))
        tried = self._choices()
        if np.count_nonzero(self.rows) < 2:
            two_centres = [one for one in tried if one.degree == -1]
            if not two_centres:
                return replace(nothing, judged=False)
            weights = self._fitted(two_centres[-1], *_UNJUDGED)
            return Solution(-1, weights, _UNSEEN * size, *bounds, judged=False)
        # Products with the surroundings need blocks in all folds.
        tried = [one for one in tried if one.degree == -1 or self.rows.all()]
        if not tried:
            return nothing
        choice, best = self._best(tried)
        if best.error > float(self.square.sum()) / _AS_FEW:
            return nothing
        weights = self._fitted(choice, best.slope, best.penalty)
        errors = np.sqrt(best.errors / n_rows)
        return Solution(choice.degree, weights, errors, *bounds, judged=True)

    def _best(self, tried: list[_Choice]) -> tuple[_Choice, _Tried]:
        """Return the choice that does best on what is held out.

        More functions must help in each fold: what helps in one alone is the chance of a crystal.
        """
        best, held = tried[0], self._judged(tried[0])
        for choice in tried[1:]:
            found = self._judged(choice)
            if found.error * _AS_FEW < held.error and np.all(found.by_fold <= held.by_fold):
                best, held = choice, found
        return best, held

    def _bounds(self) -> tuple[FloatArray, FloatArray]:
        """Return centre and limit of each channel: twice the range of what occurs."""
        if not self.rows.any():
            return np.zeros_like(self.lowest), np.zeros_like(self.lowest)
        if self.irrep.J:
            return np.zeros_like(self.highest), 2 * self.highest
        return 0.5 * (self.lowest + self.highest), self.highest - self.lowest

    def _choices(self) -> list[_Choice]:
        """Return what may be fitted, fewest functions first."""
        terms, largest = self.terms, self.terms.degree
        degrees = sorted({-1, largest // 2, largest}) if largest > 0 else [largest]
        found = [_Choice(degree, self._functions(degree)) for degree in degrees]
        if len(terms.singles) and terms.n_first:  # on site: the constant alone
            found.insert(0, _Choice(-1, terms.is_first))
        return [one for one in found if one.functions.any()]

    def _functions(self, degree: int) -> NDArray[np.bool_]:
        """Tell which functions there are up to a degree: in the order of fewer terms."""
        return np.asarray((self.terms.degrees <= degree) | self.terms.is_single)

    def _fitted(self, choice: _Choice, slope: float, penalty: float) -> FloatArray:
        """Return the coefficients of all functions of a degree, fitted to all rows."""
        chosen = choice.functions
        scale = np.exp(-slope * self.terms.degrees[chosen])
        values, vectors = _decomposed(_part(self.gram.sum(axis=0), chosen), scale)
        side = vectors.T @ (scale[:, None] * self.side.sum(axis=0)[chosen])
        inner = side / (values + penalty * values.mean())[:, None]
        weights = np.zeros((len(chosen), self.irrep.multiplicity))
        weights[chosen] = scale[:, None] * (vectors @ inner)
        return weights[self._functions(choice.degree)]

    def _judged(self, choice: _Choice) -> _Tried:
        """Return the smoothest fit with some functions that does as well as the best of them."""
        tried = list(self._tries(choice.functions))
        least = min(one.error for one in tried) + 1e-16 * float(self.square.sum())
        good = [one for one in tried if one.error <= _AS_GOOD * least]
        return max(good, key=lambda one: (one.slope, one.penalty))

    def _tries(self, chosen: NDArray[np.bool_]) -> Iterator[_Tried]:
        """Yield the errors with each slope and penalty."""
        folds = np.flatnonzero(self.rows)
        gram, side = self.gram.sum(axis=0), self.side.sum(axis=0)
        for slope in _SLOPES:
            errors = np.zeros((len(_PENALTIES), FOLDS, self.irrep.multiplicity))
            scale = np.exp(-slope * self.terms.degrees[chosen])
            for fold in folds:
                kept = _part(gram - self.gram[fold], chosen)
                values, vectors = _decomposed(kept, scale)
                turned = scale[:, None] * vectors
                held = turned.T @ _part(self.gram[fold], chosen) @ turned
                known = turned.T @ (side - self.side[fold])[chosen]
                wanted = turned.T @ self.side[fold][chosen]
                for number, penalty in enumerate(_PENALTIES):
                    c = known / (values + penalty * values.mean())[:, None]
                    left = self.square[fold] - 2 * (c * wanted).sum(0) + (c * (held @ c)).sum(0)
                    errors[number, fold] = np.maximum(left, 0.0)
            for penalty, row in zip(_PENALTIES, errors, strict=True):
                yield _Tried(float(row.sum()), slope, penalty, row.sum(axis=0), row.sum(axis=1))


class _Choice(NamedTuple):
    """Which of the functions are fitted, and the degree of terms that have them."""

    degree: int
    functions: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Tried:
    """Slope, penalty, and the squared errors: in all, of each channel, and of each fold."""

    error: float
    slope: float
    penalty: float
    errors: FloatArray
    by_fold: FloatArray


def _part(gram: FloatArray, chosen: NDArray[np.bool_]) -> FloatArray:
    return gram[np.ix_(chosen, chosen)]


def _decomposed(gram: FloatArray, scale: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return eigenvalues, none negative, and eigenvectors of the scaled normal matrix."""
    from scipy.linalg import eigh

    values, vectors = eigh(scale[:, None] * gram * scale, driver="evd")
    return np.maximum(values, 1e-17 * max(float(values[-1]), 1e-300)), vectors
