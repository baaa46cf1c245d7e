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
from dock.post.band_structure import CORNER_LIMIT, BandStructure, Selection, bands
from dock.post.projections import OrbitalProjector, Projector
from dock.results import Result
from dock.states.job import Job
from dock.states.kpath import KPath
from dock.states.mulliken import Scheme
from dock.states.problem import Problem
from dock.states.solver import Solver, Want
from dock.states.stream import StatesAtK, states

__all__ = ["FatBands", "Shares", "fat_bands", "project_bands"]


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

    def draw(self, axes: Any, *, window: tuple[float, float] | None = None) -> None:
        """Draw the bands with a dot per state and group, its area the share.

        Bands that are compared are drawn without dots, which would hide them.
        """
        bands = self.bands
        bands.draw(axes, window=window)
        if bands.compared is not None:
            return
        colours = require("matplotlib", "plot").colormaps["tab10"].colors
        for number, name in enumerate(self.names[: len(colours)]):
            for channel, energies in enumerate(bands.energies):
                x = np.broadcast_to(bands.path.distances[:, None], energies.shape)
                share = np.clip(np.nan_to_num(self.weights[channel, :, :, number]), 0, None)
                label = name if channel == 0 else None
                dots = {"color": colours[number], "lw": 0, "alpha": 0.6, "label": label}
                y = energies - bands.reference
                axes.scatter(x.ravel(), y.ravel(), s=14 * share.ravel(), **dots)
        axes.legend(loc="upper right", fontsize="small", framealpha=0.9)

    def _projections(self) -> dict[str, Any]:
        return {"projection_names": list(self.names), "projections": self.weights}


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
