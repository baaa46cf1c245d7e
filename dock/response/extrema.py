"""Where a band has its extremum: from a mesh, by Newton's method on analytical derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.errors import ConvergenceError, MissingDataError, UsageError
from dock.io.progress import Progress
from dock.response.kdata import KData, each
from dock.response.kdotp import KdotP, level_of
from dock.response.operators import Operators
from dock.states.gap import Gap, find_gap
from dock.states.kmesh import KMesh
from dock.states.stream import levels

__all__ = ["Extremum", "MeshLevels", "band_edge", "solved_at"]

_CONVERGED = 1e-7  # of a reciprocal vector
_STEPS = 60
_CANDIDATES = 4
_FLAT = 1e-6  # of the largest second derivative: directions without dispersion
_SLACK = 1e-10  # eV by which an energy may rise in a step that counts as one downhill


@dataclass(frozen=True, eq=False)
class Extremum:
    """A k-point with its states, and the level that is extremal there.

    `channel` and `band` count from 0; `level` is the range of states that the band is one of.
    """

    data: KData
    channel: int
    band: int
    level: slice
    kdotp: KdotP

    @property
    def energy(self) -> float:
        """Energy of the band, eV."""
        return float(self.data.energies[self.band])


def solved_at(
    operators: Operators, channel: int, band: int, k: NDArray[np.float64], tolerance: float
) -> Extremum:
    """Return the states at a k-point, and the level that a band has there."""
    data = next(each(operators.channels[channel], [k], lambda data: data, jobs=1))
    level = level_of(data, band, tolerance)
    return Extremum(data, channel, band, level, KdotP.of(data, level))


class MeshLevels(NamedTuple):
    """Energies on a mesh, where the search for band edges begins, and what they say of a gap."""

    operators: Operators
    mesh: KMesh
    energies: NDArray[np.float64]
    gap: Gap

    @classmethod
    def of(cls, operators: Operators, mesh: KMesh, *, progress: Progress, **run: Any) -> MeshLevels:
        """Solve for the energies; `MissingDataError` when nothing says which are occupied."""
        calc = operators.calc
        if calc.n_electrons is None and calc.fermi_level is None:
            raise MissingDataError("the number of electrons", calc.source, "Pass electrons=N.")
        found = levels(operators.problem, mesh.points, progress=progress, **run)
        electrons = calc.n_electrons
        gap = find_gap(
            found.energies,
            mesh.points,
            n_filled=None if electrons is None else electrons / calc.spin.degeneracy,
            fermi_level=calc.fermi_level,
        )
        return cls(operators, mesh, found.energies, gap)


def band_edge(found: MeshLevels, which: str, tolerance: float) -> Extremum:
    """Return the valence band maximum (``vbm``) or the conduction band minimum (``cbm``).

    The best points of the mesh are refined until a step is below 1e-7 of a reciprocal vector, and
    the best of what they end in is taken.

    Raises
    ------
    UsageError
        For a metal.
    ConvergenceError
        When no extremum is found.
    """
    operators, mesh, gap = found.operators, found.mesh, found.gap
    source = operators.calc.source
    edge = gap.vbm if which == "vbm" else gap.cbm
    if edge is None:
        what = "a metal: its bands overlap" if gap.kind == "metal" else "not told filled from empty"
        raise UsageError(
            f"{source}: on a mesh of {mesh.describe()} it is {what}, so that there is no "
            f"{which}. Name a k-point and a band: at=(K1, K2, K3) with band=N."
        )
    band, channel = edge.band - 1, edge.spin
    sign = -1.0 if which == "vbm" else 1.0
    order = np.argsort(sign * found.energies[channel, :, band], kind="stable")[:_CANDIDATES]
    radius = float(np.max(np.linalg.norm(operators.structure.reciprocal, axis=1) / mesh.size))
    ends: list[Extremum] = []
    for number in order:
        start = solved_at(operators, channel, band, mesh.points[number], tolerance)
        end = _refined(operators, start, sign, radius, tolerance)
        if end is not None:
            ends.append(end)
    if not ends:
        raise ConvergenceError(
            f"{source}: no extremum of band {band + 1} was found from a mesh of "
            f"{mesh.describe()}. Pass a denser mesh=(N1, N2, N3)."
        )
    return min(ends, key=lambda end: sign * end.energy)


def _refined(
    operators: Operators, start: Extremum, sign: float, radius: float, tolerance: float
) -> Extremum | None:
    """Return the extremum that Newton's steps lead to, not longer than a radius (1/Å) each."""
    here, to_frac = start, np.linalg.inv(operators.structure.reciprocal)
    for _ in range(_STEPS):
        step = _step(here.kdotp, sign, radius, tolerance)
        if np.abs(step @ to_frac).max() < _CONVERGED:
            return here
        k = here.data.k_frac + step @ to_frac
        there = solved_at(operators, here.channel, here.band, k, tolerance)
        is_level = there.kdotp.size > 1 and there.kdotp.size == here.kdotp.size
        value = sign * (_mean(there) - _mean(here) if is_level else there.energy - here.energy)
        if value < _SLACK:
            here = there
        else:
            radius = 0.25 * min(radius, float(np.linalg.norm(step)))
    return None


def _mean(at: Extremum) -> float:
    return float(at.kdotp.energies.mean())


def _step(kdotp: KdotP, sign: float, radius: float, tolerance: float) -> NDArray[np.float64]:
    """Return a step towards the extremum: Newton's, downhill in every direction.

    Of several states of one energy the mean is followed, which is smooth where they are not,
    unless one of them goes down along some axis by more than the level is wide (as with Rashba's
    splitting): then that way is taken.
    """
    if kdotp.size > 1:
        away = _way_out(kdotp, sign, radius, tolerance)
        if away is not None:
            return away
    gradient, hessian = sign * kdotp.gradient, sign * kdotp.hessian
    values, axes = np.linalg.eigh(hessian)
    along = axes.T @ gradient
    moves = np.zeros(3)
    steep = np.abs(values) > _FLAT * max(1e-9, float(np.abs(values).max()))
    moves[steep] = -along[steep] / np.abs(values[steep])
    step: NDArray[np.float64] = axes @ moves
    length = float(np.linalg.norm(step))
    return step if length <= radius else step * (radius / length)


def _way_out(
    kdotp: KdotP, sign: float, radius: float, tolerance: float
) -> NDArray[np.float64] | None:
    best, gain = None, tolerance
    for axis in np.concatenate([np.eye(3), -np.eye(3)]):
        slopes, curvatures = kdotp.along(axis)
        number = int(np.argmin(sign * slopes))
        slope, curvature = sign * slopes[number], sign * curvatures[number]
        length = min(radius, -slope / curvature) if curvature > 0 else radius
        drop = -(slope * length + 0.5 * curvature * length**2)
        if slope < 0 and drop > gain:
            best, gain = axis * length, drop
    return best
