"""Conversion of one run or many: a plan, workers, resume, and a report that hides nothing."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dock.converters.format import ReadOptions, WriteOptions
from dock.converters.plan import Task, plan, size_and_date
from dock.converters.registry import get_format, transfer, write
from dock.core.calculation import Calculation
from dock.errors import (
    FAULT,
    TRACEBACK,
    DependencyError,
    DockError,
    OutputError,
    UsageError,
    unexpected,
)
from dock.io.files import prepare_folder, write_text
from dock.io.progress import Progress, Report as ProgressReport
from dock.threads import available_cpus

__all__ = ["MARKER", "BatchOptions", "Outcome", "Report", "convert", "failure", "run_plan"]

MARKER = ".dock.json"
"""File in each converted folder that says from what it was made; a rerun compares it."""

FAILURES = "failed.jsonl"


@dataclass(frozen=True)
class Outcome:
    """What became of one task: done, skipped (made before from the same input) or failed.

    `reason` says in a sentence why it failed; `seconds` is the wall time. `notes` are what the
    reader noted of the run, `unsound` why it is no result: see `Calculation.unsound`.
    """

    source: str
    target: str
    status: Literal["done", "skipped", "failed"]
    reason: str = ""
    exit_code: int = 0
    seconds: float = 0.0
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unsound: str = ""


@dataclass(frozen=True)
class Report:
    """The outcomes of all tasks, in the order of the plan."""

    outcomes: tuple[Outcome, ...]
    failures: Path | None = None

    def summed_notes(self) -> list[tuple[int, str]]:
        """Return what was noted of the runs, with the number of runs, the gravest first."""
        sums: dict[str, int] = {}
        for outcome in self.outcomes:
            for note in dict.fromkeys(filter(None, (outcome.unsound, *outcome.notes))):
                sums[note] = sums.get(note, 0) + 1
        grave = {outcome.unsound for outcome in self.outcomes}
        return sorted(((n, note) for note, n in sums.items()), key=lambda x: x[1] not in grave)

    def count(self, status: str) -> int:
        """Return how many tasks ended with a status."""
        return sum(outcome.status == status for outcome in self.outcomes)

    @property
    def exit_code(self) -> int:
        """0 when all is done; 1 when some of several failed; the error's own code for one."""
        failed = [outcome for outcome in self.outcomes if outcome.status == "failed"]
        if not failed:
            return 0
        return failed[0].exit_code if len(self.outcomes) == 1 else 1


@dataclass(frozen=True)
class BatchOptions:
    """How to go about many tasks.

    Attributes
    ----------
    jobs
        Worker processes; None chooses one for little data and all CPUs of this process for much.
    mpi
        Use the processes of ``mpirun`` or ``srun`` instead.
    shard
        (i, n): do only the i-th of n parts, i from 0.
    """

    jobs: int | None = None
    mpi: bool = False
    shard: tuple[int, int] | None = None


def convert(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    source: str | None = None,
    target: str = "deeph",
    basis: str | Path | None = None,
    settings: Mapping[str, str] | None = None,
    overwrite: bool = False,
    allow_lossy: bool = False,
    like: str | Path | None = None,
    options: WriteOptions | None = None,
    batch: BatchOptions | None = None,
    jobs: int | None = None,
) -> Report:
    """Convert one run or many.

    Parameters
    ----------
    inputs
        Run folders, their main files, globs, or folders that hold runs.
    output
        Target folder: one run is written to it, many below it. Default: the target format's name.
    source, target
        Formats; the source's is recognised by content when left out.
    basis
        Folder of the code's basis files, where the runs lack them. Plane-wave runs are projected
        onto that basis.
    settings
        What only the two formats understand, for reading and for writing.
    like
        A user's own run of the target's code, its folder or its input: what is written is a
        restart of it (`dock.restart`).
    options
        How to write; `overwrite`, `allow_lossy` and `like` are short for these fields.
    batch
        Workers, MPI and sharding; `jobs` alone is short for ``BatchOptions(jobs=…)``.

    Returns
    -------
    Report
        One outcome per run. A run that fails does not stop the others.

    Raises
    ------
    DockError
        When nothing could be planned: no runs, two runs with one target.
    """
    paths = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    wanted = (options or WriteOptions()).completed(
        settings, overwrite=overwrite, allow_lossy=allow_lossy, like=like
    )
    folder = None if basis is None else Path(basis)
    tasks = plan(paths, output, source=source, target=target, options=wanted, basis=folder)
    return run_plan(tasks, batch or BatchOptions(jobs=jobs))


def run_plan(
    tasks: Sequence[Task], batch: BatchOptions | None = None, progress: ProgressReport = None
) -> Report:
    """Do the tasks of a `plan`; see `convert`. The progress counts finished ones."""
    batch = batch or BatchOptions()
    if batch.shard is not None:
        part, parts = batch.shard
        if not 0 <= part < parts:
            raise UsageError(f"the shard {part}/{parts} does not exist: give i/n with 0 ≤ i < n.")
        tasks = tasks[part::parts]
    counter = Progress.of(progress)
    counter.start(len(tasks))
    outcomes: dict[int, Outcome] = {}
    for index, outcome in _run(tasks, batch):
        outcomes[index] = outcome
        if outcome.status == "skipped":
            counter.skip()
        else:
            counter.advance()
    ordered = tuple(outcomes[index] for index in sorted(outcomes))
    if not ordered:  # an empty shard, or a process that only serves the first one under MPI
        return Report(())
    return Report(ordered, _write_failures(tasks, ordered, batch.shard))


def _run(tasks: Sequence[Task], batch: BatchOptions) -> Iterator[tuple[int, Outcome]]:
    jobs = _n_workers(tasks, batch)
    if jobs <= 1 and not batch.mpi:
        for index, task in enumerate(tasks):
            yield index, convert_one(task)
        return
    with _executor(jobs, mpi=batch.mpi) as executor:
        if executor is None:  # this process serves the first one, which has the plan
            return
        pending: dict[Future[Outcome], int] = {}
        queue = iter(enumerate(tasks))
        try:
            for index, task in islice(queue, 4 * getattr(executor, "num_workers", jobs)):
                pending[executor.submit(convert_one, task)] = index
            while pending:
                finished, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    outcome = future.result()
                    yield pending.pop(future), outcome
                    for index, task in islice(queue, 1):
                        pending[executor.submit(convert_one, task)] = index
        except KeyboardInterrupt:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
        except BrokenExecutor:
            left = sorted([*pending.values(), *(index for index, _ in queue)])
            yield from ((index, _lost(tasks[index])) for index in left)


def _lost(task: Task) -> Outcome:
    """Return the outcome of a task that was not finished when a worker process died."""
    reason = (
        f"{task.source}: not converted, because a worker process was killed, most likely for want "
        "of memory. Do the same again with a smaller jobs=N."
    )
    return Outcome(str(task.source), str(task.target), "failed", reason, 2)


def _executor(jobs: int, *, mpi: bool) -> AbstractContextManager[Executor | None]:
    """Return an executor; under MPI, None in all processes but the first, once that is done."""
    if mpi:
        try:
            from mpi4py import MPI
            from mpi4py.futures import MPICommExecutor
        except (ImportError, RuntimeError) as error:
            raise DependencyError(
                f"mpi=True needs mpi4py and an MPI library ({error}). Install them with: "
                "pip install 'dock-dft[mpi]'"
            ) from error
        executor: AbstractContextManager[Executor | None] = MPICommExecutor(MPI.COMM_WORLD, root=0)
        return executor
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=_leave_quietly)


def _leave_quietly() -> None:
    """Let Ctrl-C end a worker without a traceback; what it was writing is withdrawn."""
    import signal
    import sys

    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))


_PARALLEL_ABOVE = 64 * 2**20  # bytes of input below which starting workers costs more than it saves


def _n_workers(tasks: Sequence[Task], batch: BatchOptions) -> int:
    if batch.jobs is not None:
        if batch.jobs < 1:
            raise UsageError(f"jobs=N must be at least 1, found {batch.jobs}.")
        return min(batch.jobs, len(tasks))
    if len(tasks) < 2:
        return 1
    size = 0
    for task in tasks:
        files = get_format(task.source_format).inputs(task.source)
        size += sum(size_and_date(file)[0] for file in files)
        if size > _PARALLEL_ABOVE:
            return min(available_cpus(), len(tasks))
    return 1


def convert_one(task: Task) -> Outcome:
    """Do one task; a failure becomes an outcome, never an exception.

    What another process made of the same run meanwhile, with the same options, is done.
    """
    begin = time.perf_counter()
    source, target = str(task.source), str(task.target)
    try:
        made = _converted(task)
    except Exception as error:  # noqa: BLE001 - a fault in one run stops no other
        if isinstance(error, OutputError) and task.resume and _is_made(task):
            return Outcome(source, target, "skipped")
        reason, code = failure(error)
        if source not in reason and target not in reason:
            reason = f"{source}: {reason}"
        return Outcome(source, target, "failed", reason, code, time.perf_counter() - begin)
    if made is None:
        return Outcome(source, target, "skipped")
    seconds = time.perf_counter() - begin
    files = tuple(str(file) for file in made.files)
    return Outcome(source, target, "done", "", 0, seconds, files, made.notes, made.unsound)


class _Converted(NamedTuple):
    """What came of one run: its files, and what the reader says of it."""

    files: list[Path]
    notes: tuple[str, ...] = ()
    unsound: str = ""


def _converted(task: Task) -> _Converted | None:
    """Convert a run; None where that was done before."""
    fingerprint = task.fingerprint()
    before = _made_before(task.target) if task.resume else None
    options = task.options
    if before is not None and before.fingerprint == fingerprint:
        if before.is_complete:
            return None
        options = replace(options, overwrite=True)  # an interrupted run of this very task
    elif before is not None and not options.overwrite:
        raise OutputError(
            f"{task.target}: exists already, made from {before.source} before that changed, or "
            "with other options. Pass overwrite=True to make it again, or another output=DIR."
        )
    mark: dict[str, object] = {"fingerprint": fingerprint, "source": task.source.name}
    calc = _read(task)
    if calc is None:
        unsound = get_format(task.source_format).unsound(task.source)
        return _Converted(_transfer(task, options, mark), unsound=unsound)
    marker = (MARKER, mark)
    files = write(calc, task.target, task.target_format, options, marker=marker)
    return _Converted(files, calc.notes, calc.unsound)


def _is_made(task: Task) -> bool:
    """Whether the target holds what this very task would make."""
    made = _made_before(task.target)
    return made is not None and made.is_complete and made.fingerprint == task.fingerprint()


def failure(error: Exception) -> tuple[str, int]:
    """Return reason and exit code of one item of many that failed; see `dock.errors.unexpected`."""
    if isinstance(error, DockError | MemoryError):
        return str(error) or "not enough memory", getattr(error, "exit_code", 2)
    if TRACEBACK in os.environ:
        raise error
    return unexpected(error), FAULT


def _read(task: Task) -> Calculation | None:
    """Read one run; None where its format has no orbitals and goes straight to the target."""
    entry = get_format(task.source_format)
    if entry.transfer_to(task.target_format) is not None:
        return None
    options = ReadOptions.of(task.basis, task.read_settings)
    if task.basis is not None and entry.with_basis:
        entry = get_format(entry.with_basis)
    return entry.load_main(task.source, options)


def _transfer(task: Task, options: WriteOptions, mark: dict[str, object]) -> list[Path]:
    """Write a run without orbitals straight into the target."""
    marker, target = (MARKER, mark), task.target_format
    return transfer(task.source, task.source_format, task.target, target, options, marker=marker)


@dataclass(frozen=True)
class _Made:
    """What the marker in a target says: from what it was made, and whether all is there."""

    fingerprint: str
    source: str
    is_complete: bool


def _made_before(target: Path) -> _Made | None:
    """Read the marker of an earlier run; None without one, or when none of its files is left."""
    try:
        marker: Any = json.loads((target / MARKER).read_text(encoding="utf-8"))
        there = [(target / name).is_file() for name in marker["files"]]
        made = _Made(str(marker["fingerprint"]), str(marker.get("source", "a run")), all(there))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return made if there else None


def _write_failures(
    tasks: Sequence[Task], outcomes: Sequence[Outcome], shard: tuple[int, int] | None
) -> Path | None:
    """List the failures of a batch in ``failed.jsonl`` beside its targets; remove an old list."""
    if len(tasks) < 2:
        return None
    folder = Path(os.path.commonpath([task.target.resolve().parent for task in tasks]))
    name = FAILURES if shard is None else f"failed.{shard[0]}-of-{shard[1]}.jsonl"
    path = folder / name
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if not failed:
        if _is_own(path):
            path.unlink(missing_ok=True)
        return None
    facts = [{"run": item.source, "target": item.target, "reason": item.reason} for item in failed]
    lines = [json.dumps(fact) for fact in facts]
    with contextlib.suppress(OutputError):  # the messages on stderr say it all the same
        prepare_folder(folder)
        write_text(path, "\n".join(lines) + "\n", overwrite=_is_own(path))
        return path
    return None


def _is_own(path: Path) -> bool:
    """Say whether a file is the failure list of an earlier run, not only named like one."""
    try:
        first = json.loads(path.read_text(encoding="utf-8").partition("\n")[0])
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and set(first) == {"run", "target", "reason"}
