"""Density matrices without diagonalisation: poles of the Fermi function, selected inverses.

    P(k) = Σ_j [w_j G_j + (w_j G_j)†],   G_j = ((μ + ξ_j) S(k) − H(k))⁻¹,

with the poles of `dock.states.poles.expansion` and the entries of G_j on the pattern of H from
`dock.states.poles.selected_inverse`. Counts of the negative pivots of H − εS (inertia) find where
the chemical potential lies and whether it is in a gap, where one pass over the poles is enough. In
a metal the poles serve a level that is nearly right; else they give the slope of Tr(ρS). The idea
is that of PEXSI: L. Lin, M. Chen, C. Yang and L. He, J. Phys.: Condens. Matter 25, 295501 (2013).
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
from dock.errors import ConvergenceError, SolverError
from dock.io.progress import Progress, Report
from dock.states.kmesh import KMesh
from dock.states.poles.expansion import Expansion
from dock.states.poles.selected_inverse import SelectedInverse
from dock.states.problem import Problem

__all__ = ["PoleDensity", "PoleSolver", "PoleSums", "SparseAtK"]

_COUNTED = 1e-9  # relative error of the electron count that ends the search
_EXACT = 1e-13  # below which there is nothing to mend
_MOST_PASSES = 12
_LONGEST_STEP = 1.0  # k_B T by which the chemical potential moves at most in a pass
_GAP = 25.0  # k_B T on both sides of μ without a state: occupations are 0 and 1 to 1e-11
_WHOLE = 1e-6  # states that weights of k-points may miss a whole number by
_HIGHEST = 1e4  # eV above the lowest state
_STRAIGHT = 6  # steps of the search that take the count for a straight line
_BELOW = 8.0  # eV by which states lie below the lowest diagonal element of H, at a first guess


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
        The chemical potential of the poles, eV.
    traces : complex (n_poles,)
        Σ_k w_k Tr(G_j S) of all channels.
    entries : (n_nodes, n_components, n_entries)
        Of each quantity, on the pairs of the problem, for one electron in a state, and for μ at
        each node of the expansion.
    """

    level: float
    expansion: Expansion
    traces: NDArray[np.complex128]
    entries: dict[str, NDArray[Any]]

    def count(self, offset: float = 0.0) -> float:
        """Return the filled states per cell for a chemical potential moved by an offset, eV.

        The traces at the poles give it for any near potential without new inverses.
        """
        return 2 * float((self.expansion.weights(offset) @ self.traces).real)

    def at(self, offset: float) -> dict[str, NDArray[Any]]:
        """Return the entries for a chemical potential moved by an offset within the nodes, eV."""
        shares = self.expansion.shares(offset)
        return {name: np.tensordot(shares, part, axes=1) for name, part in self.entries.items()}


@dataclass(frozen=True, eq=False)
class PoleDensity:
    """What the search for the chemical potential ended with.

    Attributes
    ----------
    level
        Chemical potential, eV.
    expansion
        Of the last pass.
    entries : (n_components, n_entries)
        Of each quantity, on the pairs of the problem, for one electron in a state.
    n_passes, n_counts
        Passes over all poles, and counts of states below an energy (both of all k-points).
    """

    level: float
    expansion: Expansion
    entries: dict[str, NDArray[Any]]
    n_passes: int
    n_counts: int


class PoleSolver:
    """H and S on one sparse pattern, and sums over poles of their Green's functions.

    `width` is k_B T in eV, `threads` are those of BLAS. H and S must be Hermitian
    (`Problem.hermitian`): an elimination that takes one triangle for the other finds another
    matrix than the counts.
    """

    def __init__(self, problem: Problem, mesh: KMesh, width: float, *, threads: int = 1) -> None:
        self.problem, self.mesh, self.width = problem, mesh, width
        self._basis, self._pairs = problem.hamiltonian.basis, problem.pairs
        self._spinor = problem.spin is Spin.NONCOLLINEAR
        _, pattern = problem.sparse(0, mesh.points[0])
        atoms = np.repeat(np.arange(self._basis.n_atoms), self._basis.counts)
        atom_of = np.tile(atoms, 2) if self._spinor else atoms
        structure = problem.hamiltonian.structure
        self.inverse = SelectedInverse(pattern, atom_of, structure=structure, threads=threads)
        self.n_counts = 0

    def problems(self) -> Iterator[SparseAtK]:
        """Yield H(k) and S(k) of all channels and k-points."""
        if self.problem.n_channels * self.mesh.n_points == 1:  # asked for at each count
            yield self._only
            return
        yield from self._all()

    @cached_property
    def _only(self) -> SparseAtK:
        return next(self._all())

    def _all(self) -> Iterator[SparseAtK]:
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
    ) -> PoleDensity:
        """Find the chemical potential and the sums there.

        Parameters
        ----------
        electrons
            Per cell.
        quantities
            ``density_matrix``, ``energy_density_matrix``.
        guess
            Where the chemical potential may lie, eV; default: by inertia counts. Where it lies
            deep enough in the right gap it stays.
        poles
            Number of poles at most; default as many as the spectrum needs.
        progress
            Told of each channel and k-point of each pass.

        Raises
        ------
        SolverError
            Where S(k) is not positive definite, or H or S is not finite.
        ConvergenceError
            Where poles do not represent the Fermi function, or no chemical potential is found.
        """
        steps, lowest = Progress.of(progress), self.lowest()
        wanted = electrons / self.problem.spin.degeneracy
        located = guess is None or guess <= lowest
        level = self.locate(wanted, lowest) if guess is None or located else guess
        moves = not self.in_gap(level, wanted)
        bracket = _Bracket()
        for number in range(1, _MOST_PASSES + 1):
            expansion = Expansion.make(self.width, level - lowest, poles=poles, wide=moves)
            sums = self.sum_poles(level, expansion, quantities, steps)
            # What f is wrong by, for all states, is not mended by moving the level.
            slack = max(_COUNTED * wanted, expansion.error * self.n_states)
            missing = wanted - sums.count()
            offset = self._offset(sums, wanted) if moves and abs(missing) > _EXACT * wanted else 0.0
            if abs(offset) <= expansion.reach or abs(missing) <= slack:
                offset = float(np.clip(offset, -expansion.reach, expansion.reach))
                found = level + offset
                return PoleDensity(found, expansion, sums.at(offset), number, self.n_counts)
            if moves and abs(offset) >= _LONGEST_STEP * self.width and not located:
                level, located = self.locate(wanted, lowest), True
            elif moves:
                level = bracket.next(level, missing, level + offset)
            moves = True
        raise ConvergenceError(
            f"the chemical potential for {electrons:g} electrons was not found in {_MOST_PASSES} "
            f"passes (last: {level:.6f} eV). Raise the temperature, or use method='eigen'."
        )

    @property
    def n_states(self) -> float:
        """States per cell of all channels."""
        return float(self.problem.n_channels * self.problem.size)

    def sum_poles(
        self,
        level: float,
        expansion: Expansion,
        quantities: tuple[str, ...],
        progress: Report = None,
    ) -> PoleSums:
        """Sum Green's functions over poles, k-points and channels."""
        factors = {"density_matrix": expansion.node_weights}
        energies = (expansion.shifts + level)[:, None]
        factors["energy_density_matrix"] = expansion.node_weights * energies
        traces = np.zeros(len(expansion.shifts), dtype=np.complex128)
        kind = np.complex128 if self._spinor else np.float64
        n_nodes = len(expansion.nodes)
        shape = (n_nodes, self.problem.spin.n_components, self._layout.n_entries)
        entries: dict[str, NDArray[Any]] = {name: np.zeros(shape, kind) for name in quantities}
        steps = Progress.of(progress)
        steps.start(self.problem.n_channels * self.mesh.n_points)
        for at in self.problems():
            symmetric = not np.iscomplexobj(at.H)
            parts = {name: np.zeros((n_nodes, self.inverse.nnz), at.H.dtype) for name in quantities}
            for number, shift in enumerate(expansion.shifts):
                shifted = (level + shift) * at.S - at.H
                G = self.inverse.invert(shifted, symmetric=symmetric)
                traces[number] += at.weight * np.vdot(at.S, G)
                for name, part in parts.items():
                    _accumulate(part, factors[name][number], G)
            if "energy_density_matrix" in parts:
                # (ξ + μ)/(ξ − x) is (x + μ)/(ξ − x) and a constant, which S⁻¹ takes away.
                inverse = self.inverse.invert(at.S, symmetric=symmetric)
                constants = expansion.node_weights.sum(axis=0).real
                parts["energy_density_matrix"] -= constants[:, None] * inverse
            for name, part in parts.items():
                for node, whole in enumerate(part):
                    hermitian = whole + whole[self.inverse.mirror].conj()
                    self._add(entries[name][node], at, hermitian)
            steps.advance()
        return PoleSums(level, expansion, traces, entries)

    def matrices(self, found: PoleDensity) -> list[AOMatrix]:
        """Return the sums as matrices on the pairs of H and S, over the whole mesh."""
        like, spin = self.problem.hamiltonian, self.problem.spin
        return [
            self.mesh.symmetrised(
                AOMatrix(
                    name, like.structure, like.basis, self._pairs, spin, entries * spin.degeneracy
                )
            )
            for name, entries in found.entries.items()
        ]

    def lowest(self) -> float:
        """Return an energy below all eigenvalues, not far from the lowest, eV.

        A few eV too low cost a fraction of a pole; a closer bound would cost factorisations.
        """
        diagonal = self.inverse.rows == self.inverse.cols
        bound, depth = np.inf, _BELOW
        for at in self.problems():
            self._require_sound(at)
            top = float((at.H[diagonal] / at.S[diagonal]).real.min())
            bound = min(bound, top - _BELOW)
            while self._below(at, bound) > 0:
                depth *= 2
                bound -= depth
        return bound

    def _require_sound(self, at: SparseAtK) -> None:
        """Refuse numbers that are not finite and an S that is not positive definite."""
        k = ", ".join(f"{x:.6g}" for x in at.k_frac)
        if not (np.isfinite(at.H).all() and np.isfinite(at.S).all()):
            raise SolverError(
                f"k = ({k}): H or S holds NaN or infinite numbers. The file that it was read from "
                "is damaged, or the prediction diverged."
            )
        if at.channel:  # the overlap is that of the first one
            return
        negative = self.inverse.count_negative(at.S)
        if negative:
            raise SolverError(
                f"k = ({k}): S is not positive definite ({negative} negative eigenvalues). Check "
                "that H and S belong together; method='eigen' takes an s_threshold=X."
            )

    def in_gap(self, level: float, wanted: float) -> bool:
        """Say whether a level has a number of states below it, and none within 25 k_B T."""
        reach = _GAP * self.width
        return all(abs(self.count(level + at) - wanted) < _WHOLE for at in (reach, -reach))

    def locate(self, wanted: float, lowest: float) -> float:
        """Return a level with a number of states below it, from inertia counts.

        In a gap it is the middle, to a tenth of k_B T; of a metal it is right to k_B T.
        """
        low, high, step = lowest, lowest + _BELOW, _BELOW
        while self.count(high) < wanted + _WHOLE:
            low, high, step = high, high + step, 2 * step
            if high - lowest > _HIGHEST:
                break  # all states are filled
        counts = {low: self.count(low), high: self.count(high)}
        lower, upper = self._edge(counts, wanted - _WHOLE), self._edge(counts, wanted + _WHOLE)
        return 0.5 * (lower + upper)

    def count(self, energy: float) -> float:
        """Return the number of states per cell below an energy."""
        self.n_counts += 1
        return sum(at.weight * self._below(at, energy) for at in self.problems())

    def _edge(self, counts: dict[float, float], wanted: float) -> float:
        """Return where the count passes a number, to a tenth of k_B T; `counts` are known ones."""
        for turn in range(60):
            low = max((energy for energy, n in counts.items() if n < wanted), default=min(counts))
            high = min((energy for energy, n in counts.items() if n >= wanted), default=low)
            if high - low <= 0.1 * self.width:
                break
            share = (wanted - counts[low]) / (counts[high] - counts[low])
            # Far away the count is nearly a straight line, near an edge it is a step.
            share = min(max(share, 0.05), 0.95) if turn < _STRAIGHT else 0.5
            middle = low + share * (high - low)
            counts[middle] = self.count(middle)
        return 0.5 * (low + high)

    def _below(self, at: SparseAtK, energy: float) -> int:
        return self.inverse.count_negative(at.H - energy * at.S)

    def _offset(self, sums: PoleSums, wanted: float) -> float:
        """Return the move of the chemical potential that gives the states, at most k_B T.

        Within the nodes of the expansion it is exact, beyond a step of Newton's method.
        """
        reach, longest = sums.expansion.reach, _LONGEST_STEP * self.width
        below, above = sums.count(-reach), sums.count(reach)
        if below < wanted < above:
            return _bisect(sums.count, -reach, reach, wanted)
        missing = wanted - 0.5 * (below + above)
        slope = (above - below) / (2 * reach)
        if abs(missing) >= slope * longest:
            return float(np.copysign(longest, missing))
        return missing / slope

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


class _Bracket:
    """Levels with too few and too many states, between which the wanted one lies."""

    def __init__(self) -> None:
        self._known: dict[bool, tuple[float, float]] = {}

    def next(self, level: float, missing: float, proposed: float) -> float:
        """Note what is missing at a level; return the proposed one, or the secant's if it is out.

        Deep in a gap the count hardly changes, and its slope is lost in the last digits.
        """
        self._known[missing > 0] = level, missing
        if len(self._known) < 2:
            return proposed
        (low, lacking), (high, surplus) = self._known[True], self._known[False]
        if low < proposed < high and abs(proposed - level) < 0.5 * (high - low):
            return proposed
        share = lacking / (lacking - surplus)
        return low + min(max(share, 0.1), 0.9) * (high - low)


def _accumulate(
    parts: NDArray[Any], weights: NDArray[np.complex128], G: NDArray[np.complex128]
) -> None:
    """Add w G to each part: of a real part, whose matrix is symmetric, only Re(w G)."""
    for part, weight in zip(parts, weights, strict=True):
        if np.iscomplexobj(part):
            part += weight * G
        else:
            part += weight.real * G.real
            part -= weight.imag * G.imag


def _bisect(count: Callable[[float], float], low: float, high: float, wanted: float) -> float:
    """Return where a rising count passes a number."""
    for _ in range(60):
        middle = 0.5 * (low + high)
        if count(middle) < wanted:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)
