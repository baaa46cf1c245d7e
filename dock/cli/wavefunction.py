"""``dock wavefunction``."""

from __future__ import annotations

from pathlib import Path

import click

from dock.cli import options
from dock.cli.runner import Run
from dock.errors import UsageError


@click.command(
    epilog="""\b
More examples:
  dock wavefunction si_deeph --mesh 4 4 4                           coefficients at 64 k-points
  dock wavefunction run --k 0.5 0 0 --bands 4,5 --basis pao -o psi.cube
  dock wavefunction run --bands vbm,cbm --basis ions -o psi.xsf --spacing 0.15
"""
)
@options.path_argument
@options.from_option
@click.option(
    "--k", "k_frac", type=float, nargs=3, default=(0, 0, 0), show_default=True, help="k-point."
)
@click.option("--mesh", type=int, nargs=3, metavar="N1 N2 N3", help="All points of a mesh.")
@click.option(
    "--bands", metavar="4,6-8|vbm,cbm", help="States, from 1 [default: all; on a grid vbm,cbm]."
)
@options.grid_options
@click.option("--periodic", is_flag=True, help="The periodic part u in place of ψ.")
@options.electrons_option
@options.run_options(
    "wavefunction_ao.h5 beside PATH (wavefunction.h5 on a grid)",
    kinds=".h5; on a grid also .cube, .xsf",
    figure=False,
)
def wavefunction(
    path: Path,
    source: str | None,
    k_frac: tuple[float, float, float],
    mesh: tuple[int, int, int] | None,
    bands: str | None,
    grid: options.GridOptions,
    periodic: bool,
    electrons: float | None,
    run: Run,
) -> None:
    """Write the states of some k-points as coefficients, or on a grid in space.

    \b
    Example:
      dock wavefunction run --bands vbm,cbm --basis pao -o psi.cube

    Without --basis the coefficients of the orbitals are written. With it, or with --grid or
    --spacing, ψ of one k-point is computed on a grid; its norm over the cell is printed and must
    be 1. A cube file is written for each state and part. vbm and cbm are the highest occupied and
    the lowest empty state at these k-points, each a band of one spin channel.
    """
    from dock.post.wavefunction import Coefficients, GridStates, coefficients, states_on_grid
    from dock.states.kmesh import KMesh

    if grid.asked and mesh:
        raise UsageError("on a grid states of one k-point are written: give --k, not --mesh.")
    target = run.target(path, GridStates if grid.asked else Coefficients)
    calc = grid.read(path, source)
    points = grid.make(calc) if grid.asked else None
    expansion = coefficients(
        calc,
        KMesh.full(mesh) if mesh else [k_frac],
        bands=bands or (None if points is None else "vbm,cbm"),
        electrons=electrons,
        jobs=run.jobs,
        progress=run.progress("k-points"),
    )
    if points is None:
        run.finish(expansion, target)
        return
    blocks = run.progress("blocks")
    states = states_on_grid(expansion, points, periodic=periodic, jobs=run.jobs, progress=blocks)
    run.finish(states, target)
