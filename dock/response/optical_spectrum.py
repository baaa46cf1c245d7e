"""Linear optics: dielectric function, optical conductivity, joint density of states.

    ε_ab(ω) = δ_ab + (4π k_e g / V) Σ_k w_k Σ_mn 2 [ Δ Re w_ab + i (Δ²/z) Im w_ab ] / (Δ² − z²)

with the transitions w of `dock.response.transitions`, z = ħω + iη, k_e = e²/4πε₀ = 14.3996 eV Å, g
the electrons that a state holds. Fields go as exp(−iωt): absorption is a positive imaginary part.
The conductivity is that of the same ε, σ = −izε₀(ε − 1)/ħ: Kubo's formula, with the anomalous Hall
conductivity at ω = 0. Independent particles, no local fields:
C. Ambrosch-Draxl and J. O. Sofo, Comput. Phys. Commun. 175, 1 (2006).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.calculation import Calculation
from dock.errors import UsageError
from dock.io.progress import Report
from dock.response.filling import fill_mesh, two_passes
from dock.response.mesh_result import MeshResult
from dock.response.mesh_sum import MeshSum, mesh_sum
from dock.response.operators import Operators
from dock.response.tensors import averaged
from dock.response.tetrahedral_pairs import tetrahedral_pairs
from dock.response.transitions import Nodes, Transitions, require_energies
from dock.states.fermi_level import Method
from dock.states.job import Job
from dock.states.kmesh import KMesh, make_mesh
from dock.states.solver import Solver
from dock.style import colours, ink
from dock.units import CODATA2018

__all__ = ["COULOMB", "OpticalSpectrum", "Quantity", "kramers_kronig", "optics"]

_log = logging.getLogger("dock")

Quantity: TypeAlias = Literal["epsilon", "sigma", "jdos"]

COULOMB = CODATA2018.hartree_ev * CODATA2018.bohr_angstrom
"""e²/4πε₀, eV Å."""

S_PER_CM = 8.8541878128e-12 * 1.602176634e-19 / 1.054571817e-34 / 100
"""ε₀ × 1 eV/ħ, S/cm."""

HBAR_C = 1.973269804e-5
"""ħc, eV cm."""

_AXES = "xyz"
_COARSE = 0.2
"""Change against half the mesh above which a finer one is asked for."""


@dataclass(frozen=True, eq=False, repr=False)
class OpticalSpectrum(MeshResult):
    """A linear optical spectrum, see `MeshResult`.

    Attributes
    ----------
    quantity
        ``epsilon``, ``sigma`` or ``jdos``: what the file and the figure show.
    energies : (n,)
        Photon energies, eV.
    eta, border
        Broadening (0: tetrahedra), and the transition energy up to which there is one, eV.
    epsilon : complex (n, 3, 3)
        Dielectric function, relative; None for a joint density of states.
    jdos : (n,)
        Pairs of states per eV and cell, both spins.
    plasma_squared : (3, 3)
        (ħω_p)² of the carriers of a metal, eV²; None for an insulator.
    drude
        Relaxation rate ħ/τ of the Drude term that is part of `epsilon`, eV; None without one.
    static : (3, 3)
        Re ε at ω = 0 of an insulator.
    """

    FILE = "optics.h5"
    FIGURE = (5.0, 3.4)
    CONVENTIONS = (
        ("time_convention", "exp(-i omega t): absorption is a positive imaginary part"),
        ("tensor_axes", "energy, Cartesian, Cartesian"),
    )

    quantity: Quantity
    energies: NDArray[np.float64]
    eta: float
    border: float
    epsilon: NDArray[np.complex128] | None
    jdos: NDArray[np.float64] | None
    plasma_squared: NDArray[np.float64] | None = None
    drude: float | None = None
    static: NDArray[np.float64] | None = None

    @property
    def _epsilon(self) -> NDArray[np.complex128]:
        if self.epsilon is None:
            raise UsageError("a joint density of states has no dielectric function.")
        return self.epsilon

    @property
    def conductivity(self) -> NDArray[np.complex128]:
        """σ (n, 3, 3), S/cm."""
        x, carriers = self.energies[:, None, None], self._drude_term
        between = (x + 1j * self.eta) * (self._epsilon - np.eye(3) - carriers)
        sigma: NDArray[np.complex128] = -1j * S_PER_CM * (between + x * carriers)
        return sigma

    @property
    def _drude_term(self) -> NDArray[np.complex128] | float:
        if self.drude is None or self.plasma_squared is None:
            return 0.0
        return drude_term(self.plasma_squared, self.energies, self.drude)

    @property
    def index(self) -> NDArray[np.complex128]:
        """Complex refractive index √ε of the diagonal, (n, 3), for light along the axes."""
        root: NDArray[np.complex128] = np.sqrt(np.einsum("naa->na", self._epsilon))
        return root

    @property
    def absorption(self) -> NDArray[np.float64]:
        """Absorption coefficient 2ωκ/c of the diagonal, (n, 3), 1/cm."""
        return 2 * self.energies[:, None] / HBAR_C * self.index.imag

    def facts(self) -> dict[str, Any]:
        """Return filling, mesh, broadening and convergence by key; see `dock.results.KEYS`."""
        plasma = self.plasma_squared
        return {
            **super().facts(),
            "quantity": self.quantity,
            "eta_eV": self.eta,
            "broadened_to_eV": self.border,
            "epsilon_static": None if self.static is None else self.static.tolist(),
            "plasma_energy_squared_eV2": None if plasma is None else plasma.tolist(),
            "drude_eV": None if self.plasma_squared is None else self.drude,
        }

    def arrays(self) -> dict[str, Any]:
        """Return photon energies and the spectra of the quantity."""
        content: dict[str, Any] = {"photon_energies_eV": self.energies}
        if self.quantity == "jdos":
            return content | {"jdos_1_per_eV": self.jdos}
        if self.quantity == "sigma":
            sigma = self.conductivity
            return content | {"sigma_1_S_per_cm": sigma.real, "sigma_2_S_per_cm": sigma.imag}
        return content | {
            "epsilon_1": self._epsilon.real,
            "epsilon_2": self._epsilon.imag,
            "refractive_index": self.index.real,
            "extinction": self.index.imag,
            "absorption_1_per_cm": self.absorption,
        }

    def rows(self) -> list[tuple[str, str]]:
        """Return what was computed, its convergence and its largest values in words."""
        x = self.energies
        rows = [
            ("photon energies", f"{len(x)} from {x[0]:g} to {x[-1]:g} eV, {self._width}"),
            ("k-mesh", self.mesh.describe()),
            ("Fermi level", self.filling.words),
        ]
        rows += self.filling.gap.rows("mesh", edges=False)
        for name, values in self._curves():
            top = int(np.argmax(values))
            rows.append((f"largest {name}", f"{values[top]:.6g} at {x[top]:g} eV"))
        if self.static is not None:
            diagonal = ", ".join(f"{value:.4f}" for value in np.diag(self.static))
            rows.append(("ε₁ at 0 eV", f"{diagonal} (xx, yy, zz)"))
        if self.plasma_squared is not None:
            energies = np.sqrt(np.maximum(np.diag(self.plasma_squared), 0))
            text = ", ".join(f"{value:.4f}" for value in energies)
            left_out = "in ε" if self.drude else "its term is not in ε: pass drude=RATE (ħ/τ, eV)"
            rows.append(("plasma energy", f"{text} eV (xx, yy, zz); {left_out}"))
        rows.append(change_row(self.half_change))
        return rows

    @property
    def _width(self) -> str:
        return f"η = {self.eta:g} eV" if self.eta else "tetrahedra"

    def _curves(self) -> list[tuple[str, NDArray[np.float64]]]:
        """Return the curves that a figure shows: the distinct diagonal elements."""
        if self.quantity == "jdos":
            assert self.jdos is not None  # noqa: S101 - made together
            return [("joint DOS", self.jdos)]
        name = "ε₂" if self.quantity == "epsilon" else "σ₁"
        tensor = self._epsilon.imag if self.quantity == "epsilon" else self.conductivity.real
        return distinct(name, np.einsum("naa->an", tensor))

    def draw(self, axes: Any, *, window: tuple[float, float] | None = None) -> None:
        """Draw imaginary and real part of ε, the real part of σ, or the joint density of states.

        Diagonal elements that agree are drawn once; the window is in eV.
        """
        tints = colours()
        for (name, values), colour in zip(self._curves(), tints, strict=False):
            axes.plot(self.energies, values, color=colour, lw=1.3, label=name)
        if self.quantity == "epsilon":
            real = distinct("ε₁", np.einsum("naa->an", self._epsilon.real))
            for (name, values), colour in zip(real, tints, strict=False):
                axes.plot(self.energies, values, color=colour, lw=1.1, ls="--", label=name)
            axes.axhline(0.0, color=ink(0.4), lw=0.6)
        label = {
            "epsilon": "dielectric function",
            "sigma": "optical conductivity (S/cm)",
            "jdos": "joint density of states (1/eV)",
        }[self.quantity]
        draw_frame(axes, self.energies, window, label)
        title = f"{self.structure.formula}  {self.filling.gap.words}  {self._width}"
        axes.set_title(title, fontsize="medium")


def optics(
    calc: Calculation,
    mesh: KMesh | Sequence[int],
    energies: ArrayLike,
    *,
    eta: float = 0.1,
    quantity: Quantity = "epsilon",
    fermi_level: float | None = None,
    electrons: float | None = None,
    smearing: Method | None = None,
    drude: float | None = None,
    broadened_to: float | None = None,
    solver: str | Solver | Job = "auto",
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
) -> OpticalSpectrum:
    """Compute a linear optical spectrum.

    Parameters
    ----------
    mesh
        A `KMesh` or three numbers of points (Γ-centred).
    energies
        Photon energies, eV, ascending from 0 or above.
    eta
        Half width at half height of a line, eV.
    quantity
        ``epsilon``, ``sigma``, or ``jdos`` (which needs no positions).
    fermi_level, electrons, smearing
        See `dock.response.filling.fill_mesh`; the smearing is for metals. Of a joint density of
        states it may be ``"tetrahedra"``: lines without a width, for crystals with a gap and
        evenly spaced energies.
    drude
        Relaxation rate ħ/τ, eV: adds the term of the carriers of a metal,
        −ω_p²/(ω(ω + i/τ)), which is left out otherwise.
    broadened_to
        Transition energy, eV, up to which lines are broadened: those beyond give their real part
        alone. Default one and a half times the highest photon energy, and at least 15 eV; an
        infinite one has no meaning, one beyond all transitions broadens them all.
    solver, s_threshold, jobs, progress
        See `dock.states.stream.states`.

    Raises
    ------
    UsageError
        For energies that do not ascend, a broadening that is not positive, another quantity.
    MissingDataError
        Without electrons, or without positions and a basis that they are computed from.

    Examples
    --------
    >>> import dock
    >>> si = dock.read("fixtures/openmx/si")
    >>> spectrum = optics(si, (4, 4, 4), np.linspace(0, 6, 61))
    >>> spectrum.epsilon.shape
    (61, 3, 3)
    """
    x = np.asarray(energies, dtype=np.float64)
    require_energies(x, eta)
    if quantity not in get_args(Quantity):
        raise UsageError(f"a quantity is epsilon, sigma or jdos, found '{quantity}'.")
    if drude is not None and not (drude > 0 and x[0] > 0):
        raise UsageError("a Drude term has a rate drude=ħ/τ above 0 eV, and energies above 0 eV.")
    points = make_mesh(calc, mesh)
    by_tetrahedra = smearing == "tetrahedra"
    if by_tetrahedra and quantity != "jdos":
        raise UsageError("tetrahedra are for quantity=jdos: give a smearing for the others.")
    nodes = Nodes.of(x, eta, broadened_to)
    operators = Operators.of(calc, position=quantity != "jdos")
    if quantity != "jdos":
        tell_of_vacuum(calc, "ε − 1 and σ are those")
    settings: dict[str, Any] = {"s_threshold": s_threshold, "jobs": jobs}
    bar, run = two_passes(operators, points, solver, progress, **settings)
    filling = fill_mesh(
        operators,
        points,
        fermi_level=fermi_level,
        electrons=electrons,
        smearing=None if isinstance(smearing, str) else smearing,
        progress=bar.part(),
        **run,
    )
    if by_tetrahedra:
        density, change = tetrahedral_pairs(
            operators, points, x, filling, progress=bar.part(), **run
        )
        about = operators.structure, points, filling, quantity, x
        return OpticalSpectrum(*about, 0.0, nodes.border, None, density, half_change=change)
    transitions = Transitions(nodes, filling, weighted=quantity != "jdos")
    words = f"transitions {nodes} {filling.level} {filling.smearing} {transitions.weighted}"
    summed = mesh_sum(operators, points, transitions, words, progress=bar.part(), **run)
    return _Maker(operators, points, x, transitions, quantity, drude).make(summed)


class _Maker(NamedTuple):
    """Makes spectra of sums over a mesh."""

    operators: Operators
    mesh: KMesh
    energies: NDArray[np.float64]
    transitions: Transitions
    quantity: Quantity
    drude: float | None

    @property
    def scale(self) -> float:
        """4π k_e g / V, eV/Å²."""
        operators = self.operators
        electrons = operators.electrons_per_state
        return float(4 * np.pi * COULOMB * electrons / operators.cell_volume)

    def make(self, summed: MeshSum) -> OpticalSpectrum:
        """Return the result of the whole mesh, compared with its half."""
        nodes, filling = self.transitions.nodes, self.transitions.filling
        about = self.operators.structure, self.mesh, filling, self.quantity, self.energies
        values, plasma = self._spectrum(summed.whole)
        change = None
        if summed.half is not None:
            coarse, _ = self._spectrum(summed.half)
            change = largest_change(values, coarse)
        if self.quantity == "jdos":
            return OpticalSpectrum(
                *about, nodes.eta, nodes.border, None, values, half_change=change
            )
        static = None
        if filling.is_gapped:
            still = self._susceptibility(summed.whole["transitions"].sum(axis=0), np.zeros(1))[0]
            static = np.eye(3) + self.scale * 0.5 * (still + still.T).real
        return OpticalSpectrum(
            *about,
            nodes.eta,
            nodes.border,
            values,
            None,
            plasma,
            self.drude,
            static,
            half_change=change,
        )

    def _susceptibility(
        self, pairs: NDArray[np.float64], energies: NDArray[np.float64]
    ) -> NDArray[np.complex128]:
        cell = np.asarray(self.operators.structure.cell, dtype=np.float64)
        return self.transitions.susceptibility(pairs, self.mesh, energies, cell)

    def _spectrum(self, sums: dict[str, NDArray[Any]]) -> tuple[Any, NDArray[np.float64] | None]:
        """Return the spectrum, and the square of the plasma energy of a metal."""
        pairs = sums["transitions"].sum(axis=0)
        if self.quantity == "jdos":
            density = self.transitions.joint_density(pairs, self.energies)
            return self.operators.electrons_per_state * density, None
        response = self._susceptibility(pairs, self.energies)
        epsilon: NDArray[Any] = np.eye(3) + self.scale * response
        if "drude" not in sums:
            return epsilon, None
        plasma = self.scale * averaged(sums["drude"].sum(axis=0), self.mesh, 2)
        if self.drude is not None:
            epsilon = epsilon + drude_term(plasma, self.energies, self.drude)
        return epsilon, plasma


def drude_term(
    plasma_squared: NDArray[np.float64], energies: NDArray[np.float64], rate: float
) -> NDArray[np.complex128]:
    """Return −(ħω_p)²/(ω(ω + i rate)), (n, 3, 3)."""
    denominator: NDArray[np.complex128] = energies * (energies + 1j * rate)
    return np.asarray(-plasma_squared / denominator[:, None, None], dtype=np.complex128)


def kramers_kronig(
    energies: NDArray[np.float64], imaginary: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return Re ε − 1 of Im ε on even energies from 0, (n, …), by the Kramers–Kronig relation.

    The principal value (2/π) P∫ x ε₂(x)/(x² − ω²) dx is Maclaurin's sum over every second energy
    (K. Ohta and H. Ishida, Appl. Spectrosc. 42, 952 (1988)); what lies beyond the last energy is
    left out.
    """
    step = energies[1] - energies[0]
    if not np.allclose(np.diff(energies), step, rtol=1e-6, atol=0):
        raise UsageError("the Kramers–Kronig sum needs evenly spaced energies.")
    out = np.zeros_like(imaginary)
    for n, x in enumerate(energies):
        other = slice((n + 1) % 2, None, 2)
        weights = energies[other] / (energies[other] ** 2 - x**2)
        out[n] = 4 * step / np.pi * np.tensordot(weights, imaginary[other], axes=1)
    return out


def distinct(name: str, curves: NDArray[np.float64]) -> list[tuple[str, NDArray[np.float64]]]:
    """Return the diagonal elements (3, n) that differ, each with the axes that have it."""
    size = float(np.abs(curves).max()) or 1.0
    groups: list[tuple[str, NDArray[np.float64]]] = []
    for axis, curve in zip(_AXES, curves, strict=True):
        for number, (names, other) in enumerate(groups):
            if np.abs(curve - other).max() < 1e-3 * size:
                groups[number] = f"{names}, {axis}{axis}", other
                break
        else:
            groups.append((f"{axis}{axis}", curve))
    if len(groups) == 1:
        return [(name, groups[0][1])]
    return [(f"{name} {names}", curve) for names, curve in groups]


def tell_of_vacuum(calc: Calculation, what: str) -> None:
    """Say that a value belongs to a box with vacuum, and by what length it is that of a sheet."""
    reaches = [calc.require(name).pairs.periodic_axes for name in ("hamiltonian", "overlap")]
    open_axes = np.flatnonzero(~np.any(reaches, axis=0)) + 1
    if not len(open_axes):
        return
    names = ", ".join(f"a{axis}" for axis in open_axes)
    text = f"no orbitals reach from cell to cell along {names}: {what} of the box with its vacuum"
    if len(open_axes) == 1:
        cell = np.asarray(calc.structure.cell, dtype=np.float64)
        across = np.delete(cell, open_axes[0] - 1, axis=0)
        height = abs(np.linalg.det(cell)) / np.linalg.norm(np.cross(*across))
        text += f"; of the sheet, fields within it, they are {height:.4f} Å times as large"
    _log.warning("%s: %s.", calc.source, text)


def largest_change(values: NDArray[Any], coarse: NDArray[Any]) -> float | None:
    """Return the largest deviation of a coarser result over the largest value; None of nothing."""
    size = float(np.abs(values).max())
    return float(np.abs(values - coarse).max()) / size if size else None


def change_row(change: float | None) -> tuple[str, str]:
    """Return what is said of the convergence with the mesh."""
    if change is None:
        return (
            "half the mesh",
            "nothing to compare: give even numbers of points, Γ-centred",
        )
    text = f"changes by up to {100 * change:.3g}% of the largest value"
    return "half the mesh", text + "; take a finer mesh" * (change > _COARSE)


def draw_frame(
    axes: Any, energies: NDArray[np.float64], window: tuple[float, float] | None, label: str
) -> None:
    """Draw limits, labels and legend of a spectrum."""
    axes.set_xlim(*(window or (energies[0], energies[-1])))
    axes.set_xlabel("photon energy (eV)")
    axes.set_ylabel(label)
    axes.legend(frameon=False, fontsize="small")
