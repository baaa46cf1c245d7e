"""H(k) and S(k) as matrices of PETSc: each process reads and holds the rows of its own atoms."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.basis import Basis
from dock.core.calculation import RowSource
from dock.core.kspace import KBuilder
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.errors import DependencyError, LayoutError, UsageError
from dock.states.problem import Problem, identity
from dock.states.ranks import Team
from dock.states.slepc.library import Library

__all__ = ["Source", "SpreadPencil", "random_vector"]

_ROUNDED, _WRONG = 1e-15, 1e-5  # of the norm: what random vectors see of an asymmetry


class Source(NamedTuple):
    """Where the processes find H and S: on disk by rows, or in the memory of a single one.

    `fingerprint` is the hash of H and S as the first process sees them.
    """

    rows: tuple[RowSource, RowSource] | None
    problem: Problem | None
    fingerprint: str
    basis: Basis
    spin: Spin
    name: str

    @classmethod
    def of(cls, problem: Problem, n_processes: int) -> Source:
        """Return the source of a problem.

        `UsageError` where several processes would need the matrices of one.
        """
        facts = (problem.basis, problem.spin, problem.source)
        if problem.row_sources is not None:
            return cls(problem.row_sources, None, problem.identity(), *facts)
        if n_processes > 1:
            raise UsageError(
                f"{problem.source}: several processes read H and S by rows, from a unified folder. "
                "Convert it first: dock convert."
            )
        return cls(None, problem, problem.identity(), *facts)

    def seen_here(self) -> str:
        """Return the hash of H and S as this process sees them."""
        if self.rows is None:
            return self.fingerprint
        return identity(self.rows, self.basis, self.spin)


class SpreadPencil:
    """H and S of which each member of a team holds the rows of some neighbouring atoms.

    In PETSc's numbering the orbitals of an atom with spin up are followed by those with spin down;
    `place` is the new number of each row of `dock`.

    Raises
    ------
    UsageError
        When the members see different files, in all of them.
    """

    def __init__(self, team: Team, source: Source) -> None:
        self.team = team
        self.name = source.name
        basis, spinor = source.basis, source.spin is Spin.NONCOLLINEAR
        with team.together():
            self._require_same_files(source)
            first, stop = _share(basis, team.rank, team.size)
            parts = _read(source, first, stop)
            pairs = parts[0].pairs.union(parts[1].pairs)
            channels = [parts[0]]
            if source.spin is Spin.COLLINEAR:
                channels = [parts[0].channel(number) for number in (0, 1)]
            self._H = [KBuilder(part, pattern=pairs) for part in channels]
            self._S = KBuilder(parts[1], spinor=spinor, pattern=pairs)
        self.n = basis.n_orbitals * (2 if spinor else 1)
        order = _order(basis, spinor)
        self.place = np.empty(self.n, dtype=np.int64)
        self.place[order] = np.arange(self.n)
        begin, end = (basis.offsets[[first, stop]] * (2 if spinor else 1)).tolist()
        self._rows = order[begin:end]

    def matrices(self, library: Library, channel: int, k_frac: NDArray[np.float64]) -> Any:
        """Return H(k) and S(k) as PETSc's matrices on one pattern.

        `DependencyError` where they are complex and PETSc's numbers are not.
        """
        built = []
        for builder in (self._H[channel], self._S):
            with self.team.together():
                csr: Any = builder.sparse(k_frac, triangle="full")
                if csr.data.dtype.kind == "c" and not library.is_complex:
                    raise DependencyError(
                        "H(k) is complex at this k-point, and this PETSc was built for real "
                        "numbers. Install a complex build: conda install -c conda-forge "
                        "'slepc=*=complex*' slepc4py."
                    )
                arrays = self._arrays(csr, library)
            built.append(_hermitian(library, self._assembled(library, arrays), self.name))
        return built

    def _arrays(self, csr: Any, library: Library) -> tuple[NDArray[Any], ...]:
        """Return starts, columns and values of the own rows in PETSc's numbering."""
        own = csr[self._rows] if len(self._rows) else csr[:0]
        own.indices = self.place[own.indices]
        own.has_sorted_indices = False
        own.sort_indices()
        integer, scalar = library.PETSc.IntType, library.PETSc.ScalarType
        return own.indptr.astype(integer), own.indices.astype(integer), own.data.astype(scalar)

    def _assembled(self, library: Library, arrays: tuple[NDArray[Any], ...]) -> Any:
        PETSc = library.PETSc
        size = (len(self._rows), self.n)
        comm = PETSc.COMM_SELF if self.team.comm is None else PETSc.Comm(self.team.comm)
        matrix = PETSc.Mat().createAIJ((size, size), csr=arrays, comm=comm)
        matrix.setOption(PETSc.Mat.Option.HERMITIAN, True)
        if not library.is_complex:
            matrix.setOption(PETSc.Mat.Option.SYMMETRIC, True)
        return matrix

    def _require_same_files(self, source: Source) -> None:
        """Refuse files that are not those of the first process."""
        if source.seen_here() == source.fingerprint:
            return
        raise UsageError(
            f"{source.name}: the files of this process are not those of the first one. All "
            "processes must see the same files: put them on a disk that all machines share."
        )


def _hermitian(library: Library, matrix: Any, name: str) -> Any:
    """Return the Hermitian part of a matrix, which it is but for what a code left out or rounded.

    x†Ay and y†Ax of two random vectors tell; a matrix of one triangle is a `LayoutError`.
    """
    x, y, product = random_vector(matrix, 1), random_vector(matrix, 2), matrix.createVecLeft()
    matrix.mult(y, product)
    one = product.dot(x)  # x†Ay
    matrix.mult(x, product)
    other = np.conj(product.dot(y))
    size = matrix.norm(library.PETSc.NormType.FROBENIUS) * x.norm() * y.norm()
    error = abs(one - other) / size if size else 0.0
    if error > _WRONG:
        raise LayoutError(
            f"{name}: a matrix is not Hermitian by {error:.1g} of its norm. The file holds only "
            "one triangle, or is incomplete."
        )
    if error > _ROUNDED:
        turned = matrix.copy().hermitianTranspose()
        matrix.axpy(1.0, turned, library.PETSc.Mat.Structure.DIFFERENT_NONZERO_PATTERN)
        matrix.scale(0.5)
        turned.destroy()
    return matrix


def random_vector(matrix: Any, seed: int) -> Any:
    """Return a vector of random numbers that a matrix can be applied to."""
    vector = matrix.createVecRight()
    own = np.random.default_rng((seed, matrix.comm.rank)).normal(size=vector.getLocalSize())
    vector.setArray(own)
    return vector


def _share(basis: Basis, rank: int, size: int) -> tuple[int, int]:
    """Return the first atom of a process and the one after its last: equal parts of orbitals."""
    ends = np.linspace(0, basis.n_orbitals, size + 1)
    first, stop = np.searchsorted(basis.offsets, ends[rank : rank + 2] - 0.5)
    return int(first), int(stop)


def _order(basis: Basis, spinor: bool) -> NDArray[np.int64]:
    """Return the rows of `dock` in PETSc's order."""
    orbitals = np.arange(basis.n_orbitals)
    if not spinor:
        return orbitals
    atom_of = np.repeat(np.arange(basis.n_atoms), basis.counts)
    both = np.concatenate([orbitals, orbitals + basis.n_orbitals])
    return both[np.lexsort((both, np.tile(atom_of, 2)))]


def _read(source: Source, first: int, stop: int) -> tuple[AOMatrix, AOMatrix]:
    if source.rows is not None:
        H, S = source.rows
        return H.rows(first, stop), S.rows(first, stop)
    assert source.problem is not None  # noqa: S101 - one of the two is there
    return source.problem.hamiltonian, source.problem.overlap
