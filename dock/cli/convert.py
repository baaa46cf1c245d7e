"""``dock convert``."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from dock.cli import options
from dock.cli.runner import Run
from dock.cli.wording import in_options, print_json
from dock.results import table

if TYPE_CHECKING:
    from dock.converters.batch import BatchOptions, Outcome, Report
    from dock.converters.format import WriteOptions
    from dock.converters.plan import Task


@click.command(
    epilog="""\b
More examples:
  dock convert 'runs/*' -o dataset -j 8            many runs, eight at a time
  dock convert runs -o dataset --shard 3/100       one hundredth, for a Slurm array
  dock convert si_deeph --to openmx -o back        from the unified folder to a code
  dock convert runs --dry-run                      show the plan, write nothing
  dock convert si.save --basis orbitals -o si      plane waves onto atomic orbitals
  dock convert predicted --to siesta --like my_run -o restart   start your run from a prediction
  dock convert old --from deeph -o new             rewrite a unified folder; all in it goes along
"""
)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@options.from_option
@options.to_option
@options.writing_options
@click.option("--resume/--no-resume", default=True, help="Skip what is done already [default].")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@options.batch_options
@options.run_options("the target's name", figure=False, jobs=False)
def convert(
    runs: tuple[str, ...],
    source: str | None,
    target: str,
    writing: WriteOptions,
    resume: bool,
    dry_run: bool,
    batch: BatchOptions,
    run: Run,
) -> int:
    """Convert runs of any code to the unified folder, or to any other code.

    \b
    Example:
      dock convert RUN --from openmx -o si_deeph

    RUN is a run's folder, its main file, a quoted glob, a folder that holds runs, or - for a list
    on standard input; the current folder when left out. One run is written to the output folder
    itself, several to folders below it. Nothing that exists is replaced without --overwrite;
    a rerun skips what it finished before.
    """
    from dock.converters.batch import run_plan
    from dock.converters.plan import plan

    tasks = plan(
        _inputs(runs),
        run.output,
        source=source,
        target=target,
        options=replace(writing, overwrite=run.overwrite),
        basis=writing.basis,
        resume=resume and not run.overwrite,
    )
    if source is None and not run.quiet:
        names = ", ".join(dict.fromkeys(task.source_format for task in tasks))
        click.echo(f"dock: recognised: {names}", err=True)
    if dry_run:
        rows = [_plan_row(task) for task in tasks]
        head = ["run", "from", "to", "target"]
        run.tell(table([list(row.values()) for row in rows], head), *rows)
        return 0
    report = run_plan(tasks, batch, run.progress("runs"))
    if report.outcomes or not batch.mpi:  # under MPI the first process has them all
        _print_report(report, as_json=run.as_json, quiet=run.quiet)
    return report.exit_code


def _inputs(runs: tuple[str, ...]) -> list[str]:
    """Return the inputs; ``-`` stands for the lines of standard input."""
    inputs: list[str] = []
    for run in runs or (".",):
        if run == "-":
            inputs += [line.strip() for line in sys.stdin if line.strip()]
        else:
            inputs.append(run)
    return inputs


def _plan_row(task: Task) -> dict[str, str]:
    return {
        "run": str(task.source),
        "from": task.source_format,
        "to": task.target_format,
        "target": str(task.target),
    }


def _print_report(report: Report, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        for outcome in report.outcomes:
            print_json(
                {
                    "run": outcome.source,
                    "target": outcome.target,
                    "status": outcome.status,
                    "reason": in_options(outcome.reason),
                    "seconds": round(outcome.seconds, 3),
                    "files": list(outcome.files),
                    "notes": [*filter(None, [outcome.unsound]), *outcome.notes],
                }
            )
    for outcome in report.outcomes:
        if outcome.status == "failed":
            click.echo(in_options(f"dock: {outcome.reason}"), err=True)
    if not quiet:
        for count, note in report.summed_notes():
            many = f"{count} of {len(report.outcomes)} runs: " if len(report.outcomes) > 1 else ""
            click.echo(in_options(f"dock: note: {many}{note}"), err=True)
    if len(report.outcomes) == 1 and not as_json:
        _print_single(report.outcomes[0])
    elif not as_json and not quiet:
        counts = f"{report.count('done')} done, {report.count('skipped')} skipped"
        click.echo(f"{counts}, {report.count('failed')} failed")
    if report.failures is not None:
        click.echo(f"dock: the failures are listed in {report.failures}", err=True)


_LISTED = 12
"""Files that are listed by name; of more the number is told, as some formats write hundreds."""


def _print_single(outcome: Outcome) -> None:
    if outcome.status == "skipped":
        click.echo(f"{outcome.target}: made before from this run; nothing to do")
    if len(outcome.files) > _LISTED:
        click.echo(f"{outcome.target}: {len(outcome.files)} files")
        return
    for file in outcome.files:
        click.echo(file)
