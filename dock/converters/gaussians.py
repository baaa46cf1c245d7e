"""Contracted spherical Gaussians as radial functions: the home of every code that uses them."""

from __future__ import annotations

from math import gamma
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.basis import Radial
from dock.errors import LayoutError

__all__ = ["contracted_radial"]

_TAIL = 1e-9  # Å^(−3/2): where the function has fallen to this for good, its table ends
_POINTS = 2001
_CORE = 24  # points within the width of the tightest Gaussian


def contracted_radial(
    l: int, exponents: ArrayLike, coefficients: ArrayLike, bohr_angstrom: float
) -> Radial:
    """Return Σ c_i N_i r^l exp(−α_i r²), normalised as a whole, as a table.

    N_i normalises each Gaussian by itself, as files of basis sets have it.

    Parameters
    ----------
    exponents, coefficients
        α_i in 1/Bohr², positive, and c_i; one or more of each, as many of both.
    bohr_angstrom
        The Bohr radius of the code that they belong to, Å.

    Raises
    ------
    LayoutError
        When there are none, an exponent is not positive, or the function is zero.

    Examples
    --------
    >>> from dock.core.basis import Shell
    >>> from dock.overlap.radial import shell_norm
    >>> radial = contracted_radial(1, [30.0, 0.2], [0.1, 0.8], 0.529177)
    >>> print(f"{shell_norm(Shell(1, radial=radial)):.9f}")
    1.000000000
    """
    alpha = np.asarray(exponents, dtype=np.float64).ravel() / bohr_angstrom**2
    weight = np.asarray(coefficients, dtype=np.float64).ravel()
    if not len(alpha) or len(alpha) != len(weight) or not bool(np.all(alpha > 0)):
        raise LayoutError(
            f"a contracted Gaussian has positive exponents, and a coefficient for each; found "
            f"{alpha.tolist()} /Å² and {weight.tolist()}."
        )
    weight = weight * np.sqrt(2 * (2 * alpha) ** (l + 1.5) / gamma(l + 1.5))
    overlaps = gamma(l + 1.5) / (2 * (alpha[:, None] + alpha) ** (l + 1.5))
    norm = float(weight @ overlaps @ weight)
    if not norm > 0 or not np.isfinite(norm):
        raise LayoutError(f"a contracted Gaussian of l = {l} is zero throughout.")
    weight = weight / np.sqrt(norm)
    r = _mesh(l, alpha)
    return Radial(*_cut(r, _values(l, alpha, weight, r)))


def _values(
    l: int, alpha: NDArray[Any], weight: NDArray[Any], r: NDArray[np.float64]
) -> NDArray[np.float64]:
    values: NDArray[np.float64] = np.exp(-np.multiply.outer(r * r, alpha)) @ weight
    return r**l * values


def _mesh(l: int, alpha: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return radii that are fine where the tightest Gaussian changes, and wider outwards."""
    end = float(np.sqrt((39 + 3 * l) / alpha.min()))
    first = min(end / _POINTS, float(1 / np.sqrt(2 * alpha.max())) / _CORE)
    # r = a sinh(t): equidistant with the step `first` near the nucleus, geometric further out
    scale = _scale(end / first)
    steps = np.arange(_POINTS) / (_POINTS - 1)
    return end * np.sinh(scale * steps) / np.sinh(scale) if scale > 0 else end * steps


def _scale(ratio: float) -> float:
    """Return s of r = sinh(s t)/sinh(s) whose first step is 1/ratio of the end."""
    low, high = 0.0, 50.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        if np.sinh(middle) * (_POINTS - 1) > ratio * middle:
            high = middle
        else:
            low = middle
    return low if low > 1e-6 else 0.0


def _cut(
    r: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Leave out the end of the table where the function is next to nothing."""
    last = int(np.flatnonzero(np.abs(values) > _TAIL)[-1])
    stop = min(max(last + 2, 8), len(r))
    return r[:stop], values[:stop]
