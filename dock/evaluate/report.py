"""The errors of many predictions: pairing predictions with references, and the sums over all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.errors import DockError, LayoutError, MissingDataError, UsageError
from dock.evaluate.blocks import BlockErrors
from dock.evaluate.structure import EvaluateOptions, StructureErrors, evaluate
from dock.post.band_structure import BandStructure

__all__ = [
    "EvaluationSet",
    "Failure",
    "Item",
    "band_overlay",
    "evaluate_set",
    "find_items",
    "read_item",
]

PREDICTED = "hamiltonian_pred.h5"
_MEASURES = ("mae_hamiltonian_eV", "mae_band_eV", "mae_dos", "rmse_state")


class Item(NamedTuple):
    """A prediction and its reference.

    Attributes
    ----------
    name
        The folder below the two that were given; that folder's own name for a single pair.
    prediction, reference
        Paths.
    """

    name: str
    prediction: Path
    reference: Path


class Failure(NamedTuple):
    """A pair that could not be evaluated, and why."""

    name: str
    reason: str
    exit_code: int


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """The errors of a set of predictions.

    Attributes
    ----------
    rows
        One dictionary of numbers per structure, in the order of their names.
    blocks
        The errors of all matrix elements together.
    failures
        What could not be evaluated.
    unpredicted
        Reference structures without a prediction.
    options
        How errors were measured.
    items
        The pairs that were evaluated, as the rows.
    """

    rows: tuple[dict[str, Any], ...]
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
        return self.failures[0].exit_code if not self.rows and len(self.failures) == 1 else 1

    def mean(self, measure: str) -> float | None:
        """Return the mean over the structures of one measure of the rows; None without any."""
        values = [row[measure] for row in self.rows if row[measure] is not None]
        return float(np.mean(values)) if values else None

    def worst(self, measure: str) -> dict[str, Any] | None:
        """Return the row with the largest value of a measure; None without any."""
        rows = [row for row in self.rows if row[measure] is not None]
        return max(rows, key=lambda row: row[measure]) if rows else None

    def summary(self) -> dict[str, Any]:
        """Return the sums over all structures as plain Python data."""
        found: dict[str, Any] = {
            "n_structures": len(self.rows),
            "n_failed": len(self.failures),
            "n_without_prediction": len(self.unpredicted),
            "n_entries": self.blocks.n_entries,
            "mae_hamiltonian_all_entries_eV": self.blocks.mean,
            "rmse_hamiltonian_all_entries_eV": self.blocks.root_mean_square,
            "max_hamiltonian_eV": self.blocks.largest,
        }
        for measure in _MEASURES:
            found[f"mean_{measure}"] = self.mean(measure)
            worst = self.worst(measure)
            found[f"worst_{measure}"] = None if worst is None else worst["name"]
        return found

    def elements(self) -> dict[str, dict[str, float]]:
        """Return the errors of each element.

        ``mae_eV`` is over the blocks that have the element on either side, ``onsite_mae_eV`` over
        its on-site blocks, ``structure_mae_eV`` the mean of MAE_H over the structures that
        contain it.
        """
        result = {}
        for name in self.blocks.elements:
            own = self.blocks.of_element(name)
            rows = [row["mae_hamiltonian_eV"] for row in self.rows if name in row["elements"]]
            own["structure_mae_eV"] = float(np.mean(rows))
            own["n_structures"] = len(rows)
            result[name] = own
        return result

    def save(self, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write ``evaluation.json`` and ``evaluation.h5`` into a folder; return both."""
        from dock.evaluate.report_files import save

        return save(self, Path(folder), overwrite=overwrite)

    def plot(self, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Draw heat maps, histograms and the parity plot into a folder; return the files."""
        from dock.evaluate.report_plot import plot

        return plot(self, Path(folder), overwrite=overwrite)


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
    if not guess.exists():
        raise MissingDataError("the prediction", guess, "There is no such file or folder.")
    truth = Path(reference) if reference is not None else guess.parent if guess.is_file() else guess
    if not truth.exists():
        raise MissingDataError("the reference", truth, "There is no such file or folder.")
    if guess.is_file():
        return [Item(guess.resolve().parent.name, guess, truth)], []
    single = _prediction_in(guess)
    if single is not None:
        return [Item(guess.resolve().name, single, truth)], []
    found = {
        str(file.parent.relative_to(guess)): file
        for pattern in ("hamiltonian.h5", PREDICTED)  # the second replaces the first
        for file in sorted(guess.rglob(pattern))
    }
    if not found:
        raise MissingDataError(
            PREDICTED, guess, "Neither this folder nor one below it has a Hamiltonian."
        )
    known = {str(file.parent.relative_to(truth)) for file in sorted(truth.rglob("info.json"))}
    matched = [name for name in sorted(found) if name in known]
    if not matched:
        raise MissingDataError(
            f"the reference of {min(found)}",
            truth,
            "References stand under the same names as the predictions: give the two folders from "
            "which the names are equal.",
        )
    items = [Item(name, found[name], truth / name) for name in sorted(found)]
    return items, sorted(known - set(found))


def _prediction_in(folder: Path) -> Path | None:
    for name in (PREDICTED, "hamiltonian.h5"):
        if (folder / name).is_file():
            return folder / name
    return None


def read_item(item: Item) -> tuple[AOMatrix, Calculation]:
    """Read a prediction and its reference.

    A file without POSCAR and info.json beside it takes those of the reference.

    Raises
    ------
    MissingDataError
        When the reference has no Hamiltonian or overlap.
    LayoutError
        When both have a structure and they differ.
    """
    from dock.converters import read
    from dock.converters.deeph.blockfile import read_matrix

    place = item.reference
    if not place.exists():
        raise MissingDataError("the reference", place, "There is no such file or folder.")
    if (place / "hamiltonian.h5").is_file():
        place = place / "hamiltonian.h5"
    elif (place / PREDICTED).is_file():
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
    progress: Callable[[int, int, str], None] | None = None,
) -> EvaluationSet:
    """Evaluate one prediction or all of a folder; one that fails does not stop the others.

    Parameters
    ----------
    prediction, reference
        As in `find_items`.
    options
        How errors are measured.
    jobs
        Threads for the k-points of each structure.
    progress
        Called with the structures done, their number and the name of the latest.
    """
    options = options or EvaluateOptions()
    items, unpredicted = find_items(prediction, reference)
    rows, done, failures, blocks = [], [], [], BlockErrors()
    for number, item in enumerate(items, 1):
        try:
            guess, truth = read_item(item)
            result = evaluate(guess, truth, options, name=item.name, jobs=jobs)
            blocks.merge(result.blocks)
        except DockError as error:
            if len(items) == 1:
                raise
            failures.append(Failure(item.name, str(error), error.exit_code))
        else:
            rows.append(to_row(result))
            done.append(item)
        if progress is not None:
            progress(number, len(items), item.name)
    return EvaluationSet(
        tuple(rows), blocks, tuple(failures), tuple(unpredicted), options, tuple(done)
    )


def to_row(result: StructureErrors) -> dict[str, Any]:
    """Return the errors of one structure as plain Python data."""
    blocks, bands = result.blocks, result.bands
    row: dict[str, Any] = {
        "name": result.name,
        "formula": result.formula,
        "n_atoms": result.n_atoms,
        "elements": list(blocks.elements),
        "mae_hamiltonian_eV": blocks.mean,
        "rmse_hamiltonian_eV": blocks.root_mean_square,
        "max_hamiltonian_eV": blocks.largest,
        "shift_hamiltonian_eV": result.shift,
        "n_entries": blocks.n_entries,
        "element_pairs_mae_eV": {
            f"{left}-{right}": sums.mean for (left, right), sums in blocks.pairs.items()
        },
        "pairs_note": result.pairs,
    }
    names = ("mae_band_eV", "max_band_eV", "shift_band_eV", "mae_dos", "rmse_state", "n_levels")
    if bands is None:
        return row | dict.fromkeys((*names, "n_states", "fermi_level_eV", "window_eV", "kmesh"))
    window = bands.window
    values = (bands.mae, bands.largest, bands.shift, bands.dos, bands.state, bands.n_levels)
    return row | {
        **dict(zip(names, values, strict=True)),
        "n_states": bands.n_states,
        "fermi_level_eV": bands.fermi_level,
        "window_eV": None if window is None else [window.low, window.high],
        "kmesh": list(bands.mesh),
    }


def band_overlay(
    item: Item,
    row: dict[str, Any],
    *,
    path: str | Path | None = None,
    s_threshold: float | None = None,
    jobs: int | None = None,
) -> tuple[BandStructure, BandStructure]:
    """Return the bands of reference and prediction along one path, on one scale of energy.

    Parameters
    ----------
    item, row
        A pair and its errors; the prediction is shifted by −Δμ_band.
    path
        As in `dock.post.band_structure.bands`.
    """
    from dock.post.band_structure import bands, make_path

    guess, reference = read_item(item)
    chosen = make_path(reference, path)
    matrices = {"hamiltonian": guess, "overlap": reference.require("overlap")}
    exact, found = (
        bands(calc, chosen, s_threshold=s_threshold, jobs=jobs)
        for calc in (reference, reference.replace(matrices=matrices))
    )
    level = row["fermi_level_eV"]
    shift = row["shift_band_eV"] or 0.0
    exact = replace(exact, fermi_level=level, n_electrons=None)
    found = replace(found, energies=found.energies - shift, fermi_level=level, n_electrons=None)
    return exact, found
