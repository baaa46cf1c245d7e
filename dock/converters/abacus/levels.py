"""The eigenvalues that ABACUS prints: ``eig_occ.txt``, ``eig.txt``, ``istate.info``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.errors import FormatError
from dock.io.text import CUT_FIX, read_text

__all__ = ["TABLES", "PrintedLevels", "read_levels"]

TABLES = ("eig_occ.txt", "eig.txt", "istate.info")
"""Since 3.9.0.15, since 3.9.0.8, and before: the first that is there counts."""

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_STEP = re.compile(r"^\s*(\d+)\s*# ionic step", re.MULTILINE)
_HEAD = re.compile(r"^\s*Electronic state energy", re.MULTILINE)
_POINT = re.compile(
    rf"^\s*spin=\s*(\d+)\s+k-point=\s*\d+/(\d+)\s+Cartesian=\s*"
    rf"({_NUMBER})\s+({_NUMBER})\s+({_NUMBER})[^\n]*$",
    re.MULTILINE,
)
_OLD_POINT = re.compile(r"^\s*BAND[^\n]*Kpoint\s*=\s*\d+\s*\(([^)]*)\)[^\n]*$", re.MULTILINE)


class PrintedLevels(NamedTuple):
    """The levels of one ionic step.

    Attributes
    ----------
    step
        From 0; None where the file does not say it.
    k
        (n_k, 3): in 2π over the lattice constant, or fractional, as `is_cartesian` says.
    is_cartesian
        Which of both.
    energies, occupations
        (n_spins, n_k, n_bands) eV, and electrons with the weight of the k-point.
    """

    step: int | None
    k: NDArray[np.float64]
    is_cartesian: bool
    energies: NDArray[np.float64]
    occupations: NDArray[np.float64]

    def fractional(self, cell: NDArray[np.float64], constant: float) -> NDArray[np.float64]:
        """Return the k-points as fractions, given cell and lattice constant in one unit."""
        return self.k @ (cell / constant).T if self.is_cartesian else self.k


def read_levels(path: Path) -> list[PrintedLevels]:
    """Read the levels of every ionic step; none where the layout is another one.

    Raises
    ------
    MissingDataError
        When the file cannot be read.
    FormatError
        When it is cut or damaged.
    """
    text = read_text(path)
    try:
        if path.name == "istate.info":
            return _old(text)
        marks = list(_STEP.finditer(text)) or list(_HEAD.finditer(text))
        ends = [*(mark.start() for mark in marks[1:]), len(text)]
        parts = zip(marks, ends, strict=False)
        return [
            _new(text[mark.end() : end], int(mark[1]) - 1 if mark.lastindex else None)
            for mark, end in parts
        ]
    except ValueError as error:
        raise FormatError(path, f"the table is cut or damaged ({error})", fix=CUT_FIX) from error


def _bodies(pattern: re.Pattern[str], text: str) -> list[tuple[re.Match[str], list[list[str]]]]:
    """Return each head of a k-point with the rows of numbers below it."""
    heads = list(pattern.finditer(text))
    ends = [*(head.start() for head in heads[1:]), len(text)]
    return [
        (head, [line.split() for line in text[head.end() : end].splitlines() if line.strip()])
        for head, end in zip(heads, ends, strict=False)
    ]


def _new(text: str, step: int | None) -> PrintedLevels:
    spins: dict[int, list[NDArray[np.float64]]] = {}
    k: dict[int, list[list[float]]] = {}
    n_points = 0
    for head, rows in _bodies(_POINT, text):
        spin, n_points = int(head[1]), int(head[2])
        k.setdefault(spin, []).append([float(word) for word in head.groups()[2:]])
        spins.setdefault(spin, []).append(np.array(rows, dtype=np.float64).reshape(-1, 3))
    shapes = {table.shape for tables in spins.values() for table in tables}
    if len(shapes) != 1 or (0, 3) in shapes:
        raise ValueError("k-points with different numbers of bands")
    if any(len(tables) not in (n_points, n_points / len(spins)) for tables in spins.values()):
        raise ValueError(f"not all of {n_points} k-points")
    tables = np.array([spins[spin] for spin in sorted(spins)], dtype=np.float64)
    points = np.array(k[min(k)], dtype=np.float64)
    return PrintedLevels(step, points, True, tables[..., 1], tables[..., 2])


def _old(text: str) -> list[PrintedLevels]:
    bodies = _bodies(_OLD_POINT, text)
    if not bodies:
        return []
    k = np.array([head[1].split() for head, _ in bodies], dtype=np.float64).reshape(-1, 3)
    tables = np.array([rows for _, rows in bodies], dtype=np.float64)
    if tables.ndim != 3 or tables.shape[2] not in (3, 5):
        return []
    energies, occupations = (tables[..., first::2].transpose(2, 0, 1) for first in (1, 2))
    return [PrintedLevels(None, k, False, energies, occupations)]
