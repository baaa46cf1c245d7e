"""``dock dos``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dock.cli import options
from dock.cli.kpm_options import Kpm, kpm_options
from dock.cli.runner import Run
from dock.errors import UsageError

if TYPE_CHECKING:
    from dock.core.calculation import Calculation
    from dock.post.energy_zero import Zero
    from dock.post.projections import Projector
    from dock.states.fermi_level import Method


@click.command(
    epilog="""\b
More examples:
  dock dos si_deeph --mesh 16 16 16 --project species,l --plot dos.png
  dock dos fe_deeph --project atom,m --scheme lowdin --window -8 4
  dock dos si_deeph --smearing gaussian --width 0.05 --step 0.005
  dock dos si_deeph --cohp 1-2@0,0,0 --window -14 6
  dock dos moire --method kpm --resolution 0.02 --window -2 2 --plot dos.png
  dock dos moire --method kpm --mesh 1 1 1 --tile 3 3 1 --dry-run
"""
)
@options.path_argument
@options.from_option
@options.mesh_options
@options.filling_options("tetrahedra")
@click.option("--step", type=float, help="Energy step, eV [default: 0.01; kpm: σ / 4].")
@options.window_option()
@options.zero_option
@options.projection_options("Shares of C-pz,Mo-d+S-p or by species,atom,shell,l,m,spin.")
@click.option("--coop", multiple=True, metavar="I-J[@R]", help="Overlap population of a pair.")
@click.option("--cohp", multiple=True, metavar="I-J[@R]", help="Hamilton population of a pair.")
@options.electrons_option
@options.threshold_option
@kpm_options
@options.solving_options
@options.run_options("dos.h5 beside PATH")
def dos(
    path: Path,
    source: str | None,
    mesh: options.MeshOptions,
    filling: Method,
    step: float | None,
    window: tuple[float, float] | None,
    zero: Zero,
    project: options.Projection,
    coop: tuple[str, ...],
    cohp: tuple[str, ...],
    electrons: float | None,
    s_threshold: float | None,
    kpm: Kpm,
    solving: options.Solving,
    run: Run,
) -> None:
    """Compute a density of states; write dos.h5 and dos.json, and a figure if asked.

    \b
    Example:
      dock dos si_deeph --mesh 12 12 12 --project species,l

    Energies are relative to the Fermi level, found by the same method on the same mesh; the
    integral up to it is compared with the electron count.

    With --method kpm no state is computed: the time and the memory are proportional to the number
    of atoms, the curve has a resolution and a statistical error, and both are printed. More
    --vectors make the error smaller, as 1/√N; a finer --resolution takes more time. A run that is
    killed goes on after its last block of vectors; --mpi and --shard deal them out. Give
    --dry-run first: it says memory and time.
    """
    from dock.converters import read
    from dock.post.density_of_states import DensityOfStates, dos as compute
    from dock.post.fermi import EIGENVALUES
    from dock.states.counted_level import level_beside

    calc = read(path, source)
    target = run.target(path, DensityOfStates)
    job = solving.job(target)
    if kpm.is_asked:
        from dock.post.chebyshev_sum import chebyshev_dos  # 20 ms that others need not pay

        _refuse_for_moments(
            {
                "--coop": coop,
                "--cohp": cohp,
                "--s-threshold": s_threshold is not None,
                "--scheme": project.scheme != "mulliken",
                "--smearing": filling != "tetrahedra",
                "--spacing": mesh.spacing,
                "--shift": mesh.shift,
                "--centring": mesh.centring != "gamma",
                "--symmetry": mesh.symmetry != "point-group",
                "--zero": zero != "fermi",
                "--solver": solving.solver != "auto",
            }
        )
        atoms = options.parse_atoms(kpm.atoms, calc.basis.n_atoms) if kpm.atoms else ()
        density = chebyshev_dos(
            calc,
            mesh.mesh,
            step=step,
            window=window or None,
            project=project.fields,
            atoms=atoms,
            electrons=electrons,
            counted=level_beside(calc, path, electrons),
            solver=job,
            jobs=run.jobs,
            progress=run.progress("steps"),
            **kpm.settings(),
        )
        run.finish(density, target, job=job, window=window or None)
        return
    projector = _projector(calc, project, coop, cohp)
    result = compute(
        calc,
        mesh.make(calc, at_most=projector.reduction if projector else "point-group", spacing=0.1),
        method=filling,
        step=0.01 if step is None else step,
        window=window or None,
        project=projector,
        electrons=electrons,
        s_threshold=s_threshold,
        **run.settings(job),
        cache=target.with_name(EIGENVALUES),
        counted=level_beside(calc, path, electrons),
    )
    limits = partial(result.curves.moved, window or None, zero)
    run.finish(result, target, of=calc, job=job, window=limits, zero=zero)


def _refuse_for_moments(asked: Mapping[str, object]) -> None:
    """Refuse options that an expansion does nothing with."""
    given = [name for name, value in asked.items() if value]
    if given:
        raise UsageError(
            f"--method kpm has no use for {given[0]}: leave it out. It gives total, projected "
            "(mulliken) and local densities on a Γ-centred --mesh."
        )


def _projector(
    calc: Calculation, project: options.Projection, coop: tuple[str, ...], cohp: tuple[str, ...]
) -> Projector | None:
    """Return the projector of the options, None for a total DOS alone."""
    from dock.post.bonds import BondProjector, CohpFromLevel, parse_bond
    from dock.post.projections import OrbitalProjector

    if sum(map(bool, (project.fields, coop, cohp))) > 1:
        raise UsageError("give one of --project, --coop and --cohp at a time.")
    if coop:
        return BondProjector(calc, [parse_bond(text) for text in coop])
    if cohp:
        return CohpFromLevel(calc, [parse_bond(text) for text in cohp])
    return OrbitalProjector(calc, project.fields, project.scheme) if project.fields else None
