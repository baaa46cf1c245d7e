"""What an OpenMX scfout file holds, as checked objects in memory: the header, and the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dock.errors import LayoutError
from dock.io.refusal import Refusal

__all__ = [
    "MAX_ORDER",
    "OPENMX_FILES",
    "SOLVERS",
    "SPIN_SWITCHES",
    "Scfout",
    "ScfoutHeader",
    "box_cells",
    "check_pair_ranges",
    "section_counts",
]

OPENMX_FILES = Refusal("OpenMX")
SPIN_SWITCHES = (0, 1, 3)
SOLVERS: Mapping[int, str] = MappingProxyType(
    {2: "Cluster", 3: "Band", 4: "NEGF", 5: "DC", 6: "GDC", 8: "Krylov"}
)
MAX_SOLVER = 32
MAX_ORDER = 64
MAX_CELL = 10_000

IntArray = NDArray[np.int32]
FloatArray = NDArray[np.float64]
Array = TypeVar("Array", bound=NDArray[Any])


def section_counts(version: int, spin_switch: int, order_max: int = 1) -> dict[str, int]:
    """Return the matrix sections of a file in file order, with the number of matrices in each.

    ``position`` runs x, y, z (outer) and order (inner).

    Parameters
    ----------
    version
        3 (OpenMX 3.9) or 0 (3.8 and older).
    spin_switch
        0 non-spin, 1 collinear, 3 non-collinear.
    order_max
        Highest power of the position operator; 1 in version 0.

    Examples
    --------
    >>> section_counts(3, 0)
    {'hamiltonian': 1, 'overlap': 1, 'position': 3, 'momentum': 3, 'density': 1, 'density_imag': 2}
    >>> sum(section_counts(0, 3).values())
    15
    """
    counts = {
        "hamiltonian": spin_switch + 1,
        "hamiltonian_imag": 3 if spin_switch == 3 else 0,
        "overlap": 1,
        "position": 3 * order_max,
        "momentum": 3 if version == 3 else 0,
        "density": spin_switch + 1,
        "density_imag": 2 if version == 3 else 0,
    }
    return {name: count for name, count in counts.items() if count}


def box_cells(half_width: int) -> IntArray:
    """List the lattice translations of a box, int32 ((2n+1)³, 3), in the order of OpenMX.

    The zero translation stands first; the others follow with the third index running fastest.
    `half_width` is n, the largest index along each axis.

    Examples
    --------
    >>> box_cells(1)[:4].tolist()
    [[0, 0, 0], [-1, -1, -1], [-1, -1, 0], [-1, -1, 1]]
    """
    side = 2 * half_width + 1
    cells = np.indices((side, side, side), dtype=np.int32).reshape(3, -1).T - np.int32(half_width)
    home = len(cells) // 2
    return np.concatenate([cells[home : home + 1], np.delete(cells, home, axis=0)])


@dataclass(frozen=True, eq=False, kw_only=True)
class ScfoutHeader:
    """Everything of an scfout file but its matrices, in Hartree and Bohr.

    Attributes
    ----------
    version, spin_switch
        As in `section_counts`.
    n_orbitals
        int32 (N,): orbitals of each atom.
    cells
        int32 (C, 3): the table of lattice translations; entry 0 is the home cell.
    pair_i, pair_j, pair_cell
        int32 (P,): first atom, second atom (both 0-based) and index into `cells` of each pair, in
        file order: by first atom, and each atom's first pair is the atom itself at home.
    cell
        float64 (3, 3): lattice vectors as rows, Bohr.
    positions
        float64 (N, 3): Bohr, unwrapped, as the user typed them; `pair_R` refers to these.
    chemical_potential
        Hartree; any value inside the gap of an insulator.
    temperature
        Electronic temperature, Kelvin.
    core_dipole, background_dipole
        float64 (3,): Debye.
    n_electrons
        Valence electrons.
    total_spin
        S as stored; the moment in μB is 2 S.
    solver
        Code of the eigenvalue solver: 2 Cluster, 3 Band, ...
    order_max
        Highest power of the position operator stored.
    regions
        Atoms of the centre, left and right region; 0, 0, 0 but for transport runs.
    input_text
        The embedded input file.

    Raises
    ------
    LayoutError
        When the tables contradict each other.
    """

    version: int = 3
    spin_switch: int
    n_orbitals: IntArray
    cells: IntArray
    pair_i: IntArray
    pair_j: IntArray
    pair_cell: IntArray
    cell: FloatArray
    positions: FloatArray
    chemical_potential: float
    temperature: float
    n_electrons: float
    core_dipole: FloatArray = field(default_factory=lambda: np.zeros(3))
    background_dipole: FloatArray = field(default_factory=lambda: np.zeros(3))
    total_spin: float = 0.0
    solver: int = 3
    order_max: int = 1
    regions: tuple[int, int, int] = (0, 0, 0)
    input_text: str = ""

    def __post_init__(self) -> None:
        for name in ("n_orbitals", "cells", "pair_i", "pair_j", "pair_cell"):
            _freeze(self, name, np.int32)
        for name in ("cell", "positions", "core_dipole", "background_dipole"):
            _freeze(self, name, np.float64)
        _check_scalars(self)
        _check_shapes(self)
        check_pair_ranges(self.n_orbitals, len(self.cells), self.pair_j, self.pair_cell)
        _check_home_pairs(self)
        _check_partners(self)

    @property
    def n_atoms(self) -> int:
        """Number of atoms N."""
        return len(self.n_orbitals)

    @property
    def n_pairs(self) -> int:
        """Number of pairs P."""
        return len(self.pair_i)

    @cached_property
    def pair_R(self) -> IntArray:
        """int32 (P, 3): lattice translation of the second atom of each pair."""
        return _readonly(self.cells[self.pair_cell])

    @cached_property
    def pair_offsets(self) -> NDArray[np.int64]:
        """int64 (P + 1,): where the row-major block of each pair starts in a matrix."""
        sizes = self.n_orbitals.astype(np.int64)
        blocks = sizes[self.pair_i] * sizes[self.pair_j]
        return _readonly(np.concatenate([[0], np.cumsum(blocks)]))

    @property
    def n_entries(self) -> int:
        """Number of entries M of one pair matrix."""
        return int(self.pair_offsets[-1])

    @property
    def solver_name(self) -> str:
        """Name of the eigenvalue solver; ``"code n"`` where the code is not a documented one."""
        return SOLVERS.get(self.solver, f"code {self.solver}")

    @property
    def sections(self) -> dict[str, int]:
        """The matrix sections that belong to this version and spin, see `section_counts`."""
        return section_counts(self.version, self.spin_switch, self.order_max)


@dataclass(frozen=True, eq=False, kw_only=True)
class Scfout(ScfoutHeader):
    """A whole scfout file in memory: the header and the matrices.

    Attributes
    ----------
    matrices
        Section name (see `section_counts`) to float64 (number of matrices, M): for each pair in
        order its row-major block. Hartree for ``hamiltonian``, Bohr for ``position``. A section
        that the source does not have is absent; ``hamiltonian`` and ``overlap`` are required.

    Raises
    ------
    LayoutError
        When a matrix has not the shape that the header implies, or is not finite.
    """

    matrices: Mapping[str, FloatArray]

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = section_counts(3, self.spin_switch, self.order_max)
        required = ["hamiltonian", "overlap"] + ["hamiltonian_imag"] * (self.spin_switch == 3)
        missing = [name for name in required if name not in self.matrices]
        if missing:
            raise LayoutError(f"matrix sections are missing: {', '.join(missing)}")
        frozen: dict[str, FloatArray] = {}
        for name, values in self.matrices.items():
            if name not in counts:
                raise LayoutError(f"unknown matrix section {name!r}: expected {', '.join(counts)}")
            frozen[name] = self._matrix(name, values, counts[name])
        object.__setattr__(self, "matrices", MappingProxyType(frozen))

    def _matrix(self, name: str, values: FloatArray, count: int) -> FloatArray:
        """Return one section as a checked read-only array."""
        array = np.ascontiguousarray(values, dtype=np.float64)
        _check_array(f"section {name}", array, (count, self.n_entries))
        return _readonly(array)


def check_pair_ranges(
    n_orbitals: IntArray, n_cells: int, pair_j: IntArray, pair_cell: IntArray
) -> None:
    """Check the orbital counts, and that neighbours and cells exist; name the first wrong one."""
    n_atoms = len(n_orbitals)
    if n_orbitals.min(initial=1) < 1:
        atom = int(np.argmax(n_orbitals < 1))
        raise LayoutError(f"atom {atom + 1} has {n_orbitals[atom]} orbitals: expected 1 or more")
    wrong = (pair_j < 0) | (pair_j >= n_atoms)
    if wrong.any():
        number = int(pair_j[np.argmax(wrong)]) + 1
        raise LayoutError(f"a neighbour has atom number {number}: expected 1 to {n_atoms}")
    wrong = (pair_cell < 0) | (pair_cell >= n_cells)
    if wrong.any():
        number = int(pair_cell[np.argmax(wrong)])
        raise LayoutError(f"a neighbour lies in cell number {number}: expected 0 to {n_cells - 1}")


def _readonly(array: Array) -> Array:
    """Return a read-only view; the owner of the data keeps its own flags."""
    view = array.view()
    view.flags.writeable = False
    return view


def _freeze(header: ScfoutHeader, name: str, dtype: type) -> None:
    """Replace the field by a read-only array of `dtype`."""
    array: NDArray[Any] = np.ascontiguousarray(getattr(header, name), dtype=dtype)
    object.__setattr__(header, name, _readonly(array))


def _check_scalars(header: ScfoutHeader) -> None:
    """Check the version, the switches and the numbers at the file's end."""
    if header.version not in (0, 3):
        raise LayoutError(f"scfout version {header.version} is unknown: expected 3 or 0")
    if header.spin_switch not in SPIN_SWITCHES:
        raise LayoutError(f"spin switch {header.spin_switch} is unknown: expected 0, 1 or 3")
    limit = 1 if header.version == 0 else MAX_ORDER
    if not 1 <= header.order_max <= limit:
        raise LayoutError(
            f"the position operator has highest order {header.order_max}: expected 1 to {limit}"
        )
    if not 1 <= header.solver <= MAX_SOLVER:
        raise LayoutError(f"the solver code is {header.solver}: expected 1 to {MAX_SOLVER}")
    for name in ("chemical_potential", "temperature", "n_electrons", "total_spin"):
        if not np.isfinite(getattr(header, name)):
            raise LayoutError(f"{name} is {getattr(header, name)}: expected a finite number")
    if header.temperature < 0 or header.n_electrons < 0:
        raise LayoutError(
            f"temperature {header.temperature} K and {header.n_electrons} electrons: "
            "expected neither to be negative"
        )


def _check_shapes(header: ScfoutHeader) -> None:
    """Check array shapes, finite vectors, a cell with a volume and the range of the cell table."""
    n_atoms, n_pairs = len(header.n_orbitals), len(header.pair_i)
    expected: dict[str, tuple[int, ...]] = {
        "n_orbitals": (n_atoms,), "cells": (len(header.cells), 3), "pair_i": (n_pairs,),
        "pair_j": (n_pairs,), "pair_cell": (n_pairs,), "cell": (3, 3), "positions": (n_atoms, 3),
        "core_dipole": (3,), "background_dipole": (3,),
    }  # fmt: skip
    for name, shape in expected.items():
        _check_array(name, getattr(header, name), shape)
    if not n_atoms:
        raise LayoutError("there are no atoms: expected 1 or more")
    if abs(np.linalg.det(header.cell)) < 1e-12:
        raise LayoutError("the lattice vectors span no volume: expected three independent ones")
    if not len(header.cells) or header.cells[0].any():
        raise LayoutError("the first entry of the cell table is not the zero translation")
    if header.cells.min() < -MAX_CELL or header.cells.max() > MAX_CELL:
        raise LayoutError(f"the cell table reaches beyond ±{MAX_CELL} cells")


def _check_array(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Check the shape of an array, and that its numbers are finite."""
    if array.shape != shape:
        raise LayoutError(f"{name} has shape {array.shape}: expected {shape}")
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise LayoutError(f"{name} holds {bad} values that are not finite")


def _check_home_pairs(header: ScfoutHeader) -> None:
    """Check that pairs are ordered by atom and each atom starts with itself in the home cell."""
    n_atoms = header.n_atoms
    if len(header.pair_i) and (
        (np.diff(header.pair_i) < 0).any() or header.pair_i[0] < 0 or header.pair_i[-1] >= n_atoms
    ):
        raise LayoutError(f"the pairs are not ordered by first atom 1 to {n_atoms}")
    first = np.searchsorted(header.pair_i, np.arange(n_atoms))
    lonely = np.bincount(header.pair_i, minlength=n_atoms) == 0
    if lonely.any():
        raise LayoutError(f"atom {int(np.argmax(lonely)) + 1} has no pair, not even with itself")
    wrong = (header.pair_j[first] != np.arange(n_atoms)) | header.pair_R[first].any(axis=1)
    if wrong.any():
        atom = int(np.argmax(wrong))
        raise LayoutError(
            f"the first neighbour of atom {atom + 1} is atom {header.pair_j[first[atom]] + 1} in "
            f"cell {header.pair_R[first[atom]].tolist()}: expected the atom itself at home"
        )


def _check_partners(header: ScfoutHeader) -> None:
    """Check that no pair stands twice and that each (i, j, R) has its partner (j, i, −R)."""
    base = 2 * MAX_CELL + 1
    weights = np.array([base * base, base, 1], dtype=np.int64)
    keys, ids = np.unique(header.cells.astype(np.int64) @ weights, return_inverse=True)
    opposite = np.searchsorted(keys, -keys)
    opposite[keys[np.minimum(opposite, len(keys) - 1)] != -keys] = len(keys)
    i, j = header.pair_i.astype(np.int64), header.pair_j.astype(np.int64)
    cell = ids[header.pair_cell]
    n_ids = len(keys) + 1
    forward = (i * header.n_atoms + j) * n_ids + cell
    backward = (j * header.n_atoms + i) * n_ids + opposite[cell]
    ordered = np.sort(forward)
    if (ordered[1:] == ordered[:-1]).any():
        twice = ordered[1:][ordered[1:] == ordered[:-1]][0]
        raise LayoutError(f"{_pair_name(header, int(np.argmax(forward == twice)))} stands twice")
    place = np.minimum(np.searchsorted(ordered, backward), len(ordered) - 1)
    alone = ordered[place] != backward
    if alone.any():
        name = _pair_name(header, int(np.argmax(alone)))
        raise LayoutError(f"{name} has no partner with atoms and translation reversed")


def _pair_name(header: ScfoutHeader, pair: int) -> str:
    """Name one pair as OpenMX counts it."""
    i, j = header.pair_i[pair] + 1, header.pair_j[pair] + 1
    return f"the pair of atoms {i} and {j} at R = {header.pair_R[pair].tolist()}"
