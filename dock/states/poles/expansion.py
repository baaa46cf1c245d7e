"""The Fermi function as a sum over as few poles as possible.

With x = ε − μ, f(x) = 1/(1 + e^{x/k_B T}) is written on all energies from the lowest one up as

    f(x) = 2 Re Σ_j w_j / (ξ_j − x),   Im ξ_j > 0.

The ξ_j have the smallest largest error on [−d, ∞): the error alternates 4n + 1 times between its
bounds. Such expansions are those of J. E. Moussa, J. Chem. Phys. 145, 164108 (2016). The ξ_j depend
on d/k_B T and on their number alone, and stand in a table (``poles.npz``, made by
``benchmarks/optimise_poles.py``: an adaptive Antoulas–Anderson fit, then Remez's algorithm). The
w_j, and the error, are computed here for the d and k_B T at hand. States far above μ cost nothing:
every term falls off, and there is no constant.

The first poles are those of f itself, at iπ k_B T, 3iπ k_B T, …, and move with μ. With four more
beside the first three, the same poles with other w_j serve every μ within 0.01 k_B T: a metal whose
level is nearly known needs one pass.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.errors import ConvergenceError, UsageError

_log = logging.getLogger("dock")

__all__ = ["TOLERANCE", "WIDE", "Expansion"]

TOLERANCE = 1e-11
"""Largest error of the Fermi function where nobody asks for a number of poles; if μ moves, 1e-10.

An entry of a density matrix is wrong by as much times √(S⁻¹_ii S⁻¹_jj), because the states far
above μ are: S⁻¹_ii is 75 for silicon and 790 for a graphene bilayer in double-zeta bases.
"""

WIDE = 0.01
"""k_B T by which μ may move on wide poles."""

_BESIDE = ((0.0, -0.01, 0.01), (-0.01, 0.01), (-0.01, 0.01))
"""k_B T by which poles lie beside the first three where μ may move."""

_NEAR = 0.1  # k_B T between poles of one group; others are 2 k_B T apart at least
_POOR = 1e-7  # error that is still taken, and said, where the temperature is very low
_WORST = 1e-5  # error from which on it is no Fermi function any more
_N_NODES = 4  # values of μ between which weights are interpolated to 1e-11
_TOP = 1e6  # k_B T above μ up to which is fitted; beyond, all terms fall off together
_SAMPLES = 400  # on each side of μ


@dataclass(frozen=True, eq=False)
class Expansion:
    """Poles and weights for one temperature and depth of the spectrum.

    Attributes
    ----------
    shifts : complex (n,)
        ξ_j in eV, relative to the chemical potential.
    width, depth
        k_B T, and μ minus the lowest eigenvalue or more, eV.
    nodes : (m,)
        Moves of the chemical potential for which weights are kept, eV: 0 alone, or Chebyshev's
        points in ±0.01 k_B T.
    node_weights : complex (n, m)
        w_j for each of them, eV.
    error
        Largest error of f at and between the nodes, on all energies from −depth up.
    """

    shifts: NDArray[np.complex128]
    width: float
    depth: float
    nodes: NDArray[np.float64]
    node_weights: NDArray[np.complex128]
    error: float

    @classmethod
    def make(
        cls,
        width: float,
        depth: float,
        *,
        poles: int | None = None,
        wide: bool = False,
        tolerance: float | None = None,
    ) -> Expansion:
        """Return an expansion.

        Parameters
        ----------
        width
            k_B T, eV.
        depth
            μ minus the lowest eigenvalue, eV.
        poles
            Number of poles at most; default the smallest with which f is right to `tolerance`.
        wide
            Whether μ may move afterwards, see `nodes`.
        tolerance
            Largest error of f in the table of poles; default `TOLERANCE`.

        Raises
        ------
        UsageError
            For a number of poles below 1.
        ConvergenceError
            Where no number of poles gives f to 1e-7 (between that and the tolerance it is said), or
            the one that was asked for does not give f to 1e-5.
        """
        if poles is not None and poles < 1:
            raise UsageError(f"the number of poles must be 1 or more, found {poles}.")
        rows = _rows(depth / width)
        if poles is not None:
            return cls._asked(rows, poles, width, depth, wide=wide)
        if tolerance is None:
            tolerance = (10 if wide else 1) * TOLERANCE
        enough = [row for row in rows if row.error <= tolerance]
        if enough:
            return cls._of(enough[0], width, depth, wide=wide)
        best = min(rows, key=lambda row: row.error)
        if best.error > _POOR:
            raise ConvergenceError(
                f"no tabulated poles represent the Fermi function to {_POOR:g} over {depth:.4g} "
                f"eV at k_B T = {width:.4g} eV. Raise the temperature, or use method='eigen'."
            )
        _log.warning(
            "the poles represent the Fermi function to %.1e only, over %.4g eV at k_B T = %.4g eV.",
            best.error,
            depth,
            width,
        )
        return cls._of(best, width, depth, wide=wide)

    @classmethod
    def _asked(
        cls, rows: list[_Row], poles: int, width: float, depth: float, *, wide: bool
    ) -> Expansion:
        """Return an expansion with a given number of poles at most, if it is one."""
        more = _MORE if wide else 0
        row = max((row for row in rows if row.n + more <= poles), key=_number, default=None)
        error = 1.0
        if row is not None:
            found = cls._of(row, width, depth, wide=wide)
            if found.error <= _WORST:
                return found
            error = found.error
        enough = next((row.n + more for row in rows if row.error <= TOLERANCE), None)
        remedy = "Raise the temperature" if enough is None else f"{enough} give it to {TOLERANCE:g}"
        wrong = "at all" if row is None else f"to {_WORST:g} (the error is {error:.1e})"
        raise ConvergenceError(
            f"{poles} poles do not represent the Fermi function {wrong} over {depth:.4g} eV at "
            f"k_B T = {width:.4g} eV. {remedy}; without a number it is chosen by the error."
        )

    def weights(self, offset: float = 0.0) -> NDArray[np.complex128]:
        """Return w_j for a chemical potential moved by an offset within `reach`, eV."""
        return self.node_weights @ self.shares(offset)

    def shares(self, offset: float) -> NDArray[np.float64]:
        """Return what each node counts for an offset between them (Lagrange's polynomials)."""
        others = self.nodes[:, None] - self.nodes[None, :] + np.eye(len(self.nodes))
        factors = np.where(np.eye(len(self.nodes)) > 0, 1.0, (offset - self.nodes) / others)
        shares: NDArray[np.float64] = factors.prod(axis=1)
        return shares

    @property
    def reach(self) -> float:
        """Largest move of the chemical potential for which the weights are exact, eV."""
        return WIDE * self.width if len(self.nodes) > 1 else 0.0

    def fermi(self, x: NDArray[np.float64], offset: float = 0.0) -> NDArray[np.float64]:
        """Return the approximated Fermi function at energies relative to μ, eV."""
        values: NDArray[np.float64] = _terms(x, self.shifts) @ _parts(self.weights(offset))
        return values

    def _fit(self, offsets: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return the weights of least squares for moved chemical potentials."""
        x = self.width * _samples(self.depth / self.width, _SAMPLES)
        products, combined = _products(x, self.shifts, self.width)
        matrix = np.concatenate([2 * products.real, -2 * products.imag], axis=1)
        scale = np.linalg.norm(matrix, axis=0)
        wanted = _fermi((x[:, None] - offsets) / self.width)
        parts = np.linalg.lstsq(matrix / scale, wanted, 1e-16)[0] / scale[:, None]
        half = len(self.shifts)
        weights: NDArray[np.complex128] = combined @ (parts[:half] + 1j * parts[half:])
        return weights

    @classmethod
    def _of(cls, row: _Row, width: float, depth: float, *, wide: bool) -> Expansion:
        angles = np.pi * (np.arange(_N_NODES) + 0.5) / _N_NODES
        nodes = WIDE * width * np.cos(angles) if wide else np.zeros(1)
        shifts = width * (_spread(row.poles) if wide else row.poles)
        bare = cls(shifts, width, depth, nodes, np.zeros((len(shifts), 0), complex), 0.0)
        fitted = cls(shifts, width, depth, nodes, bare._fit(nodes), 0.0)
        x = width * _samples(depth / width, 4 * _SAMPLES)
        between = np.linspace(-1, 1, 5) * fitted.reach if wide else nodes
        error = max(
            float(np.abs(fitted.fermi(x, at) - _fermi((x - at) / width)).max()) for at in between
        )
        return cls(shifts, width, depth, nodes, fitted.node_weights, error)


class _Row(NamedTuple):
    """Poles in units of k_B T, and their error on [−depth, ∞)."""

    depth: float
    n: int
    error: float
    poles: NDArray[np.complex128]


_MORE = sum(len(beside) - 1 for beside in _BESIDE)


def _number(row: _Row) -> int:
    return row.n


@cache
def _table() -> tuple[_Row, ...]:
    """Return all poles that are known."""
    with (files("dock.states.poles") / "poles.npz").open("rb") as file, np.load(file) as stored:
        depths, numbers, errors = stored["depth"], stored["n_poles"], stored["error"]
        parts: list[NDArray[Any]] = np.split(stored["poles"], np.cumsum(numbers)[:-1])
    columns = zip(depths, numbers, errors, parts, strict=True)
    return tuple(_Row(float(depth), int(n), float(e), part) for depth, n, e, part in columns)


def _rows(depth: float) -> list[_Row]:
    """Return poles for a depth in k_B T, fewest first: of each number those made for the nearest.

    Poles made for a deeper spectrum serve a shallower one.
    """
    table = _table()
    found: dict[int, _Row] = {}
    for row in sorted(table, key=lambda row: -row.depth):
        if row.depth >= depth:
            found[row.n] = row
    if not found:
        deepest = max(row.depth for row in table)
        raise ConvergenceError(
            f"the spectrum reaches {depth:.3g} k_B T below the chemical potential; poles are known "
            f"up to {deepest:.3g} k_B T. Raise the temperature, or use method='eigen'."
        )
    return sorted(found.values(), key=_number)


def _spread(poles: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return poles with more of them beside the first ones, for chemical potentials that move."""
    beside = [pole + np.array(steps) for pole, steps in zip(poles, _BESIDE, strict=False)]
    return np.concatenate([*beside, poles[len(_BESIDE) :]])


def _samples(depth: float, number: int) -> NDArray[np.float64]:
    """Return energies in k_B T, as dense as the function needs them."""
    rising = np.linspace(0, 1, number)
    below = -np.sinh(np.arcsinh(depth) * rising)
    return np.concatenate([below[::-1], np.sinh(np.arcsinh(_TOP) * rising[1:])])


def _terms(x: NDArray[np.float64], shifts: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Return 2 Re 1/(ξ − x) and −2 Im 1/(ξ − x): what real and imaginary parts of w count."""
    terms = 2 / (shifts[None, :] - x[:, None])
    return np.concatenate([terms.real, -terms.imag], axis=1)


def _parts(weights: NDArray[np.complex128]) -> NDArray[np.float64]:
    return np.concatenate([weights.real, weights.imag])


def _products(
    x: NDArray[np.float64], shifts: NDArray[np.complex128], width: float
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Return functions that span those of the poles, and what makes weights of their factors.

    Poles that lie close together have nearly the same 1/(ξ − x). Their products span the same
    functions (Newton's divided differences), and differ.
    """
    n = len(shifts)
    products = np.empty((len(x), n), dtype=np.complex128)
    combined = np.zeros((n, n), dtype=np.complex128)
    first = 0
    for number, shift in enumerate(shifts):
        if abs(shift - shifts[first]) > _NEAR * width:
            first = number
        before = products[:, number - 1] if number > first else 1.0
        products[:, number] = before / (shift - x)
        group = shifts[first : number + 1]
        apart = group[None, :] - group[:, None] + np.eye(len(group))
        combined[first : number + 1, number] = 1 / apart.prod(axis=1)
    return products, combined


def _fermi(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1/(1 + e^y) without overflow."""
    small = np.exp(-np.abs(y))
    filled: NDArray[np.float64] = np.where(y > 0, small, 1.0) / (1 + small)
    return filled
