"""Length-checked reading of OpenMX's files, and the sentences for files that fail it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from dock.errors import FormatError
from dock.io.reading import readable

__all__ = ["DAMAGED_FIX", "Cursor", "cut", "damaged", "load_text"]

CUT_FIX = (
    "The run may still be writing, or a copy was interrupted: wait, copy the file again, "
    "or run OpenMX again."
)
DAMAGED_FIX = "The file is damaged: copy it again, or run OpenMX again."


class Cursor:
    """A place in a binary file; it refuses to read past the file's end."""

    def __init__(self, path: Path, stream: BinaryIO, size: int, order: str) -> None:
        self.path, self.stream, self.size, self.order = path, stream, size, order
        self.offset = stream.tell()

    def take(self, kind: str, count: int, what: str) -> NDArray[Any]:
        """Read `count` numbers (``"i4"`` or ``"f8"``) in native byte order."""
        dtype = np.dtype(self.order + kind)
        data = self.stream.read(self._advance(dtype.itemsize * count, what))
        if len(data) != dtype.itemsize * count:
            cut(self.path, f"in {what}", self.offset, self.size)
        return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))

    def skip(self, n_bytes: int, what: str) -> int:
        """Pass over `n_bytes`; return where they start."""
        start = self.offset
        self.stream.seek(start + self._advance(n_bytes, what))
        return start

    def _advance(self, n_bytes: int, what: str) -> int:
        if n_bytes < 0 or self.offset + n_bytes > self.size:
            cut(self.path, f"in {what}", self.offset + n_bytes, self.size)
        self.offset += n_bytes
        return n_bytes


def cut(path: Path, where: str, expected: int, found: int) -> NoReturn:
    """Refuse a file that ends too early; `expected` and `found` are in bytes."""
    raise FormatError(
        path,
        "the file is cut" if found else "the file is empty",
        expected=f"at least {expected} bytes",
        found=f"{found} bytes",
        where=where,
        fix=CUT_FIX,
    )


def damaged(path: Path, where: str, found: object, expected: object) -> NoReturn:
    """Refuse a file whose field `where` contradicts itself or the rest."""
    problem = f"{where.removeprefix('the ')} cannot be right"
    raise FormatError(path, problem, expected=expected, found=found, fix=DAMAGED_FIX)


def load_text(path: str | Path, kind: str) -> str:
    """Return the text of a file.

    Parameters
    ----------
    path
        The file.
    kind
        What it should be, for the message: ``"a PAO file"``.

    Raises
    ------
    FormatError
        When it is binary or empty.
    MissingDataError
        When it cannot be read.
    """
    path = Path(path)
    with readable(path):
        data = path.read_bytes()
    if not data.strip() or b"\0" in data:
        raise FormatError(
            path,
            f"this is not {kind}",
            expected="text",
            found="binary data" if data.strip() else "an empty file",
            fix=f"Give {kind} as OpenMX reads or writes it.",
        )
    return data.decode("utf-8", errors="surrogateescape")
