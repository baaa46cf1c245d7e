"""``dock compute-overlap``."""

from __future__ import annotations

from pathlib import Path

import click

from dock.cli import options
from dock.cli.runner import Run
from dock.results import table


@click.command(
    "compute-overlap",
    epilog="""\b
More examples:
  dock compute-overlap moire/POSCAR --basis ions --jobs 4
  dock compute-overlap co.cif --basis PAO --species C=C6.0-s2p2d1 --species O=O6.0-s2p2d1
  dock compute-overlap si.cif --basis BASIS_MOLOPT --species Si=DZVP-MOLOPT-SR-GTH
  dock compute-overlap run --basis ions --quantities S,T,r,dS --pairs run/hamiltonian.h5
  dock compute-overlap POSCAR --basis ions --spinful -o soc
  dock compute-overlap run --basis ions --quantities H0
""",
)
@click.argument("structure", default=".", type=options.PATH)
@options.basis_option
@click.option(
    "--code", default="auto", metavar="siesta|openmx|abacus|cp2k|deeph", help="Whose basis files."
)
@options.species_option
@click.option(
    "--quantities",
    default="S",
    show_default=True,
    metavar="S,T,r,dS,dT,H0",
    help="What to compute; H0: H of superposed free atoms (SIESTA's .ion.xml).",
)
@click.option(
    "--pairs",
    default="auto",
    metavar="orbital|kb|FILE.h5",
    help="Pairs of atoms: orbitals touch; also through projectors (default for H0, and ABACUS's "
    ".orb with .upf files beside them); those of a matrix (default: of an S that is there).",
)
@click.option(
    "--spinful", is_flag=True, help="Write 1₂⊗S, both spins, for other programs' spin–orbit runs."
)
@click.option("--single-precision", is_flag=True, help="Store 32-bit numbers.")
@options.run_options("overlap.h5 beside STRUCTURE", figure=False)
def compute_overlap(
    structure: Path,
    basis: Path | None,
    code: str,
    species: tuple[str, ...],
    quantities: str,
    pairs: str,
    spinful: bool,
    single_precision: bool,
    run: Run,
) -> None:
    """Compute the overlap of a structure that no DFT code has run, from the code's basis files.

    \b
    Example:
      dock compute-overlap POSCAR --basis ions

    STRUCTURE is a unified folder, POSCAR, CIF, extxyz, STRU, fdf, an OpenMX input, or a folder with
    one of them; the current folder when left out. Beside overlap.h5, POSCAR and info.json are
    written where they are missing; existing ones are kept, and must agree. The basis files are
    looked for beside STRUCTURE unless --basis is given. T is the kinetic energy,
    r the position, dS and dT the gradients. H0 is the Hamiltonian of superposed free atoms, which
    models learn to correct: compute it beside the hamiltonian.h5 of every structure to train on.
    """
    from dock.overlap_folder import OverlapJob, OverlapTarget

    target = OverlapTarget.of(structure, run.output)
    job = OverlapJob.prepare(
        structure,
        basis,
        target,
        code=code,
        strings=options.parse_settings(species, "--species"),
        pattern=pairs,
        quantities=quantities.split(","),
    )
    rows = job.write(
        target,
        quantities.split(","),
        spinful=spinful,
        single_precision=single_precision,
        overwrite=run.overwrite,
        jobs=run.jobs,
    )
    keys = ("quantity", "n_pairs", "n_entries", "path")
    cells = [[str(row[key]) for key in keys] for row in rows]
    run.tell(table(cells, ["quantity", "pairs", "entries", "file"]), *rows)
