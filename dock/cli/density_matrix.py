"""``dock density-matrix``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from dock.cli import options
from dock.cli.runner import Run, folder_of

if TYPE_CHECKING:
    from dock.states.fermi_level import Method
    from dock.states.solver import Plan


@click.command(
    "density-matrix",
    epilog="""\b
More examples:
  dock density-matrix si_deeph --mesh 8 8 8 --energy-weighted
  dock density-matrix RUN --from siesta --temperature 500 -o with_density
  dock density-matrix moire --method poles --mesh 1 1 1
""",
)
@options.path_argument
@options.from_option
@options.mesh_options
@options.filling_options("fermi-dirac")
@options.choice(
    "--method",
    ["auto", "eigen", "poles"],
    "auto",
    "Diagonalisation, pole expansion of the Fermi function, or what is faster and has room.",
)
@click.option("--poles", type=int, metavar="N", help="Poles at most [default: for 1e-11].")
@click.option("--energy-weighted", is_flag=True, help="The energy density matrix too.")
@options.electrons_option
@options.threshold_option
@options.run_options(
    "density_matrix.h5 beside PATH", kinds="A file .h5, or a new unified folder", figure=False
)
def density_matrix(
    path: Path,
    source: str | None,
    mesh: options.MeshOptions,
    filling: Method,
    method: Literal["auto", "eigen", "poles"],
    poles: int | None,
    energy_weighted: bool,
    electrons: float | None,
    s_threshold: float | None,
    run: Run,
) -> None:
    """Compute the density matrix from H and S, in real space, on the pairs of H.

    \b
    Example:
      dock density-matrix si_deeph --mesh 8 8 8

    Tr(ρS), which is the number of electrons, and the band energy Tr(ρH) are printed; before it
    starts the method, its time and its memory.
    """
    from dock.converters import read
    from dock.post.density_matrices import DensityMatrix, density_matrix as compute

    calc = read(path, source)
    target = run.output or folder_of(path) / DensityMatrix.FILE
    run.require_free(*DensityMatrix.files(target, energy_weighted=energy_weighted))
    result = compute(
        calc,
        mesh.make(calc),
        method=method,
        smearing=filling,
        electrons=electrons,
        energy_weighted=energy_weighted,
        poles=poles,
        s_threshold=s_threshold,
        **run.settings(),
        planned=None if run.quiet else _tell,
    )
    run.finish(result, target)


def _tell(plan: Plan) -> None:
    from dock.states.choice import describe

    click.echo(describe(plan), err=True)
