"""Which solver is taken for a problem, and why."""

from __future__ import annotations

from collections.abc import Callable

from dock.errors import UsageError
from dock.states.dense import Dense
from dock.states.solver import Eigenproblem, Solver, Want

__all__ = ["SOLVERS", "choose"]

SOLVERS: dict[str, Callable[[], Solver]] = {"dense": Dense}
"""The solvers by name; a new one is its file and a line here."""


def choose(
    problem: Eigenproblem,  # noqa: ARG001 - what a choice will depend on
    want: Want,  # noqa: ARG001
    name: str | Solver = "auto",
) -> Solver:
    """Return the solver that fits a problem and what is asked of it, or the one of a name.

    The name is ``auto``, one of `SOLVERS`, or a solver, which is returned as it is. `UsageError`
    for an unknown one lists those that exist.
    """
    if not isinstance(name, str):
        return name
    if name == "auto":
        return Dense()
    if name not in SOLVERS:
        raise UsageError(f"there is no solver '{name}'. There are: auto, {', '.join(SOLVERS)}.")
    return SOLVERS[name]()
