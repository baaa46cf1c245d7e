"""The record of a run: one JSON object a line, and a figure of it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dock.errors import DependencyError
from dock.extras import require
from dock.io.files import atomic_path, write_text
from dock.io.text import json_text

__all__ = ["TrainingLog", "named_errors"]

_BETWEEN_FIGURES = 30.0  # s
_ENOUGH = 4  # validations, of which a trend can be told


class TrainingLog:
    """``log.jsonl`` and ``train.png`` of a run folder, which one process `writes`.

    `step` is that of the checkpoint that the run goes on from: later lines are dropped, as they
    will be written again. `unit` is that of the target.
    """

    def __init__(self, folder: Path, step: int, unit: str = "eV", *, writes: bool = True) -> None:
        self.path, self._writes = folder / "log.jsonl", writes
        self.unit, self.scale = ("meV", 1e3) if unit == "eV" else (unit, 1.0)
        self.rows: list[dict[str, Any]] = []
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                except ValueError:
                    break  # a line cut by a kill
                if not isinstance(row, dict) or row.get("step", math.inf) > step:
                    break
                self.rows.append(row)
        self._drawn = -math.inf
        if writes:
            text = "".join(json_text(row) + "\n" for row in self.rows)
            write_text(self.path, text, overwrite=True)

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a line."""
        self.rows.append(dict(row))
        if not self._writes:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json_text(row) + "\n")

    def stalled(self) -> str:
        """Say that the structures for validation gained nothing in the last half, or nothing."""
        rows = [row for row in self.rows if row.get("validation_mae") is not None]
        if len(rows) < _ENOUGH:
            return ""
        best = min(rows, key=lambda row: row["validation_mae"])
        if best["step"] > 0.5 * rows[-1]["step"]:
            return ""
        return (
            f"the best model is that of step {best['step']} of {rows[-1]['step']}: since then the"
            f" training loss went from {self.scale * best['train_loss']:.4g} to "
            f"{self.scale * rows[-1]['train_loss']:.4g} {self.unit}, and validation gained "
            "nothing. More structures would help, not more steps; early_stop ends such a training"
        )

    def draw(self, *, at_once: bool = False) -> None:
        """Draw the errors over the steps, where matplotlib is installed.

        `at_once` means: even if the last figure is less than half a minute old.
        """
        now = time.monotonic()
        fresh = now - self._drawn < _BETWEEN_FIGURES and not at_once
        if not self._writes or len(self.rows) < 2 or fresh:
            return
        self._drawn = now
        try:
            figure = require("matplotlib.figure", "plot").Figure((6.4, 4.0), layout="constrained")
        except DependencyError:
            return
        axes = figure.add_subplot()
        steps = [row["step"] for row in self.rows]
        for key, label, colour in (
            ("train_loss", "training loss", "#999999"),
            ("validation_mae", "validation MAE", "#1f4e79"),
        ):
            values = [self.scale * row[key] for row in self.rows if row.get(key) is not None]
            if len(values) == len(steps) and max(values) > 0:
                axes.semilogy(steps, values, color=colour, label=label)
        axes.set_xlabel("step")
        axes.set_ylabel(self.unit)
        rates = [row["learning_rate"] for row in self.rows]
        if max(rates) > 0:
            rate = axes.twinx()
            rate.semilogy(steps, rates, ":", color="#c55a11")
            rate.set_ylabel("learning rate", color="#c55a11")
        if axes.get_lines():
            axes.legend()
        with atomic_path(self.path.with_name("train.png"), overwrite=True) as temporary:
            figure.savefig(temporary, dpi=120, format="png")


def named_errors(
    sums: Mapping[str, Sequence[float]], species: Sequence[str]
) -> tuple[float, dict[str, float]]:
    """Return the mean error over all entries, and that of each species and pair.

    The sums are totals of what `dock.models.network.training.losses.make_errors` counts.
    """
    total = float(sum(sums["node"]) + sum(sums["edge"]))
    count = float(sum(sums["node_count"]) + sum(sums["edge_count"]))
    pairs = [f"{first}-{second}" for first in species for second in species]
    means = {}
    for kind, names in (("node", species), ("edge", pairs)):
        for name, error, number in zip(names, sums[kind], sums[f"{kind}_count"], strict=True):
            if number:
                means[name] = float(error / number)
    return total / max(count, 1.0), means
