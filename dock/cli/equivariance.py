"""``dock equivariance``: rotated copies of a structure, and the test of their Hamiltonians."""

from __future__ import annotations

from pathlib import Path

import click

from dock.cli import options
from dock.cli.runner import Run, folder_of


@click.group()
def equivariance() -> None:
    """Test whether Hamiltonians turn with their structures.

    \b
    Example:
      dock equivariance generate dft/42 -o turned && dock equivariance test turned
    """


@equivariance.command()
@options.path_argument
@options.from_option
@click.option("--count", type=int, default=4, show_default=True, help="Number of copies.")
@click.option("--seed", type=int, default=137, show_default=True, help="Of the rotations.")
@click.option("--improper", is_flag=True, help="Invert every second copy as well.")
@options.run_options("rotated beside PATH", figure=False, jobs=False)
def generate(
    path: Path, source: str | None, count: int, seed: int, improper: bool, run: Run
) -> None:
    """Write rotated copies of a structure with all its matrices.

    \b
    Example:
      dock equivariance generate dft/42 -o turned --count 8

    Folder 0 is the original; each folder has the overlap, so that a model can predict in it.
    """
    from dock.converters import read
    from dock.evaluate.equivariance import random_rotations, write_rotated

    folders = write_rotated(
        read(path, source),
        run.output or folder_of(path) / "rotated",
        random_rotations(count, seed=seed, improper=improper),
        overwrite=run.overwrite,
        progress=run.progress("structures"),
    )
    files = [str(folder) for folder in folders]
    run.tell("\n".join(files), {"files": files})


@equivariance.command(name="test")
@click.argument("folder", default=".", type=options.PATH)
@click.option("--original", metavar="NAME", help="The folder compared with [default: the first].")
@click.option(
    "--file",
    metavar="NAME",
    help="Which Hamiltonian [default: hamiltonian_pred.h5 if all have it].",
)
@click.option("--tolerance", type=float, metavar="E", help="Exit with 1 above this error, eV.")
@options.run_options(None, figure=False, jobs=False)
def compare(
    folder: Path, original: str | None, file: str | None, tolerance: float | None, run: Run
) -> int:
    """Compare the Hamiltonians of rotated copies with the rotated Hamiltonian.

    \b
    Example:
      dock equivariance test turned --tolerance 1e-5
    """
    from dock.evaluate.equivariance import measure

    result = measure(folder, original=original, file=file, progress=run.progress("copies"))
    run.tell(result.table(), *(copy.facts() for copy in result))
    return 1 if tolerance is not None and result.largest > tolerance else 0
