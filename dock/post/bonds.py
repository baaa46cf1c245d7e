"""Crystal orbital overlap and Hamilton populations (COOP, COHP) of given pairs of atoms.

For the pair (i, j) a state c contributes 2 Re Σ_μν c_iμ* O_iμ,jν e^{2πi k·R} c_jν with O = S (COOP,
positive for bonding) or O = H (COHP, eV, negative for bonding). Both directions of the pair are
counted, so that the sum over all distinct pairs and the on-site terms (counted once) is the number
of electrons, or the band energy. COHP depends on the zero of energy where S is not the unit
matrix: `CohpFromLevel` takes H − E_F S, with the level that is found from the same states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.errors import UsageError
from dock.states.kmesh import Reduction
from dock.states.problem import Problem

__all__ = ["Bond", "BondProjector", "CohpFromLevel", "parse_bond"]


@dataclass(frozen=True)
class Bond:
    """A pair of atoms.

    Attributes
    ----------
    i, j
        Atoms, from 0.
    R
        Lattice vector of j, or None for all periodic images together.
    """

    i: int
    j: int
    R: tuple[int, int, int] | None = None

    @property
    def is_onsite(self) -> bool:
        """Whether the bond is its own reverse, and is counted once."""
        return self.i == self.j and self.R in (None, (0, 0, 0))


class BondProjector:
    """Gives each state its overlap (``coop``) or Hamilton (``cohp``) population of some bonds.

    Parameters
    ----------
    calc
        A calculation with Hamiltonian and overlap.
    zero
        For COHP: the energy (eV, absolute) that counts as zero.

    Raises
    ------
    UsageError
        For atoms that do not exist, pairs without a block, or an unknown kind.
    """

    reduction: Reduction = "time-reversal"  # a single bond has less symmetry than the crystal

    def __init__(
        self,
        calc: Calculation,
        bonds: Sequence[Bond],
        kind: Literal["coop", "cohp"] = "coop",
        *,
        zero: float = 0.0,
    ) -> None:
        if kind not in ("coop", "cohp"):
            raise UsageError(f"bond populations are 'coop' or 'cohp', found '{kind}'.")
        if not bonds:
            raise UsageError("give at least one pair of atoms, such as 1-2.")
        problem = Problem.of(calc)
        overlap = problem.overlap
        self._matrix = overlap if kind == "coop" else problem.hamiltonian - overlap * zero
        self.kind = kind
        self._spin, self._basis = calc.spin, calc.basis
        self._bonds = [(bond, _pairs_of(bond, self._matrix)) for bond in bonds]
        self.names = tuple(_name(bond, calc.structure.labels, kind) for bond in bonds)

    def weights(
        self, channel: int, k_frac: NDArray[np.float64], vectors: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Return (n_bonds, n_states)."""
        return self._weights_of(self._matrix, channel, k_frac, vectors)

    def _weights_of(
        self, matrix: AOMatrix, channel: int, k_frac: NDArray[np.float64], vectors: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Return the weights with an operator on the pairs of the projector's own."""
        rows = []
        for bond, pairs in self._bonds:
            left, right = self._part(vectors, bond.i), self._part(vectors, bond.j)
            block = self._block(matrix, pairs, channel, k_frac)
            value = np.einsum("an,an->n", left.conj(), block @ right).real
            rows.append(value if bond.is_onsite else 2 * value)
        return np.array(rows)

    def _part(self, vectors: NDArray[Any], atom: int) -> NDArray[Any]:
        """Return the coefficients of one atom, of spinors up before down."""
        begin, end = self._basis.offsets[atom : atom + 2]
        n = self._basis.n_orbitals
        if self._spin is not Spin.NONCOLLINEAR:
            return vectors[begin:end]
        return np.concatenate([vectors[begin:end], vectors[n + begin : n + end]])

    def _block(
        self,
        matrix: AOMatrix,
        pairs: NDArray[np.int64],
        channel: int,
        k_frac: NDArray[np.float64],
    ) -> NDArray[Any]:
        """Return Σ_R O_ij(R) exp(2πi k·R) over the given pairs."""
        phases = np.exp(2j * np.pi * (matrix.pairs.R[pairs] @ k_frac))
        begins = matrix.layout.starts[pairs]
        rows, cols = int(matrix.layout.rows[pairs[0]]), int(matrix.layout.cols[pairs[0]])
        entries = matrix.entries[:, begins[:, None] + np.arange(rows * cols)]
        summed = np.einsum("p,cpe->ce", phases, entries).reshape(-1, rows, cols)
        if self._spin is not Spin.NONCOLLINEAR:
            block: NDArray[Any] = summed[min(channel, len(summed) - 1)]
            return block
        if len(summed) == 1:
            return np.kron(np.eye(2), summed[0])
        uu, ud, du, dd = summed
        return np.block([[uu, ud], [du, dd]])


class CohpFromLevel(BondProjector):
    """Gives each state its Hamilton population counted from the Fermi level, c† (H − E_F S) c.

    The parts of H and S are kept apart until the level is known (`LevelProjector`), so that one
    diagonalisation gives the level and the COHP.
    """

    def __init__(self, calc: Calculation, bonds: Sequence[Bond]) -> None:
        super().__init__(calc, bonds, "cohp")
        # On the pairs of H and S together, as the difference of both is.
        self._overlap = Problem.of(calc).overlap.on_pairs(self._matrix.pairs)

    def slopes(
        self, channel: int, k_frac: NDArray[np.float64], vectors: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Return minus the overlap populations, (n_bonds, n_states)."""
        return -self._weights_of(self._overlap, channel, k_frac, vectors)


def parse_bond(text: str) -> Bond:
    """Read ``1-2`` (atoms counted from 1, all images) or ``1-2@0,0,1`` (one lattice vector).

    Anything else raises `UsageError`.

    Examples
    --------
    >>> parse_bond("1-2@0,0,1")
    Bond(i=0, j=1, R=(0, 0, 1))
    """
    atoms, at, vector = text.partition("@")
    R = None
    try:
        i, j = (int(atom) for atom in atoms.split("-"))
        if at:
            x, y, z = (int(part) for part in vector.split(","))
            R = x, y, z
    except ValueError:
        i = j = 0
    if min(i, j) < 1:
        raise UsageError(
            f"a pair is 1-2 (atoms counted from 1) or 1-2@0,0,1 (with the lattice vector of the "
            f"second); found '{text}'."
        )
    return Bond(i - 1, j - 1, R)


def _pairs_of(bond: Bond, matrix: AOMatrix) -> NDArray[np.int64]:
    """Return the stored pairs of a bond."""
    n_atoms, pairs = matrix.basis.n_atoms, matrix.pairs
    if max(bond.i, bond.j) >= n_atoms or min(bond.i, bond.j) < 0:
        raise UsageError(
            f"the pair {bond.i + 1}-{bond.j + 1} names an atom outside 1 to {n_atoms}."
        )
    belongs = (pairs.i == bond.i) & (pairs.j == bond.j)
    if bond.R is not None:
        belongs &= np.all(np.array(bond.R) == pairs.R, axis=1)
    numbers = np.flatnonzero(belongs)
    if len(numbers) == 0:
        where = "" if bond.R is None else f" at R = {bond.R}"
        raise UsageError(
            f"the {matrix.quantity} has no block for the pair {bond.i + 1}-{bond.j + 1}{where}: "
            "the atoms are too far apart."
        )
    return numbers


def _name(bond: Bond, labels: Sequence[str], kind: str) -> str:
    text = f"{kind.upper()} {labels[bond.i]}{bond.i + 1}-{labels[bond.j]}{bond.j + 1}"
    return text if bond.R is None else f"{text} ({bond.R[0]},{bond.R[1]},{bond.R[2]})"
