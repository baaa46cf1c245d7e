"""Several results in one figure with one zero: bands beside a density of states, runs overlaid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dock.errors import UsageError
from dock.figure import Drawn
from dock.io.files import require_absent
from dock.post.band_lines import CHANNELS, BandLines
from dock.post.band_structure import BandStructure
from dock.post.density_of_states import DensityOfStates
from dock.post.dos_curves import DosCurves
from dock.post.energy_zero import SHOWN, Zero, zero_words
from dock.post.fat_bands import FatBands, draw_fat
from dock.post.legend import ShownGroup, add_legend, shown_groups
from dock.results import Result
from dock.style import colours, ink

__all__ = ["BandsWithDos", "Together"]

_DOS_WIDTH = 0.45  # of the panel of a density of states, in that of bands


@dataclass(frozen=True, eq=False, repr=False)
class Together(Drawn):
    """Bands and densities of states that are drawn together; it is a figure alone, with no file.

    Several bands are runs that lie over each other, each counting from a zero of its own; the
    densities of states belong to them in their order and take the zero of their bands. Shares of
    orbitals are drawn where there is one run.

    Attributes
    ----------
    bands, curves
        What is drawn, from results or from files (`dock.post.saved`).

    Raises
    ------
    UsageError
        For nothing; for bands along different paths; for populations of bonds beside others; for
        a density of states beside bands of another structure, or more of them than bands.
    """

    ONE_Y: ClassVar[bool] = True

    bands: tuple[BandLines, ...] = ()
    curves: tuple[DosCurves, ...] = ()

    def __post_init__(self) -> None:
        if not self.bands and not self.curves:
            raise UsageError("there is nothing to draw: give bands or densities of states.")
        if len(self.bands) > 1:
            first, *others = self.bands
            aligned = (first, *(_aligned(first, other) for other in others))
            object.__setattr__(self, "bands", aligned)
        if len({*self.bands, *self.curves}) > 1 and any(one.bonds for one in self.curves):
            raise UsageError("populations of bonds are drawn alone: leave out the other results.")
        if self.bands and len(self.curves) > len(self.bands):
            raise UsageError(
                f"{len(self.curves)} densities of states beside {len(self.bands)} band "
                "structure(s): give the bands of each run, or densities of states alone."
            )
        for lines, curves in zip(self.bands, self.curves, strict=False):
            if lines.formula and curves.formula and lines.formula != curves.formula:
                raise UsageError(
                    f"bands of {lines.formula} and a density of states of {curves.formula} have no "
                    "common zero: give the densities of states in the order of their bands."
                )

    @property
    def is_fat(self) -> bool:
        """Whether shares of orbitals are drawn along the bands."""
        return len(self.bands) == 1 and bool(self.bands[0].names)

    # What is one for a class of results depends here on what is drawn.

    @property
    def STACKED(self) -> bool:  # type: ignore[override]
        """Whether panels stand one above another: populations of bonds do."""
        return not self.bands

    @property
    def FIGURE(self) -> tuple[float, float]:  # type: ignore[override]
        """The size of bands, or of densities of states alone."""
        return BandStructure.FIGURE if self.bands else DensityOfStates.FIGURE

    @property
    def n_panels(self) -> int:
        """One for bands, or for each spin of fat bands, and one for densities of states."""
        if not self.bands:
            return self.curves[0].n_panels
        return (self.bands[0].n_spin if self.is_fat else 1) + bool(self.curves)

    @property
    def panel_widths(self) -> list[float]:
        """Densities of states are narrower than bands."""
        count = self.n_panels - bool(self.curves)
        return [1.0] * count + [_DOS_WIDTH] * bool(self.curves)

    def __repr__(self) -> str:
        """Return what is drawn, in a line."""
        names = [f"bands {one.name or one.formula}" for one in self.bands]
        names += [f"DOS {one.name or one.formula}" for one in self.curves]
        return f"<Together: {', '.join(names)}>"

    def draw(
        self, axes: Any, *, window: tuple[float, float] | None = None, zero: Zero = "fermi"
    ) -> None:
        """Draw all of it; window and zero are those of `BandStructure.draw`."""
        panels = self.panels(axes)
        if not self.bands:
            self._draw_curves(panels, window, zero)
            return
        first = self.bands[0]
        limits = first.limits(window, zero)
        beside = panels[len(panels) - 1] if self.curves else None
        main = panels[: len(panels) - bool(self.curves)]
        for panel in main:
            first.draw_frame(panel, limits, zero)
            if len(self.bands) > 1:
                panel.set_title(_formulas(self.bands), fontsize="medium")
        groups = self._groups(main[0].get_ylim(), zero)
        if self.is_fat:
            draw_fat(main, first, groups, zero)
        else:
            self._draw_bands(main[0], zero, is_grey=bool(groups))
        for panel in panels[1:]:
            panel.set_ylabel("")
        if beside is not None:
            self._draw_beside(beside, groups, main[0].get_ylim(), zero)
        kind = "patch" if self.is_fat else "line"
        add_legend(panels[-1], groups, kind=kind, others=panels[:-1])

    def _looks(self, one: BandLines | DosCurves, number: int) -> tuple[tuple[str, ...], list[str]]:
        """Return colours and names of the channels of a run, for lines and legend."""
        tints = colours()
        several = max(len(self.bands), len(self.curves)) > 1
        if not several:
            return tints[: one.n_spin], [*CHANNELS] if one.n_spin == 2 else [""]
        return (tints[number % len(tints)],) * 2, [one.name or f"run {number + 1}", ""]

    def _draw_bands(self, axes: Any, zero: Zero, *, is_grey: bool) -> None:
        """Draw bands as lines; in grey where the colours mean groups of orbitals."""
        for number, lines in enumerate(self.bands):
            tints, names = self._looks(lines, number)
            if is_grey:
                tints = (ink(0.75),) * 2
            style = _dash(number)
            lines.draw_lines(axes, tints, style, names=names, zero=zero, channels=[0])
            if lines.n_spin == 2:
                second = "--" if is_grey else style
                width = 0.6 if len(self.bands) > 1 else 1.1
                look: dict[str, Any] = {"names": names, "zero": zero, "width": width}
                lines.draw_lines(axes, tints, second, channels=[1], **look)

    def _groups(self, limits: tuple[float, float], zero: Zero) -> list[ShownGroup]:
        """Return the groups of one run: those of its bands, or of its density of states."""
        named = self.bands[0] if self.is_fat else None
        if len(self.curves) == 1 and len(self.bands) == 1 and self.curves[0].names:
            curves = self.curves[0]
            if named is None:
                shown = curves.shown(limits, self._origin(0, zero))
                sizes = np.abs(curves.projected[..., shown]).sum(axis=(0, 2))
                return shown_groups(curves.names, sizes)
        return [] if named is None else shown_groups(named.names, named.sizes(limits, zero))

    def _origin(self, number: int, zero: Zero) -> float:
        """Return the zero of a density of states: that of its bands, where these know theirs."""
        bands = self.bands[number] if number < len(self.bands) else None
        if bands is None or (zero == "fermi" and bands.fermi_level is None):
            return self.curves[number].origin(zero)
        return bands.origin(zero)

    def _draw_beside(
        self, axes: Any, groups: list[ShownGroup], limits: tuple[float, float], zero: Zero
    ) -> None:
        """Draw densities of states beside bands, groups in the colours of the bands'."""
        widest = [0.0, 0.0]
        for number, curves in enumerate(self.curves):
            tints, _ = self._looks(curves, number)
            is_alone = len(self.curves) == 1
            plain = is_alone and (bool(groups) or curves.n_spin == 1)
            look = (ink(0.75),) * 2 if plain else tints
            own = list(_renumbered(groups, self._named(), curves.names)) if is_alone else []
            curves.draw_upright(axes, own, limits, self._origin(number, zero), look, _dash(number))
            for end, value in enumerate(axes.get_xlim()):
                widest[end] = (min, max)[end](widest[end], value)
        axes.set_xlim(*widest)
        level = self.bands[0].fermi_level if zero == "absolute" else 0.0
        if level is not None:
            axes.axhline(level, color=ink(0.5), lw=0.8, ls=":")

    def _named(self) -> tuple[str, ...]:
        return self.bands[0].names if self.is_fat else self.curves[0].names

    def _draw_curves(
        self, panels: Sequence[Any], window: tuple[float, float] | None, zero: Zero
    ) -> None:
        """Draw densities of states alone: one with its projections, of several the totals."""
        if len(self.curves) == 1:
            self.curves[0].draw(panels, window, zero)
            return
        (axes,), first = panels, self.curves[0]
        move = first.fermi_level - first.origin(zero)
        limits = window or (move - SHOWN, move + SHOWN)
        highest = [0.0, 0.0]
        for number, curves in enumerate(self.curves):
            tints, names = self._looks(curves, number)
            origin = curves.origin(zero)
            shown = curves.shown(limits, origin)
            for channel, row in enumerate(curves.total):
                sign = -1 if channel else 1
                label = names[channel] or None
                axes.plot(
                    curves.energies - origin,
                    sign * row,
                    _dash(number),
                    color=tints[0],
                    lw=1,
                    label=label,
                )
                highest[channel] = max(highest[channel], 1.08 * float(row[shown].max()))
        axes.set_xlim(*limits)
        axes.set_ylim(-highest[1], highest[0])
        axes.axvline(move if zero == "absolute" else 0.0, color=ink(0.5), lw=0.8, ls=":")
        axes.set_xlabel(zero_words(zero))
        axes.set_ylabel("states / eV / cell")
        axes.set_title(_formulas(self.curves), fontsize="medium")
        add_legend(axes)


@dataclass(frozen=True, eq=False, repr=False)
class BandsWithDos(Result):
    """A band structure and the density of states that is drawn beside it, with one zero.

    Both are saved, each as it is alone: ``band.h5`` and ``dos.h5``. Bands that are compared are
    drawn too; with shares of orbitals as well they are a `UsageError`.
    """

    FILE = BandStructure.FILE
    FIGURE = BandStructure.FIGURE
    ONE_Y: ClassVar[bool] = True

    bands: BandStructure | FatBands
    dos: DensityOfStates

    @property
    def together(self) -> Together:
        """What a figure shows."""
        plain = self.bands.bands if isinstance(self.bands, FatBands) else self.bands
        lines, compared = self.bands.lines, plain.compared
        if compared is None:
            return Together((lines,), (self.dos.curves,))
        if lines.names:
            raise UsageError("shares of orbitals and compared bands are not drawn beside a DOS.")
        names = plain.name or "these", compared.name or "compared"
        both = lines.called(names[0]), compared.lines.called(names[1])
        return Together(both, (self.dos.curves,))

    @property
    def n_panels(self) -> int:
        """One for bands, or for each spin of fat bands, and one for the density of states."""
        return self.together.n_panels

    @property
    def panel_widths(self) -> list[float]:
        """The density of states is narrower than the bands."""
        return self.together.panel_widths

    def made_from(self, hamiltonian: str) -> None:
        """Say of which Hamiltonian both are."""
        self.bands.made_from(hamiltonian)
        self.dos.made_from(hamiltonian)

    def facts(self) -> dict[str, Any]:
        """Return the facts of the bands, and those of the density of states that they lack."""
        return {**self.dos.facts(), **self.bands.facts()}

    def rows(self) -> list[tuple[str, str]]:
        """Return the rows of both."""
        return [*self.bands.rows(), ("density of states", ""), *self.dos.rows()]

    def draw(
        self, axes: Any, *, window: tuple[float, float] | None = None, zero: Zero = "fermi"
    ) -> None:
        """Draw both; window and zero are those of the bands."""
        self.together.draw(axes, window=window, zero=zero)

    @classmethod
    def files(cls, path: str | Path) -> list[Path]:
        """Return the files of both for the path of the bands' HDF5 file."""
        return [*BandStructure.files(path), *DensityOfStates.files(cls.beside(Path(path)))]

    @staticmethod
    def beside(path: Path) -> Path:
        """Return where the density of states goes: ``dos.h5``, or a name made of another one."""
        is_usual = path.name == BandStructure.FILE
        return path.with_name(DensityOfStates.FILE if is_usual else f"{path.stem}_dos.h5")

    def save(self, path: str | Path | None = None, *, overwrite: bool = False) -> list[Path]:
        """Write the files of both; `OutputError` where one exists, and none is written then."""
        path = Path(self.FILE if path is None else path)
        require_absent(self.files(path), overwrite=overwrite)
        written = self.bands.save(path, overwrite=overwrite)
        return [*written, *self.dos.save(self.beside(path), overwrite=overwrite)]


def _formulas(results: Sequence[BandLines | DosCurves]) -> str:
    """Return what the results are of, each formula once."""
    return ", ".join(dict.fromkeys(one.formula for one in results if one.formula))


def _dash(number: int) -> str:
    """Return the line of a run: where two have the same bands, both are seen."""
    return ("-", "--", "-.", ":")[number % 4]


def _aligned(first: BandLines, other: BandLines) -> BandLines:
    """Return bands on the lengths of other bands' path, where both go through the same points."""
    mine, theirs = ([label for _, label in one.ticks] for one in (first, other))
    if mine != theirs:
        raise UsageError(
            f"{other.name or other.formula} goes along {' '.join(theirs)}, "
            f"{first.name or first.formula} along {' '.join(mine)}: bands that lie over each other "
            "need one path (--path)."
        )
    places, targets = ([place for place, _ in one.ticks] for one in (other, first))
    distances = np.interp(other.distances, places, targets)
    return replace(other, distances=distances, ticks=first.ticks)


def _renumbered(
    groups: Sequence[ShownGroup], names: Sequence[str], own: Sequence[str]
) -> Iterator[ShownGroup]:
    """Yield groups by the numbers that a density of states has for them; those it has."""
    for group in groups:
        members = tuple(own.index(names[n]) for n in group.members if names[n] in own)
        if members:
            yield group._replace(members=members)
