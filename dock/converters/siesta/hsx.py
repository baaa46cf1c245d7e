"""SIESTA's HSX files: Hamiltonian and overlap, versions 0 (up to 4.1), 1 and 2 (5.x), both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dock.converters.siesta.matrix_file import (
    LABEL_BYTES,
    MAX_IMAGES,
    MatrixFile,
    MatrixReader,
    SpeciesTable,
    canonical_images,
    check_counts,
    check_nsc,
    damaged,
    open_matrix_file,
)
from dock.converters.siesta.native import NativeCalculation
from dock.converters.siesta.sparse_rows import write_record
from dock.errors import FormatError
from dock.io.binary import Rows

__all__ = ["is_hsx_head", "read_hsx", "write_hsx"]

MAX_L = 6
_UNSET_FERMI_RY = 1e4  # a Hamiltonian that was only set up has a huge number there
_SPECIES = np.dtype([("label", f"S{LABEL_BYTES}"), ("valence", "f8"), ("n_orbitals", "i4")])


def is_hsx_head(head: bytes) -> bool:
    """Say whether the first eight bytes can start an HSX file of any version."""
    if len(head) < 8:
        return False
    both = [np.frombuffer(head[:8], order + "i4").tolist() for order in "<>"]
    return any(length == 16 or (length == 4 and word in (1, 2)) for length, word in both)


def read_hsx(path: Path) -> MatrixFile:
    """Read everything of an HSX file but its matrices.

    Raises
    ------
    FormatError
        When it is cut, damaged, another format or of a version that no release of SIESTA writes.
    MissingDataError
        When it cannot be read.
    """
    with open_matrix_file(path) as reader:
        first = reader.peek("the header")
        if first == 16:
            return _read_version_0(reader)
        version = int(reader.numbers("i4", 1, "the version")[0]) if first == 4 else -1
        if version not in (1, 2):
            raise FormatError(
                path,
                "this is no HSX file that dock knows",
                expected="HSX version 0, 1 or 2 (SIESTA up to 5.4)",
                found=f"version {version}" if first == 4 else f"a first record of {first} bytes",
                fix="Give the <SystemLabel>.HSX that SIESTA writes with 'SaveHS true'.",
            )
        return _read_version_12(reader, version)


def _read_version_0(reader: MatrixReader) -> MatrixFile:
    path = reader.path
    head = reader.numbers("i4", 4, "the header")
    n_orbitals, n_supercell, n_spin, n_entries = (int(value) for value in head)
    check_counts(path, n_orbitals, n_spin)
    n_images = _images_of_supercell(reader, n_orbitals, n_supercell)
    counts = reader.counts(n_orbitals, n_entries)
    columns, sections = _columns_and_sections(reader, counts, "f4", n_spin)
    electrons, temperature = _finite(path, reader.numbers("f8", 2, "electrons and temperature"))
    vectors = reader.rows("f4", 3 * counts, "the orbital vectors")
    species, atom_species = _atoms_of_version_0(reader, n_orbitals, n_spin)
    reader.finish()
    return MatrixFile(
        path=path,
        kind="HSX version 0",
        n_orbitals=n_orbitals,
        n_spin=n_spin,
        counts=counts,
        columns=columns,
        sections=sections,
        n_images=n_images,
        species=species,
        atom_species=atom_species,
        electrons=electrons,
        temperature_ry=temperature,
        vectors=vectors,
        single=True,
    )


def _columns_and_sections(
    reader: MatrixReader, counts: NDArray[np.int64], kind: str, n_spin: int
) -> tuple[Rows, dict[str, tuple[Rows, ...]]]:
    """Read columns, Hamiltonian and overlap, which stand in this order in every version."""
    columns = reader.rows("i4", counts, "the columns")
    hamiltonian = reader.components(kind, counts, "the Hamiltonian", n_spin)
    overlap = reader.rows(kind, counts, "the overlap")
    return columns, {"overlap": (overlap,), "hamiltonian": hamiltonian}


def _images_of_supercell(reader: MatrixReader, n_orbitals: int, n_supercell: int) -> int:
    """Return the number of images, after checking which orbital of the cell each orbital is."""
    path = reader.path
    if n_supercell % n_orbitals or not 1 <= n_supercell // n_orbitals <= MAX_IMAGES:
        expected = f"a multiple of the {n_orbitals} orbitals of the cell"
        damaged(path, "the orbitals of the supercell cannot be right", expected, n_supercell)
    reader.record("the Gamma flag", 4)
    unit = reader.numbers("i4", n_supercell, "the table of supercell orbitals")
    if not np.array_equal(unit, np.resize(np.arange(1, n_orbitals + 1), n_supercell)):
        expected = f"1 to {n_orbitals}, repeated"
        damaged(path, "the table of supercell orbitals is wrong", expected, "others")
    return n_supercell // n_orbitals


def _atoms_of_version_0(
    reader: MatrixReader, n_orbitals: int, n_spin: int
) -> tuple[tuple[SpeciesTable, ...], NDArray[np.int64]]:
    """Read the species and that of each atom; the atom of each orbital must fit them."""
    path = reader.path
    n_species = int(reader.numbers("i4", 1, "the number of species")[0])
    _check_species_number(path, n_species, n_orbitals)
    species = _read_species(reader, n_species, one_record=False)
    n_atoms = int(reader.numbers("i4", 1, "the number of atoms")[0])
    check_counts(path, n_orbitals, n_spin, n_atoms)
    atom_species = _atom_species(path, reader.numbers("i4", n_atoms, "the species"), n_species)
    owners = reader.numbers("i4", 2 * n_orbitals, "the atom of each orbital")[::2]
    sizes = _orbitals_of_atoms(species, atom_species)
    if not np.array_equal(owners, np.repeat(np.arange(1, n_atoms + 1), sizes)):
        problem = "the atoms' orbitals contradict the species"
        damaged(path, problem, "those of the species", "others")
    return species, atom_species


def _read_version_12(reader: MatrixReader, version: int) -> MatrixFile:
    path = reader.path
    kind = "f8" if reader.numbers("i4", 1, "the precision flag")[0] else "f4"
    head = reader.numbers("i4", 7, "the sizes")
    n_atoms, n_orbitals, n_spin, n_species = (int(value) for value in head[:4])
    check_counts(path, n_orbitals, n_spin, n_atoms)
    _check_species_number(path, n_species, n_atoms)
    nsc = check_nsc(path, head[4:])
    numbers = _finite(path, reader.numbers("f8", 12, "the cell and the Fermi level"))
    layout = _layout_of_atoms(int(np.prod(nsc)), n_atoms)
    (atoms,) = reader.fields(layout, "the images and the atoms")
    positions = _finite(path, atoms["positions"])
    atom_species = _atom_species(path, atoms["species"], n_species)
    species = _read_species(reader, n_species, one_record=True)
    k_grid = reader.k_grid() if version == 2 else None
    _check_last(path, atoms["last"], _orbitals_of_atoms(species, atom_species), n_orbitals)
    counts = reader.counts(n_orbitals)
    columns, sections = _columns_and_sections(reader, counts, kind, n_spin)
    reader.finish()
    fermi, electrons, temperature = (float(value) for value in numbers[9:])
    unset = abs(fermi) > _UNSET_FERMI_RY or fermi == 0
    return MatrixFile(
        path=path,
        kind=f"HSX version {version}",
        n_orbitals=n_orbitals,
        n_spin=n_spin,
        counts=counts,
        columns=columns,
        sections=sections,
        images=atoms["images"],
        nsc=nsc,
        cell=numbers[:9].reshape(3, 3),
        positions=positions,
        species=species,
        atom_species=atom_species,
        fermi_ry=None if unset else fermi,
        electrons=electrons or None,
        temperature_ry=temperature,
        k_grid=k_grid,
        single=kind == "f4",
    )


def _layout_of_atoms(n_images: int, n_atoms: int) -> np.dtype[Any]:
    """Return the layout of the record with image vectors, positions, species, last orbitals."""
    images, positions = ("images", "i4", (n_images, 3)), ("positions", "f8", (n_atoms, 3))
    return np.dtype([images, positions, ("species", "i4", (n_atoms,)), ("last", "i4", (n_atoms,))])


def _check_last(
    path: Path, last: NDArray[np.int32], sizes: NDArray[np.int64], n_orbitals: int
) -> None:
    """Hold the last orbital of each atom on file against what the species say."""
    ends = np.cumsum(sizes)
    # sisl 0.20 writes each atom's first orbital, from 0, in the place of its last one.
    fits = any(np.array_equal(last, part) for part in (ends, ends - sizes))
    if not fits or ends[-1] != n_orbitals:
        expected = f"{n_orbitals} orbitals, as the species have them"
        damaged(path, "the last orbital of each atom contradicts the species", expected, "others")


def _read_species(
    reader: MatrixReader, n_species: int, *, one_record: bool
) -> tuple[SpeciesTable, ...]:
    """Read labels, valence charges and sizes, then the orbitals, each species' in one record."""
    heads = [
        (label.decode("utf-8", "replace").strip(" \0"), valence, count)
        for label, valence, count in reader.fields(_SPECIES, "the species", n_species).tolist()
    ]
    for label, _, count in heads:
        if not 1 <= count <= 10_000 or not label:
            expected, found = "a label and 1 to 10000 orbitals", f"{label!r} with {count} orbitals"
            damaged(reader.path, "the species table cannot be right", expected, found)
    labels = [label for label, _, _ in heads]
    if len(set(labels)) != len(labels):
        damaged(reader.path, "two species have one label", "different labels", ", ".join(labels))
    tables = []
    for label, valence, count in heads:
        if one_record:
            orbitals = reader.numbers("i4", 3 * count, "a species' orbitals").reshape(-1, 3)
        else:
            orbitals = np.stack([reader.numbers("i4", 3, "an orbital") for _ in range(count)])
        tables.append(SpeciesTable(label, valence, _shells(reader.path, label, orbitals)))
    return tuple(tables)


def _shells(
    path: Path, label: str, orbitals: NDArray[np.int32]
) -> tuple[tuple[int, int, int, bool], ...]:
    """Group the orbitals of a species into shells: runs of 2l + 1 equal (n, l, zeta)."""
    shells, place = [], 0
    while place < len(orbitals):
        n, l, zeta = (int(value) for value in orbitals[place])
        width = 2 * l + 1
        run = orbitals[place : place + width]
        if not 0 <= l <= MAX_L or len(run) < width or np.any(run != run[0]):
            problem = f"the orbitals of species {label} are no whole shells"
            expected = f"2l + 1 equal rows (n, l, zeta), l from 0 to {MAX_L}"
            damaged(path, problem, expected, f"{run.tolist()[:13]} from orbital {place + 1}")
        shells.append((n, l, zeta, False))
        place += width
    return tuple(shells)


def _check_species_number(path: Path, n_species: int, at_most: int) -> None:
    if not 1 <= n_species <= max(at_most, 1000):
        damaged(path, "the number of species cannot be right", f"1 to {at_most}", n_species)


def _atom_species(path: Path, values: NDArray[np.int32], n_species: int) -> NDArray[np.int64]:
    if values.min() < 1 or values.max() > n_species:
        found = f"{values.min()} to {values.max()}"
        damaged(path, "an atom has no species", f"species 1 to {n_species}", found)
    return values.astype(np.int64) - 1


def _orbitals_of_atoms(
    species: tuple[SpeciesTable, ...], atom_species: NDArray[np.int64]
) -> NDArray[np.int64]:
    return np.array([table.n_orbitals for table in species], dtype=np.int64)[atom_species]


def _finite(path: Path, values: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(values).all():
        damaged(path, "the header is not finite", "finite numbers", values.ravel().tolist()[:12])
    return values


def write_hsx(stream: BinaryIO, native: NativeCalculation) -> None:
    """Write an HSX file of the version that is asked for."""
    (_write_version_0 if native.version == 0 else _write_version_12)(stream, native)


def _write_version_12(stream: BinaryIO, native: NativeCalculation) -> None:
    """Write version 1 or 2."""
    calc, basis = native.calc, native.calc.basis
    bohr = native.constants.bohr_angstrom
    double = not native.options.single_precision
    sizes = [basis.n_atoms, basis.n_orbitals, native.n_spin, len(native.species), *native.nsc]
    fermi = (calc.fermi_level or 0.0) / native.constants.rydberg_ev
    levels = [fermi, calc.n_electrons or 0.0, native.temperature_ry]
    write_record(stream, np.array([native.version], dtype=np.int32))
    write_record(stream, np.array([double], dtype=np.int32))
    write_record(stream, np.array(sizes, dtype=np.int32))
    write_record(stream, np.array([*(calc.structure.cell / bohr).ravel(), *levels]))
    write_record(
        stream,
        canonical_images(native.nsc),
        np.asarray(calc.structure.positions / bohr, dtype=np.float64),
        native.atom_species,
        basis.offsets[1:].astype(np.int32),
    )
    _write_species(stream, native)
    for species in native.species:
        write_record(stream, _orbital_table(species))
    if native.version == 2:
        grid = native.k_grid
        write_record(stream, np.array(grid.matrix, dtype=np.int32), np.array(grid.shift))
    _write_matrices(stream, native, "<f8" if double else "<f4")


def _write_version_0(stream: BinaryIO, native: NativeCalculation) -> None:
    """Write version 0, in single precision."""
    calc, basis, rows = native.calc, native.calc.basis, native.rows
    bohr = native.constants.bohr_angstrom
    n_images = int(np.prod(native.nsc))
    sizes = [basis.n_orbitals, basis.n_orbitals * n_images, native.n_spin, int(rows.counts.sum())]
    write_record(stream, np.array(sizes, dtype=np.int32))
    write_record(stream, np.zeros(1, dtype=np.int32))
    write_record(stream, np.tile(np.arange(1, basis.n_orbitals + 1, dtype=np.int32), n_images))
    _write_matrices(stream, native, "<f4")
    write_record(stream, np.array([calc.n_electrons or 0.0, native.temperature_ry]))
    rows.write_vectors(stream, calc.structure.positions / bohr, calc.structure.cell / bohr)
    write_record(stream, np.array([len(native.species)], dtype=np.int32))
    _write_species(stream, native)
    for species in native.species:
        for row in _orbital_table(species):
            write_record(stream, row)
    write_record(stream, np.array([basis.n_atoms], dtype=np.int32))
    write_record(stream, native.atom_species)
    atom = np.repeat(np.arange(basis.n_atoms), basis.counts)
    within = np.arange(basis.n_orbitals) - basis.offsets[atom]
    write_record(stream, np.stack([atom + 1, within + 1], axis=1).astype(np.int32))


def _write_matrices(stream: BinaryIO, native: NativeCalculation, kind: str) -> None:
    native.rows.write_pattern(stream)
    for quantity in ("hamiltonian", "overlap"):
        native.rows.write_values(stream, native.components(quantity), kind)


def _write_species(stream: BinaryIO, native: NativeCalculation) -> None:
    heads = [
        (species.label.encode().ljust(LABEL_BYTES), species.valence or 0.0, species.n_orbitals)
        for species in native.species
    ]
    write_record(stream, np.array(heads, dtype=_SPECIES))


def _orbital_table(species: SpeciesTable) -> NDArray[np.int32]:
    rows = [(n, l, zeta) for n, l, zeta, _ in species.shells for _ in range(2 * l + 1)]
    return np.array(rows, dtype=np.int32)
