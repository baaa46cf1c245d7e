"""STRU, ABACUS's structure file: read with its full precision, and written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from dock.core.elements import SYMBOLS, atomic_number, element_of_label, element_of_mass
from dock.core.structure import Structure
from dock.errors import ConventionError, FormatError
from dock.io.text import finite_numbers, read_text
from dock.units import ABACUS

__all__ = [
    "EMPTY",
    "FOLD_MARGIN",
    "Species",
    "StruFile",
    "contradiction",
    "element_number",
    "format_stru",
    "read_stru",
]

FOLD_MARGIN = 1e-12
"""Fractional coordinates this little below 0 or 1 count as 0: they are so by rounding."""

EMPTY = "empty"
"""What the label of an atom without a nucleus contains: ``H_empty`` has the orbitals of H."""

BOHR = ABACUS.bohr_angstrom
_CENTRES = {
    "cartesian_angstrom_center_xy": (0, 1),
    "cartesian_angstrom_center_xz": (0, 2),
    "cartesian_angstrom_center_yz": (1, 2),
    "cartesian_angstrom_center_xyz": (0, 1, 2),
}
_SECTIONS = (
    "ATOMIC_SPECIES",
    "NUMERICAL_ORBITAL",
    "LATTICE_CONSTANT",
    "LATTICE_PARAMETERS",
    "LATTICE_VECTORS",
    "ATOMIC_POSITIONS",
    "NUMERICAL_DESCRIPTOR",
    "PAW_FILES",
    "ABFS_ORBITAL",
    "ABFS_JLES_ORBITAL",
)
_FIX = "Correct the STRU file, or move it away: the log then gives the structure to six digits."


@dataclass(frozen=True)
class Species:
    """One species of a STRU file.

    Attributes
    ----------
    label
        Its name, ``Fe1``.
    mass
        Atomic mass.
    pseudo, orbital
        Names of the pseudopotential and orbital files; empty where none is given.
    magnetism
        The starting moment of its atoms, μB.
    """

    label: str
    mass: float
    pseudo: str = ""
    orbital: str = ""
    magnetism: float = 0.0


@dataclass(frozen=True, eq=False)
class StruFile:
    """A STRU file.

    Attributes
    ----------
    path
        The file.
    species
        In the order of ATOMIC_SPECIES, which is the order of the atoms in every matrix.
    constant_bohr
        LATTICE_CONSTANT.
    cell
        (3, 3) lattice vectors in Å; None where the file gives a named lattice (``latname``).
    labels
        Species label of each atom.
    coordinates
        (n_atoms, 3) as the file has them.
    kind
        ``direct``, or ``cartesian`` (then `coordinates` are in Å).
    centre
        Lattice vectors whose half sum `coordinates` count from (``Cartesian_angstrom_center_xy``:
        0 and 1).
    parameters
        LATTICE_PARAMETERS of a named lattice.
    """

    path: Path
    species: tuple[Species, ...]
    constant_bohr: float
    cell: NDArray[np.float64] | None
    labels: tuple[str, ...]
    coordinates: NDArray[np.float64]
    kind: str
    parameters: tuple[float, ...] = ()
    centre: tuple[int, ...] = ()

    def lattice(self, name: str = "none") -> NDArray[np.float64] | None:
        """Return the lattice vectors, Å: the file's own, or those of a named lattice.

        Parameters
        ----------
        name
            ``latname`` of the INPUT file.

        Returns
        -------
        ndarray or None
            (3, 3); None for a named lattice that is not known here.
        """
        if self.cell is not None:
            return self.cell
        ratio = self.parameters[0] if self.parameters else 1.0
        known = {
            "sc": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
            "fcc": [[-0.5, 0, 0.5], [0, 0.5, 0.5], [-0.5, 0.5, 0]],
            "bcc": [[0.5, 0.5, 0.5], [-0.5, 0.5, 0.5], [-0.5, -0.5, 0.5]],
            "hexagonal": [[1, 0, 0], [-0.5, 0.75**0.5, 0], [0, 0, ratio]],
        }
        if name not in known:
            return None
        return np.array(known[name], dtype=np.float64) * (self.constant_bohr * BOHR)

    def fractional(self, cell: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the positions in units of `cell` (Å), as the file has them (not folded)."""
        if self.kind == "direct":
            return self.coordinates
        from_origin = self.coordinates + 0.5 * cell[list(self.centre)].sum(axis=0)
        solution: NDArray[np.float64] = np.linalg.solve(cell.T, from_origin.T).astype(np.float64)
        return solution.T


def element_number(kind: Species) -> int:
    """Return the atomic number of a species; 0 for one that ABACUS takes for empty.

    It is that of the label, which is free text: mass and pseudopotential count more where both
    say the same other element, and the files alone where the label says none.

    Examples
    --------
    >>> upf = "C_ONCV_PBE-1.0.upf"
    >>> element_number(Species("Ca", 12.011, upf)), element_number(Species("Ca", 40.078, upf))
    (6, 20)
    >>> element_number(Species("7", 1.0, "O_ONCV.upf")), element_number(Species("H_empty", 1.0))
    (8, 0)
    """
    if EMPTY in kind.label:
        return 0
    by_label = element_of_label(kind.label)
    by_mass = element_of_mass(kind.mass)
    names = (Path(name).name for name in (kind.pseudo, kind.orbital) if name)
    by_file = next(filter(None, map(element_of_label, names)), None)
    agreed = by_file if by_file is not None and by_file == by_mass else None
    found = agreed or by_label or by_file
    if found is not None:
        return atomic_number(found)
    label = kind.label
    raise ConventionError(
        f"the species '{label}' names no element. Rename it so that it begins with the symbol, "
        "such as Fe1."
    )


def contradiction(kind: Species) -> str:
    """Return in a sentence that label, mass and files of a species name different elements."""
    number, by_label = element_number(kind), element_of_label(kind.label)
    if not number or by_label is None or SYMBOLS[number] == by_label:
        return ""
    return (
        f"The species '{kind.label}' has the mass {kind.mass:g} and {kind.pseudo or kind.orbital}: "
        f"it is taken for {SYMBOLS[number]}, not {by_label}."
    )


def read_stru(path: Path) -> StruFile:
    """Read a STRU file.

    Raises
    ------
    MissingDataError
        When it cannot be opened.
    FormatError
        When a section is missing or damaged.
    """
    text = read_text(path)
    sections = _sections(text)
    missing = [name for name in ("ATOMIC_SPECIES", "ATOMIC_POSITIONS") if name not in sections]
    if missing:
        _fail(path, "a section is missing", expected=missing[0], found=", ".join(sections) or None)
    constant = _numbers(path, sections.get("LATTICE_CONSTANT", ["1"])[0], 1)[0]
    cell = None
    if "LATTICE_VECTORS" in sections:
        rows = [_numbers(path, line, 3) for line in sections["LATTICE_VECTORS"][:3]]
        if len(rows) != 3:
            _fail(path, "LATTICE_VECTORS is cut", expected="3 lines", found=f"{len(rows)}")
        cell = np.array(rows) * (constant * BOHR)
    lines = sections["ATOMIC_POSITIONS"]
    labels, coordinates, kind, moments = _positions(path, lines, constant)
    centre = _CENTRES.get(lines[0].split()[0].lower(), ())
    species = _species(path, sections, moments)
    parameters = tuple(
        number
        for line in sections.get("LATTICE_PARAMETERS", [])
        for number in _numbers(path, line, len(line.split()))
    )
    return StruFile(path, species, constant, cell, labels, coordinates, kind, parameters, centre)


def _sections(text: str) -> dict[str, list[str]]:
    """Sort the lines into sections, without comments and empty lines."""
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for raw in text.splitlines():
        line = re.split(r"#|//", raw)[0].strip()
        if line in _SECTIONS:
            current = sections.setdefault(line, [])
        elif line:
            current.append(line)
    return sections


def _species(
    path: Path, sections: dict[str, list[str]], moments: dict[str, float]
) -> tuple[Species, ...]:
    orbitals = sections.get("NUMERICAL_ORBITAL", [])
    species = []
    for index, line in enumerate(sections["ATOMIC_SPECIES"]):
        words = line.split()
        mass = _numbers(path, words[1], 1)[0] if len(words) > 1 else 1.0
        orbital = orbitals[index].split()[0] if index < len(orbitals) else ""
        pseudo = words[2] if len(words) > 2 else ""
        species.append(Species(words[0], mass, pseudo, orbital, moments.get(words[0], 0.0)))
    return tuple(species)


def _positions(
    path: Path, lines: list[str], constant: float
) -> tuple[tuple[str, ...], NDArray[np.float64], str, dict[str, float]]:
    """Return labels, coordinates, their kind, and the moment of each species."""
    kind = lines[0].split()[0].lower() if lines else ""
    scales = {
        "direct": 1.0,
        "cartesian": constant * BOHR,
        "cartesian_angstrom": 1.0,
        "cartesian_au": BOHR,
        **dict.fromkeys(_CENTRES, 1.0),
    }
    if kind not in scales:
        _fail(path, "unknown kind of positions", expected=", ".join(scales), found=kind or None)
    labels: list[str] = []
    rows: list[list[float]] = []
    moments: dict[str, float] = {}
    at = 1
    while at < len(lines):
        head = [line.split()[0] for line in lines[at : at + 3]]
        count = int(head[2]) if len(head) == 3 and head[2].isdigit() else -1
        if count < 0:
            _fail(path, "a species is cut", expected="label, moment, number of atoms", found=head)
        moments[head[0]] = _numbers(path, head[1], 1)[0]
        body = lines[at + 3 : at + 3 + count]
        if len(body) != count:
            _fail(path, "atoms are missing", expected=f"{count} of {head[0]}", found=len(body))
        rows += [_numbers(path, " ".join(line.split()[:3]), 3) for line in body]
        labels += [head[0]] * count
        at += 3 + count
    coordinates = np.array(rows, dtype=np.float64).reshape(-1, 3) * scales[kind]
    return tuple(labels), coordinates, "direct" if kind == "direct" else "cartesian", moments


def _numbers(path: Path, text: str, count: int) -> list[float]:
    values = finite_numbers(text.split()[:count], count)
    if values is None:
        _fail(path, "numbers are missing or wrong", expected=f"{count} numbers", found=repr(text))
    return values


def _fail(path: Path, problem: str, *, expected: object = None, found: object = None) -> NoReturn:
    raise FormatError(path, problem, expected=expected, found=found, fix=_FIX)


def format_stru(
    structure: Structure, species: Sequence[Species], constant_bohr: float | None = None
) -> str:
    """Return the text of a STRU file; numbers are exact to the last bit.

    Parameters
    ----------
    structure
        Its atoms must stand species by species, in the order of `species`.
    species
        The species, each with its files.
    constant_bohr
        LATTICE_CONSTANT; default 1 Å.
    """
    constant = constant_bohr or 1.0 / BOHR
    lines = ["ATOMIC_SPECIES"]
    lines += [f"{kind.label} {kind.mass!r} {kind.pseudo}".rstrip() for kind in species]
    lines += ["", "NUMERICAL_ORBITAL", *(kind.orbital for kind in species)]
    lines += ["", "LATTICE_CONSTANT", repr(float(constant)), "", "LATTICE_VECTORS"]
    lines += [_row(vector) for vector in structure.cell / (constant * BOHR)]
    lines += ["", "ATOMIC_POSITIONS", "Direct"]
    fractional = structure.fractional
    fractional[np.abs(fractional) < FOLD_MARGIN] = 0.0
    labels = np.array(structure.labels)
    for kind in species:
        atoms = np.flatnonzero(labels == kind.label)
        lines += ["", kind.label, repr(kind.magnetism), str(len(atoms))]
        lines += [f"{_row(fractional[atom])} 1 1 1" for atom in atoms]
    return "\n".join(lines) + "\n"


def _row(values: NDArray[np.float64]) -> str:
    return " ".join(repr(float(value)) for value in values)
