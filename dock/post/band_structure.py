"""Band structures: energies along a path, and the object that holds the result."""

from __future__ import annotations

import logging
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
from dock.post.band_lines import CHANNELS, BandLines
from dock.post.energy_selection import Selection
from dock.post.energy_zero import SHOWN, Zero
from dock.post.legend import add_legend
from dock.results import Result, plain
from dock.states.certificates import Certificates
from dock.states.counted_level import is_other_count
from dock.states.dense import smallest_overlap_eigenvalue
from dock.states.gap import Gap, Source, find_gap
from dock.states.job import Job
from dock.states.kpath import KPath, make_path
from dock.states.problem import Problem
from dock.states.solver import Solver, Want
from dock.states.stream import Levels, StatesAtK, states
from dock.style import colours
from dock.threads import LARGE

if TYPE_CHECKING:
    from pymatgen.electronic_structure.bandstructure import BandStructureSymmLine

    from dock.post.band_difference import Difference

__all__ = ["BandStructure", "Selection", "bands", "make_path"]

_log = logging.getLogger("dock")

_OTHER_COUNT = (
    "%s: energies count from its Fermi level, which is not that of %g electrons. Pass that one, "
    "fermi_level=E; 'dock fermi' counts it."
)
_SLACK = 1e-3  # eV by which a Fermi level may move before its window is computed again

CORNER_LIMIT = 3000
"""Orbitals up to which what costs little is done besides: S is solved at the path's corners."""


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
    stored
        The Fermi level of the data, where `fermi_level` is another; eV, absolute.
    is_fixed
        Whether energies count from `fermi_level` wherever it lies, since a user said so.
    whole_gap
        What all bands say, where only a part of them is kept.
    name
        What a legend calls them beside others: where they are from.
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
    stored: float | None = None
    is_fixed: bool = False
    whole_gap: Gap | None = None
    name: str = ""

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
        if self.fermi_source != "given":
            gap = replace(gap, stored=self.stored)
        if gap.fermi_source != "given":
            return gap
        if self.fermi_source == "reference" and electrons is not None and gap.vbm and gap.cbm:
            middle = 0.5 * (gap.vbm.energy + gap.cbm.energy)
            return replace(gap, fermi_level=middle, fermi_source="mid-gap")
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
        from dock.post.band_difference import Difference

        limits, level = None, other.gap.fermi_level
        if level is not None:
            lowest, highest = (-SHOWN, SHOWN) if window is None else window
            limits = (level + lowest, level + highest)
        mine, theirs = (self.energies, self.n_below), (other.energies, other.n_below)
        return Difference.of(*mine, *theirs, limits)

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

    @property
    def lines(self) -> BandLines:
        """What a figure shows of them."""
        path, gap = self.path, self.gap
        return BandLines(
            self.energies,
            path.distances,
            path.segment,
            path.ticks,
            gap.fermi_level,
            None if gap.vbm is None else gap.vbm.energy,
            self.structure.formula,
            gap.words,
            self.name,
        )

    def draw(
        self,
        axes: Any,
        *,
        other: BandStructure | None = None,
        window: tuple[float, float] | None = None,
        zero: Zero = "fermi",
    ) -> None:
        """Draw the bands, and `other` (default `compared`) dashed.

        Energies count from the Fermi level, the valence band maximum (``vbm``), each set of bands
        from its own, or are ``absolute``. The window is that of the axis, eV; default from 6 below
        to 6 above the Fermi level, less where the bands end sooner, or all without one.
        """
        other = self.compared if other is None else other
        lines, tints = self.lines, colours()
        names = [name for name in CHANNELS if lines.n_spin == 2] or [""]
        if other is not None:
            names = [f"{self.name} {name}".strip() or "these" for name in names]
        lines.draw_lines(axes, tints[:2], names=names, zero=zero)
        if other is not None:
            called = (other.name or "compared", "")
            other.lines.draw_lines(axes, (tints[5],) * 2, "--", names=called, zero=zero)
        lines.draw_frame(axes, window, zero)
        add_legend(axes)

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
        The Fermi level that electrons gave on a mesh (`dock.states.counted_level`): it is taken
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
        dropped; vectors are computed only for it. Where a window has to be solved again, since the
        electrons tell another zero of energy, it is called again with the states that count.

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
    is_other = is_other_count(calc, electrons)
    calc = calc.replace(n_electrons=electrons)
    level = _Level(calc.fermi_level)
    if fermi_level is not None:
        level = _Level(fermi_level, is_fixed=True)
    elif counted is not None:
        level = _Level(counted, "counted")
    if compare is None:
        made = _bands(calc, path, selection, level, progress=steps, visit=visit, **run)
        if is_other and made.gap.fermi_source == "given" and not level.is_fixed:
            _log.warning(_OTHER_COUNT, calc.source, electrons)
        return made
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
    theirs = _bands(compare, path, selection, other, progress=steps.part(), **run)
    names = _names(calc.source, compare.source)
    return replace(mine, name=names[0]).beside(replace(theirs, name=names[1]))


def _names(source: str, other: str) -> tuple[str, str]:
    """Return the ends of two paths from where they differ; none where they do not."""
    one, two = Path(source).parts, Path(other).parts
    for count in range(1, max(len(one), len(two)) + 1):
        names = str(Path(*one[-count:])), str(Path(*two[-count:]))
        if names[0] != names[1]:
            return names
    return "", ""


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
    problem.require_known(path.kpoints_frac)
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
    run: dict[str, Any] = {"solver": solver, "jobs": jobs, "progress": progress, "visit": visit}
    margin = selection.margin(path)
    result = _solve(calc, path, selection.want(asked, s_threshold, margin), level, **run)
    if selection.takes_all:
        return result
    right = result.gap.fermi_level
    if right is None:
        raise _no_level(calc)
    if asked is not None and abs(right - asked) > _SLACK:
        # The electrons in what was found tell a gap that the level lies outside of.
        result = _solve(calc, path, selection.want(right, s_threshold, margin), level, **run)
    return _selected(result, selection)


def _solve(
    calc: Calculation,
    path: KPath,
    want: Want,
    level: _Level,
    *,
    solver: str | Solver | Job,
    jobs: int | None,
    progress: Progress,
    visit: Callable[[StatesAtK], None] | None,
) -> BandStructure:
    """Return what a solver is asked for on a path."""
    problem = Problem.of(calc)
    want = replace(want, vectors=visit is not None)
    found = []
    for at in states(problem, path.kpoints_frac, want, solver=solver, jobs=jobs, progress=progress):
        if visit is not None:
            visit(at)
        found.append(replace(at.states, vectors=None))
    solved = Levels.gather(found, problem.n_channels)
    return BandStructure(
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
        stored=calc.fermi_level,
        is_fixed=level.is_fixed,
    )


def _no_level(calc: Calculation) -> MissingDataError:
    return MissingDataError(
        "the Fermi level",
        calc.source,
        "Energies of a selection count from it. Pass fermi_level=E (eV; 0 for absolute energies), "
        "or for an insulator electrons=N.",
    )


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
    """Keep the bands that are selected."""
    first, stop = selection.bands(result.energies - result.reference)
    energies = result.energies[..., first:stop]
    n_below = result.n_below + first
    return replace(result, energies=energies, n_below=n_below, whole_gap=result.gap)
