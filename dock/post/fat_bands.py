"""Bands with projections on orbitals: how much of each state is made of what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.extras import require
from dock.io.progress import Report
from dock.post.band_structure import CORNER_LIMIT, LEVEL, BandStructure, Selection, bands
from dock.post.legend import ShownGroup, add_legend, shown_groups
from dock.post.projections import OrbitalProjector, Projector
from dock.results import Result
from dock.states.job import Job
from dock.states.kpath import KPath
from dock.states.mulliken import Scheme
from dock.states.problem import Problem
from dock.states.solver import Solver, Want
from dock.states.stream import StatesAtK, states

__all__ = ["FatBands", "Shares", "fat_bands", "project_bands"]

_WIDTH = 6.0  # points of the ribbons of a state together


@dataclass(frozen=True, eq=False, repr=False)
class FatBands(Result):
    """Shares of orbital groups in the states of a band structure.

    Attributes
    ----------
    bands, names
        The states and the groups.
    weights : (n_spin, n_k, n_bands, n_names)
        Shares; NaN where a k-point has no such band. Over groups of all orbitals they sum to 1.
    """

    FILE = BandStructure.FILE
    FIGURE = BandStructure.FIGURE

    bands: BandStructure
    names: tuple[str, ...]
    weights: NDArray[np.float64]

    def facts(self) -> dict[str, Any]:
        """Return the facts of the bands."""
        return self.bands.facts()

    def arrays(self) -> dict[str, Any]:
        """Return those of the bands, and names and shares of the groups."""
        return {**self.bands.arrays(), **self._projections()}

    def datasets(self) -> dict[str, Any]:
        """Return those of the bands, and names and shares of the groups."""
        return {**self.bands.datasets(), **self._projections()}

    def rows(self) -> list[tuple[str, str]]:
        """Return those of the bands."""
        return self.bands.rows()

    @property
    def n_panels(self) -> int:
        """One for each spin channel."""
        return len(self.bands.energies)

    def draw(self, axes: Any, *, window: tuple[float, float] | None = None) -> None:
        """Draw each band as ribbons side by side, as wide as the shares of the groups; spins apart.

        Of more than ten groups the smallest are drawn as one. The window is that of
        `dock.post.band_structure.BandStructure.draw`.
        """
        bands = self.bands
        panels = self.panels(axes)
        for panel in panels:
            bands.draw_frame(panel, window)
        low, high = panels[0].get_ylim()
        relative = bands.energies - bands.reference
        inside = (relative >= low) & (relative <= high)
        sizes = np.nansum(np.abs(self.weights) * inside[..., None], axis=(0, 1, 2))
        groups = shown_groups(self.names, sizes)
        for channel, panel in enumerate(panels):
            self._draw_ribbons(panel, groups, channel)
            name = "" if channel or bands.compared is None else bands.name or "these"
            look: dict[str, Any] = {"width": 0.5, "channels": [channel]}
            bands.draw_lines(panel, ("0.2", "0.2"), names=(name, name), **look)
            if bands.compared is not None:
                name = "" if channel else bands.compared.name or "compared"
                look |= {"width": 1.1, "channels": [min(channel, len(bands.compared.energies) - 1)]}
                bands.compared.draw_lines(panel, ("0.1", "0.1"), "--", names=(name, name), **look)
            if len(panels) == 2:
                title = f"{panel.get_title()}  {('up', 'down')[channel]}"
                panel.set_title(title, fontsize="medium")
        add_legend(panels[-1], groups, kind="patch")

    def _draw_ribbons(self, axes: Any, groups: Sequence[ShownGroup], channel: int) -> None:
        """Draw the shares of one spin channel; all of a state together are `_WIDTH` wide."""
        collections = require("matplotlib.collections", "plot")
        bands, weights = self.bands, self.weights[channel]
        shares = np.stack([weights[..., list(each.members)].sum(axis=-1) for each in groups])
        x, segment = bands.path.distances, bands.path.segment
        energies = bands.energies[channel] - bands.reference
        if np.ptp(x) == 0:  # of a molecule: as long as the lines of its levels
            x, segment = x[0] + np.array(LEVEL), np.zeros(2, dtype=np.int64)
            energies, shares = np.repeat(energies[:1], 2, 0), np.repeat(shares[:, :1], 2, 1)
        extent = axes.get_window_extent()
        points = 72 / axes.figure.dpi * np.array([extent.width, extent.height])
        scale = np.array([np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim())]) / points
        low, high = axes.get_ylim()
        for number in np.unique(segment):
            there = segment == number
            if there.sum() < 2:
                continue
            parts = _ribbons(x[there], energies[there], shares[:, there], scale)
            for group, corners in zip(groups, parts, strict=True):
                with np.errstate(invalid="ignore"):
                    seen = (corners[..., 1].max(-1) > low) & (corners[..., 1].min(-1) < high)
                look: dict[str, Any] = {"facecolor": group.colour, "rasterized": True}
                look |= {"edgecolor": group.colour, "lw": 0.1}
                axes.add_collection(collections.PolyCollection(corners[seen], **look))

    def _projections(self) -> dict[str, Any]:
        return {"projection_names": list(self.names), "projections": self.weights}


def _ribbons(
    x: NDArray[np.float64],
    energies: NDArray[np.float64],
    shares: NDArray[np.float64],
    scale: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the ribbons of bands as quadrangles, (n_groups, n_k − 1, n_bands, 4, 2).

    Energies (n_k, n_bands) and shares (n_groups, n_k, n_bands) belong to places x; `scale` are the
    units of both axes to a point of the figure, in which ribbons are wide across the band.
    """
    across = x[:, None] / scale[0]
    # The mean of the slopes on both sides; of one where a window ends or the path does.
    steps = np.diff(energies / scale[1], axis=0) / np.diff(across, axis=0)
    none = np.full((1, energies.shape[1]), np.nan)
    sides = np.stack([np.concatenate([none, steps]), np.concatenate([steps, none])])
    known = np.isfinite(sides)
    slope = np.where(known, sides, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    width = _WIDTH * np.clip(shares, 0, None)
    ends = np.concatenate([np.zeros((1, *width.shape[1:])), np.cumsum(width, axis=0)])
    ends = (ends - 0.5 * ends[-1]) / np.sqrt(1 + slope**2)
    places = np.stack([scale[0] * (across - slope * ends), energies + scale[1] * ends], axis=-1)
    lower, upper = places[:-1], places[1:]
    corners = lower[:, :-1], lower[:, 1:], upper[:, 1:], upper[:, :-1]
    quadrangles: NDArray[np.float64] = np.stack(corners, axis=-2)
    return quadrangles


def fat_bands(
    calc: Calculation,
    path: KPath | str | Path | None = None,
    by: str | Sequence[str] | Projector = "species,l",
    *,
    points: int | None = None,
    scheme: Scheme = "mulliken",
    selection: Selection | None = None,
    compare: Calculation | None = None,
    fermi_level: float | None = None,
    electrons: float | None = None,
    counted: float | None = None,
    solver: str | Solver | Job = "auto",
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
) -> FatBands:
    """Compute a band structure with projections of its states.

    Each k-point is solved once, unless a number of states is selected of a small system.
    Arguments as in `dock.post.band_structure.bands` and `project_bands`, and it raises as these.

    Examples
    --------
    >>> import dock
    >>> fat_bands(dock.read("fixtures/openmx/si"), "LG", "l").names
    ('s', 'p')
    """
    shares = Shares(calc, by, scheme)
    run: dict[str, Any] = {"solver": solver, "s_threshold": s_threshold, "jobs": jobs}
    asked: dict[str, Any] = {"points": points, "selection": selection, "compare": compare}
    asked |= {"fermi_level": fermi_level, "electrons": electrons, "counted": counted}
    asked["progress"] = progress
    whole = selection is not None and selection.states is not None
    if whole and calc.basis.n_orbitals <= CORNER_LIMIT:
        # A band that is among the nearest at one k-point is wanted at all of them.
        return project_bands(calc, bands(calc, path, **asked, **run), by, scheme=scheme, **run)
    return shares.of(bands(calc, path, visit=shares.add, **asked, **run))


def project_bands(
    calc: Calculation,
    bands: BandStructure,
    by: str | Sequence[str] | Projector = "species,l",
    *,
    scheme: Scheme = "mulliken",
    solver: str | Solver | Job = "auto",
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
) -> FatBands:
    """Project the states of a calculation's band structure on groups of orbitals.

    States that are degenerate at a k-point share their projections in an arbitrary way; only the
    sum over them has a meaning. Unknown fields or schemes raise `UsageError`.

    Parameters
    ----------
    by, scheme
        See `dock.post.projections.OrbitalProjector`; or any other projector.
    s_threshold
        The same as for the bands; it, `solver`, `jobs` and `progress` as in
        `dock.post.band_structure.bands`.

    Examples
    --------
    >>> import dock
    >>> from dock.post import bands
    >>> calc = dock.read("fixtures/openmx/si")
    >>> fat = project_bands(calc, bands(calc, path="LGX", points=5), "l")
    >>> fat.names, bool(np.allclose(fat.weights.sum(axis=-1), 1))
    (('s', 'p'), True)
    """
    shares = Shares(calc, by, scheme)
    numbers = (bands.n_below, bands.n_below + bands.energies.shape[2])
    want = Want(vectors=True, bands=numbers, s_threshold=s_threshold)
    points = bands.path.kpoints_frac
    for at in states(Problem.of(calc), points, want, solver=solver, jobs=jobs, progress=progress):
        shares.add(at)
    return shares.of(bands)


class Shares:
    """The shares of orbital groups in states as they come, by the numbers of their bands.

    `by` and `scheme` as in `project_bands`. Its `add` is what `dock.post.bands` calls as `visit`,
    so that bands and shares are found in one pass.
    """

    def __init__(
        self,
        calc: Calculation,
        by: str | Sequence[str] | Projector = "species,l",
        scheme: Scheme = "mulliken",
    ) -> None:
        projector: Any = by if hasattr(by, "weights") else OrbitalProjector(calc, by, scheme)
        self._projector = projector
        self._found: dict[tuple[int, int], tuple[int, NDArray[np.float64]]] = {}

    def add(self, at: StatesAtK) -> None:
        """Take the shares of the states of a k-point and channel."""
        shares = self._projector.weights(at.channel, at.k_frac, at.states.vectors)
        self._found[at.channel, at.number] = at.states.n_below, shares.T

    def of(self, bands: BandStructure) -> FatBands:
        """Return bands with the shares of their states."""
        weights = np.full((*bands.energies.shape, len(self._projector.names)), np.nan)
        n_bands = bands.energies.shape[2]
        for place, (n_below, shares) in self._found.items():
            column = np.arange(len(shares)) + n_below - bands.n_below
            inside = (column >= 0) & (column < n_bands)
            weights[place][column[inside]] = shares[inside]
        weights[np.isnan(bands.energies)] = np.nan
        return FatBands(bands, self._projector.names, weights)
