"""Charge and spin density on a grid, from a density matrix; local density of states.

ρ_st(r) = Σ_R Σ_ij P_ij^st(R) φ_i(r − τ_i) φ_j(r − τ_j − R), summed over all images of both orbitals
that reach r.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dock._version import __version__
from dock.core.calculation import Calculation
from dock.core.density import require_density
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.errors import MissingDataError, UsageError
from dock.extras import require
from dock.grid.blocks import Block, GridBlocks
from dock.grid.fields import GridFields, draw_sum
from dock.grid.grid import Grid, require_radials
from dock.io.progress import Progress, Report
from dock.post.density_matrices import Accumulator, density_matrix
from dock.post.fermi import FermiResult, fermi_level
from dock.states.job import Job
from dock.states.kmesh import KMesh, make_mesh
from dock.states.problem import Problem
from dock.states.solver import Solver, Want
from dock.states.stream import states
from dock.units import CODATA2018

if TYPE_CHECKING:
    from pymatgen.io.vasp import Chgcar

__all__ = [
    "FILES",
    "PARTS",
    "GridDensity",
    "charge_density",
    "density_source",
    "window_density_matrix",
]

FILES = {"charge density": "charge_density.h5", "local density of states": "local_dos.h5"}
"""The file of each kind of density where no name is given."""

_LOG = logging.getLogger(__name__)
_CUBIC_BOHR = CODATA2018.bohr_angstrom**3
_UNIT = "electrons/angstrom^3"
_MISSED, _MISSED_SHARE = 1e-4, 5e-6  # electrons; of all electrons, in large cells
_FAR = 1e-2  # of all electrons: no matter of the grid

PARTS = {
    Spin.NONE: ("total",),
    Spin.COLLINEAR: ("total", "m_z"),
    Spin.NONCOLLINEAR: ("total", "m_x", "m_y", "m_z"),
}
"""Names of the parts of a density of each kind of spin."""


@dataclass(frozen=True, eq=False, repr=False)
class GridDensity(GridFields):
    """A density on a grid.

    Attributes
    ----------
    grid, spin
        The points, and what parts there are.
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

    FILE = FILES["charge density"]
    CONVENTIONS = (("unit", _UNIT),)

    grid: Grid
    spin: Spin
    values: NDArray[np.float64]
    expected: float
    kind: str = "charge density"
    oversample: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parts."""
        return PARTS[self.spin]

    def part(self, name: str) -> NDArray[np.float64]:
        """Return one part, (N_1, N_2, N_3); `UsageError` lists the parts that there are."""
        if name not in self.names:
            raise UsageError(f"the density has no part '{name}'. It has: {', '.join(self.names)}.")
        values: NDArray[np.float64] = self.values[self.names.index(name)]
        return values

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

    def warn_of_missed(self) -> None:
        """Log a warning where ∫ρ is not Tr(PS), with what mends it."""
        if self.missed > max(_MISSED, _FAR * abs(self.expected)):
            _LOG.warning(
                "the grid has %.4g electrons, Tr(ρS) is %.4g: no grid mends that, unless orbitals "
                "hold the cores of atoms (then a larger oversample=N). Do the basis files, the "
                "overlap and the density matrix belong together?",
                self.n_electrons,
                self.expected,
            )
        elif self.missed > max(_MISSED, _MISSED_SHARE * abs(self.expected)):
            _LOG.warning(
                "the grid misses %.1e electrons: a finer spacing=X or a larger oversample=N mends "
                "that, unless the overlap is that of other or of cut orbitals.",
                self.missed,
            )

    def facts(self) -> dict[str, Any]:
        """Return the grid and the integrals, by key; see `dock.results.KEYS`."""
        return {
            "written_by": f"dock {__version__}",
            "quantity": self.kind,
            "formula": self.grid.structure.formula,
            "spin": self.spin.value,
            "shape": list(self.grid.shape),
            "oversample": self.oversample,
            "parts": list(self.names),
            "unit": f"{_UNIT}, moments in mu_B/angstrom^3",
            "n_electrons": self.n_electrons,
            "integrals": self.integrals,
            "expected_electrons": None if np.isnan(self.expected) else self.expected,
            "largest_per_A3": float(self.values[0].max()),
            "smallest_per_A3": float(self.values[0].min()),
        }

    def datasets(self) -> dict[str, Any]:
        """Return those of the unified ``charge_density.h5``.

        ``shape`` and the flat ``entries`` in C order; the spin density is in ``magnetization``,
        (n, N) in the order of its attribute ``parts``.
        """
        content: dict[str, Any] = {
            "shape": np.array(self.grid.shape, dtype=np.int64),
            "entries": self.values[0].ravel(),
            "cell": self.grid.structure.cell,
        }
        if len(self.values) > 1:
            content["magnetization"] = self.values[1:].reshape(len(self.values) - 1, -1)
        return content

    def write_hdf5(self, file: Any) -> None:
        """Write the datasets, and the parts as readers of the unified folder look for them."""
        super().write_hdf5(file)
        if "magnetization" in file:
            file["magnetization"].attrs["parts"] = ",".join(self.names[1:])

    def save(self, path: str | Path | None = None, *, overwrite: bool = False) -> list[Path]:
        """Write as `GridFields.save`; the default name is that of the kind, see `FILES`."""
        name = FILES.get(self.kind, self.FILE) if path is None else path
        return super().save(name, overwrite=overwrite)

    def fields(self) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """Yield the parts."""
        yield from zip(self.names, self.values, strict=True)

    def cube_names(self) -> Sequence[str]:
        """Return the names of the parts."""
        return self.names

    def cube(self, name: str) -> tuple[float, str]:
        """Return factor and first line of a part."""
        return _CUBIC_BOHR, f"{self.grid.structure.formula} {self.kind} {name}, per Bohr^3"

    @staticmethod
    def cube_file(path: Path, name: str) -> Path:
        """Return the cube file of a part: those of the spin are written beside the total."""
        return path if name == "total" else path.with_stem(f"{path.stem}_{name}")

    def rows(self) -> list[tuple[str, str]]:
        """Return the grid and the integrals in words."""
        shape = "×".join(str(n) for n in self.grid.shape) + f", {self.grid.n_points} points"
        if self.oversample > 1:
            shape += f", means over boxes of {self.oversample}³"
        _, *moments = self.integrals.items()
        return [
            ("grid", shape),
            ("∫ρ", f"{self.n_electrons:.6f}"),
            ("Tr(ρS)", f"{self.expected:.6f}"),
            *((f"∫{name}", f"{value:.6f} μ_B") for name, value in moments),
        ]

    def draw(self, axes: Any, *, part: str = "total", axis: int = 2) -> None:
        """Draw one part (see `names`) summed along lattice vector 0, 1 or 2."""
        signed = part != "total"
        label = f"{part}, summed ({'μ_B/Å²' if signed else 'electrons/Å²'})"
        structure = self.grid.structure
        draw_sum(axes, structure, self.part(part), axis, label=label, signed=signed)
        axes.set_title(f"{structure.formula}  {self.kind}", fontsize="medium")

    def to_pymatgen(self) -> Chgcar:
        """Return pymatgen's ``Chgcar``: density times the cell's volume, spin as ``diff``.

        Raises `DependencyError` without pymatgen.
        """
        vasp = require("pymatgen.io.vasp", "pymatgen")
        volume = self.grid.structure.volume
        data = {"total": volume * self.values[0]}
        if self.spin is Spin.COLLINEAR:
            data["diff"] = volume * self.values[1]
        elif self.spin is Spin.NONCOLLINEAR:
            data |= {f"diff_{axis}": volume * self.part(f"m_{axis}") for axis in "xyz"}
        result: Chgcar = vasp.Chgcar(vasp.Poscar(self.grid.structure.to_pymatgen()), data)
        return result


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
    density, grid
        The density matrix, its basis with radial functions, and a grid of its cell.
    overlap
        For the number of electrons that must come out.
    kind
        What it is called in files.
    jobs, progress
        Threads; told of each finished block of the grid.

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
    first, *others = np.array(list(product(range(oversample), repeat=3))) / oversample
    steps = Progress.of(progress)
    steps.start(oversample**3 * blocks.n_blocks)

    def sampled(offset: NDArray[np.float64]) -> NDArray[np.float64]:
        moved = replace(blocks, grid=_moved(grid, offset))
        return _nearest(_sampled(density, parts, moved, jobs, steps.part()), offset)

    values = sampled(first)
    for offset in others:
        values += sampled(offset)
    if oversample > 1:
        values /= oversample**3
    expected = float("nan") if overlap is None else density.dot(overlap)
    moments = _to_moments(density.spin, values)
    return GridDensity(grid, density.spin, moments, expected, kind, oversample)


def _moved(grid: Grid, offset: NDArray[np.float64]) -> Grid:
    """Return the grid whose points lie `offset` steps further: the atoms move the other way."""
    if not offset.any():
        return grid
    positions = grid.structure.positions - offset @ grid.steps
    return replace(grid, structure=replace(grid.structure, positions=positions))


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
    """Return uu, dd, Re ud, Im ud at the points: Σ_μν φ_μ P_μν φ_ν of each of the real parts."""
    pairs, starts = density.pairs, density.layout.starts

    def sums(block: Block) -> NDArray[np.float64]:
        index = block.pair_index(pairs)
        size = len(block.values)
        local = np.empty((size, size))
        out = np.empty((len(parts), block.values.shape[1]))
        for number, entries in enumerate(parts):
            block.fill(entries, starts, index, local)
            out[number] = np.einsum("ip,ip->p", block.values, local @ block.values)
        return out

    values = np.zeros((len(parts), *blocks.grid.shape))
    blocks.fill(values, sums, jobs=jobs, progress=progress)
    return values


def _real_parts(density: AOMatrix) -> list[NDArray[np.float64]]:
    """Return the real matrices that the density needs: uu, dd, Re ud, Im ud.

    The imaginary part of uu and dd is antisymmetric and adds nothing.
    """
    rows = [row.real for row in density.entries]
    if density.spin is Spin.NONCOLLINEAR:
        rows = [rows[0], rows[3], rows[1], density.entries[1].imag]
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


def density_source(
    calc: Calculation,
    mesh: KMesh | Sequence[int] | None = None,
    *,
    window: tuple[float, float] | None = None,
    recompute: bool = False,
    electrons: float | None = None,
    fermi: FermiResult | None = None,
    solver: str | Solver | Job = "auto",
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
) -> AOMatrix:
    """Return the density matrix that a density on a grid is made of.

    It is that of all states in the window (lowest, highest energy, eV, relative to the Fermi
    level) where there is one; else that of the calculation; where it has none, or a mesh, electrons
    or `recompute` are given, it is computed from H and S. The level is that of `fermi`, else it is
    counted anew where the electrons are known, else it is that of the calculation. Other arguments
    are those of `dock.post.fermi.fermi_level`.

    Raises
    ------
    MissingDataError
        When matrices are missing, or nothing says where the Fermi level is.
    """
    if window is not None:
        known = (calc.fermi_level, calc.n_electrons, electrons, fermi)
        if all(one is None for one in known):
            raise MissingDataError(
                "the Fermi level", calc.source, "A window counts from it: pass electrons=N."
            )
        run: dict[str, Any] = {"solver": solver, "s_threshold": s_threshold, "jobs": jobs}
        counts = electrons is not None or calc.n_electrons is not None
        if fermi is None and counts:
            fermi = fermi_level(calc, mesh, electrons=electrons, **run)
        return window_density_matrix(calc, window, mesh, fermi=fermi, progress=progress, **run)
    has_own = "density_matrix" in calc.available
    if has_own and not recompute and mesh is None and electrons is None:
        return require_density(calc)
    about: dict[str, Any] = {"electrons": electrons, "solver": solver, "s_threshold": s_threshold}
    return density_matrix(calc, mesh, fermi=fermi, jobs=jobs, progress=progress, **about).density


def window_density_matrix(
    calc: Calculation,
    window: tuple[float, float],
    mesh: KMesh | Sequence[int] | None = None,
    *,
    fermi: FermiResult | None = None,
    solver: str | Solver | Job = "auto",
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
) -> AOMatrix:
    """Return the density matrix of all states in an energy window, filled or not.

    On a grid it is the local density of states of the window; with the overlap it has as many
    electrons as the states hold. An empty window raises `UsageError`.

    Parameters
    ----------
    window
        (lowest, highest) energy, eV, relative to the Fermi level, or absolute without one.
    fermi
        Gives the Fermi level and the mesh; default the level of the calculation.
    mesh, solver, s_threshold, jobs, progress
        As in `dock.post.fermi.fermi_level`.
    """
    if not window[0] < window[1]:
        raise UsageError(f"the energy window {window[0]:g} … {window[1]:g} eV is empty.")
    problem = Problem.of(calc)
    if fermi is not None:
        zero, points = fermi.level, fermi.spectrum.mesh
    else:
        zero, points = calc.fermi_level or 0.0, make_mesh(calc, mesh)
    total = Accumulator(problem.hamiltonian, problem.pairs, ("density_matrix",))
    absolute = window[0] + zero, window[1] + zero
    want = Want(vectors=True, window=absolute, s_threshold=s_threshold)
    run: dict[str, Any] = {"solver": solver, "jobs": jobs, "progress": progress}
    for at in states(problem, points.points, want, **run):
        vectors = at.states.vectors
        if vectors is None or not vectors.shape[1]:
            continue
        weights = np.full(vectors.shape[1], points.weights[at.number] * calc.spin.degeneracy)
        total.add_states("density_matrix", at.channel, at.k_frac, vectors, weights)
    return total.matrices(points)[0]
