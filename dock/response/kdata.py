"""All states of a k-point and the matrix elements between them: what every response is made of.

With C the eigenvectors (C†SC = 1), E their energies, h the position about the middle of two cells
(`dock.response.operators`) and a bar for C†·C:

    velocity     v_mn = (∂H̄ − ½ (E_m + E_n) ∂S̄)_mn + i (E_m − E_n) h̄_mn           eV Å
    connection   A_mn = −i v_mn / (E_m − E_n)       between states of different energy   Å

so that ħ/i[r, H] = v, and the diagonal of v is dE/dk, which needs no position.
Between states of one energy the velocity is ∂H̄ − E ∂S̄; its eigenvalues are the bands' slopes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.io.progress import Report
from dock.response.operators import Operators
from dock.states.job import Job
from dock.states.solver import Solver, Want
from dock.states.stream import StatesAtK, states

__all__ = ["DEGENERATE", "KData", "each", "level_ranges"]

DEGENERATE = 1e-5
"""Distance of energies, eV, below which states count as one level."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class KData:
    """States of one spin channel at one k-point, with matrix elements as they are asked for.

    Attributes
    ----------
    operators
        H, S and positions.
    channel, number
        Spin channel, and the k-point's place in its list.
    k_frac : float64 (3,)
    energies : float64 (n,)
        Ascending, eV, absolute.
    vectors : (N, n)
        Columns with x†Sx = 1.
    """

    operators: Operators
    channel: int
    number: int
    k_frac: NDArray[np.float64]
    energies: NDArray[np.float64]
    vectors: NDArray[Any]

    @classmethod
    def of(cls, operators: Operators, at: StatesAtK) -> KData:
        """Return the data of states that were solved for, all of them with vectors."""
        vectors = at.states.vectors
        if vectors is None or at.states.n_below:
            raise ValueError("a response needs all states with their vectors.")
        return cls(operators, at.channel, at.number, at.k_frac, at.states.energies, vectors)

    @property
    def n_states(self) -> int:
        """Number of states."""
        return len(self.energies)

    def derivative(self, quantity: str, axes: int | tuple[int, ...] = ()) -> NDArray[Any]:
        """Return a Bloch sum in the basis of orbitals; see `Operators.derivative`."""
        return self.operators.derivative(quantity, self.channel, self.k_frac, axes)

    def between(
        self, operator: NDArray[Any], left: slice = slice(None), right: slice = slice(None)
    ) -> NDArray[Any]:
        """Return x_m† O x_n of operators (…, N, N) between two ranges of states, (…, m, n)."""
        product: NDArray[Any] = self.vectors[:, left].conj().T @ (operator @ self.vectors[:, right])
        return product

    def _gradient(self, quantity: str) -> NDArray[np.complex128]:
        return self.operators.gradient(quantity, self.channel, self.k_frac)

    @cached_property
    def hamiltonian_gradient(self) -> NDArray[np.complex128]:
        """(3, N, N) ∂H/∂k in the basis of orbitals, eV Å."""
        return self._gradient("hamiltonian")

    @cached_property
    def overlap_gradient(self) -> NDArray[np.complex128]:
        """(3, N, N) ∂S/∂k in the basis of orbitals, Å."""
        return self._gradient("overlap")

    @cached_property
    def midpoint(self) -> NDArray[Any]:
        """(3, N, N) h(k) in the basis of orbitals, Å."""
        return self.derivative("midpoint")

    def slope_matrix(
        self, left: slice = slice(None), right: slice = slice(None)
    ) -> NDArray[np.complex128]:
        """Return ∂H̄ − ½(E_m + E_n) ∂S̄ (3, m, n): the velocity without the term of positions."""
        mean = 0.5 * (self.energies[left, None] + self.energies[right])
        slopes: NDArray[np.complex128] = self.between(self.hamiltonian_gradient, left, right)
        slopes -= mean * self.between(self.overlap_gradient, left, right)
        return slopes

    def velocity(
        self, left: slice = slice(None), right: slice = slice(None)
    ) -> NDArray[np.complex128]:
        """Return ħ times the velocity between two ranges of states, (3, m, n), eV Å."""
        apart = self.energies[left, None] - self.energies[right]
        velocity = self.slope_matrix(left, right)
        velocity += 1j * apart * self.between(self.midpoint, left, right)
        return velocity

    @cached_property
    def groups(self) -> list[slice]:
        """The states of each level; see `level_ranges`."""
        return level_ranges(self.energies)


def level_ranges(energies: NDArray[np.float64], tolerance: float = DEGENERATE) -> list[slice]:
    """Return ranges of ascending energies whose neighbours are less than `tolerance` eV apart.

    Examples
    --------
    >>> level_ranges(np.array([0.0, 1.0, 1.0, 2.0]))
    [slice(0, 1, None), slice(1, 3, None), slice(3, 4, None)]
    """
    cuts = np.flatnonzero(np.diff(energies) >= tolerance) + 1
    ends = [0, *cuts.tolist(), len(energies)]
    return [slice(a, b) for a, b in itertools.pairwise(ends) if b > a]


def each(
    operators: Operators,
    kpoints: ArrayLike,
    function: Callable[[KData], T],
    *,
    solver: str | Solver | Job = "auto",
    jobs: int | None = None,
    progress: Report = None,
    s_threshold: float | None = None,
) -> Iterator[T]:
    """Yield ``function(data)`` of all k-points of the first spin channel, then of the second.

    The function runs in the thread that solved for the states, several k-points at a time, and
    what it returns is all that is kept of them. Arguments and errors are those of
    `dock.states.stream.states`.
    """

    def made(at: StatesAtK) -> T:
        return function(KData.of(operators, at))

    want = Want(vectors=True, s_threshold=s_threshold)
    stream = states(
        operators.problem, kpoints, want, solver=solver, jobs=jobs, progress=progress, then=made
    )
    for at in stream:
        value: T = at.made
        yield value
