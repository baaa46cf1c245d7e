"""H and S of a layer by itself: blocks between its atoms, averaged over its primitive cells."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.structure import Structure
from dock.states.layers.lattice import Lattice

__all__ = ["averaged"]

_CHUNK = 2**22  # entries that are summed at once


def averaged(matrix: AOMatrix, layer: Lattice) -> AOMatrix:
    """Return ⟨i, 0|O|j, T⟩ of a layer's primitive cell: means over all cells of the layer."""
    n_cells, n_sites = layer.atoms.shape
    place = np.full(matrix.structure.n_atoms, -1, dtype=np.int64)
    shift = np.zeros((matrix.structure.n_atoms, 3), dtype=np.int64)
    place[layer.atoms] = np.arange(n_sites)
    shift[layer.atoms] = layer.cells
    pairs = matrix.pairs
    inside = np.flatnonzero((place[pairs.i] >= 0) & (place[pairs.j] >= 0))
    i, j = pairs.i[inside], pairs.j[inside]
    T = shift[j] + pairs.R[inside] @ layer.transform - shift[i]
    found, which = np.unique(np.column_stack([T, place[i], place[j]]), axis=0, return_inverse=True)
    which = which.ravel()
    atoms = layer.atoms[0]
    structure = matrix.structure
    primitive = Structure(
        np.linalg.solve(layer.transform.astype(np.float64), structure.cell),
        structure.positions[atoms],
        structure.numbers[atoms],
        tuple(structure.labels[atom] for atom in atoms),
        structure.pbc,
    )
    basis = matrix.basis.select(atoms)
    small = Pairs(found[:, :3], found[:, 3], found[:, 4], n_sites)
    sizes = basis.counts[small.i] * basis.counts[small.j]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    entries = np.zeros((len(matrix.entries), starts[-1]), dtype=matrix.entries.dtype)
    lengths = sizes[which]
    step = max(1, _CHUNK // int(sizes.max()))
    for begin in range(0, len(inside), step):
        some = slice(begin, begin + step)
        length = lengths[some]
        within = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
        source = np.repeat(matrix.layout.starts[inside[some]], length) + within
        target = np.repeat(starts[which[some]], length) + within
        for sums, values in zip(entries, matrix.entries, strict=True):
            _add(sums, target, values[source])
    return AOMatrix(matrix.quantity, primitive, basis, small, matrix.spin, entries / n_cells)


def _add(sums: NDArray[Any], target: NDArray[np.int64], values: NDArray[Any]) -> None:
    """Add values at places that occur many times."""
    size = len(sums)
    sums += np.bincount(target, values.real, minlength=size)
    if np.iscomplexobj(values):
        sums += 1j * np.bincount(target, values.imag, minlength=size)
