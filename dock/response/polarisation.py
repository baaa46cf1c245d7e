"""Polarisation of an insulator by Berry phases, with its ions and its quantum.

    P = (e/V) [ Σ_atoms Z τ − Σ_n ∫_BZ A_nn d³k V/(2π)³ · g ]

with A = i⟨u|∂u⟩ and g electrons per state. Along a_i it is the mean over lines of k-points along
b_i of their Berry phases φ = ∮A·dk: p_i = Σ Z x_i − g ⟨φ⟩/2π, in units of e a_i/V. It is known up
to the quantum e a_i/V (2e a_i/V where states hold two electrons and all ions an even charge).
R. D. King-Smith and D. Vanderbilt, Phys. Rev. B 47, 1651 (1993).

The phase of a line is that of the determinants of its links (`dock.response.links`), whose error is
even in the distance of the points: those of every second and third or fourth point, which cost no
eigenproblem, take its first orders off (Richardson).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.structure import Structure
from dock.errors import ConventionError, MissingDataError, UsageError
from dock.io.progress import Report
from dock.response.band_vectors import BandVectors, Solved
from dock.response.links import Links, angle
from dock.response.operators import Operators
from dock.results import Result
from dock.states.job import Job
from dock.states.kmesh import KMesh
from dock.states.solver import Solver
from dock.states.spectrum import electrons_of
from dock.style import colours, ink

__all__ = ["C_PER_M2", "Polarization", "polarization", "valence_charges"]

C_PER_M2 = 16.02176634
"""1 e/Å² in C/m²."""

_NEUTRAL = 1e-3  # electrons


@dataclass(frozen=True, eq=False, repr=False)
class Polarization(Result):
    """Polarisation of an insulator.

    Attributes
    ----------
    structure, mesh
        What it was computed of; along each axis lines of so many points.
    electronic : float64 (n_channels, 3)
        −g⟨φ⟩/2π along a_1, a_2, a_3, in units of e a_i/V.
    ionic : float64 (3,)
        Σ Z x_i, in the same units.
    quanta : int (3,)
        The quantum in the same units: 1 or 2.
    change : float64 (3,) or None
        By how much the electronic part differs from that of half the mesh, modulo the quantum.
    charges
        Valence charge of each species, e.
    gap
        Smallest vertical gap on the mesh, eV.
    """

    FILE = "polarization.h5"
    FIGURE = (4.6, 3.4)

    structure: Structure
    mesh: KMesh
    electronic: NDArray[np.float64]
    ionic: NDArray[np.float64]
    quanta: NDArray[np.int64]
    change: NDArray[np.float64] | None
    charges: dict[str, float]
    gap: float

    @cached_property
    def fractions(self) -> NDArray[np.float64]:
        """(3,) polarisation along the lattice vectors in e a_i/V, within ± half the quantum."""
        return _wrapped(self.electronic.sum(axis=0) + self.ionic, self.quanta)

    @property
    def vector(self) -> NDArray[np.float64]:
        """(3,) Cartesian polarisation, e/Å²: that branch of it."""
        vector: NDArray[np.float64] = self.fractions @ self.structure.cell / self.structure.volume
        return vector

    @property
    def quantum(self) -> NDArray[np.float64]:
        """(3, 3) what the polarisation is known up to, whole multiples of the rows, e/Å²."""
        quantum: NDArray[np.float64] = (
            self.quanta[:, None] * self.structure.cell / self.structure.volume
        )
        return quantum

    def facts(self) -> dict[str, Any]:
        """Return the polarisation by key; see `dock.results.KEYS`."""
        change = self.change
        return {
            "formula": self.structure.formula,
            "polarization_e_per_ang2": self.vector.tolist(),
            "polarization_C_per_m2": (C_PER_M2 * self.vector).tolist(),
            "polarization_quantum_e_per_ang2": self.quantum.tolist(),
            "polarization_frac": self.fractions.tolist(),
            "polarization_electronic_frac": self.electronic.tolist(),
            "polarization_ionic_frac": self.ionic.tolist(),
            "polarization_change_frac": None if change is None else change.tolist(),
            "valence_charges_e": self.charges,
            "smallest_gap_eV": self.gap,
            **self.mesh.facts(),
        }

    def rows(self) -> list[tuple[str, str]]:
        """Return polarisation, quantum, parts and mesh in words."""
        vector = "  ".join(f"{x:+.8f}" for x in self.vector)
        rows = [("polarisation", f"{vector}  e/Å² (x y z)")]
        si = "  ".join(f"{C_PER_M2 * x:+.6f}" for x in self.vector)
        rows.append(("", f"{si}  C/m²"))
        for axis in range(3):
            length = float(np.linalg.norm(self.quantum[axis]))
            electrons = "  ".join(f"{x:+.8f}" for x in self.electronic[:, axis])
            text = f"{self.fractions[axis]:+.8f} e a/V of electrons {electrons} and ions "
            text += f"{self.ionic[axis]:+.8f}, modulo {self.quanta[axis]} ({length:.6f} e/Å²)"
            rows.append((f"along a{axis + 1}", text))
        if self.change is not None:
            changes = "  ".join(f"{x:+.1e}" for x in self.change)
            rows.append(("from half the mesh", f"{changes}  e a/V"))
        charges = ", ".join(f"{label} {charge:g}" for label, charge in self.charges.items())
        rows.append(("ions", charges))
        size = "×".join(str(n) for n in self.mesh.size)
        rows.append(("k-mesh", f"{size}, {self.mesh.n_full} points"))
        return [*rows, ("smallest gap", f"{self.gap:.6f} eV")]

    def draw(self, axes: Any) -> None:
        """Draw the parts along each lattice vector."""
        x = np.arange(3)
        total = self.electronic.sum(axis=0)
        for offset, values, colour, name in (
            (-0.22, _wrapped(total, self.quanta), colours()[0], "electrons"),
            (0.0, _wrapped(self.ionic, self.quanta), colours()[5], "ions"),
            (0.22, self.fractions, colours()[1], "sum"),
        ):
            axes.bar(x + offset, values, 0.2, color=colour, label=name)
        axes.axhline(0.0, color=ink(0.5), lw=0.6)
        axes.set_xticks(x, [f"a{axis + 1}" for axis in range(3)])
        axes.set_ylabel("polarisation (e a/V)")
        axes.set_title(self.structure.formula, fontsize="medium")
        axes.legend(frameon=False, fontsize="small")


def polarization(
    calc: Calculation,
    mesh: Sequence[int] | KMesh = (8, 8, 8),
    *,
    charges: Mapping[str, float] | None = None,
    electrons: float | None = None,
    solver: str | Solver | Job = "auto",
    jobs: int | None = None,
    progress: Report = None,
    s_threshold: float | None = None,
) -> Polarization:
    """Compute the polarisation of an insulator.

    Parameters
    ----------
    calc
        A calculation with positions, or with radial functions to compute them from.
    mesh
        Three numbers of points: lines along an axis have so many, and there are as many lines as
        the other two say. A line of at least 8 points in multiples of 4 is best.
    charges
        Valence charge of each species, as in ``{"Ga": 13, "As": 5}``, where the run does not say.
    electrons
        Electrons per cell; default those of the calculation.

    Raises
    ------
    MissingDataError
        Without H, S, positions, electrons, or the charge of a species.
    ConventionError
        For a metal, bands that touch, or filled bands with a Chern number.
    UsageError
        For matrices of Γ alone, and where the charges do not add up to the electrons: P of a
        charged cell depends on the origin.

    Examples
    --------
    >>> import dock
    >>> found = polarization(dock.read("fixtures/openmx/si"), (4, 4, 4))
    >>> (2 * found.fractions).round(6).tolist()  # silicon has a centre of inversion
    [2.0, 2.0, 2.0]
    """
    operators = Operators.of(calc, position=True)
    if operators.problem.only_gamma:
        raise UsageError(
            f"{calc.source}: a polarisation is made of links from each k-point to the next, on a "
            "mesh of one point from Γ to Γ + b, and the matrices of a run at Γ alone do not give "
            "them. Run the code with several k-points."
        )
    size = mesh.size if isinstance(mesh, KMesh) else mesh
    points = KMesh.full(size, mesh.shift if isinstance(mesh, KMesh) else "gamma")
    known = valence_charges(calc, charges)
    count = electrons_of(calc, electrons, operators.problem.capacity)
    _require_neutral(calc, known, count)
    chosen = BandVectors(operators, "a polarisation", None, count, points.points[0], hint="")
    run: dict[str, Any] = {"solver": solver, "jobs": jobs, "s_threshold": s_threshold}
    solved = chosen.solve(points.points, progress=progress, **run)
    gap = chosen.gap(solved, points.points)
    each = operators.electrons_per_state
    phases = [
        [_phases(Links(channel), points, part, axis) for axis in range(3)]
        for channel, part in zip(operators.channels, solved, strict=True)
    ]
    for part in phases:
        _require_no_turns(part, calc.source)
    whole = np.array([[_mean(p, points.size[a]) for a, p in enumerate(x)] for x in phases])
    electronic = -each * whole / (2 * np.pi)
    quanta = np.full(3, 2 if each == 2 and _are_even(known) else 1)
    change = None
    if all(n % 2 == 0 or n == 1 for n in points.size):
        half = np.array([[_half_mean(p, points.size, a) for a, p in enumerate(x)] for x in phases])
        rest = electronic + each * half / (2 * np.pi)
        change = np.asarray(_wrapped(rest.sum(axis=0), np.full(3, each)))
    weights = np.array([known[label] for label in calc.structure.labels])
    ionic = np.asarray(weights @ calc.structure.fractional, dtype=np.float64)
    return Polarization(calc.structure, points, electronic, ionic, quanta, change, known, gap)


def valence_charges(
    calc: Calculation, charges: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Return the charge of each species' core: as given, as the run says, or all electrons.

    Charges are given by label of the species or by element. A crystal of one species divides the
    electrons of the run evenly. `MissingDataError` where a charge is not known, `UsageError` for a
    species that there is not.
    """
    species, element_of = calc.basis.species, calc.structure.element_of
    given = dict(charges or {})
    names = {*species, *element_of.values()}
    if unknown := [label for label in given if label not in names]:
        raise UsageError(
            f"{calc.source}: there is no species '{unknown[0]}', there are {', '.join(species)}."
        )
    stored = {str(item["label"]): item.get("valence") for item in _species(calc)}
    found: dict[str, float] = {}
    for label in species:
        charge = given.get(label, given.get(element_of[label], stored.get(label)))
        if charge is None and len(species) == 1 and calc.n_electrons is not None:
            charge = calc.n_electrons / calc.structure.n_atoms
        if charge is None:
            raise MissingDataError(
                f"the valence charge of {label}",
                calc.source,
                f"Pass charges={{'{label}': Z}}: the electrons that its pseudopotential leaves.",
            )
        found[label] = float(charge)
    return found


def _species(calc: Calculation) -> list[dict[str, Any]]:
    """Return what a run keeps of its species: SIESTA's valence charges."""
    kept: Any = calc.provenance.extra.get("species")
    return kept if isinstance(kept, list) else []


def _require_neutral(calc: Calculation, charges: Mapping[str, float], electrons: float) -> None:
    total = sum(charges[label] for label in calc.basis.labels)
    if abs(total - electrons) > _NEUTRAL:
        raise UsageError(
            f"{calc.source}: the ions have charges of {total:g} e together and there are "
            f"{electrons:g} electrons; the polarisation of a charged cell depends on the origin. "
            "Pass charges={'El': Z} or electrons=N so that they agree."
        )


def _are_even(charges: Mapping[str, float]) -> bool:
    return all(abs(charge / 2 - round(charge / 2)) < _NEUTRAL for charge in charges.values())


def _phases(links: Links, mesh: KMesh, solved: Sequence[Solved], axis: int) -> NDArray[np.float64]:
    """Return ∮A·dk of all lines along an axis, by every s-th point: (n_strides, n, n')."""
    n = mesh.size[axis]
    numbers = np.moveaxis(np.arange(mesh.n_full).reshape(mesh.size), axis, -1)
    strides = _strides(n)
    phases = np.empty((len(strides), *numbers.shape[:2]))
    for place in np.ndindex(numbers.shape[:2]):
        line = numbers[place]
        for order, stride in enumerate(strides):
            step = np.zeros(3)
            step[axis] = stride / n
            total = 0.0
            for at in range(0, n, stride):
                here, there = line[at], line[(at + stride) % n]
                k = mesh.points[here]
                link = links.between(k, solved[here].vectors, k + step, solved[there].vectors)
                total -= angle(link)
            phases[(order, *place)] = total
    return phases


def _require_no_turns(phases: Sequence[NDArray[np.float64]], source: str) -> None:
    """Refuse bands whose phases turn by 2π over a period of lines: their mean has no meaning."""
    for along, lines in enumerate(phases):
        whole = _continuous(lines[:1])[0]
        for axis, across in enumerate(other for other in range(3) if other != along):
            first = np.take(whole, [0], axis)
            closed = np.unwrap(np.concatenate([whole, first], axis), axis=axis)
            turns = np.rint((np.take(closed, -1, axis) - first.take(0, axis)) / (2 * np.pi))
            most = int(turns.flat[np.argmax(np.abs(turns))])
            if most:
                raise ConventionError(
                    f"{source}: the Berry phases along b{along + 1} turn {most:+d} "
                    f"times by 2π over a period of b{across + 1}: the filled bands have a Chern "
                    "number on this plane, and no polarisation, or the mesh is too coarse. Pass a "
                    "denser mesh=(N1, N2, N3) to tell which."
                )


def _strides(n: int) -> list[int]:
    """Return the smallest divisors of a number of points that leave four of them, three at most."""
    return [s for s in range(1, n // 4 + 1) if n % s == 0][:3] or [1]


def _half_mean(phases: NDArray[np.float64], size: tuple[int, int, int], axis: int) -> float:
    """Return the mean that half the mesh has: every second point and line."""
    n, strides = size[axis], _strides(size[axis])
    others = [slice(None, None, 2 if size[a] > 1 else 1) for a in range(3) if a != axis]
    half = [phases[strides.index(2 * s)] for s in _strides(n // 2) if 2 * s in strides]
    # Of a line that is short already only the other two directions are thinned out.
    fewer = np.stack(half) if half else phases
    return _mean(fewer[(slice(None), *others)], n // 2 if half else n)


def _mean(phases: NDArray[np.float64], n: int) -> float:
    """Return the mean over the lines of the extrapolated phases, continuous from line to line."""
    squares = np.array(_strides(n)[: len(phases)], dtype=np.float64) ** 2
    # Lagrange's polynomial in the square of the distance of points, at zero.
    weights = [np.prod([t / (t - s) for t in squares if t != s]) for s in squares]
    return float(np.tensordot(weights, _continuous(phases), axes=1).mean())


def _continuous(phases: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return phases without jumps of 2π between lines, and between numbers of points.

    Lines begin at the first one and go along the second axis, then along the first.
    """
    whole = phases[0].copy()
    whole[:, 0] = np.unwrap(whole[:, 0])
    whole = np.unwrap(whole, axis=1)
    turns = np.rint((phases - whole) / (2 * np.pi))
    continuous: NDArray[np.float64] = phases - 2 * np.pi * turns
    return continuous


def _wrapped(values: NDArray[np.float64], quanta: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return values within ± half a quantum; what lies at its edge to 1e-9 is positive."""
    wrapped: NDArray[np.float64] = values - quanta * np.ceil(values / quanta - 0.5 - 1e-9)
    return wrapped
