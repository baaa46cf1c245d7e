"""Spectral functions A(k, E) of a supercell at wave vectors of its primitive cell, without states.

The weight of `dock.post.unfold`, w_n(q) = ⟨ψ_n|P_q|ψ_n⟩ with orbitals moved from site to site,
summed over all states about an energy is, with Bloch sums b_a of the primitive cell's orbitals,

    A(q, E) = Σ_n w_n(q) δ(E − ε_n) = (1/N) Σ_a Re ⟨b_a| δ(E − S⁻¹H) |b_a⟩,

so that Chebyshev moments of these vectors give it: as many as the primitive cell has orbitals, and
none by chance. The δ is the Jackson kernel, whose width is the resolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.arrays import atom_list
from dock.core.calculation import Calculation
from dock.core.kspace import is_time_reversal_invariant
from dock.core.spin import Spin
from dock.core.structure import AnyStructure, Structure
from dock.errors import MissingDataError, UsageError
from dock.io.progress import Progress, Report
from dock.post.spectral_weights import bloch_sums, orbital_mask
from dock.post.supercell import Sites, find_sites, supercell_of
from dock.post.unfold import make_primitive_path
from dock.post.unfolded_result import UnfoldedResult
from dock.states.job import Job, Planned
from dock.states.kpath import KPath
from dock.states.kpm.cost import Cost
from dock.states.kpm.recursion import Expansion
from dock.states.kpm.sums import Moments, MomentSum, Task
from dock.states.memory import in_words
from dock.states.problem import Problem
from dock.states.solver import Solver
from dock.states.speed import duration
from dock.threads import available_cpus

__all__ = ["SpectralFunction", "spectral_function"]

_WIDTH = 16  # vectors at once
_MOST = 1000  # Bloch sums of a wave vector: more are no crystal's
_ROUGH_WIDTH = 34.0  # half the width of a compressed spectrum, eV, before its bounds are known
_SHOWN = 6.0  # eV about the Fermi level without a window
_PEAK = 0.2  # of the height of a whole state, from which a maximum is a peak
_STEPS = 1000


@dataclass(frozen=True, eq=False, repr=False)
class SpectralFunction(UnfoldedResult):
    """A(k, E) along a path of the primitive cell.

    Attributes
    ----------
    fermi_level, note
        As in `dock.post.unfold.Unfolded`; there is always a Fermi level.
    energies : (n_energies,)
        eV, absolute, in even steps.
    values : (n_spin, n_k, n_energies)
        A(k, E) of one spin channel, 1/eV.
    group_names, group_values : (n_groups, n_spin, n_k, n_energies)
        Parts of the structure and their shares (Mulliken).
    resolution : (n_energies,)
        Standard deviation of the kernel, eV.
    n_moments, inverse, inverse_error, bounds
        Of the series; how S was inverted, by how much that moves levels, eV; the spectrum, eV.
    """

    values: NDArray[np.float64]
    group_names: tuple[str, ...]
    group_values: NDArray[np.float64]
    fermi_level: float
    resolution: NDArray[np.float64]
    n_moments: int
    inverse: str
    inverse_error: float
    bounds: tuple[float, float]
    note: str = ""

    @property
    def n_panels(self) -> int:
        """One for each spin channel."""
        return len(self.values)

    @property
    def relative(self) -> NDArray[np.float64]:
        """The energies from the Fermi level, eV."""
        return self.energies - self.fermi_level

    @property
    def width(self) -> float:
        """The resolution at the Fermi level, or at the energy nearest to it, eV."""
        return float(np.interp(self.fermi_level, self.energies, self.resolution))

    def peaks(self) -> list[list[float]]:
        """Return maxima of A as [spin, k-point, energy, weight], of weights above 0.2.

        The energy is relative to the Fermi level, between the steps by a parabola; the weight is
        that of one level as high, exact for levels that lie farther apart than the kernel is wide.
        """
        A, step = self.values, float(self.energies[1] - self.energies[0])
        weight = A * self.resolution * np.sqrt(2 * np.pi)
        inner = A[..., 1:-1]
        is_peak = (inner > A[..., :-2]) & (inner >= A[..., 2:]) & (weight[..., 1:-1] > _PEAK)
        found = []
        for spin, k, n in np.argwhere(is_peak):
            left, here, right = A[spin, k, n : n + 3]
            bend = left - 2 * here + right
            shift = 0.5 * (left - right) / bend if bend else 0.0
            energy = float(self.relative[n + 1] + shift * step)
            found.append([int(spin), int(k), energy, round(float(weight[spin, k, n + 1]), 4)])
        return found

    def facts(self) -> dict[str, Any]:
        """Return what was unfolded and how sharp it is, by key; see `dock.results.KEYS`."""
        return {
            **super().facts(),
            "method": "kpm",
            "n_moments": self.n_moments,
            "resolution_eV": self.width,
            "inverse": self.inverse,
            "inverse_error_eV": self.inverse_error,
            "spectrum_bounds_eV": list(self.bounds),
            "fermi_level_eV": self.fermi_level,
            "group_names": list(self.group_names),
            "note": self.note,
        }

    def arrays(self) -> dict[str, Any]:
        """Return the path and the peaks."""
        columns = ["spin", "kpoint", "energy_eV", "weight"]
        return {**self.path.arrays(), "columns": columns, "levels": self.peaks()}

    def datasets(self) -> dict[str, Any]:
        """Return A(k, E) and the path by the names of ``unfold.h5``."""
        content = {
            "fermi_energy_before_shift_eV": self.fermi_level,
            **super().datasets(),
            "spectral/energy": self.relative,
            "spectral/A": self.values,
            "spectral/resolution": self.resolution,
        }
        if self.group_names:
            content["group_names"] = list(self.group_names)
            content["spectral/A_of_groups"] = self.group_values
        return content

    def rows(self) -> list[tuple[str, str]]:
        """Return supercell, path, sharpness and notes in words."""
        x, sharp = self.relative, 1e3 * self.resolution
        moved = f"levels move by less than {1e3 * self.inverse_error:.2g} meV"
        here = f"{1e3 * self.width:.1f} meV at the Fermi level"
        rows = [
            ("supercell", f"{self.n_cells} cells of {self.primitive.formula}"),
            ("path", self.path_words),
            ("energies", f"{len(x)} from {x[0]:.3f} to {x[-1]:.3f} eV"),
            ("method", f"{self.n_moments} Chebyshev moments (KPM), no random vectors"),
            ("resolution", f"{here}, {sharp.min():.1f} … {sharp.max():.1f} meV (σ of the kernel)"),
            ("inverse of S", f"{self.inverse}: {moved}"),
            ("Fermi level", f"{self.fermi_level:.6f} eV"),
        ]
        if self.group_names:
            rows.append(("groups", ", ".join(self.group_names)))
        if self.note:
            rows.append(("note", self.note))
        return rows

    def draw(self, axes: Any, *, window: tuple[float, float] | None = None) -> None:
        """Draw A(k, E), on two axes for collinear spin; darkest is a state of weight 1."""
        panels, path = self.panels(axes), self.path
        top = 1.0 / (self.width * np.sqrt(2 * np.pi))
        top = min(top, float(self.values.max()) or 1.0)
        for spin, panel in enumerate(panels):
            for number in np.unique(path.segment):
                inside = np.flatnonzero(path.segment == number)
                if len(inside) < 2:
                    continue
                look: dict[str, Any] = {
                    "cmap": "gist_heat_r",
                    "vmin": 0.0,
                    "vmax": top,
                    "rasterized": True,
                }
                x, part = path.distances[inside], self.values[spin, inside].T
                image = panel.pcolormesh(x, self.relative, part, shading="gouraud", **look)
            for place, _ in path.ticks:
                panel.axvline(place, color="0.6", lw=0.6)
            panel.axhline(0.0, color="0.5", lw=0.8, ls=":")
            panel.set_xticks([at for at, _ in path.ticks], [name for _, name in path.ticks])
            if np.ptp(path.distances) > 0:
                panel.set_xlim(path.distances[0], path.distances[-1])
            panel.set_ylim(*(window or (self.relative[0], self.relative[-1])))
            panel.set_ylabel("energy − Fermi level (eV)")
            channel = f", {('up', 'down')[spin]}" if self.n_panels == 2 else ""
            panel.set_title(f"{self.n_cells} cells unfolded{channel}", fontsize="medium")
        if len(path.distances) > 1 and np.ptp(path.distances) > 0:
            beside = panels[-1].inset_axes((1.03, 0.0, 0.04, 1.0))
            panels[-1].figure.colorbar(image, cax=beside, label="A (1/eV)", extend="max")


def spectral_function(
    calc: Calculation,
    primitive: AnyStructure | ArrayLike,
    path: KPath | str | Path | None = None,
    *,
    points: int | None = None,
    atoms: ArrayLike | None = None,
    groups: Mapping[str, Sequence[int]] | None = None,
    tolerance: float = 0.5,
    window: tuple[float, float] | None = None,
    resolution: float | None = None,
    moments: int | None = None,
    single: bool = True,
    solver: str | Solver | Job = "auto",
    jobs: int | None = None,
    progress: Report = None,
) -> SpectralFunction:
    """Compute A(k, E) of a supercell without its states.

    Parameters
    ----------
    primitive, path, points, atoms, groups, tolerance
        As in `dock.post.unfold.unfold`.
    window
        (lowest, highest) energy in eV relative to the Fermi level; default 6 eV about it.
    resolution
        Standard deviation of the kernel at the Fermi level, eV; default 0.05, or that of `moments`.
    moments
        Number of moments; by default as many as the resolution needs.
    single
        Numbers of single precision.

    Raises
    ------
    UsageError
        When the supercell does not repeat the primitive cell, for settings without meaning, a
        window outside the spectrum, too few moments for the resolution (with the number that would
        do), more sites than a crystal has, or too little memory.
    SolverError
        Where S is not positive definite.
    MissingDataError
        Without a Fermi level.

    Examples
    --------
    >>> import dock
    >>> calc = dock.read("fixtures/openmx/si")
    >>> found = spectral_function(calc, [1, 1, 1], "GX", points=2, resolution=0.3)
    >>> found.values.shape[:2]
    (1, 2)
    """
    if resolution is not None and not 0 < resolution < np.inf:
        raise UsageError(f"the resolution is a positive number of eV, found {resolution}.")
    if moments is not None and moments < 4:
        raise UsageError(f"a series has at least 4 moments, found {moments}.")
    window = (-_SHOWN, _SHOWN) if window is None else window
    if not window[0] < window[1]:
        raise UsageError(f"the energy window {window[0]:g} … {window[1]:g} eV is empty.")
    if calc.fermi_level is None:
        need = "Energies count from it. Pass fermi_level=E (eV; 0 for absolute energies)."
        raise MissingDataError("the Fermi level", calc.source, need)
    problem = Problem.of(calc)
    transform, cell = supercell_of(calc.structure, primitive)
    taken = None if atoms is None else atom_list(atoms, calc.structure.n_atoms)
    known = Structure.of(primitive) if Structure.accepts(primitive) else None
    sites = find_sites(calc.structure, cell, transform, known, tolerance=tolerance, atoms=taken)
    if not isinstance(path, KPath):
        reached = problem.pairs.R @ transform
        path = make_primitive_path(sites.primitive, path, points=points, reached=reached)
    task = _Spectral(
        calc, problem, sites, path, taken, dict(groups or {}), window, resolution, moments, single,
        jobs or available_cpus(),
    )  # fmt: skip
    cost = task.cost()
    cost.require_room()
    job = Job.of(solver)
    if job.dry_run:
        raise task.planned(cost)
    return task.result(task.moments_sum().total(job, Progress.of(progress)))


@dataclass(eq=False)
class _Spectral:
    """One spectral function: its settings, the moments that it needs, what is made of them."""

    calc: Calculation
    problem: Problem
    sites: Sites
    path: KPath
    atoms: NDArray[np.int64] | None
    groups: dict[str, Sequence[int]]
    window: tuple[float, float]
    resolution: float | None
    moments: int | None
    single: bool
    threads: int

    @cached_property
    def level(self) -> float:
        return float(self.calc.fermi_level or 0.0)

    @cached_property
    def n_sums(self) -> int:
        """Bloch sums at a wave vector."""
        slots = int(bloch_sums(self.calc, self.sites, np.zeros(3), self.atoms).shape[1])
        if slots > _MOST:
            raise UsageError(
                f"{slots} Bloch sums belong to a wave vector, as the atoms lie on "
                f"{self.sites.primitive.n_atoms} sites of the primitive cell: at most {_MOST} are "
                "a crystal's. Pass a larger tolerance, or the atoms that lie on sites: atoms=[…]."
            )
        return slots

    @cached_property
    def folded(self) -> NDArray[np.float64]:
        """The wave vectors in the supercell's reciprocal vectors, (n_k, 3)."""
        return self.path.kpoints_frac @ self.sites.transform.T

    def _tasks(self) -> list[Task]:
        blocks = range(-(-self.n_sums // _WIDTH))
        places = np.ndindex(self.problem.n_channels, self.path.n_kpoints)
        return [Task(channel, k, block) for channel, k in places for block in blocks]

    def _vectors(self, task: Task) -> NDArray[Any]:
        """Return the Bloch sums of a block; in real arithmetic both of their parts."""
        q = self.path.kpoints_frac[task.k_number]
        sums = bloch_sums(self.calc, self.sites, q, self.atoms)
        begin = task.block * _WIDTH
        x: NDArray[Any] = sums[:, begin : begin + _WIDTH].toarray()
        if np.iscomplexobj(x) and self._is_real(task.k_number):
            x = np.hstack([x.real, x.imag])
            x = x[:, np.linalg.norm(x, axis=0) > 0]
        return np.asarray(x / np.sqrt(self.sites.n_cells))

    def _is_real(self, k_number: int) -> bool:
        spinor = self.problem.spin is Spin.NONCOLLINEAR
        return not spinor and is_time_reversal_invariant(self.folded[k_number])

    def _members(self) -> Any:
        """Return all rows and the groups as a matrix (1 + n_groups, size); None for all."""
        if not self.groups:
            return None
        n_atoms = self.calc.structure.n_atoms
        masks = [orbital_mask(self.calc, atom_list(one, n_atoms)) for one in self.groups.values()]
        return np.stack([np.ones(self.problem.size), *masks])

    def cost(self) -> Cost:
        """Return memory and work."""
        width = min(2 * _WIDTH, 2 * self.n_sums)
        n_groups = 1 + len(self.groups)
        k = self.folded[[0, -1]]
        every = [
            Cost.of(self.problem, one, single=self.single, width=width, n_groups=n_groups)
            for one in k
        ]
        return max(every, key=lambda cost: cost.memory_bytes)

    def planned(self, cost: Cost) -> Planned:
        """Return the end of a run that is only to be planned."""
        guess = self.moments or int(np.pi * _ROUGH_WIDTH / (self.resolution or 0.05))
        plan, n_problems = cost.plan(2 * guess, self.threads), len(self._tasks())
        text = (
            f"kpm: {cost.n_atoms} atoms, {in_words(plan.memory_bytes)}, about {guess} moments; "
            f"{n_problems} blocks of Bloch sums, about {duration(plan.seconds or 0.0)} each"
        )
        return Planned(text, plan, n_problems, 0)

    def moments_sum(self) -> MomentSum:
        """Return what computes the moments."""
        sites = self.sites
        words = (
            sites.transform.tolist(), sites.site.tolist(), sites.cell.tolist(),
            None if self.atoms is None else self.atoms.tolist(),
            {name: list(map(int, atoms)) for name, atoms in self.groups.items()},
            self.resolution, self.moments, self.single, self.level,
            self.path.kpoints_frac.tobytes().hex(),
        )  # fmt: skip
        return MomentSum(
            self.problem,
            self._expansion,
            self._n_moments,
            self._tasks(),
            _WIDTH,
            0,
            self._members(),
            repr(("spectral", *words)),
            _STEPS,
            self._vectors,
        )

    def _expansion(self, channel: int, k_number: int) -> Expansion:
        """Return the expansion of a channel and k-point, after a look at the window."""
        found = Expansion.of(
            self.problem,
            channel,
            self.folded[k_number],
            structure=self.calc.structure,
            origin=self.level,
            single=self.single,
            threads=self.threads,
        )
        found.scale.require_inside(self.level, self.window)
        return found

    def _n_moments(self, expansion: Expansion) -> int:
        """Return the moments that are needed; too few that are given are refused."""
        return expansion.scale.moments_of(self.level, self.resolution, self.moments)

    def result(self, found: list[Moments]) -> SpectralFunction:
        """Make the result of all moments."""
        n_k, sites = self.path.n_kpoints, self.sites
        low, high = found[0].scale.bounds
        fewest = min(one.values.shape[-1] for one in found)
        width = float(self._widths(found, np.array([self.level]))[0])
        ends = max(self.window[0] + self.level, low), min(self.window[1] + self.level, high)
        n_steps = max(2, int(np.ceil((ends[1] - ends[0]) / (width / 4))))
        energies = np.linspace(*ends, n_steps + 1)
        shape = (self.problem.n_channels, n_k, 1 + len(self.groups), len(energies))
        A = np.zeros(shape)
        for task, one in zip(self._tasks(), found, strict=True):
            A[task.channel, task.k_number] += one.scale.density(one.values.sum(axis=0), energies)
        A = np.moveaxis(A, 2, 0)
        moved = max(float(one.scale.moved(energies, one.error).max()) for one in found)
        return SpectralFunction(
            sites.primitive,
            sites.transform,
            self.calc.spin,
            self.path,
            energies,
            A[0],
            tuple(self.groups),
            A[1:],
            self.level,
            self._widths(found, energies),
            fewest,
            found[0].description,
            moved,
            (min(m.scale.bounds[0] for m in found), max(m.scale.bounds[1] for m in found)),
            sites.note,
        )

    def _widths(self, found: list[Moments], energies: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the width of the kernel at energies, of the k-point where it is widest."""
        every = [one.scale.resolution(energies, one.values.shape[-1]) for one in found]
        return np.asarray(np.max(every, axis=0))
