"""The errors of many predictions: pairing predictions with references, and the sums over all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock._version import __version__
from dock.converters import read
from dock.converters.deeph.blockfile import read_matrix
from dock.converters.deeph.folder import PREDICTION, REPORT
from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.errors import DockError, LayoutError, MissingDataError, UsageError
from dock.evaluate.blocks import HISTOGRAM_EDGES, BlockErrors, shell_names
from dock.evaluate.records import StructuresResult
from dock.evaluate.structure import MEASURES, EvaluateOptions, evaluate, shown_measures
from dock.extras import require
from dock.io.files import atomic_path, prepare_folder
from dock.io.progress import Progress, Report
from dock.io.text import read_json
from dock.post.band_structure import BandStructure, bands
from dock.results import plain, table
from dock.states.kpath import make_path
from dock.style import colours, ink

__all__ = [
    "FIGURES",
    "EvaluationSet",
    "Failure",
    "Item",
    "band_overlay",
    "evaluate_set",
    "find_items",
    "read_item",
]

_MEASURES = {
    "mae_hamiltonian_eV": (1e3, "MAE of H (meV)"),
    "mae_band_eV": (1e3, "MAE of bands (meV)"),
    "mae_dos": (1.0, "MAE of the DOS"),
    "mae_epsilon_2": (1.0, "MAE of ε₂"),
    "rmse_state": (1.0, "RMSE of states at Γ"),
    "mae_occupied_levels_eV": (1e3, "MAE of occupied levels (meV)"),
    "n_ghost_states": (1.0, "false states below E_F + 3 eV"),
}
"""What is averaged over structures, and its histogram: factor and label."""
_TO_BEAT = {
    "mae_initial_hamiltonian_eV": "MAE of H of superposed atoms",
    "baseline_mae_eV": "of the model's closed form alone, when it was made",
    "model_mae_eV": "of the model on its own validation",
}
_MAX_PANELS = 36


class Item(NamedTuple):
    """A prediction and its reference.

    The name is the folder below the two that were given; that folder's own for a single pair.
    """

    name: str
    prediction: Path
    reference: Path


class Failure(NamedTuple):
    """A pair that could not be evaluated, and why."""

    name: str
    reason: str
    exit_code: int


@dataclass(frozen=True, eq=False, repr=False)
class EvaluationSet(StructuresResult):
    """The errors of a set of predictions.

    Attributes
    ----------
    blocks
        The errors of all matrix elements together.
    failures
        What could not be evaluated.
    unpredicted
        Reference structures without a prediction.
    options
        How errors were measured.
    items
        The pairs that were evaluated, as the structures.
    """

    FILE = "evaluation"
    FIGURE = (4.4, 4.2)
    DPI = 180

    blocks: BlockErrors
    failures: tuple[Failure, ...]
    unpredicted: tuple[str, ...]
    options: EvaluateOptions
    items: tuple[Item, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 when all is done; 1 when some of several failed; the error's own code for one."""
        if not self.failures:
            return 0
        alone = not self.structures and len(self.failures) == 1
        return self.failures[0].exit_code if alone else 1

    def mean(self, measure: str) -> float | None:
        """Return the mean over the structures of one of their numbers; None without any."""
        values = [row[measure] for row in self.structures if row[measure] is not None]
        return float(np.mean(values)) if values else None

    def worst(self, measure: str) -> dict[str, Any] | None:
        """Return the structure with the largest value of one of its numbers; None without any."""
        rows = [row for row in self.structures if row[measure] is not None]
        return max(rows, key=lambda row: row[measure]) if rows else None

    def facts(self) -> dict[str, Any]:
        """Return sums and means over all structures, and the names of the worst ones."""
        facts: dict[str, Any] = {
            "n_structures": len(self.structures),
            "n_failed": len(self.failures),
            "n_without_prediction": len(self.unpredicted),
            "n_entries": self.blocks.n_entries,
            "mae_hamiltonian_all_entries_eV": self.blocks.mean,
            "rmse_hamiltonian_all_entries_eV": self.blocks.root_mean_square,
            "max_hamiltonian_eV": self.blocks.largest,
        }
        for measure in _MEASURES:
            facts[f"mean_{measure}"] = self.mean(measure)
            worst = self.worst(measure)
            facts[f"worst_{measure}"] = None if worst is None else worst["name"]
        return facts

    def elements(self) -> dict[str, dict[str, float]]:
        """Return the errors of each element.

        ``mae_eV`` is over the blocks that have the element on either side, ``onsite_mae_eV`` over
        its on-site blocks, ``structure_mae_eV`` the mean of MAE_H over the structures that
        contain it.
        """
        errors = {}
        for name in self.blocks.elements:
            own = self.blocks.of_element(name)
            rows = [row["mae_hamiltonian_eV"] for row in self.structures if name in row["elements"]]
            own["structure_mae_eV"] = float(np.mean(rows))
            own["n_structures"] = len(rows)
            errors[name] = own
        return errors

    def records(self) -> list[dict[str, Any]]:
        """Return the numbers of each structure, then what failed, as plain Python data."""
        return [*self.structures, *({"failed": failure._asdict()} for failure in self.failures)]

    def json(self, *, arrays: bool = True) -> dict[str, Any]:
        """Return the facts as ``summary``, and everything else but histogram and sample.

        Without `arrays` it is the summary alone, with the errors of each element in it.
        """
        facts = super().json(arrays=False)
        if not arrays:
            return {"summary": {**facts, "elements": self.elements()}}
        return {
            "written_by": f"dock {__version__}",
            "options": plain(asdict(self.options)),
            "summary": facts,
            "elements": self.elements(),
            "element_pairs": self.blocks.records(),
            "structures": list(self.structures),
            "failed": [failure._asdict() for failure in self.failures],
            "without_prediction": list(self.unpredicted),
        }

    def datasets(self) -> dict[str, Any]:
        """Return the errors of blocks, and names and errors of the structures."""
        content = self.blocks.datasets()
        names = [row["name"] for row in self.structures]
        content["structures/name"] = np.array(names, dtype=str)
        for key in _MEASURES:
            values = [np.nan if row[key] is None else row[key] for row in self.structures]
            content[f"structures/{key}"] = np.array(values, dtype=np.float64)
        return content

    def write_hdf5(self, file: Any) -> None:
        """Write `datasets`, and `facts` as attributes."""
        super().write_hdf5(file)
        file.attrs["unit"] = "eV"

    @classmethod
    def files(cls, path: str | Path) -> list[Path]:
        """Return the files that `save` writes into a folder."""
        return [Path(path) / "evaluation.h5", Path(path) / "evaluation.json"]

    def save(self, path: str | Path | None = None, *, overwrite: bool = False) -> list[Path]:
        """Write ``evaluation.h5`` and ``evaluation.json`` into a folder; return both."""
        folder = prepare_folder(self.FILE if path is None else path)
        return super().save(folder, overwrite=overwrite)

    def save_bands(
        self, folder: str | Path, *, overwrite: bool = False, jobs: int | None = None
    ) -> list[Path]:
        """Write and draw the bands of the structure with the largest band error.

        ``band_reference.h5`` and ``band_predicted.h5`` are on one scale; ``bands.png`` has both.
        Returns the files: none where no bands were compared.
        """
        worst = self.worst("mae_band_eV")
        if worst is None:
            return []
        item = next(item for item in self.items if item.name == worst["name"])
        exact, guess = band_overlay(item, worst, s_threshold=self.options.s_threshold, jobs=jobs)
        folder = prepare_folder(folder)
        files = exact.save(folder / "band_reference.h5", overwrite=overwrite)
        files += guess.save(folder / "band_predicted.h5", overwrite=overwrite)
        figure = exact.beside(guess).plot(folder / "bands.png", overwrite=overwrite)
        return [*files, figure]

    def _rows(self) -> list[tuple[str, str]]:
        rows = [("structures", str(len(self.structures)))]
        if self.failures:
            rows.append(("failed", str(len(self.failures))))
        shown = shown_measures(self.structures)
        for measure in _MEASURES:
            if measure not in shown:
                continue
            name, words = MEASURES[measure]
            rows.append((name, words(self.mean(measure))))
        return rows

    def table(self) -> str:
        """Return the errors of each structure and of each element, and what is to be known."""
        shown = shown_measures(self.structures)
        head = ["structure", "atoms", *(MEASURES[key][0] for key in shown)]
        lines = [
            [row["name"], str(row["n_atoms"]), *_in_words(row, shown)] for row in self.structures
        ]
        if len(lines) > 1:
            means = {key: self.mean(key) for key in _MEASURES}
            lines.append(["mean", "", *_in_words({**means, "shift_hamiltonian_eV": None}, shown)])
        milli = MEASURES["mae_hamiltonian_eV"][1]
        elements = [
            [name, milli(own["mae_eV"]), milli(own["onsite_mae_eV"]), str(own["n_structures"])]
            for name, own in self.elements().items()
        ]
        parts = [table(lines, head), table(elements, ["element", "MAE H", "on site", "structures"])]
        noted = [row for row in self.structures if row["pairs_note"]]
        if noted:
            first = f"{noted[0]['name']}: {noted[0]['pairs_note']}"
            parts.append(f"pairs differ in {len(noted)}: {first}")
        parts += self._to_beat()
        if self.unpredicted:
            parts.append(f"without prediction: {len(self.unpredicted)} reference structures")
        return "\n\n".join(parts)

    def _to_beat(self) -> list[str]:
        """Return sentences about what simpler models are wrong by."""
        milli, said = MEASURES["mae_hamiltonian_eV"][1], []
        for key, words in _TO_BEAT.items():
            values = [row[key] for row in self.structures if row.get(key) is not None]
            if values:
                said.append(f"{words}: {milli(float(np.mean(values)))}")
        return ["; ".join(said)] if said else []

    def plot(
        self,
        path: str | Path | None = None,
        *,
        ax: Any = None,
        overwrite: bool = False,
        **options: Any,
    ) -> Any:
        """Draw heat maps, histograms and the parity plot into a folder, or the last into axes.

        A folder gets a PNG file of each of `FIGURES`; the others are the options of `Result.plot`.

        Returns
        -------
        list of Path, or Axes
            The files where a folder was given, else the axes of the parity plot.
        """
        if path is None:
            return super().plot(ax=ax, **options)
        folder = prepare_folder(path)
        module = require("matplotlib.figure", "plot")
        files = []
        for name, draw in FIGURES.items():
            figure = module.Figure(layout="constrained")
            draw(figure, self)
            with atomic_path(folder / name, overwrite=overwrite) as temporary:
                figure.savefig(temporary, dpi=self.DPI, format="png")
            files.append(folder / name)
        return files

    def draw(self, axes: Any) -> None:
        """Draw a sample of the predicted entries over those of the reference."""
        sample = self.blocks.sample
        if len(sample):
            axes.plot(sample[:, 0], sample[:, 1], ".", ms=2, color=colours()[0], rasterized=True)
            low, high = float(sample.min()), float(sample.max())
            axes.plot([low, high], [low, high], color=ink(0.5), lw=0.8)
        axes.set_xlabel("reference H (eV)")
        axes.set_ylabel("predicted H − Δμ S (eV)")
        mean = 1e3 * self.blocks.mean
        title = f"MAE {mean:.4g} meV over {self.blocks.n_entries} entries"
        axes.set_title(title, fontsize="medium")


def _in_words(row: dict[str, Any], shown: list[str]) -> list[str]:
    return [MEASURES[key][1](row[key]) for key in shown]


def find_items(
    prediction: str | Path, reference: str | Path | None = None
) -> tuple[list[Item], list[str]]:
    """Pair predictions with references.

    Parameters
    ----------
    prediction
        A Hamiltonian file, a folder with one, or a folder of such folders. In each,
        ``hamiltonian_pred.h5`` comes before ``hamiltonian.h5``.
    reference
        A calculation, or a folder of unified folders with the same names; default: the folder of
        the prediction, which then has both Hamiltonians.

    Returns
    -------
    items, unpredicted
        The pairs, and the names of references without a prediction.

    Raises
    ------
    MissingDataError
        When there is no prediction, or none of them has a reference.
    """
    guess = Path(prediction)
    _require_there("the prediction", guess)
    truth = Path(reference) if reference is not None else guess.parent if guess.is_file() else guess
    _require_there("the reference", truth)
    if guess.is_file():
        return [Item(guess.resolve().parent.name, guess, truth)], []
    for file in (guess / PREDICTION, guess / "hamiltonian.h5"):
        if file.is_file():
            return [Item(guess.resolve().name, file, truth)], []
    predictions = {
        str(file.parent.relative_to(guess)): file
        for pattern in ("hamiltonian.h5", PREDICTION)  # the second replaces the first
        for file in sorted(guess.rglob(pattern))
    }
    if not predictions:
        raise MissingDataError(
            PREDICTION, guess, "Neither this folder nor one below it has a Hamiltonian."
        )
    known = {str(file.parent.relative_to(truth)) for file in sorted(truth.rglob("info.json"))}
    if known.isdisjoint(predictions):
        raise MissingDataError(
            f"the reference of {min(predictions)}",
            truth,
            "References stand under the same names as the predictions: give the two folders from "
            "which the names are equal.",
        )
    items = [Item(name, predictions[name], truth / name) for name in sorted(predictions)]
    return items, sorted(known - set(predictions))


def _require_there(what: str, path: Path) -> None:
    if not path.exists():
        raise MissingDataError(what, path, "There is no such file or folder.")


def read_item(item: Item) -> tuple[AOMatrix, Calculation]:
    """Read a prediction and its reference.

    A file without POSCAR and info.json beside it takes those of the reference. It raises
    `MissingDataError` where that has no Hamiltonian or overlap, and `LayoutError` where both have a
    structure and they differ.
    """
    place = item.reference
    _require_there("the reference", place)
    if (place / "hamiltonian.h5").is_file():
        place = place / "hamiltonian.h5"
    elif (place / PREDICTION).is_file():
        raise MissingDataError(
            "hamiltonian.h5", place, "The reference has a prediction only: give the DFT result."
        )
    reference = read(place)
    if item.prediction.resolve() == place.resolve():
        raise UsageError(
            f"{item.prediction}: prediction and reference are the same file. Give the reference "
            "as the second argument."
        )
    beside = item.prediction.parent
    if not ((beside / "info.json").is_file() and (beside / "POSCAR").is_file()):
        facts = (reference.structure, reference.basis, reference.spin)
        return read_matrix(item.prediction, "hamiltonian", *facts), reference
    own = read(item.prediction)
    if not own.structure.is_close(reference.structure, 1e-4):
        raise LayoutError(
            f"{item.prediction} and {item.reference} have different structures "
            f"({own.structure.formula} and {reference.structure.formula}, or other positions). "
            "Give the reference that belongs to the prediction."
        )
    return own.require("hamiltonian"), reference


def evaluate_set(
    prediction: str | Path,
    reference: str | Path | None = None,
    options: EvaluateOptions | None = None,
    *,
    jobs: int | None = None,
    progress: Report = None,
) -> EvaluationSet:
    """Evaluate one prediction or all of a folder; one that fails does not stop the others.

    `prediction` and `reference` are those of `find_items`; `jobs` threads share the k-points of
    each structure, and `progress` is told of each.
    """
    options = options or EvaluateOptions()
    items, unpredicted = find_items(prediction, reference)
    rows, done, failures, blocks = [], [], [], BlockErrors()
    for item in Progress.of(progress).each(items):
        try:
            guess, truth = read_item(item)
            errors = evaluate(guess, truth, options, name=item.name, jobs=jobs)
            blocks.merge(errors.blocks)
        except DockError as error:
            if len(items) == 1:
                raise
            failures.append(Failure(item.name, str(error), error.exit_code))
        else:
            rows.append(errors.facts() | _of_the_model(item))
            done.append(item)
    return EvaluationSet(
        tuple(rows), blocks, tuple(failures), tuple(unpredicted), options, tuple(done)
    )


def _of_the_model(item: Item) -> dict[str, Any]:
    """Return what the report beside a prediction says of its model: errors when it was made."""
    found: dict[str, Any] = {"model_mae_eV": None, "baseline_mae_eV": None}
    with contextlib.suppress(DockError, KeyError, TypeError, ValueError):
        report = read_json(item.prediction.parent / REPORT)
        if report.get("validation_mae") is not None:
            found["model_mae_eV"] = float(report["validation_mae"])
        judged = report["baseline_errors"]
        found["baseline_mae_eV"] = float(judged["errors"][judged["kind"]])
    return found


def band_overlay(
    item: Item,
    row: dict[str, Any],
    *,
    path: str | Path | None = None,
    s_threshold: float | None = None,
    jobs: int | None = None,
) -> tuple[BandStructure, BandStructure]:
    """Return the bands of reference and prediction along one path, on one scale of energy.

    The prediction of `item` is shifted by −Δμ_band of its errors `row`; `path` is that of
    `dock.post.band_structure.bands`.
    """
    predicted, reference = read_item(item)
    k_path = make_path(reference, path)
    matrices = {"hamiltonian": predicted, "overlap": reference.require("overlap")}
    exact, guess = (
        bands(calc, k_path, s_threshold=s_threshold, jobs=jobs)
        for calc in (reference, reference.replace(matrices=matrices))
    )
    level = row["fermi_level_eV"]
    shift = row["shift_band_eV"] or 0.0
    scale: dict[str, Any] = {"fermi_level": level, "n_electrons": None}
    exact = replace(exact, name="reference", **scale)
    guess = replace(guess, name="predicted", energies=guess.energies - shift, **scale)
    return exact, guess


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
    beside = axes.inset_axes((1.03, 0.0, 0.05, 1.0))  # as high as the map, whatever its shape
    figure.colorbar(image, cax=beside, label="mean |ΔH| (meV)")


def _draw_histograms(figure: Any, result: EvaluationSet) -> None:
    measures = [key for key in _MEASURES if result.mean(key) is not None]
    figure.set_size_inches(3.3 * (1 + len(measures)), 3.0)
    axes = figure.add_subplot(1, 1 + len(measures), 1)
    counts = result.blocks.histogram
    there = np.flatnonzero(counts)
    first, last = (int(there[0]), int(there[-1]) + 1) if len(there) else (0, len(counts))
    edges = 1e3 * 10 ** HISTOGRAM_EDGES[first : last + 1]
    axes.stairs(counts[first:last], edges, fill=True, color=colours()[0])
    axes.set_xscale("log")
    axes.axvline(1e3 * result.blocks.mean, color=colours()[1], lw=1, label="mean")
    axes.legend(fontsize="small")
    axes.set_xlabel("|ΔH| of an entry (meV)")
    axes.set_ylabel("entries")
    for number, key in enumerate(measures, 2):
        factor, label = _MEASURES[key]
        axes = figure.add_subplot(1, 1 + len(measures), number)
        values = [factor * row[key] for row in result.structures if row[key] is not None]
        axes.hist(values, bins=min(40, max(5, len(values) // 4)), color=colours()[0])
        axes.axvline(float(np.mean(values)), color=colours()[1], lw=1)
        axes.set_xlabel(label)
        axes.set_ylabel("structures")


def _draw_parity(figure: Any, result: EvaluationSet) -> None:
    figure.set_size_inches(*result.FIGURE)
    result.draw(figure.add_subplot())


FIGURES: dict[str, Callable[[Any, EvaluationSet], None]] = {
    "element_pairs.png": _draw_element_pairs,
    "shell_pairs.png": _draw_shell_pairs,
    "histograms.png": _draw_histograms,
    "parity.png": _draw_parity,
}
"""File and drawing of each figure."""
