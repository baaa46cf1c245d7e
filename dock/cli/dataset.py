"""``dock dataset``: split, stats and features of a set of unified folders."""

from __future__ import annotations

import json
from pathlib import Path

import click

from dock.cli._common import (
    Progress,
    echo_json,
    json_option,
    overwrite_option,
    quiet_option,
    table,
)

__all__ = ["dataset"]

_folder = click.argument("folder", default=".", type=click.Path(path_type=Path))
_output = click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write.")


@click.group()
def dataset() -> None:
    """Split a data set, count what is in it, write its features.

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
@_output
@overwrite_option
@json_option
def split(
    folder: Path,
    ratios: tuple[float, float, float],
    seed: int,
    by_formula: bool,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Divide the structures at random; write dataset_split.json.

    \b
    Example:
      dock dataset split dataset --ratios 0.8 0.1 0.1
    """
    from dock.converters.deeph import read
    from dock.evaluate.dataset import find_structures
    from dock.evaluate.dataset import split as divide

    root, names = find_structures(folder)

    def formula(name: str) -> str:
        return read(root / name).structure.formula

    found = divide(names, ratios, seed=seed, group=formula if by_formula else None)
    path = found.save(output or folder / "dataset_split.json", overwrite=overwrite)
    counts = {part: len(getattr(found, part)) for part in ("train", "validate", "test")}
    if as_json:
        echo_json({**counts, "files": [str(path)]})
    else:
        click.echo(table([[part, str(count)] for part, count in counts.items()]))
        click.echo(f"\nwritten: {path}")


@dataset.command()
@_folder
@_output
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE", help="Figure of the counts."
)
@overwrite_option
@json_option
@quiet_option
def stats(
    folder: Path,
    output: Path | None,
    plot: Path | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Count atoms, orbitals and edges; write dataset_stats.json and .h5.

    \b
    Example:
      dock dataset stats dataset --plot stats.png
    """
    from dock.evaluate.dataset import find_structures
    from dock.evaluate.dataset import stats as count

    bar = Progress(len(find_structures(folder)[1]), "structures", quiet=quiet)
    found = count(folder, progress=lambda done, _: bar.update(done))
    written = found.save(output or folder / "dataset_stats.json", overwrite=overwrite)
    if plot is not None:
        written.append(found.plot(plot, overwrite=overwrite))
    summary = found.summary()
    if as_json:
        echo_json({**summary, "files": [str(file) for file in written]})
    else:
        rows = [["structures", str(summary["n_structures"]), "", ""]]
        for key in ("n_atoms", "n_orbitals", "n_edges", "edges_per_atom"):
            part = summary[key]
            values = [f"{part[name]:.6g}" for name in ("min", "mean", "max")]
            rows.append([key.replace("n_", "").replace("_", " "), *values])
        click.echo(table(rows, ["", "min", "mean", "max"]))
        elements = summary["atoms_by_element"]
        click.echo("\natoms: " + ", ".join(f"{name} {n}" for name, n in elements.items()))
        click.echo(f"longest pair: {summary['longest_pair_angstrom']:.3f} Å")
        click.echo("\nwritten: " + ", ".join(str(file) for file in written))
    for name, reason in found.failures:
        click.echo(f"dock: {name}: {reason}", err=True)
    return 1 if found.failures else 0


@dataset.command()
@_folder
@_output
@overwrite_option
@json_option
@quiet_option
def features(
    folder: Path, output: Path | None, overwrite: bool, as_json: bool, quiet: bool
) -> None:
    """Write features.json: bases, spin and the names of the structures.

    \b
    Example:
      dock dataset features dataset
    """
    from dock.evaluate.dataset import features as collect
    from dock.evaluate.dataset import find_structures
    from dock.io.files import write_text

    bar = Progress(len(find_structures(folder)[1]), "structures", quiet=quiet)
    found = collect(folder, progress=lambda done, _: bar.update(done))
    path = output or folder / "features.json"
    write_text(path, json.dumps(found) + "\n", overwrite=overwrite)
    if as_json:
        echo_json({**found, "files": [str(path)]})
        return
    rows = [[name, str(ls)] for name, ls in found["elements_orbital_map"].items()]
    rows.append(["common", str(found["common_orbital_types"])])
    click.echo(table(rows, ["element", "l of the shells"]))
    click.echo(f"\n{found['dft_data_num']} structures, spinful: {found['spinful']}")
    click.echo(f"\nwritten: {path}")
