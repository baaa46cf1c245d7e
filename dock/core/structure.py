"""A structure: cell, positions as the source gave them, elements, species labels, periodicity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.arrays import FloatArray, IntArray, atom_list, frozen
from dock.core.elements import SYMBOLS, symbol
from dock.core.notebook import html_table
from dock.errors import LayoutError

if TYPE_CHECKING:
    import ase
    import pymatgen.core

__all__ = ["AnyStructure", "Structure", "lattice_points", "supercell_matrix"]

AnyStructure: TypeAlias = Union["Structure", "ase.Atoms", "pymatgen.core.Structure"]
"""What functions take as a structure; see `Structure.of`."""

_SHOWN = 12  # atoms that a notebook lists


@dataclass(frozen=True, eq=False)
class Structure:
    """Atoms in a cell.

    Atom order and positions are those of the source: never sorted, never wrapped into the cell,
    because the lattice vectors R of every matrix count from these positions.

    Parameters
    ----------
    cell
        (3, 3) lattice vectors as rows, Å.
    positions
        (n_atoms, 3) Cartesian positions, Å.
    numbers
        (n_atoms,) atomic numbers; 0 for an atom without a nucleus.
    labels
        One species label per atom (``Fe1``); the key of the basis. Default: the element symbols.
    pbc
        Whether the structure repeats along each lattice vector.

    Raises
    ------
    LayoutError
        For shapes that disagree, values that are not finite, or a cell without volume.
    ConventionError
        For a number that is no element.

    Examples
    --------
    >>> box = Structure(np.eye(3) * 10, [[0, 0, 0], [0.74, 0, 0]], [1, 1])
    >>> box.formula, box.n_atoms
    ('H2', 2)
    """

    cell: FloatArray
    positions: FloatArray
    numbers: IntArray
    labels: tuple[str, ...] = ()
    pbc: tuple[bool, bool, bool] = (True, True, True)
    symbols: tuple[str, ...] = field(init=False, repr=False)

    def __repr__(self) -> str:
        """Return formula, atoms and lengths of the lattice vectors."""
        return f"<Structure {self.formula}: {self.n_atoms} atoms, {self.cell_words}>"

    def _repr_html_(self) -> str:
        """Return cell and atoms as a table for a notebook, of many atoms the first."""
        places = zip(self.labels, self.positions, strict=True)
        shown = [
            (f"atom {number} {label}", "{:.4f} {:.4f} {:.4f} Å".format(*position))
            for number, (label, position) in zip(range(1, _SHOWN + 1), places, strict=False)
        ]
        rest = self.n_atoms - len(shown)
        periodic = " ".join(name for name, flag in zip("abc", self.pbc, strict=True) if flag)
        rows = [
            ("formula", self.formula),
            ("atoms", f"{self.n_atoms}"),
            ("cell", f"{self.cell_words.removeprefix('cell ')}, {self.volume:.5g} Å³"),
            ("periodic along", periodic or "none"),
            *shown,
            *([("…", f"and {rest} more")] if rest else []),
        ]
        return html_table("Structure", rows)

    @property
    def cell_words(self) -> str:
        """The lengths of the lattice vectors in words."""
        lengths = " ".join(f"{length:.4g}" for length in np.linalg.norm(self.cell, axis=1))
        return f"cell {lengths} Å"

    def __post_init__(self) -> None:
        positions = frozen("positions", self.positions, np.float64, (None, 3))
        numbers = frozen("numbers", self.numbers, np.int32, (len(positions),))
        cell = frozen("cell", self.cell, np.float64, (3, 3))
        if len(positions) == 0:
            raise LayoutError("a structure needs at least one atom, found none.")
        lengths = np.linalg.norm(cell, axis=1)
        if abs(np.linalg.det(cell)) <= 1e-6 * float(np.prod(lengths)):
            raise LayoutError(f"the cell has no volume: {cell.tolist()} (Å).")
        names = {number: symbol(number) for number in set(numbers.tolist())}
        symbols = tuple(names[number] for number in numbers.tolist())
        labels = tuple(str(label) for label in self.labels) or symbols
        if len(labels) != len(positions):
            raise LayoutError(f"labels: expected {len(positions)}, found {len(labels)}.")
        pbc = tuple(bool(flag) for flag in self.pbc)
        if len(pbc) != 3:
            raise LayoutError(f"pbc: expected three flags, found {len(pbc)}.")
        values = {"cell": cell, "positions": positions, "numbers": numbers}
        for name, value in (values | {"labels": labels, "pbc": pbc, "symbols": symbols}).items():
            object.__setattr__(self, name, value)

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.numbers)

    @property
    def volume(self) -> float:
        """Volume of the cell, Å³."""
        return float(abs(np.linalg.det(self.cell)))

    @property
    def reciprocal(self) -> FloatArray:
        """(3, 3) reciprocal lattice vectors as rows, with 2π: a_i · b_j = 2π δ_ij, 1/Å."""
        inverse: FloatArray = np.linalg.inv(self.cell)
        return 2 * np.pi * inverse.T

    @property
    def fractional(self) -> FloatArray:
        """(n_atoms, 3) positions in units of the lattice vectors, not wrapped."""
        solution: FloatArray = np.linalg.solve(self.cell.T, self.positions.T)
        return solution.T

    @property
    def formula(self) -> str:
        """Elements in order of first appearance with their counts: ``MoS2``."""
        counts = Counter(self.symbols).items()
        return "".join(f"{name}{number if number > 1 else ''}" for name, number in counts)

    @property
    def element_of(self) -> dict[str, str]:
        """Element symbol of each species label, labels in order of first appearance."""
        return dict(zip(self.labels, self.symbols, strict=True))

    @property
    def number_of(self) -> dict[str, int]:
        """Atomic number of each species label, labels in order of first appearance."""
        return dict(zip(self.labels, self.numbers.tolist(), strict=True))

    @property
    def element_order(self) -> list[int]:
        """The order of the atoms that brings those of each element together, else keeps theirs.

        Elements stand in order of first appearance.

        Examples
        --------
        >>> Structure(np.eye(3) * 9, np.diag([1, 2, 3]), [8, 1, 8]).element_order
        [0, 2, 1]
        """
        rank = {name: place for place, name in enumerate(dict.fromkeys(self.symbols))}
        return sorted(range(self.n_atoms), key=lambda atom: rank[self.symbols[atom]])

    def select(self, atoms: ArrayLike) -> Structure:
        """Return the structure of the given atom numbers, in the given order."""
        index = atom_list(atoms, self.n_atoms)
        return replace(
            self,
            positions=self.positions[index],
            numbers=self.numbers[index],
            labels=tuple(self.labels[atom] for atom in index),
        )

    def relabel(self, labels: Sequence[str]) -> Structure:
        """Return the same structure with other species labels."""
        return replace(self, labels=tuple(labels))

    def rotate(self, Q: ArrayLike) -> Structure:
        """Return the structure rotated about the origin: r → Q r for positions and cell.

        `ConventionError` where Q is not an orthogonal (3, 3) matrix.
        """
        from dock.core.wigner import orthogonal_matrix

        matrix = orthogonal_matrix(Q)
        return replace(self, cell=self.cell @ matrix.T, positions=self.positions @ matrix.T)

    def supercell(self, matrix: ArrayLike) -> Structure:
        """Return the supercell whose lattice vectors are the rows of ``matrix @ cell``.

        The matrix is three integers or (3, 3) of them. The atoms of the first copy come first.
        """
        transform = supercell_matrix(matrix)
        shifts = lattice_points(transform) @ self.cell
        n_copies = len(shifts)
        positions = (shifts[:, None, :] + self.positions[None, :, :]).reshape(-1, 3)
        return replace(
            self,
            cell=transform @ self.cell,
            positions=positions,
            numbers=np.tile(self.numbers, n_copies),
            labels=self.labels * n_copies,
        )

    def is_close(self, other: Structure, tolerance: float = 1e-6) -> bool:
        """Say whether two structures agree: same atoms in order, cell and positions in Å."""
        return (
            self.n_atoms == other.n_atoms
            and np.array_equal(self.numbers, other.numbers)
            and bool(np.allclose(self.cell, other.cell, rtol=0, atol=tolerance))
            and bool(np.allclose(self.positions, other.positions, rtol=0, atol=tolerance))
        )

    def is_same_crystal(self, other: Structure, tolerance: float = 1e-3) -> bool:
        """Say whether two structures are one crystal: their atoms may have another order or cell.

        The lattice vectors must agree, elements and positions to within lattice vectors, all in Å.
        """
        return self.is_close(other, tolerance) or self.partners(other, tolerance) is not None

    def partners(self, other: Structure, tolerance: float = 1e-3) -> IntArray | None:
        """Return which atom of another structure each atom is, where both are one crystal.

        Returns
        -------
        ndarray or None
            (n_atoms,); None where `is_same_crystal` says no.
        """
        alike = np.array_equal(np.sort(self.numbers), np.sort(other.numbers))
        if not alike or not np.allclose(self.cell, other.cell, rtol=0, atol=tolerance):
            return None
        from scipy.spatial import KDTree

        inverse = np.linalg.inv(self.cell)
        mine, theirs = (np.mod(one.positions @ inverse, 1.0) % 1.0 for one in (self, other))
        partner: IntArray = KDTree(theirs, boxsize=1.0).query(mine)[1]
        apart = mine - theirs[partner]
        apart -= np.rint(apart)
        close = np.linalg.norm(apart @ self.cell, axis=1).max() <= 2 * tolerance
        is_one_to_one = len(np.unique(partner)) == self.n_atoms
        same = close and is_one_to_one and np.array_equal(self.numbers, other.numbers[partner])
        return partner if same else None

    @classmethod
    def of(cls, structure: AnyStructure) -> Structure:
        """Return the structure itself, or that of ASE's ``Atoms`` or pymatgen's ``Structure``.

        `LayoutError` for anything else.

        Examples
        --------
        >>> from ase.build import molecule
        >>> Structure.of(molecule("H2O")).formula
        'OH2'
        """
        if isinstance(structure, cls):
            return structure
        if hasattr(structure, "get_atomic_numbers"):
            return cls.from_ase(structure)
        if _is_pymatgen(structure):
            return cls.from_pymatgen(structure)
        raise LayoutError(
            "a structure is a dock.Structure, ASE's Atoms or pymatgen's Structure, found "
            f"{type(structure).__name__}. A file is read by dock.read(PATH).structure or ase.io."
        )

    @classmethod
    def accepts(cls, value: object) -> TypeGuard[AnyStructure]:
        """Say whether a value is a structure: ours, ASE's or pymatgen's."""
        foreign = hasattr(value, "get_atomic_numbers") or _is_pymatgen(value)
        return isinstance(value, cls) or foreign

    @classmethod
    def from_ase(cls, atoms: ase.Atoms) -> Structure:
        """Return the structure of an ASE ``Atoms``; missing cell vectors get 10 Å around it.

        Nothing repeats along those. `LayoutError` without atoms.
        """
        if not len(atoms):
            raise LayoutError("a structure needs at least one atom, found none.")
        cell = np.array(atoms.cell)
        missing = np.linalg.norm(cell, axis=1) < 1e-6
        if missing.any():
            extent = np.ptp(atoms.get_positions(), axis=0).max() + 10.0
            cell = np.array(atoms.cell.complete()) if not missing.all() else np.eye(3)
            cell[missing] *= extent
        first, second, third = (bool(flag) for flag in atoms.pbc & ~missing)
        numbers = atoms.get_atomic_numbers()
        return cls(cell, atoms.get_positions(), numbers, pbc=(first, second, third))

    def to_ase(self) -> ase.Atoms:
        """Return an ASE ``Atoms`` with the same order and positions; My1 … My6 become X."""
        import ase

        numbers = np.where(self.numbers > 118, 0, self.numbers)
        return ase.Atoms(numbers=numbers, positions=self.positions, cell=self.cell, pbc=self.pbc)

    @classmethod
    def from_pymatgen(cls, structure: pymatgen.core.Structure) -> Structure:
        """Return the structure of a pymatgen ``Structure``.

        `LayoutError` where a site is shared by several elements or is no element.
        """
        if not structure.is_ordered or not all(site.specie.symbol in SYMBOLS for site in structure):
            raise LayoutError(
                f"the pymatgen structure {structure.formula} has sites that are not one element "
                "each. Choose an ordered configuration first."
            )
        numbers = np.array([site.specie.Z for site in structure])
        lattice = structure.lattice
        return cls(lattice.matrix, structure.cart_coords, numbers, pbc=lattice.pbc)

    def to_pymatgen(self) -> pymatgen.core.Structure:
        """Return a pymatgen ``Structure`` with the same order and positions.

        `LayoutError` where an atom is no element.
        """
        from dock.extras import require

        strange = sorted({name for name in self.symbols if name not in SYMBOLS[1:]})
        if strange:
            raise LayoutError(f"pymatgen has no counterpart of the atoms {', '.join(strange)}.")
        core = require("pymatgen.core", "pymatgen")
        structure: Any = core.Structure(
            core.Lattice(self.cell, pbc=self.pbc),
            self.symbols,
            self.positions,
            coords_are_cartesian=True,
        )
        return structure


def supercell_matrix(matrix: ArrayLike) -> IntArray:
    """Return three integers or a (3, 3) integer matrix as the (3, 3) matrix of a supercell.

    `LayoutError` where the numbers are not integers or the determinant is not positive.
    """
    values = np.asarray(matrix)
    if values.shape == (3,):
        values = np.diag(values)
    whole = values.dtype.kind in "iuf" and np.array_equal(values, np.rint(values))
    if values.shape != (3, 3) or not whole:
        raise LayoutError(
            f"a supercell is three integers or a 3×3 integer matrix, found {values.tolist()}."
        )
    transform: NDArray[np.int64] = np.rint(values).astype(np.int64)
    if np.linalg.det(transform) < 0.5:
        raise LayoutError(f"the supercell matrix {transform.tolist()} has no positive determinant.")
    return transform


def lattice_points(matrix: IntArray) -> IntArray:
    """Return the (|det|, 3) integer lattice vectors inside a supercell, the origin first.

    Inside means fractional coordinates of the supercell in [0, 1), decided in integers.
    """
    corners = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T @ matrix
    low, high = corners.min(axis=0), corners.max(axis=0)
    axes = [np.arange(low[axis], high[axis] + 1) for axis in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    determinant = round(float(np.linalg.det(matrix)))
    adjugate = np.rint(np.linalg.inv(matrix) * determinant).astype(np.int64)
    scaled = points @ adjugate
    inside = np.all((scaled >= 0) & (scaled < determinant), axis=1)
    chosen = points[inside]
    return chosen[np.argsort(np.any(chosen != 0, axis=1), kind="stable")]


def _is_pymatgen(value: object) -> bool:
    """Say whether a value is pymatgen's ``Structure``; its ``Molecule`` has no lattice."""
    return hasattr(value, "cart_coords") and hasattr(value, "lattice")
