"""The written forms of a k-path: ``K_PATH`` files, those of codes, and strings of labels.

A ``K_PATH`` file has one line for each segment: the number of points, three coordinates of the
start, three of the end (fractions of the reciprocal vectors), two labels. These are also the
lines of OpenMX's ``<Band.kpath`` block, whose two frame lines are skipped. Blank lines and what
follows a ``#`` are ignored. ``KPOINTS`` (VASP, line mode) and ``KPT`` (ABACUS, ``Line``) are told
by what stands in their first lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dock.errors import FormatError, MissingDataError, UsageError
from dock.io.files import write_text
from dock.io.text import finite_numbers

__all__ = ["GREEK_GLYPHS", "Row", "parse_labels", "read_k_path", "write_k_path"]

GREEK_GLYPHS = {"GAMMA": "Γ", "G": "Γ", "SIGMA": "Σ", "DELTA": "Δ", "LAMBDA": "Λ"}
_GREEK_NAMES = {"Γ": "GAMMA", "Σ": "SIGMA", "Δ": "DELTA", "Λ": "LAMBDA"}
_LABEL = re.compile(r"(?:GAMMA|SIGMA|DELTA|LAMBDA|[A-Z])(?:_?[0-9]+)?'*")
_QUOTED = re.compile(r"""(?<![\w'"])(?:"([^"]*)"|'([^']*)')""")
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
    """Read the segments of a ``K_PATH``, ``KPOINTS`` or ``KPT`` file.

    `MissingDataError` where there is no such file; `FormatError` names a line that is no segment.
    """
    if not path.is_file():
        raise MissingDataError("the k-path file", path, f"Write lines like: {_LINE}. {_EXAMPLE}")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise FormatError(path, "this is not a text file", fix=_EXAMPLE) from error
    head = [line.split("#")[0].split("//")[0].strip().lower() for line in lines[:4]]
    if head[:1] == ["k_points"]:
        rows = _read_kpt(path, lines, head)
    elif len(head) == 4 and head[1].split("!")[0].strip().isdecimal() and head[2][:1].isalpha():
        rows = _read_kpoints(path, lines, head)
    else:
        rows = [
            _read_row(path, number, content)
            for number, line in enumerate(lines, start=1)
            if (content := line.split("#")[0].strip()) and "band.kpath" not in content.lower()
        ]
    if not rows:
        raise FormatError(path, "no segment in the file", expected=_LINE, fix=_EXAMPLE)
    return rows


def _read_kpoints(path: Path, lines: list[str], head: list[str]) -> list[Row]:
    """Read VASP's line mode: two lines a segment, both ends among its points."""
    if not head[2].startswith("l") or head[3][:1] in ("c", "k"):
        raise FormatError(
            path,
            "these are no k-points along lines, in units of the reciprocal vectors",
            expected="'Line-mode' in the third line, 'Reciprocal' in the fourth",
            found=f"{head[2]!r}, {head[3]!r}",
            fix="Give the KPOINTS file of a band structure, or write a K_PATH file.",
        )
    count = int(head[1].split("!")[0])
    points = [
        _point(path, number, line, 3)
        for number, line in enumerate(lines[4:], start=5)
        if line.split("#")[0].split("!")[0].strip()
    ]
    if len(points) % 2:
        raise FormatError(
            path, "a segment has no end", expected="an even number of k-points", found=len(points)
        )
    return [
        Row(_require_points(path, count), start, end, (first, last))
        for (start, _, first), (end, _, last) in zip(points[::2], points[1::2], strict=True)
    ]


def _read_kpt(path: Path, lines: list[str], head: list[str]) -> list[Row]:
    """Read ABACUS's ``Line``: each point with the number of steps to the next; 1 ends a branch."""
    if head[2:3] != ["line"]:
        raise FormatError(
            path,
            "these are no k-points along lines, in units of the reciprocal vectors",
            expected="'Line' in the third line",
            found=repr(head[2] if len(head) > 2 else ""),
            fix="Give the KPT file of a band structure, or write a K_PATH file.",
        )
    points = [
        _point(path, number, line, 4)
        for number, line in enumerate(lines[3:], start=4)
        if line.split("#")[0].split("//")[0].strip()
    ]
    return [
        Row(_require_points(path, count + 1), start, end, (first, last))
        for (start, count, first), (end, _, last) in pairwise(points)
        if count != 1
    ]


def _point(
    path: Path, number: int, line: str, n_numbers: int
) -> tuple[NDArray[np.float64], int, str]:
    """Return coordinates, the count behind them (0 without one) and the label of a line."""
    words = re.sub(r"//|[#!]", " ", line).split()
    values = finite_numbers(words[:n_numbers], n_numbers)
    if values is None or (n_numbers == 4 and values[3] != int(values[3])):
        expected = "three coordinates" + (" and a count" if n_numbers == 4 else "")
        where = f"line {number}"
        raise FormatError(
            path, "a k-point cannot be read", where=where, expected=expected, found=line.strip()
        )
    label = "".join(_unquoted(" ".join(words[n_numbers:])).split()).strip("\\$")
    label = label.upper() if label.upper() in GREEK_GLYPHS else label
    count = int(values[3]) if n_numbers == 4 else 0
    return np.array(values[:3]), count, label or "?"


def _require_points(path: Path, count: int) -> int:
    if count < 2:
        raise FormatError(path, "too few points", expected="at least 2 a segment", found=count)
    return count


def _unquoted(text: str) -> str:
    """Return a label or a path of labels without the quotes around words.

    Examples
    --------
    >>> _unquoted('"G"-"M"'), _unquoted("K'-G")
    ('G-M', "K'-G")
    """
    return _QUOTED.sub(lambda match: match[1] if match[1] is not None else match[2], text)


def _quoted(label: str) -> str:
    """Return a label as it is written: in quotes where it begins with one itself."""
    return f'"{label}"' if label.startswith("'") else label


def write_k_path(path: Path, rows: Iterable[Row], *, overwrite: bool = False) -> None:
    """Write a ``K_PATH`` file, coordinates so that they read back exactly.

    It raises as `write_text`.
    """
    lines = [
        f"{row.n_points:5d}  "
        + " ".join(f"{float(x)!r:>22}" for x in (*row.start, *row.end))
        + f"   {_quoted(row.labels[0]):<12} {_quoted(row.labels[1])}\n"
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
    for part in _unquoted(text).split("|"):
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
    fields = _unquoted(line).split()
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
