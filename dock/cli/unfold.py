"""``dock unfold``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dock.cli import options
from dock.cli.runner import Run
from dock.errors import UsageError


@click.command(
    epilog="""\b
More examples:
  dock unfold moire --primitive layer/POSCAR --layers --window -2 2 --plot unfolded.png
  dock unfold defect --supercell '4 4 1' --path GMKG --points 60
  dock unfold run --primitive POSCAR --method functions --basis ions
  dock unfold alloy --primitive POSCAR --method kpm --sigma 0.1 --window -6 6 --plot A.png
"""
)
@options.path_argument
@options.from_option
@click.option(
    "--primitive",
    type=options.PATH,
    metavar="FILE",
    help="Structure of the primitive cell, oriented as in the supercell.",
)
@click.option(
    "--supercell", metavar="N...", help="Or: three numbers, or nine for a matrix, as 'N1 N2 N3'."
)
@options.k_path_options
@options.choice(
    "--method",
    ["sites", "functions", "kpm"],
    "sites",
    "Map atoms on sites; move the orbitals in space, with --basis; sites without any state.",
)
@options.basis_option
@options.species_or_set_option
@click.option("--atoms", metavar="1-12,15", help="Project on these atoms alone, from 1.")
@click.option("--layers", is_flag=True, help="Give the share of each layer along the third axis.")
@click.option("--tolerance", type=float, default=0.5, show_default=True, help="Reach of a site, Å.")
@options.window_option("Only these energies, eV.")
@click.option(
    "--sigma",
    type=float,
    help="Width of A(k, E), eV; kpm: at the Fermi level [default: 0.05].",
)
@click.option("--moments", type=int, metavar="N", help="kpm: moments, in place of --sigma.")
@options.fermi_option
@options.threshold_option
@options.solving_options
@options.run_options("unfold.h5 beside PATH")
def unfold(
    path: Path,
    source: str | None,
    primitive: Path | None,
    supercell: str | None,
    k_path: str,
    points: int | None,
    method: Any,
    basis: Path | None,
    species: tuple[str, ...],
    atoms: str | None,
    layers: bool,
    tolerance: float,
    window: tuple[float, float] | None,
    sigma: float | None,
    moments: int | None,
    fermi: float | None,
    s_threshold: float | None,
    solving: options.Solving,
    run: Run,
) -> None:
    """Unfold the bands of a supercell onto its primitive cell.

    \b
    Example:
      dock unfold supercell --supercell '3 3 1' --plot unfolded.png

    Writes unfold.h5 with the energies, their spectral weights and the map A(k, E), which --plot
    draws. The path is one of the primitive zone.

    With --method kpm no state is computed: A(k, E) alone, by Chebyshev moments, in time and memory
    proportional to the number of atoms and to the k-points. --dry-run says both. A run that is
    killed goes on after its last block; --mpi and --shard deal the blocks out.
    """
    from dock.grid.grid import read_with_radials
    from dock.post.supercell import layers_of
    from dock.post.unfold import Unfolded, unfold as compute

    target = run.target(path, Unfolded)
    job = solving.job(target)
    strings = options.parse_settings(species, "--species")
    calc = read_with_radials(path, source, basis=basis, strings=strings).replace(fermi_level=fermi)
    chosen: dict[str, Any] = {
        "points": points,
        "atoms": None if atoms is None else options.parse_atoms(atoms, calc.structure.n_atoms),
        "groups": layers_of(calc.structure) if layers else None,
        "tolerance": tolerance,
        "window": window or None,
    }
    cell = _cell(primitive, supercell)
    if method == "kpm":
        from dock.post.chebyshev_spectral import spectral_function  # 20 ms that others need not pay

        if s_threshold is not None:
            raise UsageError("--method kpm removes no orbitals: leave out --s-threshold.")
        found = spectral_function(
            calc,
            cell,
            k_path,
            **chosen,
            resolution=sigma,
            moments=moments,
            solver=job,
            jobs=run.jobs,
            progress=run.progress("steps"),
        )
        run.finish(found, target, job=job)
        return
    if moments is not None:
        raise UsageError("--moments belongs to --method kpm: give both, or neither.")
    result = compute(
        calc,
        cell,
        k_path,
        **chosen,
        method=method,
        sigma=0.05 if sigma is None else sigma,
        s_threshold=s_threshold,
        **run.settings(job),
    )
    run.finish(result, target, of=calc, job=job)


def _cell(primitive: Path | None, supercell: str | None) -> Any:
    """Return the primitive structure, or the supercell matrix."""
    from dock.converters.structure_files import read_structure

    if (primitive is None) == (supercell is None):
        raise UsageError("give --primitive FILE (the primitive cell) or --supercell 'N1 N2 N3'.")
    if primitive is not None:
        return read_structure(primitive).structure
    words = (supercell or "").replace(",", " ").split()
    if len(words) not in (3, 9) or not all(word.lstrip("+-").isdecimal() for word in words):
        raise UsageError(f"--supercell takes three or nine whole numbers, found '{supercell}'.")
    numbers = [int(word) for word in words]
    return numbers if len(words) == 3 else [numbers[row : row + 3] for row in (0, 3, 6)]
