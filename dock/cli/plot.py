"""``dock plot``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dock.cli import options, response_options
from dock.cli.runner import Run

if TYPE_CHECKING:
    from dock.post.energy_zero import Zero


@click.command(
    epilog="""\b
More examples:
  dock plot si/band.h5 si/dos.h5 -o both.png --zero vbm      bands beside the DOS
  dock plot dft predicted -o compare.pdf --label DFT --label network
  dock plot si/band.json -o small.pdf --style one-column --window -5 5
  dock plot si/band.h5 -o talk.png --style dark --style mine.mplstyle
"""
)
@click.argument("results", nargs=-1, required=True, type=options.PATH, metavar="RESULT...")
@click.option("-o", "--output", "plot", required=True, type=options.PATH, metavar="FIGURE",
              help="Figure: .png .pdf .svg")  # fmt: skip
@click.option("--label", "labels", multiple=True, metavar="NAME",
              help="What a legend calls a run. Repeat for each.")  # fmt: skip
@response_options.window_option("Energies of the figure, from its zero, eV.")
@options.zero_option
@options.style_option
@options.overwrite_option
@options.json_option
@options.quiet_option
def plot(
    results: tuple[Path, ...],
    labels: tuple[str, ...],
    window: tuple[float, float] | None,
    zero: Zero,
    **running: object,
) -> None:
    """Draw saved results again, without computing: bands, densities of states, several runs.

    \b
    Example:
      dock plot si/band.h5 -o bands.png

    RESULT is the .h5 or .json file of dock bands or dock dos, or a folder with band.h5 and dos.h5.
    Bands and a density of states of one run stand beside each other with one zero, shares of
    orbitals in the same colours; several runs lie over each other, each with its own zero.
    """
    from dock.post.saved import read_figure

    run = Run(**running)  # type: ignore[arg-type]
    run.require_free()
    figure = read_figure(results, labels)
    written = figure.plot(
        run.plot, style=run.style, overwrite=run.overwrite, window=window, zero=zero
    )
    run.tell(str(written), {"files": [str(written)]})
