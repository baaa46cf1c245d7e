"""What goes wrong in FHI-aims runs and shows only in the log."""

from __future__ import annotations

from pathlib import Path

from dock.converters.aims.aims_out import find_log, read_log
from dock.core.check import Finding
from dock.errors import DockError

__all__ = ["check_run"]


def check_run(path: Path) -> list[Finding]:
    """Say whether the self-consistency cycle converged, as the log in a run's folder has it."""
    log_path = find_log(path)
    if log_path is None:
        text = "no log of FHI-aims beside the matrices: convergence unknown."
        return [Finding("note", "scf", text)]
    try:
        log = read_log(log_path)
    except DockError as error:
        return [Finding("error", "scf", str(error))]
    if not log.finished:
        text = f"{log_path.name} ends within a self-consistency cycle: do not train on it."
        return [Finding("error", "scf", text)]
    if log.converged is None:
        return [Finding("note", "scf", f"{log_path.name} does not say whether it converged.")]
    if log.converged:
        return [Finding("ok", "scf", f"converged, as {log_path.name} says.")]
    text = f"{log_path.name} says that the cycle did not converge: do not train on it."
    return [Finding("error", "scf", text)]
