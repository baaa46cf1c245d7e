"""Read ABACUS numerical orbitals (``.orb``): R(r) of one species on an even mesh."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from dock.core.basis import Radial, Shell, shell_letter
from dock.errors import FormatError, MissingDataError
from dock.io.files import readable
from dock.io.text import NotANumber, parse_number, parse_numbers
from dock.units import ABACUS, Constants

__all__ = ["OrbFile", "orb_cutoff", "read_orb"]

MAX_L = 6
_HEAD = 2048  # bytes
_CUTOFF = r"Radius Cutoff\s*\(a\.u\.\)\s+(\S+)"
_FIX = "The file is cut or edited: copy it again from the set of orbitals."


@dataclass(frozen=True, eq=False, kw_only=True)
class OrbFile:
    """The numerical orbitals of one species, in Bohr.

    Attributes
    ----------
    path
        The file.
    symbol
        Element, as the file names it.
    cutoff_bohr, step_bohr
        Radius and mesh step; the mesh starts at 0 and ends at the radius.
    orbitals
        (l, zeta from 0, R(r) in Bohr^(−3/2)) of each radial function, in the order of ABACUS's
        matrices: l ascending, then zeta.
    """

    path: Path
    symbol: str
    cutoff_bohr: float
    step_bohr: float
    orbitals: tuple[tuple[int, int, NDArray[np.float64]], ...]

    def shells(self, constants: Constants = ABACUS) -> tuple[Shell, ...]:
        """Return the shells with R(r) in Å and Å^(−3/2)."""
        bohr = constants.bohr_angstrom
        shells = []
        for l, zeta, values in self.orbitals:
            r = self.step_bohr * np.arange(len(values)) * bohr
            radial = Radial(r, values / bohr**1.5, min(self.cutoff_bohr * bohr, float(r[-1])))
            shells.append(Shell(l, f"{shell_letter(l)} zeta {zeta + 1}", radial))
        return tuple(shells)


def read_orb(path: str | Path) -> OrbFile:
    """Read a numerical orbital file.

    Raises
    ------
    MissingDataError
        When the file cannot be read.
    FormatError
        When it is cut, is another kind, or its header and tables disagree.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(path, "this is no text file", expected="an ABACUS .orb file") from error
    except OSError as error:
        raise MissingDataError(
            f"{path.name} ({error.strerror})", path.parent, "It is an orbital file of ABACUS."
        ) from error
    head, mark, tail = text.partition("SUMMARY")
    if not mark:
        _fail(path, "this is no ABACUS orbital file", "a line 'SUMMARY  END'", "none")
    cutoff = _header_number(path, head, _CUTOFF, "Radius Cutoff(a.u.)")
    symbol = re.search(r"Element\s+(\S+)", head)
    points = int(_header_number(path, tail, r"Mesh\s+(\S+)", "Mesh"))
    step = _header_number(path, tail, r"\bdr\s+(\S+)", "dr")
    if points < 4 or not 0 < step < cutoff or abs(step * (points - 1) - cutoff) > 1.5 * step:
        _fail(
            path,
            "mesh and cutoff disagree",
            f"(Mesh − 1) · dr = {cutoff} Bohr",
            f"Mesh {points}, dr {step}",
        )
    orbitals = tuple(_orbital(path, part, points) for part in re.split(r"Type\s+L\s+N\b", tail)[1:])
    _check_order(path, head, [(l, zeta) for l, zeta, _ in orbitals])
    return OrbFile(
        path=path,
        symbol=symbol[1] if symbol else "",
        cutoff_bohr=cutoff,
        step_bohr=step,
        orbitals=orbitals,
    )


def orb_cutoff(path: Path) -> float:
    """Return the radius in the head of an orbital file, Bohr, without reading its tables.

    Raises
    ------
    FormatError
        When the head does not say it.
    """
    with readable(path), path.open(encoding="utf-8", errors="replace") as stream:
        head = stream.read(_HEAD)
    return _header_number(path, head, _CUTOFF, "Radius Cutoff(a.u.)")


def _fail(path: Path, problem: str, expected: object, found: object, where: str = "") -> NoReturn:
    raise FormatError(path, problem, expected=expected, found=found, where=where or None, fix=_FIX)


def _header_number(path: Path, text: str, pattern: str, name: str) -> float:
    match = re.search(pattern, text)
    try:
        value = parse_number(match[1]) if match else float("nan")
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        _fail(path, f"'{name}' is missing or no number", "a number", match[1] if match else None)
    return value


def _orbital(path: Path, part: str, points: int) -> tuple[int, int, NDArray[np.float64]]:
    """Return l, zeta and table of the text after one 'Type L N'."""
    words = part.split()
    where = f"orbital {' '.join(words[:3])}"
    if len(words) != points + 3:
        _fail(path, "a table is cut", f"{points} numbers", max(0, len(words) - 3), where)
    try:
        values = parse_numbers(part)
    except NotANumber as error:
        _fail(path, "a table holds a word", "numbers", error.shown, where)
    if not np.isfinite(values).all():
        _fail(path, "numbers are not finite", "finite numbers", "NaN or infinity", where)
    l, zeta = int(values[1]), int(values[2])
    if not 0 <= l <= MAX_L:
        _fail(path, "the angular momentum is out of range", f"0 to {MAX_L}", l, where)
    return l, zeta, values[3:]


def _check_order(path: Path, head: str, found: list[tuple[int, int]]) -> None:
    """Hold the tables against the counts of the header: l ascending, zeta inside."""
    counts = [int(number) for number in re.findall(r"Number of \w+orbital-->\s+(\d+)", head)]
    wanted = [(l, zeta) for l, count in enumerate(counts) for zeta in range(count)]
    if not found or found != wanted:
        _fail(
            path,
            "the header and the tables disagree",
            f"(l, zeta) {wanted}",
            f"{found or 'no table'}",
        )
