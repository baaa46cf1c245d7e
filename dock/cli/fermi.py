"""``dock fermi``."""

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
    from dock.post.fermi import FermiResult, Method

__all__ = ["fermi"]


@click.command(
    epilog="""\b
More examples:
  dock fermi si_deeph --mesh 8 8 8 --smearing tetrahedra
  dock fermi fe_deeph --spacing 0.1 --smearing methfessel-paxton --width 0.1
  dock fermi moire/hamiltonian_pred.h5 --electrons 44656
"""
)
@click.argument("path", default=".", type=click.Path(path_type=Path))
@click.option("--from", "source", metavar="FORMAT", help="Format; default: recognised.")
@mesh_options
@filling_options("fermi-dirac")
@click.option("--electrons", type=float, metavar="N", help="Electrons per cell, where unknown.")
@click.option(
    "--s-threshold", type=float, metavar="X", help="Project out overlap eigenvalues below X."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="[default: fermi_energy.json beside PATH]",
)
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Figure: .png .pdf")
@overwrite_option
@click.option("-j", "--jobs", type=int, help="Threads [default: the CPUs this process may use].")
@json_option
@quiet_option
def fermi(
    path: Path,
    source: str | None,
    mesh: MeshOptions,
    filling: Method,
    electrons: float | None,
    s_threshold: float | None,
    output: Path | None,
    plot: Path | None,
    overwrite: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Find the Fermi level and the gap by counting electrons on a k-mesh.

    \b
    Example:
      dock fermi si_deeph --mesh 8 8 8

    Writes fermi_energy.json and eigval.h5. The eigenvalues are used again by a later run, with any
    electron count or smearing, as long as H, S and the mesh are the same: that is checked.
    """
    from dock.converters import read
    from dock.post.fermi import fermi_level
    from dock.post.fermi_files import holds, to_dict
    from dock.states.problem import Problem

    show_log(quiet=quiet)
    calc = read(path, source)
    target = output or folder_of(path) / "fermi_energy.json"
    cache = target.with_name("eigval.h5")
    refuse_existing([target, plot], overwrite=overwrite)
    chosen = mesh.make(calc)
    if not holds(cache, Problem.of(calc).fingerprint(chosen, s_threshold=s_threshold)):
        refuse_existing([cache], overwrite=overwrite)
    bar = Progress(calc.spin.n_channels * chosen.n_points, "k-points", quiet=quiet)
    result = fermi_level(
        calc,
        chosen,
        electrons=electrons,
        smearing=filling,
        s_threshold=s_threshold,
        jobs=jobs,
        progress=lambda done, _: bar.update(done),
        cache=cache,
    )
    written = result.save(target, overwrite=overwrite)
    if plot is not None:
        written.append(result.plot(plot, overwrite=overwrite))
    if as_json:
        echo_json({**to_dict(result), "files": [str(file) for file in written]})
    else:
        click.echo(_text(result))
        for file in written:
            click.echo(file)


def _text(result: FermiResult) -> str:
    spectrum, gap = result.spectrum, result.gap
    symmetry = spectrum.mesh.symmetry
    rows = [
        ["Fermi level", f"{result.level:.6f} eV ({gap.kind}; {result.method_name})"],
        ["electrons", f"{result.n_electrons:g}, counted {result.counted:.10f}"],
        ["k-mesh", spectrum.mesh.describe()],
    ]
    if symmetry is not None:
        text = f"{len(symmetry.operations)} operations"
        if symmetry.largest_error > 0:
            text += f", H deviates by up to {symmetry.largest_error:.1e} eV"
        rows.append(["symmetry", text])
    if gap.vbm is not None and gap.cbm is not None:
        kind = "direct" if gap.is_direct else f"indirect, smallest direct {gap.direct:.6f} eV"
        rows.append(["gap", f"{gap.size:.6f} eV on this mesh ({kind})"])
    rows.append(["band energy", f"{result.band_energy:.8f} eV"])
    if abs(result.entropy_energy) > 5e-9:
        rows.append(["−TS", f"{result.entropy_energy:.8f} eV"])
    if result.spin_moment is not None:
        rows.append(["spin moment", f"{result.spin_moment:.6f} μ_B"])
    if spectrum.n_removed:
        rows.append(["S projected", f"up to {spectrum.n_removed} states left out at a k-point"])
    return table(rows)
