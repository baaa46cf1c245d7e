"""B⁻¹ of blocks of vectors: a polynomial in B, conjugate gradients, or a factorisation.

The polynomial is the one that is taken: the same positive operator each time, M = G† p(G B G†) G
with p ≈ 1/t on the spectrum of G B G†, where G is a factored approximate inverse (or 1: a plain
Chebyshev series). That of M K instead of B⁻¹ K moves no eigenvalue λ by more than `error` · |λ|
(Ostrowski), which is a bound and not an estimate. Conjugate gradients answer each vector with
another operator; a factorisation takes the most memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dock.errors import ConvergenceError, SolverError
from dock.states.kpm.blocks import Blocks
from dock.states.kpm.lanczos import extremes
from dock.states.kpm.pencil import Pencil
from dock.states.problem import Problem

__all__ = ["ConjugateGradients", "Direct", "Inverse", "Polynomial"]

Block = NDArray[Any]

_MOST = 4000  # degrees: an overlap that is worse conditioned is refused
_TABLE = 4096
_STEPS = 500


class Inverse(Protocol):
    """A way to apply B⁻¹; `error` bounds what it moves eigenvalues λ by, relative to λ."""

    @property
    def error(self) -> float:
        """The largest |1 − μ| of the eigenvalues μ of M B."""

    @property
    def n_bytes(self) -> int:
        """Memory that it holds."""

    def apply(self, w: Block) -> Block:
        """Return M w of a block (n, m)."""


@dataclass(eq=False)
class Polynomial:
    """M = G† p(G B G†) G.

    Attributes
    ----------
    G
        None for a series in B itself.
    low, high
        Bounds of the spectrum of G B G†.
    series, root
        Chebyshev coefficients of 1/t and of 1/√t there.
    error
        max |1 − t p(t)| between the bounds.
    """

    pencil: Pencil
    G: Blocks | None
    low: float
    high: float
    series: NDArray[np.float64]
    root: NDArray[np.float64]
    error: float

    @classmethod
    def of(
        cls, pencil: Pencil, G: Blocks | None, *, tolerance: float = 1e-3, seed: int = 0
    ) -> Polynomial:
        """Return the polynomial of the least degree for an error.

        `SolverError` where B is not positive definite, or so ill conditioned that a series is out
        of the question.
        """
        inner = _Inner(pencil, G)
        # Without G the smallest eigenvalues lie close together, and come late.
        steps = _STEPS if G is None else None
        found = extremes(inner.times, pencil, seed=seed, steps=steps)
        low, high = found.low, found.high
        if low <= 0 or high / low > 1e7:
            raise SolverError(
                f"{pencil.source}: the overlap is not positive definite, or nearly not: its "
                f"spectrum, scaled, is from {found.low:.1e} to {found.high:.1e}. Orbitals are "
                "nearly dependent."
            )
        tolerance = max(tolerance, 4 * float(np.finfo(pencil.kind).eps))
        series, error = _coefficients(lambda t: 1 / t, low, high, tolerance, times=1.0)
        root, _ = _coefficients(lambda t: t**-0.5, low, high, min(tolerance, 1e-4), times=0.5)
        return cls(pencil, G, low, high, series, root, error)

    @property
    def degree(self) -> int:
        """Products with B of one application."""
        return len(self.series) - 1

    @property
    def n_bytes(self) -> int:
        """Memory of G."""
        return 0 if self.G is None else self.G.n_bytes

    @property
    def description(self) -> str:
        """The way in words."""
        what = "Chebyshev" if self.G is None else "factored approximate inverse, Chebyshev"
        return f"{what} of degree {self.degree}, error at most {self.error:.0e}"

    def apply(self, w: Block) -> Block:
        """Return M w."""
        inner = _Inner(self.pencil, self.G)
        return inner.back(self._sum(inner, self.series, inner.into(w)))

    def draw(self, z: Block) -> Block:
        """Return x = G† q(G B G†) z with q ≈ 1/√t: E[x x†] ≈ B⁻¹ for E[z z†] = 1."""
        inner = _Inner(self.pencil, self.G)
        return inner.back(self._sum(inner, self.root, z))

    def _sum(self, inner: _Inner, coefficients: NDArray[np.float64], y: Block) -> Block:
        """Return Σ_n c_n T_n(t) y with t the scaled operator."""
        kind = y.dtype.type
        a, b = kind(2 / (self.high - self.low)), kind((self.high + self.low) / 2)
        out: Block = kind(coefficients[0]) * y
        if len(coefficients) == 1:
            return out
        before, now = y, a * (inner.times(y) - b * y)
        out += kind(coefficients[1]) * now
        for c in coefficients[2:]:
            after = inner.times(now)
            after -= b * now
            after *= 2 * a
            after -= before
            out += kind(c) * after
            before, now = now, after
        return out


@dataclass(eq=False)
class _Inner:
    """G B G†, and the ways into its space and back."""

    pencil: Pencil
    G: Blocks | None

    def into(self, w: Block) -> Block:
        return w if self.G is None else self.G.times(w)

    def back(self, y: Block) -> Block:
        return y if self.G is None else self.G.times(y, adjoint=True)

    def times(self, y: Block) -> Block:
        """Return G B G† y."""
        return self.into(self.pencil.B.times(self.back(y)))


@dataclass(eq=False)
class ConjugateGradients:
    """B⁻¹ by conjugate gradients of all vectors of a block side by side, preconditioned by G† G."""

    pencil: Pencil
    G: Blocks | None
    error: float = 1e-6
    n_steps: int = 0

    @property
    def n_bytes(self) -> int:
        """Memory of G."""
        return 0 if self.G is None else self.G.n_bytes

    @property
    def description(self) -> str:
        """The way in words."""
        return f"conjugate gradients, {self.n_steps} steps"

    def apply(self, w: Block) -> Block:
        """Return B⁻¹ w; `ConvergenceError` after too many steps."""
        inner = _Inner(self.pencil, self.G)
        x, r = np.zeros_like(w), w.copy()
        z = inner.back(inner.into(r))
        p, rz = z.copy(), _dots(r, z)
        first = rz.copy()
        for step in range(1, _MOST + 1):
            q = self.pencil.B.times(p)
            alpha = _divided(rz, _dots(p, q)).astype(w.real.dtype)
            x += alpha * p
            r -= alpha * q
            z = inner.back(inner.into(r))
            new = _dots(r, z)
            if np.all(new <= self.error**2 * first):
                self.n_steps = step
                return x
            p = z + _divided(new, rz).astype(w.real.dtype) * p
            rz = new
        raise ConvergenceError(f"conjugate gradients did not converge in {_MOST} steps.")


class Direct:
    """B⁻¹ by a sparse factorisation, of a cell that is not tiled."""

    def __init__(self, problem: Problem, pencil: Pencil, *, channel: int = 0) -> None:
        from dock.states.sparse.multifrontal import Multifrontal

        H, S = problem.sparse(channel, pencil.k_frac, "upper")
        row = pencil.transform.matrix[1]
        analysis = Multifrontal().analyse(problem.pattern(), threads=pencil.B.threads)
        values = (row[0] * H.data + row[1] * S.data).astype(pencil.kind)
        self._factor = analysis.factor(values, pencil.kind)
        self._kind = pencil.kind
        self.n_bytes = int(analysis.memory(pencil.kind))
        self.error = float(np.finfo(pencil.kind).eps)
        if self._factor.n_negative:
            raise SolverError(
                f"{pencil.source}: the overlap is not positive definite: it has "
                f"{self._factor.n_negative} negative eigenvalues."
            )

    @property
    def description(self) -> str:
        """The way in words."""
        return "Cholesky factor (multifrontal)"

    def apply(self, w: Block) -> Block:
        """Return B⁻¹ w."""
        return np.ascontiguousarray(self._factor.solve(w), dtype=self._kind)


def _dots(a: Block, b: Block) -> NDArray[np.float64]:
    products: NDArray[np.float64] = np.einsum("nj,nj->j", a.conj(), b).real.astype(np.float64)
    return products


def _divided(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


def _coefficients(
    function: Any, low: float, high: float, tolerance: float, *, times: float
) -> tuple[NDArray[np.float64], float]:
    """Return the shortest Chebyshev series with |1 − t^times · f| below a tolerance, and that."""
    theta = np.pi * (np.arange(_TABLE) + 0.5) / _TABLE
    t = (high + low) / 2 + (high - low) / 2 * np.cos(theta)
    n = np.arange(min(_MOST, _TABLE // 2))
    all_of_them = np.cos(n[:, None] * theta) @ function(t) * 2 / _TABLE
    all_of_them[0] /= 2

    def error(count: int) -> float:
        series = all_of_them[:count] @ np.cos(n[:count, None] * theta)
        return float(np.abs(1 - t**times * series).max())

    few, many = 1, 2
    while error(many) > tolerance:
        few, many = many, 2 * many
        if many > len(n):
            raise SolverError(
                "the overlap is so ill conditioned that no series gives its inverse: the scaled "
                f"spectrum is from {low:.1e} to {high:.1e}."
            )
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if error(middle) <= tolerance else (middle, many)
    return all_of_them[:many], error(many)
