"""OpenMX's report, the ``.out`` file: energies, convergence, Mulliken populations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dock.errors import FormatError
from dock.io.text import load_text, parse_number

__all__ = ["Mulliken", "RunReport", "read_out"]

DEFAULT_CRITERION = 1.0e-6
DEFAULT_MAX_STEPS = 40


@dataclass(frozen=True, eq=False, kw_only=True)
class Mulliken:
    """The table of Mulliken populations.

    Attributes
    ----------
    labels
        Species label of each atom.
    up, down
        float64 (N,): electrons.
    theta, phi
        float64 (N,): direction of the moment in degrees; None in collinear runs.
    """

    labels: tuple[str, ...]
    up: NDArray[np.float64]
    down: NDArray[np.float64]
    theta: NDArray[np.float64] | None
    phi: NDArray[np.float64] | None


@dataclass(frozen=True, eq=False, kw_only=True)
class RunReport:
    """What a ``.out`` file says about the last structure of a run; None where it is silent.

    Attributes
    ----------
    path
        The file.
    code_version
        ``"3.9.9"``.
    band_energy, total_energy
        Uele and Utot, Hartree.
    chemical_potential
        Hartree.
    grid
        Num.Grid1 to Num.Grid3.
    n_steps, max_steps
        SCF steps made, and ``scf.maxIter``.
    norm_rd
        Residual norm of the density at the last step.
    energy_change
        |ΔUele| at the last step, Hartree; None after a single step.
    criterion
        ``scf.criterion``, Hartree: OpenMX stops once `energy_change` is below it.
    eigenvalues
        float64 (2, n): up and down, Hartree, absolute; only from the Cluster solver.
    spin_moment
        μB.
    mulliken
        Populations.
    """

    path: Path
    code_version: str
    band_energy: float | None
    total_energy: float | None
    chemical_potential: float | None
    grid: tuple[int, int, int] | None
    n_steps: int
    max_steps: int
    norm_rd: float | None
    energy_change: float | None
    criterion: float
    eigenvalues: NDArray[np.float64] | None
    spin_moment: float | None
    mulliken: Mulliken | None

    @property
    def converged(self) -> bool:
        """Whether the last step met OpenMX's own criterion."""
        return self.energy_change is not None and self.energy_change < self.criterion

    @property
    def hit_max_steps(self) -> bool:
        """Whether the run used up ``scf.maxIter`` without meeting the criterion."""
        return self.n_steps >= self.max_steps and not self.converged


def read_out(path: str | Path) -> RunReport:
    """Read the report of a run; where it has several structures, the last one counts.

    Raises
    ------
    FormatError
        When it is not an OpenMX report.
    MissingDataError
        When it cannot be read.
    """
    path = Path(path)
    text = load_text(path, "an OpenMX .out file", "OpenMX")
    version = re.search(r"performed by OpenMX Ver\.\s*(\S+)", text)
    if version is None:
        raise FormatError(
            path,
            "this is not an OpenMX report",
            expected="'This calculation was performed by OpenMX Ver.' near the top",
            found=repr(text.lstrip("*\n ")[:40]),
            fix="Give the <System.Name>.out of the run.",
        )
    grid = [_last(text, rf"Num\.Grid{axis}\.\s+(\d+)") for axis in (1, 2, 3)]
    steps = _scf_steps(text)
    return RunReport(
        path=path,
        code_version=version.group(1),
        band_energy=_last(text, r"^\s*Uele\.\s+(\S+)"),
        total_energy=_last(text, r"^\s*Utot\.\s+(\S+)"),
        chemical_potential=_last(text, r"^\s*Chemical potential \(Hartree\)\s+(\S+)"),
        grid=None if None in grid else (int(grid[0] or 0), int(grid[1] or 0), int(grid[2] or 0)),
        n_steps=int(steps[-1, 0]) if len(steps) else 0,
        max_steps=int(_last(text, r"(?i)^\s*scf\.maxIter\s+(\d+)") or DEFAULT_MAX_STEPS),
        norm_rd=float(steps[-1, 1]) if len(steps) else None,
        energy_change=float(abs(steps[-1, 2] - steps[-2, 2])) if len(steps) > 1 else None,
        criterion=_last(text, r"(?i)^\s*scf\.criterion\s+(\S+)") or DEFAULT_CRITERION,
        eigenvalues=_cluster_eigenvalues(text),
        spin_moment=_last(text, r"Total spin moment \(muB\)\s+(\S+)"),
        mulliken=_mulliken(text),
    )


def _last(text: str, pattern: str) -> float | None:
    """Return the number of a pattern's last match, or None."""
    matches = re.findall(pattern, text, flags=re.MULTILINE)
    try:
        return parse_number(matches[-1]) if matches else None
    except ValueError:
        return None


def _scf_steps(text: str) -> NDArray[np.float64]:
    """Return (step, NormRD, Uele) of the last SCF history: float64 (n_steps, 3)."""
    history = text.rpartition("SCF history at MD=")[2]
    rows = re.findall(r"^\s*SCF=\s*(\d+)\s+NormRD=\s*(\S+)\s+Uele=\s*(\S+)", history, re.MULTILINE)
    return np.array(list(_numeric(rows)), dtype=np.float64).reshape(-1, 3)


def _numeric(rows: list[tuple[str, ...]]) -> Iterator[list[float]]:
    """Yield the rows that hold numbers; a diverging run prints stars where they do not fit."""
    for row in rows:
        try:
            yield [parse_number(word) for word in row]
        except ValueError:
            yield [float(row[0]), float("nan"), float("nan")]


def _cluster_eigenvalues(text: str) -> NDArray[np.float64] | None:
    """Return the last eigenvalue table with up and down columns: float64 (2, n), or None."""
    head = re.compile(r"Eigenvalues[ \t]*\n\s*Up-spin\s+Down-spin[ \t]*\n(?=[ \t]*1\s)")
    matches = list(head.finditer(text))
    if not matches:
        return None
    row = re.compile(r"\s*(\d+)\s+(-?\d+\.\d+)\s+(-?\d+\.\d+)\s*")
    rows: list[tuple[float, float]] = []
    for line in text[matches[-1].end() :].split("\n"):
        match = row.fullmatch(line)
        if match is None or int(match.group(1)) != len(rows) + 1:
            break
        rows.append((float(match.group(2)), float(match.group(3))))
    return np.ascontiguousarray(np.array(rows).T) if rows else None


def _mulliken(text: str) -> Mulliken | None:
    """Return the last table of Mulliken populations, or None."""
    section = text.rpartition("  Mulliken populations  ")[2].partition("Sum of MulP")
    rows = re.findall(
        r"^\s*\d+\s+(\S+)\s+(-?\d+\.\d+)\s+(-?\d+\.\d+)\s+-?\d+\.\d+\s+-?\d+\.\d+"
        r"(?:\s+(-?\d+\.\d+)\s+(-?\d+\.\d+))?[ \t]*$",
        section[0],
        flags=re.MULTILINE,
    )
    if not rows or not section[1]:
        return None
    angles = np.array([[float(word or 0) for word in row[3:]] for row in rows]).T
    has_angles = all(row[3] for row in rows)
    return Mulliken(
        labels=tuple(row[0] for row in rows),
        up=np.array([float(row[1]) for row in rows]),
        down=np.array([float(row[2]) for row in rows]),
        theta=angles[0] if has_angles else None,
        phi=angles[1] if has_angles else None,
    )
