"""H and S against the electrons: whether they have as many states below the Fermi level.

A Hamiltonian of the wrong sign or unit, shifted, without its free part, or of another run than the
overlap or the Fermi level is Hermitian all the same. Its levels tell.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.check import Finding
from dock.core.spin import Spin
from dock.errors import DockError
from dock.states.kmesh import KMesh
from dock.states.problem import Problem
from dock.states.stream import levels

__all__ = ["check_filling"]

LARGEST = 1500
"""Rows of H(k) up to which states are counted unless asked for: some seconds at one k-point."""

WORK = 4e9
"""Rows³ times k-points that a count may take: seconds."""

MOST_POINTS = 27
SPACING = 0.7
"""Of the k-points, 1/Å with 2π."""

NARROWEST = 5.0
"""Spread of all levels, eV, below which no basis of atomic orbitals lies: measured 43 and more."""

CLEAR, SEVERAL = 0.02, 8
"""eV from the Fermi level to the next state, and k-points, that make a count exact."""

CAPACITY_SHARE = 0.05
"""Share of the electrons by which a metal's count on few k-points may miss; measured 0.02."""


class _Count(NamedTuple):
    """Electrons of each spin channel below the Fermi level, mean of a mesh, and the levels."""

    channels: NDArray[np.float64]
    energies: NDArray[np.float64]
    mesh: KMesh

    @property
    def total(self) -> float:
        return float(self.channels.sum())

    def is_gapped(self, level: float) -> bool:
        """Whether as many states lie below a level, none near it, at each of several k-points."""
        below = (self.energies < level).sum(axis=(0, 2))
        is_clear = bool(np.abs(self.energies - level).min() > CLEAR)
        return len(below) >= SEVERAL and is_clear and bool((below == below[0]).all())


def check_filling(calc: Calculation, *, is_thorough: bool = False) -> list[Finding]:
    """Count the states below the Fermi level on a small mesh and compare with the electrons.

    Where the spin is collinear and moments are known (a density matrix, or what the code said), the
    channels are compared with them.

    Parameters
    ----------
    calc
        A calculation whose matrices are sound by themselves (`dock.core.check`).
    is_thorough
        Count in systems of more than `LARGEST` rows too.
    """
    level, wanted = calc.fermi_level, calc.n_electrons
    has_both = {"hamiltonian", "overlap"} <= set(calc.available)
    if not has_both or level is None or not wanted or not np.isfinite([level, wanted]).all():
        return []
    try:
        problem = Problem(calc.require("hamiltonian"), calc.require("overlap"), calc.source)
        if problem.size > LARGEST and not is_thorough:
            text = (
                f"the states below the Fermi level were not counted: H(k) has {problem.size} rows. "
                "Pass is_thorough=True to count them."
            )
            return [Finding("note", "filling", text)]
        count = _count(calc, problem, level)
    except DockError as error:
        return [Finding("error", "filling", f"the levels cannot be computed: {error}")]
    spread = float(count.energies.max() - count.energies.min())
    if spread < NARROWEST and problem.size > 1:
        text = (
            f"all levels of H and S lie within {spread:.3g} eV: H is in another unit (27.2114 eV "
            "make a Hartree, 13.6057 eV a Rydberg), or not of this system."
        )
        return [Finding("error", "filling", text)]
    if level == 0.0:  # what FHI-aims and others write for an unknown level
        return []
    text = f"H has {count.total:.2f} electrons below the Fermi level, expected {wanted:g}"
    where = f" ({count.mesh.describe()})"
    if abs(count.total - wanted) > max(1.0, CAPACITY_SHARE * wanted):
        return [Finding("error", "filling", text + where + _why(calc, count, level))]
    is_near = abs(count.total - wanted) <= 0.5 or not count.is_gapped(level)
    text += where + ("." if is_near else ": no mesh explains it, but another charge does.")
    return [Finding("ok" if is_near else "note", "filling", text), *_check_moment(calc, count)]


def _count(calc: Calculation, problem: Problem, level: float) -> _Count:
    """Count on a mesh that takes seconds; at Γ alone where only that has a meaning."""
    mesh = _mesh(calc, problem)
    energies = levels(problem, mesh.points, jobs=1).energies
    below = (energies < level).sum(axis=2).mean(axis=1) * problem.spin.degeneracy
    return _Count(below, energies, mesh)


def _mesh(calc: Calculation, problem: Problem) -> KMesh:
    """Return a Γ-centred mesh of few points, more for small problems."""
    if calc.only_gamma:
        return KMesh.full((1, 1, 1))
    most = max(1, min(MOST_POINTS, int(WORK / problem.size**3)))
    reach = np.any([calc.require(name).pairs.periodic_axes for name in ("H", "S")], axis=0)
    lengths = np.linalg.norm(calc.structure.reciprocal, axis=1)
    size = np.where(reach, np.maximum(1, np.ceil(lengths / SPACING)), 1).astype(int)
    while np.prod(size) > most:
        size[np.argmax(size)] -= 1
    return KMesh.full([int(n) for n in size])


def _why(calc: Calculation, count: _Count, level: float) -> str:
    """Return what is wrong with H, as far as its levels tell."""
    wanted = calc.n_electrons or 0.0
    first = next((x for x in ("hamiltonian0", "hamiltonian_init") if x in calc.available), "")
    if first:
        H = calc.require("hamiltonian")
        free = calc.require(first).on_pairs(H.pairs)
        whole = calc.replace(matrices={"hamiltonian": H + free, "overlap": calc.require("overlap")})
        total = _count(whole, Problem.of(whole), level).total
        if abs(total - wanted) <= max(1.0, CAPACITY_SHARE * wanted):
            return f"; H + {first} has {total:.2f}: the file holds H − H₀. Add H₀ to it."
    points = count.energies.shape[1]
    merged = np.sort(count.energies.transpose(1, 0, 2).reshape(points, -1), axis=1)
    n_filled = wanted / calc.spin.degeneracy
    last = int(np.ceil(n_filled - 1e-6)) - 1
    if 0 <= last < merged.shape[1] - 1:
        low, high = float(merged[:, last].max()), float(merged[:, last + 1].min())
        where = 0.5 * (low + high)
        return (
            f". The electrons fill its levels up to about {where:.2f} eV, and the Fermi level is "
            f"{level:.2f} eV. It is H − H₀, or of the wrong sign or unit, or shifted, or H, S, the "
            "Fermi level or the electrons are of different runs."
        )
    return ". The Fermi level or the electrons are of another run."


def _check_moment(calc: Calculation, count: _Count) -> list[Finding]:
    """Compare the channels with the moment that is known."""
    known = _known_moment(calc) if calc.spin is Spin.COLLINEAR else None
    if known is None:
        return []
    found = float(count.channels[0] - count.channels[1])
    text = f"H has {found:+.2f} more electrons in the first spin channel, the run {known:+.2f}"
    is_swapped = abs(found) > 0.5 and abs(known) > 0.5 and found * known < 0
    if is_swapped:
        text += ": up and down of H are exchanged."
    return [Finding("error" if is_swapped else "ok", "moment", text.rstrip(".") + ".")]


def _known_moment(calc: Calculation) -> float | None:
    """Return Tr(ρ_up − ρ_down)S, or the moment that the code said, μ_B; None where unknown."""
    if "density_matrix" in calc.available:
        density, overlap = calc.require("density_matrix"), calc.require("overlap")
        up, down = (density.channel(number).dot(overlap) for number in (0, 1))
        return float(up - down)
    said = calc.provenance.extra.get("total_spin")
    return float(said) if isinstance(said, int | float) else None
