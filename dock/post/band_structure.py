"""Band structures: energies along a path, and the object that holds the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.kspace import KBuilder
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import LayoutError, MissingDataError, UsageError
from dock.extras import require
from dock.io.progress import Progress, Report
from dock.results import Result, plain
from dock.states.certificates import Certificates
from dock.states.dense import smallest_overlap_eigenvalue
from dock.states.deviation import Window, band_error, band_shift, level_mask
from dock.states.gap import Gap, Source, find_gap
from dock.states.job import Job
from dock.states.kpath import KPath
from dock.states.problem import Problem
from dock.states.solver import Solver, Want
from dock.states.stream import Levels, StatesAtK, states
from dock.threads import LARGE

if TYPE_CHECKING:
    from pymatgen.electronic_structure.bandstructure import BandStructureSymmLine

__all__ = ["BandStructure", "Selection", "bands", "make_path"]

_COLOURS = ("#1f4e79", "#c0392b")
_OTHER = "#e08a1e"

SHOWN = 6.0
"""eV on both sides of the Fermi level that are drawn and compared when no window is given."""

CORNER_LIMIT = 3000
"""Orbitals up to which what costs little is done besides: S is solved at the path's corners."""


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

    def want(self, fermi_level: float | None, s_threshold: float | None) -> Want:
        """Return what to ask a solver; all bands where they must tell the Fermi level first."""
        if fermi_level is None or self.takes_all:
            return Want(s_threshold=s_threshold)
        if self.window is not None:
            window = (self.window[0] + fermi_level, self.window[1] + fermi_level)
            return Want(window=window, s_threshold=s_threshold)
        nearest = (self.states or 1, self.around + fermi_level)
        return Want(nearest=nearest, s_threshold=s_threshold)


@dataclass(frozen=True)
class Difference:
    """How far bands lie from those that they are compared with, after the shift between them.

    Attributes
    ----------
    shift
        Median difference, eV: equation (16) of the DeepH-pack paper.
    mean, largest
        Of the absolute deviations that are left, eV; the mean is equation (12).
    window
        The energies that were compared, eV, absolute on the scale of what is compared with; None
        where all were.
    n_levels
        Levels compared.
    """

    shift: float
    mean: float
    largest: float
    window: tuple[float, float] | None
    n_levels: int

    def facts(self) -> dict[str, Any]:
        """Return the deviations, in eV, by key."""
        return {
            "max": self.largest,
            "mean": self.mean,
            "shift": self.shift,
            "window": None if self.window is None else list(self.window),
            "n_levels": self.n_levels,
        }

    def describe(self) -> str:
        """Return the deviations in words."""
        text = f"max |Δ| {self.largest:.6f} eV, mean {self.mean:.6f} eV after a shift of "
        where = "" if self.window is None else f" from {self.window[0]:.3f} to {self.window[1]:.3f}"
        return f"{text}{self.shift:+.6f} eV; {self.n_levels} levels{where}"


@dataclass(frozen=True, eq=False, repr=False)
class BandStructure(Result):
    """Energies along a path.

    Attributes
    ----------
    structure, spin, path
        What was computed.
    energies
        (n_spin, n_k, n_bands) eV, absolute, ascending; two channels for collinear spin. NaN where
        a k-point has fewer states than others.
    n_below
        Number of bands below the first one here (0 unless a part was chosen).
    fermi_level, n_electrons
        eV, absolute, as given with the data; electrons per cell; None when unknown.
    smallest_overlap
        Smallest eigenvalue of S(k): at the corners of the path, or at all its points with a
        threshold; NaN where S is too large for that.
    n_removed
        Largest number of states that an ill-conditioned S cost at a k-point.
    compared
        Other bands on the same path that these are shown with, or None.
    certificates
        Why no state is missing, and how many lie below at each k-point; None where that is not
        known.
    window
        The energies (eV, absolute) between which all states are here, where a window was asked for.
    fermi_source
        Where `fermi_level` is from: see `dock.states.gap.Gap`.
    is_fixed
        Whether energies count from `fermi_level` wherever it lies, since a user said so.
    whole_gap
        What all bands say, where only a part of them is kept.
    """

    FILE = "band.h5"
    FIGURE = (5.0, 4.2)

    structure: Structure
    spin: Spin
    path: KPath
    energies: NDArray[np.float64]
    n_below: int = 0
    fermi_level: float | None = None
    n_electrons: float | None = None
    smallest_overlap: float = float("nan")
    n_removed: int = 0
    compared: BandStructure | None = None
    certificates: Certificates | None = None
    window: tuple[float, float] | None = None
    fermi_source: Source = "given"
    is_fixed: bool = False
    whole_gap: Gap | None = None

    @property
    def is_part(self) -> bool:
        """Whether a solver found a part of the spectrum alone."""
        proof = self.certificates
        return proof is not None and bool(np.any(proof.n_below) or np.any(proof.counted >= 0))

    @property
    def first_band(self) -> int:
        """Number of the first band, from 1."""
        return self.n_below + 1

    @cached_property
    def gap(self) -> Gap:
        """Fermi level, band edges and gap on the path."""
        if self.whole_gap is not None:
            return self.whole_gap
        electrons = self.n_electrons
        gap = find_gap(
            self.energies,
            self.path.kpoints_frac,
            n_filled=None if electrons is None else electrons / self.spin.degeneracy,
            fermi_level=self.fermi_level,
            n_below=self.n_below,
            below=self.certificates.n_below if self.is_part and self.certificates else None,
            covered=self.window,
            is_fixed=self.is_fixed,
        )
        if gap.fermi_source != "given":
            return gap
        if self.fermi_source == "reference" and electrons is not None and gap.vbm and gap.cbm:
            middle = 0.5 * (gap.vbm.energy + gap.cbm.energy)
            return replace(gap, fermi_level=middle, fermi_source="mid-gap", stored=None)
        return replace(gap, fermi_source=self.fermi_source)

    @property
    def reference(self) -> float:
        """The energy that plots and band.h5 call zero: the Fermi level, or 0 without one."""
        level = self.gap.fermi_level
        return 0.0 if level is None else level

    def difference(
        self, other: BandStructure, window: tuple[float, float] | None = None
    ) -> Difference:
        """Return how far these bands lie from others, by number, as `dock.evaluate` measures it.

        The median difference is taken off first, since two Hamiltonians may differ by a constant
        times S; no Fermi level enters but that of `other`, from which the window (eV, relative;
        default 6 to both sides) counts. All levels are compared where it has none.

        Raises
        ------
        LayoutError
            For another crystal.
        UsageError
            Where k-points or spin channels differ, or no level is in both.
        """
        if not self.structure.is_same_crystal(other.structure):
            raise LayoutError(
                f"the bands are of different structures ({self.structure.formula} and "
                f"{other.structure.formula}, or another cell or other positions): their "
                "difference has no meaning."
            )
        if (
            self.energies.shape[:2] != other.energies.shape[:2]
            or np.abs(self.path.kpoints_frac - other.path.kpoints_frac).max() > 1e-6
        ):
            raise UsageError("the two band structures have different k-points or spin channels.")
        low = max(self.n_below, other.n_below)
        high = min(self.n_below + self.energies.shape[2], other.n_below + other.energies.shape[2])
        if high <= low:
            raise UsageError("the two band structures have no band in common.")
        mine = self.energies[..., low - self.n_below : high - self.n_below]
        theirs = other.energies[..., low - other.n_below : high - other.n_below]
        limits, level = None, other.gap.fermi_level
        mask = np.isfinite(mine) & np.isfinite(theirs)
        if level is not None:
            lowest, highest = (-SHOWN, SHOWN) if window is None else window
            limits = (level + lowest, level + highest)
            mask &= level_mask(theirs, Window(*limits, 0))
        if not mask.any():
            raise UsageError("the two band structures have no level in common in the window.")
        shift = band_shift(mine, theirs, mask)
        largest = float(np.abs((mine - theirs)[mask] - shift).max())
        mean = band_error(mine, theirs, mask)
        return Difference(shift, mean, largest, limits, int(mask.sum()))

    def beside(self, other: BandStructure) -> BandStructure:
        """Return these bands with others to be shown with; raises as `difference`."""
        self.difference(other)
        return replace(self, compared=other)

    def facts(self) -> dict[str, Any]:
        """Return what the bands say, by key; see `dock.results.KEYS`."""
        gap = self.gap
        facts: dict[str, Any] = {
            "formula": self.structure.formula,
            "spin": self.spin.value,
            "n_bands": self.energies.shape[2],
            "first_band": self.first_band,
            "n_below": self.n_below,
            "n_kpoints": self.path.n_kpoints,
            **gap.facts(),
            "n_electrons": self.n_electrons,
            "smallest_overlap_eigenvalue": plain(self.smallest_overlap),
            "n_removed_states": self.n_removed,
            **({} if self.certificates is None else self.certificates.facts()),
            "path_note": self.path.note,
        }
        if self.compared is not None:
            facts["difference_eV"] = self.difference(self.compared).facts()
        return facts

    def arrays(self) -> dict[str, Any]:
        """Return path and energies, and the certificates of a part of the spectrum."""
        return {**self.path.arrays(), "energies_eV": self.energies, **self._proof()}

    def _proof(self) -> dict[str, Any]:
        proof = self.certificates
        return proof.arrays() if proof is not None and self.is_part else {}

    def datasets(self) -> dict[str, Any]:
        """Return the datasets of DeepH's ``band.h5``.

        ``band_data`` is (n_bands, n_k) in eV relative to the Fermi level, all spin channels merged
        and sorted at each k-point as in the doubled eigenproblem of a spinful folder. Collinear
        results have the channels apart as well, in ``band_data_up`` and ``band_data_down``. Row b
        of a channel is band ``first_band`` + b; rows of two channels merged have no such number.
        """
        path, gap = self.path, self.gap
        shifted = self.energies - self.reference
        merged = np.sort(shifted.transpose(1, 0, 2).reshape(path.n_kpoints, -1), axis=1).T
        content: dict[str, Any] = {
            "band_data": merged,
            "band_gap": np.float64(gap.size),
            "band_quantity": np.int64(len(merged)),
            "fermi_energy_before_shift_eV": np.float64(self.reference),
            "fermi_energy_eV": np.float64(0.0),
            "is_metal": np.bool_(gap.kind == "metal"),
            **path.datasets(),
            "rlv": self.structure.reciprocal,
            "spinful": np.bool_(self.spin is not Spin.NONE),
        }
        if self.spin is Spin.COLLINEAR:
            content["band_data_up"], content["band_data_down"] = shifted[0].T, shifted[1].T
        return content | self._proof()

    def rows(self) -> list[tuple[str, str]]:
        """Return bands, path, Fermi level, gap and edges in words."""
        gap, path = self.gap, self.path
        labels = " ".join(f"{first}–{last}" for first, last in path.labels)
        n_bands = self.energies.shape[2]
        count = f"{n_bands} at {path.n_kpoints} k-points, spin {self.spin.value}"
        if self.n_below and n_bands:
            count += f", numbers {self.first_band} to {self.n_below + n_bands}"
        rows = [("bands", count), ("path", labels + (f"  ({path.note})" if path.note else ""))]
        if gap.fermi_level is None:
            rows.append(("Fermi level", "unknown: pass fermi_level=E or electrons=N"))
        else:
            rows.append(("Fermi level", f"{gap.fermi_level:.6f} eV ({gap.fermi_source})"))
        rows += gap.rows("path", spins=len(self.energies))
        if self.certificates is not None:
            rows += self.certificates.rows()
        if self.n_removed:
            rows.append(("S projected", f"up to {self.n_removed} states left out at a k-point"))
        if not np.isnan(self.smallest_overlap):
            rows.append(("smallest S(k)", f"{self.smallest_overlap:.3e}"))
        if self.compared is not None:
            rows.append(("compared", self.difference(self.compared).describe()))
        return rows

    def draw(
        self,
        axes: Any,
        *,
        other: BandStructure | None = None,
        window: tuple[float, float] | None = None,
    ) -> None:
        """Draw the bands from their reference energy, and `other` (default `compared`) dashed.

        The window is in eV; default from 6 below to 6 above the Fermi level, or all without one.
        """
        other = self.compared if other is None else other
        self._draw_lines(axes, _COLOURS, "-")
        if other is not None:
            other._draw_lines(axes, (_OTHER, _OTHER), "--", label="compared")
        self._decorate(axes, window)
        if other is not None or self.spin is Spin.COLLINEAR:
            axes.legend(loc="upper right", fontsize="small", framealpha=0.9)

    def _draw_lines(
        self, axes: Any, colours: tuple[str, str], style: str, label: str | None = None
    ) -> None:
        x, segment = self.path.distances, self.path.segment
        n_spin = len(self.energies)
        for spin in reversed(range(n_spin)):
            name = label if label is not None else (("up", "down")[spin] if n_spin == 2 else None)
            for part in np.unique(segment):
                inside = segment == part
                energies = self.energies[spin][inside] - self.reference
                marker = "o" if np.ptp(x[inside]) == 0 else None
                drawn = {"color": colours[spin], "lw": 1.1, "marker": marker, "ms": 3}
                lines = axes.plot(x[inside], energies, style, **drawn)
                if name is not None and lines:
                    lines[0].set_label(name)
                    name = None

    def _decorate(self, axes: Any, window: tuple[float, float] | None) -> None:
        path, gap = self.path, self.gap
        for place, _ in path.ticks:
            axes.axvline(place, color="0.75", lw=0.6, zorder=0)
        axes.set_xticks([place for place, _ in path.ticks], [label for _, label in path.ticks])
        if path.distances[-1] > path.distances[0]:
            axes.set_xlim(path.distances[0], path.distances[-1])
        if gap.fermi_level is None:
            axes.set_ylabel("energy (eV)")
        else:
            axes.axhline(0.0, color="0.5", lw=0.8, ls=":")
            axes.set_ylabel("energy − Fermi level (eV)")
        if window is not None:
            axes.set_ylim(*window)
        elif gap.fermi_level is not None:
            axes.set_ylim(-6.0, 6.0)
        axes.set_title(f"{self.structure.formula}  {gap.words}".strip(), fontsize="medium")

    def to_pymatgen(self) -> BandStructureSymmLine:
        """Return pymatgen's band structure along symmetry lines, with absolute energies.

        Raises
        ------
        UsageError
            When the Fermi level is unknown, or a k-point lacks a band.
        DependencyError
            Without pymatgen.
        """
        level = self.gap.fermi_level
        if level is None:
            raise UsageError(
                "pymatgen needs a Fermi level: give the data one, or the electron count."
            )
        if np.any(np.isnan(self.energies)):
            raise UsageError("pymatgen needs the same number of bands at every k-point.")
        module = require("pymatgen.electronic_structure.bandstructure", "pymatgen")
        core = require("pymatgen.electronic_structure.core", "pymatgen")
        lattice = require("pymatgen.core.lattice", "pymatgen")
        spins = (core.Spin.up, core.Spin.down)
        labels: dict[str, Any] = {}
        for ends, vectors in zip(self.path.labels, self.path.hsk_vectors, strict=True):
            for name, vector in zip(ends, vectors, strict=True):
                labels["\\Gamma" if name.upper() in {"G", "GAMMA"} else name] = vector
        line: BandStructureSymmLine = module.BandStructureSymmLine(
            self.path.kpoints_frac,
            {spins[channel]: part.T for channel, part in enumerate(self.energies)},
            lattice.Lattice(self.structure.reciprocal),
            level,
            labels,
            structure=self.structure.to_pymatgen(),
        )
        return line


def bands(
    calc: Calculation,
    path: KPath | str | Path | None = None,
    *,
    points: int | None = None,
    selection: Selection | None = None,
    compare: Calculation | None = None,
    fermi_level: float | None = None,
    electrons: float | None = None,
    counted: float | None = None,
    solver: str | Solver | Job = "auto",
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
    visit: Callable[[StatesAtK], None] | None = None,
) -> BandStructure:
    """Compute a band structure by diagonalisation at each k-point.

    Solves H(k) c = ε S(k) c, equation (3) of the DeepH-pack paper, with
    H(k) = Σ_R exp(+2πi k·R) H(R).

    Parameters
    ----------
    path
        A `KPath`, labels such as ``"GMKG"``, a ``K_PATH`` file, or None for the automatic path of
        the given cell.
    points
        Samples on the longest segment (not for a file).
    selection
        A window, or states around an energy.
    compare
        Another calculation, whose bands on the same path become `BandStructure.compared`. A
        calculation without a Fermi level of its own (a prediction), whose electrons tell no gap,
        takes that of this one and says so: it has the zero of energy of its training data.
    fermi_level
        eV, absolute: energies count from it, wherever it lies. Without it the level of the data is
        taken unless their electrons tell a gap that it is not in: `dock.states.gap.find_gap`.
    electrons
        Electrons per cell; default those of the calculation.
    counted
        The Fermi level that electrons gave on a mesh (`dock.states.own_level`): it is taken
        in the place of that of the data.
    solver
        See `dock.states.stream.states`.
    s_threshold
        Leave out combinations of orbitals with an overlap eigenvalue below this, where S is
        ill-conditioned; without it a S that is not positive definite is an error.
    jobs
        Threads; default the CPUs that this process may use.
    progress
        Told of each solved k-point and spin channel.
    visit
        Called with the states of each k-point and channel, in order, before their vectors are
        dropped; vectors are computed only for it.

    Raises
    ------
    MissingDataError
        When Hamiltonian or overlap is missing, or a selection has no Fermi level to count from.
    LayoutError
        When a pair lacks its partner (−R, j, i).
    SolverError
        When S(k) is not positive definite.
    """
    if not isinstance(path, KPath):
        path = make_path(calc, path, points=points)
    selection = selection or Selection()
    steps = Progress.of(progress)
    run: dict[str, Any] = {"solver": solver, "s_threshold": s_threshold, "jobs": jobs}
    calc = calc.replace(n_electrons=electrons)
    level = _Level(calc.fermi_level)
    if fermi_level is not None:
        level = _Level(fermi_level, is_fixed=True)
    elif counted is not None:
        level = _Level(counted, "counted")
    if compare is None:
        return _bands(calc, path, selection, level, progress=steps, visit=visit, **run)
    if not calc.structure.is_same_crystal(compare.structure):
        raise LayoutError(
            f"{calc.source} and {compare.source} are different structures "
            f"({calc.structure.formula} and {compare.structure.formula}, or another cell or other "
            "positions): compare bands of one crystal."
        )
    if level.energy is None:
        level = _Level(compare.fermi_level, "reference")
    steps.start((calc.spin.n_channels + compare.spin.n_channels) * path.n_kpoints)
    mine = _bands(calc, path, selection, level, progress=steps.part(), visit=visit, **run)
    other = _Level(compare.fermi_level)
    return mine.beside(_bands(compare, path, selection, other, progress=steps.part(), **run))


class _Level(NamedTuple):
    """A Fermi level in eV, where it is from, and whether energies count from it in any case."""

    energy: float | None
    source: Source = "given"
    is_fixed: bool = False


def _bands(
    calc: Calculation,
    path: KPath,
    selection: Selection,
    level: _Level,
    *,
    solver: str | Solver | Job,
    s_threshold: float | None,
    jobs: int | None,
    progress: Progress,
    visit: Callable[[StatesAtK], None] | None = None,
) -> BandStructure:
    """Return the bands of one calculation on a path."""
    problem = Problem.of(calc)
    if level.energy is None and calc.n_electrons is None and not selection.takes_all:
        raise _no_level(calc)
    if selection.states is not None and selection.states > problem.size:
        raise UsageError(
            f"{calc.source}: there are {problem.size} states, one for each orbital; states="
            f"{selection.states} asks for more."
        )
    # A small problem is solved whole in any case: its electrons then say where the window lies.
    counts = calc.n_electrons is not None and not level.is_fixed and problem.size < LARGE
    asked = None if counts and Job.of(solver).solver in ("auto", "dense") else level.energy
    want = replace(selection.want(asked, s_threshold), vectors=visit is not None)
    found = []
    for at in states(problem, path.kpoints_frac, want, solver=solver, jobs=jobs, progress=progress):
        if visit is not None:
            visit(at)
        found.append(replace(at.states, vectors=None))
    solved = Levels.gather(found, problem.n_channels)
    result = BandStructure(
        calc.structure,
        calc.spin,
        path,
        solved.energies,
        solved.n_below,
        level.energy,
        calc.n_electrons,
        _smallest_overlap(problem, path, solved),
        int(solved.n_removed.max(initial=0)),
        certificates=solved.certificates,
        window=want.window,
        fermi_source=level.source,
        is_fixed=level.is_fixed,
    )
    if selection.takes_all:
        return result
    if result.gap.fermi_level is None:
        raise _no_level(calc)
    return result if want.window is not None else _selected(result, selection)


def _no_level(calc: Calculation) -> MissingDataError:
    return MissingDataError(
        "the Fermi level",
        calc.source,
        "Energies of a selection count from it. Pass fermi_level=E (eV; 0 for absolute energies), "
        "or for an insulator electrons=N.",
    )


def make_path(
    calc: Calculation, path: str | Path | None = None, *, points: int | None = None
) -> KPath:
    """Return a path for a calculation: a file, labels, or the automatic one.

    Axes along which no pair reaches into a neighbouring cell have no dispersion and are left out.
    Only the automatic path, of a molecule, may be one point.
    """
    structure = calc.structure
    matrix = calc.get("overlap") or calc.get("hamiltonian")
    reaches = structure.pbc if matrix is None else matrix.pairs.periodic_axes
    axes = [axis for axis in range(3) if reaches[axis] and structure.pbc[axis]]
    made = KPath.of(path, structure, axes, points=points)
    return replace(made, note="The matrices hold at Γ only.") if calc.only_gamma else made


def _smallest_overlap(problem: Problem, path: KPath, solved: Levels) -> float:
    """Return the smallest eigenvalue of S(k): on the whole path if known, else at its corners."""
    known = solved.smallest_overlap
    if np.any(np.isfinite(known)):
        return float(np.nanmin(known))
    if problem.basis.n_orbitals > CORNER_LIMIT:
        return float("nan")
    corners = np.unique(np.concatenate([path.starts, path.ends]), axis=0)
    builder = KBuilder(problem.overlap)
    return min(smallest_overlap_eigenvalue(builder.dense(k)) for k in corners)


def _selected(result: BandStructure, selection: Selection) -> BandStructure:
    """Keep the bands that enter the window, or are among the nearest at some k-point."""
    relative = result.energies - result.reference
    if selection.window is not None:
        low, high = selection.window
        kept = np.flatnonzero(np.any((relative >= low) & (relative <= high), axis=(0, 1)))
    else:
        distance = np.nan_to_num(np.abs(relative - selection.around), nan=np.inf)
        kept = np.argsort(distance, axis=2)[..., : selection.states]
    first, stop = (int(kept.min()), int(kept.max()) + 1) if kept.size else (0, 0)
    energies = result.energies[..., first:stop]
    n_below = result.n_below + first
    return replace(result, energies=energies, n_below=n_below, whole_gap=result.gap)
