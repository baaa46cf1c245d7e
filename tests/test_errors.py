"""Errors: what they say, what they inherit, and that they survive a process border."""

import pickle

import pytest

from dock import errors
from dock.errors import (
    ConventionError,
    ConvergenceError,
    DependencyError,
    DockError,
    FormatError,
    LayoutError,
    LossError,
    MissingDataError,
    OutputError,
    SolverError,
    UsageError,
)

BUILTIN = {
    ConventionError: ValueError,
    DependencyError: ImportError,
    FormatError: ValueError,
    LayoutError: ValueError,
    LossError: ValueError,
    MissingDataError: LookupError,
    OutputError: OSError,
    SolverError: ArithmeticError,
    ConvergenceError: ArithmeticError,
    UsageError: ValueError,
}
EXAMPLES = [
    FormatError("a/b.h5", "is cut", expected="10 bytes", found=3, where="line 2", fix="Copy it."),
    FormatError("a/b.h5", "is cut"),
    MissingDataError("the overlap", "folder", "Run dock overlap."),
    *[kind("some text") for kind in BUILTIN if kind not in (FormatError, MissingDataError)],
]


def test_every_error_is_here():
    kinds = {getattr(errors, name) for name in errors.__all__}
    assert {kind for kind in kinds if isinstance(kind, type)} == {DockError, *BUILTIN}


@pytest.mark.parametrize("kind", BUILTIN)
def test_inheritance(kind):
    assert issubclass(kind, DockError)
    assert issubclass(kind, BUILTIN[kind])
    assert kind.exit_code == {DependencyError: 3, ConvergenceError: 4}.get(kind, 2)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_they_survive_a_process_border(error):
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)


def test_format_error_names_everything():
    text = str(EXAMPLES[0])
    assert text == "a/b.h5 (line 2): is cut. Expected 10 bytes. Found 3. Copy it."
    assert str(EXAMPLES[1]) == "a/b.h5: is cut."
    assert str(FormatError("x", "is wrong", expected=0, found=0)) == (
        "x: is wrong. Expected 0. Found 0."
    )


def test_missing_data_error_reads_as_a_sentence():
    """LookupError must not show the message in quotes, as KeyError would."""
    assert str(EXAMPLES[2]) == "folder: the overlap is missing. Run dock overlap."


def test_a_subclass_of_a_format_error_survives_too():
    back = pickle.loads(pickle.dumps(_SpecialError("p", "is odd")))  # noqa: S301 - our own bytes
    assert type(back) is _SpecialError
    assert back.problem == "is odd"


class _SpecialError(FormatError):
    """As a converter might derive one."""
