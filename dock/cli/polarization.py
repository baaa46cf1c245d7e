"""``dock polarization``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from dock.cli import options
from dock.cli.runner import Run
from dock.errors import UsageError


@click.command(
    epilog="""\b
More examples:
  dock polarization gaas --mesh 12 12 12 --charges Ga=13 --charges As=15
  dock polarization batio3/hamiltonian_pred.h5 --mesh 8 8 8 --basis pao
"""
)
@options.path_argument
@options.from_option
@options.mesh_option
@click.option(
    "--charges",
    multiple=True,
    metavar="El=Z",
    help="Valence charge of a species, where the run does not say it. Repeat for each.",
)
@options.position_options
@options.electrons_option
@options.threshold_option
@options.solving_options
@options.run_options("polarization.h5 beside PATH")
def polarization(
    path: Path,
    source: str | None,
    mesh: tuple[int, int, int] | None,
    charges: Sequence[str],
    positions: options.Positions,
    electrons: float | None,
    s_threshold: float | None,
    solving: options.Solving,
    run: Run,
) -> None:
    """Compute the polarisation of an insulator by Berry phases, with its quantum.

    \b
    Example:
      dock polarization gaas --mesh 8 8 8

    Lines of k-points along each axis give the electrons' part, valence charges that of the ions;
    both together are known up to the quantum, which is printed, as is the change against half the
    mesh. Positions come from the run, or from --basis.
    """
    from dock.response.polarisation import Polarization, polarization as compute

    if mesh is None:
        raise UsageError("give the k-mesh: --mesh N1 N2 N3.")
    calc = positions.read(path, source)
    target = run.target(path, Polarization)
    job = solving.job(target)
    result = compute(
        calc,
        mesh,
        charges=_numbers(charges),
        electrons=electrons,
        solver=job,
        s_threshold=s_threshold,
        jobs=run.jobs,
        progress=run.progress("k-points"),
    )
    run.finish(result, target, of=calc, job=job)


def _numbers(charges: Sequence[str]) -> dict[str, float]:
    """Return the charge of each species that was given."""
    found = {}
    for label, text in options.parse_settings(charges, "--charges").items():
        try:
            found[label] = float(text)
        except ValueError:
            raise UsageError(f"--charges takes El=Z with a number, found '{text}'.") from None
    return found
