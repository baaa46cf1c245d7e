"""Structure and basis of a SIESTA run, from whichever of its files hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from dock.converters.siesta.ion import read_ion
from dock.converters.siesta.matrix_file import SYNTHETIC, MatrixFile, SpeciesTable
from dock.converters.siesta.orb_indx import read_orb_indx
from dock.converters.siesta.run import RunFiles
from dock.converters.siesta.xv import AtomTable, read_struct_out, read_xv
from dock.core.basis import Basis, Shell, shell_letter
from dock.core.elements import CUSTOM, SYMBOLS, atomic_number, element_of_label, symbol
from dock.core.structure import Structure
from dock.errors import DockError, FormatError, MissingDataError
from dock.units import Constants

__all__ = ["Setting", "Sources", "element_numbers", "species_of_ions"]

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
    notes
        What the user should know.
    """

    structure: Structure
    basis: Basis
    species: tuple[SpeciesTable, ...]
    numbers: tuple[int, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Sources:
    """The main file, the files beside it and a folder of ion files, where there is one.

    `notes` gathers what the user should know of where things came from.
    """

    file: MatrixFile
    run: RunFiles
    constants: Constants
    folder: Path | None
    notes: list[str] = field(default_factory=list)

    @cached_property
    def _table(self) -> AtomTable | None:
        """XV, or STRUCT_OUT where that is missing."""
        for suffix, reader in ((".XV", read_xv), (".STRUCT_OUT", read_struct_out)):
            path = self.run.beside(suffix)
            if path is not None:
                return reader(path)
        return None

    def setting(self) -> Setting:
        """Find structure and basis; what the main file holds itself comes first.

        With a folder of ion files the shells carry radial functions.

        Raises
        ------
        MissingDataError
            When no file has the species, or the structure.
        FormatError
            When two files contradict each other.
        """
        species, atom_species = self._species()
        numbers = self._atomic_numbers(species, atom_species)
        cell, positions = self._geometry()
        if len(positions) != len(atom_species):
            expected = f"{len(atom_species)} atoms, as the orbitals belong to"
            found = f"{len(positions)} positions"
            self._refuse("the files of the run have different atoms", expected, found)
        labels = tuple(species[kind].label for kind in atom_species)
        of_atom = self._elements(species, numbers)[atom_species]
        shells = {entry.label: _shells(entry) for entry in species if entry.label in labels}
        if self.folder is not None:
            shells = {
                label: _with_radials(label, shells[label], self.folder, self.constants)
                for label in sorted(shells)
            }
        try:
            structure = Structure(cell, positions, of_atom, labels)
            basis = Basis({label: shells[label] for label in dict.fromkeys(labels)}, labels)
        except DockError as error:
            raise FormatError(self.file.path, str(error).rstrip(".")) from error
        offsets = self.file.orbital_offsets
        same_offsets = offsets is None or np.array_equal(offsets, basis.offsets)
        if basis.n_orbitals != self.file.n_orbitals or not same_offsets:
            expected = f"{self.file.n_orbitals} orbitals"
            found = f"{basis.n_orbitals} by the species table"
            self._refuse("the orbitals of the species contradict the matrices", expected, found)
        return Setting(structure, basis, species, numbers, tuple(self.notes))

    def _refuse(self, problem: str, expected: str, found: str) -> NoReturn:
        fix = "Keep only the files of one run in the folder."
        raise FormatError(self.file.path, problem, expected=expected, found=found, fix=fix)

    def _species(self) -> tuple[tuple[SpeciesTable, ...], NDArray[np.int64]]:
        """Return the species and that of each atom: from the main file, ORB_INDX, or ion files."""
        file, run, table = self.file, self.run, self._table
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
            return read_orb_indx(index)
        if run.fdf is not None:
            labels = [label for _, label in run.fdf.species()]
            of_atom = table.species if table is not None else run.fdf.atoms(self.constants).species
            if of_atom.min() >= 0 and of_atom.max() < len(labels):
                return species_of_ions(self.folder or file.path.parent, labels), of_atom
        raise MissingDataError(
            "the orbitals of each species",
            file.path,
            f"A {file.kind} file does not hold them: keep {run.label}.ORB_INDX beside it "
            f"(Write.OrbitalIndex true), or {run.label}.fdf and the species' .ion files.",
        )

    def _atomic_numbers(
        self, species: Sequence[SpeciesTable], atom_species: NDArray[np.int64]
    ) -> tuple[int, ...]:
        """Return the atomic number of each species: main file, XV, fdf, or else from its label."""
        file, fdf, table = self.file, self.run.fdf, self._table
        if file.numbers is not None:
            return file.numbers
        by_label: dict[str, int] = {}
        if fdf is not None and fdf.block("ChemicalSpeciesLabel") is not None:
            by_label = {label: number for number, label in fdf.species()}
        numbers = []
        for kind, entry in enumerate(species):
            here = np.flatnonzero(atom_species == kind)
            if table is not None and len(table.numbers) == len(atom_species) and len(here):
                numbers.append(int(table.numbers[here[0]]))
            elif entry.label in by_label:
                numbers.append(by_label[entry.label])
            else:
                numbers.append(self._number_of_name(entry.label))
        return tuple(numbers)

    def _elements(
        self, species: Sequence[SpeciesTable], numbers: Sequence[int]
    ) -> NDArray[np.int64]:
        """Return the atomic number in `dock` of each species, and note the mixtures."""
        elements = element_numbers(self.file.path, numbers)
        for entry, own, number in zip(species, numbers, elements, strict=True):
            if own > SYNTHETIC:
                text = "The species '{}' is a synthetic atom of SIESTA, a mixture; it is called {}."
                self.notes.append(text.format(entry.label, symbol(number)))
        return np.array(elements)

    def _number_of_name(self, label: str) -> int:
        """Return the atomic number that a species' label begins with, and note it."""
        element = element_of_label(label)
        if element is None:
            what = f"the atomic number of species '{label}'"
            fix = "Keep the run's .XV or .fdf file beside it."
            raise MissingDataError(what, self.file.path, fix)
        number = atomic_number(element)
        self.notes.append(
            f"The atomic number {number} of species '{label}' was taken from its name: "
            "there is no XV and no fdf file."
        )
        return number

    def _geometry(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return cell and positions in Å: of the main file, XV, STRUCT_OUT or the fdf."""
        file, run, table = self.file, self.run, self._table
        bohr = self.constants.bohr_angstrom
        if file.cell is not None and file.positions is not None:
            cell, positions = file.cell * bohr, file.positions * bohr
            if table is not None and len(table.positions) == len(positions):
                moved = float(np.abs(table.geometry(bohr)[1] - positions).max())
                if moved > _MOVED:
                    self.notes.append(
                        f"{table.path.name} has other positions (up to {moved:.4f} Å): those "
                        f"stored with the matrices in {file.path.name} are used."
                    )
            return cell, positions
        if table is not None:
            return table.geometry(bohr)
        if run.fdf is not None:
            atoms = run.fdf.atoms(self.constants)
            return atoms.cell, atoms.positions
        raise MissingDataError(
            "the structure",
            file.path,
            f"A {file.kind} file does not hold it: keep {run.label}.XV (or .STRUCT_OUT, .fdf) "
            "beside it.",
        )


def element_numbers(path: Path, numbers: Sequence[int]) -> list[int]:
    """Return the atomic number in `dock` of each of SIESTA's species.

    Ghosts, which are negative there, have 0; synthetic atoms, mixtures of elements with numbers
    above 200, are custom species.

    Raises
    ------
    FormatError
        When a number is neither, or there are too many mixtures.

    Examples
    --------
    >>> element_numbers(Path("x.fdf"), [14, -1, 201])
    [14, 0, 131]
    """
    mixtures = list(dict.fromkeys(number for number in numbers if number > SYNTHETIC))
    wrong = [number for number in numbers if len(SYMBOLS) <= abs(number) and number not in mixtures]
    if wrong or len(mixtures) > len(CUSTOM):
        raise FormatError(
            path,
            "a species is no element",
            expected=f"atomic numbers up to {len(SYMBOLS) - 1}, and up to {len(CUSTOM)} synthetic "
            f"species with numbers above {SYNTHETIC}",
            found=wrong or mixtures,
        )
    names = dict(zip(mixtures, CUSTOM, strict=False))
    return [
        atomic_number(names[number]) if number in names else max(number, 0) for number in numbers
    ]


def species_of_ions(folder: Path, labels: Sequence[str]) -> tuple[SpeciesTable, ...]:
    """Return the species of these labels from their ion files; MissingDataError without one."""
    species = []
    for label in labels:
        orbitals = read_ion(_ion_path(folder, label)).orbitals
        shells = tuple((item.n, item.l, item.zeta, item.polarised) for item in orbitals)
        species.append(SpeciesTable(label, None, shells))
    return tuple(species)


def _ion_path(folder: Path, label: str) -> Path:
    for ending in (".ion.nc", ".ion.xml", ".ion"):
        path = folder / f"{label}{ending}"
        if path.is_file():
            return path
    fix = "SIESTA writes it beside its output: copy it there."
    raise MissingDataError(f"{label}.ion.xml", folder, fix)


def _shells(entry: SpeciesTable) -> tuple[Shell, ...]:
    return tuple(
        Shell(l, f"{n}{'P' if polarised else ''}{shell_letter(l)} z{zeta}")
        for n, l, zeta, polarised in entry.shells
    )


def _with_radials(
    label: str, shells: Sequence[Shell], folder: Path, constants: Constants
) -> tuple[Shell, ...]:
    """Return the shells of a species with the radial functions of its ion file."""
    path = _ion_path(folder, label)
    radial = read_ion(path).shells(constants)
    mine, theirs = [shell.l for shell in shells], [shell.l for shell in radial]
    if mine != theirs:
        raise FormatError(
            path,
            f"its orbitals are not those of species '{label}' in the matrices",
            expected=f"shells of l = {mine}",
            found=f"l = {theirs}",
            fix="Pass the folder with the ion files of that run: basis=DIR.",
        )
    return radial
