"""Bands of a supercell unfolded onto a primitive cell, with the overlap of the basis.

State n of the supercell at K = q (modulo its reciprocal lattice) has the weight

    w_n(q) = ⟨ψ_n| P_q |ψ_n⟩,   P_q = (1/N) Σ_T exp(+2πi q·T) T̂_T,

with the N translations T of the primitive lattice that the supercell holds. The weights of a state
at the N wave vectors that fold to one K add up to 1. Two ways to move an orbital by T:

``sites``
    to the atom that stands for its image, found by comparing positions modulo the primitive
    lattice: H and S are enough, displaced atoms keep their orbitals. Overlap included, as in
    C.-C. Lee et al., J. Phys.: Condens. Matter 25, 345501 (2013).
``functions``
    in space: overlaps of the orbitals with moved ones are computed from the radial functions. It
    is the refolded Fourier weight of S. G. Mayo, F. Yndurain and J. M. Soler, J. Phys.: Condens.
    Matter 32, 205902 (2020), summed over all reciprocal vectors, and needs no map of the atoms.

For a perfect supercell both are 0 or 1 and agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.arrays import atom_list
from dock.core.calculation import Calculation
from dock.core.structure import AnyStructure, Structure
from dock.errors import MissingDataError, UsageError
from dock.extras import require
from dock.io.progress import Report
from dock.post.legend import ShownGroup, add_legend, shown_groups
from dock.post.spectral_map import Map, drawn_levels, spectral_map
from dock.post.spectral_weights import ByFunctions, BySites, Projector, orbital_mask
from dock.post.supercell import find_sites, supercell_of
from dock.post.unfolded_result import UnfoldedResult
from dock.results import Result
from dock.states.broadening import add_gaussians
from dock.states.certificates import Certificates
from dock.states.job import Job
from dock.states.kpath import KPath
from dock.states.problem import Problem
from dock.states.solver import Solver, Want
from dock.states.stream import StatesAtK, states
from dock.style import ink

__all__ = ["Unfolded", "make_primitive_path", "supercell_of", "unfold"]

Method: TypeAlias = Literal["sites", "functions"]
Window: TypeAlias = tuple[float, float] | None

_SHOWN = 6.0  # eV about the Fermi level that the map reaches without a window
_VISIBLE = 0.02  # weight below which a level is left out of the JSON file


@dataclass(frozen=True, eq=False, repr=False)
class Unfolded(UnfoldedResult):
    """Energies of a supercell with their weights along a path of the primitive cell.

    Attributes
    ----------
    energies : (n_spin, n_k, n_states)
        eV, absolute, ascending; NaN where a k-point has fewer states.
    weights : (n_spin, n_k, n_states)
        0 to 1 for perfect crystals; NaN with the energies.
    group_names, group_weights : (n_groups, n_spin, n_k, n_states)
        Parts of the structure and their shares in the weights (Mulliken); together the weights
        where the groups hold all atoms.
    fermi_level
        eV, absolute, or None.
    method, note
        ``sites`` or ``functions``, and what the map of the atoms has to say.
    window
        Energies that the map A(k, E) shows, eV relative to the Fermi level; None for those of all
        states, no more than 6 eV away from a Fermi level.
    sigma
        Standard deviation of its Gaussians, eV.
    certificates
        Why no state is missing; None where that is not known.
    """

    weights: NDArray[np.float64]
    group_names: tuple[str, ...] = ()
    group_weights: NDArray[np.float64] | None = None
    fermi_level: float | None = None
    method: str = "sites"
    note: str = ""
    window: Window = None
    sigma: float = 0.05
    certificates: Certificates | None = None

    @property
    def reference(self) -> float:
        """The energy that files and figures call zero: the Fermi level, or 0 without one."""
        return 0.0 if self.fermi_level is None else self.fermi_level

    @property
    def n_panels(self) -> int:
        """One for each spin channel."""
        return len(self.energies)

    def spectral(
        self, energies: ArrayLike, sigma: float | None = None, *, group: str | None = None
    ) -> NDArray[np.float64]:
        """Return A(k, E) = Σ_n w_n(k) g(E − ε_n) in 1/eV, (n_spin, n_k, n_energies).

        The energies are absolute, in eV and evenly spaced; g is a Gaussian of standard deviation
        `sigma`, by default the result's; w_n is a group's share where one is named. Raises
        `UsageError` for a width, energies or a group without meaning.
        """
        sigma = self.sigma if sigma is None else sigma
        grid = np.asarray(energies, dtype=np.float64)
        steps = np.diff(grid)
        if len(grid) < 2 or not np.allclose(steps, steps[0], rtol=1e-6) or not steps[0] > 0:
            raise UsageError("the energies of A(k, E) must rise in even steps.")
        _require_width(sigma)
        weights = self.weights if group is None else self._group(group)
        out = np.zeros((*weights.shape[:2], len(grid)))
        for place in np.ndindex(*weights.shape[:2]):
            there = np.isfinite(self.energies[place])
            levels, shares = self.energies[place][there], weights[place][there]
            add_gaussians(levels, shares, sigma, grid[0], float(steps[0]), out[place])
        return out

    def _group(self, name: str) -> NDArray[np.float64]:
        if self.group_weights is None or name not in self.group_names:
            known = ", ".join(self.group_names) or "none"
            raise UsageError(f"there is no group '{name}'. There are: {known}.")
        weights: NDArray[np.float64] = self.group_weights[self.group_names.index(name)]
        return weights

    def energy_grid(self, window: Window = None, sigma: float | None = None) -> NDArray[np.float64]:
        """Return the absolute energies of the map in even steps of at most σ/2, eV.

        Window and width are by default the result's; an empty window raises `UsageError`.
        """
        window = self.window if window is None else window
        sigma = self.sigma if sigma is None else sigma
        zero = self.reference
        if window is None:
            low = float(np.nanmin(self.energies)) - zero - 5 * sigma
            high = float(np.nanmax(self.energies)) - zero + 5 * sigma
            if self.fermi_level is not None:
                low, high = max(low, -_SHOWN), min(high, _SHOWN)
        else:
            low, high = window
        if not low < high:
            raise UsageError(f"the energy window {low:g} … {high:g} eV is empty.")
        steps = max(2, int(np.ceil((high - low) / (sigma / 2))))
        grid: NDArray[np.float64] = zero + np.linspace(low, high, steps + 1)
        return grid

    def facts(self) -> dict[str, Any]:
        """Return what was unfolded and how, by key; see `dock.results.KEYS`."""
        return {
            **super().facts(),
            "method": self.method,
            "n_states": self.energies.shape[2],
            "largest_weight": float(np.nanmax(self.weights)),
            "fermi_level_eV": self.fermi_level,
            "sigma_eV": self.sigma,
            "group_names": list(self.group_names),
            **({} if self.certificates is None else self.certificates.facts()),
            "note": self.note,
        }

    def arrays(self) -> dict[str, Any]:
        """Return the path, and the levels with a weight above 0.02, their energies as in files."""
        levels = []
        for spin, k, n in np.argwhere(self.weights > _VISIBLE):
            energy = float(self.energies[spin, k, n]) - self.reference
            levels.append([int(spin), int(k), energy, round(float(self.weights[spin, k, n]), 6)])
        return {
            **self.path.arrays(),
            "columns": ["spin", "kpoint", "energy_eV", "weight"],
            "levels": levels,
        }

    def datasets(self) -> dict[str, Any]:
        """Return energies, weights, A(k, E), and the path by the names of ``band.h5``."""
        zero, grid = self.reference, self.energy_grid()
        content: dict[str, Any] = {
            "band_data": self.energies - zero,
            "weights": self.weights,
            "fermi_energy_before_shift_eV": np.nan if self.fermi_level is None else zero,
            **super().datasets(),
            "spectral/energy": grid - zero,
            "spectral/A": self.spectral(grid),
        }
        if self.group_weights is not None:
            content["group_names"] = list(self.group_names)
            content["group_weights"] = self.group_weights
        return content

    def write_hdf5(self, file: Any) -> None:
        """Write `datasets`, and `facts` as attributes; A(k, E) has its unit and width."""
        super().write_hdf5(file)
        file["spectral"].attrs["sigma_eV"] = self.sigma

    def save(
        self,
        path: str | Path | None = None,
        *,
        window: Window = None,
        sigma: float | None = None,
        overwrite: bool = False,
    ) -> list[Path]:
        """Save as `Result.save`; window and width of A(k, E) are by default the result's."""
        window = self.window if window is None else window
        sigma = self.sigma if sigma is None else sigma
        return Result.save(replace(self, window=window, sigma=sigma), path, overwrite=overwrite)

    def rows(self) -> list[tuple[str, str]]:
        """Return supercell, path, states, groups and notes in words."""
        level = self.fermi_level
        rows = [
            ("supercell", f"{_cells(self.n_cells)} of {self.primitive.formula}"),
            ("path", self.path_words),
            ("states", f"{self.energies.shape[2]}, method {self.method}"),
            ("Fermi level", "unknown" if level is None else f"{level:.6f} eV"),
        ]
        if self.group_names:
            rows.append(("groups", ", ".join(self.group_names)))
        if self.certificates is not None:
            rows += self.certificates.rows()
        if self.note:
            rows.append(("note", self.note))
        return rows

    def draw(
        self,
        axes: Any,
        *,
        window: Window = None,
        sigma: float | None = None,
        group: str | None = None,
    ) -> None:
        """Draw A(k, E), on two axes for collinear spin; see `energy_grid` and `spectral`.

        Where there are groups and none is named, colours say whose the states are: those of all
        groups are mixed by their shares. Between the k-points see `dock.post.spectral_map`.
        """
        panels = self.panels(axes)
        grid = self.energy_grid(window, sigma)
        shown = self._shown_groups(group)
        maps = [self._maps(spin, grid, sigma, group, shown) for spin in range(len(panels))]
        found = [float(part.values.sum(axis=0).max()) for each in maps for part in each]
        width = self.sigma if sigma is None else sigma
        # The darkest colour is a state of weight 1: where several meet, others do not pale.
        top = min(max(found, default=1.0) or 1.0, 1.0 / (width * np.sqrt(2 * np.pi)))
        for spin, panel in enumerate(panels):
            image = self._draw_map(panel, maps[spin], grid - self.reference, top, shown)
            self._draw_frame(panel, (grid[0] - self.reference, grid[-1] - self.reference))
            part = f", {group}" if group else ""
            channel = f", {('up', 'down')[spin]}" if self.n_panels == 2 else ""
            title = f"{_cells(self.n_cells)} unfolded{part}{channel}"
            panel.set_title(title, fontsize="medium")
        if shown:
            add_legend(panels[-1], shown, kind="patch")
        elif image is not None:
            beside = panels[-1].inset_axes((1.03, 0.0, 0.04, 1.0))
            panels[-1].figure.colorbar(image, cax=beside, label="A (1/eV)", extend="max")

    def _shown_groups(self, group: str | None) -> list[ShownGroup]:
        """Return the groups whose colours are mixed; none where one alone is drawn."""
        if group is not None or self.group_weights is None:
            return []
        return shown_groups(self.group_names, np.nansum(self.group_weights, axis=(1, 2, 3)))

    def _maps(
        self,
        spin: int,
        grid: NDArray[np.float64],
        sigma: float | None,
        group: str | None,
        shown: Sequence[ShownGroup],
    ) -> list[Map]:
        """Return the pictures of one spin channel: of the shown groups, or of one or all."""
        weights = self.weights[spin]
        if shown and self.group_weights is not None:
            parts = self.group_weights[:, spin]
            shares = np.stack([parts[list(each.members)].sum(axis=0) for each in shown])
        else:
            shares = (weights if group is None else self._group(group)[spin])[None]
        rows = zip(self.energies[spin], weights, shares.swapaxes(0, 1), strict=True)
        levels = [drawn_levels(*row) for row in rows]
        path, window, zero = self.path, self.window, self.reference
        limits = None if window is None else (window[0] + zero, window[1] + zero)
        width = self.sigma if sigma is None else sigma
        place = path.distances, path.segment
        return spectral_map(levels, *place, grid, width, window=limits)

    def _draw_map(
        self,
        axes: Any,
        maps: Sequence[Map],
        y: NDArray[np.float64],
        top: float,
        shown: Sequence[ShownGroup],
    ) -> Any:
        """Draw one spin channel; `top`, in 1/eV, is the darkest colour."""
        to_rgb = require("matplotlib.colors", "plot").to_rgb
        step, image = 0.5 * (y[1] - y[0]), None
        for x, values in maps:
            half = 0.5 * (x[1] - x[0])
            place = (x[0] - half, x[-1] + half, y[0] - step, y[-1] + step)
            look: dict[str, Any] = {"extent": place, "origin": "lower", "aspect": "auto"}
            if shown:  # as inks: each group takes the light that its colour is not
                taken = 1.0 - np.array([to_rgb(each.colour) for each in shown])
                ink = np.einsum("gxe,gc->exc", values.clip(0.0) / top, taken)
                image = axes.imshow(1.0 - ink.clip(0.0, 1.0), interpolation="bilinear", **look)
            else:
                look |= {"cmap": "gist_heat_r", "vmin": 0.0, "vmax": top}
                image = axes.imshow(values[0].T, interpolation="bilinear", **look)
        return image

    def _draw_frame(self, axes: Any, limits: tuple[float, float]) -> None:
        """Draw the points of the path and the Fermi level."""
        path, known = self.path, self.fermi_level is not None
        for place, _ in path.ticks:
            axes.axvline(place, color=ink(0.4), lw=0.6)
        if known:
            axes.axhline(0.0, color=ink(0.5), lw=0.8, ls=":")
        axes.set_xticks([at for at, _ in path.ticks], [name for _, name in path.ticks])
        if np.ptp(path.distances) > 0:
            axes.set_xlim(path.distances[0], path.distances[-1])
        axes.set_ylim(*limits)
        axes.set_ylabel("energy − Fermi level (eV)" if known else "energy (eV)")


def unfold(
    calc: Calculation,
    primitive: AnyStructure | ArrayLike,
    path: KPath | str | Path | None = None,
    *,
    points: int | None = None,
    method: Method = "sites",
    atoms: ArrayLike | None = None,
    groups: Mapping[str, Sequence[int]] | None = None,
    tolerance: float = 0.5,
    window: Window = None,
    sigma: float = 0.05,
    solver: str | Solver | Job = "auto",
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
) -> Unfolded:
    """Unfold the bands of a supercell.

    Parameters
    ----------
    calc
        The supercell: Hamiltonian and overlap, for ``functions`` a basis with radial functions.
    primitive
        A structure whose cell the supercell repeats, or the supercell matrix: three integers, or
        (3, 3) integers whose rows give the supercell's vectors in those of the primitive cell.
    path, points, solver, s_threshold, jobs, progress
        As in `dock.post.band_structure.bands`; the path is one of the primitive cell.
    method
        ``sites`` or ``functions``; see the module.
    atoms
        Project on the orbitals of these atoms alone, such as one layer with a lattice of its own.
    groups
        Parts of the structure by name, whose shares in the weights are wanted.
    tolerance
        Distance in Å within which an atom belongs to a site (``sites``).
    window, sigma
        As in `Unfolded`; states outside the window are left out.

    Raises
    ------
    UsageError
        When the supercell does not repeat the primitive cell, for an unknown method, a width that
        is not positive, a window without states, or without radial functions for ``functions``.
    MissingDataError
        Without Hamiltonian or overlap, or without a Fermi level for a window.

    Examples
    --------
    >>> import dock
    >>> calc = dock.read("fixtures/openmx/si")
    >>> double = {name: calc.require(name).supercell([2, 1, 1]) for name in ("H", "S")}
    >>> H, S = double["H"], double["S"]
    >>> both = dock.Calculation(H.structure, H.basis, H.spin, {"hamiltonian": H, "overlap": S})
    >>> result = unfold(both, [2, 1, 1], "LGX", points=3)
    >>> print(result.weights[0, 0].sum().round(9))
    10.0
    """
    if method not in ("sites", "functions"):
        raise UsageError(f"the method is 'sites' or 'functions', found '{method}'.")
    _require_width(sigma)
    problem = Problem.of(calc)
    transform, cell = supercell_of(calc.structure, primitive)
    taken = None if atoms is None else atom_list(atoms, calc.structure.n_atoms)
    known = Structure.of(primitive) if Structure.accepts(primitive) else None
    sites = find_sites(calc.structure, cell, transform, known, tolerance=tolerance, atoms=taken)
    if not isinstance(path, KPath):
        reached = problem.overlap.pairs.R @ transform
        path = make_primitive_path(sites.primitive, path, points=points, reached=reached)
    projector: Projector
    if method == "functions":
        projector = ByFunctions(calc, cell, sites.n_cells, taken)
    else:
        projector = BySites(calc, sites, taken)
    names, members = _groups(calc, groups)
    want = Want(vectors=True, window=_absolute(window, calc), s_threshold=s_threshold)
    folded = path.kpoints_frac @ transform.T
    stream = states(problem, folded, want, solver=solver, jobs=jobs, progress=progress)
    energies, weights, proof = _gather(stream, problem, projector, path, members)
    return Unfolded(
        sites.primitive,
        transform,
        calc.spin,
        path,
        energies,
        weights[0],
        names,
        weights[1:] if names else None,
        calc.fermi_level,
        method,
        sites.note if method == "sites" else "",
        window,
        sigma,
        proof,
    )


def make_primitive_path(
    primitive: Structure,
    path: str | Path | None,
    *,
    points: int | None = None,
    reached: ArrayLike | None = None,
) -> KPath:
    """Return a path of the primitive cell; see `KPath.of`.

    Axes along which none of the lattice vectors `reached` (n, 3), those that couple, reaches are
    left out.
    """
    axes = None
    if reached is not None:
        moves = np.any(np.asarray(reached) != 0, axis=0)
        axes = [axis for axis in range(3) if moves[axis] and primitive.pbc[axis]]
    return KPath.of(path, primitive, axes, points=points)


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _require_width(sigma: float) -> None:
    if not 0 < sigma < np.inf:
        raise UsageError(f"the broadening must be positive (eV), found {sigma}.")


def _absolute(window: Window, calc: Calculation) -> Window:
    if window is None:
        return None
    if calc.fermi_level is None:
        need = "The window counts from it. Pass fermi_level=E (eV; 0 for absolute energies)."
        raise MissingDataError("the Fermi level", calc.source, need)
    return window[0] + calc.fermi_level, window[1] + calc.fermi_level


def _groups(
    calc: Calculation, groups: Mapping[str, Sequence[int]] | None
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return names and the (n_groups, n_rows) membership of the orbitals."""
    groups = groups or {}
    n_atoms = calc.structure.n_atoms
    rows = [orbital_mask(calc, atom_list(atoms, n_atoms)) for atoms in groups.values()]
    return tuple(groups), np.array(rows).reshape(len(rows), len(orbital_mask(calc)))


def _gather(
    stream: Iterable[StatesAtK],
    problem: Problem,
    projector: Projector,
    path: KPath,
    members: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], Certificates]:
    """Return energies (n_spin, n_k, n) and weights, of all and of each group, padded with NaN.

    The weights are (1 + n_groups, n_spin, n_k, n); the energies in the order of `stream`.
    """
    parts: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    answers = []
    for at in stream:
        vectors: Any = at.states.vectors
        q = path.kpoints_frac[at.number]
        shares = projector.shares(problem.channels[at.channel], q, vectors)
        weights = np.concatenate([shares.sum(axis=0, keepdims=True), members @ shares])
        parts.append((at.states.energies, weights))
        answers.append(replace(at.states, vectors=None))
    width = max(len(levels) for levels, _ in parts)
    if width == 0:
        raise UsageError("no state lies in the energy window. Pass a wider window=….")
    energies = np.full((len(parts), width), np.nan)
    weights = np.full((1 + len(members), len(parts), width), np.nan)
    for place, (levels, shares) in enumerate(parts):
        energies[place, : len(levels)] = levels
        weights[:, place, : len(levels)] = shares
    shape = (problem.n_channels, path.n_kpoints, width)
    proof = Certificates.of(answers, problem.n_channels)
    return energies.reshape(shape), weights.reshape(len(weights), *shape), proof
