"""``dock velocities``."""

from __future__ import annotations

import click

from dock.cli import options, response_options


@click.command(
    epilog="""\b
More examples:
  dock velocities si_deeph --mesh 8 8 8 --bands 1..8
  dock velocities graphene --k 0.333333 0.333333 0 --direction 1 0 0
  dock velocities si_deeph --path LGX --plot velocities.png
  dock velocities run --k 0.1 0.2 0.3 --orbital-moments --basis pao
"""
)
@response_options.k_options(cartesian=True)
@options.mesh_options
@response_options.bands_option
@click.option(
    "--direction",
    type=float,
    nargs=3,
    metavar="X Y Z",
    help="States of one level: those with slopes along this.",
)
@click.option("--orbital-moments", is_flag=True, help="Orbital magnetic moments too, μ_B.")
@response_options.tolerance_option(1e-5)
@response_options.window_option("Energies of the figure, from the Fermi level, eV.")
@response_options.request_options("velocities.h5 beside PATH", positions=True)
def velocities(
    where: response_options.KPoints,
    mesh: options.MeshOptions,
    bands: str | None,
    direction: tuple[float, float, float] | None,
    orbital_moments: bool,
    tolerance: float,
    window: tuple[float, float] | None,
    request: response_options.Request,
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

    where.require_drawn(request.run.plot, mesh, bands)
    calc = request.read().replace(n_electrons=request.electrons)
    target, job = request.job(Velocities)
    result = compute(
        calc,
        where.make(calc, mesh),
        bands=bands,
        tolerance=tolerance,
        direction=direction,
        orbital_moments=orbital_moments,
        **request.settings(job),
    )
    request.run.finish(result, target, of=calc, job=job, window=window)
