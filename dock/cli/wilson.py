"""``dock wilson``."""

from __future__ import annotations

from typing import Any

import click

from dock.cli import response_options
from dock.errors import UsageError


@click.command(
    epilog="""\b
More examples:
  dock wilson bi2se3 --z2
  dock wilson model --plane 1 2 --z2 --points 20 --plot centres.png
  dock wilson weyl --k 0.12 0.05 0.31 --bands 1..18 --radius 0.02
"""
)
@response_options.k_options(path=False)
@response_options.filled_bands_option
@click.option("--z2", is_flag=True, help="The Z2 index; of four planes where none is given.")
@click.option(
    "--radius",
    type=float,
    metavar="R",
    help="With --k: half the edge of the cube about it, 1/Å [default: 0.05].",
)
@response_options.request_options("wilson.h5, z2.h5 or chern.h5 beside PATH", positions=True)
def wilson(
    where: response_options.KPoints,
    bands: str | None,
    z2: bool,
    radius: float | None,
    request: response_options.Request,
) -> None:
    """Compute Wilson loops and what they tell: Chern numbers, Z2, charges of nodes.

    \b
    Example:
      dock wilson model --plane 1 2 --plot centres.png

    Loops run along the first axis of a plane, as k moves along the second: the centres are those of
    hybrid Wannier functions of the filled bands, or of --bands. With --z2 and no plane the four
    indices of a three-dimensional insulator are told. With --k it is the charge of a node: the
    Chern number of --bands on a small cube about it.
    """
    from dock.response.chern import ChernNumber, chirality
    from dock.response.wilson import WilsonLoops, Z2Indices, wilson_loop, z2_indices

    kind = where.asked()
    if kind == "k" and (len(where.k) > 1 or bands is None or z2 or request.run.plot is not None):
        raise UsageError("the charge of a node takes one --k and --bands, and has no figure.")
    if kind != "k" and radius is not None:
        raise UsageError("--radius is that of the cube about a node: give --k K1 K2 K3 too.")
    if kind is None and not z2:
        raise UsageError("give --plane A B, --z2, or --k K1 K2 K3.")
    made: type[Any] = {"k": ChernNumber, "plane": WilsonLoops}.get(kind or "", Z2Indices)
    calc = request.read()
    target, job = request.job(made)
    electrons = request.electrons
    shared: dict[str, Any] = {"bands": bands, **request.settings(job)}
    result: Any
    if kind == "k":
        edge = 0.05 if radius is None else radius
        result = chirality(calc, where.k[0], radius=edge, **shared)
    elif kind == "plane":
        result = wilson_loop(calc, where.make(calc), z2=z2, electrons=electrons, **shared)
    else:
        result = z2_indices(calc, points=where.points, electrons=electrons, **shared)
    request.run.finish(result, target, of=calc, job=job)
