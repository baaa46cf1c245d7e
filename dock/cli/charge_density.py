"""``dock charge-density``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dock.cli._common import (
    Progress,
    echo_json,
    json_option,
    overwrite_option,
    parse_settings,
    quiet_option,
    show_log,
    table,
)

if TYPE_CHECKING:
    from dock.core.calculation import Calculation
    from dock.post.density_grid import GridDensity

__all__ = ["charge_density"]

_LOG = logging.getLogger(__name__)
_MISSED, _MISSED_SHARE = 1e-4, 5e-6  # electrons; of all electrons, in large cells
_FAR = 1e-2  # of all electrons: no matter of the grid


@click.command(
    name="charge-density",
    epilog="""\b
More examples:
  dock charge-density run --basis pao -o rho.cube --spacing 0.1
  dock charge-density run --basis ions --window -1 0 -o ldos.cube     local density of states
  dock charge-density si_deeph --basis pao --set Si=Si7.0-s2p2d1 --mesh 8 8 8
""",
)
@click.argument("path", default=".", type=click.Path(path_type=Path))
@click.option("--from", "source", metavar="FORMAT", help="Format; default: recognised.")
@click.option(
    "--basis", type=click.Path(path_type=Path), metavar="DIR", help="The code's basis files."
)
@click.option("--set", "settings", multiple=True, metavar="C=C6.0-s2p2d1", help="OpenMX's basis.")
@click.option("--grid", type=int, nargs=3, metavar="N1 N2 N3", help="Numbers of grid points.")
@click.option("--spacing", type=float, metavar="X", help="Distance of grid points, Å [0.1].")
@click.option(
    "--oversample",
    type=click.IntRange(1, 8),
    metavar="N",
    default=1,
    show_default=True,
    help="Means over the box around each point, from N points along each axis, not values at "
    "the points: right integrals where orbitals are steep.",
)
@click.option(
    "--window",
    type=float,
    nargs=2,
    metavar="EMIN EMAX",
    help="Local density of states of these energies, eV from the Fermi level.",
)
@click.option("--recompute", is_flag=True, help="Compute the density matrix, though there is one.")
@click.option("--mesh", type=int, nargs=3, metavar="N1 N2 N3", help="k-points for that.")
@click.option("--electrons", type=float, metavar="N", help="Valence electrons per cell.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help=".h5, .cube or .xsf [default: charge_density.h5 beside PATH]",
)
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Sum along c.")
@overwrite_option
@click.option("-j", "--jobs", type=int, help="Threads [default: the CPUs this process may use].")
@json_option
@quiet_option
def charge_density(
    path: Path,
    source: str | None,
    basis: Path | None,
    settings: tuple[str, ...],
    grid: tuple[int, int, int] | None,
    spacing: float | None,
    oversample: int,
    window: tuple[float, float] | None,
    recompute: bool,
    mesh: tuple[int, int, int] | None,
    electrons: float | None,
    output: Path | None,
    plot: Path | None,
    overwrite: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Put charge and spin density on a grid, or the local density of states of a window.

    \b
    Example:
      dock charge-density run --basis pao

    The density matrix is that of the folder, or is computed from H and S. The orbitals come from
    the code's basis files: .ion (SIESTA), .pao (OpenMX), .orb (ABACUS). The result must integrate
    to the electrons; both numbers are printed.
    """
    from dock.grid.grid import make_grid, require_radials
    from dock.post.density_grid import charge_density as compute

    show_log(quiet=quiet)
    name = "charge_density.h5" if window is None else "local_dos.h5"
    target = output or (path if path.is_dir() else path.parent) / name
    require_free(target, plot, overwrite=overwrite)
    calc = read_with_basis(path, source, basis, settings)
    require_radials(calc.basis, calc.source)
    points = make_grid(calc.structure, grid or None, spacing=spacing)
    options: dict[str, Any] = {"mesh": mesh or None, "electrons": electrons, "jobs": jobs}
    density = _density_matrix(calc, window or None, recompute=recompute, **options)
    bar = Progress(1, "blocks", quiet=quiet)

    def progress(done: int, total: int) -> None:
        nonlocal bar
        if bar.total != total:
            bar = Progress(total, "blocks", quiet=quiet)
        bar.update(done)

    kind = "charge density" if window is None else "local density of states"
    overlap = calc.get("overlap")
    result = compute(
        density,
        points,
        overlap=overlap,
        kind=kind,
        oversample=oversample,
        jobs=jobs,
        progress=progress,
    )
    _report_missed(result)
    written = result.save(target, overwrite=overwrite)
    if plot is not None:
        written.append(result.plot(plot, overwrite=overwrite))
    _print(result, written, as_json=as_json)


def _report_missed(result: GridDensity) -> None:
    """Say when ∫ρ is not Tr(ρS), and what mends it."""
    if result.missed > max(_MISSED, _FAR * abs(result.expected)):
        _LOG.warning(
            "the grid has %.4g electrons, Tr(ρS) is %.4g: no grid mends that. Do the basis files, "
            "the overlap and the density matrix belong together?",
            result.n_electrons,
            result.expected,
        )
    elif result.missed > max(_MISSED, _MISSED_SHARE * abs(result.expected)):
        _LOG.warning(
            "the grid misses %.1e electrons: a finer --spacing or a larger --oversample mends "
            "that, unless the overlap is that of other or of cut orbitals.",
            result.missed,
        )


def read_with_basis(
    path: Path, source: str | None, basis: Path | None, settings: tuple[str, ...]
) -> Calculation:
    """Read a calculation and its radial functions."""
    from dock.converters import read
    from dock.grid.grid import with_radials

    if basis is None:
        return read(path, source)
    strings = parse_settings(settings)
    calc = read(path, source, basis=basis)
    radial = all(
        shell.radial is not None
        for label in calc.basis.species
        for shell in calc.basis.shells[label]
    )
    return calc if radial and not strings else with_radials(calc, basis, strings=strings or None)


def _density_matrix(
    calc: Calculation,
    window: tuple[float, float] | None,
    *,
    recompute: bool,
    mesh: tuple[int, int, int] | None,
    electrons: float | None,
    jobs: int | None,
) -> Any:
    """Return the density matrix of the folder, a new one, or that of a window."""
    from dock.errors import MissingDataError
    from dock.post.density_grid import window_density_matrix
    from dock.post.density_matrices import density_matrix
    from dock.post.fermi import fermi_level

    known = calc.get("density_matrix")
    if window is not None:
        if calc.fermi_level is None and calc.n_electrons is None and electrons is None:
            raise MissingDataError(
                "the Fermi level", calc.source, "--window counts from it: give --electrons N."
            )
        fermi = None
        if electrons is not None or calc.n_electrons is not None:
            fermi = fermi_level(calc, mesh, electrons=electrons, jobs=jobs)
        return window_density_matrix(calc, window, mesh, fermi=fermi, jobs=jobs)
    if known is not None and not recompute and mesh is None and electrons is None:
        return known
    return density_matrix(calc, mesh, electrons=electrons, jobs=jobs).density


def require_free(output: Path, plot: Path | None, *, overwrite: bool) -> None:
    """Say that a target cannot be written before an hour is spent on computing it."""
    from dock.errors import OutputError
    from dock.post.grid_files import require_grid_name
    from dock.results import require_figure_name

    require_grid_name(output)
    if plot is not None:
        require_figure_name(plot)
    there = [file for file in (output, plot) if file is not None and file.exists()]
    if there and not overwrite:
        raise OutputError(
            f"{there[0]}: exists already. Give --overwrite to replace it, or another name with -o."
        )


def _print(result: GridDensity, written: list[Path], *, as_json: bool) -> None:
    from dock.post.grid_files import density_facts

    facts = density_facts(result)
    if as_json:
        echo_json({**facts, "files": [str(file) for file in written]})
        return
    shape = "×".join(str(n) for n in result.grid.shape) + f", {result.grid.n_points} points"
    if result.oversample > 1:
        shape += f", means over boxes of {result.oversample}³"
    rows = [
        ["grid", shape],
        ["∫ρ", f"{result.n_electrons:.6f}"],
        ["Tr(ρS)", f"{result.expected:.6f}"],
    ]
    rows += [[f"∫{name}", f"{value:.6f} μ_B"] for name, value in list(result.integrals.items())[1:]]
    click.echo(table(rows))
    click.echo("\nwritten: " + ", ".join(str(file) for file in written))
