"""Binary files: numbers at a place, and Fortran's sequential records, held against the file's size.

A record of Fortran has its length, 4 bytes, before and behind its data. A matrix stored as one
record a row is read in slices of many records with one call each, the lengths checked and cut out
as whole arrays.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from dock.errors import FormatError
from dock.io.files import readable
from dock.io.refusal import FileState, Refusal

__all__ = [
    "BinaryReader",
    "RecordReader",
    "RowRecords",
    "Rows",
    "numbers_at",
    "open_reader",
    "open_records",
    "row_slices",
]

_WORD = 4
_ABSURD = 1e30  # beyond this a number is damage, in any unit
_SLICE = 2**15  # numbers of one section in memory at a time; more is slower, as caches are small


class BinaryReader:
    """A place in a binary file; it refuses to read past the file's end with a `FormatError`.

    The byte order is ``"<"`` (little-endian), ``">"`` (big-endian) or ``"="`` (this machine's);
    `refusal` has what is said of a file that is cut or damaged. `offset` is the byte that is read
    next, `state` the size and time of the file when it was opened.
    """

    def __init__(
        self, path: Path, stream: BinaryIO, order: str = "<", refusal: Refusal | None = None
    ) -> None:
        self.path, self.stream, self.order = path, stream, order
        self.refusal = refusal or Refusal()
        self.offset = stream.tell()
        self.state = FileState.of(path)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.state.size

    @property
    def at_end(self) -> bool:
        """Whether everything has been read."""
        return self.offset >= self.size

    def take(self, kind: str, count: int, what: str) -> NDArray[Any]:
        """Read `count` numbers (``"i4"``, ``"f8"``, …), in native byte order."""
        return self.split(self.data(np.dtype(kind).itemsize * count, what), kind)

    def data(self, n_bytes: int, what: str) -> bytes:
        """Read `n_bytes`."""
        self.require(n_bytes, what)
        self.stream.seek(self.offset)
        data = self.stream.read(n_bytes)
        self.offset += n_bytes
        if len(data) != n_bytes:  # it was cut while it was read
            self.refusal.cut(self.path, what, self.offset, self.offset - n_bytes + len(data))
        return data

    def skip(self, n_bytes: int, what: str) -> int:
        """Pass over `n_bytes`; return where they start."""
        start = self.offset
        self.require(n_bytes, what)
        self.offset += n_bytes
        return start

    def require(self, n_bytes: int, what: str) -> None:
        """Refuse a file that does not hold `n_bytes` more, saying which size it needs at least."""
        if n_bytes < 0 or self.offset + n_bytes > self.size:
            self.refusal.cut(self.path, what, self.offset + n_bytes, self.size)

    def split(self, data: bytes, kind: str) -> NDArray[Any]:
        """Return bytes of the file as numbers in native byte order."""
        dtype = np.dtype(self.order + kind)
        return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))

    def finish(self) -> None:
        """Refuse a file that goes on behind what was read."""
        if self.offset != self.size:
            self.refusal.too_long(self.path, self.offset, self.size)


class RecordReader(BinaryReader):
    """A place between two records of Fortran.

    The byte order is by default the one in which the file begins with a whole record; `FormatError`
    where it begins with none.
    """

    def __init__(
        self, path: Path, stream: BinaryIO, order: str | None = None, refusal: Refusal | None = None
    ) -> None:
        super().__init__(path, stream, order or "<", refusal)
        self.order = self._byte_order() if order is None else order
        self.number = 0

    def _byte_order(self) -> str:
        head = self.stream.read(_WORD)
        for order in "<>":
            length = int.from_bytes(head, "little" if order == "<" else "big", signed=True)
            if len(head) == _WORD and 0 <= length <= self.size - 2 * _WORD:
                self.stream.seek(_WORD + length)
                if self.stream.read(_WORD) == head:
                    return order
        raise FormatError(
            self.path,
            "the file is empty" if not head else "this is no file of Fortran records, or it is cut",
            expected="a record length, the record, and the same length again",
            found=f"{self.size} bytes starting with {head!r}",
            fix=self.refusal.cut_fix,
        )

    def peek(self, what: str) -> int:
        """Return the length of the next record in bytes, held against the file's size."""
        start = self.offset
        length = int(self.take("i4", 1, what)[0])
        self.offset = start
        if length < 0:
            self.refusal.damaged(
                self.path, "a record has no valid length", "0 or more bytes", length, what
            )
        self.require(length + 2 * _WORD, what)
        return length

    def record(self, what: str, n_bytes: int | None = None) -> bytes:
        """Read the next record.

        `what` is what it holds, for messages; `n_bytes` the length that it must have, where that is
        known. `FormatError` where the file ends before, the length is another, or the two differ.
        """
        start, length = self.offset, self.peek(what)
        where = f"record {self.number + 1}, byte {start}"
        if n_bytes is not None and length != n_bytes:
            problem = f"the record of {what} has the wrong length"
            self.refusal.damaged(self.path, problem, f"{n_bytes} bytes", f"{length} bytes", where)
        data = self.data(length + 2 * _WORD, what)
        if data[:_WORD] != data[-_WORD:]:
            problem = f"the record of {what} does not end where it says"
            expected = f"the length {length} again"
            self.refusal.damaged(self.path, problem, expected, "other bytes", where)
        self.number += 1
        return data[_WORD:-_WORD]

    def numbers(self, kind: str, count: int, what: str) -> NDArray[Any]:
        """Read one record of `count` numbers (``"i4"`` or ``"f8"``) in native byte order."""
        return self.split(self.record(what, count * int(kind[1:])), kind)

    def rows(self, kind: str, counts: NDArray[np.int64], what: str) -> RowRecords:
        """Pass over one record per row; their content is read when asked for."""
        rows = RowRecords(
            self.path, self.order, kind, self.offset, counts, what, self.state, self.refusal
        )
        self.skip(rows.n_bytes, what)
        return rows


@contextlib.contextmanager
def open_reader(
    path: Path, order: str = "<", refusal: Refusal | None = None
) -> Iterator[BinaryReader]:
    """Open a binary file at its beginning; `MissingDataError` where it cannot be read."""
    with readable(path), path.open("rb") as stream:
        yield BinaryReader(path, stream, order, refusal)


@contextlib.contextmanager
def open_records(
    path: Path, order: str | None = None, refusal: Refusal | None = None
) -> Iterator[RecordReader]:
    """Open a file of Fortran records at its beginning; see `RecordReader` and `open_reader`."""
    with readable(path), path.open("rb") as stream:
        yield RecordReader(path, stream, order, refusal)


def numbers_at(
    path: Path, dtype: str, place: tuple[int, int], state: FileState, what: str, refusal: Refusal
) -> NDArray[Any]:
    """Return numbers from the middle of a file whose header was read before.

    Parameters
    ----------
    path, dtype
        The file, and the type of the numbers with its byte order, ``">f8"``.
    place
        Where they begin, in bytes, and how many they are.
    state
        The file when its header was read: one that was written anew meanwhile, or ends before,
        is a `FormatError`, one that cannot be read a `MissingDataError`.
    what, refusal
        What they are, for messages, and what is said of a file that changed or is cut.
    """
    offset, count = place
    with readable(path), path.open("rb") as stream:
        refusal.require_unchanged(path, state)
        values = np.fromfile(stream, dtype, count, offset=offset)
    if len(values) != count:
        refusal.cut(path, what, offset + values.itemsize * count, state.size)
    return values


class Rows(Protocol):
    """Numbers by matrix row, wherever they are stored."""

    def read(self, begin: int, end: int) -> NDArray[Any]:
        """Return the numbers of the rows `begin` … `end` − 1, one row behind another."""


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


@dataclass(frozen=True, eq=False)
class RowRecords:
    """One Fortran record per matrix row of a file in the byte order ``"<"`` or ``">"``.

    The `kind` of the numbers is ``"i4"``, ``"f4"`` or ``"f8"``, `counts` (n_rows,) how many each
    record has, `offset` the byte of the first record's length. `what` is how messages call the
    section, `state` the file when it was opened.
    """

    path: Path
    order: str
    kind: str
    offset: int
    counts: NDArray[np.int64]
    what: str
    state: FileState
    refusal: Refusal

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

        `FormatError` where a record has not the length that the row table says, a number is not
        finite, or the file was changed since it was opened.
        """
        first, last = int(self._words[begin]), int(self._words[end])
        place = (self.offset + first * _WORD, last - first)
        raw = numbers_at(self.path, self.order + "i4", place, self.state, self.what, self.refusal)
        heads = self._words[begin:end] - first
        tails = self._words[begin + 1 : end + 1] - first - 1
        lengths = self.counts[begin:end] * int(self.kind[1:])
        wrong = np.flatnonzero((raw[heads] != lengths) | (raw[tails] != lengths))
        if len(wrong):
            row = int(wrong[0])
            self.refusal.damaged(
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
            problem = f"{self.what} is not finite"
            self.refusal.damaged(self.path, problem, "finite numbers", f"{bad} that are not")
        return values
