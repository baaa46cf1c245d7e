"""Opening files: what the system or the HDF5 library says becomes a sentence with a remedy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dock.errors import DockError, FormatError, MissingDataError

if TYPE_CHECKING:
    import h5py

__all__ = ["open_hdf5", "read_text", "readable", "require_line_end"]

_LOCKED = (
    "Another program writes it, or the file system has no locks: set HDF5_USE_FILE_LOCKING=FALSE."
)
# What h5py raises, besides OSError, for a damaged inner structure, and what its users then meet.
_BROKEN = (KeyError, RuntimeError, TypeError, ValueError, AttributeError, IndexError)


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal into a sentence that names the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise MissingDataError(
            "the file", path, f"It cannot be read ({reason}): check its name and permissions."
        ) from error


def read_text(path: Path) -> str:
    """Return the text of a file; bytes that are no UTF-8 become replacement characters.

    Raises
    ------
    MissingDataError
        When it cannot be read.
    """
    with readable(path):
        return path.read_text(encoding="utf-8", errors="replace")


def require_line_end(path: Path, text: str) -> None:
    """Refuse a text that stops within a line: its last number may lack digits.

    Raises
    ------
    FormatError
        When the text is not empty and its last line has no end.
    """
    if text and not text.endswith(("\n", "\r")):
        raise FormatError(
            path,
            "the last line has no end, so its last number may be cut",
            expected="a line end behind it",
            found=repr(text[-30:]),
            fix="Copy the file again; if it is whole, add the line end with an editor.",
        )


@contextlib.contextmanager
def open_hdf5(path: Path, fix: str, kind: str = "HDF5") -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; all that fails while it is open is a damage of the file.

    Parameters
    ----------
    path
        The file.
    fix
        What to do about a file that is damaged.
    kind
        What the file is called.

    Raises
    ------
    MissingDataError
        When there is no such file.
    FormatError
        When it cannot be opened, or something in it cannot be read.
    """
    import h5py

    if not path.is_file():
        raise MissingDataError(path.name, path.parent, "Copy it there, or make it again.")
    problem = f"{kind} cannot read this file"
    try:
        with h5py.File(path, "r", locking="best-effort") as file:
            yield file
    except DockError:
        raise
    except OSError as error:
        remedy = _LOCKED if "unable to lock file" in str(error) else fix
        raise FormatError(path, problem, found=str(error), fix=remedy) from error
    except _BROKEN as error:
        found = str(error.args[0] if error.args else error)
        raise FormatError(path, problem, found=found, fix=fix) from error
