"""Eigenvalues on a k-mesh, their file, and the fingerprint under which they may be used again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock._version import __version__
from dock.core.calculation import Calculation
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import DockError, MissingDataError, OutputError, UsageError
from dock.io.hdf5 import new_hdf5, open_hdf5
from dock.io.progress import Report
from dock.states.certificates import Certificates
from dock.states.job import Job
from dock.states.kmesh import KMesh
from dock.states.problem import Problem
from dock.states.solver import Solver, Want
from dock.states.stream import Levels, StatesAtK, states

__all__ = [
    "Spectrum",
    "compute_spectrum",
    "electrons_of",
    "is_kept",
    "load_spectrum",
    "save_spectrum",
]

_AGAIN = "Delete it: the eigenvalues are computed again."


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues of a structure on a mesh: all of them, or those about the Fermi level.

    `energies` (n_spin, n_k, n_bands) are in eV, absolute, ascending, at the irreducible points;
    `fingerprint` is a hash of H, S, the mesh, and the settings of the solver; `n_removed` the
    largest number of states that an ill-conditioned S cost at a k-point.

    Of a part of the spectrum the first column is the state with `n_below` below it in its channel;
    −∞ stands for a state below those that its k-point has, ∞ for one above. `size` is the number of
    states of a channel in all, `certificates` say why none is missing, and between the energies of
    a `window` (eV) there are no others.
    """

    structure: Structure
    spin: Spin
    mesh: KMesh
    energies: NDArray[np.float64]
    fingerprint: str
    n_removed: int = 0
    n_below: int = 0
    size: int | None = None
    certificates: Certificates | None = None
    window: tuple[float, float] | None = None

    @property
    def is_part(self) -> bool:
        """Whether some states are not here."""
        return self.size is not None

    @property
    def below(self) -> float:
        """Electrons per cell in the states below the first column, all of them full."""
        return float(len(self.energies) * self.n_below * self.degeneracy)

    @property
    def degeneracy(self) -> int:
        """Electrons that one state holds."""
        return self.spin.degeneracy

    @cached_property
    def capacity(self) -> float:
        """Electrons per cell that all states together hold."""
        n_spin, _, n_bands = self.energies.shape
        return float(n_spin * (self.size or n_bands) * self.degeneracy)


def compute_spectrum(
    calc: Calculation,
    mesh: KMesh,
    *,
    solver: str | Solver | Job = "auto",
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
    visit: Callable[[StatesAtK], None] | None = None,
) -> Spectrum:
    """Diagonalise at every irreducible point of a mesh.

    Parameters
    ----------
    calc, mesh
        A calculation with Hamiltonian and overlap, and the k-points.
    solver
        See `dock.states.stream.states`.
    s_threshold
        Leave out combinations of orbitals with an overlap eigenvalue below this.
    jobs
        Threads; default the CPUs that this process may use.
    progress
        Told of each finished eigenproblem.
    visit
        Called with the states of each k-point and channel, in order, before their vectors are
        dropped; vectors are computed only for it. A threshold leaves some k-points with more
        states than the bands of the result, at the top.

    Raises
    ------
    MissingDataError
        When Hamiltonian or overlap is missing.
    SolverError
        When S(k) is not positive definite or an entry is not finite.
    """
    problem = Problem.of(calc)
    problem.require_known(mesh.points)
    want = Want(vectors=visit is not None, s_threshold=s_threshold)
    solved = []
    run: dict[str, Any] = {"solver": solver, "jobs": jobs, "progress": progress}
    for at in states(problem, mesh.points, want, **run):
        if visit is not None:
            visit(at)
        solved.append(replace(at.states, vectors=None))
    levels = Levels.gather(solved, problem.n_channels)
    # Combinations that the threshold removed are missing at the top of some k-points: those
    # bands are left out everywhere, far above anything that is occupied.
    count = int(np.isfinite(levels.energies).all(axis=(0, 1)).sum())
    energies = np.ascontiguousarray(levels.energies[:, :, :count])
    energies.flags.writeable = False
    mark = problem.fingerprint(mesh, s_threshold=s_threshold)
    if s_threshold is not None and (removal := Job.of(solver).removal) != "project":
        mark = f"{mark}-{removal}"  # which no cache is asked for
    removed = int(levels.n_removed.max(initial=0))
    about = (calc.structure, calc.spin, mesh)
    return Spectrum(*about, energies, mark, removed, certificates=levels.certificates)


def electrons_of(calc: Calculation, electrons: float | None, capacity: float) -> float:
    """Return the electron count, or a `MissingDataError` that says how to give it.

    `UsageError` where the states cannot hold that many, or all are filled.
    """
    count = calc.n_electrons if electrons is None else electrons
    if count is None:
        raise MissingDataError(
            "the number of electrons",
            calc.source,
            "Pass electrons=N (valence electrons per cell), or write it as 'occupation' "
            "into info.json.",
        )
    if not 0 < count < capacity:
        raise UsageError(
            f"{calc.source}: {count:g} electrons do not fit into states for {capacity:g} "
            "(none may be left empty, not all may be filled). Pass the valence electrons per "
            "cell: electrons=N."
        )
    return float(count)


def save_spectrum(spectrum: Spectrum, path: Path, *, overwrite: bool = False) -> Path:
    """Write eigenvalues on the whole mesh: ``kmesh``, ``kpoints``, ``eigval_data`` (N_k, N_band).

    ``eigval_data`` merges and sorts the spin channels at each k-point, as the doubled
    eigenproblem of a spinful folder does; of a part of the spectrum it has the bands that are there
    at every k-point, and ``partial_spectrum`` says so. The group ``irreducible`` has what was
    computed, one row per spin channel, and the fingerprint under which all eigenvalues may be used
    again. A file that holds
    these very eigenvalues already is left as it is; one with others is an `OutputError` without
    `overwrite`, as is a place that cannot be written.
    """
    if _holds(path, spectrum.fingerprint):
        return path
    if path.exists() and not overwrite:
        raise OutputError(
            f"{path}: exists already, with the eigenvalues of another H, S or mesh. Pass "
            "overwrite=True to replace it."
        )
    mesh = spectrum.mesh
    everywhere = np.isfinite(spectrum.energies).all(axis=(0, 1))
    common = spectrum.energies[:, :, everywhere]
    merged = np.sort(common.transpose(1, 0, 2).reshape(mesh.n_points, -1), axis=1)
    with new_hdf5(path, overwrite=overwrite) as file:
        file["kmesh"] = np.array(mesh.size, dtype=np.int64)
        file["kpoints"] = mesh.full_points
        file["eigval_data"] = merged[mesh.index]
        file["partial_spectrum"] = np.bool_(spectrum.is_part)
        group = file.create_group("irreducible")
        group["energies"] = np.where(np.isfinite(spectrum.energies), spectrum.energies, np.nan)
        if spectrum.is_part and spectrum.certificates is not None:
            for name, values in spectrum.certificates.arrays().items():
                group[name] = values.astype(object) if values.dtype.kind == "U" else values
        group["points"] = mesh.points
        group["weights"] = mesh.weights
        group["index"] = mesh.index
        file.attrs["fingerprint"] = spectrum.fingerprint
        file.attrs["spin"] = spectrum.spin.value
        file.attrs["n_removed_states"] = spectrum.n_removed
        file.attrs["first_band"] = spectrum.n_below + 1
        file.attrs["unit"] = "eV, absolute"
        file.attrs["written_by"] = f"dock {__version__}"
    return path


def load_spectrum(
    calc: Calculation,
    mesh: KMesh,
    path: str | Path | Sequence[str | Path],
    *,
    s_threshold: float | None = None,
) -> Spectrum | None:
    """Return the eigenvalues of a file that carries this calculation's fingerprint, else None.

    Of several files the first that has them is taken. A file that is stale, of another mesh, cut,
    or no file of this kind is passed over: it holds nothing that cannot be computed again.
    """
    mark = Problem.of(calc).fingerprint(mesh, s_threshold=s_threshold)
    shape = (calc.spin.n_channels, mesh.n_points)
    for file in [path] if isinstance(path, str | Path) else path:
        kept = _read(Path(file), mark)
        if kept is not None and kept[0].ndim == 3 and kept[0].shape[:2] == shape:
            kept[0].flags.writeable = False
            return Spectrum(calc.structure, calc.spin, mesh, kept[0], mark, kept[1])
    return None


def is_kept(
    calc: Calculation, mesh: KMesh, path: Path, *, s_threshold: float | None = None
) -> bool:
    """Say whether a file has the eigenvalues of this calculation on this mesh."""
    if not path.is_file():
        return False  # without the fingerprint, which goes through all of H and S
    return _holds(path, Problem.of(calc).fingerprint(mesh, s_threshold=s_threshold))


def _holds(path: Path, mark: str) -> bool:
    """Say whether a file exists and carries a fingerprint."""
    try:
        with open_hdf5(path, _AGAIN) as file:
            partial = "partial_spectrum" in file and bool(file["partial_spectrum"][()])
            return bool(file.attrs.get("fingerprint") == mark) and not partial
    except DockError:
        return False


def _read(path: Path, mark: str) -> tuple[NDArray[np.float64], int] | None:
    """Return energies and removed states of a file with a fingerprint; None if it has not."""
    try:
        with open_hdf5(path, _AGAIN) as file:
            if file.attrs.get("fingerprint") != mark:
                return None
            energies = np.asarray(file["irreducible/energies"], dtype=np.float64)
            # Files of earlier versions have the short name.
            old = "n_removed" in file.attrs
            return energies, int(file.attrs["n_removed" if old else "n_removed_states"])
    except DockError:
        return None
