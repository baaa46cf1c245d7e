"""``dock dataset``: split, stats, features and energies of a set of unified folders."""

from __future__ import annotations

from pathlib import Path

import click

from dock.cli import options
from dock.cli.runner import Run
from dock.io.text import json_text

_folder = click.argument("folder", default=".", type=options.PATH)


@click.group()
def dataset() -> None:
    """Split a data set, count what is in it, write its features, shift its energies.

    \b
    Example:
      dock dataset stats dataset

    A data set is a folder of unified folders, or the folder above its sub-folder dft.
    """


@dataset.command()
@_folder
@click.option(
    "--ratios",
    type=float,
    nargs=3,
    default=(0.6, 0.2, 0.2),
    show_default=True,
    help="Shares of training, validation and test.",
)
@click.option("--seed", type=int, default=137, show_default=True, help="Of the random order.")
@click.option("--by-formula", is_flag=True, help="Keep structures of one formula together.")
@options.run_options("dataset_split.json in FOLDER", figure=False, jobs=False)
def split(
    folder: Path, ratios: tuple[float, float, float], seed: int, by_formula: bool, run: Run
) -> None:
    """Divide the structures at random; write dataset_split.json.

    \b
    Example:
      dock dataset split dataset --ratios 0.8 0.1 0.1
    """
    from dock.evaluate.dataset import split_folder
    from dock.results import table

    divided = split_folder(folder, ratios, seed=seed, by_formula=by_formula)
    path = divided.save(run.output or folder / "dataset_split.json", overwrite=run.overwrite)
    counts = {part: len(getattr(divided, part)) for part in ("train", "validate", "test")}
    text = table([[part, str(count)] for part, count in counts.items()])
    run.tell(f"{text}\n{path}", {**counts, "files": [str(path)]})


@dataset.command()
@_folder
@options.run_options("dataset_stats.json in FOLDER, and .h5 beside it", jobs=False)
def stats(folder: Path, run: Run) -> int:
    """Count atoms, orbitals and edges; write dataset_stats.json and .h5.

    \b
    Example:
      dock dataset stats dataset --plot stats.png
    """
    from dock.evaluate.dataset import DatasetStats, find_structures, stats as count

    find_structures(folder)  # a folder that is wrong is the error, not what lies beside it
    target = run.target(folder, DatasetStats)
    result = count(folder, progress=run.progress("structures"))
    run.finish(result, target)
    for name, reason in result.failures:
        click.echo(f"dock: {name}: {reason}", err=True)
    return 1 if result.failures else 0


@dataset.command()
@_folder
@click.option(
    "--subtract", "work", flag_value="standardized", help="Write a data set without them."
)
@click.option("--restore", "work", flag_value="restored", help="Write a data set with them again.")
@click.option(
    "--e0s",
    type=options.PATH,
    metavar="FILE",
    help="Their energies. [default: e0s.json in FOLDER, or fit]",
)
@options.run_options(
    "e0s.json in FOLDER; of a data set FOLDER_standardized or FOLDER_restored",
    figure=False,
    jobs=False,
)
def energies(folder: Path, work: str | None, e0s: Path | None, run: Run) -> None:
    """Fit the energies of the elements to total energies; subtract or restore them.

    \b
    Example:
      dock dataset energies dataset --subtract -o dataset_standardized

    E ≈ sum of n_el E0_el by least squares over the energies of force.h5; an energy of 0.0 is
    unknown. The data set itself is never changed.
    """
    from dock.evaluate.energies import FILE, fit_energies, read_energies, shift_energies
    from dock.results import table

    kept = e0s or (folder / FILE if work and (folder / FILE).is_file() else None)
    bar = run.progress("structures")
    found = fit_energies(folder, progress=bar) if kept is None else read_energies(kept)
    if work is None:
        files = [found.save(run.output or folder / FILE, overwrite=run.overwrite)]
    else:
        target = run.output or folder.resolve().with_name(f"{folder.resolve().name}_{work}")
        restore, overwrite = work == "restored", run.overwrite
        files = shift_energies(
            folder, target, found, restore=restore, overwrite=overwrite, progress=bar
        )
    rows = [[name, f"{value:.9f} eV"] for name, value in found.e0s.items()]
    content = found.facts() | {"files": [str(file) for file in files]}
    run.tell("\n".join([table(rows + found.rows()), *map(str, files[:1])]), content)


@dataset.command()
@_folder
@options.run_options("features.json in FOLDER", figure=False, jobs=False)
def features(folder: Path, run: Run) -> None:
    """Write features.json: bases, spin and the names of the structures.

    \b
    Example:
      dock dataset features dataset
    """
    from dock.evaluate.dataset import features as collect
    from dock.io.files import write_text
    from dock.results import table

    content = collect(folder, progress=run.progress("structures"))
    path = run.output or folder / "features.json"
    write_text(path, json_text(content) + "\n", overwrite=run.overwrite)
    rows = [[name, str(ls)] for name, ls in content["elements_orbital_map"].items()]
    rows.append(["common", str(content["common_orbital_types"])])
    text = table(rows, ["element", "l of the shells"])
    counts = f"{content['dft_data_num']} structures, spinful: {content['spinful']}"
    run.tell(f"{text}\n\n{counts}\n{path}", {**content, "files": [str(path)]})
