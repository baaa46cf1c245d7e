"""The states nearest to a shift: block Krylov vectors of (H − σS)⁻¹ S, judged by H and S.

A factor of K = H − σS may be single precision, or of a matrix beside K where pivots were moved: it
only proposes directions. What is asked of them is answered by products with H and S in double.

Notes
-----
The basis V is orthonormal in the S-product. It grows by K⁻¹ S W of the last block W, which makes a
Krylov space; once Ritz vectors x with energies e are there, it grows by K⁻¹ r of the residuals
r = H x − e S x instead. With an exact K⁻¹ both are the same space, since
K⁻¹ r = x − (e − σ) K⁻¹ S x; with an inexact one the error of the second shrinks with r, so that the
states converge to double precision all the same, where that of the first stays.

Ritz values of H and S in V are no good inside a spectrum: vectors made of states far above and far
below σ look like states near it. So the wanted part of V is chosen by harmonic Ritz vectors,
(K V)† (K V) y = τ (K V)† S V y with the smallest |τ|, which is free of that, and H and S are
diagonalised in their span. At the capacity of the basis those vectors are kept (thick restart).

References
----------
R. B. Morgan and M. Zeng, Numer. Linear Algebra Appl. 5, 33 (1998): harmonic Ritz vectors;
E. R. Davidson, J. Comput. Phys. 17, 87 (1975): a basis that grows by corrected residuals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.errors import ConvergenceError, SolverError
from dock.states.sparse.products import Products
from dock.states.sparse.tall import Tall

__all__ = ["Range", "RitzStates", "Search", "ShiftOnState", "Target"]

Block = NDArray[Any]
Solve = Callable[[Block], Block]

_LOST = 1e-11  # of a vector that is left when V and others are taken out: less is rounding
_NEAR = 3000.0  # precisions that make a share of a solution: rounding grows in a factorisation
_LEVEL = 1e-5  # of what a search must reach: on a level of many states nearer than that it fails
_WELL = 10.0  # times that distance is where a shift moves to
_APART = 1e-3  # of what a search must reach: states as near as that are one level
_BESIDE = 0.1  # of what a search must reach: a good distance of a shift from a state
_PATIENCE = 8  # blocks in which states that must be there, but are not, may turn up
_ROUNDING = 1e-14  # relative, of products of the basis with itself


@dataclass(frozen=True, eq=False)
class RitzStates:
    """Approximate states, ascending.

    `residuals` are ‖H x − e S x‖ in eV for x† S x = 1; column i of ``V @ weights`` is state i.
    """

    energies: NDArray[np.float64]
    residuals: NDArray[np.float64]
    weights: Block

    def inside(self, wanted: Range) -> NDArray[np.bool_]:
        """Tell which energies lie in a range."""
        return (self.energies >= wanted.low) & (self.energies <= wanted.high)


class Range(NamedTuple):
    """Energies between which all states must converge.

    At least `number` of them must lie in the `inner` part (low, high), or in all of it.
    """

    low: float
    high: float
    number: int = 0
    inner: tuple[float, float] | None = None

    @property
    def core(self) -> Range:
        """The inner part."""
        return self if self.inner is None else Range(*self.inner)


Target = Callable[[RitzStates], Range | None]
"""The range by what is known so far; None while it is not."""


class ShiftOnState(Exception):  # noqa: N818 - no error: the search begins again elsewhere
    """The shift lies on a state: nearer than is needed to reach others.

    `better` is a shift beside it, in a gap between states as they are known so far.
    """

    def __init__(
        self, shift: float, energies: NDArray[np.float64], needed: float, reach: float
    ) -> None:
        super().__init__()
        walls = np.concatenate([[-np.inf], np.sort(energies), [np.inf]])
        away = np.minimum(0.5 * np.diff(walls), max(_WELL * needed, _BESIDE * reach))
        # Of each gap the ends that are far enough from its states: the nearest one is taken.
        ends = np.concatenate([walls[:-1] + away, walls[1:] - away])
        wide = np.tile(away >= _WELL * needed, 2) & np.isfinite(ends)
        # Between states that rounding parted there is no room.
        roomy = wide & np.tile(away >= _APART * reach, 2)
        wide = roomy if roomy.any() else wide
        self.better = float(ends[wide][np.abs(ends[wide] - shift).argmin()])


class Search:
    """The subspace about a shift.

    Parameters
    ----------
    products
        H and S.
    solve
        Returns about (H − σS)⁻¹ of a block (n, m), in any precision.
    shift
        σ, eV.
    block
        Vectors that are solved for at once.
    capacity
        Most vectors of the basis; a third to a half of them can converge.
    tolerance
        Residual of a state that has converged, eV.
    precision
        Relative precision of the solutions.
    seed
        Of the first block; another one is another search.
    start
        Vectors to begin with, where `solve` is no more than a correction, too rough for a Krylov
        space: the basis grows by those of residuals alone, and what is kept of it are as many
        vectors as a block has.
    """

    def __init__(
        self,
        products: Products,
        solve: Solve,
        shift: float,
        *,
        block: int,
        capacity: int,
        tolerance: float,
        precision: float = float(np.finfo(np.float64).eps),
        seed: int = 0,
        start: Block | None = None,
    ) -> None:
        self.precision, self._is_rough = precision, start is not None
        self.products, self.shift, self.tolerance = products, shift, tolerance
        self._solve = solve
        n = products.size
        self.capacity = min(capacity, n)
        self.block = min(block, self.capacity)
        shape, kind = (n, self.capacity), products.dtype
        # V, K V and S V; the last two follow V through every change.
        self._V, self._KV, self._SV = (np.zeros(shape, kind, order="F") for _ in range(3))
        self._size = 0
        self._tall = Tall(n, products.threads)
        self._gram = _Grams(self.capacity, kind, self._tall)
        self.exhausted = False
        self.n_solved = 0
        self._rng = np.random.default_rng(seed)
        if start is not None:
            self._next = start
            return
        # Twice through K⁻¹: what lies far from the shift, and costs accuracy, is left out.
        first = self._solved(self._random(self.block))
        self._next = self._solved(products.apply(first / np.linalg.norm(first, axis=0))[1])

    def states(self, ritz: RitzStates, chosen: NDArray[Any]) -> Block:
        """Return the vectors of some states (n, m)."""
        return np.asfortranarray(self._V[:, : self._size] @ ritz.weights[:, chosen])

    def run(self, target: Target, *, most_blocks: int) -> RitzStates:
        """Return Ritz states of which all in the target's range have converged.

        Where they are fewer than the target expects, a few more blocks look for the others.
        `ConvergenceError` where states have not converged after so many blocks, `ShiftOnState`
        where the shift must move.
        """
        ritz, patience = None, _PATIENCE
        for _ in range(most_blocks):
            self._grow()
            small = not self._is_rough and self._size < min(3 * self.block, self.capacity)
            if small and not self.exhausted:
                self._next = self._solved(self._SV[:, self._last : self._size])
                continue
            ritz = self._ritz()
            wanted = target(ritz)
            if self.exhausted:
                return ritz
            if wanted is not None and not self._is_rough:
                self._require_distance(ritz, wanted)
            if wanted is not None and self._converged(ritz, wanted) and self._fits:
                patience -= 1
                if patience == 0 or wanted.number <= np.count_nonzero(ritz.inside(wanted.core)):
                    return ritz
            self._follow(ritz, wanted)
        worst = np.inf if ritz is None or not len(ritz.residuals) else float(ritz.residuals.max())
        raise ConvergenceError(
            f"the states about {self.shift:.6f} eV did not converge in {most_blocks} blocks of "
            f"{self.block} vectors (largest residual {worst:.1e} eV)."
        )

    def _require_distance(self, ritz: RitzStates, wanted: Range) -> None:
        """Refuse a shift so near to a state that a solution holds hardly anything else.

        A state at a distance τ has a share of about 1/τ in it, and rounding a share of some
        precisions times that of the nearest state: that of the farthest one must be larger.
        """
        reach = max(wanted.high - self.shift, self.shift - wanted.low)
        nearest = float(np.abs(ritz.energies - self.shift).min())
        needed = max(_NEAR * self.precision, _LEVEL) * reach
        if nearest < needed and self._fits:
            raise ShiftOnState(self.shift, ritz.energies, needed, reach)

    def _converged(self, ritz: RitzStates, wanted: Range) -> bool:
        return bool((ritz.residuals[ritz.inside(wanted)] <= self.tolerance).all())

    @property
    def _fits(self) -> bool:
        """Whether states may converge before the basis is full: not of a matrix as small as it."""
        return self.capacity < self.products.size

    def _random(self, columns: int) -> Block:
        shape = (self.products.size, columns)
        X = self._rng.standard_normal(shape)
        if not self.products.is_complex:
            return X
        return X + 1j * self._rng.standard_normal(shape)

    def _solved(self, R: Block) -> Block:
        """Return K⁻¹ of a block: columns of length one are what single precision can hold."""
        lengths = np.linalg.norm(R, axis=0)
        lengths[lengths == 0] = 1
        self.n_solved += R.shape[1]
        return np.asarray(self._solve(R / lengths), dtype=self.products.dtype)

    def _grow(self) -> None:
        """Take the next block into the basis; nothing new in it means that the space is full."""
        W = self._without_basis(self._next)
        if not W.shape[1]:  # the states so far are all that the start had in it
            W = self._without_basis(self._random(self.block))
        self._last = self._size
        if not W.shape[1]:
            self.exhausted = True
            return
        HW, SW = self.products.apply(W)
        overlaps = self._tall.inner(W, SW)
        values, mixing = np.linalg.eigh(_hermitian(overlaps))
        if not values[0] > 0:
            raise _indefinite()
        mixing = (mixing / np.sqrt(values))[:, : self.capacity - self._size]
        here = slice(self._size, self._size + mixing.shape[1])
        self._V[:, here], self._SV[:, here] = W @ mixing, SW @ mixing
        self._KV[:, here] = HW @ mixing - self.shift * self._SV[:, here]
        self._size = here.stop
        self._gram.extend(self._V, self._KV, self._SV, here)
        if self._size == self.products.size:
            self.exhausted = True

    def _without_basis(self, W: Block) -> Block:
        """Return what a block has beside the basis: S-orthogonal to it, columns orthonormal."""
        W = W / _lengths(W)
        V, SV = self._V[:, : self._size], self._SV[:, : self._size]
        for lost in (_LOST, 0.5, 0.0):  # what was small beside the rest is projected again
            self._tall.subtract(W, V, self._tall.inner(SV, W))
            W = self._tall.orthonormal(W, lost)
        return W

    def _ritz(self) -> RitzStates:
        """Return the Ritz states of the harmonic vectors nearest to the shift."""
        q = self._size
        if q == self.products.size:
            Q = np.eye(q, dtype=self.products.dtype)
        else:
            share = 0 if self._is_rough else q // 2
            kept = max(share, min(q, self.block)) if self._fits else q
            Q = self._gram.nearest(q, kept)
        inner = Q.conj().T @ self._gram.vk[:q, :q] @ Q
        energies, Y = np.linalg.eigh(_hermitian(inner))
        Y = Q @ Y
        R = self._residuals(energies, Y)
        return RitzStates(energies + self.shift, np.linalg.norm(R, axis=0), Y)

    def _residuals(self, taus: NDArray[np.float64], Y: Block) -> Block:
        """Return K x − τ S x of some vectors x = V y."""
        q = self._size
        R = np.empty((self.products.size, Y.shape[1]), np.result_type(self._V, Y), order="F")

        def some(rows: slice) -> None:
            R[rows] = self._KV[rows, :q] @ Y
            R[rows] -= self._SV[rows, :q] @ (Y * taus)

        self._tall.by_rows(some)
        return R

    def _follow(self, ritz: RitzStates, wanted: Range | None) -> None:
        """Prepare the next block from the residuals of the open states nearest to the shift."""
        taus = ritz.energies - self.shift
        open_ones = ritz.residuals > self.tolerance
        order = np.argsort(np.abs(taus))
        if wanted is not None:  # those that are asked for first
            inside = ritz.inside(wanted)[order]
            order = np.concatenate([order[inside], order[~inside]])
        chosen = order[open_ones[order]][: self.block]
        if len(chosen):
            residuals = self._residuals(taus[chosen], ritz.weights[:, chosen])
        if self._size + self.block > self.capacity and self._fits:
            self._restart(ritz)
        if not len(chosen):  # all have converged, but the target is not reached
            residuals = self._random(self.block)
        self._next = self._solved(residuals)

    def _restart(self, ritz: RitzStates) -> None:
        """Keep the Ritz states alone as the basis."""
        q, kept = self._size, ritz.weights.shape[1]

        def some(rows: slice) -> None:
            for array in (self._V, self._KV, self._SV):
                array[rows, :kept] = array[rows, :q] @ ritz.weights

        self._tall.by_rows(some)
        self._gram.rotate(ritz.weights)
        self._size = kept


class _Grams:
    """The products of the basis with itself: all that small problems need."""

    def __init__(self, capacity: int, kind: np.dtype[Any], tall: Tall) -> None:
        self._inner = tall.inner
        shape = (capacity, capacity)
        self.kk, self.ks, self.vk = (np.zeros(shape, kind) for _ in range(3))

    def extend(self, V: Block, KV: Block, SV: Block, new: slice) -> None:
        """Take in new columns: (KV)†KV, (KV)†SV and V†KV."""
        upto = slice(0, new.stop)
        self.kk[upto, new] = self._inner(KV[:, upto], KV[:, new])
        self.kk[new, upto] = self.kk[upto, new].conj().T
        self.ks[upto, new] = self._inner(KV[:, upto], SV[:, new])
        self.ks[new, upto] = self._inner(SV[:, upto], KV[:, new]).conj().T
        self.vk[upto, new] = self._inner(V[:, upto], KV[:, new])
        self.vk[new, upto] = self.vk[upto, new].conj().T

    def rotate(self, Y: Block) -> None:
        """Follow the basis to V Y."""
        q, kept = Y.shape
        for matrix in (self.kk, self.ks, self.vk):
            matrix[:kept, :kept] = Y.conj().T @ matrix[:q, :q] @ Y

    def nearest(self, q: int, kept: int) -> Block:
        """Return an orthonormal basis of the harmonic Ritz vectors of smallest |τ|, (q, kept)."""
        import scipy.linalg

        A, B = _hermitian(self.kk[:q, :q]), self.ks[:q, :q]
        squared = A.diagonal().real
        # A vector that K takes to nothing is a state on the shift: it comes first too.
        scale = 1 / np.sqrt(np.maximum(squared, _ROUNDING**2 * squared.max()))
        squares, U = np.linalg.eigh(scale[:, None] * A * scale)
        # What is lost in rounding lies on the shift: it comes first, as it should.
        U *= 1 / np.sqrt(np.maximum(squares, _ROUNDING * squares[-1]))
        U *= scale[:, None]
        inverse, Z = np.linalg.eig(U.conj().T @ B @ U)  # 1/τ
        Z = U @ Z
        Z /= np.linalg.norm(Z, axis=0)
        Z = Z[:, np.argsort(-np.abs(inverse))[:kept]]
        if np.isrealobj(B):  # pairs of conjugates span what their parts span
            Z = np.hstack([Z.real, Z.imag])
        return np.asarray(scipy.linalg.svd(Z, full_matrices=False, check_finite=False)[0])[:, :kept]


def _hermitian(matrix: Block) -> Block:
    return 0.5 * (matrix + matrix.conj().T)


def _lengths(W: Block) -> NDArray[np.float64]:
    lengths = np.linalg.norm(W, axis=0)
    if not np.isfinite(lengths).all():
        raise SolverError("a solution of the factored matrix is not finite: a pivot is singular.")
    return np.where(lengths > 0, lengths, 1.0)


def _indefinite() -> SolverError:
    return SolverError(
        "S is not positive definite: a vector x with x†Sx ≤ 0 was met. Either the basis is "
        "overcomplete, or H and S belong to different structures, or a predicted overlap is "
        "inaccurate. To leave out the nearly dependent combinations of orbitals, pass "
        "s_threshold=1e-5 and solver='dense'."
    )
