"""Bands with projections on orbitals: how much of each state is made of what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.io.progress import Report
from dock.post.band_lines import CHANNELS, BandLines
from dock.post.band_structure import CORNER_LIMIT, BandStructure, Selection, bands
from dock.post.energy_zero import Zero
from dock.post.legend import ShownGroup, add_legend, shown_groups
from dock.post.projections import OrbitalProjector, Projector
from dock.results import Result
from dock.states.job import Job
from dock.states.kpath import KPath
from dock.states.mulliken import Scheme
from dock.states.problem import Problem
from dock.states.solver import Solver, Want
from dock.states.stream import StatesAtK, states
from dock.style import ink

__all__ = ["FatBands", "Shares", "draw_fat", "fat_bands", "project_bands"]


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

    @property
    def lines(self) -> BandLines:
        """What a figure shows: bands with shares."""
        return replace(self.bands.lines, names=self.names, weights=self.weights)

    def draw(
        self, axes: Any, *, window: tuple[float, float] | None = None, zero: Zero = "fermi"
    ) -> None:
        """Draw each band as ribbons side by side, as wide as the shares of the groups; spins apart.

        Of more than ten groups the smallest are drawn as one. Window and zero are those of
        `dock.post.band_structure.BandStructure.draw`.
        """
        panels, lines, other = self.panels(axes), self.lines, self.bands.compared
        for panel in panels:
            lines.draw_frame(panel, window, zero)
        groups = shown_groups(self.names, lines.sizes(panels[0].get_ylim(), zero))
        draw_fat(panels, lines, groups, zero, others=[] if other is None else [other.lines])
        add_legend(panels[-1], groups, kind="patch")

    def _projections(self) -> dict[str, Any]:
        return {"projection_names": list(self.names), "projections": self.weights}


def draw_fat(
    panels: Sequence[Any],
    lines: BandLines,
    groups: Sequence[ShownGroup],
    zero: Zero = "fermi",
    *,
    others: Sequence[BandLines] = (),
) -> None:
    """Draw ribbons into one panel for each spin channel, and other bands dashed over them."""
    for channel, panel in enumerate(panels):
        lines.draw_ribbons(panel, groups, channel, zero)
        name = (lines.name or "these") if others and not channel else ""
        look: dict[str, Any] = {"width": 0.5, "channels": [channel], "zero": zero, "is_alone": True}
        lines.draw_lines(panel, (ink(0.8),) * 2, names=(name, name), **look)
        for other in others:
            name = "" if channel else other.name or "compared"
            look |= {"width": 1.1, "channels": [min(channel, other.n_spin - 1)]}
            other.draw_lines(panel, (ink(0.9),) * 2, "--", names=(name, name), **look)
        if len(panels) == 2:
            panel.set_title(f"{panel.get_title()}  {CHANNELS[channel]}", fontsize="medium")


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
