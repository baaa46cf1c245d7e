"""How good a predicted Hamiltonian is: the metrics of the DeepH-pack paper for one structure.

`dock.evaluate.report` does the same for many structures and puts the errors together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.errors import LayoutError, MissingDataError, UsageError
from dock.evaluate import metrics
from dock.evaluate.blocks import BlockErrors
from dock.io.progress import Progress, Report
from dock.post.fermi import find_level
from dock.states.dense import solve
from dock.states.kmesh import KMesh, make_mesh
from dock.states.problem import Problem
from dock.states.smearing import Smearing
from dock.states.solver import Want
from dock.states.spectrum import Spectrum, compute_spectrum, electrons_of

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
    s_threshold: float | None = None

    def __post_init__(self) -> None:
        if self.mesh is not None and self.spacing is not None:
            raise UsageError("give --mesh or --spacing, not both.")
        if self.fermi is not None and self.electrons is not None:
            raise UsageError("give --fermi or --electrons, not both.")
        if not self.sigma > 0:
            raise UsageError(f"the broadening must be positive (eV), found {self.sigma}.")


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


@dataclass(frozen=True, eq=False)
class StructureErrors:
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
    pairs
        Which atom pairs only one of the two Hamiltonians has, in words; empty where they agree.
    """

    name: str
    formula: str
    n_atoms: int
    shift: float
    blocks: BlockErrors
    bands: BandErrors | None
    pairs: str = ""

    @property
    def mae(self) -> float:
        """MAE_H, eV."""
        return self.blocks.mean


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
    options
        See `EvaluateOptions`.
    name
        How the structure is called.
    jobs
        Threads.
    progress
        Called with the number of finished eigenproblems and of all.

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
    blocks, shift = _matrix(
        predicted, benchmark, overlap, only_overlapping=options.only_overlapping
    )
    bands = None
    if not options.matrix_only:
        bands = _bands(predicted, reference, options, jobs, progress)
    structure = reference.structure
    return StructureErrors(name, structure.formula, structure.n_atoms, shift, blocks, bands, words)


def _matrix(
    predicted: AOMatrix, benchmark: AOMatrix, overlap: AOMatrix, *, only_overlapping: bool
) -> tuple[BlockErrors, float]:
    """Return the errors of the matrix elements and Δμ_H."""
    if only_overlapping:
        predicted, benchmark = (_overlapping(one, overlap) for one in (predicted, benchmark))
        overlap = _overlapping(overlap, overlap)
    shift = metrics.hamiltonian_shift(predicted, benchmark, overlap)
    difference = metrics.hamiltonian_difference(predicted, benchmark, overlap, shift)
    return BlockErrors.of(difference, benchmark), shift


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
    overlap = reference.require("overlap")
    guess = reference.replace(matrices={"hamiltonian": predicted, "overlap": overlap})
    steps = Progress.of(progress)
    steps.start(2 * reference.spin.n_channels * mesh.n_points)
    levels = []
    first: Spectrum | None = None
    for calc in (reference, guess):
        spectrum = compute_spectrum(
            calc, mesh, s_threshold=options.s_threshold, jobs=jobs, progress=steps.part()
        )
        first = first or spectrum
        levels.append(spectrum.energies[:, mesh.index])
    benchmark, found = levels
    fermi, n_filled = _fermi(reference, first, options)
    window = None
    if options.states is None:
        window = metrics.adaptive_window(
            benchmark, fermi, half_width=options.half_width, min_bands=options.min_bands
        )
    mask = _chosen(benchmark, window, n_filled, options)
    shift = metrics.band_shift(found, benchmark, mask)
    deviation = np.abs((found - benchmark)[mask] - shift)
    dos = None
    if window is not None:
        dos = metrics.dos_error(found, benchmark, window, shift=shift, sigma=options.sigma)
    errors = _state_errors(predicted, reference, window, n_filled, options)
    state = None if len(errors) == 0 else math.sqrt(max(0.0, float(errors.mean())))
    return BandErrors(
        fermi,
        window,
        mesh.size,
        int(mask.sum()),
        shift,
        metrics.band_error(found, benchmark, mask),
        float(deviation.max()),
        dos,
        state,
        len(errors),
    )


def _mesh(reference: Calculation, options: EvaluateOptions) -> KMesh:
    """Return the mesh; only time reversal may reduce it, for the prediction obeys no more."""
    real = reference.spin is not Spin.NONCOLLINEAR
    spacing = options.spacing
    if options.mesh is None and spacing is None:
        spacing = SPACING
    return make_mesh(
        reference,
        options.mesh,
        spacing=spacing,
        reduction="time-reversal" if real else "none",
    )


def _fermi(
    reference: Calculation, spectrum: Spectrum | None, options: EvaluateOptions
) -> tuple[float, float | None]:
    """Return the reference's Fermi level and the number of filled states, where it is known."""
    electrons = options.electrons if options.electrons is not None else reference.n_electrons
    if electrons is None and "density_matrix" in reference.available:
        density = reference.require("density_matrix")
        electrons = round(density.dot(reference.require("overlap")), 3)
    n_filled = None if electrons is None else electrons / reference.spin.degeneracy
    if options.fermi is not None:
        return options.fermi, n_filled
    if electrons is not None and spectrum is not None:
        electrons = electrons_of(reference, electrons, spectrum.capacity)
        return find_level(spectrum, electrons, Smearing())[0], n_filled
    if reference.fermi_level is None:
        raise MissingDataError(
            "the Fermi level of the reference",
            reference.source,
            "The energy window lies about it. Give --electrons N (valence electrons per cell) or "
            "--fermi E (eV), write 'occupation' into its info.json, or take --matrix-only.",
        )
    return reference.fermi_level, n_filled


def _chosen(
    benchmark: NDArray[np.float64],
    window: metrics.Window | None,
    n_filled: float | None,
    options: EvaluateOptions,
) -> NDArray[np.bool_]:
    """Return the levels that are compared."""
    if window is not None:
        return metrics.level_mask(benchmark, window)
    if n_filled is None:
        raise UsageError(
            "states are counted from the highest occupied one: give --electrons N (valence "
            "electrons per cell)."
        )
    if len(benchmark) > 1 or abs(n_filled - round(n_filled)) > 1e-6:
        raise UsageError(
            "--states is for systems with as many filled states in each spin channel and at each "
            "k-point. Leave it out to take the energy window."
        )
    occupied, empty = options.states or (0, 0)
    return metrics.nearest_states(benchmark, round(n_filled), occupied, empty)


def _state_errors(
    predicted: AOMatrix,
    reference: Calculation,
    window: metrics.Window | None,
    n_filled: float | None,
    options: EvaluateOptions,
) -> NDArray[np.float64]:
    """Return 1 − Σ |⟨ψ_bm|ψ_pred⟩|² of the chosen states at Γ, all spin channels."""
    gamma = np.zeros(3)
    overlap = reference.require("overlap")
    exact = Problem(reference.require("hamiltonian"), overlap, reference.source)
    guess = Problem(predicted, overlap, "the prediction")
    want = Want(vectors=True, s_threshold=options.s_threshold)
    errors = [np.zeros(0)]
    for channel in range(exact.n_channels):
        own, other = (
            solve(*problem.dense(channel, gamma), want, overwrite=True)
            for problem in (exact, guess)
        )
        if own.vectors is None or other.vectors is None:
            continue
        groups = metrics.degenerate_groups(own.energies, options.degenerate)
        S = exact.channels[channel].overlap.dense(gamma)
        values = metrics.state_error(other.vectors, own.vectors, S, groups)
        levels = own.energies[None, None, :]
        errors.append(values[_chosen(levels, window, n_filled, options)[0, 0]])
    return np.concatenate(errors)
