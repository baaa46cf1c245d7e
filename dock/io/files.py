"""Files that are either complete under their final name or not there at all, and their opening."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import shutil
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from dock.errors import MissingDataError, OutputError

__all__ = [
    "atomic_path",
    "folder_transaction",
    "link_or_copy",
    "prepare_folder",
    "readable",
    "require_absent",
    "write_text",
    "writing_to",
]

# What file systems without hard links say to a link.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@contextlib.contextmanager
def atomic_path(target: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success sync it and rename it to `target`.

    The folder of the target must exist. `OutputError` where the target exists and `overwrite` is
    not given, the folder cannot be written, or the disk is full. The temporary file is removed
    then; an existing target is left as it was.
    """
    target = Path(target)
    with writing_to(target):
        if target.is_dir():
            raise OutputError(f"{target}: a folder stands where a file is to be written.")
        if target.exists() and not overwrite:
            raise OutputError(f"{target}: exists already. Pass overwrite=True to replace it.")
        is_inside = target.parent in _transactions and not target.exists()
        temporary = target if is_inside else _temporary_name(target)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))
    if is_inside:  # the folder is not handed over unless all succeeds, and is synced then
        with writing_to(target):
            yield target
        return
    try:
        with writing_to(target, temporary):
            yield temporary
            _sync(temporary)
            if overwrite:
                temporary.replace(target)
            else:
                _rename_new(temporary, target)
            _sync(target.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Link a file, or copy it where links are not possible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_text(target: str | Path, text: str, *, overwrite: bool = False) -> None:
    """Write `text` (UTF-8) atomically; see `atomic_path` for the errors.

    Bytes of a source that are no UTF-8 (surrogates in the text) are written as they were.
    """
    with atomic_path(target, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


@contextlib.contextmanager
def folder_transaction(target: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `target`; on success give its files to `target` at once.

    A target that does not exist yet, or is empty, appears complete by one rename; its parents are
    made. Into a folder with other content the files are moved one by one; those that exist there
    already are an error unless `overwrite` is given. When the body fails, nothing of it remains.
    `OutputError` where files exist, the place cannot be written, or the disk is full.
    """
    target = Path(target)
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target}: a file stands where a folder is to be written. Remove it.")
    final = target.resolve()
    parent = prepare_folder(final.parent)
    with writing_to(target):
        temporary = _temporary_name(final)
        temporary.mkdir()
    _transactions.add(temporary)
    try:
        with writing_to(target, temporary):
            yield temporary
            for path in temporary.rglob("*"):
                _sync(path)
            _sync(temporary)
            _hand_over(temporary, final, overwrite=overwrite)
            _sync(parent)
    finally:
        _transactions.discard(temporary)
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn an OSError of the body into a `MissingDataError`, a sentence that names the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise MissingDataError(
            "the file", path, f"It cannot be read ({reason}): check its name and permissions."
        ) from error


_transactions: set[Path] = set()
"""Folders of transactions under way: what is in them has no reader yet."""


def _hand_over(temporary: Path, target: Path, *, overwrite: bool) -> None:
    """Rename the whole folder, or move its files into one that has content (or that we are in)."""
    if target != Path.cwd() and _renamed(temporary, target):
        return
    everything = sorted(path.relative_to(temporary) for path in temporary.rglob("*"))
    folders = [name for name in everything if (temporary / name).is_dir()]
    files = [name for name in everything if name not in set(folders)]
    _refuse_collisions(target, files, folders, overwrite=overwrite)
    moved: list[Path] = []
    try:
        for name in folders:
            (target / name).mkdir(exist_ok=True)
        for name in files:
            if overwrite:
                (temporary / name).replace(target / name)
            else:
                _rename_new(temporary / name, target / name)
                moved.append(target / name)
    except OSError:
        for path in moved:
            path.unlink(missing_ok=True)
        raise
    for name in folders:
        _sync(target / name)
    _sync(target)


def _renamed(temporary: Path, target: Path) -> bool:
    """Rename a folder, and say False where the target has content."""
    try:
        temporary.rename(target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        return False
    return True


def _refuse_collisions(
    target: Path, files: list[Path], folders: list[Path], *, overwrite: bool
) -> None:
    """Raise before anything is moved, where a name is taken."""
    there = [str(name) for name in files if (target / name).exists()]
    if there and not overwrite:
        raise OutputError(
            f"{target}: exists already ({', '.join(there)}). Pass overwrite=True to replace these "
            "files, or choose another place."
        )
    wrong = [name for name in files if (target / name).is_dir()]
    wrong += [name for name in folders if (target / name).exists() and not (target / name).is_dir()]
    if wrong:
        raise OutputError(
            f"{target / wrong[0]}: a folder stands where a file is to be written, or a file where "
            "a folder is. Remove it, or choose another place."
        )


def _temporary_name(target: Path) -> Path:
    """Return a new hidden name beside `target`, short enough for any name of its own.

    What a killed process left under such a name is removed: the name says whose it was.
    """
    place = target.absolute()  # a change of the working folder meanwhile does no harm
    stem = f".{place.name[:40]}.{_HOST}-"
    for old in place.parent.glob(glob.escape(stem) + "*.part"):
        owner = re.fullmatch(r"(\d+)-[0-9a-f]{12}\.part", old.name[len(stem) :])
        if owner is not None and not _is_running(int(owner.group(1))):
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.unlink(missing_ok=True)
    return place.parent / f"{stem}{os.getpid()}-{os.urandom(6).hex()}.part"


_HOST = f"{zlib.crc32(os.uname().nodename.encode()):08x}"


def _is_running(process: int) -> bool:
    """Say whether a process of this machine is alive (or may be)."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return not _is_zombie(process)


def _is_zombie(process: int) -> bool:
    """Say whether a process is dead but kept on the list, as in a container without an init."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux, or gone meanwhile
        return False
    return status.rpartition(")")[2].split()[:1] == ["Z"]


def prepare_folder(folder: str | Path) -> Path:
    """Make `folder` and its parents; say so clearly where that cannot be done."""
    folder = Path(folder)
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _rename_new(temporary: Path, target: Path) -> None:
    """Give `temporary` the name `target` unless another process made that file meanwhile."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise OutputError(
            f"{target}: exists already (another process made it just now). "
            "Pass overwrite=True to replace it."
        ) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        temporary.replace(target)


@contextlib.contextmanager
def writing_to(target: Path, temporary: Path | None = None) -> Iterator[None]:
    """Turn the operating system's refusal into a sentence that names the target.

    A refusal that names a file elsewhere (an input that cannot be read) keeps that name.
    """
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        if temporary is not None and _is_elsewhere(error, target, temporary):
            raise OutputError(
                f"{target}: not written, because {error.filename} failed: {error.strerror}."
            ) from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            reason, fix = "the disk is full", "Free some space and run the command again."
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            reason, fix = "no permission to write there", "Choose another place."
        elif error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EEXIST):
            reason, fix = f"{error.strerror}", "Check the folder's name."
        else:
            reason, fix = str(error), "Check the disk and its quota."
        raise OutputError(f"{target}: cannot be written: {reason}. {fix}") from error


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk; folders are skipped where that is not supported."""
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _is_elsewhere(error: OSError, target: Path, temporary: Path) -> bool:
    """Say whether an error names a file that is neither the target nor the temporary one."""
    if not isinstance(error.filename, str | os.PathLike):
        return False
    named = Path(error.filename).absolute()
    own = {target.absolute(), temporary}
    return named != target.absolute().parent and not own & {named, *named.parents}


def require_absent(files: Iterable[Path], *, overwrite: bool) -> None:
    """Raise `OutputError` where one of several files exists, before the first is written."""
    there = [file for file in files if file.exists()]
    if there and not overwrite:
        names = ", ".join(map(str, there))
        raise OutputError(f"{names}: exists already. Pass overwrite=True to replace it.")
