"""Validation of the arrays that the data model holds: shape, type, finite, read-only."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.errors import LayoutError

__all__ = [
    "Float64Array",
    "FloatArray",
    "Int64Array",
    "IntArray",
    "NumberArray",
    "atom_list",
    "frozen",
    "is_wanted_shape",
    "read_only",
]

FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.integer[Any]]
Float64Array: TypeAlias = NDArray[np.float64]
Int64Array: TypeAlias = NDArray[np.int64]
NumberArray: TypeAlias = NDArray[np.floating[Any] | np.complexfloating[Any, Any]]


def is_wanted_shape(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Say whether `shape` is `wanted`, where None stands for any length."""
    return len(shape) == len(wanted) and all(
        want is None or have == want for have, want in zip(shape, wanted, strict=True)
    )


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return `array` itself, closed to writing: for what a frozen object computes and keeps."""
    array.flags.writeable = False
    return array


def frozen(
    name: str, values: ArrayLike, dtype: Any, shape: tuple[int | None, ...], *, finite: bool = True
) -> NDArray[Any]:
    """Return `values` as a read-only array of `dtype`, checked against `shape` (None: any length).

    An array that can be written to is copied, so that nobody changes a frozen object from
    outside; one that is read-only and has the type already is taken as it is. `LayoutError` names
    the argument and the shape found and expected, the number of values that are not finite, or
    values that the type cannot hold (1.5 or 2⁴⁰ as int32).
    """
    wanted = np.dtype(dtype)
    try:
        given = np.asarray(values)
    except ValueError as error:
        raise LayoutError(f"{name}: expected rows of one length ({error}).") from None
    if given.dtype.kind not in ("biufc" if wanted.kind == "c" else "biuf"):
        raise LayoutError(f"{name}: expected {wanted.name} numbers, found {given.dtype.name}.")
    with np.errstate(invalid="ignore", over="ignore"):
        array = given.astype(wanted, order="C", copy=given.flags.writeable)
    if wanted.kind in "iu" and not np.array_equal(array, given):
        raise LayoutError(f"{name}: some values are no whole numbers that {wanted.name} can hold.")
    if array.ndim == 0 or not is_wanted_shape(array.shape, shape):
        want = "(" + ", ".join("n" if length is None else str(length) for length in shape) + ")"
        raise LayoutError(f"{name}: expected shape {want}, found {array.shape}.")
    if finite and wanted.kind in "fc":
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        if bad:
            raise LayoutError(f"{name}: {bad} of {array.size} values are NaN or infinite.")
    return read_only(array)


def atom_list(atoms: ArrayLike, n_atoms: int) -> NDArray[np.int64]:
    """Return atom numbers as an array; `LayoutError` for masks, fractions and atoms outside."""
    given = np.asarray(atoms)
    chosen: NDArray[np.int64] = given.ravel().astype(np.int64)
    whole = given.dtype.kind in "iuf" and np.array_equal(chosen, given.ravel())
    if not whole or len(chosen) == 0 or chosen.min() < 0 or chosen.max() >= n_atoms:
        raise LayoutError(
            f"atoms must be numbers from 0 to {n_atoms - 1}, found {given.ravel().tolist()[:10]}."
        )
    return chosen
