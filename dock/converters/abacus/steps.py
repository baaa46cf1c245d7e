"""Which ionic step of an ABACUS run is read, and the structure of that step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.converters.abacus.hr_npz import npz_structure
from dock.converters.abacus.matrices import sparse_file
from dock.converters.abacus.md_dump import read_md_dump
from dock.converters.abacus.run import RunFiles, find_run
from dock.converters.abacus.running_log import AbacusLog, Frame, read_log
from dock.converters.abacus.sparse import Header, Step, StepStructure
from dock.converters.abacus.stru import FOLD_MARGIN, Species, StruFile, element_number
from dock.core.structure import Structure
from dock.errors import FormatError, MissingDataError

__all__ = ["RunStep", "find_step", "list_steps", "read_structure"]

_CELL_TOLERANCE = 2e-5  # relative: logs and headers have six digits, the lattice constant likewise
_SAME_PLACE = 1e-8  # of the cell, or Å: what two exact prints of one position differ by at most
_COARSE = 1e-6  # likewise: a log with fewer decimals cannot tell two steps apart
_TRUE = ("1", "true", ".true.", "t")


@dataclass(frozen=True, eq=False)
class RunStep:
    """The ionic step that is read.

    Attributes
    ----------
    number
        From 0; None where a run has but one.
    of
        The steps whose matrices are there.
    path
        The file that says `structure`.
    structure
        That of the step, from the header of a matrix file; None where no file has one.
    is_folded
        Whether all lattice vectors are added up: a run with ``gamma_only``.
    """

    number: int | None
    of: tuple[int, ...]
    path: Path
    structure: StepStructure | None
    is_folded: bool


class _Place(NamedTuple):
    """Positions from a log, a header or a dump, and how exactly they are printed."""

    cell: NDArray[np.float64]
    fractional: NDArray[np.float64]
    source: Path
    precision: float = _SAME_PLACE
    direct: bool = True
    is_exact: bool = False  # whether the cell has all its digits

    def is_at(self, fractional: NDArray[np.float64], cell: NDArray[np.float64]) -> bool:
        """Say whether these are the same positions, as far as they are printed."""
        off = fractional - self.fractional
        off -= np.rint(off)
        largest = float(np.abs(off if self.direct else off @ cell).max(initial=0.0))
        return largest < max(1.01 * self.precision, _SAME_PLACE)

    def distance(self, other: StepStructure) -> float:
        """Return how far atoms and lattice vectors are from those of another structure, Å."""
        off = other.fractional - self.fractional
        moved = float(np.abs((off - np.rint(off)) @ self.cell).max(initial=0.0))
        return max(moved, float(np.abs(other.cell - self.cell).max()))


def list_steps(path: Path) -> tuple[int, ...]:
    """Return the ionic steps of a run, from 0, whose matrices are there; none where it has one.

    Raises
    ------
    MissingDataError, FormatError
        As `dock.converters.abacus.run.find_run`.
    """
    files = find_run(path)
    log = read_log(files.log) if files.log is not None else None
    return find_step(files, 0, log).of


def find_step(files: RunFiles, size: int, log: AbacusLog | None) -> RunStep:
    """Find the step to read: the one asked for, or the last.

    Parameters
    ----------
    files
        The run.
    size
        Rows of the matrices, as far as known.
    log
        Its log.

    Raises
    ------
    MissingDataError
        When the step that was asked for is not there.
    FormatError
        When a file is damaged.
    """
    main = "hamiltonian" if "hamiltonian" in files.matrices else "overlap"
    path = files.matrices[main][0]
    is_folded = files.parameters.get("gamma_only", "0").lower() in _TRUE
    if path.suffix == ".npz":
        structure = npz_structure(path)
        number = _number_of(log, structure) if files.has_steps else None
        if files.step is not None and not files.split_steps and files.step != (number or 0):
            last = "no number" if number is None else f"step {number}"
            raise MissingDataError(
                f"ionic step {files.step}", path, f"Every step overwrites it; it holds {last}."
            )
        return RunStep(number, (), path, structure, is_folded)
    file = sparse_file(path, size)
    if not files.has_steps and files.step is None:
        header = file.header(Step(0, 0)) if size else Header()
        return RunStep(None, (), path, header.structure, is_folded or header.is_folded)
    steps = file.steps
    of = files.split_steps or tuple(dict.fromkeys(step.number for step in steps))
    chosen = file.choose(files.step)
    header = file.header(chosen)
    number = chosen.number
    return RunStep(number, of, path, header.structure, is_folded or header.is_folded)


def _number_of(log: AbacusLog | None, found: StepStructure | None) -> int | None:
    """Return the step that a structure belongs to: that of its positions, or the last."""
    if log is None:
        return None
    last = max(len(log.steps) - 1, 0)
    if found is None or len(found.fractional) != len(log.labels):
        return last
    off = [_logged(log, frame).distance(found) for frame in log.frames[: last + 1]]
    nearest = min(range(len(off)), key=lambda number: (off[number], -number))
    return nearest if off[nearest] < _cell_error(found.cell) else last


def _cell_error(cell: NDArray[np.float64]) -> float:
    """Return what six digits of a cell can move atoms by, Å."""
    return _CELL_TOLERANCE * float(np.abs(cell).max())


def _logged(log: AbacusLog, frame: Frame, cell: NDArray[np.float64] | None = None) -> _Place:
    """Return the positions of a log, in units of another cell of six digits where one is given."""
    precision = frame.precision
    if cell is not None and not frame.direct:
        precision = max(precision, _cell_error(cell))
    cell = frame.cell if cell is None else cell
    return _Place(cell, frame.fractional(cell), log.path, precision, frame.direct)


def read_structure(
    files: RunFiles,
    log: AbacusLog | None,
    stru: StruFile | None,
    step: RunStep,
    notes: list[str],
) -> Structure:
    """Return the structure of a step, with STRU's full precision where it is the same.

    The positions are those in the header of the matrix file; without them, of the log, of
    ``MD_dump``, or of STRU.

    Parameters
    ----------
    files, log, stru, step
        The run.
    notes
        What is worth saying is added.

    Raises
    ------
    MissingDataError
        When no file has the positions of that step.
    FormatError
        When files contradict each other.
    """
    labels = log.labels if log is not None else stru.labels if stru is not None else ()
    if stru is not None:
        _require_same_atoms(log, stru, step)
    place = _place(files, log, step, notes)
    precise = stru.lattice(files.parameters.get("latname", "none")) if stru is not None else None
    if place is None:
        if stru is None or precise is None:
            fix = "Copy the log there."
            raise MissingDataError("the log or a STRU with lattice vectors", files.folder, fix)
        return _of_stru(stru, precise, log, notes)
    cell, fractional = place.cell, place.fractional
    agrees = stru is not None and precise is not None and _agree(labels, stru, precise, cell)
    if place.is_exact and not agrees:
        return _assemble(cell, fractional, labels, stru)
    if stru is None:
        notes.append("There is no STRU file: the lattice vectors have the log's six digits.")
    elif precise is None or not agrees:
        notes.append(
            "STRU has another cell or other atoms than the log (or a named lattice): the "
            "lattice vectors have the log's six digits."
        )
    else:
        fractional, cell = _in_cell(place, precise), precise
        exact = stru.fractional(cell)
        is_first = not step.number or place.precision < _COARSE
        if is_first and place._replace(fractional=fractional).is_at(exact, cell):
            return _assemble(cell, exact + np.rint(fractional - exact), labels, stru)
    if place.precision > _COARSE:
        unit = "of a lattice vector" if place.direct else "Å"
        notes.append(
            f"{place.source.name} prints few decimals, and no STRU has these positions with more: "
            f"they are good to {place.precision:.1g} {unit} only."
        )
    return _assemble(cell, fractional, labels, stru)


def _of_stru(
    stru: StruFile, cell: NDArray[np.float64], log: AbacusLog | None, notes: list[str]
) -> Structure:
    """Return the structure of STRU, where no other file has coordinates."""
    if log is not None and log.labels != stru.labels:
        raise MissingDataError(
            "the table of coordinates",
            log.path,
            "STRU has the atoms in another order than the log: copy the whole log.",
        )
    if log is not None:
        notes.append(f"{log.path.name} has no coordinates: those of STRU are taken.")
    return _assemble(cell, _folded(stru.fractional(cell)), stru.labels, stru)


def _require_same_atoms(log: AbacusLog | None, stru: StruFile, step: RunStep) -> None:
    """Refuse STRU beside a log with other species; without a log, beside other matrices."""
    own = step.structure
    if log is not None and set(stru.labels) != set(log.labels):
        name, mine, theirs = log.path.name, sorted(set(log.labels)), sorted(set(stru.labels))
    elif log is None and own is not None and len(own.fractional) != len(stru.labels):
        name, mine, theirs = step.path.name, [f"{len(own.fractional)} atoms"], list(stru.labels)
    else:
        return
    raise FormatError(
        stru.path,
        f"STRU and {name} have other atoms",
        expected=", ".join(mine),
        found=", ".join(theirs),
        fix="One of them is of another run: put the right one there, or move it away.",
    )


def _in_cell(place: _Place, cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return positions that were printed in Å in units of the exact cell."""
    if place.direct:
        return place.fractional
    in_cell: NDArray[np.float64] = place.fractional @ place.cell @ np.linalg.inv(cell)
    return in_cell


def _place(
    files: RunFiles, log: AbacusLog | None, step: RunStep, notes: list[str]
) -> _Place | None:
    """Return cell and positions as some file says them; None where only STRU can."""
    number = step.number or 0
    frame = None
    if log is not None and log.frames and (number < len(log.frames) or not files.has_steps):
        frame = log.frames[number if files.has_steps else 0]
    if step.structure is not None:
        is_npz = step.path.suffix == ".npz"
        own = _Place(step.structure.cell, step.structure.fractional, step.path, is_exact=is_npz)
        _compare(own, step, log, frame, notes)
        return own
    if frame is not None and log is not None:
        return _logged(log, frame)
    dump = files.folder / "MD_dump"
    if dump.is_file() and log is not None:
        return _Place(*read_md_dump(dump, number, log.labels), dump)
    if not number and (log is None or not (log.frames or files.has_steps)):
        return None
    raise MissingDataError(
        f"the positions of ionic step {number}",
        log.path if log is not None else files.folder,
        f"The log has the positions of {len(log.frames)} steps only (a molecular dynamics run "
        "writes them to MD_dump). Choose an earlier step with settings={'step': 'N'}, or run that "
        "structure as a calculation of its own."
        if log is not None
        else "Copy the log there.",
    )


def _compare(
    own: _Place, step: RunStep, log: AbacusLog | None, frame: Frame | None, notes: list[str]
) -> None:
    """Hold the structure of a matrix file against the log's of the same step."""
    labels = step.structure.labels if step.structure is not None else ()
    if log is None:
        return
    same_atoms = len(own.fractional) == len(log.labels) and labels in ((), log.labels)
    same_place = frame is None or (
        same_atoms and _logged(log, frame, own.cell).is_at(own.fractional, own.cell)
    )
    if same_atoms and same_place:
        return
    if same_atoms and step.number:
        notes.append(
            f"{log.path.name} has other positions at step {step.number} than {own.source.name}: "
            "those stored with the matrices are used."
        )
        return
    raise FormatError(
        own.source,
        f"this file and {log.path.name} are of different runs",
        where="the structure in the header",
        expected="the atoms of the log at their places",
        found="others",
        fix="Keep the files of one run in the folder.",
    )


def _agree(
    labels: tuple[str, ...],
    stru: StruFile,
    precise: NDArray[np.float64],
    printed: NDArray[np.float64],
) -> bool:
    """Say whether STRU has the run's atoms in the run's order, and its cell."""
    order = [kind.label for kind in stru.species]
    sorted_labels = sorted(stru.labels, key=lambda x: order.index(x) if x in order else 0)
    same_atoms = tuple(sorted_labels) == stru.labels == labels
    return same_atoms and float(np.abs(precise - printed).max()) < _cell_error(printed)


def _folded(fractional: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fold into the cell as ABACUS does; what is zero but for rounding becomes zero."""
    folded: NDArray[np.float64] = fractional - np.floor(fractional + FOLD_MARGIN)
    return np.maximum(folded, 0.0)


def _assemble(
    cell: NDArray[np.float64],
    fractional: NDArray[np.float64],
    labels: tuple[str, ...],
    stru: StruFile | None,
) -> Structure:
    kinds = {kind.label: kind for kind in stru.species} if stru is not None else {}
    known = {label: element_number(kinds.get(label, Species(label, 0.0))) for label in set(labels)}
    numbers = np.array([known[label] for label in labels])
    return Structure(cell, fractional @ cell, numbers, labels)
