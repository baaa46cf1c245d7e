"""The eigenproblems of a calculation: H(k) x = e S(k) x, one for each spin channel and k-point."""

from __future__ import annotations

import hashlib
import logging
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.basis import Basis
from dock.core.calculation import Calculation, MatrixSource, RowSource
from dock.core.check import HERMITICITY_LIMIT, ONLY_GAMMA
from dock.core.kspace import KBuilder, Triangle
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.errors import LayoutError, SolverError, UsageError

if TYPE_CHECKING:
    import scipy.sparse

    from dock.states.kmesh import KMesh
    from dock.states.sparse.factorisation import Pattern

__all__ = ["Channel", "Problem", "identity"]

_log = logging.getLogger("dock")

_SILENT = 1e-8  # |O − O†| below which nothing that is printed changes; eV for H


class Channel(NamedTuple):
    """One eigenproblem per k-point: a spin channel, or all spins of a spinor problem."""

    hamiltonian: KBuilder
    overlap: KBuilder


class Problem:
    """H and S of a calculation, and the matrices that they make at a k-point.

    The operators must have the partner (−R, j, i) of every pair, else a `LayoutError` when they
    are used.

    Parameters
    ----------
    hamiltonian, overlap
        The operators, or functions that read them: they are called when a matrix is first asked
        for, and size and spin are known before.
    source
        How messages call the calculation.
    only_gamma
        The matrices are summed over all lattice vectors: other k-points are refused.
    basis, spin
        Of matrices that are read later.

    Examples
    --------
    >>> import dock
    >>> problem = Problem.of(dock.read("fixtures/openmx/si"))
    >>> problem.size, problem.n_channels
    (10, 1)
    """

    def __init__(
        self,
        hamiltonian: MatrixSource,
        overlap: MatrixSource,
        source: str = "the calculation",
        only_gamma: bool = False,
        *,
        basis: Basis | None = None,
        spin: Spin | None = None,
    ) -> None:
        self.source, self.only_gamma = source, only_gamma
        self._sources = hamiltonian, overlap
        self.basis: Basis = self.hamiltonian.basis if basis is None else basis
        self.spin: Spin = self.hamiltonian.spin if spin is None else spin

    @classmethod
    def of(cls, calc: Calculation) -> Problem:
        """Return the problem of a calculation, whose matrices are read when they are asked for.

        Where Hamiltonian or overlap is missing a `MissingDataError` says how to get it.
        """
        fixes = {
            "hamiltonian": "It is diagonalised here.",
            "overlap": "Compute it with: dock compute-overlap.",
        }
        for name, fix in fixes.items():
            if name not in calc.available:
                calc.require(name, fix)
        if calc.only_gamma:
            _log.warning("%s: %s", calc.source, ONLY_GAMMA)
        problem = cls(
            lambda: _hamiltonian(calc),
            lambda: calc.require("overlap"),
            calc.source,
            calc.only_gamma,
            basis=calc.basis,
            spin=calc.spin,
        )
        H, S = calc.matrices["hamiltonian"], calc.matrices["overlap"]
        if isinstance(H, RowSource) and isinstance(S, RowSource):
            problem.row_sources = H, S
        return problem

    row_sources: tuple[RowSource, RowSource] | None = None
    """H and S on disk, where some of their rows can be read alone."""

    @cached_property
    def hamiltonian(self) -> AOMatrix:
        """The Hamiltonian, eV."""
        return self._read(0)

    @cached_property
    def overlap(self) -> AOMatrix:
        """The overlap."""
        return self._read(1)

    def _read(self, number: int) -> AOMatrix:
        source = self._sources[number]
        matrix = source if isinstance(source, AOMatrix) else source()
        try:
            # A solver reads one triangle of H(k) and would not notice that the other is missing.
            matrix.pairs.require_closed()
        except LayoutError as error:
            raise LayoutError(f"{self.source}: {matrix.quantity} {error}") from error
        return matrix

    def hermitian(self) -> Problem:
        """Return the problem with the Hermitian parts of H and S.

        LAPACK reads one triangle; what reads both needs them to agree. A deviation above 1e-8 is
        said; one that no integration noise explains (`dock.core.check.HERMITICITY_LIMIT`) is a
        `SolverError`.
        """
        hamiltonian, overlap = self._symmetric(self.hamiltonian), self._symmetric(self.overlap)
        return Problem(hamiltonian, overlap, self.source, self.only_gamma)

    def _symmetric(self, matrix: AOMatrix) -> AOMatrix:
        error, limit = matrix.hermiticity_error(), HERMITICITY_LIMIT[matrix.quantity]
        if error > limit:
            unit = "" if matrix.facts.unit == "1" else f" {matrix.facts.unit}"
            raise SolverError(
                f"{self.source}: the {matrix.quantity} is not Hermitian: |O − O†| is up to "
                f"{error:.1e}{unit}, expected at most {limit:.0e}. Look at it with: dock check."
            )
        if error > _SILENT:
            _log.warning(
                "%s: the %s deviates from its adjoint by up to %.1e; its Hermitian part is taken.",
                self.source,
                matrix.quantity,
                error,
            )
        return matrix.hermitian_part() if error > 0 else matrix

    def channel(self, number: int) -> Problem:
        """Return the problem of one spin channel by itself."""
        hamiltonian = self.hamiltonian.channel(number)
        return Problem(hamiltonian, self.overlap, self.source, self.only_gamma)

    @property
    def n_channels(self) -> int:
        """Eigenproblems per k-point: 2 for collinear spin, else 1."""
        return self.spin.n_channels

    @property
    def size(self) -> int:
        """Rows of H(k): orbitals, twice as many for spinors."""
        n_orbitals = self.basis.n_orbitals
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
        self.require_known(k_frac)
        builders = self.channels[channel]
        return builders.hamiltonian.dense(k_frac), builders.overlap.dense(k_frac)

    def sparse(
        self, channel: int, k_frac: NDArray[np.float64], triangle: Triangle = "full"
    ) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]:
        """Return H(k) and S(k) as CSR matrices on one pattern, the same at every k.

        ``upper`` keeps the upper triangle with the diagonal.
        """
        self.require_known(k_frac)
        builders = self._on_one_pattern[channel]
        H: Any = builders.hamiltonian.sparse(k_frac, triangle=triangle)
        S: Any = builders.overlap.sparse(k_frac, triangle=triangle)
        return H, S

    def pattern(self) -> Pattern:
        """Return where the entries of the upper triangles of H(k) and S(k) stand, at every k."""
        from dock.states.sparse.factorisation import Pattern

        starts, columns = self._on_one_pattern[0].hamiltonian.pattern()
        basis = self.hamiltonian.basis
        atoms = np.repeat(np.arange(basis.n_atoms), basis.counts)
        n_spins = self.size // basis.n_orbitals
        return Pattern(
            np.asarray(starts, dtype=np.int64),
            columns,
            np.tile(atoms, n_spins),
            self.hamiltonian.structure,
        )

    def atom_graph(self) -> tuple[scipy.sparse.csr_array, NDArray[np.int64]]:
        """Return which atoms H and S couple (n, n), symmetric, and the rows (n,) of each.

        Matrices that are still on disk are not read for it.
        """
        import scipy.sparse

        n, sources = self.basis.n_atoms, self.row_sources
        parts = [self.pairs] if sources is None else [source.pairs() for source in sources]
        ends = [(pairs.i.astype(np.int64), pairs.j.astype(np.int64)) for pairs in parts]
        keys = np.unique(np.concatenate([key for i, j in ends for key in (i * n + j, j * n + i)]))
        places = np.divmod(keys, n)
        graph = scipy.sparse.coo_array((np.ones(len(keys)), places), shape=(n, n)).tocsr()
        return graph, self.basis.counts.astype(np.int64) * (self.size // self.basis.n_orbitals)

    def require_known(self, k_frac: NDArray[np.float64]) -> None:
        """Refuse k-points, one or (n, 3), at which summed matrices have no meaning."""
        if self.only_gamma and np.any(k_frac):
            raise UsageError(
                f"{self.source}: no k-point but Γ can be computed here: {ONLY_GAMMA} Run the code "
                "with several k-points."
            )

    def identity(self) -> str:
        """Return a hash that is equal only for equal numbers, without holding them.

        It is that of the files, read in parts, where H and S lie on disk by rows; else the
        `fingerprint`, which is the same whatever file the numbers came from.
        """
        if self.row_sources is None:
            return self.fingerprint()
        return identity(self.row_sources, self.basis, self.spin)

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


def identity(sources: tuple[RowSource, RowSource], basis: Basis, spin: Spin) -> str:
    """Return a hash of H and S on disk, read in parts, and of what they refer to."""
    digest = hashlib.blake2b(digest_size=16)
    for source in sources:
        digest.update(source.fingerprint().encode())
    digest.update(repr((spin, basis.fingerprint())).encode())
    return digest.hexdigest()


def _hamiltonian(calc: Calculation) -> AOMatrix:
    """Return H; `LayoutError` where a run left nothing but zeros in it."""
    hamiltonian = calc.require("hamiltonian")
    if calc.provenance.files and not hamiltonian.entries.any():  # not so of a model in Python
        raise LayoutError(
            f"{calc.source}: every entry of the Hamiltonian is zero: nothing was computed into "
            "it. Look at the run that it is of."
        )
    return hamiltonian
