"""Fortran sequential records, length-checked, and many equal-purpose records read at once.

SIESTA writes one record per matrix row: a 4-byte length, the data, the length again. Rows are read
in slices of many records with one call each, the lengths checked and cut out as whole arrays.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from dock.errors import FormatError
from dock.io.reading import readable

__all__ = [
    "CUT_FIX",
    "DAMAGED_FIX",
    "RecordReader",
    "RowRecords",
    "Rows",
    "damaged",
    "open_records",
    "row_slices",
]

CUT_FIX = (
    "The run may still be writing, or a copy was interrupted: wait, copy the file again, "
    "or run SIESTA again."
)
DAMAGED_FIX = "The file is damaged or of another kind: copy it again, or run SIESTA again."
_WORD = 4
_ABSURD = 1e30  # beyond this a number is damage, in any unit
_SLICE = 2**15  # numbers of one section in memory at a time; more is slower, as caches are small


class Rows(Protocol):
    """Numbers by matrix row, wherever they are stored."""

    def read(self, begin: int, end: int) -> NDArray[Any]:
        """Return the numbers of the rows `begin` … `end` − 1, one row behind another."""


def damaged(
    path: Path, problem: str, expected: object, found: object, where: str | None = None
) -> NoReturn:
    """Refuse a file that contradicts itself."""
    raise FormatError(path, problem, expected=expected, found=found, where=where, fix=DAMAGED_FIX)


def row_slices(counts: NDArray[np.int64], limit: int = _SLICE) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows that hold about `limit` numbers together, at least one row each.

    Examples
    --------
    >>> list(row_slices(np.array([3, 3, 3, 9]), limit=6))
    [(0, 2), (2, 3), (3, 4)]
    """
    ends = np.cumsum(counts)
    begin = 0
    while begin < len(counts):
        before = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, before + limit, side="right")))
        yield begin, end
        begin = end


@contextlib.contextmanager
def open_records(path: Path) -> Iterator[RecordReader]:
    """Open a file of Fortran records for reading its header.

    Raises
    ------
    FormatError
        When its first bytes are no record of either byte order.
    MissingDataError
        When it cannot be read.
    """
    with readable(path), path.open("rb") as stream:
        yield RecordReader(path, stream)


class RecordReader:
    """A place in a file of Fortran records; it refuses to read past the file's end."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.path, self.stream, self.offset = path, stream, 0
        status = path.stat()
        self.size, self.modified_ns = status.st_size, status.st_mtime_ns
        self.order = self._byte_order()

    def _byte_order(self) -> str:
        head = self.stream.read(_WORD)
        for order in "<>":
            length = int.from_bytes(head, "little" if order == "<" else "big", signed=True)
            if len(head) == _WORD and 0 <= length <= self.size - 2 * _WORD:
                self.stream.seek(_WORD + length)
                if self.stream.read(_WORD) == head:
                    self.stream.seek(0)
                    return order
        raise FormatError(
            self.path,
            "the file is empty" if not head else "this is no file of Fortran records, or it is cut",
            expected="a record length, the record, and the same length again",
            found=f"{self.size} bytes starting with {head!r}",
            fix=CUT_FIX,
        )

    @property
    def at_end(self) -> bool:
        """Whether all records have been read."""
        return self.offset >= self.size

    def peek(self, what: str) -> int:
        """Return the length of the next record in bytes, held against the file's size."""
        self._require(_WORD, what)
        self.stream.seek(self.offset)
        data = self.stream.read(_WORD)
        length = int(np.frombuffer(data, self.order + "i4")[0]) if len(data) == _WORD else -1
        if length < 0:
            damaged(self.path, "a record has no valid length", "0 or more bytes", length, what)
        self._require(length + 2 * _WORD, what)
        return length

    def take(self, what: str, n_bytes: int) -> bytes:
        """Read one record of `n_bytes`."""
        length = self.peek(what)
        if length != n_bytes:
            damaged(
                self.path,
                f"the record of {what} has the wrong length",
                f"{n_bytes} bytes",
                f"{length} bytes",
                f"byte {self.offset}",
            )
        data = self.stream.read(length + _WORD)
        if (
            len(data) != length + _WORD
            or int(np.frombuffer(data[length:], self.order + "i4")[0]) != length
        ):
            damaged(
                self.path,
                f"the record of {what} does not end where it says",
                f"the length {length} again",
                "other bytes",
                f"byte {self.offset}",
            )
        self.offset += length + 2 * _WORD
        return data[:length]

    def numbers(self, kind: str, count: int, what: str) -> NDArray[Any]:
        """Read one record of `count` numbers (``"i4"`` or ``"f8"``) in native byte order."""
        return self.split(self.take(what, count * int(kind[1:])), kind)

    def split(self, data: bytes, kind: str) -> NDArray[Any]:
        """Return bytes of the file as numbers in native byte order."""
        dtype = np.dtype(self.order + kind)
        return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))

    def rows(self, kind: str, counts: NDArray[np.int64], what: str) -> RowRecords:
        """Pass over one record per row; their content is read when asked for."""
        rows = RowRecords(
            self.path, self.order, kind, self.offset, counts, what, (self.size, self.modified_ns)
        )
        self._require(rows.n_bytes, what)
        self.offset += rows.n_bytes
        return rows

    def finish(self) -> None:
        """Refuse a file that goes on after its last record."""
        if self.offset != self.size:
            damaged(
                self.path,
                "the file is longer than its header says",
                f"{self.offset} bytes",
                f"{self.size} bytes",
            )

    def _require(self, n_bytes: int, what: str) -> None:
        if self.offset + n_bytes > self.size:
            raise FormatError(
                self.path,
                "the file is cut",
                expected=f"at least {self.offset + n_bytes} bytes",
                found=f"{self.size} bytes",
                where=f"in {what}",
                fix=CUT_FIX,
            )


@dataclass(frozen=True, eq=False)
class RowRecords:
    """One Fortran record per matrix row.

    Attributes
    ----------
    path
        The file.
    order
        ``"<"`` or ``">"``.
    kind
        ``"i4"``, ``"f4"`` or ``"f8"``.
    offset
        Byte of the first record's length.
    counts
        (n_rows,) numbers in each record.
    what
        How messages call the section.
    state
        Size and time of the file when it was opened.
    """

    path: Path
    order: str
    kind: str
    offset: int
    counts: NDArray[np.int64]
    what: str
    state: tuple[int, int]

    @cached_property
    def _words(self) -> NDArray[np.int64]:
        """(n_rows + 1,) word at which each record starts, and the end."""
        words = self.counts * (int(self.kind[1:]) // _WORD) + 2
        return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(words)])

    @property
    def n_bytes(self) -> int:
        """Bytes of all records with their lengths."""
        return int(self._words[-1]) * _WORD

    def read(self, begin: int, end: int) -> NDArray[Any]:
        """Return the numbers of some rows in native byte order.

        Raises
        ------
        FormatError
            When a record has not the length that the row table says, a number is not finite, or
            the file was changed since it was opened.
        """
        first, last = int(self._words[begin]), int(self._words[end])
        with readable(self.path), self.path.open("rb") as stream:
            status = self.path.stat()
            if (status.st_size, status.st_mtime_ns) != self.state:
                raise FormatError(
                    self.path,
                    "the file changed after it was opened",
                    fix="Wait until SIESTA has finished and start again.",
                )
            raw = np.fromfile(
                stream, self.order + "i4", last - first, offset=self.offset + first * _WORD
            )
        if len(raw) != last - first:
            damaged(self.path, f"the file ends in {self.what}", "all rows", "fewer")
        heads = self._words[begin:end] - first
        tails = self._words[begin + 1 : end + 1] - first - 1
        lengths = self.counts[begin:end] * int(self.kind[1:])
        wrong = np.flatnonzero((raw[heads] != lengths) | (raw[tails] != lengths))
        if len(wrong):
            row = int(wrong[0])
            damaged(
                self.path,
                f"a record of {self.what} has the wrong length",
                f"{lengths[row]} bytes, before and after",
                f"{raw[heads[row]]} and {raw[tails[row]]}",
                f"row {begin + row + 1}",
            )
        return self._values(raw, heads, tails)

    def _values(
        self, raw: NDArray[Any], heads: NDArray[np.int64], tails: NDArray[np.int64]
    ) -> NDArray[Any]:
        widths = tails - heads
        if len(widths) and bool(np.all(widths == widths[0])):
            kept = raw.reshape(len(widths), -1)[:, 1:-1].ravel()
        else:
            data = np.ones(len(raw), dtype=bool)
            data[heads] = False
            data[tails] = False
            kept = raw[data]
        dtype = np.dtype(self.order + self.kind)
        values = kept.view(dtype).astype(dtype.newbyteorder("="), copy=False)
        if dtype.kind == "f" and not np.abs(values).max(initial=0) < _ABSURD:
            bad = int(values.size - np.count_nonzero(np.abs(values) < _ABSURD))
            damaged(
                self.path, f"{self.what} is not finite", "finite numbers", f"{bad} that are not"
            )
        return values
