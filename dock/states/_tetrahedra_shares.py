"""Shares of linear bands in tetrahedra; `dock.states.tetrahedra` is the only caller.

Plain numpy, in slabs that fit the cache: as fast as compiled loops over tetrahedra and energies,
whose compiler alone takes 100 MB and 0.3 s to load.

The formulas are those of Blöchl, Jepsen and Andersen, Phys. Rev. B 49, 16223 (1994), appendix B,
for tetrahedra of volume 1 with ascending corner energies.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

SLAB = 32_768  # numbers of one temporary array: a quarter of a megabyte


def filled_share(energy: Array, e: Array) -> Array:
    """Return the filled part of each tetrahedron.

    Parameters
    ----------
    energy
        (n,) energies up to which states are filled.
    e
        (4, n) energies of the corners, ascending.
    """
    share = np.where(energy >= e[3], 1.0, 0.0)
    for chosen, rule in zip(_ranges(energy, e), (_first, _second, _third), strict=True):
        if len(chosen):
            share[chosen] = rule(energy[chosen], *e[:, chosen])
    return share


def _ranges(energy: Array, e: Array) -> list[Array]:
    """Return which energies lie in each of the three ranges between the corners."""
    e1, e2, e3, e4 = e
    first = (energy > e1) & (energy < e2)
    second = (energy >= e2) & (energy < e3)
    third = (energy >= e3) & (energy < e4)
    return [np.flatnonzero(part) for part in (first, second, third)]


def _first(x: Array, e1: Array, e2: Array, e3: Array, e4: Array) -> Array:
    d = x - e1
    share: Array = (d / (e2 - e1)) * (d / (e3 - e1)) * (d / (e4 - e1))
    return share


def _second(x: Array, e1: Array, e2: Array, e3: Array, e4: Array) -> Array:
    a, b = (x - e1) / (e4 - e1), (x - e1) / (e3 - e1)
    c = (x - e2) / (e3 - e2)
    share: Array = a * b + a * c * (e3 - x) / (e3 - e1)
    share += (x - e2) / (e4 - e2) * c * (e4 - x) / (e4 - e1)
    return share


def _third(x: Array, e1: Array, e2: Array, e3: Array, e4: Array) -> Array:
    d = e4 - x
    share: Array = 1 - (d / (e4 - e1)) * (d / (e4 - e2)) * (d / (e4 - e3))
    return share


def corner_shares(energy: Array, e: Array) -> tuple[Array, Array]:
    """Return the share of each corner in the filled part (4, n), and the density of states (n,).

    Parameters
    ----------
    energy
        (n,) energies up to which states are filled.
    e
        (4, n) energies of the corners, ascending.
    """
    w = np.where(energy >= e[3], 0.25, np.zeros((4, 1)))
    density = np.zeros(len(energy))
    rules = (_first_corners, _second_corners, _third_corners)
    for chosen, rule in zip(_ranges(energy, e), rules, strict=True):
        if len(chosen):
            w[:, chosen], density[chosen] = rule(energy[chosen], *e[:, chosen])
    return w, density


def _first_corners(x: Array, e1: Array, e2: Array, e3: Array, e4: Array) -> tuple[Array, Array]:
    d = x - e1
    f2, f3, f4 = d / (e2 - e1), d / (e3 - e1), d / (e4 - e1)
    c = 0.25 * f2 * f3 * f4
    return np.stack([c * (4 - f2 - f3 - f4), c * f2, c * f3, c * f4]), 3 * f2 * f3 / (e4 - e1)


def _second_corners(x: Array, e1: Array, e2: Array, e3: Array, e4: Array) -> tuple[Array, Array]:
    d1, d2, u3, u4 = x - e1, x - e2, e3 - x, e4 - x
    e31, e41, e32, e42 = e3 - e1, e4 - e1, e3 - e2, e4 - e2
    c1 = 0.25 * d1 / e41 * d1 / e31
    c2 = 0.25 * d1 / e41 * d2 / e32 * u3 / e31
    c3 = 0.25 * d2 / e42 * d2 / e32 * u4 / e41
    w = np.stack(
        [
            c1 + (c1 + c2) * u3 / e31 + (c1 + c2 + c3) * u4 / e41,
            c1 + c2 + c3 + (c2 + c3) * u3 / e32 + c3 * u4 / e42,
            (c1 + c2) * d1 / e31 + (c2 + c3) * d2 / e32,
            (c1 + c2 + c3) * d1 / e41 + c3 * d2 / e42,
        ]
    )
    slope = 3 * (e2 - e1) + 6 * d2 - 3 * (e31 + e42) * d2 / e32 * d2 / e42
    return w, slope / (e31 * e41)


def _third_corners(x: Array, e1: Array, e2: Array, e3: Array, e4: Array) -> tuple[Array, Array]:
    d = e4 - x
    g1, g2, g3 = d / (e4 - e1), d / (e4 - e2), d / (e4 - e3)
    c = 0.25 * g1 * g2 * g3
    w = 0.25 - np.stack([c * g1, c * g2, c * g3, c * (4 - g1 - g2 - g3)])
    return w, 3 * g3 * g2 / (e4 - e1)


def add_filled(e: Array, volume: Array, first: float, step: float, out: Array) -> None:
    """Add to ``out[k]`` the filled parts of all tetrahedra at the energies first + k · step.

    In each of the three ranges between its corners the filled part of a tetrahedron is a cubic,
    whose coefficients are made once for all energies within.
    """
    n = len(out)
    place = np.clip(np.ceil((e - first) / step), 0, n).astype(np.int64)
    out += np.cumsum(np.bincount(place[3], volume, minlength=n + 1))[:n]
    for number, rule in enumerate((_first_cubic, _second_cubic, _third_cubic)):
        counts = place[number + 1] - place[number]
        chosen = np.flatnonzero(counts)
        ends = np.cumsum(counts[chosen])
        begin = 0
        while begin < len(chosen):
            before = ends[begin - 1] if begin else 0
            stop = max(begin + 1, int(np.searchsorted(ends, before + SLAB, side="right")))
            items = chosen[begin:stop]
            origin, coefficients = rule(*e[:, items])
            scaled = [c * step**power for power, c in enumerate(coefficients)]
            steps = place[number, items], counts[items], (origin - first) / step
            _add_cubics(steps, scaled, volume[items], out)
            begin = stop


def _add_cubics(
    steps: tuple[Array, Array, Array], coefficients: list[Array], volume: Array, out: Array
) -> None:
    """Add volume · Σ_p c_p (k − origin)^p to out[k] for every tetrahedron.

    `steps` are the first k, their number, and the origin. Shares are kept between 0 and 1, where
    corners that differ by rounding alone could leave it.
    """
    low, counts, origin = steps
    starts = np.cumsum(counts) - counts
    place = np.arange(int(counts.sum())) + np.repeat(low - starts, counts)
    d = place - np.repeat(origin, counts)
    share = np.repeat(coefficients[-1], counts)
    for c in reversed(coefficients[:-1]):
        share = share * d + np.repeat(c, counts)
    share = np.clip(share, 0.0, 1.0) * np.repeat(volume, counts)
    out += np.bincount(place, share, minlength=len(out))


def _first_cubic(e1: Array, e2: Array, e3: Array, e4: Array) -> tuple[Array, list[Array]]:
    zero = np.zeros(len(e1))
    return e1, [zero, zero, zero, 1 / (e2 - e1) / (e3 - e1) / (e4 - e1)]


def _second_cubic(e1: Array, e2: Array, e3: Array, e4: Array) -> tuple[Array, list[Array]]:
    e21, e31, e41, e32, e42 = e2 - e1, e3 - e1, e4 - e1, e3 - e2, e4 - e2
    scale = 1 / (e31 * e41)
    bend = -(e31 + e42) / (e32 * e42) * scale
    return e2, [e21 * e21 * scale, 3 * e21 * scale, 3 * scale, bend]


def _third_cubic(e1: Array, e2: Array, e3: Array, e4: Array) -> tuple[Array, list[Array]]:
    zero = np.zeros(len(e1))
    return e4, [zero + 1, zero, zero, 1 / (e4 - e1) / (e4 - e2) / (e4 - e3)]
