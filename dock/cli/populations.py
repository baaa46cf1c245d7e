"""``dock populations``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dock.cli import options
from dock.cli.runner import Run
from dock.errors import UsageError

if TYPE_CHECKING:
    from dock.post.population import Scheme
    from dock.states.fermi_level import Method


@click.command(
    epilog="""\b
More examples:
  dock populations fe_deeph --mesh 12 12 12 --scheme lowdin
  dock populations RUN --from openmx --stored
  dock populations moire --window -0.02 0.02                        electrons of flat bands
"""
)
@options.path_argument
@options.from_option
@options.mesh_options
@options.filling_options("fermi-dirac")
@options.scheme_option
@options.window_option("Of all states of these energies, eV from the Fermi level.")
@click.option("--stored", is_flag=True, help="Analyse the density matrix that PATH has.")
@options.electrons_option
@options.threshold_option
@options.solving_options
@options.run_options("populations.h5 beside PATH")
def populations(
    path: Path,
    source: str | None,
    mesh: options.MeshOptions,
    filling: Method,
    scheme: Scheme,
    window: tuple[float, float] | None,
    stored: bool,
    electrons: float | None,
    s_threshold: float | None,
    solving: options.Solving,
    run: Run,
) -> None:
    """Compute electrons and spin moments of atoms and shells, after Mulliken or Löwdin.

    \b
    Example:
      dock populations si_deeph --mesh 8 8 8

    Moments are vectors; of collinear spin they point along z. Of a large system, take the states of
    a --window, or analyse the density matrix of dock density-matrix --method poles with --stored.
    """
    from dock.converters import read
    from dock.core.density import require_density
    from dock.post.population import REDUCTION, Populations, populations as compute

    if stored and window:
        raise UsageError("--stored analyses a whole density matrix: leave out --window.")
    calc = read(path, source)
    target = run.target(path, Populations)
    job = solving.job(target)
    density = require_density(calc, "--stored needs it.", electrons) if stored else None
    result = compute(
        calc,
        None if stored else mesh.make(calc, at_most=REDUCTION[scheme]),
        scheme=scheme,
        density=density,
        window=window or None,
        electrons=electrons,
        smearing=filling,
        s_threshold=s_threshold,
        **run.settings(job),
    )
    run.finish(result, target, of=calc, job=job)
