"""``dock evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dock.cli._common import (
    Progress,
    echo_json,
    json_option,
    overwrite_option,
    quiet_option,
    show_log,
    table,
)

if TYPE_CHECKING:
    from dock.evaluate.report import EvaluationSet
    from dock.evaluate.structure import EvaluateOptions

__all__ = ["evaluate"]


@click.command(
    epilog="""\b
More examples:
  dock evaluate out/hamiltonian_pred.h5 dft/42
  dock evaluate infer/dft benchmark/dft --states 4 7      water: by number of states
  dock evaluate out dft --spacing 0.03 --sigma 0.02 --plot
  dock evaluate out dft --matrix-only                     no diagonalisation
"""
)
@click.argument("prediction", metavar="PRED", type=click.Path(path_type=Path))
@click.argument("reference", metavar="[REF]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--mesh", type=int, nargs=3, metavar="N1 N2 N3", help="k-points along each reciprocal vector."
)
@click.option(
    "--spacing", type=float, metavar="X", help="Distance of k-points, 1/Å with 2π [default: 0.07]."
)
@click.option("--fermi", type=float, metavar="E", help="Fermi level of the reference, eV.")
@click.option("--electrons", type=float, metavar="N", help="Valence electrons per cell.")
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
@click.option(
    "--s-threshold", type=float, metavar="X", help="Project out overlap eigenvalues below X."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder [default: PRED/evaluation]."
)
@click.option("--plot", is_flag=True, help="Draw heat maps, histograms, parity and bands.")
@overwrite_option
@click.option("-j", "--jobs", type=int, help="Threads [default: the CPUs this process may use].")
@json_option
@quiet_option
def evaluate(
    prediction: Path,
    reference: Path | None,
    mesh: tuple[int, int, int] | None,
    spacing: float | None,
    fermi: float | None,
    electrons: float | None,
    width: float,
    min_bands: int,
    states: tuple[int, int] | None,
    sigma: float,
    only_overlapping: bool,
    matrix_only: bool,
    s_threshold: float | None,
    output: Path | None,
    plot: bool,
    overwrite: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
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
    from dock.evaluate.report import evaluate_set, find_items
    from dock.evaluate.structure import EvaluateOptions

    show_log(quiet=quiet)
    options = EvaluateOptions(
        mesh or None,
        spacing,
        fermi,
        electrons,
        width / 2,
        min_bands,
        states or None,
        sigma,
        only_overlapping=only_overlapping,
        matrix_only=matrix_only,
        s_threshold=s_threshold,
    )
    folder = output or (prediction if prediction.is_dir() else prediction.parent) / "evaluation"
    _require_free(folder, overwrite=overwrite)
    bar = Progress(len(find_items(prediction, reference)[0]), "structures", quiet=quiet)
    result = evaluate_set(
        prediction, reference, options, jobs=jobs, progress=lambda done, *_: bar.update(done)
    )
    written = []
    if result.rows:
        written = result.save(folder, overwrite=overwrite)
        if plot:
            written += result.plot(folder, overwrite=overwrite)
            written += _overlay(result, options, folder, overwrite=overwrite)
    if as_json:
        _print_json(result, written)
    else:
        _print_text(result, written)
    for failure in result.failures:
        click.echo(f"dock: {failure.name}: {failure.reason}", err=True)
    return result.exit_code


def _require_free(folder: Path, *, overwrite: bool) -> None:
    """Say that the target is taken before the work is done."""
    from dock.errors import OutputError

    if (folder / "evaluation.json").exists() and not overwrite:
        raise OutputError(
            f"{folder / 'evaluation.json'}: exists already. Give --overwrite to replace it, or "
            "another folder with -o."
        )


def _overlay(
    result: EvaluationSet, options: EvaluateOptions, folder: Path, *, overwrite: bool
) -> list[Path]:
    """Draw the bands of the structure with the largest band error."""
    from dock.evaluate.report import band_overlay

    worst = result.worst("mae_band_eV")
    if worst is None:
        return []
    item = next(item for item in result.items if item.name == worst["name"])
    exact, found = band_overlay(item, worst, s_threshold=options.s_threshold)
    written = exact.save(folder / "band_reference.h5", overwrite=overwrite)
    written += found.save(folder / "band_predicted.h5", overwrite=overwrite)
    return [*written, exact.plot(folder / "bands.png", other=found, overwrite=overwrite)]


def _print_json(result: EvaluationSet, written: list[Path]) -> None:
    for row in result.rows:
        echo_json(row)
    for failure in result.failures:
        echo_json({"failed": failure._asdict()})
    summary = result.summary()
    summary["elements"] = result.elements()
    summary["files"] = [str(file) for file in written]
    echo_json({"summary": summary})


def _print_text(result: EvaluationSet, written: list[Path]) -> None:
    head = ["structure", "atoms", "MAE H", "Δμ H", "MAE bands", "MAE DOS", "RMSE ψ"]
    rows = [
        [
            row["name"],
            str(row["n_atoms"]),
            _milli(row["mae_hamiltonian_eV"]),
            f"{row['shift_hamiltonian_eV']:.4f} eV",
            _milli(row["mae_band_eV"]),
            _plain(row["mae_dos"]),
            _plain(row["rmse_state"]),
        ]
        for row in result.rows
    ]
    if len(rows) > 1:
        measures = ("mae_hamiltonian_eV", "mae_band_eV", "mae_dos", "rmse_state")
        matrix, bands, dos, state = (result.mean(measure) for measure in measures)
        rows.append(["mean", "", _milli(matrix), "", _milli(bands), _plain(dos), _plain(state)])
    click.echo(table(rows, head))
    elements = [
        [name, _milli(own["mae_eV"]), _milli(own["onsite_mae_eV"]), str(own["n_structures"])]
        for name, own in result.elements().items()
    ]
    click.echo("\n" + table(elements, ["element", "MAE H", "on site", "structures"]))
    noted = [row for row in result.rows if row["pairs_note"]]
    if noted:
        click.echo(f"\npairs differ in {len(noted)}: {noted[0]['name']}: {noted[0]['pairs_note']}")
    if result.unpredicted:
        click.echo(f"\nwithout prediction: {len(result.unpredicted)} reference structures")
    if written:
        click.echo("\nwritten: " + ", ".join(str(file) for file in written))


def _milli(value: float | None) -> str:
    return "–" if value is None else f"{1e3 * value:.4g} meV"


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
