"""Between Bloch matrices on a Γ-centred mesh and blocks in real space.

X(R) = (1/N_k) Σ_k exp(−2πi k·R) X(k) is periodic in R with the mesh. A Hamiltonian takes each R
at its shortest image for every atom pair, with the weight shared among equally short ones; then
the Bloch sum is exact at the mesh and an interpolation elsewhere.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.basis import Basis
from dock.core.interop import orbital_indices
from dock.core.pairs import Pairs
from dock.core.structure import Structure
from dock.errors import LayoutError

__all__ = ["Images", "from_mesh", "mesh_of", "shortest_images", "to_mesh"]

_K_TOLERANCE = 1e-6
_LENGTH_TOLERANCE = 1e-5  # Å: images whose distances differ by less are equally short
_REACH = 2  # mesh periods searched for the shortest image: enough for any reduced cell


class Images(NamedTuple):
    """Pairs at their shortest images on a mesh, and the weight of each."""

    pairs: Pairs
    weights: NDArray[np.float64]


def mesh_of(k_frac: ArrayLike) -> tuple[tuple[int, int, int], NDArray[np.int64]]:
    """Return the Γ-centred mesh of k-points, and the number, last axis fastest, of each in it.

    `k_frac` is (n, 3) fractional, in any order and any cell of reciprocal space.

    Raises
    ------
    LayoutError
        When the k-points are no complete Γ-centred mesh.

    Examples
    --------
    >>> mesh_of([[0, 0, 0], [0.5, 0, 0]])[0]
    (2, 1, 1)
    """
    k = np.atleast_2d(np.asarray(k_frac, dtype=np.float64))
    sizes = [_divisions(k[:, axis]) for axis in range(3)]
    mesh = (sizes[0], sizes[1], sizes[2])
    steps = k * np.array(mesh)
    whole = np.rint(steps)
    place = np.ravel_multi_index(tuple((whole.astype(np.int64) % mesh).T), mesh)
    complete = len(k) == np.prod(mesh) and len(np.unique(place)) == len(k)
    if not complete or np.abs(steps - whole).max() > _K_TOLERANCE * max(mesh):
        raise LayoutError(
            f"the {len(k)} k-points are no complete Gamma-centred mesh. Give the size of a fine "
            "mesh (mesh=[n1, n2, n3]), or run with kpts=cell.make_kpts([n1, n2, n3]) and without "
            "k-point symmetry."
        )
    return mesh, place


def _divisions(values: NDArray[np.float64]) -> int:
    """Return how many different fractional coordinates there are."""
    wrapped = np.sort(np.round((values % 1.0) / _K_TOLERANCE) * _K_TOLERANCE % 1.0)
    return 1 + int(np.count_nonzero(np.diff(wrapped) > 2 * _K_TOLERANCE))


def shortest_images(structure: Structure, mesh: tuple[int, int, int]) -> Images:
    """Return all pairs of a mesh at their shortest images, with shared weights."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in mesh), indexing="ij"), axis=-1)
    first = grid.reshape(-1, 3)
    axis = np.arange(-_REACH, _REACH + 1)
    periods = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    candidates = first[:, None, :] + periods[None, :, :] * np.array(mesh)
    vectors = candidates @ structure.cell
    parts = []
    for i in range(structure.n_atoms):
        for j in range(structure.n_atoms):
            shift = structure.positions[j] - structure.positions[i]
            length = np.linalg.norm(vectors + shift, axis=-1)
            best = length < length.min(axis=1, keepdims=True) + _LENGTH_TOLERANCE
            where = np.nonzero(best)
            weight = 1.0 / best.sum(axis=1)[where[0]]
            atoms = np.full((len(weight), 2), (i, j))
            parts.append((candidates[where], atoms, weight))
    R, atoms, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    pairs = Pairs(R, atoms[:, 0], atoms[:, 1], structure.n_atoms)
    pairs.require_closed()
    return Images(pairs, weights)


def from_mesh(
    bloch: NDArray[Any], mesh: tuple[int, int, int], basis: Basis, pairs: Pairs
) -> NDArray[Any]:
    """Return X(R) on given pairs, without weights, (n_components, n_entries), complex.

    `bloch` is (n_components, n_k, N, N) in the order of the mesh, orbitals as in `basis`.
    """
    grid = bloch.reshape(len(bloch), *mesh, -1)
    folded = np.fft.fftn(grid, axes=(1, 2, 3), norm="forward").reshape(len(bloch), -1)
    return folded[:, _places(mesh, basis, pairs)]


def _places(mesh: tuple[int, int, int], basis: Basis, pairs: Pairs) -> NDArray[np.int64]:
    """Return where each entry of the pairs stands in the flat (n_k, N, N) of a mesh."""
    size = basis.n_orbitals
    row, col = orbital_indices(basis, pairs)
    cell = np.ravel_multi_index(tuple((pairs.R % mesh).T), mesh)
    sizes = basis.counts[pairs.i] * basis.counts[pairs.j]
    return (np.repeat(cell, sizes) * size + row) * size + col


def to_mesh(
    entries: NDArray[Any], mesh: tuple[int, int, int], basis: Basis, pairs: Pairs
) -> NDArray[Any]:
    """Return Bloch matrices of a quantity that is periodic in R; the inverse of `from_mesh`.

    They are (n_components, n_k, N, N) complex, in the order of the mesh. Images of one R on the
    mesh are averaged, as they hold the same numbers; an R that no pair has counts as zero.
    """
    size, n_k = basis.n_orbitals, int(np.prod(mesh))
    index = _places(mesh, basis, pairs)
    length = n_k * size * size
    share = np.maximum(np.bincount(index, minlength=length), 1)
    folded = np.empty((len(entries), length), dtype=np.complex128)
    for component, values in enumerate(entries):
        folded[component].real = np.bincount(index, values.real, length) / share
        folded[component].imag = np.bincount(index, np.imag(values), length) / share
    grid = folded.reshape(len(entries), *mesh, size, size)
    return np.fft.ifftn(grid, axes=(1, 2, 3), norm="forward").reshape(-1, n_k, size, size)
