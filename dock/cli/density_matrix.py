"""``dock density-matrix`` and ``dock populations``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dock.cli._common import (
    Progress,
    echo_json,
    json_option,
    overwrite_option,
    quiet_option,
    show_log,
    table,
)
from dock.cli._mesh import MeshOptions, filling_options, folder_of, mesh_options, refuse_existing

if TYPE_CHECKING:
    from dock.post.density_matrices import DensityMatrix
    from dock.post.population import Populations
    from dock.states.fermi_level import Method

__all__ = ["density_matrix", "populations"]

_MOST_ROWS = 40


@click.command(
    "density-matrix",
    epilog="""\b
More examples:
  dock density-matrix si_deeph --mesh 8 8 8 --energy-weighted
  dock density-matrix RUN --from siesta --temperature 500 -o with_density
  dock density-matrix moire --method poles --mesh 1 1 1
""",
)
@click.argument("path", default=".", type=click.Path(path_type=Path))
@click.option("--from", "source", metavar="FORMAT", help="Format; default: recognised.")
@mesh_options
@filling_options("fermi-dirac")
@click.option(
    "--method",
    type=click.Choice(["eigen", "poles"]),
    default="eigen",
    show_default=True,
    help="Diagonalisation, or pole expansion of the Fermi function.",
)
@click.option("--poles", type=int, metavar="N", help="Number of poles [default: for 1e-9].")
@click.option("--energy-weighted", is_flag=True, help="The energy density matrix too.")
@click.option("--electrons", type=float, metavar="N", help="Electrons per cell, where unknown.")
@click.option(
    "--s-threshold", type=float, metavar="X", help="Project out overlap eigenvalues below X."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="A file .h5, or a new unified folder [default: density_matrix.h5 beside PATH].",
)
@overwrite_option
@click.option("-j", "--jobs", type=int, help="Threads [default: the CPUs this process may use].")
@json_option
@quiet_option
def density_matrix(
    path: Path,
    source: str | None,
    mesh: MeshOptions,
    filling: Method,
    method: str,
    poles: int | None,
    energy_weighted: bool,
    electrons: float | None,
    s_threshold: float | None,
    output: Path | None,
    overwrite: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compute the density matrix from H and S, in real space, on the pairs of H.

    \b
    Example:
      dock density-matrix si_deeph --mesh 8 8 8

    Tr(ρS), which is the number of electrons, and the band energy Tr(ρH) are printed.
    """
    from dock.converters import read
    from dock.post.density_files import to_dict
    from dock.post.density_matrices import density_matrix as compute

    show_log(quiet=quiet)
    calc = read(path, source)
    target = output or folder_of(path) / "density_matrix.h5"
    single = target.suffix == ".h5"
    refuse_existing(
        [target, target.with_suffix(".json")] if single else [target], overwrite=overwrite
    )
    chosen = mesh.make(calc)
    bar = Progress(calc.spin.n_channels * chosen.n_points, "k-points", quiet=quiet)
    result = compute(
        calc,
        chosen,
        method=method,  # type: ignore[arg-type]
        smearing=filling,
        electrons=electrons,
        energy_weighted=energy_weighted,
        poles=poles,
        s_threshold=s_threshold,
        jobs=jobs,
        progress=lambda done, _: bar.update(done),
    )
    written = result.save(target, overwrite=overwrite)
    if as_json:
        echo_json({**to_dict(result), "files": [str(file) for file in written]})
    else:
        click.echo(_density_text(result))
        for file in written:
            click.echo(file)


@click.command(
    epilog="""\b
More examples:
  dock populations fe_deeph --mesh 12 12 12 --scheme lowdin
  dock populations RUN --from openmx --stored
"""
)
@click.argument("path", default=".", type=click.Path(path_type=Path))
@click.option("--from", "source", metavar="FORMAT", help="Format; default: recognised.")
@mesh_options
@filling_options("fermi-dirac")
@click.option(
    "--scheme",
    type=click.Choice(["mulliken", "lowdin"]),
    default="mulliken",
    show_default=True,
    help="How the charge of two orbitals is divided.",
)
@click.option("--stored", is_flag=True, help="Analyse the density matrix that PATH has.")
@click.option("--electrons", type=float, metavar="N", help="Electrons per cell, where unknown.")
@click.option(
    "--s-threshold", type=float, metavar="X", help="Project out overlap eigenvalues below X."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="[default: populations.h5 beside PATH]"
)
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Figure: .png .pdf")
@overwrite_option
@click.option("-j", "--jobs", type=int, help="Threads [default: the CPUs this process may use].")
@json_option
@quiet_option
def populations(
    path: Path,
    source: str | None,
    mesh: MeshOptions,
    filling: Method,
    scheme: str,
    stored: bool,
    electrons: float | None,
    s_threshold: float | None,
    output: Path | None,
    plot: Path | None,
    overwrite: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compute electrons and spin moments of atoms and shells, after Mulliken or Löwdin.

    \b
    Example:
      dock populations si_deeph --mesh 8 8 8

    Moments are vectors; of collinear spin they point along z.
    """
    from dock.converters import read
    from dock.post.density_files import populations_to_dict
    from dock.post.population import populations as compute

    show_log(quiet=quiet)
    calc = read(path, source)
    target = output or folder_of(path) / "populations.h5"
    refuse_existing([target, target.with_suffix(".json"), plot], overwrite=overwrite)
    density = calc.require("density_matrix", "--stored needs it.") if stored else None
    chosen = None
    if density is None:
        chosen = mesh.make(calc, at_most="point-group" if scheme == "mulliken" else "none")
    total = 1 if chosen is None else calc.spin.n_channels * chosen.n_points
    bar = Progress(total, "k-points", quiet=quiet)
    result = compute(
        calc,
        chosen,
        scheme=scheme,  # type: ignore[arg-type]
        density=density,
        electrons=electrons,
        smearing=filling,
        s_threshold=s_threshold,
        jobs=jobs,
        progress=lambda done, _: bar.update(done),
    )
    written = result.save(target, overwrite=overwrite)
    if plot is not None:
        written.append(result.plot(plot, overwrite=overwrite))
    if as_json:
        content = populations_to_dict(result)
        echo_json({**content, "files": [str(file) for file in written]})
    else:
        click.echo(_populations_text(result))
        for file in written:
            click.echo(file)


def _density_text(result: DensityMatrix) -> str:
    settings = "; ".join(f"{name} {value}" for name, value in result.settings.items())
    rows = [
        ["Tr(ρS)", f"{result.n_electrons:.10f} electrons"],
        ["Tr(ρH)", f"{result.band_energy:.8f} eV"],
        ["Fermi level", f"{result.fermi_level:.6f} eV"],
        ["k-mesh", result.mesh.describe()],
        ["method", f"{result.method}: {settings}"],
    ]
    return table(rows)


def _populations_text(result: Populations) -> str:
    rows = []
    for number, label in enumerate(result.basis.labels[:_MOST_ROWS]):
        moment = " ".join(f"{value:9.6f}" for value in result.moments[number])
        rows.append([str(number + 1), label, f"{result.electrons[number]:.6f}", moment])
    if len(result.basis.labels) > _MOST_ROWS:
        rows.append(["…", f"{len(result.basis.labels) - _MOST_ROWS} more in the files", "", ""])
    moment = " ".join(f"{value:9.6f}" for value in result.total[1:])
    rows.append(["sum", "", f"{result.total[0]:.6f}", moment])
    return table(rows, ["atom", "species", f"electrons ({result.scheme})", "m_x m_y m_z (μ_B)"])
