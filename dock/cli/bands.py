"""``dock bands``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dock.cli import options
from dock.cli.runner import Run
from dock.errors import UsageError

if TYPE_CHECKING:
    from dock.core.calculation import Calculation
    from dock.post.density_of_states import DensityOfStates
    from dock.post.energy_zero import Zero
    from dock.states.kmesh import Reduction


@click.command(
    epilog="""\b
More examples:
  dock bands si_deeph --path LGX --points 40 --plot bands.png
  dock bands si_deeph --project species,l --plot fat.png
  dock bands graphene --project C-pz --plot pz.png
  dock bands moire/hamiltonian_pred.h5 --path K_PATH --window -1 1
  dock bands mos2 --project Mo-d,S-p --dos --mesh 12 12 1 --plot both.png --zero vbm
  dock bands predicted/hamiltonian_pred.h5 --compare dft --plot both.png
"""
)
@options.path_argument
@options.from_option
@options.k_path_options
@options.window_option("Only these energies, eV.")
@options.zero_option
@options.states_options
@options.fermi_option
@options.electrons_option
@options.threshold_option
@click.option("--compare", type=options.PATH, metavar="OTHER", help="Overlay another run.")
@options.projection_options("Fat bands: C-pz,Mo-d+S-p or by species,atom,shell,l,m,spin.")
@click.option("--dos", is_flag=True, help="A density of states too, beside the bands.")
@options.mesh_option
@options.solving_options
@options.run_options("band.h5 beside PATH")
def bands(
    path: Path,
    source: str | None,
    k_path: str,
    points: int | None,
    window: tuple[float, float] | None,
    zero: Zero,
    states: int | None,
    around: float,
    fermi: float | None,
    electrons: float | None,
    s_threshold: float | None,
    compare: Path | None,
    project: options.Projection,
    dos: bool,
    mesh: tuple[int, int, int] | None,
    solving: options.Solving,
    run: Run,
) -> None:
    """Compute a band structure; write band.h5 and band.json, and a figure if asked.

    \b
    Example:
      dock bands si_deeph --plot bands.png

    PATH is a unified folder, a Hamiltonian file in one (hamiltonian_pred.h5), or a run of any code;
    the current folder when left out. Energies are given relative to the Fermi level where it is
    known. The path belongs to the cell as it is: nothing is standardised.

    With --dos the density of states is computed on the mesh of --mesh (default: k-points 0.1/Å
    apart), resolved by --project as well, saved as dos.h5 and dos.json, and drawn beside the bands
    with one zero. 'dock plot' draws what was saved again, and several runs over each other.
    """
    from dock.converters import read
    from dock.post.band_structure import BandStructure, Selection, bands as compute
    from dock.states.counted_level import level_beside
    from dock.states.kpath import make_path

    if mesh is not None and not dos:
        raise UsageError("--mesh is that of the density of states: give --dos as well.")
    if dos and (solving.shard or solving.dry_run or solving.ranks):
        raise UsageError(
            "--dos goes with none of --shard, --mpi and --dry-run: run dock bands and dock dos, "
            "and then dock plot band.h5 dos.h5 -o FIGURE."
        )
    if dos and compare is not None and project.fields is not None:
        raise UsageError("--dos draws --project or --compare, not both: leave one of them out.")
    selection = Selection(window or None, states, around)
    calc = read(path, source)
    reference = None if compare is None else read(compare)
    target = run.target(path, BandStructure)
    common: dict[str, Any] = {
        "electrons": electrons,
        "counted": level_beside(calc, path, electrons),
        "s_threshold": s_threshold,
    }
    beside = None
    if dos:
        beside = _density_of_states(calc, target, run, solving, project, mesh, window, **common)
        if calc.fermi_level is None and common["counted"] is None:
            common["counted"] = beside.counted_level
    job = solving.job(target)
    settings = common | {
        "selection": selection,
        "compare": reference,
        "fermi_level": fermi,
        **run.settings(job),
    }
    points_of_path = make_path(calc, k_path, points=points)
    if project.fields is None:
        result: Any = compute(calc, points_of_path, **settings)
    else:
        from dock.post.fat_bands import fat_bands

        result = fat_bands(calc, points_of_path, project.fields, scheme=project.scheme, **settings)
    limits = partial(result.lines.moved, window or None, zero)
    if beside is not None:
        from dock.post.together import BandsWithDos

        result = BandsWithDos(result, beside)
    run.finish(result, target, of=calc, job=job, window=limits, zero=zero)


def _density_of_states(
    calc: Calculation,
    target: Path,
    run: Run,
    solving: options.Solving,
    project: options.Projection,
    mesh: tuple[int, int, int] | None,
    window: tuple[float, float] | None,
    **common: Any,
) -> DensityOfStates:
    """Return the density of states that is drawn beside the bands."""
    from dock.post.density_of_states import dos
    from dock.post.projections import OrbitalProjector
    from dock.post.together import BandsWithDos
    from dock.states.kmesh import make_mesh

    run.require_free(*BandsWithDos.files(target))
    projector: OrbitalProjector | None = None
    reduction: Reduction = "point-group"
    if project.fields is not None:
        projector = OrbitalProjector(calc, project.fields, project.scheme)
        reduction = projector.reduction
    points = make_mesh(calc, mesh, spacing=None if mesh else 0.1, reduction=reduction)
    job = solving.job(BandsWithDos.beside(target))
    made = dos(
        calc,
        points,
        window=window or None,
        project=projector,
        **run.settings(job, "k-points of the mesh"),
        **common,
    )
    job.clear()
    return made
