"""What every command shares: options, tables, JSON lines, progress."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from dock.errors import UsageError

__all__ = [
    "Progress",
    "echo_json",
    "json_option",
    "overwrite_option",
    "parse_settings",
    "parse_shard",
    "quiet_option",
    "show_log",
    "table",
]

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line instead of a table."
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress and no notes.")
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace files that exist.")


def echo_json(content: Any) -> None:
    """Print one JSON object on a line of its own."""
    click.echo(json.dumps(content, ensure_ascii=False))


def table(rows: Sequence[Sequence[str]], head: Sequence[str] | None = None) -> str:
    """Return rows as aligned columns, under a head if given.

    Examples
    --------
    >>> print(table([["H", "1.5"], ["overlap", "2"]]))
    H        1.5
    overlap  2
    """
    everything = [*([head] if head else []), *rows]
    if not everything:
        return ""
    widths = [max(len(row[column]) for row in everything) for column in range(len(everything[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in everything
    ]
    if head:
        lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """Return (i, n) of ``i/n``."""
    if text is None:
        return None
    first, slash, second = text.partition("/")
    numbers = first.isdecimal() and second.isdecimal()
    if not slash or not numbers or int(first) >= int(second):
        raise UsageError(f"--shard is i/n with 0 ≤ i < n, such as 0/8; found '{text}'.")
    return int(first), int(second)


def parse_settings(pairs: Sequence[str]) -> dict[str, str]:
    """Return ``name=value`` pairs as a dictionary."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--set takes name=value, found '{pair}'.")
        found[name.strip()] = value.strip()
    return found


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"dock: note: {record.getMessage()}", err=True)


def show_log(*, quiet: bool) -> None:
    """Send the library's notes to stderr, or nowhere."""
    logger = logging.getLogger("dock")
    logger.handlers = [logging.NullHandler() if quiet else _Handler()]
    logger.propagate = False


class Progress:
    """Progress on stderr: a bar on a terminal, a line every few percent elsewhere.

    Parameters
    ----------
    total
        Number of items.
    what
        What is counted, in the plural.
    quiet
        Say nothing.
    """

    def __init__(self, total: int, what: str, *, quiet: bool) -> None:
        self.total, self.what = max(1, total), what
        self.quiet = quiet or total < 2
        self.terminal = sys.stderr.isatty()
        self.begin = self.shown = time.monotonic()
        self.last_step = 0

    def update(self, done: int, note: str = "") -> None:
        """Show that `done` items are finished."""
        if self.quiet:
            return
        now = time.monotonic()
        finished = done >= self.total
        if self.terminal:
            if finished or now - self.shown > 0.1:
                self.shown = now
                self._draw(done, now, note, finished=finished)
        elif 20 * done // self.total > self.last_step and (finished or now - self.shown > 2):
            self.last_step, self.shown = 20 * done // self.total, now
            click.echo(f"{done}/{self.total} {self.what}{note}, {self._rest(done, now)}", err=True)

    def _draw(self, done: int, now: float, note: str, *, finished: bool) -> None:
        filled = 24 * done // self.total
        bar = "█" * filled + "░" * (24 - filled)
        text = f"\r{bar} {done}/{self.total} {self.what}{note}, {self._rest(done, now)}  "
        click.echo(text, err=True, nl=finished)

    def _rest(self, done: int, now: float) -> str:
        spent = now - self.begin
        if done >= self.total:
            return f"{spent:.1f} s"
        return f"about {spent * (self.total - done) / max(done, 1):.0f} s left"
