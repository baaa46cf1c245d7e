"""Structures from any file that describes one: unified folders, codes' inputs, ASE's formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dock.converters.registry import detect, read
from dock.core.structure import Structure
from dock.errors import DockError, FormatError, MissingDataError

__all__ = ["StructureFile", "holds_structure", "read_structure"]


@dataclass(frozen=True)
class StructureFile:
    """A structure, atoms unwrapped as the file has them, and where it comes from.

    An OpenMX input also says its basis of each species label.
    """

    structure: Structure
    path: Path
    basis_strings: Mapping[str, str] = field(default_factory=dict)


def read_structure(path: str | Path) -> StructureFile:
    """Read a structure.

    Parameters
    ----------
    path
        A unified folder, POSCAR, fdf, STRU, OpenMX input, a finished run of any code that `dock`
        reads, any file that ASE reads, or a folder with one of these.

    Raises
    ------
    MissingDataError
        When nothing is there.
    FormatError
        When the file is damaged or of an unknown kind.

    Examples
    --------
    >>> read_structure("fixtures/unified/si").structure.formula
    'Si2'
    """
    path = Path(path)
    if not path.exists():
        raise MissingDataError("the structure", path, "There is no such file or folder.")
    if path.is_dir():
        return _folder(path)
    for matches, reader in _READERS:
        if matches(path):
            return reader(path)
    return _ase(path)


def holds_structure(folder: Path) -> bool:
    """Say whether `read_structure` finds one in a folder itself: a run, or a structure file."""
    return detect(folder) is not None or any(map(_is_structure, folder.iterdir()))


def _folder(folder: Path) -> StructureFile:
    if (folder / "POSCAR").is_file():
        return _poscar(folder / "POSCAR")
    files = [] if detect(folder) else [file for file in folder.iterdir() if _is_structure(file)]
    if len(files) > 1:
        raise FormatError(
            folder,
            "the folder holds several structures",
            expected="one",
            found=", ".join(sorted(file.name for file in files)),
            fix="Give the file itself.",
        )
    if files:
        return read_structure(files[0])
    calc = read(folder)  # without a run this raises, saying what was expected there
    return StructureFile(calc.structure, Path(calc.source))


_ENDINGS = (".fdf", ".cif", ".xyz", ".extxyz", ".vasp")
_NAMES = ("CONTCAR", "STRU", "geometry.in")


def _is_structure(file: Path) -> bool:
    """Say by its name whether a file is a structure; a ``.dat`` is looked into."""
    if file.suffix == ".dat" and file.is_file():
        return b"atoms.speciesandcoordinates" in file.read_bytes().lower()
    return (file.suffix in _ENDINGS or file.name in _NAMES) and file.is_file()


# The package of a code is imported when one of its files is read: all of them would add 0.3 s to
# each command that takes a structure.


def _fdf(path: Path) -> StructureFile:
    from dock.converters.siesta.fdf import read_fdf
    from dock.converters.siesta.structure import element_numbers
    from dock.units import SIESTA5

    fdf = read_fdf(path)
    atoms, species = fdf.atoms(SIESTA5), fdf.species()
    elements = element_numbers(path, [number for number, _ in species])
    numbers = [elements[kind] for kind in atoms.species]
    labels = tuple(species[kind][1] for kind in atoms.species)
    return StructureFile(Structure(atoms.cell, atoms.positions, np.array(numbers), labels), path)


def _poscar(path: Path) -> StructureFile:
    """Read a POSCAR; the periodicity is that of info.json beside it, if `dock` wrote it."""
    from dock.converters.deeph.info import read_info
    from dock.converters.deeph.poscar import read_poscar

    structure = read_poscar(path)
    info = path.parent / "info.json"
    if path.name == "POSCAR" and info.is_file():
        pbc = read_info(info).own.get("pbc")
        if isinstance(pbc, list) and len(pbc) == 3:
            structure = replace(structure, pbc=(bool(pbc[0]), bool(pbc[1]), bool(pbc[2])))
    return StructureFile(structure, path)


def _stru(path: Path) -> StructureFile:
    from dock.converters.abacus.stru import element_number, read_stru

    stru = read_stru(path)
    if stru.cell is None:
        raise FormatError(path, "the lattice is given by name", expected="LATTICE_VECTORS")
    numbers = {kind.label: element_number(kind) for kind in stru.species}
    positions = stru.fractional(stru.cell) @ stru.cell
    atoms = np.array([numbers[label] for label in stru.labels])
    return StructureFile(Structure(stru.cell, positions, atoms, stru.labels), path)


def _openmx(path: Path) -> StructureFile:
    from dock.converters.openmx.dat import read_input
    from dock.units import OPENMX

    source = read_input(path)
    cell, bohr = source.cell_bohr, OPENMX.bohr_angstrom
    positions = np.asarray(source.positions_bohr) * bohr
    pbc = cell is not None
    box = np.eye(3) * (np.ptp(positions, axis=0).max() + 20.0) if cell is None else cell * bohr
    structure = Structure(box, positions, source.numbers, source.labels, pbc=(pbc, pbc, pbc))
    strings = {kind.label: str(kind.pao) for kind in source.species}
    return StructureFile(structure, path, strings)


def _ase(path: Path) -> StructureFile:
    """Read with ASE, whose readers raise errors of every kind for files that they do not know."""
    import ase.io

    try:
        atoms = ase.io.read(path)
    except DockError:
        raise
    except Exception as error:
        raise FormatError(
            path,
            "the structure cannot be read",
            expected="a unified folder, POSCAR, CIF, extxyz, fdf, STRU or any file that ASE reads",
            found=f"{type(error).__name__}: {error}",
        ) from error
    if isinstance(atoms, list):
        atoms = atoms[-1]
    return StructureFile(Structure.from_ase(atoms), path)


def _named(*words: str) -> Callable[[Path], bool]:
    return lambda path: any(word in path.name.upper() for word in words)


_READERS: tuple[tuple[Callable[[Path], bool], Callable[[Path], StructureFile]], ...] = (
    (_named("POSCAR", "CONTCAR", ".VASP"), _poscar),
    (_named("STRU"), _stru),
    (lambda path: path.suffix == ".dat", _openmx),
    (lambda path: path.suffix == ".fdf", _fdf),
    (lambda path: not path.suffix, _poscar),
)
