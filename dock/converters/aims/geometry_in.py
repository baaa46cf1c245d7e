"""geometry.in, FHI-aims' structure file: read and written."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np

from dock.core.elements import atomic_number, element_of_label
from dock.core.structure import Structure
from dock.errors import FormatError
from dock.io.text import finite_numbers, read_text

__all__ = ["format_geometry", "read_geometry"]

_VACUUM = 10.0  # Å around a molecule: its matrices have no lattice vectors, the cell is a box
_ATOMS = ("atom", "atom_frac", "empty", "empty_frac")


def read_geometry(path: Path) -> Structure:
    """Read geometry.in; atoms stay in order and where they are.

    A molecule gets a box around it, and no periodicity. Empty sites get the atomic number 0 and
    ``_empty`` behind their species' name.

    Raises
    ------
    MissingDataError
        When the file cannot be opened.
    FormatError
        When a line is damaged, or there is no atom.
    """
    vectors: list[list[float]] = []
    rows: list[list[float]] = []
    kinds: list[str] = []
    labels: list[str] = []
    for number, raw in enumerate(read_text(path).splitlines(), 1):
        words = raw.split("#")[0].split()
        if not words:
            continue
        if words[0] == "lattice_vector":
            vectors.append(_three(path, number, words))
        elif words[0] in _ATOMS:
            rows.append(_three(path, number, words))
            if len(words) < 5:
                _fail(path, number, "an atom has no species", raw)
            kinds.append(words[0])
            labels.append(words[4] + ("_empty" if words[0].startswith("empty") else ""))
    if not rows or len(vectors) not in (0, 3):
        _fail(path, 0, "there are no atoms, or not 0 or 3 lattice vectors", f"{len(vectors)}")
    return _structure(path, np.array(vectors), np.array(rows), kinds, labels)


def _structure(
    path: Path, cell: np.ndarray, rows: np.ndarray, kinds: list[str], labels: list[str]
) -> Structure:
    fractional = np.array([kind.endswith("_frac") for kind in kinds])
    periodic = len(cell) == 3
    if periodic:
        rows[fractional] = rows[fractional] @ cell
    elif fractional.any():
        _fail(path, 0, "fractional positions without lattice vectors", "atom_frac")
    else:
        cell = np.diag(np.ptp(rows, axis=0) + 2 * _VACUUM)
    numbers = np.array([_number(path, label) for label in labels])
    return Structure(cell, rows, numbers, tuple(labels), (periodic, periodic, periodic))


def _number(path: Path, label: str) -> int:
    if label.endswith("_empty"):
        return 0
    symbol = element_of_label(label)
    if symbol is None:
        raise FormatError(
            path,
            f"the species '{label}' names no element",
            expected="a name that begins with the element's symbol, such as Fe1",
            fix="Rename the species in geometry.in and control.in.",
        )
    return atomic_number(symbol)


def _three(path: Path, number: int, words: list[str]) -> list[float]:
    values = finite_numbers(words[1:4], 3)
    if values is None:
        _fail(path, number, "three numbers are missing or wrong", " ".join(words))
    return values


def _fail(path: Path, number: int, problem: str, found: str) -> NoReturn:
    raise FormatError(
        path,
        problem,
        where=f"line {number}" if number else None,
        expected="lattice_vector x y z, atom x y z species",
        found=repr(found[:60]),
        fix="Correct geometry.in, or copy it again.",
    )


def format_geometry(structure: Structure, *, periodic: bool) -> str:
    """Return the text of geometry.in; numbers are exact to the last bit."""
    lines = ["# written by dock"]
    if periodic:
        lines += [f"lattice_vector {_row(vector)}" for vector in structure.cell]
    for label, number, point in zip(
        structure.labels, structure.numbers, structure.positions, strict=True
    ):
        word = "atom" if number else "empty"
        lines.append(f"{word} {_row(point)} {label.removesuffix('_empty')}")
    return "\n".join(lines) + "\n"


def _row(values: np.ndarray) -> str:
    return " ".join(repr(float(value)) for value in values)
