"""The plan of a conversion: which runs there are, and where each goes."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from dock.converters.format import WriteOptions
from dock.converters.registry import (
    detect,
    get_format,
    require_restart,
    resolve,
    without_matrices,
)
from dock.errors import MissingDataError, UsageError

__all__ = ["Task", "find_runs", "plan", "size_and_date"]


@dataclass(frozen=True)
class Task:
    """One conversion: main path of a run, folder to write, how to write and how to read.

    With `resume` it is skipped when its target was made from the same input with the same options.
    """

    source: Path
    source_format: str
    target: Path
    target_format: str
    options: WriteOptions
    basis: Path | None = None
    read_settings: Mapping[str, str] = field(default_factory=dict)
    resume: bool = True

    def fingerprint(self) -> str:
        """Return a hash of the input files' names, sizes and dates, and of the options.

        Neither their folder nor the version of `dock` counts: data that were moved, or converted
        before an upgrade, are not done again.
        """
        files = get_format(self.source_format).inputs(self.source)
        stats = [(file.name, *size_and_date(file)) for file in files]
        options = asdict(replace(self.options, overwrite=False, command=""))
        if self.options.like is not None:
            stats += [(file.name, *size_and_date(file)) for file in _files_of(self.options.like)]
        reading = [self.source_format, str(self.basis or ""), dict(self.read_settings)]
        content = [stats, reading, self.target_format, options]
        return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()


def plan(
    inputs: Sequence[str | Path],
    output: str | Path | None = None,
    *,
    source: str | None = None,
    target: str = "deeph",
    options: WriteOptions | None = None,
    basis: Path | None = None,
    resume: bool = True,
) -> list[Task]:
    """Find the runs among the inputs and say where each goes; nothing is read or written.

    Raises
    ------
    MissingDataError
        When an input does not exist or holds no run.
    UsageError
        When two runs would be written to one folder, or source and target are the same format.
    """
    get_format(target)
    out = Path(target if output is None else output)
    runs = find_runs(inputs, source=source, target=target, out=out)
    if basis is not None:  # a run without orbitals is then read as one in that basis
        runs = [(get_format(name).with_basis or name, main, place) for name, main, place in runs]
    if not any(target in get_format(name).transfers for name, _, _ in runs):
        entry = get_format(target)
        if options is not None and options.like is not None:
            require_restart(entry)
        else:
            entry.require_writer()
    alone = len(runs) == 1 and runs[0][2] is None
    tasks: dict[Path, Task] = {}
    for name, main, relative in runs:
        if name == target and source is None:
            raise UsageError(
                f"{main}: this is '{name}' already. Pass another target=NAME, or say "
                f"source='{name}' to write it anew."
            )
        folder = out if alone else out / (relative or _direct_name(main, runs))
        writing, reading = _split_settings(options or WriteOptions(), name, target)
        for place, chosen in _steps(name, main, folder, reading):
            if place in tasks:
                raise UsageError(
                    f"{tasks[place].source} and {main} would both be written to {place}. "
                    "Convert them separately, each with an output=DIR of its own."
                )
            tasks[place] = Task(main, name, place, target, writing, basis, chosen, resume)
    return list(tasks.values())


def _steps(
    name: str, main: Path, folder: Path, reading: dict[str, str]
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield folder and settings of a run: with ``step=all``, of each of its steps."""
    numbers = get_format(name).steps(main) if reading.get("step") == "all" else ()
    if not numbers:
        kept = {key: value for key, value in reading.items() if (key, value) != ("step", "all")}
        yield folder, kept
    for number in numbers:
        place = str(number).zfill(len(str(max(numbers))))
        yield folder / place, {**reading, "step": str(number)}


def _split_settings(
    options: WriteOptions, source: str, target: str
) -> tuple[WriteOptions, dict[str, str]]:
    """Return the writer's options and the reader's settings; refuse what neither knows."""
    writer = get_format(target)
    given = dict(options.settings)
    if options.like is not None and "like" in writer.settings:  # a density is started from
        given.setdefault("like", str(options.like))
        options = replace(options, like=None)
    reading = {name: given[name] for name in given if name in get_format(source).read_settings}
    rest = {name: given[name] for name in given if name in writer.settings or name not in reading}
    writer.check_settings(rest, writer.settings)
    return replace(options, settings=rest), reading


def find_runs(
    inputs: Sequence[str | Path],
    *,
    source: str | None = None,
    target: str | None = None,
    out: Path | None = None,
) -> list[tuple[str, Path, Path | None]]:
    """Find the runs of one format, or any, among run folders, main files, globs, folders of runs.

    A search through folders passes over the format `target`, unless `source` is that format, and
    the folder `out`.

    Returns
    -------
    list of (format name, main path, path relative to the folder of runs or None)

    Raises
    ------
    MissingDataError
        When an input does not exist or holds no run.
    """
    runs = [run for item in inputs for run in _find_runs(item, source, target, out)]
    # Not resolved: two links to one file are two runs with a target each.
    unique = {main.absolute(): (name, main, relative) for name, main, relative in runs}
    if not unique:
        raise MissingDataError("a run", ", ".join(map(str, inputs)), "No run was found there.")
    return list(unique.values())


def _find_runs(
    item: str | Path, source: str | None, target: str | None, out: Path | None
) -> Iterator[tuple[str, Path, Path | None]]:
    """Yield (format, main path, path relative to a folder of runs or None) for one input."""
    path = Path(item)
    if path.exists():
        named = _recognise(path, source)
        if named is not None:
            yield (*named, None)
        else:
            yield from _walk(path, source, target, out)
        return
    matches = sorted(glob.glob(str(item), recursive=True)) if glob.has_magic(str(item)) else []  # noqa: PTH207 - Path.glob knows no absolute patterns
    if not matches:
        raise MissingDataError("the input", path, "There is no such file or folder.")
    runs = [_recognise(Path(match), source) or _bare(Path(match), source) for match in matches]
    if all(named is None for named in runs):
        resolve(matches[0], source)  # raises, saying what was expected there
    yield from ((*named, None) for named in runs if named is not None)


def _walk(
    path: Path, source: str | None, target: str | None, out: Path | None
) -> Iterator[tuple[str, Path, Path | None]]:
    """Yield the runs below a folder; hidden folders and the output itself are passed over.

    A run without matrices is one of them, unless it is a folder of runs that have them.
    """
    any_run = False
    bare: dict[Path, tuple[str, Path]] = {}
    passed_over = None if out is None else out.resolve()
    for folder, names, _ in os.walk(path):
        here = Path(folder)
        named = None if here == path else _recognise(here, source)
        if named is not None:
            names.clear()
            bare = {place: run for place, run in bare.items() if place not in here.parents}
            if source == target or named[0] != target:
                any_run = True
                yield (*named, here.relative_to(path))
            continue
        if here != path and not any(place in here.parents for place in bare):
            without = _bare(here, source)
            bare |= {} if without is None else {here: without}
        names[:] = sorted(
            name
            for name in names
            if not name.startswith(".") and (here / name).resolve() != passed_over
        )
    yield from ((*run, place.relative_to(path)) for place, run in bare.items())
    if any_run or bare:
        return
    without = _bare(path, source)
    if without is not None:
        yield (*without, None)
    else:
        resolve(path, source)  # raises, saying what was expected there


def _bare(path: Path, source: str | None) -> tuple[str, Path] | None:
    """Return format and path of a run whose matrices are not there: to be told as a failure."""
    entry = without_matrices(path, source)
    return None if entry is None else (entry.name, path)


def _recognise(path: Path, source: str | None) -> tuple[str, Path] | None:
    recognised = detect(path, source)
    return None if recognised is None else (recognised[0].name, recognised[1])


def _direct_name(main: Path, runs: Iterable[tuple[str, Path, Path | None]]) -> Path:
    """Return where below the output a run goes that was named itself, among several.

    The path is that of its folder relative to the folder that all such runs share; two runs in
    one folder are told apart by their file names.
    """
    folders = {
        path.absolute(): (path.parent if path.is_file() else path).absolute()
        for _, path, relative in runs
        if relative is None
    }
    mine = folders[main.absolute()]
    shared = Path(os.path.commonpath([*folders.values()]))
    if shared == mine:
        shared = mine.parent
    name = mine.relative_to(shared)
    return name / main.stem if list(folders.values()).count(mine) > 1 else name


def _files_of(run: Path) -> list[Path]:
    """Return the files of a folder, or the file that a path is.

    Folders in it do not count: the target may be one, which changes as it is made.
    """
    return sorted(file for file in run.iterdir() if file.is_file()) if run.is_dir() else [run]


def size_and_date(file: Path) -> tuple[int, int]:
    """Return a file's size in bytes and its date in ns; zeros where it is not there."""
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
