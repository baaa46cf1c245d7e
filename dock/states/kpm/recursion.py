"""Chebyshev moments of H x = e S x from any starting vectors: the core of what needs no states.

    expansion = Expansion.of(problem, origin=-4.03)            # K, B, B⁻¹ and the spectrum's bounds
    n = expansion.scale.moments_for(0.02, [-4.03])             # moments for 20 meV at −4.03 eV
    mu = expansion.spectral_moments(X, n)                      # (m, n): ⟨x|S T_n|x⟩ of columns x
    A = expansion.scale.density(mu, energies)                  # (m, n_energies), 1/eV
    width = expansion.scale.resolution(energies, n)            # σ of the kernel, eV

`Expansion.trace_moments` are those of random vectors (densities of states, by groups of orbitals),
`Expansion.spectral_moments` those of given vectors x (local densities, spectral functions: Σ_n
|⟨x|S|n⟩|² δ(e − e_n) for states normalised as ⟨n|S|n⟩ = 1), and `Expansion.row_moments` the
Mulliken densities of single orbitals, without chance. Vectors are columns of arrays (size, m):
the cells of the tile one after another, in each all orbitals of spin up and then, for spinors,
those of spin down.

With v_n = T_n(x) v_0 and the covectors w_n = B v_n, x = (B⁻¹K − c)/a,

    w_{n+1} = (2/a)(K v_n − c w_n) − w_{n−1},   v_{n+1} = B⁻¹ w_{n+1}:

one product with K and one with B⁻¹ a step, and, as 2 T_m T_n = T_{m+n} + T_{m−n}, two moments.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.structure import Structure
from dock.errors import ConvergenceError, SolverError, UsageError
from dock.states.kpm.expansion import Scale
from dock.states.kpm.factored import factored_inverse
from dock.states.kpm.inverse import Polynomial
from dock.states.kpm.lanczos import extremes, random_numbers
from dock.states.kpm.pencil import Pencil, Tile, Transform
from dock.states.problem import Problem
from dock.states.sparse.blas import blas_threads

__all__ = ["Expansion", "Step"]

_log = logging.getLogger("dock")

Block = NDArray[Any]

_BELOW = 12.0  # eV by which states may lie below the lowest diagonal element of H, at a first guess
_FIRST = 0.04  # 1/eV: compression of the first guess
_ABOVE_FLOOR = 1.0  # eV from the floor to the lowest state
_GROWN = 1.05  # times its first norm: no vector of T_n with |x| ≤ 1 grows
_LOOK = 16  # steps between two looks at norms
_TRIES = 4
_DOWN = 20.0  # eV by which a floor moves that was not below the spectrum


class Step(NamedTuple):
    """v_n, w_n = B v_n and K v_n of one step."""

    v: Block
    w: Block
    Kv: Block


class _Grown(Exception):  # noqa: N818 - caught here, and never seen
    """A vector grew: a state lies outside the bounds."""


@dataclass(eq=False)
class Expansion:
    """A pencil with an inverse of B and a scale: what all moments are made with.

    Attributes
    ----------
    pencil, inverse, scale
        K and B; M ≈ B⁻¹; from energies to the Chebyshev variable. `scale` is widened when a
        series grows, which is said; moments that were made before are then no longer of it.
    """

    pencil: Pencil
    inverse: Polynomial
    scale: Scale

    @classmethod
    def of(
        cls,
        problem: Problem,
        channel: int = 0,
        k_frac: NDArray[np.float64] | None = None,
        *,
        structure: Structure,
        origin: float,
        tile: Tile = (1, 1, 1),
        single: bool = True,
        tolerance: float = 1e-3,
        compression: float | None = None,
        threads: int = 1,
        seed: int = 0,
    ) -> Expansion:
        """Read the matrices, find the bounds of the spectrum, and prepare the inverse.

        Parameters
        ----------
        channel, k_frac, tile, single
            As in `Pencil.read`.
        structure
            Of one cell.
        origin
            The energy that matters most, eV: the Fermi level.
        tolerance
            Error of the inverse, see `dock.states.kpm.inverse`.
        compression
            τ in 1/eV; by default that of the fewest moments at the origin. 0 for none.

        Raises
        ------
        SolverError
            Where S is not positive definite.
        """
        pencil = Pencil.read(problem, channel, k_frac, tile=tile, single=single, threads=threads)
        K, B = pencil.diagonal()
        if np.any(B <= 0):
            raise SolverError(
                f"{problem.source}: the overlap is not positive definite: orbital "
                f"{int(np.argmin(B)) + 1} has the norm {B.min():.3g}."
            )
        make = _Maker(structure, tolerance, threads, seed)
        tau = _FIRST if compression is None else compression
        floor = float((K / B).min()) - _BELOW
        cell = pencil.of_one_cell()  # which has nearly the bounds of the tile
        with blas_threads(1):
            for _ in range(_TRIES):
                found = make.at(cell, Transform(origin, tau, floor))
                low, high = found.scale.bounds
                right = floor <= low - _ABOVE_FLOOR / 2 and floor >= low - 4 * _ABOVE_FLOOR
                if tau == 0 or right:
                    break
                floor = low - _ABOVE_FLOOR
                if compression is None:
                    tau = _best_compression(origin, floor, low, high)
            if pencil.n_cells == 1:
                return found
            pencil.transform = cell.transform
            return make.at(pencil, cell.transform)

    @property
    def size(self) -> int:
        """Rows of a vector."""
        return self.pencil.size

    @property
    def description(self) -> str:
        """The way to B⁻¹ in words."""
        return self.inverse.description

    def draw(self, m: int, seed: tuple[int, ...]) -> tuple[Block, Block]:
        """Return v_0 and w_0 (size, m) of random vectors: E[w_0 w_0†] = B, v_0 = M w_0."""
        with blas_threads(1):
            w = self.pencil.B.times(self.inverse.draw(random_numbers(self.pencil, seed, m)))
            return self.inverse.apply(w), w

    def steps(self, v: Block, w: Block, n_steps: int) -> Iterator[Step]:
        """Yield steps 0 … n_steps − 1 from v_0 and w_0 = B v_0.

        Arrays that are yielded hold until the step after the next one.
        """
        K, number = self.pencil.K, v.real.dtype.type
        twice, centre = number(2 / self.scale.half_width), number(self.scale.centre)
        first = np.einsum("nj,nj->j", w.conj(), v).real
        before = w
        for n in range(n_steps):
            if n % _LOOK == 0 or n == n_steps - 1:
                norms = np.einsum("nj,nj->j", w.conj(), v).real
                if not np.all(norms <= _GROWN * first + 1e-30):
                    raise _Grown
            Kv = K.times(v)
            yield Step(v, w, Kv)
            if n == n_steps - 1:
                return
            after = Kv - centre * w
            after *= twice if n else twice / 2
            if n:
                after -= before
            before, w = w, after
            v = self.inverse.apply(w)

    def trace_moments(
        self,
        n_moments: int,
        m: int,
        seed: tuple[int, ...],
        groups: Any = None,
        advance: Callable[[int], None] | None = None,
    ) -> NDArray[np.float64]:
        """Return moments of m random vectors, (m, n_groups, n_moments): Tr T_n in the mean.

        Parameters
        ----------
        n_moments
            Even.
        seed
            Of the random numbers: the same vectors each time.
        groups
            A sparse matrix (n_groups, size) of 0 and 1: the moments of the Mulliken densities
            of groups of orbitals; by default of all, as one group.
        advance
            Told of each step.
        """

        def run() -> NDArray[np.float64]:
            v, w = self.draw(m, seed)
            return _doubled(
                self.steps(v, w, n_moments // 2 + 1),
                n_moments,
                lambda left, right: _grouped(left.w, right.v, groups),
                advance,
            )

        return self._guarded(run)

    def spectral_moments(
        self, x: Block, n_moments: int, advance: Callable[[int], None] | None = None
    ) -> NDArray[np.float64]:
        """Return ⟨x|S T_n|x⟩ of columns x (size, m), (m, n_moments): without chance.

        Their `Scale.density` is Σ_n |⟨x|S|n⟩|² δ(e − e_n), which integrates to ⟨x|S|x⟩.
        """
        _require_rows(x, self.size)
        x = np.ascontiguousarray(x, dtype=self.pencil.kind)

        def overlap(left: Step, right: Step) -> NDArray[np.float64]:
            Sv = self.pencil.overlap(left.w, left.Kv)
            return _grouped(Sv, right.v, None)

        def run() -> NDArray[np.float64]:
            w = self.pencil.B.times(x)
            v = self.inverse.apply(w)
            return _doubled(self.steps(v, w, n_moments // 2 + 1), n_moments, overlap, advance)

        return self._guarded(run)[:, 0]

    def projected_moments(
        self,
        x: Block,
        n_moments: int,
        groups: Any = None,
        advance: Callable[[int], None] | None = None,
    ) -> NDArray[np.float64]:
        """Return Re ⟨x|T_n|x⟩ by groups of rows, (m, n_groups, n_moments), without chance.

        Their `Scale.density` is Σ_n Re ⟨x|n⟩⟨n|S|x⟩ δ(e − e_n): Mulliken's share of states in
        columns x (size, m), as rows of `groups` (n_groups, size) divide the second x.
        """
        _require_rows(x, self.size)
        x = np.ascontiguousarray(x, dtype=self.pencil.kind)

        def run() -> NDArray[np.float64]:
            parts = []
            for step in self.steps(self.inverse.apply(x), x, n_moments):
                parts.append(_grouped(step.w, x, groups))
                if advance is not None:
                    advance(1)
            return np.stack(parts, axis=-1)

        return self._guarded(run)

    def row_moments(
        self, rows: NDArray[np.int64], n_moments: int, advance: Callable[[int], None] | None = None
    ) -> NDArray[np.float64]:
        """Return (T_n)_ii of some rows i of the tile, (n, n_moments): Mulliken densities."""
        x = np.zeros((self.size, len(rows)), dtype=self.pencil.kind)
        x[rows, np.arange(len(rows))] = 1

        def run() -> NDArray[np.float64]:
            w = self.pencil.B.times(x)
            out = np.empty((len(rows), n_moments))
            for n, step in enumerate(self.steps(self.inverse.apply(w), w, n_moments)):
                out[:, n] = step.v[rows, np.arange(len(rows))].real
                if advance is not None:
                    advance(1)
            return out

        return self._guarded(run)

    def _guarded(self, run: Callable[[], NDArray[np.float64]]) -> NDArray[np.float64]:
        """Run a series again with wider bounds when it grew."""
        for _ in range(_TRIES):
            try:
                with blas_threads(1):
                    return run()
            except _Grown:
                self.scale = self.scale.widened(0.05)
                low, high = self.scale.bounds
                _log.warning(
                    "%s: the series grew: a state lies outside the bounds. They are now %.2f … "
                    "%.2f eV, and it begins again.",
                    self.pencil.source,
                    low,
                    high,
                )
        raise ConvergenceError(
            f"{self.pencil.source}: the series grows however wide the bounds are. The matrices are "
            "damaged, or the overlap is not positive definite."
        )


@dataclass(eq=False)
class _Maker:
    """Makes expansions of pencils with a transform."""

    structure: Structure
    tolerance: float
    threads: int
    seed: int

    def at(self, pencil: Pencil, transform: Transform) -> Expansion:
        """Return the expansion; the floor moves down until B is positive definite."""
        for _ in range(_TRIES):
            try:
                inverse = self._inverse(pencil, transform)
                break
            except SolverError:
                if transform.compression == 0:
                    raise
                transform = replace(transform, floor=transform.floor - _DOWN)
        else:  # then S itself says why, or is right
            inverse = self._inverse(pencil, replace(transform, compression=0.0))
        found = extremes(pencil.K.times, pencil, inverse=inverse.apply, seed=self.seed)
        tau = pencil.transform.compression
        if tau * found.highest >= 1:
            raise SolverError(
                f"{pencil.source}: the overlap is not positive definite: a combination of "
                "orbitals has a norm below zero. Look at it with: dock check."
            )
        high = min(found.high, 0.999 / tau) if tau else found.high
        return Expansion(pencil, inverse, Scale(pencil.transform, found.low, high))

    def _inverse(self, pencil: Pencil, transform: Transform) -> Polynomial:
        pencil.change(transform)
        G = factored_inverse(pencil, self.structure, threads=self.threads)
        return Polynomial.of(pencil, G, tolerance=self.tolerance, seed=self.seed)


def _best_compression(origin: float, floor: float, low: float, high: float) -> float:
    """Return τ in 1/eV with the fewest moments for a resolution at the origin."""

    def moments(tau: float) -> float:
        transform = Transform(origin, tau, floor)
        ends = transform.eigenvalue(np.array([low, high]))
        scale = Scale(transform, float(ends[0]), float(ends[1]))
        return float(scale.resolution(np.array([origin]), 10_000)[0])

    ways = np.concatenate([[0.0], np.geomspace(0.001, 1.0, 61)])
    return float(ways[np.argmin([moments(float(tau)) for tau in ways])])


def _doubled(
    steps: Iterator[Step],
    n_moments: int,
    product: Callable[[Step, Step], NDArray[np.float64]],
    advance: Callable[[int], None] | None,
) -> NDArray[np.float64]:
    """Return (m, n_groups, n_moments) of 2 T_n T_n = T_2n + T_0, 2 T_n T_{n+1} = T_{2n+1} + T_1."""
    out: NDArray[np.float64] | None = None
    last: Step | None = None
    for n, step in enumerate(steps):
        if out is None:
            first = product(step, step)
            out = np.empty((*first.shape, n_moments))
            out[..., 0] = first
        elif last is not None:
            odd = product(last, step)
            out[..., 2 * n - 1] = odd if n == 1 else 2 * odd - out[..., 1]
            if 2 * n < n_moments:
                out[..., 2 * n] = 2 * product(step, step) - out[..., 0]
        last = step
        if advance is not None:
            advance(1)
    assert out is not None  # noqa: S101 - there is a step
    return out


def _grouped(w: Block, v: Block, groups: Any) -> NDArray[np.float64]:
    """Return Re Σ w* v over the rows of groups, (m, n_groups)."""
    if groups is None:
        total = np.einsum("nj,nj->j", w.conj(), v).real
        return np.asarray(total, dtype=np.float64)[:, None]
    product: NDArray[np.float64] = groups @ (w.conj() * v).real.astype(np.float64)
    return product.T


def _require_rows(x: Block, size: int) -> None:
    """Refuse vectors of another length, that are zero, or not finite."""
    if x.ndim != 2 or len(x) != size:
        raise UsageError(f"starting vectors have the shape ({size}, m), found {x.shape}.")
    if not np.all(np.isfinite(x)):
        raise UsageError("a starting vector has numbers that are not finite.")
    empty = np.flatnonzero(~np.any(x != 0, axis=0))
    if len(empty):
        raise UsageError(f"starting vector {int(empty[0]) + 1} is zero: it has no density.")
