"""How the loops of this package are compiled, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numpy.typing import NDArray

__all__ = ["inner", "kernel", "largest"]

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

# Products may be fused with sums, which costs no accuracy; nothing else is reordered. A division
# by zero gives inf or nan, which nothing reads: one that may raise an error makes no vector
# instruction.
_OPTIONS: dict[str, Any] = {
    "nogil": True, "cache": True, "fastmath": {"contract"}, "error_model": "numpy",
}  # fmt: skip

kernel: Callable[[Kernel], Kernel] = numba.njit(**_OPTIONS)
"""Compile a loop that Python calls."""

# What turns Python's objects into a plan's thirty arrays takes longer to compile than a loop.
inner: Callable[[Kernel], Kernel] = numba.njit(
    **_OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True
)
"""Compile a loop that only other compiled loops call."""


@inner
def largest(values: NDArray[Any], least: int) -> int:
    """Return the largest of some integers, at least `least`; numpy's max compiles for a second."""
    top = least
    for value in values:
        top = max(top, value)
    return top
