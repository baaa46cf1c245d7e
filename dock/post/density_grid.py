"""Charge and spin density on a grid, from a density matrix; local density of states.

ρ_st(r) = Σ_R Σ_ij P_ij^st(R) φ_i(r − τ_i) φ_j(r − τ_j − R), summed over all images of both orbitals
that reach r.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.errors import UsageError
from dock.grid.blocks import Block, GridBlocks
from dock.grid.grid import Grid, require_radials
from dock.io.progress import Progress, Report
from dock.post.density_matrices import Accumulator
from dock.post.fermi import FermiResult
from dock.states.kmesh import KMesh, make_mesh
from dock.states.problem import Problem
from dock.states.solver import Want
from dock.states.stream import states

if TYPE_CHECKING:
    from pymatgen.io.vasp import Chgcar

__all__ = ["GridDensity", "charge_density", "window_density_matrix"]

_PARTS = {
    Spin.NONE: ("total",),
    Spin.COLLINEAR: ("total", "m_z"),
    Spin.NONCOLLINEAR: ("total", "m_x", "m_y", "m_z"),
}


@dataclass(frozen=True, eq=False)
class GridDensity:
    """A density on a grid.

    Attributes
    ----------
    grid
        The points.
    spin
        The spin treatment.
    values : (n_parts, N_1, N_2, N_3)
        Electrons per Å³ (for a local density of states: of the states in its window): ``total``,
        and the spin density along z, or along x, y, z, in μ_B per Å³.
    expected
        Tr(P S), what the total must integrate to; NaN without an overlap.
    kind
        ``charge density`` or ``local density of states``.
    oversample
        1: values at the points. n: means over the box around each point, from n points along each
        of its axes.
    """

    grid: Grid
    spin: Spin
    values: NDArray[np.float64]
    expected: float
    kind: str = "charge density"
    oversample: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parts."""
        return _PARTS[self.spin]

    def part(self, name: str) -> NDArray[np.float64]:
        """Return one part, (N_1, N_2, N_3).

        Raises
        ------
        UsageError
            Listing the parts that there are.
        """
        if name not in self.names:
            raise UsageError(f"the density has no part '{name}'. It has: {', '.join(self.names)}.")
        found: NDArray[np.float64] = self.values[self.names.index(name)]
        return found

    @cached_property
    def integrals(self) -> dict[str, float]:
        """The integral of each part over the cell."""
        element = self.grid.volume_element
        return {
            name: float(part.sum() * element)
            for name, part in zip(self.names, self.values, strict=True)
        }

    @property
    def n_electrons(self) -> float:
        """∫ρ over the cell."""
        return self.integrals["total"]

    @property
    def missed(self) -> float:
        """|∫ρ − Tr(PS)| in electrons; NaN without an overlap."""
        return abs(self.n_electrons - self.expected)

    def save(self, path: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write ``charge_density.h5``, cube files (``.cube``) or one ``.xsf`` file.

        The name's ending chooses. A cube file has one part: those of the spin are written beside
        it, ``rho_m_z.cube`` beside ``rho.cube``. A JSON file with the integrals goes along.
        """
        from dock.post.grid_files import save_density

        return save_density(self, Path(path), overwrite=overwrite)

    def to_pymatgen(self) -> Chgcar:
        """Return pymatgen's ``Chgcar``: density times the cell's volume, spin as ``diff``.

        Raises
        ------
        DependencyError
            Without pymatgen.
        """
        from dock.extras import require

        vasp = require("pymatgen.io.vasp", "pymatgen")
        volume = self.grid.structure.volume
        data = {"total": volume * self.values[0]}
        if self.spin is Spin.COLLINEAR:
            data["diff"] = volume * self.values[1]
        elif self.spin is Spin.NONCOLLINEAR:
            data |= {f"diff_{axis}": volume * self.part(f"m_{axis}") for axis in "xyz"}
        result: Chgcar = vasp.Chgcar(vasp.Poscar(self.grid.structure.to_pymatgen()), data)
        return result

    def plot(
        self, path: str | Path, *, part: str = "total", axis: int = 2, overwrite: bool = False
    ) -> Path:
        """Draw one part summed along an axis; return the file."""
        from dock.post.grid_files import plot_density

        return plot_density(self, Path(path), part=part, axis=axis, overwrite=overwrite)


def charge_density(
    density: AOMatrix,
    grid: Grid,
    *,
    overlap: AOMatrix | None = None,
    kind: str = "charge density",
    oversample: int = 1,
    jobs: int | None = None,
    progress: Report = None,
) -> GridDensity:
    """Compute the density that belongs to a density matrix.

    Where orbitals are steep the sum over the points of a grid misses electrons. With `oversample`
    n each value is the mean over the box around its point, taken from a grid n times as fine along
    each axis: the integral is that of the fine grid, and nothing becomes negative. That takes n³
    times as long, and smooths: with steps h by about h²/16 ∇²ρ for n = 2, h²/24 ∇²ρ for large n.

    Parameters
    ----------
    density
        Density matrix, its basis with radial functions.
    grid
        From `dock.grid.grid.make_grid`, for the cell of the density matrix.
    overlap
        For the number of electrons that must come out.
    kind
        What it is called in files.
    oversample
        See above; 1 gives the values at the points themselves.
    jobs, progress
        Threads; called with the blocks of the grid done and their number.

    Raises
    ------
    MissingDataError
        When the basis has no radial functions.
    UsageError
        When the matrix is no density matrix, or `oversample` is not positive.
    """
    if oversample < 1:
        raise UsageError(f"oversample must be 1 or more, found {oversample}.")
    if density.facts.parity != 1 or not density.facts.has_spin:
        raise UsageError(f"a density is made of a density matrix, not of the {density.quantity}.")
    require_radials(density.basis)
    parts, blocks = _real_parts(density), GridBlocks.of(grid, density.basis)
    shifts = list(product(range(oversample), repeat=3))

    steps = Progress.of(progress)
    steps.start(len(shifts) * blocks.n_blocks)

    def sampled(number: int) -> NDArray[np.float64]:
        offset = np.array(shifts[number]) / oversample
        moved = replace(blocks, grid=_moved(grid, offset))
        return _nearest(_sampled(density, parts, moved, jobs, steps.part()), offset)

    values = sampled(0)
    for number in range(1, len(shifts)):
        values += sampled(number)
    if oversample > 1:
        values /= len(shifts)
    expected = float("nan") if overlap is None else density.dot(overlap)
    moments = _to_moments(density.spin, values)
    return GridDensity(grid, density.spin, moments, expected, kind, oversample)


def _moved(grid: Grid, offset: NDArray[np.float64]) -> Grid:
    """Return the grid whose points lie `offset` steps further: the atoms move the other way."""
    if not offset.any():
        return grid
    structure = grid.structure
    return replace(
        grid, structure=replace(structure, positions=structure.positions - offset @ grid.steps)
    )


def _nearest(values: NDArray[np.float64], offset: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values at points `offset` further, given to the nearest points of the grid.

    Those half-way between two points count half for each.
    """
    for axis, part in enumerate(offset, start=1):
        if part > 0.5:
            values = np.roll(values, 1, axis)
        elif part == 0.5:
            values = 0.5 * (values + np.roll(values, 1, axis))
    return values


def _sampled(
    density: AOMatrix,
    parts: list[NDArray[np.float64]],
    blocks: GridBlocks,
    jobs: int | None,
    progress: Report,
) -> NDArray[np.float64]:
    """Return uu, dd, Re ud, Im ud at the points."""
    values = np.zeros((len(parts), *blocks.grid.shape))
    work = _work(density, parts)
    for place, found in blocks.map(work, jobs=jobs, progress=progress):
        shape = tuple(part.stop - part.start for part in place)
        values[(slice(None), *place)] = found.reshape(len(parts), *shape)
    return values


def _real_parts(density: AOMatrix) -> list[NDArray[np.float64]]:
    """Return the real matrices that the density needs: uu, dd, Re ud, Im ud.

    The imaginary part of uu and dd is antisymmetric and adds nothing.
    """
    entries = density.entries
    if density.spin is not Spin.NONCOLLINEAR:
        return [np.ascontiguousarray(row.real, dtype=np.float64) for row in entries]
    rows = [entries[0].real, entries[3].real, entries[1].real, entries[1].imag]
    return [np.ascontiguousarray(row, dtype=np.float64) for row in rows]


def _to_moments(spin: Spin, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return total and moments of uu, dd, Re ud, Im ud, in place."""
    if spin is Spin.NONE:
        return values
    up, down = values[0].copy(), values[1]
    if spin is Spin.COLLINEAR:
        values[0], values[1] = up + down, up - down
        return values
    x, y = values[2].copy(), values[3].copy()
    values[3] = up - down
    values[0] = up + down
    values[1], values[2] = 2 * x, -2 * y
    return values


def _work(
    density: AOMatrix, parts: list[NDArray[np.float64]]
) -> Callable[[Block], NDArray[np.float64]]:
    """Return what is done with a block: Σ_μν φ_μ P_μν φ_ν at each point."""
    from dock.grid._kernels import fill_local

    pairs, starts = density.pairs, density.layout.starts

    def one(block: Block) -> NDArray[np.float64]:
        index = block.pair_index(pairs)
        size = len(block.values)
        local = np.empty((size, size))
        out = np.empty((len(parts), block.values.shape[1]))
        for number, entries in enumerate(parts):
            fill_local(entries, starts, index, block.rows, block.counts, local)
            out[number] = np.einsum("ip,ip->p", block.values, local @ block.values)
        return out

    return one


def window_density_matrix(
    calc: Calculation,
    window: tuple[float, float],
    mesh: KMesh | Any = None,
    *,
    fermi: FermiResult | None = None,
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
) -> AOMatrix:
    """Return the density matrix of all states in an energy window, filled or not.

    On a grid it is the local density of states of the window; with the overlap it has as many
    electrons as the states hold.

    Parameters
    ----------
    calc
        A calculation with Hamiltonian and overlap.
    window
        (lowest, highest) energy, eV, relative to the Fermi level, or absolute without one.
    mesh
        As in `dock.post.fermi.fermi_level`.
    fermi
        Gives the Fermi level and the mesh; default the level of the calculation.
    s_threshold, jobs, progress
        As in `dock.post.fermi.fermi_level`.

    Raises
    ------
    UsageError
        For an empty window.
    """
    if not window[0] < window[1]:
        raise UsageError(f"the energy window {window[0]:g} … {window[1]:g} eV is empty.")
    problem = Problem.of(calc)
    if fermi is not None:
        zero, points = fermi.level, fermi.spectrum.mesh
    else:
        zero = calc.fermi_level or 0.0
        points = mesh if isinstance(mesh, KMesh) else make_mesh(calc, mesh)
    low, high = window[0] + zero, window[1] + zero
    total = Accumulator(problem.hamiltonian, problem.pairs, ("density_matrix",))
    want = Want(vectors=True, window=(low, high), s_threshold=s_threshold)
    for at in states(problem, points.points, want, jobs=jobs, progress=progress):
        vectors = at.states.vectors
        if vectors is None or not vectors.shape[1]:
            continue
        weight = points.weights[at.number] * calc.spin.degeneracy
        dense = weight * (vectors @ vectors.conj().T)
        total.add("density_matrix", at.channel, at.k_frac, dense)
    return total.matrices(points)[0]
