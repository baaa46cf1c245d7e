"""Changed copies of a structure for training sets: random displacements, strain, shifted layers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.arrays import FloatArray
from dock.core.structure import AnyStructure, Structure
from dock.errors import UsageError
from dock.structures.built import BuiltStructure

__all__ = ["find_layers", "perturb", "shift_layers", "write_perturbed"]


def perturb(
    structure: AnyStructure, amplitude: float, *, seed: int, strain: float = 0.0
) -> Structure:
    """Displace every atom at random, and deform the cell at random.

    Parameters
    ----------
    amplitude
        Largest displacement along each axis, Å (uniform between −amplitude and +amplitude).
    seed
        Seed of the random numbers: the same seed gives the same structure.
    strain
        Largest element of the random symmetric strain of the cell; along directions that are not
        periodic nothing is strained.

    Examples
    --------
    >>> from dock.structures import hexagonal_layer
    >>> moved = perturb(hexagonal_layer("graphene"), 0.1, seed=3)
    >>> bool(abs(moved.positions - hexagonal_layer("graphene").positions).max() <= 0.1)
    True
    """
    if not (amplitude >= 0 and 0 <= strain < 0.5):
        raise UsageError(
            f"amplitude {amplitude} Å and strain {strain} must be 0 or more, strain below 0.5."
        )
    if not np.isfinite(amplitude):
        raise UsageError(f"the amplitude {amplitude} is not finite.")
    structure = Structure.of(structure)
    rng = np.random.default_rng(seed)
    shift = rng.uniform(-amplitude, amplitude, structure.positions.shape)
    noise = rng.uniform(-strain, strain, (3, 3))
    rigid = ~np.array(structure.pbc)
    noise[rigid, :] = noise[:, rigid] = 0
    deform = np.eye(3) + (noise + noise.T) / 2
    positions = structure.positions @ deform + shift
    return replace(structure, cell=structure.cell @ deform, positions=positions)


def write_perturbed(
    structure: AnyStructure,
    folder: str | Path,
    amplitude: float,
    *,
    count: int = 1,
    seed: int = 0,
    strain: float = 0.0,
    overwrite: bool = False,
) -> list[Path]:
    """Write perturbed copies as ``000/POSCAR``, ``001/POSCAR``, … into a folder; return the files.

    The folder is made where it is missing. The first copy is `perturb` with the seed, each next one
    has the next seed. A file that exists or cannot be written raises `OutputError`.
    """
    width = max(3, len(str(count - 1)))
    files = []
    for index in range(count):
        copy = BuiltStructure(perturb(structure, amplitude, seed=seed + index, strain=strain))
        files += copy.save(Path(folder) / f"{index:0{width}d}" / "POSCAR", overwrite=overwrite)
    return files


def find_layers(structure: AnyStructure, gap: float = 2.2) -> NDArray[np.int64]:
    """Return the layer of each atom, from 0 at the bottom: layers are apart by more than `gap` Å.

    Heights count along the normal of the first two lattice vectors; a periodic structure is cut
    at its largest gap.
    """
    structure = Structure.of(structure)
    normal = _normal(structure)
    period = abs(float(structure.cell[2] @ normal))
    heights = structure.positions @ normal
    if structure.pbc[2]:
        heights = heights % period
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order])
    start = 0
    if structure.pbc[2] and len(steps):
        around = period - (heights[order[-1]] - heights[order[0]])
        if steps.max() > around:
            start = int(np.argmax(steps)) + 1
        steps = np.append(steps, around)
    order = np.roll(order, -start)
    steps = np.roll(steps, -start)[: len(order) - 1]
    layer = np.empty(structure.n_atoms, dtype=np.int64)
    layer[order] = np.concatenate([[0], np.cumsum(steps > gap)])
    return layer


def shift_layers(
    structure: AnyStructure, shift: ArrayLike, *, layer: int = -1, gap: float = 2.2
) -> Structure:
    """Shift one layer of a layered structure against the others.

    Parameters
    ----------
    structure, gap
        Layers parallel to the first two lattice vectors, and the height that parts them, Å.
    shift
        Three numbers: fractions of the first two lattice vectors, and a height in Å along the
        normal.
    layer
        The layer that moves, from 0 at the bottom; −1 is the top one.

    Raises
    ------
    UsageError
        When there is one layer only, or not so many.
    """
    vector = np.asarray(shift, dtype=np.float64)
    if vector.shape != (3,) or not np.isfinite(vector).all():
        raise UsageError(
            f"a shift is three numbers (two fractions, one height), found {vector.tolist()}."
        )
    structure = Structure.of(structure)
    layers = find_layers(structure, gap)
    count = int(layers.max()) + 1
    if count < 2 or not -count <= layer < count:
        raise UsageError(
            f"layer {layer} was asked for, but {count} layer(s) are apart by more than {gap} Å."
        )
    a, b, _ = structure.cell
    positions = np.array(structure.positions)
    move = vector[0] * a + vector[1] * b + vector[2] * _normal(structure)
    positions[layers == layer % count] += move
    return replace(structure, positions=positions)


def _normal(structure: Structure) -> FloatArray:
    """Return the unit vector along the normal of the first two lattice vectors."""
    normal: FloatArray = np.cross(structure.cell[0], structure.cell[1])
    normal /= np.linalg.norm(normal)
    return normal
