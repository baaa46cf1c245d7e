"""The physics that any calculation must obey, as a list of findings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dock.core.calculation import Calculation
from dock.core.kspace import KBuilder
from dock.core.matrix import AOMatrix
from dock.core.position import POSITION_LIMIT, position_error
from dock.core.spin import Spin
from dock.errors import DockError

__all__ = ["ONLY_GAMMA", "Finding", "check_calculation"]

HERMITICITY_LIMIT = {
    "hamiltonian": 1e-4,
    "overlap": 1e-5,
    "density_matrix": 1e-5,
    "energy_density_matrix": 1e-4,
    "kinetic": 1e-4,
    "gradient": 2e-2,
    "hamiltonian0": 1e-4,
    "hamiltonian_init": 1e-4,
}
"""Largest |O − O†| that integration noise of the codes explains, with room. Measured: 1e-8, and
up to 6e-3 /Å for OpenMX's gradient, which is integrated on its real-space grid."""

ELECTRONS_LIMIT = 1e-4
"""Largest |Tr(ρS) − N| of a converged density matrix with room for printed formats."""

ONLY_GAMMA = (
    "the run was at the Γ point alone and its matrices are summed over all lattice vectors: only "
    "k = 0 has a meaning; a crystal's gap and bands cannot be computed from them."
)
"""What is said of matrices that hold at one k-point."""

DENSE_LIMIT = 3000
"""Orbitals up to which the eigenvalues of S(k) are computed."""


FILLING_LIMIT = 400
"""Orbitals up to which the electrons below the Fermi level are counted."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked, named `what`; the message has the figure.

    The level is ``ok``, ``note`` (worth knowing) or ``error`` (the data are wrong).
    """

    level: Literal["ok", "note", "error"]
    what: str
    message: str


def check_calculation(calc: Calculation) -> list[Finding]:
    """Check pairs, finiteness, Hermiticity, S(k) > 0, Tr(ρS) = N, Fermi level and filling.

    Each matrix is read once; one that fails its own check is left out of those that follow. The
    findings stand in the order of the checks; the data are sound when none is an ``error``.
    """
    findings: list[Finding] = []
    loaded: dict[str, AOMatrix] = {}
    broken: set[str] = set()
    for name in calc.available:
        try:
            loaded[name] = calc.require(name)
        except DockError as error:
            findings.append(Finding("error", name, str(error)))
            continue
        own = _check_matrix(loaded[name])
        findings.append(own)
        if own.level == "error":
            broken.add(name)
    if "position" in loaded and "overlap" in loaded:
        findings = [_relation(loaded) if of.what == "position" else of for of in findings]
    findings.append(_check_same_pairs(loaded))
    loaded = {name: matrix for name, matrix in loaded.items() if name not in broken}
    if "overlap" in loaded:
        findings.append(_check_positive(loaded["overlap"]))
    if "density_matrix" in loaded and "overlap" in loaded:
        findings.append(_check_electrons(calc, loaded["density_matrix"], loaded["overlap"]))
    findings += _check_levels(calc)
    if all(finding.level != "error" for finding in findings):  # S(k) > 0 above all
        findings += _check_filling(calc, loaded)
    if calc.only_gamma:
        findings.append(Finding("note", "k-points", ONLY_GAMMA))
    return findings


def _judge(name: str, text: str, *, sound: bool) -> Finding:
    return Finding("ok" if sound else "error", name, text)


def _check_matrix(matrix: AOMatrix) -> Finding:
    """Check one matrix by itself: finite, closed, every atom there, Hermitian."""
    name = matrix.quantity
    bad = matrix.entries.size - int(np.count_nonzero(np.isfinite(matrix.entries)))
    if bad:
        return Finding("error", name, f"{bad} of {matrix.entries.size} entries are NaN or Inf.")
    if matrix.facts.own_pairs:
        return Finding("ok", name, f"finite, on {len(matrix.pairs)} pairs of its own.")
    if not matrix.pairs.is_closed:
        missing = np.flatnonzero(matrix.pairs.partner < 0)
        pair = matrix.pairs.describe(int(missing[0]))
        text = f"{len(missing)} pairs have no partner (−R, j, i), such as {pair}."
        return Finding("error", name, text)
    if len(matrix.pairs.onsite) != matrix.basis.n_atoms:
        text = f"{matrix.basis.n_atoms - len(matrix.pairs.onsite)} atoms have no on-site block."
        return Finding("error", name, text)
    limit = HERMITICITY_LIMIT.get(name)
    if limit is None:
        return Finding("ok", name, "finite, every pair has its partner.")
    error = matrix.hermiticity_error()
    unit = "" if matrix.facts.unit == "1" else f" {matrix.facts.unit}"
    sign = "+" if matrix.facts.parity < 0 else "−"
    text = f"largest |O {sign} O†| is {error:.1e}{unit} (limit {limit:.0e})."
    return _judge(name, text, sound=error <= limit)


def _relation(loaded: dict[str, AOMatrix]) -> Finding:
    """Give the figure of the relation that `Calculation.get` has held the position matrix to."""
    position = loaded["position"]
    if not position.pairs.is_closed:
        return _check_matrix(position)
    error = position_error(position, loaded["overlap"])
    text = f"largest |r_ij(R) − R S_ij(R) − r_ji(−R)ᵀ| is {error:.1e} Å (limit {POSITION_LIMIT:g})."
    return _judge("position", text, sound=error <= POSITION_LIMIT)


def _check_same_pairs(loaded: dict[str, AOMatrix]) -> Finding:
    """Compare the pairs of H and S, where both are there."""
    for name in ("hamiltonian", "overlap"):
        if name not in loaded:
            return Finding("note", "pairs", f"no {name}: bands cannot be computed.")
    overlap = loaded["overlap"].pairs
    difference = loaded["hamiltonian"].pairs.difference(overlap)
    if difference:
        text = f"hamiltonian (first) and overlap (second) differ: {difference}."
        return Finding("note", "pairs", text)
    return Finding("ok", "pairs", f"{len(overlap)} pairs, the same in H and S.")


def _check_positive(overlap: AOMatrix) -> Finding:
    """Look for the smallest eigenvalue of S(k) at Γ, a corner and a general point."""
    if overlap.basis.n_orbitals > DENSE_LIMIT:
        return Finding("note", "S > 0", f"not checked above {DENSE_LIMIT} orbitals.")
    builder = KBuilder(overlap)
    axes = np.array(overlap.pairs.periodic_axes, dtype=np.float64)
    k_points = [np.zeros(3), 0.5 * axes, axes / 3]
    smallest = min(float(np.linalg.eigvalsh(builder.dense(k))[0]) for k in k_points)
    if smallest <= 0:
        text = f"S(k) has the eigenvalue {smallest:.2e}: it is not positive definite."
        return Finding("error", "S > 0", text)
    text = f"smallest eigenvalue of S(k) is {smallest:.2e}."
    return Finding("ok" if smallest > 1e-6 else "note", "S > 0", text)


def _check_electrons(calc: Calculation, density: AOMatrix, overlap: AOMatrix) -> Finding:
    """Compare Tr(ρS) with the number of electrons."""
    count = density.dot(overlap)
    if calc.n_electrons is None:
        return Finding("note", "Tr(ρS)", f"Tr(ρS) = {count:.6f}; no electron count to compare.")
    text = f"Tr(ρS) = {count:.6f}, electrons {calc.n_electrons:g}."
    return _judge("Tr(ρS)", text, sound=abs(count - calc.n_electrons) <= ELECTRONS_LIMIT)


def _check_levels(calc: Calculation) -> list[Finding]:
    """Check that the Fermi level and the electrons are known and possible."""
    findings = []
    if calc.fermi_level is None:
        findings.append(Finding("note", "fermi level", "unknown."))
    elif not np.isfinite(calc.fermi_level):
        findings.append(Finding("error", "fermi level", f"{calc.fermi_level} is no energy."))
    if calc.n_electrons is None:
        findings.append(Finding("note", "electrons", "the number of electrons is unknown."))
    capacity = 2 * calc.basis.n_orbitals
    if calc.n_electrons is not None and not 0 <= calc.n_electrons <= capacity:
        text = f"{calc.n_electrons:g} electrons do not fit into {capacity} states."
        findings.append(Finding("error", "electrons", text))
    return findings


def _check_filling(calc: Calculation, loaded: dict[str, AOMatrix]) -> list[Finding]:
    """Count the electrons below the Fermi level: H − H₀ in the place of H has others.

    Three k-points tell no metal's count to better than some states, hence the wide limit.
    """
    hamiltonian, overlap, level = loaded.get("hamiltonian"), loaded.get("overlap"), calc.fermi_level
    wanted = calc.n_electrons
    if hamiltonian is None or overlap is None or not level or not wanted:  # 0.0: unknown to aims
        return []
    if hamiltonian.basis.n_orbitals > FILLING_LIMIT or not np.isfinite(level):
        return []
    first = next((name for name in ("hamiltonian0", "hamiltonian_init") if name in loaded), "")
    count = _electrons_below(hamiltonian, overlap, level)
    limit = max(1.5, 0.5 * wanted)
    if abs(count - wanted) <= limit:
        return []
    text = f"H has {count:.2f} electrons below the Fermi level, expected {wanted:g}"
    if first:
        part, free = hamiltonian.aligned(loaded[first])
        whole = part.with_entries(part.entries + free.on_pairs(part.pairs).entries)
        total = _electrons_below(whole, overlap, level)
        if abs(total - wanted) <= limit:
            text += f"; H + {first} has {total:.2f}: the file holds H − H₀. Add H₀ to it"
            return [Finding("error", "filling", text + ".")]
    text += ". It is H − H₀, or the Fermi level or the electrons are of another run."
    return [Finding("error", "filling", text)]


def _electrons_below(hamiltonian: AOMatrix, overlap: AOMatrix, level: float) -> float:
    """Return the electrons per cell below an energy, the mean of three k-points."""
    spinor = hamiltonian.spin is Spin.NONCOLLINEAR
    h, s = KBuilder(hamiltonian), KBuilder(overlap, spinor=spinor)
    axes = np.array(overlap.pairs.periodic_axes, dtype=np.float64)
    counts = []
    for k in (np.zeros(3), 0.5 * axes, axes / 3):
        turn = np.linalg.inv(np.linalg.cholesky(s.dense(k)))
        levels = np.linalg.eigvalsh(turn @ h.dense(k) @ turn.conj().T)
        counts.append(float(np.sum(levels < level)))
    return hamiltonian.spin.degeneracy * sum(counts) / len(counts)
