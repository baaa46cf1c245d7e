"""Which states are wanted, where to look for them, and the proof that none is missing.

Inertia counts the states below an energy; states that were found between two energies at which it
was taken must be as many as the counts differ by. Those energies, the marks, lie in gaps of the
spectrum: a count in single precision is that of a matrix a little beside H − E S, and right where
no state lies within that distance of E.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.errors import ConvergenceError, SolverError
from dock.states.memory import allowance, in_words
from dock.states.removal import carriers, nothing_left
from dock.states.solver import Certificate, Want
from dock.states.sparse.factorisation import Analysis, Factor
from dock.states.sparse.krylov import Range, RitzStates, Search, ShiftOnState, Target
from dock.states.sparse.products import Products

__all__ = ["Found", "Slicer", "Tools", "capacity", "dependent_rows"]

_log = logging.getLogger("dock")

Block = NDArray[Any]

LARGEST = 96
"""States that one shift is asked for; more are taken in slices."""

_MARGIN = 0.05  # of a range's half width, converged beyond it so that its end finds a gap
_BLURS = 10.0  # measured errors of inertia that a mark keeps away from every state
_ROOM = 2.2  # clearances that a gap must have for a mark in it
_MORE = 16  # states beyond a range among which a gap for its mark is sought
_AWAY = 4.0  # clearances from a state at the end of a range to the mark beyond it
_TRIES = 3  # of a search for states that are missing
_MOVES = 5  # of a shift on an eigenvalue
_STEP = 1e-3  # eV, by which it moves first where nothing is known yet
_MOST_COUNTS = 60  # of a search for a number of states by inertia
_MOST_BLOCKS = 400
_STEPS = 2  # blocks of the space in which a count's error is looked for
_SURE = 0.5  # of 1, from which on the error could turn a sign; it is 16 and more of wrong counts
_ROOMY = 0.9  # of the memory that is left, which counts in double precision may take
_NARROW = 1e-6  # eV: a window that is not cut again, however many states it has


@dataclass(frozen=True)
class Tools:
    """What factors and counts, in which precision, and how large the subspaces are.

    `counts` may be another engine's analysis than `solves`, where that does not count complex
    matrices.
    """

    solves: Analysis
    counts: Analysis
    solve_kind: np.dtype[Any]
    count_kind: np.dtype[Any]
    block: int
    tolerance: float

    def capacity(self, n_states: int) -> int:
        """Return the vectors of a basis in which so many states converge quickly."""
        return capacity(n_states, self.block)


def capacity(n_states: int, block: int) -> int:
    """Return the vectors of a basis in which so many states converge quickly.

    With 40 states of 364 atoms, 600 to 700 are solved for in a basis of 116, 450 to 560 in 240.
    """
    return max(5 * n_states, n_states + 4 * block) + 2 * block


@dataclass(frozen=True, eq=False)
class Found:
    """States between two marks: all of them, by inertia; `n_below` of the whole spectrum."""

    energies: NDArray[np.float64]
    vectors: Block
    residuals: NDArray[np.float64]
    n_below: int
    certificate: Certificate

    def part(self, first: int, stop: int) -> Found:
        """Return states first … stop − 1 of these."""
        here = slice(first, stop)
        vectors = np.asfortranarray(self.vectors[:, here])
        residuals = self.residuals[here]
        return Found(
            self.energies[here].copy(), vectors, residuals, self.n_below + first, self.certificate
        )


@dataclass(frozen=True, eq=False)
class _Piece:
    """What a search about one shift found: all states in its range, as far as it knows."""

    low: float
    high: float
    energies: NDArray[np.float64]
    vectors: Block
    residuals: NDArray[np.float64]
    blur: float

    def between(self, low: float, high: float) -> _Piece:
        """Return the piece with the states low < e ≤ high alone."""
        here = (self.energies > low) & (self.energies <= high)
        return replace(
            self,
            energies=self.energies[here],
            vectors=self.vectors[:, here],
            residuals=self.residuals[here],
        )


class _SingularError(Exception):
    """H − σS cannot be factored."""


@dataclass(eq=False)
class Slicer:
    """The states of H x = e S x at one k-point."""

    products: Products
    tools: Tools
    _counted: dict[float, int] = field(default_factory=dict)

    def find(self, want: Want) -> Found:
        """Return the states that are asked for, or a few more; see `Want`.

        Raises
        ------
        ConvergenceError
            When states do not converge, or inertia says that some are missing and they are not
            found.
        SolverError
            When H − σS cannot be factored at any of several shifts.
        """
        if want.window is not None:
            return self._window(*want.window)
        if want.nearest is not None:
            return self._nearest(*want.nearest)
        if want.bands is not None:
            return self._numbered(*want.bands)
        return self._numbered(0, self.products.size)

    def require_positive(self) -> None:
        """Refuse an S that is not positive definite, by its inertia.

        Inertia of H − E S counts states only where S is.
        """
        kind = self.products.dtype
        negative, _ = self.tools.counts.count_negative(self.products.S, kind)
        if negative:
            raise SolverError(
                f"S is not positive definite: {negative} of {self.products.size} eigenvalues are "
                "negative. Either the basis is overcomplete, or H and S belong to different "
                "structures, or a predicted overlap is inaccurate. Check that the files belong "
                "together; to leave out the nearly dependent combinations of orbitals, pass "
                "s_threshold=1e-5 and solver='dense'."
            )

    # -- what is asked for --------------------------------------------------------------------

    def _window(self, low: float, high: float) -> Found:
        """Return the states with low ≤ e ≤ high.

        States on the ends may be counted on either side of them: so a little more is looked at.
        """
        found = self._between(low - self._least_clearance, high + self._least_clearance)
        first, stop = np.searchsorted(found.energies, low), len(found.energies)
        stop = int(np.searchsorted(found.energies, high, side="right"))
        return found.part(int(first), stop)

    def _nearest(self, number: int, energy: float) -> Found:
        """Return the states nearest to an energy, in the order of energies."""
        number = min(number, self.products.size)
        here = min(number, LARGEST)
        least = self._least_clearance
        piece = self._search(energy, lambda ritz: _nearest_range(ritz, here, energy, least), here)
        distances = np.sort(np.abs(piece.energies - energy))
        reach = float(distances[here - 1])
        if number > here:
            reach *= 1.1 * number / here
            while self.count(energy + reach) - self.count(energy - reach) < number:
                reach *= 1.2
            return _chosen(self._between(energy - reach, energy + reach), number, energy)
        found = self._proved([piece], energy - reach, energy + reach)
        return _chosen(found, number, energy)

    def _numbered(self, first: int, stop: int) -> Found:
        """Return states first … stop − 1 of the whole spectrum."""
        low, high = self._bracket(first, stop)
        found = self._between(low, high)
        return found.part(first - found.n_below, min(stop, self.products.size) - found.n_below)

    def _bracket(self, first: int, stop: int) -> tuple[float, float]:
        """Return energies with at most `first` states below one, at least `stop` below the other.

        Not many more than needed lie between them.
        """
        slack = max(8, (stop - first) // 4)
        diagonal = self.products.starts[:-1]
        levels = np.sort((self.products.H[diagonal] / self.products.S[diagonal]).real)
        guess = float(levels[min(first, len(levels) - 1)])
        low = self._energy_with(max(first - slack, 0), first, guess)
        if stop >= self.products.size:
            return low, self._energy_with(self.products.size, self.products.size, levels[-1])
        return low, self._energy_with(stop, stop + slack, low)

    def _energy_with(self, fewest: int, most: int, guess: float) -> float:
        """Return an energy below which lie `fewest` to `most` states, by bisection."""
        low, high, step = -np.inf, np.inf, 1.0
        energy = guess
        for _ in range(_MOST_COUNTS):
            below = self.count(energy)
            if fewest <= below <= most:
                return energy
            low, high = (energy, high) if below < fewest else (low, energy)
            if np.isfinite(low) and np.isfinite(high):
                energy = 0.5 * (low + high)
            else:
                energy, step = energy + (step if below < fewest else -step), 2 * step
        raise ConvergenceError(
            f"no energy with {fewest} to {most} states below it was found in {_MOST_COUNTS} "
            "counts: so many states have one energy."
        )

    # -- slices -------------------------------------------------------------------------------

    def _between(self, low: float, high: float) -> Found:
        """Return all states of a window and at most a few beyond its ends, slice by slice."""
        pieces: list[_Piece] = []
        ends = [low, *self._cuts(low, high), high]
        begin = -np.inf
        for here, end in pairwise(ends):
            number = self.count(end) - self.count(here)
            if number == 0 and len(ends) == 2:
                break
            margin = 0.5 * _MARGIN * (end - here)
            ends_here = (here, end)
            target = _about(ends_here, number, margin, self._least_clearance)
            piece = self._search(0.5 * (here + end), target, number + 8)
            stop = np.inf
            if end != high:  # the next slice begins in a gap
                near = np.abs(piece.energies - end) <= margin
                stop = _widest_gap([end - margin, *piece.energies[near], end + margin])
            pieces.append(piece.between(begin, stop))
            begin = stop
        return self._proved(pieces, low, high)

    def _cuts(self, low: float, high: float) -> list[float]:
        """Return energies that cut a window into slices of not too many states."""
        number = self.count(high) - self.count(low)
        if number <= LARGEST or high - low < _NARROW:
            return []
        middle = 0.5 * (low + high)
        return [*self._cuts(low, middle), middle, *self._cuts(middle, high)]

    def _search(self, shift: float, target: Target, expected: int, seed: int = 0) -> _Piece:
        """Return what a search about a shift finds; a shift on an eigenvalue is moved."""
        step, problem = _STEP, "it lies on a state"
        for _ in range(_MOVES):
            try:
                return self._search_at(shift, target, expected, seed)
            except ShiftOnState as found:
                better = found.better
            except _SingularError as error:
                better, problem = shift + step, str(error)
                step *= -2
            _log.warning("the shift %.6f eV lies on a state: moved to %.6f eV", shift, better)
            shift = better
        raise SolverError(f"H − σS cannot be factored at σ = {shift:.6f} eV: {problem}")

    def _search_at(self, shift: float, target: Target, expected: int, seed: int) -> _Piece:
        """Return what a search about this shift finds."""
        tools, products = self.tools, self.products
        values = products.shifted(shift, tools.solve_kind)
        try:
            factor = tools.solves.factor(values, tools.solve_kind)
        except SolverError as error:
            raise _SingularError(str(error)) from error
        del values
        try:
            search = Search(
                products,
                factor.solve,
                shift,
                block=tools.block,
                capacity=tools.capacity(expected),
                tolerance=tools.tolerance,
                precision=float(np.finfo(tools.solve_kind).eps),
                seed=seed,
            )
            ritz = search.run(target, most_blocks=_MOST_BLOCKS)
            wanted = target(ritz) or Range(-np.inf, np.inf)
            inside = np.flatnonzero(ritz.inside(wanted))
            energies, residuals = ritz.energies[inside], ritz.residuals[inside]
            vectors = search.states(ritz, inside)
            del search
            blur = self._blur(factor, shift, energies, vectors)
        finally:
            factor.close()
        return _Piece(wanted.low, wanted.high, energies, vectors, residuals, blur)

    # -- counts -------------------------------------------------------------------------------

    def count(self, energy: float) -> int:
        """Return the number of states below an energy.

        In single precision it is taken where the factor proves to be good enough, else in double.

        Raises
        ------
        SolverError
            Where double precision is needed and has no room.
        """
        if energy not in self._counted:
            below = self._count_roughly(energy) if self._is_rough else None
            self._counted[energy] = self._count_exactly(energy) if below is None else below
        return self._counted[energy]

    @property
    def _is_rough(self) -> bool:
        """Whether counts are in single precision."""
        return self.tools.count_kind.itemsize < self.products.dtype.itemsize

    def _count_roughly(self, energy: float) -> int | None:
        """Return a count in single precision, None where it is not sure.

        The factor is that of K + E, not of K = H − energy · S, and E is sometimes ten thousand
        times the rounding of the entries: pivots are sought within diagonal blocks only, which
        some energies bear badly, mostly those of diffuse states. On the way from K + E to K an
        eigenvalue changes its sign only if (K + E)⁻¹ K has one that is real and not positive. Its
        eigenvalues are 1 where there is no error; the farthest from 1 are the first that a Krylov
        space shows, and a block of solutions, in which the smallest eigenvalues of K + E stand
        out, is where to begin.
        """
        tools, kind = self.tools, self.tools.count_kind
        factor = tools.counts.factor(self.products.shifted(energy, kind), kind)
        try:
            is_sure = factor.n_perturbed == 0 and self._error_of(factor, energy) < _SURE
            return factor.n_negative if is_sure else None
        finally:
            factor.close()

    def _error_of(self, factor: Factor, energy: float) -> float:
        """Return how far from 1 the eigenvalues of (K + E)⁻¹ K lie, see `_count_roughly`."""
        products = self.products
        X = factor.solve(np.random.default_rng(0).normal(size=(products.size, self.tools.block)))
        Q, W = np.zeros((2, products.size, 0), dtype=products.dtype)
        for _ in range(_STEPS):
            if not np.isfinite(X).all():
                return np.inf
            X = X - Q @ (Q.conj().T @ X)
            X = np.linalg.qr(X - Q @ (Q.conj().T @ X))[0].astype(products.dtype)
            HX, SX = products.apply(X)
            Y = np.asarray(factor.solve(HX - energy * SX), dtype=products.dtype)
            Q, W, X = np.hstack([Q, X]), np.hstack([W, Y]), Y
        inner = Q.conj().T @ W
        if not np.isfinite(inner).all():
            return np.inf
        return float(np.abs(np.linalg.eigvals(inner) - 1).max())

    def _count_exactly(self, energy: float) -> int:
        """Return a count in double precision."""
        kind = self.products.dtype
        needed, room = self.tools.counts.memory(kind, kept=False), allowance()
        if self._is_rough and needed > _ROOMY * room.n_bytes:
            raise SolverError(
                f"single precision cannot tell how many states lie below {energy:.6f} eV, and "
                f"double precision needs {in_words(needed)} of {room}. Ask for energies nearer to "
                "the Fermi level, or give more memory."
            )
        if self._is_rough:
            _log.info("the states below %.6f eV are counted in double precision", energy)
        below, _ = self.tools.counts.count_negative(self.products.shifted(energy, kind), kind)
        return below

    def _blur(
        self, factor: Factor, shift: float, energies: NDArray[np.float64], vectors: Block
    ) -> float:
        """Return by how much the factored matrix has its states elsewhere than H and S, eV.

        The states nearest to the shift tell: X†S K⁻¹ S X has the eigenvalues 1/(e − σ) of the
        matrix that was factored.
        """
        nearest = np.sort(np.argsort(np.abs(energies - shift))[: self.tools.block])
        if not len(nearest) or self.tools.solve_kind.itemsize == self.products.dtype.itemsize:
            return 0.0
        SX = self.products.apply(vectors[:, nearest])[1]
        inner = SX.conj().T @ np.asarray(factor.solve(SX), dtype=self.products.dtype)
        inverse = np.linalg.eigvalsh(0.5 * (inner + inner.conj().T))
        taus = np.sort(1 / np.where(inverse == 0, np.finfo(float).tiny, inverse))
        return float(np.abs(taus - (energies[nearest] - shift)).max())

    @cached_property
    def _least_clearance(self) -> float:
        """How far a mark must be from every state for what rounding does to a count, eV."""
        precision = float(np.finfo(self.tools.count_kind).eps)
        return _BLURS * 16 * precision * float(np.abs(self.products.H).max())

    def _clearance(self, pieces: list[_Piece]) -> float:
        """Return how far a mark must be from every state, eV."""
        if self.tools.count_kind != self.tools.solve_kind:
            return self._least_clearance
        return max([self._least_clearance, *(_BLURS * piece.blur for piece in pieces)])

    # -- proof --------------------------------------------------------------------------------

    def _proved(self, pieces: list[_Piece], low: float, high: float) -> Found:
        """Return the states of pieces side by side, all those between two marks about a range.

        Where inertia says that there are more, they are searched for, and found or an error.
        """
        clearance = self._clearance(pieces)
        for attempt in range(_TRIES):
            known = _joined(pieces, self.products, low, high)
            marks = (
                _mark(known.energies, low, known.low, clearance),
                _mark(known.energies, high, known.high, clearance),
            )
            inside = (known.energies > marks[0]) & (known.energies < marks[1])
            n_below = self.count(marks[0])
            counted = self.count(marks[1]) - n_below
            if np.count_nonzero(inside) == counted:
                return _certified(known, inside, n_below, marks, counted)
            _log.info(
                "%d states found where inertia counts %d between %.6f and %.6f eV: searched again",
                np.count_nonzero(inside), counted, *marks,
            )  # fmt: skip
            pieces = self._again(known, marks, counted, attempt)
        raise ConvergenceError(
            f"inertia counts {counted} states between {marks[0]:.6f} and {marks[1]:.6f} eV, and "
            f"{np.count_nonzero(inside)} were found. S may be nearly singular: see its smallest "
            "eigenvalue with: dock check"
        )

    def _again(
        self, known: _Piece, marks: tuple[float, float], counted: int, attempt: int
    ) -> list[_Piece]:
        """Search the half of a range where states are missing, from another start."""
        low, high = marks
        while True:
            inside = known.energies[(known.energies > low) & (known.energies < high)]
            if len(inside) < 8 or high - low < 1e-3:
                break
            middle = _widest_gap(inside[len(inside) // 4 : -(len(inside) // 4) or None])
            below = self.count(middle) - self.count(low)
            if below != np.count_nonzero(inside < middle):
                high, counted = middle, below
            else:
                low, counted = middle, counted - below
        piece = self._search(
            0.5 * (low + high) + 1e-3 * (high - low) * (attempt + 1),
            _fixed(Range(low, high, counted)),
            counted + 8,
            seed=attempt + 1,
        )
        others = [
            known.between(-np.inf, low),
            piece.between(low, high),
            known.between(high, np.inf),
        ]
        return [replace(part, low=known.low, high=known.high) for part in others]


def dependent_rows(products: Products, tools: Tools, threshold: float) -> NDArray[np.int64]:
    """Return the orbitals without which the smallest eigenvalue of S exceeds a threshold.

    As `dock.states.removal.dependent_orbitals`, with sparse matrices.
    """
    gone = np.empty(0, dtype=np.int64)
    while len(gone) < products.size:
        slicer = Slicer(products.without(gone).of_overlap(), tools)
        n_small = slicer.count(threshold)
        if n_small == 0:
            return np.sort(gone)
        vectors = slicer.find(Want(vectors=True, bands=(0, n_small))).vectors
        gone = np.concatenate([gone, carriers(vectors)])
    raise nothing_left(threshold, float(products.S.real.max()))


def _nearest_range(ritz: RitzStates, number: int, energy: float, clearance: float) -> Range | None:
    """Return the range of the states nearest to an energy, and beyond it so far as a gap needs."""
    distances = np.sort(np.abs(ritz.energies - energy))
    if len(distances) < number:
        return None
    reach = float(distances[number - 1])
    inner = (energy - reach, energy + reach)
    return _about(inner, 0, _MARGIN * reach + 1e-6, clearance)(ritz)._replace(
        number=number, inner=None
    )


def _about(
    inner: tuple[float, float], number: int, margin: float, clearance: float
) -> Callable[[RitzStates], Range]:
    """Return a range about a window: a margin wider, or so much that marks have their gaps."""

    def target(ritz: RitzStates) -> Range:
        low = max(margin, _into_gap(inner[0] - ritz.energies, clearance))
        high = max(margin, _into_gap(ritz.energies - inner[1], clearance))
        return Range(inner[0] - low, inner[1] + high, number, inner)

    return target


def _into_gap(ahead: NDArray[np.float64], clearance: float) -> float:
    """Return how far beyond an end a gap with room for a mark begins, and goes on so far.

    `ahead` are the distances of states beyond the end, negative of those before it. Where so many
    are near that none of the gaps has room, nothing is gained by going on.
    """
    before, beyond = ahead[ahead <= 0], np.sort(ahead[ahead > 0])[:_MORE]
    room = _ROOM * clearance
    walls = np.concatenate([[max(float(before.max(initial=-np.inf)), -0.5 * room)], beyond])
    wide = np.flatnonzero(np.diff(walls) >= room)
    if len(wide):
        return float(walls[wide[0]]) + room
    return 0.0 if len(beyond) == _MORE else float(walls[-1]) + room


def _fixed(wanted: Range) -> Target:
    return lambda _: wanted


def _chosen(found: Found, number: int, energy: float) -> Found:
    """Return the states that are nearest to an energy."""
    order = np.argsort(np.abs(found.energies - energy), kind="stable")[:number]
    return found.part(int(order.min()), int(order.max()) + 1)


def _joined(pieces: list[_Piece], products: Products, low: float, high: float) -> _Piece:
    """Return pieces that lie side by side as one."""
    if not pieces:
        nothing, vectors = np.empty(0), np.empty((products.size, 0), products.dtype)
        return _Piece(low, high, nothing, vectors, nothing, 0.0)
    return _Piece(
        min(piece.low for piece in pieces),
        max(piece.high for piece in pieces),
        np.concatenate([piece.energies for piece in pieces]),
        np.hstack([piece.vectors for piece in pieces]),
        np.concatenate([piece.residuals for piece in pieces]),
        max(piece.blur for piece in pieces),
    )


def _mark(energies: NDArray[np.float64], end: float, limit: float, clearance: float) -> float:
    """Return the place next to the end of a range, towards a limit, where no state is near.

    Up to the limit all states are known; what is beyond may begin at once.
    """
    if not len(energies) or np.abs(energies - end).min() >= clearance:
        return end
    side = 1.0 if limit > end else -1.0
    ahead = np.sort(side * (energies - end))
    before = ahead[ahead <= clearance]
    walls = [*before[-1:], *ahead[(ahead > clearance) & (ahead < side * (limit - end))]]
    walls.append(max(side * (limit - end), walls[-1]))
    gaps = np.diff(walls)
    wide = np.flatnonzero(gaps >= 2 * clearance)
    at = int(wide[0]) if len(wide) else int(gaps.argmax())
    # Not farther from the range than it must: states beyond it are known less well.
    return end + side * float(walls[at] + min(0.5 * gaps[at], _AWAY * clearance))


def _widest_gap(energies: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the middle of the widest gap between ascending energies."""
    values = np.asarray(energies)
    at = int(np.diff(values).argmax())
    return float(0.5 * (values[at] + values[at + 1]))


def _certified(
    known: _Piece, inside: NDArray[np.bool_], n_below: int, marks: tuple[float, float], counted: int
) -> Found:
    energies, residuals = known.energies[inside], known.residuals[inside]
    worst = float(residuals.max()) if len(residuals) else None
    reason = f"inertia at {marks[0]:.6f} and {marks[1]:.6f} eV counts the states that were found"
    certificate = Certificate(reason, counted, worst, marks)
    vectors = known.vectors[:, inside]
    return Found(energies, vectors, residuals, n_below, certificate)
