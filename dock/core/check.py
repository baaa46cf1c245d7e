"""The physics that any calculation must obey, as a list of findings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dock.core.calculation import Calculation
from dock.core.kspace import KBuilder
from dock.core.matrix import AOMatrix
from dock.errors import DockError

__all__ = ["Finding", "check_calculation"]

HERMITICITY_LIMIT = {"hamiltonian": 1e-4, "overlap": 1e-5, "density_matrix": 1e-5}
"""Largest |O − O†| that integration noise of the codes explains (measured: 1e-8), with room."""

ELECTRONS_LIMIT = 1e-4
"""Largest |Tr(ρS) − N| of a converged density matrix with room for printed formats."""

DENSE_LIMIT = 3000
"""Orbitals up to which the eigenvalues of S(k) are computed."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes
    ----------
    level
        ``ok``, ``note`` (worth knowing) or ``error`` (the data are wrong).
    what
        Name of the check.
    message
        What was found, with the figure.
    """

    level: Literal["ok", "note", "error"]
    what: str
    message: str


def check_calculation(calc: Calculation) -> list[Finding]:
    """Check pairs, finiteness, Hermiticity, S(k) > 0, Tr(ρS) = N and the Fermi level.

    Parameters
    ----------
    calc
        The calculation. Each matrix is read once.

    Returns
    -------
    list of Finding
        In the order of the checks; the data are sound when none has the level ``error``.
    """
    findings: list[Finding] = []
    loaded: dict[str, AOMatrix] = {}
    for name in calc.available:
        try:
            loaded[name] = calc.require(name)
        except DockError as error:
            findings.append(Finding("error", name, str(error)))
            continue
        findings += _check_matrix(loaded[name])
    findings += _check_same_pairs(loaded)
    if "overlap" in loaded:
        findings.append(_check_positive(loaded["overlap"]))
    if "density_matrix" in loaded and "overlap" in loaded:
        findings.append(_check_electrons(calc, loaded["density_matrix"], loaded["overlap"]))
    findings += _check_levels(calc)
    return findings


def _check_matrix(matrix: AOMatrix) -> list[Finding]:
    name = matrix.quantity
    bad = matrix.entries.size - int(np.count_nonzero(np.isfinite(matrix.entries)))
    if bad:
        return [Finding("error", name, f"{bad} of {matrix.entries.size} entries are NaN or Inf.")]
    if not matrix.pairs.is_closed:
        missing = np.flatnonzero(matrix.pairs.partner < 0)
        pair = matrix.pairs.describe(int(missing[0]))
        text = f"{len(missing)} pairs have no partner (−R, j, i), such as {pair}."
        return [Finding("error", name, text)]
    if len(matrix.pairs.onsite) != matrix.basis.n_atoms:
        text = f"{matrix.basis.n_atoms - len(matrix.pairs.onsite)} atoms have no on-site block."
        return [Finding("error", name, text)]
    limit = HERMITICITY_LIMIT.get(name)
    if limit is None:
        return [Finding("ok", name, "finite, every pair has its partner.")]
    error = matrix.hermiticity_error()
    level: Literal["ok", "error"] = "ok" if error <= limit else "error"
    unit = "" if matrix.facts.unit == "1" else f" {matrix.facts.unit}"
    return [Finding(level, name, f"largest |O − O†| is {error:.1e}{unit} (limit {limit:.0e}).")]


def _check_same_pairs(loaded: dict[str, AOMatrix]) -> list[Finding]:
    if "hamiltonian" not in loaded or "overlap" not in loaded:
        missing = "hamiltonian" if "hamiltonian" not in loaded else "overlap"
        return [Finding("note", "pairs", f"no {missing}: bands cannot be computed.")]
    hamiltonian, overlap = loaded["hamiltonian"], loaded["overlap"]
    difference = hamiltonian.pairs.difference(overlap.pairs)
    if difference:
        text = f"hamiltonian (first) and overlap (second) differ: {difference}."
        return [Finding("note", "pairs", text)]
    return [Finding("ok", "pairs", f"{len(overlap.pairs)} pairs, the same in H and S.")]


def _check_positive(overlap: AOMatrix) -> Finding:
    if overlap.basis.n_orbitals > DENSE_LIMIT:
        return Finding("note", "S > 0", f"not checked above {DENSE_LIMIT} orbitals.")
    if not np.all(np.isfinite(overlap.entries)):
        return Finding("error", "S > 0", "the overlap is not finite.")
    builder = KBuilder(overlap)
    axes = np.array(overlap.pairs.periodic_axes, dtype=np.float64)
    k_points = [np.zeros(3), 0.5 * axes, axes / 3]
    smallest = min(float(np.linalg.eigvalsh(builder.dense(k))[0]) for k in k_points)
    if smallest <= 0:
        return Finding(
            "error",
            "S > 0",
            f"S(k) has the eigenvalue {smallest:.2e}: it is not positive definite.",
        )
    level: Literal["ok", "note"] = "ok" if smallest > 1e-6 else "note"
    return Finding(level, "S > 0", f"smallest eigenvalue of S(k) is {smallest:.2e}.")


def _check_electrons(calc: Calculation, density: AOMatrix, overlap: AOMatrix) -> Finding:
    count = density.dot(overlap)
    if calc.n_electrons is None:
        return Finding("note", "electrons", f"Tr(ρS) = {count:.6f}; no electron count to compare.")
    level: Literal["ok", "error"] = (
        "ok" if abs(count - calc.n_electrons) <= ELECTRONS_LIMIT else "error"
    )
    text = f"Tr(ρS) = {count:.6f}, electrons {calc.n_electrons:g}."
    return Finding(level, "electrons", text)


def _check_levels(calc: Calculation) -> list[Finding]:
    findings = []
    if calc.fermi_level is None:
        findings.append(Finding("note", "fermi level", "unknown."))
    if calc.n_electrons is None:
        findings.append(Finding("note", "electrons", "the number of electrons is unknown."))
    capacity = 2 * calc.basis.n_orbitals
    if calc.n_electrons is not None and not 0 <= calc.n_electrons <= capacity:
        text = f"{calc.n_electrons:g} electrons do not fit into {capacity} states."
        findings.append(Finding("error", "electrons", text))
    return findings
