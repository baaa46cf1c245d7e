"""Coefficients of states, and wavefunctions on a grid.

Of a state c at k the wavefunction is, equations (8) and (9) of the DeepH-pack paper,

    ψ_nk(r) = Σ_R exp(+2πi k·R) Σ_j c_j φ_j(r − τ_j − R),   u_nk(r) = exp(−2πi k·x) ψ_nk(r)

with x the fractional coordinates of r; u has the period of the cell. ψ is normalised to 1 per cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock._version import __version__
from dock.core.basis import Basis
from dock.core.calculation import Calculation
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import UsageError
from dock.grid.blocks import Block, GridBlocks
from dock.grid.fields import GridFields, draw_sum
from dock.grid.grid import Grid, require_radials
from dock.io.progress import Report
from dock.post.band_selection import BandSelection
from dock.results import Result
from dock.states.job import Job
from dock.states.kmesh import KMesh
from dock.states.problem import Problem
from dock.states.solver import Solver, Want
from dock.states.stream import StatesAtK, states
from dock.units import CODATA2018

__all__ = ["Coefficients", "GridStates", "coefficients", "named_states", "states_on_grid"]

_BOHR = CODATA2018.bohr_angstrom
_MOST_BYTES = 2**34
_SPINORS = ("_up", "_down")
_MOST_NAMED = 8  # states that a table names


@dataclass(frozen=True, eq=False, repr=False)
class Coefficients(Result):
    """States of a calculation as coefficients of the orbitals.

    Attributes
    ----------
    structure, basis, spin
        What they belong to.
    kpoints : (n_k, 3)
        Fractional coordinates.
    energies : (n_spin, n_k, n_bands)
        eV, absolute; NaN where a band is wanted in the other spin channel alone.
    vectors : (n_spin, n_k, n_bands, n_orbitals)
        c_j of each state, complex; of spinors all up orbitals first, then all down.
    bands : (n_bands,)
        Number of each band among all, from 0.
    size, fermi_level
        The mesh, None for a list of points; eV, absolute, or None.
    """

    FILE = "wavefunction_ao.h5"
    CONVENTIONS = (
        ("unit", "eigenvalues, efermi: eV, absolute"),
        ("phase", "psi = sum_R exp(+2 pi i k.R) sum_j c_j phi_j(r - tau_j - R)"),
    )

    structure: Structure
    basis: Basis
    spin: Spin
    kpoints: NDArray[np.float64]
    energies: NDArray[np.float64]
    vectors: NDArray[np.complex128]
    bands: NDArray[np.int64]
    size: tuple[int, int, int] | None = None
    fermi_level: float | None = None

    @cached_property
    def wanted(self) -> NDArray[np.bool_]:
        """(n_spin, n_bands) whether the states of a channel and band are among the result."""
        wanted: NDArray[np.bool_] = np.all(np.isfinite(self.energies), axis=1)
        return wanted

    @property
    def names(self) -> list[str]:
        """A short name of each state at a k-point: ``band5``, ``band5_up``."""
        channels, places = np.nonzero(self.wanted)
        return _names(self.bands[places], channels, collinear=len(self.energies) == 2)

    def facts(self) -> dict[str, Any]:
        """Return how many states there are, by key; see `dock.results.KEYS`."""
        return {
            "written_by": f"dock {__version__}",
            "formula": self.structure.formula,
            "spin": self.spin.value,
            "fermi_level_eV": self.fermi_level,
            "n_kpoints": len(self.kpoints),
            "n_bands": len(self.bands),
            "n_states": int(self.wanted.sum()),
        }

    def arrays(self) -> dict[str, Any]:
        """Return k-points, bands and energies."""
        return {
            "kpoints_frac": self.kpoints,
            "bands": self.bands + 1,
            "energies_eV": self.energies,
        }

    def datasets(self) -> dict[str, Any]:
        """Return those of DeepH's ``wavefunction_ao.h5``, and the band and spin of each state.

        ``kpts``, ``kgrid`` of a mesh, ``eigenvalues``, ``eigenvectors`` (N_k, N_band, N_spinor,
        N_orb), ``efermi``. Collinear spin has its channels one behind another on the axis of bands,
        each with two spinor components, so that a reader of spinful folders finds what it expects;
        ``bands`` (from 1) and ``spin_channel`` tell them apart.
        """
        channels, places = np.nonzero(self.wanted)
        vectors = self.vectors.transpose(1, 0, 2, 3)[:, self.wanted]
        n_spinor = 1 if self.spin is Spin.NONE else 2
        if self.spin is Spin.COLLINEAR:
            spinors = np.zeros((*vectors.shape[:2], 2, vectors.shape[2]), dtype=vectors.dtype)
            spinors[:, np.arange(len(channels)), channels] = vectors
            vectors = spinors
        return {
            "kpts": self.kpoints,
            **({} if self.size is None else {"kgrid": np.array(self.size, dtype=np.int64)}),
            "eigenvalues": self.energies.transpose(1, 0, 2)[:, self.wanted],
            "eigenvectors": vectors.reshape(*vectors.shape[:2], n_spinor, -1),
            "efermi": np.nan if self.fermi_level is None else self.fermi_level,
            "bands": self.bands[places] + 1,
            "spin_channel": channels,
        }

    @classmethod
    def files(cls, path: str | Path) -> list[Path]:
        """Return the files of a path; raises for a kind that holds functions on a grid."""
        path = Path(path)
        if path.suffix not in {".h5", ".hdf5", ".json"}:
            raise UsageError(
                f"{path}: coefficients are written as .h5; a {path.suffix} file is for states on a "
                "grid: pass basis=DIR."
            )
        return super().files(path)

    def rows(self) -> list[tuple[str, str]]:
        """Return k-points, bands, states and spin in words."""
        names = self.names
        named = f": {', '.join(names)}" if len(names) <= _MOST_NAMED else ""
        return [
            ("k-points", str(len(self.kpoints))),
            ("bands", str(len(self.bands))),
            ("states", f"{len(names)} at a k-point{named}"),
            ("spin", self.spin.value),
        ]


@dataclass(frozen=True, eq=False, repr=False)
class GridStates(GridFields):
    """Wavefunctions on a grid.

    Attributes
    ----------
    grid, k_frac
        The points, and the k-point of all states.
    energies, bands, channels : (n_states,)
        eV, absolute; number of the band, from 0; spin channel (0 unless the spin is collinear).
    values : (n_states, n_spinor, N_1, N_2, N_3)
        ψ, or u where `periodic`, Å^(−3/2); two components for spinors.
    fermi_level
        eV, absolute, or None.
    collinear
        Whether the states belong to spin channels.
    """

    FILE = "wavefunction.h5"
    BRIEF = True
    CONVENTIONS = (("unit", "angstrom^(-3/2)"),)

    grid: Grid
    k_frac: NDArray[np.float64]
    energies: NDArray[np.float64]
    bands: NDArray[np.int64]
    channels: NDArray[np.int64]
    values: NDArray[np.complex128]
    periodic: bool
    fermi_level: float | None = None
    collinear: bool = False

    @cached_property
    def norms(self) -> NDArray[np.float64]:
        """∫|ψ|² over the cell of each state."""
        flat = self.values.reshape(len(self.values), -1)
        a, b = flat.real, flat.imag
        norms: NDArray[np.float64] = np.einsum("ip,ip->i", a, a) + np.einsum("ip,ip->i", b, b)
        return norms * self.grid.volume_element

    @property
    def names(self) -> list[str]:
        """A short name of each state: ``band5``, ``band5_up``."""
        return _names(self.bands, self.channels, collinear=self.collinear)

    def density(self, state: int) -> NDArray[np.float64]:
        """Return |ψ|² of one state (its place here), summed over spin, 1/Å³."""
        density: NDArray[np.float64] = (np.abs(self.values[state]) ** 2).sum(axis=0)
        return density

    def facts(self) -> dict[str, Any]:
        """Return what the values are, by key; see `dock.results.KEYS`."""
        return {
            "written_by": f"dock {__version__}",
            "function": "u" if self.periodic else "psi",
            "formula": self.grid.structure.formula,
            "shape": list(self.grid.shape),
            "k_frac": self.k_frac.tolist(),
            "fermi_level_eV": self.fermi_level,
        }

    def arrays(self) -> dict[str, Any]:
        """Return name, band, spin channel, energy and norm of each state."""
        return {
            "states": self.names,
            "bands": self.bands + 1,
            "spin_channel": self.channels,
            "energies_eV": self.energies,
            "norms": self.norms,
        }

    def datasets(self) -> dict[str, Any]:
        """Return the arrays, the grid and all values."""
        return {
            **self.arrays(),
            "shape": np.array(self.grid.shape, dtype=np.int64),
            "cell": self.grid.structure.cell,
            "k_frac": self.k_frac,
            "values": self.values,
        }

    def fields(self) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """Yield the real functions that show the states.

        They are real and imaginary part of each spinor component, of a common phase that makes the
        largest value real, and |ψ|².
        """
        for number, name in enumerate(self.names):
            values = self.values[number]
            peak = values.ravel()[np.abs(values).argmax()]
            turned = values * (np.abs(peak) / peak if peak != 0 else 1.0)
            for spin, component in zip(self._spins, turned, strict=True):
                yield f"{name}_real{spin}", np.ascontiguousarray(component.real)
                if np.abs(component.imag).max() > 1e-9 * np.abs(peak):
                    yield f"{name}_imag{spin}", np.ascontiguousarray(component.imag)
            yield f"{name}_density", self.density(number)

    def cube_names(self) -> list[str]:
        """Return the names of all parts of all states."""
        return self.parts_of(self.names, self._spins)

    @classmethod
    def planned(cls, path: str | Path, states: Sequence[str], spin: Spin) -> list[Path]:
        """Return what `save` may write of states that are not on a grid yet; raises as `files`.

        The names of states are those of `Coefficients.names`, or of `named_states`.
        """
        spins = _SPINORS if spin is Spin.NONCOLLINEAR else ("",)
        return cls.targets(path, cls.parts_of(states, spins))

    @staticmethod
    def parts_of(states: Sequence[str], spins: Sequence[str]) -> list[str]:
        """Return the names of the real functions that show states, by their spinor components."""
        parts = [f"{part}{spin}" for spin in spins for part in ("real", "imag")]
        return [f"{name}_{part}" for name in states for part in (*parts, "density")]

    def cube(self, name: str) -> tuple[float, str]:
        """Return factor and first line of a part of a state."""
        power = 3.0 if name.endswith("_density") else 1.5
        words = re.sub("_(real|imag|density)", r" \1", name)
        return _BOHR**power, f"{self.grid.structure.formula} {words} at k {self.k_frac.tolist()}"

    @staticmethod
    def cube_file(path: Path, name: str) -> Path:
        """Return the cube file of a part of a state."""
        return path.with_stem(f"{path.stem}_{name}")

    @property
    def _spins(self) -> tuple[str, ...]:
        return _SPINORS if self.values.shape[1] == 2 else ("",)

    def rows(self) -> list[tuple[str, str]]:
        """Return the grid, and energy and norm of each state."""
        shape = "×".join(str(n) for n in self.grid.shape)
        k = " ".join(f"{x:.4f}" for x in self.k_frac)
        rows = [("grid", f"{shape}, {self.grid.n_points} points"), ("k-point", f"({k})")]
        for name, energy, norm in zip(self.names, self.energies, self.norms, strict=True):
            words = name.replace("band", "band ").replace("_", " ")
            rows.append((words, f"{energy:.6f} eV, norm {norm:.6f}"))
        return rows

    def draw(self, axes: Any, *, state: int = 0, axis: int = 2) -> None:
        """Draw |ψ|² of one state (its place here) summed along lattice vector 0, 1 or 2."""
        structure = self.grid.structure
        label = "total, summed (electrons/Å²)"
        draw_sum(axes, structure, self.density(state), axis, label=label)
        title = f"band {int(self.bands[state]) + 1}, {self.energies[state]:.3f} eV"
        axes.set_title(f"{structure.formula}  {title}", fontsize="medium")


def named_states(bands: BandSelection, spin: Spin) -> list[str]:
    """Return the names of the states that are wanted by number; band edges have none before."""
    numbers = np.array(bands.numbers or (), dtype=np.int64)
    collinear = spin is Spin.COLLINEAR
    channels = [np.full(len(numbers), channel) for channel in range(1 + collinear)]
    return [name for each in channels for name in _names(numbers, each, collinear=collinear)]


def _names(bands: NDArray[Any], channels: NDArray[Any], *, collinear: bool) -> list[str]:
    ends = ("_up", "_down") if collinear else ("", "")
    return [f"band{band + 1}{ends[spin]}" for band, spin in zip(bands, channels, strict=True)]


def coefficients(
    calc: Calculation,
    kpoints: KMesh | ArrayLike,
    *,
    bands: Sequence[int] | str | BandSelection | None = None,
    nearest: tuple[int, float] | None = None,
    electrons: float | None = None,
    solver: str | Solver | Job = "auto",
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
) -> Coefficients:
    """Compute the states at some k-points.

    Parameters
    ----------
    kpoints
        A mesh, of which all points are computed, or (n_k, 3) fractional coordinates.
    bands
        Numbers of the wanted bands, from 0, of every spin channel; or a text with numbers from 1
        and ``vbm``, ``cbm``, such as ``"vbm,cbm"`` (see Notes); default all.
    nearest
        The n states of each spin channel that are nearest to an energy at one k-point, as
        (n, energy), in place of `bands`; eV, relative to the Fermi level, or absolute without one.
    electrons, solver, s_threshold, jobs, progress
        As in `dock.post.fermi.fermi_level`; electrons are for ``vbm`` and ``cbm``.

    Raises
    ------
    MissingDataError
        When Hamiltonian or overlap is missing, or nothing says which states are occupied.
    UsageError
        For bands that there are not, band edges of a metal, or k-points without three coordinates.

    Notes
    -----
    ``vbm`` and ``cbm`` are the highest occupied and the lowest empty state of these k-points, each
    a band of one spin channel: what `dock.states.gap.find_gap` finds, as in a band structure. In
    the triplet of O₂, with 7 electrons up and 5 down, they are band 7 of spin up and band 6 of
    spin down. Without spin channels they are the band that a whole number of electrons fills last
    and the next one, in metals too.

    Examples
    --------
    >>> import dock
    >>> coefficients(dock.read("fixtures/openmx/o2-spin"), [0, 0, 0], bands="vbm,cbm").names
    ['band7_up', 'band6_down']
    """
    problem = Problem.of(calc)
    points = kpoints.full_points if isinstance(kpoints, KMesh) else np.asarray(kpoints, np.float64)
    points = np.atleast_2d(points)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise UsageError(f"k-points have three finite coordinates, found {points.tolist()[:3]}.")
    run: dict[str, Any] = {"solver": solver, "jobs": jobs}
    if nearest is not None:
        if bands is not None or len(points) != 1:
            raise UsageError("states nearest to an energy are those of one k-point, without bands.")
        want = Want(vectors=True, nearest=_absolute(nearest, calc), s_threshold=s_threshold)
        found = list(states(problem, points, want, progress=progress, **run))
        return _nearest(calc, points, found, *_absolute(nearest, calc))
    numbers, wanted = BandSelection.of(bands).resolve(
        calc, points, electrons=electrons, s_threshold=s_threshold, **run
    )
    size = problem.size
    shape = (problem.n_channels, len(points), len(numbers))
    _require_room(16 * int(np.prod(shape)) * size, "Choose fewer states (bands=…), or k-points.")
    energies = np.full(shape, np.nan)
    vectors = np.zeros((*shape, size), dtype=np.complex128)
    stretch = (int(numbers.min()), int(numbers.max()) + 1)
    want = Want(vectors=True, bands=stretch, s_threshold=s_threshold)
    for at in states(problem, points, want, progress=progress, **run):
        here = at.states
        place = numbers - here.n_below
        if here.vectors is None or place.max() >= len(here.energies):
            raise UsageError(
                f"band {int(numbers.max()) + 1} does not exist at k-point {at.number + 1}: the "
                f"overlap threshold left {here.n_below + len(here.energies)} states."
            )
        kept = wanted[at.channel]
        energies[at.channel, at.number, kept] = here.energies[place[kept]]
        vectors[at.channel, at.number, kept] = here.vectors[:, place[kept]].T
    mesh = kpoints.size if isinstance(kpoints, KMesh) else None
    level = calc.fermi_level
    about = (calc.structure, calc.basis, calc.spin)
    return Coefficients(*about, points, energies, vectors, numbers, mesh, level)


def _absolute(nearest: tuple[int, float], calc: Calculation) -> tuple[int, float]:
    return nearest[0], nearest[1] + (calc.fermi_level or 0.0)


def _nearest(
    calc: Calculation,
    points: NDArray[np.float64],
    found: Sequence[StatesAtK],
    count: int,
    energy: float,
) -> Coefficients:
    """Return the states of one k-point that are nearest to an energy, each with its band's number.

    A solver may give more of them than was asked for.
    """
    chosen = []
    for at in found:
        order = np.argsort(np.abs(at.states.energies - energy), kind="stable")[:count]
        chosen.append(np.sort(order))
    bands = [part + at.states.n_below for part, at in zip(chosen, found, strict=True)]
    numbers = np.unique(np.concatenate(bands))
    size = 0 if found[0].states.vectors is None else len(found[0].states.vectors)
    energies = np.full((len(found), 1, len(numbers)), np.nan)
    vectors = np.zeros((*energies.shape, size), dtype=np.complex128)
    for at, part, mine in zip(found, chosen, bands, strict=True):
        place = np.searchsorted(numbers, mine)
        energies[at.channel, 0, place] = at.states.energies[part]
        if at.states.vectors is not None:
            vectors[at.channel, 0, place] = at.states.vectors[:, part].T
    about = (calc.structure, calc.basis, calc.spin)
    return Coefficients(*about, points, energies, vectors, numbers, None, calc.fermi_level)


def states_on_grid(
    expansion: Coefficients,
    grid: Grid,
    *,
    kpoint: int = 0,
    periodic: bool = False,
    jobs: int | None = None,
    progress: Report = None,
) -> GridStates:
    """Put the states of one k-point (its number, from 0) on a grid; u in place of ψ if `periodic`.

    `jobs` threads work; `progress` is told of each finished block of the grid.

    Raises
    ------
    MissingDataError
        When the basis has no radial functions.
    UsageError
        For a k-point that there is not, or more values than 16 GB hold.
    """
    basis, wanted = expansion.basis, expansion.wanted
    require_radials(basis)
    if not 0 <= kpoint < len(expansion.kpoints):
        raise UsageError(f"there are k-points 0 to {len(expansion.kpoints) - 1}, found {kpoint}.")
    k = expansion.kpoints[kpoint]
    vectors = expansion.vectors[:, kpoint][wanted]
    n_parts = vectors.shape[1] // basis.n_orbitals
    flat = vectors.reshape(-1, basis.n_orbitals)
    _require_room(
        16 * len(flat) * grid.n_points, "Choose fewer states (bands=…), or a wider spacing=X."
    )
    inverse = np.linalg.inv(grid.structure.cell)

    def work(block: Block) -> NDArray[np.complex128]:
        orbitals = block.orbital_index(basis)
        phases = np.repeat(np.exp(2j * np.pi * (block.lattice @ k)), block.counts)
        local = flat[:, orbitals] * phases
        out = np.empty((len(flat), block.values.shape[1]), dtype=np.complex128)
        out.real = local.real @ block.values
        out.imag = local.imag @ block.values
        if periodic:
            out *= np.exp(-2j * np.pi * (block.points @ inverse @ k))
        return out

    values = np.zeros((len(flat), *grid.shape), dtype=np.complex128)
    GridBlocks.of(grid, basis).fill(values, work, jobs=jobs, progress=progress)
    channels, places = np.nonzero(wanted)
    return GridStates(
        grid,
        k,
        expansion.energies[:, kpoint][wanted],
        expansion.bands[places],
        channels,
        values.reshape(len(vectors), n_parts, *grid.shape),
        periodic,
        expansion.fermi_level,
        len(expansion.energies) == 2,
    )


def _require_room(n_bytes: int, fix: str) -> None:
    if n_bytes > _MOST_BYTES:
        raise UsageError(f"the states need {n_bytes / 2**30:.0f} GB, more than 16 GB. {fix}")
