"""``dock spin-texture``."""

from __future__ import annotations

import click

from dock.cli import options, response_options


@click.command(
    epilog="""\b
More examples:
  dock spin-texture gaas --path XGK --component y --window -2 3 --plot bands.png
  dock spin-texture gaas --plane x y --extent 0.3 --bands 19..20 --plot arrows.png
  dock spin-texture gaas --mesh 6 6 6 --bands 15..18 -o texture.h5
  dock spin-texture gaas --k 0 0 0 --bands 19..20 --axis 0 0 1
"""
)
@response_options.k_options(cartesian=True)
@options.mesh_options
@response_options.bands_option
@click.option(
    "--axis",
    type=float,
    nargs=3,
    metavar="X Y Z",
    help="States of one level: those with spins along this.",
)
@options.choice("--component", ["x", "y", "z", "norm"], "z", "What colours the bands of a path.")
@response_options.tolerance_option(1e-5)
@response_options.window_option("Energies of the figure, from the Fermi level, eV.")
@response_options.request_options("spin_texture.h5 beside PATH")
def spin_texture(
    where: response_options.KPoints,
    mesh: options.MeshOptions,
    bands: str | None,
    axis: tuple[float, float, float] | None,
    component: str,
    tolerance: float,
    window: tuple[float, float] | None,
    request: response_options.Request,
) -> None:
    """Compute the spin of each state: ⟨σ⟩ with x, y and z Cartesian, from −1 to 1.

    \b
    Example:
      dock spin-texture gaas --k 0.13 0.21 0.37 --bands 17..20

    It needs a run with spinors (spin–orbit coupling or non-collinear spin). States of one energy
    have the mean of their level, which is zero for Kramers pairs; with --axis, the states in which
    the spin along it is definite. --plot colours the bands of a path, or draws arrows on a plane,
    a panel for each band, with the component along the plane's normal as colour.
    """
    from dock.response.spin import SpinTexture, spin_texture as compute

    where.require_drawn(request.run.plot, mesh, bands)
    calc = request.read().replace(n_electrons=request.electrons)
    target, job = request.job(SpinTexture)
    result = compute(
        calc,
        where.make(calc, mesh),
        bands=bands,
        tolerance=tolerance,
        axis=axis,
        **request.settings(job),
    )
    request.run.finish(result, target, of=calc, job=job, component=component, window=window)
