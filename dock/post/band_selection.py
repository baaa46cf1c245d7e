"""Which bands are wanted: their numbers, or the band edges, each in its spin channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.errors import MissingDataError, UsageError
from dock.states.gap import find_gap
from dock.states.job import Job
from dock.states.problem import Problem
from dock.states.solver import Solver, Want
from dock.states.spectrum_part import STATES, is_in_parts
from dock.states.stream import levels

__all__ = ["BandSelection"]

_WHOLE = 1e-6  # of a state: an electron count nearer than this to a whole one is whole


@dataclass(frozen=True)
class BandSelection:
    """Which bands are wanted: numbers, band edges, or all where neither is given.

    Attributes
    ----------
    numbers
        Numbers from 0, wanted in every spin channel.
    edges
        ``vbm``, ``cbm``: the highest occupied and the lowest empty state, each in its own spin
        channel.
    """

    numbers: tuple[int, ...] | None = None
    edges: tuple[str, ...] = ()

    @classmethod
    def of(cls, bands: Sequence[int] | str | BandSelection | None) -> BandSelection:
        """Return what numbers from 0, a text (see `parse`) or None (all) stand for.

        Anything else raises `UsageError`.
        """
        if isinstance(bands, BandSelection):
            return bands
        if isinstance(bands, str):
            return cls.parse(bands)
        if bands is None:
            return cls()
        numbers = np.asarray(bands)
        if numbers.ndim != 1 or not len(numbers) or numbers.dtype.kind not in "iu":
            raise UsageError(f"bands are whole numbers or a text, found {numbers.tolist()}.")
        return cls(tuple(numbers.tolist()))

    @classmethod
    def parse(cls, text: str) -> BandSelection:
        """Return the selection of a text such as ``4,6-8`` or ``vbm,cbm``, counted from 1.

        Anything else raises `UsageError`.

        Examples
        --------
        >>> BandSelection.parse("4,6-8,vbm")
        BandSelection(numbers=(3, 5, 6, 7), edges=('vbm',))
        """
        numbers: set[int] = set()
        edges: list[str] = []
        for part in (piece.strip().lower() for piece in text.split(",")):
            first, dash, last = part.partition("-")
            last = last if dash else first
            if part in ("vbm", "cbm"):
                edges.append(part)
            elif first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last):
                numbers.update(range(int(first) - 1, int(last)))
            else:
                raise UsageError(
                    "bands=… takes numbers from 1, ranges, vbm and cbm, such as 4,6-8; found "
                    f"'{part}'."
                )
        return cls(tuple(sorted(numbers)), tuple(dict.fromkeys(edges)))

    def resolve(
        self,
        calc: Calculation,
        kpoints: NDArray[np.float64],
        *,
        electrons: float | None = None,
        solver: str | Solver | Job = "auto",
        s_threshold: float | None = None,
        jobs: int | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the bands (n_bands,), from 0, and in which spin channels (n_spin, n_bands).

        Band edges are those at the k-points (n_k, 3), fractional. Where `electrons` (valence, per
        cell) are given, they decide what is occupied; otherwise the Fermi level of the data comes
        first, as in a band structure. `solver`, `s_threshold` and `jobs` as in
        `dock.post.fermi.fermi_level`.

        Raises
        ------
        MissingDataError
            When nothing says which states are occupied.
        UsageError
            For bands that there are not, or band edges of a metal.
        """
        problem = Problem.of(calc)
        numbers = [*(range(problem.size) if self == BandSelection() else self.numbers or ())]
        places = []
        if self.edges:
            run: dict[str, Any] = {"solver": solver, "s_threshold": s_threshold, "jobs": jobs}
            edges = _edges(calc, problem, kpoints, electrons=electrons, **run)
            places = [edges[name] for name in self.edges]
            numbers = sorted({*numbers, *(band for band, _ in places)})
        size = problem.size
        if min(numbers) < 0 or max(numbers) >= size or len(set(numbers)) < len(numbers):
            raise UsageError(
                f"bands are different numbers from 1 to {size} (in a list from 0 to {size - 1}), "
                f"found {[number + 1 for number in numbers]}."
            )
        wanted = np.ones((problem.n_channels, len(numbers)), dtype=bool)
        if self.edges:
            wanted[:] = np.isin(numbers, self.numbers or ())
            for band, channel in places:
                wanted[channel, numbers.index(band)] = True
        return np.array(numbers, dtype=np.int64), wanted


def _edges(
    calc: Calculation,
    problem: Problem,
    kpoints: NDArray[np.float64],
    *,
    electrons: float | None,
    solver: str | Solver | Job,
    s_threshold: float | None,
    jobs: int | None,
) -> dict[str, tuple[int, int]]:
    """Return band (from 0) and spin channel of ``vbm`` and ``cbm``."""
    count = calc.n_electrons if electrons is None else electrons
    level = calc.fermi_level if electrons is None else None
    if count is None and level is None:
        raise MissingDataError("the number of electrons", calc.source, "Pass electrons=N.")
    n_filled = None if count is None else count / problem.spin.degeneracy
    if n_filled is not None and problem.n_channels == 1:
        filled = round(n_filled)
        # Any gap lies above these bands; a semimetal has none, and they are still what is meant.
        if abs(n_filled - filled) < _WHOLE:
            return {"vbm": (filled - 1, 0), "cbm": (filled, 0)}
    want = Want(s_threshold=s_threshold)
    if level is not None and is_in_parts(problem, solver, len(kpoints), jobs):
        want = replace(want, nearest=(STATES, level))
    solved = levels(problem, kpoints, want, solver=solver, jobs=jobs)
    gap = find_gap(
        solved.energies,
        kpoints,
        n_filled=n_filled,
        fermi_level=level,
        n_below=solved.n_below,
        below=None if want.everything else solved.certificates.n_below,
    )
    if gap.vbm is None or gap.cbm is None:
        what = "are those of a metal" if gap.kind == "metal" else "do not tell filled from empty"
        raise UsageError(
            f"{calc.source}: the levels at these k-points {what}: there is no vbm and no cbm. Pass "
            "the numbers of the bands, such as bands=4."
        )
    edges = {"vbm": gap.vbm, "cbm": gap.cbm}
    return {name: (edge.band - 1, edge.spin) for name, edge in edges.items()}
