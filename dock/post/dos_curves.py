"""What a figure of a density of states is made of, computed now or read from a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dock.errors import UsageError
from dock.post.band_lines import CHANNELS
from dock.post.energy_zero import SHOWN, HasZero, Zero, zero_words
from dock.post.legend import ShownGroup, add_legend, shown_groups
from dock.style import ink

__all__ = ["DosCurves"]


@dataclass(frozen=True, eq=False)
class DosCurves(HasZero):
    """A density of states with its projections, and what is written around them.

    Attributes
    ----------
    energies : (n,)
        eV, absolute.
    total : (n_spin, n)
        States per eV and cell.
    names, projected : (n_spin, n_names, n)
        Projections, or populations of bonds.
    fermi_level, vbm
        eV, absolute; the latter None where there is no gap.
    formula, words, method
        For the title: what it is, its gap, how it was computed.
    bonds
        ``coop`` or ``cohp`` where the projections are populations of bonds.
    name
        What a legend calls it beside others.
    """

    energies: NDArray[np.float64]
    total: NDArray[np.float64]
    names: tuple[str, ...]
    projected: NDArray[np.float64]
    fermi_level: float
    vbm: float | None = None
    formula: str = ""
    words: str = ""
    method: str = ""
    bonds: Literal["", "coop", "cohp"] = ""
    name: str = ""

    @property
    def n_spin(self) -> int:
        """Number of spin channels."""
        return len(self.total)

    @property
    def n_panels(self) -> int:
        """One, and one below it for the populations of bonds."""
        return 2 if self.bonds else 1

    def shown(self, limits: tuple[float, float], origin: float) -> NDArray[np.bool_]:
        """Return which energies lie between two of the axis; `UsageError` where none does."""
        x = self.energies - origin
        shown: NDArray[np.bool_] = (x >= limits[0]) & (x <= limits[1])
        if not shown.any():
            raise UsageError(f"no energy of the grid lies from {limits[0]:g} to {limits[1]:g} eV.")
        return shown

    def draw(
        self, panels: Sequence[Any], window: tuple[float, float] | None = None, zero: Zero = "fermi"
    ) -> None:
        """Draw total and projections over the energy; see `DensityOfStates.draw`."""
        origin = self.origin(zero)
        x, move = self.energies - origin, self.fermi_level - origin
        low, high = window or (max(x[0], move - SHOWN), min(x[-1], move + SHOWN))
        shown = self.shown((low, high), origin)
        sizes = np.abs(self.projected[..., shown]).sum(axis=(0, 2))
        groups = shown_groups(self.names, sizes)
        self._draw_total(panels[0], () if self.bonds else groups, x, shown)
        if self.bonds:
            self._draw_bonds(panels[1], groups, x, shown)
        for panel in panels:
            mark = move if zero == "absolute" else 0.0
            panel.axvline(mark, color=ink(0.5), lw=0.8, ls=":")
        panels[-1].set_xlim(low, high)
        panels[0].set_xlim(low, high)
        panels[-1].set_xlabel(zero_words(zero))
        title = f"{self.formula}  {self.words}  {self.method}"
        panels[0].set_title(title, fontsize="medium")

    def draw_upright(
        self,
        axes: Any,
        groups: Sequence[ShownGroup],
        limits: tuple[float, float],
        origin: float,
        tints: Sequence[str],
        style: str = "-",
    ) -> None:
        """Draw total and groups beside bands, the energy upwards from `origin` (eV, absolute).

        Spin down points to the left. The groups number the projections by `names`; `tints` are the
        colours of the totals, drawn as lines of a `style`.
        """
        y, shown = self.energies - origin, self.shown(limits, origin)
        for channel, row in enumerate(self.total):
            sign = -1 if channel else 1
            axes.fill_betweenx(y, sign * row, color=ink(0.12), lw=0)
            axes.plot(sign * row, y, style, color=tints[channel], lw=0.8)
            for group in groups:
                values = self.projected[channel, list(group.members)].sum(axis=0)
                axes.plot(sign * values, y, lw=1.0, color=group.colour)
        self._fit(axes.set_xlim, axes.xaxis, shown, with_groups=bool(groups))
        if self.n_spin == 2:
            axes.axvline(0.0, color=ink(0.75), lw=0.6)
            for name, place, side in zip(CHANNELS, (0.96, 0.04), ("right", "left"), strict=True):
                axes.text(place, 0.99, name, transform=axes.transAxes, ha=side, va="top")
        axes.set_xlabel("states / eV")

    def _draw_total(
        self,
        axes: Any,
        groups: Sequence[ShownGroup],
        x: NDArray[np.float64],
        shown: NDArray[np.bool_],
    ) -> None:
        """Draw the density of states and its projections, spin down below the line of zero."""
        for channel, row in enumerate(self.total):
            sign = -1 if channel else 1
            axes.fill_between(x, sign * row, color=ink(0.12), lw=0)
            label = None if channel or not groups else "total"
            axes.plot(x, sign * row, color=ink(0.75), lw=0.9, label=label)
            for group in groups:
                values = sign * self.projected[channel, list(group.members)].sum(axis=0)
                named = None if channel else group.name
                axes.plot(x, values, lw=1.0, color=group.colour, label=named)
        self._fit(axes.set_ylim, axes.yaxis, shown, with_groups=bool(groups))
        if self.n_spin == 2:
            axes.axhline(0.0, color=ink(0.75), lw=0.8)
            for name, y, side in zip(CHANNELS, (0.97, 0.03), ("top", "bottom"), strict=True):
                axes.text(0.02, y, name, transform=axes.transAxes, va=side)
        axes.set_ylabel("states / eV / cell")
        add_legend(axes)

    def _fit(
        self, set_limits: Any, axis: Any, shown: NDArray[np.bool_], *, with_groups: bool
    ) -> None:
        """Set the limits of the states by what is shown: peaks outside do not press it flat."""
        highest = [1.08 * float(row[shown].max(initial=0.0)) or 1.0 for row in self.total]
        lowest = float(self.projected[..., shown].min(initial=0.0)) if with_groups else 0.0
        set_limits(-highest[1] if len(highest) == 2 else 1.08 * lowest, highest[0])
        if len(highest) == 2:
            axis.set_major_formatter(lambda value, _: f"{abs(value):g}")

    def _draw_bonds(
        self,
        axes: Any,
        groups: Sequence[ShownGroup],
        x: NDArray[np.float64],
        shown: NDArray[np.bool_],
    ) -> None:
        """Draw populations of bonds so that both spins are positive where they bind."""
        sign = -1 if self.bonds == "cohp" else 1
        largest = 0.0
        for group in groups:
            for channel, values in enumerate(self.projected):
                style, label = ("--", None) if channel else ("-", group.name)
                bound = sign * values[list(group.members)].sum(axis=0)
                axes.plot(x, bound, style, lw=1.0, color=group.colour, label=label)
                largest = max(largest, float(np.abs(bound[shown]).max()))
        if self.n_spin == 2:
            for name, style in zip(CHANNELS, ("-", "--"), strict=True):
                axes.plot([], [], style, color=ink(0.75), lw=1.0, label=name)
        axes.axhline(0.0, color=ink(0.75), lw=0.8)
        axes.set_ylim(*np.array([-1.15, 1.15]) * (largest or 1.0))
        axes.set_ylabel("−COHP / cell" if self.bonds == "cohp" else "COOP / eV / cell")
        for name, y, side in (("bonding", 0.97, "top"), ("antibonding", 0.03, "bottom")):
            axes.text(0.02, y, name, transform=axes.transAxes, va=side, color=ink(0.65))
        add_legend(axes)
