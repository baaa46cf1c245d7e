"""The one door to HDF5: whatever the disk, the library or a damaged file does becomes a sentence.

Files that are read may be damaged anywhere; files that are written are complete under their final
name or not there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dock.errors import DockError, FormatError, MissingDataError
from dock.io.files import atomic_path, readable

if TYPE_CHECKING:
    import h5py

__all__ = ["has_names", "lock_problem", "new_hdf5", "open_hdf5"]

_LOCKED = (
    "Another program writes it, or the file system has no locks: set HDF5_USE_FILE_LOCKING=FALSE."
)
# What h5py raises, besides OSError, for a damaged inner structure, and what its users then meet.
_BROKEN = (KeyError, RuntimeError, TypeError, ValueError, AttributeError, IndexError)


@contextlib.contextmanager
def open_hdf5(path: Path, fix: str, kind: str = "HDF5") -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; all that fails while it is open is a damage of the file.

    `fix` says what to do about a file that is damaged, `kind` what the file is called.
    `MissingDataError` where there is no such file, `FormatError` where it cannot be opened, or
    something in it cannot be read.
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


def has_names(path: Path, *names: str) -> bool:
    """Say whether a file is HDF5 and has all the given groups or datasets.

    `MissingDataError` where it cannot be read, `FormatError` where it begins as HDF5 does but
    cannot be opened: it is damaged.
    """
    with readable(path), path.open("rb") as stream:
        if stream.read(4)[1:] != b"HDF":
            return False
    with open_hdf5(path, "Copy it again.") as file:
        return all(name in file for name in names)


def lock_problem(folder: Path) -> str:
    """Return why HDF5 cannot lock a file in a folder, in its words; empty where it can.

    Shared file systems of clusters often cannot. Nothing is left behind.
    """
    import tempfile

    import h5py

    try:
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix=".dock-lock-") as place,
            h5py.File(Path(place) / "lock.h5", "w", locking=True) as file,
        ):
            file["x"] = 1
    except OSError as error:
        return str(error).splitlines()[0]
    return ""


@contextlib.contextmanager
def new_hdf5(path: str | Path, *, overwrite: bool = False) -> Iterator[h5py.File]:
    """Yield an empty HDF5 file that gets its name when the body has succeeded.

    Its folder must exist; for `overwrite` and the errors see `dock.io.files.atomic_path`.

    Notes
    -----
    The HDF5 library cannot close a file whose last bytes found no room: it ends in a RuntimeError
    or a segmentation fault. So it writes through a Python file that remembers the first refusal of
    the system and takes the rest without writing it; the refusal is raised when all is closed.
    """
    import h5py

    with (
        atomic_path(path, overwrite=overwrite) as temporary,
        temporary.open("r+b", buffering=0) as raw,
    ):
        stream = _Guarded(raw)
        try:
            with h5py.File(stream, "w") as file:
                yield file
        finally:
            if stream.refusal is not None:
                raise stream.refusal


class _Guarded:
    """The part of a binary file that h5py needs, without refusals."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.refusal: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        size = len(view)
        while self.refusal is None and len(view):
            try:
                view = view[self.raw.write(view) :]
            except OSError as error:
                self.refusal = error
        return size

    def truncate(self, size: int) -> int:
        if self.refusal is None:
            try:
                self.raw.truncate(size)
            except OSError as error:
                self.refusal = error
        return size

    def readinto(self, target: Any) -> int:
        if self.refusal is None:
            return int(self.raw.readinto(target))
        view = memoryview(target).cast("B")
        view[:] = bytes(len(view))
        return len(view)

    def read(self, size: int = -1) -> bytes:
        return bytes(self.raw.read(size))

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self.raw.seek(offset, whence))

    def tell(self) -> int:
        return int(self.raw.tell())

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""
