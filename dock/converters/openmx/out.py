"""OpenMX's report, the ``.out`` file: how the self-consistency cycle ended."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dock.converters.run_log import last_number
from dock.errors import FormatError
from dock.io.text import load_text, parse_number

__all__ = ["RunReport", "read_out"]

DEFAULT_CRITERION = 1.0e-6
SAME_LEVEL = 1e-6  # Hartree: chemical potentials of one run agree to the printed digits


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """What a ``.out`` file says about the last structure of a run.

    Attributes
    ----------
    chemical_potential
        Hartree; None where the report is silent.
    n_steps
        SCF steps made.
    energy_change
        |ΔUele| at the last step, Hartree; None after a single step.
    criterion
        ``scf.criterion``, Hartree: OpenMX stops once `energy_change` is below it, whatever the
        residual norm of the density.
    """

    chemical_potential: float | None
    n_steps: int
    energy_change: float | None
    criterion: float

    def is_of(self, chemical_potential: float) -> bool:
        """Say whether an scfout with this chemical potential (Hartree) can be of the same run."""
        level = self.chemical_potential
        return level is None or abs(level - chemical_potential) <= SAME_LEVEL

    @property
    def converged(self) -> bool:
        """Whether the last step met OpenMX's own criterion."""
        return self.energy_change is not None and self.energy_change < self.criterion


def read_out(path: str | Path, begin: int = 0) -> RunReport:
    """Read the report of a run; where it has several structures, the last one counts.

    It may stand at the end of an scfout file, from the byte `begin`: see `ScfoutFile.report`.

    Raises
    ------
    FormatError
        When it is not an OpenMX report.
    MissingDataError
        When it cannot be read.
    """
    path = Path(path)
    text = load_text(path, "an OpenMX .out file", "OpenMX", begin)
    if re.search(r"performed by OpenMX Ver\.\s*\S", text) is None:
        raise FormatError(
            path,
            "this is not an OpenMX report",
            expected="'This calculation was performed by OpenMX Ver.' near the top",
            found=repr(text.lstrip("*\n ")[:40]),
            fix="Give the <System.Name>.out of the run.",
        )
    steps = _scf_steps(text)
    return RunReport(
        chemical_potential=last_number(text, r"^\s*Chemical potential \(Hartree\)\s+(\S+)"),
        n_steps=int(steps[-1, 0]) if len(steps) else 0,
        energy_change=float(abs(steps[-1, 2] - steps[-2, 2])) if len(steps) > 1 else None,
        criterion=last_number(text, r"(?i)^\s*scf\.criterion\s+(\S+)") or DEFAULT_CRITERION,
    )


def _scf_steps(text: str) -> NDArray[np.float64]:
    """Return (step, NormRD, Uele) of the last SCF history: float64 (n_steps, 3)."""
    history = text.rpartition("SCF history at MD=")[2]
    rows = re.findall(r"^\s*SCF=\s*(\d+)\s+NormRD=\s*(\S+)\s+Uele=\s*(\S+)", history, re.MULTILINE)
    return np.array([_numbers(row) for row in rows], dtype=np.float64).reshape(-1, 3)


def _numbers(row: tuple[str, ...]) -> list[float]:
    """Return a row of numbers; a diverging run prints stars where they do not fit."""
    try:
        return [parse_number(word) for word in row]
    except ValueError:
        return [float(row[0]), float("nan"), float("nan")]
