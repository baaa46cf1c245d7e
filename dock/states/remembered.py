"""A dense solver that remembers its states, for what goes over the same k-points twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.states.dense import Dense
from dock.states.job import Job
from dock.states.solver import Eigenproblem, Eigenstates, Plan, Solver, Want

__all__ = ["Remembered", "remembering"]

_MOST = 2**28  # bytes of vectors


class Remembered:
    """LAPACK, which finds the vectors along with energies and gives them to who asks next.

    Electrons are counted on a mesh before anything is summed over it: the first time energies are
    asked for, the second time the states. Each is given once, and forgotten. With `keeps` False
    nothing is remembered, and the energies are the same to the last bit.
    """

    def __init__(self, *, keeps: bool = True) -> None:
        self._dense, self._keeps = Dense(), keeps
        self._known: dict[tuple[Any, ...], tuple[Eigenproblem, Eigenstates]] = {}

    @property
    def name(self) -> str:
        """The word of ``--solver``."""
        return self._dense.name

    def plan(self, problem: Eigenproblem, want: Want, n_problems: int, jobs: int) -> Plan:
        """Return memory and threads: those of all states with vectors."""
        return self._dense.plan(problem, replace(want, vectors=True), n_problems, jobs)

    def solve(
        self, problem: Eigenproblem, channel: int, k_frac: NDArray[np.float64], want: Want
    ) -> Eigenstates:
        """Return the states at one k-point."""
        whole = replace(want, vectors=True)
        key = id(problem), channel, k_frac.tobytes(), whole
        known = self._known.pop(key, None) if want.vectors else None
        if known is not None:
            return known[1]
        found = self._dense.solve(problem, channel, k_frac, whole)
        if want.vectors:
            return found
        if self._keeps:  # the problem too, so that its id is no other's
            self._known[key] = problem, found
        return replace(found, vectors=None)

    def close(self) -> None:
        """Keep what is known: a second stream asks for it."""
        self._dense.close()


def remembering(solver: str | Solver | Job, problem: Any, n_points: int) -> Job:
    """Return a job that remembers its states where these are few; else the job as it is.

    Not for several spin channels, which are problems of their own the second time. A shard has
    nothing to remember: it ends in between.
    """
    job = Job.of(solver)
    is_ours = job.solver in ("auto", "dense") and not job.dry_run
    if is_ours and problem.n_channels == 1 and 16 * problem.size**2 * n_points <= _MOST:
        return job.by(Remembered(keeps=job.shard is None))
    return job
