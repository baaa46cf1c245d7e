"""``dock fermi``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dock.cli import options
from dock.cli.runner import Run, folder_of

if TYPE_CHECKING:
    from dock.states.fermi_level import Method


@click.command(
    epilog="""\b
More examples:
  dock fermi si_deeph --mesh 8 8 8 --smearing tetrahedra
  dock fermi fe_deeph --spacing 0.1 --smearing methfessel-paxton --width 0.1
  dock fermi moire/hamiltonian_pred.h5 --electrons 44656
"""
)
@options.path_argument
@options.from_option
@options.mesh_options
@options.filling_options("fermi-dirac")
@options.electrons_option
@options.threshold_option
@click.option(
    "--states",
    type=int,
    metavar="N",
    help="Compute N states about the level at each k-point [default: all, of large systems 40].",
)
@options.solving_options
@options.run_options("fermi_energy.json beside PATH")
def fermi(
    path: Path,
    source: str | None,
    mesh: options.MeshOptions,
    filling: Method,
    electrons: float | None,
    s_threshold: float | None,
    states: int | None,
    solving: options.Solving,
    run: Run,
) -> None:
    """Find the Fermi level and the gap by counting electrons on a k-mesh.

    \b
    Example:
      dock fermi si_deeph --mesh 8 8 8

    Writes fermi_energy.json and eigval.h5 (for -o a.json, a_eigval.h5). The eigenvalues are used
    again by a later run, with any electron count or smearing, as long as H, S and the mesh are the
    same: that is checked.
    """
    from dock.converters import read
    from dock.post.fermi import EIGENVALUES, FermiResult, fermi_level
    from dock.states.spectrum import is_kept

    calc = read(path, source)
    target, kept = FermiResult.files(run.output or folder_of(path) / FermiResult.FILE)
    run.require_free(target)
    job = solving.job(target)
    points = mesh.make(calc)
    if job.removal != "project" or not is_kept(calc, points, kept, s_threshold=s_threshold):
        run.require_free(kept)
    result = fermi_level(
        calc,
        points,
        electrons=electrons,
        smearing=filling,
        states=states,
        s_threshold=s_threshold,
        **run.settings(job),
        cache=[kept, target.with_name(EIGENVALUES)],
    )
    run.finish(result, target, of=calc, job=job)
