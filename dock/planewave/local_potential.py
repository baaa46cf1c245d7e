"""The total local potential of a run from its charge density and pseudopotentials alone.

V = V_Hartree + V_xc + Σ V_local, on the grid and with the plane waves of pw.x. The average of the
potential follows pw.x: no Hartree potential at G = 0, where the local pseudopotentials contribute
the integral of V_local(r) + Z e²/r.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dock.converters.qe import PlaneWaveDensity, read_density
from dock.core.arrays import FloatArray
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import FormatError
from dock.planewave.facts import RunFacts
from dock.planewave.upf import Pseudopotential
from dock.planewave.xc import functional_of, xc_potential
from dock.units import QE

__all__ = ["Waves", "density_potential", "require_matching", "run_density"]

_TABLE_STEP = 0.005  # 1/Bohr; cubic splines of functions that end at 10 Bohr err by 1e-8
_NO_MOMENT = 1e-12  # electrons/Bohr³: moments below this have no direction
_WAVES = 0.1  # the number of waves in a small sphere differs from its volume by less than this part
_REACH = 10.0  # Bohr; pw.x ends the integrals over the local potential there


@dataclass(frozen=True, eq=False)
class Waves:
    """Real fields on a grid and their plane waves in the half box of a real FFT.

    The reciprocal lattice vectors are (3, 3), rows, with 2π, 1/Bohr; plane waves are kept with
    |G|²/2 up to the cut-off.
    """

    reciprocal: FloatArray
    shape: tuple[int, int, int]
    cutoff_hartree: float

    @cached_property
    def indices(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Miller indices along the axes of the half box."""
        full = [np.rint(np.fft.fftfreq(n, 1 / n)).astype(np.int64) for n in self.shape]
        return full[0], full[1], np.arange(self.shape[2] // 2 + 1)

    def component(self, axis: int) -> NDArray[np.float64]:
        """Return G_x, G_y or G_z on the half box, 1/Bohr."""
        first, second, third = self.indices
        b = self.reciprocal[:, axis]
        return np.asarray(first[:, None, None] * b[0] + second[:, None] * b[1] + third * b[2])

    @cached_property
    def square(self) -> NDArray[np.float64]:
        """|G|² on the half box, 1/Bohr²."""
        return sum((self.component(axis) ** 2 for axis in range(3)), np.zeros(()))

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """Which plane waves are kept."""
        return self.square <= 2 * self.cutoff_hartree * (1 + 1e-10)

    def waves(self, values: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return the plane waves of a field, those outside the sphere zero."""
        from scipy.fft import rfftn

        found: NDArray[np.complex128] = rfftn(values, norm="forward")
        found *= self.inside
        return found

    def grid(self, waves: NDArray[np.complex128]) -> NDArray[np.float64]:
        """Return the field of some plane waves."""
        from scipy.fft import irfftn

        return np.asarray(irfftn(waves, self.shape, norm="forward"))

    def gradient(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ∇ of a field, (3, …), 1/Bohr."""
        waves = 1j * self.waves(values)
        return np.stack([self.grid(waves * self.component(axis)) for axis in range(3)])

    def divergence(self, field: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ∇· of a vector field."""
        waves = sum(self.waves(one) * self.component(axis) for axis, one in enumerate(field))
        return self.grid(1j * np.asarray(waves))


def require_matching(density: PlaneWaveDensity, facts: RunFacts) -> None:
    """Refuse with a FormatError a density of another cell, cut-off, spin or number of electrons."""
    run = facts.run

    def require(fits: bool, problem: str, expected: object, found: object) -> None:
        if not fits:
            fix = "Copy the density of this very run."
            raise FormatError(facts.folder, problem, expected=expected, found=found, fix=fix)

    cell = run.structure.reciprocal * QE.bohr_angstrom
    same_cell = np.allclose(density.reciprocal, cell, rtol=0, atol=1e-6)
    own_cell = density.reciprocal.tolist()
    require(same_cell, "density and XML have different cells", cell.tolist(), own_cell)
    longest = float(np.sum((density.miller @ density.reciprocal) ** 2, axis=1).max()) / 2
    waves = len(density.miller) * (2 if density.gamma_only else 1)
    wanted = density.volume * (2 * run.ecutrho_hartree) ** 1.5 / (6 * np.pi**2)
    require(
        longest <= run.ecutrho_hartree * (1 + 1e-6) and abs(waves / wanted - 1) <= _WAVES,
        "the density has another cut-off than the run",
        f"ecutrho of {run.ecutrho_hartree:g} Ha, about {wanted:.0f} plane waves",
        f"{waves} plane waves up to {longest:.4g} Ha",
    )
    components = 2 if run.spin is Spin.COLLINEAR else 1
    if run.spin is Spin.NONCOLLINEAR and facts.has_magnetization:
        components = 4
    n_found = len(density.values)
    problem = "the density has other spin components than the run"
    require(n_found == components, problem, components, n_found)
    same_count = abs(density.n_electrons - run.n_electrons) <= 1e-4 * run.n_electrons
    problem = "the density has another number of electrons than the run"
    require(same_count, problem, run.n_electrons, f"{density.n_electrons:.6f}")


def run_density(facts: RunFacts) -> PlaneWaveDensity:
    """Read the density of a run.

    Raises
    ------
    MissingDataError
        When there is none.
    FormatError
        When it is damaged, or the files of pw.x built with and without HDF5 are both there and hold
        different densities.
    """
    return read_density(facts.folder)


def density_potential(
    facts: RunFacts, density: PlaneWaveDensity, pseudos: Mapping[str, Pseudopotential]
) -> NDArray[np.float64]:
    """Return the local potential on the run's grid, eV.

    Returns
    -------
    ndarray
        (1, N_1, N_2, N_3) V; (2, …) of spin up and spin down; or (4, …) V, B_x, B_y, B_z, so that
        the potential is V + B·σ.

    Raises
    ------
    FormatError
        When the density is not the run's.
    UsageError
        For a functional that is not known.
    DependencyError
        Without libxc.
    """
    require_matching(density, facts)
    run = facts.run
    functional = functional_of(facts.functional)
    waves = Waves(density.reciprocal, run.fft_grid, run.ecutrho_hartree)
    fields = density.grid(run.fft_grid)
    structure = run.structure
    static, core = _ionic(waves, structure, pseudos, density.volume)
    square = np.where(waves.square > 0, waves.square, np.inf)
    static += 4 * np.pi * waves.waves(fields[0]) / square
    total = fields[0] if core is None else fields[0] + waves.grid(core)
    up_down, sign, moment = _spin_densities(total, fields[1:], facts.moment_axis)
    found = xc_potential(functional, up_down, waves.gradient, waves.divergence)
    found = np.stack([waves.grid(waves.waves(one)) for one in found]) + waves.grid(static)
    if len(fields) < 4:
        return found * QE.hartree_ev
    half = 0.5 * (found[0] - found[1]) * sign / np.maximum(moment, _NO_MOMENT)
    field = [half * np.where(moment > _NO_MOMENT, one, 0.0) for one in fields[1:]]
    limited = [waves.grid(waves.waves(one)) for one in field]
    return np.stack([0.5 * (found[0] + found[1]), *limited]) * QE.hartree_ev


def _spin_densities(
    total: NDArray[np.float64], magnetization: NDArray[np.float64], axis: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the density of each spin along the local moment, the moment's sign and size.

    Where all moments started along one axis, pw.x lets the local axis point to the same side of it
    everywhere, so that the spins' densities stay smooth where the moment changes sign.
    """
    if len(magnetization) == 0:
        return total[None], np.ones(()), np.ones(())
    if len(magnetization) == 1:
        moment = magnetization[0]
        return np.stack([total + moment, total - moment]) / 2, np.ones(()), np.ones(())
    size = np.sqrt(np.sum(magnetization**2, axis=0))
    sign = np.ones_like(size)
    if axis is not None:
        sign = np.where(np.tensordot(axis, magnetization, 1) >= 0, 1.0, -1.0)
    return np.stack([total + sign * size, total - sign * size]) / 2, sign, size


def _ionic(
    waves: Waves, structure: Structure, pseudos: Mapping[str, Pseudopotential], volume: float
) -> tuple[NDArray[np.complex128], NDArray[np.complex128] | None]:
    """Return the plane waves of Σ V_local, Hartree, and of the core charges."""
    local = np.zeros(waves.square.shape, dtype=np.complex128)
    core = np.zeros_like(local) if any(p.core is not None for p in pseudos.values()) else None
    length = np.sqrt(waves.square[waves.inside])
    fractional = structure.fractional
    labels = np.array(structure.labels)
    for label in dict.fromkeys(structure.labels):
        pseudo = pseudos[label]
        factor = _structure_factor(waves, fractional[labels == label])[waves.inside]
        local[waves.inside] += 0.5 * _local_table(pseudo, length) * factor / volume
        if core is not None and pseudo.core is not None:
            table = _transform(pseudo.r, _simpson(pseudo) * pseudo.r * pseudo.core, length)
            core[waves.inside] += table * factor / volume
    return local, core


def _structure_factor(waves: Waves, fractional: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return Σ_a exp(−iG·τ_a) on the half box, one plane of it at a time."""
    phases = [
        np.exp(-2j * np.pi * np.outer(index, fractional[:, axis]))
        for axis, index in enumerate(waves.indices)
    ]
    result = np.empty(waves.square.shape, dtype=np.complex128)
    last = np.ascontiguousarray(phases[2].T)
    for plane, phase in enumerate(phases[0]):
        result[plane] = (phases[1] * phase) @ last
    return result


def _simpson(pseudo: Pseudopotential) -> NDArray[np.float64]:
    """Return the weights of Simpson's rule on the mesh up to `_REACH`.

    pw.x takes the first point beyond it, too, and then one less where their number is even.
    """
    r = pseudo.r
    n = min(int(np.searchsorted(r, _REACH, side="right")) + 1, len(r))
    n -= 1 - n % 2
    weights = np.zeros(len(r))
    weights[1 : n - 1 : 2] = 4.0
    weights[2 : n - 1 : 2] = 2.0
    weights[0] = weights[n - 1] = 1.0
    return weights * pseudo.dr / 3


def _local_table(pseudo: Pseudopotential, length: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ∫ V_local exp(−iG·r) d³r of an atom at the lengths of G, Ry Bohr³."""
    from scipy.special import erf

    r, Z = pseudo.r, pseudo.valence
    weights = _simpson(pseudo)
    short = _transform(r, weights * (r * pseudo.local + 2 * Z * erf(r)), length)
    alpha = 4 * np.pi * float(np.sum(weights * r * (r * pseudo.local + 2 * Z)))
    square = np.where(length > 0, length**2, 1.0)
    result = short - 8 * np.pi * Z * np.exp(-square / 4) / square
    result[length == 0] = alpha
    return result


def _transform(
    r: FloatArray, weighted: FloatArray, length: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return 4π Σ weighted sin(Gr)/G from a spline over G; `weighted` has one factor r already."""
    from scipy.interpolate import CubicSpline

    used = np.flatnonzero(weighted)
    r, weighted = r[used], weighted[used]
    q = _TABLE_STEP * np.arange(int(np.ceil(float(length.max()) / _TABLE_STEP)) + 2)
    table = np.empty(len(q))
    table[0] = np.sum(weighted * r)
    for begin in range(1, len(q), 512):
        part = q[begin : begin + 512]
        table[begin : begin + 512] = np.sin(part[:, None] * r) @ weighted / part
    return np.asarray(4 * np.pi * CubicSpline(q, table)(length))
