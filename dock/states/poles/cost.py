"""What a density matrix by poles costs, from the graph of the atoms alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dock.core.spin import Spin
from dock.states.kmesh import KMesh
from dock.states.problem import Problem
from dock.states.solver import Plan
from dock.states.sparse.fronts import eliminate
from dock.states.sparse.ordering import dissect
from dock.states.speed import multiplications_per_second

__all__ = ["PoleCost"]

_POLES = 20  # at the usual widths, with the counts that find the level (twenty cost two poles)
_SLOWER = 1.4  # than matrix products of one size: gathers, copies, small fronts (measured)
_FRONTS = 3  # of the largest size at once
_PER_ENTRY = 150  # bytes: positions, H, S, a Green's function and the sums at four levels


@dataclass(frozen=True)
class PoleCost:
    """The dense pieces of one selected inversion.

    Attributes
    ----------
    own, boundary : float64 (n_fronts,)
        Rows of each front that are eliminated in it, and those after them.
    n_entries
        Entries of the sparse pattern.
    symmetric
        Whether all matrices equal their transpose: real H and S, at points where 2k is a
        reciprocal lattice vector.
    """

    own: NDArray[np.float64]
    boundary: NDArray[np.float64]
    n_entries: int
    symmetric: bool

    @classmethod
    def of(cls, problem: Problem, mesh: KMesh) -> PoleCost:
        """Return the cost of a problem on a mesh; nothing as large as a matrix is made."""
        spinor = problem.spin is Spin.NONCOLLINEAR
        graph, sizes = problem.atom_graph()
        order = dissect(graph, sizes, problem.hamiltonian.structure)
        fronts = eliminate(graph, sizes, order)
        own = np.array([front.n_own for front in fronts], dtype=np.float64)
        boundary = np.array([front.n_rest for front in fronts], dtype=np.float64)
        n_entries = int(sizes @ (graph @ sizes))
        invariant = np.allclose(2 * mesh.points, np.rint(2 * mesh.points))
        return cls(own, boundary, n_entries, invariant and not spinor)

    @property
    def largest_front(self) -> int:
        """Rows of the largest dense piece."""
        return int((self.own + self.boundary).max())

    @property
    def n_operations(self) -> float:
        """Complex multiplications of one selected inversion."""
        m, b = self.own, self.boundary
        if self.symmetric:  # of everything one triangle
            return float((1.2 * m**3 + 1.5 * m**2 * b + 1.5 * m * b**2).sum())
        return float((m**3 + 3 * m**2 * b + 3 * m * b**2).sum())

    @property
    def memory_bytes(self) -> int:
        """The most that is held at once, besides the matrices that were read."""
        m, b = self.own, self.boundary
        sides = 1 if self.symmetric else 2
        kept = 16 * float((m**2 + sides * m * b).sum())
        return int(kept + 16 * _FRONTS * self.largest_front**2 + _PER_ENTRY * self.n_entries)

    def plan(self, reason: str, *, poles: int | None, threads: int) -> Plan:
        """Return the plan of one pass; `seconds` is that of one k-point and channel."""
        number = _POLES if poles is None else poles
        fast = multiplications_per_second("complex128") * threads**0.8
        seconds = _SLOWER * number * self.n_operations / fast
        detail = f"{number} poles, largest front {self.largest_front:,} rows"
        return Plan("poles", reason, 1, threads, self.memory_bytes, seconds, detail)
