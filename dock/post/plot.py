"""Figures of results; matplotlib is imported only here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dock.core.interop import require
from dock.core.spin import Spin
from dock.errors import UsageError
from dock.io.files import atomic_path
from dock.post.band_structure import BandStructure

__all__ = ["plot_bands", "require_figure_name"]

_COLOURS = ("#1f4e79", "#c0392b")
_OTHER = "#e08a1e"


def plot_bands(
    result: BandStructure,
    path: Path,
    *,
    other: BandStructure | None = None,
    window: tuple[float, float] | None = None,
    overwrite: bool = False,
    extra: Callable[[Any], None] | None = None,
) -> Path:
    """Draw bands into a file whose ending names the kind (png, pdf, svg).

    Parameters
    ----------
    result
        The bands, drawn from their reference energy.
    path
        The figure.
    other
        A second band structure on the same path, drawn dashed.
    window
        Energies shown, eV; default from 6 below to 6 above the Fermi level, or all without one.
    overwrite
        Replace an existing file.
    extra
        Draws more into the axes.

    Raises
    ------
    DependencyError
        Without matplotlib.
    """
    require_figure_name(path)
    figure_module = require("matplotlib.figure", "plot")
    figure = figure_module.Figure(figsize=(5.0, 4.2), layout="constrained")
    axes = figure.add_subplot()
    _draw(axes, result, _COLOURS, "-")
    if other is not None:
        _draw(axes, other, (_OTHER, _OTHER), "--", label="compared")
    _decorate(axes, result, window)
    if other is not None or result.spin is Spin.COLLINEAR:
        axes.legend(loc="upper right", fontsize="small", framealpha=0.9)
    if extra is not None:
        extra(axes)
    with atomic_path(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, dpi=200, format=path.suffix[1:].lower())
    return path


def require_figure_name(path: Path) -> None:
    """Raise `UsageError` where the name of a figure does not end in a known kind."""
    if path.suffix.lower() not in {".png", ".pdf", ".svg"}:
        raise UsageError(f"{path}: a figure ends in .png, .pdf or .svg.")


def _draw(
    axes: Any,
    result: BandStructure,
    colours: tuple[str, str],
    style: str,
    label: str | None = None,
) -> None:
    x, segment = result.path.distances, result.path.segment
    n_spin = len(result.energies)
    for spin in reversed(range(n_spin)):
        name = label if label is not None else (("up", "down")[spin] if n_spin == 2 else None)
        for part in np.unique(segment):
            inside = segment == part
            energies = result.energies[spin][inside] - result.reference
            marker = "o" if np.ptp(x[inside]) == 0 else None
            lines = axes.plot(
                x[inside], energies, style, color=colours[spin], lw=1.1, marker=marker, ms=3
            )
            if name is not None and lines:
                lines[0].set_label(name)
                name = None


def _decorate(axes: Any, result: BandStructure, window: tuple[float, float] | None) -> None:
    path = result.path
    ticks = path.ticks
    for place, _ in ticks:
        axes.axvline(place, color="0.75", lw=0.6, zorder=0)
    axes.set_xticks([place for place, _ in ticks], [label for _, label in ticks])
    if path.distances[-1] > path.distances[0]:
        axes.set_xlim(path.distances[0], path.distances[-1])
    level = result.gap.fermi_level
    if level is None:
        axes.set_ylabel("energy (eV)")
    else:
        axes.axhline(0.0, color="0.5", lw=0.8, ls=":")
        axes.set_ylabel("energy − Fermi level (eV)")
    if window is not None:
        axes.set_ylim(*window)
    elif level is not None:
        axes.set_ylim(-6.0, 6.0)
    gap = result.gap
    words = {"insulator": f"gap {gap.size:.3f} eV", "metal": "metal", "unknown": ""}[gap.kind]
    axes.set_title(f"{result.structure.formula}  {words}".strip(), fontsize="medium")
