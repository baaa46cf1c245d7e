"""Band structures: dense diagonalisation along a path, and the object that holds the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.kspace import KBuilder
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import LayoutError, MissingDataError, UsageError
from dock.states.dense import smallest_overlap_eigenvalue
from dock.states.gap import Gap, find_gap
from dock.states.kpath import KPath
from dock.states.stream import Bands, solve_many

if TYPE_CHECKING:
    from pymatgen.electronic_structure.bandstructure import BandStructureSymmLine

__all__ = ["BandStructure", "Selection", "bands", "make_path"]

CORNER_LIMIT = 3000
"""Orbitals up to which the eigenvalues of S at the corners of the path are computed."""


@dataclass(frozen=True)
class Selection:
    """Which bands are wanted; the default is all.

    Attributes
    ----------
    window
        (lowest, highest) energy in eV relative to the Fermi level.
    states, around
        The bands that come among the `states` nearest to the energy `around` (eV, relative to the
        Fermi level) at some k-point.
    """

    window: tuple[float, float] | None = None
    states: int | None = None
    around: float = 0.0

    def __post_init__(self) -> None:
        if self.window is not None and not self.window[0] < self.window[1]:
            raise UsageError(
                f"the energy window {self.window[0]:g} … {self.window[1]:g} eV is empty."
            )
        if self.states is not None and self.states < 1:
            raise UsageError(f"the number of states must be at least 1, found {self.states}.")
        if self.window is not None and self.states is not None:
            raise UsageError("give an energy window or a number of states, not both.")

    @property
    def takes_all(self) -> bool:
        """Whether every band is wanted."""
        return self.window is None and self.states is None


@dataclass(frozen=True, eq=False)
class BandStructure:
    """Energies along a path.

    Attributes
    ----------
    structure, spin, path
        What was computed.
    energies
        (n_spin, n_k, n_bands) eV, absolute, ascending; two channels for collinear spin. NaN where
        a k-point has fewer states than others.
    first_band
        Number of the first band (0 unless a window was chosen).
    fermi_level
        eV, absolute, as given with the data; None when unknown.
    n_electrons
        Electrons per cell, or None.
    smallest_overlap
        Smallest eigenvalue of S(k): at the corners of the path, or at all its points with a
        threshold; NaN where S is too large for that.
    n_removed
        Largest number of states that an ill-conditioned S cost at a k-point.
    """

    structure: Structure
    spin: Spin
    path: KPath
    energies: NDArray[np.float64]
    first_band: int = 0
    fermi_level: float | None = None
    n_electrons: float | None = None
    smallest_overlap: float = float("nan")
    n_removed: int = 0

    @cached_property
    def gap(self) -> Gap:
        """Fermi level, band edges and gap on the path."""
        electrons = self.n_electrons
        return find_gap(
            self.energies,
            self.path.kpoints_frac,
            n_filled=None if electrons is None else electrons / self.spin.degeneracy,
            fermi_level=self.fermi_level,
            first_band=self.first_band,
        )

    @property
    def reference(self) -> float:
        """The energy that plots and band.h5 call zero: the Fermi level, or 0 without one."""
        level = self.gap.fermi_level
        return 0.0 if level is None else level

    def save(self, path: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write ``band.h5`` in the DeepH layout and the same as JSON; return both paths."""
        from dock.post.band_files import save

        return save(self, Path(path), overwrite=overwrite)

    def plot(
        self,
        path: str | Path,
        *,
        other: BandStructure | None = None,
        window: tuple[float, float] | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Draw the bands, with another band structure over them if given; return the file."""
        from dock.post.plot import plot_bands

        return plot_bands(self, Path(path), other=other, window=window, overwrite=overwrite)

    def to_pymatgen(self) -> BandStructureSymmLine:
        """Return pymatgen's band structure along symmetry lines, for sumo, IFermi and others."""
        from dock.post.to_pymatgen import band_structure

        return band_structure(self)

    def difference(self, other: BandStructure) -> tuple[float, float]:
        """Return the largest and the mean |Δ| in eV of bands with the same numbers.

        Both are measured from their own reference (`reference`).

        Raises
        ------
        UsageError
            When k-points or spin channels differ.
        """
        if (
            self.energies.shape[:2] != other.energies.shape[:2]
            or np.abs(self.path.kpoints_frac - other.path.kpoints_frac).max() > 1e-6
        ):
            raise UsageError("the two band structures have different k-points or spin channels.")
        low = max(self.first_band, other.first_band)
        high = min(
            self.first_band + self.energies.shape[2], other.first_band + other.energies.shape[2]
        )
        if high <= low:
            raise UsageError("the two band structures have no band in common.")
        mine = self.energies[..., low - self.first_band : high - self.first_band] - self.reference
        theirs = other.energies[..., low - other.first_band : high - other.first_band]
        deviation = np.abs(mine - (theirs - other.reference))
        return float(np.nanmax(deviation)), float(np.nanmean(deviation))


def bands(
    calc: Calculation,
    path: KPath | str | Path | None = None,
    *,
    points: int | None = None,
    selection: Selection | None = None,
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BandStructure:
    """Compute a band structure by dense diagonalisation at each k-point.

    Parameters
    ----------
    calc
        A calculation with Hamiltonian and overlap.
    path
        A `KPath`, labels such as ``"GMKG"``, a ``K_PATH`` file, or None for the automatic path of
        the given cell.
    points
        Samples on the longest segment (not for a file).
    selection
        A window, or states around an energy.
    s_threshold
        Leave out combinations of orbitals with an overlap eigenvalue below this, where S is
        ill-conditioned; without it a S that is not positive definite is an error.
    jobs
        Threads; default the CPUs that this process may use.
    progress
        Called with the number of finished k-points and of all.

    Returns
    -------
    BandStructure

    Raises
    ------
    MissingDataError
        When Hamiltonian or overlap is missing, or a selection has no Fermi level to count from.
    LayoutError
        When a pair lacks its partner (−R, j, i).
    SolverError
        When S(k) is not positive definite.

    Notes
    -----
    Solves H(k) c = ε S(k) c, equation (3) of the DeepH-pack paper, with
    H(k) = Σ_R exp(+2πi k·R) H(R).
    """
    hamiltonian = calc.require("hamiltonian", "Bands need it.")
    overlap = calc.require("overlap", "Bands need it; compute it with: dock compute-overlap.")
    for matrix in (hamiltonian, overlap):
        _require_closed(calc, matrix)
    chosen = path if isinstance(path, KPath) else make_path(calc, path, points=points)
    selection = selection or Selection()
    if calc.fermi_level is None and calc.n_electrons is None and not selection.takes_all:
        raise _no_level(calc)
    window = _absolute_window(selection, calc.fermi_level)
    channels = _channels(hamiltonian, overlap)
    total = len(channels) * chosen.n_kpoints
    found: list[Bands] = []
    for index, build in enumerate(channels):
        before = index * chosen.n_kpoints
        found.append(
            solve_many(
                build,
                chosen.kpoints_frac,
                jobs=jobs,
                window=window,
                s_threshold=s_threshold,
                progress=_shifted(progress, before, total),
            )
        )
    energies, first = _stack(found)
    result = BandStructure(
        calc.structure,
        calc.spin,
        chosen,
        energies,
        first,
        calc.fermi_level,
        calc.n_electrons,
        _smallest_overlap(overlap, chosen, found),
        max(int(part.n_removed.max(initial=0)) for part in found),
    )
    if selection.takes_all:
        return result
    if result.gap.fermi_level is None:
        raise _no_level(calc)
    if selection.states is not None:
        return _nearest(result, selection)
    return result if window is not None else _inside(result, selection)


def _no_level(calc: Calculation) -> MissingDataError:
    return MissingDataError(
        "the Fermi level",
        calc.source,
        "Energies of a selection count from it. Give --fermi E (eV; 0 for absolute energies), or "
        "for an insulator --electrons N.",
    )


def make_path(
    calc: Calculation, path: str | Path | None = None, *, points: int | None = None
) -> KPath:
    """Return a path for a calculation: a file, labels, or the automatic one.

    Axes along which no pair reaches into a neighbouring cell have no dispersion and are left out.
    Only the automatic path, of a molecule, may be one point.
    """
    structure = calc.structure
    if path is not None and Path(path).is_file():
        return KPath.from_file(path, structure.cell).require_line()
    overlap = calc.get("overlap") or calc.get("hamiltonian")
    reaches = overlap.pairs.periodic_axes if overlap is not None else structure.pbc
    options: dict[str, Any] = {
        "periodic_axes": tuple(axis for axis in range(3) if reaches[axis] and structure.pbc[axis]),
        "points": points,
    }
    where = (structure.cell, structure.fractional, structure.numbers)
    if path is None or str(path).lower() == "auto":
        return KPath.automatic(*where, **options)
    return KPath.from_string(str(path), *where, **options).require_line()


def _require_closed(calc: Calculation, matrix: AOMatrix) -> None:
    """Refuse half a matrix: a solver reads one triangle of H(k) and would not notice."""
    try:
        matrix.pairs.require_closed()
    except LayoutError as error:
        raise LayoutError(f"{calc.source}: {matrix.quantity} {error}") from error


def _channels(
    hamiltonian: AOMatrix, overlap: AOMatrix
) -> list[Callable[[NDArray[np.float64]], tuple[Any, Any]]]:
    """Return one function k → (H, S) for each spin channel."""
    spinor = hamiltonian.spin is Spin.NONCOLLINEAR
    S = KBuilder(overlap, spinor=spinor)
    parts = [hamiltonian]
    if hamiltonian.spin is Spin.COLLINEAR:
        parts = [_component(hamiltonian, channel) for channel in (0, 1)]

    def channel(H: KBuilder) -> Callable[[NDArray[np.float64]], tuple[Any, Any]]:
        return lambda k: (H.dense(k), S.dense(k))

    return [channel(KBuilder(part)) for part in parts]


def _component(matrix: AOMatrix, channel: int) -> AOMatrix:
    """Return one spin channel of a collinear matrix as a matrix of its own."""
    return AOMatrix(
        matrix.quantity,
        matrix.structure,
        matrix.basis,
        matrix.pairs,
        Spin.NONE,
        matrix.entries[channel : channel + 1],
    )


def _smallest_overlap(overlap: AOMatrix, path: KPath, found: list[Bands]) -> float:
    """Return the smallest eigenvalue of S(k): on the whole path if known, else at its corners."""
    known = np.concatenate([part.smallest_overlap_eigenvalues for part in found])
    if np.any(np.isfinite(known)):
        return float(np.nanmin(known))
    if overlap.basis.n_orbitals > CORNER_LIMIT:
        return float("nan")
    corners = np.unique(np.concatenate([path.starts, path.ends]), axis=0)
    builder = KBuilder(overlap)
    return min(smallest_overlap_eigenvalue(builder.dense(k)) for k in corners)


def _shifted(
    progress: Callable[[int, int], None] | None, before: int, total: int
) -> Callable[[int, int], None] | None:
    """Return a progress function for one part of the work."""
    if progress is None:
        return None
    return lambda done, _: progress(before + done, total)


def _absolute_window(selection: Selection, fermi_level: float | None) -> tuple[float, float] | None:
    """Return the window for the solver; None where all bands must tell the level first."""
    if selection.window is None or fermi_level is None:
        return None
    return selection.window[0] + fermi_level, selection.window[1] + fermi_level


def _stack(found: list[Bands]) -> tuple[NDArray[np.float64], int]:
    """Return the channels' energies as one array, padded with NaN to common band numbers."""
    first = min(part.first_band for part in found)
    stop = max(part.first_band + part.eigenvalues.shape[1] for part in found)
    energies = np.full((len(found), len(found[0].eigenvalues), stop - first), np.nan)
    for channel, part in enumerate(found):
        at = part.first_band - first
        energies[channel, :, at : at + part.eigenvalues.shape[1]] = part.eigenvalues
    return energies, first


def _inside(result: BandStructure, selection: Selection) -> BandStructure:
    """Keep the bands that enter the window about a level found from all of them."""
    low, high = selection.window or (-np.inf, np.inf)
    relative = result.energies - result.reference
    inside = np.flatnonzero(np.any((relative >= low) & (relative <= high), axis=(0, 1)))
    first, stop = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)
    level = result.gap.fermi_level
    energies = result.energies[..., first:stop]
    return replace(
        result, energies=energies, first_band=result.first_band + first, fermi_level=level
    )


def _nearest(result: BandStructure, selection: Selection) -> BandStructure:
    """Keep the bands that are among the nearest to an energy at some k-point."""
    count = min(selection.states or 1, result.energies.shape[2])
    distance = np.abs(result.energies - result.reference - selection.around)
    distance = np.where(np.isnan(distance), np.inf, distance)
    nearest = np.argsort(distance, axis=2)[..., :count]
    low, high = int(nearest.min()), int(nearest.max()) + 1
    # Without its lowest bands the result can no longer place a Fermi level by counting.
    level = result.gap.fermi_level
    energies = result.energies[..., low:high]
    return replace(result, energies=energies, first_band=result.first_band + low, fermi_level=level)
