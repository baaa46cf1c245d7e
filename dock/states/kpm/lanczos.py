"""Bounds of spectra by Lanczos steps in the product of a positive operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.states.kpm.pencil import Pencil

__all__ = ["Extremes", "extremes", "random_numbers"]

Block = NDArray[Any]

_STEPS = 48
_MARGIN = 0.01  # of the width, beyond what the residuals say


class Extremes(NamedTuple):
    """Bounds of a spectrum, with margins; and the outermost values that were found."""

    low: float
    high: float
    lowest: float
    highest: float


def random_numbers(pencil: Pencil, seed: tuple[int, ...], m: int) -> Block:
    """Return (n, m) random phases: ±1, or complex numbers of modulus 1."""
    rng = np.random.default_rng(seed)
    if not pencil.is_complex:
        signs = rng.integers(0, 2, size=(pencil.size, m), dtype=np.int8)
        real: Block = (2 * signs - 1).astype(pencil.kind)
        return real
    phases: Block = np.exp(2j * np.pi * rng.random((pencil.size, m))).astype(pencil.kind)
    return phases


def extremes(
    operator: Callable[[Block], Block],
    pencil: Pencil,
    *,
    inverse: Callable[[Block], Block] | None = None,
    steps: int | None = None,
    seed: int = 0,
) -> Extremes:
    """Return bounds of the spectrum of M A, self-adjoint in the product of M⁻¹.

    Parameters
    ----------
    operator, inverse
        A and M of blocks of vectors; M is 1 by default.
    steps
        Default 48.

    Notes
    -----
    Ritz values approach the ends from inside; the bounds lie beyond them by the residuals and a
    hundredth of the width. A state that is missed all the same is seen when the series grows.
    """
    w = random_numbers(pencil, (seed, 77), 1)
    v = w if inverse is None else inverse(w)
    norm = _root(w, v)
    w, v = w / norm, v / norm
    before, beta = np.zeros_like(w), 0.0
    alphas: list[float] = []
    betas: list[float] = []
    for _ in range(min(steps or _STEPS, pencil.size)):
        u = operator(v)
        alpha = float(np.vdot(v, u).real)
        u = u - w.dtype.type(alpha) * w - w.dtype.type(beta) * before
        alphas.append(alpha)
        moved = u if inverse is None else inverse(u)
        beta = _root(u, moved)
        betas.append(beta)
        if beta < 1e-6 * max(map(abs, alphas)):
            break
        before = w
        w, v = u / w.dtype.type(beta), moved / w.dtype.type(beta)
    return _ritz(alphas, betas)


def _ritz(alphas: list[float], betas: list[float]) -> Extremes:
    import scipy.linalg

    values, vectors = scipy.linalg.eigh_tridiagonal(alphas, betas[:-1])
    residuals = betas[-1] * np.abs(vectors[-1])
    lowest, highest = float(values[0]), float(values[-1])
    margin = _MARGIN * (highest - lowest)
    low = lowest - float(residuals[0]) - margin
    if lowest > 0:  # of a positive operator, whose smallest values are far below the width
        low = max(low, lowest * 0.8 - float(residuals[0]))
    return Extremes(low, highest + float(residuals[-1]) + margin, lowest, highest)


def _root(w: Block, v: Block) -> float:
    product = float(np.vdot(w, v).real)
    return float(np.sqrt(max(product, 0.0)))
