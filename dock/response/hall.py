"""Intrinsic anomalous Hall conductivity: the Berry curvature of all filled states.

    σ_yz, σ_zx, σ_xy = −(e²/ħ) ∫ d³k/(2π)³ Σ_n f_n Ω_n,   components x, y, z of Ω

with the curvature of `dock.response.curvature` and the sign of WannierBerri. Source: Y. Yao et al.,
Phys. Rev. Lett. 92, 037204 (2004); peaks are refined as there: where |Σ f Ω| of a point is large,
the cell of the mesh about it is divided into a finer mesh.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.calculation import Calculation
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import ConventionError, UsageError
from dock.io.progress import Report
from dock.response.curvature import Curvature, Method, require_method
from dock.response.gaps import level_of
from dock.response.kdata import KData
from dock.response.mesh_sum import mesh_sum
from dock.response.operators import Operators
from dock.response.tensors import averaged
from dock.results import Result
from dock.states.dense import Dense
from dock.states.job import Job
from dock.states.kmesh import KMesh, make_mesh
from dock.states.smearing import Smearing
from dock.states.solver import Removal, Solver, Want
from dock.states.stream import StatesAtK
from dock.style import colours, ink

__all__ = ["CONDUCTANCE", "AnomalousHall", "anomalous_hall"]

CONDUCTANCE = 2.434134807e-4
"""e²/ħ in S (CODATA 2018)."""

_log = logging.getLogger("dock")

_FEW = 0.2  # electrons by which a mesh of a metal may miss the count without a word
_PER_CM = 1e8  # 1/Å in 1/cm
_PAIRS = ("yz", "zx", "xy")


@dataclass(frozen=True, eq=False, repr=False)
class AnomalousHall(Result):
    """Anomalous Hall conductivity.

    Attributes
    ----------
    structure, mesh
        What it was computed of, and on which k-points.
    conductivity : float64 (3,)
        σ_yz, σ_zx, σ_xy at the Fermi level, S/cm.
    change : float64 (3,) or None
        By how much it differs from that of the mesh of half the size, S/cm.
    fermi_level
        eV, absolute.
    temperature
        Of the occupations, K; 0 for a sharp edge.
    levels, scan
        Energies from the Fermi level (n,), and the conductivity with the Fermi level there (n, 3),
        S/cm; empty without a scan.
    method
        ``full`` or ``kubo``.
    refined
        Share of the mesh's points about which the mesh was refined.
    counted
        Electrons per cell up to the Fermi level on this mesh.
    """

    FILE = "anomalous_hall.h5"
    FIGURE = (5.0, 3.8)

    structure: Structure
    mesh: KMesh
    conductivity: NDArray[np.float64]
    change: NDArray[np.float64] | None
    fermi_level: float
    temperature: float
    levels: NDArray[np.float64]
    scan: NDArray[np.float64]
    method: Method
    refined: float
    counted: float

    def facts(self) -> dict[str, Any]:
        """Return the conductivity by key; see `dock.results.KEYS`."""
        change = self.change
        return {
            "formula": self.structure.formula,
            "ahc_S_per_cm": [float(x) for x in self.conductivity],
            "ahc_change_S_per_cm": None if change is None else [float(x) for x in change],
            "fermi_level_eV": self.fermi_level,
            "temperature_K": self.temperature,
            "method": self.method,
            "refined_share": self.refined,
            "counted_electrons": self.counted,
            **self.mesh.facts(),
        }

    def arrays(self) -> dict[str, Any]:
        """Return the scan over the Fermi level."""
        if not len(self.levels):
            return {}
        return {"energies_relative_eV": self.levels, "ahc_scan_S_per_cm": self.scan}

    def rows(self) -> list[tuple[str, str]]:
        """Return conductivity, its change from the coarser mesh, and how it was made, in words."""
        values = "  ".join(
            f"σ_{p} {x:+.4f}" for p, x in zip(_PAIRS, self.conductivity, strict=True)
        )
        rows = [("anomalous Hall", f"{values}  S/cm")]
        if self.change is not None:
            changes = "  ".join(f"{x:+.4f}" for x in self.change)
            rows.append(("from half the mesh", f"{changes}  S/cm"))
        else:
            rows.append(("from half the mesh", "unknown: it has none (even numbers, Γ-centred)"))
        edge = "sharp" if not self.temperature else f"Fermi-Dirac at {self.temperature:g} K"
        rows.append(("Fermi level", f"{self.fermi_level:.6f} eV ({edge})"))
        rows.append(("electrons", f"counted {self.counted:.6f} up to there"))
        rows.append(("k-mesh", self.mesh.describe()))
        if self.refined:
            rows.append(("refined", f"{100 * self.refined:.2f} % of the points"))
        if self._is_zero_by_symmetry:
            rows.append(("symmetry", "time reversal makes it zero"))
        if len(self.levels):
            first, last = self.levels[[0, -1]]
            rows.append(("scan", f"{len(self.levels)} levels from {first:+g} to {last:+g} eV"))
        return rows

    @property
    def _is_zero_by_symmetry(self) -> bool:
        symmetry = self.mesh.symmetry
        return symmetry is not None and any(
            operation.reverses_time and operation.is_unit_rotation
            for operation in symmetry.operations
        )

    def draw(self, axes: Any) -> None:
        """Draw the scan over the Fermi level; `UsageError` without one."""
        if not len(self.levels):
            raise UsageError("a figure of the Hall conductivity needs a scan: pass energies.")
        dashes = ("-", (0, (4, 4)), ":")  # components that symmetry makes equal are both seen
        for values, pair, colour, dash in zip(
            self.scan.T, _PAIRS, colours()[:3], dashes, strict=True
        ):
            style: dict[str, Any] = {"color": colour, "ls": dash, "lw": 1.4}
            axes.plot(self.levels, values, label=f"σ$_{{{pair}}}$", **style)
        axes.axvline(0.0, color=ink(0.5), lw=0.8, ls=":")
        axes.axhline(0.0, color=ink(0.5), lw=0.6)
        axes.set_xlim(self.levels[0], self.levels[-1])
        axes.set_xlabel("Fermi level (eV, from the true one)")
        axes.set_ylabel("Hall conductivity (S/cm)")
        axes.set_title(self.structure.formula, fontsize="medium")
        axes.legend(frameon=False, fontsize="small")


def anomalous_hall(
    calc: Calculation,
    mesh: KMesh | Sequence[int] | None = None,
    *,
    fermi_level: float | None = None,
    energies: ArrayLike = (),
    temperature: float = 0.0,
    method: Method = "full",
    refine: int = 1,
    refine_above: float = 100.0,
    solver: str | Solver | Job = "auto",
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
) -> AnomalousHall:
    """Compute the anomalous Hall conductivity on a mesh.

    Parameters
    ----------
    calc
        A calculation of spinors (or with complex matrices) with positions, or with radial functions
        to compute them from.
    mesh
        A `KMesh`, three numbers of points, or None for points 0.2/Å apart.
    fermi_level
        eV, absolute; default that of the data.
    energies
        Fermi levels (eV, from that one) at which the conductivity is computed too.
    temperature
        Of the occupations, K; 0: a sharp edge.
    method
        ``full`` or ``kubo``: see `dock.response.berry`.
    refine
        Points along each side of the finer mesh, an odd number, 1 for none.
    refine_above
        |Σ f Ω| of a k-point at `fermi_level`, Å², above which the mesh is refined about it.

    Raises
    ------
    ConventionError
        For real matrices without spinors: it is zero by symmetry.
    MissingDataError
        Without H, S, positions or a Fermi level.
    UsageError
        For a mesh, temperature or refinement without meaning.

    Examples
    --------
    >>> from dock.structures import haldane
    >>> found = anomalous_hall(haldane(), (12, 12, 1), fermi_level=0.0)
    >>> float(round(found.conductivity[2] * 10e-8 / 2 / 3.874045865e-5, 4))  # e²/h for each spin
    1.0
    """
    require_method(method)
    _require_refinement(refine, refine_above, temperature)
    # Before positions are asked for: no basis helps what is zero.
    is_real = calc.hamiltonian is not None and not calc.hamiltonian.is_complex
    if is_real and calc.spin is not Spin.NONCOLLINEAR:
        raise ConventionError(
            f"{calc.source}: the anomalous Hall conductivity of spin '{calc.spin.value}' is zero "
            "by symmetry: its matrices are real, and the curvature at −k is minus that at k. It "
            "needs spin–orbit coupling: run the code with spinors."
        )
    operators = Operators.of(calc, position=True)
    level = level_of(calc, fermi_level)
    points = make_mesh(calc, mesh)
    scan = np.asarray(energies, dtype=np.float64).reshape(-1)
    levels = level + np.concatenate([[0.0], scan])
    removal = Job.of(solver).removal
    task = _Task(
        levels, temperature, method, refine, refine_above, points.size, s_threshold, removal
    )
    words = repr(("hall", task, operators.midpoint and operators.midpoint.digest()))
    sums = mesh_sum(
        operators,
        points,
        task.terms,
        words,
        solver=solver,
        jobs=jobs,
        progress=progress,
        s_threshold=s_threshold,
    )
    factor = -CONDUCTANCE * _PER_CM * operators.electrons_per_state / operators.cell_volume

    def conductivity(parts: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
        whole = averaged(parts["curvature"].sum(axis=0), points, 1, axial=True, time="odd")
        return factor * whole

    counted = float(sums.whole["electrons"].sum()) * operators.electrons_per_state
    _tell_count(calc, counted, level)
    found = conductivity(sums.whole)
    change = None if sums.half is None else found[0] - conductivity(sums.half)[0]
    return AnomalousHall(
        calc.structure,
        points,
        found[0],
        change,
        level,
        temperature,
        scan,
        found[1:],
        method,
        float(sums.whole["refined"].mean()),
        counted,
    )


def _tell_count(calc: Calculation, counted: float, level: float) -> None:
    """Say where the level is not that of the electrons: it may lie outside the gap."""
    if calc.n_electrons is not None and abs(counted - calc.n_electrons) > _FEW:
        _log.warning(
            "%.4f electrons lie below %.6f eV on this mesh, not %g: 'dock fermi' counts the level "
            "that they have; pass it, fermi_level=E.",
            counted,
            level,
            calc.n_electrons,
        )


def _require_refinement(refine: int, refine_above: float, temperature: float) -> None:
    if refine < 1 or refine % 2 == 0:
        raise UsageError(f"a mesh is refined by an odd number of points, found {refine}.")
    if np.isnan(refine_above):
        raise UsageError("the curvature above which a mesh is refined is a number (Å²), found nan.")
    if not 0 <= temperature < np.inf:
        raise UsageError(f"a temperature is not negative (K), found {temperature}.")


@dataclass(frozen=True, eq=False)
class _Task:
    """What is summed at a k-point; `repr` says all that it depends on."""

    levels: NDArray[np.float64]
    temperature: float
    method: Method
    refine: int
    refine_above: float
    size: tuple[int, int, int]
    s_threshold: float | None
    removal: Removal
    dense: Dense = field(default_factory=Dense)  # one for all: it knows what is left out

    def __repr__(self) -> str:
        """Return every number to the last digit: sums that are kept are found by it."""
        return repr((self.levels.tolist(), *list(vars(self).values())[1:-1]))

    def terms(self, data: KData) -> dict[str, NDArray[Any]]:
        """Return Σ f Ω (n_levels, 3) of a point, or its mean over the finer mesh about it."""
        total = self._curvature(data)
        # At the true Fermi level: of a scan over wide bands nearly every point is large somewhere.
        large = bool(np.linalg.norm(total[0]) > self.refine_above)
        if self.refine > 1 and large:
            parts = [self._curvature(part) for part in self._about(data)]
            total = np.mean([total, *parts], axis=0)
        electrons = self._occupations(data.energies)[0].sum()
        refined = float(large and self.refine > 1)
        return {
            "curvature": total,
            "electrons": np.array(electrons),
            "refined": np.array(refined),
        }

    def _curvature(self, data: KData) -> NDArray[np.float64]:
        filled = self._occupations(data.energies)
        some = np.flatnonzero(filled.any(axis=0))
        if not len(some):
            return np.zeros((len(self.levels), 3))
        return Curvature.of(data, int(some[-1]) + 1, self.method).summed(filled)

    def _occupations(self, energies: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return f (n_levels, n_states)."""
        levels = self.levels[:, None]
        if not self.temperature:
            return (energies <= levels).astype(np.float64)
        filled = Smearing.fermi_dirac(self.temperature).occupation(energies[None], levels)
        return np.where(filled < 1e-15, 0.0, filled)

    def _about(self, data: KData) -> list[KData]:
        """Return the data of the finer mesh about a point, which is its middle, without it."""
        half = self.refine // 2
        ticks = np.arange(-half, half + 1) / self.refine
        axes = [ticks if n > 1 else np.zeros(1) for n in self.size]
        want = Want(vectors=True, s_threshold=self.s_threshold, removal=self.removal)
        found = []
        for offset in itertools.product(*axes):
            if any(offset):
                k = data.k_frac + np.array(offset) / np.array(self.size)
                solved = self.dense.solve(data.operators.problem, data.channel, k, want)
                at = StatesAtK(data.channel, data.number, k, solved)
                found.append(KData.of(data.operators, at))
        return found
