"""The density of states, total and projected, by tetrahedra or broadening.

Values are averages over the bins of the energy grid: differences of the number of states at the
bins' edges. So the sum over a grid that covers the spectrum is the number of states to the last
digit, however narrow a band is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import UsageError
from dock.extras import require
from dock.io.progress import Report
from dock.post.bonds import BondProjector
from dock.post.dos_bins import Bins, Grid, make_bins, require_grid
from dock.post.dos_curves import DosCurves
from dock.post.energy_zero import Zero
from dock.post.fermi import fermi_level
from dock.post.projections import LevelProjector, OrbitalProjector, Projector
from dock.results import Result
from dock.states.certificates import Certificates
from dock.states.counted_level import is_other_count
from dock.states.fermi_level import Filling, Method, NotReached, filled_to, occupy
from dock.states.gap import Gap, Source
from dock.states.job import Job
from dock.states.kmesh import KMesh, Reduction, make_mesh
from dock.states.mulliken import Scheme
from dock.states.problem import Problem
from dock.states.smearing import Smearing
from dock.states.solver import Solver
from dock.states.spectrum import compute_spectrum, electrons_of
from dock.states.spectrum_part import Part, is_in_parts
from dock.states.stream import StatesAtK

if TYPE_CHECKING:
    from pymatgen.electronic_structure.dos import Dos

__all__ = ["DensityOfStates", "dos"]

_SLACK = 1e-3  # eV by which a Fermi level may move before its window is computed again
_SPREAD = 0.7  # of the reach of a smearing: 1e-9 of a level lies further away


@dataclass(frozen=True, eq=False, repr=False)
class DensityOfStates(Result):
    """A density of states.

    Attributes
    ----------
    structure, spin, mesh
        What was computed.
    energies : (n,)
        Centres of the bins, eV, absolute.
    total : (n_spin, n)
        States per eV and cell; both spins together for ``Spin.NONE`` and spinors.
    names, projected : (n_spin, n_names, n)
        Projections: states per eV and cell; COOP in 1/eV, COHP without unit.
    fermi_level, n_electrons
        The level that energies count from, eV, absolute: as of `dock.post.band_structure.bands`, so
        that both have one zero; electrons per cell.
    counted_level
        Fermi level that is counted on this mesh, eV, absolute.
    counted, capacity
        ∫ DOS up to the Fermi level, and the electrons per cell that all states hold.
    method
        ``tetrahedra`` or the broadening.
    gap
        Band edges on this mesh, and where `fermi_level` is from.
    filled : (n_names,)
        ∫ of each projection up to the Fermi level, whatever energies are shown; of a part of the
        spectrum, of the states that were computed.
    certificates
        Why no state is missing; None where that is not known.
    bonds
        ``coop`` or ``cohp`` where the projections are populations of bonds.
    """

    FILE = "dos.h5"
    STACKED = True

    structure: Structure
    spin: Spin
    mesh: KMesh
    energies: NDArray[np.float64]
    total: NDArray[np.float64]
    names: tuple[str, ...]
    projected: NDArray[np.float64]
    fermi_level: float
    counted_level: float
    n_electrons: float
    counted: float
    capacity: float
    method: str
    gap: Gap
    filled: NDArray[np.float64]
    certificates: Certificates | None = None
    bonds: Literal["", "coop", "cohp"] = ""

    @property
    def kind(self) -> str:
        """Insulator, semimetal or metal on this mesh."""
        return self.gap.kind

    @property
    def step(self) -> float:
        """Width of a bin, eV."""
        return float(self.energies[1] - self.energies[0])

    @property
    def covered(self) -> float:
        """∫ DOS over the grid, electrons per cell."""
        return float(self.total.sum() * self.step)

    def projection(self, name: str) -> NDArray[np.float64]:
        """Return one projection, (n_spin, n); `UsageError` lists the names that exist."""
        if name not in self.names:
            raise UsageError(f"no projection '{name}'. There are: {', '.join(self.names)}.")
        density: NDArray[np.float64] = self.projected[:, self.names.index(name)]
        return density

    @property
    def relative(self) -> NDArray[np.float64]:
        """(n,) energies from the Fermi level, eV."""
        relative: NDArray[np.float64] = self.energies - self.fermi_level
        return relative

    def facts(self) -> dict[str, Any]:
        """Return integrals, level, method, grid and mesh, by key; see `dock.results.KEYS`."""
        x = self.relative
        return {
            "formula": self.structure.formula,
            "spin": self.spin.value,
            "fermi_level_eV": self.fermi_level,
            "fermi_source": self.gap.fermi_source,
            "stored_fermi_level_eV": self.gap.stored,
            "counted_fermi_level_eV": self.counted_level,
            "n_electrons": self.n_electrons,
            "counted_electrons": self.counted,
            "integral_over_energies": self.covered,
            "capacity": self.capacity,
            "kind": self.kind,
            "gap_eV": self.gap.size,
            "vbm": None if self.gap.vbm is None else self.gap.vbm.facts(),
            "bonds": self.bonds or None,
            "smearing": self.method,
            "step_eV": self.step,
            **self.mesh.facts(),
            "projection_names": list(self.names),
            "emin_eV": float(x[0]),
            "emax_eV": float(x[-1]),
            "n_energies": len(x),
            **({} if self.certificates is None else self.certificates.facts()),
        }

    def arrays(self) -> dict[str, Any]:
        """Return energies and densities."""
        return {
            "energies_relative_eV": self.relative,
            "dos_1_per_eV": self.total,
            "projected_dos": self.projected,
        }

    def datasets(self) -> dict[str, Any]:
        """Return the datasets of DeepH's ``dos.h5``, and the spin channels and projections.

        ``energy`` is relative to the Fermi level, ``dos_data`` in states/eV/cell with all spins.
        ``dos_up`` and ``dos_down`` are there for collinear spin; ``projections`` (n_spin,
        n_names, n) and ``projection_names`` where projections were asked for.
        """
        content: dict[str, Any] = {
            "energy": self.relative,
            "dos_data": self.total.sum(axis=0),
            "fermi_energy_before_shift": np.float64(self.fermi_level),
        }
        if len(self.total) == 2:
            content["dos_up"], content["dos_down"] = self.total
        if self.names:
            content["projections"] = self.projected
            content["projection_names"] = list(self.names)
        return content

    def rows(self) -> list[tuple[str, str]]:
        """Return grid, method, level, integrals and the filled part of each projection."""
        x = self.relative
        error = self.counted - self.n_electrons
        counted = f"{self.counted:.10f} of {self.n_electrons:g} electrons ({error:+.1e})"
        rows = [
            ("energies", f"{len(x)} from {x[0]:.3f} to {x[-1]:.3f} eV, step {self.step:g} eV"),
            ("method", f"{self.method}; {self.mesh.describe()}"),
            ("Fermi level", f"{self.fermi_level:.6f} eV ({self.kind}; {self._level_words})"),
            *self.gap.stored_rows(),
            ("∫ to E_F", counted),
            ("∫ over energies", f"{self.covered:.10f} of {self.capacity:g} states"),
        ]
        if self.certificates is not None:
            rows += self.certificates.rows()
        is_part = self.certificates is not None and bool(np.any(self.certificates.n_below))
        among = " among the states computed" if is_part else ""
        for name, value in zip(self.names, self.filled, strict=True):
            rows.append((f"  {name}", f"{value:.6f} below E_F{among}"))
        return rows

    @property
    def _level_words(self) -> str:
        """Where the Fermi level is from, and what this mesh says where it is another one."""
        source = self.gap.fermi_source
        if self.gap.kind != "metal" or source == "counted":
            return source
        return f"{source}, counted on this mesh {self.counted_level:.6f} eV"

    @property
    def curves(self) -> DosCurves:
        """What a figure shows of it."""
        vbm = self.gap.vbm
        return DosCurves(
            self.energies,
            self.total,
            self.names,
            self.projected,
            self.fermi_level,
            None if vbm is None else vbm.energy,
            self.structure.formula,
            self.gap.words,
            self.method,
            self.bonds,
        )

    @property
    def n_panels(self) -> int:
        """One, and one below it for the populations of bonds."""
        return self.curves.n_panels

    def draw(
        self, axes: Any, *, window: tuple[float, float] | None = None, zero: Zero = "fermi"
    ) -> None:
        """Draw the total and the projections; spin down points downwards.

        Populations of bonds have axes of their own, where up means bonding for both spins: there
        COHP has the other sign, and spin down is dashed. Of more than ten projections the smallest
        are drawn as one. Energies count from the Fermi level, the valence band maximum (``vbm``),
        or are ``absolute``; the window is that of the axis, eV, default 6 on both sides of the
        Fermi level.
        """
        self.curves.draw(self.panels(axes), window, zero)

    def to_pymatgen(self) -> Dos:
        """Return pymatgen's ``Dos`` with absolute energies; `DependencyError` without pymatgen."""
        module = require("pymatgen.electronic_structure.dos", "pymatgen")
        core = require("pymatgen.electronic_structure.core", "pymatgen")
        spins = (core.Spin.up, core.Spin.down)
        densities = {spins[channel]: row for channel, row in enumerate(self.total)}
        result: Dos = module.Dos(self.fermi_level, self.energies, densities)
        return result


def dos(
    calc: Calculation,
    mesh: KMesh | Sequence[int] | None = None,
    *,
    method: Method = "tetrahedra",
    step: float = 0.01,
    window: tuple[float, float] | None = None,
    project: str | Sequence[str] | Projector | None = None,
    scheme: Scheme = "mulliken",
    electrons: float | None = None,
    fermi: Filling | None = None,
    average: bool = True,
    solver: str | Solver | Job = "auto",
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
    cache: str | Path | Sequence[str | Path] | None = None,
    counted: float | None = None,
) -> DensityOfStates:
    """Compute a density of states.

    Each k-point is diagonalised once. Eigenvectors are used and dropped one k-point at a time: the
    memory is that of the eigenvalues, the result, and one number per state and projection.

    Parameters
    ----------
    mesh
        A `KMesh`, three numbers of points (Γ-centred), or None for points 0.1/Å apart. A given
        `KMesh` must not be reduced further than the projections allow.
    method
        ``"tetrahedra"``, or a `Smearing` whose δ function broadens each level.
    step
        Width of the bins, eV.
    window
        (lowest, highest) energy in eV relative to the Fermi level; default: all states.
    project
        Fields such as ``"species,l"`` (`OrbitalProjector`), or any `Projector` (bonds).
    scheme
        ``mulliken`` or ``lowdin``.
    fermi
        A Fermi level found before on the same mesh (`fermi_level`); its eigenvalues are used.
    average
        False: the value of the broadened DOS at the bin's centre in place of the bin's average
        (not for tetrahedra).
    counted
        A Fermi level that energies count from in the place of that of the data, as in
        `dock.post.band_structure.bands`.
    electrons, solver, s_threshold, jobs, progress, cache
        As in `fermi_level`; projections need the states too and do not look at the cache. Of a
        large system, for which the solver finds a part of the states, a window is computed: its
        states and those that are broadened into it, or by tetrahedra the bands that enter it.

    Raises
    ------
    MissingDataError
        Without an electron count, Hamiltonian or overlap.
    UsageError
        For a step, window, mesh or projection without meaning.

    Examples
    --------
    >>> import dock
    >>> silicon = dos(dock.read("fixtures/openmx/si"), (4, 4, 4), step=0.05)
    >>> round(silicon.covered, 9), round(silicon.counted, 9)
    (20.0, 8.0)
    """
    require_grid(step, window, method, average=average)
    projector: Projector | None
    if isinstance(project, str | Sequence):
        projector = OrbitalProjector(calc, project, scheme)
    else:
        projector = project
    if fermi is not None:
        mesh = fermi.spectrum.mesh
    else:
        reduction: Reduction = "point-group" if projector is None else projector.reduction
        spacing = 0.1 if mesh is None else None
        mesh = make_mesh(calc, mesh, spacing=spacing, reduction=reduction)
    run: dict[str, Any] = {"solver": solver, "s_threshold": s_threshold, "jobs": jobs}
    run["progress"] = progress
    kept = None if projector is None else _Weights(projector, mesh)
    capacity, n_counted = Problem.of(calc).capacity, None
    given = counted
    if counted is None and not is_other_count(calc, electrons):
        given = calc.fermi_level
    zero = _Zero(given, "given" if counted is None else "counted", calc.fermi_level)
    if fermi is None:
        electrons = electrons_of(calc, electrons, capacity)  # before an hour is spent
    if window is not None and is_in_parts(Problem.of(calc), solver, mesh.n_points, jobs):
        part = Part(calc, mesh, **run)
        fermi, n_counted = _fill_window(
            part, window, method, zero, electrons=electrons, fermi=fermi, kept=kept
        )
    elif kept is not None:
        spectrum = compute_spectrum(calc, mesh, visit=kept.add, **run)
        if fermi is None:
            fermi = occupy(spectrum, electrons_of(calc, electrons, spectrum.capacity), method)
    elif fermi is None:
        about: dict[str, Any] = {"electrons": electrons, "smearing": method, "cache": cache}
        fermi = fermi_level(calc, mesh, whole=True, **about, **run)
    weights = None if kept is None else kept.at(fermi)
    gap = zero.of(fermi)
    grid = Grid.of(fermi.spectrum, zero.level(fermi), window, step, method)
    bins = make_bins(fermi.spectrum, grid, method, average=average)
    names = () if projector is None else projector.names
    if n_counted is None:
        n_counted = bins.below(fermi.spectrum, fermi.level) * fermi.spectrum.degeneracy
    result = _spread(fermi, gap, method, bins, names, weights, n_counted)
    return replace(result, bonds=projector.kind) if isinstance(projector, BondProjector) else result


class _Zero(NamedTuple):
    """The level that energies count from: one that is given, where the filling agrees with it."""

    given: float | None
    source: Source
    stored: float | None

    def of(self, fermi: Filling) -> Gap:
        """Return the gap of a filling, with the level that energies count from."""
        return fermi.gap.counting_from(self.given, self.source, fermi.level, self.stored)

    def level(self, fermi: Filling) -> float:
        """Return the level that energies count from, eV, absolute."""
        level = self.of(fermi).fermi_level
        return fermi.level if level is None else level


def _fill_window(
    part: Part,
    window: tuple[float, float],
    method: Method,
    zero: _Zero,
    *,
    electrons: float | None,
    fermi: Filling | None,
    kept: _Weights | None,
) -> tuple[Filling, float]:
    """Return the states that a window about the zero of energy needs, filled; electrons counted.

    Where the data have a level, in the window, one pass may tell both it and the states.
    """
    count = electrons or (0.0 if fermi is None else fermi.n_electrons)
    guess = zero.given
    inside = fermi is None and guess is not None and window[0] < 0 < window[1]
    if fermi is None and not inside:
        fermi = occupy(part.near_level(count, method, guess=guess), count, method)
    level = guess or 0.0 if fermi is None else zero.level(fermi)
    whole = not isinstance(method, Smearing)
    margin = _SLACK + (0.0 if isinstance(method, str) else _SPREAD * method.reach)
    while True:
        energies = level + window[0] - margin, level + window[1] + margin
        spectrum = part.in_window(energies, whole=whole, visit=None if kept is None else kept.add)
        if fermi is not None:
            return filled_to(spectrum, fermi), fermi.counted
        try:
            found = occupy(spectrum, count, method)
        except NotReached:
            found = occupy(part.near_level(count, method, guess=level), count, method)
        right = zero.level(found)
        if abs(right - level) < _SLACK and found.spectrum is spectrum:
            return found, found.counted
        level, fermi = right, found


def _spread(
    fermi: Filling,
    gap: Gap,
    method: Method,
    bins: Bins,
    names: tuple[str, ...],
    weights: NDArray[np.float64] | None,
    counted: float,
) -> DensityOfStates:
    """Return the states in bins, and with them the weights (n_spin, n_k, n_names, n_bands)."""
    spectrum, grid = fermi.spectrum, bins.grid
    energies = [np.array(part) for part in spectrum.energies]
    if spectrum.is_part:  # what was not computed lies beyond all that reaches into the grid
        far = 1.0 + grid.step + (method.reach if isinstance(method, Smearing) else 0.0)
        low, high = grid.first - far, grid.first + grid.n_bins * grid.step + far
        energies = [np.nan_to_num(part, neginf=low, posinf=high) for part in energies]
    total = np.stack([bins.total(part) for part in energies])
    projected, filled = np.zeros((len(total), 0, grid.n_bins)), np.zeros(0)
    if weights is not None:
        parts = zip(energies, weights, strict=True)
        projected = np.stack([bins.project(part, rows) for part, rows in parts])
        filled = np.einsum("skb,sknb->n", fermi.occupations, weights)
    factor = spectrum.degeneracy / grid.step
    return DensityOfStates(
        spectrum.structure,
        spectrum.spin,
        spectrum.mesh,
        grid.centres,
        total * factor,
        names,
        projected * factor,
        fermi.level if gap.fermi_level is None else gap.fermi_level,
        fermi.level,
        fermi.n_electrons,
        counted,
        spectrum.capacity,
        "tetrahedra" if not isinstance(method, Smearing) else f"{method.kind} {method.width:g} eV",
        gap,
        filled,
        spectrum.certificates,
    )


class _Weights:
    """What a projector says of the states of a mesh, kept until the Fermi level is known."""

    def __init__(self, projector: Projector, mesh: KMesh) -> None:
        _require_points(mesh, projector)
        self._projector = projector
        self._by_level = projector if isinstance(projector, LevelProjector) else None
        self._found: dict[tuple[int, int], tuple[int, NDArray[np.float64]]] = {}
        self._slopes: dict[tuple[int, int], NDArray[np.float64]] = {}

    def add(self, at: StatesAtK) -> None:
        """Keep the numbers of the states of one k-point and channel, in place of earlier ones."""
        vectors: Any = at.states.vectors
        place = at.channel, at.number
        values = self._projector.weights(at.channel, at.k_frac, vectors)
        self._found[place] = at.states.n_below, values
        if self._by_level is not None:
            self._slopes[place] = self._by_level.slopes(at.channel, at.k_frac, vectors)

    def at(self, fermi: Filling) -> NDArray[np.float64]:
        """Return (n_spin, n_k, n_names, n_bands) for a Fermi level; called once."""
        spectrum = fermi.spectrum
        n_spin, n_points, n_bands = spectrum.energies.shape
        out = np.zeros((n_spin, n_points, len(self._projector.names), n_bands))
        for place, (n_below, values) in self._found.items():
            if self._by_level is not None:
                values = values + fermi.level * self._slopes[place]
            first = n_below - spectrum.n_below
            part = values[:, max(-first, 0) : n_bands - first]
            out[place][:, max(first, 0) : max(first, 0) + part.shape[1]] = part
        return out


def _require_points(mesh: KMesh, projector: Projector) -> None:
    """Refuse a mesh in which symmetric points, whose projections differ, are left out."""
    symmetry = mesh.symmetry
    if symmetry is None or projector.reduction == "point-group":
        return
    rotations = [item for item in symmetry.operations if not item.is_unit_rotation]
    if rotations or (projector.reduction == "none" and mesh.n_points < mesh.n_full):
        raise UsageError(
            f"these projections need a mesh reduced by '{projector.reduction}' only; the mesh "
            "given leaves out more points."
        )
