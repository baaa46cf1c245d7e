"""What is left out of a basis that is nearly linearly dependent; see `Want.removal`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.errors import SolverError, UsageError

__all__ = ["carriers", "dependent_orbitals", "nothing_left", "own_overlap", "require_threshold"]

_EQUAL = 1e-6  # relative difference of shares that symmetry makes equal


def dependent_orbitals(S: NDArray[Any], threshold: float) -> NDArray[np.int64]:
    """Return the orbitals without which the smallest eigenvalue of S exceeds a threshold.

    As many as S has eigenvalues below it, those that carry their eigenvectors; again, until none
    is left.

    Examples
    --------
    >>> dependent_orbitals(np.array([[1, 0.99, 0], [0.99, 1, 0.1], [0, 0.1, 1]]), 0.05).tolist()
    [1]
    """
    gone = np.zeros(len(S), dtype=bool)
    while not gone.all():
        here = np.flatnonzero(~gone)
        overlaps, vectors = np.linalg.eigh(S[np.ix_(here, here)])
        n_small = int(np.searchsorted(overlaps, threshold, side="right"))
        if n_small == 0:
            return np.flatnonzero(gone)
        gone[here[carriers(vectors[:, :n_small])]] = True
    raise nothing_left(threshold, float(np.linalg.eigvalsh(S)[-1]))


def carriers(vectors: NDArray[Any]) -> NDArray[np.int64]:
    """Return the rows that carry some orthonormal vectors (n, m) best, one for each.

    Each has the largest share in what the rows before it do not span; the first one of equal
    rows is taken, so that neither rounding nor the choice among degenerate vectors decides.
    """
    rows, chosen = vectors.copy(), []
    for _ in range(vectors.shape[1]):
        shares = np.square(np.abs(rows)).sum(axis=1)
        at = int(np.flatnonzero(shares >= (1 - _EQUAL) * shares.max())[0])
        direction = rows[at] / np.sqrt(shares[at])
        rows -= np.outer(rows @ direction.conj(), direction)
        chosen.append(at)
    return np.sort(np.array(chosen, dtype=np.int64))


def own_overlap(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Return x† S x / x† x of states with x† S x = 1, the columns.

    It is as small as an eigenvalue of S for a state made of nearly dependent orbitals.
    """
    norms: NDArray[np.float64] = np.square(np.abs(vectors)).sum(axis=0)
    return 1.0 / norms


def require_threshold(threshold: float | None) -> float:
    """Return a threshold, or a `UsageError` where it is none."""
    value = 0.0 if threshold is None else threshold
    if not 0 < value < np.inf:
        raise UsageError(f"The overlap threshold must be a positive number. Found {value}.")
    return value


def nothing_left(threshold: float, largest: float) -> SolverError:
    """Return the error of a threshold above all eigenvalues of S."""
    return SolverError(
        f"No eigenvalue of S exceeds the threshold {threshold:g}: the largest is "
        f"{largest:.3g}. Pass a smaller s_threshold=X."
    )
