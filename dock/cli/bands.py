"""``dock bands``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
@options.states_options
@options.fermi_option
@options.electrons_option
@options.threshold_option
@click.option("--compare", type=options.PATH, metavar="OTHER", help="Overlay another run.")
@options.projection_options("Fat bands by species,atom,shell,l,m,spin.")
@options.solving_options
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
    solving: options.Solving,
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
    from dock.post.band_structure import BandStructure, Selection, bands as compute
    from dock.states.counted_level import level_beside
    from dock.states.kpath import make_path

    selection = Selection(window or None, states, around)
    calc = read(path, source)
    reference = None if compare is None else read(compare)
    target = run.target(path, BandStructure)
    job = solving.job(target)
    settings: dict[str, Any] = {
        "selection": selection,
        "compare": reference,
        "fermi_level": fermi,
        "electrons": electrons,
        "counted": level_beside(calc, path, electrons),
        "s_threshold": s_threshold,
        **run.settings(job),
    }
    points_of_path = make_path(calc, k_path, points=points)
    if project.fields is None:
        result: Any = compute(calc, points_of_path, **settings)
    else:
        from dock.post.fat_bands import fat_bands

        result = fat_bands(calc, points_of_path, project.fields, scheme=project.scheme, **settings)
    run.finish(result, target, of=calc, job=job, window=window or None)
