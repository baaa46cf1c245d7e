"""H(k) X and S(k) X of a block of vectors, both in one pass over the stored triangles."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from copy import copy
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import scipy.sparse

__all__ = ["Products"]

Block = NDArray[Any]

_ABOVE = 10.0  # times the largest entry of H, where orbitals that are left out have their states
_LEAST = 200_000  # entries from which a second thread is worth its own arrays


class Products:
    """H and S of one k-point, as upper triangles on one pattern with the diagonal first.

    `apply` is called by one thread at a time and divides its rows among `threads`.
    """

    def __init__(
        self, H: scipy.sparse.csr_array, S: scipy.sparse.csr_array, *, threads: int = 1
    ) -> None:
        kind = np.result_type(H.dtype, S.dtype, np.float64)
        self.starts, self.columns = H.indptr, H.indices
        self.H: NDArray[Any] = H.data.astype(kind, copy=False)
        self.S: NDArray[Any] = S.data.astype(kind, copy=False)
        self.dtype: np.dtype[Any] = kind
        self.size = int(H.shape[0])
        threads = threads if len(self.columns) >= _LEAST else 1
        shares = np.linspace(0, self.starts[-1], threads + 1)
        self.threads = threads
        self._parts = [int(row) for row in np.searchsorted(self.starts, shares)]

    def without(self, orbitals: NDArray[np.int64]) -> Products:
        """Return the products without some orbitals: states of their own, far above."""
        if not len(orbitals):
            return self
        gone = np.zeros(self.size, dtype=bool)
        gone[orbitals] = True
        rows = np.repeat(gone, np.diff(self.starts))
        zeroed = copy(self)
        kept = ~(rows | gone[self.columns])
        zeroed.H, zeroed.S = self.H * kept, self.S * kept
        diagonal = self.starts[:-1][gone]
        zeroed.S[diagonal] = 1.0
        zeroed.H[diagonal] = _ABOVE * float(np.abs(self.H).max())
        return zeroed

    def of_overlap(self) -> Products:
        """Return the products with S in the place of H and 1 in that of S."""
        other = copy(self)
        other.H, other.S = self.S, np.zeros_like(self.S)
        other.S[self.starts[:-1]] = 1.0
        return other

    @property
    def is_complex(self) -> bool:
        """Whether the matrices are complex."""
        return bool(self.dtype.kind == "c")

    def shifted(self, energy: float, kind: np.dtype[Any]) -> NDArray[Any]:
        """Return the entries of H − E S in a type, for a factorisation."""
        return (self.H - energy * self.S).astype(kind, copy=False)

    def apply(self, X: Block) -> tuple[Block, Block]:
        """Return H X and S X of a block (n, m)."""
        x = self._planes(X)
        with ThreadPoolExecutor(len(self._parts) - 1) as pool:
            parts = list(
                pool.map(lambda rows: self._rows(rows[0], rows[1], x), pairwise(self._parts))
            )
        hx, sx = parts[0]
        for other_h, other_s in parts[1:]:
            hx += other_h
            sx += other_s
        return self._block(hx), self._block(sx)

    def _rows(self, begin: int, end: int, x: Block) -> tuple[Block, Block]:
        """Return what some rows of the triangles add to both products."""
        from dock.states.sparse._product_kernels import add_complex, add_real

        hx, sx = np.zeros_like(x), np.zeros_like(x)
        add = add_complex if self.is_complex else add_real
        add(self.starts, self.columns, self.H, self.S, x, hx, sx, begin, end)
        return hx, sx

    def _planes(self, X: Block) -> Block:
        """Return a block as the kernels take it: rows together, real and imaginary parts apart."""
        if not self.is_complex:
            return np.ascontiguousarray(X)
        x = np.empty((self.size, 2, X.shape[1]))
        x[:, 0], x[:, 1] = X.real, X.imag
        return x

    def _block(self, x: Block) -> Block:
        """Return a block in Fortran order, as LAPACK takes it."""
        if not self.is_complex:
            return np.asfortranarray(x)
        X = np.empty((self.size, x.shape[2]), dtype=self.dtype, order="F")
        X.real, X.imag = x[:, 0], x[:, 1]
        return X
