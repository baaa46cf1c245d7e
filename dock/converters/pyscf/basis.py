"""Structure and basis of a PySCF ``Mole`` or ``Cell``, and the change of orbital order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.gaussians import contracted_radial
from dock.converters.origin import numbered_labels
from dock.core.basis import Basis, Radial, Shell, shell_letter
from dock.core.elements import atomic_number, element_of_label
from dock.core.orbital_order import shell_orders
from dock.core.reorder import Reorder
from dock.core.structure import Structure
from dock.errors import ConventionError, LayoutError
from dock.units import PYSCF

__all__ = ["atoms_of", "from_pyscf_order", "is_periodic", "require_same_atoms", "to_pyscf_order"]

_BOX_MARGIN = 20.0  # Å of vacuum around a molecule, so that the cell has a volume
_POSITION_TOLERANCE = 1e-2  # Å: two descriptions of one geometry never differ by more


def is_periodic(mol: Any) -> bool:
    """Say whether this is a ``Cell``."""
    return hasattr(mol, "lattice_vectors")


def atoms_of(mol: Any) -> tuple[Structure, Basis]:
    """Return the structure (Å) and the basis of a PySCF object.

    Shells stand in PySCF's order, each contraction being a shell of its own. A molecule gets a
    box with 20 Å of vacuum; its atoms are not moved.

    Raises
    ------
    ConventionError
        For Cartesian Gaussians, which are no spherical harmonics.
    """
    if mol.cart:
        raise ConventionError(
            "this PySCF object uses Cartesian Gaussians (cart=True), which no orbital order of "
            "dock describes. Run it with cart=False."
        )
    positions = np.asarray(mol.atom_coords()) * PYSCF.bohr_angstrom
    names = [str(mol.atom_symbol(atom)) for atom in range(mol.natm)]
    numbers = [_atomic_number(name) for name in names]
    shells = _shells(mol)
    ls = [tuple(shell.l for shell in group) for group in shells]
    labels = numbered_labels(names, ls, "_")
    if is_periodic(mol):
        cell = np.asarray(mol.lattice_vectors()) * PYSCF.bohr_angstrom
        pbc = (mol.dimension > 0, mol.dimension > 1, mol.dimension > 2)
    else:
        cell = np.diag(np.ptp(positions, axis=0) + _BOX_MARGIN)
        pbc = (False, False, False)
    structure = Structure(cell, positions, np.array(numbers), labels, pbc)
    return structure, Basis(dict(zip(labels, shells, strict=True)), labels)


def _atomic_number(name: str) -> int:
    """Return the number of a PySCF atom name (``C1``, ``Fe@up``); 0 for ghosts."""
    upper = name.upper()
    if upper.startswith(("GHOST", "X-", "X:")) or upper == "X":
        return 0
    element = element_of_label(name[:1].upper() + name[1:2].lower() + name[2:])
    if element is None:
        raise ConventionError(f"the PySCF atom '{name}' is no element.")
    return atomic_number(element)


def _shells(mol: Any) -> list[tuple[Shell, ...]]:
    """Return the shells of each atom: bas after bas, one for each contraction."""
    groups: list[list[Shell]] = [[] for _ in range(mol.natm)]
    known: dict[bytes, Radial] = {}  # atoms of one element have the same functions
    last = 0
    for bas in range(mol.nbas):
        atom, l = int(mol.bas_atom(bas)), int(mol.bas_angular(bas))
        if atom < last:
            raise ConventionError("the shells of this PySCF object do not stand atom by atom.")
        last = atom
        exponents, factors = np.asarray(mol.bas_exp(bas)), np.asarray(mol.bas_ctr_coeff(bas))
        for column in factors.T:
            number = sum(shell.l == l for shell in groups[atom]) + l + 1
            key = np.concatenate([[l], exponents, column]).tobytes()
            if key not in known:
                known[key] = contracted_radial(l, exponents, column, PYSCF.bohr_angstrom)
            groups[atom].append(Shell(l, f"{number}{shell_letter(l)}", known[key]))
    return [tuple(group) for group in groups]


def from_pyscf_order(basis: Basis) -> NDArray[np.int64]:
    """Return for each orbital of `dock` the number of PySCF's orbital, shells in stored order."""
    orders = shell_orders(basis, "pyscf")
    return _global(basis, {label: order.inverse for label, order in orders.items()})


def to_pyscf_order(basis: Basis) -> NDArray[np.int64]:
    """Return for each orbital of PySCF the number of `dock`'s; PySCF sorts shells by l."""
    return _global(basis, shell_orders(basis, "pyscf", sort_by_l=True))


def _global(basis: Basis, orders: dict[str, Reorder]) -> NDArray[np.int64]:
    """Join the permutations of the atoms; PySCF's harmonics have no minus signs."""
    inside = np.concatenate([orders[label].permutation for label in basis.labels])
    order: NDArray[np.int64] = np.repeat(basis.offsets[:-1], basis.counts) + inside
    return order


def require_same_atoms(structure: Structure, basis: Basis, mol: Any) -> list[int] | None:
    """Return the order that brings the atoms into PySCF's, None where they stand so.

    Raises
    ------
    LayoutError
        When the geometry or the shells differ.
    """
    theirs, their_basis = atoms_of(mol)
    if theirs.n_atoms != structure.n_atoms:
        raise LayoutError(
            f"the PySCF object has {theirs.n_atoms} atoms, the calculation {structure.n_atoms}."
        )
    distance = np.linalg.norm(theirs.positions[:, None] - structure.positions[None], axis=-1)
    distance[theirs.numbers[:, None] != structure.numbers[None]] = np.inf
    order = np.argmin(distance, axis=1)
    worst = float(distance[np.arange(len(order)), order].max())
    if worst > _POSITION_TOLERANCE or len(np.unique(order)) != len(order):
        raise LayoutError(
            f"the geometries differ (an atom has no counterpart within {_POSITION_TOLERANCE} Å). "
            "Make the PySCF object with the positions of the calculation."
        )
    ordered = basis.select(order)
    for atom, (mine, other) in enumerate(zip(ordered.labels, their_basis.labels, strict=True)):
        if tuple(sorted(ordered.ls(mine))) != their_basis.ls(other):
            raise LayoutError(
                f"atom {atom} ({other}): PySCF has the shells {list(their_basis.ls(other))}, the "
                f"calculation {sorted(ordered.ls(mine))}. Use the basis of the calculation."
            )
    atoms: list[int] = order.tolist()
    return None if atoms == sorted(atoms) else atoms
