"""How every command runs: read → one call → save → print."""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dock.cli.wording import in_options, print_json, report
from dock.errors import OutputError
from dock.io.progress import Progress

if TYPE_CHECKING:
    from dock.core.calculation import Calculation
    from dock.results import Result
    from dock.states.job import Job


@dataclass(frozen=True)
class Run:
    """How a command runs and where its result goes: the options of these names.

    `dock.cli.options.run_options` makes it.
    """

    output: Path | None = None
    plot: Path | None = None
    style: tuple[str, ...] = ()
    overwrite: bool = False
    jobs: int | None = None
    as_json: bool = False
    quiet: bool = False

    def target(self, path: Path, result: type[Result]) -> Path:
        """Return where a result goes, after making sure that it and its figure can go there.

        Raises
        ------
        OutputError
            When a file exists, or there is no folder for it: before an hour is spent.
        UsageError
            For a figure of an unknown kind.
        DependencyError
            For a figure, without matplotlib.
        """
        target = self.output or folder_of(path) / result.FILE
        self.require_free(*result.files(target))
        return target

    def require_free(self, *files: Path) -> None:
        """Refuse files, and the figure, that cannot be written; see `target`."""
        from dock.extras import require
        from dock.figure import require_figure_name
        from dock.style import themed

        targets = [*files]
        if self.plot is not None:
            require_figure_name(self.plot)
            require("matplotlib.figure", "plot")
            with themed(self.style):  # a style that there is not is refused before an hour is spent
                pass
            targets.append(self.plot)
        for target in targets:
            if target.suffix and not target.parent.is_dir():  # a folder is made with its parents
                raise OutputError(f"{target}: there is no folder {target.parent}. Make it first.")
        there = [target for target in targets if target.exists()]
        if there and not self.overwrite:
            raise OutputError(
                f"{', '.join(map(str, there))}: exists already. Give --overwrite to replace it, "
                "or another name with -o."
            )

    def progress(self, what: str) -> Progress:
        """Return a progress that is shown on stderr; `what` is counted, in the plural."""
        bar = Bar(what, quiet=self.quiet)
        bar.counted = Progress(bar)
        return bar.counted

    def settings(self, job: Job | None = None, what: str = "k-points") -> dict[str, Any]:
        """Return how a function solves for states, which is counted in `what`: as it takes it."""
        solver = {} if job is None else {"solver": job}
        return {**solver, "jobs": self.jobs, "progress": self.progress(what)}

    def finish(
        self,
        result: Result,
        target: Path | None,
        *,
        of: Calculation | None = None,
        job: Job | None = None,
        **drawn: Any,
    ) -> None:
        """Save and draw a result of a calculation, and print it; without `target` save nothing.

        What the job kept is removed then. A shard saves nothing: two might do it at once. Of
        several processes the first one saves. What is to be `drawn` how may be a function that says
        it: it is called when the files stand, so that no result is lost to its error.
        """
        if job is not None:
            job.end_shard()
            if not job.ranks.is_root:
                job.clear()
                return
        if target is not None and of is not None and of.hamiltonian is not None:
            result.made_from(of.hamiltonian.digest())
        written = [] if target is None else result.save(target, overwrite=self.overwrite)
        if self.plot is not None:
            look: dict[str, Any] = {"style": self.style, "overwrite": self.overwrite}
            drawn = {name: one() if callable(one) else one for name, one in drawn.items()}
            written.append(result.plot(self.plot, **look, **drawn))
        click.echo(report(result, written, as_json=self.as_json))
        if job is not None:
            job.clear()

    def tell(self, text: str, *contents: Any) -> None:
        """Print a text, or with ``--json`` what it says: one object a line."""
        if not self.as_json:
            click.echo(text)
            return
        for content in contents:
            print_json(content)


class Bar:
    """Progress on stderr: a bar on a terminal, a line every few percent elsewhere.

    `what` is counted, in the plural. `counted`, where it is known, says what was done before: it
    took no time, and does not enter what is left of it.
    """

    def __init__(self, what: str, *, quiet: bool) -> None:
        self.what, self.quiet = what, quiet
        self.terminal = sys.stderr.isatty()
        self.begin = self.shown = time.monotonic()
        self.last_step = 0
        self.counted: Progress | None = None

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Show that `done` of `total` are finished."""
        if self.quiet or total < 2:
            return
        now = time.monotonic()
        finished = done >= total
        if self.terminal:
            if finished or now - self.shown > 0.1:
                self.shown = now
                self._draw(done, total, note)
        elif 20 * done // total > self.last_step and (finished or now - self.shown > 2):
            self.last_step, self.shown = 20 * done // total, now
            rest = self._rest(done, total)
            click.echo(f"{done}/{total} {self.what}{note}, {rest}", err=True)

    def _draw(self, done: int, total: int, note: str) -> None:
        filled = 24 * done // total
        bar = "█" * filled + "░" * (24 - filled)
        text = f"\r{bar} {done}/{total} {self.what}{note}, {self._rest(done, total)}  "
        click.echo(text, err=True, nl=done >= total)

    def _rest(self, done: int, total: int) -> str:
        spent = time.monotonic() - self.begin
        if done >= total:
            return f"{spent:.1f} s"
        now = done - (0 if self.counted is None else self.counted.skipped)
        return f"about {spent * (total - done) / now:.0f} s left" if now > 0 else "done before"


class _Handler(logging.Handler):
    """Prints notes and what is said of the course of a command, the same words once."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self._said:
            self._said.add(text)
            kind = "note: " if record.levelno >= logging.WARNING else ""
            click.echo(f"dock: {kind}{in_options(text)}", err=True)


def show_log(*, quiet: bool) -> None:
    """Send the library's notes to stderr, or nowhere."""
    logger = logging.getLogger("dock")
    logger.handlers = [logging.NullHandler() if quiet else _Handler()]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def folder_of(path: Path) -> Path:
    """Return the folder beside whose content results are written."""
    return path if path.is_dir() else path.parent
