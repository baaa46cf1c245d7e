"""What is reported of a vector operator for the states of one level.

Within a level the states are any orthonormal ones, and so the diagonal of an operator between them
is anybody's choice. What does not depend on it: the mean over the level; the eigenvalues of each
component within the level; and the states in which the component along a given axis is diagonal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dock.errors import UsageError
from dock.response.kdata import level_ranges

__all__ = ["Within", "level_sizes", "resolved", "valid_within"]

Within: TypeAlias = Literal["mean", "each"] | tuple[float, float, float]
"""``mean``, ``each`` (of the components' eigenvalues), or an axis."""

_SAME = 1e-6  # of the largest element: eigenvalues along an axis that count as one


def valid_within(within: str | Sequence[float]) -> Within:
    """Return what is done within a level; an axis as a unit vector. Else `UsageError`."""
    if isinstance(within, str):
        if within not in ("mean", "each"):
            raise UsageError(
                f"within a level: 'mean', 'each' or an axis of three numbers; found '{within}'."
            )
        return within  # type: ignore[return-value]
    axis = np.asarray(within, dtype=np.float64)
    length = float(np.linalg.norm(axis)) if axis.shape == (3,) else 0.0
    if not 0 < length < np.inf:
        raise UsageError(f"an axis is three numbers that are not all zero, found {list(within)}.")
    x, y, z = (axis / length).tolist()
    return x, y, z


def level_sizes(levels: Sequence[slice]) -> NDArray[np.int64]:
    """Return for each state how many its level has.

    Examples
    --------
    >>> level_sizes([slice(0, 1), slice(1, 3)]).tolist()
    [1, 2, 2]
    """
    counts = [level.stop - level.start for level in levels]
    return np.repeat(counts, counts).astype(np.int64)


def resolved(
    diagonal: NDArray[np.float64],
    levels: Sequence[slice],
    matrices: Callable[[slice], NDArray[np.complex128]],
    within: Within,
) -> NDArray[np.float64]:
    """Return three components for each state.

    Parameters
    ----------
    diagonal : (3, n)
        The diagonal of the operator: right as it is for states that are alone in their level.
    levels
        Ranges of states of one energy.
    matrices
        The Hermitian matrices (3, d, d) of the operator within a level.
    within
        ``mean``: the mean over the level, for each of its states. ``each``: the eigenvalues of each
        component, ascending; the three of a state are then no vector unless the components
        commute. An axis: the diagonal in the states in which the component along it is diagonal
        and ascending, and the mean over those where that is the same too.

    Returns
    -------
    (n, 3)
    """
    out = np.ascontiguousarray(diagonal.T)
    for level in levels:
        if level.stop - level.start == 1:
            continue
        within_level = matrices(level)
        if within == "mean":
            out[level] = np.trace(within_level, axis1=1, axis2=2).real / len(within_level[0])
        elif within == "each":
            out[level] = np.linalg.eigvalsh(within_level).T
        else:
            out[level] = _along(within_level, np.array(within))
    return out


def _along(matrices: NDArray[np.complex128], axis: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(np.tensordot(axis, matrices, axes=1))
    turned = vectors.conj().T @ matrices @ vectors
    out: NDArray[np.float64] = np.diagonal(turned, axis1=1, axis2=2).real.T.copy()
    for same in level_ranges(values, _SAME * max(1e-12, float(np.abs(matrices).max()))):
        out[same] = out[same].mean(axis=0)
    return out
