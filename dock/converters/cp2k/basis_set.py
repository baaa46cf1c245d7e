"""CP2K's files of basis sets: contracted spherical Gaussians by element and name.

A set of an element is its name, the number of its groups, and each group: n, the lowest and the
highest l, how many exponents, how many shells of each l, then a row for each exponent with the
coefficients of all its shells. Contracted functions are normalised as a whole (measured: the
diagonal of S is 1), which is what `dock.converters.gaussians` does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from dock.converters.gaussians import contracted_radial
from dock.core.basis import LARGEST_L, Shell, shell_letter, shell_numbers
from dock.errors import FormatError, LayoutError, MissingDataError
from dock.io.text import finite_numbers, load_text
from dock.units import CP2K

__all__ = ["basis_files", "find_shells", "parse_shells"]

_FIX = "The file is cut or edited: copy it again from CP2K's data folder."
_PATTERN = "*BASIS*"


def basis_files(names: Iterable[str], places: Iterable[Path | None]) -> list[Path]:
    """Return the files of these names, each where it is found first; those not found are left out.

    A place is a folder, or such a file itself; the last one asked is CP2K_DATA_DIR.
    """
    folders = [*places]
    if "CP2K_DATA_DIR" in os.environ:
        folders.append(Path(os.environ["CP2K_DATA_DIR"]))
    found: dict[Path, None] = {}
    for name in names:
        tried = [
            place if place.is_file() else place / Path(name).name if place != Path() else Path(name)
            for place in folders
            if place is not None and (not place.is_file() or place.name == Path(name).name)
        ]
        file = next((path for path in tried if path.is_file()), None)
        if file is not None:
            found[file] = None
    return list(found)


def files_in(folder: Path) -> list[Path]:
    """Return the files of basis sets of a folder, or the file itself.

    SIESTA's BASIS_ENTHALPY and BASIS_HARRIS_ENTHALPY are none.
    """
    if folder.is_file():
        return [folder]
    return sorted(
        file for file in folder.glob(_PATTERN) if file.is_file() and "ENTHALPY" not in file.name
    )


def find_shells(
    files: Sequence[Path], element: str, name: str, where: str | Path
) -> tuple[tuple[Shell, ...], Path]:
    """Return the shells of a basis set, from the first file that has it, and that file.

    Raises
    ------
    MissingDataError
        When none has it; `where` is who asked for it.
    FormatError
        When it is damaged.
    """
    for file in files:
        lines = _content(load_text(file, "a file of basis sets", "CP2K").splitlines())
        for place, line in enumerate(lines):
            words = line.upper().split()
            if words[:1] == [element.upper()] and name.upper() in words[1:]:
                return parse_shells(file, lines[place + 1 :], f"{element} {name}"), file
    looked = ", ".join(file.name for file in files) or "no file"
    raise MissingDataError(
        f"the basis set {name} of {element}",
        where,
        f"Looked at: {looked}. Give the file, or the folder of those that the input names, with "
        "--basis; CP2K has them in its data folder.",
    )


def _content(lines: Iterable[str]) -> list[str]:
    stripped = (line.split("#")[0].split("!")[0].strip() for line in lines)
    return [line for line in stripped if line]


def parse_shells(path: Path, lines: Sequence[str], where: str) -> tuple[Shell, ...]:
    """Return the shells of a basis set from the lines behind its name, radial functions in Å.

    Their order is that of CP2K's matrices: group by group, in each by l.
    """
    rows = iter(_content(lines))
    count = _integers(path, next(rows, ""), 1, where)[0]
    parts: list[tuple[int, list[float], list[float]]] = []
    for _ in range(count):
        head = next(rows, "")
        _, low, high, n_exponents = _integers(path, head, 4, where)
        if not 0 <= low <= high <= LARGEST_L or n_exponents < 1:
            _damaged(path, where, "n, lowest l, highest l, number of exponents", head)
        counts = _integers(path, head, 4 + high - low + 1, where)[4:]
        table = np.array([_numbers(path, next(rows, ""), 1 + sum(counts), where)
                          for _ in range(n_exponents)])  # fmt: skip
        columns = iter(table.T[1:].tolist())
        parts += [
            (l, table[:, 0].tolist(), next(columns))
            for l, number in zip(range(low, high + 1), counts, strict=True)
            for _ in range(number)
        ]
    if not parts:
        _damaged(path, where, "a group of Gaussians or more", "none")
    ls = [l for l, _, _ in parts]
    numbers = zip(ls, shell_numbers(ls), strict=True)
    names = [f"{l + number}{shell_letter(l)}" for l, number in numbers]
    try:
        return tuple(
            Shell(l, label, contracted_radial(l, exponents, factors, CP2K.bohr_angstrom))
            for label, (l, exponents, factors) in zip(names, parts, strict=True)
        )
    except LayoutError as error:
        raise FormatError(path, str(error).rstrip("."), where=where, fix=_FIX) from error


def _integers(path: Path, line: str, count: int, where: str) -> list[int]:
    words = line.split()[:count]
    if len(words) < count or not all(word.isdecimal() for word in words):
        _damaged(path, where, f"{count} whole numbers", line or "the end of the file")
    return [int(word) for word in words]


def _numbers(path: Path, line: str, count: int, where: str) -> list[float]:
    found = finite_numbers(line.split(), count)
    if found is None:
        _damaged(path, where, f"an exponent and {count - 1} coefficients", line or "the end")
    return found


def _damaged(path: Path, where: str, expected: str, found: str) -> NoReturn:
    raise FormatError(
        path, "the basis set is damaged", where=where, expected=expected, found=found, fix=_FIX
    )
