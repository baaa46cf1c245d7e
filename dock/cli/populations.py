"""``dock populations``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dock.cli.options import (
    MeshOptions,
    electrons_option,
    filling_options,
    from_option,
    mesh_options,
    path_argument,
    run_options,
    scheme_option,
    threshold_option,
)
from dock.cli.runner import Run

if TYPE_CHECKING:
    from dock.post.population import Scheme
    from dock.states.fermi_level import Method

__all__ = ["populations"]


@click.command(
    epilog="""\b
More examples:
  dock populations fe_deeph --mesh 12 12 12 --scheme lowdin
  dock populations RUN --from openmx --stored
"""
)
@path_argument
@from_option
@mesh_options
@filling_options("fermi-dirac")
@scheme_option
@click.option("--stored", is_flag=True, help="Analyse the density matrix that PATH has.")
@electrons_option
@threshold_option
@run_options("populations.h5 beside PATH")
def populations(
    path: Path,
    source: str | None,
    mesh: MeshOptions,
    filling: Method,
    scheme: Scheme,
    stored: bool,
    electrons: float | None,
    s_threshold: float | None,
    run: Run,
) -> None:
    """Compute electrons and spin moments of atoms and shells, after Mulliken or Löwdin.

    \b
    Example:
      dock populations si_deeph --mesh 8 8 8

    Moments are vectors; of collinear spin they point along z.
    """
    from dock.converters import read
    from dock.post.population import REDUCTION, Populations, populations as compute

    calc = read(path, source)
    target = run.target(path, Populations)
    density = calc.require("density_matrix", "--stored needs it.") if stored else None
    result = compute(
        calc,
        None if stored else mesh.make(calc, at_most=REDUCTION[scheme]),
        scheme=scheme,
        density=density,
        electrons=electrons,
        smearing=filling,
        s_threshold=s_threshold,
        jobs=run.jobs,
        progress=run.progress("k-points"),
    )
    run.finish(result, target)
