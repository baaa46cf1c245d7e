"""``dock optics``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dock.cli import options, response_options
from dock.errors import UsageError

if TYPE_CHECKING:
    from dock.states.smearing import Smearing

_LINEAR = ("epsilon", "sigma", "jdos")
_NOT_LINEAR = ("shift", "shg")
_ENERGIES = (0.0, 10.0, 1001)


@click.command(
    epilog="""\b
More examples:
  dock optics si_deeph --mesh 16 16 16 --eta 0.05 --energies 0 8 801 --plot eps.png
  dock optics moire/hamiltonian_pred.h5 --basis PAO --mesh 4 4 1 --energies 0 3 301
  dock optics gaas_deeph --mesh 16 16 16 --energies 0.1 6 60 --quantity shift
"""
)
@options.mesh_options
@click.option(
    "--energies",
    type=(float, float, click.IntRange(1)),
    metavar="EMIN EMAX N",
    default=_ENERGIES,
    show_default=True,
    help="Photon energies, eV.",
)
@click.option(
    "--eta", type=float, default=0.1, show_default=True, metavar="EV", help="Half width of lines."
)
@options.choice(
    "--quantity",
    (*_LINEAR, *_NOT_LINEAR),
    "epsilon",
    "Dielectric function, conductivity, joint DOS, shift current or second harmonic.",
)
@options.filling_options("fermi-dirac")
@options.fermi_option
@click.option("--drude", type=float, metavar="EV", help="Add carriers with this rate ħ/τ, eV.")
@click.option(
    "--broadened-to", type=float, metavar="EV", help="Broaden transitions up to here only."
)
@response_options.request_options("optics.h5 beside PATH", positions=True)
def optics(
    mesh: options.MeshOptions,
    energies: tuple[float, float, int],
    eta: float,
    quantity: Any,
    filling: Smearing,
    fermi: float | None,
    drude: float | None,
    broadened_to: float | None,
    request: response_options.Request,
) -> None:
    """Compute an optical spectrum; write optics.h5 and optics.json, and a figure if asked.

    \b
    Example:
      dock optics si_deeph --mesh 8 8 8 --plot epsilon.png

    Independent particles, in the dipole approximation with the overlap and the positions of the
    orbitals: those of the run, or computed from --basis. Metals are filled by --smearing.
    """
    from dock.response.optical_spectrum import OpticalSpectrum, optics as compute
    from dock.response.transitions import require_energies

    first, last, count = energies
    if last < first or (count > 1 and last == first):
        raise UsageError(f"--energies ascend: EMIN EMAX N; found {first:g} to {last:g} eV.")
    if drude is not None and energies == _ENERGIES:
        first = last / (count - 1)  # a Drude term has no value at 0
        count -= 1
    if drude is not None and (quantity in _NOT_LINEAR or quantity == "jdos"):
        raise UsageError(
            f"--drude adds to epsilon and sigma; --quantity {quantity} has no carriers."
        )
    if broadened_to is not None and quantity in _NOT_LINEAR:
        raise UsageError(f"--broadened-to belongs to linear optics, not to --quantity {quantity}.")
    if drude is not None and not (drude > 0 and first > 0):
        raise UsageError("--drude takes a rate above 0 eV, and --energies above 0.")
    if not mesh.asked:
        raise UsageError("a spectrum is a sum over a k-mesh: give --mesh N1 N2 N3 or --spacing D.")
    import numpy as np

    x = np.linspace(first, last, count)
    require_energies(x, eta)
    target, job = request.job(OpticalSpectrum)
    calc = request.read()
    settings: dict[str, Any] = {
        "eta": eta,
        "fermi_level": fermi,
        "electrons": request.electrons,
        "smearing": filling,
        **request.settings(job),
    }
    points = mesh.make(calc)
    result: Any
    if quantity in _LINEAR:
        linear = {"quantity": quantity, "drude": drude, "broadened_to": broadened_to}
        result = compute(calc, points, x, **linear, **settings)
    else:
        from dock.response.second_order import nonlinear_optics

        result = nonlinear_optics(calc, points, x, quantity, **settings)
    request.run.finish(result, target, of=calc, job=job)
