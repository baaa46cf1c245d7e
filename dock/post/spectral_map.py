"""A(k, E) as a picture: what lies between the k-points, where bands are steep.

Gaussians at the k-points alone are beads on a string as soon as a band moves by more than their
width from one point to the next. Lines of a band structure join the points of a band; states of a
supercell have no such number, but weights. So the weight at one k-point is moved to the next in
order of energy, which is the cheapest transport in one dimension, and what is between lies on the
way. Through the ends of a window bands come in and go out: they are reservoirs, and the offset
between both orders is the one with the least to move, the median of the difference of the two sums
of weights over the energies. Weight that would be faster than any band fades where it is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.post.energy_selection import FASTEST
from dock.states.broadening import add_gaussians

__all__ = ["Levels", "Map", "drawn_levels", "spectral_map"]

_COLUMNS = 500  # of the picture along the whole path
_NOTHING = 1e-4  # weight below which a level is not drawn


class Levels(NamedTuple):
    """The levels of a k-point that have weight, in ascending order.

    energies : (n,) eV; weights : (n,); shares : (n_groups, n) of what is drawn.
    """

    energies: NDArray[np.float64]
    weights: NDArray[np.float64]
    shares: NDArray[np.float64]


class Map(NamedTuple):
    """The picture of a segment: values (n_groups, n_x, n_energies) in 1/eV at places x."""

    x: NDArray[np.float64]
    values: NDArray[np.float64]


class _Moves(NamedTuple):
    """Weight on its way between two k-points: energies and shares at both ends."""

    begin: NDArray[np.float64]
    end: NDArray[np.float64]
    shares_begin: NDArray[np.float64]
    shares_end: NDArray[np.float64]

    def at(self, part: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return energies and shares (n_groups, n) where a part of the way is gone."""
        energies = (1 - part) * self.begin + part * self.end
        return energies, (1 - part) * self.shares_begin + part * self.shares_end


def spectral_map(
    levels: list[Levels],
    distances: NDArray[np.float64],
    segment: NDArray[np.int64],
    grid: NDArray[np.float64],
    sigma: float,
    *,
    window: tuple[float, float] | None = None,
) -> list[Map]:
    """Return A(k, E) along a path, segment by segment, with columns between the k-points.

    Parameters
    ----------
    levels
        Those of each k-point.
    distances, segment
        (n_k,) length along the path, 1/Å without 2π, and the segment of each k-point.
    grid, sigma
        The energies, eV and in even steps, and the width of the Gaussians, eV.
    window
        The energies between which all levels are here, eV; None where no level is left out.
    """
    maps = []
    for number in np.unique(segment):
        inside = np.flatnonzero(segment == number)
        x = distances[inside]
        if len(inside) < 2 or np.ptp(x) == 0:
            continue
        count = max(len(inside), round(_COLUMNS * np.ptp(x) / np.ptp(distances)))
        places = np.linspace(x[0], x[-1], count)
        left = np.clip(np.searchsorted(x, places, side="right") - 1, 0, len(x) - 2)
        out = np.zeros((len(levels[0].shares), count, len(grid)))
        for first in np.unique(left):
            pair = levels[inside[first]], levels[inside[first + 1]]
            length = x[first + 1] - x[first]
            reach = 2 * sigma + FASTEST * 2 * np.pi * length
            moves = _moves(*pair, grid, window, reach)
            for column in np.flatnonzero(left == first):
                energies, shares = moves.at((places[column] - x[first]) / length)
                for row, part in zip(out[:, column], shares, strict=True):
                    add_gaussians(energies, part, sigma, grid[0], float(grid[1] - grid[0]), row)
        maps.append(Map(places, out))
    return maps


def drawn_levels(
    energies: NDArray[np.float64], weights: NDArray[np.float64], shares: NDArray[np.float64]
) -> Levels:
    """Return the levels of a k-point with what there is to draw; NaN energies are none."""
    seen = np.isfinite(energies) & (np.nan_to_num(weights) > _NOTHING)
    return Levels(energies[seen], weights[seen], shares[:, seen])


def _moves(
    one: Levels,
    two: Levels,
    grid: NDArray[np.float64],
    window: tuple[float, float] | None,
    reach: float,
) -> _Moves:
    """Return how the weight at one k-point goes to the next."""
    ends = (-np.inf, np.inf) if window is None else window
    offset = float(np.median(_sums(one)[_below(one, grid)] - _sums(two)[_below(two, grid)]))
    cuts = np.unique(np.concatenate([_sums(one), _sums(two) + offset]))
    middle, weight = 0.5 * (cuts[1:] + cuts[:-1]), np.diff(cuts)
    begin, leaving, is_begin = _parts(one, middle, weight, ends)
    end, arriving, is_end = _parts(two, middle - offset, weight, ends)
    with np.errstate(invalid="ignore"):  # from one end of all energies to the other
        moves = (np.abs(end - begin) <= reach) & (is_begin | is_end)
    # What comes through an end of the window has the shares of the level that it becomes.
    leaving = np.where(moves & ~is_begin, arriving, leaving)
    arriving = np.where(moves & ~is_end, leaving, arriving)
    gone, come = is_begin & ~moves, is_end & ~moves
    parts = [
        (begin[moves], end[moves], leaving[:, moves], arriving[:, moves]),
        (begin[gone], begin[gone], leaving[:, gone], np.zeros_like(leaving[:, gone])),
        (end[come], end[come], np.zeros_like(arriving[:, come]), arriving[:, come]),
    ]
    return _Moves(*(np.concatenate(column, axis=-1) for column in zip(*parts, strict=True)))


def _sums(side: Levels) -> NDArray[np.float64]:
    """Return (n + 1,) the weight below each level, and that of all."""
    return np.concatenate([[0.0], np.cumsum(side.weights)])


def _below(side: Levels, grid: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number of levels below each energy."""
    return np.searchsorted(side.energies, grid)


def _parts(
    side: Levels,
    place: NDArray[np.float64],
    weight: NDArray[np.float64],
    ends: tuple[float, float],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return energy and shares of parts of the weight, by their place in its order.

    The last says where a part belongs to a level, and not to what lies beyond the ends.
    """
    number = np.searchsorted(_sums(side), place)  # 0 is below all levels, n + 1 above
    energies = np.concatenate([[ends[0]], side.energies, [ends[1]]])
    shares = np.pad(side.shares / side.weights, ((0, 0), (1, 1)))
    is_level = (number > 0) & (number <= len(side.energies))
    return energies[number], shares[:, number] * weight, is_level
