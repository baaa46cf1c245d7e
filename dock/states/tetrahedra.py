"""The linear tetrahedron method: a mesh divided into tetrahedra, and integrals over them.

P. E. Blöchl, O. Jepsen and O. K. Andersen, Phys. Rev. B 49, 16223 (1994). Each cell of the mesh is
cut into six tetrahedra along its shortest diagonal. Tetrahedra that symmetry makes equal are
handled once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from dock.core.structure import Structure
from dock.states._tetrahedra_shares import (
    SLAB,
    add_filled,
    corner_shares,
    filled_share,
)
from dock.states.kmesh import KMesh

__all__ = ["Tetrahedra"]


@dataclass(frozen=True, eq=False)
class Tetrahedra:
    """The tetrahedra of a mesh.

    Attributes
    ----------
    corners : int (n, 4)
        Irreducible k-points at the corners.
    volumes : float (n,)
        Shares of the reciprocal cell; the sum is 1.
    n_points
        Number of irreducible k-points.
    """

    corners: NDArray[np.int64]
    volumes: NDArray[np.float64]
    n_points: int

    @classmethod
    def of(cls, mesh: KMesh, structure: Structure) -> Tetrahedra:
        """Divide the cells of a mesh."""
        size = np.array(mesh.size)
        cells = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), -1)
        cells = cells.reshape(-1, 1, 3)
        found = []
        for shape in _six_tetrahedra(structure.reciprocal / size[:, None]):
            a, b, c = np.moveaxis((cells + shape) % size, -1, 0)
            found.append(mesh.index[(a * size[1] + b) * size[2] + c])
        corners = np.sort(np.concatenate(found), axis=1)
        distinct, counts = np.unique(corners, axis=0, return_counts=True)
        return cls(
            np.ascontiguousarray(distinct, dtype=np.int64), counts / len(corners), mesh.n_points
        )

    def occupations(
        self, energies: NDArray[np.float64], level: float, *, corrected: bool = True
    ) -> NDArray[np.float64]:
        """Return the filled weight (n_k, n_bands) of every state; the sum is the states per cell.

        Parameters
        ----------
        energies
            (n_k, n_bands) eV.
        level
            Fermi level, eV.
        corrected
            Add Blöchl's correction for the curvature of the bands.
        """
        n_bands = energies.shape[1]
        out = np.zeros(energies.size)
        for rows, values in self._slabs(energies):
            order = np.argsort(values, axis=0, kind="stable")
            e = np.take_along_axis(values, order, axis=0)
            w, density = corner_shares(np.full(e.shape[1], level), e)
            if corrected:
                w += density * (e.sum(axis=0) - 4 * e) / 40
            w *= np.repeat(self.volumes[rows], n_bands)
            corners = np.repeat(self.corners[rows].T, n_bands, axis=1)
            band = np.tile(np.arange(n_bands), len(self.corners[rows]))
            place = np.take_along_axis(corners, order, axis=0) * n_bands + band
            out += np.bincount(place.ravel(), w.ravel(), minlength=out.size)
        return out.reshape(energies.shape)

    def filled(self, energies: NDArray[np.float64], level: float) -> float:
        """Return the number of states per cell below an energy."""
        return self.counter([energies], (level, level))(level)

    def counter(
        self, parts: Iterable[NDArray[np.float64]], bracket: tuple[float, float]
    ) -> Callable[[float], float]:
        """Return a function that counts the states per cell below energies within a bracket.

        Parameters
        ----------
        parts
            (n_k, n_bands) eV of each spin channel.
        bracket
            Lowest and highest energy that will be asked for: what is full below the one or empty
            below the other is counted once.
        """
        low, high = bracket
        full, cut, volumes = 0.0, [np.empty((4, 0))], [np.empty(0)]
        for energies in parts:
            for rows, values in self._slabs(energies):
                lowest, highest = values.min(axis=0), values.max(axis=0)
                volume = np.repeat(self.volumes[rows], energies.shape[1])
                full += float(volume @ (highest <= low))
                chosen = np.flatnonzero((highest > low) & (lowest < high))
                cut.append(np.sort(values[:, chosen], axis=0))
                volumes.append(volume[chosen])
        e, volume = np.concatenate(cut, axis=1), np.concatenate(volumes)

        def count(level: float) -> float:
            slabs = (slice(at, at + SLAB) for at in range(0, len(volume), SLAB))
            return full + sum(
                float(volume[part] @ filled_share(np.full(len(volume[part]), level), e[:, part]))
                for part in slabs
            )

        return count

    def bin_states(
        self, energies: NDArray[np.float64], first: float, step: float, n_bins: int
    ) -> NDArray[np.float64]:
        """Return the number of states per cell in each of the bins of width `step` from `first`."""
        filled = np.zeros(n_bins + 1)
        for rows, values in self._slabs(energies):
            volume = np.repeat(self.volumes[rows], energies.shape[1])
            add_filled(np.sort(values, axis=0), volume, first, step, filled)
        return np.diff(filled)

    def project_point(
        self,
        energies: NDArray[np.float64],
        point: int,
        weights: NDArray[np.float64],
        bins: tuple[float, float],
        out: NDArray[np.float64],
    ) -> None:
        """Add the states of one k-point, times weights, to the bins.

        Parameters
        ----------
        energies
            (n_k, n_bands) eV.
        point
            Number of the k-point.
        weights
            (n_names, n_bands) numbers of its states.
        bins
            Lower edge of the first bin and width of all, eV.
        out
            (n_names, n_bins), changed in place.
        """
        from dock.states._tetrahedra_kernels import project_point

        begin, end = self._starts[point : point + 2]
        around = self._around[begin:end]
        corners, volumes = self.corners[around], self.volumes[around]
        columns = np.ascontiguousarray(weights.T)
        values = np.require(energies, dtype=np.float64, requirements=["C", "W"])
        project_point(values, corners, volumes, point, *bins, columns, out)

    def _slabs(self, energies: NDArray[np.float64]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Yield some tetrahedra and their corner energies (4, tetrahedra × bands)."""
        length = max(1, SLAB // (4 * energies.shape[1]))
        for begin in range(0, len(self.corners), length):
            rows = slice(begin, begin + length)
            yield rows, _at_corners(energies, self.corners[rows])

    @cached_property
    def _incidence(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tetrahedra by the points that they touch, each once for a point."""
        tetrahedra = np.repeat(np.arange(len(self.corners)), 4)
        points = self.corners.ravel()
        again = np.zeros(self.corners.shape, dtype=bool)
        again[:, 1:] = self.corners[:, 1:] == self.corners[:, :-1]  # corners are sorted
        once = ~again.ravel()
        order = np.argsort(points[once], kind="stable")
        starts = np.searchsorted(points[once][order], np.arange(self.n_points + 1))
        return tetrahedra[once][order], starts

    @property
    def _around(self) -> NDArray[np.int64]:
        return self._incidence[0]

    @property
    def _starts(self) -> NDArray[np.int64]:
        return self._incidence[1]


def _six_tetrahedra(steps: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the corners (6, 4, 3) of six tetrahedra that fill one cell of the mesh.

    All share the shortest of the cell's four body diagonals: from 000 to 111 after some axes are
    turned round; each walks along the three axes in another order.
    """
    signs = np.array([[1, 1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    shortest = signs[np.linalg.norm(signs @ steps, axis=1).argmin()]
    walks = []
    for order in permutations(range(3)):
        corner = np.zeros((4, 3), dtype=np.int64)
        for number, axis in enumerate(order, 1):
            corner[number] = corner[number - 1]
            corner[number, axis] = 1
        walks.append(corner)
    shapes = np.array(walks)
    return np.where(shortest < 0, 1 - shapes, shapes)


def _at_corners(energies: NDArray[np.float64], corners: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the energies at the corners, (4, tetrahedra × bands)."""
    values: NDArray[np.float64] = energies[corners.T].reshape(4, -1)
    return values
