"""Orthogonalisation after Löwdin on a k-mesh, back to real space, and what it costs in accuracy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.converters.bloch_mesh import from_mesh, shortest_images
from dock.core.kspace import KBuilder
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.errors import SolverError
from dock.states.problem import Problem
from dock.states.stream import levels

__all__ = ["Deviation", "converged", "deviation", "orthogonalised", "smallest_mesh"]

_PROBES = ((0.5, 0.5, 0.5), (0.5, 0.25, 0.0), (0.37, 0.21, 0.43), (0.5, 0.0, 0.0))
_LARGEST = 2**25  # complex numbers on the largest mesh that is tried: half a gigabyte
_SMALLEST = 1e-10  # an overlap with smaller eigenvalues has no useful inverse root


class Deviation(NamedTuple):
    """The largest error of the bands between the mesh points, eV.

    `occupied` looks only at the levels below the Fermi level; None where that is not known.
    """

    all_bands: float
    occupied: float | None

    @property
    def judged(self) -> float:
        """The error below the Fermi level, or that of all bands where it is not known."""
        return self.all_bands if self.occupied is None else self.occupied


def converged(
    hamiltonian: AOMatrix, overlap: AOMatrix, fermi_level: float | None, tolerance: float
) -> tuple[AOMatrix, tuple[int, int, int], Deviation]:
    """Orthogonalise on finer and finer meshes until the bands are right.

    S^(−1/2) reaches further than S, so the mesh that holds all pairs is rarely enough; the error
    falls exponentially. It is judged by the levels below the Fermi level (eV; None: by all) and
    should be at most `tolerance`, eV.

    Returned are the orthogonalised Hamiltonian, the last mesh, which is the limit of memory where
    the tolerance was not reached, and its error.
    """
    mesh = smallest_mesh(hamiltonian, overlap)
    per_point = len(hamiltonian.entries) * hamiltonian.basis.n_orbitals**2
    while True:
        matrix = orthogonalised(hamiltonian, overlap, mesh)
        error = deviation(matrix, hamiltonian, overlap, fermi_level)
        first, second, third = (n if n == 1 else n + 2 + n // 4 // 2 * 2 for n in mesh)
        too_large = first * second * third * per_point > _LARGEST or mesh == (1, 1, 1)
        if error.judged <= tolerance or too_large:
            return matrix, mesh, error
        mesh = (first, second, third)


def smallest_mesh(hamiltonian: AOMatrix, overlap: AOMatrix) -> tuple[int, int, int]:
    """Return the smallest odd mesh whose cells hold every lattice vector of H and S."""
    vectors = np.concatenate([hamiltonian.pairs.lattice_vectors, overlap.pairs.lattice_vectors])
    first, second, third = (2 * int(n) + 1 for n in np.abs(vectors).max(axis=0, initial=0))
    return first, second, third


def orthogonalised(
    hamiltonian: AOMatrix, overlap: AOMatrix, mesh: tuple[int, int, int]
) -> AOMatrix:
    """Return S^(−1/2) H S^(−1/2) in real space.

    The spectrum is exact at the points of the Γ-centred mesh and an interpolation elsewhere. Each
    R stands at its shortest image for every atom pair, the weight shared among equal ones.

    Raises
    ------
    SolverError
        When S(k) is not positive definite.
    """
    build_h, build_s = KBuilder(hamiltonian), KBuilder(overlap, spinor=False)
    axes = np.stack(np.meshgrid(*(np.arange(n) / n for n in mesh), indexing="ij"), axis=-1)
    points = axes.reshape(-1, 3)
    size = hamiltonian.basis.n_orbitals
    shape = (len(hamiltonian.entries), len(points), size, size)
    bloch = np.empty(shape, dtype=np.complex128)
    halves = (slice(0, size), slice(size, 2 * size))
    for number, k in enumerate(points):
        root = _inverse_root(build_s.dense(k), k)
        H = np.asarray(build_h.dense(k))
        if build_h.spinor:
            H = np.stack([H[s, t] for s in halves for t in halves])
        bloch[:, number] = root @ H @ root
    images = shortest_images(hamiltonian.structure, mesh)
    entries = from_mesh(bloch, mesh, hamiltonian.basis, images.pairs)
    counts = hamiltonian.basis.counts
    entries *= np.repeat(images.weights, counts[images.pairs.i] * counts[images.pairs.j])
    if hamiltonian.spin is not Spin.NONCOLLINEAR and not hamiltonian.is_complex:
        entries = np.ascontiguousarray(entries.real)
    return replace(hamiltonian, pairs=images.pairs, entries=entries).hermitian_part()


def deviation(
    orthogonal: AOMatrix, hamiltonian: AOMatrix, overlap: AOMatrix, fermi_level: float | None
) -> Deviation:
    """Compare the bands of an orthogonalised Hamiltonian with those of the pair (H, S), in eV."""
    k_points = np.array(_PROBES) * np.array(hamiltonian.pairs.periodic_axes)
    expected = levels(Problem(hamiltonian, overlap), k_points).energies
    build = KBuilder(orthogonal)
    ours = np.stack([np.linalg.eigvalsh(build.dense(k)) for k in k_points])
    error = np.abs(np.moveaxis(ours.reshape(len(k_points), *expected.shape[::2]), 0, 1) - expected)
    if fermi_level is None:
        return Deviation(float(error.max()), None)
    return Deviation(float(error.max()), float(error[expected <= fermi_level].max(initial=0.0)))


def _inverse_root(S: NDArray[Any], k: NDArray[np.float64]) -> NDArray[Any]:
    """Return S^(−1/2)."""
    values, vectors = np.linalg.eigh(S)
    if values[0] < _SMALLEST:
        raise SolverError(
            f"S(k) has the eigenvalue {values[0]:.1e} at k = {np.round(k, 4).tolist()}: the basis "
            "cannot be orthogonalised. Write H and S as a pair with "
            "settings={'orthogonal': 'no'}."
        )
    root: NDArray[Any] = (vectors / np.sqrt(values)) @ vectors.conj().T
    return root
