"""Chern numbers of sets of bands, by the links of a closed surface: whole numbers by construction.

The phase of the determinant of the links about each cell of a net is the flux through it, and the
fluxes through a closed surface add up to 2π times a whole number, the sign of which is that of
Ω (`dock.response.berry`): on a plane along b_A and b_B with the normal b_A × b_B, around a point
with the normal outwards. T. Fukui, Y. Hatsugai, H. Suzuki, J. Phys. Soc. Jpn. 74, 1674 (2005); the
links with overlap are those of `dock.response.links`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.structure import Structure
from dock.errors import UsageError
from dock.io.progress import Report
from dock.response.band_set import words_of_range
from dock.response.band_vectors import BandVectors
from dock.response.links import Links, angle
from dock.response.operators import Operators
from dock.results import Result
from dock.states.job import Job
from dock.states.kplane import KPlane
from dock.states.solver import Solver

__all__ = ["ChernNumber", "Cube", "chern_number", "chirality", "plane_fluxes"]

_log = logging.getLogger("dock")

_SAFE = 0.25
"""Flux through a cell of the net, in 2π, above which the net is said to be coarse: of an angle its
rest of 2π is known."""


class Cube(NamedTuple):
    """A cube about a k-point, for the charge of a node.

    `centre` is fractional, `half` half its edge in 1/Å, `n` the cells along an edge.
    """

    centre: tuple[float, float, float]
    half: float
    n: int

    def faces(self, reciprocal: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the fractional points (6, n+1, n+1, 3) of the faces +x, −x, +y, … from outside."""
        ticks = np.linspace(-self.half, self.half, self.n + 1)
        u, v = np.meshgrid(ticks, ticks, indexing="ij")
        faces = np.empty((6, self.n + 1, self.n + 1, 3))
        for axis in range(3):
            for side, sign in enumerate((1, -1)):
                first, second = ((axis + 1) % 3, (axis + 2) % 3)[::sign]
                face = faces[2 * axis + side]
                face[..., axis], face[..., first], face[..., second] = sign * self.half, u, v
        fractional: NDArray[np.float64] = faces @ np.linalg.inv(reciprocal) + np.array(self.centre)
        return fractional

    def facts(self) -> dict[str, Any]:
        """Return the cube by the keys of results."""
        return {
            "node_frac": list(self.centre),
            "radius_1_per_A": self.half,
            "n_kpoints": 6 * self.n**2 + 2,
        }

    def describe(self) -> str:
        """Return the cube in words."""
        at = ", ".join(f"{x:.6g}" for x in self.centre)
        return f"a cube of ±{self.half:g}/Å about ({at}), {self.n}×{self.n} cells a face"


@dataclass(frozen=True, eq=False, repr=False)
class ChernNumber(Result):
    """The Chern number of a set of bands on a closed surface.

    Attributes
    ----------
    structure
        What it was computed of.
    surface
        The plane, or centre (fractional) and half the edge (1/Å) of a cube.
    bands
        The set in each spin channel.
    fluxes
        Flux of Ω through each cell of the net, in 2π, of each spin channel: (n_channels, n_a, n_b)
        on a plane, (n_channels, 6, n, n) on a cube.
    gap
        Smallest vertical gap at the edges of the set on the net, eV.
    """

    FILE = "chern.h5"

    structure: Structure
    surface: KPlane | Cube
    bands: tuple[slice, ...]
    fluxes: NDArray[np.float64]
    gap: float

    @property
    def cherns(self) -> tuple[int, ...]:
        """The number of each spin channel."""
        sums = self.fluxes.reshape(len(self.fluxes), -1).sum(axis=1)
        return tuple(int(x) for x in np.rint(sums))

    @property
    def chern(self) -> int:
        """The sum over the spin channels."""
        return sum(self.cherns)

    @property
    def largest_flux(self) -> float:
        """Largest flux through a cell, in 2π; at 1/2 the number may be wrong."""
        return float(np.abs(self.fluxes).max(initial=0.0))

    @property
    def is_coarse(self) -> bool:
        """Whether more points are needed to be sure of the number."""
        return self.largest_flux > _SAFE

    def facts(self) -> dict[str, Any]:
        """Return the number and its net by key; see `dock.results.KEYS`."""
        return {
            "formula": self.structure.formula,
            "bands": " ".join(words_of_range(band) for band in self.bands),
            "chern": self.chern,
            "chern_of_channels": list(self.cherns),
            "largest_flux": self.largest_flux,
            "smallest_gap_eV": None if np.isinf(self.gap) else self.gap,
            **self.surface.facts(),
        }

    def arrays(self) -> dict[str, Any]:
        """Return the fluxes."""
        return {"fluxes": self.fluxes}

    def rows(self) -> list[tuple[str, str]]:
        """Return number, bands, surface and net in words."""
        names = "up, down: " if len(self.bands) == 2 else ""
        sets = ", ".join(words_of_range(band) for band in self.bands)
        number = f"{self.chern:+d}" if self.chern else "0"
        if len(self.bands) == 2:
            number += f" (up {self.cherns[0]:+d}, down {self.cherns[1]:+d})"
        coarse = "; more points are needed" if self.is_coarse else ""
        return [
            ("Chern number", number),
            ("bands", names + sets),
            ("surface", self.surface.describe()),
            ("largest flux", f"{self.largest_flux:.4f} × 2π through one cell of the net{coarse}"),
            ("smallest gap", "none beside" if np.isinf(self.gap) else f"{self.gap:.6f} eV"),
        ]


def chern_number(
    calc: Calculation,
    plane: Sequence[int] | KPlane = (1, 2),
    *,
    at: Sequence[float] | None = None,
    points: int | None = None,
    bands: str | range | None = None,
    electrons: float | None = None,
    solver: str | Solver | Job = "auto",
    jobs: int | None = None,
    progress: Report = None,
    s_threshold: float | None = None,
) -> ChernNumber:
    """Compute the Chern number of the filled bands, or of a range of bands, on a plane.

    Parameters
    ----------
    calc
        A calculation with positions, or with radial functions to compute them from.
    plane
        A `KPlane` of a whole period, or the reciprocal vectors A and B (1, 2, 3) in the order
        of the orientation.
    at, points
        A k-point in the plane, and points along each side (40), where no `KPlane` is given.
    bands
        A range such as ``"1..4"``; default the bands that the electrons fill.
    electrons
        Electrons per cell; default those of the calculation.

    Raises
    ------
    ConventionError
        Where the bands touch others, or are partly filled: a metal.
    MissingDataError
        Without H, S, positions or, where they are needed, electrons.

    Examples
    --------
    >>> from dock.structures import haldane
    >>> models = haldane(phi=1.5), haldane(phi=-1.5), haldane(mass=1.0)
    >>> [chern_number(model, points=8).chern for model in models]
    [-1, 1, 0]
    """
    surface = KPlane.of(plane, at=at, points=points)
    if not surface.is_closed:
        raise UsageError("a Chern number belongs to a whole period of the plane: extent=1.")
    operators = Operators.of(calc, position=True)
    chosen = BandVectors(operators, "a Chern number", bands, electrons, surface.points[0])
    run: dict[str, Any] = {"solver": solver, "jobs": jobs, "s_threshold": s_threshold}
    solved = chosen.solve(surface.points, progress=progress, **run)
    fluxes = np.stack(
        [
            plane_fluxes(Links(channel), surface, [at.vectors for at in part])
            for channel, part in zip(operators.channels, solved, strict=True)
        ]
    )
    gap = chosen.gap(solved, surface.points)
    return _warned(calc.structure, surface, tuple(chosen.sets), fluxes / (2 * np.pi), gap)


def chirality(
    calc: Calculation,
    node: Sequence[float],
    *,
    bands: str | range,
    radius: float = 0.05,
    points: int = 8,
    solver: str | Solver | Job = "auto",
    jobs: int | None = None,
    progress: Report = None,
    s_threshold: float | None = None,
) -> ChernNumber:
    """Compute the charge of a node: the Chern number of bands on a small cube about a k-point.

    Parameters
    ----------
    node
        Fractional k-point.
    bands
        The bands below the node, such as ``"1..18"``.
    radius
        Half the edge of the cube, 1/Å.
    points
        Cells along an edge.

    Raises `UsageError` for a radius that is not positive, and `ConventionError` where the bands
    touch others on the cube.
    """
    if not 0 < radius < np.inf or points < 1:
        raise UsageError(f"a cube has a positive radius and points, found {radius} and {points}.")
    a, b, c = (float(x) for x in node)
    surface = Cube((a, b, c), float(radius), int(points))
    operators = Operators.of(calc, position=True)
    faces = surface.faces(np.asarray(calc.structure.reciprocal, dtype=np.float64))
    flat = faces.reshape(-1, 3)
    chosen = BandVectors(operators, "the charge of a node", bands, None, flat[0])
    run: dict[str, Any] = {"solver": solver, "jobs": jobs, "s_threshold": s_threshold}
    solved = chosen.solve(flat, progress=progress, **run)
    n = points + 1
    fluxes = np.empty((operators.n_channels, 6, points, points))
    for number, (channel, part) in enumerate(zip(operators.channels, solved, strict=True)):
        links = Links(channel)
        for face in range(6):
            vectors = [s.vectors for s in part[face * n * n : (face + 1) * n * n]]
            fluxes[number, face] = _open_fluxes(links, faces[face], vectors)
    gap = chosen.gap(solved, flat)
    return _warned(calc.structure, surface, tuple(chosen.sets), fluxes / (2 * np.pi), gap)


def _warned(*about: Any) -> ChernNumber:
    """Return a Chern number, after saying where its net is too coarse to be sure."""
    found = ChernNumber(*about)
    if found.is_coarse:
        _log.warning(
            "the flux through one cell of the net is %.2f × 2π: take more points and see whether "
            "the Chern number stays.",
            found.largest_flux,
        )
    return found


def plane_fluxes(
    links: Links, plane: KPlane, vectors: Sequence[NDArray[Any]]
) -> NDArray[np.float64]:
    """Return the fluxes through the cells of a closed plane, (n_a, n_b), in radians.

    `vectors` are those of a set of bands at the points of the plane, in their order.
    """
    n_a, n_b = plane.size
    grid = plane.points.reshape(n_a, n_b, 3)
    steps = np.zeros((2, 3))
    for row, (axis, size) in enumerate(zip(plane.axes, plane.size, strict=True)):
        steps[row, axis - 1] = 1 / size
    along = np.empty((2, n_a, n_b))
    for a in range(n_a):
        for b in range(n_b):
            here = grid[a, b], vectors[a * n_b + b]
            for axis, (i, j) in enumerate((((a + 1) % n_a, b), (a, (b + 1) % n_b))):
                there = grid[a, b] + steps[axis], vectors[i * n_b + j]
                along[axis, a, b] = angle(links.between(*here, *there))
    first, second = along
    around = first + np.roll(second, -1, axis=0) - np.roll(first, -1, axis=1) - second
    return _folded(-around)


def _open_fluxes(
    links: Links, grid: NDArray[np.float64], vectors: Sequence[NDArray[Any]]
) -> NDArray[np.float64]:
    """Return the fluxes through the cells of a piece of surface, (n, n)."""
    n = len(grid)
    along = np.zeros((2, n, n))
    for a in range(n):
        for b in range(n):
            here = grid[a, b], vectors[a * n + b]
            for axis, (i, j) in enumerate(((a + 1, b), (a, b + 1))):
                if max(i, j) < n:
                    there = grid[i, j], vectors[i * n + j]
                    along[axis, a, b] = angle(links.between(*here, *there))
    first, second = along
    around = first[:-1, :-1] + second[1:, :-1] - first[:-1, 1:] - second[:-1, :-1]
    return _folded(-around)


def _folded(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return angles between −π and π."""
    folded: NDArray[np.float64] = angles - 2 * np.pi * np.rint(angles / (2 * np.pi))
    return folded
