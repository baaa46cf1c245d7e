"""``dock polarization``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from dock.cli import options, response_options
from dock.errors import UsageError


@click.command(
    epilog="""\b
More examples:
  dock polarization gaas --mesh 12 12 12 --charges Ga=13 --charges As=15
  dock polarization batio3/hamiltonian_pred.h5 --mesh 8 8 8 --basis pao
"""
)
@options.mesh_option
@click.option(
    "--charges",
    multiple=True,
    metavar="El=Z",
    help="Valence charge of a species, where the run does not say it. Repeat for each.",
)
@response_options.request_options("polarization.h5 beside PATH", positions=True)
def polarization(
    mesh: tuple[int, int, int] | None,
    charges: Sequence[str],
    request: response_options.Request,
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
    calc = request.read()
    target, job = request.job(Polarization)
    result = compute(
        calc,
        mesh,
        charges=_numbers(charges),
        electrons=request.electrons,
        **request.settings(job),
    )
    request.run.finish(result, target, of=calc, job=job)


def _numbers(charges: Sequence[str]) -> dict[str, float]:
    """Return the charge of each species that was given."""
    found = {}
    for label, text in options.parse_settings(charges, "--charges").items():
        try:
            found[label] = float(text)
        except ValueError:
            raise UsageError(f"--charges takes El=Z with a number, found '{text}'.") from None
    return found
