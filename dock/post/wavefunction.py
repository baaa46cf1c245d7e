"""Coefficients of states, and wavefunctions on a grid.

Of a state c at k the wavefunction is, equations (8) and (9) of the DeepH-pack paper,

    ψ_nk(r) = Σ_R exp(+2πi k·R) Σ_j c_j φ_j(r − τ_j − R),   u_nk(r) = exp(−2πi k·x) ψ_nk(r)

with x the fractional coordinates of r; u has the period of the cell. ψ is normalised to 1 per cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.basis import Basis
from dock.core.calculation import Calculation
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import UsageError
from dock.grid.blocks import Block, GridBlocks
from dock.grid.grid import Grid, require_radials
from dock.io.progress import Report
from dock.states.kmesh import KMesh
from dock.states.problem import Problem
from dock.states.solver import Want
from dock.states.stream import states

__all__ = ["Coefficients", "GridStates", "coefficients", "states_on_grid"]

_MOST_BYTES = 2**34


@dataclass(frozen=True, eq=False)
class Coefficients:
    """States of a calculation as coefficients of the orbitals.

    Attributes
    ----------
    structure, basis, spin
        What they belong to.
    kpoints : (n_k, 3)
        Fractional coordinates.
    energies : (n_spin, n_k, n_states)
        eV, absolute.
    vectors : (n_spin, n_k, n_states, n_orbitals)
        c_j of each state, complex; of spinors all up orbitals first, then all down.
    bands : (n_states,)
        Number of each state among all, from 0.
    size
        The mesh, or None for a list of points.
    fermi_level
        eV, absolute, or None.
    """

    structure: Structure
    basis: Basis
    spin: Spin
    kpoints: NDArray[np.float64]
    energies: NDArray[np.float64]
    vectors: NDArray[np.complex128]
    bands: NDArray[np.int64]
    size: tuple[int, int, int] | None = None
    fermi_level: float | None = None

    def save(self, path: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write ``wavefunction.h5`` in the DeepH layout and a JSON file with the energies."""
        from dock.post.wavefunction_files import save_coefficients

        return save_coefficients(self, Path(path), overwrite=overwrite)


@dataclass(frozen=True, eq=False)
class GridStates:
    """Wavefunctions on a grid.

    Attributes
    ----------
    grid
        The points.
    k_frac
        The k-point of all of them.
    energies, bands, channels : (n_states,)
        eV, absolute; number of the band, from 0; spin channel (0 unless the spin is collinear).
    values : (n_states, n_spinor, N_1, N_2, N_3)
        ψ, or u where `periodic`, Å^(−3/2); two components for spinors.
    periodic
        Whether the values are the periodic part u.
    fermi_level
        eV, absolute, or None.
    """

    grid: Grid
    k_frac: NDArray[np.float64]
    energies: NDArray[np.float64]
    bands: NDArray[np.int64]
    channels: NDArray[np.int64]
    values: NDArray[np.complex128]
    periodic: bool
    fermi_level: float | None = None

    @cached_property
    def norms(self) -> NDArray[np.float64]:
        """∫|ψ|² over the cell of each state."""
        flat = self.values.reshape(len(self.values), -1)
        norms: NDArray[np.float64] = np.einsum("ip,ip->i", flat.real, flat.real)
        norms = norms + np.einsum("ip,ip->i", flat.imag, flat.imag)
        return norms * self.grid.volume_element

    def density(self, state: int) -> NDArray[np.float64]:
        """Return |ψ|² of one state (its place here), summed over spin, 1/Å³."""
        found: NDArray[np.float64] = (np.abs(self.values[state]) ** 2).sum(axis=0)
        return found

    def save(self, path: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write an HDF5 file with all values, cube files (.cube), or one .xsf file.

        Cube and xsf get real and imaginary parts of each spinor component, of a common phase that
        makes the largest value real, and |ψ|².
        """
        from dock.post.wavefunction_files import save_states

        return save_states(self, Path(path), overwrite=overwrite)

    def plot(
        self, path: str | Path, *, state: int = 0, axis: int = 2, overwrite: bool = False
    ) -> Path:
        """Draw |ψ|² of one state (its place here) summed along an axis; return the file."""
        from dock.post.density_grid import GridDensity
        from dock.post.grid_files import plot_density

        kind = f"band {int(self.bands[state]) + 1}, {self.energies[state]:.3f} eV"
        values = self.density(state)[None]
        shown = GridDensity(self.grid, Spin.NONE, values, float("nan"), kind)
        return plot_density(shown, Path(path), axis=axis, overwrite=overwrite)


def coefficients(
    calc: Calculation,
    kpoints: KMesh | ArrayLike,
    *,
    bands: Sequence[int] | None = None,
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
) -> Coefficients:
    """Compute the states at some k-points.

    Parameters
    ----------
    calc
        A calculation with Hamiltonian and overlap.
    kpoints
        A mesh, of which all points are computed, or (n_k, 3) fractional coordinates.
    bands
        Numbers of the wanted states, from 0; default all.
    s_threshold, jobs, progress
        As in `dock.post.fermi.fermi_level`.

    Raises
    ------
    MissingDataError
        When Hamiltonian or overlap is missing.
    UsageError
        For bands that there are not, or k-points without three coordinates.
    """
    problem = Problem.of(calc)
    points = kpoints.full_points if isinstance(kpoints, KMesh) else np.asarray(kpoints, np.float64)
    points = np.atleast_2d(points)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise UsageError(f"k-points have three finite coordinates, found {points.tolist()[:3]}.")
    size = problem.size
    chosen = _checked_bands(bands, size)
    wanted = (int(chosen.min()), int(chosen.max()) + 1)
    shape = (problem.n_channels, len(points), len(chosen))
    _require_room(16 * int(np.prod(shape)) * size, "Choose fewer states with --bands, or k-points.")
    energies = np.empty(shape)
    vectors = np.empty((*shape, size), dtype=np.complex128)
    want = Want(vectors=True, bands=wanted, s_threshold=s_threshold)
    for at in states(problem, points, want, jobs=jobs, progress=progress):
        found = at.states
        place = chosen - found.n_below
        if found.vectors is None or place.max() >= len(found.energies):
            raise UsageError(
                f"band {int(chosen.max()) + 1} does not exist at k-point {at.number + 1}: the "
                f"overlap threshold left {found.n_below + len(found.energies)} states."
            )
        energies[at.channel, at.number] = found.energies[place]
        vectors[at.channel, at.number] = found.vectors[:, place].T
    mesh = kpoints.size if isinstance(kpoints, KMesh) else None
    return Coefficients(
        calc.structure,
        calc.basis,
        calc.spin,
        points,
        energies,
        vectors,
        chosen,
        mesh,
        calc.fermi_level,
    )


def states_on_grid(
    found: Coefficients,
    grid: Grid,
    *,
    kpoint: int = 0,
    periodic: bool = False,
    jobs: int | None = None,
    progress: Report = None,
) -> GridStates:
    """Put the states of one k-point on a grid.

    Parameters
    ----------
    found
        States, of a basis with radial functions.
    grid
        From `dock.grid.grid.make_grid`.
    kpoint
        Number of the k-point.
    periodic
        Return u in place of ψ.
    jobs, progress
        Threads; called with the blocks of the grid done and their number.

    Raises
    ------
    MissingDataError
        When the basis has no radial functions.
    UsageError
        For a k-point that there is not, or more values than 16 GB hold.
    """
    require_radials(found.basis)
    if not 0 <= kpoint < len(found.kpoints):
        raise UsageError(f"there are k-points 0 to {len(found.kpoints) - 1}, found {kpoint}.")
    k = found.kpoints[kpoint]
    n_spin, _, n_states, size = found.vectors.shape
    n_parts = size // found.basis.n_orbitals
    flat = found.vectors[:, kpoint].reshape(n_spin * n_states * n_parts, -1)
    _require_room(
        16 * len(flat) * grid.n_points, "Choose fewer states with --bands, or a wider --spacing."
    )
    values = np.zeros((len(flat), *grid.shape), dtype=np.complex128)
    blocks = GridBlocks.of(grid, found.basis)
    inverse = np.linalg.inv(grid.structure.cell)

    def work(block: Block) -> NDArray[np.complex128]:
        orbitals = block.orbital_index(found.basis)
        phases = np.repeat(np.exp(2j * np.pi * (block.lattice @ k)), block.counts)
        local = flat[:, orbitals] * phases
        out = np.empty((len(flat), block.values.shape[1]), dtype=np.complex128)
        out.real = local.real @ block.values
        out.imag = local.imag @ block.values
        if periodic:
            out *= np.exp(-2j * np.pi * (block.points @ inverse @ k))
        return out

    for place, part in blocks.map(work, jobs=jobs, progress=progress):
        shape = tuple(edge.stop - edge.start for edge in place)
        values[(slice(None), *place)] = part.reshape(len(flat), *shape)
    return GridStates(
        grid,
        k,
        found.energies[:, kpoint].ravel(),
        np.tile(found.bands, n_spin),
        np.repeat(np.arange(n_spin), n_states),
        values.reshape(n_spin * n_states, n_parts, *grid.shape),
        periodic,
        found.fermi_level,
    )


def _require_room(n_bytes: int, fix: str) -> None:
    if n_bytes > _MOST_BYTES:
        raise UsageError(f"the states need {n_bytes / 2**30:.0f} GB, more than 16 GB. {fix}")


def _checked_bands(bands: Sequence[int] | None, size: int) -> NDArray[np.int64]:
    if bands is None:
        return np.arange(size)
    chosen = np.asarray(bands)
    good = chosen.ndim == 1 and len(chosen) > 0 and chosen.dtype.kind in "iu"
    if (
        not good
        or chosen.min() < 0
        or chosen.max() >= size
        or len(set(chosen.tolist())) < len(chosen)
    ):
        raise UsageError(
            f"bands are different numbers from 1 to {size}, found "
            f"{(chosen + 1).tolist() if good else chosen.tolist()}."
        )
    return chosen.astype(np.int64)
