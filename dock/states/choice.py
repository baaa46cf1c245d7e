"""Which solver is taken for a problem, and why."""

from __future__ import annotations

from collections.abc import Callable

from dock.errors import UsageError
from dock.states.dense import Dense
from dock.states.solver import Solver

__all__ = ["SOLVERS", "choose"]

SOLVERS: dict[str, Callable[[], Solver]] = {"dense": Dense}
"""The solvers by name; a new one is its file and a line here."""


def choose(name: str | Solver = "auto") -> Solver:
    """Return the solver of a name, ``auto`` or one of `SOLVERS`; a solver is returned as it is.

    `UsageError` for an unknown name lists those that exist.
    """
    if not isinstance(name, str):
        return name
    if name == "auto":
        return Dense()
    if name not in SOLVERS:
        raise UsageError(f"there is no solver '{name}'. There are: auto, {', '.join(SOLVERS)}.")
    return SOLVERS[name]()
