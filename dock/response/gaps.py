"""Which bands are filled, and whether gaps part them from the others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.errors import ConventionError, MissingDataError, UsageError
from dock.response.kdata import DEGENERATE
from dock.response.operators import Operators
from dock.states.gap import TOUCHING
from dock.states.own_level import level_of_data
from dock.states.spectrum import electrons_of
from dock.states.stream import levels

__all__ = ["HINT", "filled_bands", "level_of", "overlapping", "require_gap", "require_insulator"]

HINT = "; for some of the bands pass bands='N..M'"
"""What can be done instead where a quantity takes any set of bands."""

_WHOLE = 1e-4  # electrons by which a count may miss a whole number: codes print so many digits


def level_of(calc: Calculation, fermi_level: float | None) -> float:
    """Return the Fermi level up to which states are filled, eV.

    It is the one given, or that of the data (`dock.states.own_level.level_of_data`).
    `MissingDataError` where there is none.
    """
    level = fermi_level if fermi_level is not None else level_of_data(calc)
    if level is None:
        raise MissingDataError(
            "the Fermi level", calc.source, "Pass fermi_level=E (eV), or a range of bands."
        )
    if not np.isfinite(level):
        raise UsageError(f"the Fermi level is a finite energy in eV, found {level}.")
    return float(level)


def filled_bands(
    operators: Operators,
    at: NDArray[np.float64],
    what: str,
    electrons: float | None = None,
    hint: str = HINT,
) -> list[slice]:
    """Return the filled bands of each spin channel of an insulator, by its electrons.

    Parameters
    ----------
    at : (3,)
        The fractional k-point at which the electrons are divided between spin channels.
    what, hint
        The quantity, and what can be done instead, for messages.
    electrons
        Electrons per cell; default those of the calculation.

    Raises
    ------
    MissingDataError
        Without a number of electrons.
    ConventionError
        Where they do not fill whole bands: a metal.
    """
    calc = operators.calc
    count = electrons_of(calc, electrons, operators.problem.capacity)
    filled = count / operators.electrons_per_state
    n_filled = round(filled)
    if abs(filled - n_filled) > _WHOLE:
        raise ConventionError(
            f"{calc.source}: {count:g} electrons fill {filled:g} bands: a metal. "
            f"{_begun(what)} needs bands that are all full or all empty{hint}."
        )
    if operators.n_channels == 1:
        return [slice(0, n_filled)]
    energies = levels(operators.problem, [at]).energies[:, 0]
    last = np.sort(energies.ravel())[n_filled - 1]
    return [slice(0, int(np.sum(channel <= last))) for channel in energies]


def require_gap(
    energies: NDArray[np.float64],
    bands: slice,
    kpoints: NDArray[np.float64],
    what: str,
    source: str,
) -> float:
    """Return the smallest vertical gap at both edges of a set of bands, eV.

    Parameters
    ----------
    energies : (n_k, n_bands)
        All energies of one spin channel.
    bands
        The set.

    Raises
    ------
    ConventionError
        Where an edge of the set lies within a level: there is no gap.
    """
    smallest = np.inf
    n_bands = energies.shape[1]
    for edge in (bands.start, bands.stop):
        if not 0 < edge < n_bands:
            continue
        gaps = energies[:, edge] - energies[:, edge - 1]
        row = int(np.argmin(gaps))
        if gaps[row] < DEGENERATE:
            k = ", ".join(f"{x:.6g}" for x in kpoints[row])
            whole = _whole_set(energies, bands)
            raise ConventionError(
                f"{source}: {what} needs a gap between bands {edge} and {edge + 1}; they touch at "
                f"k = ({k}). {whole}"
            )
        smallest = min(smallest, float(gaps[row]))
    return smallest


def _whole_set(energies: NDArray[np.float64], bands: slice) -> str:
    """Return which set about a range has gaps at its edges, in a sentence."""
    tied = np.any(np.diff(energies, axis=1) < DEGENERATE, axis=0)
    first, stop = bands.start, bands.stop
    while first > 0 and tied[first - 1]:
        first -= 1
    while stop < energies.shape[1] and tied[stop - 1]:
        stop += 1
    return f"A set that has them is bands='{first + 1}..{stop}'."


def overlapping(bands: list[tuple[Any, slice]]) -> float:
    """Return how far filled states lie above empty ones over all k-points and channels, eV.

    Each entry has the energies (n_k, n_bands) of a channel and its filled bands. Negative for an
    insulator: minus its gap.
    """
    top = max(
        (float(e[:, s.stop - 1].max()) for e, s in bands if s.stop > s.start), default=-np.inf
    )
    bottom = min(
        (float(e[:, s.stop].min()) for e, s in bands if s.stop < e.shape[1]), default=np.inf
    )
    return top - bottom


def require_insulator(overlap: float, what: str, source: str, ends: str, hint: str = HINT) -> None:
    """Raise `ConventionError` where filled states lie above empty ones: `overlapping` says so.

    `ends` says where the bands end and begin.
    """
    if overlap <= -TOUCHING:
        return
    found, kind = f"bands overlap by {overlap:.2f} eV", "a metal"
    if overlap <= TOUCHING:
        found, kind = (
            f"filled bands end {overlap:+.6f} eV from where empty ones begin",
            "a semimetal",
        )
    raise ConventionError(
        f"{source}: {found} ({ends}): {kind}. {_begun(what)} needs an insulator{hint}."
    )


def _begun(what: str) -> str:
    """Return words as the beginning of a sentence."""
    return what[:1].upper() + what[1:]
