"""``dock charge-density``."""

from __future__ import annotations

from pathlib import Path

import click

from dock.cli import options
from dock.cli.runner import Run, folder_of


@click.command(
    name="charge-density",
    epilog="""\b
More examples:
  dock charge-density run --basis pao -o rho.cube --spacing 0.1
  dock charge-density run --basis ions --window -1 0 -o ldos.cube     local density of states
  dock charge-density si_deeph --basis pao --species Si=Si7.0-s2p2d1 --mesh 8 8 8
""",
)
@options.path_argument
@options.from_option
@options.grid_options
@click.option(
    "--oversample",
    type=click.IntRange(1, 8),
    metavar="N",
    default=1,
    show_default=True,
    help="Means over the box around each point, from N points along each axis, not values at "
    "the points: right integrals where orbitals are steep.",
)
@options.window_option("Local density of states of these energies, eV from the Fermi level.")
@click.option("--recompute", is_flag=True, help="Compute the density matrix, though there is one.")
@click.option("--mesh", type=int, nargs=3, metavar="N1 N2 N3", help="k-points for that.")
@options.electrons_option
@options.solving_options
@options.run_options("charge_density.h5 beside PATH", kinds=".h5, .cube or .xsf")
def charge_density(
    path: Path,
    source: str | None,
    grid: options.GridOptions,
    oversample: int,
    window: tuple[float, float] | None,
    recompute: bool,
    mesh: tuple[int, int, int] | None,
    electrons: float | None,
    solving: options.Solving,
    run: Run,
) -> None:
    """Put charge and spin density on a grid, or the local density of states of a window.

    \b
    Example:
      dock charge-density run --basis pao

    The density matrix is that of the folder, or is computed from H and S. The orbitals come from
    the code's basis files: .ion (SIESTA), .pao (OpenMX), .orb (ABACUS), .h5 (DeepH). The result
    must integrate to the electrons; both numbers are printed.
    """
    from dock.post.density_grid import (
        FILES,
        PARTS,
        GridDensity,
        charge_density as compute,
        density_source,
    )

    kind = "local density of states" if window else "charge density"
    target = run.output or folder_of(path) / FILES[kind]
    run.require_free(*GridDensity.files(target))
    job = solving.job(target)
    calc = grid.read(path, source)
    run.require_free(*GridDensity.targets(target, PARTS[calc.spin]))
    points = grid.make(calc)
    density = density_source(
        calc,
        mesh or None,
        window=window or None,
        recompute=recompute,
        electrons=electrons,
        **run.settings(job),
    )
    result = compute(
        density,
        points,
        overlap=calc.get("overlap"),
        kind=kind,
        oversample=oversample,
        **run.settings(what="blocks"),
    )
    result.warn_of_missed()
    run.finish(result, target, job=job)
