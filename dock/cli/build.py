"""``dock build``: structures for training sets and moiré cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dock.cli import options
from dock.cli.runner import Run
from dock.errors import UsageError

if TYPE_CHECKING:
    from dock.core.structure import Structure
    from dock.structures.built import BuiltStructure

_output = options.run_options("POSCAR", figure=False, jobs=False)


@click.group(
    epilog="""\b
Examples:
  dock build twisted-bilayer --layer graphene --m 30 -o moire/POSCAR
  dock build perturb POSCAR --amplitude 0.1 --count 100 -o training
"""
)
def build() -> None:
    """Make structures: twisted bilayers, perturbed copies, supercells, shifted layers."""


@build.command(
    "twisted-bilayer",
    epilog="""\b
More examples:
  dock build twisted-bilayer --layer MoS2 --m 5 --distance 3.0
  dock build twisted-bilayer --bottom BN.vasp --top C.vasp --integers 55 0 0 55 56 0 0 56
""",
)
@click.option("--layer", metavar="NAME", help="Both layers: graphene, BN, MoS2, WSe2, ...")
@click.option("--bottom", type=options.PATH, metavar="POSCAR", help="Bottom layer.")
@click.option("--top", type=options.PATH, metavar="POSCAR", help="[default: bottom]")
@click.option("--m", type=int, metavar="M", help="Commensurate family (m, n) of hexagonal layers.")
@click.option("--n", type=int, metavar="N", help="[default: m + 1]")
@click.option(
    "--integers", type=int, nargs=8, metavar="B11 B12 B21 B22 T11 T12 T21 T22",
    help="Supercell vectors of the bottom and the top layer, in the vectors that each is given "
    "with (--layer: at 60°).",
)  # fmt: skip
@click.option(
    "--distance", type=float, default=3.35, show_default=True, metavar="Å",
    help="From the highest atom of the bottom to the lowest of the top layer.",
)  # fmt: skip
@click.option("--vacuum", type=float, default=20.0, show_default=True, metavar="Å")
@options.choice("--strain", ["top", "bottom", "both"], "top", "The layer that is deformed to fit.")
@click.option("--shear", is_flag=True, help="Let a layer be sheared to fit.")
@_output
def twisted(
    layer: str | None,
    bottom: Path | None,
    top: Path | None,
    m: int | None,
    n: int | None,
    integers: tuple[int, ...],
    distance: float,
    vacuum: float,
    strain: Any,
    shear: bool,
    run: Run,
) -> None:
    """Stack two layers on a common supercell and say what strain that takes.

    \b
    Example:
      dock build twisted-bilayer --layer graphene --m 30 -o moire/POSCAR   (1.08°, 11164 atoms)
    """
    from dock.structures import twisted_bilayer

    layers = _layers(layer, bottom, top)
    matrices = _matrices(m, n, integers, layers)
    how: dict[str, Any] = {"strain": strain, "shear": shear}
    made = twisted_bilayer(*layers, matrices, distance=distance, vacuum=vacuum, **how)
    _finish(made, run)


@build.command(
    epilog="\b\nExample:\n  dock build perturb POSCAR --amplitude 0.1 --count 100 -o set"
)
@click.argument("structure", type=options.PATH)
@click.option("--amplitude", type=float, required=True, metavar="Å", help="Largest displacement.")
@click.option("--strain", type=float, default=0.0, show_default=True, help="Largest random strain.")
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same structures.")
@options.run_options("folder perturbed, with 000/POSCAR, 001/POSCAR, ...", figure=False, jobs=False)
def perturb(
    structure: Path, amplitude: float, strain: float, count: int, seed: int, run: Run
) -> None:
    """Make copies of a structure with random displacements and strain.

    \b
    Example:
      dock build perturb POSCAR --amplitude 0.1 --count 100 -o set
    """
    from dock.converters.structure_files import read_structure
    from dock.structures import write_perturbed

    start = read_structure(structure).structure
    folder = run.output or Path("perturbed")
    several: dict[str, Any] = {"count": count, "seed": seed, "strain": strain}
    files = write_perturbed(start, folder, amplitude, **several, overwrite=run.overwrite)
    contents = [{"seed": seed + n, "files": [str(file)]} for n, file in enumerate(files)]
    text = f"{folder}: {count} structures of {start.n_atoms} atoms, seeds from {seed}"
    run.tell(text, *contents)


@build.command(epilog="\b\nExample:\n  dock build supercell POSCAR 3 3 1 -o super/POSCAR")
@click.argument("structure", type=options.PATH)
@click.argument("repeat", type=int, nargs=-1, metavar="N1 N2 N3 | NINE INTEGERS")
@_output
def supercell(structure: Path, repeat: tuple[int, ...], run: Run) -> None:
    """Repeat a structure: three counts, or the nine integers of a matrix (rows: new vectors).

    \b
    Example:
      dock build supercell POSCAR 3 3 1 -o super/POSCAR
    """
    import numpy as np

    from dock.converters.structure_files import read_structure
    from dock.structures import BuiltStructure

    if len(repeat) not in (3, 9):
        raise UsageError(f"a supercell takes 3 or 9 integers, found {len(repeat)}.")
    matrix = np.array(repeat) if len(repeat) == 3 else np.array(repeat).reshape(3, 3)
    _finish(BuiltStructure(read_structure(structure).structure.supercell(matrix)), run)


@build.command(
    "shift-layers",
    epilog="\b\nExample:\n  dock build shift-layers POSCAR 0.333 0.333 0 -o shifted/POSCAR",
)
@click.argument("structure", type=options.PATH)
@click.argument("shift", type=float, nargs=3, metavar="F1 F2 Å")
@click.option("--layer", type=int, default=-1, show_default=True, help="From 0; -1 is the top one.")
@click.option(
    "--gap", type=float, default=2.2, show_default=True, help="Å between layers, at least."
)
@_output
def shift(
    structure: Path, shift: tuple[float, float, float], layer: int, gap: float, run: Run
) -> None:
    """Shift one layer: fractions of the first two lattice vectors, and a height in Å.

    \b
    Example:
      dock build shift-layers POSCAR 0.333 0.333 0 -o shifted/POSCAR
    """
    from dock.converters.structure_files import read_structure
    from dock.structures import BuiltStructure, shift_layers

    made = shift_layers(read_structure(structure).structure, shift, layer=layer, gap=gap)
    _finish(BuiltStructure(made), run)


def _layers(
    layer: str | None, bottom: Path | None, top: Path | None
) -> tuple[Structure, Structure]:
    from dock.converters.structure_files import read_structure
    from dock.structures import hexagonal_layer

    if (layer is None) == (bottom is None):
        raise UsageError("give either --layer NAME, or --bottom POSCAR (and --top POSCAR).")
    if layer is not None:
        same = hexagonal_layer(layer)
        return same, same
    first = read_structure(bottom or "").structure
    return first, read_structure(top).structure if top is not None else first


def _matrices(
    m: int | None, n: int | None, integers: tuple[int, ...], layers: tuple[Structure, Structure]
) -> tuple[Any, Any]:
    from dock.structures.twisted import commensurate_integers, lattice_angle

    if (m is None) == (not integers):
        raise UsageError("give either --m (and --n), or --integers with eight numbers.")
    if m is not None:
        bottom, top = layers
        return commensurate_integers(m, n, angles=(lattice_angle(bottom), lattice_angle(top)))
    b11, b12, b21, b22, t11, t12, t21, t22 = integers
    return [[b11, b12], [b21, b22]], [[t11, t12], [t21, t22]]


def _finish(made: BuiltStructure, run: Run) -> None:
    run.finish(made, run.output or Path(made.FILE))
