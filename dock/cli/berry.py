"""``dock berry``."""

from __future__ import annotations

from typing import Any

import click

from dock.cli import options, response_options
from dock.errors import UsageError


@click.command(
    epilog="""\b
More examples:
  dock berry fept --path GXMG --plot curvature.png
  dock berry gaas --k 0.1 0.2 0.3 --bands 17..18 --method kubo
  dock berry model --plane 1 2 --bands 1 --plot map.png
  dock berry fept --mesh 40 40 40 --refine 5 --energies -1 1 41 --plot hall.png
"""
)
@response_options.k_options()
@options.mesh_options
@response_options.filled_bands_option
@options.fermi_option
@options.choice("--method", ["full", "kubo"], "full", "The exact curl, or the sum over states.")
@click.option(
    "--energies",
    type=(float, float, click.IntRange(1)),
    metavar="EMIN EMAX N",
    help="With a mesh: the Fermi level at N energies, eV from the true one.",
)
@options.number_option(
    "--temperature", click.FloatRange(0), 0.0, "K", "Of the occupations on a mesh."
)
@options.number_option(
    "--refine", int, 1, "N", "Divide the mesh by N (odd) about points with a large curvature."
)
@options.number_option(
    "--refine-above", float, 100.0, "X", "Curvature above which --refine divides, Å²."
)
@response_options.request_options(
    "berry.h5, or anomalous_hall.h5, beside PATH", positions=True, electrons=False
)
def berry(
    where: response_options.KPoints,
    mesh: options.MeshOptions,
    bands: str | None,
    fermi: float | None,
    method: Any,
    energies: tuple[float, float, int] | None,
    temperature: float,
    refine: int,
    refine_above: float,
    request: response_options.Request,
) -> None:
    """Compute the Berry curvature, and on a mesh the anomalous Hall conductivity.

    \b
    Example:
      dock berry fept --mesh 20 20 20

    At k-points, on a path or a plane it is the curvature of the occupied states, or of --bands, in
    Å²; on a plane of a whole period also its flux and the Chern number. On a mesh it is the
    conductivity −e²/ħ ∫ Σ f Ω in S/cm (yz, zx, xy), with the change against half the mesh.
    Positions come from the run, or from --basis.
    """
    import numpy as np

    from dock.response.berry import BerryCurvature, berry_curvature
    from dock.response.hall import AnomalousHall, anomalous_hall

    on_mesh = where.asked(mesh) == "mesh"
    if on_mesh and bands is not None:
        raise UsageError("--bands are those of --k, --path and --plane; a mesh fills to --fermi.")
    if not on_mesh and (energies is not None or temperature or refine != 1):
        raise UsageError("--energies, --temperature and --refine belong to --mesh N1 N2 N3.")
    if on_mesh and request.run.plot is not None and energies is None:
        raise UsageError("a figure of a mesh is a scan: give --energies EMIN EMAX N too.")
    if where.asked(mesh) == "k" and request.run.plot is not None:
        raise UsageError("the curvature is drawn along a path or over a plane, not of --k.")
    calc = request.read()
    target, job = request.job(AnomalousHall if on_mesh else BerryCurvature)
    shared: dict[str, Any] = {
        "fermi_level": fermi,
        "method": method,
        **request.settings(job),
    }
    result: Any
    if on_mesh:
        result = anomalous_hall(
            calc,
            mesh.make(calc),
            energies=() if energies is None else np.linspace(*energies),
            temperature=temperature,
            refine=refine,
            refine_above=refine_above,
            **shared,
        )
    else:
        result = berry_curvature(calc, where.make(calc), bands=bands, **shared)
    request.run.finish(result, target, of=calc, job=job)
