"""What a figure of bands is made of, be they computed now or read from a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.extras import require
from dock.post.energy_zero import SHOWN, HasZero, Zero, zero_words
from dock.post.legend import ShownGroup
from dock.style import ink

__all__ = ["CHANNELS", "BandLines"]

CHANNELS = ("up", "down")

_LEVEL = (-0.8, 0.8)  # ends of the lines that stand for the levels of a molecule
_LEVELS_OF_SPIN = ((-0.8, -0.05), (0.05, 0.8))
_NEAR = 0.09  # of the path: labels of points that are nearer are moved apart
_WIDTH = 1 / 40  # of the ribbons of a state together, in the height of the axes
_WIDTHS = (3.0, 6.0)  # and in points at least and at most


@dataclass(frozen=True, eq=False)
class BandLines(HasZero):
    """Energies along a path, and what is written around them.

    Attributes
    ----------
    energies : (n_spin, n_k, n_bands)
        eV, absolute; NaN where there is no such state.
    distances, segment : (n_k,)
        Length of the path up to each k-point (1/Å, without 2π), and which piece it belongs to.
    ticks
        Marks of the path: length and label.
    fermi_level, vbm
        eV, absolute; None where unknown, or where there is no gap.
    formula, words
        For the title: what it is, and its gap.
    name
        What a legend calls it beside others.
    names, weights : (n_spin, n_k, n_bands, n_names)
        Groups of orbitals and their shares; of none, an empty tuple and no array.
    """

    energies: NDArray[np.float64]
    distances: NDArray[np.float64]
    segment: NDArray[np.int64]
    ticks: tuple[tuple[float, str], ...]
    fermi_level: float | None = None
    vbm: float | None = None
    formula: str = ""
    words: str = ""
    name: str = ""
    names: tuple[str, ...] = ()
    weights: NDArray[np.float64] | None = field(default=None, repr=False)

    @property
    def n_spin(self) -> int:
        """Number of spin channels."""
        return len(self.energies)

    @property
    def is_point(self) -> bool:
        """Whether the path is one k-point, as that of a molecule."""
        return bool(np.ptp(self.distances) == 0)

    def limits(
        self, window: tuple[float, float] | None = None, zero: Zero = "fermi"
    ) -> tuple[float, float] | None:
        """Return the energies that are drawn, as they stand on the axis; None for all.

        By default from 6 below to 6 above the Fermi level, less where the bands end sooner.
        """
        if window is not None or self.fermi_level is None:
            return window
        levels = self.energies[np.isfinite(self.energies)] - self.fermi_level
        move = self.fermi_level - self.origin(zero)
        if not levels.size:
            return move - SHOWN, move + SHOWN
        low, high = float(levels.min()), float(levels.max())
        margin = 0.06 * (high - low) or 0.5
        return (
            move + (-SHOWN if low < -SHOWN / 2 else min(low, 0.0) - margin),
            move + (SHOWN if high > SHOWN / 2 else max(high, 0.0) + margin),
        )

    def draw_lines(
        self,
        axes: Any,
        colours: Sequence[str],
        style: str = "-",
        *,
        names: Sequence[str] = ("", ""),
        channels: Sequence[int] | None = None,
        width: float = 1.1,
        zero: Zero = "fermi",
        is_alone: bool = False,
    ) -> None:
        """Draw energies as lines along the path, or as levels where it is one point.

        Each spin channel (default all) has a colour, and a name for the legend unless empty. Levels
        of both spins stand side by side, unless a channel is alone in its axes.
        """
        x, origin = self.distances, self.origin(zero)
        for spin in range(self.n_spin) if channels is None else channels:
            name = names[spin]
            look: dict[str, Any] = {"color": colours[spin], "lw": width}
            for part in np.unique(self.segment):
                inside = self.segment == part
                energies, places = self.energies[spin][inside] - origin, x[inside]
                if self.is_point:  # up to the left, down to the right
                    alone = is_alone or self.n_spin == 1
                    ends = np.array(_LEVEL if alone else _LEVELS_OF_SPIN[spin])
                    energies, places = np.repeat(energies[:1], 2, axis=0), x[0] + ends
                lines = axes.plot(places, energies, style, **look)
                if name and lines:
                    lines[0].set_label(name)
                    name = ""

    def draw_frame(
        self, axes: Any, window: tuple[float, float] | None = None, zero: Zero = "fermi"
    ) -> None:
        """Draw what stands around the bands: points of the path, zero, limits, title."""
        first, last = self.distances[0], self.distances[-1]
        if self.is_point:
            first, last = first - 1.0, last + 1.0
        else:
            for place, _ in self.ticks:
                axes.axvline(place, color=ink(0.25), lw=0.6, zorder=0)
        axes.set_xlim(first, last)
        axes.set_xticks([place for place, _ in self.ticks], [label for _, label in self.ticks])
        self._part_labels(axes)
        axes.set_ylabel(zero_words(zero, is_known=self.fermi_level is not None))
        if self.fermi_level is not None:
            level = self.fermi_level if zero == "absolute" else self.origin(zero)
            axes.axhline(level - self.origin(zero), color=ink(0.5), lw=0.8, ls=":")
        if (limits := self.limits(window, zero)) is not None:
            axes.set_ylim(*limits)
        axes.set_title(f"{self.formula}  {self.words}".strip(), fontsize="medium")

    def _part_labels(self, axes: Any) -> None:
        """Move the labels of two points that are near each other apart."""
        labels, places = axes.get_xticklabels(), [place for place, _ in self.ticks]
        near = np.diff(places) < _NEAR * np.ptp(self.distances)
        for number in np.flatnonzero(near):
            labels[number].set_horizontalalignment("right")
            labels[number + 1].set_horizontalalignment("left")

    def sizes(self, limits: tuple[float, float], zero: Zero = "fermi") -> NDArray[np.float64]:
        """Return how much of each group is seen between two energies of the axis, (n_names,)."""
        if self.weights is None:
            return np.zeros(0)
        shown = self.energies - self.origin(zero)
        inside = (shown >= limits[0]) & (shown <= limits[1])
        seen: NDArray[np.float64] = np.nansum(
            np.abs(self.weights) * inside[..., None], axis=(0, 1, 2)
        )
        return seen

    def draw_ribbons(
        self, axes: Any, groups: Sequence[ShownGroup], channel: int, zero: Zero = "fermi"
    ) -> None:
        """Draw the shares of one spin channel; of a state three to six points together."""
        if self.weights is None:
            return
        collections = require("matplotlib.collections", "plot")
        weights = self.weights[channel]
        shares = np.stack([weights[..., list(each.members)].sum(axis=-1) for each in groups])
        x, segment = self.distances, self.segment
        energies = self.energies[channel] - self.origin(zero)
        if self.is_point:  # of a molecule: as long as the lines of its levels
            x, segment = x[0] + np.array(_LEVEL), np.zeros(2, dtype=np.int64)
            energies, shares = np.repeat(energies[:1], 2, 0), np.repeat(shares[:, :1], 2, 1)
        extent = axes.get_window_extent()
        points = 72 / axes.figure.dpi * np.array([extent.width, extent.height])
        scale = np.array([np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim())]) / points
        width = float(np.clip(_WIDTH * points[1], *_WIDTHS))
        low, high = axes.get_ylim()
        for number in np.unique(segment):
            there = segment == number
            if there.sum() < 2:
                continue
            parts = _ribbons(x[there], energies[there], shares[:, there], scale, width)
            for group, corners in zip(groups, parts, strict=True):
                with np.errstate(invalid="ignore"):
                    seen = (corners[..., 1].max(-1) > low) & (corners[..., 1].min(-1) < high)
                look: dict[str, Any] = {"facecolor": group.colour, "rasterized": True}
                look |= {"edgecolor": group.colour, "lw": 0.1}
                axes.add_collection(collections.PolyCollection(corners[seen], **look))


def _ribbons(
    x: NDArray[np.float64],
    energies: NDArray[np.float64],
    shares: NDArray[np.float64],
    scale: NDArray[np.float64],
    width: float,
) -> NDArray[np.float64]:
    """Return the ribbons of bands as quadrangles, (n_groups, n_k − 1, n_bands, 4, 2).

    Energies (n_k, n_bands) and shares (n_groups, n_k, n_bands) belong to places x; `scale` are the
    units of both axes to a point of the figure; of so many points the ribbons are wide together,
    across the band.
    """
    across = x[:, None] / scale[0]
    # The mean of the slopes on both sides; of one where a window ends or the path does.
    steps = np.diff(energies / scale[1], axis=0) / np.diff(across, axis=0)
    none = np.full((1, energies.shape[1]), np.nan)
    sides = np.stack([np.concatenate([none, steps]), np.concatenate([steps, none])])
    known = np.isfinite(sides)
    slope = np.where(known, sides, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    shares = width * np.clip(shares, 0, None)
    ends = np.concatenate([np.zeros((1, *shares.shape[1:])), np.cumsum(shares, axis=0)])
    ends = (ends - 0.5 * ends[-1]) / np.sqrt(1 + slope**2)
    places = np.stack([scale[0] * (across - slope * ends), energies + scale[1] * ends], axis=-1)
    lower, upper = places[:-1], places[1:]
    corners = lower[:, :-1], lower[:, 1:], upper[:, 1:], upper[:, :-1]
    quadrangles: NDArray[np.float64] = np.stack(corners, axis=-2)
    return quadrangles
