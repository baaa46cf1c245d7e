"""What a mean error of H hides: false states, occupied levels and the gap.

Most entries of H belong to states that are far up and empty. A prediction can be good on average
and have a state where there is none, below the lowest empty one or deep among the occupied ones;
every level above it then has another number. These measures say so.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "GHOST_REACH",
    "GHOST_SLACK",
    "OccupationErrors",
    "Spaces",
    "is_filled",
    "occupation_errors",
    "states_too_many",
]

GHOST_REACH = 3.0
"""How far above the Fermi level false states are looked for, eV."""

GHOST_SLACK = 0.5
"""How far a level may lie from where it belongs and be no false state, eV."""

_TOUCHING = 1e-6  # eV: a level on the Fermi level is filled

Values = NDArray[np.float64]


class OccupationErrors(NamedTuple):
    """Errors told apart by what is occupied.

    Attributes
    ----------
    shift
        Median deviation of the occupied levels, eV; the others are after it. It is theirs alone:
        a false state among the empty ones moves Δμ_band.
    occupied, largest_occupied
        Mean and largest deviation of the occupied levels, eV; None where there is none.
    gap
        Predicted less true band gap over the mesh, eV; None for a metal.
    n_ghosts, n_missing
        False states, and states that are lacking, below 3 eV above the Fermi level: the most at
        any one k-point, both spin channels added.
    """

    shift: float
    occupied: float | None
    largest_occupied: float | None
    gap: float | None
    n_ghosts: int
    n_missing: int


def is_filled(levels: Values, fermi_level: float) -> NDArray[np.bool_]:
    """Return which levels are occupied; one on the Fermi level is."""
    return np.asarray(levels <= fermi_level + _TOUCHING)


def occupation_errors(predicted: Values, benchmark: Values, fermi_level: float) -> OccupationErrors:
    """Compare levels by what is occupied in the benchmark.

    Parameters
    ----------
    predicted, benchmark
        (n_spin, n_k, n_bands), ascending, at the same k-points, eV, absolute.
    fermi_level
        Of the benchmark, eV.

    Bands that are lacking at some k-point (not finite) are left out.
    """
    known = np.isfinite(predicted + benchmark).all(axis=(0, 1))
    predicted, benchmark = predicted[..., known], benchmark[..., known]
    filled = is_filled(benchmark, fermi_level)
    if not filled.any():
        return OccupationErrors(0.0, None, None, None, 0, 0)
    deviation = (predicted - benchmark)[filled]
    shift = float(np.median(deviation))
    errors = np.abs(deviation - shift)
    top = fermi_level + GHOST_REACH
    moved = predicted - shift
    return OccupationErrors(
        shift,
        float(errors.mean()),
        float(errors.max()),
        _gap_error(predicted, benchmark, filled),
        _most(moved, benchmark, top),
        _most(benchmark, moved, top),
    )


def _gap_error(predicted: Values, benchmark: Values, filled: NDArray[np.bool_]) -> float | None:
    """Return the difference of the band gaps; None where the bands cross the Fermi level."""
    counts = filled.sum(axis=-1)
    n_bands = benchmark.shape[-1]
    if np.any(counts != counts[:, :1]) or np.all(counts[:, 0] == n_bands):
        return None
    edges = []
    for levels in (benchmark, predicted):
        below = [own[:, :n].max() for own, n in zip(levels, counts[:, 0], strict=True) if n]
        above = [
            own[:, n:].min() for own, n in zip(levels, counts[:, 0], strict=True) if n < n_bands
        ]
        edges.append(min(above) - max(below))
    return float(edges[1] - edges[0]) if edges[0] > 0 else None


def _most(some: Values, others: Values, top: float) -> int:
    """Return the most states too many at any k-point, spin channels added."""
    counts = [
        [states_too_many(a, b, top) for a, b in zip(*channel, strict=True)]
        for channel in zip(some, others, strict=True)
    ]
    return int(np.array(counts).sum(axis=0).max(initial=0))


def states_too_many(some: Values, others: Values, top: float) -> int:
    """Return how many levels up to `top` are more than others have up to half an eV above them.

    Examples
    --------
    >>> states_too_many(np.array([-5.0, -1.0, 2.0]), np.array([-1.1, 2.1, 9.0]), 3.0)
    1
    >>> states_too_many(np.array([-1.2, 2.4]), np.array([-1.0, 2.0]), 3.0)
    0
    """
    own = np.sort(some)[: int(np.count_nonzero(some <= top))]
    there = np.searchsorted(np.sort(others), own + GHOST_SLACK, side="right")
    return int((np.arange(1, len(own) + 1) - there).max(initial=0))


class Spaces:
    """Sums of squares of ΔH between the states of a benchmark: filled, mixed and empty."""

    def __init__(self) -> None:
        self._squares, self._counts = np.zeros(3), np.zeros(3)

    def add(
        self, difference: NDArray[Any], vectors: NDArray[Any], is_filled: NDArray[np.bool_]
    ) -> None:
        """Add a matrix (N, N) at one k-point in the basis of states, columns of (N, n)."""
        inner = np.abs(vectors.conj().T @ difference @ vectors) ** 2
        for number, (rows, columns) in enumerate(
            ((is_filled, is_filled), (is_filled, ~is_filled), (~is_filled, ~is_filled))
        ):
            part = inner[np.ix_(rows, columns)]
            self._squares[number] += part.sum()
            self._counts[number] += part.size

    def result(self) -> tuple[float | None, float | None, float | None]:
        """Return root mean squares, eV; None for a space that is empty.

        Turning states among themselves changes none of them.
        """
        filled, mixed, empty = (
            float(np.sqrt(total / count)) if count else None
            for total, count in zip(self._squares, self._counts, strict=True)
        )
        return filled, mixed, empty
