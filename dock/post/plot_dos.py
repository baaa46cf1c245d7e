"""Figures of densities of states and occupations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dock.errors import UsageError
from dock.extras import require
from dock.io.files import atomic_path

if TYPE_CHECKING:
    from dock.post.density_of_states import DensityOfStates
    from dock.post.fermi import FermiResult

__all__ = ["plot_dos", "plot_occupations"]

_MOST_LINES = 10
_SHOWN = 6.0  # eV on both sides of the Fermi level when no window is given


def plot_dos(
    result: DensityOfStates,
    path: Path,
    *,
    window: tuple[float, float] | None = None,
    overwrite: bool = False,
) -> Path:
    """Draw a density of states; spin down points downwards."""
    figure, axes = _figure(path)
    x = result.energies - result.fermi_level
    low, high = window or (max(x[0], -_SHOWN), min(x[-1], _SHOWN))
    shown = (x >= low) & (x <= high)
    for channel, row in enumerate(result.total):
        sign = -1 if channel else 1
        axes.fill_between(x[shown], sign * row[shown], color="0.88", lw=0)
        axes.plot(x[shown], sign * row[shown], color="0.25", lw=0.9)
        colours = _colours()
        for number, name in enumerate(result.names[:_MOST_LINES]):
            values = sign * result.projected[channel, number, shown]
            label = name if channel == 0 else None
            axes.plot(x[shown], values, lw=1.0, color=colours[number], label=label)
    axes.axvline(0.0, color="0.5", lw=0.8, ls=":")
    axes.set_xlim(low, high)
    axes.set_xlabel("energy − Fermi level (eV)")
    axes.set_ylabel("states / eV / cell")
    axes.set_title(f"{result.structure.formula}  {result.method}", fontsize="medium")
    if result.names:
        axes.legend(fontsize="small", framealpha=0.9)
    return _save(figure, path, overwrite=overwrite)


def plot_occupations(result: FermiResult, path: Path, *, overwrite: bool = False) -> Path:
    """Draw the filling of the states about the Fermi level."""
    figure, axes = _figure(path)
    spectrum = result.spectrum
    full = spectrum.mesh.weights[None, :, None] * spectrum.degeneracy
    x = spectrum.energies - result.level
    shown = np.abs(x) < _SHOWN
    filling = result.occupations / full
    axes.plot(x[shown], filling[shown], ".", ms=2, color="#1f4e79")
    axes.axvline(0.0, color="0.5", lw=0.8, ls=":")
    axes.set_xlabel("energy − Fermi level (eV)")
    axes.set_ylabel("filling")
    axes.set_title(
        f"{spectrum.structure.formula}  {result.method_name}  {result.gap.kind}", fontsize="medium"
    )
    return _save(figure, path, overwrite=overwrite)


def _figure(path: Path) -> tuple[Any, Any]:
    if path.suffix.lower() not in {".png", ".pdf", ".svg"}:
        raise UsageError(f"{path}: a figure ends in .png, .pdf or .svg.")
    module = require("matplotlib.figure", "plot")
    figure = module.Figure(figsize=(5.0, 3.6), layout="constrained")
    return figure, figure.add_subplot()


def _colours() -> Any:
    maps = require("matplotlib", "plot").colormaps
    return maps["tab10"].colors


def _save(figure: Any, path: Path, *, overwrite: bool) -> Path:
    with atomic_path(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, dpi=200, format=path.suffix[1:].lower())
    return path
