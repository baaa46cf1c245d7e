"""Matrix elements of a local potential, integrated on the FFT grid of the run.

The grid is gone through in blocks of neighbouring points: the orbitals that reach a block make one
dense product, whose parts are added to the blocks of the matrix. Time and memory grow with the
points times the orbitals that reach one of them: linearly with the atoms.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import IntArray
from dock.core.basis import Basis
from dock.core.blocks import BlockLayout
from dock.core.pairs import Pairs
from dock.core.structure import Structure
from dock.post.grid import Grid
from dock.post.grid_blocks import Block, GridBlocks

__all__ = ["integrate_potential"]

_PARTS = 6  # strips of rows, each from its first column on
_Part: TypeAlias = tuple[Block, IntArray, list[NDArray[np.float64]]]


def integrate_potential(
    structure: Structure,
    basis: Basis,
    pairs: Pairs,
    potential: NDArray[np.float64],
    *,
    jobs: int | None = None,
) -> NDArray[np.float64]:
    """Integrate φ_i V φ_j for all pairs.

    Parameters
    ----------
    structure, basis
        Atoms, and orbitals with radial functions.
    pairs
        Blocks wanted; they must include all pairs of atoms whose orbitals overlap.
    potential
        (n_components, N_1, N_2, N_3) potentials on a grid of the cell, eV, real.
    jobs
        Threads; default the CPUs that this process may use.

    Returns
    -------
    ndarray
        (n_components, n_entries), eV.
    """
    from dock.planewave._kernels import add_blocks

    n1, n2, n3 = potential.shape[1:]
    grid = Grid(structure, (n1, n2, n3))
    layout = BlockLayout(basis.counts[pairs.i], basis.counts[pairs.j])
    entries = np.zeros((len(potential), layout.n_entries))

    def work(block: Block) -> _Part:
        parts: list[NDArray[np.float64]] = []
        for component in potential:
            weight = component[block.place].ravel() * grid.volume_element
            parts.append(_symmetric_product(block.values * weight, block.values))
        return block, block.pair_index(pairs), parts

    for _, (block, index, parts) in GridBlocks.of(grid, basis).map(work, jobs=jobs):
        for component, part in enumerate(parts):
            add_blocks(part, block.rows, block.counts, index, layout.starts, entries[component])
    return entries


def _symmetric_product(
    left: NDArray[np.float64], right: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return left @ rightᵀ where that is symmetric, computing a little more than half of it."""
    n = len(left)
    out = np.empty((n, n))
    for low, high in pairwise(np.linspace(0, n, _PARTS + 1).astype(int)):
        out[low:high, low:] = left[low:high] @ right[low:].T
        out[high:, low:high] = out[low:high, high:].T
    return out
