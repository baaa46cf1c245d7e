"""How fast this machine multiplies matrices: what predicted times are made of, and their words."""

from __future__ import annotations

import time
from functools import cache

import numpy as np

__all__ = ["duration", "multiplications_per_second"]

_ROWS = 384  # 0.1 G multiplications: some milliseconds, and larger than the caches of a core
_FEWEST = 96  # products of fewer rows are over before a clock has moved


def multiplications_per_second(kind: str, rows: int = _ROWS) -> float:
    """Return the multiplications with addition that one thread does in a second.

    They are of numbers of a type (``float32`` … ``complex128``), measured once with a matrix
    product that takes some milliseconds, by the time of the CPU: other programs do not count.
    For matrices of fewer `rows` it is measured with such, which costs a small problem less.
    """
    return _measured(kind, min(max(rows, _FEWEST), _ROWS))


@cache
def _measured(kind: str, rows: int) -> float:
    from threadpoolctl import threadpool_limits

    a = np.linspace(-1.0, 1.0, rows * rows).reshape(rows, rows).astype(kind)
    best = np.inf
    with threadpool_limits(limits=1, user_api="blas"):
        for _ in range(3):
            begin = time.thread_time()
            a @ a
            best = min(best, time.thread_time() - begin)
    return rows**3 / max(float(best), 1e-6)


def duration(seconds: float) -> str:
    """Return a time as text: ``0.3 s``, ``40 s``, ``4 min``, ``2.5 h``."""
    if seconds < 9.5:
        return f"{max(seconds, 0.1):.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
