"""``dock transport``."""

from __future__ import annotations

import click

from dock.cli import options, response_options
from dock.errors import UsageError


@click.command(
    epilog="""\b
More examples:
  dock transport si_deeph --mesh 20 20 20 --mu-grid -1 1 101 --plot transport.png
  dock transport fe_deeph --mesh 32 32 32 --temperature 100 --temperature 300
"""
)
@options.mesh_options
@click.option(
    "--temperature",
    type=float,
    multiple=True,
    default=(300.0,),
    show_default=True,
    metavar="K",
    help="Temperature. Repeat for several.",
)
@click.option(
    "--mu",
    type=float,
    multiple=True,
    metavar="E",
    help="Chemical potential from the Fermi level, eV [default: 0]. Repeat for several.",
)
@click.option(
    "--mu-grid",
    type=(float, float, click.IntRange(2)),
    metavar="EMIN EMAX N",
    help="Evenly spaced chemical potentials instead.",
)
@options.fermi_option
@response_options.request_options("transport.h5 beside PATH")
def transport(
    mesh: options.MeshOptions,
    temperature: tuple[float, ...],
    mu: tuple[float, ...],
    mu_grid: tuple[float, float, int] | None,
    fermi: float | None,
    request: response_options.Request,
) -> None:
    """Compute transport in the constant-time approximation; write transport.h5 and .json.

    \b
    Example:
      dock transport si_deeph --mesh 16 16 16 --mu -0.5 --mu 0.5

    Drude weight and conductivity over the relaxation time, Seebeck coefficient, and the electrons'
    thermal conductivity, from velocities with the overlap; no positions are needed.
    """
    from dock.response.boltzmann import Transport, transport as compute

    if mu and mu_grid is not None:
        raise UsageError("give --mu or --mu-grid, not both.")
    if not mesh.asked:
        raise UsageError("transport is a sum over a k-mesh: give --mesh N1 N2 N3 or --spacing D.")
    import numpy as np

    levels = np.linspace(*mu_grid) if mu_grid is not None else np.array(mu or (0.0,))
    target, job = request.job(Transport)
    calc = request.read()
    result = compute(
        calc,
        mesh.make(calc),
        temperature=temperature,
        mu=levels,
        fermi_level=fermi,
        electrons=request.electrons,
        **request.settings(job),
    )
    request.run.finish(result, target, of=calc, job=job)
