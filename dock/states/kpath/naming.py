"""The name of a k-point: a point of high symmetry, or a place on a line between two of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from dock.states.kpath.path import pretty_label
from dock.states.kpath.special import SpecialPoints

__all__ = ["name_of"]

_SHIFTS = np.array(list(itertools.product((-1, 0, 1), repeat=3)), dtype=np.float64)


def name_of(
    k_frac: NDArray[np.float64],
    known: SpecialPoints,
    operations: Iterable[NDArray[np.int64]] = (),
    tolerance: float = 1e-3,
) -> str:
    """Return the name of a k-point, or an empty text where it has none.

    Parameters
    ----------
    k_frac : (3,)
        Fractional coordinates in the cell of `known`.
    known
        Points and lines with names; see `dock.states.kpath.special_points`.
    operations
        Integer matrices M that take k to an equal one, M k.
    tolerance
        In reciprocal vectors.

    Examples
    --------
    >>> from types import MappingProxyType
    >>> points = MappingProxyType({"GAMMA": np.zeros(3), "X": np.array([0.5, 0, 0])})
    >>> chain = SpecialPoints(points, (("GAMMA", "X"),), "chain", (0,), "")
    >>> name_of(np.array([-0.5, 0, 0]), chain), name_of(np.array([0.4, 0, 0]), chain)
    ('X', '0.8 of Γ–X')
    """
    star = np.array([k_frac, *(np.asarray(M) @ k_frac for M in operations)])
    star = star - np.rint(star)
    for label, point in known.points.items():
        apart = star - point
        if np.abs(apart - np.rint(apart)).max(axis=1).min() < tolerance:
            return pretty_label(label)
    images = (star[:, None, :] + _SHIFTS).reshape(-1, 3)
    for branch in known.path:
        for first, last in itertools.pairwise(branch):
            start, line = known.points[first], known.points[last] - known.points[first]
            share = (images - start) @ line / (line @ line)
            apart = np.abs(images - start - share[:, None] * line).max(axis=1)
            near = (apart < tolerance) & (share > 0) & (share < 1)
            if near.any():
                at = float(share[np.flatnonzero(near)[0]])
                return f"{at:.4g} of {pretty_label(first)}–{pretty_label(last)}"
    return ""
