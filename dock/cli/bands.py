"""``dock bands``."""

from __future__ import annotations

from pathlib import Path

import click

from dock.cli import options
from dock.cli.runner import Run


@click.command(
    epilog="""\b
More examples:
  dock bands si_deeph --path LGX --points 40 --plot bands.png
  dock bands si_deeph --project species,l --plot fat.png
  dock bands moire/hamiltonian_pred.h5 --path K_PATH --window -1 1
  dock bands predicted/hamiltonian_pred.h5 --compare dft --plot both.png
"""
)
@options.path_argument
@options.from_option
@options.k_path_options
@options.window_option("Only these energies, eV.")
@click.option("--states", type=int, metavar="N", help="Only the N states nearest to --around.")
@click.option(
    "--around", type=float, default=0.0, metavar="E", help="Energy for --states [default: 0]."
)
@options.fermi_option
@options.electrons_option
@options.threshold_option
@click.option("--compare", type=options.PATH, metavar="OTHER", help="Overlay another run.")
@options.projection_options("Fat bands by species,atom,shell,l,m,spin.")
@options.run_options("band.h5 beside PATH")
def bands(
    path: Path,
    source: str | None,
    k_path: str,
    points: int | None,
    window: tuple[float, float] | None,
    states: int | None,
    around: float,
    fermi: float | None,
    electrons: float | None,
    s_threshold: float | None,
    compare: Path | None,
    project: options.Projection,
    run: Run,
) -> None:
    """Compute a band structure; write band.h5 and band.json, and a figure if asked.

    \b
    Example:
      dock bands si_deeph --plot bands.png

    PATH is a unified folder, a Hamiltonian file in one (hamiltonian_pred.h5), or a run of any code;
    the current folder when left out. Energies are given relative to the Fermi level where it is
    known. The path belongs to the cell as it is: nothing is standardised.
    """
    from dock.converters import read
    from dock.post.band_structure import BandStructure, Selection, bands as compute, make_path
    from dock.post.fat_bands import project_bands

    selection = Selection(window or None, states, around)
    calc = read(path, source).replace(fermi_level=fermi, n_electrons=electrons)
    reference = None if compare is None else read(compare)
    target = run.target(path, BandStructure)
    plain = compute(
        calc,
        make_path(calc, k_path, points=points),
        selection=selection,
        compare=reference,
        s_threshold=s_threshold,
        jobs=run.jobs,
        progress=run.progress("k-points"),
    )
    shares = {"scheme": project.scheme, "s_threshold": s_threshold, "jobs": run.jobs}
    fields = project.fields
    result = plain if fields is None else project_bands(calc, plain, fields, **shares)
    run.finish(result, target, of=calc, window=window or None)
