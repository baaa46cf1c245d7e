"""``dock infer``."""

from __future__ import annotations

import dataclasses
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dock.cli import options
from dock.cli.runner import Bar, Run
from dock.cli.wording import in_options, print_json
from dock.errors import UsageError

if TYPE_CHECKING:
    from dock.models.backend import Model
    from dock.models.options.infer import InferOptions


@click.command(
    epilog="""\b
More examples:
  dock infer run POSCAR --basis ions -o out       overlap and Hamiltonian of a new structure
  dock infer run dataset -o predicted             every unified folder below dataset
  dock infer run moire --ensemble run2 --ensemble run3     with the spread of three models
  dock infer infer.toml                           everything from a file
"""
)
@click.argument("model", type=options.PATH)
@click.argument("structures", nargs=-1, type=options.PATH)
@click.option("-o", "--output", type=options.PATH, help="[default: beside each S]")
@options.basis_option
@click.option(
    "--code", default="auto", metavar="siesta|openmx|abacus|deeph", help="Whose basis files."
)
@options.species_option
@click.option("--ensemble", multiple=True, type=click.Path(), help="A further model; repeat.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cpu*2, gpu, gpu*4, …")
@click.option("--precision", default="auto", metavar="fp32|fp64", help="[default: the training's]")
@click.option("--part-edges", default=8192, show_default=True, help="Pairs computed at a time.")
@click.option("--single-precision", is_flag=True, help="Store 32-bit numbers (half the size).")
@click.option("--strict", is_flag=True, help="Refuse structures outside the training data.")
@options.overwrite_option
@options.run_options(None, figure=False)
def infer(
    model: Path, structures: tuple[Path, ...], output: Path | None, run: Run, **given: Any
) -> int:
    """Predict the Hamiltonian of structures with a trained model.

    \b
    Example:
      dock infer run moire        moire/ has POSCAR, info.json, overlap.h5

    MODEL is the run folder of dock train, or a model file. STRUCTURES are unified folders, folders
    that hold such, or with --basis any structure files. hamiltonian_pred.h5 and prediction.json
    are written beside each overlap.h5, or under the folder given with -o. A rerun skips what the
    same model has done.
    """
    from dock.models.options.infer import read_infer

    if model.suffix == ".toml":
        if structures:
            raise UsageError("infer.toml names the structures itself: data.inputs_dir.")
        settings = read_infer(model)
        inputs, output = _paths(settings)
    else:
        if not structures:
            raise UsageError("give at least one structure behind the model.")
        settings, inputs = _settings(model, **given), list(structures)
    return _run(settings, inputs, output, run)


def _settings(
    model: Path,
    *,
    basis: Path | None,
    code: str,
    species: tuple[str, ...],
    ensemble: tuple[str, ...],
    device: str,
    precision: str,
    part_edges: int,
    single_precision: bool,
    strict: bool,
    overwrite: bool,
) -> InferOptions:
    """Return what ``infer.toml`` would say in place of the command line."""
    from dock.models.options import infer as schema

    return schema.InferOptions(
        schema.System(device=device, float_type=precision),
        schema.Data(basis=str(basis or ""), basis_code=code, basis_species=species),
        schema.Model(model_dir=str(model), ensemble=ensemble),
        schema.Process(
            schema.Infer(
                single_precision=single_precision,
                overwrite=overwrite,
                strict=strict,
                part_edges=part_edges,
            )
        ),
    )


def _paths(settings: InferOptions) -> tuple[list[Path], Path | None]:
    """Return inputs and output of ``infer.toml``."""
    to_output = settings.process.infer.output_into != "to_input" and settings.data.outputs_dir
    return [Path(settings.data.inputs_dir)], Path(settings.data.outputs_dir) if to_output else None


def _run(settings: InferOptions, inputs: list[Path], output: Path | None, run: Run) -> int:
    from dock.io.progress import Progress
    from dock.io.text import without_folders
    from dock.models.predict import PredictionJob, failures, find_targets, predict

    logging.getLogger("dock").setLevel(settings.system.log_level.upper())
    targets = find_targets(inputs, output)
    models = _load(settings)
    work = settings.process.infer
    job = PredictionJob(
        Path(settings.data.basis) if settings.data.basis else None,
        settings.data.basis_code,
        options.parse_settings(settings.data.basis_species),
        work.single_precision,
        work.overwrite,
        work.strict,
        run.jobs,
        " ".join(["dock", *without_folders(sys.argv[1:])]),
        settings.system.note,
    )
    silent = run.quiet or not settings.system.show_infer_process_bar
    report = predict(
        models,
        targets,
        job,
        Progress(Bar("parts" if len(targets) == 1 else "structures", quiet=silent)),
    )
    if run.as_json:
        for outcome in report.outcomes:
            print_json(dataclasses.asdict(outcome))
    for sentence in failures(report):
        click.echo(f"dock: error: {in_options(sentence)}", err=True)
    if not run.as_json:
        for outcome in report.outcomes:
            if outcome.status == "done":
                click.echo(outcome.files[-2])
        if report.count("skipped"):
            click.echo(f"{report.count('skipped')} done before by the same model", err=True)
    return report.exit_code


def _load(settings: InferOptions) -> list[Model]:
    """Load all models of an ensemble, usually one, each with what its backend takes."""
    from dock.models import backend, load
    from dock.models.modelfile import find_model, read_backend_name

    asked = {
        "device": settings.system.device,
        "precision": settings.system.float_type,
        "part_edges": settings.process.infer.part_edges,
        "preallocate": settings.system.jax_memory_preallocate,
    }
    models = []
    for name in (settings.model.model_dir, *settings.model.ensemble):
        path = find_model(name, settings.model.load_model_type)
        takes = backend(read_backend_name(path)).load_options
        models.append(load(path, **{key: asked[key] for key in takes if key in asked}))
    return models
