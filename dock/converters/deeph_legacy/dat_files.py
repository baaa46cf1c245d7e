"""The text files of a legacy folder: lattice, elements, positions, orbitals and info.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.deeph.info import Info, optional_number, required_flag, unknown_keys
from dock.converters.origin import numbered_labels
from dock.core.basis import Basis
from dock.core.elements import symbol
from dock.core.structure import Structure
from dock.errors import ConventionError, FormatError, LayoutError, MissingDataError
from dock.io.text import NotANumber, parse_numbers, read_json, require_line_end

__all__ = ["format_texts", "read_atoms", "read_legacy_info"]

_READ = ("nsites", "norbits", "isorthogonal", "isspinful", "fermi_level", "dock")


def read_legacy_info(path: Path) -> Info:
    """Read info.json of a legacy folder; the shells of the elements stand in other files.

    Raises
    ------
    MissingDataError
        When it is not there.
    FormatError
        When it is no JSON object, or a key is missing or wrong.
    """
    if not path.is_file():
        raise MissingDataError(
            "info.json",
            path.parent,
            'Write one such as {"isspinful": false, "fermi_level": 0.0} (eV).',
        )
    content = read_json(path)
    spinful, own = required_flag(path, content, "isspinful"), content.get("dock")
    if content.get("isorthogonal") is True:
        raise FormatError(
            path,
            "the basis is called orthogonal",
            where="isorthogonal",
            expected="false: dock reads atomic orbitals with their overlap",
            found="true",
        )
    return Info(
        {},
        spinful,
        optional_number(path, content, "fermi_level"),
        own=own if isinstance(own, dict) else {},
        n_atoms=optional_number(path, content, "nsites"),
        others=unknown_keys(path, content, _READ),
    )


def read_atoms(folder: Path, info: Info) -> tuple[Structure, Basis]:
    """Read the structure and the basis.

    Atoms of one element with different shells get labels with a number, ``Mo1`` and ``Mo2``;
    those that `dock` wrote get their own labels back.

    Raises
    ------
    FormatError
        When a file is not what the format promises or two files disagree.
    """
    cell = _table(folder / "lat.dat", "three lattice vectors as columns, Å")
    if cell.shape != (3, 3):
        _wrong_size(folder / "lat.dat", "3 lines of 3 numbers", cell.shape)
    positions = _table(folder / "site_positions.dat", "the atoms' positions as columns, Å")
    numbers = _numbers(folder / "element.dat")
    if positions.shape != (3, len(numbers)):
        expected = f"3 lines of {len(numbers)} numbers, one column for each line of element.dat"
        _wrong_size(folder / "site_positions.dat", expected, positions.shape)
    if info.n_atoms not in (None, len(numbers)):
        raise FormatError(
            folder / "info.json",
            "info.json and element.dat disagree",
            where="nsites",
            expected=len(numbers),
            found=f"{info.n_atoms:g}",
            fix="The files belong to different structures.",
        )
    shells = _orbital_types(folder / "orbital_types.dat", len(numbers))
    labels = _labels(folder, numbers, shells, info)
    pbc = info.own.get("pbc")
    flags = tuple(map(bool, pbc)) if isinstance(pbc, list) and len(pbc) == 3 else (True,) * 3
    try:
        structure = Structure(cell.T, positions.T, numbers, labels, (flags[0], flags[1], flags[2]))
        basis = Basis.from_ls(dict(zip(labels, shells, strict=True)), labels)
    except LayoutError as error:
        raise FormatError(folder, str(error).rstrip(".")) from error
    return structure, basis


def format_texts(structure: Structure, basis: Basis) -> dict[str, str]:
    r"""Return the text of every file but info.json, numbers in shortest exact form.

    Examples
    --------
    >>> box = Structure(np.eye(3) * 5, [[0, 0, 0.1]], [14])
    >>> texts = format_texts(box, Basis.from_ls({"Si": [0, 1]}, ["Si"]))
    >>> texts["element.dat"], texts["orbital_types.dat"]
    ('14\n', '0  1\n')
    """
    shells = {label: "  ".join(map(str, basis.ls(label))) for label in basis.species}
    return {
        "lat.dat": _rows(structure.cell.T),
        "rlat.dat": _rows(structure.reciprocal.T),
        "site_positions.dat": _rows(structure.positions.T),
        "element.dat": "".join(f"{number}\n" for number in structure.numbers.tolist()),
        "orbital_types.dat": "".join(f"{shells[label]}\n" for label in basis.labels),
    }


def _rows(values: NDArray[Any]) -> str:
    return "".join(" ".join(map(repr, row)) + "\n" for row in values.tolist())


def _text(path: Path) -> str:
    if not path.is_file():
        raise MissingDataError(path.name, path.parent, "Copy it there.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(path, "this is not a text file", fix="Copy it again.") from error
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror}") from error


def _table(path: Path, what: str) -> NDArray[np.float64]:
    """Return the numbers of a file as rows."""
    text = _text(path)
    require_line_end(path, text)
    rows: list[NDArray[np.float64]] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = parse_numbers(line)
        except NotANumber as error:
            raise FormatError(
                path,
                "numbers cannot be read",
                where=f"line {number}",
                expected=what,
                found=error.shown,
            ) from None
        if len(row) and rows and len(row) != len(rows[0]):
            raise FormatError(
                path,
                "numbers cannot be read",
                where=f"line {number}",
                expected=what,
                found="rows of different lengths",
            )
        rows += [row] if len(row) else []
    if not rows or not np.all(np.isfinite(rows)):
        raise FormatError(path, "numbers cannot be read", expected=what, fix="Copy it again.")
    return np.array(rows)


def _numbers(path: Path) -> NDArray[np.int64]:
    """Return the atomic numbers of element.dat."""
    text = _text(path)
    require_line_end(path, text)
    words = text.split()
    try:
        numbers = np.array([int(word) for word in words], dtype=np.int64)
        for number in set(numbers.tolist()):
            symbol(number)
    except (ValueError, OverflowError, ConventionError) as error:
        raise FormatError(
            path, "atomic numbers cannot be read", expected="one for each atom", found=error
        ) from error
    if not len(numbers):
        raise FormatError(path, "the file is empty", fix="Copy it again.")
    return numbers


def _orbital_types(path: Path, n_atoms: int) -> list[tuple[int, ...]]:
    lines = [line.split() for line in _text(path).splitlines() if line.strip()]
    good = all(word.isdigit() and int(word) <= 12 for line in lines for word in line)
    if not good or len(lines) != n_atoms:
        raise FormatError(
            path,
            "the orbitals cannot be read",
            expected=f"{n_atoms} lines, each with the l of every shell of an atom",
            found=f"{len(lines)} lines" if good else "words that are no angular momentum",
            fix="The files belong to different structures, or this one was cut.",
        )
    return [tuple(map(int, line)) for line in lines]


def _labels(
    folder: Path, numbers: NDArray[Any], shells: list[tuple[int, ...]], info: Info
) -> tuple[str, ...]:
    """Return one species label for each atom: the symbol, numbered where shells differ."""
    stored = info.own.get("species")
    if isinstance(stored, list) and len(stored) == len(numbers):
        labels = tuple(map(str, stored))
        of_label = dict(zip(labels, shells, strict=True))
        if all(of_label[label] == mine for label, mine in zip(labels, shells, strict=True)):
            return labels
        raise FormatError(
            folder / "info.json",
            "species and orbital_types.dat disagree",
            where="dock.species",
            fix="The files belong to different structures.",
        )
    return numbered_labels([symbol(number) for number in numbers.tolist()], shells)


def _wrong_size(path: Path, expected: str, shape: tuple[int, ...]) -> None:
    raise FormatError(
        path,
        "the file has the wrong size",
        expected=expected,
        found=f"{shape[0]} lines of {shape[1]}",
        fix="The files belong to different structures, or this one was cut.",
    )
