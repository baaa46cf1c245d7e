"""How eigenproblems are gone about: by which solver, where states are kept, which part is ours."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from dock.errors import UsageError
from dock.states.kept import Identified, Kept, Mark, remove
from dock.states.ranks import Ranks
from dock.states.solver import Eigenproblem, Plan, Removal, Solver, Want

__all__ = ["Job", "PartDone", "Pause", "Place", "Planned"]

Place: TypeAlias = tuple[int, int]
"""Spin channel and number of the k-point."""


class Pause(Exception):  # noqa: N818 - it is no error
    """The end of a job that was told not to go further; it is no error.

    `text` says in a sentence what was done, `facts` the same by key.
    """

    def __init__(self, text: str, facts: dict[str, Any]) -> None:
        super().__init__(text)
        self.text, self.facts = text, facts


class Planned(Pause):
    """A job was planned, and that was all: `plan` for `n_problems` that are to be solved."""

    def __init__(self, text: str, plan: Plan, n_problems: int, n_kept: int) -> None:
        facts = {
            "solver": plan.solver,
            "reason": plan.reason,
            "method": plan.detail,
            "memory_bytes": plan.memory_bytes,
            "expected_seconds": plan.seconds,
            "n_problems": n_problems,
            "n_kept": n_kept,
        }
        super().__init__(text, facts)
        self.plan, self.n_problems, self.n_kept = plan, n_problems, n_kept


class PartDone(Pause):
    """The part of a job that was asked for is done, and others are not."""

    def __init__(self, job: Job, n_done: int, n_all: int) -> None:
        number, parts = job.shard or (0, 1)
        text = (
            f"shard {number}/{parts} is done: {n_done} of {n_all} eigenproblems are kept in "
            f"{job.folder}. When all shards are done, run the same without shard=…."
        )
        super().__init__(text, {"n_kept": n_done, "n_problems": n_all, "path": str(job.folder)})


@dataclass(eq=False)
class Job:
    """Which solver is taken, where states are kept, and which part of the eigenproblems is ours.

    Every function that solves eigenproblems takes one in place of its `solver`.

    Attributes
    ----------
    solver
        ``auto``, a name of `dock.states.choice.SOLVERS`, or a `Solver`.
    folder
        Where the states of each k-point are kept as they are done, so that the same job goes on
        from there when it was killed; None for nowhere.
    shard
        (i, n): solve only the i-th of n parts, i from 0, and end with `PartDone` unless the others
        are done already. It needs a folder.
    dry_run
        Solve nothing: end with `Planned`.
    stays
        `clear` leaves what is kept.
    ranks
        The processes of MPI that all run this very job and deal the eigenproblems out among them;
        the first one writes the result. It needs a folder that all of them see.
    removal
        What a threshold of S removes; see `dock.states.solver.Want`.

    Examples
    --------
    >>> import dock
    >>> from dock.post import bands
    >>> try:
    ...     bands(dock.read("fixtures/openmx/si"), "LG", solver=Job(dry_run=True))
    ... except Planned as planned:
    ...     print(planned.plan.solver)
    dense
    """

    solver: str | Solver = "auto"
    folder: Path | None = None
    shard: tuple[int, int] | None = None
    dry_run: bool = False
    stays: bool = False
    ranks: Ranks = field(default_factory=Ranks, repr=False)
    removal: Removal = "project"
    _identities: WeakKeyDictionary[Any, str] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False
    )
    _problems: set[str] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.ranks.size > 1 and self.folder is None:
            raise UsageError("processes of MPI need a folder in which states are kept.")
        if self.shard is None:
            return
        number, parts = self.shard
        if not 0 <= number < parts:
            raise UsageError(f"the shard {number}/{parts} does not exist: give 0 ≤ i < n.")
        if self.folder is None:
            raise UsageError("a shard needs a folder in which states are kept.")

    @classmethod
    def of(cls, given: str | Solver | Job) -> Job:
        """Return a job as it is, or that of a solver."""
        return given if isinstance(given, Job) else cls(given)

    def by(self, solver: Solver) -> Job:
        """Return this job by another solver; what is kept is the same, and cleared with it."""
        other = copy.copy(self)
        other.solver = solver
        return other

    @property
    def is_shared(self) -> bool:
        """Whether other processes wait for what this one keeps."""
        return self.shard is not None or self.ranks.size > 1

    @property
    def has_kept(self) -> bool:
        """Whether a run before may have left something."""
        return self.folder is not None and self.folder.exists()

    def own(self, missing: list[Place]) -> list[Place]:
        """Return this process's part of what is missing of a shard; all processes call it."""
        if self.ranks.size == 1:
            return missing
        agreed: list[Place] = self.ranks.comm.bcast(missing)  # others may have begun meanwhile
        return agreed[self.ranks.rank :: self.ranks.size]

    def store(self, problem: Eigenproblem, want: Want) -> Kept | None:
        """Return where the states of a question are kept, or None.

        Vectors of whole spectra are not kept unless others wait for them, or shards have kept some:
        they would fill a disk faster than they are computed.
        """
        if self.folder is None or not isinstance(problem, Identified):
            return None
        if want.vectors and want.everything and not (self.is_shared or self.has_kept):
            return None
        return self._kept(problem, Mark.of(problem, want, self._identities.get(problem)))

    def store_sum(self, problem: Identified, words: str) -> Kept | None:
        """Return where the parts of a sum over k-points are kept, or None; see `Mark.of_sum`."""
        if self.folder is None:
            return None
        return self._kept(problem, Mark.of_sum(problem, words, self._identities.get(problem)))

    def _kept(self, problem: Identified, mark: Mark) -> Kept:
        assert self.folder is not None  # noqa: S101 - the callers have looked
        self._identities.setdefault(problem, mark.problem)
        self._problems.add(mark.problem)
        return Kept(self.folder, mark, at_once=self.is_shared)

    def end_shard(self) -> None:
        """End a shard of which the others are done too: they must not all write the result."""
        if self.shard is not None:
            number, parts = self.shard
            text = (
                f"shard {number}/{parts}: all shards are done. Run the same without shard=… "
                "for the result."
            )
            raise Pause(text, {"path": str(self.folder)})

    def clear(self) -> None:
        """Remove what is kept: the result stands. All processes call it; the first one removes."""
        self.ranks.barrier()
        if not self.ranks.is_root:
            return
        if self.folder is not None and not self.stays:
            remove(self.folder, self._problems)
