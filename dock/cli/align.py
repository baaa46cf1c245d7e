"""``dock align``: the zero of energy of a Hamiltonian, and free atoms in it."""

from __future__ import annotations

from pathlib import Path

import click

from dock.cli import options
from dock.cli.runner import Run, folder_of
from dock.errors import UsageError


@click.command(
    epilog="""\b
More examples:
  dock align pred --to dft -o pred_aligned       the zero of energy of another calculation
  dock align dft --minus-core atoms -o small     free atoms taken off; atoms/Mo, atoms/S, …
  dock align pred --plus-core atoms -o whole     and added to a prediction
  dock align small --undo -o dft_again           all steps taken back
"""
)
@options.path_argument
@options.from_option
@click.option("--to", "reference", type=options.PATH, help="Align to this one.")
@click.option("--minus-core", "minus", type=options.PATH, help="Take free atoms off H.")
@click.option("--plus-core", "plus", type=options.PATH, help="Add free atoms to H.")
@click.option("--undo", "back", is_flag=True, help="Take all steps of dock align back.")
@options.run_options("aligned beside PATH", figure=False, jobs=False)
def align(
    path: Path,
    source: str | None,
    reference: Path | None,
    minus: Path | None,
    plus: Path | None,
    back: bool,
    run: Run,
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

    if sum(map(bool, (reference, minus, plus, back))) > 1:
        raise UsageError("give one of --to, --minus-core, --plus-core and --undo at a time.")
    given = gauge.read_aligned(path, source)
    if back:
        result = gauge.undo(given)
    elif minus is not None:
        result = gauge.minus_atoms(given, gauge.read_atoms(minus, given.calculation))
    elif plus is not None:
        result = gauge.plus_atoms(given, gauge.read_atoms(plus, given.calculation))
    else:
        result = gauge.align(given, None if reference is None else read(reference))
    beside = folder_of(path).resolve().parent / gauge.Aligned.FILE
    run.finish(result, run.output or beside)
