"""How good a predicted Hamiltonian is: the metrics of the DeepH-pack paper for one structure.

`dock.evaluate.report` does the same for many structures and puts the errors together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.errors import LayoutError, MissingDataError, UsageError
from dock.evaluate import metrics
from dock.evaluate.blocks import BlockErrors
from dock.io.progress import Progress, Report
from dock.results import Result
from dock.states.fermi_level import find_level
from dock.states.kmesh import KMesh, make_mesh
from dock.states.occupation import OccupationErrors, Spaces, is_filled, occupation_errors
from dock.states.problem import Problem
from dock.states.smearing import Smearing
from dock.states.solver import Want
from dock.states.spectrum import Spectrum, compute_spectrum, electrons_of
from dock.states.stream import states

__all__ = ["EvaluateOptions", "StructureErrors", "evaluate"]

SPACING = 0.07
"""Distance of k-points in 1/Å (2π included) where none is given: the paper has 0.02 to 0.07."""


@dataclass(frozen=True)
class EvaluateOptions:
    """How errors are measured; the defaults are those of the paper.

    Attributes
    ----------
    mesh, spacing
        Points along each reciprocal vector, or their largest distance in 1/Å (2π included).
    fermi, electrons
        Fermi level (eV, absolute) of the reference, or its electrons per cell; default: by the
        electron count of the reference, or else its own Fermi level.
    half_width, min_bands
        Half the first width of the energy window in eV, and the bands that must be inside.
    states
        (occupied, empty): take so many states instead of a window; then there is no DOS error.
    sigma
        Gaussian broadening of the DOS, eV.
    degenerate
        Spacing in eV below which levels form one subspace.
    only_overlapping
        Leave pairs out of MAE_H and of Δμ_H whose overlap is zero throughout.
    matrix_only
        Diagonalise nothing: MAE_H alone.
    optics
        Compare dielectric functions too; positions are those of the reference, or computed from
        `basis`.
    eta
        Broadening of the dielectric functions, eV.
    basis
        Folder of basis files from which positions are computed where the reference has none.
    s_threshold
        Leave out combinations of orbitals with an overlap eigenvalue below this.
    """

    mesh: Sequence[int] | None = None
    spacing: float | None = None
    fermi: float | None = None
    electrons: float | None = None
    half_width: float = metrics.FIRST_HALF_WIDTH
    min_bands: int = metrics.MIN_BANDS
    states: tuple[int, int] | None = None
    sigma: float = 0.05
    degenerate: float = metrics.DEGENERATE
    only_overlapping: bool = False
    matrix_only: bool = False
    optics: bool = False
    eta: float = 0.1
    basis: Path | None = None
    s_threshold: float | None = None

    def __post_init__(self) -> None:
        if self.mesh is not None and self.spacing is not None:
            raise UsageError("Pass mesh=N or spacing=D, not both.")
        if self.fermi is not None and self.electrons is not None:
            raise UsageError("Pass fermi=E or electrons=N, not both.")
        if self.optics and self.matrix_only:
            raise UsageError("Pass optics=True or matrix_only=True, not both.")
        if not self.sigma > 0:
            raise UsageError(f"the broadening must be positive (eV), found {self.sigma}.")


def _milli(value: float | None) -> str:
    """Return an energy in meV, a dash where there is none."""
    return "–" if value is None else f"{1e3 * value:.4g} meV"


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


_INITIAL = ("hamiltonian0", "hamiltonian_init")

MEASURES: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "mae_hamiltonian_eV": ("MAE H", _milli),
    "shift_hamiltonian_eV": ("Δμ H", lambda value: "" if value is None else f"{value:.4f} eV"),
    "mae_band_eV": ("MAE bands", _milli),
    "mae_dos": ("MAE DOS", _plain),
    "rmse_state": ("RMSE ψ", _plain),
    "mae_occupied_levels_eV": ("MAE filled", _milli),
    "mae_epsilon_2": ("MAE ε₂", _plain),
    "n_ghost_states": ("false states", lambda value: "–" if value is None else f"{value:g}"),
}
"""What tables show of a structure: the name there, and the value in words."""


def shown_measures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what a table of structures shows: ε₂ only where it was compared."""
    asked = any(row["mae_epsilon_2"] is not None for row in rows)
    return [key for key in MEASURES if asked or key != "mae_epsilon_2"]


class BandErrors(NamedTuple):
    """The errors of energies and states.

    Attributes
    ----------
    fermi_level
        Of the reference, eV, absolute.
    window
        The energy window; None where states were chosen by number.
    mesh
        Number of k-points along each axis.
    n_levels
        Levels compared.
    shift
        Δμ_band, eV.
    mae, largest
        MAE_band and the largest deviation after the shift, eV.
    dos
        MAE_DOS, without unit; None without a window.
    state
        RMSE_ψ at Γ, without unit; None where no level lies in the window there.
    n_states
        States at Γ.
    occupation
        Errors of the occupied levels and of the gap, and false states.
    spaces
        Root mean square of ΔH at Γ between occupied, occupied and empty, and empty states of the
        reference, eV; None where there are none.
    """

    fermi_level: float
    window: metrics.Window | None
    mesh: tuple[int, int, int]
    n_levels: int
    shift: float
    mae: float
    largest: float
    dos: float | None
    state: float | None
    n_states: int
    occupation: OccupationErrors
    spaces: tuple[float | None, float | None, float | None]


_BAND_FACTS: dict[str, Callable[[BandErrors], Any]] = {
    "mae_band_eV": lambda bands: bands.mae,
    "max_band_eV": lambda bands: bands.largest,
    "shift_band_eV": lambda bands: bands.shift,
    "mae_dos": lambda bands: bands.dos,
    "rmse_state": lambda bands: bands.state,
    "n_levels": lambda bands: bands.n_levels,
    "n_states": lambda bands: bands.n_states,
    "fermi_level_eV": lambda bands: bands.fermi_level,
    "window_eV": lambda bands: bands.window and [bands.window.low, bands.window.high],
    "kmesh": lambda bands: list(bands.mesh),
    "mae_occupied_levels_eV": lambda bands: bands.occupation.occupied,
    "max_occupied_levels_eV": lambda bands: bands.occupation.largest_occupied,
    "gap_error_eV": lambda bands: bands.occupation.gap,
    "n_ghost_states": lambda bands: bands.occupation.n_ghosts,
    "n_missing_states": lambda bands: bands.occupation.n_missing,
    "rms_hamiltonian_occupied_eV": lambda bands: bands.spaces[0],
    "rms_hamiltonian_mixed_eV": lambda bands: bands.spaces[1],
    "rms_hamiltonian_empty_eV": lambda bands: bands.spaces[2],
}


@dataclass(frozen=True, eq=False, repr=False)
class StructureErrors(Result):
    """All errors of one structure.

    Attributes
    ----------
    name, formula, n_atoms
        The structure.
    shift
        Δμ_H, eV.
    blocks
        The errors of the matrix elements after the shift.
    bands
        The errors of energies and states; None where nothing was diagonalised.
    initial
        MAE_H of the Hamiltonian of superposed atoms that stands beside the reference (H0, or else
        Hinit), eV: what a prediction must beat. None where there is none.
    pairs
        Which atom pairs only one of the two Hamiltonians has, in words; empty where they agree.
    epsilon
        MAE of ε₂ over its integral; None where it was not asked for.
    """

    FILE = "errors.h5"

    name: str
    formula: str
    n_atoms: int
    shift: float
    blocks: BlockErrors
    bands: BandErrors | None
    initial: float | None = None
    pairs: str = ""
    epsilon: float | None = None

    @property
    def mae(self) -> float:
        """MAE_H, eV."""
        return self.blocks.mean

    def facts(self) -> dict[str, Any]:
        """Return all errors by key; those of bands are None where nothing was diagonalised."""
        blocks = self.blocks
        pairs = {f"{left}-{right}": sums.mean for (left, right), sums in blocks.pairs.items()}
        bands = {
            key: None if self.bands is None else fact(self.bands)
            for key, fact in _BAND_FACTS.items()
        }
        return {
            "name": self.name,
            "formula": self.formula,
            "n_atoms": self.n_atoms,
            "elements": list(blocks.elements),
            "mae_hamiltonian_eV": blocks.mean,
            "rmse_hamiltonian_eV": blocks.root_mean_square,
            "max_hamiltonian_eV": blocks.largest,
            "shift_hamiltonian_eV": self.shift,
            "mae_initial_hamiltonian_eV": self.initial,
            "n_entries": blocks.n_entries,
            "element_pairs_mae_eV": pairs,
            "pairs_note": self.pairs,
            **bands,
            "mae_epsilon_2": self.epsilon,
        }

    def datasets(self) -> dict[str, Any]:
        """Return the errors of pairs of elements and of shells."""
        return self.blocks.datasets()

    def rows(self) -> list[tuple[str, str]]:
        """Return the errors in words."""
        facts = self.facts()
        shown = shown_measures([facts])
        rows = [
            (name, words(facts[key])) for key, (name, words) in MEASURES.items() if key in shown
        ]
        rows.insert(0, ("structure", f"{self.formula} {self.name}".strip()))
        return [*rows, ("pairs", self.pairs)] if self.pairs else rows


def evaluate(
    predicted: AOMatrix,
    reference: Calculation,
    options: EvaluateOptions | None = None,
    *,
    name: str = "",
    jobs: int | None = None,
    progress: Report = None,
) -> StructureErrors:
    """Measure the errors of one predicted Hamiltonian.

    Parameters
    ----------
    predicted
        The Hamiltonian, eV.
    reference
        The benchmark: Hamiltonian and overlap, and a Fermi level or an electron count.
    progress
        Told the number of finished eigenproblems and of all.

    Raises
    ------
    LayoutError
        When spin or basis differ.
    MissingDataError
        Without the reference's matrices, or without any means to place its Fermi level.
    SolverError
        When S(k) is not positive definite.

    Examples
    --------
    >>> import dock
    >>> calc = dock.read("fixtures/openmx/h2o")
    >>> H, S = calc.require("H"), calc.require("S")
    >>> result = evaluate(H + 0.25 * S, calc)
    >>> round(result.shift, 9), result.mae < 1e-12, result.bands.mae < 1e-9
    (0.25, True, True)
    """
    options = options or EvaluateOptions()
    benchmark = reference.require("hamiltonian", "It is the benchmark.")
    overlap = reference.require("overlap", "Both belong to it; see: dock compute-overlap.")
    metrics.require_comparable(predicted, benchmark)
    _require_finite(predicted, "prediction")
    _require_finite(benchmark, "reference")
    words = benchmark.pairs.difference(predicted.pairs)
    H, H_bm, S = predicted, benchmark, overlap
    if options.only_overlapping:
        H, H_bm, S = (_overlapping(matrix, overlap) for matrix in (H, H_bm, S))
    shift = metrics.hamiltonian_shift(H, H_bm, S)
    blocks = BlockErrors.of(metrics.hamiltonian_difference(H, H_bm, S, shift), H_bm)
    bands = None
    if not options.matrix_only:
        bands = _bands(predicted, reference, options, jobs, progress)
    structure = reference.structure
    initial = _initial_error(reference, options)
    counted = (structure.formula, structure.n_atoms, shift, blocks, bands)
    epsilon = _epsilon(predicted, reference, options, jobs) if options.optics else None
    return StructureErrors(name, *counted, initial, words, epsilon)


def _epsilon(
    predicted: AOMatrix, reference: Calculation, options: EvaluateOptions, jobs: int | None
) -> float:
    """Return the error of the dielectric function."""
    from dock.evaluate.optics import epsilon_error

    exact = reference
    if options.basis is not None and "position" not in reference.available:
        from dock.grid.grid import with_radials

        exact = with_radials(reference, options.basis)
    kept = {
        name: exact.require(name) for name in ("overlap", "position") if name in exact.available
    }
    matrices: dict[Any, AOMatrix] = {"hamiltonian": predicted, **kept}
    guess = exact.replace(matrices=matrices)
    settings: dict[str, Any] = {"electrons": _electrons(reference, options), "eta": options.eta}
    settings |= {"s_threshold": options.s_threshold, "jobs": jobs}
    return epsilon_error(guess, exact, _mesh(reference, options), **settings)


def _initial_error(reference: Calculation, options: EvaluateOptions) -> float | None:
    """Return MAE_H of the reference's own Hamiltonian of superposed atoms."""
    name = next((one for one in _INITIAL if one in reference.available), None)
    if name is None:
        return None
    H, H_bm, S = (reference.require(one) for one in (name, "hamiltonian", "overlap"))
    if options.only_overlapping:
        H, H_bm, S = (_overlapping(matrix, S) for matrix in (H, H_bm, S))
    shift = metrics.hamiltonian_shift(H, H_bm, S)
    return BlockErrors.of(metrics.hamiltonian_difference(H, H_bm, S, shift), H_bm).mean


def _require_finite(matrix: AOMatrix, which: str) -> None:
    bad = matrix.entries.size - int(np.count_nonzero(np.isfinite(matrix.entries)))
    if bad:
        raise LayoutError(
            f"the Hamiltonian of the {which} has {bad} NaN or infinite entries of "
            f"{matrix.entries.size}. Make the file again."
        )


def _overlapping(matrix: AOMatrix, overlap: AOMatrix) -> AOMatrix:
    """Return the matrix on the pairs whose overlap is not zero throughout."""
    there = overlap.take_pairs(np.flatnonzero(overlap.layout.block_max(overlap.entries) > 0)).pairs
    pairs = matrix.pairs
    return matrix.take_pairs(np.flatnonzero(there.find(pairs.R, pairs.i, pairs.j) >= 0))


def _bands(
    predicted: AOMatrix,
    reference: Calculation,
    options: EvaluateOptions,
    jobs: int | None,
    progress: Report,
) -> BandErrors:
    """Return the errors of energies and states."""
    mesh = _mesh(reference, options)
    electrons = _electrons(reference, options)
    overlap = reference.require("overlap")
    guess = reference.replace(matrices={"hamiltonian": predicted, "overlap": overlap})
    steps = Progress.of(progress)
    steps.start(2 * reference.spin.n_channels * mesh.n_points)
    exact, other = (
        compute_spectrum(
            calc, mesh, s_threshold=options.s_threshold, jobs=jobs, progress=steps.part()
        )
        for calc in (reference, guess)
    )
    benchmark, guessed = exact.energies[:, mesh.index], other.energies[:, mesh.index]
    n_filled = None if electrons is None else electrons / reference.spin.degeneracy
    fermi = _fermi(reference, exact, electrons, options)
    window = None
    if options.states is None:
        window = metrics.adaptive_window(
            benchmark, fermi, half_width=options.half_width, min_bands=options.min_bands
        )
    chosen = partial(_chosen, window=window, n_filled=n_filled, options=options)
    mask = chosen(benchmark)
    shift = metrics.band_shift(guessed, benchmark, mask)
    mae = metrics.band_error(guessed, benchmark, mask)
    largest = float(np.abs((guessed - benchmark)[mask] - shift).max())
    dos = None
    if window is not None:
        dos = metrics.dos_error(guessed, benchmark, window, shift=shift, sigma=options.sigma)
    at_gamma = _at_gamma(predicted, reference, chosen, fermi, options)
    errors = at_gamma.errors
    return BandErrors(
        fermi,
        window,
        mesh.size,
        int(mask.sum()),
        shift,
        mae,
        largest,
        dos,
        None if len(errors) == 0 else math.sqrt(max(0.0, float(errors.mean()))),
        len(errors),
        occupation_errors(guessed, benchmark, fermi),
        at_gamma.spaces,
    )


def _mesh(reference: Calculation, options: EvaluateOptions) -> KMesh:
    """Return the mesh; only time reversal may reduce it, for the prediction obeys no more."""
    spacing = SPACING if options.mesh is None and options.spacing is None else options.spacing
    spinors = reference.spin is Spin.NONCOLLINEAR
    return make_mesh(
        reference, options.mesh, spacing=spacing, reduction="none" if spinors else "time-reversal"
    )


def _electrons(reference: Calculation, options: EvaluateOptions) -> float | None:
    """Return the reference's electrons, where they are known; refuse what has no Fermi level."""
    electrons = options.electrons if options.electrons is not None else reference.n_electrons
    if electrons is None and "density_matrix" in reference.available:
        density = reference.require("density_matrix")
        electrons = round(density.dot(reference.require("overlap")), 3)
    if electrons is None and options.fermi is None and reference.fermi_level is None:
        raise MissingDataError(
            "the Fermi level of the reference",
            reference.source,
            "The energy window lies about it. Pass electrons=N (valence electrons per cell) or "
            "fermi=E (eV), write 'occupation' into its info.json, or pass matrix_only=True.",
        )
    if electrons is None and options.states is not None:
        raise UsageError(
            "states are counted from the highest occupied one: pass electrons=N (valence "
            "electrons per cell)."
        )
    return electrons


def _fermi(
    reference: Calculation, spectrum: Spectrum, electrons: float | None, options: EvaluateOptions
) -> float:
    """Return the reference's Fermi level: as given, of its electrons, or its own."""
    if options.fermi is not None:
        return options.fermi
    if electrons is not None:
        electrons = electrons_of(reference, electrons, spectrum.capacity)
        return find_level(spectrum, electrons, Smearing())[0]
    return cast("float", reference.fermi_level)


def _chosen(
    benchmark: NDArray[np.float64],
    window: metrics.Window | None,
    n_filled: float | None,
    options: EvaluateOptions,
) -> NDArray[np.bool_]:
    """Return the levels that are compared."""
    if window is not None:
        return metrics.level_mask(benchmark, window)
    filled = cast("float", n_filled)  # `_electrons` refuses states without it
    if len(benchmark) > 1 or abs(filled - round(filled)) > 1e-6:
        raise UsageError(
            "states=… is for systems with as many filled states in each spin channel and at each "
            "k-point. Leave it out to take the energy window."
        )
    occupied, empty = options.states or (0, 0)
    return metrics.nearest_states(benchmark, round(filled), occupied, empty)


class _AtGamma(NamedTuple):
    """1 − Σ |⟨ψ_bm|ψ_pred⟩|² of the chosen states at Γ, and ΔH between the reference's states."""

    errors: NDArray[np.float64]
    spaces: tuple[float | None, float | None, float | None]


def _at_gamma(
    predicted: AOMatrix,
    reference: Calculation,
    chosen: Callable[[NDArray[np.float64]], NDArray[np.bool_]],
    fermi_level: float,
    options: EvaluateOptions,
) -> _AtGamma:
    """Compare the states at Γ, all spin channels."""
    gamma = np.zeros(3)
    overlap = reference.require("overlap")
    exact = Problem(reference.require("hamiltonian"), overlap, reference.source)
    guess = Problem(predicted, overlap, "the prediction")
    shift = metrics.hamiltonian_shift(predicted, reference.require("hamiltonian"), overlap)
    want = Want(vectors=True, s_threshold=options.s_threshold)
    errors, spaces = [np.zeros(0)], Spaces()
    both = zip(states(exact, gamma, want), states(guess, gamma, want), strict=True)
    for at, answer in both:
        own, other = at.states, answer.states
        if own.vectors is None or other.vectors is None:
            continue
        groups = metrics.degenerate_groups(own.energies, options.degenerate)
        S = exact.channels[at.channel].overlap.dense(gamma)
        values = metrics.state_error(other.vectors, own.vectors, S, groups)
        errors.append(values[chosen(own.energies[None, None, :])[0, 0]])
        before, after = (
            one.channels[at.channel].hamiltonian.dense(gamma) for one in (exact, guess)
        )
        filled = is_filled(own.energies, fermi_level)
        spaces.add(after - shift * S - before, own.vectors, filled)
    return _AtGamma(np.concatenate(errors), spaces.result())
