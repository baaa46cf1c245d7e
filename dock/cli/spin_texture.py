"""``dock spin-texture``."""

from __future__ import annotations

from pathlib import Path

import click

from dock.cli import options
from dock.cli.runner import Run


@click.command(
    epilog="""\b
More examples:
  dock spin-texture gaas --path XGK --component y --window -2 3 --plot bands.png
  dock spin-texture gaas --plane x y --extent 0.3 --bands 19..20 --plot arrows.png
  dock spin-texture gaas --mesh 6 6 6 --bands 15..18 -o texture.h5
  dock spin-texture fept --k 0 0 0 --axis 0 0 1
"""
)
@options.path_argument
@options.from_option
@options.k_options(cartesian=True)
@options.mesh_options
@options.bands_option
@click.option(
    "--axis",
    type=float,
    nargs=3,
    metavar="X Y Z",
    help="States of one level: those with spins along this.",
)
@options.choice("--component", ["x", "y", "z", "norm"], "z", "What colours the bands of a path.")
@options.tolerance_option(1e-5)
@options.window_option("Energies of the figure, from the Fermi level, eV.")
@options.electrons_option
@options.threshold_option
@options.solving_options
@options.run_options("spin_texture.h5 beside PATH")
def spin_texture(
    path: Path,
    source: str | None,
    where: options.KPoints,
    mesh: options.MeshOptions,
    bands: str | None,
    axis: tuple[float, float, float] | None,
    component: str,
    tolerance: float,
    window: tuple[float, float] | None,
    electrons: float | None,
    s_threshold: float | None,
    solving: options.Solving,
    run: Run,
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
    from dock.converters import read
    from dock.response.spin import SpinTexture, spin_texture as compute

    where.require_drawn(run.plot, mesh, bands)
    calc = read(path, source).replace(n_electrons=electrons)
    target = run.target(path, SpinTexture)
    job = solving.job(target)
    result = compute(
        calc,
        where.make(calc, mesh),
        bands=bands,
        tolerance=tolerance,
        axis=axis,
        solver=job,
        s_threshold=s_threshold,
        jobs=run.jobs,
        progress=run.progress("k-points"),
    )
    run.finish(result, target, of=calc, job=job, component=component, window=window)
