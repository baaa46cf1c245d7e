"""Which files of an ABACUS output folder hold what, for every naming since version 3.0."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dock.converters.abacus.sparse import MARKS, NO_STEP, first_step
from dock.errors import FormatError, MissingDataError

__all__ = [
    "MATRIX_NAMES",
    "MatrixFile",
    "RunFiles",
    "count_from_zero",
    "detect_run",
    "find_run",
    "has_traces",
    "parse_name",
]

# quantity, file name with <s0> or <s1> for the spin counted from 0 or 1, <g> for a step; some
# builds put the step behind the ending, "trs1_nao.csrg0"
MATRIX_NAMES = (
    ("overlap", "data-SR-sparse_SPIN<s0>.csr"),
    ("overlap", "srs<s1><g>_nao.csr"),
    ("overlap", "sr<g>_nao.csr"),
    ("overlap", "sr<g>_nao.dat"),
    ("overlap", "sr<g>_nao.npz"),
    ("overlap", "srs<s1><g>_nao.dat"),
    ("overlap", "srs<s1><g>_nao.npz"),
    ("overlap", "SR.csr"),
    ("overlap", "output_SR.npz"),
    ("hamiltonian", "data-HR-sparse_SPIN<s0>.csr"),
    ("hamiltonian", "hrs<s1><g>_nao.csr"),
    ("hamiltonian", "hrs<s1><g>_nao.dat"),
    ("hamiltonian", "hrs<s1><g>_nao.npz"),
    ("hamiltonian", "output_HR<s0>.npz"),
    ("density_matrix", "data-DMR-sparse_SPIN<s0>.csr"),
    ("density_matrix", "dmrs<s1><g>_nao.csr"),
    ("density_matrix", "dmrs<s1><g>_nao.dat"),
    ("density_matrix", "dmrs<s1><g>_nao.npz"),
    ("density_matrix", "output_DM<s0>.npz"),
    ("kinetic", "data-TR-sparse_SPIN<s0>.csr"),
    ("kinetic", "trs<s1><g>_nao.csr"),
    ("kinetic", "tr<g>_nao.csr"),
    ("position", "data-rR-sparse.csr"),
    ("position", "rr<g>.csr"),
    ("position", "rr<g>_nao.csr"),
)
"""The names of the matrix files, those before version 3.9.0.25 first for each quantity."""

_LOG_ORDER = ("scf", "relax", "cell-relax", "md", "get_S", "get_s", "nscf")
_PACKED = (".dat.gz", ".npz.gz")
_WITH_STEPS = ("relax", "cell-relax", "md")


def _pattern(name: str) -> re.Pattern[str]:
    text = re.escape(name).replace("<s0>", r"(?P<s0>[01])").replace("<s1>", r"(?P<s1>[12])")
    text = text.replace("<g>", r"(?:g(?P<g>\d+))?")
    return re.compile(rf"(?:(?P<old>\d+)_)?{text}(?:g(?P<k>\d+))?(?:\.gz)?")


_PATTERNS = tuple((quantity, _pattern(name)) for quantity, name in MATRIX_NAMES)


class MatrixFile(NamedTuple):
    """One matrix file.

    Attributes
    ----------
    path
        The file.
    quantity
        What it holds.
    naming
        Which entry of `MATRIX_NAMES` its name follows.
    channel
        Spin, 0 or 1.
    step
        Ionic step where the name has it, else None; from 0, see `count_from_zero`.
    """

    path: Path
    quantity: str
    naming: int
    channel: int
    step: int | None


def parse_name(path: Path) -> MatrixFile | None:
    """Understand a file name; None for one that is no matrix file of ABACUS.

    Examples
    --------
    >>> parse_name(Path("hrs2g3_nao.csr"))[1:]
    ('hamiltonian', 10, 1, 2)
    >>> parse_name(Path("4_data-SR-sparse_SPIN0.csr"))[1:]
    ('overlap', 0, 0, 4)
    >>> parse_name(Path("istate.info")) is None
    True
    """
    for naming, (quantity, pattern) in enumerate(_PATTERNS):
        match = pattern.fullmatch(path.name)
        if match is None:
            continue
        parts = match.groupdict()
        channel = int(parts["s0"]) if parts.get("s0") else int(parts.get("s1") or 1) - 1
        step = int(parts["old"]) if parts["old"] else None
        if parts.get("g"):
            step = int(parts["g"]) - 1
        elif parts["k"]:
            step = int(parts["k"])
        return MatrixFile(path, quantity, naming, channel, step)
    return None


@dataclass(frozen=True)
class RunFiles:
    """The files of one run.

    Attributes
    ----------
    folder
        Its output folder, ``OUT.<suffix>``.
    matrices
        The files of each quantity, spin up before spin down; those of one step where the steps
        have files of their own.
    step
        The ionic step that was asked for, or that the names of the files say; else None.
    log, stru
        ``running_*.log`` and STRU, where they are.
    parameters
        The input parameters.
    split_steps
        The ionic steps that have files of their own.
    unread
        Binary files of matrices that text files hold too.
    """

    folder: Path
    matrices: dict[str, tuple[Path, ...]]
    step: int | None = None
    log: Path | None = None
    stru: Path | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    split_steps: tuple[int, ...] = ()
    unread: tuple[Path, ...] = ()

    @property
    def all(self) -> list[Path]:
        """Every file that was found."""
        files = [path for paths in self.matrices.values() for path in paths]
        return files + [path for path in (self.log, self.stru) if path is not None]

    @property
    def has_steps(self) -> bool:
        """Whether the run may have several ionic steps."""
        return self.log is None or "relax" in self.log.name or "_md" in self.log.name


def detect_run(path: Path) -> Path | None:
    """Return the output folder of a run, given it, the run's folder or a file in it; else None."""
    if path.is_file():
        known = parse_name(path) is not None and _looks_right(path)
        is_log = path.name.startswith("running_") and path.suffix == ".log"
        return path if known or (is_log and detect_run(path.parent) is not None) else None
    if not path.is_dir():
        return None
    if any(_main_files(path)):
        return path
    outputs = [folder for folder in _output_folders(path) if any(_main_files(folder))]
    return outputs[0] if len(outputs) == 1 else (path if outputs else None)


def has_traces(folder: Path) -> bool:
    """Say whether a folder holds a run of ABACUS, or its input, whatever matrices it has."""
    if (folder / "INPUT").is_file() and (folder / "STRU").is_file():
        return True
    places = (folder, *_output_folders(folder)) if folder.is_dir() else ()
    return any(any(place.glob("running_*.log")) for place in places)


def find_run(path: Path, step: int | None = None, *, with_log: bool = True) -> RunFiles:
    """Collect the files of a run.

    Parameters
    ----------
    path
        What `detect_run` returned.
    step
        The ionic step wanted, from 0.
    with_log
        Whether the log is used.

    Raises
    ------
    MissingDataError
        When no matrix is there, or none of that step.
    FormatError
        When several runs lie in one place.
    """
    if (path.parent if path.is_file() else path).name in ("", ".."):  # STRU lies above: say where
        path = Path(os.path.abspath(path))  # noqa: PTH100 - a link stays where it is
    folder = path.parent if path.is_file() else path
    if folder.name == "matrix":
        folder = folder.parent
    if not any(_main_files(folder)):
        folder = _only_output_folder(folder)
    files = count_from_zero(_matrix_files(folder))
    given = next((file for file in files if file.path == path and step is None), None)
    if given is not None:
        step = given.step
    steps = _split_steps(files)
    inside = [file for file in files if file.step is None]
    if steps:
        step = steps[-1] if step is None else step
        inside = [file for file in files if file.step in (step, None)]
        _require_step(folder, files, inside, step, steps)
    candidates = (folder.parent / "STRU", folder / "STRU")
    stru = next((file for file in candidates if file.is_file()), None)
    parameters = _input(folder)
    log = _log(folder, parameters.get("calculation", "")) if with_log else None
    groups = _grouped(folder, inside)
    taken = {path for paths in groups.values() for path in paths}
    unread = tuple(file.path for file in inside if file.path not in taken)
    return RunFiles(folder, groups, step, log, stru, parameters, tuple(steps), unread)


def _split_steps(files: list[MatrixFile]) -> list[int]:
    """Return the steps that have files of H of their own; of S, in a run without H."""
    kinds = {file.quantity for file in files}
    main = "hamiltonian" if "hamiltonian" in kinds else "overlap"
    steps = {file.step for file in files if file.quantity == main}
    return [] if None in steps else sorted(number for number in steps if number is not None)


def _require_step(
    folder: Path, files: list[MatrixFile], inside: list[MatrixFile], step: int, steps: list[int]
) -> None:
    """Refuse a step of which H or S is missing, while other steps have it."""
    here = {file.quantity for file in inside}
    missing = {file.quantity for file in files if _is_main(file)} - here
    if missing:
        what = "ionic step" if step not in steps else f"the {missing.pop()} of ionic step"
        known = ", ".join(str(number) for number in steps[:20])
        raise MissingDataError(f"{what} {step}", folder, f"There are files of the steps {known}.")


def count_from_zero(files: Iterable[MatrixFile]) -> list[MatrixFile]:
    """Return the files with their steps counted from 0, whatever their names count from.

    H, S and the density matrix of 3.11 are numbered from 1, T and r from 0, and versions between
    otherwise: the first line of one file of each kind says it.
    """
    offsets: dict[tuple[object, ...], int] = {}
    result = []
    for file in files:
        if file.step is not None:
            kind = (file.path.parent, file.naming, re.sub(r"\d+", "", file.path.name))
            if kind not in offsets:
                number = first_step(file.path)
                offsets[kind] = 0 if number is None else number - file.step
            file = file._replace(step=file.step + offsets[kind])
        result.append(file)
    return result


def _is_main(file: MatrixFile) -> bool:
    return file.quantity in ("hamiltonian", "overlap")


def _main_files(folder: Path) -> Iterator[MatrixFile]:
    """Yield the Hamiltonian and overlap files of a folder."""
    return (file for file in _matrix_files(folder) if _is_main(file) and _looks_right(file.path))


def _matrix_files(folder: Path) -> Iterator[MatrixFile]:
    for place in (folder, folder / "matrix"):
        if place.is_dir():
            for path in sorted(place.iterdir()):
                file = parse_name(path)
                if file is not None and path.is_file():
                    yield file


def _looks_right(path: Path) -> bool:
    """Say whether a file with a short name begins as ABACUS's do; the long names need no look."""
    if path.name != "SR.csr":
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(64).lstrip().startswith((*MARKS, NO_STEP))
    except OSError:
        return False


def _output_folders(folder: Path) -> list[Path]:
    return sorted(output for output in folder.glob("OUT.*") if output.is_dir())


def _only_output_folder(folder: Path) -> Path:
    outputs = [output for output in _output_folders(folder) if any(_main_files(output))]
    if len(outputs) == 1:
        return outputs[0]
    if outputs:
        raise FormatError(
            folder,
            "several runs have matrices here",
            found=", ".join(output.name for output in outputs),
            fix="Give one of these folders instead.",
        )
    raise MissingDataError(
        "a Hamiltonian or overlap file of ABACUS",
        folder,
        "Run ABACUS with 'out_mat_hs2 1' (or 'out_hsr 1'), or 'calculation get_S'.",
    )


def _grouped(folder: Path, files: list[MatrixFile]) -> dict[str, tuple[Path, ...]]:
    """Return the files by quantity; two names for the same thing are two runs in one folder."""
    groups: dict[str, tuple[Path, ...]] = {}
    for quantity in dict.fromkeys(quantity for quantity, _ in MATRIX_NAMES):
        mine = [file for file in files if file.quantity == quantity]
        texts = [file for file in mine if not file.path.name.endswith(".npz")]
        mine = texts or mine
        channels = [file.channel for file in mine]
        if len(set(channels)) != len(channels):
            raise FormatError(
                folder,
                f"several files hold the same {quantity.replace('_', ' ')}",
                found=", ".join(file.path.name for file in mine),
                expected="the files of one run",
                fix="They come from different runs: move those of the other run away.",
            )
        packed = next((file.path for file in mine if file.path.name.endswith(_PACKED)), None)
        if packed is not None:
            raise FormatError(
                packed, "binary matrices cannot be read compressed", fix="Unpack it with gunzip."
            )
        if mine:
            groups[quantity] = tuple(file.path for file in sorted(mine, key=lambda f: f.channel))
    return groups


def _log(folder: Path, calculation: str) -> Path | None:
    """Return the log that belongs to the matrices, that of the self-consistent run first.

    A run with ionic steps in the same folder has written them again: INPUT says it.
    """
    first = (calculation,) if calculation in _WITH_STEPS else ()
    for kind in (*first, *_LOG_ORDER):
        path = folder / f"running_{kind}.log"
        if path.is_file():
            return path
    return next(iter(sorted(folder.glob("running_*.log"))), None)


def _input(folder: Path) -> dict[str, str]:
    """Return ABACUS's record of all parameters, ``OUT.x/INPUT`` (``INPUT.info``), or the input."""
    places = (folder / "INPUT", folder / "INPUT.info", folder.parent / "INPUT")
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    words = [line.split("#")[0].split() for line in lines]
    return {word[0].lower(): word[1] for word in words if len(word) > 1}
