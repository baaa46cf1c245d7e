"""Numbers in SIESTA's text files, and what is said where they are missing or wrong.

What is no finite number is a FormatError that names its line; a file that cannot be read is a
MissingDataError.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from dock.converters.siesta.matrix_file import SIESTA_FILES, damaged
from dock.errors import FormatError
from dock.io.text import NotANumber, parse_numbers, read_numbers

__all__ = ["cut", "file_numbers", "word_numbers"]


def file_numbers(path: Path) -> NDArray[np.float64]:
    """Return all words of a file as finite numbers."""
    return _finite(path, read_numbers(path, SIESTA_FILES.damaged_fix))


def word_numbers(
    path: Path, words: list[bytes], count: int, lines: tuple[int, int]
) -> NDArray[Any]:
    """Return `count` words of a file as finite numbers.

    `lines` are the line of the first word, and how many words of each line these are.
    """
    try:
        values = parse_numbers(b" ".join(words))
    except NotANumber as error:
        where = f"line {lines[0] + error.index // lines[1]}"
        damaged(path, "a word stands where a number should be", "a number", error.shown, where)
    if values.size != count:
        cut(path, f"{count} numbers", values.size)
    return _finite(path, values)


def _finite(path: Path, values: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(values).all():
        damaged(path, "numbers are not finite", "finite numbers", "NaN or infinity")
    return values


def cut(path: Path, expected: object, found: object) -> NoReturn:
    """Refuse a text that ends too early or too late."""
    problem, fix = "the file is cut, or longer than it says", SIESTA_FILES.cut_fix
    raise FormatError(path, problem, expected=expected, found=found, fix=fix)
