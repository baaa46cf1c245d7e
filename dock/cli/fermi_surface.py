"""``dock fermi-surface``."""

from __future__ import annotations

from dataclasses import replace

import click

from dock.cli import options, response_options
from dock.errors import UsageError

_COLOURS = {"none": "none", "speed": "speed", "spin-x": "x", "spin-y": "y", "spin-z": "z"}


@click.command(
    epilog="""\b
More examples:
  dock fermi-surface fe --mesh 24 24 24 -o fe.frmsf             FermiSurfer, |v| as colour
  dock fermi-surface fe --mesh 24 24 24 -o fe.bxsf              XCrySDen
  dock fermi-surface fept --mesh 16 16 16 --colour spin-z -o fs.frmsf
  dock fermi-surface fe --plane x y --extent 4.6 --points 81 -o fe.png
  dock fermi-surface si --mesh 24 24 24 --fermi -4.5 -o holes.bxsf
"""
)
@options.mesh_options
@response_options.k_options(k=False, path=False, cartesian=True)
@click.option(
    "--colour",
    type=click.Choice(list(_COLOURS)),
    help="What a surface is coloured by [default: speed in .frmsf].",
)
@options.fermi_option
@response_options.request_options(
    "fermi_surface.h5 beside PATH", kinds=".bxsf, .frmsf, .h5, or a figure"
)
def fermi_surface(
    mesh: options.MeshOptions,
    where: response_options.KPoints,
    colour: str | None,
    fermi: float | None,
    request: response_options.Request,
) -> None:
    """Compute Fermi surfaces for XCrySDen and FermiSurfer, or their contours in a plane.

    \b
    Example:
      dock fermi-surface fe --mesh 24 24 24 -o fe.frmsf

    Only bands that cross the Fermi level are written, each spin channel to a file of its own
    (fe_up.frmsf, fe_down.frmsf). A figure has the contours in a plane, or of a mesh those along b1
    and b2 through Γ; its data go to an .h5 file of the same name. An insulator has no surface
    unless --fermi names a level within its bands.
    """
    from dock.response.fermi_surfaces import FermiSurface, fermi_surface as compute

    if where.asked(mesh) == "plane":
        points = None
    elif mesh.asked:
        points = mesh
    else:
        raise UsageError("give --mesh N1 N2 N3 (or --spacing), or --plane A B.")
    run = request.run
    if run.output is not None and run.output.suffix.lower() in {".png", ".pdf", ".svg"}:
        if run.plot is not None:
            raise UsageError("give the figure with -o or with --plot, not twice.")
        run = replace(run, output=run.output.with_suffix(".h5"), plot=run.output)
    viewer = run.output is not None and run.output.suffix.lower() in {".bxsf", ".frmsf"}
    if viewer and points is None:
        raise UsageError("a viewer's file is of a mesh: give --mesh N1 N2 N3.")
    is_frmsf = run.output is not None and run.output.suffix.lower() == ".frmsf"
    calc = request.read()
    target = run.output if run.output is not None else run.target(request.path, FermiSurface)
    run.require_free(*FermiSurface.targets(target, calc.spin.n_channels))
    _, job = request.job(FermiSurface, target)
    result = compute(
        calc,
        where.make(calc) if points is None else points.make(calc),
        fermi_level=fermi,
        electrons=request.electrons,
        colour=_COLOURS[colour or ("speed" if is_frmsf else "none")],
        **request.settings(job),
    )
    run.finish(result, target, of=calc, job=job)
