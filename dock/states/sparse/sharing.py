"""Work on one front that several threads do in parts.

BLAS runs with one thread: with several, a small call waits longer for its threads than it works,
and on a busy machine each call waits for the slowest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Protocol

import numpy as np

__all__ = ["Share", "alone", "among"]

Work = Callable[[int, int], None]

_LEAST = 100  # rows or columns from which a part is worth a thread
_PARTS = 4  # for each thread, of pieces of different size: the last one to end waits less


class Share(Protocol):
    """Does a work (begin, end) on 0 … n, as a whole or in parts side by side.

    `size` is n, or the cost of each of n pieces.
    """

    def __call__(self, work: Work, size: int | Sequence[int], /) -> None:
        """Return when all is done."""


def alone(work: Work, size: int | Sequence[int], /) -> None:
    """Do a work as a whole."""
    work(0, size if isinstance(size, int) else len(size))


def among(pool: ThreadPoolExecutor, threads: int) -> Share:
    """Return how `threads` of a pool share a work."""

    def share(work: Work, size: int | Sequence[int], /) -> None:
        if isinstance(size, int):
            parts = max(1, min(threads, size // _LEAST))
            ends = [size * number // parts for number in range(parts + 1)]
        else:
            reached = np.cumsum([0, *size])
            wanted = np.linspace(0, reached[-1], _PARTS * threads + 1)
            ends = sorted({int(at) for at in np.searchsorted(reached, wanted)})
        if len(ends) == 2:
            work(*ends)
            return
        for _ in pool.map(lambda part: work(*part), pairwise(ends)):
            pass

    return share
