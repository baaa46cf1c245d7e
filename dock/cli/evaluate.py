"""``dock evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dock.cli import options
from dock.cli.runner import Run, folder_of
from dock.cli.wording import print_json, report


@click.command(
    epilog="""\b
More examples:
  dock evaluate out/hamiltonian_pred.h5 dft/42
  dock evaluate infer/dft benchmark/dft --states 4 7      water: by number of states
  dock evaluate out dft --spacing 0.03 --sigma 0.02 --plot
  dock evaluate out dft --matrix-only                     no diagonalisation
  dock evaluate out dft --mesh 8 8 8 --optics             dielectric functions too
"""
)
@click.argument("prediction", metavar="PRED", type=options.PATH)
@click.argument("reference", metavar="[REF]", required=False, type=options.PATH)
@options.mesh_option
@options.spacing_option("0.07")
@options.fermi_option
@options.electrons_option
@click.option(
    "--width", type=float, default=6.0, show_default=True, metavar="E", help="First window, eV."
)
@click.option(
    "--min-bands", type=int, default=10, show_default=True, help="Bands the window must have."
)
@click.option(
    "--states",
    type=int,
    nargs=2,
    metavar="OCC EMPTY",
    help="So many occupied and empty states, not a window.",
)
@click.option(
    "--sigma", type=float, default=0.05, show_default=True, help="Gaussian width of the DOS, eV."
)
@click.option("--only-overlapping", is_flag=True, help="Leave out pairs without overlap.")
@click.option("--matrix-only", is_flag=True, help="Only the error of H: nothing is diagonalised.")
@click.option("--optics", is_flag=True, help="Compare dielectric functions up to 10 eV too.")
@click.option(
    "--eta", type=float, default=0.1, show_default=True, metavar="EV", help="Their half width."
)
@options.basis_option
@options.threshold_option
@click.option("--plot", is_flag=True, help="Draw heat maps, histograms, parity and bands.")
@options.run_options("folder PRED/evaluation", figure=False)
def evaluate(
    prediction: Path, reference: Path | None, plot: bool, run: Run, *, width: float, **given: Any
) -> int:
    """Measure how good predicted Hamiltonians are.

    \b
    Example:
      dock evaluate infer/dft benchmark/dft --plot

    PRED is a predicted Hamiltonian, or a folder of structures with one each; REF holds the
    reference under the same names (default: PRED itself, which then has both files). The errors
    are equations (11) to (16) of the DeepH-pack paper: of the matrix after the gauge correction,
    of the bands and the density of states in a window about the Fermi level, of the states at Γ.
    """
    from dock.evaluate.report import EvaluationSet, evaluate_set
    from dock.evaluate.structure import EvaluateOptions
    from dock.extras import require

    if plot:
        require("matplotlib.figure", "plot")
    measured = EvaluateOptions(half_width=width / 2, **given)
    folder = run.output or folder_of(prediction) / EvaluationSet.FILE
    if folder.is_dir():
        run.require_free(*EvaluationSet.files(folder))
    progress = run.progress("structures")
    result = evaluate_set(prediction, reference, measured, jobs=run.jobs, progress=progress)
    files = result.save(folder, overwrite=run.overwrite) if result.structures else []
    if files and plot:
        files += result.plot(folder, overwrite=run.overwrite)
        files += result.save_bands(folder, overwrite=run.overwrite, jobs=run.jobs)
    if run.as_json:
        for record in result.records():
            print_json(record)
    click.echo(report(result, files, as_json=run.as_json))
    for failure in result.failures:
        click.echo(f"dock: {failure.name}: {failure.reason}", err=True)
    return result.exit_code
