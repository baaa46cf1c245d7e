"""Random vectors in blocks, over spin channels and k-points: kept as they are done, and shared.

A block of vectors is one task. Its moments are stored with the scale that they belong to, so that a
run that is killed goes on after the last block, and shards and processes of MPI deal the blocks out
and add up the same numbers in the same order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.io.progress import Progress
from dock.states.job import Job, PartDone
from dock.states.kept import Kept
from dock.states.kpm.expansion import Scale
from dock.states.kpm.pencil import Transform
from dock.states.kpm.recursion import Expansion
from dock.states.problem import Problem

__all__ = ["MomentSum", "Moments", "Task"]

_PATIENCE = 20  # seconds: file systems of clusters show a file late


class Task(NamedTuple):
    """A block of vectors of a channel and k-point; with rows, those are its vectors."""

    channel: int
    k_number: int
    block: int
    rows: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments (m, n_groups, n_moments) of a block of m vectors, and what they are moments of.

    `facts` are the largest error of the inverse, and the rest of `Expansion` that a result tells.
    """

    values: NDArray[np.float64]
    scale: Scale
    error: float
    description: str

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all of it as arrays."""
        transform = self.scale.transform
        numbers = (transform.origin, transform.compression, transform.floor)
        scale = np.array([*numbers, self.scale.low, self.scale.high, self.error])
        text = np.frombuffer(self.description.encode(), dtype=np.uint8)
        return {"values": self.values, "scale": scale, "description": text}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Moments:
        """Return what `arrays` made."""
        origin, tau, floor, low, high, error = arrays["scale"].tolist()
        scale = Scale(Transform(origin, tau, floor), low, high)
        return cls(arrays["values"], scale, error, arrays["description"].tobytes().decode())


@dataclass(eq=False)
class MomentSum:
    """The blocks of vectors of all channels and k-points.

    Attributes
    ----------
    make
        Gives the expansion of a channel and k-point.
    moments_of
        Gives the number of moments of an expansion.
    width
        Random vectors of a block.
    words
        All that the moments depend on beside H and S.
    """

    problem: Problem
    make: Callable[[int, int], Expansion]
    moments_of: Callable[[Expansion], int]
    tasks: list[Task]
    width: int
    seed: int
    groups: Any
    words: str
    steps: int
    vectors_of: Callable[[Task], NDArray[Any]] | None = None
    """Gives the vectors of a task where they are not random: `Expansion.projected_moments`."""

    def total(self, job: Job, progress: Progress) -> list[Moments]:
        """Return the moments of all tasks, in their order; `Pause` where a part was asked for."""
        kept = job.store_sum(self.problem, self.words)
        try:
            if not job.is_shared or kept is None:
                return self._alone(kept, progress)
            return self._shared(job, kept, progress)
        finally:
            if kept is not None:
                kept.close()

    def _alone(self, kept: Kept | None, progress: Progress) -> list[Moments]:
        found: list[Moments | None] = [self._kept(kept, n) for n in range(len(self.tasks))]
        missing = [n for n, one in enumerate(found) if one is None]
        self._announce(progress, len(missing))
        for number, moments in self._compute(missing, progress):
            found[number] = moments
            if kept is not None:
                kept.put_arrays(number, moments.arrays())
        return [one for one in found if one is not None]

    def _shared(self, job: Job, kept: Kept, progress: Progress) -> list[Moments]:
        """Do this process's tasks, and read those of the others."""
        shard, shards = job.shard or (0, 1)
        mine = list(range(len(self.tasks)))[shard::shards]
        missing = [(n, 0) for n in mine if self._kept(kept, n) is None]
        own = [n for n, _ in job.own(missing)]
        self._announce(progress, len(own))
        for number, moments in self._compute(own, progress):
            kept.put_arrays(number, moments.arrays())
        kept.flush()
        job.ranks.barrier()
        for _ in range(_PATIENCE):
            kept.refresh()
            if all(self._kept(kept, n) is not None for n in mine):
                break
            time.sleep(1)
        found = [self._kept(kept, n) for n in range(len(self.tasks))]
        done = [one for one in found if one is not None]
        if len(done) < len(self.tasks):
            raise PartDone(job, len(done), len(self.tasks))
        return done

    def _announce(self, progress: Progress, n_missing: int) -> None:
        progress.start(self.steps * len(self.tasks))
        progress.skip(self.steps * (len(self.tasks) - n_missing))

    def _kept(self, kept: Kept | None, number: int) -> Moments | None:
        arrays = None if kept is None else kept.get_arrays(number)
        return None if arrays is None else Moments.of(arrays)

    def _compute(self, numbers: list[int], progress: Progress) -> Any:
        """Yield (number, moments) of some tasks, one expansion at a time."""
        last: tuple[int, int] | None = None
        expansion: Expansion | None = None
        for number in numbers:
            task = self.tasks[number]
            if (task.channel, task.k_number) != last or expansion is None:
                expansion = None  # its memory goes before that of the next is taken
                last = task.channel, task.k_number
                expansion = self.make(*last)
            yield number, self._moments(task, expansion, progress)

    def _moments(self, task: Task, expansion: Expansion, progress: Progress) -> Moments:
        n_moments, advance = self.moments_of(expansion), _Paced(progress, self.steps)
        if self.vectors_of is not None:
            values = expansion.projected_moments(
                self.vectors_of(task), n_moments, self.groups, advance.of(n_moments)
            )
        elif task.rows:
            rows = np.array(task.rows)
            values = expansion.row_moments(rows, n_moments, advance.of(n_moments))[:, None]
        else:
            seed = (self.seed, task.channel, task.k_number, task.block)
            values = expansion.trace_moments(
                n_moments, self.width, seed, self.groups, advance.of(n_moments // 2 + 1)
            )
        advance.finish()
        error, words = expansion.inverse.error, expansion.description
        return Moments(values, expansion.scale, error, words)


class _Paced:
    """Tells a progress of `total` units, whatever the number of steps is."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress, self.total, self.told, self.done = progress, total, 0, 0

    def of(self, n_steps: int) -> Callable[[int], None]:
        """Return what counts steps."""

        def advance(count: int) -> None:
            self.done += count
            due = min(self.total, self.total * self.done // n_steps)
            if due > self.told:
                self.progress.advance(due - self.told)
                self.told = due

        return advance

    def finish(self) -> None:
        """Tell of what is left."""
        if self.told < self.total:
            self.progress.advance(self.total - self.told)
