"""``dock train``."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from dock.cli import options
from dock.cli.runner import Bar, Run
from dock.cli.wording import print_json
from dock.errors import UsageError


@click.command()
@click.argument("options_file", metavar="TRAIN.TOML", type=options.PATH)
@click.option("--check", is_flag=True, help="Read and check options and data; train nothing.")
@options.run_options(None, figure=False, jobs=False)
def train(options_file: Path, check: bool, run: Run) -> None:
    """Train a model of Hamiltonians: structure in, matrix out.

    \b
    Example:
      dock train train.toml            train, or go on where the run was stopped
      dock train train.toml --check    look at the data before a GPU hour is spent

    TRAIN.TOML has the sections system, data, model and process; the shortest is

    \b
    [data]
    inputs_dir = "dataset"      # unified folders, made by dock convert
    outputs_dir = "run"
    [process.train]
    max_epoch = 500

    All keys: docs, page "Options of dock train". The run folder gets model/best.h5 (for dock
    infer), log.jsonl and train.png. Running the same file again goes on exactly where the last
    checkpoint was written.
    """
    from dock.io.progress import Progress
    from dock.models.backend import backend
    from dock.models.options import read_train

    settings = read_train(options_file)
    logging.getLogger("dock").setLevel(settings.system.log_level.upper())
    engine = backend(settings.model.backend)
    if check or settings.data.graph.only_save_graph:
        facts = engine.check(settings)
        run.tell("\n".join(f"{name}: {value}" for name, value in facts.items()), facts)
        return
    bar = Bar("steps", quiet=run.quiet or not settings.system.show_train_process_bar)
    steps = Progress(lambda done, total: bar(done, total, steps.note))
    result = engine.fit(settings, steps)
    if not isinstance(result, dict):
        raise UsageError(f"the backend '{settings.model.backend}' returned no result.")
    if run.as_json:
        print_json(result)
        return
    click.echo(f"{result['best']}: {result['reason']}")
    unit = result.get("unit", "eV")
    scale, unit = (1e3, "meV") if unit == "eV" else (1.0, unit)
    for name in ("train", "validation", "test"):
        error = result.get(f"{name}_mae")
        if error is not None:
            alone = result.get("baseline_mae" if name == "validation" else f"baseline_{name}_mae")
            more = "" if alone is None else f" ({result['baseline']} alone {scale * alone:.4g})"
            click.echo(f"{name} MAE {scale * error:.4g} {unit}{more}")
