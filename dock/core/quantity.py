"""The operators that a matrix can stand for, other quantities of a run, and what they are."""

from __future__ import annotations

from dataclasses import dataclass

from dock.errors import ConventionError

__all__ = ["FIELDS", "QUANTITIES", "UNKNOWN", "Field", "Quantity", "quantity_of"]

UNKNOWN = "as stored"
"""The unit of what its makers give none for."""


@dataclass(frozen=True)
class Quantity:
    """One operator in the basis.

    Attributes
    ----------
    name, letter
        Name in the API and in files, and on the command line.
    unit
        Unit inside `dock` and in unified folders.
    has_spin
        Whether the matrix has the spin components of the calculation.
    n_vector
        3 for vector operators, else 1.
    parity
        +1: O(i,j,R) = O(j,i,−R)†; −1: with a minus sign; 0: neither (the position operator, whose
        partner block differs by R times the overlap).
    own_pairs
        Whether its atom pairs are its own, not those of H and S; partners may then be missing.
    """

    name: str
    letter: str
    unit: str
    has_spin: bool
    n_vector: int = 1
    parity: int = 1
    own_pairs: bool = False


QUANTITIES: dict[str, Quantity] = {
    item.name: item
    for item in (
        Quantity("overlap", "S", "1", has_spin=False),
        Quantity("hamiltonian", "H", "eV", has_spin=True),
        Quantity("density_matrix", "DM", "1", has_spin=True),
        Quantity("energy_density_matrix", "EDM", "eV", has_spin=True),
        Quantity("kinetic", "T", "eV", has_spin=False),
        Quantity("position", "r", "angstrom", has_spin=False, n_vector=3, parity=0),
        Quantity("gradient", "grad", "1/angstrom", has_spin=False, n_vector=3, parity=-1),
        Quantity("kinetic_gradient", "dT", "eV/angstrom", has_spin=False, n_vector=3, parity=-1),
        # H of superposed free atoms, by DeepH-dock and by aimspy: two files of one meaning.
        Quantity("hamiltonian0", "H0", "eV", has_spin=True),
        Quantity("hamiltonian_init", "Hinit", "eV", has_spin=True),
        # Change of H with the electric field; FHI-aims' momentum ⟨i|∇|j⟩, real.
        Quantity("electric_response", "dHdE", UNKNOWN, has_spin=False, n_vector=3),
        Quantity("momentum", "p", "1/bohr", has_spin=False, n_vector=3, parity=-1, own_pairs=True),
    )
}


@dataclass(frozen=True)
class Field:
    """A quantity that is no operator in the basis.

    `shape` has numbers, and names of sizes that are the same wherever they occur in a file;
    `symmetry` is in words.
    """

    name: str
    unit: str
    shape: tuple[int | str, ...] = ()
    symmetry: str = ""


FIELDS: dict[str, Field] = {
    item.name: item
    for item in (
        Field("energy", "eV"),
        Field("force", "eV/angstrom", ("n_atoms", 3), "the sum over the atoms is zero"),
        Field("stress", UNKNOWN, (6,), "a symmetric tensor in Voigt's order"),
        Field("cell", "angstrom", (3, 3)),
        Field("grid", "points", (3,)),
        Field("charge_density", UNKNOWN, ("n_points",), "real, C order of the grid"),
        Field("potential", UNKNOWN, ("n_points",), "real, C order of the grid"),
        Field("k_points", "reciprocal vectors", ("n_k", 3)),
        Field("k_mesh", "points", (3,)),
        Field("fermi_level", "eV"),
        Field("eigenvalues", "eV", ("n_k", "n_bands")),
        Field("eigenvectors", "1", ("n_k", "n_bands", "n_spinor", "n_orbitals"), "c†Sc = 1"),
        Field("bands", "eV", ("n_bands", "n_k")),
        Field("gap", "eV"),
        Field("partial_spectrum", "1"),
    )
}


def quantity_of(name: str) -> Quantity:
    """Return the quantity of a name (``hamiltonian``) or a letter (``H``).

    For any other name a `ConventionError` lists the known ones.
    """
    if name in QUANTITIES:
        return QUANTITIES[name]
    for item in QUANTITIES.values():
        if item.letter == name:
            return item
    known = ", ".join(f"{item.letter} ({item.name})" for item in QUANTITIES.values())
    raise ConventionError(f"'{name}' is no matrix that dock knows. Known: {known}.")
