"""Berry curvature of occupied states or of a range of bands, at any k-points.

The formula is that of `dock.response.curvature`: exact for H, S and positions, with the sign of
A = i⟨u|∂u⟩ and Ω_z = ∂_x A_y − ∂_y A_x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.structure import Structure
from dock.errors import UsageError
from dock.io.progress import Report
from dock.response.band_set import band_range, require_whole_levels, words_of_range
from dock.response.chern import plane_fluxes
from dock.response.curvature import Curvature, Method, require_method
from dock.response.gaps import level_of
from dock.response.kdata import DEGENERATE, KData, each
from dock.response.kset import KSet, Where
from dock.response.links import Links
from dock.response.operators import Operators
from dock.results import Result
from dock.states.job import Job
from dock.states.kplane import KPlane
from dock.states.solver import Solver
from dock.style import colours, ink

__all__ = ["BerryCurvature", "berry_curvature"]

_CHANNELS = ("up", "down")


@dataclass(frozen=True, eq=False, repr=False)
class BerryCurvature(Result):
    """Berry curvature at k-points.

    Attributes
    ----------
    structure, where
        What it was computed of, and the k-points.
    curvature : float64 (n_channels, n_k, 3)
        x, y and z of the axial vector, summed over the states, Å². A state without spin counts
        once.
    of_states : float64 (n_channels, n_k, n_bands, 3)
        The same of each band up to the highest of the set, with all other bands; of a level of
        several states the mean. NaN where that band is not filled, or not of the set.
    energies : float64 (n_channels, n_k, n_bands)
        Energies of these bands, eV, absolute.
    method
        ``full`` or ``kubo``.
    bands
        The set from 1, in words, or None for the states up to the Fermi level.
    fermi_level
        eV, absolute; None for a set of bands.
    chern
        On a closed plane, where the states stand apart from the others: their Chern number by links
        (`dock.response.chern`), summed over spin channels.
    """

    FILE = "berry.h5"
    FIGURE = (5.0, 4.0)

    structure: Structure
    where: KSet
    curvature: NDArray[np.float64]
    of_states: NDArray[np.float64]
    energies: NDArray[np.float64]
    method: Method
    bands: str | None
    fermi_level: float | None
    chern: int | None = None

    @property
    def flux(self) -> float | None:
        """∫ Ω·n over a closed plane, in 2π: near the Chern number where the mesh is fine enough."""
        plane = self.where.plane
        if plane is None or not plane.is_closed:
            return None
        a, b = (self.structure.reciprocal[axis - 1] for axis in plane.axes)
        mean = self.curvature.sum(axis=0).mean(axis=0)
        return float(mean @ np.cross(a, b) / (2 * np.pi))

    def facts(self) -> dict[str, Any]:
        """Return what the curvature is of, by key; see `dock.results.KEYS`."""
        return {
            "formula": self.structure.formula,
            "method": self.method,
            "bands": self.bands,
            "fermi_level_eV": self.fermi_level,
            **self.where.facts(),
            "chern": self.chern,
            "curvature_flux": self.flux,
            "largest_berry_curvature_ang2": float(np.abs(self.curvature).max(initial=0.0)),
        }

    def arrays(self) -> dict[str, Any]:
        """Return k-points, curvature and energies."""
        return {
            **self.where.arrays(),
            "berry_curvature_ang2": self.curvature,
            "band_curvature_ang2": self.of_states,
            "energies_eV": self.energies,
        }

    def datasets(self) -> dict[str, Any]:
        """Return the same for a file."""
        return {
            **self.where.datasets(),
            "berry_curvature_ang2": self.curvature,
            "band_curvature_ang2": self.of_states,
            "energies_eV": self.energies,
        }

    def rows(self) -> list[tuple[str, str]]:
        """Return states, k-points and the curvature of the first ones in words."""
        if self.bands is None:
            states = f"up to the Fermi level, {self.fermi_level:.6f} eV"
        else:
            states = f"bands {self.bands}"
        formula = "exact curl" if self.method == "full" else "Kubo's sum over states"
        rows = [("states", states), ("formula", formula), ("k-points", self.where.describe())]
        if self.flux is not None:
            rows.append(("flux", f"{self.flux:+.6f} × 2π through the plane"))
            known = "none: the states touch others" if self.chern is None else f"{self.chern:+d}"
            rows.append(("Chern number", known))
        for channel, values in enumerate(self.curvature):
            spin = f", spin {_CHANNELS[channel]}" if len(self.curvature) == 2 else ""
            for k, vector in zip(self.where.points[:8], values[:8], strict=False):
                at = " ".join(f"{x:.4f}" for x in k)
                text = "  ".join(f"{x:+.6f}" for x in vector)
                rows.append((f"Ω({at}){spin}", f"{text}  Å² (x y z)"))
        if self.where.n_points > 8:
            largest = float(np.abs(self.curvature).max())
            rows.append(("largest |Ω|", f"{largest:.6g} Å² of {self.where.n_points} k-points"))
        return rows

    def draw(self, axes: Any, *, component: str = "n") -> None:
        """Draw Ω along a path, or a map of it over a plane.

        Parameters
        ----------
        component
            Of a map: ``x``, ``y``, ``z``, or ``n`` along the plane's normal.
        """
        if self.where.plane is not None:
            self._draw_map(axes, component)
        elif self.where.path is not None:
            self._draw_path(axes)
        else:
            raise UsageError("the curvature is drawn along a path or over a plane.")

    def _draw_path(self, axes: Any) -> None:
        path: Any = self.where.path
        x = path.distances
        for channel, values in enumerate(self.curvature):
            for axis, (name, colour) in enumerate(zip("xyz", colours()[:3], strict=True)):
                style: dict[str, Any] = {"color": colour, "lw": 1.2, "ls": ("-", "--")[channel]}
                for part in np.unique(path.segment):
                    inside = path.segment == part
                    label = f"Ω$_{name}$" if part == 0 and channel == 0 else None
                    axes.plot(x[inside], values[inside, axis], label=label, **style)
        for place, _ in path.ticks:
            axes.axvline(place, color=ink(0.25), lw=0.6, zorder=0)
        axes.set_xticks([place for place, _ in path.ticks], [label for _, label in path.ticks])
        axes.set_xlim(x[0], x[-1])
        axes.set_yscale("symlog", linthresh=1.0)
        axes.axhline(0.0, color=ink(0.5), lw=0.6)
        axes.set_ylabel("Berry curvature (Å²)")
        axes.set_title(self._title, fontsize="medium")
        axes.legend(frameon=False, fontsize="small")

    @property
    def _title(self) -> str:
        states = "occupied states" if self.bands is None else f"bands {self.bands}"
        return f"{self.structure.formula}  {states}"

    def _draw_map(self, axes: Any, component: str) -> None:
        from matplotlib.colors import SymLogNorm

        plane: Any = self.where.plane
        reciprocal = self.structure.reciprocal
        total = self.curvature.sum(axis=0)
        directions = plane.in_plane(reciprocal)
        if component == "n":
            values = total @ np.cross(*directions)
        elif component in tuple("xyz"):
            values = total[:, "xyz".index(component)]
        else:
            raise UsageError(f"a component is x, y, z or n, found '{component}'.")
        x, y = (self.where.points @ reciprocal @ directions.T).T.reshape(2, *plane.size)
        limit = max(float(np.abs(values).max()), 1e-12)
        norm = SymLogNorm(limit / 100, vmin=-limit, vmax=limit)
        image = axes.pcolormesh(
            x, y, values.reshape(plane.size), shading="gouraud", cmap="RdBu_r", norm=norm
        )
        axes.set_aspect("equal")
        axes.set_xlabel(f"k along b{plane.axes[0]} (1/Å)")
        axes.set_ylabel("k across (1/Å)")
        beside = axes.inset_axes((1.04, 0.0, 0.05, 1.0))  # as high as the map
        decades = 10.0 ** np.arange(np.ceil(np.log10(limit / 100)), np.log10(limit))
        bar = axes.figure.colorbar(image, cax=beside, ticks=[*-decades[::-1], 0.0, *decades])
        bar.minorticks_off()
        bar.set_label(f"Ω$_{component}$ (Å²)")
        axes.set_title(self._title, fontsize="medium")


def berry_curvature(
    calc: Calculation,
    where: Where = None,
    *,
    bands: str | range | None = None,
    fermi_level: float | None = None,
    method: Method = "full",
    solver: str | Solver | Job = "auto",
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
) -> BerryCurvature:
    """Compute the Berry curvature of the occupied states, or of a range of bands.

    Parameters
    ----------
    calc
        A calculation with positions, or with radial functions to compute them from.
    where
        K-points: a list, `KPath`, `KPlane` or `KMesh`, or a path in words.
    bands
        A range such as ``"17..20"``, from 1; default the states up to the Fermi level.
    fermi_level
        eV, absolute; default that of the data.
    method
        ``full``: the exact curl with positions; ``kubo``: the sum over other states.

    Raises
    ------
    MissingDataError
        Without H, S or positions; without a Fermi level where one is needed.
    UsageError
        For bands that there are not, or a set that takes some states of a level only.

    Examples
    --------
    >>> from dock.structures import haldane
    >>> found = berry_curvature(haldane(mass=0.3), [[1 / 3, 2 / 3, 0]], bands="1")
    >>> found.curvature.shape
    (1, 1, 3)
    """
    require_method(method)
    operators = Operators.of(calc, position=True)
    points = KSet.of(where, calc)
    n_states = operators.problem.size
    chosen = None if bands is None else band_range(bands, n_states)
    level = level_of(calc, fermi_level) if chosen is None else None

    keeps = points.plane is not None and points.plane.is_closed
    task = _Task(chosen, level, method, keeps)
    run: dict[str, Any] = {"solver": solver, "jobs": jobs, "progress": progress}
    found = list(each(operators, points.points, task.terms, s_threshold=s_threshold, **run))
    shape = (operators.n_channels, points.n_points)
    width = max((len(at.energies) for at in found), default=0)
    of_states = np.full((len(found), width, 3), np.nan)
    energies = np.full((len(found), width), np.nan)
    for row, at in enumerate(found):
        of_states[row, : len(at.energies)], energies[row, : len(at.energies)] = at.each, at.energies
    return BerryCurvature(
        calc.structure,
        points,
        np.array([at.total for at in found]).reshape(*shape, 3),
        of_states.reshape(*shape, width, 3),
        energies.reshape(*shape, width),
        method,
        None if chosen is None else words_of_range(chosen),
        level,
        _chern(operators, points.plane, found) if keeps else None,
    )


class _AtK(NamedTuple):
    """What is kept of a k-point: vectors of the states, and their gap, on closed planes only."""

    total: NDArray[np.float64]
    each: NDArray[np.float64]
    energies: NDArray[np.float64]
    states: slice
    gap: float
    vectors: NDArray[Any] | None


@dataclass(frozen=True)
class _Task:
    """What is done at a k-point."""

    bands: slice | None
    level: float | None
    method: Method
    keeps: bool

    def terms(self, data: KData) -> _AtK:
        """Return the curvature of the states at a k-point."""
        if self.bands is not None:
            require_whole_levels(data.energies[None], self.bands, [data.k_frac])
            states = self.bands
        else:
            level = -np.inf if self.level is None else self.level
            states = slice(0, int(np.sum(data.energies <= level)))
        occupations = np.zeros(data.n_states)
        occupations[states] = 1.0
        first = states.stop if states.stop > states.start else 0
        terms = Curvature.of(data, first, self.method)
        each_state = np.where(occupations[:first, None] > 0, terms.of_states(), np.nan)
        edges = [e for e in (states.start, states.stop) if 0 < e < data.n_states]
        gap = min((float(data.energies[e] - data.energies[e - 1]) for e in edges), default=np.inf)
        vectors = data.vectors[:, states] if self.keeps else None
        return _AtK(
            terms.summed(occupations), each_state, data.energies[:first], states, gap, vectors
        )


def _chern(operators: Operators, plane: KPlane | None, found: list[_AtK]) -> int | None:
    """Return the Chern number of states that stand apart, or None."""
    n = len(found) // operators.n_channels
    total = 0
    for number, channel in enumerate(operators.channels):
        part = found[number * n : (number + 1) * n]
        vectors = [at.vectors for at in part if at.vectors is not None]
        same = all(at.states == part[0].states and at.gap >= DEGENERATE for at in part)
        if plane is None or not same or len(vectors) < n:
            return None
        total += round(float(plane_fluxes(Links(channel), plane, vectors).sum() / (2 * np.pi)))
    return total
