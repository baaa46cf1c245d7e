"""``dock wavefunction``."""

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

if TYPE_CHECKING:
    from dock.core.calculation import Calculation

__all__ = ["wavefunction"]


@click.command(
    epilog="""\b
More examples:
  dock wavefunction si_deeph --mesh 4 4 4                           coefficients at 64 k-points
  dock wavefunction run --k 0.5 0 0 --bands 4,5 --basis pao -o psi.cube
  dock wavefunction run --bands vbm,cbm --basis ions -o psi.xsf --spacing 0.15
"""
)
@click.argument("path", default=".", type=click.Path(path_type=Path))
@click.option("--from", "source", metavar="FORMAT", help="Format; default: recognised.")
@click.option(
    "--k", "k_frac", type=float, nargs=3, default=(0, 0, 0), show_default=True, help="k-point."
)
@click.option("--mesh", type=int, nargs=3, metavar="N1 N2 N3", help="All points of a mesh.")
@click.option(
    "--bands", metavar="4,6-8|vbm,cbm", help="States, from 1 [default: all; on a grid vbm,cbm]."
)
@click.option(
    "--basis",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The code's basis files: put the states on a grid.",
)
@click.option("--set", "settings", multiple=True, metavar="C=C6.0-s2p2d1", help="OpenMX's basis.")
@click.option("--grid", type=int, nargs=3, metavar="N1 N2 N3", help="Numbers of grid points.")
@click.option("--spacing", type=float, metavar="X", help="Distance of grid points, Å [0.1].")
@click.option("--periodic", is_flag=True, help="The periodic part u in place of ψ.")
@click.option("--electrons", type=float, metavar="N", help="Valence electrons, for vbm and cbm.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help=".h5; on a grid also .cube, .xsf [default: wavefunction.h5 beside PATH]",
)
@overwrite_option
@click.option("-j", "--jobs", type=int, help="Threads [default: the CPUs this process may use].")
@json_option
@quiet_option
def wavefunction(
    path: Path,
    source: str | None,
    k_frac: tuple[float, float, float],
    mesh: tuple[int, int, int] | None,
    bands: str | None,
    basis: Path | None,
    settings: tuple[str, ...],
    grid: tuple[int, int, int] | None,
    spacing: float | None,
    periodic: bool,
    electrons: float | None,
    output: Path | None,
    overwrite: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the states of some k-points as coefficients, or on a grid in space.

    \b
    Example:
      dock wavefunction run --bands vbm,cbm --basis pao -o psi.cube

    Without --basis the coefficients of the orbitals are written. With it, or with --grid or
    --spacing, ψ of one k-point is computed on a grid; its norm over the cell is printed and must
    be 1. A cube file is written for each state and part.
    """
    from dock.cli.charge_density import read_with_basis, require_free
    from dock.errors import UsageError
    from dock.grid.grid import make_grid, require_radials
    from dock.post.wavefunction import coefficients, states_on_grid
    from dock.states.kmesh import KMesh

    show_log(quiet=quiet)
    on_grid = basis is not None or bool(grid) or spacing is not None
    if on_grid and mesh:
        raise UsageError("on a grid states of one k-point are written: give --k, not --mesh.")
    target = output or (path if path.is_dir() else path.parent) / "wavefunction.h5"
    require_free(target, None, overwrite=overwrite)
    if not on_grid and target.suffix != ".h5":
        raise UsageError(f"{target}: a {target.suffix} file is for a grid: give --basis DIR.")
    calc = read_with_basis(path, source, basis, settings)
    if on_grid:
        require_radials(calc.basis, calc.source)
    chosen = _bands(calc, bands if bands or not on_grid else "vbm,cbm", electrons)
    points = KMesh.full(mesh) if mesh else [list(k_frac)]
    bar = Progress(
        len(points) if isinstance(points, list) else points.n_full, "k-points", quiet=quiet
    )
    found = coefficients(
        calc,
        KMesh.full(mesh) if mesh else points,
        bands=chosen,
        jobs=jobs,
        progress=lambda done, _: bar.update(done),
    )
    if not on_grid:
        written = found.save(target, overwrite=overwrite)
        facts: dict[str, object] = {
            "n_kpoints": len(found.kpoints),
            "n_states": len(found.bands),
            "spin": calc.spin.value,
        }
    else:
        shape = make_grid(calc.structure, grid or None, spacing=spacing)
        states = states_on_grid(found, shape, periodic=periodic, jobs=jobs)
        written = states.save(target, overwrite=overwrite)
        facts = {
            "grid": list(shape.shape),
            "bands": (states.bands + 1).tolist(),
            "energies_eV": states.energies.tolist(),
            "norms": states.norms.tolist(),
        }
    if as_json:
        echo_json({**facts, "files": [str(file) for file in written]})
        return
    click.echo(table([[key, _text(value)] for key, value in facts.items()]))
    click.echo("\nwritten: " + ", ".join(str(file) for file in written))


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(f"{item:.6f}" if isinstance(item, float) else str(item) for item in value)
    return str(value)


def _bands(calc: Calculation, text: str | None, electrons: float | None) -> list[int] | None:
    """Return band numbers from 0 of a text such as ``4,6-8`` or ``vbm,cbm``."""
    from dock.core.spin import Spin
    from dock.errors import MissingDataError, UsageError

    if text is None:
        return None
    found: list[int] = []
    for part in (piece.strip().lower() for piece in text.split(",")):
        if part in ("vbm", "cbm"):
            count = calc.n_electrons if electrons is None else electrons
            if count is None:
                raise MissingDataError(
                    "the number of electrons", calc.source, "Give it with --electrons N."
                )
            channels = 2 if calc.spin is not Spin.NONCOLLINEAR else 1
            filled = round(count / channels)
            found.append(filled - 1 if part == "vbm" else filled)
            continue
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
            raise UsageError(
                f"--bands takes numbers from 1, ranges, vbm and cbm, such as 4,6-8; found '{part}'."
            )
        found += range(int(first) - 1, int(last))
    return sorted(set(found))
