"""Wilson loops, hybrid Wannier centres, and the Z₂ indices that they tell.

Along a closed line k → k + b_A the links of a set of bands (`dock.response.links`, made unitary)
multiply to W = P exp(−i∮A·dk). The phases of its eigenvalues are the centres of Wannier functions
that are localised along a_A alone, x_n = −arg λ_n / 2π, in fractions of a_A from the origin of
coordinates. As k moves along b_B the centres flow: their sum moves by minus the Chern number
(b_A × b_B), and with time reversal the way that they pair up between k_B = 0 and 1/2 is Z₂. A. A.
Soluyanov and D. Vanderbilt, Phys. Rev. B 83, 235401 (2011): the middle of the largest gap between
centres is followed, and the centres that it passes are counted.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.structure import Structure
from dock.errors import ConventionError, UsageError
from dock.io.progress import Progress, Report
from dock.response.band_set import words_of_range
from dock.response.band_vectors import BandVectors, Solved
from dock.response.links import Links, unitary
from dock.response.operators import Operators
from dock.results import Result
from dock.states.job import Job
from dock.states.kplane import POINTS, KPlane
from dock.states.solver import Solver
from dock.states.symmetry import find_symmetry
from dock.style import colours

__all__ = ["WilsonLoops", "Z2Indices", "wilson_loop", "z2_indices"]

_log = logging.getLogger("dock")

_PLANES = ("k1 = 0", "k1 = 1/2", "k2 = 1/2", "k3 = 1/2")
_CLEAR = 0.1
"""Share of the largest gap that a centre keeps from its middle, below which loops are too far apart
for a Z₂ that can be trusted."""


@dataclass(frozen=True, eq=False, repr=False)
class WilsonLoops(Result):
    """Hybrid Wannier centres along one reciprocal vector, as another is gone along.

    Attributes
    ----------
    structure, plane
        What it was computed of; the loops run along the first axis of the plane.
    bands
        The set in each spin channel.
    position : (n_loops,)
        k along the second axis, in reciprocal vectors from the plane's origin.
    centres : (n_channels, n_loops, n_bands)
        Fractions of the lattice vector along the loops, ascending in [0, 1); NaN where a channel
        has fewer bands.
    gap
        Smallest vertical gap at the edges of the set, eV.
    z2
        The index of the plane, or None where it was not asked for.
    """

    FILE = "wilson.h5"
    FIGURE = (4.4, 3.8)

    structure: Structure
    plane: KPlane
    bands: tuple[slice, ...]
    position: NDArray[np.float64]
    centres: NDArray[np.float64]
    gap: float
    z2: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the loops go over a whole period, and not over half of one."""
        return bool(self.position[-1] - self.position[0] > 0.75)

    @cached_property
    def total(self) -> NDArray[np.float64]:
        """(n_channels, n_loops) sum of the centres, made continuous along the second axis."""
        return np.unwrap(np.nansum(self.centres, axis=2), axis=1, period=1.0)

    @property
    def chern(self) -> int | None:
        """Chern number of the plane with the normal b_A × b_B; None for half a period."""
        if not self.is_whole:
            return None
        return int(np.rint(-(self.total[:, -1] - self.total[:, 0])).sum())

    @property
    def largest_step(self) -> float:
        """Largest step of a centre from one loop to the next, in lattice vectors.

        Centres have no names: each channel's are compared in the order that makes the sum of the
        steps smallest, which is a cyclic shift of the ascending ones.
        """
        largest = 0.0
        for channel, band in zip(self.centres, self.bands, strict=True):
            n = band.stop - band.start
            for here, there in zip(channel[:-1, :n], channel[1:, :n], strict=True):
                largest = max(largest, _step(here, there))
        return largest

    def facts(self) -> dict[str, Any]:
        """Return what the loops tell, by key; see `dock.results.KEYS`."""
        return {
            "formula": self.structure.formula,
            "bands": " ".join(words_of_range(band) for band in self.bands),
            **self.plane.facts(),
            "n_loops": len(self.position),
            "chern": self.chern,
            "z2": self.z2,
            "smallest_gap_eV": None if np.isinf(self.gap) else self.gap,
            "largest_step": self.largest_step,
        }

    @property
    def length(self) -> float:
        """Length of the lattice vector along which the centres are, Å."""
        return float(np.linalg.norm(self.structure.cell[self.plane.axes[0] - 1]))

    def arrays(self) -> dict[str, Any]:
        """Return the centres, in fractions and Å along the lattice vector."""
        return {
            "k_across": self.position,
            "wannier_centres_frac": self.centres,
            "wannier_centres_ang": self.centres * self.length,
        }

    def rows(self) -> list[tuple[str, str]]:
        """Return bands, plane, Chern number and Z₂ in words."""
        a, b = self.plane.axes
        sets = ", ".join(words_of_range(band) for band in self.bands)
        rows = [
            ("bands", ("up, down: " if len(self.bands) == 2 else "") + sets),
            ("loops", f"{len(self.position)} along b{a}, as k moves along b{b}"),
            ("plane", self.plane.describe()),
        ]
        if self.z2 is not None:
            kind = "topological" if self.z2 else "trivial"
            rows.insert(0, ("Z2", f"{self.z2} ({kind} plane)"))
        if self.chern is not None:
            rows.insert(0, ("Chern number", f"{self.chern:+d}" if self.chern else "0"))
        gap = "none beside" if np.isinf(self.gap) else f"{self.gap:.6f} eV"
        rows.append(("largest step", f"{self.largest_step:.4f} a{a} from one loop to the next"))
        return [*rows, ("smallest gap", gap)]

    def draw(self, axes: Any) -> None:
        """Draw the centres over the second axis, over one period and a quarter more."""
        a, b = self.plane.axes
        for channel, colour in zip(self.centres, colours(), strict=False):
            for shift in (-1, 0, 1):
                axes.plot(self.position, channel + shift, "o", ms=2.4, color=colour, mew=0)
        first, last = self.position[[0, -1]]
        margin = 0.02 * (last - first)  # dots of both ends are seen whole
        axes.set_xlim(first - margin, last + margin)
        axes.set_ylim(-0.1, 1.1)
        axes.set_xlabel(f"k along b{b} (reciprocal vectors)")
        axes.set_ylabel(f"Wannier centres (a{a})")
        said = [] if self.chern is None else [f"Chern {self.chern:+d}" if self.chern else "Chern 0"]
        said += [] if self.z2 is None else [f"Z$_2$ = {self.z2}"]
        axes.set_title("  ".join([self.structure.formula, *said]), fontsize="medium")


def _step(here: NDArray[np.float64], there: NDArray[np.float64]) -> float:
    """Return the largest step of centres in the cyclic order that makes their sum smallest."""
    best = np.inf, 0.0
    for shift in range(len(here)):
        moved = np.roll(there, shift) - here
        moved -= np.rint(moved)
        best = min(best, (float(np.abs(moved).sum()), float(np.abs(moved).max())))
    return best[1]


def wilson_loop(
    calc: Calculation,
    plane: Sequence[int] | KPlane = (1, 2),
    *,
    at: Sequence[float] | None = None,
    points: int | None = None,
    bands: str | range | None = None,
    electrons: float | None = None,
    z2: bool = False,
    solver: str | Solver | Job = "auto",
    jobs: int | None = None,
    progress: Report = None,
    s_threshold: float | None = None,
) -> WilsonLoops:
    """Compute the hybrid Wannier centres of the filled bands, or of a range of bands.

    Parameters
    ----------
    calc
        A calculation with positions, or with radial functions to compute them from.
    plane
        A `KPlane` of a whole period, or the reciprocal vectors A and B: loops run along A, as k
        moves along B.
    at, points
        A k-point in the plane, and points along each side (40), where no `KPlane` is given.
    bands
        A range such as ``"1..4"``; default the bands that the electrons fill.
    electrons
        Electrons per cell; default those of the calculation.
    z2
        Go over half the plane, between its lines k_B = 0 and 1/2, and tell Z₂.

    Raises
    ------
    ConventionError
        Where the bands touch others or are partly filled; with `z2`, without spinors, or where H
        has no time-reversal symmetry or the set cuts a Kramers pair.
    UsageError
        With `z2`, for an odd number of points along B, or a plane that time reversal does not take
        to itself.

    Examples
    --------
    >>> from dock.structures import kane_mele
    >>> [wilson_loop(kane_mele(mass=m), points=16, z2=True).z2 for m in (0.1, 0.6)]
    [1, 0]
    """
    surface = KPlane.of(plane, at=at, points=points)
    if not surface.is_closed:
        raise UsageError("Wilson loops close over a whole period of the plane: extent=1.")
    if z2:  # before positions are asked for: no basis helps what has no index
        _require_time_reversal(Operators.of(calc), surface)
    operators = Operators.of(calc, position=True)
    n_a, n_b = surface.size
    position = np.arange(n_b // 2 + 1 if z2 else n_b + 1) / n_b
    lines = _lines(surface, n_a, position)
    # The last loop of a whole period is the first one: it is not solved for again.
    solved_lines = lines if z2 else lines[:-1]
    flat = solved_lines.reshape(-1, 3)
    chosen = BandVectors(operators, "a Wilson loop", bands, electrons, flat[0])
    if z2 and any((band.start | band.stop) % 2 for band in chosen.sets):
        raise ConventionError(
            f"{calc.source}: Z2 needs whole Kramers pairs, bands {words_of_range(chosen.sets[0])} "
            "cut one. Pass a range that begins with an odd and ends with an even number."
        )
    run: dict[str, Any] = {"solver": solver, "jobs": jobs, "s_threshold": s_threshold}
    solved = chosen.solve(flat, progress=Progress.of(progress), **run)
    gap = chosen.gap(solved, flat)
    width = max(band.stop - band.start for band in chosen.sets)
    centres = np.full((operators.n_channels, len(position), width), np.nan)
    for row, (channel, part) in enumerate(zip(operators.channels, solved, strict=True)):
        found = _centres(Links(channel), solved_lines, part, surface.axes[0])
        centres[row, : len(found), : found.shape[1]] = found
    if not z2:
        centres[:, -1] = centres[:, 0]
    index = _z2_of(centres[0]) if z2 else None
    return WilsonLoops(calc.structure, surface, tuple(chosen.sets), position, centres, gap, index)


def _lines(plane: KPlane, n_a: int, position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the fractional points (n_loops, n_a, 3) of the loops."""
    a, b = plane.axes
    lines = np.tile(np.array(plane.origin, dtype=np.float64), (len(position), n_a, 1))
    lines[:, :, a - 1] += np.arange(n_a) / n_a
    lines[:, :, b - 1] += position[:, None]
    return lines


def _centres(
    links: Links, lines: NDArray[np.float64], solved: Sequence[Solved], axis: int
) -> NDArray[np.float64]:
    """Return the centres of each loop, (n_loops, n_bands), ascending in [0, 1)."""
    n_a = lines.shape[1]
    step = np.zeros(3)
    step[axis - 1] = 1 / n_a
    found = []
    for number, line in enumerate(lines):
        vectors = [at.vectors for at in solved[number * n_a : (number + 1) * n_a]]
        loop = np.eye(vectors[0].shape[1], dtype=complex)
        for place, k in enumerate(line):
            there = vectors[(place + 1) % n_a]
            loop = loop @ unitary(links.between(k, vectors[place], k + step, there))
        phases = -np.angle(np.linalg.eigvals(loop)) / (2 * np.pi)
        found.append(np.sort(np.mod(phases, 1.0)))
    return np.array(found)


def _require_time_reversal(operators: Operators, plane: KPlane) -> None:
    """Refuse what has no Z₂: no spinors, a magnet, or a plane without time-reversal pairs."""
    operators.require_spinor("Z2")
    calc = operators.calc
    problem = operators.problem
    group = find_symmetry(problem.hamiltonian, problem.overlap, point_group=False)
    if not any(operation.reverses_time for operation in group.operations):
        raise ConventionError(
            f"{calc.source}: Z2 needs time-reversal symmetry, which this Hamiltonian lacks: a "
            "magnet. Its planes have Chern numbers."
        )
    twice = 2 * np.array(plane.origin)
    if np.abs(twice - np.rint(twice)).max() > 1e-9:
        raise UsageError(
            f"time reversal does not take the plane through {plane.origin} to itself: give a point "
            "with coordinates 0 and 1/2."
        )
    if plane.size[1] % 2:
        raise UsageError(
            f"Z2 needs the lines k_B = 0 and 1/2, so an even number of points along "
            f"b{plane.axes[1]}; found {plane.size[1]}."
        )


def _z2_of(centres: NDArray[np.float64]) -> int:
    """Return Z₂ of the centres (n_loops, n_bands) between two lines of Kramers pairs."""
    middles, widths = zip(*(_largest_gap(loop) for loop in centres), strict=True)
    crossings, clearest = 0, np.inf
    for number in range(len(centres) - 1):
        low, high = sorted(middles[number : number + 2])
        there = centres[number + 1]
        crossings += int(np.sum((there > low) & (there < high)))
        nearest = np.abs(there - middles[number])
        nearest = np.minimum(nearest, 1 - nearest).min()
        clearest = min(clearest, float(nearest / widths[number + 1]))
    if clearest < _CLEAR:
        _log.warning(
            "Wannier centres come near the middle of the gap that is followed (%.3f of it): take "
            "more points and see whether Z2 stays.",
            clearest,
        )
    return crossings % 2


def _largest_gap(centres: NDArray[np.float64]) -> tuple[float, float]:
    """Return middle and width of the largest gap of centres on a circle of length 1."""
    around = np.append(centres, centres[0] + 1)
    gaps = np.diff(around)
    place = int(np.argmax(gaps))
    return float(np.mod(0.5 * (around[place] + around[place + 1]), 1.0)), float(gaps[place])


@dataclass(frozen=True, eq=False, repr=False)
class Z2Indices(Result):
    """The four Z₂ indices of a three-dimensional insulator.

    Attributes
    ----------
    planes
        Loops of the planes k_1 = 0, k_1 = 1/2, k_2 = 1/2, k_3 = 1/2.
    """

    FILE = "z2.h5"
    FIGURE = (3.4, 3.4)

    planes: tuple[WilsonLoops, ...]

    @property
    def indices(self) -> tuple[int, int, int, int]:
        """(ν₀; ν₁ ν₂ ν₃): strong and weak."""
        zero, one, two, three = (int(plane.z2 or 0) for plane in self.planes)
        return (zero + one) % 2, one, two, three

    @property
    def n_panels(self) -> int:
        """One for each plane."""
        return len(self.planes)

    def facts(self) -> dict[str, Any]:
        """Return the indices by key; see `dock.results.KEYS`."""
        first = self.planes[0]
        gaps = [plane.gap for plane in self.planes]
        return {
            "formula": first.structure.formula,
            "bands": words_of_range(first.bands[0]),
            "z2": list(self.indices),
            "plane_size": list(first.plane.size),
            "smallest_gap_eV": min(gaps),
        }

    def arrays(self) -> dict[str, Any]:
        """Return the centres of the planes, one behind another."""
        return {
            "k_across": self.planes[0].position,
            "wannier_centres_frac": np.stack([plane.centres[0] for plane in self.planes]),
        }

    def rows(self) -> list[tuple[str, str]]:
        """Return the indices, and each plane's, in words."""
        strong, *weak = self.indices
        rows = [("Z2", f"({strong}; {' '.join(map(str, weak))})")]
        rows += [(name, str(p.z2)) for name, p in zip(_PLANES, self.planes, strict=True)]
        return [*rows, ("smallest gap", f"{min(plane.gap for plane in self.planes):.6f} eV")]

    def draw(self, axes: Any) -> None:
        """Draw the centres of each plane."""
        for panel, plane, name in zip(self.panels(axes), self.planes, _PLANES, strict=True):
            plane.draw(panel)
            panel.set_title(f"{panel.get_title()}  {name}", fontsize="medium")


def z2_indices(
    calc: Calculation,
    *,
    points: int | None = None,
    bands: str | range | None = None,
    electrons: float | None = None,
    progress: Report = None,
    **run: Any,
) -> Z2Indices:
    """Compute (ν₀; ν₁ ν₂ ν₃) from four planes; arguments and errors are those of `wilson_loop`."""
    whole = Progress.of(progress)
    n = POINTS if points is None else points
    whole.start(4 * n * (n // 2 + 1))
    planes = []
    for normal, height in ((1, 0.0), (1, 0.5), (2, 0.5), (3, 0.5)):
        origin = [0.0, 0.0, 0.0]
        origin[normal - 1] = height
        others = tuple(axis for axis in (1, 2, 3) if axis != normal)
        plane = KPlane.of(others, at=origin, points=points)
        about: dict[str, Any] = {"bands": bands, "electrons": electrons, "z2": True}
        planes.append(wilson_loop(calc, plane, progress=whole.part(), **about, **run))
    return Z2Indices(tuple(planes))
