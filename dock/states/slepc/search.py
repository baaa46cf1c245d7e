"""States of a spread pencil in a window or around an energy, each set certified by inertia."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.errors import ConvergenceError, SolverError
from dock.states.ranks import Team
from dock.states.slepc.factors import EXTRA_SPACE, Counter, SingularError, check_mumps, configure
from dock.states.slepc.library import Library

__all__ = ["Found", "Search"]

_log = logging.getLogger("dock")

_SLICE = 200  # states for one shift
_SPARE = 8  # states beyond those asked for, which show where the spectrum has gaps
_GAP = 1e-5  # eV: an end of a certified range is at least this far from the next state
_TRIES = 4
_TOLERANCE = 1e-11  # of SLEPc: relative error of an eigenvalue of the inverse
_LIMIT = 1e7  # eV: no state lies beyond


class Found(NamedTuple):
    """Energies (n,), their vectors (PETSc's, own rows (m, n)), states below, largest residual."""

    energies: NDArray[np.float64]
    vectors: NDArray[Any]
    n_below: int
    residual: float


@dataclass(eq=False)
class Search:
    """Shift-invert Krylov–Schur by SLEPc with factors by MUMPS."""

    library: Library
    team: Team
    H: Any
    S: Any
    counter: Counter = field(init=False)

    def __post_init__(self) -> None:
        self.counter = Counter(self.library, self.H, self.S)

    @property
    def n(self) -> int:
        """Rows of the pencil."""
        return int(self.H.getSize()[0])

    def window(self, low: float, high: float) -> Found:
        """Return all states with low ≤ e ≤ high, as many as inertia counts."""
        wanted = self.counter.below(high) - self.counter.below(low)
        if wanted > _SLICE:
            middle = (low + high) / 2
            return _joined(self.window(low, middle), self.window(middle, high))
        spare = _SPARE
        for attempt in range(_TRIES):
            near = self._near((low + high) / 2, wanted + spare) if wanted else None
            inside = self._cut(near, low, high)
            counted = self.counter.below(high) - self.counter.below(low)
            if len(inside.energies) == counted:
                return inside
            # A state may lie on an end, or have been missed: look further, and count elsewhere.
            spare += _SPARE + wanted // 2
            if attempt:
                low, high = low - _GAP, high + _GAP
        raise _missing(len(inside.energies), counted, low, high)

    def nearest(self, count: int, energy: float) -> Found:
        """Return at least the states nearest to an energy, certified between two gaps."""
        count = min(count, self.n)
        spare = _SPARE
        for _ in range(_TRIES):
            near = self._near(energy, count + spare)
            ends = _ends(near.energies, count, energy, everything=len(near.energies) == self.n)
            if ends is not None:
                inside = self._cut(near, *ends)
                counted = self.counter.below(ends[1]) - self.counter.below(ends[0])
                if len(inside.energies) == counted:
                    return inside
            spare += _SPARE + count // 2
        if ends is None:
            raise ConvergenceError(
                f"no gap of {_GAP:g} eV was found around {count} states at {energy:.6f} eV. Ask "
                "for another number of states."
            )
        raise _missing(len(inside.energies), counted, *ends)

    def bands(self, first: int, stop: int) -> Found:
        """Return the states first … stop − 1, found by bisection with counts."""
        low, high = self._bracket(first, stop)
        found = self.window(low, high)
        begin = first - found.n_below
        kept = slice(begin, begin + stop - first)
        return found._replace(
            energies=found.energies[kept], vectors=found.vectors[:, kept], n_below=first
        )

    def _bracket(self, first: int, stop: int) -> tuple[float, float]:
        """Return energies with few more states between them than first … stop − 1."""
        low, high, step = 0.0, 0.0, 16.0
        while self.counter.below(low) > first and low > -_LIMIT:
            low, step = low - step, 2 * step
        step = 16.0
        while self.counter.below(high) < stop and high < _LIMIT:
            high, step = high + step, 2 * step
        few = max(_SLICE // 2, 2 * (stop - first))
        while self.counter.below(high) - self.counter.below(low) > few:
            middle = (low + high) / 2
            below = self.counter.below(middle)
            if below <= first:
                low = middle
            elif below >= stop:
                high = middle
            else:
                break
        return low, high

    def _near(self, shift: float, count: int) -> Found:
        """Return the states nearest to a shift, uncertified and sorted."""
        try:
            eps = self._solved(shift, min(count, self.n))
        except SingularError:
            _log.info("the shift %.6f eV lies on a state and is moved by %g eV", shift, _GAP)
            eps = self._solved(shift + _GAP, min(count, self.n))
        number = min(eps.getConverged(), self.n)
        energies = np.array([eps.getEigenvalue(index).real for index in range(number)])
        order = np.argsort(energies)
        energies = energies[order]
        x = self.H.createVecRight()
        kind = np.dtype(self.library.PETSc.ScalarType)
        vectors = np.empty((x.getLocalSize(), number), dtype=kind, order="F")
        for column, index in enumerate(order):
            eps.getEigenvector(int(index), x)
            vectors[:, column] = x.getArray(readonly=True)
        eps.destroy()
        Sx, Hx = self._applied(self.S, vectors), self._applied(self.H, vectors)
        norms = np.sqrt(self._summed((vectors.conj() * Sx).real))
        rest = np.sqrt(self._summed(np.abs(Hx - Sx * energies) ** 2)) / norms
        return Found(energies, vectors / norms, 0, float(rest.max(initial=0.0)))

    def _applied(self, matrix: Any, block: NDArray[Any]) -> NDArray[Any]:
        """Return the own rows of a matrix times a block of vectors, in one exchange."""
        PETSc = self.library.PETSc
        rows, columns = (block.shape[0], self.n), (None, block.shape[1])
        spread = PETSc.Mat().createDense((rows, columns), array=block, comm=matrix.comm)
        product = matrix.matMult(spread)
        result = np.array(product.getDenseArray(), order="F")
        product.destroy()
        spread.destroy()
        return result

    def _summed(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sums of columns over the rows of all processes."""
        parts = self.team.gather(own.sum(axis=0))
        return np.asarray(np.sum(parts, axis=0))

    def _solved(self, shift: float, count: int) -> Any:
        """Return SLEPc's object with `count` states or more."""
        for space in EXTRA_SPACE:
            eps = self._prepared(shift, count, space)
            if self._stands(eps):
                eps.solve()
                if eps.getConverged() < min(count, self.n):
                    raise ConvergenceError(
                        f"SLEPc found {eps.getConverged()} of {count} states around {shift:.6f} eV."
                    )
                return eps
            eps.destroy()
        raise SolverError(
            f"MUMPS needs more than {1 + EXTRA_SPACE[-1] / 100:.0f} times the memory that it "
            f"expected for a matrix of {self.n} rows."
        )

    def _stands(self, eps: Any) -> bool:
        """Say whether the factor of a shift is whole; its memory is noted."""
        st = eps.getST()
        ksp = st.getKSP()
        pc = ksp.getPC()
        factor = pc.getFactorMatrix()
        try:
            return check_mumps(factor, self.n)
        finally:
            # A name in Python keeps its object alive until PETSc collects its garbage.
            for thing in (factor, pc, ksp, st):
                thing.destroy()

    def _prepared(self, shift: float, count: int, space: int) -> Any:
        SLEPc, PETSc = self.library.SLEPc, self.library.PETSc
        configure(self.library, "dock_solve_st_", space)
        eps = SLEPc.EPS().create(self.H.comm)
        eps.setOptionsPrefix("dock_solve_")
        eps.setOperators(self.H, self.S)
        eps.setProblemType(SLEPc.EPS.ProblemType.GHEP)
        eps.setType(SLEPc.EPS.Type.KRYLOVSCHUR)
        eps.setWhichEigenpairs(SLEPc.EPS.Which.TARGET_MAGNITUDE)
        eps.setTarget(shift)
        eps.setDimensions(count)
        eps.setTolerances(_TOLERANCE, 200)
        st = eps.getST()
        st.setType(SLEPc.ST.Type.SINVERT)
        st.setMatStructure(PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
        ksp = st.getKSP()
        ksp.setType("preonly")
        pc = ksp.getPC()
        pc.setType("lu" if self.library.is_complex else "cholesky")
        pc.setFactorSolverType("mumps")
        eps.setFromOptions()
        eps.setUp()
        for thing in (pc, ksp, st):
            thing.destroy()
        return eps

    def _cut(self, near: Found | None, low: float, high: float) -> Found:
        """Return what lies in a range, with the number of states below it."""
        below = self.counter.below(low)
        if near is None:
            rows = self.H.getLocalSize()[0]
            nothing = np.empty((rows, 0), dtype=self.library.PETSc.ScalarType)
            return Found(np.empty(0), nothing, below, 0.0)
        kept = (near.energies >= low) & (near.energies <= high)
        return Found(near.energies[kept], near.vectors[:, kept], below, near.residual)


def _ends(
    energies: NDArray[np.float64], count: int, energy: float, *, everything: bool
) -> tuple[float, float] | None:
    """Return the ends of a range with the `count` states nearest to an energy, both in gaps.

    Beyond the farthest state that was found nothing is known; None where no gap is wide enough.
    """
    distance = np.sort(np.abs(energies - energy))
    far = np.inf if everything else distance[-1]
    for number in range(count, len(energies) + 1):
        kept = np.abs(energies - energy) <= distance[number - 1]
        inside, outside = energies[kept], energies[~kept]
        lower = max([energy - far, *outside[outside < energy]], default=-np.inf)
        upper = min([energy + far, *outside[outside > energy]], default=np.inf)
        if everything and number == len(energies):
            return inside[0] - 1.0, inside[-1] + 1.0
        if inside[0] - lower > 2 * _GAP and upper - inside[-1] > 2 * _GAP:
            low = inside[0] - min((inside[0] - lower) / 2, 1.0)
            return low, inside[-1] + min((upper - inside[-1]) / 2, 1.0)
    return None


def _joined(lower: Found, upper: Found) -> Found:
    return Found(
        np.concatenate([lower.energies, upper.energies]),
        np.concatenate([lower.vectors, upper.vectors], axis=1),
        lower.n_below,
        max(lower.residual, upper.residual),
    )


def _missing(found: int, counted: int, low: float, high: float) -> ConvergenceError:
    return ConvergenceError(
        f"SLEPc found {found} states between {low:.6f} and {high:.6f} eV, where inertia counts "
        f"{counted}. Ask for a narrower window."
    )
