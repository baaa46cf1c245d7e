"""H and S of one spin channel and k-point, each stored once, as the pencil that is expanded.

Not (H, S) itself is expanded but

    K = H − E₀ S,   B = (1 − τ ε) S + τ H,   K x = λ B x  with  λ = (e − E₀) / (1 + τ (e − ε)),

which has the same states x. The level E₀ that matters is at λ = 0, where errors of B⁻¹, which are
relative to λ, vanish. With an energy ε below the spectrum B is positive definite, and a τ > 0 draws
together the far upper end of the spectrum of a large basis, where nobody looks: fewer moments
for the same resolution at E₀, and a B that is better conditioned than S. τ = 0 is (H − E₀ S, S).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.basis import Basis
from dock.core.check import HERMITICITY_LIMIT
from dock.core.kspace import is_time_reversal_invariant
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.errors import LayoutError, SolverError, UsageError
from dock.states.kpm.blocks import Blocks, Layout, Torus
from dock.states.problem import Problem

__all__ = ["PIECE", "Pencil", "Tile", "Transform"]

Tile = tuple[int, int, int]

PIECE = 2**21
"""Entries of a matrix that are read at once."""


@dataclass(frozen=True)
class Transform:
    """How K and B are made of H and S, and energies e of eigenvalues λ; energies in eV.

    Attributes
    ----------
    origin
        E₀, where λ = 0.
    compression
        τ in 1/eV.
    floor
        ε: 1 + τ (e − ε) is positive for all states.
    """

    origin: float = 0.0
    compression: float = 0.0
    floor: float = 0.0

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(2, 2): K and B in terms of H and S."""
        rest = 1.0 - self.compression * self.floor
        return np.array([[1.0, -self.origin], [self.compression, rest]])

    def eigenvalue(self, energies: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return λ of energies."""
        found: NDArray[np.float64] = (energies - self.origin) / self._stretch(energies)
        return found

    def slope(self, energies: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return dλ/de at energies."""
        slope: NDArray[np.float64] = self._stretch(self.origin) / self._stretch(energies) ** 2
        return slope

    def energy(self, eigenvalues: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the energies of eigenvalues λ."""
        rest = 1.0 - self.compression * self.floor
        return (self.origin + eigenvalues * rest) / (1.0 - self.compression * eigenvalues)

    def _stretch(self, energies: Any) -> Any:
        return 1.0 + self.compression * (energies - self.floor)


@dataclass(eq=False)
class Pencil:
    """K and B at one k-point of a tile of cells, half of each stored.

    Attributes
    ----------
    K, B
        The operators; with the first `transform` they are H and S.
    pairs
        The pairs of atoms that are stored, of one cell.
    transform
        What K and B are; see `change`.
    tile, k_frac
        Cells of the tile along the lattice vectors; the k-point, in reciprocal vectors of the tile.
    kind
        The numbers of vectors: float32, float64, complex64 or complex128.
    """

    basis: Basis
    spin: Spin
    source: str
    pairs: Pairs
    K: Blocks
    B: Blocks
    tile: Tile
    k_frac: NDArray[np.float64]
    kind: np.dtype[Any]
    transform: Transform = Transform()

    @classmethod
    def read(
        cls,
        problem: Problem,
        channel: int = 0,
        k_frac: NDArray[np.float64] | None = None,
        *,
        tile: Tile = (1, 1, 1),
        single: bool = True,
        threads: int = 1,
    ) -> Pencil:
        """Read H and S of a problem, in pieces where they lie on disk by rows.

        Parameters
        ----------
        k_frac
            In the reciprocal lattice vectors of the tile; default Γ.
        single
            Store, and compute with, numbers of single precision.

        Raises
        ------
        UsageError
            For a tile without meaning, or a k-point of summed matrices.
        SolverError
            Where a matrix is not Hermitian, or not finite.
        """
        k = np.zeros(3) if k_frac is None else np.asarray(k_frac, dtype=np.float64)
        if len(tile) != 3 or min(tile) < 1:
            raise UsageError(f"a tile has three numbers of cells from 1, found {tuple(tile)}.")
        problem.require_known(k)
        if problem.only_gamma and tile != (1, 1, 1):
            raise UsageError(
                f"{problem.source}: its matrices are summed over all lattice vectors: no larger "
                "cell can be made of them. Run the code with several k-points."
            )
        pairs = _half(_all_pairs(problem))
        spinor = problem.spin is Spin.NONCOLLINEAR
        real = np.dtype(np.float32 if single else np.float64)
        pair_kind = np.result_type(real, np.complex64) if spinor else real
        vectors = pair_kind
        if not is_time_reversal_invariant(k):
            vectors = np.result_type(real, np.complex64)
        layout = Layout.of(problem.basis.counts, pairs.i, pairs.j, pairs.lattice_index)
        torus = Torus.of(tile, pairs.lattice_vectors, k, real)
        stored = []
        for number in (0, 1):
            entries = np.zeros((4 if spinor else 1, layout.n_entries), dtype=pair_kind)
            _fill(problem, number, channel, pairs, layout, entries)
            stored.append(Blocks(entries, layout, torus, problem.size, True, threads))
        H, S = stored
        facts = (problem.basis, problem.spin, problem.source, pairs)
        return cls(*facts, H, S, tile, k, np.dtype(vectors))

    @property
    def n_cells(self) -> int:
        """Cells of the tile."""
        return self.K.torus.n_cells

    @property
    def size(self) -> int:
        """Rows of a vector: orbitals of the tile, twice as many for spinors."""
        return self.n_cells * self.K.n_rows

    @property
    def is_complex(self) -> bool:
        """Whether vectors are complex."""
        return bool(self.kind.kind == "c")

    @property
    def n_bytes(self) -> int:
        """Memory of the matrices."""
        return self.K.n_bytes + self.B.entries.nbytes

    def change(self, transform: Transform) -> None:
        """Make K and B those of another transform, in place."""
        turn = transform.matrix @ np.linalg.inv(self.transform.matrix)
        K, B = self.K.entries, self.B.entries
        for component in range(len(K)):
            for begin in range(0, K.shape[1], PIECE // 8):
                part = slice(begin, begin + PIECE // 8)
                k, b = K[component, part].copy(), B[component, part].copy()
                K[component, part] = turn[0, 0] * k + turn[0, 1] * b
                B[component, part] = turn[1, 0] * k + turn[1, 1] * b
        self.transform = transform

    def overlap(self, Bv: NDArray[Any], Kv: NDArray[Any]) -> NDArray[Any]:
        """Return S v of a vector of which B v and K v are known."""
        row = np.linalg.inv(self.transform.matrix)[1]
        product: NDArray[Any] = self.kind.type(row[0]) * Kv + self.kind.type(row[1]) * Bv
        return product

    def diagonal(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the diagonals of K and B of one cell, one spin after the other."""
        onsite = self.pairs.onsite
        parts: list[list[NDArray[Any]]] = [[], []]
        for spin in range(self.K.n_rows // self.basis.n_orbitals):
            for found, blocks in zip(parts, (self.K, self.B), strict=True):
                line = np.empty(self.basis.n_orbitals)
                for count in np.unique(self.basis.counts[self.pairs.i[onsite]]):
                    some = onsite[self.basis.counts[self.pairs.i[onsite]] == count]
                    i = self.pairs.i[some].astype(np.int64)
                    places = blocks.layout.places(some, i, int(count), int(count))
                    square = blocks.entries[3 * spin, np.diagonal(places, axis1=1, axis2=2)]
                    rows = self.basis.offsets[i][:, None] + np.arange(int(count))
                    line[rows] = 2 * square.real
                found.append(line)
        return np.concatenate(parts[0]), np.concatenate(parts[1])

    def of_one_cell(self) -> Pencil:
        """Return the pencil of one cell at Γ, with the same numbers: a change is that of both.

        That of one cell is the pencil itself. `transform` is not told of changes of the other.
        """
        if self.n_cells == 1:
            return self
        real = np.dtype(self.kind.type(0).real.dtype)
        tile = (1, 1, 1)
        torus = Torus.of(tile, self.pairs.lattice_vectors, np.zeros(3), real)
        K, B = (replace(part, torus=torus) for part in (self.K, self.B))
        return replace(self, K=K, B=B, tile=tile, k_frac=np.zeros(3))


def _all_pairs(problem: Problem) -> Pairs:
    """Return the pairs of H and S; matrices that are on disk are not read for it."""
    if problem.row_sources is None:
        return problem.pairs
    mine, other = (source.pairs() for source in problem.row_sources)
    for pairs in (mine, other):
        try:
            pairs.require_closed()
        except LayoutError as error:
            raise LayoutError(f"{problem.source}: {error}") from error
    return mine if mine.is_same(other) else mine.union(other)


def _half(pairs: Pairs) -> Pairs:
    """Return one of each pair and its partner, in the order of i, j and R."""
    R = pairs.R
    later = (R[:, 0] > 0) | ((R[:, 0] == 0) & ((R[:, 1] > 0) | ((R[:, 1] == 0) & (R[:, 2] >= 0))))
    kept = np.flatnonzero((pairs.j > pairs.i) | ((pairs.j == pairs.i) & later))
    half = pairs.take(kept)
    return half.take(half.row_order())


def _pieces(problem: Problem, number: int) -> Iterator[AOMatrix]:
    """Yield H (0) or S (1), in pieces of some atoms' rows where that can be done."""
    if problem.row_sources is None:
        yield (problem.hamiltonian, problem.overlap)[number]
        return
    source, basis = problem.row_sources[number], problem.basis
    pairs = source.pairs()
    per_atom = np.bincount(
        pairs.i, weights=basis.counts[pairs.i] * basis.counts[pairs.j], minlength=basis.n_atoms
    )
    ends = np.cumsum(per_atom)
    cuts = np.unique(np.searchsorted(ends, np.arange(0.0, ends[-1], PIECE), side="right"))
    for first, stop in zip(cuts, [*cuts[1:], basis.n_atoms], strict=True):
        yield source.rows(int(first), int(stop))


def _fill(
    problem: Problem,
    number: int,
    channel: int,
    pairs: Pairs,
    layout: Layout,
    entries: NDArray[Any],
) -> None:
    """Store the Hermitian part of H or S, half of the onsite blocks, in the layout's places."""
    worst, quantity = 0.0, ("hamiltonian", "overlap")[number]
    for piece in _pieces(problem, number):
        matrix = piece.channel(channel) if number == 0 else piece
        if not np.isfinite(matrix.entries).all():
            raise SolverError(f"{problem.source}: the {quantity} has entries that are not finite.")
        own = pairs.find(matrix.pairs.R, matrix.pairs.i, matrix.pairs.j)
        turned = pairs.find(-matrix.pairs.R, matrix.pairs.j, matrix.pairs.i)
        for is_partner, found in ((False, own), (True, turned)):
            for group in matrix.layout.groups():
                group = group._replace(index=group.index[found[group.index] >= 0])
                if len(group.index):
                    pairs_of = found[group.index].astype(np.int64)
                    error = _store(matrix, group, pairs_of, is_partner, layout, entries)
                    worst = max(worst, error)
    if worst > HERMITICITY_LIMIT[quantity]:
        raise SolverError(
            f"{problem.source}: the {quantity} is not Hermitian: |O − O†| is up to {worst:.1e}, "
            f"expected at most {HERMITICITY_LIMIT[quantity]:.0e}. Look at it with: dock check."
        )
    i = pairs.i[pairs.onsite].astype(np.int64)
    for atom, pair in zip(i, pairs.onsite, strict=True):
        n = int(layout.atoms[atom, 1])
        place = layout.places(np.array([pair]), np.array([atom]), n, n)
        entries[:, place] *= entries.dtype.type(0.5)


def _store(
    matrix: AOMatrix,
    group: Any,
    pairs: NDArray[np.int64],
    is_partner: bool,
    layout: Layout,
    entries: NDArray[Any],
) -> float:
    """Write blocks, or the mean of what is there and their adjoints; return the difference."""
    blocks = matrix.layout.read(matrix.entries, group)
    if len(entries) == 4 and len(blocks) == 1:  # the overlap of spinors
        zero = np.zeros_like(blocks)
        blocks = np.concatenate([blocks, zero, zero, blocks])
    i = matrix.pairs.i[group.index].astype(np.int64)
    rows, cols = group.rows, group.cols
    if is_partner:
        i = matrix.pairs.j[group.index].astype(np.int64)
        rows, cols = cols, rows
        blocks = blocks.swapaxes(-1, -2).conj()
        blocks = blocks[[0, 2, 1, 3]] if len(blocks) == 4 else blocks
    place = layout.places(pairs, i, rows, cols)
    if not is_partner:
        entries[:, place] = blocks
        return 0.0
    stored = entries[:, place]
    error = float(np.abs(stored - blocks).max())
    entries[:, place] = (stored + blocks) / 2
    rounding = 4 * float(np.finfo(entries.dtype).eps) * float(np.abs(blocks).max())
    return max(0.0, error - rounding)
