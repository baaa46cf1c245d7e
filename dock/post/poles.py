"""The density matrix without diagonalisation: poles of the Fermi function, selected inverses.

    P(k) = Σ_j [w_j G_j + (w_j G_j)†],   G_j = ((μ + ξ_j) S(k) − H(k))⁻¹,

with the poles of `dock.states.poles.contour` and the entries of G_j on the pattern of H from
`dock.states.poles.selected_inverse`. The chemical potential comes from inertia counts (how many
pivots of H − εS are negative) and a few Newton steps on Tr(ρS). The idea is that of PEXSI: L. Lin,
M. Chen, C. Yang and L. He, J. Phys.: Condens. Matter 25, 295501 (2013).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.errors import SolverError, UsageError
from dock.io.progress import Progress, Report
from dock.post.density_matrices import DensityMatrix
from dock.states.fermi_level import Method
from dock.states.kmesh import KMesh
from dock.states.poles.contour import Contour
from dock.states.poles.selected_inverse import SelectedInverse
from dock.states.problem import Problem
from dock.states.smearing import Smearing
from dock.states.spectrum import electrons_of

__all__ = ["PoleSolver", "density_by_poles"]

_COUNTED = 1e-9  # relative error of the electron count that ends the search
_MOST_PASSES = 30
_LONGEST_STEP = 0.5  # k_B T by which the chemical potential moves at most in a pass


class _AtK(NamedTuple):
    """H and S of one channel and k-point, on the common sparse pattern."""

    channel: int
    k_frac: NDArray[np.float64]
    weight: float
    H: NDArray[Any]
    S: NDArray[Any]


@dataclass(eq=False)
class _Pass:
    """What one sum over all poles and k-points gave."""

    traces: NDArray[np.complex128]
    sums: dict[str, NDArray[Any]] = field(default_factory=dict)


def density_by_poles(
    calc: Calculation,
    mesh: KMesh,
    *,
    smearing: Method | None = None,
    electrons: float | None = None,
    energy_weighted: bool = False,
    poles: int | None = None,
    progress: Report = None,
) -> DensityMatrix:
    """Compute the density matrix by pole expansion; see `dock.post.density_matrices`.

    Raises
    ------
    UsageError
        For occupations other than Fermi–Dirac.
    SolverError
        When the chemical potential is not found.
    """
    filling = Smearing() if smearing is None else smearing
    if not isinstance(filling, Smearing) or filling.kind != "fermi-dirac":
        raise UsageError(
            "the pole expansion is one of the Fermi function: use --smearing fermi-dirac with "
            "any --temperature, or --method eigen."
        )
    solver = PoleSolver(calc, mesh, filling.width)
    count = electrons_of(calc, electrons, 2.0 * calc.basis.n_orbitals)
    names = ("density_matrix", "energy_density_matrix")[: 2 if energy_weighted else 1]
    level, contour, found = solver.solve(count, names, poles=poles, progress=progress)
    densities = solver.gather(found)
    settings = {
        "occupations": f"fermi-dirac, {filling.width:.6g} eV",
        "poles": len(contour.shifts),
        "pole_error": contour.error,
        "largest_front": solver.inverse.largest_front,
    }
    return DensityMatrix(
        calc,
        densities[0],
        densities[1] if energy_weighted else None,
        level,
        mesh,
        "poles",
        settings,
    )


class PoleSolver:
    """H and S on one sparse pattern, and sums over poles of their Green's functions.

    Parameters
    ----------
    calc
        A calculation with Hamiltonian and overlap.
    mesh
        The k-points.
    width
        k_B T, eV.
    """

    def __init__(self, calc: Calculation, mesh: KMesh, width: float) -> None:
        self.problem = Problem.of(calc)
        self.hamiltonian, self.overlap = self.problem.hamiltonian, self.problem.overlap
        self.calc, self.mesh, self.width = calc, mesh, width
        self.pairs: Pairs = self.problem.pairs
        spinor = calc.spin is Spin.NONCOLLINEAR
        _, pattern = self.problem.sparse(0, mesh.points[0])
        basis = calc.basis
        atoms = np.repeat(np.arange(basis.n_atoms), basis.counts)
        self.inverse = SelectedInverse(pattern, np.tile(atoms, 2) if spinor else atoms)
        self._spinor = spinor

    def problems(self) -> Iterator[_AtK]:
        """Yield H(k) and S(k) of all channels and k-points."""
        for number in range(self.problem.n_channels):
            for k, weight in zip(self.mesh.points, self.mesh.weights, strict=True):
                H, S = self.problem.sparse(number, k)
                yield _AtK(number, k, float(weight), H.data, S.data)

    def solve(
        self,
        electrons: float,
        quantities: tuple[str, ...],
        *,
        poles: int | None = None,
        progress: Report = None,
    ) -> tuple[float, Contour, _Pass]:
        """Find the chemical potential and the sums there.

        Returns
        -------
        level
            eV.
        contour
            The poles.
        found
            The sums.
        """
        lowest = self.lowest()
        known = self.calc.fermi_level
        level = known if known is not None and known > lowest else self.locate(electrons, lowest)
        located = known is None
        degeneracy = self.calc.spin.degeneracy
        for _ in range(_MOST_PASSES):
            contour = Contour.make(self.width, level - lowest, poles=poles)
            found = self.sum_poles(level, contour, quantities, progress)
            counted = 2 * degeneracy * float((contour.weights() @ found.traces).real)
            if abs(counted - electrons) <= max(_COUNTED * electrons, 10 * contour.error):
                return level, contour, found
            step = self._newton(contour, found, electrons / degeneracy)
            if abs(step) >= _LONGEST_STEP * self.width and not located:
                level, located = self.locate(electrons, lowest), True
            else:
                level += step
        raise SolverError(
            f"the chemical potential for {electrons:g} electrons was not found in {_MOST_PASSES} "
            f"passes (last: {counted:.9g} electrons at {level:.6f} eV). Raise the --temperature, "
            "or use --method eigen."
        )

    def sum_poles(
        self,
        level: float,
        contour: Contour,
        quantities: tuple[str, ...],
        progress: Report = None,
    ) -> _Pass:
        """Sum Green's functions over poles, k-points and channels."""
        weights = {"density_matrix": contour.weights()}
        weights["energy_density_matrix"] = weights["density_matrix"] * (contour.shifts + level)
        total = _Pass(np.zeros(len(contour.shifts), dtype=np.complex128))
        kind = np.complex128 if self._spinor else np.float64
        shape = (self.calc.spin.n_components, int(self._starts[-1]))
        total.sums = {name: np.zeros(shape, dtype=kind) for name in quantities}
        steps = Progress.of(progress)
        steps.start(self.problem.n_channels * self.mesh.n_points)
        for problem in self.problems():
            parts = {name: np.zeros(self.inverse.nnz, np.complex128) for name in quantities}
            for number, shift in enumerate(contour.shifts):
                shifted = (level + shift) * problem.S - problem.H
                G = self.inverse.invert(shifted, symmetric=not np.iscomplexobj(problem.H))
                total.traces[number] += problem.weight * np.vdot(problem.S, G)
                for name in quantities:
                    parts[name] += weights[name][number] * G
            for name, part in parts.items():
                whole = part + part[self.inverse.mirror].conj()
                self._add(total.sums[name], problem, whole)
            steps.advance()
        return total

    def gather(self, found: _Pass) -> list[AOMatrix]:
        """Return the sums as matrices on the pairs of H and S."""
        like, symmetry = self.hamiltonian, self.mesh.symmetry
        result = []
        for name, entries in found.sums.items():
            scaled = entries * self.calc.spin.degeneracy
            matrix = AOMatrix(name, like.structure, like.basis, self.pairs, self.calc.spin, scaled)
            reduced = symmetry is not None and len(symmetry.operations) > 1
            result.append(symmetry.symmetrise(matrix) if symmetry and reduced else matrix)
        return result

    def lowest(self) -> float:
        """Return an energy below all eigenvalues, not far from the lowest, eV."""
        bound = np.inf
        for problem in self.problems():
            self._require_sound(problem)
            diagonal = self.inverse.rows == self.inverse.cols
            top = float((problem.H[diagonal] / problem.S[diagonal]).real.min())
            bound = min(bound, top)
            depth = 1.0
            while self._below(problem, bound) > 0:
                bound -= depth
                depth *= 2
        return bound - 1.0

    def _require_sound(self, problem: _AtK) -> None:
        """Refuse numbers that are not finite and an S that is not positive definite."""
        at = ", ".join(f"{x:.6g}" for x in problem.k_frac)
        if not (np.isfinite(problem.H).all() and np.isfinite(problem.S).all()):
            raise SolverError(
                f"k = ({at}): H or S holds NaN or infinite numbers. The file that it was read from "
                "is damaged, or the prediction diverged."
            )
        negative = self.inverse.count_negative(problem.S)
        if negative:
            raise SolverError(
                f"k = ({at}): S is not positive definite ({negative} negative eigenvalues). Check "
                "that H and S belong together; --method eigen takes an --s-threshold."
            )

    def locate(self, electrons: float, lowest: float) -> float:
        """Return a level with the right number of states below it, from inertia counts.

        In a gap it is the middle; of a metal it is right to k_B T.
        """
        wanted = electrons / self.calc.spin.degeneracy
        low, high, step = lowest, lowest + 8.0, 8.0
        while self.count(high) < wanted + 1e-6:
            high, step = high + step, 2 * step
        lower = self._edge(low, high, wanted - 1e-6)
        upper = self._edge(low, high, wanted + 1e-6)
        return 0.5 * (lower + upper)

    def count(self, energy: float) -> float:
        """Return the number of states per cell below an energy."""
        return sum(problem.weight * self._below(problem, energy) for problem in self.problems())

    def _edge(self, low: float, high: float, wanted: float) -> float:
        """Return the energy at which the count passes a number, to a tenth of k_B T."""
        while high - low > 0.1 * self.width:
            middle = 0.5 * (low + high)
            if self.count(middle) < wanted:
                low = middle
            else:
                high = middle
        return 0.5 * (low + high)

    def _below(self, problem: _AtK, energy: float) -> int:
        return self.inverse.count_negative(problem.H - energy * problem.S)

    def _newton(self, contour: Contour, found: _Pass, wanted: float) -> float:
        """Return the step of the chemical potential that gives the states, no longer than k_B T/2.

        The traces at the poles give the count for any nearby potential without new inverses.
        """
        longest = _LONGEST_STEP * self.width
        low, high = -longest, longest

        def error(offset: float) -> float:
            return 2 * float((contour.weights(offset) @ found.traces).real) - wanted

        if error(low) >= 0:
            return low
        if error(high) <= 0:
            return high
        for _ in range(60):
            middle = 0.5 * (low + high)
            if error(middle) < 0:
                low = middle
            else:
                high = middle
        return 0.5 * (low + high)

    @property
    def _starts(self) -> NDArray[np.int64]:
        counts = self.calc.basis.counts
        sizes = counts[self.pairs.i] * counts[self.pairs.j]
        return np.concatenate([[0], np.cumsum(sizes)])

    def _positions(self) -> tuple[NDArray[np.int64], ...]:
        """Return where each entry of each component stands in the sparse pattern."""
        cached = self.__dict__.get("_found_positions")
        if cached is None:
            basis, pairs = self.calc.basis, self.pairs
            starts = self._starts
            sizes = np.diff(starts)
            within = np.arange(starts[-1]) - np.repeat(starts[:-1], sizes)
            width = np.repeat(basis.counts[pairs.j], sizes)
            row = np.repeat(basis.offsets[pairs.i], sizes) + within // width
            col = np.repeat(basis.offsets[pairs.j], sizes) + within % width
            n, size = basis.n_orbitals, self.inverse.n
            keys = self.inverse.rows * size + self.inverse.cols
            spins = [(s, t) for s in (0, 1) for t in (0, 1)] if self._spinor else [(0, 0)]
            cached = tuple(
                np.searchsorted(keys, (row + s * n) * size + col + t * n) for s, t in spins
            )
            self.__dict__["_found_positions"] = cached
        return cached

    def _add(self, out: NDArray[Any], problem: _AtK, whole: NDArray[np.complex128]) -> None:
        """Add P(k) exp(−2πi k·R) to the entries."""
        lattice = self.pairs.lattice_vectors
        phases = np.exp(-2j * np.pi * (lattice @ problem.k_frac))[self.pairs.lattice_index]
        factors = np.repeat(phases * problem.weight, np.diff(self._starts))
        for component, place in enumerate(self._positions()):
            values = factors * whole[place]
            row = component if self._spinor else problem.channel
            out[row] += values if self._spinor else values.real
