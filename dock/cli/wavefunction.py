"""``dock wavefunction``."""

from __future__ import annotations

from pathlib import Path

import click

from dock.cli import options
from dock.cli.runner import Run, folder_of
from dock.errors import UsageError


@click.command(
    epilog="""\b
More examples:
  dock wavefunction si_deeph --mesh 4 4 4                           coefficients at 64 k-points
  dock wavefunction run --k 0.5 0 0 --bands 4,5 --basis pao -o psi.cube
  dock wavefunction run --bands vbm,cbm --basis ions -o psi.xsf --spacing 0.15
  dock wavefunction moire --states 1 --basis ions --spacing 0.5 --plot flat.png
"""
)
@options.path_argument
@options.from_option
@click.option(
    "--k",
    "k_frac",
    type=float,
    nargs=3,
    multiple=True,
    metavar="K1 K2 K3",
    help="k-point [default: 0 0 0]. Repeat for several.",
)
@click.option("--mesh", type=int, nargs=3, metavar="N1 N2 N3", help="All points of a mesh.")
@click.option(
    "--bands", metavar="4,6-8|vbm,cbm", help="States, from 1 [default: all; on a grid vbm,cbm]."
)
@options.states_options
@options.fermi_option
@options.grid_options
@click.option("--periodic", is_flag=True, help="The periodic part u in place of ψ.")
@options.electrons_option
@options.solving_options
@options.run_options(
    "wavefunction_ao.h5 beside PATH (wavefunction.h5 on a grid)",
    kinds=".h5; on a grid also .cube, .xsf",
)
def wavefunction(
    path: Path,
    source: str | None,
    k_frac: tuple[tuple[float, float, float], ...],
    mesh: tuple[int, int, int] | None,
    bands: str | None,
    states: int | None,
    around: float,
    fermi: float | None,
    grid: options.GridOptions,
    periodic: bool,
    electrons: float | None,
    solving: options.Solving,
    run: Run,
) -> None:
    """Write the states of some k-points as coefficients, or on a grid in space.

    \b
    Example:
      dock wavefunction run --bands vbm,cbm --basis pao -o psi.cube

    Without --basis the coefficients of the orbitals are written. With it, or with --grid or
    --spacing, ψ of one k-point is computed on a grid; its norm over the cell is printed and must
    be 1. --plot draws |ψ|² of the first state. A cube file is written for each state and part. vbm
    and cbm are the highest occupied and the lowest empty state at these k-points, each a band of
    one spin channel; --states takes those nearest to an energy.
    """
    from dock.core.spin import Spin
    from dock.post.band_selection import BandSelection
    from dock.post.wavefunction import (
        Coefficients,
        GridStates,
        coefficients,
        named_states,
        states_on_grid,
    )
    from dock.states.kmesh import KMesh

    if mesh and k_frac:
        raise UsageError("give --k or --mesh, not both.")
    if grid.asked and (mesh or len(k_frac) > 1):
        raise UsageError("on a grid states of one k-point are written: give one --k, no --mesh.")
    if states is not None and (mesh or bands or len(k_frac) > 1):
        raise UsageError("--states are those nearest to an energy at one k-point: give --k alone.")
    if run.plot is not None and not grid.asked:
        raise UsageError("--plot draws states on a grid: give --basis, --grid or --spacing too.")
    selection = BandSelection.of(bands or ("vbm,cbm" if grid.asked and states is None else None))
    target = run.output or folder_of(path) / (GridStates if grid.asked else Coefficients).FILE
    run.require_free(
        *(GridStates.planned(target, (), Spin.NONE) if grid.asked else Coefficients.files(target))
    )
    job = solving.job(target)
    calc = grid.read(path, source).replace(fermi_level=fermi)
    points = grid.make(calc) if grid.asked else None
    if points is not None:
        run.require_free(*GridStates.planned(target, named_states(selection, calc.spin), calc.spin))
    expansion = coefficients(
        calc,
        KMesh.full(mesh) if mesh else [*k_frac] or [(0.0, 0.0, 0.0)],
        bands=None if states is not None else selection,
        nearest=None if states is None else (states, around),
        electrons=electrons,
        **run.settings(job),
    )
    if points is None:
        run.finish(expansion, target, job=job)
        return
    run.require_free(*GridStates.planned(target, expansion.names, calc.spin))
    blocks = run.progress("blocks")
    on_grid = states_on_grid(expansion, points, periodic=periodic, jobs=run.jobs, progress=blocks)
    run.finish(on_grid, target, job=job)
