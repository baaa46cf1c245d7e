"""Sparse matrices of ABACUS as text, in the layouts before and since version 3.9.0.25."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dock.converters.abacus.sparse_base import SparseBlock, SparseSource, Step
from dock.errors import FormatError
from dock.io.text import CUT_FIX, TextNumbers, open_binary

__all__ = ["text_blocks", "text_steps"]

_OLD, _NEW = b"STEP:", b"--- Ionic Step"
_SCAN = 2**22  # bytes
_MARGIN = 64  # bytes that a step header has at most
_HEADER_LINES = 2000  # lines of a header of the new layout that are looked through at most


def text_steps(path: Path) -> list[Step]:
    """Find the step headers, reading the file once in large pieces."""
    steps: list[Step] = []
    start, rest = 0, b""
    try:
        with open_binary(path) as stream:
            while True:
                piece = stream.read(_SCAN)
                text = rest + piece
                # what is too near the end may be cut in two: it is met again in the next piece
                limit = len(text) - _MARGIN if piece else len(text)
                found = [(at, number) for at, number in _headers(text) if at < limit]
                steps += [Step(number, start + at) for at, number in found]
                if not piece:
                    return steps
                kept = min(_MARGIN, len(text))
                start, rest = start + len(text) - kept, text[len(text) - kept :]
    except (OSError, EOFError) as error:
        raise FormatError(path, f"the file cannot be read ({error})", fix=CUT_FIX) from error


def _headers(text: bytes) -> Iterator[tuple[int, int]]:
    """Yield offset and number (from 0) of the step headers in a piece of text.

    Capitals are rare among numbers, and one byte is found many times faster than a word.
    """
    for mark, capital, first in ((_OLD, b"S", 0), (_NEW, b"I", 1)):
        lead = mark.index(capital)
        place = text.find(capital, lead)
        while place >= 0:
            at = place - lead
            if text.startswith(mark, at):
                number = re.match(rb"\s*(\d+)", text[at + len(mark) : at + len(mark) + 24])
                if number:
                    yield at, int(number.group(1)) - first
            place = text.find(capital, place + 1)


def text_blocks(
    file: SparseSource, step: Step
) -> Iterator[tuple[tuple[int, int, int], list[SparseBlock]]]:
    """Yield the lattice vectors of one step with their matrices; check their number."""
    with TextNumbers(file.path, step.offset) as numbers:
        header = numbers.raw_line() or b""
        old = header.startswith(_OLD)
        expected = _old_header(file, numbers) if old else _new_header(file, numbers)
        found = 0
        while (line := numbers.line()) is not None and not line.startswith((_OLD, _NEW)):
            where = f"block {found + 1} of step {step.number}"
            if file.n_vector == 1:
                R, nnz = _block_header(file, line, where)
                blocks = [_text_block(file, numbers, R, nnz, where, old=old)]
            else:
                R = _integers(file, line, 3, where)
                blocks = [
                    _vector_block(file, numbers, R, axis, where) for axis in range(file.n_vector)
                ]
            found += 1
            if found > expected:
                break
            yield R, blocks
    # The density matrix and the new layout leave empty matrices out but count them.
    exact = old and "DM" not in file.path.name
    if found > expected or (exact and found < expected):
        file.fail(
            "the number of lattice vectors is wrong",
            f"step {step.number}",
            expected=f"{expected}, as the header says",
            found=f"{found if found <= expected else 'more'}",
        )


def _old_header(file: SparseSource, numbers: TextNumbers) -> int:
    """Read the two lines behind ``STEP:`` and return the number of lattice vectors."""
    counts = []
    for words in (b"Matrix Dimension", b"Matrix number"):
        line = numbers.line() or b""
        match = re.search(rb":\s*(\d+)\s*$", line)
        if not line.startswith(words) or match is None:
            file.fail(
                "the header is damaged",
                "the three lines from 'STEP:'",
                expected=f"'{words.decode()} of …: number'",
                found=repr(line[:60].decode("utf-8", "replace")),
            )
        counts.append(int(match.group(1)))
    file.check_size(counts[0])
    return counts[1]


def _new_header(file: SparseSource, numbers: TextNumbers) -> int:
    """Read the header of the new layout up to the box above the first matrix."""
    size = count = None
    for _ in range(_HEADER_LINES):
        line = numbers.raw_line()
        if line is None:
            break
        match = re.match(rb"(\d+)\s*#\s*number of (localized basis|Bravais)", line)
        if match and match.group(2) == b"Bravais":
            count = int(match.group(1))
        elif match:
            size = int(match.group(1))
        if line.startswith(b"#---") and b"CSR Format" not in line and size and count is not None:
            file.check_size(size)
            return count
    return file.fail(
        "the header is damaged",
        "the lines from '--- Ionic Step'",
        expected="'number of localized basis', 'number of Bravais lattice vector R' and a box",
        found="the end of the header" if size is None else f"{size} basis functions, no more",
    )


def _integers(file: SparseSource, line: bytes, count: int, where: str) -> Any:
    """Return exactly `count` integers of a line."""
    words = line.split()
    try:
        found = tuple(int(word) for word in words)
    except ValueError:
        found = ()
    if len(found) != count:
        file.fail(
            "the line of a lattice vector is damaged",
            where,
            expected=f"{count} integers",
            found=repr(line[:60].decode("utf-8", "replace")),
        )
    return found


def _block_header(file: SparseSource, line: bytes, where: str) -> tuple[tuple[int, int, int], int]:
    first, second, third, nnz = _integers(file, line, 4, where)
    return (first, second, third), nnz


def _text_block(
    file: SparseSource,
    numbers: TextNumbers,
    R: tuple[int, int, int],
    nnz: int,
    where: str,
    *,
    old: bool = True,
) -> SparseBlock:
    """Read values, columns and row pointers; an empty matrix has none of them (old layout)."""
    if nnz == 0:
        if not old:
            _skip_empty(file, numbers)
        nothing = np.zeros(0, dtype=np.int64)
        return SparseBlock(R, 0, nothing, nothing, np.zeros(0))
    dtype = np.complex128 if _is_complex(numbers) else np.float64
    values = numbers.take(nnz, dtype, f"values of {where}")
    cols = numbers.take(nnz, np.int32, f"columns of {where}")
    pointers = numbers.take(file.size + 1, np.int64, f"row pointers of {where}")
    return SparseBlock(R, 0, file.rows(pointers, cols, where), cols, values)


def _vector_block(
    file: SparseSource, numbers: TextNumbers, R: tuple[int, int, int], axis: int, where: str
) -> SparseBlock:
    line = numbers.line()
    if line is None:
        file.fail("the file is cut", where, expected="a number of entries")
    (nnz,) = _integers(file, line, 1, where)
    return _text_block(file, numbers, R, nnz, f"{where}, {'xyz'[axis]}")._replace(component=axis)


def _skip_empty(file: SparseSource, numbers: TextNumbers) -> None:
    """Pass over the row pointers of an empty matrix, where they are written."""
    line = numbers.line()
    if line is None:
        return
    words = line.split()
    if len(words) != file.size + 1 or any(word != b"0" for word in words):
        numbers.push_back(line)


def _is_complex(numbers: TextNumbers) -> bool:
    """Say whether the next line has numbers of the form ``(re,im)``."""
    return numbers.peek().lstrip().startswith(b"(")
