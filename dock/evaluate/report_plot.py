"""Figures of an evaluation: heat maps, histograms, the parity plot, bands over bands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.evaluate.blocks import HISTOGRAM_EDGES, shell_names
from dock.evaluate.report import EvaluationSet
from dock.extras import require
from dock.io.files import atomic_path, prepare_folder

__all__ = ["FIGURES", "plot"]

_COLOUR = "#1f4e79"
_MAX_PANELS = 36
_MEASURES = (
    ("mae_hamiltonian_eV", 1e3, "MAE of H (meV)"),
    ("mae_band_eV", 1e3, "MAE of bands (meV)"),
    ("mae_dos", 1.0, "MAE of the DOS"),
    ("rmse_state", 1.0, "RMSE of states at Γ"),
)


def plot(result: EvaluationSet, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Draw all figures as PNG; return the files.

    Raises
    ------
    DependencyError
        Without matplotlib.
    OutputError
        When a file exists or cannot be written.
    """
    prepare_folder(folder)
    module = require("matplotlib.figure", "plot")
    written = []
    for name, draw in FIGURES.items():
        figure = module.Figure(layout="constrained")
        draw(figure, result)
        target = folder / name
        with atomic_path(target, overwrite=overwrite) as temporary:
            figure.savefig(temporary, dpi=180, format="png")
        written.append(target)
    return written


def _draw_element_pairs(figure: Any, result: EvaluationSet) -> None:
    names = result.blocks.elements
    side = max(3.2, 0.34 * len(names) + 1.6)
    figure.set_size_inches(side + 0.8, side)
    _heat_map(figure, figure.add_subplot(), 1e3 * result.blocks.pair_matrix(), names, names)


def _draw_shell_pairs(figure: Any, result: EvaluationSet) -> None:
    blocks = result.blocks
    order = sorted(blocks.pairs, key=lambda key: -blocks.pairs[key].mean)[:_MAX_PANELS]
    columns = min(len(order), max(1, round(len(order) ** 0.5)))
    rows = -(-len(order) // columns)
    figure.set_size_inches(3.4 * columns, 3.0 * rows)
    for number, (left, right) in enumerate(order, 1):
        axes = figure.add_subplot(rows, columns, number)
        values = 1e3 * blocks.shell_matrix(left, right)
        names = [shell_names(blocks.shells[name]) for name in (left, right)]
        _heat_map(figure, axes, values, *names)
        axes.set_title(f"{left}–{right}", fontsize="medium")


def _heat_map(figure: Any, axes: Any, values: NDArray[np.float64], rows: Any, columns: Any) -> None:
    image = axes.imshow(values, cmap="viridis", vmin=0)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    if values.size <= 100:
        bright = np.nanmax(values) if np.isfinite(values).any() else 0.0
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                colour = "black" if value > 0.6 * bright else "white"
                text = f"{value:.2g}"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)
    figure.colorbar(image, ax=axes, label="mean |ΔH| (meV)", shrink=0.8)


def _draw_histograms(figure: Any, result: EvaluationSet) -> None:
    measures = [entry for entry in _MEASURES if result.mean(entry[0]) is not None]
    figure.set_size_inches(3.3 * (1 + len(measures)), 3.0)
    axes = figure.add_subplot(1, 1 + len(measures), 1)
    counts = result.blocks.histogram
    there = np.flatnonzero(counts)
    first, last = (int(there[0]), int(there[-1]) + 1) if len(there) else (0, len(counts))
    edges = 1e3 * 10 ** HISTOGRAM_EDGES[first : last + 1]
    axes.stairs(counts[first:last], edges, fill=True, color=_COLOUR)
    axes.set_xscale("log")
    axes.axvline(1e3 * result.blocks.mean, color="#c0392b", lw=1, label="mean")
    axes.legend(fontsize="small")
    axes.set_xlabel("|ΔH| of an entry (meV)")
    axes.set_ylabel("entries")
    for number, (key, factor, label) in enumerate(measures, 2):
        axes = figure.add_subplot(1, 1 + len(measures), number)
        values = [factor * row[key] for row in result.rows if row[key] is not None]
        axes.hist(values, bins=min(40, max(5, len(values) // 4)), color=_COLOUR)
        axes.axvline(float(np.mean(values)), color="#c0392b", lw=1)
        axes.set_xlabel(label)
        axes.set_ylabel("structures")


def _draw_parity(figure: Any, result: EvaluationSet) -> None:
    figure.set_size_inches(4.4, 4.2)
    axes = figure.add_subplot()
    sample = result.blocks.sample
    if len(sample):
        axes.plot(sample[:, 0], sample[:, 1], ".", ms=2, color=_COLOUR, rasterized=True)
        low, high = float(sample.min()), float(sample.max())
        axes.plot([low, high], [low, high], color="0.5", lw=0.8)
    axes.set_xlabel("reference H (eV)")
    axes.set_ylabel("predicted H − Δμ S (eV)")
    error = 1e3 * result.blocks.mean
    axes.set_title(f"MAE {error:.4g} meV over {result.blocks.n_entries} entries", fontsize="medium")


FIGURES: dict[str, Callable[[Any, EvaluationSet], None]] = {
    "element_pairs.png": _draw_element_pairs,
    "shell_pairs.png": _draw_shell_pairs,
    "histograms.png": _draw_histograms,
    "parity.png": _draw_parity,
}
"""File and drawing of each figure."""
