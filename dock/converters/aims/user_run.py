"""A user's own FHI-aims run, from control.in and geometry.in; the files of a restart like it."""

from __future__ import annotations

from pathlib import Path

from dock.converters.aims.basis_indices import read_basis
from dock.converters.aims.geometry_in import read_geometry
from dock.converters.aims.run import read_control
from dock.converters.aims.warm_start import write_warm_folder
from dock.converters.format import WriteOptions
from dock.converters.user_run import Restart, UserRun, copy_beside, read_input, with_lines
from dock.core.calculation import Calculation
from dock.core.spin import Spin
from dock.errors import MissingDataError, UsageError

__all__ = ["RESTART"]

_KEYWORD = "use_deepx_warmstart"
_LINES = {_KEYWORD: f"{_KEYWORD}    .true."}
_EXCLUDED = ("use_local_index", "restart", "elsi_restart")
_NO = (".false.", "false", "none")
_NOTE = (
    "FHI-aims needs DeepH's patch (250822_1) to begin with a Hamiltonian: without it the keyword "
    f"{_KEYWORD} stops it."
)


def _read(path: Path) -> UserRun:
    """Read a run's folder, or one of its two inputs; see `UserRun`.

    Raises
    ------
    MissingDataError
        When control.in or geometry.in is not there.
    UsageError
        When control.in asks for what excludes a warm start.
    """
    folder = path.parent if path.is_file() else path
    for name in ("control.in", "geometry.in"):
        if not (folder / name).is_file():
            raise MissingDataError(name, folder, "A run has it: give the run's folder.")
    control = read_control(folder)
    excluded = [name for name in _EXCLUDED if control.get(name, "none").lower() not in _NO]
    if excluded:
        raise UsageError(
            f"{folder / 'control.in'}: a warm start does not go with {', '.join(excluded)}. "
            "Take the line out."
        )
    structure = read_geometry(folder / "geometry.in")
    table, shells = folder / "basis-indices.out", None
    if table.is_file():
        basis = read_basis(table, structure.labels)
        shells = tuple(tuple(sorted(basis.ls(label))) for label in basis.labels)
    is_polarised = control.get("spin", "none").lower().startswith("collinear")
    return UserRun(
        input=folder / "control.in",
        label="",
        structure=structure,
        spin=Spin.COLLINEAR if is_polarised else Spin.NONE,
        shells=shells,
        sorted_by_l=True,
        files=(folder / "geometry.in",),
    )


def _write(calc: Calculation, run: UserRun, folder: Path) -> list[Path]:
    """Write ``deeph_warm``, geometry.in as it is, and control.in with the keyword for the start."""
    wanted = tuple(name for name in ("overlap", "hamiltonian") if name in calc.available)
    written = write_warm_folder(calc, folder, WriteOptions(quantities=wanted))
    control = folder / run.input.name
    text = with_lines(read_input(run.input), _LINES, _keyword, first=True)
    control.write_bytes(text.encode("utf-8", "surrogateescape"))
    return [*written, control, *copy_beside(run, folder)]


def _keyword(line: str) -> str:
    words = line.partition("#")[0].split(maxsplit=1)
    return words[0].lower() if words else ""


RESTART = Restart(_read, _write, ("hamiltonian",), _NOTE)
