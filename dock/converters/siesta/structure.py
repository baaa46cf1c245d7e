"""Structure and basis of a SIESTA run, from whichever of its files hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dock.converters.siesta.ion import read_ion
from dock.converters.siesta.matrix_file import MatrixFile, SpeciesTable
from dock.converters.siesta.orb_indx import read_orb_indx
from dock.converters.siesta.run import RunFiles
from dock.converters.siesta.xv import AtomTable, read_struct_out, read_xv
from dock.core.basis import Basis, Shell, shell_letter
from dock.core.elements import SYMBOLS, atomic_number, element_of_label
from dock.core.structure import Structure
from dock.errors import DockError, FormatError, MissingDataError
from dock.units import Constants

__all__ = ["Setting", "resolve"]

_MOVED = 1e-4  # Å between XV and the matrix file above which the user is told


@dataclass(frozen=True, eq=False)
class Setting:
    """What the matrices of a run refer to.

    Attributes
    ----------
    structure, basis
        In Å; atoms and shells as in SIESTA.
    species
        The species in SIESTA's order.
    numbers
        SIESTA's atomic number of each species (negative: a ghost).
    atom_species
        (n_atoms,) species of each atom.
    notes
        What the user should know.
    """

    structure: Structure
    basis: Basis
    species: tuple[SpeciesTable, ...]
    numbers: tuple[int, ...]
    atom_species: NDArray[np.int64]
    notes: tuple[str, ...]


def resolve(file: MatrixFile, run: RunFiles, constants: Constants, folder: Path | None) -> Setting:
    """Find structure and basis.

    Parameters
    ----------
    file
        The main file; what it holds itself comes first.
    run
        The files beside it.
    constants
        Units of that SIESTA.
    folder
        Folder of ion files: then the shells carry radial functions.

    Raises
    ------
    MissingDataError
        When no file has the species, or the structure.
    FormatError
        When two files contradict each other.
    """
    table = _atom_table(run)
    species, atom_species = _species(file, run, table, constants, folder)
    notes: list[str] = []
    numbers = _atomic_numbers(file, run, table, (species, atom_species), notes)
    cell, positions = _geometry(file, run, table, constants, notes)
    if len(positions) != len(atom_species):
        raise FormatError(
            file.path,
            "the files of the run have different atoms",
            expected=f"{len(atom_species)} atoms, as the orbitals belong to",
            found=f"{len(positions)} positions",
            fix="Keep only the files of one run in the folder.",
        )
    labels = tuple(species[kind].label for kind in atom_species)
    of_atom = np.array([max(number, 0) for number in numbers])[atom_species]
    shells = {entry.label: _shells(entry) for entry in species if entry.shells}
    if folder is not None:
        shells = _with_radials(shells, set(labels), folder, constants)
    try:
        structure = Structure(cell, positions, of_atom, labels)
        basis = Basis({label: shells[label] for label in dict.fromkeys(labels)}, labels)
    except DockError as error:
        raise FormatError(file.path, str(error).rstrip(".")) from error
    if basis.n_orbitals != file.n_orbitals or not _same_offsets(file, basis):
        raise FormatError(
            file.path,
            "the orbitals of the species contradict the matrices",
            expected=f"{file.n_orbitals} orbitals",
            found=f"{basis.n_orbitals} by the species table",
            fix="Keep only the files of one run in the folder.",
        )
    return Setting(structure, basis, species, numbers, atom_species, tuple(notes))


def _same_offsets(file: MatrixFile, basis: Basis) -> bool:
    return file.orbital_offsets is None or np.array_equal(file.orbital_offsets, basis.offsets)


def _atom_table(run: RunFiles) -> AtomTable | None:
    """Return XV, or STRUCT_OUT where that is missing."""
    for suffix, reader in ((".XV", read_xv), (".STRUCT_OUT", read_struct_out)):
        path = run.beside(suffix)
        if path is not None:
            return reader(path)
    return None


def _species(
    file: MatrixFile,
    run: RunFiles,
    table: AtomTable | None,
    constants: Constants,
    folder: Path | None,
) -> tuple[tuple[SpeciesTable, ...], NDArray[np.int64]]:
    """Return the species and that of each atom: from the main file, ORB_INDX, or ion files."""
    if file.species is not None and file.atom_species is not None:
        atom_species = file.atom_species
        if table is not None and not np.array_equal(table.species, atom_species):
            raise FormatError(
                table.path,
                f"its atoms are not those of {file.path.name}",
                expected=f"{len(atom_species)} atoms of the species "
                f"{(atom_species[:20] + 1).tolist()}",
                found=f"{len(table.species)} of {(table.species[:20] + 1).tolist()}",
                fix="The files are of different runs: keep only those of one.",
            )
        return file.species, atom_species
    index = run.beside(".ORB_INDX")
    if index is not None:
        stored = read_orb_indx(index)
        return stored.species, stored.atom_species
    if run.fdf is not None:
        labels = [label for _, label in run.fdf.species()]
        of_atom = table.species if table is not None else run.fdf.atoms(constants).species
        if of_atom.min() >= 0 and of_atom.max() < len(labels):
            return _species_of_ions(folder or run.main.parent, labels), of_atom
    raise MissingDataError(
        "the orbitals of each species",
        file.path,
        f"A {file.kind} file does not hold them: keep {run.label}.ORB_INDX beside it "
        f"(Write.OrbitalIndex true), or {run.label}.fdf and the species' .ion files.",
    )


def _species_of_ions(folder: Path, labels: Sequence[str]) -> tuple[SpeciesTable, ...]:
    species = []
    for label in labels:
        ion = read_ion(_ion_path(folder, label))
        shells = tuple(
            (orbital.n, orbital.l, orbital.zeta, orbital.polarised) for orbital in ion.orbitals
        )
        species.append(SpeciesTable(label, None, shells))
    return tuple(species)


def _ion_path(folder: Path, label: str) -> Path:
    for ending in (".ion.nc", ".ion.xml", ".ion"):
        path = folder / f"{label}{ending}"
        if path.is_file():
            return path
    raise MissingDataError(
        f"{label}.ion.xml", folder, "SIESTA writes it beside its output: copy it there."
    )


def _atomic_numbers(
    file: MatrixFile,
    run: RunFiles,
    table: AtomTable | None,
    kinds: tuple[tuple[SpeciesTable, ...], NDArray[np.int64]],
    notes: list[str],
) -> tuple[int, ...]:
    """Return the atomic number of each species: main file, XV, fdf, or else from its label."""
    if file.numbers is not None:
        return file.numbers
    species, atom_species = kinds
    by_label: dict[str, int] = {}
    if run.fdf is not None and run.fdf.block("ChemicalSpeciesLabel") is not None:
        by_label = {label: number for number, label in run.fdf.species()}
    numbers = []
    for kind, entry in enumerate(species):
        here = np.flatnonzero(atom_species == kind)
        if table is not None and len(table.numbers) == len(atom_species) and len(here):
            number = int(table.numbers[here[0]])
        elif entry.label in by_label:
            number = by_label[entry.label]
        else:
            number = _guess(file, entry.label)
            notes.append(
                f"The atomic number {number} of species '{entry.label}' was taken from its name: "
                "there is no XV and no fdf file."
            )
        numbers.append(number)
    _check_numbers(file, numbers)
    return tuple(numbers)


def _guess(file: MatrixFile, label: str) -> int:
    element = element_of_label(label)
    if element is None:
        raise MissingDataError(
            f"the atomic number of species '{label}'",
            file.path,
            "Keep the run's .XV or .fdf file beside it.",
        )
    return atomic_number(element)


def _check_numbers(file: MatrixFile, numbers: Sequence[int]) -> None:
    wrong = [number for number in numbers if abs(number) >= len(SYMBOLS)]
    if wrong:
        raise FormatError(
            file.path,
            "a species is no element (SIESTA's synthetic atoms have numbers above 200)",
            expected=f"atomic numbers up to {len(SYMBOLS) - 1}",
            found=wrong,
        )


def _geometry(
    file: MatrixFile,
    run: RunFiles,
    table: AtomTable | None,
    constants: Constants,
    notes: list[str],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return cell and positions in Å: of the main file, XV, STRUCT_OUT or the fdf."""
    bohr = constants.bohr_angstrom
    if file.cell is not None and file.positions is not None:
        cell, positions = file.cell * bohr, file.positions * bohr
        if table is not None and len(table.positions) == len(positions):
            unit = bohr if table.unit == "bohr" else 1.0
            moved = float(np.abs(table.positions * unit - positions).max())
            if moved > _MOVED:
                notes.append(
                    f"{table.path.name} has other positions (up to {moved:.4f} Å): those stored "
                    f"with the matrices in {file.path.name} are used."
                )
        return cell, positions
    if table is not None:
        unit = bohr if table.unit == "bohr" else 1.0
        return table.cell * unit, table.positions * unit
    if run.fdf is not None:
        atoms = run.fdf.atoms(constants)
        return atoms.cell, atoms.positions
    raise MissingDataError(
        "the structure",
        file.path,
        f"A {file.kind} file does not hold it: keep {run.label}.XV (or .STRUCT_OUT, .fdf) "
        "beside it.",
    )


def _shells(entry: SpeciesTable) -> tuple[Shell, ...]:
    return tuple(
        Shell(l, f"{n}{'P' if polarised else ''}{shell_letter(l)} z{zeta}")
        for n, l, zeta, polarised in entry.shells
    )


def _with_radials(
    shells: dict[str, tuple[Shell, ...]], used: set[str], folder: Path, constants: Constants
) -> dict[str, tuple[Shell, ...]]:
    """Return the shells with the radial functions of ion files."""
    result = dict(shells)
    for label in sorted(used & set(shells)):
        path = _ion_path(folder, label)
        radial = read_ion(path).shells(constants)
        mine, theirs = [shell.l for shell in shells[label]], [shell.l for shell in radial]
        if mine != theirs:
            raise FormatError(
                path,
                f"its orbitals are not those of species '{label}' in the matrices",
                expected=f"shells of l = {mine}",
                found=f"l = {theirs}",
                fix="Pass the folder with the ion files of that run: basis=DIR.",
            )
        result[label] = radial
    return result
