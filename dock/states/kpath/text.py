"""The written forms of a k-path: ``K_PATH`` files and strings of labels.

A ``K_PATH`` file has one line for each segment: the number of points, three coordinates of the
start, three of the end (fractions of the reciprocal vectors), two labels. These are also the
lines of OpenMX's ``<Band.kpath`` block, whose two frame lines are skipped. Blank lines and what
follows a ``#`` are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dock.errors import FormatError, MissingDataError, UsageError
from dock.io.files import write_text

__all__ = ["GREEK_GLYPHS", "Row", "parse_labels", "read_k_path", "write_k_path"]

GREEK_GLYPHS = {"GAMMA": "Γ", "G": "Γ", "SIGMA": "Σ", "DELTA": "Δ", "LAMBDA": "Λ"}
_GREEK_NAMES = {"Γ": "GAMMA", "Σ": "SIGMA", "Δ": "DELTA", "Λ": "LAMBDA"}
_LABEL = re.compile(r"(?:GAMMA|SIGMA|DELTA|LAMBDA|[A-Z])(?:_?[0-9]+)?'*")
_LINE = "N  k1 k2 k3  k1 k2 k3  LABEL LABEL"
_EXAMPLE = "For example: 20  0 0 0  0.5 0 0  GAMMA M"


@dataclass(frozen=True)
class Row:
    """One line of a ``K_PATH`` file.

    It has a segment's samples, both ends included, its two ends in fractional coordinates (3,),
    and their names.
    """

    n_points: int
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    labels: tuple[str, str]


def read_k_path(path: Path) -> list[Row]:
    """Read the segments of a ``K_PATH`` file.

    `MissingDataError` where there is no such file; `FormatError` names a line that is no segment.
    """
    if not path.is_file():
        raise MissingDataError("the k-path file", path, f"Write lines like: {_LINE}. {_EXAMPLE}")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise FormatError(path, "this is not a text file", fix=_EXAMPLE) from error
    rows = [
        _read_row(path, number, content)
        for number, line in enumerate(lines, start=1)
        if (content := line.split("#")[0].strip()) and "band.kpath" not in content.lower()
    ]
    if not rows:
        raise FormatError(path, "no segment in the file", expected=_LINE, fix=_EXAMPLE)
    return rows


def write_k_path(path: Path, rows: Iterable[Row], *, overwrite: bool = False) -> None:
    """Write a ``K_PATH`` file, coordinates so that they read back exactly.

    It raises as `write_text`.
    """
    lines = [
        f"{row.n_points:5d}  "
        + " ".join(f"{float(x)!r:>22}" for x in (*row.start, *row.end))
        + f"   {row.labels[0]:<12} {row.labels[1]}\n"
        for row in rows
    ]
    write_text(path, "".join(lines), overwrite=overwrite)


def parse_labels(text: str, known: Iterable[str], lattice: str = "cell") -> list[tuple[str, ...]]:
    """Split a path of labels into unbroken branches of known labels.

    Branches are separated by ``|``; labels by ``-``, ``–``, ``,``, space or nothing. Text that is
    no label, or one that the lattice does not have, is a `UsageError` that names the lattice.

    Examples
    --------
    >>> parse_labels("G-X|UΓ", ["GAMMA", "X", "U"])
    [('GAMMA', 'X'), ('U', 'GAMMA')]
    """
    by_key = {_key(label): label for label in known}
    branches = []
    for part in text.split("|"):
        names: list[str] = []
        for word in re.split(r"[-–,;\s→]+", part.strip()):
            names.extend(_split_word(word, by_key, text, lattice))
        if not names:
            raise UsageError(f"The k-path {text!r} has an empty part. Name its points: G-M-K-G.")
        branches.append(tuple(names))
    return branches


def _split_word(word: str, by_key: dict[str, str], text: str, lattice: str) -> list[str]:
    """Return the known labels that a word without separators is made of."""
    plain = word.upper().replace("\\", "").replace("$", "")
    for glyph, name in _GREEK_NAMES.items():
        plain = plain.replace(glyph, name)
    parts = _LABEL.findall(plain)
    unknown = [part for part in parts if _key(part) not in by_key]
    if unknown or "".join(parts) != plain:
        raise UsageError(
            f"The k-path {text!r} names {(unknown or [word])[0]!r}, "
            f"which this {lattice} does not have. "
            f"Known labels: {', '.join(by_key.values())}. "
            "Other points: write a K_PATH file with their coordinates."
        )
    return [by_key[_key(part)] for part in parts]


def _key(label: str) -> str:
    """Return the form in which labels are compared: no underscore, G for the zone centre."""
    plain = label.upper().replace("_", "")
    return "GAMMA" if plain == "G" else plain


def _read_row(path: Path, number: int, line: str) -> Row:
    refusal = partial(FormatError, path, where=f"line {number}")
    fields = line.split()
    if len(fields) != 9:
        problem = f"a segment has 9 fields, not {len(fields)}"
        raise refusal(problem, expected=_LINE, found=repr(line), fix=_EXAMPLE)
    try:
        count, ends = int(fields[0]), [float(x) for x in fields[1:7]]
    except ValueError:
        raise refusal(
            "a number cannot be read",
            expected="an integer and six coordinates before the labels",
            found=repr(" ".join(fields[:7])),
            fix=_EXAMPLE,
        ) from None
    if not np.isfinite(ends).all():
        raise refusal("a coordinate is not finite", found=" ".join(fields))
    if count < 1 or (count == 1 and ends[:3] != ends[3:]):
        expected = "at least 2 (both ends are samples)"
        raise refusal("too few points", expected=expected, found=count)
    return Row(count, np.array(ends[:3]), np.array(ends[3:]), (fields[7], fields[8]))
