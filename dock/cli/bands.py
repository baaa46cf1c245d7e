"""``dock bands``."""

from __future__ import annotations

from functools import partial
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
    from dock.post.band_structure import BandStructure
    from dock.post.fat_bands import FatBands
    from dock.states.gap import Edge

__all__ = ["bands"]


@click.command(
    epilog="""\b
More examples:
  dock bands si_deeph --path LGX --points 40 --plot bands.png
  dock bands si_deeph --project species,l --plot fat.png
  dock bands moire/hamiltonian_pred.h5 --path K_PATH --window -1 1
  dock bands predicted/hamiltonian_pred.h5 --compare dft --plot both.png
"""
)
@click.argument("path", default=".", type=click.Path(path_type=Path))
@click.option("--from", "source", metavar="FORMAT", help="Format; default: recognised.")
@click.option(
    "--path",
    "k_path",
    default="auto",
    show_default=True,
    metavar="auto|GMKG|FILE",
    help="The path: automatic in the given cell, labels, or a K_PATH file.",
)
@click.option(
    "--points", type=int, metavar="N", help="Points on the longest segment [default: 50]."
)
@click.option("--window", type=float, nargs=2, metavar="EMIN EMAX", help="Only these energies, eV.")
@click.option("--states", type=int, metavar="N", help="Only the N states nearest to --around.")
@click.option(
    "--around", type=float, default=0.0, metavar="E", help="Energy for --states [default: 0]."
)
@click.option("--fermi", type=float, metavar="E", help="Fermi level in eV, absolute.")
@click.option("--electrons", type=float, metavar="N", help="Electrons per cell, where unknown.")
@click.option(
    "--s-threshold", type=float, metavar="X", help="Project out overlap eigenvalues below X."
)
@click.option(
    "--compare", type=click.Path(path_type=Path), metavar="OTHER", help="Overlay another run."
)
@click.option("--project", metavar="FIELDS", help="Fat bands by species,atom,shell,l,m,spin.")
@click.option(
    "--scheme",
    type=click.Choice(["mulliken", "lowdin"]),
    default="mulliken",
    show_default=True,
    help="Of --project.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="[default: band.h5 beside PATH]"
)
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE", help="Figure: .png .pdf .svg"
)
@overwrite_option
@click.option("-j", "--jobs", type=int, help="Threads [default: the CPUs this process may use].")
@json_option
@quiet_option
def bands(
    path: Path,
    source: str | None,
    k_path: str,
    points: int | None,
    window: tuple[float, float] | None,
    states: int | None,
    around: float,
    fermi: float | None,
    electrons: float | None,
    s_threshold: float | None,
    compare: Path | None,
    project: str | None,
    scheme: Literal["mulliken", "lowdin"],
    output: Path | None,
    plot: Path | None,
    overwrite: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compute a band structure; write band.h5 and band.json, and a figure if asked.

    \b
    Example:
      dock bands si_deeph --plot bands.png

    PATH is a unified folder, a Hamiltonian file in one (hamiltonian_pred.h5), or a run of any code;
    the current folder when left out. Energies are given relative to the Fermi level where it is
    known. The path belongs to the cell as it is: nothing is standardised.
    """
    from dock.converters import read
    from dock.post.band_structure import Selection, make_path
    from dock.post.band_structure import bands as compute
    from dock.post.fat_bands import project_bands
    from dock.post.projections import parse_fields

    if project is not None:
        parse_fields(project)
    show_log(quiet=quiet)
    calc = read(path, source).replace(fermi_level=fermi, n_electrons=electrons)
    reference = None if compare is None else read(compare)
    if reference is not None and calc.fermi_level is None:
        # A prediction has no Fermi level of its own, but the zero of energy of its training data.
        calc = calc.replace(fermi_level=reference.fermi_level)
    selection = Selection(window or None, states, around)
    chosen = make_path(calc, k_path, points=points)
    target = output or (path if path.is_dir() else path.parent) / "band.h5"
    _require_writable(target, plot, overwrite=overwrite)
    count = calc.spin.n_channels * chosen.n_kpoints
    bar = Progress(count * (1 if compare is None else 2), "k-points", quiet=quiet)
    run = partial(compute, path=chosen, selection=selection, s_threshold=s_threshold, jobs=jobs)
    result = run(calc, progress=lambda done, _: bar.update(done))
    other = None
    if reference is not None:
        other = run(reference, progress=lambda done, _: bar.update(count + done))
        result.difference(other)  # raises, before anything is written, where they do not compare
    saved: BandStructure | FatBands = result
    if project is not None:
        saved = project_bands(
            calc, result, project, scheme=scheme, s_threshold=s_threshold, jobs=jobs
        )
    written = saved.save(target, overwrite=overwrite)
    if plot is not None:
        drawn: dict[str, Any] = {"window": window or None, "overwrite": overwrite}
        if project is not None and other is None:
            written.append(saved.plot(plot, **drawn))
        else:
            written.append(result.plot(plot, other=other, **drawn))
    if as_json:
        _print_json(result, other, written)
    else:
        _print_text(result, other, written)


def _require_writable(output: Path, plot: Path | None, *, overwrite: bool) -> None:
    """Say that a target cannot be written before an hour is spent on computing it."""
    from dock.errors import OutputError, UsageError
    from dock.post.plot import require_figure_name

    if output.suffix == ".json":
        raise UsageError(f"{output}: name the HDF5 file; the .json comes beside it.")
    targets = [output, output.with_suffix(".json")]
    if plot is not None:
        require_figure_name(plot)
        targets.append(plot)
    for target in targets:
        if not target.parent.is_dir():
            raise OutputError(f"{target}: there is no folder {target.parent}. Make it first.")
    there = [target for target in targets if target.exists()]
    if there and not overwrite:
        raise OutputError(
            f"{', '.join(map(str, there))}: exists already. Give --overwrite to replace it, or "
            "another name with -o."
        )


def _print_json(result: BandStructure, other: BandStructure | None, written: list[Path]) -> None:
    from dock.post.band_files import to_dict

    content = to_dict(result, energies=False)
    content["files"] = [str(file) for file in written]
    if other is not None:
        largest, mean = result.difference(other)
        content["difference_eV"] = {"max": largest, "mean": mean}
    echo_json(content)


def _print_text(result: BandStructure, other: BandStructure | None, written: list[Path]) -> None:
    gap, path = result.gap, result.path
    labels = " ".join(f"{first}–{last}" for first, last in path.labels)
    rows = [
        [
            "bands",
            f"{result.energies.shape[2]} at {path.n_kpoints} k-points, spin {result.spin.value}",
        ],
        ["path", labels + (f"  ({path.note})" if path.note else "")],
    ]
    if gap.fermi_level is not None:
        rows.append(["Fermi level", f"{gap.fermi_level:.6f} eV ({gap.fermi_source})"])
    else:
        rows.append(["Fermi level", "unknown: give --fermi E or --electrons N"])
    if gap.vbm is not None and gap.cbm is not None:
        kind = "direct" if gap.is_direct else f"indirect, smallest direct {gap.direct:.6f} eV"
        rows.append(["gap", f"{gap.size:.6f} eV on this path ({kind})"])
        rows += [["VBM", _edge_text(gap.vbm, result)], ["CBM", _edge_text(gap.cbm, result)]]
    else:
        rows.append(["gap", {"metal": "none: a metal"}.get(gap.kind, "unknown")])
    if result.n_removed:
        rows.append(["S projected", f"up to {result.n_removed} states left out at a k-point"])
    if not isnan(result.smallest_overlap):
        rows.append(["smallest S(k)", f"{result.smallest_overlap:.3e}"])
    if other is not None:
        largest, mean = result.difference(other)
        rows.append(
            ["compared", f"max |Δ| {largest:.6f} eV, mean {mean:.6f} eV (Fermi levels aligned)"]
        )
    click.echo(table(rows))
    for file in written:
        click.echo(file)


def _edge_text(edge: Edge, result: BandStructure) -> str:
    k = " ".join(f"{x:.4f}" for x in edge.k_frac)
    level = result.gap.fermi_level or 0.0
    spin = f", spin {('up', 'down')[edge.spin]}" if len(result.energies) == 2 else ""
    return f"{edge.energy - level:+.6f} eV at k = ({k}), band {edge.band + 1}{spin}"
