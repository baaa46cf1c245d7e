"""The errors that `dock` raises: each says what was found, what was expected and what to do."""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "FAULT",
    "TRACEBACK",
    "ConventionError",
    "ConvergenceError",
    "DependencyError",
    "DockError",
    "FormatError",
    "LayoutError",
    "LossError",
    "MissingDataError",
    "OutputError",
    "SolverError",
    "UsageError",
    "unexpected",
]

FAULT = 70
"""Exit code of a command that met a fault of `dock` itself, as sysexits.h has it."""

TRACEBACK = "DOCK_TRACEBACK"
"""Environment variable with which such a fault shows where it happened."""


class DockError(Exception):
    """Base of every error that a user can cause or repair.

    The command line prints the message alone, without a traceback, and ends with `exit_code`.
    """

    exit_code = 2


class FormatError(DockError, ValueError):
    """A file is not what its format promises: cut, foreign, contradictory or not finite.

    Parameters
    ----------
    path
        The file (or folder) at fault.
    problem
        One clause saying what is wrong, without a full stop.
    expected, found
        What should stand there and what does.
    where
        Place in the file: a line, an offset, a dataset.
    fix
        What the user can do about it.
    """

    def __init__(
        self,
        path: str | Path,
        problem: str,
        *,
        expected: object = None,
        found: object = None,
        where: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.problem = problem
        place = f" ({where})" if where else ""
        parts = [f"{path}{place}: {problem}."]
        if expected is not None:
            parts.append(f"Expected {expected}.")
        if found is not None:
            parts.append(f"Found {found}.")
        if fix:
            parts.append(fix)
        super().__init__(" ".join(parts))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.path, self.problem, str(self)))


class MissingDataError(DockError, LookupError):
    """Something that the computation needs, such as ``"the overlap matrix"``, is not there.

    `where` is where it was looked for, `fix` a sentence on how to get it.
    """

    def __init__(self, what: str, where: str | Path, fix: str) -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(f"{where}: {what} is missing. {fix}")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.what, self.where, self.fix))


class ConventionError(DockError, ValueError):
    """An orbital order, phase or spin convention is unknown or contradicts the data."""


class LayoutError(DockError, ValueError):
    """Two objects do not share the structure, basis or pairs that the operation needs."""


class LossError(DockError, ValueError):
    """A target format cannot hold something that the data has; nothing was written."""


class OutputError(DockError, OSError):
    """A target exists, cannot be written, or the disk is full; nothing half-written is left."""


class UsageError(DockError, ValueError):
    """An option or argument has no meaning here."""


class SolverError(DockError, ArithmeticError):
    """The data cannot be solved: S is not positive definite, entries are not finite."""


class ConvergenceError(SolverError):
    """A numerical method did not converge."""

    exit_code = 4


class DependencyError(DockError, ImportError):
    """An optional package is needed; the message has the ``pip install`` line."""

    exit_code = 3


def unexpected(error: BaseException) -> str:
    """Return one line on an error that nobody foresaw: what, where, and how to report it."""
    place, step = "", error.__traceback__
    while step is not None:
        file = Path(step.tb_frame.f_code.co_filename)
        if "dock" in file.parts:
            place = f" at {file.name}:{step.tb_lineno}"
        step = step.tb_next
    words = " ".join(str(error).split())[:200]
    return (
        f"a fault of dock itself{place}: {type(error).__name__}: {words}. Please report it with "
        f"the command, and with what it prints when {TRACEBACK}=1 is set in the environment."
    )


def _rebuild(cls: type[FormatError], path: Path, problem: str, message: str) -> FormatError:
    """Rebuild a FormatError on the other side of a process border."""
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.path, error.problem = path, problem
    return error
