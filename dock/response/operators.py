"""H, S and the position of a calculation, as the Bloch sums that responses are made of.

The Bloch functions |χ_j⟩ = Σ_R exp(ik·R) |j, R⟩ have no phase of the atoms' positions: what is
computed is the same when an atom is written in another cell. Of the position matrix r_ij(R), which
counts from the origin of the home cell, the part

    h_ij(R) = r_ij(R) − ½ R S_ij(R)

is kept: the position about the middle of the two cells. It is Hermitian where r is exact, and its
Hermitian part is taken, so that velocities are Hermitian to the last digit whatever the noise of a
code's integrals. The connection of the basis is then i⟨u_i|∂u_j⟩ = h(k) + (i/2) ∂S(k).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import NumberArray
from dock.core.calculation import Calculation
from dock.core.kspace import Derivative, KBuilder
from dock.core.matrix import AOMatrix
from dock.core.position import breaks_relation
from dock.core.spin import Spin
from dock.errors import ConventionError, LayoutError, MissingDataError
from dock.states.problem import Problem

if TYPE_CHECKING:
    from dock.core.structure import Structure

__all__ = ["Operators", "midpoint_position"]


@dataclass(frozen=True, eq=False)
class Operators:
    """What a response needs of a calculation, checked.

    Attributes
    ----------
    calc
        The calculation; its Fermi level, electrons and moments are taken from here.
    problem
        The Hermitian parts of H and S.
    midpoint
        h of the module, Å, or None where no response was asked for that needs positions.

    Examples
    --------
    >>> import dock
    >>> operators = Operators.of(dock.read("fixtures/openmx/si"), position=True)
    >>> operators.derivative("hamiltonian", 0, [0.1, 0.2, 0.3], 0).shape
    (10, 10)
    """

    calc: Calculation
    problem: Problem
    midpoint: AOMatrix | None = None

    @classmethod
    def of(cls, calc: Calculation, *, position: bool = False) -> Operators:
        """Return the operators of a calculation.

        Positions come from the calculation or, where its basis has radial functions, from
        two-centre integrals.

        Raises
        ------
        MissingDataError
            Without Hamiltonian or overlap; with `position`, without positions and radials.
        LayoutError
            When the positions are those of another overlap.
        SolverError
            When H or S is far from Hermitian.
        """
        problem = Problem.of(calc).hermitian()
        if not position:
            return cls(calc, problem)
        return cls(calc, problem, midpoint_position(_position(calc), problem.overlap))

    @property
    def structure(self) -> Structure:
        """The structure."""
        return self.calc.structure

    @property
    def n_channels(self) -> int:
        """Spin channels: 2 for collinear spin, else 1."""
        return self.problem.n_channels

    @cached_property
    def channels(self) -> tuple[Operators, ...]:
        """The operators of each spin channel by itself."""
        if self.n_channels == 1:
            return (self,)
        return tuple(
            replace(self, problem=self.problem.channel(number)) for number in range(self.n_channels)
        )

    @property
    def is_spinor(self) -> bool:
        """Whether states are spinors, with all up orbitals first."""
        return self.calc.spin is Spin.NONCOLLINEAR

    @property
    def electrons_per_state(self) -> int:
        """Electrons that one state holds: 2 without spin."""
        return self.calc.spin.degeneracy

    @property
    def cell_volume(self) -> float:
        """Volume of the cell, Å³."""
        return float(abs(np.linalg.det(self.structure.cell)))

    def require_spinor(self, what: str) -> None:
        """Refuse a calculation without spinors for what has a meaning for them alone."""
        if not self.is_spinor:
            raise ConventionError(
                f"{self.calc.source}: {what} needs states with spin directions; spin is "
                f"'{self.calc.spin.value}' here. Run the code with non-collinear spin or "
                "spin–orbit coupling."
            )

    def overlap(self, k_frac: NDArray[np.float64]) -> NumberArray:
        """Return S(k), (N, N)."""
        return self.problem.channels[0].overlap.dense(k_frac)

    def derivative(
        self, quantity: str, channel: int, k_frac: Any, axes: Derivative = ()
    ) -> NumberArray:
        """Return a Bloch sum or a derivative of it by Cartesian k (1/Å, 2π included).

        Parameters
        ----------
        quantity
            ``hamiltonian``, ``overlap``, or ``midpoint`` with a leading axis for x, y, z.
        axes
            Components of k, such as 0 or (0, 1).
        """
        self.problem.require_known(np.asarray(k_frac, dtype=np.float64))
        return self._builder(quantity, channel).dense(k_frac, derivative=axes)

    def gradient(self, quantity: str, channel: int, k_frac: Any) -> NDArray[np.complex128]:
        """Return the derivatives of a Bloch sum by k_x, y, z, (3, N, N); see `derivative`."""
        self.problem.require_known(np.asarray(k_frac, dtype=np.float64))
        return self._builder(quantity, channel).gradient(k_frac)

    def _builder(self, quantity: str, channel: int) -> KBuilder:
        if quantity == "midpoint":
            return self._midpoint_builder
        builders = self.problem.channels[channel]
        return builders.hamiltonian if quantity == "hamiltonian" else builders.overlap

    @cached_property
    def _midpoint_builder(self) -> KBuilder:
        if self.midpoint is None:
            raise MissingDataError(
                "the position matrix", self.calc.source, "Ask for it: Operators.of(position=True)."
            )
        return KBuilder(self.midpoint, spinor=self.is_spinor)


def midpoint_position(position: AOMatrix, overlap: AOMatrix) -> AOMatrix:
    """Return the Hermitian part of r_ij(R) − ½ R S_ij(R), Å, on the pairs of both matrices.

    `LayoutError` where r and S do not belong together.
    """
    wrong = breaks_relation(position, overlap)
    if wrong:
        raise LayoutError(wrong)
    pairs = overlap.pairs
    if not pairs.is_same(position.pairs):
        pairs = pairs.union(position.pairs)
        position, overlap = position.on_pairs(pairs), overlap.on_pairs(pairs)
    layout, partner = position.layout, pairs.require_closed()
    shifts = 0.5 * pairs.R @ position.structure.cell
    out = np.empty_like(position.entries)
    for group in layout.groups():
        moved = shifts[group.index].T[:, :, None, None] * layout.read(overlap.entries, group)
        layout.write(out, group, layout.read(position.entries, group) - moved)
    return position.with_entries(0.5 * (out + layout.transpose(out, partner).conj()))


def _position(calc: Calculation) -> AOMatrix:
    """Return the position matrix of a run, or compute it from radial functions."""
    stored = calc.get("position")
    if stored is not None:
        return stored
    shells = calc.basis.shells
    if all(shell.radial is not None for label in calc.basis.species for shell in shells[label]):
        from dock.overlap.assemble import Integrals

        pairs = calc.require("overlap").pairs
        return Integrals.prepare(calc.structure, calc.basis, pairs=pairs).matrix("position")
    raise MissingDataError(
        "the position matrix",
        calc.source,
        "It is computed from the radial functions of the basis: pass basis=DIR, the folder of the "
        "code's basis files, or add it with compute_overlap (quantities S and r).",
    )
