"""What goes wrong in ABACUS runs and shows only beside the matrices."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dock.converters.abacus.reader import read_calculation
from dock.converters.abacus.run import find_run
from dock.converters.abacus.running_log import read_log
from dock.converters.format import ReadOptions
from dock.converters.printed_levels import compare_levels
from dock.core.check import Finding
from dock.errors import DockError, FormatError
from dock.io.text import read_text

__all__ = ["check_run"]

_SAME_LEVELS = 5e-3  # eV: six digits of the k-point, and of the levels with two spins
_POINT = re.compile(r"Kpoint\s*=\s*1\s*\(([^)]*)\)")


def check_run(path: Path) -> list[Finding]:
    """Look at the log and ``istate.info`` of a run: SCF convergence, and whether all fit.

    Parameters
    ----------
    path
        The output folder, its parent, or a matrix file in it.
    """
    try:
        files = find_run(path)
        if files.log is None:
            text = "no log of ABACUS beside the matrices: convergence unknown."
            return [Finding("note", "scf", text)]
        log = read_log(files.log)
        findings = [_scf(log.path.name, log.converged)]
        table = files.folder / "istate.info"
        if table.is_file() and len(log.frames) == 1 and log.converged is not None:
            calc = read_calculation(path, ReadOptions())
            printed = _first_point(table, calc.spin.n_channels)
            if printed is not None:
                findings.append(compare_levels(calc, *printed, table.name, _SAME_LEVELS))
    except DockError as error:
        return [Finding("error", "files", str(error))]
    return findings


def _scf(name: str, converged: bool | None) -> Finding:
    if converged is None:
        return Finding("note", "scf", f"{name} has no self-consistency loop.")
    if converged:
        return Finding("ok", "scf", f"converged, as {name} says.")
    text = f"{name} says that the last self-consistency loop did not converge: do not train on it."
    return Finding("error", "scf", text)


def _first_point(
    path: Path, n_channels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the first k-point of ``istate.info`` and its levels (n_channels, n_bands), eV.

    Each line has a number, then energy and occupation for each spin. None where the layout is
    another one.

    Raises
    ------
    FormatError
        When the levels are no numbers.
    """
    parts = read_text(path).split("BAND")
    match = _POINT.search(parts[1]) if len(parts) > 1 else None
    if match is None:
        return None
    try:
        k = np.array(match[1].split(), dtype=np.float64)
        lines = [line.split() for line in parts[1].splitlines()[1:] if line.strip()]
        table = np.array(lines, dtype=np.float64)
    except ValueError as error:
        raise FormatError(path, f"the first k-point is damaged ({error})") from error
    if k.shape != (3,) or table.ndim != 2 or table.shape[1] != 1 + 2 * n_channels:
        return None
    return k, table[:, 1::2].T
