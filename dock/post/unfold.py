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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.arrays import atom_list
from dock.core.calculation import Calculation
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import MissingDataError, UsageError
from dock.io.progress import Report
from dock.post.unfold_sites import find_sites
from dock.post.unfold_weights import ByFunctions, BySites, Projector, orbital_mask
from dock.states.broadening import add_gaussians
from dock.states.kpath import KPath
from dock.states.problem import Problem
from dock.states.solver import Want
from dock.states.stream import states

__all__ = ["Unfolded", "make_primitive_path", "supercell_of", "unfold"]

Method: TypeAlias = Literal["sites", "functions"]

_CELL_TOLERANCE = 0.02  # by which the supercell may miss a whole number of primitive cells


@dataclass(frozen=True, eq=False)
class Unfolded:
    """Energies of a supercell with their weights along a path of the primitive cell.

    Attributes
    ----------
    primitive
        The primitive cell and one atom for each site.
    supercell : (3, 3) int
        Rows: the supercell's lattice vectors in those of the primitive cell.
    spin, path
        What was computed; the path is in fractions of the primitive reciprocal vectors.
    energies : (n_spin, n_k, n_states)
        eV, absolute, ascending; NaN where a k-point has fewer states.
    weights : (n_spin, n_k, n_states)
        0 to 1 for perfect crystals; NaN with the energies.
    group_names
        Names of parts of the structure.
    group_weights : (n_groups, n_spin, n_k, n_states)
        Their shares in the weights (Mulliken); together the weights where the groups hold all
        atoms.
    fermi_level
        eV, absolute, or None.
    method
        ``sites`` or ``functions``.
    note
        What the map of the atoms has to say.
    """

    primitive: Structure
    supercell: NDArray[np.int64]
    spin: Spin
    path: KPath
    energies: NDArray[np.float64]
    weights: NDArray[np.float64]
    group_names: tuple[str, ...] = ()
    group_weights: NDArray[np.float64] | None = None
    fermi_level: float | None = None
    method: str = "sites"
    note: str = ""

    @property
    def reference(self) -> float:
        """The energy that files and figures call zero: the Fermi level, or 0 without one."""
        return 0.0 if self.fermi_level is None else self.fermi_level

    @cached_property
    def n_cells(self) -> int:
        """Primitive cells in the supercell."""
        return abs(round(float(np.linalg.det(self.supercell))))

    def spectral(
        self, energies: ArrayLike, sigma: float = 0.05, *, group: str | None = None
    ) -> NDArray[np.float64]:
        """Return A(k, E) = Σ_n w_n(k) g(E − ε_n) in 1/eV, (n_spin, n_k, n_energies).

        Parameters
        ----------
        energies
            Evenly spaced energies, eV, absolute.
        sigma
            Standard deviation of the Gaussian g, eV.
        group
            Take a group's share in the weights.

        Raises
        ------
        UsageError
            For a width that is not positive, energies that are not even, or an unknown group.
        """
        grid = np.asarray(energies, dtype=np.float64)
        steps = np.diff(grid)
        if len(grid) < 2 or not np.allclose(steps, steps[0], rtol=1e-6) or not steps[0] > 0:
            raise UsageError("the energies of A(k, E) must rise in even steps.")
        if not 0 < sigma < np.inf:
            raise UsageError(f"the broadening must be positive (eV), found {sigma}.")
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
        found: NDArray[np.float64] = self.group_weights[self.group_names.index(name)]
        return found

    def save(
        self,
        path: str | Path,
        *,
        window: tuple[float, float] | None = None,
        sigma: float = 0.05,
        overwrite: bool = False,
    ) -> list[Path]:
        """Write the energies, weights and A(k, E) as HDF5 and a JSON file beside it."""
        from dock.post.unfold_files import save

        return save(self, Path(path), window=window, sigma=sigma, overwrite=overwrite)

    def plot(
        self,
        path: str | Path,
        *,
        window: tuple[float, float] | None = None,
        sigma: float = 0.05,
        group: str | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Draw A(k, E); `window` is in eV relative to the Fermi level. Return the file."""
        from dock.post.unfold_files import plot

        return plot(self, Path(path), window=window, sigma=sigma, group=group, overwrite=overwrite)


def unfold(
    calc: Calculation,
    primitive: Structure | ArrayLike,
    path: KPath | str | Path | None = None,
    *,
    points: int | None = None,
    method: Method = "sites",
    atoms: ArrayLike | None = None,
    groups: Mapping[str, Sequence[int]] | None = None,
    tolerance: float = 0.5,
    window: tuple[float, float] | None = None,
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
    path
        A `KPath` of the primitive cell, labels, a ``K_PATH`` file, or None for the automatic one.
    points
        Samples on the longest segment.
    method
        ``sites`` or ``functions``; see the module.
    atoms
        Project on the orbitals of these atoms alone, such as one layer with a lattice of its own.
    groups
        Parts of the structure by name, whose shares in the weights are wanted.
    tolerance
        Distance in Å within which an atom belongs to a site (``sites``).
    window
        (lowest, highest) energy in eV, relative to the Fermi level.
    s_threshold, jobs, progress
        As in `dock.post.band_structure.bands`.

    Raises
    ------
    UsageError
        When the supercell does not repeat the primitive cell, or for an unknown method.
    MissingDataError
        Without Hamiltonian or overlap, without radial functions for ``functions``, or without
        a Fermi level for a window.

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
    problem = Problem.of(calc)
    transform, cell = supercell_of(calc.structure, primitive)
    chosen = None if atoms is None else atom_list(atoms, calc.structure.n_atoms)
    given = primitive if isinstance(primitive, Structure) else None
    sites = find_sites(calc.structure, cell, transform, given, tolerance=tolerance, atoms=chosen)
    if isinstance(path, KPath):
        k_path = path
    else:
        reached = problem.overlap.pairs.R @ transform
        k_path = make_primitive_path(sites.primitive, path, points=points, reached=reached)
    projector: Projector
    if method == "functions":
        projector = ByFunctions(calc, cell, sites.n_cells, chosen)
    else:
        projector = BySites(calc, sites, chosen)
    names, members = _groups(calc, groups)
    limits = _absolute(window, calc)
    want = Want(vectors=True, window=limits, s_threshold=s_threshold)
    folded = k_path.kpoints_frac @ transform.T
    parts: list[list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = [
        [] for _ in range(problem.n_channels)
    ]
    for at in states(problem, folded, want, jobs=jobs, progress=progress):
        vectors: Any = at.states.vectors
        q = k_path.kpoints_frac[at.number]
        shares = projector.shares(problem.channels[at.channel], q, vectors)
        weights = np.concatenate([shares.sum(axis=0, keepdims=True), members @ shares])
        parts[at.channel].append((at.states.energies, weights))
    energies, weights = _stack(parts, 1 + len(names))
    return Unfolded(
        sites.primitive,
        transform,
        calc.spin,
        k_path,
        energies,
        weights[0],
        names,
        weights[1:] if names else None,
        calc.fermi_level,
        method,
        sites.note if method == "sites" else "",
    )


def supercell_of(
    structure: Structure, primitive: Structure | ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the supercell matrix, and the primitive cell that fits the supercell exactly (Å).

    Raises
    ------
    UsageError
        When the supercell does not repeat the primitive cell.
    """
    if isinstance(primitive, Structure):
        ratio = structure.cell @ np.linalg.inv(primitive.cell)
        transform = np.rint(ratio).astype(np.int64)
        worst = float(np.abs(ratio - transform).max())
        if worst > _CELL_TOLERANCE or round(float(np.linalg.det(transform))) == 0:
            raise UsageError(
                "the cell does not repeat the primitive cell: in its vectors it is "
                f"{np.round(ratio, 3).tolist()}, which should be whole numbers. Give the matrix "
                "with --supercell, or a primitive cell in the same orientation."
            )
    else:
        given = np.asarray(primitive)
        if given.shape not in ((3,), (3, 3)) or not np.array_equal(given, np.rint(given)):
            raise UsageError(
                f"a supercell is three or 3 × 3 whole numbers, found {given.tolist()}."
            )
        whole = given.astype(np.int64)
        transform = np.diag(whole) if whole.ndim == 1 else whole
        if round(float(np.linalg.det(transform))) == 0:
            raise UsageError(f"the supercell matrix {transform.tolist()} has no volume.")
    cell = np.linalg.solve(transform.astype(np.float64), np.asarray(structure.cell, np.float64))
    return transform, cell


def make_primitive_path(
    primitive: Structure,
    path: str | Path | None,
    *,
    points: int | None = None,
    reached: ArrayLike | None = None,
) -> KPath:
    """Return a path of the primitive cell.

    Parameters
    ----------
    primitive
        Its structure.
    path
        A file, labels, or None.
    points
        Samples on the longest segment.
    reached
        (n, 3) lattice vectors that couple: axes along which none reaches are left out.
    """
    if path is not None and Path(path).is_file():
        return KPath.from_file(path, primitive.cell).require_line()
    axes = None
    if reached is not None:
        moves = np.any(np.asarray(reached) != 0, axis=0)
        axes = tuple(axis for axis in range(3) if moves[axis] and primitive.pbc[axis])
    where = (primitive.cell, primitive.fractional, primitive.numbers)
    if path is None or str(path).lower() == "auto":
        return KPath.automatic(*where, periodic_axes=axes, points=points)
    chosen = KPath.from_string(str(path), *where, periodic_axes=axes, points=points)
    return chosen.require_line()


def _absolute(window: tuple[float, float] | None, calc: Calculation) -> tuple[float, float] | None:
    if window is None:
        return None
    if calc.fermi_level is None:
        need = "--window counts from it: give --fermi E (eV; 0 for absolute energies)."
        raise MissingDataError("the Fermi level", calc.source, need)
    return window[0] + calc.fermi_level, window[1] + calc.fermi_level


def _groups(
    calc: Calculation, groups: Mapping[str, Sequence[int]] | None
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return names and the (n_groups, n_rows) membership of the orbitals."""
    copies = 2 if calc.spin is Spin.NONCOLLINEAR else 1
    names = tuple(groups or ())
    rows = [
        orbital_mask(calc, atom_list((groups or {})[name], calc.structure.n_atoms), copies)
        for name in names
    ]
    size = calc.basis.n_orbitals * copies
    return names, np.array(rows).reshape(len(names), size)


def _stack(
    parts: list[list[tuple[NDArray[np.float64], NDArray[np.float64]]]], n_rows: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return energies (n_spin, n_k, n) and weights (n_rows, n_spin, n_k, n), padded with NaN."""
    width = max(len(energies) for rows in parts for energies, _ in rows)
    if width == 0:
        raise UsageError("no state lies in the energy window. Give a wider --window.")
    shape = (len(parts), len(parts[0]), width)
    energies, weights = np.full(shape, np.nan), np.full((n_rows, *shape), np.nan)
    for spin, rows in enumerate(parts):
        for k, (levels, shares) in enumerate(rows):
            energies[spin, k, : len(levels)] = levels
            weights[:, spin, k, : len(levels)] = shares
    return energies, weights
