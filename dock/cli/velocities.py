"""``dock velocities``."""

from __future__ import annotations

from pathlib import Path

import click

from dock.cli import options
from dock.cli.runner import Run


@click.command(
    epilog="""\b
More examples:
  dock velocities si_deeph --mesh 8 8 8 --bands 1..8
  dock velocities graphene --k 0.333333 0.333333 0 --direction 1 0 0
  dock velocities si_deeph --path LGX --plot velocities.png
  dock velocities run --k 0.1 0.2 0.3 --orbital-moments --basis pao
"""
)
@options.path_argument
@options.from_option
@options.k_options(cartesian=True)
@options.mesh_options
@options.bands_option
@click.option(
    "--direction",
    type=float,
    nargs=3,
    metavar="X Y Z",
    help="States of one level: those with slopes along this.",
)
@click.option("--orbital-moments", is_flag=True, help="Orbital magnetic moments too, μ_B.")
@options.position_options
@options.tolerance_option(1e-5)
@options.window_option("Energies of the figure, from the Fermi level, eV.")
@options.electrons_option
@options.threshold_option
@options.solving_options
@options.run_options("velocities.h5 beside PATH")
def velocities(
    path: Path,
    source: str | None,
    where: options.KPoints,
    mesh: options.MeshOptions,
    bands: str | None,
    direction: tuple[float, float, float] | None,
    orbital_moments: bool,
    positions: options.Positions,
    tolerance: float,
    window: tuple[float, float] | None,
    electrons: float | None,
    s_threshold: float | None,
    solving: options.Solving,
    run: Run,
) -> None:
    """Compute the velocities dE/dk of states, and their orbital moments if asked.

    \b
    Example:
      dock velocities si_deeph --k 0.1 0.2 0.3

    The overlap is taken into account; velocities are in eV Å (times 1.519e5: m/s), Cartesian.
    Where several states have one energy, each component has the slopes of the bands along its own
    axis, ascending: these are no vector. With --direction they are, of the states whose slopes
    along it are told apart. --plot colours the bands of a path, or draws arrows on a plane.
    """
    from dock.response.velocity import Velocities, velocities as compute

    where.require_drawn(run.plot, mesh, bands)
    calc = positions.read(path, source).replace(n_electrons=electrons)
    target = run.target(path, Velocities)
    job = solving.job(target)
    result = compute(
        calc,
        where.make(calc, mesh),
        bands=bands,
        tolerance=tolerance,
        direction=direction,
        orbital_moments=orbital_moments,
        solver=job,
        s_threshold=s_threshold,
        jobs=run.jobs,
        progress=run.progress("k-points"),
    )
    run.finish(result, target, of=calc, job=job, window=window)
