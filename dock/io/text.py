"""Text files: opened, decoded, and their numbers read as Fortran and C write them.

A number that is damaged (``3.0***``, ``1.0.0``, two that ran together) is refused with its line,
never read up to the damage.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, NoReturn, Self, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dock.errors import FormatError, MissingDataError
from dock.io.files import readable
from dock.io.refusal import Refusal

__all__ = [
    "CUT_FIX",
    "UNREADABLE",
    "NotANumber",
    "TextNumbers",
    "finite_numbers",
    "json_text",
    "load_text",
    "open_binary",
    "parse_number",
    "parse_numbers",
    "read_json",
    "read_numbers",
    "read_text",
    "require_line_end",
    "without_folders",
]

CUT_FIX = Refusal().cut_fix
_PIECE = 2**22  # bytes parsed at once: the text in memory stays small beside the numbers
_BRACKETS = (b"(", b")", b",")  # of complex numbers
_EXPONENTS = (b"D", b"d", b"Q", b"q")
_AS_BLANKS = bytes.maketrans(b"(),DdQq", b"   EeEe")
_AS_E = bytes.maketrans(b"DdQq", b"EeEe")
# Fortran leaves the letter out where the exponent has three digits: 1.0-102
_NO_LETTER = r"([+-]?(?:\d+\.\d*|\.\d+))([+-]\d{3})"
_NO_LETTER_WORD = re.compile(rf"(?<!\S){_NO_LETTER}(?!\S)".encode())
_FORTRAN = re.compile(rf"{_NO_LETTER}|([+-]?(?:\d+\.?\d*|\.\d+))[DdQq]([+-]?\d+)")
_WHOLE = re.compile(rb"[+-]?\d+")


_PART = r"[^\s\\/'\"<>|:,;=(){}\[\]]"
_ABSOLUTE = re.compile(
    r"(?<![\w.)\]}<~\\/%*-])"  # begins a word
    rf"(?:file:/+|~\w*/|[A-Za-z]:[\\/]|\\\\|(?:(?<!:)//+|/)(?={_PART}+[\\/]))"
    rf"(?=[\w.~])(?:{_PART}|[\\/])+"
)
"""A path from the root of a disk, of two names or more, or from a home folder."""
_SENTENCE = re.compile(r"\n|: |\. |, | [/~-]| \w+=")


class NotANumber(ValueError):  # noqa: N818 - it is what the word is
    """A word that stands where a number should: as it stands in the text, and which one, from 0."""

    def __init__(self, word: bytes, index: int) -> None:
        self.word, self.index = word, index
        super().__init__(f"{self.shown} is no number")

    @property
    def shown(self) -> str:
        """The beginning of the word in quotation marks."""
        return repr(self.word[:40].decode("utf-8", "replace"))


def without_folders(value: Any) -> Any:
    r"""Return plain data with every absolute path in its texts cut to its last name.

    What others get names no folder of the machine that it was made on; relative paths stay.

    Examples
    --------
    >>> without_folders(["dock convert /home/ann/si ../b --basis=~/pao", "C:\\x\\y", 1])
    ['dock convert si ../b --basis=pao', 'y', 1]
    """
    if isinstance(value, Mapping):
        return {key: without_folders(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_folders(part) for part in value]
    if not isinstance(value, str):
        return value
    if _ABSOLUTE.match(value) and not _SENTENCE.search(value):  # a name may have blanks
        return _last_name(value)
    return _ABSOLUTE.sub(lambda match: _last_name(match[0]), value)


def _last_name(path: str) -> str:
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1]


def parse_number(word: str) -> float:
    """Return a number as Fortran or C writes it; a word that is none is a `ValueError`.

    The exponent may have the letters D or Q for E, or none where it has three digits.

    Examples
    --------
    >>> parse_number("-1.5D+02"), parse_number("-1.5-102")
    (-150.0, -1.5e-102)
    """
    if "_" not in word:  # Python's own sign between digits: no program writes it
        match = _FORTRAN.fullmatch(word)
        return float(word) if match is None else float("E".join(filter(None, match.groups())))
    raise ValueError(f"{word!r} is no number")


def finite_numbers(words: Sequence[str], count: int) -> list[float] | None:
    """Return exactly `count` finite numbers; None where the words are others or fewer or more.

    Examples
    --------
    >>> finite_numbers(["1", "2.5D0"], 2), finite_numbers(["1", "x"], 2), finite_numbers(["1"], 2)
    ([1.0, 2.5], None, None)
    """
    try:
        numbers = [parse_number(word) for word in words]
    except ValueError:
        return None
    return numbers if len(numbers) == count and bool(np.isfinite(numbers).all()) else None


def parse_numbers(text: bytes | str, dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """Return all words of a text as numbers, as many as there are words.

    `dtype` is ``float64`` or an integer type. `NotANumber` names the first word that is none, or
    none that the type can hold.

    Examples
    --------
    >>> parse_numbers("1.0 2.5D-1 -3.0-101").tolist()
    [1.0, 0.25, -3e-101]
    """
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    wanted = np.dtype(dtype)
    return _parse(data, wanted).astype(wanted, copy=False)


def _parse(data: bytes, wanted: np.dtype[Any]) -> NDArray[Any]:
    """Return numbers that the wanted type can hold, integers as int64."""
    is_float = wanted.kind == "f"
    if is_float and any(letter in data for letter in _EXPONENTS):
        data = data.translate(_AS_E)
    values = _parse_fast(data, np.float64 if is_float else np.int64)
    if values is None and is_float:
        values = _parse_fast(_NO_LETTER_WORD.sub(rb"\1E\2", data), np.float64)
    if values is None:
        values = _parse_slowly(data.split(), is_float=is_float)
    if not is_float:
        _require_small(values, wanted, data)
    return values


def _parse_fast(data: bytes, dtype: DTypeLike) -> NDArray[Any] | None:
    """Return the numbers of a text; None where something in it is none.

    numpy stops at the first word that is no number, up to version 2.2 without a word of its own,
    and takes what it has read of it. So a number that the text cannot have itself is put behind it:
    it is not reached then. Where the text may have NaNs or negative integers itself, the words are
    counted instead, which takes longer.
    """
    is_float = np.dtype(dtype).kind == "f"
    mark, rare = (b" nan", b"nN") if is_float else (b" -1", b"-")
    try:
        values: NDArray[Any] = np.fromstring(data + mark, dtype=dtype, sep=" ")
    except (ValueError, DeprecationWarning):
        return None
    if any(rare[place : place + 1] in data for place in range(len(rare))):
        is_whole = len(values) == _count_words(data) + 1
    else:
        is_whole = len(values) > 0 and bool(np.isnan(values[-1]) if is_float else values[-1] == -1)
    return values[:-1] if is_whole else None


def _count_words(data: bytes, step: int = 2**17) -> int:
    """Return the number of words, counted in pieces that stay in the cache."""
    letters = np.frombuffer(data, dtype=np.uint8)
    if not len(letters):
        return 0
    count = int(letters[0] > _BLANK)
    for begin in range(1, len(letters), step):
        solid = letters[begin - 1 : begin + step] > _BLANK
        count += int(np.count_nonzero(solid[1:] > solid[:-1]))
    return count


_BLANK = 32  # no letter of a word lies at or below it in ASCII


def _parse_slowly(words: list[bytes], *, is_float: bool) -> NDArray[Any]:
    """Return words as numbers one by one, or say which one is none."""
    values = []
    for index, word in enumerate(words):
        if not is_float and _WHOLE.fullmatch(word) is None:
            raise NotANumber(word, index)
        try:
            values.append(parse_number(word.decode("ascii")) if is_float else int(word))
        except ValueError:
            raise NotANumber(word, index) from None
    try:
        return np.array(values, dtype=np.float64 if is_float else np.int64)
    except OverflowError:
        index = int(np.argmax([abs(value) for value in values]))
        raise NotANumber(words[index], index) from None


def _require_small(values: NDArray[np.int64], wanted: np.dtype[Any], data: bytes) -> None:
    """Refuse integers beyond the type; C gives its largest ones for all that lie further out."""
    limits, widest = np.iinfo(wanted), np.iinfo(np.int64)
    low, high = max(limits.min, widest.min + 1), min(limits.max, widest.max - 1)
    # As unsigned numbers the negative ones are the largest: one pass for files that have none
    if len(values) and values.view(np.uint64).max() > high:
        beyond = (values < low) | (values > high)
        if beyond.any():
            index = int(np.argmax(beyond))
            raise NotANumber(data.split()[index], index)


def read_text(path: Path) -> str:
    """Return the text of a file; bytes that are no UTF-8 become replacement characters.

    `MissingDataError` where it cannot be read.
    """
    with readable(path):
        return path.read_text(encoding="utf-8", errors="replace")


_SURROGATE = re.compile("[\ud800-\udfff]")


def json_text(content: Any, *, indent: int | None = None) -> str:
    """Return plain data as JSON, with null for NaN and infinity, which JSON lacks.

    Bytes of names that are no UTF-8 are escaped, as Python's JSON reader takes them back.

    Examples
    --------
    >>> json_text({"gap_eV": float("nan"), "levels": (1.0, float("inf"))})
    '{"gap_eV": null, "levels": [1.0, null]}'
    """
    try:
        text = json.dumps(content, allow_nan=False, ensure_ascii=False, indent=indent)
    except ValueError:
        text = json.dumps(_finite(content), ensure_ascii=False, indent=indent)
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _finite(content: Any) -> Any:
    """Return plain data with None for what is not finite."""
    if isinstance(content, Mapping):
        return {name: _finite(part) for name, part in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(part) for part in content]
    return None if isinstance(content, float) and not np.isfinite(content) else content


def read_json(path: Path, fix: str = "Copy it again.") -> dict[str, Any]:
    """Return the content of a JSON file that holds one object.

    `FormatError`, with the `fix` for a damaged file, where it cannot be read, is no JSON, or holds
    something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(path, f"this is not valid JSON ({error})", fix=fix) from error
    if not isinstance(content, dict):
        shown = str(content)[:40]
        raise FormatError(path, "wrong content", expected="a JSON object", found=shown, fix=fix)
    return content


def load_text(path: str | Path, kind: str, writer: str, begin: int = 0) -> str:
    """Return the text of a file that must be text; foreign bytes are kept as surrogates.

    For messages `kind` says what it should be (``"a PAO file"``) and `writer` whose (``"OpenMX"``).
    The text begins at the byte `begin`.
    `FormatError` where it is binary or empty, `MissingDataError` where it cannot be read.
    """
    path = Path(path)
    with readable(path), path.open("rb") as stream:
        stream.seek(begin)
        data = stream.read()
    if not data.strip() or b"\0" in data:
        raise FormatError(
            path,
            f"this is not {kind}",
            expected="text",
            found="binary data" if data.strip() else "an empty file",
            fix=f"Give {kind} as {writer} reads or writes it.",
        )
    return data.decode("utf-8", errors="surrogateescape")


def read_numbers(path: Path, fix: str = CUT_FIX) -> NDArray[np.float64]:
    """Return all words of a file as numbers.

    `MissingDataError` where it cannot be read; `FormatError`, with the `fix` for a damaged file,
    naming the line of the first word that is no number.
    """
    with readable(path):
        data = path.read_bytes()
    try:
        return parse_numbers(data)
    except NotANumber as error:
        raise FormatError(
            path,
            "a word stands where a number should be",
            where=f"line {_line_of_word(data, error.index)}",
            expected="a number",
            found=error.shown,
            fix=fix,
        ) from None


def _line_of_word(data: bytes, index: int) -> int:
    """Return the line, from 1, on which a word of a text stands."""
    left = index
    for number, line in enumerate(data.splitlines(), 1):
        left -= len(line.split())
        if left < 0:
            return number
    return 1


def require_line_end(path: Path, text: str) -> None:
    """Refuse a text that stops within a line (`FormatError`): its last number may lack digits."""
    if text and not text.endswith(("\n", "\r")):
        raise FormatError(
            path,
            "the last line has no end, so its last number may be cut",
            expected="a line end behind it",
            found=repr(text[-30:]),
            fix="Copy the file again; if it is whole, add the line end with an editor.",
        )


class TextNumbers:
    """A text file read number by number, in large pieces.

    Numbers are separated by blanks, line ends (Unix or Windows), commas or parentheses, so that
    complex numbers ``(re,im)`` come as two; Fortran's exponent letter ``D`` is understood. Lines
    that begin with ``#`` and empty lines are passed over.

    Parameters
    ----------
    path
        The file; a name that ends in ``.gz`` is decompressed on the fly. `MissingDataError` where
        it cannot be opened.
    offset
        Where to start, in bytes of the text.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self._at_end = False
        self._peeked: tuple[int, bytes] | None = None  # where it stands in the text
        self._line_begin = offset
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

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def line(self) -> bytes | None:
        """Return the next line that is neither empty nor a comment, stripped; None at the end."""
        self._line_begin, raw = self._next_line()
        return raw.strip() or None

    def raw_line(self) -> bytes | None:
        """Return the next line whatever it is, stripped; None at the end."""
        raw = self._next_raw()
        return raw.strip() if raw else None

    def push_back(self, line: bytes) -> None:
        """Give the line that `line` returned last back, to be returned again."""
        self._peeked = self._line_begin, line + b"\n"

    def peek(self) -> bytes:
        """Return the beginning of the line that `line` would return, without reading it."""
        begin, raw = self._next_line()
        if raw:
            self._peeked = begin, raw
        return raw.lstrip()[:64]

    def _next_line(self) -> tuple[int, bytes]:
        """Return the next line that is neither empty nor a comment, after where it begins."""
        while True:
            begin, raw = self._tell(), self._next_raw()
            text = raw.lstrip()
            if not raw or (text and not text.startswith(b"#")):
                return begin, raw

    def _tell(self) -> int:
        """Return where the next piece begins, in bytes of the text."""
        return self._stream.tell() if self._peeked is None else self._peeked[0]

    def take(self, count: int, dtype: DTypeLike, what: str) -> NDArray[Any]:
        """Read exactly `count` numbers, which end where a line ends.

        `dtype` is ``float64``, ``complex128`` or an integer type. `FormatError` where the file ends
        before, the line goes on after them, or something is no number.
        """
        wanted = np.dtype(dtype)
        if wanted.kind == "c":
            return self._fill(2 * count, np.dtype(np.float64), what).view(np.complex128)
        return self._fill(count, wanted, what)

    def take_rest(self, count: int, dtype: DTypeLike, what: str) -> NDArray[Any]:
        """Read exactly `count` numbers, which end where the file ends.

        Faster than `take` for short lines. `FormatError` where the file holds fewer or more, or
        something is no number.
        """
        wanted = np.dtype(dtype)
        result = self._allocate(count, wanted, what)
        filled, rest, begin = 0, b"", self._tell()
        while piece := self._read_block():
            cut = piece.rfind(b"\n") + 1
            text = _without_comments(rest + piece[:cut]) if cut else b""
            rest = piece[cut:] if cut else rest + piece
            filled = self._store(result, filled, self._parse(text, wanted, what, begin), what)
            begin = self._tell() - len(rest)
        if rest.strip():
            self.fail("the last line is not complete", what, "a line end", repr(rest[-30:]))
        if filled != count:
            self.fail("the file is cut", what, f"{count} numbers", f"{filled}")
        return result

    def _fill(self, count: int, dtype: np.dtype[Any], what: str) -> NDArray[Any]:
        result = self._allocate(count, dtype, what)
        filled, rest, n_lines = 0, b"", 1
        while filled < count or rest:
            begin = self._tell() - len(rest)
            piece = self._next_piece(rest, n_lines)
            if not piece:
                self.fail("the file is cut", what, f"{count} numbers", f"{filled}")
            rest = b""
            if piece[-1:] not in b"\r\n" and not self._at_end:
                piece, rest = _split_last(piece)
            numbers = self._parse(piece, dtype, what, begin)
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
        """Read a line or the next piece of a long one."""
        if self._peeked is not None:
            (_, piece), self._peeked = self._peeked, None
            return piece
        return self._read(self._stream.readline)

    def _read_block(self) -> bytes:
        """Return the next piece of the file, wherever its lines end."""
        return self._next_raw() if self._peeked is not None else self._read(self._stream.read)

    def _read(self, method: Callable[[int], bytes]) -> bytes:
        """Read by a method of the stream; a damaged compressed file is reported."""
        try:
            return method(_PIECE)
        except UNREADABLE as error:
            raise FormatError(
                self.path, f"the file cannot be read on ({error})", fix=CUT_FIX
            ) from error

    def _parse(self, piece: bytes, dtype: np.dtype[Any], what: str, begin: int) -> NDArray[Any]:
        """Return the numbers of a piece that begins at or behind byte `begin`."""
        if dtype.kind == "f" and any(mark in piece for mark in _BRACKETS):
            piece = piece.translate(_AS_BLANKS)
        try:
            return _parse(piece, dtype)
        except NotANumber as error:
            where = f"{what}, line {self._line_of(error.word, begin)}"
            self.fail("something is no number", where, f"{dtype.name} numbers", error.shown)

    def _line_of(self, word: bytes, begin: int) -> int:
        """Return the line, from 1, of the first such word behind byte `begin`."""
        with open_binary(self.path) as stream:
            number, left = 1, begin
            while left > 0 and (piece := stream.read(min(left, _PIECE))):
                number += piece.count(b"\n")
                left -= len(piece)
            for line in stream:
                if word in line.translate(_AS_BLANKS).split() or word in line.split():
                    break
                number += 1
        return number

    def fail(self, problem: str, what: str, expected: str, found: str) -> NoReturn:
        """Refuse the file."""
        raise FormatError(
            self.path, problem, where=what, expected=expected, found=found, fix=CUT_FIX
        )


UNREADABLE = (OSError, EOFError, zlib.error)
"""What reading a file, perhaps compressed, raises where it is damaged."""


def open_binary(path: Path) -> IO[bytes]:
    """Open a file for reading bytes, decompressing a ``.gz``; reading may raise `UNREADABLE`."""
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
