"""Predictions for folders and structure files: overlaps where they lack, files, reports."""

from __future__ import annotations

import inspect
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dock._version import __version__
from dock.converters.batch import Outcome, Report as BatchReport, failure
from dock.converters.deeph.blockfile import (
    QUADRANTS,
    has_spin_blocks,
    read_attributes,
    write_matrix,
)
from dock.converters.deeph.dataset import find_structures
from dock.converters.deeph.folder import FILES, PREDICTION, Head, read_head
from dock.converters.deeph.info import FORMAT_VERSION, read_info
from dock.converters.deeph.pattern import read_pairs
from dock.converters.structure_files import holds_structure
from dock.core.arrays import FloatArray, NumberArray
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import MissingDataError, OutputError, UsageError
from dock.io.files import link_or_copy, prepare_folder, write_text
from dock.io.hdf5 import new_hdf5
from dock.io.progress import Progress, Report
from dock.io.text import json_text, without_folders
from dock.models.backend import Model, PairsOfBasis, Pattern, Scope
from dock.models.coverage import cover, foreign_moments
from dock.models.data.moments import MOMENTS_FILE, moments_of
from dock.models.known_operator import basis_to_compute, stored_operator
from dock.overlap_folder import (
    INITIAL,
    OverlapJob,
    OverlapTarget,
    basis_with_projectors,
    stored_reach,
)

__all__ = ["PredictionJob", "Target", "failures", "find_targets", "predict", "prediction_file"]

REPORT = "prediction.json"


class Target(NamedTuple):
    """One structure, a unified folder or a structure file, and the folder of its prediction."""

    source: Path
    folder: Path


@dataclass(frozen=True)
class PredictionJob:
    """How predictions are made and written.

    Attributes
    ----------
    basis
        Folder of basis files, to compute overlaps that are not there, and to add the pairs that
        meet through projectors only to those that are; None without.
    code, species
        Whose basis files; OpenMX: the basis of each species.
    single_precision
        Store 32-bit numbers.
    overwrite
        Replace predictions of another model, and overlaps.
    strict
        Refuse a structure that lies outside the training data.
    jobs
        Threads of the overlaps.
    command, note
        Kept in the files.
    """

    basis: Path | None = None
    code: str = "auto"
    species: Mapping[str, str] = field(default_factory=dict)
    single_precision: bool = False
    overwrite: bool = False
    strict: bool = False
    jobs: int | None = None
    command: str = ""
    note: str = ""


def find_targets(inputs: Sequence[str | Path], output: str | Path | None = None) -> list[Target]:
    """Return the structures among inputs and where their predictions go.

    Parameters
    ----------
    inputs
        Unified folders, folders that hold such, structure files, and runs of any code.
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
            sources += _below(path)
    if output is None:
        targets = [Target(path, path if path.is_dir() else path.parent) for path, _ in sources]
    elif len(sources) == 1:
        targets = [Target(sources[0][0], Path(output))]
    else:
        targets = [Target(path, Path(output) / name) for path, name in sources]
    places: dict[Path, Path] = {}
    for target in targets:
        other = places.setdefault(target.folder.resolve(), target.source)
        if other != target.source:
            raise UsageError(
                f"{other} and {target.source} would both be written to {target.folder}: give them "
                "different names, or predict them one by one into folders of their own."
            )
    return targets


def _below(folder: Path) -> list[tuple[Path, str]]:
    """Return the unified folders below a folder; without any, the folder if it is a run's."""
    try:
        root, names = find_structures(folder)
    except MissingDataError:
        if not holds_structure(folder):
            raise
        return [(folder, folder.resolve().name)]
    return [(root / name, name) for name in names]


def prediction_file(model: Model) -> str:
    """Return the file name of a model's predictions, such as ``hamiltonian_pred.h5``."""
    quantity = model.scope.layout.quantity
    return PREDICTION if quantity == "hamiltonian" else FILES[quantity].replace(".h5", "_pred.h5")


def predict(
    models: Sequence[Model],
    targets: Sequence[Target],
    job: PredictionJob | None = None,
    progress: Report = None,
) -> BatchReport:
    """Predict the matrices of many structures and write them; one that fails stops no other.

    Parameters
    ----------
    models
        One, or several of the same targets: their mean is written, and their spread into
        ``uncertainty.h5``.
    targets
        From `find_targets`.
    progress
        Counts structures; of a single one the parts that its models compute, where they say so.

    Raises
    ------
    UsageError
        When models of an ensemble predict different things, or one does not take `initial`.
    """
    job = job or PredictionJob()
    _require_alike(models)
    outcomes = []
    whole = Progress.of(progress)
    alone = len(targets) == 1
    for target in targets if alone else whole.each(targets):
        begin = time.monotonic()
        source, folder = str(target.source), str(target.folder)
        try:
            outcome = _predicted(models, target, job, whole if alone else None)
        except Exception as error:  # noqa: BLE001 - a fault in one structure stops no other
            if isinstance(error, OutputError) and not job.overwrite and _is_made(models, target):
                outcome = Outcome(source, folder, "skipped")  # another process was faster
            else:
                outcome = Outcome(source, folder, "failed", *failure(error))
        outcomes.append(replace(outcome, seconds=time.monotonic() - begin))
    return BatchReport(tuple(outcomes))


def _require_alike(models: Sequence[Model]) -> None:
    """Refuse an ensemble whose members predict different things, and models of half a matrix."""
    less = models[0].scope.layout.less
    if less and any("initial" not in _arguments(model) for model in models):
        raise UsageError(
            f"this model learned what H is beyond the {less}, but its predict() takes no initial= "
            "and would return that alone. Train it with initial = false in [model]."
        )
    facts = [model.scope.layout.to_dict() for model in models]
    for other in facts[1:]:
        for name in ("quantity", "species", "ls", "spin", "time_reversal", "less"):
            one, two = facts[0].get(name, ""), other.get(name, "")
            if one != two:
                raise UsageError(
                    f"the models of an ensemble must agree; {name} is {one or 'nothing'} in the "
                    f"first and {two or 'nothing'} in another."
                )


class _Request(NamedTuple):
    """A structure ready to be predicted.

    `initial` is what the models add to, `n_overlap` the pairs of the overlap, and `owns_overlap`
    whether that file is ours.
    """

    structure: Structure
    pattern: Pattern
    moments: FloatArray | None
    initial: AOMatrix | None
    notes: list[str]
    n_overlap: int
    owns_overlap: bool


def _marks(models: Sequence[Model]) -> str:
    """Return what a prediction carries of its models."""
    return "+".join(model.scope.fingerprint for model in models)


def _is_made(models: Sequence[Model], target: Target) -> bool:
    """Whether the target holds the prediction of these models."""
    place, marks = target.folder / prediction_file(models[0]), _marks(models)
    return bool(marks) and place.is_file() and read_attributes(place).get("model") == marks


def _predicted(
    models: Sequence[Model], target: Target, job: PredictionJob, progress: Report
) -> Outcome:
    """Predict one structure and write what belongs to it."""
    begin = time.monotonic()
    marks = _marks(models)
    place = target.folder / prediction_file(models[0])
    if place.is_file() and not job.overwrite:
        if _is_made(models, target):
            return Outcome(str(target.source), str(target.folder), "skipped")
        raise OutputError(
            f"{place}: exists already, made by another model. Pass overwrite=True to replace it."
        )
    request = _prepare(models, target, job)
    matrix, spread = _mean(models, request, progress)
    notes = [*request.notes, *_shared_pattern(matrix, target.folder, request)]
    report: dict[str, Any] = {
        "source": str(target.source),
        "models": marks.split("+"),
        "dock_version": __version__,
        "command": job.command,
        "atoms": request.structure.n_atoms,
        "pairs": len(matrix.pairs),
        "notes": notes,
        "seconds": 0.0,
        **_known_errors(models[0]),
    }
    if models[0].scope.layout.less:
        report["less"] = models[0].scope.layout.less
    if job.note:
        report["note"] = job.note
    written = []
    if spread is not None:
        report["uncertainty"] = _spread_summary(matrix, spread)
        written.append(_write_spread(target.folder, matrix, spread, overwrite=job.overwrite))
    write_matrix(
        place,
        matrix,
        _attributes(matrix, marks),
        single_precision=job.single_precision,
        overwrite=job.overwrite,
    )
    report["seconds"] = round(time.monotonic() - begin, 3)
    write_text(
        target.folder / REPORT, json_text(without_folders(report), indent=1) + "\n", overwrite=True
    )
    files = (*written, str(place), str(target.folder / REPORT))
    return Outcome(str(target.source), str(target.folder), "done", files=files)


def _known_errors(model: Model) -> dict[str, Any]:
    """Return what a model was wrong by when it was made, and its closed form alone."""
    facts = model.describe()
    return {key: facts[key] for key in ("validation_mae", "baseline_errors") if facts.get(key)}


def _attributes(matrix: AOMatrix, marks: str) -> dict[str, Any]:
    """Return the attributes of a prediction's file."""
    return {
        "dock_format_version": FORMAT_VERSION,
        "quantity": matrix.quantity,
        "unit": matrix.facts.unit,
        "spin": matrix.spin.value,
        "source_code": f"dock model {marks}",
        "written_by": f"dock {__version__}",
        "model": marks,
    }


# ---------------------------------------------------------------------- what goes in


def _prepare(models: Sequence[Model], target: Target, job: PredictionJob) -> _Request:
    """Read the structure and its pattern once; make the target folder complete but the result.

    The numbers of the overlap are read only where one of the models takes them.
    """
    takes_moments = any(model.scope.takes_moments for model in models)
    scope = replace(models[0].scope, takes_moments=takes_moments)
    needs_overlap = any(model.scope.of_unseen == "elements" for model in models)
    source = target.source
    spin = scope.layout.spin
    overlap = source / "overlap.h5"
    if source.is_dir() and overlap.is_file():
        head = read_head(source)
        _refuse_other_spin(head, target.folder, spin)
        if spin is Spin.NONE and has_spin_blocks(overlap, head.basis):
            raise UsageError(
                f"{overlap}: it is written for both spins (1₂⊗S), the model has none. Compute it "
                "without --spinful, or predict with a model of spin."
            )
        pairs, is_new = read_pairs(overlap, head.structure.n_atoms), False
        n_overlap = len(pairs)
        pairs = _with_projector_pairs(scope, head, pairs, job)
    else:
        head, pairs, is_new = _with_overlap(scope, target, job)
        n_overlap = len(pairs)
    coverage = cover(scope, head.structure, PairsOfBasis(head.basis, pairs))
    moments = None
    if scope.takes_moments:
        beside = source if source.is_dir() else source.parent
        has_own = (head.folder / MOMENTS_FILE).is_file()
        moments = moments_of(head.folder if has_own else beside, head.calculation())
    foreign = [] if moments is None else foreign_moments(scope, head.structure, moments)
    notes, outside = [*coverage.notes, *foreign], [*coverage.outside, *foreign]
    if job.strict and outside:
        raise UsageError(
            f"{source}: this lies outside the training data of the model, and strict=True refuses "
            f"that: {'; '.join(outside)}."
        )
    initial = _initial(scope, head, job)
    owns = is_new or target.folder.resolve() != source.resolve()
    if owns:
        if head.info.n_electrons is None:  # neither the run nor the basis files say them
            info = replace(head.info, n_electrons=scope.electrons_of(head.structure))
            head = replace(head, info=info)
        _complete(head, target, spin, overwrite=job.overwrite)
    pattern = coverage.pattern
    if needs_overlap:
        numbers = head.calculation().require("overlap")
        pattern = PairsOfBasis(pattern.basis, pattern.pairs, numbers)
    return _Request(head.structure, pattern, moments, initial, notes, n_overlap, owns)


def _initial(scope: Scope, head: Head, job: PredictionJob) -> AOMatrix | None:
    """Return the known operator that the models add to; that of the folder, or a computed one."""
    layout = scope.layout
    if not layout.less:
        return None
    if (stored := stored_operator(scope, head)) is not None:
        return stored
    basis = basis_to_compute(scope, head, job.basis)
    place = OverlapTarget(head.folder, "overlap.h5")
    overlap = OverlapJob.prepare(
        head.folder / "POSCAR",
        basis,
        place,
        code=job.code,
        strings=job.species,
        pattern="auto",
        quantities=(INITIAL,),
    )
    return overlap.initial_hamiltonian(layout.spin, jobs=job.jobs)


def _refuse_other_spin(head: Head, folder: Path, spin: Spin) -> None:
    """Refuse to put spin matrices into a folder that says it has none, and the reverse."""
    stated = head.info.spin
    if folder.resolve() == head.folder.resolve() and stated not in (None, spin):
        raise UsageError(
            f"{head.folder / 'info.json'}: the folder has spin '{stated.value}', the model "
            f"'{spin.value}'. Choose another place. Nothing here was changed."
        )


def _with_overlap(scope: Scope, target: Target, job: PredictionJob) -> tuple[Head, Pairs, bool]:
    """Compute the overlap of a structure into the target folder, unless it was left there before.

    The third is whether its info.json was written now, and knows nothing of the prediction.
    """
    source = target.source
    if job.basis is None:
        raise MissingDataError(
            "overlap.h5",
            source,
            "It gives the pairs of atoms: compute it with dock compute-overlap, or pass basis=DIR.",
        )
    place = OverlapTarget(target.folder, "overlap.h5")
    if place.file("overlap").is_file() and not job.overwrite:
        head = read_head(target.folder)
        return head, read_pairs(place.file("overlap"), head.structure.n_atoms), False
    had_info = (target.folder / "info.json").is_file()
    file = source / "POSCAR" if (source / "POSCAR").is_file() else source
    overlap = OverlapJob.prepare(file, job.basis, place, code=job.code, strings=job.species)
    if overlap.has_projectors:
        from dock.overlap.neighbours import orbital_cutoffs

        if _reaches_further(scope, orbital_cutoffs(overlap.integrals.basis)):
            overlap = overlap.through_projectors()
    overlap.write(place, overwrite=job.overwrite, jobs=job.jobs)
    structure = overlap.integrals.structure
    info = read_info(target.folder / "info.json")
    head = Head.of(target.folder, info, structure.relabel(structure.symbols))
    return head, overlap.integrals.pairs, not had_info


def _with_projector_pairs(scope: Scope, head: Head, pairs: Pairs, job: PredictionJob) -> Pairs:
    """Add the pairs that meet through projectors only, which many overlaps lack and H has.

    The radii are those of the basis files, or what the run's own files said when it was converted.
    """
    from dock.overlap.neighbours import orbital_cutoffs, projector_pairs

    found = None
    if job.basis is not None:
        found = basis_with_projectors(head.structure, job.basis, job.code, job.species)
    radii = stored_reach(head.info.own) if found is None else (orbital_cutoffs(found[0]), found[1])
    if radii is None or not set(head.structure.labels) <= set(radii[0]):
        return pairs
    if not _reaches_further(scope, radii[0]):
        return pairs
    return pairs.union(projector_pairs(head.structure, *radii))


def _reaches_further(scope: Scope, radii: Mapping[str, float]) -> bool:
    """Whether the training data have pairs beyond the reach of the orbitals."""
    if scope.longest is None:
        return False
    reach = np.array([radii.get(label, np.inf) for label in scope.layout.species])
    together = (reach[:, None] + reach[None, :]).reshape(-1)
    return bool(np.any(scope.longest > together + 1e-6))


def _complete(head: Head, target: Target, spin: Spin, *, overwrite: bool) -> None:
    """Give the target POSCAR, overlap.h5 and an info.json with the spin of the prediction."""
    folder = target.folder
    prepare_folder(folder)
    if head.folder.resolve() != folder.resolve():
        for name in ("POSCAR", "overlap.h5"):
            place = folder / name
            if place.exists() and not overwrite:
                continue
            place.unlink(missing_ok=True)
            link_or_copy(head.folder / name, place)
        if (target.source / MOMENTS_FILE).is_file():
            shutil.copyfile(target.source / MOMENTS_FILE, folder / MOMENTS_FILE)
    own = {**head.info.own, "spin": spin.value}
    info = replace(head.info, spinful=spin is not Spin.NONE, fermi_level=None, own=own)
    info = replace(info, split=False, stacked=False)
    text = info.to_json(head.structure, head.basis)
    write_text(folder / "info.json", text, overwrite=True)


# ---------------------------------------------------------------------- what comes out


def _arguments(model: Model) -> Mapping[str, inspect.Parameter]:
    """Return the arguments that a model's predictions take."""
    return inspect.signature(model.predict).parameters


def _matrix(model: Model, request: _Request, progress: Report) -> AOMatrix:
    """Return the prediction of one model, which is told of the progress if it takes one.

    Its pairs have the order of the overlap's, as all matrices of a folder must.
    """
    arguments = (request.structure, request.pattern, request.moments)
    further: dict[str, Any] = {"progress": progress}
    if request.initial is not None:
        further["initial"] = request.initial
    known = _arguments(model)
    made = model.predict(*arguments, **{name: further[name] for name in further if name in known})
    return made.on_pairs(request.pattern.pairs.union(made.pairs))


def _shared_pattern(matrix: AOMatrix, folder: Path, request: _Request) -> Iterator[str]:
    """Give the overlap the pairs that only the prediction has, as zeros; or say what lacks them.

    An overlap that was there before stays as it is.
    """
    missing = len(matrix.pairs) - request.n_overlap
    if not missing:
        return
    path = folder / "overlap.h5"
    if not request.owns_overlap:
        yield (
            f"overlap.h5 lacks {missing} pairs of the prediction, at which it "
            "is zero: the DeepH programs want the same pairs in both, which dock convert writes."
        )
        return
    head = read_head(folder)
    shape = QUADRANTS if has_spin_blocks(path, head.basis) else None
    overlap = head.calculation().require("overlap").on_pairs(matrix.pairs)
    write_matrix(path, overlap, read_attributes(path), shape=shape, overwrite=True)


def _mean(
    models: Sequence[Model], request: _Request, progress: Report
) -> tuple[AOMatrix, FloatArray | None]:
    """Return the mean of the models' predictions, and the spread of each pair's block."""
    first = _matrix(models[0], request, progress)
    if len(models) == 1:
        return first, None
    mean: NumberArray = np.array(first.entries)
    squares = np.zeros(mean.shape[1])
    for count, model in enumerate(models[1:], 2):
        entries = _matrix(model, request, progress).entries
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


infer, InferJob = predict, PredictionJob  # names of earlier versions
