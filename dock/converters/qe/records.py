"""Fortran sequential files: each record between two markers of its length."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dock.errors import FormatError

__all__ = ["Records"]

_MARKER = 4  # bytes of gfortran's markers, little-endian


@dataclass
class Records:
    """The records of a file, one after the other.

    Parameters
    ----------
    path
        The file, for messages.
    data
        Its content: bytes, or a memory map of them.
    fix
        What to do about a damaged file.
    """

    path: Path
    data: Any
    fix: str
    place: int = field(default=0, init=False)
    number: int = field(default=0, init=False)

    @property
    def left(self) -> int:
        """Bytes that have not been read."""
        return len(self.data) - self.place

    def take(self, length: int | None = None) -> bytes:
        """Return the next record.

        Parameters
        ----------
        length
            Bytes that it must have, where that is known.

        Raises
        ------
        FormatError
            When the file ends before, the two markers differ, or the length is another.
        """
        self.number += 1
        begin = self.place + _MARKER
        marker = bytes(self.data[self.place : begin])
        found = struct.unpack("<i", marker)[0] if self.left >= 2 * _MARKER else -1
        end = begin + found
        whole = 0 <= found <= self.left - 2 * _MARKER
        whole = whole and bytes(self.data[end : end + _MARKER]) == marker
        if not whole or (length is not None and found != length):
            raise FormatError(
                self.path,
                "a Fortran record is cut or has the wrong length",
                where=f"record {self.number}",
                expected="a whole record" if length is None else f"{length} bytes",
                found=f"{found} bytes" if whole else "another marker, or the end of the file",
                fix=self.fix,
            )
        self.place = end + _MARKER
        return bytes(self.data[begin:end])
