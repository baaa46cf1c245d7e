"""``dock masses``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from dock.cli import options, response_options
from dock.errors import UsageError


class _Command(click.Command):
    """``--at`` takes one word, or three numbers that are words of their own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Join the numbers behind ``--at``."""
        joined = list(args)
        if "--at" in joined:
            at = joined.index("--at") + 1
            if at < len(joined) and _is_number(joined[at]):
                joined[at : at + 3] = [" ".join(joined[at : at + 3])]
        return super().parse_args(ctx, joined)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


@click.command(
    cls=_Command,
    epilog="""\b
More examples:
  dock masses gaas --at vbm --direction 1 1 0 --direction 1 1 1
  dock masses si_deeph --at 0.5 0.5 0.5 --band 5
  dock masses predicted/hamiltonian_pred.h5 --electrons 8 --at cbm --plot mass.png
""",
)
@click.option(
    "--at",
    metavar="vbm|cbm|K1 K2 K3",
    help="A band edge, which is found, or a k-point as it is [default: both edges].",
)
@click.option("--band", type=int, metavar="N", help="Number of the band at a k-point, from 1.")
@options.choice("--spin", ["up", "down"], "up", "Its spin channel, where spin is collinear.")
@click.option(
    "--direction",
    "directions",
    type=float,
    nargs=3,
    multiple=True,
    metavar="X Y Z",
    help="Masses along this, too. Repeat for several.",
)
@response_options.tolerance_option(1e-3)
@options.mesh_options
@response_options.request_options(
    "masses.h5 beside PATH, masses_vbm.h5 and masses_cbm.h5 of both", threshold=False
)
def masses(
    at: str | None,
    band: int | None,
    spin: str,
    directions: Sequence[tuple[float, float, float]],
    tolerance: float,
    mesh: options.MeshOptions,
    request: response_options.Request,
) -> None:
    """Compute effective masses at band edges, which are found, or at a k-point.

    \b
    Example:
      dock masses si_deeph --at cbm

    Masses are those of electrons in m_e, negative at a maximum (a hole has −m), by perturbation
    theory with the overlap. Edges are refined from a mesh to 1e-7 of a reciprocal vector. Where
    several bands meet, their masses along each axis are in the order of their energies beside the
    point. --plot, which needs --at, shows the parabolas and computed energies, 21 along each axis.
    """
    from dock.response.effective_mass import Masses, edge_masses, masses as compute

    points = _points(at)
    if request.solving.removal != "project":
        raise UsageError(
            "masses are those of all orbitals: --s-removal belongs to --s-threshold, which other "
            "commands have."
        )
    calc, run = request.read().replace(n_electrons=request.electrons), request.run
    target = run.target(request.path, Masses)
    names = [target] if at is not None else [target.with_stem(f"{target.stem}_{p}") for p in points]
    if run.plot is not None and len(points) > 1:
        raise UsageError("--plot shows one point: give --at vbm, --at cbm, or a k-point.")
    run.require_free(*(file for name in names for file in Masses.files(name)))
    _, job = request.job(Masses, target)
    settings: dict[str, Any] = {
        "mesh": mesh.make(calc),
        "directions": directions,
        "tolerance": tolerance,
        "lines": 21 if run.plot is not None else 0,
        "solver": job,
        "jobs": run.jobs,
        "progress": run.progress("k-points"),
    }
    if band is None and isinstance(points[0], str):
        results = edge_masses(calc, points, **settings)
    else:
        channel = ("up", "down").index(spin)
        results = [compute(calc, points[0], band=band, channel=channel, **settings)]
    for result, name in zip(results, names, strict=True):
        run.finish(result, name, of=calc, job=job)


def _points(at: str | None) -> list[Any]:
    """Return the edges or the k-point that were asked for."""
    if at is None:
        return ["vbm", "cbm"]
    if at in ("vbm", "cbm"):
        return [at]
    words = at.replace(",", " ").split()
    if len(words) != 3 or not all(map(_is_number, words)):
        raise UsageError(f"--at is vbm, cbm or three numbers, found '{at}'.")
    return [tuple(map(float, words))]
