"""The high-symmetry points of the five two-dimensional lattices.

Conventions (labels of Setyawan and Curtarolo, Comput. Mater. Sci. 49, 299 (2010), in the plane):

=====================  =====================  ==================================================
lattice                path                   points in the vectors u, v named beside
=====================  =====================  ==================================================
hexagonal              Γ–M–K–Γ                γ = 120°: M (½, 0), K (⅓, ⅓), K' (⅔, −⅓)
square                 Γ–X–M–Γ                X (½, 0), M (½, ½)
rectangular            Γ–X–S–Y–Γ              X (½, 0), S (½, ½), Y (0, ½)
centred rectangular    Γ–X–S–X_1–Y–Γ          |u| = |v|, γ > 90°: X (ζ, ζ), S (0, ½),
                                              X_1 (−ζ, 1−ζ), Y (−½, ½)
oblique                Γ–Y–H–C–H_1–X–Γ        shortest u, v, γ < 90°: X (½, 0), Y (0, ½),
                                              C (½, ½), H and H_1 the zone's corners beside C
=====================  =====================  ==================================================

u and v are found by reducing the two given vectors (which keeps their order and changes them only
where they are not the shortest, or to set the angle), and the points are then written in the given
vectors. So hexagonal cells with 60° and with 120° both have M = (½, 0), and K = (⅔, ⅓) or (⅓, ⅓).
X of a rectangular cell belongs to the first given vector, whichever is longer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PlanePoints", "plane_points"]

TOLERANCE = 1e-3
"""Relative deviation of lengths and cosines within which lattices count as symmetric."""


@dataclass(frozen=True, eq=False)
class PlanePoints:
    """The points and path, unbroken branches of labels, of a two-dimensional lattice.

    A point is float64 (2,): the products k·a₁, k·a₂ (without 2π) with the two given vectors.
    """

    lattice: str
    points: dict[str, NDArray[np.float64]]
    path: tuple[tuple[str, ...], ...]


def plane_points(vectors: NDArray[np.float64]) -> PlanePoints:
    """Return the points and path of the lattice of two vectors: rows (2, 3) in Å, not parallel.

    Examples
    --------
    >>> plane_points(np.array([[2.0, 0, 0], [0, 3.0, 0]])).lattice
    'rectangular'
    """
    lattice, turn = _recognise(vectors)
    if lattice in _FIXED:
        points, labels = _FIXED[lattice]
    else:
        points, labels = _MEASURED[lattice](turn @ vectors)
    # k·(turn a) = turn (k·a), and `turn` is an integer matrix of determinant ±1
    to_given = np.rint(np.linalg.inv(turn))
    given = {"GAMMA": np.zeros(2)} | {label: to_given @ np.array(k) for label, k in points.items()}
    return PlanePoints(lattice, given, (("GAMMA", *labels, "GAMMA"),))


def _recognise(vectors: NDArray[np.float64]) -> tuple[str, NDArray[np.float64]]:
    """Name the lattice and give the integer matrix from the given to the described vectors."""
    turn = _reduction(vectors)
    (uu, uv), (_, vv) = (turn @ vectors) @ (turn @ vectors).T
    shorter, scale = min(uu, vv), TOLERANCE * np.sqrt(uu * vv)
    equal = abs(uu - vv) < 2 * scale
    if abs(uv) < scale:
        return ("square" if equal else "rectangular"), turn
    half = abs(abs(uv) - shorter / 2) < scale
    if equal and half:
        first = np.array([[1, -1], [0, 1]]) if uv > 0 else np.eye(2)
        return "hexagonal", first @ turn
    if equal:
        return "centred rectangular", np.diag([1, -np.sign(uv)]) @ turn
    if half:
        # the long vector p and its mirror image in the perpendicular of the short one s
        short, long = (turn[0], turn[1]) if uu < vv else (turn[1], turn[0])
        return "centred rectangular", np.array([long, -(long - np.sign(uv) * short)])
    return "oblique", np.diag([1, np.sign(uv)]) @ turn


def _reduction(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the integer matrix to the two shortest vectors (Lagrange), in the given order."""
    gram = vectors @ vectors.T
    turn = np.eye(2)
    while True:
        (uu, uv), (_, vv) = turn @ gram @ turn.T
        long, short = (1, 0) if uu <= vv else (0, 1)
        ratio = uv / min(uu, vv)
        if abs(ratio) <= 0.5 + TOLERANCE:
            return turn
        turn[long] -= np.rint(ratio) * turn[short]


_Points = tuple[dict[str, tuple[float, float]], tuple[str, ...]]

_FIXED: dict[str, _Points] = {
    "hexagonal": ({"M": (0.5, 0.0), "K": (1 / 3, 1 / 3), "K'": (2 / 3, -1 / 3)}, ("M", "K")),
    "square": ({"X": (0.5, 0.0), "M": (0.5, 0.5)}, ("X", "M")),
    "rectangular": ({"X": (0.5, 0.0), "S": (0.5, 0.5), "Y": (0.0, 0.5)}, ("X", "S", "Y")),
}
"""Points and path of the lattices whose points do not depend on lengths."""


def _centred(vectors: NDArray[np.float64]) -> _Points:
    (uu, uv), _ = vectors @ vectors.T
    # u + v is the shorter side a of the rectangle and v - u the longer b: ζ = (1 + a²/b²)/4
    zeta = (1 + (uu + uv) / (uu - uv)) / 4
    points = {"X": (zeta, zeta), "S": (0.0, 0.5), "X_1": (-zeta, 1 - zeta), "Y": (-0.5, 0.5)}
    return points, ("X", "S", "X_1", "Y")


def _oblique(vectors: NDArray[np.float64]) -> _Points:
    metric = np.asarray(np.linalg.inv(vectors @ vectors.T), dtype=np.float64)
    first, second = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    h = _corner(metric, second, first + second)
    h1 = _corner(metric, first, first + second)
    points = {"X": (0.5, 0.0), "Y": (0.0, 0.5), "C": (0.5, 0.5), "H": h, "H_1": h1}
    return points, ("Y", "H", "C", "H_1", "X")


def _corner(
    metric: NDArray[np.float64], g: NDArray[np.float64], h: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the k that is as far from 0 as from the reciprocal lattice points g and h."""
    sides = np.array([g, h])
    k = np.linalg.solve(sides @ metric, np.einsum("ij,jk,ik->i", sides, metric, sides) / 2)
    return float(k[0]), float(k[1])


_MEASURED = {"centred rectangular": _centred, "oblique": _oblique}
