"""``dock equivariance``: rotated copies of a structure, and the test of their Hamiltonians."""

from __future__ import annotations

from dataclasses import asdict
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

__all__ = ["equivariance"]


@click.group()
def equivariance() -> None:
    """Test whether Hamiltonians turn with their structures.

    \b
    Example:
      dock equivariance generate dft/42 -o turned && dock equivariance test turned
    """


@equivariance.command()
@click.argument("path", default=".", type=click.Path(path_type=Path))
@click.option("--from", "source", metavar="FORMAT", help="Format; default: recognised.")
@click.option("--count", type=int, default=4, show_default=True, help="Number of copies.")
@click.option("--seed", type=int, default=137, show_default=True, help="Of the rotations.")
@click.option("--improper", is_flag=True, help="Invert every second copy as well.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="[default: rotated beside PATH]"
)
@overwrite_option
@json_option
@quiet_option
def generate(
    path: Path,
    source: str | None,
    count: int,
    seed: int,
    improper: bool,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write rotated copies of a structure with all its matrices.

    \b
    Example:
      dock equivariance generate dft/42 -o turned --count 8

    Folder 0 is the original; each folder has the overlap, so that a model can predict in it.
    """
    from dock.converters import read
    from dock.evaluate.equivariance import random_rotations, write_rotated

    bar = Progress(count + 1, "structures", quiet=quiet)
    written = write_rotated(
        read(path, source),
        output or (path if path.is_dir() else path.parent) / "rotated",
        random_rotations(count, seed=seed, improper=improper),
        overwrite=overwrite,
        progress=lambda done, _: bar.update(done),
    )
    if as_json:
        echo_json({"files": [str(folder) for folder in written]})
    else:
        click.echo("written: " + ", ".join(str(folder) for folder in written))


@equivariance.command(name="test")
@click.argument("folder", default=".", type=click.Path(path_type=Path))
@click.option("--original", metavar="NAME", help="The folder compared with [default: the first].")
@click.option(
    "--file",
    metavar="NAME",
    help="Which Hamiltonian [default: hamiltonian_pred.h5 if all have it].",
)
@click.option("--tolerance", type=float, metavar="E", help="Exit with 1 above this error, eV.")
@json_option
@quiet_option
def compare(
    folder: Path,
    original: str | None,
    file: str | None,
    tolerance: float | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Compare the Hamiltonians of rotated copies with the rotated Hamiltonian.

    \b
    Example:
      dock equivariance test turned --tolerance 1e-5
    """
    from dock.evaluate.dataset import find_structures
    from dock.evaluate.equivariance import measure

    bar = Progress(len(find_structures(folder)[1]) - 1, "copies", quiet=quiet)
    found = measure(folder, original=original, file=file, progress=lambda done, _: bar.update(done))
    if as_json:
        for error in found:
            echo_json(asdict(error))
    else:
        rows = [
            [
                error.name,
                f"{error.angle:.1f}°{' and inversion' if error.improper else ''}",
                *(f"{value:.3e} eV" for value in (error.rms, error.mean, error.largest)),
            ]
            for error in found
        ]
        click.echo(table(rows, ["copy", "rotation", "rms", "mean", "max"]))
    worst = max(error.largest for error in found)
    return 1 if tolerance is not None and worst > tolerance else 0
