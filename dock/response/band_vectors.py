"""Vectors of a set of bands at many k-points, with the proof that the set stands apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.io.progress import Progress
from dock.response.band_set import band_range
from dock.response.gaps import HINT, filled_bands, overlapping, require_gap, require_insulator
from dock.response.kdata import KData, each
from dock.response.operators import Operators

__all__ = ["BandVectors", "Solved"]


class Solved(NamedTuple):
    """All energies of a k-point (eV), and the vectors of a set of bands in columns."""

    energies: NDArray[np.float64]
    vectors: NDArray[Any]


class BandVectors:
    """Sets of bands, one for each spin channel, of a quantity that needs gaps at their edges.

    Parameters
    ----------
    operators
        H, S and positions.
    what
        The quantity, for messages.
    bands
        A range for every channel; None for the bands that the electrons fill.
    electrons
        Electrons per cell; default those of the calculation.
    at
        The k-point at which electrons are divided between spin channels.
    hint
        What can be done instead, for messages.

    Raises
    ------
    UsageError
        For bands that there are not.
    MissingDataError, ConventionError
        Without electrons, or where they do not fill whole bands.
    """

    def __init__(
        self,
        operators: Operators,
        what: str,
        bands: str | range | None,
        electrons: float | None,
        at: NDArray[np.float64],
        hint: str = HINT,
    ) -> None:
        self.operators, self.what, self.is_filled = operators, what, bands is None
        self.hint = hint
        if bands is None:
            self.sets = filled_bands(operators, at, what, electrons, hint)
        else:
            self.sets = [band_range(bands, operators.problem.size)] * operators.n_channels

    def solve(self, points: NDArray[np.float64], **run: Any) -> list[list[Solved]]:
        """Return energies and vectors of each channel at each k-point, (n_channels, n_k)."""

        def made(data: KData) -> Solved:
            return Solved(data.energies, data.vectors[:, self.sets[data.channel]])

        run["progress"] = Progress.of(run.get("progress"))
        found = list(each(self.operators, points, made, **run))
        n = len(points)
        return [found[c * n : (c + 1) * n] for c in range(self.operators.n_channels)]

    def gap(self, solved: Sequence[Sequence[Solved]], points: NDArray[np.float64]) -> float:
        """Return the smallest vertical gap at the edges of the sets, eV; infinite without edges.

        Raises
        ------
        ConventionError
            Where a set touches other bands, or filled bands (not a range that was given) reach
            above empty ones: a metal.
        """
        source = self.operators.calc.source
        # A threshold leaves fewer states at some k-points: what all have is compared.
        width = min(len(at.energies) for part in solved for at in part)
        energies = [np.array([at.energies[:width] for at in part]) for part in solved]
        pairs = list(zip(energies, self.sets, strict=True))
        if self.is_filled:
            require_insulator(
                overlapping(pairs), self.what, source, _ends(pairs, points), self.hint
            )
        gaps = [require_gap(e, band, points, self.what, source) for e, band in pairs]
        return min(gaps)


def _ends(pairs: Sequence[tuple[NDArray[np.float64], slice]], points: NDArray[np.float64]) -> str:
    """Return where the filled bands are highest and the empty ones lowest, in words."""
    highest, lowest = (-np.inf, ""), (np.inf, "")
    for channel, (energies, bands) in enumerate(pairs):
        spin = f" {('up', 'down')[channel]}" if len(pairs) == 2 else ""
        if bands.stop > bands.start:
            top = energies[:, bands.stop - 1]
            k = ", ".join(f"{x:.4g}" for x in points[int(np.argmax(top))])
            words = f"band {bands.stop}{spin} ends at k = ({k})"
            highest = max(highest, (float(top.max()), words))
        if bands.stop < energies.shape[1]:
            bottom = energies[:, bands.stop]
            k = ", ".join(f"{x:.4g}" for x in points[int(np.argmin(bottom))])
            words = f"band {bands.stop + 1}{spin} begins at k = ({k})"
            lowest = min(lowest, (float(bottom.min()), words))
    return f"{highest[1]}, {lowest[1]}"
