"""``dock align``: the zero of energy of a Hamiltonian, and free atoms in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dock.cli._common import echo_json, json_option, overwrite_option, quiet_option, show_log, table
from dock.errors import UsageError

if TYPE_CHECKING:
    from dock.post.align import Aligned

__all__ = ["align"]


@click.command(
    epilog="""\b
More examples:
  dock align pred --to dft -o pred_aligned       the zero of energy of another calculation
  dock align dft --minus-core atoms -o small     free atoms taken off; atoms/Mo, atoms/S, …
  dock align pred --plus-core atoms -o whole     and added to a prediction
  dock align small --undo -o dft_again           all steps taken back
"""
)
@click.argument("path", default=".", type=click.Path(path_type=Path))
@click.option("--from", "source", metavar="FORMAT", help="Format; default: recognised.")
@click.option("--to", "reference", type=click.Path(path_type=Path), help="Align to this one.")
@click.option(
    "--minus-core", "minus", type=click.Path(path_type=Path), help="Take free atoms off H."
)
@click.option("--plus-core", "plus", type=click.Path(path_type=Path), help="Add free atoms to H.")
@click.option("--undo", "back", is_flag=True, help="Take all steps of dock align back.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="[default: aligned beside PATH]"
)
@overwrite_option
@json_option
@quiet_option
def align(
    path: Path,
    source: str | None,
    reference: Path | None,
    minus: Path | None,
    plus: Path | None,
    back: bool,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Take the multiple of S off a Hamiltonian that fits it best; write a new folder.

    \b
    Example:
      dock align dft/42 -o aligned/42

    H − μS with μ = Σ H·S / Σ S², or Σ (H − H_ref)·S / Σ S² with --to; the Fermi level moves
    along. With --minus-core or --plus-core the on-site blocks of free atoms are taken off or
    added instead. The input is never changed, and align.json in the new folder has every step.
    """
    from dock.converters import read
    from dock.post import align as gauge

    show_log(quiet=quiet)
    if sum(map(bool, (reference, minus, plus, back))) > 1:
        raise UsageError("give one of --to, --minus-core, --plus-core and --undo at a time.")
    found = gauge.read_aligned(path, source)
    result: Aligned
    if back:
        result = gauge.undo(found)
    elif minus is not None:
        result = gauge.minus_atoms(found, gauge.read_atoms(minus, found.calculation))
    elif plus is not None:
        result = gauge.plus_atoms(found, gauge.read_atoms(plus, found.calculation))
    else:
        result = gauge.align(found, None if reference is None else read(reference))
    home = path if path.is_dir() else path.parent
    written = result.save(output or home.resolve().parent / "aligned", overwrite=overwrite)
    steps = gauge.names_of(found.steps if back else result.steps[-1:])
    if as_json:
        echo_json(
            {
                "steps": steps,
                "undone": back,
                "shift_eV": result.shift,
                "fermi_energy_eV": result.calculation.fermi_level,
                "files": [str(file) for file in written],
            }
        )
        return
    rows = [["taken back" if back else "done", step] for step in steps]
    level = result.calculation.fermi_level
    rows.append(["Fermi level", "unknown" if level is None else f"{level:.6f} eV"])
    click.echo(table(rows))
    for file in written:
        click.echo(file)
