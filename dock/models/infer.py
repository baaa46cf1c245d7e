"""Predictions for folders and structure files: overlaps where they lack, files, reports."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dock._version import __version__
from dock.converters import read
from dock.converters.batch import Outcome, Report as BatchReport
from dock.converters.deeph.blockfile import read_attributes, read_pairs, write_matrix
from dock.converters.deeph.dataset import find_structures
from dock.converters.deeph.folder import FILES, PREDICTION
from dock.converters.deeph.info import FORMAT_VERSION, read_info
from dock.core.arrays import FloatArray, NumberArray
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import DockError, MissingDataError, OutputError, UsageError
from dock.io.files import prepare_folder, write_text
from dock.models.backend import Model, PairsOfBasis, Pattern
from dock.models.coverage import cover
from dock.models.data.samples import MOMENTS_FILE, moments_of
from dock.models.modelfile import ModelFile

__all__ = ["InferJob", "Target", "find_targets", "infer", "prediction_file"]

REPORT = "prediction.json"
Progress = Callable[[int], None]


class Target(NamedTuple):
    """One structure and where its prediction goes.

    Attributes
    ----------
    source
        A unified folder or a structure file.
    folder
        Where the prediction is written.
    """

    source: Path
    folder: Path


@dataclass(frozen=True)
class InferJob:
    """How predictions are made and written.

    Attributes
    ----------
    basis
        Folder of basis files, to compute overlaps that are not there; None without.
    code, species
        Whose basis files; OpenMX: the basis of each species.
    single_precision
        Store 32-bit numbers.
    overwrite
        Replace predictions of another model, and overlaps.
    jobs
        Threads of the overlaps.
    command
        Kept in the files.
    """

    basis: Path | None = None
    code: str = "auto"
    species: Mapping[str, str] = field(default_factory=dict)
    single_precision: bool = False
    overwrite: bool = False
    jobs: int | None = None
    command: str = ""


def find_targets(inputs: Sequence[str | Path], output: str | Path | None = None) -> list[Target]:
    """Return the structures among inputs and where their predictions go.

    Parameters
    ----------
    inputs
        Unified folders, folders that hold such, and structure files.
    output
        One structure is written to it, several below it; None for beside each structure.

    Raises
    ------
    MissingDataError
        When an input is not there or holds no structure.
    UsageError
        When two structures would be written to one place.
    """
    sources: list[tuple[Path, str]] = []
    for entry in inputs:
        path = Path(entry)
        if not path.exists():
            raise MissingDataError("the structure", path, "Check the path.")
        if path.is_file():
            sources.append((path, path.parent.name if path.name == "POSCAR" else path.stem))
        elif (path / "POSCAR").is_file():
            sources.append((path, path.resolve().name))
        else:
            root, names = find_structures(path)
            sources += [(root / name, name) for name in names]
    if output is None:
        found = [Target(path, path if path.is_dir() else path.parent) for path, _ in sources]
    elif len(sources) == 1:
        found = [Target(sources[0][0], Path(output))]
    else:
        found = [Target(path, Path(output) / name) for path, name in sources]
    places: dict[Path, Path] = {}
    for target in found:
        other = places.setdefault(target.folder.resolve(), target.source)
        if other != target.source:
            raise UsageError(
                f"{other} and {target.source} would both be written to {target.folder}: give them "
                "different names, or convert them one by one with -o."
            )
    return found


def prediction_file(model: Model) -> str:
    """Return the file name of a model's predictions, such as ``hamiltonian_pred.h5``."""
    quantity = str(model.describe().get("quantity", "hamiltonian"))
    return PREDICTION if quantity == "hamiltonian" else FILES[quantity].replace(".h5", "_pred.h5")


def infer(
    models: Sequence[Model],
    targets: Sequence[Target],
    job: InferJob | None = None,
    progress: Progress | None = None,
) -> BatchReport:
    """Predict the matrices of many structures and write them.

    Parameters
    ----------
    models
        One, or several of the same targets: their mean is written, and their spread into
        ``uncertainty.h5``.
    targets
        From `find_targets`.
    job
        Details.
    progress
        Called with the number of structures done.

    Returns
    -------
    Report
        A structure that fails does not stop the others.

    Raises
    ------
    UsageError
        When the models of an ensemble predict different things.
    """
    job = job or InferJob()
    _require_alike(models)
    outcomes = []
    for number, target in enumerate(targets, 1):
        begin = time.monotonic()
        try:
            status, files = _one(models, target, job)
        except DockError as error:
            outcome = Outcome(str(target.source), str(target.folder), "failed", str(error), 2)
        else:
            outcome = Outcome(str(target.source), str(target.folder), status, files=files)
        outcomes.append(replace(outcome, seconds=time.monotonic() - begin))
        if progress is not None:
            progress(number)
    return BatchReport(tuple(outcomes))


def _require_alike(models: Sequence[Model]) -> None:
    """Refuse an ensemble whose members predict different things."""
    keys = ("quantity", "species", "ls", "spin", "time_reversal")
    facts = [{name: model.describe().get(name) for name in keys} for model in models]
    for other in facts[1:]:
        for name in keys:
            if other[name] != facts[0][name]:
                raise UsageError(
                    f"the models of an ensemble must agree; {name} is {facts[0][name]} in the "
                    f"first and {other[name]} in another."
                )


class _Request(NamedTuple):
    """A structure ready to be predicted."""

    structure: Structure
    pattern: Pattern
    moments: FloatArray | None
    notes: list[str]


def _one(models: Sequence[Model], target: Target, job: InferJob) -> tuple[Any, tuple[str, ...]]:
    """Predict one structure; return the status and the files written."""
    begin = time.monotonic()
    marks = "+".join(str(model.describe().get("fingerprint", "")) for model in models)
    name = prediction_file(models[0])
    place = target.folder / name
    if place.is_file() and not job.overwrite:
        if marks and read_attributes(place).get("model") == marks:
            return "skipped", ()
        raise OutputError(
            f"{place}: exists already, made by another model. Give --overwrite to replace it."
        )
    request = _prepare(models[0], target, job)
    matrix, spread = _mean(models, request)
    attributes = {
        "dock_format_version": FORMAT_VERSION,
        "quantity": matrix.quantity,
        "unit": matrix.facts.unit,
        "spin": matrix.spin.value,
        "source_code": f"dock model {marks}",
        "written_by": f"dock {__version__}",
        "model": marks,
    }
    report: dict[str, Any] = {
        "source": str(target.source),
        "models": marks.split("+"),
        "dock_version": __version__,
        "command": job.command,
        "atoms": request.structure.n_atoms,
        "pairs": len(matrix.pairs),
        "notes": request.notes,
        "seconds": 0.0,
    }
    written = []
    if spread is not None:
        report["uncertainty"] = _spread_summary(matrix, spread)
        written.append(_write_spread(target.folder, matrix, spread, overwrite=job.overwrite))
    write_matrix(
        place, matrix, attributes, single_precision=job.single_precision, overwrite=job.overwrite
    )
    report["seconds"] = round(time.monotonic() - begin, 3)
    write_text(target.folder / REPORT, json.dumps(report, indent=1) + "\n", overwrite=True)
    return "done", (*written, str(place), str(target.folder / REPORT))


# ---------------------------------------------------------------------- what goes in


def _prepare(model: Model, target: Target, job: InferJob) -> _Request:
    """Read the structure and its pattern; make the target folder complete but for the result."""
    source = target.source
    facts = model.describe()
    spin = Spin(str(facts.get("spin", "none")))
    if source.is_dir() and (source / "overlap.h5").is_file():
        folder = source
        _refuse_other_spin(target, spin)
    else:
        folder = _compute_overlap(model, target, job)
    calc = read(folder, format="deeph")
    pairs = read_pairs(folder / "overlap.h5", calc.structure.n_atoms)
    pattern: Pattern = PairsOfBasis(calc.basis, pairs)
    notes: list[str] = []
    file = getattr(model, "file", None)
    moments = None
    if isinstance(file, ModelFile):
        coverage = cover(file, calc.structure, pattern)
        pattern, notes = coverage.pattern, coverage.notes
        if file.config is not None and file.config.moments:
            own = folder if (folder / MOMENTS_FILE).is_file() else source
            moments = moments_of(own if own.is_dir() else own.parent, calc)
    if target.folder.resolve() != source.resolve():
        _complete(source, folder, target.folder, spin, overwrite=job.overwrite)
    return _Request(calc.structure, pattern, moments, notes)


def _refuse_other_spin(target: Target, spin: Spin) -> None:
    """Refuse to put spin matrices into a folder that says it has none, and the reverse."""
    stated = read_info(target.source / "info.json").spin
    if target.folder.resolve() == target.source.resolve() and stated not in (None, spin):
        raise UsageError(
            f"{target.source / 'info.json'}: the folder has spin '{stated.value}', the model "
            f"'{spin.value}'. Give another folder with -o; nothing here was changed."
        )


def _compute_overlap(model: Model, target: Target, job: InferJob) -> Path:
    """Compute the overlap of a structure into the target folder, and return that."""
    from dock.overlap_folder import OverlapJob, OverlapTarget

    source = target.source
    if job.basis is None:
        raise MissingDataError(
            "overlap.h5",
            source,
            "It gives the pairs of atoms: compute it with dock compute-overlap, or give --basis.",
        )
    place = OverlapTarget(target.folder, "overlap.h5")
    if place.file("overlap").is_file() and not job.overwrite:
        return target.folder
    path = source / "POSCAR" if source.is_dir() else source

    def prepared(pattern: str) -> OverlapJob:
        return OverlapJob.prepare(
            path, Path(job.basis or ""), place, code=job.code, strings=job.species, pattern=pattern
        )

    overlap = prepared("orbital")
    if overlap.has_projectors and _reaches_further(model, overlap):
        overlap = prepared("kb")
    overlap.write(place, overwrite=job.overwrite, jobs=job.jobs)
    return target.folder


def _reaches_further(model: Model, overlap: Any) -> bool:
    """Whether the training data have pairs beyond the reach of the orbitals."""
    from dock.overlap.neighbours import orbital_cutoffs

    file = getattr(model, "file", None)
    if not isinstance(file, ModelFile):
        return False
    radii = orbital_cutoffs(overlap.integrals.basis)
    n = file.layout.n_species
    for first, one in enumerate(file.layout.species):
        for second, other in enumerate(file.layout.species):
            reach = radii.get(one, np.inf) + radii.get(other, np.inf)
            if file.statistics.longest[first * n + second] > reach + 1e-6:
                return True
    return False


def _complete(source: Path, folder: Path, target: Path, spin: Spin, *, overwrite: bool) -> None:
    """Give the target POSCAR, overlap.h5 and an info.json with the spin of the prediction."""
    prepare_folder(target)
    if folder.resolve() != target.resolve():
        for name in ("POSCAR", "overlap.h5"):
            place = target / name
            if place.exists() and not overwrite:
                continue
            place.unlink(missing_ok=True)
            _link(folder / name, place)
        if (source / MOMENTS_FILE).is_file():
            shutil.copyfile(source / MOMENTS_FILE, target / MOMENTS_FILE)
    calc = read(folder, format="deeph")
    info = read_info(folder / "info.json")
    own = {**info.own, "spin": spin.value}
    right = replace(info, spinful=spin is not Spin.NONE, fermi_level=None, own=own)
    text = right.to_json(calc.structure, calc.basis)
    write_text(target / "info.json", text, overwrite=True)


def _link(source: Path, target: Path) -> None:
    """Link a file, or copy it where links are not possible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


# ---------------------------------------------------------------------- what comes out


def _mean(models: Sequence[Model], request: _Request) -> tuple[AOMatrix, FloatArray | None]:
    """Return the mean of the models' predictions, and the spread of each pair's block."""
    arguments = (request.structure, request.pattern, request.moments)
    first = models[0].predict(*arguments)
    if len(models) == 1:
        return first, None
    mean: NumberArray = np.array(first.entries)
    squares = np.zeros(mean.shape[1])
    for count, model in enumerate(models[1:], 2):
        entries = model.predict(*arguments).entries
        change = entries - mean
        mean = mean + change / count
        squares += (change * (entries - mean).conj()).real.sum(axis=0)
    matrix = AOMatrix(first.quantity, first.structure, first.basis, first.pairs, first.spin, mean)
    variance = squares / (len(models) - 1) / len(mean)
    starts = matrix.layout.starts
    sums = np.add.reduceat(variance, starts[:-1])
    return matrix, np.sqrt(sums / np.diff(starts))


def _spread_summary(matrix: AOMatrix, spread: FloatArray) -> dict[str, Any]:
    """Return the spread over all, the worst pair, and by pair of elements, in the unit."""
    labels = np.array(matrix.basis.labels)
    names = np.char.add(np.char.add(labels[matrix.pairs.i], "-"), labels[matrix.pairs.j])
    sizes = np.diff(matrix.layout.starts)

    def rms(chosen: Any) -> float:
        return float(np.sqrt(np.average(spread[chosen] ** 2, weights=sizes[chosen])))

    worst = int(np.argmax(spread))
    return {
        "unit": matrix.facts.unit,
        "rms": rms(slice(None)),
        "largest": float(spread[worst]),
        "largest_at": matrix.pairs.describe(worst),
        "pairs": {str(name): rms(names == name) for name in np.unique(names)},
    }


def _write_spread(folder: Path, matrix: AOMatrix, spread: FloatArray, *, overwrite: bool) -> str:
    """Write the spread of each pair's block."""
    from dock.io.hdf5 import new_hdf5

    path = folder / "uncertainty.h5"
    pairs = matrix.pairs
    with new_hdf5(path, overwrite=overwrite) as file:
        file["atom_pairs"] = np.column_stack([pairs.R, pairs.i, pairs.j]).astype(np.int64)
        file["spread"] = spread
        file.attrs["unit"] = matrix.facts.unit
        file.attrs["meaning"] = "root mean square over a block of the models' standard deviation"
    return str(path)


def failures(report: BatchReport) -> Iterator[str]:
    """Yield a sentence for each structure that failed."""
    for outcome in report.outcomes:
        if outcome.status == "failed":
            reason = outcome.reason
            yield reason if outcome.source in reason else f"{outcome.source}: {reason}"
