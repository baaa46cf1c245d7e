"""``dock convert``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dock.cli._common import (
    Progress,
    echo_json,
    json_option,
    overwrite_option,
    parse_settings,
    parse_shard,
    quiet_option,
    show_log,
    table,
)

if TYPE_CHECKING:
    from dock.converters.batch import Outcome, Report
    from dock.converters.plan import Task

__all__ = ["convert"]


@click.command(
    epilog="""\b
More examples:
  dock convert 'runs/*' -o dataset -j 8            many runs, eight at a time
  dock convert runs -o dataset --shard 3/100       one hundredth, for a Slurm array
  dock convert si_deeph --to openmx -o back        from the unified folder to a code
  dock convert runs --dry-run                      show the plan, write nothing
  dock convert si.save --basis orbitals -o si      plane waves onto atomic orbitals
"""
)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--from", "source", metavar="FORMAT", help="Source format; default: recognised.")
@click.option("--to", "target", metavar="FORMAT", default="deeph", help="Target [default: deeph].")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Target folder.")
@click.option("--matrices", metavar="H,S,…", help="Only these matrices: H, S, DM, EDM, T, r, grad.")
@click.option("--single-precision", is_flag=True, help="Store 32-bit numbers (half the size).")
@click.option("--basis", type=click.Path(path_type=Path), help="Folder of the code's basis files.")
@click.option("--potential", metavar="WHAT", help="Plane waves: vsc (or its path), or density.")
@click.option("--quality", is_flag=True, help="Plane waves: also the spillage of the run's states.")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="A format's own setting."
)
@click.option("--allow-lossy", is_flag=True, help="Write even what the target cannot hold fully.")
@click.option("--resume/--no-resume", default=True, help="Skip what is done already [default].")
@overwrite_option
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option("-j", "--jobs", type=int, help="Worker processes [default: as the data need].")
@click.option("--mpi", is_flag=True, help="Share the work among the processes of mpirun or srun.")
@click.option("--shard", metavar="I/N", help="Do only part I (from 0) of N parts.")
@json_option
@quiet_option
def convert(
    runs: tuple[str, ...],
    source: str | None,
    target: str,
    output: Path | None,
    matrices: str | None,
    single_precision: bool,
    basis: Path | None,
    potential: str | None,
    quality: bool,
    settings: tuple[str, ...],
    allow_lossy: bool,
    resume: bool,
    overwrite: bool,
    dry_run: bool,
    jobs: int | None,
    mpi: bool,
    shard: str | None,
    as_json: bool,
    quiet: bool,
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
    from dock.converters import WriteOptions
    from dock.converters.batch import BatchOptions, run_plan
    from dock.converters.plan import plan

    show_log(quiet=quiet)
    options = WriteOptions(
        quantities=tuple(part.strip() for part in matrices.split(",")) if matrices else None,
        single_precision=single_precision,
        overwrite=overwrite,
        allow_lossy=allow_lossy,
        basis=basis,
        command="dock " + " ".join(sys.argv[1:]),
        settings=parse_settings((*settings, *_plane_waves(potential, quality=quality))),
    )
    tasks = plan(
        _inputs(runs),
        output,
        source=source,
        target=target,
        options=options,
        basis=basis,
        resume=resume and not overwrite,
    )
    if source is None and not quiet:
        names = ", ".join(dict.fromkeys(task.source_format for task in tasks))
        click.echo(f"dock: recognised: {names}", err=True)
    if dry_run:
        _print_plan(tasks, as_json=as_json)
        return 0
    batch = BatchOptions(jobs, mpi, parse_shard(shard))
    bar = Progress(len(tasks), "runs", quiet=quiet)
    report = run_plan(tasks, batch, lambda done, _: bar.update(done))
    if report.outcomes or not mpi:  # under MPI the first process has them all
        _print_report(report, as_json=as_json, quiet=quiet)
    return report.exit_code


def _plane_waves(potential: str | None, *, quality: bool) -> list[str]:
    """Return the two options as what they are, settings of one format."""
    given = [] if potential is None else [f"potential={potential}"]
    return [*given, "quality=wavefunctions"] if quality else given


def _inputs(runs: tuple[str, ...]) -> list[str]:
    """Return the inputs; ``-`` stands for the lines of standard input."""
    found: list[str] = []
    for run in runs or (".",):
        if run == "-":
            found += [line.strip() for line in sys.stdin if line.strip()]
        else:
            found.append(run)
    return found


def _print_plan(tasks: list[Task], *, as_json: bool) -> None:
    rows = [
        {
            "run": str(task.source),
            "from": task.source_format,
            "to": task.target_format,
            "target": str(task.target),
        }
        for task in tasks
    ]
    if as_json:
        for row in rows:
            echo_json(row)
    else:
        click.echo(table([list(row.values()) for row in rows], ["run", "from", "to", "target"]))


def _print_report(report: Report, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        for outcome in report.outcomes:
            echo_json(
                {
                    "run": outcome.source,
                    "target": outcome.target,
                    "status": outcome.status,
                    "reason": outcome.reason,
                    "seconds": round(outcome.seconds, 3),
                    "files": list(outcome.files),
                }
            )
    for outcome in report.outcomes:
        if outcome.status == "failed":
            click.echo(f"dock: {outcome.reason}", err=True)
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
