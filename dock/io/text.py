"""Numbers in text files: parsed in blocks, counted against what the file promises."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn, Self, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dock.errors import FormatError, MissingDataError

__all__ = ["CUT_FIX", "TextNumbers", "open_binary"]

CUT_FIX = (
    "The run may still be writing, or a copy was interrupted: wait, copy the file again, or run "
    "the code again."
)
_PIECE = 2**22  # bytes parsed at once: the text in memory stays small beside the numbers
_MARKS = (b"(", b")", b",", b"D", b"d", b"Q", b"q")
_AS_BLANKS = bytes.maketrans(b"".join(_MARKS), b"   EeEe")


class TextNumbers:
    """A text file read number by number, in large pieces.

    Numbers are separated by blanks, line ends (Unix or Windows), commas or parentheses, so that
    complex numbers ``(re,im)`` come as two; Fortran's exponent letter ``D`` is understood. Lines
    that begin with ``#`` and empty lines are passed over.

    Parameters
    ----------
    path
        The file; a name that ends in ``.gz`` is decompressed on the fly.
    offset
        Where to start, in bytes of the text.

    Raises
    ------
    MissingDataError
        When the file cannot be opened.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self._at_end = False
        self._peeked: bytes | None = None
        try:
            self._stream: IO[bytes] = open_binary(path)
            self._stream.seek(offset)
            size = path.stat().st_size
        except OSError as error:
            reason = error.strerror or str(error)
            raise MissingDataError(
                path.name, path.parent, f"It cannot be read ({reason}): check its permissions."
            ) from error
        self._limit = size if path.suffix != ".gz" else size * 1100

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()

    def line(self) -> bytes | None:
        """Return the next line that is neither empty nor a comment, stripped; None at the end."""
        while raw := self._next_raw():
            text = raw.strip()
            if text and not text.startswith(b"#"):
                return text
        return None

    def raw_line(self) -> bytes | None:
        """Return the next line whatever it is, stripped; None at the end."""
        raw = self._next_raw()
        return raw.strip() if raw else None

    def push_back(self, line: bytes) -> None:
        """Give a line back, to be returned again by `line`."""
        self._peeked = line + b"\n"

    def peek(self) -> bytes:
        """Return the beginning of the line that `line` would return, without reading it."""
        while raw := self._next_raw():
            text = raw.lstrip()
            if text and not text.startswith(b"#"):
                self._peeked = raw
                return text[:64]
        return b""

    def take(self, count: int, dtype: DTypeLike, what: str) -> NDArray[Any]:
        """Read exactly `count` numbers, which end where a line ends.

        Parameters
        ----------
        count
            How many.
        dtype
            ``float64``, ``complex128`` or an integer type.
        what
            What they are, for the message.

        Raises
        ------
        FormatError
            When the file ends before, the line goes on after them, or something is no number.
        """
        wanted = np.dtype(dtype)
        if wanted.kind == "c":
            return self._fill(2 * count, np.dtype(np.float64), what).view(np.complex128)
        return self._fill(count, wanted, what)

    def take_rest(self, count: int, dtype: DTypeLike, what: str) -> NDArray[Any]:
        """Read exactly `count` numbers, which end where the file ends.

        Faster than `take` for short lines.

        Raises
        ------
        FormatError
            When the file holds fewer or more, or something is no number.
        """
        wanted = np.dtype(dtype)
        result = self._allocate(count, wanted, what)
        filled, rest = 0, b""
        while piece := self._read_block():
            cut = piece.rfind(b"\n") + 1
            text = _without_comments(rest + piece[:cut]) if cut else b""
            rest = piece[cut:] if cut else rest + piece
            filled = self._store(result, filled, self._parse(text, wanted, what), what)
        if rest.strip():
            self.fail("the last line is not complete", what, "a line end", repr(rest[-30:]))
        if filled != count:
            self.fail("the file is cut", what, f"{count} numbers", f"{filled}")
        return result

    def _fill(self, count: int, dtype: np.dtype[Any], what: str) -> NDArray[Any]:
        result = self._allocate(count, dtype, what)
        filled, rest, n_lines = 0, b"", 1
        while filled < count or rest:
            piece = self._next_piece(rest, n_lines)
            if not piece:
                self.fail("the file is cut", what, f"{count} numbers", f"{filled}")
            rest = b""
            if piece[-1:] not in b"\r\n" and not self._at_end:
                piece, rest = _split_last(piece)
            numbers = self._parse(piece, dtype, what)
            filled = self._store(result, filled, numbers, what)
            # Several short lines at once, but far fewer than the rest of the numbers would fill
            per_line = max(1.0, len(numbers) / n_lines)
            fit = _PIECE * n_lines // max(1, len(piece))
            n_lines = int(max(1, min(fit, (count - filled) / (4 * per_line))))
        return result

    def _store(self, result: NDArray[Any], filled: int, numbers: NDArray[Any], what: str) -> int:
        """Put numbers behind those that are there; return how many there are then."""
        end = filled + len(numbers)
        if end > len(result):
            self.fail(
                "there are too many numbers", what, f"{len(result)} numbers", f"{end} at least"
            )
        result[filled:end] = numbers
        return end

    def _allocate(self, count: int, dtype: np.dtype[Any], what: str) -> NDArray[Any]:
        """Make room, unless the file cannot hold so many numbers (two bytes each at least)."""
        if not 0 <= 2 * count <= self._limit + 2:
            self.fail(
                "the count cannot be right or the file is cut",
                what,
                f"at most {self._limit // 2} numbers in this file",
                f"a count of {count}",
            )
        return np.empty(count, dtype=dtype)

    def _next_piece(self, rest: bytes, n_lines: int) -> bytes:
        """Return the next lines, or a stretch of a long one, behind what was left over."""
        self._at_end = False
        while True:
            piece = self._next_raw()
            if not piece:
                self._at_end = True
                return rest
            if rest or not piece.lstrip().startswith(b"#"):
                break
        if n_lines > 1 and piece.endswith(b"\n"):
            piece += _without_comments(b"".join(islice(self._stream, n_lines - 1)))
        return rest + piece

    def _next_raw(self) -> bytes:
        """Read a line or the next piece of a long one; a damaged compressed file is reported."""
        if self._peeked is not None:
            piece, self._peeked = self._peeked, None
            return piece
        try:
            return self._stream.readline(_PIECE)
        except (OSError, EOFError) as error:
            raise FormatError(
                self.path, f"the file cannot be read on ({error})", fix=CUT_FIX
            ) from error

    def _read_block(self) -> bytes:
        """Return the next piece of the file, wherever its lines end."""
        if self._peeked is not None:
            return self._next_raw()
        try:
            return self._stream.read(_PIECE)
        except (OSError, EOFError) as error:
            raise FormatError(
                self.path, f"the file cannot be read on ({error})", fix=CUT_FIX
            ) from error

    def _parse(self, piece: bytes, dtype: np.dtype[Any], what: str) -> NDArray[Any]:
        if dtype.kind == "f" and any(mark in piece for mark in _MARKS):
            piece = piece.translate(_AS_BLANKS)
        if not piece.strip():
            return np.empty(0, dtype=dtype)
        try:
            return np.fromstring(piece, dtype=dtype, sep=" ")
        except (ValueError, DeprecationWarning):
            bad = next((word for word in piece.split() if not _is_number(word, dtype)), b"?")
            shown = bad[:30].decode("ascii", "replace")
            self.fail("something is no number", what, f"{dtype.name} numbers", repr(shown))

    def fail(self, problem: str, what: str, expected: str, found: str) -> NoReturn:
        """Refuse the file."""
        raise FormatError(
            self.path, problem, where=what, expected=expected, found=found, fix=CUT_FIX
        )


def open_binary(path: Path) -> IO[bytes]:
    """Open a file for reading bytes, decompressing a ``.gz``."""
    if path.suffix == ".gz":
        import gzip

        return cast("IO[bytes]", gzip.open(path, "rb"))
    return path.open("rb")


def _without_comments(text: bytes) -> bytes:
    """Drop the lines that begin with ``#``."""
    if b"#" not in text:
        return text
    lines = text.splitlines(keepends=True)
    return b"".join(line for line in lines if not line.lstrip().startswith(b"#"))


def _split_last(piece: bytes) -> tuple[bytes, bytes]:
    """Split a piece of a line behind its last separator, so that no number is torn apart."""
    cut = max(piece.rfind(b" "), piece.rfind(b"\t"), piece.rfind(b","))
    return piece[: cut + 1], piece[cut + 1 :]


def _is_number(word: bytes, dtype: np.dtype[Any]) -> bool:
    try:
        int(word) if dtype.kind in "iu" else float(word)
    except ValueError:
        return False
    return True
