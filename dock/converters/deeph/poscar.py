"""POSCAR files (VASP 5 style) with full precision, in the dialect of the unified folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dock.core.elements import atomic_number
from dock.core.structure import Structure
from dock.errors import ConventionError, FormatError, LayoutError
from dock.io.text import finite_numbers, read_text, require_line_end

__all__ = ["format_poscar", "read_poscar"]


def read_poscar(path: str | Path) -> Structure:
    """Read a POSCAR.

    One or three scale factors, ``Cartesian`` or ``Direct`` (only the first letter counts), a
    selective-dynamics line and anything after the coordinates are understood.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Structure
        Positions as written, Å, not wrapped.

    Raises
    ------
    FormatError
        Naming the line that is missing, cut or not a number.
    """
    path = Path(path)
    lines = _read_lines(path)
    if len(lines) < 8:
        raise FormatError(
            path,
            "the file is too short for a POSCAR",
            expected="a comment, scale, three lattice vectors, symbols, counts, mode, coordinates",
            found=f"{len(lines)} lines",
            fix="Copy the file again.",
        )
    cell, scale = _read_cell(path, lines)
    kinds, counts = _read_species(path, lines[5].split(), lines[6].split())
    n_atoms = sum(counts)
    mode, begin = _read_mode(path, lines)
    rows = lines[begin : begin + n_atoms]
    if len(rows) < n_atoms:
        raise FormatError(
            path,
            "coordinates are missing",
            expected=f"{n_atoms} atoms",
            found=f"{len(rows)} lines",
            fix="The file was cut, or the counts in line 7 are wrong.",
        )
    positions = np.array([_numbers(path, begin + k, row, 3) for k, row in enumerate(rows)])
    if len(lines) == begin + n_atoms:
        require_line_end(path, read_text(path))
    positions = positions @ cell if mode == "d" else positions * scale
    try:
        return Structure(cell, positions, np.repeat(kinds, counts))
    except LayoutError as error:
        raise FormatError(path, str(error).rstrip(".")) from error


def format_poscar(structure: Structure, comment: str = "written by dock") -> str:
    """Return the text of a POSCAR in Cartesian coordinates, numbers in shortest exact form.

    Atoms of one element must be contiguous.

    Examples
    --------
    >>> print(format_poscar(Structure(np.eye(3) * 5, [[0, 0, 0.1]], [14])).splitlines()[-1])
      0.0 0.0 0.1
    """
    runs: list[tuple[str, int]] = []
    for name in structure.symbols:
        if runs and runs[-1][0] == name:
            runs[-1] = (name, runs[-1][1] + 1)
        else:
            runs.append((name, 1))
    names = [name for name, _ in runs]
    if len(set(names)) != len(names):
        raise ConventionError("a POSCAR of the unified format needs each element's atoms together.")
    lines = [comment.replace("\n", " "), "1.0"]
    lines += [_format_row(row) for row in structure.cell]
    lines += [" ".join(names), " ".join(str(count) for _, count in runs), "Cartesian"]
    lines += [_format_row(row) for row in structure.positions]
    return "\n".join(lines) + "\n"


def _format_row(row: np.ndarray) -> str:
    return "  " + " ".join(repr(float(value)) for value in row)


def _read_lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(path, "this is not a text file", expected="a POSCAR") from error
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror}") from error
    return text.rstrip().splitlines()


def _read_cell(path: Path, lines: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the cell in Å and the three scale factors of Cartesian coordinates."""
    words = lines[1].split()
    scale = np.array(_numbers(path, 1, lines[1], 3 if len(words) >= 3 else 1))
    cell = np.array([_numbers(path, 2 + k, lines[2 + k], 3) for k in range(3)])
    volume = abs(np.linalg.det(cell))
    if len(scale) == 1 and scale[0] < 0:
        if volume == 0:
            raise FormatError(path, "the cell has no volume", where="lines 3 to 5")
        scale = (-scale / volume) ** (1 / 3)
    if np.any(scale <= 0) or volume == 0:
        raise FormatError(
            path,
            "the cell has no volume or a scale factor is not positive",
            where="lines 2 to 5",
            found=f"scale {scale.tolist()}, cell {cell.tolist()}",
        )
    return cell * scale, np.broadcast_to(scale, (3,))


def _read_mode(path: Path, lines: list[str]) -> tuple[str, int]:
    """Return the first letter of the coordinate mode, and the index of the line behind it."""
    at = 8 if lines[7].strip().lower().startswith("s") else 7  # behind selective dynamics
    mode = lines[at].strip()[:1].lower() if at < len(lines) else ""
    if mode not in {"c", "k", "d"}:
        raise FormatError(
            path,
            "the coordinate mode is not recognised",
            where=f"line {at + 1}",
            expected="Cartesian or Direct",
            found=repr(lines[at].strip()) if at < len(lines) else "the end of file",
        )
    return mode, at + 1


def _read_species(path: Path, symbols: list[str], counts: list[str]) -> tuple[list[int], list[int]]:
    """Return the atomic number and the number of atoms of each symbol."""
    if not symbols or all(word.isdecimal() for word in symbols):
        raise FormatError(
            path,
            "the element symbols are missing",
            where="line 6",
            expected="symbols such as 'Mo S'",
            found=repr(" ".join(symbols)),
            fix="Old POSCAR files without symbols must be completed by hand.",
        )
    numbers = [int(word) if word.isdecimal() and len(word) < 16 else -1 for word in counts]
    if len(symbols) != len(counts) or min(numbers) < 0 or sum(numbers) == 0:
        raise FormatError(
            path,
            "symbols and counts disagree",
            where="lines 6 and 7",
            expected=f"{len(symbols)} whole numbers",
            found=repr(" ".join(counts)[:80]),
        )
    try:
        kinds = [atomic_number(name) for name in symbols]
    except ConventionError as error:
        raise FormatError(path, str(error).rstrip("."), where="line 6") from error
    return kinds, numbers


def _numbers(path: Path, line: int, text: str, count: int) -> list[float]:
    values = finite_numbers(text.split()[:count], count)
    if values is None:
        raise FormatError(
            path,
            "numbers cannot be read",
            where=f"line {line + 1}",
            expected=f"{count} finite numbers",
            found=repr(text.strip()),
        )
    return values
