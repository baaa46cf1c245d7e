"""What goes wrong in OpenMX runs and shows only in the text output."""

from __future__ import annotations

from pathlib import Path

from dock.converters.openmx.out import read_out
from dock.converters.openmx.scfout import ScfoutFile
from dock.core.check import Finding
from dock.errors import DockError

__all__ = ["check_run"]


def check_run(path: Path) -> list[Finding]:
    """Look into the ``.out`` beside an scfout file: SCF convergence, and whether it is this run."""
    try:
        file = ScfoutFile.open(path)
        out = file.report
        if out is None:
            name = path.with_suffix(".out").name
            return [Finding("note", "scf", f"no {name} beside the scfout: convergence unknown.")]
        report = read_out(out, file.end if out == path else 0)
    except DockError as error:
        return [Finding("error", "scf", str(error))]
    findings = []
    if report.converged:
        findings.append(Finding("ok", "scf", f"converged in {report.n_steps} steps."))
    else:
        text = (
            f"the SCF cycle did not reach scf.criterion {report.criterion:g} in "
            f"{report.n_steps} steps (last change {report.energy_change} Ha): do not train on it."
        )
        findings.append(Finding("error", "scf", text))
    if not report.is_of(file.chemical_potential):
        text = (
            f"{out.name} has the chemical potential {report.chemical_potential:.8f} Ha, the scfout "
            f"{file.chemical_potential:.8f} Ha: they are of different runs."
        )
        findings.append(Finding("error", "files", text))
    return findings
