"""The error measures of the DeepH-pack paper (arXiv:2601.02938), equations (11) to (16).

Each function takes plain arrays or matrices and returns a number in eV (or without unit), so that
a metric can be used alone. `dock.evaluate.structure` puts them together. Those of two matrices,
equations (11) and (15), are in `dock.core.gauge`; those of levels, (12) and (16), in
`dock.states.deviation`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.gauge import hamiltonian_difference, hamiltonian_shift, require_comparable
from dock.errors import UsageError
from dock.states.broadening import add_gaussians
from dock.states.deviation import Window, band_error, band_shift, level_mask

__all__ = [
    "DEGENERATE",
    "Window",
    "adaptive_window",
    "band_error",
    "band_shift",
    "degenerate_groups",
    "dos_error",
    "hamiltonian_difference",
    "hamiltonian_shift",
    "level_mask",
    "nearest_states",
    "require_comparable",
    "state_error",
]

DEGENERATE = 0.005
"""Spacing in eV below which neighbouring levels form one subspace (ε_th of the paper)."""

FIRST_HALF_WIDTH = 3.0
MIN_BANDS = 10
WIDENING = 0.1
_TOO_WIDE = 1e4  # eV: no spectrum of valence electrons reaches so far

Values = NDArray[np.float64]


def adaptive_window(
    energies: ArrayLike,
    fermi_level: float,
    *,
    half_width: float = FIRST_HALF_WIDTH,
    min_bands: int = MIN_BANDS,
) -> Window:
    """Return the window about the Fermi level in which errors are counted.

    It reaches `half_width` to both sides and is widened by steps of 0.1 eV on both until at least
    `min_bands` bands have a level in it (fewer where there are not so many).

    Parameters
    ----------
    energies
        (..., n_k, n_bands) levels of the benchmark; spin channels come first. They and the Fermi
        level are absolute, all in eV.

    Raises
    ------
    UsageError
        For a width that is not positive.

    Examples
    --------
    >>> adaptive_window([[-2.0, 1.0, 3.05, 9.0]], 0.0, min_bands=3)
    Window(low=-3.1, high=3.1, n_bands=3)
    """
    levels = np.asarray(energies, dtype=np.float64)
    if not 0 < half_width < np.inf:
        raise UsageError(f"the energy window needs a positive width, found {2 * half_width} eV.")
    nearest = np.abs(levels - fermi_level).min(axis=-2).ravel()
    wanted = max(1, min(min_bands, len(nearest)))
    for number in range(int(_TOO_WIDE / WIDENING)):
        half = half_width + WIDENING * number
        inside = int(np.count_nonzero(nearest < half))
        if inside >= wanted:
            return Window(fermi_level - half, fermi_level + half, inside)
    raise UsageError(
        f"fewer than {wanted} bands lie within {_TOO_WIDE:g} eV of the Fermi level "
        f"{fermi_level:g} eV: it does not belong to these energies. Pass fermi=E."
    )


def nearest_states(energies: Values, n_filled: int, occupied: int, empty: int) -> NDArray[np.bool_]:
    """Return the mask of the highest `occupied` and lowest `empty` states of every k-point.

    Parameters
    ----------
    energies
        (n_spin, n_k, n_bands), ascending; spin channels are filled alike, each from below.
    n_filled
        Filled states per channel.
    occupied, empty
        How many of each; 4 and 7 for the paper's water.

    Raises
    ------
    UsageError
        When there are not so many.
    """
    n_bands = energies.shape[-1]
    if occupied < 0 or empty < 0 or occupied + empty == 0:
        raise UsageError(f"the numbers of states must be positive, found {occupied} and {empty}.")
    if occupied > n_filled or empty > n_bands - n_filled:
        raise UsageError(
            f"{occupied} occupied and {empty} empty states are asked for, but there are {n_filled} "
            f"and {n_bands - n_filled}. Pass smaller states=…."
        )
    mask = np.zeros(energies.shape, dtype=bool)
    mask[..., n_filled - occupied : n_filled + empty] = True
    return mask


def dos_error(
    predicted: Values, benchmark: Values, window: Window, *, shift: float, sigma: float = 0.05
) -> float:
    """Return ∫|D_pred(ε + Δμ) − D_bm(ε)| dε / ∫ D_bm(ε) dε over the window, equation (13).

    Parameters
    ----------
    predicted, benchmark
        All levels in eV at the points of a whole mesh.
    shift
        Δμ_band in eV.
    sigma
        Standard deviation in eV of the Gaussian of each level. The integrals are trapezoid sums
        on at least 10 points for each σ.

    Raises
    ------
    UsageError
        For a width that is not positive.
    """
    if not 0 < sigma < np.inf:
        raise UsageError(f"the broadening must be positive (eV), found {sigma}.")
    n_steps = math.ceil((window.high - window.low) / (sigma / 10))
    step = (window.high - window.low) / n_steps
    densities = []
    for levels in (predicted - shift, benchmark):
        density = np.zeros(n_steps + 1)
        centres = np.ascontiguousarray(levels, dtype=np.float64).ravel()
        add_gaussians(centres, np.ones(len(centres)), sigma, window.low, step, density)
        densities.append(density)
    total = np.trapezoid(densities[1])
    return float(np.trapezoid(np.abs(densities[0] - densities[1])) / total)


def degenerate_groups(levels: ArrayLike, threshold: float = DEGENERATE) -> NDArray[np.int64]:
    """Return the number of the degenerate subspace that each ascending level belongs to.

    Neighbours closer than `threshold` (eV) belong together.

    Examples
    --------
    >>> degenerate_groups([0.0, 1.0, 1.004, 1.008, 2.0]).tolist()
    [0, 1, 1, 1, 2]
    """
    energies = np.asarray(levels, dtype=np.float64)
    groups: NDArray[np.int64] = np.cumsum(np.diff(energies, prepend=energies[:1]) >= threshold)
    return groups


def state_error(
    predicted: NDArray[np.complexfloating | np.floating],
    benchmark: NDArray[np.complexfloating | np.floating],
    overlap: NDArray[np.complexfloating | np.floating],
    groups: NDArray[np.int64],
) -> Values:
    """Return 1 − Σ_g |⟨ψ_g^bm|ψ_n^pred⟩|² of each state, the summand of equation (14).

    Parameters
    ----------
    predicted, benchmark
        (N, n) vectors as columns, orthonormal with the overlap.
    overlap
        (N, N) matrix S(k).
    groups
        (n,) the subspace of each benchmark level; the sum goes over that of level n.
    """
    inner = benchmark.conj().T @ (overlap @ predicted)
    same = groups[:, None] == groups[None, :]
    share: Values = np.sum(np.abs(inner) ** 2 * same, axis=0)
    return 1 - share
