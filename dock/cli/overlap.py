"""``dock compute-overlap``."""

from __future__ import annotations

from pathlib import Path

import click

from dock.cli._common import (
    echo_json,
    json_option,
    overwrite_option,
    parse_settings,
    quiet_option,
    show_log,
    table,
)

__all__ = ["compute_overlap"]


@click.command(
    "compute-overlap",
    epilog="""\b
More examples:
  dock compute-overlap moire/POSCAR --basis ions --jobs 4
  dock compute-overlap co.cif --basis PAO --species C=C6.0-s2p2d1 --species O=O6.0-s2p2d1
  dock compute-overlap run --basis ions --quantities S,T,r,dS --pairs run/hamiltonian.h5
""",
)
@click.argument("structure", default=".", type=click.Path(path_type=Path))
@click.option(
    "--basis",
    "basis_folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the basis files (.ion, .pao, .orb) [default: that of STRUCTURE].",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="[default: overlap.h5 beside STRUCTURE]"
)
@click.option("--code", default="auto", metavar="siesta|openmx|abacus", help="Whose basis files.")
@click.option(
    "--species",
    "strings",
    multiple=True,
    metavar="X=BASIS",
    help="OpenMX: the basis of a species, C=C6.0-s2p2d1. Repeat for each.",
)
@click.option(
    "--quantities", default="S", show_default=True, metavar="S,T,r,dS,dT", help="What to compute."
)
@click.option(
    "--pairs",
    default="orbital",
    show_default=True,
    metavar="orbital|kb|FILE.h5",
    help="Pairs of atoms: orbitals touch; also through projectors; those of a matrix.",
)
@click.option("--single-precision", is_flag=True, help="Store 32-bit numbers.")
@overwrite_option
@click.option("-j", "--jobs", type=int, help="Threads [default: the CPUs this process may use].")
@json_option
@quiet_option
def compute_overlap(
    structure: Path,
    basis_folder: Path | None,
    output: Path | None,
    code: str,
    strings: tuple[str, ...],
    quantities: str,
    pairs: str,
    single_precision: bool,
    overwrite: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compute the overlap of a structure that no DFT code has run, from the code's basis files.

    \b
    Example:
      dock compute-overlap POSCAR --basis ions

    STRUCTURE is a unified folder, POSCAR, CIF, extxyz, STRU, fdf, an OpenMX input, or a folder with
    one of them; the current folder when left out. Beside overlap.h5, POSCAR and info.json are
    written where they are missing; existing ones are kept, and must agree. T is the kinetic energy,
    r the position, dS and dT the gradients.
    """
    show_log(quiet=quiet)
    from dock.overlap_folder import OverlapJob, OverlapTarget

    target = OverlapTarget.of(structure, output)
    job = OverlapJob.prepare(
        structure, basis_folder, target, code=code, strings=parse_settings(strings), pattern=pairs
    )
    rows = job.write(
        target,
        quantities.split(","),
        single_precision=single_precision,
        overwrite=overwrite,
        jobs=jobs,
    )
    if as_json:
        for row in rows:
            echo_json(row)
    else:
        cells = [
            [row["quantity"], f"{row['pairs']}", f"{row['entries']}", row["path"]] for row in rows
        ]
        click.echo(table(cells, ["quantity", "pairs", "entries", "file"]))
