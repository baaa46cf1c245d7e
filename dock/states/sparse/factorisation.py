"""What a direct factorisation of H(k) − σS(k) can do: the protocol of all engines.

An `Engine` orders a pattern once (`analyse`); the `Analysis` knows fill, work and memory before
anything large is allocated, and serves all k-points, shifts and precisions. A `Factor` solves for
many right sides at once. The number of negative eigenvalues (inertia) of H − σS is the number of
states below σ, since S is positive definite (Sylvester): it is what certifies that none is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dock.core.structure import Structure

__all__ = ["Analysis", "Engine", "Factor", "Pattern"]


@dataclass(frozen=True, eq=False)
class Pattern:
    """Where the entries of a Hermitian matrix stand: its upper triangle, the same at every k.

    Attributes
    ----------
    starts : int64 (n + 1,)
        Where each row begins (CSR).
    columns : int32 or int64 (nnz,)
        Ascending in each row, the diagonal first.
    atom_of : int64 (n,)
        The atom of each row; the blocks of two atoms are full or absent.
    structure
        Positions and cell of the atoms, for orderings that are geometric.
    """

    starts: NDArray[np.int64]
    columns: NDArray[Any]
    atom_of: NDArray[np.int64]
    structure: Structure | None = None

    @property
    def n(self) -> int:
        """Rows of the matrix."""
        return len(self.atom_of)

    @property
    def nnz(self) -> int:
        """Entries of the upper triangle with the diagonal."""
        return len(self.columns)


class Factor(Protocol):
    """A matrix A = Lᴴ D L that was factored.

    `n_negative` is the number of negative eigenvalues of A, None where the engine does not count;
    `n_perturbed` the number of pivots that were moved away from zero, with which `n_negative` is
    not to be trusted and a solution needs refinement.
    """

    @property
    def n_negative(self) -> int | None:
        """Eigenvalues of A below zero."""

    @property
    def n_perturbed(self) -> int:
        """Pivots that were moved."""

    def solve(self, block: NDArray[Any]) -> NDArray[Any]:
        """Return A⁻¹ of an (n, m) block, in the precision of the factor, without refinement."""

    def close(self) -> None:
        """Free the factor."""


class Analysis(Protocol):
    """The order of elimination of a pattern, and what it costs."""

    @property
    def n_entries(self) -> int:
        """Entries of one triangle of the factor."""

    @property
    def n_operations(self) -> float:
        """Multiplications with addition of one factorisation."""

    @property
    def counts(self) -> bool:
        """Whether `Factor.n_negative` is known for complex matrices too."""

    def memory(self, kind: np.dtype[Any], *, kept: bool = True) -> int:
        """Return the bytes at the peak of a factorisation in a type; less where it only counts."""

    def factor(self, values: NDArray[Any], kind: np.dtype[Any]) -> Factor:
        """Factor the matrix of the pattern's values (nnz,) in a type: float32 … complex128.

        `SolverError` where it cannot be done.
        """

    def count_negative(self, values: NDArray[Any], kind: np.dtype[Any]) -> tuple[int, int]:
        """Return the negative eigenvalues and the moved pivots; the factor is not kept.

        `UsageError` where the engine does not count in this type.
        """

    def close(self) -> None:
        """Free what the analysis holds."""


class Engine(Protocol):
    """A library, or our own code, that factors sparse Hermitian matrices."""

    @property
    def name(self) -> str:
        """The word by which it is asked for."""

    def analyse(self, pattern: Pattern, *, threads: int) -> Analysis:
        """Order a pattern."""
