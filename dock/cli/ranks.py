"""Processes of MPI around one command: who runs it, and how they end together."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from dock.cli.wording import in_options
from dock.errors import DockError
from dock.states.ranks import Ranks

__all__ = ["led", "together"]

_FIRST = 2.0  # seconds in which the first process may say what all have met


@contextmanager
def led(teams: int) -> Iterator[bool]:
    """Yield whether this process runs the command; the others serve it until it ends."""
    ranks = Ranks.world(teams)
    if not ranks.is_root:
        ranks.serve()
        yield False
        return
    try:
        yield True
    finally:
        ranks.dismiss()


@contextmanager
def together() -> Iterator[Ranks]:
    """Yield the processes that all run the command; an error of one ends all.

    What all of them meet, such as a file that is not there, the first one says.
    """
    ranks = Ranks.world()
    try:
        yield ranks
    except (DockError, MemoryError) as error:
        if ranks.size == 1:
            raise
        if not ranks.is_root:
            time.sleep(_FIRST)
        notes = getattr(error, "__notes__", [])
        message = "\n".join([f"dock: {error}", *notes])
        click.echo(in_options(message), err=True)
        ranks.stop(getattr(error, "exit_code", 2))
