"""What goes wrong in SIESTA runs and shows only beside the matrices."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dock.converters.format import ReadOptions
from dock.converters.printed_levels import compare_levels
from dock.converters.siesta.eig import read_eig, read_kp
from dock.converters.siesta.matrix_file import MatrixFile
from dock.converters.siesta.reader import read_calculation
from dock.converters.siesta.run import RunFiles, SiestaLog, open_main
from dock.core.check import Finding
from dock.errors import DockError

__all__ = ["check_run"]

_SAME_FERMI = 2e-4  # eV: EIG prints four digits in old versions
_SAME_LEVELS = 5e-3  # eV: KP has six digits, and the constants of old files are not known exactly


def check_run(path: Path) -> list[Finding]:
    """Look at the log, EIG and KP beside a matrix file: SCF convergence, and whether all fit."""
    try:
        main = open_main(path)
        run = RunFiles(main.path)
        findings = [_scf(run.log)]
        eig = run.beside(".EIG")
        if eig is not None:
            findings += _against_eig(path, main, run, eig)
    except DockError as error:
        return [Finding("error", "files", str(error))]
    return findings


def _scf(log: SiestaLog) -> Finding:
    if not log.version:
        return Finding("note", "scf", "no log of SIESTA beside the matrices: convergence unknown.")
    if log.converged is False:
        text = "the SCF cycle did not converge (SCF_NOT_CONV in the log): do not train on it."
        return Finding("error", "scf", text)
    if not log.finished:
        text = (
            "the log ends before its self-consistency cycle does: neither 'SCF cycle converged' "
            "nor 'Job completed' stands in it. The run had not finished: do not train on it."
        )
        return Finding("error", "scf", text)
    return Finding("ok", "scf", f"the log of SIESTA {log.version} reports no failure.")


def _against_eig(path: Path, main: MatrixFile, run: RunFiles, eig: Path) -> list[Finding]:
    calc = read_calculation(path, ReadOptions())
    printed = read_eig(eig)
    findings = []
    if calc.fermi_level is not None and abs(calc.fermi_level - printed.fermi) > _SAME_FERMI:
        text = (
            f"{eig.name} has the Fermi level {printed.fermi:.6f} eV, {main.path.name} "
            f"{calc.fermi_level:.6f} eV: they are of different runs."
        )
        findings.append(Finding("error", "files", text))
    kp = run.beside(".KP")
    if kp is None and len(printed.energies) > 1:
        return findings
    k = np.zeros((1, 3))
    if kp is not None:
        bohr = run.constants(main)[0].bohr_angstrom
        k = read_kp(kp).fractional(np.asarray(calc.structure.cell, dtype=np.float64) / bohr)
    if len(k) != len(printed.energies):
        text = f"{eig.name} has {len(printed.energies)} k-points, the KP file {len(k)}."
        return [*findings, Finding("error", "files", f"{text} They are of different runs.")]
    findings.append(compare_levels(calc, k[0], printed.energies[0], eig.name, _SAME_LEVELS))
    return findings
