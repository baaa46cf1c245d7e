"""Where in the matrix the errors are: by element, by pair of elements, by pair of shells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.basis import shell_letter, shell_numbers, shell_starts
from dock.core.matrix import AOMatrix
from dock.core.structure import Structure
from dock.errors import LayoutError

__all__ = ["HISTOGRAM_EDGES", "BlockErrors", "PairErrors", "shell_names"]

HISTOGRAM_EDGES: NDArray[np.float64] = np.linspace(-12.0, 4.0, 161)
"""log10 of |Δ| in eV at the edges of the histogram; what lies outside goes to the end bins."""

_SAMPLE = 4000  # entries of one structure that go into the parity plot
_SAMPLE_ALL = 200_000  # entries above which every second one is dropped


@dataclass(frozen=True, eq=False)
class PairErrors:
    """Sums over all blocks of one ordered pair of elements.

    Attributes
    ----------
    total, square, largest
        (rows, cols) sum of |Δ|, sum of |Δ|², largest |Δ|, in eV and eV².
    onsite
        (rows, cols) sum of |Δ| of the on-site blocks alone.
    n_blocks, n_onsite
        Blocks summed, each spin component counted.
    """

    total: NDArray[np.float64]
    square: NDArray[np.float64]
    largest: NDArray[np.float64]
    onsite: NDArray[np.float64]
    n_blocks: int
    n_onsite: int

    @classmethod
    def of(cls, blocks: NDArray[np.float64], onsite: NDArray[np.bool_]) -> PairErrors:
        """Sum |Δ| of (n_components, n, rows, cols) blocks; `onsite` says which of the n are."""
        return cls(
            blocks.sum(axis=(0, 1)),
            (blocks**2).sum(axis=(0, 1)),
            blocks.max(axis=(0, 1)),
            blocks[:, onsite].sum(axis=(0, 1)),
            blocks.shape[0] * blocks.shape[1],
            blocks.shape[0] * int(np.count_nonzero(onsite)),
        )

    def __add__(self, other: PairErrors) -> PairErrors:
        return PairErrors(
            self.total + other.total,
            self.square + other.square,
            np.maximum(self.largest, other.largest),
            self.onsite + other.onsite,
            self.n_blocks + other.n_blocks,
            self.n_onsite + other.n_onsite,
        )

    @property
    def n_entries(self) -> int:
        """Number of entries summed."""
        return self.n_blocks * self.total.size

    @property
    def mean(self) -> float:
        """Mean |Δ|, eV."""
        return float(self.total.sum()) / max(1, self.n_entries)


@dataclass(eq=False)
class BlockErrors:
    """The errors of the matrix elements of one structure or of many.

    Attributes
    ----------
    shells
        l of the shells of each element.
    pairs
        The sums of each ordered pair of elements.
    histogram
        Number of entries by log10 |Δ|, on `HISTOGRAM_EDGES`.
    sample
        (n, 2) some entries, reference and prediction, in eV: real parts, then imaginary ones.
    """

    shells: dict[str, tuple[int, ...]] = field(default_factory=dict)
    pairs: dict[tuple[str, str], PairErrors] = field(default_factory=dict)
    histogram: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(len(HISTOGRAM_EDGES) - 1, dtype=np.int64)
    )
    sample: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))

    @classmethod
    def of(cls, difference: AOMatrix, benchmark: AOMatrix) -> BlockErrors:
        """Sum the entries of the difference H_pred − H_bm − Δμ S of one structure, eV.

        The benchmark H_bm is for the parity plot.
        """
        basis, pairs, layout = difference.basis, difference.pairs, difference.layout
        names = _elements(difference.structure)
        result = cls({name: basis.ls(label) for label, name in names.items()})
        for group in layout.groups(basis.pair_kinds(pairs.i, pairs.j)):
            left, right = basis.species_of_kind(group.kind)
            blocks = np.abs(layout.read(difference.entries, group)).astype(np.float64)
            sums = PairErrors.of(blocks, pairs.is_onsite[group.index])
            result._add((names[left], names[right]), sums)
            result.histogram += _histogram(blocks)
        result.sample = _sample(difference, benchmark)
        return result

    def merge(self, other: BlockErrors) -> None:
        """Add the sums of another structure.

        Raises
        ------
        LayoutError
            When an element has another basis there.
        """
        for name, ls in other.shells.items():
            if self.shells.setdefault(name, ls) != ls:
                raise LayoutError(
                    f"the element {name} has the shells {list(self.shells[name])} in one structure "
                    f"and {list(ls)} in another: evaluate them apart."
                )
        for key, sums in other.pairs.items():
            self._add(key, sums)
        self.histogram = self.histogram + other.histogram
        self.sample = np.concatenate([self.sample, other.sample])
        if len(self.sample) > _SAMPLE_ALL:
            self.sample = self.sample[::2]

    def _add(self, key: tuple[str, str], sums: PairErrors) -> None:
        self.pairs[key] = self.pairs[key] + sums if key in self.pairs else sums

    @property
    def elements(self) -> tuple[str, ...]:
        """The elements that occur."""
        return tuple(self.shells)

    @property
    def n_entries(self) -> int:
        """Number of entries summed, N_H of equation (11)."""
        return sum(sums.n_entries for sums in self.pairs.values())

    @property
    def mean(self) -> float:
        """MAE_H over all entries, eV."""
        total = sum(float(sums.total.sum()) for sums in self.pairs.values())
        return total / max(1, self.n_entries)

    @property
    def root_mean_square(self) -> float:
        """Root mean square of all entries, eV."""
        total = sum(float(sums.square.sum()) for sums in self.pairs.values())
        return float(np.sqrt(total / max(1, self.n_entries)))

    @property
    def largest(self) -> float:
        """Largest |Δ|, eV."""
        return max((float(sums.largest.max()) for sums in self.pairs.values()), default=0.0)

    def of_element(self, name: str) -> dict[str, float]:
        """Return the mean |Δ| of all blocks with an element, and of its on-site blocks, eV."""
        with_it = [sums for key, sums in self.pairs.items() if name in key]
        own = self.pairs.get((name, name))
        total = sum(float(sums.total.sum()) for sums in with_it)
        count = sum(sums.n_entries for sums in with_it)
        onsite = 0.0
        if own is not None and own.n_onsite:
            onsite = float(own.onsite.sum()) / (own.n_onsite * own.total.size)
        return {"mae_eV": total / max(1, count), "onsite_mae_eV": onsite, "n_entries": count}

    def pair_matrix(self) -> NDArray[np.float64]:
        """Return the mean |Δ| of each ordered pair of elements, NaN where there is no block."""
        matrix = np.full((len(self.elements), len(self.elements)), np.nan)
        for (left, right), sums in self.pairs.items():
            matrix[self.elements.index(left), self.elements.index(right)] = sums.mean
        return matrix

    def shell_matrix(self, left: str, right: str) -> NDArray[np.float64]:
        """Return the mean |Δ| of each pair of shells of two elements, eV.

        Raises
        ------
        LayoutError
            When there is no such pair.
        """
        sums = self.pairs.get((left, right))
        if sums is None:
            raise LayoutError(f"there are no blocks of {left} with {right}.")
        rows, cols = self.shells[left], self.shells[right]
        summed = np.add.reduceat(sums.total, shell_starts(rows), axis=0)
        summed = np.add.reduceat(summed, shell_starts(cols), axis=1)
        sizes = np.outer([2 * l + 1 for l in rows], [2 * l + 1 for l in cols])
        mean: NDArray[np.float64] = summed / (sizes * max(1, sums.n_blocks))
        return mean

    def records(self) -> list[dict[str, Any]]:
        """Return the errors of each pair of elements and of its shells, by key, in eV."""
        return [
            {
                "elements": [left, right],
                "mae_eV": sums.mean,
                "max_eV": float(sums.largest.max()),
                "n_entries": sums.n_entries,
                "shells": [shell_names(self.shells[name]) for name in (left, right)],
                "shell_mae_eV": self.shell_matrix(left, right).tolist(),
            }
            for (left, right), sums in self.pairs.items()
        ]

    def datasets(self) -> dict[str, Any]:
        """Return the mean errors as matrices (eV), the histogram and the sample, for HDF5."""
        shells = {
            f"shell_pair_mae/{left}-{right}": self.shell_matrix(left, right)
            for left, right in self.pairs
        }
        return {
            "elements": list(self.elements),
            "element_pair_mae": self.pair_matrix(),
            **shells,
            "histogram/log10_edges": HISTOGRAM_EDGES,
            "histogram/counts": self.histogram,
            "parity/reference_and_prediction": self.sample,
        }


def shell_names(ls: tuple[int, ...]) -> list[str]:
    """Return a name of each shell: its letter and its number among those of its l, from 1.

    Examples
    --------
    >>> shell_names((0, 0, 1))
    ['s1', 's2', 'p1']
    """
    return [f"{shell_letter(l)}{n}" for l, n in zip(ls, shell_numbers(ls), strict=True)]


def _elements(structure: Structure) -> dict[str, str]:
    """Return how each species is called: by its element where that is unambiguous."""
    element_of = structure.element_of
    names = list(element_of.values())
    return {label: name if names.count(name) == 1 else label for label, name in element_of.items()}


def _histogram(values: NDArray[np.float64]) -> NDArray[np.int64]:
    low, high = HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1]
    powers = np.clip(np.log10(np.maximum(values.ravel(), 10**low)), low, high)
    return np.histogram(powers, HISTOGRAM_EDGES)[0]


def _sample(difference: AOMatrix, benchmark: AOMatrix) -> NDArray[np.float64]:
    """Return evenly picked entries of the reference and of the corrected prediction."""
    aligned = benchmark.on_pairs(difference.pairs)
    step = max(1, difference.entries.size // _SAMPLE)
    exact: NDArray[Any] = aligned.entries.ravel()[::step]
    error: NDArray[Any] = difference.entries.ravel()[::step]
    if difference.is_complex:
        exact, error = (np.concatenate([part.real, part.imag]) for part in (exact, error))
    return np.stack([exact, exact + error], axis=1).astype(np.float64)
