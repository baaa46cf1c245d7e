"""The log of an ABACUS run, ``running_*.log``: structure, basis, Fermi level, convergence.

One that `dock` writes has the lines that readers of ABACUS's output look for, and says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from dock._version import __version__
from dock.converters.abacus.stru import FOLD_MARGIN
from dock.converters.run_log import RunLog, last_number
from dock.core.calculation import Calculation
from dock.core.spin import Spin
from dock.errors import FormatError
from dock.io.text import finite_numbers, parse_number, read_text
from dock.units import ABACUS

__all__ = ["NSPIN", "AbacusLog", "Frame", "SpeciesLine", "format_log", "read_log"]

NSPIN = {Spin.NONE: 1, Spin.COLLINEAR: 2, Spin.NONCOLLINEAR: 4}
BOHR = ABACUS.bohr_angstrom
_FIX = "The run may still be writing, or the log was cut: copy it again."
_TABLE = re.compile(
    r"^[ \t]*(DIRECT|CARTESIAN) COORDINATES(?:[ \t]*\([ \t]*UNIT[ \t]*=[ \t]*(\S+)[^\n]*)?[ \t]*$",
    re.MULTILINE,
)
_LATTICE = re.compile(r"Lattice vectors: \(Cartesian coordinate: in unit of a_0\)[ \t]*\n")
_CONVERGED = re.compile(r"charge density convergence is achieved|#SCF IS CONVERGED#", re.IGNORECASE)
_NOT_CONVERGED = re.compile(
    r"convergence has not been achieved|#SCF IS NOT CONVERGED#|SCF IS NOT CONVERGED", re.IGNORECASE
)


@dataclass(frozen=True)
class SpeciesLine:
    """One species of the log.

    Attributes
    ----------
    label
        Its name.
    zetas
        Number of radial functions for l = 0, 1, 2 …
    n_atoms
        How many atoms it has.
    """

    label: str
    zetas: tuple[int, ...]
    n_atoms: int

    @property
    def ls(self) -> tuple[int, ...]:
        """The l of each shell in the order of the matrices."""
        return tuple(l for l, count in enumerate(self.zetas) for _ in range(count))


@dataclass(frozen=True, eq=False)
class Frame:
    """The structure of one ionic step.

    Attributes
    ----------
    cell
        (3, 3) lattice vectors, Å, to the six digits that the log prints.
    coordinates
        (n_atoms, 3), folded into the cell as all matrices count them: in units of the lattice
        vectors if `direct`, else in Å.
    direct
        Which of both.
    """

    cell: NDArray[np.float64]
    coordinates: NDArray[np.float64]
    direct: bool

    def fractional(self, cell: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the positions in units of `cell` (Å)."""
        if self.direct:
            return self.coordinates
        solution: NDArray[np.float64] = np.linalg.solve(cell.T, self.coordinates.T).astype(
            np.float64
        )
        return solution.T


@dataclass(frozen=True, eq=False, kw_only=True)
class AbacusLog(RunLog):
    """What a log of ABACUS says.

    Attributes
    ----------
    species
        In matrix order.
    frames
        One for each ionic step.
    nspin
        1, 2 or 4.
    fermi_levels
        eV, one for each ionic step that ended.
    n_basis
        NLOCAL: rows of the matrices, doubled for nspin 4.
    """

    species: tuple[SpeciesLine, ...]
    frames: tuple[Frame, ...]
    nspin: int | None
    fermi_levels: tuple[float, ...]
    n_basis: int | None

    @property
    def labels(self) -> tuple[str, ...]:
        """Species label of each atom, in matrix order."""
        return tuple(kind.label for kind in self.species for _ in range(kind.n_atoms))


def read_log(path: Path) -> AbacusLog:
    """Read a log.

    Raises
    ------
    MissingDataError
        When it cannot be opened.
    FormatError
        When it does not hold the species and the atoms.
    """
    text = read_text(path)
    species = _species(path, text)
    n_atoms = sum(kind.n_atoms for kind in species)
    version = re.search(r"ABACUS v(\S+)", text)
    nspin = last_number(text, r"^\s*nspin\s*=\s*(\d)\s*$")
    local = last_number(text, r"^\s*NLOCAL\s*=\s*(\d+)\s*$")
    return AbacusLog(
        path=path,
        version=version.group(1) if version else "",
        species=species,
        frames=_frames(path, text, n_atoms),
        nspin=int(nspin) if nspin else None,
        fermi_levels=_fermi_levels(text),
        n_electrons=last_number(text, r"AUTOSET number of electrons:?\s*=\s*(\S+)"),
        converged=_converged(text),
        n_basis=int(local) if local else None,
    )


def _species(path: Path, text: str) -> tuple[SpeciesLine, ...]:
    parts = re.split(r"^[ \t]*atom label[ \t]*=[ \t]*(\S+)[ \t]*$", text, flags=re.MULTILINE)
    species = []
    for label, body in zip(parts[1::2], parts[2::2], strict=True):
        count = re.search(r"number of atoms? for this type\s*=\s*(\d+)", body)
        if count is None:
            _fail(path, "the number of atoms is missing", where=f"species {label}")
        head = body[: count.start()]
        zetas = re.findall(r"L=\s*(\d+), number of zeta\s*=\s*(\d+)", head)
        if [int(l) for l, _ in zetas] != list(range(len(zetas))):
            _fail(path, "the shells do not ascend in l", where=f"species {label}")
        species.append(SpeciesLine(label, tuple(int(n) for _, n in zetas), int(count.group(1))))
    if not species:
        _fail(path, "no species is listed", where="READING ATOM TYPE")
    return tuple(species)


def _frames(path: Path, text: str, n_atoms: int) -> tuple[Frame, ...]:
    """Return the structure of each ionic step; a table of atoms is printed before each."""
    constant = last_number(text, r"lattice constant \(Bohr\)\s*=\s*(\S+)")
    if constant is None:
        _fail(path, "the lattice constant is missing", where="lattice constant (Bohr)")
    unit = constant * BOHR
    lattices = [
        np.array(_rows(path, text, match.end(), 3, "lattice vectors"), dtype=np.float64) * unit
        for match in _LATTICE.finditer(text)
    ]
    tables = list(_TABLE.finditer(text))
    if not lattices or not tables:
        _fail(path, "lattice vectors or coordinates are missing", where="READING UNITCELL")
    frames = []
    for index, match in enumerate(tables):
        start = text.find("\n", match.end() + 1) + 1  # past the line with the column names
        rows = np.array(_rows(path, text, start, n_atoms, "coordinates", names=True))
        length = finite_numbers([match[2]], 1) if match[2] else [constant]
        if length is None:
            _fail(path, "the unit of the coordinates is no number", where=match[0].strip())
        scale = 1.0 if match[1] == "DIRECT" else length[0] * BOHR
        cell = lattices[index] if len(lattices) > 1 and index < len(lattices) else lattices[-1]
        frames.append(Frame(cell, rows * scale, match[1] == "DIRECT"))
    return tuple(frames)


def _rows(
    path: Path, text: str, start: int, count: int, where: str, *, names: bool = False
) -> list[list[float]]:
    """Return three numbers from each of `count` lines, behind a name where there is one."""
    rows: list[list[float]] = []
    while len(rows) < count:
        end = text.find("\n", start)
        words = text[start : end if end >= 0 else len(text)].split()[int(names) : int(names) + 3]
        row = finite_numbers(words, 3)
        if row is None:
            _fail(path, "numbers are missing or wrong", where=f"{where}, line {len(rows) + 1}")
        rows.append(row)
        start = end + 1 if end >= 0 else len(text)
    return rows


def _fermi_levels(text: str) -> tuple[float, ...]:
    """Return the Fermi level after each self-consistency loop, eV."""
    words = re.findall(r"^\s*EFERMI\s*=\s*(\S+)\s*eV", text, flags=re.MULTILINE)
    if not words:
        loops = re.split(r"STEP OF [A-Z ]+:\s*\d+", text)
        last = [re.findall(r"^\s*E_Fermi\s+\S+\s+(\S+)", part, re.MULTILINE) for part in loops]
        words = [values[-1] for values in last if values]
    try:
        return tuple(parse_number(word) for word in words)
    except ValueError:
        return ()


def _converged(text: str) -> bool | None:
    """Say how the last self-consistency loop ended; None where there was none."""
    loops = list(re.finditer(r"ALGORITHM -+\s*ION=\s*\d+\s+ELEC=\s*1\s*-", text))
    if not loops:
        return None
    tail = text[loops[-1].start() :]
    return _CONVERGED.search(tail) is not None and _NOT_CONVERGED.search(tail) is None


def _fail(path: Path, problem: str, *, where: str) -> NoReturn:
    raise FormatError(path, problem, where=where, fix=_FIX)


def format_log(calc: Calculation) -> str:
    """Return a log with the lines that readers of ABACUS's output look for."""
    structure, basis = calc.structure, calc.basis
    source = f"{calc.provenance.code} v{calc.provenance.version}".removesuffix(" v")
    lines = [
        f" written by dock {__version__}, not by ABACUS; the matrices come from {source}",
        "",
        " READING UNITCELL INFORMATION",
        f" ntype = {len(basis.species)}",
        f" lattice constant (Bohr) = {1.0 / BOHR!r}",
        " lattice constant (Angstrom) = 1",
    ]
    for index, label in enumerate(basis.species):
        ls = basis.ls(label)
        zetas = [ls.count(l) for l in range(max(ls) + 1)]
        lines += ["", f" READING ATOM TYPE {index + 1}", f" atom label = {label}"]
        lines += [f" L={l}, number of zeta = {count}" for l, count in enumerate(zetas)]
        lines.append(f" number of atom for this type = {structure.labels.count(label)}")
    lines += ["", f" TOTAL ATOM NUMBER = {structure.n_atoms}", "DIRECT COORDINATES"]
    lines.append("    atom                   x                   y                   z")
    seen: dict[str, int] = {}
    fractional = structure.fractional
    fractional[np.abs(fractional) < FOLD_MARGIN] = 0.0
    for label, point in zip(structure.labels, fractional, strict=True):
        seen[label] = seen.get(label, 0) + 1
        lines.append(f"taud_{label}{seen[label]} " + " ".join(repr(float(x)) for x in point))
    lines += ["", " Lattice vectors: (Cartesian coordinate: in unit of a_0)"]
    lines += [" " + " ".join(repr(float(x)) for x in vector) for vector in structure.cell]
    rows = basis.n_orbitals * (2 if calc.spin is Spin.NONCOLLINEAR else 1)
    lines += ["", f" NLOCAL = {rows}", f" nspin = {NSPIN[calc.spin]}"]
    if calc.n_electrons is not None:
        lines.append(f" AUTOSET number of electrons:  = {calc.n_electrons!r}")
    if calc.fermi_level is not None:
        lines.append(f" EFERMI = {calc.fermi_level!r} eV")
    return "\n".join(lines) + "\n"
