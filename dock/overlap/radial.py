"""Radial functions: interpolation, norms, and spherical Bessel transforms on a shared q-grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.basis import Basis, Radial, Shell
from dock.errors import MissingDataError, UsageError

__all__ = [
    "NORM_LIMIT",
    "NORM_NOTE",
    "Function",
    "QGrid",
    "basis_notes",
    "choose_q_grid",
    "gaussian_radial",
    "interpolate",
    "quadrature",
    "radial_of",
    "same_centre",
    "shell_norm",
    "support",
    "transform",
]

NORM_NOTE = 1e-3
"""Deviation of ∫ R² r² dr from 1 above which `basis_notes` mentions it."""

NORM_LIMIT = 0.1
"""Deviation above which the table is taken for something else than R_l(r) in Å^(−3/2)."""

_PHASE = 4.0  # largest q·h of a quadrature panel, in which eight Gauss points err by 1e-9
_POINTS = 8
_MESH_PANELS = 125  # panels that the mesh alone asks for, where the waves are longer
_Q_FIRST, _Q_LAST = 60.0, 480.0  # 1/Å: about 500 Ry and 32 000 Ry
# Part of the norm that may lie beyond the last q. Integrals between two atoms lose about a hundred
# times less, as the waves of large q cancel there; those on one atom are done in real space.
_MISSING_NORM = 2e-8
_CUT_FINER = 4  # a cut integrand does not end at zero: finer steps for the sum's error at its end
_LEAKING_NORM = 1e-6  # part of the norm beyond the cutoff that interpolation explains


@dataclass(frozen=True)
class QGrid:
    """Equidistant momenta q = 0, step, … (n − 1) step, 1/Å.

    For functions that vanish beyond r_c, sums over this grid equal the integrals exactly (but for
    the part beyond the last q) once step < π / (2 r_c): the product of two functions and of the
    Bessel function of a bond up to 2 r_c then has no aliases.

    Attributes
    ----------
    step, n
        Distance and number of the momenta.
    is_cut
        The functions are to have no waves beyond the last q, whatever their tables say; integrals
        on one atom then come from the grid as well.
    """

    step: float
    n: int
    is_cut: bool = False

    @property
    def q(self) -> NDArray[np.float64]:
        """(n,) the momenta."""
        return self.step * np.arange(self.n, dtype=np.float64)


def gaussian_radial(l: int, exponent: float, *, cutoff: float | None = None) -> Radial:
    """Return a normalised Gaussian N r^l exp(−α r²), α in 1/Å², as a table.

    It ends at the radius `cutoff`, Å; by default where the function has fallen to 1e-17.

    Examples
    --------
    >>> print(round(shell_norm(Shell(2, radial=gaussian_radial(2, 1.5))), 9))
    1.0
    """
    from math import gamma, sqrt

    end = cutoff or sqrt((39 + 3 * l) / exponent)
    r = np.linspace(0.0, end, 1501)
    norm = sqrt(2 * (2 * exponent) ** (l + 1.5) / gamma(l + 1.5))
    return Radial(r, norm * r**l * np.exp(-exponent * r * r))


def radial_of(shell: Shell, label: str) -> Radial:
    """Return the shell's radial function, or raise where the basis has none."""
    if shell.radial is None:
        raise MissingDataError(
            f"the radial function of the shell l = {shell.l} {shell.label}".rstrip(),
            f"basis of {label}",
            "Give the folder with the code's basis files (--basis).",
        )
    return shell.radial


def interpolate(
    radial: Radial, l: int, r: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Evaluate R and dR/dr at any radii.

    Between the points of the table it is a cubic spline, whose slopes at both ends are those of
    the cubic through four points; below the table r^l; 0 beyond `support`. Values and slopes are in
    Å^(−3/2) and Å^(−5/2), each of the shape of `r`.
    """
    from dock.overlap._radial_kernels import spline_slopes

    x, y = np.asarray(radial.r, np.float64), np.asarray(radial.values, np.float64)
    knots = spline_slopes(x, y, _end_slope(x[:4], y[:4]), _end_slope(x[:-5:-1], y[:-5:-1]))
    k = np.clip(np.searchsorted(x, r, side="right") - 1, 0, len(x) - 2)
    h = x[k + 1] - x[k]
    t = (r - x[k]) / h
    s = 1 - t
    rise = y[k + 1] - y[k]
    left, right = h * knots[k] - rise, rise - h * knots[k + 1]
    bend = s * left + t * right
    values = s * y[k] + t * y[k + 1] + s * t * bend
    slopes = (rise + (s - t) * bend + s * t * (right - left)) / h
    below = r < x[0]
    if below.any():
        values[below] = y[0] * (r[below] / x[0]) ** l
        slopes[below] = l * y[0] / x[0] * (r[below] / x[0]) ** max(l - 1, 0)
    outside = r > support(radial)
    values[outside], slopes[outside] = 0.0, 0.0
    return values, slopes


def support(radial: Radial) -> float:
    """Return the radius up to which the table is used, Å.

    It is the cutoff, unless the table goes on beyond it with next to nothing: OpenMX's
    interpolation crosses the cutoff inside an interval of its mesh, and a step there would have
    Fourier components without end.
    """
    r, values = np.asarray(radial.r), np.asarray(radial.values)
    density = np.where(r > radial.cutoff, (values * r) ** 2, 0.0)
    if float(np.trapezoid(density, r)) > _LEAKING_NORM:
        return min(radial.cutoff, float(r[-1]))
    last = int(np.flatnonzero(values)[-1]) if values.any() else 1
    return float(r[min(last + 1, len(r) - 1)])


def _end_slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return the slope at x[0] of the polynomial through the points."""
    if len(x) < 4:
        return float((y[1] - y[0]) / (x[1] - x[0]))
    slope, shift = 0.0, x - x[0]
    for k in range(1, 4):
        others = [n for n in range(1, 4) if n != k]
        basis = np.prod([shift[n] / (shift[n] - shift[k]) for n in others]) / shift[k]
        slope += float((y[k] - y[0]) * basis)
    return slope


def quadrature(radial: Radial, q_last: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return radii and weights that integrate the function times waves up to `q_last`, 1/Å."""
    from numpy.polynomial.legendre import leggauss

    end = support(radial)
    mesh = np.append(radial.r[radial.r < end], end)
    widest = _PHASE / q_last
    chosen = np.arange(len(mesh)) % -(-len(mesh) // _MESH_PANELS) == 0
    chosen |= np.diff(np.floor(mesh / widest), prepend=-1) > 0
    chosen[-1] = True
    edges = mesh[chosen] if mesh[0] == 0 else np.append(0.0, mesh[chosen])
    parts = np.ceil(np.diff(edges) / widest).astype(np.int64)
    width = np.repeat(np.diff(edges) / parts, parts)
    first = np.repeat(np.cumsum(parts) - parts, parts)
    start = np.repeat(edges[:-1], parts) + width * (np.arange(len(width)) - first)
    x, w = leggauss(_POINTS)
    r = start[:, None] + width[:, None] * (0.5 + 0.5 * x)
    return r.ravel(), (width[:, None] * 0.5 * w).ravel()


def shell_norm(shell: Shell) -> float:
    """Return ∫ R² r² dr of a shell with a radial function."""
    radial = radial_of(shell, "a shell")
    r, w = quadrature(radial, _Q_FIRST)
    return float(np.sum(w * (r * interpolate(radial, shell.l, r)[0]) ** 2))


class Function(NamedTuple):
    """One function on a centre: r^power R(r) Y_{order, m}; R belongs to a shell of that l.

    The power is 0, or 1 for the functions that r acting on an orbital is made of.
    """

    radial: Radial
    l: int
    order: int
    power: int


def same_centre(first: Function, second: Function, *, kinetic: bool) -> float:
    """Integrate the product of two functions of one order on one atom, in real space.

    It is ∫ r² f g dr, or ∫ (r² f' g' + l(l+1) f g) dr, which is twice the kinetic energy in units
    of ħ²/m: exact even where a cutoff leaves a kink, whose waves never end.
    """
    inner = min(first, second, key=lambda item: support(item.radial))
    r, w = quadrature(inner.radial, _Q_FIRST)
    (f, f_slope), (g, g_slope) = (interpolate(item.radial, item.l, r) for item in (first, second))
    if kinetic:
        return float(np.sum(w * (r * r * f_slope * g_slope + first.l * (first.l + 1) * f * g)))
    return float(np.sum(w * f * g * r ** (2 + first.power + second.power)))


def transform(functions: Sequence[Function], grid: QGrid) -> NDArray[np.float64]:
    """Return F(q) = ∫ r^(2+p) R(r) j_L(q r) dr of several functions, L their order, p their power.

    It is float64, (n_functions, n_q), Å^(3/2 + p).
    """
    from dock.overlap._radial_kernels import bessel_transform

    # Functions of one mesh and range share their Bessel functions.
    groups: dict[tuple[bytes, float], list[int]] = {}
    for row, function in enumerate(functions):
        key = function.radial.r.tobytes(), support(function.radial)
        groups.setdefault(key, []).append(row)
    result = np.empty((len(functions), grid.n))
    for rows in groups.values():
        r, w = quadrature(functions[rows[0]].radial, float(grid.q[-1]))
        weighted = np.empty((len(rows), len(r)))
        for place, row in enumerate(rows):
            radial, l, _, power = functions[row]
            weighted[place] = w * interpolate(radial, l, r)[0] * r ** (2 + power)
        orders = np.array([functions[row].order for row in rows], dtype=np.int64)
        part = np.empty((len(rows), grid.n))
        bessel_transform(orders, r, weighted, grid.step, part)
        result[rows] = part
    return result


def choose_q_grid(
    shells: Sequence[Shell], *, q_last: float | None = None
) -> tuple[QGrid, NDArray[np.float64]]:
    """Return a grid that keeps all but 2e-8 of every norm, or ends at 480 /Å, and what is on it.

    By Parseval's theorem ∫ R² r² dr = (2/π) ∫ q² F² dq, so that what a grid misses is known. With
    `q_last`, 1/Å, the functions' waves are cut off there instead. The Bessel transforms of the
    shells on the grid are (n_shells, n_q).
    """
    radials = [radial_of(shell, "the basis") for shell in shells]
    step = 0.45 * np.pi / max(support(radial) for radial in radials)
    functions = [Function(radial, s.l, s.l, 0) for radial, s in zip(radials, shells, strict=True)]
    if q_last is not None:  # the sum of n steps around q = 0, step … ends half a step later
        n = max(2, int(np.ceil(_CUT_FINER * q_last / step)))
        grid = QGrid(q_last / (n - 0.5), n, is_cut=True)
        return grid, transform(functions, grid)
    norms = np.array([shell_norm(shell) for shell in shells])
    last = _Q_FIRST
    while True:
        grid = QGrid(step, int(np.ceil(last / step)) + 1)
        transforms = transform(functions, grid)
        part = 2 / np.pi * step * np.sum((grid.q * transforms) ** 2, axis=1)
        if last >= _Q_LAST or bool(np.all(norms - part < _MISSING_NORM * norms)):
            return grid, transforms
        last *= 2


def basis_notes(basis: Basis) -> list[str]:
    """Check the radial functions of a basis; return a sentence for each whose norm is off.

    Off means by more than `NORM_NOTE`. Nothing is normalised: the codes use their functions as
    tabulated, and so does `dock`.

    Raises
    ------
    MissingDataError
        When a shell has no radial function.
    UsageError
        When a norm is off by more than `NORM_LIMIT`: the table is in another unit, is r·R or
        R/r^l, or was cut.
    """
    notes = []
    for label in basis.species:
        for number, shell in enumerate(basis.shells[label], 1):
            radial_of(shell, label)
            norm = shell_norm(shell)
            name = f"species {label}, shell {number} (l = {shell.l} {shell.label}".rstrip()
            if not abs(norm - 1) <= NORM_LIMIT:
                raise UsageError(
                    f"{name}): ∫R²r²dr is {norm:.6g} where 1 is expected. The table is in another "
                    "unit than Å and Å^(-3/2), holds r·R or R/r^l, or was cut. dock does not "
                    "normalise it; repair the basis file."
                )
            if abs(norm - 1) > NORM_NOTE:
                notes.append(f"{name}): ∫R²r²dr is {norm:.6f}, not 1; used as it is.")
    return notes
