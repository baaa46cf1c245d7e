"""Compiled loops over the tetrahedra about a k-point; `dock.states.tetrahedra` is the only caller.

Projections spread each k-point over the bins with weights of its own, which compiled loops do three
times as fast as `_tetrahedra_shares`; what needs no projections does not load the compiler.
"""

from __future__ import annotations

from typing import Any

import numba
from numpy.typing import NDArray


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def corner_weights(energy: float, e: NDArray[Any], w: NDArray[Any]) -> Any:
    """Write the share of each (ascending) corner in the filled part of one tetrahedron.

    The formulas are those of Blöchl, Jepsen and Andersen, Phys. Rev. B 49, 16223 (1994),
    appendix B, for a tetrahedron of volume 1; `_tetrahedra_shares.corner_shares` is its twin.
    Returns the density of states at the energy.
    """
    e1, e2, e3, e4 = e[0], e[1], e[2], e[3]
    if energy >= e4:
        w[:] = 0.25
        return 0.0
    w[:] = 0.0
    if energy <= e1:
        return 0.0
    if energy < e2:
        d = energy - e1
        e21, e31, e41 = e2 - e1, e3 - e1, e4 - e1
        c = 0.25 * (d / e21) * (d / e31) * (d / e41)
        w[1], w[2], w[3] = c * d / e21, c * d / e31, c * d / e41
        w[0] = 4 * c - w[1] - w[2] - w[3]
        return 3 * (d / e21) * (d / e31) / e41
    if energy < e3:
        d1, d2, u3, u4 = energy - e1, energy - e2, e3 - energy, e4 - energy
        e31, e41, e32, e42 = e3 - e1, e4 - e1, e3 - e2, e4 - e2
        c1 = 0.25 * d1 / e41 * d1 / e31
        c2 = 0.25 * d1 / e41 * d2 / e32 * u3 / e31
        c3 = 0.25 * d2 / e42 * d2 / e32 * u4 / e41
        w[0] = c1 + (c1 + c2) * u3 / e31 + (c1 + c2 + c3) * u4 / e41
        w[1] = c1 + c2 + c3 + (c2 + c3) * u3 / e32 + c3 * u4 / e42
        w[2] = (c1 + c2) * d1 / e31 + (c2 + c3) * d2 / e32
        w[3] = (c1 + c2 + c3) * d1 / e41 + c3 * d2 / e42
        e21 = e2 - e1
        return (3 * e21 + 6 * d2 - 3 * (e31 + e42) * d2 / e32 * d2 / e42) / (e31 * e41)
    d = e4 - energy
    e43, e42, e41 = e4 - e3, e4 - e2, e4 - e1
    c = 0.25 * (d / e41) * (d / e42) * (d / e43)
    w[0], w[1], w[2] = 0.25 - c * d / e41, 0.25 - c * d / e42, 0.25 - c * d / e43
    w[3] = 1 - 4 * c - w[0] - w[1] - w[2]
    return 3 * (d / e43) * (d / e42) / e41


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def sort_corners(
    energies: NDArray[Any], corners: NDArray[Any], band: int, e: NDArray[Any], order: NDArray[Any]
) -> None:
    """Write the corners' energies in ascending order, and the corner of each."""
    for a in range(4):
        value = energies[corners[a], band]
        place = a
        while place > 0 and e[place - 1] > value:
            e[place] = e[place - 1]
            order[place] = order[place - 1]
            place -= 1
        e[place] = value
        order[place] = corners[a]


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def share_of(point: int, order: NDArray[Any], w: NDArray[Any]) -> Any:
    """Return the sum of the corner weights that belong to one k-point."""
    total = 0.0
    for a in range(4):
        if order[a] == point:
            total += w[a]
    return total


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def project_point(
    energies: NDArray[Any],
    corners: NDArray[Any],
    volumes: NDArray[Any],
    point: int,
    first: float,
    step: float,
    weights: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """Add to out[name, b] what the states of one k-point, times their weights, have in each bin.

    `corners` are the tetrahedra that have the point among their corners, `weights` (n_bands,
    n_names).
    """
    n_bins = out.shape[1]
    e = energies[0, :1].repeat(4)
    w = e * 0.0
    order = corners[0].copy()
    for t in range(len(corners)):
        for band in range(energies.shape[1]):
            sort_corners(energies, corners[t], band, e, order)
            low = max(0, int((e[0] - first) // step))
            if e[3] < first or low >= n_bins:
                continue
            corner_weights(first + low * step, e, w)
            before = share_of(point, order, w)
            for b in range(low, n_bins):
                edge = first + (b + 1) * step
                corner_weights(edge, e, w)
                now = share_of(point, order, w)
                share = volumes[t] * (now - before)
                for name in range(len(out)):
                    out[name, b] += share * weights[band, name]
                before = now
                if edge >= e[3]:
                    break
