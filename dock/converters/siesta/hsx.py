"""SIESTA's HSX files: Hamiltonian and overlap, versions 0 (up to 4.1), 1 and 2 (5.x), both ways."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.converters.siesta.matrix_file import (
    LABEL_BYTES,
    MAX_IMAGES,
    SIESTA_FILES,
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
from dock.converters.siesta.sparse_rows import write_record, write_rows
from dock.errors import FormatError
from dock.io.binary import Rows

__all__ = ["is_hsx_head", "read_hsx", "write_hsx"]

MAX_L = 6
_UNSET_FERMI_RY = 1e4  # a Hamiltonian that was only set up has a huge number there


class _Sizes(NamedTuple):
    n_atoms: int
    n_orbitals: int
    n_spin: int
    n_species: int


def is_hsx_head(head: bytes) -> bool:
    """Say whether the first eight bytes can start an HSX file of any version."""
    if len(head) < 8:
        return False
    both = [np.frombuffer(head[:8], order + "i4").tolist() for order in "<>"]
    return any(length == 16 or (length == 4 and word in (1, 2)) for length, word in both)


def read_hsx(path: Path) -> MatrixFile:
    """Read everything of an HSX file but its matrices.

    Parameters
    ----------
    path
        The file.

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
    n_orbitals, n_supercell, n_spin, n_entries = (
        int(value) for value in reader.numbers("i4", 4, "the header")
    )
    check_counts(path, n_orbitals, n_spin)
    n_images = _images_of_supercell(reader, n_orbitals, n_supercell)
    counts = reader.counts(n_orbitals, n_entries)
    columns, sections = _columns_and_sections(reader, counts, "f4", n_spin)
    electrons, temperature = _finite(path, reader.numbers("f8", 2, "electrons and temperature"))
    vectors = reader.rows("f4", 3 * counts, "the orbital vectors")
    species, atom_species, offsets = _atoms_of_version_0(reader, n_orbitals, n_spin)
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
        orbital_offsets=offsets,
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
) -> tuple[tuple[SpeciesTable, ...], NDArray[np.int64], NDArray[np.int64]]:
    """Read species, the species of each atom, and the first orbital of each atom."""
    path = reader.path
    n_species = int(reader.numbers("i4", 1, "the number of species")[0])
    _check_species_number(path, n_species, n_orbitals)
    heads = _species_heads(reader, n_species)
    species = tuple(
        _species(path, head, [reader.numbers("i4", 3, "an orbital") for _ in range(head[2])])
        for head in heads
    )
    n_atoms = int(reader.numbers("i4", 1, "the number of atoms")[0])
    check_counts(path, n_orbitals, n_spin, n_atoms)
    atom_species = _atom_species(path, reader.numbers("i4", n_atoms, "the species"), n_species)
    owners = reader.numbers("i4", 2 * n_orbitals, "the atom of each orbital")
    offsets = _offsets(species, atom_species)
    expected_owner = np.repeat(np.arange(1, n_atoms + 1), np.diff(offsets))
    if not np.array_equal(owners.reshape(-1, 2)[:, 0], expected_owner):
        damaged(
            path, "the atoms' orbitals contradict the species", "those of the species", "others"
        )
    return species, atom_species, offsets


def _read_version_12(reader: MatrixReader, version: int) -> MatrixFile:
    path = reader.path
    kind = "f8" if reader.numbers("i4", 1, "the precision flag")[0] else "f4"
    head = reader.numbers("i4", 7, "the sizes")
    sizes = _Sizes(*(int(value) for value in head[:4]))
    check_counts(path, sizes.n_orbitals, sizes.n_spin, sizes.n_atoms)
    _check_species_number(path, sizes.n_species, sizes.n_atoms)
    nsc = check_nsc(path, head[4:7])
    numbers = _finite(path, reader.numbers("f8", 12, "the cell and the Fermi level"))
    images, positions, atom_species, last = _geometry(reader, sizes, int(np.prod(nsc)))
    species = _species_of_version_12(reader, sizes.n_species)
    k_grid = reader.k_grid() if version == 2 else None
    offsets = _checked_offsets(path, _offsets(species, atom_species), last, sizes.n_orbitals)
    counts = reader.counts(sizes.n_orbitals)
    columns, sections = _columns_and_sections(reader, counts, kind, sizes.n_spin)
    reader.finish()
    fermi, electrons, temperature = (float(value) for value in numbers[9:])
    unset = abs(fermi) > _UNSET_FERMI_RY or fermi == 0
    return MatrixFile(
        path=path,
        kind=f"HSX version {version}",
        n_orbitals=sizes.n_orbitals,
        n_spin=sizes.n_spin,
        counts=counts,
        columns=columns,
        sections=sections,
        n_images=len(images),
        images=images,
        nsc=nsc,
        cell=numbers[:9].reshape(3, 3),
        positions=positions,
        orbital_offsets=offsets,
        species=species,
        atom_species=atom_species,
        fermi_ry=None if unset else fermi,
        electrons=electrons or None,
        temperature_ry=temperature,
        k_grid=k_grid,
        single=kind == "f4",
    )


def _checked_offsets(
    path: Path, offsets: NDArray[np.int64], last: NDArray[np.int32], n_orbitals: int
) -> NDArray[np.int64]:
    """Hold the last orbital of each atom on file against what the species say."""
    # sisl 0.20 writes each atom's first orbital, from 0, in the place of its last one.
    fits = any(np.array_equal(last, part) for part in (offsets[1:], offsets[:-1]))
    if not fits or offsets[-1] != n_orbitals:
        expected = f"{n_orbitals} orbitals, as the species have them"
        damaged(path, "the last orbital of each atom contradicts the species", expected, "others")
    return offsets


def _geometry(
    reader: MatrixReader, sizes: _Sizes, n_images: int
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int64], NDArray[np.int32]]:
    """Read the record of image vectors, positions, species and last orbitals."""
    path, n_atoms = reader.path, sizes.n_atoms
    lengths = (12 * n_images, 24 * n_atoms, 4 * n_atoms, 4 * n_atoms)
    data = reader.record("the images and the atoms", sum(lengths))
    ends = np.cumsum(lengths)
    images = reader.split(data[: ends[0]], "i4").reshape(-1, 3)
    positions = _finite(path, reader.split(data[ends[0] : ends[1]], "f8")).reshape(-1, 3)
    species = _atom_species(path, reader.split(data[ends[1] : ends[2]], "i4"), sizes.n_species)
    return images, positions, species, reader.split(data[ends[2] :], "i4")


def _species_of_version_12(reader: MatrixReader, n_species: int) -> tuple[SpeciesTable, ...]:
    return tuple(
        _species(reader.path, head, reader.numbers("i4", 3 * head[2], "a species' orbitals"))
        for head in _species_heads(reader, n_species)
    )


def _species_heads(reader: MatrixReader, n_species: int) -> list[tuple[str, float, int]]:
    """Read the record of labels, valence charges and numbers of orbitals."""
    size = LABEL_BYTES + 8 + 4
    data = reader.record("the species", size * n_species)
    heads = []
    for begin in range(0, len(data), size):
        label = data[begin : begin + LABEL_BYTES].decode("utf-8", "replace").strip(" \0")
        valence = reader.split(data[begin + LABEL_BYTES : begin + LABEL_BYTES + 8], "f8")
        count = int(reader.split(data[begin + LABEL_BYTES + 8 : begin + size], "i4")[0])
        if not 1 <= count <= 10_000 or not label:
            damaged(
                reader.path,
                "the species table cannot be right",
                "a label and 1 to 10000 orbitals",
                f"{label!r} with {count} orbitals",
            )
        heads.append((label, float(valence[0]), count))
    labels = [label for label, _, _ in heads]
    if len(set(labels)) != len(labels):
        damaged(reader.path, "two species have one label", "different labels", ", ".join(labels))
    return heads


def _species(path: Path, head: tuple[str, float, int], orbitals: object) -> SpeciesTable:
    """Group the orbitals of a species into shells: runs of 2l + 1 equal (n, l, zeta)."""
    label, valence, count = head
    table = np.asarray(orbitals, dtype=np.int64).reshape(-1, 3)
    shells, place = [], 0
    while place < count:
        n, l, zeta = (int(value) for value in table[place])
        width = 2 * l + 1
        run = table[place : place + width]
        if not 0 <= l <= MAX_L or len(run) < width or np.any(run != run[0]):
            raise FormatError(
                path,
                f"the orbitals of species {label} are no whole shells",
                expected=f"2l + 1 equal rows (n, l, zeta), l from 0 to {MAX_L}",
                found=f"{run.tolist()[:13]} from orbital {place + 1}",
                fix=SIESTA_FILES.damaged_fix,
            )
        shells.append((n, l, zeta, False))
        place += width
    return SpeciesTable(label, valence, tuple(shells))


def _check_species_number(path: Path, n_species: int, at_most: int) -> None:
    if not 1 <= n_species <= max(at_most, 1000):
        damaged(path, "the number of species cannot be right", f"1 to {at_most}", n_species)


def _atom_species(path: Path, values: NDArray[np.int32], n_species: int) -> NDArray[np.int64]:
    if values.min() < 1 or values.max() > n_species:
        found = f"{values.min()} to {values.max()}"
        damaged(path, "an atom has no species", f"species 1 to {n_species}", found)
    return values.astype(np.int64) - 1


def _offsets(
    species: tuple[SpeciesTable, ...], atom_species: NDArray[np.int64]
) -> NDArray[np.int64]:
    sizes = np.array([table.n_orbitals for table in species], dtype=np.int64)[atom_species]
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes)])


def _finite(path: Path, values: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(values).all():
        damaged(path, "the header is not finite", "finite numbers", values.tolist()[:12])
    return values


def write_hsx(stream: BinaryIO, native: NativeCalculation) -> None:
    """Write an HSX file of the version that is asked for."""
    (_write_version_0 if native.version == 0 else _write_version_12)(stream, native)


def _write_version_12(stream: BinaryIO, native: NativeCalculation) -> None:
    """Write version 1 or 2."""
    calc, basis, rows = native.calc, native.basis, native.rows
    bohr = native.constants.bohr_angstrom
    double = not native.options.single_precision
    kind = "<f8" if double else "<f4"
    sizes = [basis.n_atoms, basis.n_orbitals, native.n_spin, len(native.species), *native.nsc]
    levels = [
        (calc.fermi_level or 0.0) / native.constants.rydberg_ev,
        calc.n_electrons or 0.0,
        native.temperature_ry,
    ]
    write_record(stream, np.array([native.version], dtype=np.int32))
    write_record(stream, np.array([double], dtype=np.int32))
    write_record(stream, np.array(sizes, dtype=np.int32))
    write_record(
        stream, np.array([*(calc.structure.cell / bohr).ravel(), *levels], dtype=np.float64)
    )
    write_record(
        stream,
        canonical_images(native.nsc),
        np.asarray(calc.structure.positions / bohr, dtype=np.float64),
        native.atom_species,
        basis.offsets[1:].astype(np.int32),
    )
    _write_species(stream, native)
    for species in native.species:
        write_record(stream, _orbital_table(species.shells))
    if native.version == 2:
        grid = native.k_grid
        write_record(stream, np.array(grid.matrix, dtype=np.int32), np.array(grid.shift))
    write_record(stream, rows.counts.astype(np.int32))
    write_rows(stream, rows.counts, rows.columns(), "<i4")
    for component in (*native.components("hamiltonian"), *native.components("overlap")):
        write_rows(stream, rows.counts, rows.values(component), kind)


def _write_version_0(stream: BinaryIO, native: NativeCalculation) -> None:
    """Write version 0, in single precision."""
    calc, basis, rows = native.calc, native.basis, native.rows
    bohr = native.constants.bohr_angstrom
    n_images = int(np.prod(native.nsc))
    n_supercell = basis.n_orbitals * n_images
    counts = rows.counts
    sizes = [basis.n_orbitals, n_supercell, native.n_spin, int(counts.sum())]
    write_record(stream, np.array(sizes, dtype=np.int32))
    write_record(stream, np.zeros(1, dtype=np.int32))
    write_record(stream, np.tile(np.arange(1, basis.n_orbitals + 1, dtype=np.int32), n_images))
    write_record(stream, counts.astype(np.int32))
    write_rows(stream, counts, rows.columns(), "<i4")
    for component in (*native.components("hamiltonian"), *native.components("overlap")):
        write_rows(stream, counts, rows.values(component), "<f4")
    write_record(stream, np.array([calc.n_electrons or 0.0, native.temperature_ry]))
    vectors = rows.vectors(
        np.asarray(calc.structure.positions / bohr), np.asarray(calc.structure.cell / bohr)
    )
    write_rows(stream, 3 * counts, vectors, "<f4")
    write_record(stream, np.array([len(native.species)], dtype=np.int32))
    _write_species(stream, native)
    for species in native.species:
        for row in _orbital_table(species.shells):
            write_record(stream, row)
    write_record(stream, np.array([basis.n_atoms], dtype=np.int32))
    write_record(stream, native.atom_species)
    atom = np.repeat(np.arange(basis.n_atoms), basis.counts)
    within = np.arange(basis.n_orbitals) - basis.offsets[atom]
    write_record(stream, np.stack([atom + 1, within + 1], axis=1).astype(np.int32))


def _write_species(stream: BinaryIO, native: NativeCalculation) -> None:
    parts: list[bytes] = []
    for species in native.species:
        parts.append(species.label.encode().ljust(LABEL_BYTES))
        parts.append(np.array([species.valence or 0.0], dtype="<f8").tobytes())
        parts.append(np.array([species.n_orbitals], dtype="<i4").tobytes())
    write_record(stream, *parts)


def _orbital_table(shells: tuple[tuple[int, int, int, bool], ...]) -> np.ndarray:
    rows = [(n, l, zeta) for n, l, zeta, _ in shells for _ in range(2 * l + 1)]
    return np.array(rows, dtype=np.int32)
