"""States of k-points, stored as they are done: a run that is killed goes on where it was.

The store is a folder. Each process appends to a file of its own, whose name begins with the mark of
the question: hashes of H and S, of what is wanted, and of the version. So shards and processes of
one job share the folder without locks, another question never finds the answers of this one, and a
file that was cut by SIGKILL loses its last record at most: each carries its length and a hash.

A record is a head of 64 bytes (magic word, length of the body, hash, spin channel, k-point; little
endian) and a body: the length of a text of JSON, the text, and the numbers of the arrays that it
lists. (To write an ``.npz`` archive took a quarter as long as to solve a small eigenproblem.) The
first record of a file says in words what it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import math
import os
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dock._version import __version__
from dock.core.calculation import RowSource
from dock.errors import DockError, FormatError, OutputError
from dock.io.files import prepare_folder, writing_to
from dock.states.solver import Certificate, Eigenstates, Want

__all__ = ["Identified", "Kept", "Mark", "identity", "remove"]

_log = logging.getLogger("dock")

_HEAD = struct.Struct("<8sQ16sq3d")
_TEXT = struct.Struct("<I")
_MAGIC = b"dockkep2"
_WORDS = -1  # the spin channel of the record that is no eigenproblem but says what the file is
_SUFFIX = ".states"
_PATIENCE = 1.0  # seconds: what a run that is over sooner has done is not worth a file
_WAITING = 2**26  # bytes that wait for that

Key = tuple[int, bytes]


@runtime_checkable
class Identified(Protocol):
    """A problem that can say which one it is."""

    @property
    def row_sources(self) -> tuple[RowSource, RowSource] | None:
        """H and S on disk, where they can be read in parts."""

    def fingerprint(self, mesh: None = None, *, s_threshold: float | None = None) -> str:
        """Return a hash of all numbers that the answers depend on."""


def identity(problem: Identified) -> str:
    """Return a hash of H and S: of their files where these can be read in parts.

    So a process that never holds all of H need not do so for this.
    """
    sources = problem.row_sources
    if sources is None:
        return problem.fingerprint()
    digest = hashlib.blake2b(digest_size=16)
    for source in sources:
        digest.update(source.fingerprint().encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class Mark:
    """The question that states answer: the hash of H and S, and that of what is wanted of them.

    `words` says what is wanted, for those who look into the folder.
    """

    problem: str
    asked: str
    words: str = ""

    @classmethod
    def of(cls, problem: Identified, want: Want, known: str | None = None) -> Mark:
        """Return the mark of a question: the same in all runs that may share answers.

        `known` is the `identity` of the problem where it was computed before.
        """
        words = repr(want)
        text = f"{words} dock {__version__}"
        asked = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
        return cls((known or identity(problem))[:16], asked, words)

    @classmethod
    def of_sum(cls, problem: Identified, words: str, known: str | None = None) -> Mark:
        """Return the mark of a sum over k-points, of which `words` say everything."""
        asked = hashlib.blake2b(f"{words} dock {__version__}".encode(), digest_size=6).hexdigest()
        return cls((known or identity(problem))[:16], asked, words)

    @property
    def name(self) -> str:
        """The beginning of the names of its files."""
        return f"{self.problem}-{self.asked}."


class _Place(NamedTuple):
    """Where the body of a record stands."""

    file: Path
    offset: int
    length: int


class Kept:
    """The states of one question in a folder; safe for threads.

    What was done within the first second is written when the second is over, unless `at_once`: a
    short run leaves no file.

    Raises
    ------
    OutputError
        When the folder cannot be read or written.
    """

    def __init__(self, folder: Path, mark: Mark, *, at_once: bool = False) -> None:
        self.folder, self.mark = folder, mark
        self._lock = threading.Lock()
        self._places: dict[Key, _Place] = {}
        self._waiting: dict[Key, bytes] | None = {}
        self._size = 0  # bytes that wait
        self._until = time.monotonic() + (0.0 if at_once else _PATIENCE)
        self._file: io.FileIO | None = None
        self._path: Path | None = None
        self._scanned: dict[Path, int] = {}
        self._warn_of_others()
        self.refresh()

    def __contains__(self, key: tuple[int, NDArray[np.float64]]) -> bool:
        """Say whether the states of a spin channel and k-point are there."""
        return _key(*key) in self._places

    def __len__(self) -> int:
        """Return how many eigenproblems are in files, as far as they were looked at."""
        return len(self._places)

    @property
    def has_some(self) -> bool:
        """Whether anything is kept, in files or about to be."""
        return bool(self._places or self._waiting or self._file is not None)

    def refresh(self) -> None:
        """Look for what has been stored meanwhile, by this process or others."""
        for file in _files(self.folder):
            if file.name.startswith(self.mark.name):
                with _reading(file):
                    self._scan(file)

    def _warn_of_others(self) -> None:
        """Say that the folder has states of another H or S: they are not ours to use or remove."""
        if any(not file.name.startswith(self.mark.problem) for file in _files(self.folder)):
            _log.warning(
                "%s: it has k-points of a run with another H or S. They are not used, and stay: "
                "delete the folder if nobody wants them.",
                self.folder,
            )

    def _scan(self, file: Path) -> None:
        """Note the records of a file from where it was left; stop at one that is cut or damaged."""
        size = file.stat().st_size
        with file.open("rb") as stream:
            at = self._scanned.get(file, 0)
            while at + _HEAD.size <= size:
                stream.seek(at)
                head = stream.read(_HEAD.size)
                magic, length, digest, channel, *k = _HEAD.unpack(head)
                end = at + _HEAD.size + length
                if magic == _MAGIC and end > size:
                    break  # the process was killed within it, or is writing it now
                body = stream.read(length) if magic == _MAGIC else b""
                if magic != _MAGIC or _hash(head, body) != digest:
                    _log.warning(
                        "%s: damaged from byte %d on: what stood there is computed again.", file, at
                    )
                    break
                if channel != _WORDS:
                    place = _Place(file, at + _HEAD.size, length)
                    self._places.setdefault((channel, struct.pack("<3d", *k)), place)
                at = end
            self._scanned[file] = at

    def get(self, channel: int, k_frac: NDArray[np.float64]) -> Eigenstates | None:
        """Return the states of a spin channel and k-point; None where they are not there."""
        place = self._places.get(_key(channel, k_frac))
        if place is None:
            return None
        with _reading(place.file), place.file.open("rb") as stream:
            stream.seek(place.offset)
            return _unpacked(stream.read(place.length), place.file)

    def put(self, channel: int, k_frac: NDArray[np.float64], found: Eigenstates) -> None:
        """Store the states of a spin channel and k-point."""
        self._put(_key(channel, k_frac), _packed(found))

    def get_arrays(self, number: int) -> dict[str, NDArray[Any]] | None:
        """Return the arrays that were stored under a number; None where they are not there."""
        place = self._places.get(_key(number, np.zeros(3)))
        if place is None:
            return None
        with _reading(place.file), place.file.open("rb") as stream:
            stream.seek(place.offset)
            return _with_facts(stream.read(place.length), place.file)[1]

    def put_arrays(self, number: int, arrays: dict[str, NDArray[Any]]) -> None:
        """Store arrays under a number from 0: what a part of a sum comes to."""
        self._put(_key(number, np.zeros(3)), _with_arrays({}, arrays))

    def _put(self, key: Key, body: bytes) -> None:
        with self._lock:
            if self._waiting is None:
                self._append(_record(*key, body))
                return
            self._waiting[key] = body
            self._size += len(body)
            if time.monotonic() > self._until or self._size > _WAITING:
                self._write_waiting()

    def flush(self) -> None:
        """Write what waits, so that other processes see it; a further record makes a new file."""
        with self._lock:
            self._write_waiting()
            if self._file is not None:
                self._file.close()
            self._file = None

    def _write_waiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        for key, body in (waiting or {}).items():
            self._append(_record(*key, body))

    def _append(self, record: bytes) -> None:
        """Append a record; where the disk is full, what stands before it stays whole."""
        if self._file is None:
            self._open()
        assert self._file is not None  # noqa: S101 - _open has made it
        with writing_to(self._path or self.folder):
            begin = self._file.seek(0, os.SEEK_END)
            try:
                view = memoryview(record)
                while view:
                    view = view[self._file.write(view) or 0 :]
            except OSError:
                with contextlib.suppress(OSError):
                    self._file.truncate(begin)
                raise

    def _open(self) -> None:
        """Make a file of our own: that of a killed process may end within a record."""
        prepare_folder(self.folder)
        own = f"{os.getpid()}-{os.urandom(6).hex()}{_SUFFIX}"
        self._path = self.folder / f"{self.mark.name}{own}"
        about = {"written_by": f"dock {__version__}", "asked": self.mark.words}
        with writing_to(self._path):
            self._file = io.FileIO(self._path, "xb")
        self._append(_record(_WORDS, bytes(24), json.dumps(about).encode()))

    def close(self) -> None:
        """Close the file that this process writes; what waits for it is dropped."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file, self._waiting = None, {}


def remove(folder: Path, problems: set[str]) -> None:
    """Remove the states of some problems (`Mark.problem`), and the folder if nothing else is there.

    `OutputError` where that is not allowed.
    """
    with writing_to(folder):
        for file in _files(folder):
            if file.name.partition("-")[0] in problems:
                file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # something else is in it
        folder.rmdir()


def _files(folder: Path) -> list[Path]:
    """Return the files of a store, none where there is no such folder."""
    if not folder.is_dir():
        return []
    with _reading(folder):
        return sorted(folder.glob(f"*{_SUFFIX}"))


def _key(channel: int, k_frac: NDArray[np.float64]) -> Key:
    """Return the key of a place; −0 is 0."""
    return channel, struct.pack("<3d", *(np.asarray(k_frac, dtype=np.float64) + 0.0))


def _record(channel: int, k: bytes, body: bytes) -> bytes:
    head = _HEAD.pack(_MAGIC, len(body), bytes(16), channel, *struct.unpack("<3d", k))
    digest = _hash(head, body)
    return _HEAD.pack(_MAGIC, len(body), digest, channel, *struct.unpack("<3d", k)) + body


def _hash(head: bytes, body: bytes) -> bytes:
    """Return the hash of a record, its own place in the head taken as zeros."""
    digest = hashlib.blake2b(head[:16], digest_size=16)
    digest.update(head[32:])
    digest.update(body)
    return digest.digest()


def _packed(found: Eigenstates) -> bytes:
    """Return states as bytes; arrays that are None are left out."""
    proof, arrays = found.certificate, {"energies": found.energies}
    if found.vectors is not None:
        arrays["vectors"] = found.vectors
    facts = {
        "n_below": found.n_below,
        "smallest_overlap": found.smallest_overlap,
        "n_removed": found.n_removed,
        "certificate": None if proof is None else vars(proof),
    }
    return _with_arrays(facts, arrays)


def _with_arrays(facts: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> bytes:
    """Return facts and arrays as bytes."""
    kinds = {name: (array.dtype.str, array.shape) for name, array in arrays.items()}
    text = json.dumps({**facts, "arrays": kinds}).encode()
    # Columns one after another, as states are used.
    return b"".join(
        [_TEXT.pack(len(text)), text, *(array.tobytes(order="F") for array in arrays.values())]
    )


def _unpacked(body: bytes, file: Path) -> Eigenstates:
    facts, arrays = _with_facts(body, file)
    try:
        proof = facts["certificate"]
        return Eigenstates(
            arrays["energies"],
            arrays.get("vectors"),
            facts["n_below"],
            facts["smallest_overlap"],
            facts["n_removed"],
            None if proof is None else _certificate(proof),
        )
    except (KeyError, TypeError) as error:
        raise _damaged(file, error) from error


def _with_facts(body: bytes, file: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return what `_with_arrays` made bytes of."""
    try:
        (length,) = _TEXT.unpack_from(body)
        at = _TEXT.size + length
        facts = json.loads(body[_TEXT.size : at])
        arrays: dict[str, NDArray[Any]] = {}
        for name, (kind, shape) in facts["arrays"].items():
            count = math.prod(shape)
            array = np.frombuffer(body, np.dtype(kind), count, at).reshape(shape, order="F")
            arrays[name] = array.copy(order="F")
            at += array.nbytes
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise _damaged(file, error) from error
    return facts, arrays


def _damaged(file: Path, error: Exception) -> FormatError:
    what = "a k-point that was kept cannot be read"
    return FormatError(file, what, found=error, fix="Delete it.")


def _certificate(proof: dict[str, Any]) -> Certificate:
    """Return a certificate; JSON has lists for tuples."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in proof.items()
    }
    return Certificate(**values)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except DockError:
        raise
    except OSError as error:
        raise OutputError(
            f"{path}: the k-points that are done cannot be read ({error.strerror or error}). Check "
            "the permissions, or delete it: they are computed again."
        ) from error
