"""``dock dos``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from dock.errors import UsageError

if TYPE_CHECKING:
    from dock.core.calculation import Calculation
    from dock.post.density_of_states import DensityOfStates
    from dock.states.fermi_level import Method

__all__ = ["dos"]


@click.command(
    epilog="""\b
More examples:
  dock dos si_deeph --mesh 16 16 16 --project species,l --plot dos.png
  dock dos fe_deeph --project atom,m --scheme lowdin --window -8 4
  dock dos si_deeph --smearing gaussian --width 0.05 --step 0.005
  dock dos si_deeph --cohp 1-2@0,0,0 --window -14 6
"""
)
@click.argument("path", default=".", type=click.Path(path_type=Path))
@click.option("--from", "source", metavar="FORMAT", help="Format; default: recognised.")
@mesh_options
@filling_options("tetrahedra")
@click.option("--step", type=float, default=0.01, show_default=True, help="Energy step, eV.")
@click.option(
    "--window", type=float, nargs=2, metavar="EMIN EMAX", help="Energies about the Fermi level, eV."
)
@click.option(
    "--project",
    metavar="FIELDS",
    help="Resolve by any of species,atom,shell,l,m,spin.",
)
@click.option(
    "--scheme",
    type=click.Choice(["mulliken", "lowdin"]),
    default="mulliken",
    show_default=True,
    help="How the charge of two orbitals is divided.",
)
@click.option("--coop", multiple=True, metavar="I-J[@R]", help="Overlap population of a pair.")
@click.option("--cohp", multiple=True, metavar="I-J[@R]", help="Hamilton population of a pair.")
@click.option("--electrons", type=float, metavar="N", help="Electrons per cell, where unknown.")
@click.option(
    "--s-threshold", type=float, metavar="X", help="Project out overlap eigenvalues below X."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="[default: dos.h5 beside PATH]"
)
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Figure: .png .pdf")
@overwrite_option
@click.option("-j", "--jobs", type=int, help="Threads [default: the CPUs this process may use].")
@json_option
@quiet_option
def dos(
    path: Path,
    source: str | None,
    mesh: MeshOptions,
    filling: Method,
    step: float,
    window: tuple[float, float] | None,
    project: str | None,
    scheme: str,
    coop: tuple[str, ...],
    cohp: tuple[str, ...],
    electrons: float | None,
    s_threshold: float | None,
    output: Path | None,
    plot: Path | None,
    overwrite: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compute a density of states; write dos.h5 and dos.json, and a figure if asked.

    \b
    Example:
      dock dos si_deeph --mesh 12 12 12 --project species,l

    Energies are relative to the Fermi level, found by the same method on the same mesh; the
    integral up to it is compared with the electron count.
    """
    from dock.converters import read
    from dock.post.density_of_states import dos as compute
    from dock.post.dos_files import to_dict
    from dock.post.fermi import fermi_level

    show_log(quiet=quiet)
    calc = read(path, source)
    target = output or folder_of(path) / "dos.h5"
    refuse_existing([target, target.with_suffix(".json"), plot], overwrite=overwrite)
    wanted = _wanted(calc, project, scheme, coop, cohp)
    if mesh.size is None and mesh.spacing is None:
        mesh = _finer(mesh)
    chosen = mesh.make(calc, at_most="point-group" if wanted is None else wanted.reduction)
    bar = Progress(calc.spin.n_channels * chosen.n_points, "k-points", quiet=quiet)
    run: dict[str, Any] = {"s_threshold": s_threshold, "jobs": jobs}
    run["progress"] = lambda done, _: bar.update(done)
    level = fermi_level(
        calc,
        chosen,
        electrons=electrons,
        smearing=filling,
        cache=target.with_name("eigval.h5"),
        **run,
    )
    if cohp:
        wanted = _wanted(calc, project, scheme, coop, cohp, zero=level.level)
    result = compute(
        calc,
        chosen,
        method=filling,
        step=step,
        window=window or None,
        project=wanted,
        fermi=level,
        **run,
    )
    written = result.save(target, overwrite=overwrite)
    if plot is not None:
        written.append(result.plot(plot, window=window or None, overwrite=overwrite))
    if as_json:
        content = to_dict(result, values=False)
        echo_json({**content, "files": [str(file) for file in written]})
    else:
        click.echo(_text(result))
        for file in written:
            click.echo(file)


def _wanted(
    calc: Calculation,
    project: str | None,
    scheme: str,
    coop: tuple[str, ...],
    cohp: tuple[str, ...],
    zero: float = 0.0,
) -> Any:
    """Return the projector of the options, None for a total DOS alone."""
    from dock.post.bonds import BondProjector, parse_bond
    from dock.post.projections import OrbitalProjector

    if sum(map(bool, (project, coop, cohp))) > 1:
        raise UsageError("give one of --project, --coop and --cohp at a time.")
    if coop:
        return BondProjector(calc, [parse_bond(text) for text in coop], "coop")
    if cohp:
        return BondProjector(calc, [parse_bond(text) for text in cohp], "cohp", zero=zero)
    return OrbitalProjector(calc, project, scheme) if project else None  # type: ignore[arg-type]


def _finer(mesh: MeshOptions) -> MeshOptions:
    """Return the mesh that a DOS needs when none was asked for."""
    from dataclasses import replace

    return replace(mesh, spacing=0.1)


def _text(result: DensityOfStates) -> str:
    x = result.energies - result.fermi_level
    error = result.counted - result.n_electrons
    rows = [
        ["energies", f"{len(x)} from {x[0]:.3f} to {x[-1]:.3f} eV, step {result.step:g} eV"],
        ["method", f"{result.method}; {result.mesh.describe()}"],
        ["Fermi level", f"{result.fermi_level:.6f} eV ({result.kind})"],
        ["∫ to E_F", f"{result.counted:.10f} of {result.n_electrons:g} electrons ({error:+.1e})"],
        ["∫ over energies", f"{result.covered:.10f} of {result.capacity:g} states"],
    ]
    if result.names:
        below = x < 0.5 * result.step
        filled = result.projected[:, :, below].sum(axis=(0, 2)) * result.step
        rows += [
            [f"  {name}", f"{value:.6f} below E_F"]
            for name, value in zip(result.names, filled, strict=True)
        ]
    return table(rows)
