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
    """Return the solver of a name, or the one that fits a problem.

    Parameters
    ----------
    problem, want
        What is to be solved, and what is asked for.
    name
        ``auto``, a name of `SOLVERS`, or a solver, which is returned as it is.

    Raises
    ------
    UsageError
        For an unknown name; it lists those that exist.
    """
    if not isinstance(name, str):
        return name
    if name == "auto":
        return Dense()
    if name not in SOLVERS:
        raise UsageError(f"there is no solver '{name}'. There are: auto, {', '.join(SOLVERS)}.")
    return SOLVERS[name]()
