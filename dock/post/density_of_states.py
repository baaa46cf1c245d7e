"""The density of states, total and projected, by tetrahedra or broadening.

Values are averages over the bins of the energy grid: differences of the number of states at the
bins' edges. So the sum over a grid that covers the spectrum is the number of states to the last
digit, however narrow a band is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import UsageError
from dock.io.progress import Report
from dock.post.dos_bins import Bins, Grid, make_bins
from dock.post.fermi import FermiResult, Method, fermi_level
from dock.post.population import Scheme
from dock.post.projections import OrbitalProjector, Projector
from dock.states.kmesh import KMesh, Reduction, make_mesh
from dock.states.problem import Problem
from dock.states.smearing import Smearing
from dock.states.solver import Want
from dock.states.spectrum import Spectrum
from dock.states.stream import states

if TYPE_CHECKING:
    from pymatgen.electronic_structure.dos import Dos

__all__ = ["DensityOfStates", "dos"]


@dataclass(frozen=True, eq=False)
class DensityOfStates:
    """A density of states.

    Attributes
    ----------
    structure, spin, mesh
        What was computed.
    energies : (n,)
        Centres of the bins, eV, absolute.
    total : (n_spin, n)
        States per eV and cell; both spins together for ``Spin.NONE`` and spinors.
    names
        Names of the projections.
    projected : (n_spin, n_names, n)
        States per eV and cell of each projection; COOP in 1/eV, COHP without unit.
    fermi_level
        eV, absolute.
    n_electrons
        Electrons per cell.
    counted
        ∫ DOS up to the Fermi level, electrons per cell.
    capacity
        Electrons that all states hold.
    method
        ``tetrahedra``, or the broadening.
    kind
        ``insulator`` or ``metal`` on this mesh.
    """

    structure: Structure
    spin: Spin
    mesh: KMesh
    energies: NDArray[np.float64]
    total: NDArray[np.float64]
    names: tuple[str, ...]
    projected: NDArray[np.float64]
    fermi_level: float
    n_electrons: float
    counted: float
    capacity: float
    method: str
    kind: str = "unknown"

    @property
    def step(self) -> float:
        """Width of a bin, eV."""
        return float(self.energies[1] - self.energies[0])

    @property
    def covered(self) -> float:
        """∫ DOS over the grid, electrons per cell."""
        return float(self.total.sum() * self.step)

    def projection(self, name: str) -> NDArray[np.float64]:
        """Return one projection, (n_spin, n).

        Raises
        ------
        UsageError
            Listing the names that exist.
        """
        if name not in self.names:
            raise UsageError(f"no projection '{name}'. There are: {', '.join(self.names)}.")
        found: NDArray[np.float64] = self.projected[:, self.names.index(name)]
        return found

    def save(self, path: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write ``dos.h5`` in the DeepH layout and the same as JSON; return both paths."""
        from dock.post.dos_files import save

        return save(self, Path(path), overwrite=overwrite)

    def plot(
        self,
        path: str | Path,
        *,
        window: tuple[float, float] | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Draw the density of states; return the file."""
        from dock.post.plot_dos import plot_dos

        return plot_dos(self, Path(path), window=window, overwrite=overwrite)

    def to_pymatgen(self) -> Dos:
        """Return pymatgen's ``Dos`` with absolute energies.

        Raises
        ------
        DependencyError
            Without pymatgen.
        """
        from dock.extras import require

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
    fermi: FermiResult | None = None,
    average: bool = True,
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
) -> DensityOfStates:
    """Compute a density of states.

    Parameters
    ----------
    calc
        A calculation with Hamiltonian and overlap.
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
    electrons
        Valence electrons per cell; default those of the calculation.
    fermi
        A Fermi level found before on the same mesh; its eigenvalues are used.
    average
        False: the value of the broadened DOS at the bin's centre in place of the bin's average
        (not for tetrahedra).
    s_threshold, jobs, progress
        As in `fermi_level`.

    Raises
    ------
    MissingDataError
        Without an electron count, Hamiltonian or overlap.
    UsageError
        For a step, window, mesh or projection without meaning.

    Notes
    -----
    Eigenvectors are used and dropped one k-point at a time: the memory is that of the eigenvalues
    and of the result.

    Examples
    --------
    >>> import dock
    >>> silicon = dos(dock.read("fixtures/openmx/si"), (4, 4, 4), step=0.05)
    >>> round(silicon.covered, 9), round(silicon.counted, 9)
    (20.0, 8.0)
    """
    if not 0 < step < np.inf:
        raise UsageError(f"the energy step must be a positive number of eV, found {step}.")
    projector = _projector(calc, project, scheme)
    reduction: Reduction = "point-group" if projector is None else projector.reduction
    if fermi is None:
        chosen = _mesh(calc, mesh, reduction)
        fermi = fermi_level(
            calc,
            chosen,
            electrons=electrons,
            smearing=method,
            s_threshold=s_threshold,
            jobs=jobs,
            progress=None if projector is not None else progress,
        )
    spectrum = fermi.spectrum
    if projector is not None:
        _require_points(spectrum.mesh, projector)
    grid = Grid.of(spectrum, fermi.level, window, step, method)
    bins = make_bins(spectrum, grid, method, average=average)
    total = np.stack([bins.total(np.array(part)) for part in spectrum.energies])
    names: tuple[str, ...] = () if projector is None else projector.names
    projected = np.zeros((len(total), len(names), grid.n_bins))
    if projector is not None:
        _project(calc, spectrum, projector, bins, projected, s_threshold, jobs, progress)
    factor = spectrum.degeneracy / step
    return DensityOfStates(
        calc.structure,
        calc.spin,
        spectrum.mesh,
        grid.centres,
        total * factor,
        names,
        projected * factor,
        fermi.level,
        fermi.n_electrons,
        bins.below(spectrum, fermi.level) * spectrum.degeneracy,
        spectrum.capacity,
        "tetrahedra" if not isinstance(method, Smearing) else f"{method.kind} {method.width:g} eV",
        fermi.gap.kind,
    )


def _project(
    calc: Calculation,
    spectrum: Spectrum,
    projector: Projector,
    bins: Bins,
    out: NDArray[np.float64],
    s_threshold: float | None,
    jobs: int | None,
    progress: Report,
) -> None:
    """Add the projections of all states to `out`, one k-point after another."""
    n_bands = spectrum.energies.shape[2]
    want = Want(vectors=True, s_threshold=s_threshold)
    points = spectrum.mesh.points
    for at in states(Problem.of(calc), points, want, jobs=jobs, progress=progress):
        vectors: Any = at.states.vectors
        weights = projector.weights(at.channel, at.k_frac, vectors[:, :n_bands])
        bins.project(np.array(spectrum.energies[at.channel]), at.number, weights, out[at.channel])


def _projector(
    calc: Calculation, project: str | Sequence[str] | Projector | None, scheme: Scheme
) -> Projector | None:
    if project is None:
        return None
    if isinstance(project, str | Sequence):
        return OrbitalProjector(calc, project, scheme)
    return project


def _mesh(calc: Calculation, mesh: KMesh | Sequence[int] | None, reduction: Reduction) -> KMesh:
    if isinstance(mesh, KMesh):
        return mesh
    spacing = 0.1 if mesh is None else None
    return make_mesh(calc, mesh, spacing=spacing, reduction=reduction)


def _require_points(mesh: KMesh, projector: Projector) -> None:
    """Refuse a mesh in which symmetric points, whose projections differ, are left out."""
    symmetry = mesh.symmetry
    if symmetry is None or projector.reduction == "point-group":
        return
    rotations = [one for one in symmetry.operations if not one.is_unit_rotation]
    if rotations or (projector.reduction == "none" and mesh.n_points < mesh.n_full):
        raise UsageError(
            f"these projections need a mesh reduced by '{projector.reduction}' only; the mesh "
            "given leaves out more points."
        )
