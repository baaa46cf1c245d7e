"""The solver ``slepc``: PETSc, SLEPc and MUMPS on matrices that no process holds as a whole."""

from __future__ import annotations

import logging
import resource
import threading
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.errors import UsageError
from dock.states.problem import Problem
from dock.states.ranks import Ranks, Team
from dock.states.slepc.library import load, require_installed
from dock.states.slepc.rows import Source, SpreadPencil
from dock.states.slepc.search import Found, Search
from dock.states.solver import Certificate, Eigenproblem, Eigenstates, Plan, Want

__all__ = ["Slepc"]

_log = logging.getLogger("dock")


class _Answer(NamedTuple):
    """What a team found: the states and, in its leader, what each process took of memory."""

    states: Eigenstates
    memory_bytes: tuple[int, ...]


@dataclass(eq=False)
class Slepc:
    """States of a part of the spectrum, found by all processes of a team together.

    Each process reads the rows of H and S that are its own from the unified folder, and no process
    ever holds all of either. Eigenproblems go to the teams of `ranks`, one at a time to each.

    A `DependencyError` where slepc4py is missing.
    """

    ranks: Ranks = field(default_factory=Ranks.current)
    memory_bytes: tuple[int, ...] = ()
    """The largest memory that each process of a team has taken so far."""

    def __post_init__(self) -> None:
        require_installed()
        self._known: tuple[Problem, Source] | None = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The word of ``--solver``."""
        return "slepc"

    def plan(self, problem: Eigenproblem, want: Want, n_problems: int, jobs: int) -> Plan:  # noqa: ARG002
        """Return how many eigenproblems are solved at once.

        `UsageError` for what is not a part of the spectrum.
        """
        _require_part(want)
        workers = min(self.ranks.n_teams, n_problems)
        members = self.ranks.size // self.ranks.n_teams
        reason = f"it was asked for, and spreads H and S over {members} processes"
        return Plan(self.name, reason, workers, 1, 0, None, "Krylov-Schur, MUMPS")

    def solve(
        self, problem: Any, channel: int, k_frac: NDArray[np.float64], want: Want
    ) -> Eigenstates:
        """Return the states at one k-point, with vectors if they are wanted.

        Raises
        ------
        UsageError
            For what is not a part of the spectrum, or where processes see different files.
        SolverError
            Where a factorisation has not enough memory.
        ConvergenceError
            Where states are missing that inertia counts.
        """
        _require_part(want)
        problem.require_known(k_frac)
        with self._lock:
            source = self._source(problem)
        answer: _Answer = self.ranks.call(_solve, source, channel, np.asarray(k_frac, float), want)
        known = self.memory_bytes or (0,) * len(answer.memory_bytes)
        self.memory_bytes = tuple(map(max, known, answer.memory_bytes))
        return answer.states

    def close(self) -> None:
        """Say what the processes took of memory."""
        if len(self.memory_bytes) > 1:
            each = ", ".join(f"{size / 1e9:.2f}" for size in self.memory_bytes)
            _log.info("memory of the processes: %s GB", each)

    def _source(self, problem: Problem) -> Source:
        if self._known is None or self._known[0] is not problem:
            self._known = problem, Source.of(problem, self.ranks.size)
        return self._known[1]


def _require_part(want: Want) -> None:
    """Refuse what needs all states, or a basis that is cut."""
    if want.everything:
        raise UsageError(
            "slepc solves for a part of the states. Give a window of energies, or a number of "
            "states around an energy."
        )
    if want.s_threshold is not None:
        raise UsageError("slepc removes no orbitals. Leave s_threshold out.")


def _solve(
    team: Team, source: Source, channel: int, k_frac: NDArray[np.float64], want: Want
) -> _Answer:
    """Solve one eigenproblem in every member of a team; the leader returns the states."""
    library = load(team)
    pencil: SpreadPencil | None = team.memory.get(source.fingerprint)
    if pencil is None:
        team.memory.clear()
        pencil = team.memory[source.fingerprint] = SpreadPencil(team, source)
    H, S = pencil.matrices(library, channel, k_frac)
    comm = H.comm
    try:
        search = Search(library, team, H, S)
        with library.explained():
            found = _find(search, want)
        vectors = _whole(team, pencil, found.vectors) if want.vectors else None
    finally:
        H.destroy()
        S.destroy()
        if hasattr(library.PETSc, "garbage_cleanup"):
            library.PETSc.garbage_cleanup(comm)
    counter = search.counter
    exact = f" with backward error {counter.worst:.0e}" if counter.worst else ""
    certificate = Certificate(
        f"inertia by {counter.name}{exact}", len(found.energies), found.residual
    )
    states = Eigenstates(found.energies, vectors, found.n_below, certificate=certificate)
    return _Answer(states, tuple(team.gather(_peak())))


def _find(search: Search, want: Want) -> Found:
    if want.window is not None:
        return search.window(*want.window)
    if want.bands is not None:
        first, stop = want.bands[0], min(want.bands[1], search.n)
        return search.bands(first, stop)
    assert want.nearest is not None  # noqa: S101 - `_require_part` has seen to it
    return search.nearest(*want.nearest)


def _whole(team: Team, pencil: SpreadPencil, own: NDArray[Any]) -> NDArray[Any] | None:
    """Return the vectors of all rows, in the order of `dock`, in the leader."""
    parts = [own] if team.comm is None else team.comm.gather(own, root=0)
    if parts is None:
        return None
    whole = np.concatenate(parts)[pencil.place]
    return np.asfortranarray(whole)


def _peak() -> int:
    """Return the largest memory of this process so far, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
