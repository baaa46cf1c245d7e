"""Second-order optics of insulators: shift current and second-harmonic generation.

The shift current is J_a = 2 Σ_bc σ_abc E_b(ω) E_c(−ω) in a field E(t) = E(ω) exp(−iωt) + c.c.:

    σ_abc = −(π |e|³ g / 2ħ V) Σ_k w_k Σ_vc Im(r^b_cv r^c_vc;a + r^c_cv r^b_vc;a) δ(E_c − E_v − ħω)

with the generalised derivative of `dock.response.connection_derivative`. Electrons carry it: where
they move along +a, the current and σ are negative. J. E. Sipe and A. I. Shkrebtii, Phys. Rev. B 61,
5337 (2000).

The susceptibility of the second harmonic, P_a(2ω) = ε₀ Σ_bc χ_abc E_b(ω) E_c(ω), is that of the
density matrix in the length gauge (C. Aversa and J. E. Sipe, Phys. Rev. B 52, 14636 (1995)):

    χ_abc = (|e|³ g / ε₀ V) Σ_k w_k Σ_nm r^a_mn / (2ħω + iη − E_nm) ([r^c, ρ^b]_nm + i ρ^b_nm;c),
    ρ^b_nm = (f_n − f_m) r^b_nm / (ħω + iη − E_nm),   E_nm = E_n − E_m,

symmetric in b and c. No frequency is divided by, so that static values need no care: the current
within bands is integrated by parts, which adds to the sum over n and m

    Σ_vc [ Im(r^b_cv r^c_vc;a) / (z² − E_cv²) − iz Re(r^b_cv r^c_vc) (∂_a E_vc) / (z² − E_cv²)² ]

with z = ħω + iη. The second part vanishes where time reversal holds. Positions of different
directions are taken to commute there, as they do in a complete basis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.calculation import Calculation
from dock.errors import UsageError
from dock.io.progress import Report
from dock.response.connection_derivative import Connections
from dock.response.filling import MeshFilling, fill_mesh, two_passes
from dock.response.kdata import KData
from dock.response.mesh_result import MeshResult
from dock.response.mesh_sum import mesh_sum
from dock.response.operators import Operators
from dock.response.optical_spectrum import (
    COULOMB,
    change_row,
    draw_frame,
    largest_change,
    tell_of_vacuum,
)
from dock.response.tensors import averaged
from dock.response.transitions import require_energies
from dock.states.job import Job
from dock.states.kmesh import KMesh, make_mesh
from dock.states.smearing import Smearing
from dock.states.solver import Solver
from dock.style import ink

__all__ = ["NonlinearQuantity", "NonlinearSpectrum", "nonlinear_optics"]

NonlinearQuantity: TypeAlias = Literal["shift", "shg"]

NEAR = 0.04
"""eV below which states on one side of the gap are treated as one level: the usual value."""

_SHIFT = 1.602176634e-19**2 / 1.054571817e-34  # |e|³/ħ per eV: A/V²
_PM_PER_V = 100 * 4 * np.pi * COULOMB  # |e|³/ε₀ per eV² and Å³, over Å³: pm/V
_WORDS = {"shift": "a shift current", "shg": "a second-harmonic susceptibility"}
_SHOWN = 6


@dataclass(frozen=True, eq=False, repr=False)
class NonlinearSpectrum(MeshResult):
    """A second-order optical spectrum, see `MeshResult`.

    Attributes
    ----------
    quantity
        ``shift`` or ``shg``.
    energies : (n,)
        Photon energies ħω, eV.
    eta
        Broadening, eV.
    values : (n, 3, 3, 3)
        Shift conductivity σ_abc, A/V² (real), or χ_abc, pm/V (complex).
    """

    FILE = "optics.h5"
    FIGURE = (5.0, 3.4)
    CONVENTIONS = (
        ("time_convention", "E(t) = E(omega) exp(-i omega t) + c.c."),
        ("tensor_axes", "energy, a, b, c: J_a or P_a of fields along b and c"),
    )

    quantity: NonlinearQuantity
    energies: NDArray[np.float64]
    eta: float
    values: NDArray[Any]

    def facts(self) -> dict[str, Any]:
        """Return filling, mesh, broadening and convergence by key; see `dock.results.KEYS`."""
        return {**super().facts(), "quantity": self.quantity, "eta_eV": self.eta}

    def arrays(self) -> dict[str, Any]:
        """Return photon energies and the tensor."""
        content: dict[str, Any] = {"photon_energies_eV": self.energies}
        if self.quantity == "shift":
            return content | {"shift_conductivity_A_per_V2": self.values}
        parts = {"chi2_1_pm_per_V": self.values.real, "chi2_2_pm_per_V": self.values.imag}
        return content | parts

    @property
    def elements(self) -> list[tuple[str, NDArray[Any]]]:
        """The distinct elements that are not zero, the largest first, and their names: ``xyz``."""
        values = np.moveaxis(self.values, 0, -1)
        sizes = np.abs(values).max(axis=-1)
        groups: list[tuple[list[str], NDArray[Any]]] = []
        for place in np.argsort(-sizes, axis=None, kind="stable"):
            a, b, c = np.unravel_index(place, (3, 3, 3))
            if sizes[a, b, c] < 1e-4 * sizes.max() or sizes[a, b, c] < 1e-12 or b > c:
                continue
            for names, other in groups:
                if np.abs(values[a, b, c] - other).max() < 1e-4 * sizes.max():
                    names.append("xyz"[a] + "xyz"[b] + "xyz"[c])
                    break
            else:
                groups.append((["xyz"[a] + "xyz"[b] + "xyz"[c]], values[a, b, c]))
        return [(", ".join(names), element) for names, element in groups]

    @property
    def unit(self) -> tuple[str, float]:
        """The unit that tables and figures use, and the numbers' factor."""
        return ("µA/V²", 1e6) if self.quantity == "shift" else ("pm/V", 1.0)

    def rows(self) -> list[tuple[str, str]]:
        """Return what was computed, its convergence and the largest elements in words."""
        x = self.energies
        rows = [
            ("photon energies", f"{len(x)} from {x[0]:g} to {x[-1]:g} eV, η = {self.eta:g} eV"),
            ("k-mesh", self.mesh.describe()),
            ("Fermi level", self.filling.words),
            *self.filling.gap.rows("mesh", edges=False),
        ]
        unit, scale = self.unit
        symbol = "σ" if self.quantity == "shift" else "|χ|"
        for name, element in self.elements[:_SHOWN]:
            size = element if self.quantity == "shift" else np.abs(element)
            top = int(np.argmax(np.abs(size)))
            rows.append(
                (f"{symbol} {name}", f"up to {scale * size[top]:.6g} {unit} at {x[top]:g} eV")
            )
        if not self.elements:
            rows.append((symbol, "zero: the crystal has a centre of inversion, or nothing absorbs"))
        rows.append(change_row(self.half_change))
        return rows

    def draw(self, axes: Any, *, window: tuple[float, float] | None = None) -> None:
        """Draw the largest elements; of a susceptibility its magnitude. The window is in eV."""
        unit, scale = self.unit
        for name, element in self.elements[:_SHOWN]:
            shown = element if self.quantity == "shift" else np.abs(element)
            axes.plot(self.energies, scale * shown, lw=1.2, label=name)
        axes.axhline(0.0, color=ink(0.4), lw=0.6)
        what = "shift conductivity" if self.quantity == "shift" else "|χ(−2ω; ω, ω)|"
        draw_frame(axes, self.energies, window, f"{what} ({unit})")
        title = f"{self.structure.formula}  {self.filling.gap.words}  η = {self.eta:g} eV"
        axes.set_title(title, fontsize="medium")


def nonlinear_optics(
    calc: Calculation,
    mesh: KMesh | Sequence[int],
    energies: ArrayLike,
    quantity: NonlinearQuantity,
    *,
    eta: float = 0.1,
    fermi_level: float | None = None,
    electrons: float | None = None,
    near: float = NEAR,
    smearing: Smearing | None = None,
    solver: str | Solver | Job = "auto",
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
) -> NonlinearSpectrum:
    """Compute a shift current or a second-harmonic susceptibility.

    Parameters
    ----------
    quantity
        ``shift`` or ``shg``.
    eta
        Half width at half height of the lines, eV: Lorentzians at ω, and of ``shg`` at 2ω too.
    mesh, energies, fermi_level, electrons, solver, s_threshold, jobs, progress
        See `dock.response.optics`.
    near
        Distance of two filled states, or of two empty ones, eV, below which they are treated as one
        level; see `dock.response.connection_derivative`.
    smearing
        No meaning but that of `dock.response.filling.fill_mesh`: bands are full or empty.

    Raises
    ------
    ConventionError
        For a metal.
    UsageError, MissingDataError
        As `dock.response.optics`.
    """
    x = np.asarray(energies, dtype=np.float64)
    require_energies(x, eta)
    if not 0 <= near < np.inf:
        raise UsageError(f"near is an energy of 0 eV or above, found {near:g}.")
    if quantity not in get_args(NonlinearQuantity):
        raise UsageError(f"a quantity is shift or shg, found '{quantity}'.")
    points = make_mesh(calc, mesh)
    operators = Operators.of(calc, position=True)
    tell_of_vacuum(calc, "the values are those")
    settings: dict[str, Any] = {"s_threshold": s_threshold, "jobs": jobs}
    bar, run = two_passes(operators, points, solver, progress, **settings)
    counted: dict[str, Any] = {
        "fermi_level": fermi_level,
        "electrons": electrons,
        "smearing": smearing,
    }
    filling = fill_mesh(operators, points, progress=bar.part(), **counted, **run)
    filling.require_gap(_WORDS[quantity], calc.source)
    symmetry = points.symmetry
    reverses = symmetry is not None and any(o.reverses_time for o in symmetry.operations)
    terms = _Terms(filling, x, eta, quantity, near, reverses=reverses)
    words = f"{quantity} {x.tolist()} {eta} {near} {filling.level}"
    summed = mesh_sum(operators, points, terms, words, progress=bar.part(), **run)
    scale = operators.electrons_per_state / operators.cell_volume
    scale *= -np.pi * _SHIFT if quantity == "shift" else _PM_PER_V
    values = scale * _whole(summed.whole, points)
    change = None
    if summed.half is not None:
        change = largest_change(values, scale * _whole(summed.half, points))
    about = operators.structure, points, filling, quantity, x, eta
    return NonlinearSpectrum(*about, values, half_change=change)


def _whole(sums: dict[str, NDArray[Any]], mesh: KMesh) -> NDArray[Any]:
    """Return the sum over the whole mesh of that over its irreducible points and channels."""
    plain = sums["plain"].sum(axis=0)
    if "reversed" not in sums or mesh.symmetry is None:
        return averaged(plain, mesh, 3)
    # An operation with time reversal leads to the values at −k, which are not those at k.
    total = np.zeros_like(plain)
    turned = sums["reversed"].sum(axis=0)
    for operation in mesh.symmetry.operations:
        source = turned if operation.reverses_time else plain
        total += np.einsum("ai,bj,ck,nijk->nabc", *[operation.Q] * 3, source, optimize=True)
    mean: NDArray[Any] = total / len(mesh.symmetry.operations)
    return mean


@dataclass(frozen=True, eq=False)
class _Terms:
    """A function for sums over a mesh: the tensor (n, 3, 3, 3) of a k-point."""

    filling: MeshFilling
    energies: NDArray[np.float64]
    eta: float
    quantity: NonlinearQuantity
    near: float
    reverses: bool

    def __call__(self, at: KData) -> dict[str, NDArray[Any]]:
        """Return the tensor, and the one at −k where symmetry reverses time."""
        n_filled = int(np.sum(self.filling.occupations(at.energies)))
        here = Connections.of(at, n_filled, self.near)
        if self.quantity == "shift":
            return {"plain": shift_of(here, self.energies, self.eta)}
        terms = {"plain": harmonic_of(here, self.energies, self.eta)}
        if self.reverses:
            terms["reversed"] = harmonic_of(here.reversed, self.energies, self.eta)
        return terms


def shift_of(here: Connections, energies: NDArray[np.float64], eta: float) -> NDArray[np.float64]:
    """Return Σ_vc ½ Im(r^b_cv r^c_vc;a + r^c_cv r^b_vc;a) δ(Δ − ω), (n, 3, 3, 3) Å³/eV."""
    lo, up = here.sides
    weights = shift_weights(here)
    apart = (here.energies[up] - here.energies[lo, None]).ravel()
    lines = eta / np.pi / ((apart - energies[:, None]) ** 2 + eta**2)
    return np.asarray(lines @ weights.reshape(27, -1).T).reshape(-1, 3, 3, 3)


def shift_weights(here: Connections) -> NDArray[np.float64]:
    """Return ½ Im(r^b_cv r^c_vc;a + r^c_cv r^b_vc;a), (3, 3, 3, n_filled, n_empty) Å³."""
    r = here.between[(slice(None), *here.sides)]
    product = np.einsum("bvm,cavm->abcvm", r.conj(), here.derivative).imag
    weights: NDArray[np.float64] = 0.5 * (product + product.swapaxes(1, 2))
    return weights


def harmonic_of(
    here: Connections, energies: NDArray[np.float64], eta: float
) -> NDArray[np.complex128]:
    """Return the sum over n and m of the module's χ, (n, 3, 3, 3) Å³/eV²."""
    lo, up = here.sides
    E, A = here.energies, here.between
    r_lu, r_ul = A[:, lo, up], A[:, up, lo]
    d_lu = here.derivative
    d_ul = d_lu.conj().swapaxes(2, 3)
    s_lu, s_ul = here.slopes_apart(lo, up), here.slopes_apart(up, lo)
    e_lu = E[lo, None] - E[up]
    apart = E - E[:, None]
    still = np.einsum("bvm,cavm->abcvm", r_lu.conj(), s_lu).real
    shifts = shift_weights(here)
    out = np.empty((len(energies), 3, 3, 3), dtype=np.complex128)
    for number, energy in enumerate(energies):
        z = energy + 1j * eta
        p_lu, p_ul = 1 / (z - e_lu), -1 / (z + e_lu.T)
        G = A / (2 * energy + 1j * eta - apart)
        moved_lu = d_lu * p_lu + s_lu * p_lu**2
        moved_ul = d_ul * p_ul - s_ul * p_ul**2
        chi = 1j * np.einsum("aml,bclm->abc", G[:, up, lo], moved_lu, optimize=True)
        chi += 1j * np.einsum("alm,bcml->abc", G[:, lo, up], moved_ul, optimize=True)
        left, right = G[:, None], A[None]
        turned_ul = left[..., up, :] @ right[..., lo] - right[..., up, :] @ left[..., lo]
        turned_lu = left[..., lo, :] @ right[..., up] - right[..., lo, :] @ left[..., up]
        chi += np.einsum("acml,blm->abc", turned_ul, r_lu * p_lu, optimize=True)
        chi += np.einsum("aclm,bml->abc", turned_lu, r_ul * p_ul, optimize=True)
        within = 1 / (z**2 - e_lu**2)
        chi += np.tensordot(shifts, within, axes=2) - 1j * z * np.tensordot(
            still, within**2, axes=2
        )
        out[number] = 0.5 * (chi + chi.swapaxes(1, 2))
    return out
