"""Transport in the constant-time approximation of Boltzmann's equation.

    K^n_ab = (g / V) Σ_k w_k Σ_n (−∂f/∂E)(E_n − μ)^n v_a v_b
    σ/τ = e² K⁰,   S = −(1/eT) (K⁰)⁻¹ K¹,   κ/τ = (K² − K¹ (K⁰)⁻¹ K¹)/T

with the velocities v of the bands; over a level of several states it is the trace of the product of
its velocity matrices. κ is that of electrons at zero current. σ/τ is the Drude weight, and
(ħω_p)² = ħ² (σ/τ)/ε₀ its other unit. N. W. Ashcroft and N. D. Mermin, Solid State Physics, ch. 13.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.calculation import Calculation
from dock.errors import UsageError
from dock.io.progress import Report
from dock.response.filling import fill_mesh, two_passes
from dock.response.kdata import KData
from dock.response.mesh_result import MeshResult
from dock.response.mesh_sum import mesh_sum
from dock.response.operators import Operators
from dock.response.optical_spectrum import COULOMB, change_row, largest_change
from dock.response.tensors import averaged
from dock.states.job import Job
from dock.states.kmesh import KMesh, make_mesh
from dock.states.smearing import BOLTZMANN_EV, Smearing
from dock.states.solver import Solver
from dock.style import colours, ink

__all__ = ["Transport", "transport"]

_LEAST = 1e-14  # of the largest −∂f/∂E at a k-point: what is left out
_NOTHING = 1e-250  # eV/Å: no carriers in double precision

_E, _HBAR = 1.602176634e-19, 1.054571817e-34
SIGMA = _E**2 / _HBAR**2 * _E / 1e-10
"""e²/ħ² × 1 eV/Å: S/(m s)."""

KAPPA = _E**3 / _HBAR**2 / 1e-10
"""1/ħ² × 1 eV³/Å, in W/(m s) for K²."""


@dataclass(frozen=True, eq=False, repr=False)
class Transport(MeshResult):
    """Transport coefficients at some temperatures and chemical potentials, see `MeshResult`.

    Attributes
    ----------
    temperatures : (t,)
        K.
    mu : (m,)
        Chemical potentials from the Fermi level, eV.
    moments : (t, m, 3, 3, 3)
        K⁰, K¹, K² by (t, m, n, a, b): eV/Å, eV²/Å, eV³/Å.
    carriers : (t, m)
        Electrons per cell more than the crystal's own.
    """

    FILE = "transport.h5"
    STACKED = True
    FIGURE = (5.0, 3.0)
    CONVENTIONS = (("tensor_axes", "temperature, chemical potential, Cartesian, Cartesian"),)

    temperatures: NDArray[np.float64]
    mu: NDArray[np.float64]
    moments: NDArray[np.float64]
    carriers: NDArray[np.float64]

    @property
    def conductivity(self) -> NDArray[np.float64]:
        """σ/τ (t, m, 3, 3), S/(m s)."""
        return SIGMA * self.moments[:, :, 0]

    @property
    def plasma_squared(self) -> NDArray[np.float64]:
        """(ħω_p)² (t, m, 3, 3), eV²."""
        return 4 * np.pi * COULOMB * self.moments[:, :, 0]

    @property
    def seebeck(self) -> NDArray[np.float64]:
        """S (t, m, 3, 3), V/K; NaN where nothing carries a current."""
        ratio = self._inverse @ self.moments[:, :, 1]
        return -ratio / self.temperatures[:, None, None, None]

    @property
    def thermal(self) -> NDArray[np.float64]:
        """κ/τ of the electrons (t, m, 3, 3), W/(m K s); NaN where nothing carries a current."""
        first = self.moments[:, :, 1]
        at_rest = self.moments[:, :, 2] - first @ self._inverse @ first
        return KAPPA * at_rest / self.temperatures[:, None, None, None]

    @property
    def _inverse(self) -> NDArray[np.float64]:
        """(K⁰)⁻¹ where it carries; a direction without carriers (a layer's normal) has none."""
        K0 = self.moments[:, :, 0]
        values, axes = np.linalg.eigh(0.5 * (K0 + K0.swapaxes(-1, -2)))
        largest = np.abs(values).max(axis=-1, keepdims=True)
        carries = np.abs(values) > np.maximum(1e-10 * largest, _NOTHING)
        inverse = np.where(carries, 1 / np.where(carries, values, 1.0), 0.0)
        inverse[np.broadcast_to(largest < _NOTHING, inverse.shape)] = np.nan
        result: NDArray[np.float64] = (axes * inverse[..., None, :]) @ axes.swapaxes(-1, -2)
        return result

    def arrays(self) -> dict[str, Any]:
        """Return temperatures, chemical potentials and coefficients."""
        return {
            "temperatures_K": self.temperatures,
            "mu_eV": self.mu,
            "carriers_per_cell": self.carriers,
            "sigma_over_tau_S_per_m_s": self.conductivity,
            "plasma_squared_eV2": self.plasma_squared,
            "seebeck_V_per_K": self.seebeck,
            "kappa_over_tau_W_per_m_K_s": self.thermal,
        }

    def rows(self) -> list[tuple[str, str]]:
        """Return coefficients at the first chemical potentials in words."""
        rows = [
            ("k-mesh", self.mesh.describe()),
            ("Fermi level", self.filling.words),
            *self.filling.gap.rows("mesh", edges=False),
        ]
        places = [(t, m) for t in range(len(self.temperatures)) for m in range(len(self.mu))]
        for t, m in places[:6]:
            sigma, seebeck = (np.diag(x[t, m]) for x in (self.conductivity, self.seebeck))
            plasma = np.sqrt(np.maximum(np.diag(self.plasma_squared[t, m]), 0))
            name = f"{self.temperatures[t]:g} K, μ = {self.mu[m]:+g} eV"
            rows.append((name, f"σ/τ {_words(sigma, '.4e')} S/(m s); ħω_p {_words(plasma)} eV"))
            rows.append(("", f"S {_words(1e6 * seebeck)} µV/K; {self.carriers[t, m]:+.3e} e/cell"))
        if len(places) > 6:
            rows.append(("", f"and {len(places) - 6} more"))
        rows.append(change_row(self.half_change))
        return rows

    @property
    def n_panels(self) -> int:
        """Conductivity, and Seebeck coefficients below it."""
        return 2

    def draw(self, axes: Any) -> None:
        """Draw σ/τ and S, means over directions that carry, by μ, or by T where there is one μ."""
        by_mu = len(self.mu) > 1
        x = self.mu if by_mu else self.temperatures
        curves = range(len(self.temperatures)) if by_mu else [0]
        for values, panel in zip(self._means(), self.panels(axes), strict=True):
            panel.set_prop_cycle(color=colours())
            for t in curves:
                y = values[t] if by_mu else values[:, 0]
                label = f"{self.temperatures[t]:g} K" if by_mu else None
                panel.plot(x, y, lw=1.2, label=label, marker="" if len(x) > 30 else "o", ms=3)
            panel.axhline(0.0, color=ink(0.4), lw=0.6)
        first, second = self.panels(axes)
        first.set_ylabel("σ/τ (S/(m s))")
        second.set_ylabel("S (µV/K)")
        second.set_xlabel("μ − Fermi level (eV)" if by_mu else "temperature (K)")
        first.set_title(f"{self.structure.formula}  {self.filling.gap.words}", fontsize="medium")
        if by_mu:
            first.legend(frameon=False, fontsize="small")

    def _means(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return means of the diagonals of σ/τ and S (µV/K) over directions that carry, (t, m)."""
        sigma, seebeck = (np.einsum("tmaa->tma", x) for x in (self.conductivity, self.seebeck))
        carries = sigma > 1e-8 * np.maximum(sigma.max(axis=-1, keepdims=True), 1e-300)
        count = np.maximum(carries.sum(axis=-1), 1)
        sums = ((x * carries).sum(axis=-1) / count for x in (sigma, 1e6 * seebeck))
        mean_sigma, mean_seebeck = sums
        return mean_sigma, mean_seebeck


def transport(
    calc: Calculation,
    mesh: KMesh | Sequence[int],
    *,
    temperature: ArrayLike = 300.0,
    mu: ArrayLike = 0.0,
    fermi_level: float | None = None,
    electrons: float | None = None,
    solver: str | Solver | Job = "auto",
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
) -> Transport:
    """Compute conductivity, Seebeck coefficient and thermal conductivity over the relaxation time.

    Parameters
    ----------
    mesh
        A `KMesh` or three numbers of points (Γ-centred). (−∂f/∂E) must be seen by it: at 300 K
        metals want some 10⁵ points.
    temperature
        K, one or several.
    mu
        Chemical potentials from the Fermi level, eV, one or several.
    fermi_level, electrons
        See `dock.response.filling.fill_mesh`; electrons are counted at the first temperature.
    solver, s_threshold, jobs, progress
        See `dock.states.stream.states`.

    Raises
    ------
    UsageError
        For a temperature that is not above 0 K, or a chemical potential that is no number.
    MissingDataError
        Without electrons.

    Examples
    --------
    >>> import dock
    >>> found = transport(dock.read("fixtures/openmx/si"), (4, 4, 4), mu=[-0.6, 0.6])
    >>> found.seebeck.shape
    (1, 2, 3, 3)
    """
    kelvin = np.atleast_1d(np.asarray(temperature, dtype=np.float64))
    levels = np.atleast_1d(np.asarray(mu, dtype=np.float64))
    if kelvin.ndim != 1 or not len(kelvin) or not np.all((kelvin > 0) & np.isfinite(kelvin)):
        raise UsageError("a temperature is a number above 0 K.")
    if levels.ndim != 1 or not len(levels) or not np.isfinite(levels).all():
        raise UsageError("a chemical potential is a finite energy from the Fermi level, eV.")
    points, operators = make_mesh(calc, mesh), Operators.of(calc)
    settings: dict[str, Any] = {"s_threshold": s_threshold, "jobs": jobs}
    bar, run = two_passes(operators, points, solver, progress, **settings)
    filling = fill_mesh(
        operators,
        points,
        smearing=Smearing.fermi_dirac(float(kelvin[0])),
        fermi_level=fermi_level,
        electrons=electrons,
        progress=bar.part(),
        **run,
    )
    moments = _Moments(kelvin, filling.level + levels)
    words = f"transport {kelvin.tolist()} {moments.mu.tolist()}"
    summed = mesh_sum(operators, points, moments, words, progress=bar.part(), **run)
    scale = operators.electrons_per_state / operators.cell_volume
    total = scale * averaged(summed.whole["moments"].sum(axis=0), points, 2)
    filled = operators.electrons_per_state * summed.whole["filled"].sum(axis=0)
    change = None
    if summed.half is not None:
        coarse = scale * averaged(summed.half["moments"].sum(axis=0), points, 2)
        change = largest_change(total[:, :, 0], coarse[:, :, 0])
    about = operators.structure, points, filling, kelvin, levels
    return Transport(*about, total, filled - filling.n_electrons, half_change=change)


@dataclass(frozen=True, eq=False)
class _Moments:
    """A function for sums over a mesh: the moments and the filling of a k-point."""

    temperatures: NDArray[np.float64]
    mu: NDArray[np.float64]

    def __call__(self, at: KData) -> dict[str, NDArray[Any]]:
        """Return Σ_n (−∂f/∂E)(E − μ)^n v_a v_b (t, m, 3, 3, 3), and Σ f (t, m)."""
        energies = at.energies
        apart = energies - self.mu[:, None]
        shape = len(self.temperatures), len(self.mu), len(energies)
        slopes, filled = np.empty(shape), np.empty(shape[:2])
        for row, kelvin in enumerate(self.temperatures):
            width = float(kelvin) * BOLTZMANN_EV
            # Not clipped as an occupation is: in a gap the tails are all that there is.
            tail = np.exp(-np.abs(apart) / width)
            slopes[row] = tail / (1 + tail) ** 2 / width
            filled[row] = (np.where(apart < 0, 1.0, tail) / (1 + tail)).sum(axis=1)
        weights = slopes[:, :, None] * np.stack([apart**n for n in range(3)], axis=1)
        largest = slopes.max(axis=-1, keepdims=True)
        squares = level_squares(at, np.any(slopes > _LEAST * largest, axis=(0, 1)))
        return {"moments": np.tensordot(weights, squares, axes=1), "filled": filled}


def level_squares(at: KData, wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return v_a v_b of each state (n, 3, 3), eV² Å²: its share of the trace over its level.

    States that are not wanted have zeros.
    """
    squares = np.zeros((at.n_states, 3, 3))
    alone = [g.start for g in at.groups if g.stop == g.start + 1 and wanted[g.start]]
    if alone:
        vectors = at.vectors[:, alone]
        slopes = at.hamiltonian_gradient @ vectors
        slopes -= at.energies[alone] * (at.overlap_gradient @ vectors)
        v = np.einsum("in,ain->na", vectors.conj(), slopes).real
        squares[alone] = v[:, :, None] * v[:, None, :]
    for group in at.groups:
        if group.stop > group.start + 1 and wanted[group].any():
            v = at.slope_matrix(group, group)
            squares[group] = np.einsum("anm,bmn->nab", v, v).real
    return squares


def _words(values: NDArray[np.float64], form: str = ".4f") -> str:
    """Return three numbers, or one where they agree."""
    if np.allclose(values, values[0], rtol=1e-4, atol=0, equal_nan=True):
        return f"{values[0]:{form}}"
    return ", ".join(f"{value:{form}}" for value in values)
