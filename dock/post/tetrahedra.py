"""The linear tetrahedron method: a mesh divided into tetrahedra, and integrals over them.

P. E. Blöchl, O. Jepsen and O. K. Andersen, Phys. Rev. B 49, 16223 (1994). Each cell of the mesh is
cut into six tetrahedra along its shortest diagonal. Tetrahedra that symmetry makes equal are
handled once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from dock.core.structure import Structure
from dock.post.kmesh import KMesh

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
        from dock.post._tetrahedra_kernels import occupations

        out = np.zeros(energies.shape)
        occupations(_rows(energies), self.corners, self.volumes, level, corrected, out)
        return out

    def filled(self, energies: NDArray[np.float64], level: float) -> float:
        """Return the number of states per cell below an energy."""
        from dock.post._tetrahedra_kernels import filled

        return float(filled(_rows(energies), self.corners, self.volumes, level))

    def bin_states(
        self, energies: NDArray[np.float64], first: float, step: float, n_bins: int
    ) -> NDArray[np.float64]:
        """Return the number of states per cell in each of the bins of width `step` from `first`."""
        from dock.post._tetrahedra_kernels import bin_states

        counts = np.zeros(n_bins)
        bin_states(_rows(energies), self.corners, self.volumes, first, step, counts)
        return counts

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
        from dock.post._tetrahedra_kernels import project_point

        begin, end = self._starts[point : point + 2]
        chosen = self._around[begin:end]
        corners, volumes = self.corners[chosen], self.volumes[chosen]
        columns = np.ascontiguousarray(weights.T)
        project_point(_rows(energies), corners, volumes, point, *bins, columns, out)

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


def _rows(energies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the energies in memory order, writable or not as compiled code wants them."""
    return np.require(energies, dtype=np.float64, requirements=["C", "W"])
