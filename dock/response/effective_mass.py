"""Effective masses: the inverse mass tensor (1/ħ²) ∂²E/∂k_a∂k_b of band edges, with the overlap.

By perturbation theory to second order, without a difference quotient; see `dock.response.kdotp`.
Masses are those of electrons in units of m_e, ħ²/m_e = 7.61996 eV Å²: positive at a minimum,
negative at a maximum, where −m is the mass of a hole. Where several bands meet there is no tensor
but one for each pair of them; reported then are the masses of the bands along three axes, in the
order of their energies just beyond the point.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.structure import Structure
from dock.errors import UsageError
from dock.io.progress import Progress, Report
from dock.response.band_set import words_of_range
from dock.response.extrema import Extremum, MeshLevels, band_edge, solved_at
from dock.response.kdata import level_ranges
from dock.response.kdotp import KdotP
from dock.response.operators import Operators
from dock.response.velocity import HBAR2_OVER_MASS
from dock.results import Result
from dock.states.job import Job
from dock.states.kmesh import KMesh, make_mesh
from dock.states.kpath import special_points
from dock.states.kpath.naming import name_of
from dock.states.solver import Solver
from dock.states.stream import levels
from dock.style import colours

__all__ = ["Masses", "edge_masses", "masses"]

_log = logging.getLogger("dock")

TOLERANCE = 1e-3
"""Energies, eV, that count as one level: codes keep symmetries to less than that."""

_NEAR = 0.03  # eV within which another level makes the parabola short
_STATIONARY = 1e-4  # eV Å: a slope below which a point is an extremum
_ISOTROPIC = 1e-3  # relative difference of masses below which axes are as good as others
_FLAT = 1e-7  # eV Å²: no dispersion
_REACH = 0.03  # 1/Å that a figure shows on both sides
_STILL = 1e-4  # eV: what moves by less is drawn as a straight line


@dataclass(frozen=True, eq=False, repr=False)
class Masses(Result):
    """Effective masses at a k-point.

    Attributes
    ----------
    structure
        What was computed.
    at
        ``vbm``, ``cbm``, or ``given``.
    name
        The k-point's name: ``Γ``, ``0.85 of Γ–X``; empty without one.
    k_frac : (3,)
        Fractional.
    bands
        The states of the level, from 0.
    channel
        Spin channel, 0 or 1.
    n_channels
        Number of spin channels.
    kdotp
        The effective Hamiltonian.
    axes : (3, 3)
        Principal axes of the (mean) tensor as rows, Cartesian; x, y, z where it has none.
    directions : (n, 3)
        Unit vectors that were asked for besides.
    masses : (d, 3)
        m_e, along each axis for each band of the level; infinite without dispersion.
    along : (n, d)
        m_e, along each direction.
    slopes : (d, 3)
        eV Å, along each axis: zero at an extremum.
    tolerance
        eV that count as one level.
    lines
        Energies along the axes for a figure, (3, n_points, d) eV, or None.
    """

    FILE = "masses.h5"
    FIGURE = (5.0, 3.6)
    BRIEF = True
    CONVENTIONS = (
        ("mass", "hbar^2 / (d2E/dk2), m_e: negative at a maximum; rows: bands, columns: mass_axes"),
    )

    structure: Structure
    at: str
    name: str
    k_frac: NDArray[np.float64]
    bands: slice
    channel: int
    n_channels: int
    kdotp: KdotP
    axes: NDArray[np.float64]
    directions: NDArray[np.float64]
    masses: NDArray[np.float64]
    along: NDArray[np.float64]
    slopes: NDArray[np.float64]
    tolerance: float
    lines: NDArray[np.float64] | None = None

    @property
    def is_single(self) -> bool:
        """Whether the level has one state, and so a mass tensor."""
        return self.kdotp.size == 1

    @property
    def inverse(self) -> NDArray[np.float64]:
        """(3, 3) inverse mass tensor, 1/m_e; the mean over the level where there are several."""
        return self.kdotp.hessian / HBAR2_OVER_MASS

    def facts(self) -> dict[str, Any]:
        """Return the point and its level by key; see `dock.results.KEYS`."""
        return {
            "formula": self.structure.formula,
            "at": self.at,
            "k_name": self.name,
            "k_frac": [float(x) for x in self.k_frac],
            "energy_eV": float(self.kdotp.energies[-1 if self.at == "vbm" else 0]),
            "first_band": self.bands.start + 1,
            "n_bands": self.kdotp.size,
            "spin_channel": self.channel,
        }

    def arrays(self) -> dict[str, Any]:
        """Return masses, axes, tensor and the effective Hamiltonian's real and imaginary parts."""
        first, second = self.kdotp.first, self.kdotp.second
        asked = {
            "directions": self.directions,
            "direction_masses_me": self.along,
        }
        return {
            "masses_me": self.masses,
            "mass_axes": self.axes,
            "inverse_masses_per_me": self.inverse,
            "slopes_eV_ang": self.slopes,
            **(asked if len(self.directions) else {}),
            "kdotp_first_eV_ang": np.stack([first.real, first.imag]),
            "kdotp_second_eV_ang2": np.stack([second.real, second.imag]),
        }

    def rows(self) -> list[tuple[str, str]]:
        """Return point, level and masses in words."""
        at = ", ".join(f"{x:.6f}" for x in self.k_frac.round(6) + 0.0)
        name = f"{self.name}, " if self.name else ""
        what = {"vbm": "valence band maximum", "cbm": "conduction band minimum"}.get(self.at, "k")
        spin = ("up", "down")[self.channel] if self.n_channels == 2 else ""
        states = f"bands {words_of_range(self.bands)} {spin}".strip()
        if self.is_single:
            states = states.replace("bands", "band")
        rows = [
            (what, f"{name}k = ({at})"),
            ("level", f"{self.facts()['energy_eV']:.6f} eV, {states}"),
        ]
        for number, axis in enumerate(self.axes):
            values = "  ".join(_mass(m) for m in self.masses[:, number])
            rows.append((f"along {_axis(axis)}", f"{values} m_e"))
        for axis, values in zip(self.directions, self.along, strict=True):
            rows.append((f"along {_axis(axis)}", f"{'  '.join(map(_mass, values))} m_e"))
        steepest = float(np.abs(self.slopes).max())
        if steepest > _STATIONARY:
            what = "the point is no extremum" if self.is_single else "bands cross there"
            rows.append(("slopes", f"up to {steepest:.6f} eV Å: {what}"))
        return rows

    @property
    def n_panels(self) -> int:
        """One for each axis."""
        return 3

    def draw(self, axes: Any) -> None:
        """Draw the bands of the level about the point along each axis, and computed energies.

        `UsageError` without those: ask for them with ``lines=N``.
        """
        if self.lines is None:
            raise UsageError("a figure needs energies along the axes: pass lines=21.")
        q, fine = (
            np.linspace(-_REACH, _REACH, self.lines.shape[1]),
            np.linspace(-_REACH, _REACH, 121),
        )
        zero = self.facts()["energy_eV"]
        for panel, axis, computed in zip(self.panels(axes), self.axes, self.lines, strict=True):
            parabolas = self.kdotp.at(fine[:, None] * axis) - zero
            lines = panel.plot(fine, parabolas, "-", color=colours()[0], lw=1)
            dots = panel.plot(q, computed - zero, "o", color=colours()[1], ms=3)
            panel.set_xlabel(f"q along {_axis(axis)} (1/Å)")
            panel.set_ylabel("energy (eV)")
            if np.ptp(computed) < _STILL:
                panel.set_ylim(-_STILL, _STILL)
            panel.set_title(f"{self.structure.formula}  {self.name}", fontsize="medium")
            words = ["masses" if self.is_single else "k·p", "computed"]
            panel.legend([lines[0], dots[0]], words, frameon=False, fontsize="small")


def _mass(value: float) -> str:
    return f"{value:.6f}" if np.isfinite(value) and abs(value) < 1e4 else "flat"


def _axis(vector: NDArray[np.float64]) -> str:
    for number, letter in enumerate("xyz"):
        if abs(vector[number]) > 1 - 1e-6:
            return letter
    return "(" + ", ".join(f"{x:.4f}" for x in vector) + ")"


def masses(
    calc: Calculation,
    at: str | Sequence[float] = "cbm",
    *,
    band: int | None = None,
    channel: int = 0,
    mesh: KMesh | Sequence[int] | None = None,
    directions: Sequence[Sequence[float]] = (),
    tolerance: float = TOLERANCE,
    lines: int = 0,
    solver: str | Solver | Job = "auto",
    jobs: int | None = None,
    progress: Report = None,
) -> Masses:
    """Compute the effective masses at a band edge, which is found, or at a k-point that is given.

    Parameters
    ----------
    at
        ``vbm``, ``cbm``, or a k-point, fractional, which is taken as it is.
    band
        Number of the band, from 1, at a k-point that is given.
    channel
        Its spin channel, 0 or 1.
    mesh
        Where the search for an edge begins; default points 0.2/Å apart.
    directions
        More directions (Cartesian) to give masses along.
    tolerance
        Energies within so many eV count as one level.
    lines
        Compute energies at so many points along each axis, for a figure.
    solver, jobs, progress
        See `dock.states.stream.states`.

    Raises
    ------
    UsageError
        Without a gap where an edge is asked for, or a band at a k-point.
    MissingDataError
        When nothing says which states are occupied.
    ConvergenceError
        When no extremum is found.

    Examples
    --------
    >>> import dock
    >>> result = masses(dock.read("fixtures/openmx/si"), "cbm", mesh=(4, 4, 4))
    >>> result.name[-6:], bool(result.masses.max() > 0.8)
    ('of Γ–X', True)
    """
    settings: dict[str, Any] = {"mesh": mesh, "directions": directions, "tolerance": tolerance}
    if isinstance(at, str):
        if band is not None:
            raise UsageError("a band belongs to a k-point: leave it out for vbm and cbm.")
        run: dict[str, Any] = {"solver": solver, "jobs": jobs, "progress": progress}
        return edge_masses(calc, [at], lines=lines, **settings, **run)[0]
    operators = Operators.of(calc)
    found = _given(operators, at, band, channel, tolerance)
    return _masses(operators, found, "given", make_mesh(calc, mesh), directions, tolerance, lines)


def edge_masses(
    calc: Calculation,
    edges: Sequence[str] = ("vbm", "cbm"),
    *,
    mesh: KMesh | Sequence[int] | None = None,
    directions: Sequence[Sequence[float]] = (),
    tolerance: float = TOLERANCE,
    lines: int = 0,
    solver: str | Solver | Job = "auto",
    jobs: int | None = None,
    progress: Report = None,
) -> list[Masses]:
    """Compute the effective masses at band edges, from energies on one mesh; see `masses`."""
    for edge in edges:
        if edge not in ("vbm", "cbm"):
            raise UsageError(f"masses are those at 'vbm', 'cbm' or a k-point, found '{edge}'.")
    operators = Operators.of(calc)
    points = make_mesh(calc, mesh)
    run: dict[str, Any] = {"solver": solver, "jobs": jobs, "progress": Progress.of(progress)}
    on_mesh = MeshLevels.of(operators, points, **run)
    made = []
    for edge in edges:
        found = band_edge(on_mesh, edge, tolerance)
        made.append(_masses(operators, found, edge, points, directions, tolerance, lines))
    return made


def _given(
    operators: Operators, at: Sequence[float], band: int | None, channel: int, tolerance: float
) -> Extremum:
    k = np.asarray(at, dtype=np.float64)
    if k.shape != (3,) or not np.isfinite(k).all():
        raise UsageError(f"a k-point is three finite numbers, found {list(at)}.")
    size = operators.problem.size
    if band is None or not 1 <= band <= size:
        raise UsageError(
            f"masses at a k-point are those of one band: pass band=N, from 1 to {size}."
        )
    if not 0 <= channel < operators.n_channels:
        raise UsageError(f"there is no spin channel {channel} of {operators.n_channels}.")
    return solved_at(operators, channel, band - 1, k, tolerance)


def _warn_of_neighbours(calc: Calculation, found: Extremum, tolerance: float) -> None:
    energies, level = found.data.energies, found.level
    gaps = [
        abs(float(energies[a] - energies[b]))
        for a, b in ((level.start - 1, level.start), (level.stop, level.stop - 1))
        if 0 <= a < len(energies)
    ]
    if gaps and min(gaps) < _NEAR:
        _log.warning(
            "%s: another level is %.4f eV away: the masses hold for energies well below that. If "
            "a symmetry makes them one, pass tolerance=%.2g.",
            calc.source,
            min(gaps),
            max(2 * min(gaps), tolerance),
        )


def _masses(
    operators: Operators,
    found: Extremum,
    where: str,
    mesh: KMesh,
    directions: Sequence[Sequence[float]],
    tolerance: float,
    lines: int,
) -> Masses:
    _warn_of_neighbours(operators.calc, found, tolerance)
    kdotp = found.kdotp
    axes = principal_axes(kdotp.hessian)
    rows = [kdotp.along(axis, tolerance) for axis in axes]
    unit = np.array([_unit(direction) for direction in directions]).reshape(-1, 3)
    return Masses(
        operators.structure,
        where,
        _name(operators, found.data.k_frac, mesh),
        found.data.k_frac,
        found.level,
        found.channel,
        operators.n_channels,
        kdotp,
        axes,
        unit,
        np.stack([_of(curvatures) for _, curvatures in rows], axis=1),
        np.array([_of(kdotp.along(u, tolerance)[1]) for u in unit]).reshape(len(unit), kdotp.size),
        np.stack([slopes for slopes, _ in rows], axis=1),
        tolerance,
        _lines(operators, found, axes, lines) if lines else None,
    )


def _of(curvatures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return masses of second derivatives; infinite for those that are none."""
    out = np.full(len(curvatures), np.inf)
    curved = np.abs(curvatures) > _FLAT
    out[curved] = HBAR2_OVER_MASS / curvatures[curved]
    return out


def _unit(direction: Sequence[float]) -> NDArray[np.float64]:
    vector = np.asarray(direction, dtype=np.float64)
    length = float(np.linalg.norm(vector)) if vector.shape == (3,) else 0.0
    if not 0 < length < np.inf:
        raise UsageError(
            f"a direction is three numbers that are not all zero, found {list(direction)}."
        )
    unit: NDArray[np.float64] = vector / length
    return unit


def principal_axes(tensor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the eigenvectors of a symmetric tensor as rows, the flattest first.

    Among directions of (nearly) one eigenvalue those nearest to x, y and z are chosen.

    Examples
    --------
    >>> principal_axes(np.eye(3)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    values, vectors = np.linalg.eigh(tensor)
    axes = np.empty((3, 3))
    for same in level_ranges(values, max(1e-12, _ISOTROPIC * float(np.abs(values).max()))):
        space = vectors[:, same]
        nearest = np.argsort(-np.linalg.norm(space, axis=1), kind="stable")[: space.shape[1]]
        chosen = (space @ space.T)[:, np.sort(nearest)]
        q, r = np.linalg.qr(chosen)
        axes[same] = (q * np.where(np.diag(r) < 0, -1.0, 1.0)).T
    steepness = np.round(np.abs(values) / max(1e-12, float(np.abs(values).max())), 3)
    return axes[np.argsort(steepness, kind="stable")] + 0.0


def _name(operators: Operators, k: NDArray[np.float64], mesh: KMesh) -> str:
    calc = operators.calc
    structure = operators.structure
    known = special_points(
        structure.cell,
        structure.fractional,
        structure.numbers,
        periodic_axes=_axes(calc),
    )
    operations = () if mesh.symmetry is None else [o.on_k for o in mesh.symmetry.operations]
    return name_of(k, known, operations)


def _axes(calc: Calculation) -> list[int]:
    """Return the axes with dispersion, as a path has them."""
    reaches = calc.require("overlap").pairs.periodic_axes
    return [axis for axis in range(3) if reaches[axis] and calc.structure.pbc[axis]]


def _lines(
    operators: Operators, found: Extremum, axes: NDArray[np.float64], n: int
) -> NDArray[np.float64]:
    """Return energies of the level's bands along the axes, (3, n, d)."""
    q = np.linspace(-_REACH, _REACH, n)[:, None, None] * axes
    shifts = q.transpose(1, 0, 2).reshape(-1, 3) @ np.linalg.inv(operators.structure.reciprocal)
    problem = operators.channels[found.channel].problem
    energies = levels(problem, found.data.k_frac + shifts).energies[0]
    chosen: NDArray[np.float64] = energies[:, found.level].reshape(3, n, -1)
    return chosen
