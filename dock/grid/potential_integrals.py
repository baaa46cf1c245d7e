"""Matrix elements of a local potential, integrated on a grid of the cell.

The grid is gone through in blocks of neighbouring points: the orbitals that reach a block make one
dense product, whose parts are added to the blocks of the matrix. Time and memory grow with the
points times the orbitals that reach one of them: linearly with the atoms.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import IntArray
from dock.core.basis import Basis
from dock.core.blocks import BlockLayout
from dock.core.pairs import Pairs
from dock.core.structure import Structure
from dock.grid.blocks import Block, GridBlocks
from dock.grid.grid import Grid

__all__ = ["integrate_potential"]

_Part: TypeAlias = tuple[Block, IntArray, list[NDArray[np.float64]]]


def integrate_potential(
    structure: Structure,
    basis: Basis,
    pairs: Pairs,
    potential: NDArray[np.float64],
    *,
    jobs: int | None = None,
) -> NDArray[np.float64]:
    """Integrate φ_i V φ_j for all pairs: (n_components, n_entries), eV.

    The pairs must include all of atoms whose orbitals overlap. The potentials are
    (n_components, N_1, N_2, N_3) on a grid of the cell, eV, real.
    """
    from dock.core.block_sums import add_half

    n1, n2, n3 = potential.shape[1:]
    grid = Grid(structure, (n1, n2, n3))
    layout = BlockLayout(basis.counts[pairs.i], basis.counts[pairs.j])
    entries = np.zeros((len(potential), layout.n_entries))

    def work(block: Block) -> _Part:
        block = _touching(block)
        weights = (component[block.place].ravel() * grid.volume_element for component in potential)
        parts = [_weighted_square(block.values, weight) for weight in weights]
        return block, block.pair_index(pairs), parts

    for _, (block, index, parts) in GridBlocks.of(grid, basis).map(work, jobs=jobs):
        for component, part in enumerate(parts):
            add_half(part, block.rows, block.counts, index, layout.starts, entries[component])
    entries += layout.transpose(entries, pairs.require_closed())
    return entries


def _touching(block: Block) -> Block:
    """Return the block without the images that are zero on all of its points.

    They are a fifth in oblique cells, as the sphere around an oblique box is much larger than it.
    """
    some = np.logical_or.reduceat(block.values.any(axis=1), block.rows)
    if some.all():
        return block
    counts = block.counts[some]
    return block._replace(
        atoms=block.atoms[some],
        lattice=block.lattice[some],
        rows=np.cumsum(counts) - counts,
        counts=counts,
        values=block.values[np.repeat(some, block.counts)],
    )


def _weighted_square(
    values: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return values · diag(weight) · valuesᵀ in the lower triangle, the rest undefined.

    The weight's root goes into both factors, so that BLAS's symmetric product does half of the
    work; points of either sign are taken in turn.
    """
    from scipy.linalg.blas import dsyrk

    out: NDArray[np.float64] = np.zeros((len(values), len(values)), order="F")
    for sign in (-1.0, 1.0):
        chosen = np.flatnonzero(sign * weight > 0)
        if len(chosen) and len(values):
            some = values if len(chosen) == len(weight) else np.take(values, chosen, axis=1)
            factor = some * np.sqrt(sign * weight[chosen])
            # In Fortran's order the transpose is the matrix as it stands.
            out = dsyrk(sign, factor.T, beta=1.0, c=out, trans=1, overwrite_c=1)
    return out.T
