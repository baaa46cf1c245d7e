"""ABACUS's sparse text files, ``hrs1_nao.csr``, both ways: layouts before and since 3.9.0.25."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.abacus.sparse import (
    LETTERS,
    MARKS,
    NO_STEP,
    Header,
    SparseBlock,
    SparseFile,
    Step,
    StepStructure,
    begins_without_step,
    step_header,
)
from dock.core.interop import orbital_indices
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.errors import FormatError
from dock.io.text import CUT_FIX, UNREADABLE, TextNumbers, finite_numbers, open_binary

__all__ = ["CsrFile", "CsrWriter", "format_header"]

_SCAN = 2**22  # bytes
_MARGIN = 64  # bytes that a step header has at most
_CHUNK = 2**16  # numbers formatted at once
_N_SPINS = {Spin.NONE: 1, Spin.COLLINEAR: 2, Spin.NONCOLLINEAR: 4}
_BOX = """ #----------------------------------------------------------------------#
 #                               CSR Format                             #
 # Each matrix begins with its lattice vector R and the number of       #
 # non-zero elements; values, column indices and row pointers follow.   #
 #----------------------------------------------------------------------#
"""


@dataclass(frozen=True)
class CsrFile(SparseFile):
    """A text file of sparse matrices, also compressed (``.gz``)."""

    def find_steps(self) -> list[Step]:
        """Find the step headers, reading the file once in large pieces.

        ABACUS up to 2.x, and some builds after it, wrote one step without such a header.
        """
        return _steps(self.path) or ([Step(0, 0)] if begins_without_step(self.path) else [])

    def header(self, step: Step) -> Header:
        """Return what stands before the matrices of a step, the structure included."""
        with TextNumbers(self.path, step.offset) as numbers:
            return _header(self, numbers)

    def read_blocks(self, step: Step) -> Iterator[tuple[tuple[int, int, int], list[SparseBlock]]]:
        """Yield the lattice vectors of one step with their matrices; check their number."""
        return _blocks(self, step)


def _steps(path: Path) -> list[Step]:
    steps: list[Step] = []
    start, rest = 0, b""
    try:
        with open_binary(path) as stream:
            while True:
                piece = stream.read(_SCAN)
                text = rest + piece
                # what is too near the end may be cut in two: it is met again in the next piece
                limit = len(text) - _MARGIN if piece else len(text)
                # and the byte before a header says whether it is one: "IONIC_" is none of "STEP:"
                first = 0 if start == 0 else 1
                headers = [(at, number) for at, number in _headers(text) if first <= at < limit]
                steps += [Step(number, start + at) for at, number in headers]
                if not piece:
                    return steps
                kept = min(_MARGIN + 1, len(text))
                start, rest = start + len(text) - kept, text[len(text) - kept :]
    except UNREADABLE as error:
        raise FormatError(path, f"the file cannot be read ({error})", fix=CUT_FIX) from error


def _headers(text: bytes) -> Iterator[tuple[int, int]]:
    """Yield offset and number (from 0) of the step headers in a piece of text.

    Capitals are rare among numbers, and one byte is found many times faster than a word.
    """
    for mark, lead in zip(MARKS, (0, 6, 4), strict=True):
        capital = mark[lead : lead + 1]
        place = text.find(capital, lead)
        while place >= 0:
            at = place - lead
            if text.startswith(mark, at) and text[max(at - 1, 0) : at] != b"_":
                number = step_header(text[at : at + _MARGIN])
                if number is not None:
                    yield at, number
            place = text.find(capital, place + 1)


def _blocks(
    file: SparseFile, step: Step
) -> Iterator[tuple[tuple[int, int, int], list[SparseBlock]]]:
    with TextNumbers(file.path, step.offset) as numbers:
        header = _header(file, numbers)
        file.check_size(header.size)
        expected, n_blocks = header.n_blocks, 0
        while (line := numbers.line()) is not None and not line.startswith(MARKS):
            where = f"block {n_blocks + 1} of step {step.number}"
            if file.n_vector == 1:
                R, nnz = _block_header(file, line, where)
                blocks = [_text_block(file, numbers, R, nnz, where, old=header.is_old)]
            else:
                R = _integers(file, line, 3, where)
                blocks = [
                    _vector_block(file, numbers, R, axis, where) for axis in range(file.n_vector)
                ]
            n_blocks += 1
            if n_blocks > expected:
                break
            yield R, blocks
    # The density matrix and the new layout leave empty matrices out but count them.
    exact = header.is_old and header.letter != "DM"
    if n_blocks > expected or (exact and n_blocks < expected):
        file.fail(
            "the number of lattice vectors is wrong",
            f"step {step.number}",
            expected=f"{expected}, as the header says",
            found=f"{n_blocks if n_blocks <= expected else 'more'}",
        )


def _header(file: SparseFile, numbers: TextNumbers) -> Header:
    """Read the header of either layout."""
    first = numbers.raw_line() or b""
    if first.lstrip().startswith(NO_STEP):
        numbers.push_back(first)
    is_new = first.startswith(MARKS[2])
    return _new_header(file, numbers) if is_new else _old_header(file, numbers)


def _old_header(file: SparseFile, numbers: TextNumbers) -> Header:
    """Read the two lines behind ``STEP:``."""
    counts, letter = [], b""
    for words in (b"Matrix Dimension", b"Matrix number"):
        line = numbers.line() or b""
        match = re.search(rb"(?:of (\w+)\(R\)\s*)?:\s*(\d+)\s*$", line)
        if not line.startswith(words) or match is None:
            file.fail(
                "the header is damaged",
                "the three lines from the step's number",
                expected=f"'{words.decode()} of …: number'",
                found=repr(line[:60].decode("utf-8", "replace")),
            )
        counts.append(int(match[2]))
        letter = match[1] or b""
    return Header(_text(letter), counts[1], counts[0])


def _new_header(file: SparseFile, numbers: TextNumbers) -> Header:
    """Read the header of the new layout up to the box above the first matrix."""
    facts: dict[bytes, int] = {}
    letter, is_folded, lines = b"", False, []
    while (line := numbers.raw_line()) is not None and not line.startswith(b"# CSR"):
        count = re.match(rb"(\d+)\s*#\s*(number of \w+|spin index)", line)
        title = re.match(rb"#\s*print.*?(\w+)\(R\)", line)
        if count:
            facts[count[2]] = int(count[1])
        elif title:
            letter = title[1]
        elif line.startswith(b"#---"):
            break
        elif line.startswith(b"#"):
            is_folded |= b"gamma-only folded" in line
        elif line:
            lines.append(_text(line))
    size, n_blocks = facts.get(b"number of localized"), facts.get(b"number of Bravais")
    if not size or n_blocks is None or line is None or not line.startswith(b"#---"):
        file.fail(
            "the header is damaged",
            "the lines from '--- Ionic Step'",
            expected="'number of localized basis', 'number of Bravais lattice vector R' and a box",
            found="the end of the header" if not size else f"{size} basis functions, no more",
        )
    channel = facts[b"spin index"] - 1 if b"spin index" in facts else None
    structure = _structure(file, lines) if lines else None
    return Header(_text(letter), n_blocks, size, channel, is_folded, structure, is_old=False)


def _text(words: bytes) -> str:
    return words.decode("utf-8", "replace")


def _structure(file: SparseFile, lines: list[str]) -> StepStructure:
    """Read the structure in a header: a name, a length, three vectors, species, positions."""
    numbers = [finite_numbers(line.split()[:3], 3) for line in (*lines[2:5], *lines[8:])]
    rows = [row for row in numbers if row is not None]
    length = finite_numbers(lines[1:2], 1)
    words = [line.split() for line in lines[5:8]]
    counts = [int(word) for word in words[1] if word.isdecimal()] if len(words) == 3 else []
    labels = tuple(
        label for label, count in zip(*words[:1], counts, strict=False) for _ in range(count)
    )
    is_direct = len(words) == 3 and words[2] == ["Direct"] and len(words[0]) == len(counts)
    if not is_direct or length is None or not len(rows) == len(numbers) == 3 + len(labels):
        file.fail(
            "the structure in the header is damaged",
            "the lines above the box",
            expected="a lattice's name, a length, three vectors, species, numbers of atoms, "
            "'Direct', positions",
            found=f"{len(lines)} lines",
        )
    table = np.array(rows, dtype=np.float64)
    return StepStructure(table[:3] * length[0], table[3:], labels)


def _integers(file: SparseFile, line: bytes, count: int, where: str) -> Any:
    """Return exactly `count` integers of a line."""
    words = line.split()
    try:
        numbers = tuple(int(word) for word in words)
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        file.fail(
            "the line of a lattice vector is damaged",
            where,
            expected=f"{count} integers",
            found=repr(line[:60].decode("utf-8", "replace")),
        )
    return numbers


def _block_header(file: SparseFile, line: bytes, where: str) -> tuple[tuple[int, int, int], int]:
    first, second, third, nnz = _integers(file, line, 4, where)
    return (first, second, third), nnz


def _text_block(
    file: SparseFile,
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
    file: SparseFile, numbers: TextNumbers, R: tuple[int, int, int], axis: int, where: str
) -> SparseBlock:
    line = numbers.line()
    if line is None:
        file.fail("the file is cut", where, expected="a number of entries")
    (nnz,) = _integers(file, line, 1, where)
    return _text_block(file, numbers, R, nnz, f"{where}, {'xyz'[axis]}")._replace(component=axis)


def _skip_empty(file: SparseFile, numbers: TextNumbers) -> None:
    """Pass over the row pointers of an empty matrix, where they are written."""
    left = file.size + 1
    while left > 0 and (line := numbers.line()) is not None:
        words = line.split()
        if len(words) > left or any(word != b"0" for word in words):
            if left <= file.size:
                file.fail("the row pointers of an empty matrix are wrong", "its zeros")
            numbers.push_back(line)
            return
        left -= len(words)


def _is_complex(numbers: TextNumbers) -> bool:
    """Say whether the next line has numbers of the form ``(re,im)``."""
    return numbers.peek().lstrip().startswith(b"(")


@dataclass(frozen=True, eq=False)
class CsrWriter:
    """How matrices are written.

    Parameters
    ----------
    lattice
        (n_R, 3) lattice vectors to be listed.
    digits
        Digits behind the point.
    spinor
        Whether every matrix has rows and columns for both spins, the spin running fastest.
    new_header
        The structure's part of the header; None for the old layout.
    """

    lattice: NDArray[np.integer[Any]]
    digits: int
    spinor: bool
    new_header: str | None = None

    def write(self, path: Path, matrix: AOMatrix, components: tuple[int, ...]) -> None:
        """Write one file.

        Parameters
        ----------
        path
            The file.
        matrix
            The matrix, in ABACUS's units and orbital order.
        components
            Which components go into the file: one, the four of spinors, or x, y and z.
        """
        is_vector = matrix.quantity == "position"
        size = matrix.basis.n_orbitals * (2 if self.spinor else 1)
        keep_empty = self.new_header is None and matrix.quantity != "density_matrix"
        groups = _by_lattice(matrix)
        nothing = np.zeros(0, dtype=np.int64)
        with path.open("wb") as stream:
            stream.write(self._header(matrix, size, components[0]).encode())
            for R in self.lattice:
                here = groups.get((int(R[0]), int(R[1]), int(R[2])), nothing)
                parts = _sparse(matrix.take_pairs(here), components, spinor=self.spinor)
                if not (keep_empty or is_vector or any(len(part[0]) for part in parts)):
                    continue
                place = " ".join(str(int(number)) for number in R)
                stream.write(f"{place}\n".encode() if is_vector else f"{place} ".encode())
                for rows, cols, values in parts:
                    stream.write(f"{len(rows)}\n".encode())
                    if len(rows):
                        self._write_block(stream, size, rows, cols, values)

    def _header(self, matrix: AOMatrix, size: int, component: int) -> str:
        title = LETTERS[matrix.quantity]
        n_spins = _N_SPINS[matrix.spin] if matrix.facts.has_spin else 1
        if self.new_header is None:
            return (
                f"STEP: 0\nMatrix Dimension of {title}(R): {size}\n"
                f"Matrix number of {title}(R): {len(self.lattice)}\n"
            )
        return (
            f" --- Ionic Step 1 ---\n # print {title} matrix in real space {title}(R)\n"
            f" {n_spins} # number of spin directions\n"
            f" {component + 1} # spin index\n {size} # number of localized basis\n"
            f" {len(self.lattice)} # number of Bravais lattice vector R\n\n"
            f"{self.new_header}\n{_BOX}\n"
        )

    def _write_block(
        self,
        stream: IO[bytes],
        size: int,
        rows: NDArray[np.int64],
        cols: NDArray[np.int64],
        values: NDArray[Any],
    ) -> None:
        pointers = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=size))])
        number = f" %.{self.digits}e"
        if values.dtype.kind == "c":
            number = f" (%.{self.digits}e,%.{self.digits}e)"
            values = np.ascontiguousarray(values).view(np.float64).reshape(-1, 2)
        lines = ((number, values, "values"), (" %d", cols, "column indices"))
        for form, data, title in (*lines, (" %d", pointers, "row pointers")):
            if self.new_header is not None:
                stream.write(f" # CSR {title}\n".encode())
            for piece in _formatted(form, data):
                stream.write(piece)
            stream.write(b"\n")


def format_header(lattice: str, symbols: str, counts: str, positions: str) -> str:
    """Return the structure's part of the new layout's header.

    Parameters
    ----------
    lattice
        Three lines: the lattice vectors in Å.
    symbols, counts
        The species and their numbers of atoms.
    positions
        One line of fractional coordinates for each atom.
    """
    return f" user_defined_lattice\n 1\n{lattice}\n {symbols}\n {counts}\n Direct\n{positions}\n"


def _formatted(form: str, data: NDArray[Any]) -> Iterator[bytes]:
    """Yield the text of many numbers, a piece at a time."""
    for begin in range(0, len(data), _CHUNK):
        piece = data[begin : begin + _CHUNK]
        yield ((form * len(piece)) % tuple(piece.ravel().tolist())).encode()


def _by_lattice(matrix: AOMatrix) -> dict[tuple[int, int, int], NDArray[np.int64]]:
    """Return the numbers of the pairs of each lattice vector."""
    index = matrix.pairs.lattice_index
    order = np.argsort(index, kind="stable")
    bounds = np.searchsorted(index[order], np.arange(1, len(matrix.pairs.lattice_vectors)))
    parts = np.split(order, bounds)
    return {
        (int(R[0]), int(R[1]), int(R[2])): part
        for R, part in zip(matrix.pairs.lattice_vectors, parts, strict=True)
    }


def _sparse(
    part: AOMatrix, components: tuple[int, ...], *, spinor: bool
) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]]:
    """Return rows, columns and values of one lattice vector: one list for each axis."""
    row, col = orbital_indices(part.basis, part.pairs)
    entries = part.entries[list(components)]
    if not spinor:
        return [_nonzero(row, col, component) for component in entries]
    if len(entries) == 4:
        rows = np.concatenate([2 * row, 2 * row, 2 * row + 1, 2 * row + 1])
        cols = np.concatenate([2 * col, 2 * col + 1, 2 * col, 2 * col + 1])
        return [_nonzero(rows, cols, entries.reshape(-1))]
    rows, cols = np.concatenate([2 * row, 2 * row + 1]), np.concatenate([2 * col, 2 * col + 1])
    return [_nonzero(rows, cols, np.concatenate([component, component])) for component in entries]


def _nonzero(
    rows: NDArray[np.int64], cols: NDArray[np.int64], values: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    """Drop zeros and sort by row, then column."""
    kept = np.flatnonzero(values)
    order = kept[np.lexsort((cols[kept], rows[kept]))]
    return rows[order], cols[order], values[order]
