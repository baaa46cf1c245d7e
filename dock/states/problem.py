"""The eigenproblems of a calculation: H(k) x = e S(k) x, one for each spin channel and k-point."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.check import ONLY_GAMMA
from dock.core.kspace import KBuilder, Triangle
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.errors import LayoutError, UsageError

if TYPE_CHECKING:
    import scipy.sparse

    from dock.states.kmesh import KMesh

__all__ = ["Channel", "Problem"]

_log = logging.getLogger("dock")


class Channel(NamedTuple):
    """One eigenproblem per k-point: a spin channel, or all spins of a spinor problem."""

    hamiltonian: KBuilder
    overlap: KBuilder


@dataclass(frozen=True, eq=False)
class Problem:
    """H and S of a calculation, and the matrices that they make at a k-point.

    The operators must have the partner (−R, j, i) of every pair, else a `LayoutError`; `source` is
    how messages call the calculation. With `only_gamma` the matrices are summed over all lattice
    vectors, and other k-points are refused.

    Examples
    --------
    >>> import dock
    >>> problem = Problem.of(dock.read("fixtures/openmx/si"))
    >>> problem.size, problem.n_channels
    (10, 1)
    """

    hamiltonian: AOMatrix
    overlap: AOMatrix
    source: str = "the calculation"
    only_gamma: bool = False

    def __post_init__(self) -> None:
        for matrix in (self.hamiltonian, self.overlap):
            # A solver reads one triangle of H(k) and would not notice that the other is missing.
            try:
                matrix.pairs.require_closed()
            except LayoutError as error:
                raise LayoutError(f"{self.source}: {matrix.quantity} {error}") from error

    @classmethod
    def of(cls, calc: Calculation) -> Problem:
        """Return the problem of a calculation; raises as the class.

        Where Hamiltonian or overlap is missing a `MissingDataError` says how to get it.
        """
        hamiltonian = calc.require("hamiltonian", "It is diagonalised here.")
        overlap = calc.require("overlap", "Compute it with: dock compute-overlap.")
        if calc.only_gamma:
            _log.warning("%s: %s", calc.source, ONLY_GAMMA)
        return cls(hamiltonian, overlap, calc.source, calc.only_gamma)

    @property
    def spin(self) -> Spin:
        """How the Hamiltonian treats spin."""
        return self.hamiltonian.spin

    @property
    def n_channels(self) -> int:
        """Eigenproblems per k-point: 2 for collinear spin, else 1."""
        return self.spin.n_channels

    @property
    def size(self) -> int:
        """Rows of H(k): orbitals, twice as many for spinors."""
        n_orbitals = self.hamiltonian.basis.n_orbitals
        return 2 * n_orbitals if self.spin is Spin.NONCOLLINEAR else n_orbitals

    @property
    def capacity(self) -> float:
        """Electrons per cell that all states together hold."""
        return float(self.n_channels * self.size * self.spin.degeneracy)

    @cached_property
    def pairs(self) -> Pairs:
        """The pairs of both matrices: those of H, followed by what only S has."""
        mine, other = self.hamiltonian.pairs, self.overlap.pairs
        return mine if mine is other or mine.is_same(other) else mine.union(other)

    @cached_property
    def channels(self) -> tuple[Channel, ...]:
        """The builders of each spin channel; the overlap is shared."""
        return self._builders(None)

    @cached_property
    def _on_one_pattern(self) -> tuple[Channel, ...]:
        return self._builders(self.pairs)

    def _builders(self, pattern: Pairs | None) -> tuple[Channel, ...]:
        spinor = self.spin is Spin.NONCOLLINEAR
        overlap = KBuilder(self.overlap, spinor=spinor, pattern=pattern)
        parts = [self.hamiltonian]
        if self.spin is Spin.COLLINEAR:
            parts = [self.hamiltonian.channel(number) for number in (0, 1)]
        return tuple(Channel(KBuilder(part, pattern=pattern), overlap) for part in parts)

    def dense(self, channel: int, k_frac: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return H(k) and S(k) = Σ_R exp(+2πi k·R) S(R) as full matrices, eV."""
        self._require_known(k_frac)
        builders = self.channels[channel]
        return builders.hamiltonian.dense(k_frac), builders.overlap.dense(k_frac)

    def sparse(
        self, channel: int, k_frac: NDArray[np.float64], triangle: Triangle = "full"
    ) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]:
        """Return H(k) and S(k) as CSR matrices on one pattern, the same at every k.

        ``upper`` keeps the upper triangle with the diagonal.
        """
        self._require_known(k_frac)
        builders = self._on_one_pattern[channel]
        H: Any = builders.hamiltonian.sparse(k_frac, triangle=triangle)
        S: Any = builders.overlap.sparse(k_frac, triangle=triangle)
        return H, S

    def _require_known(self, k_frac: NDArray[np.float64]) -> None:
        """Refuse a k-point at which summed matrices have no meaning."""
        if self.only_gamma and np.any(k_frac):
            raise UsageError(
                f"{self.source}: no k-point but Γ can be computed here: {ONLY_GAMMA} Run the code "
                "with several k-points."
            )

    def fingerprint(self, mesh: KMesh | None = None, *, s_threshold: float | None = None) -> str:
        """Return a hash of H, S, the basis and the mesh: equal only if all numbers are equal."""
        digest = hashlib.blake2b(digest_size=16)
        for matrix in (self.hamiltonian, self.overlap):
            pairs = matrix.pairs
            digest.update(repr((matrix.quantity, matrix.spin, matrix.entries.dtype)).encode())
            for array in (pairs.R, pairs.i, pairs.j, matrix.entries):
                digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        digest.update(self.hamiltonian.basis.fingerprint().encode())
        if mesh is not None:
            digest.update(np.ascontiguousarray(mesh.points).tobytes())
            digest.update(np.ascontiguousarray(mesh.weights).tobytes())
            digest.update(repr((mesh.size, mesh.shift)).encode())
        digest.update(repr(s_threshold).encode())
        return digest.hexdigest()
