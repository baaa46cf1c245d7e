"""Density matrices without diagonalisation: poles of the Fermi function, selected inverses.

    P(k) = Σ_j [w_j G_j + (w_j G_j)†],   G_j = ((μ + ξ_j) S(k) − H(k))⁻¹,

with the poles of `dock.states.poles.contour` and the entries of G_j on the pattern of H from
`dock.states.poles.selected_inverse`. The chemical potential comes from inertia counts (how many
pivots of H − εS are negative) and a few Newton steps on Tr(ρS). The idea is that of PEXSI: L. Lin,
M. Chen, C. Yang and L. He, J. Phys.: Condens. Matter 25, 295501 (2013).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.blocks import BlockLayout
from dock.core.interop import orbital_indices
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.errors import SolverError
from dock.io.progress import Progress, Report
from dock.states.kmesh import KMesh
from dock.states.poles.contour import Contour
from dock.states.poles.selected_inverse import SelectedInverse
from dock.states.problem import Problem

__all__ = ["PoleSolver", "PoleSums", "SparseAtK"]

_COUNTED = 1e-9  # relative error of the electron count that ends the search
_MOST_PASSES = 30
_LONGEST_STEP = 0.5  # k_B T by which the chemical potential moves at most in a pass


class SparseAtK(NamedTuple):
    """H and S of one channel and k-point, entries of the common sparse pattern."""

    channel: int
    k_frac: NDArray[np.float64]
    weight: float
    H: NDArray[Any]
    S: NDArray[Any]


@dataclass(frozen=True, eq=False)
class PoleSums:
    """Sums of Green's functions over poles, k-points and channels.

    Attributes
    ----------
    level
        The chemical potential, eV.
    traces : complex (n_poles,)
        Σ_k w_k Tr(G_j S) of all channels.
    entries
        Of each quantity, on the pairs of the problem, for one electron in a state.
    """

    level: float
    contour: Contour
    traces: NDArray[np.complex128]
    entries: dict[str, NDArray[Any]]

    def count(self, offset: float = 0.0) -> float:
        """Return the filled states per cell for a chemical potential moved by a small offset, eV.

        The traces at the poles give it for any nearby potential without new inverses.
        """
        return 2 * float((self.contour.weights(offset) @ self.traces).real)


class PoleSolver:
    """H and S on one sparse pattern, and sums over poles of their Green's functions.

    `width` is k_B T in eV.
    """

    def __init__(self, problem: Problem, mesh: KMesh, width: float) -> None:
        self.problem, self.mesh, self.width = problem, mesh, width
        self._basis, self._pairs = problem.hamiltonian.basis, problem.pairs
        self._spinor = problem.spin is Spin.NONCOLLINEAR
        _, pattern = problem.sparse(0, mesh.points[0])
        atoms = np.repeat(np.arange(self._basis.n_atoms), self._basis.counts)
        self.inverse = SelectedInverse(pattern, np.tile(atoms, 2) if self._spinor else atoms)

    def problems(self) -> Iterator[SparseAtK]:
        """Yield H(k) and S(k) of all channels and k-points."""
        for number in range(self.problem.n_channels):
            for k, weight in zip(self.mesh.points, self.mesh.weights, strict=True):
                H, S = self.problem.sparse(number, k)
                yield SparseAtK(number, k, float(weight), H.data, S.data)

    def solve(
        self,
        electrons: float,
        quantities: tuple[str, ...],
        *,
        guess: float | None = None,
        poles: int | None = None,
        progress: Report = None,
    ) -> PoleSums:
        """Find the chemical potential and the sums there.

        `SolverError` where S(k) is not positive definite, or no chemical potential is found.

        Parameters
        ----------
        electrons
            Per cell.
        quantities
            ``density_matrix``, ``energy_density_matrix``.
        guess
            Where the chemical potential may lie, eV; default: by inertia counts.
        poles
            Number of poles; default as many as the spectrum needs.
        progress
            Told of each channel and k-point of each pass.
        """
        steps = Progress.of(progress)
        lowest = self.lowest()
        located = guess is None
        level = guess if guess is not None and guess > lowest else self.locate(electrons, lowest)
        degeneracy = self.problem.spin.degeneracy
        for _ in range(_MOST_PASSES):
            contour = Contour.make(self.width, level - lowest, poles=poles)
            sums = self.sum_poles(level, contour, quantities, steps)
            counted = degeneracy * sums.count()
            if abs(counted - electrons) <= max(_COUNTED * electrons, 10 * contour.error):
                return sums
            step = self._newton(sums, electrons / degeneracy)
            if abs(step) >= _LONGEST_STEP * self.width and not located:
                level, located = self.locate(electrons, lowest), True
            else:
                level += step
        raise SolverError(
            f"the chemical potential for {electrons:g} electrons was not found in {_MOST_PASSES} "
            f"passes (last: {counted:.9g} electrons at {level:.6f} eV). Raise the temperature, or "
            "use method='eigen'."
        )

    def sum_poles(
        self, level: float, contour: Contour, quantities: tuple[str, ...], progress: Report = None
    ) -> PoleSums:
        """Sum Green's functions over poles, k-points and channels."""
        weights = {"density_matrix": contour.weights()}
        weights["energy_density_matrix"] = weights["density_matrix"] * (contour.shifts + level)
        traces = np.zeros(len(contour.shifts), dtype=np.complex128)
        kind = np.complex128 if self._spinor else np.float64
        shape = (self.problem.spin.n_components, self._layout.n_entries)
        entries: dict[str, NDArray[Any]] = {name: np.zeros(shape, kind) for name in quantities}
        steps = Progress.of(progress)
        steps.start(self.problem.n_channels * self.mesh.n_points)
        for at in self.problems():
            parts = {name: np.zeros(self.inverse.nnz, np.complex128) for name in quantities}
            for number, shift in enumerate(contour.shifts):
                shifted = (level + shift) * at.S - at.H
                G = self.inverse.invert(shifted, symmetric=not np.iscomplexobj(at.H))
                traces[number] += at.weight * np.vdot(at.S, G)
                for name in quantities:
                    parts[name] += weights[name][number] * G
            for name, part in parts.items():
                self._add(entries[name], at, part + part[self.inverse.mirror].conj())
            steps.advance()
        return PoleSums(level, contour, traces, entries)

    def matrices(self, sums: PoleSums) -> list[AOMatrix]:
        """Return sums as matrices on the pairs of H and S, over the whole mesh."""
        like, spin = self.problem.hamiltonian, self.problem.spin
        return [
            self.mesh.symmetrised(
                AOMatrix(
                    name, like.structure, like.basis, self._pairs, spin, entries * spin.degeneracy
                )
            )
            for name, entries in sums.entries.items()
        ]

    def lowest(self) -> float:
        """Return an energy below all eigenvalues, not far from the lowest, eV."""
        bound = np.inf
        for at in self.problems():
            self._require_sound(at)
            diagonal = self.inverse.rows == self.inverse.cols
            top = float((at.H[diagonal] / at.S[diagonal]).real.min())
            bound = min(bound, top)
            depth = 1.0
            while self._below(at, bound) > 0:
                bound -= depth
                depth *= 2
        return bound - 1.0

    def _require_sound(self, at: SparseAtK) -> None:
        """Refuse numbers that are not finite and an S that is not positive definite."""
        k = ", ".join(f"{x:.6g}" for x in at.k_frac)
        if not (np.isfinite(at.H).all() and np.isfinite(at.S).all()):
            raise SolverError(
                f"k = ({k}): H or S holds NaN or infinite numbers. The file that it was read from "
                "is damaged, or the prediction diverged."
            )
        negative = self.inverse.count_negative(at.S)
        if negative:
            raise SolverError(
                f"k = ({k}): S is not positive definite ({negative} negative eigenvalues). Check "
                "that H and S belong together; method='eigen' takes an s_threshold=X."
            )

    def locate(self, electrons: float, lowest: float) -> float:
        """Return a level with the right number of states below it, from inertia counts.

        In a gap it is the middle; of a metal it is right to k_B T.
        """
        wanted = electrons / self.problem.spin.degeneracy
        low, high, step = lowest, lowest + 8.0, 8.0
        while self.count(high) < wanted + 1e-6:
            high, step = high + step, 2 * step
        lower = self._edge(low, high, wanted - 1e-6)
        upper = self._edge(low, high, wanted + 1e-6)
        return 0.5 * (lower + upper)

    def count(self, energy: float) -> float:
        """Return the number of states per cell below an energy."""
        return sum(at.weight * self._below(at, energy) for at in self.problems())

    def _edge(self, low: float, high: float, wanted: float) -> float:
        """Return the energy at which the count passes a number, to a tenth of k_B T."""
        return _bisect(self.count, low, high, wanted, resolution=0.1 * self.width)

    def _below(self, at: SparseAtK, energy: float) -> int:
        return self.inverse.count_negative(at.H - energy * at.S)

    def _newton(self, sums: PoleSums, wanted: float) -> float:
        """Return the step of the chemical potential that gives the states, at most k_B T/2."""
        longest = _LONGEST_STEP * self.width
        if sums.count(-longest) >= wanted:
            return -longest
        if sums.count(longest) <= wanted:
            return longest
        return _bisect(sums.count, -longest, longest, wanted, resolution=0.0)

    @cached_property
    def _layout(self) -> BlockLayout:
        counts = self._basis.counts
        return BlockLayout(counts[self._pairs.i], counts[self._pairs.j])

    @cached_property
    def _positions(self) -> tuple[NDArray[np.int64], ...]:
        """Where each entry of each component stands in the sparse pattern."""
        row, col = orbital_indices(self._basis, self._pairs)
        n, size = self._basis.n_orbitals, self.inverse.n
        keys = self.inverse.rows * size + self.inverse.cols
        spins = [(s, t) for s in (0, 1) for t in (0, 1)] if self._spinor else [(0, 0)]
        return tuple(np.searchsorted(keys, (row + s * n) * size + col + t * n) for s, t in spins)

    def _add(self, out: NDArray[Any], at: SparseAtK, whole: NDArray[np.complex128]) -> None:
        """Add P(k) exp(−2πi k·R) to the entries."""
        lattice = self._pairs.lattice_vectors
        phases = np.exp(-2j * np.pi * (lattice @ at.k_frac))[self._pairs.lattice_index]
        factors = np.repeat(phases * at.weight, np.diff(self._layout.starts))
        for component, place in enumerate(self._positions):
            values = factors * whole[place]
            row = component if self._spinor else at.channel
            out[row] += values if self._spinor else values.real


def _bisect(
    count: Callable[[float], float], low: float, high: float, wanted: float, resolution: float
) -> float:
    """Return where a rising count passes a number, to a resolution or after 60 halvings."""
    for _ in range(60):
        if high - low <= resolution:
            break
        middle = 0.5 * (low + high)
        if count(middle) < wanted:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)
