"""The log of a CP2K run: version, units, electrons, levels, convergence, periodic images."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dock.converters.run_log import RunLog, last_number
from dock.errors import FormatError
from dock.io.text import finite_numbers, read_text
from dock.units import CP2K

__all__ = ["Cp2kLog", "PrintedLevels", "find_logs", "read_log"]

_HEAD = 2**17  # bytes of a file in which CP2K names itself, behind what its libraries print
_START = "PROGRAM STARTED AT"
_ENDS = re.compile(r"SCF run (NOT )?converged|outer SCF loop (FAILED to )?converge")
_LEVELS = re.compile(
    r"^ MO\| (?:(ALPHA|BETA) )?EIGENVALUES AND OCCUPATION NUMBERS(?: FOR K POINT (\d+))?\s*\n"
    r"(?: MO\|.*\n)*",
    re.MULTILINE,
)
_LEVEL = re.compile(r"^ MO\|\s+\d+\s+(\S+)\s+\S+\s+(\S+)\s*$", re.MULTILINE)
_SMEARED = re.compile(r"^\s*Fermi energy:\s+(\S+)\s*$", re.MULTILINE)
_IMAGES = r"\b{name} CSR write\|\s+(\d+) periodic images\n.*\n((?:(?:\s+-?\d+){{4}}\n)+)"
_VECTOR = re.compile(r"^ CELL\| Vector [abc] \[angstrom\]:((?:\s+\S+){3})", re.MULTILINE)
_ATOMS = re.compile(
    r"ATOMIC COORDINATES IN ANGSTROM\s*\n\s*\n?.*\n((?:\s+\d+\s+\d+\s+[A-Za-z]\S*\s+\d+\s.*\n)+)"
)


@dataclass(frozen=True, eq=False)
class PrintedLevels:
    """Eigenvalues of one spin channel (0 or 1) at one k-point (from 1; 0 without), eV, ascending.

    `occupations` has one number for each.
    """

    spin: int
    k_point: int
    energies: NDArray[np.float64]
    occupations: NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Cp2kLog(RunLog):
    """What the last run in a log says.

    Attributes
    ----------
    project, input_name, data_folder
        Name of the project, of the input file, and the folder of CP2K's data.
    run_type
        ``ENERGY``, ``GEO_OPT`` …; empty where the log does not say it.
    n_spins
        Number of spin channels.
    hartree_ev
        The unit of energy as printed, else CP2K's own.
    fermi_levels
        ``E(Fermi)`` of each spin channel, eV; none where no levels were printed.
    is_smeared
        Whether the self-consistency names a ``Fermi energy``, which it does with smearing alone.
    levels
        The levels of the converged state that were printed.
    k_points
        (n, 3) fractional, as printed with five digits; None where the log does not list them.
    k_grid
        Divisions of a Monkhorst–Pack mesh, or None.
    images
        Lattice vectors, (n, 3), of the files of ``KS`` and ``S``.
    cell
        (3, 3) lattice vectors, Å with three digits; None where they are not printed.
    elements, positions
        Symbols and positions, Å with six digits, of the atoms; None where they are not printed.
    finished
        Whether the run came to its end.
    """

    project: str
    input_name: str
    data_folder: Path | None
    run_type: str
    n_spins: int
    hartree_ev: float
    fermi_levels: tuple[float, ...]
    is_smeared: bool
    levels: tuple[PrintedLevels, ...]
    k_points: NDArray[np.float64] | None
    k_grid: tuple[int, int, int] | None
    images: dict[str, NDArray[np.int64]]
    cell: NDArray[np.float64] | None
    elements: tuple[str, ...]
    positions: NDArray[np.float64] | None
    finished: bool


def find_logs(folder: Path) -> list[Path]:
    """Return the files of a folder in which CP2K names itself."""
    names = [*folder.glob("*.out"), *folder.glob("*.log"), *folder.glob("*.cp2k")]
    return [path for path in sorted(set(names)) if path.is_file() and _is_log(path)]


def _is_log(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return b"CP2K| version string" in stream.read(_HEAD)
    except OSError:
        return False


def read_log(path: Path) -> Cp2kLog:
    """Read a log; of several runs in one file, as CP2K appends to it, the last.

    Raises
    ------
    FormatError
        When the list of periodic images is cut.
    """
    text = read_text(path)
    start = text.rfind(_START)
    text = text[max(start, 0) :]
    hartree = last_number(text, r"\[a\.u\.\] -> \[eV\]\s+(\S+)") or CP2K.hartree_ev
    levels = tuple(_levels(text, hartree))
    electrons = re.findall(r"Number of electrons:\s+(\d+)", text)
    n_spins = 2 if re.search(r"^ Spin 2\s*$", text, re.MULTILINE) else 1
    ends = [match.group() for match in _ENDS.finditer(text)]
    grid = re.search(r"BRILLOUIN\| K-Point grid\s+(\d+)\s+(\d+)\s+(\d+)", text)
    elements, positions = _atoms(text)
    data = _word(text, r"CP2K\| Data directory path\s+(\S+)")
    return Cp2kLog(
        path=path,
        version=_word(text, r"CP2K\| version string:\s+CP2K version (.+?)\s*$"),
        n_electrons=float(sum(map(int, electrons[:n_spins]))) if electrons else None,
        converged=not re.search("NOT|FAILED", ends[-1]) if ends else None,
        project=_word(text, r"GLOBAL\| Project name\s+(\S+)"),
        input_name=_word(text, r"CP2K\| Input file name\s+(\S+)"),
        data_folder=Path(data) if data else None,
        run_type=_word(text, r"GLOBAL\| Run type\s+(\S+)"),
        n_spins=n_spins,
        hartree_ev=hartree,
        fermi_levels=_fermi_levels(text, n_spins, hartree),
        is_smeared=_SMEARED.search(text) is not None,
        levels=levels,
        k_points=_k_points(text),
        k_grid=(int(grid[1]), int(grid[2]), int(grid[3])) if grid else None,
        images={name: found for name in ("KS", "S") if (found := _images(path, text, name)).size},
        cell=_cell(text),
        elements=elements,
        positions=positions,
        finished="PROGRAM ENDED AT" in text,
    )


def _word(text: str, pattern: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match else ""


def _levels(text: str, hartree: float) -> list[PrintedLevels]:
    """Return the levels behind the self-consistency; the last ones where they come twice."""
    found: dict[tuple[int, int], PrintedLevels] = {}
    for block in _LEVELS.finditer(text):
        rows = [finite_numbers(row, 2) for row in _LEVEL.findall(block.group())]
        table = np.array([row for row in rows if row is not None], dtype=np.float64)
        spin, k_point = int(block[1] == "BETA"), int(block[2] or 0)
        if len(table) == len(rows) > 0:
            found[spin, k_point] = PrintedLevels(spin, k_point, table[:, 0] * hartree, table[:, 1])
    return list(found.values())


def _fermi_levels(text: str, n_spins: int, hartree: float) -> tuple[float, ...]:
    """Return the last ``E(Fermi)`` of each channel, or the one that smearing prints."""
    words = re.findall(r"MO\| E\(Fermi\):\s+(\S+) a\.u\.", text)[-n_spins:]
    if not words:
        words = _SMEARED.findall(text)[-n_spins:]
    values = finite_numbers(words, len(words)) or []
    return tuple(value * hartree for value in values)


def _k_points(text: str) -> NDArray[np.float64] | None:
    rows = re.findall(r"BRILLOUIN\|\s+\d+\s+\d\.\d+((?:\s+-?\d+\.\d+){3})\s*$", text, re.MULTILINE)
    return np.array([row.split() for row in rows], dtype=np.float64) if rows else None


def _images(path: Path, text: str, name: str) -> NDArray[np.int64]:
    """Return the last list of periodic images of a matrix, (n, 3); (0, 3) where there is none."""
    lists = list(re.finditer(_IMAGES.format(name=name), text))
    if not lists:
        return np.zeros((0, 3), dtype=np.int64)
    rows = np.array([line.split() for line in lists[-1][2].splitlines()], dtype=np.int64)
    wanted = int(lists[-1][1])
    if len(rows) != wanted or not np.array_equal(rows[:, 0], np.arange(1, wanted + 1)):
        raise FormatError(
            path,
            f"the list of periodic images of {name} is cut",
            expected=f"{wanted} numbered lattice vectors",
            found=str(len(rows)),
            fix="The log is cut or was edited: copy it again.",
        )
    return rows[:, 1:]


def _cell(text: str) -> NDArray[np.float64] | None:
    rows = [finite_numbers(row.split(), 3) for row in _VECTOR.findall(text)[:3]]
    found = [row for row in rows if row is not None]
    return np.array(found) if len(found) == 3 else None


def _atoms(text: str) -> tuple[tuple[str, ...], NDArray[np.float64] | None]:
    """Return what the first table of atoms says."""
    table = _ATOMS.search(text)
    if table is None:
        return (), None
    rows = [line.split() for line in table[1].splitlines()]
    positions = [finite_numbers(row[4:7], 3) for row in rows]
    if any(position is None for position in positions):
        return (), None
    return tuple(row[2] for row in rows), np.array(positions, dtype=np.float64)
