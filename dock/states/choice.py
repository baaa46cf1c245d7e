"""Which solver is taken for a problem, and why; what does not fit into the memory is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dock.errors import UsageError
from dock.states.dense import Dense
from dock.states.memory import Allowance, allowance, in_words
from dock.states.solver import Eigenproblem, Plan, Solver, Want
from dock.states.sparse.problem import SparseProblem
from dock.states.speed import duration
from dock.threads import LARGE, available_cpus

if TYPE_CHECKING:
    from dock.states.sparse.shift_invert import ShiftInvert

__all__ = ["SOLVERS", "choose", "describe", "require_possible"]


def _sparse() -> ShiftInvert:
    from dock.states.sparse.shift_invert import ShiftInvert  # 20 ms of a start of 300

    return ShiftInvert()


def _slepc() -> Solver:
    from dock.states.slepc.solver import Slepc

    return Slepc()


def _layers() -> Solver:
    from dock.states.layers.solver import LayerSolver

    return LayerSolver()


SOLVERS: dict[str, Callable[[], Solver]] = {
    "dense": Dense,
    "sparse": _sparse,
    "slepc": _slepc,
    "layers": _layers,
}
"""The solvers by name; a new one is its file and a line here."""

_SHARE = 0.95  # of the memory that may be taken: the rest is for what nobody counted
_CLEARLY = 2.0  # times quicker: predicted times are no better than that


def choose(
    name: str | Solver = "auto",
    problem: Eigenproblem | None = None,
    want: Want | None = None,
    *,
    n_problems: int = 1,
    jobs: int | None = None,
) -> Solver:
    """Return the solver of a name, ``auto`` or one of `SOLVERS`; a solver is returned as it is.

    Parameters
    ----------
    name
        By ``auto`` size, sparsity and what is asked decide.
    problem, want
        What is to be solved. Without a problem nothing is held against the memory, and ``auto``
        is ``dense``.
    n_problems
        The k-points times spin channels.
    jobs
        Threads in all; by default the CPUs that this process may use.

    Raises
    ------
    UsageError
        For an unknown name, with those that exist; where the plan needs more memory than this
        process may take, with what would help, before anything large is allocated.
    """
    if not isinstance(name, str):
        return name
    if name != "auto" and name not in SOLVERS:
        raise UsageError(f"there is no solver '{name}'. There are: auto, {', '.join(SOLVERS)}.")
    want, jobs = want or Want(), jobs or available_cpus()
    if problem is None:
        return Dense() if name == "auto" else SOLVERS[name]()
    _require_states(problem, want)
    room = allowance()
    solver = _automatic(problem, want, n_problems, jobs, room)
    if name not in ("auto", solver.name):
        solver.close()
        solver = SOLVERS[name]()
    _require_room(solver.plan(problem, want, n_problems, jobs), problem, want, room)
    return solver


def require_possible(
    name: str | Solver, problem: Eigenproblem, want: Want, *, n_problems: int, jobs: int
) -> None:
    """Refuse at once, before matrices are read, what there is no room for by far.

    `choose` would refuse it too, when it knows more. `UsageError`, as there.
    """
    full = want.everything or (want.s_threshold is not None and want.removal == "project")
    if name not in ("auto", "sparse") or full or not isinstance(problem, SparseProblem):
        return
    plan = _sparse().hopeless(problem, want, n_problems, jobs)
    if plan is not None:
        _require_room(plan, problem, want, allowance())


def _automatic(
    problem: Eigenproblem, want: Want, n_problems: int, jobs: int, room: Allowance
) -> Solver:
    """Return the solver that is certain for small problems, and the quickest for large ones.

    Sparse matrices serve for a part of the states, where full ones have no room or take longer.
    """
    dense = Dense()
    removes = want.s_threshold is not None and want.removal == "project"
    if want.everything or removes or problem.size <= LARGE:
        return dense
    if not isinstance(problem, SparseProblem):
        return dense
    full = dense.plan(problem, want, n_problems, jobs)
    sparse = _sparse()
    plan = sparse.plan(problem, want, n_problems, jobs)
    if _fits(full, room) and (full.seconds or 0.0) <= _CLEARLY * (plan.seconds or 0.0):
        sparse.close()
        return dense
    return sparse


def _require_states(problem: Eigenproblem, want: Want) -> None:
    """Refuse more states than there are orbitals."""
    asked = want.nearest[0] if want.nearest is not None else (want.bands or (0, 0))[1]
    if asked > problem.size:
        raise UsageError(
            f"there are {problem.size} states, one for each orbital. Found {asked} asked for."
        )


def describe(plan: Plan) -> str:
    """Return a plan as the line that is printed.

    Examples
    --------
    >>> plan = Plan("sparse", "full matrices would take 337 GB", 1, 2, 11 * 10**9, 250.0, "single")
    >>> describe(plan)
    'solver: sparse (single) because full matrices would take 337 GB; about 4 min a k-point, 11 GB'
    """
    detail = f" ({plan.detail})" if plan.detail else ""
    time = "" if plan.seconds is None else f"about {duration(plan.seconds)} a k-point, "
    memory = in_words(plan.memory_bytes)
    return f"solver: {plan.solver}{detail} because {plan.reason}; {time}{memory}"


def _require_room(plan: Plan, problem: Eigenproblem, want: Want, room: Allowance) -> None:
    """Refuse a plan that needs more memory than may be taken."""
    if _fits(plan, room):
        return
    raise UsageError(
        f"the solver '{plan.solver}' needs {in_words(plan.memory_bytes)} for {problem.size} "
        f"orbitals, and there are {room}. {' '.join(_ways_out(plan, want))}"
    )


def _fits(plan: Plan, room: Allowance) -> bool:
    return plan.memory_bytes <= _SHARE * room.n_bytes


def _ways_out(plan: Plan, want: Want) -> list[str]:
    """Return what would need less memory, as sentences."""
    ways = []
    if plan.workers > 1:
        ways.append(f"Pass jobs=1: {plan.workers} k-points at a time are planned.")
    if plan.solver == "dense" and want.everything:
        ways.append("Ask for a part of the states (states=40, or a window), for solver='sparse'.")
    elif plan.solver == "dense":
        ways.append("Pass solver='sparse'.")
    ways.append("Take a machine with more memory, or raise the limit.")
    if not want.everything:
        ways.append("Pass solver='slepc' under mpirun: the matrices are dealt out over machines.")
    return ways
