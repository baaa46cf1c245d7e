"""Validation of the arrays that the data model holds: shape, type, finite, read-only."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.errors import LayoutError

__all__ = ["FloatArray", "IntArray", "NumberArray", "frozen", "is_wanted_shape"]

FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.integer[Any]]
NumberArray: TypeAlias = NDArray[np.floating[Any] | np.complexfloating[Any, Any]]


def is_wanted_shape(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Say whether `shape` is `wanted`, where None stands for any length."""
    return len(shape) == len(wanted) and all(
        want is None or have == want for have, want in zip(shape, wanted, strict=True)
    )


def frozen(
    name: str, values: ArrayLike, dtype: Any, shape: tuple[int | None, ...], *, finite: bool = True
) -> NDArray[Any]:
    """Return `values` as a read-only array of `dtype`, checked against `shape` (None: any length).

    The array is not copied when it has the type already, so that a matrix of a gigabyte stays
    one; the view that is kept is read-only.

    Raises
    ------
    LayoutError
        Naming the argument, the shape found and the one expected, or the number of values that
        are not finite.
    """
    array = np.ascontiguousarray(values, dtype=dtype)
    if array.ndim == 0 or not is_wanted_shape(array.shape, shape):
        want = "(" + ", ".join("n" if length is None else str(length) for length in shape) + ")"
        raise LayoutError(f"{name}: expected shape {want}, found {np.shape(values)}.")
    if finite and array.dtype.kind in "fc" and not np.isfinite(array.sum()):
        bad = int(array.size - np.count_nonzero(np.isfinite(array)))
        if bad:
            raise LayoutError(f"{name}: {bad} of {array.size} values are NaN or infinite.")
    view = array.view()
    view.flags.writeable = False
    return view
