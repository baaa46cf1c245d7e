"""Cell, atoms and kinds of a CP2K input: its section SUBSYS, and an xyz file that it names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from dock.converters.cp2k.input_file import Section
from dock.core.elements import atomic_number, element_of_label
from dock.core.structure import Structure
from dock.errors import ConventionError, FormatError, MissingDataError
from dock.io.text import finite_numbers, load_text

__all__ = ["Kind", "System", "read_system"]

_FIX = "Give cell and coordinates in the input itself, sections CELL and COORD, and run again."
_KEYWORDS = {"SCALED", "UNIT"}
_ORBITAL_TYPES = {"ORB", "GTO"}


@dataclass(frozen=True)
class Kind:
    """One kind of atoms: its name, element, atomic number (0 for ghosts) and basis.

    `basis` is the name of a basis set; `lines` are those of a set that stands in the input, else
    empty.
    """

    name: str
    element: str
    number: int
    basis: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class System:
    """Structure and kinds of an input; the species labels of the structure are the kinds' names."""

    structure: Structure
    kinds: dict[str, Kind]
    is_centred: bool


def read_system(path: Path, root: Section, bohr: float) -> System:
    """Return what an input says of the system; `path` is the input, `bohr` in Å.

    Raises
    ------
    FormatError
        When cell or coordinates are missing, or stand in files that are not read.
    ConventionError
        When an atom is of no element.
    """
    force = root.all("FORCE_EVAL")
    if len(force) != 1:
        _refuse(path, "several force environments are not read", f"{len(force)} of FORCE_EVAL")
    subsys = force[0].find("SUBSYS")
    if subsys is None or subsys.find("CELL") is None:
        _refuse(path, "there is no cell", "no section SUBSYS with CELL")
    topology = subsys.find("TOPOLOGY") or Section("TOPOLOGY")
    cell, pbc = _cell(path, subsys.find("CELL") or Section("CELL"), bohr)
    copies = [
        value
        for section in (topology, subsys.find("CELL") or topology)
        for value in section.values("MULTIPLE_UNIT_CELL")
    ]
    if any(value.split() != ["1", "1", "1"] for value in copies):
        _refuse(path, "atoms that CP2K multiplies are not read", f"MULTIPLE_UNIT_CELL {copies[0]}")
    names, positions = _atoms(path, subsys, topology, cell, bohr)
    kinds = _kinds(path, subsys, names)
    numbers = np.array([kinds[name].number for name in names])
    structure = Structure(cell, positions, numbers, tuple(names), pbc)
    return System(structure, kinds, topology.find("CENTER_COORDINATES") is not None)


def _cell(
    path: Path, section: Section, bohr: float
) -> tuple[NDArray[np.float64], tuple[bool, bool, bool]]:
    """Return lattice vectors, Å, and along which the structure repeats."""
    if section.value("CELL_FILE_NAME") is not None:
        _refuse(path, "a cell in a file of its own is not read", "CELL_FILE_NAME")
    words = (section.value("PERIODIC") or "XYZ").upper()
    pbc = ("X" in words, "Y" in words, "Z" in words)
    rows = [_lengths(path, section.value(name), bohr) for name in "ABC"]
    lengths = _lengths(path, section.value("ABC"), bohr)
    if all(row is not None for row in rows):
        return np.array(rows), pbc
    if lengths is None:
        _refuse(path, "there is no cell", "neither ABC nor A, B and C in CELL")
    text = section.value("ALPHA_BETA_GAMMA", "ANGLES") or "90 90 90"
    angles = finite_numbers(text.replace("[deg]", "").split(), 3)
    if angles is None:
        _refuse(path, "the angles of the cell are no three numbers", text)
    alpha, beta, gamma = (np.cos(np.radians(angle)) if angle != 90 else 0.0 for angle in angles)
    sine = np.sqrt(1 - gamma**2)
    third = (alpha - beta * gamma) / sine
    height = np.sqrt(max(1 - beta**2 - third**2, 0.0))
    unit = np.array([[1, 0, 0], [gamma, sine, 0], [beta, third, height]])
    return np.array(lengths)[:, None] * unit, pbc


def _lengths(path: Path, text: str | None, bohr: float) -> list[float] | None:
    """Return three lengths, Å, of a keyword with perhaps a unit before them."""
    if text is None:
        return None
    match = re.fullmatch(r"(?:\[(\w+)\])?(.*)", text)
    unit, rest = (match[1] or "angstrom", match[2]) if match else ("", text)
    values = finite_numbers(rest.split(), 3)
    if values is None:
        _refuse(path, "the cell is no three numbers", text)
    return [value * _unit(path, unit, bohr) for value in values]


def _unit(path: Path, name: str, bohr: float) -> float:
    """Return a unit of length in Å."""
    known = {"angstrom": 1.0, "bohr": bohr, "nm": 10.0, "pm": 0.01}
    if name.lower() not in known:
        _refuse(path, "a unit of length is not known", name)
    return known[name.lower()]


def _atoms(
    path: Path, subsys: Section, topology: Section, cell: NDArray[np.float64], bohr: float
) -> tuple[list[str], NDArray[np.float64]]:
    """Return kind and position, Å, of each atom."""
    coord = subsys.find("COORD")
    if coord is None:
        return _xyz(path, topology)
    scaled = coord.flag("SCALED")
    unit = _unit(path, coord.value("UNIT") or "angstrom", bohr)
    rows = [line.split() for line in coord.lines]
    names, positions = _rows(path, [row for row in rows if row[0].upper() not in _KEYWORDS])
    return names, positions @ cell if scaled else positions * unit


def _xyz(path: Path, topology: Section) -> tuple[list[str], NDArray[np.float64]]:
    """Read the first frame of the xyz file that the input names."""
    name = topology.value("COORD_FILE_NAME", "COORDINATE_FILE_NAME")
    kind = (topology.value("COORD_FILE_FORMAT", "COORDINATE", "COORDINATES") or "").upper()
    if name is None or kind not in {"XYZ", ""} or (not kind and not name.endswith(".xyz")):
        found = "no COORD" if name is None else f"COORD_FILE_NAME {name}, {kind or 'no format'}"
        _refuse(path, "the coordinates are not in the input, nor in an xyz file", found)
    file = path.parent / name.strip("'\"")
    if not file.is_file():
        raise MissingDataError(name, path, "It has the coordinates: copy it beside the input.")
    lines = load_text(file, "an xyz file", "CP2K").splitlines()
    count = int(lines[0]) if lines and lines[0].strip().isdecimal() else -1
    if not 0 < count <= len(lines) - 2:
        _refuse(file, "the xyz file is cut or of another kind", f"{len(lines)} lines")
    return _rows(file, [line.split() for line in lines[2 : 2 + count]])


def _rows(path: Path, rows: list[list[str]]) -> tuple[list[str], NDArray[np.float64]]:
    numbers = [finite_numbers(row[1:4], 3) for row in rows]
    wrong = next((row for row, found in zip(rows, numbers, strict=True) if found is None), None)
    if wrong is not None or not rows:
        _refuse(path, "a row of coordinates is none", " ".join(wrong or []) or "no atoms")
    return [row[0] for row in rows], np.array(numbers, dtype=np.float64)


def _kinds(path: Path, subsys: Section, names: list[str]) -> dict[str, Kind]:
    """Return the kind of each name, as CP2K matches them: in capitals, or the element's."""
    sections = {section.parameter.upper(): section for section in subsys.all("KIND")}
    default = sections.get("DEFAULT")
    kinds = {}
    for name in dict.fromkeys(names):
        element = _element(name) or ""
        section = sections.get(name.upper()) or sections.get(element.upper()) or default
        if section is None:
            _refuse(path, f"the kind of the atom {name} is missing", ", ".join(sections) or "none")
        kinds[name] = _kind(path, name, section)
    return kinds


def _kind(path: Path, name: str, section: Section) -> Kind:
    given = section.value("ELEMENT", "ELEMENT_SYMBOL")
    element = given.capitalize() if given else _element(name)
    if element is None:
        raise ConventionError(
            f"{path}: the kind {name} is called after no element, and its section has no ELEMENT."
        )
    number = 0 if section.flag("GHOST") else atomic_number(element)
    inline = [part for part in section.all("BASIS") if _is_orbital(part.parameter.split())]
    if inline:
        return Kind(name, element, number, "in the input", tuple(inline[0].lines))
    named = [text.split() for text in section.values("BASIS_SET")]
    sets = [words[-1] for words in named if words and _is_orbital(words[:-1])]
    if not sets:
        _refuse(path, f"the kind {name} has no BASIS_SET", "none for orbitals")
    return Kind(name, element, number, sets[0])


def _element(name: str) -> str | None:
    """Return the element that a kind is called after, in whatever letters: ``FE1`` is iron."""
    return element_of_label(name[:1].upper() + name[1:2].lower() + name[2:])


def _is_orbital(types: list[str]) -> bool:
    return all(word.upper() in _ORBITAL_TYPES for word in types)


def _refuse(path: Path, problem: str, found: str) -> NoReturn:
    raise FormatError(path, problem, found=found, fix=_FIX)
