"""Matrices with many rows and few columns: products and orthonormal columns, by several threads.

Rows are taken in chunks of one size, and what chunks contribute is added in their order: so the
result does not depend on the number of threads. BLAS has one thread in each of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tall"]

Block = NDArray[Any]
T = TypeVar("T")

_ROWS = 4096
"""Rows of a chunk: a few MB of a basis, which stay in the cache of a core."""


class Tall:
    """Works on matrices of so many rows.

    Parameters
    ----------
    n_rows
        Of all matrices.
    threads
        Among which the chunks are dealt.
    """

    def __init__(self, n_rows: int, threads: int) -> None:
        self._chunks = [slice(at, min(at + _ROWS, n_rows)) for at in range(0, n_rows, _ROWS)]
        self._threads = max(1, min(threads, len(self._chunks)))

    def by_rows(self, work: Callable[[slice], T]) -> list[T]:
        """Do a work on all chunks of rows and return its results in their order."""
        if self._threads == 1:
            return [work(rows) for rows in self._chunks]
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(work, self._chunks))

    def inner(self, A: Block, B: Block) -> Block:
        """Return A† B."""

        def some(rows: slice) -> Block:
            return B[rows].conj().T @ A[rows]  # turned round: B, the narrower one, is copied

        total, *others = self.by_rows(some)
        for part in others:
            total += part
        return np.asarray(total.conj().T)

    def subtract(self, W: Block, V: Block, factors: Block) -> None:
        """Take V times a small matrix from W, in place."""

        def some(rows: slice) -> None:
            W[rows] -= V[rows] @ factors

        self.by_rows(some)

    def orthonormal(self, W: Block, lost: float) -> Block:
        """Return orthonormal columns that span those of W, without what is smaller than `lost`.

        A QR factorisation of each chunk, then one with pivoting of all R together (Demmel et al.,
        SIAM J. Sci. Comput. 34, A206 (2012)): as stable as one of the whole.
        """
        import scipy.linalg

        if not W.shape[1]:
            return W

        def factored(rows: slice) -> tuple[Block, Block]:
            Q, R = np.linalg.qr(W[rows])
            return Q, R

        parts = dict(
            zip((rows.start for rows in self._chunks), self.by_rows(factored), strict=True)
        )
        heights = np.cumsum([len(R) for _, R in parts.values()])[:-1]
        Q, R, _ = scipy.linalg.qr(
            np.vstack([R for _, R in parts.values()]),
            mode="economic",
            pivoting=True,
            check_finite=False,
        )
        kept = np.abs(R.diagonal()) > lost
        turns = dict(zip(parts, np.split(Q[:, kept], heights), strict=True))
        found = np.empty((len(W), int(np.count_nonzero(kept))), dtype=W.dtype, order="F")

        def turned(rows: slice) -> None:
            found[rows] = parts[rows.start][0] @ turns[rows.start]

        self.by_rows(turned)
        return found
