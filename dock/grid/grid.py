"""Grids in real space, and the radial functions that functions on them are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.basis import Basis, Shell
from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.structure import AnyStructure, Structure
from dock.errors import MissingDataError, UsageError

__all__ = [
    "Grid",
    "OrbitalTables",
    "make_grid",
    "orbital_tables",
    "read_with_radials",
    "require_radials",
    "with_radials",
]

DEFAULT_SPACING = 0.1
"""Distance of grid points along each lattice vector in Å where none is given."""

_TABLE_POINTS = 2001
_LARGEST_L = 6
_MOST_POINTS = 2**31


@dataclass(frozen=True)
class Grid:
    """The points n_1 a_1/N_1 + n_2 a_2/N_2 + n_3 a_3/N_3 of a cell, the origin of which is 0.

    The structure has the cell and its atoms, `shape` is N_1, N_2, N_3.
    """

    structure: Structure
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        given = np.asarray(self.shape)
        if given.shape != (3,) or given.dtype.kind not in "iu" or given.min() < 1:
            raise UsageError(
                f"a grid has three positive numbers of points, found {given.tolist()}."
            )
        if np.prod(given.astype(np.float64)) > _MOST_POINTS:
            raise UsageError(
                f"a grid of {' × '.join(str(n) for n in self.shape)} points is too large. Pass a "
                "wider spacing=X."
            )

    @property
    def n_points(self) -> int:
        """Number of points."""
        return int(np.prod(self.shape))

    @property
    def volume_element(self) -> float:
        """Volume per point, Å³."""
        return self.structure.volume / self.n_points

    @cached_property
    def steps(self) -> NDArray[np.float64]:
        """(3, 3) vectors from one point to the next along each axis, rows, Å."""
        steps: NDArray[np.float64] = self.structure.cell / np.array(self.shape)[:, None]
        return steps


def make_grid(
    structure: AnyStructure, shape: Sequence[int] | None = None, *, spacing: float | None = None
) -> Grid:
    """Return the grid of a cell with a shape, or with points `spacing` apart (Å; default 0.1).

    The spacing is the largest distance of points along each lattice vector. Raises `UsageError` for
    numbers that are not positive, or both given.

    Examples
    --------
    >>> make_grid(Structure(np.diag([1.0, 2, 3.05]), [[0, 0, 0]], [1])).shape
    (10, 20, 31)
    """
    structure = Structure.of(structure)
    if shape is not None and spacing is not None:
        raise UsageError("give the numbers of grid points or their spacing, not both.")
    if shape is None:
        step = DEFAULT_SPACING if spacing is None else spacing
        if not 0 < step < np.inf:
            raise UsageError(f"the spacing of grid points must be positive (Å), found {step}.")
        lengths = np.linalg.norm(structure.cell, axis=1)
        shape = [max(1, int(np.ceil(length / step - 1e-9))) for length in lengths]
    given = np.asarray(shape)
    if given.shape != (3,):
        raise UsageError(f"a grid has three numbers of points, found {given.tolist()}.")
    a, b, c = given.tolist()
    return Grid(structure, (a, b, c))


class OrbitalTables(NamedTuple):
    """Radial functions on even meshes, as the compiled loops take them.

    Attributes
    ----------
    values : (n_shells, n_points)
        R(r)/r^l of every shell of every species on r = n·step, Å^(−3/2 − l): multiplied by solid
        harmonics it gives the orbital without a division.
    steps, reach : (n_shells,)
        Mesh step and radius beyond which the shell is 0, Å.
    l : (n_shells,)
        Angular momentum.
    first : (n_species + 1,)
        First shell of each species, in the order of ``basis.species``.
    species_reach : (n_species,)
        Largest radius of each species, Å.
    """

    values: NDArray[np.float64]
    steps: NDArray[np.float64]
    reach: NDArray[np.float64]
    l: NDArray[np.int64]
    first: NDArray[np.int64]
    species_reach: NDArray[np.float64]


def orbital_tables(basis: Basis) -> OrbitalTables:
    """Tabulate the radial functions of a basis.

    Raises `MissingDataError` where a shell has none, `UsageError` for l beyond 6.
    """
    from dock.overlap.radial import interpolate, radial_of, support

    require_radials(basis)
    values, steps, reach, ls = [], [], [], []
    for label in basis.species:
        for shell in basis.shells[label]:
            if shell.l > _LARGEST_L:
                raise UsageError(f"orbitals on a grid go to l = {_LARGEST_L}, found l = {shell.l}.")
            radial = radial_of(shell, label)
            end = support(radial)
            r = np.linspace(0.0, end, _TABLE_POINTS)
            values.append(_over_power(r, interpolate(radial, shell.l, r)[0], shell.l))
            steps.append(r[1])
            reach.append(end)
            ls.append(shell.l)
    first = np.cumsum([0, *(len(basis.shells[label]) for label in basis.species)])
    largest = np.maximum.reduceat(reach, first[:-1])
    return OrbitalTables(
        np.array(values), np.array(steps), np.array(reach), np.array(ls), first, largest
    )


def _over_power(r: NDArray[np.float64], values: NDArray[np.float64], l: int) -> NDArray[np.float64]:
    """Return R/r^l, continued to the origin as an even function of r."""
    if l == 0:
        return values
    inner = 4  # points near the origin where the quotient loses digits
    result = np.zeros_like(values)
    result[inner:] = values[inner:] / r[inner:] ** l
    x = r[inner : inner + 3] ** 2
    coefficients = np.polynomial.polynomial.polyfit(x, result[inner : inner + 3], 2)
    result[:inner] = np.polynomial.polynomial.polyval(r[:inner] ** 2, coefficients)
    return result


def require_radials(basis: Basis, source: str = "the basis") -> None:
    """Raise `MissingDataError` where a species of a basis lacks radial functions."""
    for label in _without_radials(basis):
        raise MissingDataError(
            f"the table of radial functions of {label}",
            source,
            "A grid needs them: pass basis=DIR, the folder with the code's basis files.",
        )


def _without_radials(basis: Basis) -> list[str]:
    """Return the species that lack a radial function."""
    shells = basis.shells
    return [s for s in basis.species if any(shell.radial is None for shell in shells[s])]


def read_with_radials(
    path: str | Path,
    source: str | None = None,
    *,
    basis: str | Path | None = None,
    strings: Mapping[str, str] | None = None,
) -> Calculation:
    """Read a calculation and, where `basis` is given, the radial functions of its orbitals.

    A run and its format are given as in `dock.read`, the folder with the basis files and their
    names as in `with_radials`, which says what is raised.
    """
    from dock.converters import read

    if basis is None:
        return read(path, source)
    calc = read(path, source, basis=basis)
    if strings or _without_radials(calc.basis):
        return with_radials(calc, basis, strings=strings or None)
    return calc


def with_radials(
    calc: Calculation,
    folder: str | Path,
    *,
    code: str = "auto",
    strings: Mapping[str, str] | None = None,
) -> Calculation:
    """Return the calculation with radial functions from a code's basis files.

    Parameters
    ----------
    folder
        Basis files: ``.ion`` (SIESTA), ``.pao`` (OpenMX), ``.orb`` (ABACUS), CP2K's files of basis
        sets, ``species_*.h5`` and ``El.h5`` (DeepH).
    code
        Which of them, where there are several kinds.
    strings
        For OpenMX the basis of each species, ``{"C": "C6.0-s2p2d1"}``, for CP2K the name of its
        basis set; default those of the run that the calculation came from.

    Raises
    ------
    MissingDataError
        When the folder has no such files.
    LayoutError
        When the files have other shells than the matrices.
    """
    from dock.converters.basis_files import basis_for, read_basis_folder, require_same_shells
    from dock.converters.two_centre import own_strings

    strings = strings or own_strings(calc)
    given = basis_for(calc.structure, read_basis_folder(folder, code, strings=strings))
    require_same_shells(given, calc.basis, folder)
    shells = {
        label: tuple(
            Shell(old.l, old.label, new.radial)
            for old, new in zip(calc.basis.shells[label], given.shells[label], strict=True)
        )
        for label in calc.basis.species
    }
    basis = Basis(shells, calc.basis.labels)

    def renewed(name: str) -> Callable[[], AOMatrix]:
        return lambda: replace(calc.require(name), basis=basis)

    return replace(calc, basis=basis, matrices={name: renewed(name) for name in calc.available})
