"""What goes wrong in CP2K runs: convergence, levels that H and S do not have, another basis."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dock.converters.cp2k.cp2k_log import Cp2kLog
from dock.converters.cp2k.matrices import overlap_deviation, overlap_limit
from dock.converters.cp2k.reader import read_calculation
from dock.converters.cp2k.run import run_files
from dock.converters.format import ReadOptions
from dock.converters.origin import number_of
from dock.converters.printed_levels import LARGEST, compare_levels
from dock.core.calculation import Calculation
from dock.core.check import Finding
from dock.errors import DockError

__all__ = ["check_run", "printed_k_point"]

_SAME_LEVELS = 1e-3  # eV: six digits of a Hartree, and the last step of the self-consistency


def check_run(path: Path) -> list[Finding]:
    """Hold a run's log and basis set against its matrices."""
    try:
        log = run_files(path).log
        findings = [_scf(log)]
        calc = read_calculation(path, ReadOptions())
        return [*findings, *_against_log(calc, log), *_against_basis(calc)]
    except DockError as error:
        return [Finding("error", "files", str(error))]


def _scf(log: Cp2kLog) -> Finding:
    name = log.path.name
    if not log.finished:
        return Finding("error", "scf", f"{name} ends before the run does: do not train on it.")
    if log.converged is None:
        return Finding("note", "scf", f"{name} does not say whether it converged.")
    if log.converged:
        return Finding("ok", "scf", f"converged, as {name} says.")
    return Finding("error", "scf", f"{name} says that it did not converge: do not train on it.")


def printed_k_point(log: Cp2kLog, number: int) -> list[float] | None:
    """Return a k-point of the log, fractional, from 1; 0 is Γ of runs without; None if unknown.

    The log has five digits; on a Monkhorst–Pack mesh of n they are multiples of 1/2n.
    """
    if number == 0:
        return [0.0, 0.0, 0.0]
    if log.k_points is None or number > len(log.k_points):
        return None
    k = log.k_points[number - 1]
    if log.k_grid is not None:
        steps = 2.0 * np.array(log.k_grid)
        nearest = np.rint(k * steps) / steps
        k = nearest if np.abs(nearest - k).max() < 1e-5 else k
    return [float(x) for x in k]


def _against_log(calc: Calculation, log: Cp2kLog) -> list[Finding]:
    first = min((levels.k_point for levels in log.levels), default=None)
    k = None if first is None else printed_k_point(log, first)
    if first is None or k is None:
        text = "not compared with the log: give MO with EIGENVALUES (and PRINT_LEVEL MEDIUM)."
        return [Finding("note", "levels", text)]
    own = sorted((one for one in log.levels if one.k_point == first), key=lambda one: one.spin)
    n_bands = min(len(one.energies) for one in own)
    printed = np.array([one.energies[:n_bands] for one in own])
    return [compare_levels(calc, k, printed, log.path.name, _SAME_LEVELS)]


def _against_basis(calc: Calculation) -> list[Finding]:
    if "overlap" not in calc.available or calc.basis.n_orbitals > LARGEST:
        return []
    apart = overlap_deviation(calc)
    if apart > overlap_limit(number_of(calc.provenance.extra, "eps_default", 0.0)):
        text = f"S differs by up to {apart:.1e} from that of the basis set: files of several runs?"
        return [Finding("error", "basis", text)]
    return [Finding("ok", "basis", f"S is that of the basis set to {apart:.1e}.")]
