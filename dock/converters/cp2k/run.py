"""The files of a CP2K run: its log, its input, and those with matrices."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

from dock.converters.cp2k.ao_matrices import is_ao_file
from dock.converters.cp2k.cp2k_log import Cp2kLog, find_logs, read_log
from dock.errors import FormatError, MissingDataError

__all__ = ["HOW", "RunFiles", "detect_run", "has_traces", "input_files", "run_files"]

HOW = (
    "Run CP2K with KS_CSR_WRITE and S_CSR_WRITE (section DFT%PRINT) and REAL_SPACE .TRUE. in both, "
    "or with AO_MATRICES and a FILENAME in it."
)
_CSR = re.compile(r"(.+?)-(KS|S)_SPIN_([12])(?:_([RK])_(\d+))?-(\d+_\d+)\.csr")
_AO = re.compile(r"(.+)-(\d+_\d+)\.Log")
_QUANTITIES = {"KS": "hamiltonian", "S": "overlap"}
_ONE_GEOMETRY = {"", "ENERGY", "ENERGY_FORCE", "WAVEFUNCTION_OPTIMIZATION", "WFN_OPT"}
_STEP = "1_0"


class _Name(NamedTuple):
    """What the name of a file with a matrix says."""

    path: Path
    stem: str
    quantity: str
    spin: int
    space: str
    number: int
    step: str


@dataclass(frozen=True, eq=False)
class RunFiles:
    """The files of one run.

    Attributes
    ----------
    input
        The input, as the log names it.
    matrices
        For ``hamiltonian`` and ``overlap``, the files of each spin channel: one, or one for each
        periodic image.
    by_image
        Whether there is a file for each image.
    ao
        The file of AO_MATRICES, or None.
    """

    folder: Path
    log: Cp2kLog
    input: Path
    matrices: dict[str, tuple[tuple[Path, ...], ...]]
    by_image: bool
    ao: Path | None


def _names(folder: Path) -> list[_Name]:
    found = []
    for path in sorted(folder.glob("*.csr")):
        match = _CSR.fullmatch(path.name)
        if match is not None:
            quantity, spin = _QUANTITIES[match[2]], int(match[3]) - 1
            number = int(match[5] or 0)
            found.append(_Name(path, match[1], quantity, spin, match[4] or "", number, match[6]))
    return found


def _ao_files(folder: Path) -> list[Path]:
    named = [path for path in sorted(folder.glob("*.Log")) if _AO.fullmatch(path.name)]
    return [path for path in named if is_ao_file(path)]


def detect_run(path: Path) -> Path | None:
    """Recognise the folder of a run with matrices, or a file in it; else None."""
    if path.is_file():
        known = path.suffix in {".csr", ".Log", ".inp", ".out", ".log", ".cp2k"}
        return detect_run(path.parent) if known and path.parent != path else None
    if not path.is_dir() or not (_names(path) or _ao_files(path)):
        return None
    return path


def has_traces(folder: Path) -> bool:
    """Say whether a folder holds the log of a CP2K run, whatever matrices it has."""
    return folder.is_dir() and bool(find_logs(folder))


def input_files(path: Path) -> list[Path]:
    """Return the files that decide whether a run has changed."""
    files = [name.path for name in _names(path)] + _ao_files(path) + find_logs(path)
    return files + sorted(path.glob("*.inp"))


def run_files(folder: Path) -> RunFiles:
    """Find the files of the run in a folder.

    Raises
    ------
    MissingDataError
        When matrices, log or input are not there.
    FormatError
        When files of several runs or steps lie there, or matrices at k-points alone.
    """
    names = _names(folder)
    ao_files = _ao_files(folder)
    if not names and not ao_files:
        raise MissingDataError("a matrix of CP2K", folder, HOW)
    stems = {name.stem for name in names} | {_stem(path) for path in ao_files}
    log = _log(folder, stems)
    if log.run_type not in _ONE_GEOMETRY:
        _refuse_steps(folder, f"RUN_TYPE {log.run_type}")
    steps = {name.step for name in names}
    ao = [path for path in ao_files if path.name.endswith(f"-{_STEP}.Log")]
    if steps - {_STEP}:
        _refuse_steps(folder, ", ".join(f"*-{step}.csr" for step in sorted(steps)[:4]))
    if len(ao) > 1:
        _refuse_several(folder, [path.name for path in ao])
    matrices, by_image = _grouped(folder, names, log)
    if not log.input_name:
        raise MissingDataError("the name of the input", log.path, "The log is cut: copy it again.")
    source = folder / Path(log.input_name).name
    if not source.is_file():
        fix = "It has cell, atoms and basis: copy it beside the log."
        raise MissingDataError(f"the input {source.name}", folder, fix)
    return RunFiles(folder, log, source, matrices, by_image, ao[0] if ao else None)


def _stem(path: Path) -> str:
    match = _AO.fullmatch(path.name)
    return match[1] if match is not None else path.stem


def _log(folder: Path, stems: set[str]) -> Cp2kLog:
    """Return the log of the project that the files are named after."""
    logs = [read_log(path) for path in find_logs(folder)]
    if not logs:
        fix = "It has version, electrons and images: copy what CP2K printed there, as .out."
        raise MissingDataError("the log of the run", folder, fix)
    fits = [
        log
        for log in logs
        if all(stem == log.project or stem.startswith(f"{log.project}-") for stem in stems)
    ]
    if len(fits) == 1:
        return fits[0]
    projects = [f"{log.path.name} of the project {log.project or '?'}" for log in logs]
    if fits:
        _refuse_several(folder, projects)
    raise FormatError(
        folder,
        "the log is of another run than the matrices",
        expected=f"the log of one project: {', '.join(sorted(stems))}",
        found=", ".join(projects),
        fix="Keep each run in a folder of its own.",
    )


def _grouped(
    folder: Path, names: list[_Name], log: Cp2kLog
) -> tuple[dict[str, tuple[tuple[Path, ...], ...]], bool]:
    """Return the files of each quantity and channel in order, and whether they go by image."""
    if len({name.stem for name in names}) > 1:
        _refuse_several(folder, sorted({name.stem for name in names}))
    spaces = {name.space for name in names}
    if "K" in spaces:
        raise FormatError(
            folder,
            "the matrices are those at k-points",
            expected="matrices in real space, *_R_*.csr",
            found=next(name.path.name for name in names if name.space == "K"),
            fix="Run CP2K again with REAL_SPACE .TRUE. in KS_CSR_WRITE and S_CSR_WRITE.",
        )
    if len(spaces) > 1:
        _refuse_several(folder, [f"matrices with and without periodic images ({len(names)})"])
    groups = {}
    for quantity, word in (("overlap", "S"), ("hamiltonian", "KS")):
        own = [name for name in names if name.quantity == quantity]
        channels = log.n_spins if quantity == "hamiltonian" else 1
        if not own:
            continue
        count = len(log.images.get(word, ())) if "R" in spaces else 1
        first = 1 if "R" in spaces else 0
        if not count:
            raise MissingDataError(
                f"the list of periodic images of {word}", log.path, "The log is of another run."
            )
        place = {(name.spin, name.number): name.path for name in own}
        wanted = {(spin, k) for spin in range(channels) for k in range(first, first + count)}
        if set(place) != wanted:
            _refuse_others(folder, word, (channels, count), place, wanted)
        groups[quantity] = tuple(
            tuple(place[spin, k] for k in range(first, first + count)) for spin in range(channels)
        )
    return groups, "R" in spaces


def _refuse_others(
    folder: Path,
    word: str,
    wanted_counts: tuple[int, int],
    place: dict[tuple[int, int], Path],
    wanted: set[tuple[int, int]],
) -> NoReturn:
    """Say which files are missing, or one too many."""
    channels, count = wanted_counts
    missing = sorted(wanted - set(place))
    what = f"spin {missing[0][0] + 1}, image {missing[0][1]} is missing" if missing else ""
    more = sorted(set(place) - wanted)
    what = what or f"{place[more[0]].name} is one too many"
    raise FormatError(
        folder,
        f"the files of {word} are not those that the log names",
        expected=f"{channels} spin channel(s) of {count} file(s)",
        found=f"{len(place)} files; {what}",
        fix="Copy all files of the run, and keep each run in a folder of its own.",
    )


def _refuse_several(folder: Path, found: list[str]) -> NoReturn:
    raise FormatError(
        folder,
        "files of several runs lie here",
        expected="those of one run",
        found="; ".join(found[:4]),
        fix="Keep each run in a folder of its own.",
    )


def _refuse_steps(folder: Path, found: str) -> NoReturn:
    raise FormatError(
        folder,
        "the run has several geometries",
        expected="RUN_TYPE ENERGY or ENERGY_FORCE, and files *-1_0.csr",
        found=found,
        fix="Run CP2K with RUN_TYPE ENERGY_FORCE on each geometry.",
    )
