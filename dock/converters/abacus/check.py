"""What goes wrong in ABACUS runs and shows only beside the matrices."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dock.converters.abacus.levels import TABLES, read_levels
from dock.converters.abacus.reader import read_calculation
from dock.converters.abacus.run import find_run
from dock.converters.abacus.running_log import AbacusLog, read_log
from dock.converters.format import ReadOptions
from dock.converters.printed_levels import compare_levels
from dock.core.calculation import Calculation
from dock.core.check import Finding
from dock.errors import DockError
from dock.units import ABACUS

__all__ = ["check_run"]

_SAME_LEVELS = 5e-3  # eV: six digits of the k-point, and of the levels with two spins


def check_run(path: Path) -> list[Finding]:
    """Look at the log and the printed levels of a run: SCF convergence, and whether all fit.

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
        log, calc = read_log(files.log), read_calculation(path, ReadOptions())
        extra = calc.provenance.extra
        findings = [_scf(log, extra.get("converged"), finished=extra.get("finished") is not False)]
        table = next(
            (files.folder / name for name in TABLES if (files.folder / name).is_file()), None
        )
        if table is not None and log.steps:
            findings += _levels(calc, table, log)
    except DockError as error:
        return [Finding("error", "files", str(error))]
    return findings


def _scf(log: AbacusLog, converged: object, *, finished: bool) -> Finding:
    """Say how the self-consistency loop of the step that is read ended."""
    name = log.path.name
    if not finished:
        text = f"{name} ends before its self-consistency loop does: do not train on it."
        return Finding("error", "scf", text)
    if converged is None:
        if log.steps:
            text = f"{name} does not say how the self-consistency loop of this step ended."
        else:
            text = f"{name} has no self-consistency loop."
        return Finding("note", "scf", text)
    if converged:
        return Finding("ok", "scf", f"converged, as {name} says.")
    text = f"{name} says that the last self-consistency loop did not converge: do not train on it."
    return Finding("error", "scf", text)


def _levels(calc: Calculation, table: Path, log: AbacusLog) -> list[Finding]:
    """Hold H and S against the levels that were printed for the same ionic step."""
    step = calc.provenance.extra.get("step")
    printed = read_levels(table)
    if not printed:
        return [Finding("note", "levels", f"the layout of {table.name} is not known.")]
    chosen = [levels for levels in printed if levels.step is None or levels.step == (step or 0)]
    if not chosen or (
        len(log.steps) > 1 and chosen[-1].step is None and table.name == "istate.info"
    ):
        return [Finding("note", "levels", f"{table.name} has no levels of ionic step {step}.")]
    bohr = calc.provenance.extra.get("lattice_constant_bohr", log.constant_bohr)
    constant = float(str(bohr)) * ABACUS.bohr_angstrom
    k = chosen[-1].fractional(np.asarray(calc.structure.cell), constant)[0]
    first = chosen[-1].energies[:, 0]
    return [compare_levels(calc, k, first, table.name, _SAME_LEVELS)]
