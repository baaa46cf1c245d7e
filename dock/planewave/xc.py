"""Exchange–correlation potentials on a grid, with the cut-offs that pw.x applies.

The functionals themselves are libxc's, by way of PySCF.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.errors import UsageError
from dock.extras import require

__all__ = ["FUNCTIONALS", "Functional", "functional_of", "xc_potential"]

FloatGrid = NDArray[np.float64]

_DENSITY = 1e-10  # electrons/Bohr³ below which pw.x has no exchange and correlation
_GGA_DENSITY = 1e-6  # … and no gradient correction
_GGA_SQUARE = 1e-10  # … nor where |∇ρ|² of every spin is below this
_PIECE = 2**18  # points that libxc gets at once


class Functional(NamedTuple):
    """A functional in libxc's names: its local part, and with gradients (empty for LDA)."""

    local: str
    gradient: str


_PW = "LDA_X,LDA_C_PW"
FUNCTIONALS = {
    "PZ": Functional("LDA_X,LDA_C_PZ", ""),
    "PW": Functional(_PW, ""),
    "PBE": Functional(_PW, "GGA_X_PBE,GGA_C_PBE"),
    "PBESOL": Functional(_PW, "GGA_X_PBE_SOL,GGA_C_PBE_SOL"),
    "REVPBE": Functional(_PW, "GGA_X_PBE_R,GGA_C_PBE"),
}
"""Functionals by pw.x's short names."""

_WORDS = {
    "SLA PZ NOGX NOGC": "PZ",
    "LDA": "PZ",
    "SLA PW NOGX NOGC": "PW",
    "SLA PW PBX PBC": "PBE",
    "SLA PW PBE PBE": "PBE",
    "SLA PW PSX PSC": "PBESOL",
    "SLA PW RPB PBC": "REVPBE",
    "SLA PW REVX PBC": "REVPBE",
}


def functional_of(name: str) -> Functional:
    """Return a functional by pw.x's name, short or in four words, or raise a UsageError.

    Examples
    --------
    >>> functional_of("sla+pw+pbx+pbc") == functional_of("PBE")
    True
    """
    words = " ".join(name.upper().replace("+", " ").replace("-", " ").split())
    functional = FUNCTIONALS.get(_WORDS.get(words, words))
    if functional is None:
        raise UsageError(
            f"the exchange and correlation of the run, '{name}', is not among those known: "
            f"{', '.join(FUNCTIONALS)}. Give pw2bgw.x's VSC: --potential vsc."
        )
    return functional


def xc_potential(
    functional: Functional,
    densities: FloatGrid,
    gradient: Callable[[FloatGrid], FloatGrid],
    divergence: Callable[[FloatGrid], FloatGrid],
) -> FloatGrid:
    """Return the potential of each spin, Hartree, of the shape of the densities.

    They are (1, …) the density, or (2, …) those of spin up and down, with the core's,
    electrons/Bohr³. `gradient` gives ∇ of a field on the grid, (3, …), `divergence` ∇· of a vector
    field.
    """
    shape = densities.shape
    rho = np.maximum(densities, 0.0) if len(densities) == 2 else np.abs(densities)
    total = rho.sum(axis=0)
    potential = np.zeros(shape)
    there = total > _DENSITY
    potential[:, there] = _local(functional.local, rho[:, there])
    if not functional.gradient:
        return potential
    slopes = np.stack([gradient(one) for one in densities])
    square = np.sum(slopes**2, axis=1).max(axis=0)
    there = (total > _GGA_DENSITY) & (square > _GGA_SQUARE)
    correction, flow = _gradient_part(functional, rho[:, there], slopes[:, :, there])
    potential[:, there] += correction
    for spin in range(len(rho)):
        field = np.zeros((3, *shape[1:]))
        field[:, there] = flow[spin]
        potential[spin] -= divergence(field)
    return potential


def _local(name: str, rho: FloatGrid) -> FloatGrid:
    parts = [_evaluate(name, rho[:, piece])[0] for piece in _pieces(rho.shape[1])]
    return np.concatenate(parts, axis=1)


def _pieces(n: int) -> list[slice]:
    return [slice(begin, begin + _PIECE) for begin in range(0, max(n, 1), _PIECE)]


def _gradient_part(
    functional: Functional, rho: FloatGrid, slopes: FloatGrid
) -> tuple[FloatGrid, FloatGrid]:
    """Return ∂(ε_GGA − ε_LDA)/∂ρ and the vectors ∂ε/∂∇ρ, of each spin."""
    change, flow = np.empty_like(rho), np.empty_like(slopes)
    for piece in _pieces(rho.shape[1]):
        part, slope = rho[:, piece], slopes[:, :, piece]
        with_gradient, sigma = _evaluate(functional.gradient, part, slope)
        change[:, piece] = with_gradient - _evaluate(functional.local, part)[0]
        if len(part) == 1:
            flow[0, :, piece] = 2 * sigma[0] * slope[0]
        else:
            flow[0, :, piece] = 2 * sigma[0] * slope[0] + sigma[1] * slope[1]
            flow[1, :, piece] = 2 * sigma[2] * slope[1] + sigma[1] * slope[0]
    return change, flow


def _evaluate(
    name: str, rho: FloatGrid, slopes: FloatGrid | None = None
) -> tuple[FloatGrid, FloatGrid]:
    """Return ∂ε/∂ρ by spin, and ∂ε/∂σ by pair of spins."""
    libxc: Any = require("pyscf.dft.libxc", "pyscf")
    if slopes is None:
        fields = list(rho)
    else:
        fields = [np.vstack([one[None], slope]) for one, slope in zip(rho, slopes, strict=True)]
    spin = len(rho) - 1
    _, derivatives, _, _ = libxc.eval_xc(name, fields if spin else fields[0], spin=spin, deriv=1)
    by_density = np.atleast_2d(derivatives[0].T)
    if slopes is None:
        return by_density, np.zeros((0, rho.shape[1]))
    return by_density, np.atleast_2d(derivatives[1].T)
