"""The charge density in plane waves, in pw.x's own order, and on a real-space grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.converters.qe.charge_density_h5 import GRID_FILE, GridDensity
from dock.converters.qe.data_file_schema import PlaneWaveRun
from dock.core.arrays import FloatArray, IntArray, frozen
from dock.errors import LayoutError, MissingDataError
from dock.units import QE

__all__ = [
    "PlaneWaveDensity",
    "density_from_grid",
    "from_grid",
    "g_sphere",
    "natural_grid",
    "to_grid",
]

_TIE = 1e-8  # (2π/alat)²: pw.x keeps the order of enumeration among |G|² that differ by less


@dataclass(frozen=True, eq=False)
class PlaneWaveDensity:
    """ρ(r) = Σ_G ρ(G) exp(i G·r) of the valence electrons.

    Parameters
    ----------
    reciprocal
        (3, 3) reciprocal lattice vectors as rows, with 2π, 1/Bohr.
    miller
        (n, 3) integer coordinates of G.
    values
        (n_components, n) ρ(G), electrons/Bohr³: total; or total and magnetisation (up − down);
        or total, m_x, m_y, m_z.
    gamma_only
        Only one of G and −G is stored; ρ(−G) is the conjugate.

    Raises
    ------
    LayoutError
        When shapes disagree or numbers are not finite.
    """

    reciprocal: FloatArray
    miller: IntArray
    values: NDArray[np.complex128]
    gamma_only: bool = False

    def __post_init__(self) -> None:
        miller = frozen("miller", self.miller, np.int32, (None, 3))
        values = frozen("values", self.values, np.complex128, (None, len(miller)))
        if len(values) not in (1, 2, 4):
            raise LayoutError(f"a density has 1, 2 or 4 components, found {len(values)}.")
        reciprocal = frozen("reciprocal", self.reciprocal, np.float64, (3, 3))
        if not abs(np.linalg.det(reciprocal)) > 0:
            raise LayoutError("the reciprocal lattice vectors span no volume.")
        for name, array in (("miller", miller), ("values", values), ("reciprocal", reciprocal)):
            object.__setattr__(self, name, array)

    @property
    def volume(self) -> float:
        """Volume of the cell, Bohr³."""
        return float((2 * np.pi) ** 3 / abs(np.linalg.det(self.reciprocal)))

    @property
    def n_electrons(self) -> float:
        """ρ(G = 0) times the volume."""
        origin = np.flatnonzero(~np.any(self.miller, axis=1))
        return float(self.values[0, origin].real.sum()) * self.volume

    def grid(self, shape: ArrayLike) -> NDArray[np.float64]:
        """Return (n_components, n1, n2, n3) values on a real-space grid, electrons/Bohr³.

        Raises
        ------
        LayoutError
            When the grid is too coarse for the plane waves.
        """
        n1, n2, n3 = (int(n) for n in np.asarray(shape))
        size, least = np.array([n1, n2, n3]), _smallest_grid(self.miller)
        if np.any(least > size):
            raise LayoutError(
                f"a {n1}×{n2}×{n3} grid cannot hold the density: it needs at least "
                f"{least.tolist()}."
            )
        waves = np.zeros((len(self.values), n1, n2, n3), dtype=np.complex128)
        waves[:, *(self.miller % size).T] = self.values
        if self.gamma_only:
            other = np.any(self.miller, axis=1)
            waves[:, *(-self.miller[other] % size).T] = self.values[:, other].conj()
        return np.fft.ifftn(waves, axes=(1, 2, 3), norm="forward").real


def density_from_grid(
    grid: NDArray[Any], reciprocal: NDArray[Any], miller: NDArray[Any], *, gamma_only: bool
) -> PlaneWaveDensity:
    """Return the plane waves of a density on a real-space grid.

    The grid is (n_components, n1, n2, n3), electrons/Bohr³, the rest as in `PlaneWaveDensity`:
    `miller` are the wanted G in the wanted order, from `g_sphere`. Those that the grid does not
    resolve get zero.
    """
    shape = np.array(grid.shape[1:])
    waves = np.fft.fftn(grid, axes=(1, 2, 3), norm="forward")
    values = waves[:, *(miller % shape).T]
    values[:, np.any(2 * np.abs(miller) >= shape, axis=1)] = 0.0
    return PlaneWaveDensity(reciprocal, miller, values, gamma_only)


def g_sphere(
    reciprocal: NDArray[Any], ecutrho_hartree: float, alat_bohr: float, *, gamma_only: bool
) -> NDArray[np.int32]:
    """Return the (n, 3) Miller indices of the G vectors of a density in pw.x's order.

    pw.x reads coefficients by position and never looks at the Miller indices, so the order is what
    counts: by |G|², and among equal ones by the first, second and third index.

    Parameters
    ----------
    reciprocal
        (3, 3) reciprocal lattice vectors as rows, with 2π, 1/Bohr.
    ecutrho_hartree
        Cut-off of the density: |G|²/2 ≤ ecutrho.
    alat_bohr
        pw.x's lattice parameter, the unit in which it compares lengths.
    gamma_only
        Keep one of G and −G: the one whose first index that is not zero is positive.

    Examples
    --------
    >>> g_sphere(np.eye(3), 0.5, 6.28, gamma_only=True).tolist()
    [[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]
    """
    longest = np.sqrt(2.0 * ecutrho_hartree)
    vectors = 2 * np.pi * np.linalg.inv(reciprocal)  # lattice vectors as columns, Bohr
    reach = np.floor(longest * np.linalg.norm(vectors, axis=0) / (2 * np.pi) + 1e-9).astype(int)
    axes = [np.arange(-n, n + 1) for n in reach]
    if gamma_only:
        axes[0] = axes[0][axes[0] >= 0]
    unit = 2 * np.pi / alat_bohr
    kept, squares = [], []
    for first in axes[0]:  # one plane at a time bounds the memory
        plane = np.stack(np.meshgrid([first], axes[1], axes[2], indexing="ij"), -1).reshape(-1, 3)
        if gamma_only and first == 0:
            plane = plane[(plane[:, 1] > 0) | ((plane[:, 1] == 0) & (plane[:, 2] >= 0))]
        square = np.sum(((plane @ reciprocal) / unit) ** 2, axis=1)
        inside = square <= 2.0 * ecutrho_hartree / unit**2
        kept.append(plane[inside].astype(np.int32))
        squares.append(square[inside])
    miller, square = np.concatenate(kept), np.concatenate(squares)
    by_length = np.argsort(square, kind="stable")
    shell = np.empty(len(square), dtype=np.int64)
    shell[by_length] = np.cumsum(np.diff(square[by_length], prepend=0.0) > _TIE)
    return miller[np.argsort(shell, kind="stable")]


def natural_grid(miller: NDArray[Any]) -> tuple[int, int, int]:
    """Return a grid whose prime factors are 2, 3 and 5 that holds all the plane waves."""
    from scipy.fft import next_fast_len

    n1, n2, n3 = (next_fast_len(int(n), real=True) for n in _smallest_grid(miller))
    return n1, n2, n3


def _smallest_grid(miller: NDArray[Any]) -> NDArray[Any]:
    least: NDArray[Any] = 2 * np.abs(miller).max(axis=0, initial=0) + 1
    return least


def to_grid(density: PlaneWaveDensity, run: PlaneWaveRun | None = None) -> GridDensity:
    """Return the density on the grid of its run, or on the smallest one that holds it.

    Without a run the cut-off is that of the longest G.

    Raises
    ------
    FormatError
        When density and run have different cells.
    """
    bohr = QE.bohr_angstrom
    cell = 2 * np.pi * np.linalg.inv(density.reciprocal).T * bohr
    facts: dict[str, float | bool] = {"gamma_only": density.gamma_only}
    if run is None:
        shape = natural_grid(density.miller)
        longest = np.linalg.norm(density.miller @ density.reciprocal, axis=1).max()
        facts["ecutrho_hartree"] = 0.5 * float(longest) ** 2 * (1 + 1e-12)
        facts["alat_bohr"] = float(np.linalg.norm(cell[0])) / bohr
    else:
        run.require_cell(cell)
        cell, shape = run.structure.cell, run.fft_grid
        facts |= {"ecutrho_hartree": run.ecutrho_hartree, "alat_bohr": run.alat_bohr}
    return GridDensity(cell, density.grid(shape) / bohr**3, facts)


def from_grid(
    grid: GridDensity,
    run: PlaneWaveRun | None = None,
    *,
    ecutrho_hartree: float | None = None,
    gamma_only: bool | None = None,
) -> PlaneWaveDensity:
    """Return the plane waves of a density in the order of the pw.x run that will read them.

    Parameters
    ----------
    grid, run
        The density, and a run with the same cell and cut-off, from which both are taken.
    ecutrho_hartree
        Cut-off of the density where there is no run; default what the file says.
    gamma_only
        Whether the run uses ``K_POINTS gamma``; default what the run or the file says.

    Raises
    ------
    MissingDataError
        When the cut-off is not known.
    FormatError
        When grid and run have different cells.
    """
    bohr = QE.bohr_angstrom
    facts: dict[str, Any] = dict(grid.facts)
    cell = grid.cell
    if run is not None:
        run.require_cell(cell)
        cell = run.structure.cell
        facts |= {"ecutrho_hartree": run.ecutrho_hartree, "alat_bohr": run.alat_bohr}
        facts["gamma_only"] = run.gamma_only
    cutoff = ecutrho_hartree if ecutrho_hartree is not None else facts.get("ecutrho_hartree")
    if cutoff is None:
        raise MissingDataError(
            "the cut-off of the density",
            GRID_FILE,
            "Give ecutrho (Hartree: half of pw.x's ecutrho in Rydberg), or a run to imitate.",
        )
    half = bool(facts.get("gamma_only", False)) if gamma_only is None else gamma_only
    reciprocal = 2 * np.pi * np.linalg.inv(cell / bohr).T
    alat = float(facts.get("alat_bohr", np.linalg.norm(cell[0]) / bohr))
    miller = g_sphere(reciprocal, float(cutoff), alat, gamma_only=half)
    return density_from_grid(grid.values * bohr**3, reciprocal, miller, gamma_only=half)
