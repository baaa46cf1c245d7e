"""HDF5 files that are complete under their final name or not there, whatever the disk does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dock.io.files import atomic_path

if TYPE_CHECKING:
    import h5py

__all__ = ["new_hdf5"]


@contextlib.contextmanager
def new_hdf5(path: str | Path, *, overwrite: bool = False) -> Iterator[h5py.File]:
    """Yield an empty HDF5 file that gets its name when the body has succeeded.

    Parameters
    ----------
    path
        The final name. Its folder must exist.
    overwrite
        Replace an existing file.

    Raises
    ------
    OutputError
        When the file exists or cannot be written; see `dock.io.files.atomic_path`.

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
