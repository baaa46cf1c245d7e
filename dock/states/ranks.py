"""The processes of an MPI run: one leads the command, the others do what it calls.

Under ``mpirun`` every process starts the same command. With `Ranks.world` each learns which it is.
Where all run the whole command, they can wait for each other (`barrier`) and end together (`stop`).
Where the work itself is spread over processes, only the first runs the command; the others `serve`
until it dismisses them. So nothing is printed or written twice, and no process has to guess what
another will do.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from dock.errors import DependencyError, DockError, SolverError, UsageError
from dock.extras import require

__all__ = ["Ranks", "Team"]

_TASK, _ANSWER = 101, 102  # tags of messages


@dataclass(eq=False)
class Team:
    """The processes that work on one eigenproblem together.

    Attributes
    ----------
    comm
        Their communicator of mpi4py; None for a single process without MPI.
    number
        Which team this is.
    memory
        What the members remember between two tasks, each for itself.
    """

    comm: Any = None
    number: int = 0
    memory: dict[str, Any] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        """The number of this process in the team."""
        return 0 if self.comm is None else int(self.comm.Get_rank())

    @property
    def size(self) -> int:
        """The number of processes of the team."""
        return 1 if self.comm is None else int(self.comm.Get_size())

    @property
    def leads(self) -> bool:
        """Whether this process answers for the team."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all members, in every member."""
        return [value] if self.comm is None else list(self.comm.allgather(value))

    @contextmanager
    def together(self) -> Any:
        """Let an error of one member be that of all, at the end of the block.

        Nothing in the block may wait for other members.
        """
        error: Exception | None = None
        try:
            yield
        except DockError as caught:
            error = caught
        except MemoryError:
            error = SolverError("not enough memory on a process. Use more machines, or fewer ranks")
        for rank, other in enumerate(self.gather(error)):
            if other is not None and error is None:
                other.add_note(f"process {rank} of {self.size}")
                raise other
        if error is not None:
            raise error


class Ranks:
    """All processes of a run, in one or more teams.

    Parameters
    ----------
    comm
        Their communicator of mpi4py; None for one process without MPI.
    teams
        Into how many teams of neighbours they are divided; fewer processes than teams are a
        `UsageError`.
    """

    def __init__(self, comm: Any = None, teams: int = 1) -> None:
        self.comm = comm
        self.rank = 0 if comm is None else int(comm.Get_rank())
        self.size = 1 if comm is None else int(comm.Get_size())
        if not 1 <= teams <= self.size:
            raise UsageError(f"{self.size} processes cannot be divided into {teams} teams.")
        self.n_teams = teams
        if comm is None:
            self.team = Team()
        else:
            mine = self._team_of(self.rank)
            self.team = Team(comm.Split(mine, self.rank), mine)
        self._free = list(range(teams))
        self._state = threading.Condition()

    @classmethod
    def world(cls, teams: int = 1) -> Ranks:
        """Return all processes that ``mpirun`` or ``srun`` started.

        `DependencyError` where mpi4py is missing, or finds no MPI.
        """
        ranks = _world(teams)
        _CURRENT.append(ranks)
        return ranks

    @classmethod
    def current(cls) -> Ranks:
        """Return what `world` last returned; a single process before that."""
        return _CURRENT[-1] if _CURRENT else cls()

    @property
    def is_root(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait until all processes are here."""
        if self.comm is not None:
            self.comm.Barrier()

    def stop(self, code: int) -> None:
        """End all processes of several with an exit code, because this one met an error."""
        if self.size > 1:
            sys.stdout.flush()
            sys.stderr.flush()
            self.comm.Abort(code)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run ``function(team, *args)`` in every member of a free team; return the leader's answer.

        For the first process only; it may be called from as many threads as there are teams.
        Function and arguments are sent as they are pickled. An error of the team is raised here.
        """
        with self._state:
            self._state.wait_for(lambda: self._free)
            number = self._free.pop(0)
        try:
            for rank in range(1, self.size):
                if self._team_of(rank) == number:
                    self.comm.send((function, args), dest=rank, tag=_TASK)
            if number == 0:
                return function(self.team, *args)
            done, value = self.comm.recv(source=self._leader_of(number), tag=_ANSWER)
            if not done:
                raise value
            return value
        finally:
            with self._state:
                self._free.append(number)
                self._state.notify()

    def serve(self) -> None:
        """Do what the first process calls, until it dismisses the others."""
        while True:
            task = self.comm.recv(source=0, tag=_TASK)
            if task is None:
                return
            function, args = task
            try:
                answer: tuple[bool, Any] = (True, function(self.team, *args))
            except DockError as error:  # met by all members: see `Team.together`
                answer = (False, error)
            except BaseException as error:
                sys.stderr.write(f"process {self.rank} of {self.size}: {error!r}\n")
                self.stop(1)
                raise
            if self.team.leads and self.team.number:
                self.comm.send(answer, dest=0, tag=_ANSWER)

    def dismiss(self) -> None:
        """Let the others leave `serve`; for the first process."""
        if self.is_root:
            for rank in range(1, self.size):
                self.comm.send(None, dest=rank, tag=_TASK)

    def _team_of(self, rank: int) -> int:
        return rank * self.n_teams // self.size

    def _leader_of(self, number: int) -> int:
        return next(rank for rank in range(self.size) if self._team_of(rank) == number)


_CURRENT: list[Ranks] = []


@cache
def _world(teams: int) -> Ranks:
    # Both kinds of MPI may be installed: the one that started this process is meant.
    if "OMPI_COMM_WORLD_SIZE" in os.environ:
        os.environ.setdefault("MPI4PY_MPIABI", "openmpi")
    try:
        MPI = require("mpi4py.MPI", "mpi")
    except RuntimeError as error:
        raise DependencyError(
            f"mpi4py finds no MPI library ({error}). Load that of the cluster, or install one "
            "with: pip install 'dock-dft[mpi]'"
        ) from error
    if teams > 1 and MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        raise UsageError(
            "this MPI library does not allow calls from several threads, which more than one team "
            "of processes needs. Use one team."
        )
    return Ranks(MPI.COMM_WORLD, teams)
