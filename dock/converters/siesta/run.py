"""The files of one SIESTA run: which is the main one, and what stands beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from dock.converters.siesta.dm import read_dm
from dock.converters.siesta.eig import read_fermi
from dock.converters.siesta.fdf import FdfFile, read_fdf
from dock.converters.siesta.hsx import is_hsx_head, read_hsx
from dock.converters.siesta.matrix_file import MatrixFile
from dock.converters.siesta.nc import has_sparse_group, read_nc
from dock.converters.siesta.tshs import read_tshs
from dock.errors import DockError, FormatError, MissingDataError
from dock.io.files import readable
from dock.units import SIESTA4, SIESTA5, Constants

__all__ = [
    "OF_LAST_STEP",
    "RunFiles",
    "SiestaLog",
    "find_main",
    "has_traces",
    "input_files",
    "last_step",
    "list_steps",
    "open_main",
    "read_log",
    "step_file",
]

_READERS = {
    ".HSX": read_hsx,
    ".TSHS": read_tshs,
    ".nc": read_nc,
    ".onlyS": read_tshs,
    ".DM": read_dm,
    ".TSDE": read_dm,
}
_DOUBLE = (".TSHS", ".nc")
_BESIDE = (".DM", ".TSDE", ".XV", ".STRUCT_OUT", ".EIG", ".ORB_INDX", ".fdf", ".out", ".log")
OF_LAST_STEP = (".DM", ".TSDE", ".EIG")
"""What a label's files hold of its last step only; ``label.0.HSX`` is of another one."""

_LOGS = ("SIESTA.log", "siesta.log", "siesta.out", "RUN.out", "OUT")
_DIFFERENT_FERMI = 1e-4  # relative: both constants of SIESTA lie 8e-6 apart


@dataclass(frozen=True, eq=False)
class RunFiles:
    """The files of one run, found by the system label in the name of the file with the matrices."""

    main: Path

    @cached_property
    def _stems(self) -> tuple[str, ...]:
        """The name without its endings: ``graphene.v2.HSX`` may be of the label graphene."""
        words = self.main.name.split(".")
        stems = [".".join(words[:end]) for end in range(len(words) - 1, 0, -1)]
        return tuple(filter(None, stems)) or (self.main.name,)

    @cached_property
    def label(self) -> str:
        """The system label: the longest form of the name by which other files are called."""
        called = (stem for stem in self._stems if _is_label(self.main.parent, stem))
        return next(called, self._stems[0])

    @cached_property
    def history_step(self) -> int | None:
        """The step of a file of ``Write.HS.History``, ``label.<step>.HSX``; None for others."""
        last = self._stems[0].rpartition(".")[2]
        return int(last) if len(self._stems) > 1 and last.isdecimal() else None

    def beside(self, suffix: str) -> Path | None:
        """Return the run's file of an ending, or None; never one of another label or step."""
        is_of_step = self.history_step is not None and suffix in OF_LAST_STEP
        for stem in self._stems[:1] if is_of_step else self._stems:
            path = self.main.parent / f"{stem}{suffix}"
            if path.is_file() and path != self.main:
                return path
        return None

    @cached_property
    def fdf(self) -> FdfFile | None:
        """The input: that of the label, or the only one in the folder whose label this is."""
        path = self.beside(".fdf")
        if path is not None:
            return read_fdf(path)
        candidates = sorted(self.main.parent.glob("*.fdf"))
        for candidate in candidates[:10]:
            try:
                fdf = read_fdf(candidate)
            except DockError:  # another run's input may be broken
                continue
            if fdf.label in self._stems:
                return fdf
        return None

    @property
    def log(self) -> SiestaLog:
        """What the run's log says; its version is empty where there is none."""
        return self._log[1]

    @property
    def log_file(self) -> Path | None:
        """The run's log, or None."""
        return self._log[0]

    @cached_property
    def _log(self) -> tuple[Path | None, SiestaLog]:
        own = [self.beside(".out"), self.beside(".log")]
        for path in (*own, *(self.main.parent / name for name in _LOGS)):
            if path is not None and path.is_file():
                log = read_log(path)
                if log.version:
                    return path, log
        return None, SiestaLog("", None)

    def fermi_ev(self) -> float | None:
        """Return the Fermi level of the EIG file, eV in the constants of the run."""
        path = self.beside(".EIG")
        return None if path is None else read_fermi(path)

    def noted(self, keyword: str) -> float | None:
        """Return the number after a keyword by which `dock` keeps something in the fdf."""
        return None if self.fdf is None else self.fdf.number(keyword)

    def constants(self, file: MatrixFile) -> tuple[Constants, str]:
        """Return SIESTA's units for this run, and how they were found.

        Versions 4.x and 5.x differ in the Rydberg by 8e-6. In order: what `dock` noted in the fdf,
        the Fermi level in EIG (eV) against that in the matrix file (Ry), the version in the log,
        the version of the matrix file.

        Raises
        ------
        FormatError
            When the two Fermi levels cannot be of one run.
        """
        noted = self.noted("Dock.Rydberg")
        if noted is not None:
            return _nearest(noted), "noted in the fdf"
        fermi = self.fermi_ev()
        if fermi is not None and file.fermi_ry is not None and abs(file.fermi_ry) > 1e-3:
            ratio = fermi / file.fermi_ry
            if abs(ratio / SIESTA5.rydberg_ev - 1) > _DIFFERENT_FERMI:
                raise FormatError(
                    self.beside(".EIG") or self.main,
                    f"this file and {file.path.name} are of different runs",
                    expected=f"the Fermi level {file.fermi_ry * SIESTA5.rydberg_ev:.6f} eV",
                    found=f"{fermi:.6f} eV",
                    fix="Remove or rename the EIG file, or copy the run's own one there.",
                )
            return _nearest(ratio), "from the Fermi level in EIG"
        version = self.log.version
        if version:
            major = version.lstrip("vV")[:1]
            newer = major.isdigit() and int(major) >= 5
            return (SIESTA5 if newer else SIESTA4), "from the version in the log"
        if file.kind == "HSX version 0":
            return SIESTA4, "HSX version 0 is of SIESTA up to 4.1"
        return SIESTA5, "assumed: no EIG and no log says the version"


def _nearest(rydberg_ev: float) -> Constants:
    return min((SIESTA4, SIESTA5), key=lambda units: abs(units.rydberg_ev - rydberg_ev))


def find_main(path: Path) -> Path | None:
    """Return the main file of a run, the folder itself where there are several, or None.

    HSX is preferred to TSHS, .nc and onlyS, but not one in single precision to TSHS or .nc: the
    folder then is the run, see `open_main`. Among several, one that carries the label of other
    files wins. Foreign content gives None; nothing is raised.
    """
    try:
        if path.is_dir():
            files = _candidates(path)
            several = len(files) > 1 or any(_in_double(file) for file in files)
            return path if several else next(iter(files), None)
        if path.suffix == ".fdf" and path.is_file():
            return _of_input(path)
        return path if _is_main(path) else None
    except OSError:
        return None


def has_traces(folder: Path) -> bool:
    """Say whether a folder holds a run of SIESTA, or its input, whatever matrices it has."""
    patterns = ("*.fdf", "*.EIG", "*.XV", "*.ORB_INDX")
    return folder.is_dir() and any(any(folder.glob(pattern)) for pattern in patterns)


def _of_input(path: Path) -> Path | None:
    """Return the main file that goes with an input."""
    try:
        label = read_fdf(path).label
    except DockError:
        label = path.stem
    beside = (path.parent / f"{label}{suffix}" for suffix in _READERS)
    return next(filter(_is_main, beside), None)


def _candidates(folder: Path) -> list[Path]:
    """Return the matrix files of the best kind there is; one where a single one has a label."""
    for suffix in _READERS:
        files = [file for file in sorted(folder.glob(f"*{suffix}")) if _is_main(file)]
        labelled = [file for file in files if _is_label(folder, file.stem)]
        if files:
            return labelled if len(labelled) == 1 else files
    return []


def _is_label(folder: Path, stem: str) -> bool:
    """Say whether other files of a run are called so."""
    return any((folder / f"{stem}{suffix}").is_file() for suffix in _BESIDE)


def _is_main(path: Path) -> bool:
    """Say by the ending and the first bytes whether a file holds SIESTA's matrices."""
    if path.suffix not in _READERS or not path.is_file():
        return False
    if path.suffix == ".HSX":
        return True  # nobody else uses the ending: a damaged one is reported, not passed over
    with path.open("rb") as stream:
        head = stream.read(8)
    if path.suffix == ".nc":
        return not path.name.endswith(".ion.nc") and has_sparse_group(path)
    if path.suffix in (".TSHS", ".onlyS"):
        return is_hsx_head(head)
    return head[:4] in (b"\x08\0\0\0", b"\x14\0\0\0", b"\0\0\0\x08", b"\0\0\0\x14")


def _in_double(path: Path) -> Path | None:
    """Return the file that has in double precision what an HSX file has in single, if any."""
    run = RunFiles(path)
    if path.suffix != ".HSX" or run.history_step is not None:
        return None
    others = [other for suffix in _DOUBLE if (other := run.beside(suffix)) and _is_main(other)]
    try:
        return others[0] if others and read_hsx(path).single else None
    except DockError:  # reported when it is read
        return None


def _more_precise(rough: MatrixFile, path: Path) -> MatrixFile:
    """Return the file in double precision, completed by what only the HSX file says."""
    fine = _READERS[path.suffix](path)
    for what, mine, theirs in (
        ("orbitals", rough.n_orbitals, fine.n_orbitals),
        ("spin components", rough.n_spin, fine.n_spin),
        ("entries", int(rough.counts.sum()), int(fine.counts.sum())),
        ("Fermi level, Ry", _digits(rough.fermi_ry), _digits(fine.fermi_ry)),
    ):
        if mine != theirs and None not in (mine, theirs):
            raise FormatError(
                path,
                f"this file and {rough.path.name} are of different runs",
                expected=f"{what} {mine}",
                found=theirs,
                fix="Keep only the files of one run in the folder, or give the file itself.",
            )
    note = (
        f"{rough.path.name} has the matrices in single precision: those of {path.name}, in double, "
        "were taken."
    )
    fine = replace(fine, notes=(note,))
    if fine.species is not None:
        return fine
    return replace(
        fine, species=rough.species, atom_species=rough.atom_species, numbers=rough.numbers
    )


def _digits(level: float | None) -> float | None:
    return None if level is None else round(level, 6)


def open_main(path: Path) -> MatrixFile:
    """Read the header of a run's main file.

    In a folder where HSX has single precision and TSHS or .nc of the same run stands beside it,
    that is the main file. A folder with several runs is a FormatError, one without a
    MissingDataError; else as `read_hsx`.
    """
    if path.is_dir():
        files = _candidates(path)
        if not files:
            raise MissingDataError("a matrix file of SIESTA", path, "Run it with 'SaveHS true'.")
        if len(files) > 1:
            raise FormatError(
                path,
                "the folder holds several matrix files",
                expected="one run",
                found=", ".join(file.name for file in files),
                fix="Give the file itself.",
            )
        path = files[0]
        better = _in_double(path)
        if better is not None:
            return _more_precise(read_hsx(path), better)
    return _READERS.get(path.suffix, read_hsx)(path)


def list_steps(path: Path) -> tuple[int, ...]:
    """Return the steps of a run with ``Write.HS.History``, whose matrices have files of their own.

    They are ``label.<step>.HSX``. A file that is one of them is a run of one step.
    """
    return tuple(sorted(_history(path)))


def step_file(path: Path, step: int) -> Path:
    """Return the matrix file of one step; a MissingDataError names those there are."""
    history = _history(path)
    if step not in history:
        known = ", ".join(str(number) for number in sorted(history)[:20]) or "none"
        why = f"Steps with files of their own (Write.HS.History): {known}."
        raise MissingDataError(f"step {step}", path, why)
    return history[step]


def _history(path: Path) -> dict[int, Path]:
    """Return the files of the steps of the run that a path is."""
    folder = path if path.is_dir() else path.parent
    labels: dict[str, dict[int, Path]] = {}
    for file in sorted(folder.glob("*.*.HSX")):
        run = RunFiles(file)
        if run.history_step is not None:
            label = file.name.removesuffix(f".{run.history_step}.HSX")
            labels.setdefault(label, {})[run.history_step] = file
    if not path.is_dir():
        return labels.get(path.name.removesuffix(path.suffix), {})
    return next(iter(labels.values())) if len(labels) == 1 else {}


def input_files(path: Path) -> list[Path]:
    """Return the files that decide whether a run has changed."""
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix in (*_READERS, *_BESIDE))
    run = RunFiles(path)
    beside = [run.beside(suffix) for suffix in _BESIDE]
    return [path, *filter(None, beside), *_history(path).values()]


class SiestaLog(NamedTuple):
    """What a log of SIESTA says.

    Attributes
    ----------
    version
        Empty where it names none.
    converged
        Whether the last self-consistency cycle converged; None where it does not say.
    finished
        Whether that cycle came to an end, well or not.
    """

    version: str
    converged: bool | None
    finished: bool = True


_SPAN = 2**16  # bytes at the begin and the end of a log that are looked at first
_STEP = re.compile(
    rb"^\s*(?:scf:\s+\d+\s+-?\d|siesta:\s+\d+(?:\s*(?:-?\d+\.\d+|\*+)){4})", re.MULTILINE
)
"""A step of the cycle, in 5.x and 4.x; forces on an atom are ``siesta:`` and three numbers."""
_ENDS = (b"SCF cycle converged", b"SCF Convergence by", b"Job completed", b">> End of run")


def read_log(path: Path) -> SiestaLog:
    """Read how a log of SIESTA ends.

    A cycle has ended if behind its last step the log says so, or that the job is completed. Where
    the last 64 kB do not, all of the log is looked at.
    """
    with readable(path), path.open("rb") as stream:
        head = stream.read(_SPAN)
        stream.seek(max(0, path.stat().st_size - _SPAN))
        tail = stream.read()
        match = re.search(rb"^\s*(?:Siesta Version|Version)\s*:\s*(\S+)", head, re.MULTILINE)
        if match is None or b"siesta" not in head.lower():
            return SiestaLog("", None)
        version = match[1].decode("ascii", "replace").strip()
        if b"SCF_NOT_CONV" in head or b"SCF_NOT_CONV" in tail:
            return SiestaLog(version, converged=False)
        if not any(word in tail for word in _ENDS[2:]):
            stream.seek(0)
            tail = stream.read()
    end = max(tail.rfind(word) for word in _ENDS)
    finished = end > last_step(tail)
    return SiestaLog(version, converged=finished or None, finished=finished)


def last_step(text: bytes) -> int:
    """Return where the last step of a self-consistency cycle begins in a log's text, −1 without."""
    return max((found.start() for found in _STEP.finditer(text)), default=-1)
