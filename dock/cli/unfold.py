"""``dock unfold``."""

from __future__ import annotations

from collections.abc import Mapping
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
    from dock.post.unfold import Unfolded

__all__ = ["parse_atoms", "unfold"]


@click.command(
    epilog="""\b
More examples:
  dock unfold moire --primitive layer/POSCAR --layers --window -2 2 --plot unfolded.png
  dock unfold defect --supercell '4 4 1' --path GMKG --points 60
  dock unfold run --primitive POSCAR --method functions --basis ions
"""
)
@click.argument("path", default=".", type=click.Path(path_type=Path))
@click.option("--from", "source", metavar="FORMAT", help="Format; default: recognised.")
@click.option(
    "--primitive",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Structure of the primitive cell, oriented as in the supercell.",
)
@click.option(
    "--supercell", metavar="N...", help="Or: three numbers, or nine for a matrix, as 'N1 N2 N3'."
)
@click.option(
    "--path",
    "k_path",
    default="auto",
    show_default=True,
    metavar="auto|GMKG|FILE",
    help="The path in the primitive zone.",
)
@click.option("--points", type=int, metavar="N", help="Points on the longest segment [50].")
@click.option(
    "--method",
    type=click.Choice(["sites", "functions"]),
    default="sites",
    show_default=True,
    help="Map atoms on sites, or move the orbitals in space.",
)
@click.option("--basis", type=click.Path(path_type=Path), metavar="DIR", help="For functions.")
@click.option("--set", "settings", multiple=True, metavar="C=C6.0-s2p2d1", help="OpenMX's basis.")
@click.option("--atoms", metavar="1-12,15", help="Project on these atoms alone, from 1.")
@click.option("--layers", is_flag=True, help="Give the share of each layer along the third axis.")
@click.option("--tolerance", type=float, default=0.5, show_default=True, help="Reach of a site, Å.")
@click.option("--window", type=float, nargs=2, metavar="EMIN EMAX", help="Only these energies, eV.")
@click.option("--sigma", type=float, default=0.05, show_default=True, help="Width of A(k, E), eV.")
@click.option("--fermi", type=float, metavar="E", help="Fermi level in eV, absolute.")
@click.option(
    "--s-threshold", type=float, metavar="X", help="Project out overlap eigenvalues below X."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="[default: unfold.h5 beside PATH]"
)
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Map of A(k, E).")
@overwrite_option
@click.option("-j", "--jobs", type=int, help="Threads [default: the CPUs this process may use].")
@json_option
@quiet_option
def unfold(
    path: Path,
    source: str | None,
    primitive: Path | None,
    supercell: str | None,
    k_path: str,
    points: int | None,
    method: str,
    basis: Path | None,
    settings: tuple[str, ...],
    atoms: str | None,
    layers: bool,
    tolerance: float,
    window: tuple[float, float] | None,
    sigma: float,
    fermi: float | None,
    s_threshold: float | None,
    output: Path | None,
    plot: Path | None,
    overwrite: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Unfold the bands of a supercell onto its primitive cell.

    \b
    Example:
      dock unfold supercell --supercell '3 3 1' --plot unfolded.png

    Writes unfold.h5 with the energies, their spectral weights and the map A(k, E).
    """
    from dock.converters import read
    from dock.grid.grid import with_radials
    from dock.post.unfold import unfold as compute
    from dock.post.unfold_sites import layers_of

    show_log(quiet=quiet)
    target = output or (path if path.is_dir() else path.parent) / "unfold.h5"
    _require_free(target, plot, overwrite=overwrite)
    calc = read(path, source).replace(fermi_level=fermi)
    if basis is not None:
        calc = with_radials(calc, basis, strings=parse_settings(settings) or None)
    bar = Progress(1, "k-points", quiet=quiet)

    def progress(done: int, total: int) -> None:
        nonlocal bar
        if bar.total != total:
            bar = Progress(total, "k-points", quiet=quiet)
        bar.update(done)

    options: Mapping[str, Any] = {
        "points": points,
        "method": method,
        "atoms": None if atoms is None else parse_atoms(atoms, calc.structure.n_atoms),
        "groups": layers_of(calc.structure) if layers else None,
        "tolerance": tolerance,
        "window": window or None,
        "s_threshold": s_threshold,
        "jobs": jobs,
    }
    result = compute(calc, _cell(primitive, supercell), k_path, progress=progress, **options)
    written = result.save(target, window=window or None, sigma=sigma, overwrite=overwrite)
    if plot is not None:
        written.append(result.plot(plot, window=window or None, sigma=sigma, overwrite=overwrite))
    _print(result, written, as_json=as_json)


def parse_atoms(text: str, n_atoms: int) -> list[int]:
    """Return atom numbers from 0 of a text such as ``1-12,15``, which counts from 1.

    Examples
    --------
    >>> parse_atoms("1-3,6", 8)
    [0, 1, 2, 5]
    """
    from dock.errors import UsageError

    found: list[int] = []
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        last = last if dash else first
        good = first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= n_atoms
        if not good:
            raise UsageError(
                f"atoms are numbers and ranges from 1 to {n_atoms}, such as 1-3,6; found '{part}'."
            )
        found += range(int(first) - 1, int(last))
    return sorted(set(found))


def _cell(primitive: Path | None, supercell: str | None) -> Any:
    """Return the primitive structure, or the supercell matrix."""
    from dock.converters.structure_files import read_structure
    from dock.errors import UsageError

    if (primitive is None) == (supercell is None):
        raise UsageError("give --primitive FILE (the primitive cell) or --supercell 'N1 N2 N3'.")
    if primitive is not None:
        return read_structure(primitive).structure
    words = (supercell or "").replace(",", " ").split()
    if len(words) not in (3, 9) or not all(word.lstrip("+-").isdecimal() for word in words):
        raise UsageError(f"--supercell takes three or nine whole numbers, found '{supercell}'.")
    numbers = [int(word) for word in words]
    return numbers if len(words) == 3 else [numbers[row : row + 3] for row in (0, 3, 6)]


def _require_free(output: Path, plot: Path | None, *, overwrite: bool) -> None:
    from dock.errors import OutputError, UsageError
    from dock.results import require_figure_name

    if output.suffix == ".json":
        raise UsageError(f"{output}: name the HDF5 file; the .json comes beside it.")
    if plot is not None:
        require_figure_name(plot)
    there = [file for file in (output, plot) if file is not None and file.exists()]
    if there and not overwrite:
        raise OutputError(
            f"{there[0]}: exists already. Give --overwrite to replace it, or another name with -o."
        )


def _print(result: Unfolded, written: list[Path], *, as_json: bool) -> None:
    import numpy as np

    content = {
        "n_cells": result.n_cells,
        "supercell": result.supercell.tolist(),
        "primitive": result.primitive.formula,
        "method": result.method,
        "n_kpoints": result.path.n_kpoints,
        "n_states": int(result.energies.shape[2]),
        "largest_weight": float(np.nanmax(result.weights)),
        "fermi_energy_eV": result.fermi_level,
        "groups": list(result.group_names),
        "note": result.note,
        "files": [str(file) for file in written],
    }
    if as_json:
        echo_json(content)
        return
    labels = " ".join(f"{first}–{last}" for first, last in result.path.labels)
    rows = [
        ["supercell", f"{result.n_cells} cells of {result.primitive.formula}"],
        ["path", f"{labels}, {result.path.n_kpoints} k-points"],
        ["states", f"{content['n_states']}, method {result.method}"],
    ]
    if result.group_names:
        rows.append(["groups", ", ".join(result.group_names)])
    if result.note:
        rows.append(["note", result.note])
    click.echo(table(rows))
    click.echo("\nwritten: " + ", ".join(str(file) for file in written))
