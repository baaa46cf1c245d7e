"""The multifrontal engine: L D Lᴴ of a sparse Hermitian matrix, front by front, with inertia.

Real matrices are factored in real arithmetic, complex ones as Hermitian, both in single or double
precision; the number of negative eigenvalues is known in all four types. Nothing but SciPy's BLAS
and LAPACK is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dock.errors import LayoutError, SolverError
from dock.states.sparse.blas import Blas, blas_threads
from dock.states.sparse.elimination import Pivots, Workspace, eliminate
from dock.states.sparse.factorisation import Pattern
from dock.states.sparse.fronts import Front, eliminate as fronts_of, ranges
from dock.states.sparse.ordering import dissect
from dock.states.sparse.schedule import Schedule
from dock.states.sparse.sharing import Share, alone, among
from dock.states.sparse.substitution import backward, forward

if TYPE_CHECKING:
    import scipy.sparse

__all__ = ["Multifrontal", "MultifrontalAnalysis", "MultifrontalFactor"]

Store = NDArray[Any]

_SMALLEST = 16.0  # least pivot, in units of the precision and of the largest entry
_SHARED = 512  # columns of an update from which several threads add it


@dataclass(frozen=True)
class Multifrontal:
    """The engine that is always there."""

    @property
    def name(self) -> str:
        """The word by which it is asked for."""
        return "multifrontal"

    def analyse(self, pattern: Pattern, *, threads: int) -> MultifrontalAnalysis:
        """Order a pattern; `LayoutError` where the blocks of atoms are not full."""
        return MultifrontalAnalysis(pattern, threads)


class MultifrontalAnalysis:
    """Fronts of a pattern, where the entries of the matrix stand in them, and what they cost."""

    def __init__(self, pattern: Pattern, threads: int) -> None:
        runs = _Runs.of(pattern)
        n_atoms = int(pattern.atom_of.max()) + 1
        sizes = np.bincount(pattern.atom_of, minlength=n_atoms)
        graph = runs.graph(n_atoms)
        self.n, self.nnz, self.threads = pattern.n, pattern.nnz, max(1, threads)
        self.starts = np.asarray(pattern.starts, dtype=np.int64)
        self.runs = runs
        self.fronts = fronts_of(graph, sizes, dissect(graph, sizes, pattern.structure))
        self.blocks = _assign(self.fronts, runs, sizes)
        order = np.argsort(pattern.atom_of, kind="stable")
        begins = np.cumsum(sizes) - sizes
        atoms = np.concatenate([front.atoms for front in self.fronts])
        self.order = order[ranges(begins[atoms], sizes[atoms])]
        self._begins, self._sizes = begins, sizes
        self._turn = np.empty(self.n, dtype=np.int64)
        self._turn[order] = np.argsort(self.order)[order]
        self.schedule = Schedule.of(self.fronts, self.threads)

    @property
    def n_entries(self) -> int:
        """Entries of one triangle of the factor."""
        return sum(front.n_entries for front in self.fronts)

    @property
    def n_operations(self) -> float:
        """Multiplications with addition of one factorisation."""
        return sum(front.n_operations for front in self.fronts)

    @property
    def counts(self) -> bool:
        """True: negative eigenvalues of complex matrices are counted too."""
        return True

    @cached_property
    def rest_rows(self) -> list[NDArray[np.int64]]:
        """The places in the order of elimination of each front's boundary."""
        first_of = np.empty(len(self._sizes), dtype=np.int64)
        for front in self.fronts:
            sizes = self._sizes[front.atoms]
            first_of[front.atoms] = front.first + np.cumsum(sizes) - sizes
        return [
            ranges(first_of[front.boundary], self._sizes[front.boundary]) for front in self.fronts
        ]

    def memory(self, kind: np.dtype[Any], *, kept: bool = True) -> int:
        """Return the bytes at the peak of a factorisation in a type; less where it only counts."""
        return self.schedule.peak(self.fronts, kept=kept) * np.dtype(kind).itemsize

    def factor(
        self, values: Store, kind: np.dtype[Any], *, hermitian: bool = True
    ) -> MultifrontalFactor:
        """Factor the matrix of the pattern's values (nnz,) in a type: float32 … complex128.

        Without `hermitian` a complex matrix is taken as symmetric, and nothing is counted.
        `SolverError` where a value is not finite.
        """
        blas = Blas(np.dtype(kind), hermitian=hermitian)
        kept: list[tuple[Store, Pivots] | None] = [None] * len(self.fronts)

        def keep(number: int, own: Store, pivots: Pivots) -> None:
            kept[number] = (own, pivots)

        self._run(values, blas, keep)
        return MultifrontalFactor(self, blas, [part for part in kept if part is not None])

    def count_negative(self, values: Store, kind: np.dtype[Any]) -> tuple[int, int]:
        """Return the negative eigenvalues and the moved pivots; the factor is not kept."""
        counted: list[tuple[int, int]] = []

        def count(_: int, __: Store, pivots: Pivots) -> None:
            counted.append((pivots.negative, pivots.moved))

        self._run(values, Blas(np.dtype(kind)), count)
        return sum(n for n, _ in counted), sum(m for _, m in counted)

    def close(self) -> None:
        """Do nothing: what is held is small."""

    def _run(self, values: Store, blas: Blas, take: Callable[[int, Store, Pivots], None]) -> None:
        """Eliminate all fronts and give the own columns of each to `take`."""
        from dock.states.sparse._front_kernels import largest

        if values.shape != (self.nnz,):
            raise LayoutError(f"expected {self.nnz} values of the pattern, found {values.shape}.")
        if blas.kind.kind != "c" and np.iscomplexobj(values):
            raise LayoutError(f"complex values do not fit into a factor of {blas.kind}.")
        scale = float(largest(values))
        if not np.isfinite(scale):
            raise SolverError(
                "the matrix to be factored holds NaN or infinite numbers. The file that it was "
                "read from is damaged, or the prediction diverged."
            )
        smallest = _SMALLEST * float(np.finfo(blas.kind).eps) * (scale or 1.0)
        updates: dict[int, Store] = {}
        with blas_threads(1), ThreadPoolExecutor(self.threads) as pool:

            def one(number: int, space: Workspace, *, shared: bool) -> None:
                together = (pool, among(pool, self.threads)) if shared else (None, alone)
                own, pivots = self._eliminate(
                    number, values, blas, updates, space, smallest, *together
                )
                take(number, own, pivots)

            def subtree(ends: tuple[int, int]) -> None:
                space = Workspace(blas.kind)
                for number in range(ends[0], ends[1] + 1):
                    one(number, space, shared=False)

            for _ in pool.map(subtree, self.schedule.subtrees):
                pass
            space = Workspace(blas.kind)
            for number in self.schedule.top:
                one(number, space, shared=self.threads > 1)

    def _eliminate(
        self,
        number: int,
        values: Store,
        blas: Blas,
        updates: dict[int, Store],
        space: Workspace,
        smallest: float,
        pool: ThreadPoolExecutor | None,
        share: Share,
    ) -> tuple[Store, Pivots]:
        """Assemble and eliminate a front; its update is left in `updates`."""
        from dock.states.sparse._front_kernels import scatter

        front = self.fronts[number]
        own = np.zeros(front.own_length, dtype=blas.kind)
        rest = np.zeros(front.rest_length, dtype=blas.kind)
        offsets = front.own_offsets()
        blocks, runs = self.blocks[number], self.runs
        scatter(values, self.starts, blocks, runs.first, runs.size, offsets, blas.hermitian, own)
        for child in front.children:
            if self.fronts[child].n_rest:
                _add(self.fronts[child], updates.pop(child), front, own, rest, pool)
        pivots = eliminate(front, own, rest, blas, space, smallest, share)
        if front.n_rest:
            updates[number] = rest
        return own, pivots


class MultifrontalFactor:
    """L D Lᴴ of a matrix, front by front."""

    def __init__(
        self, analysis: MultifrontalAnalysis, blas: Blas, parts: list[tuple[Store, Pivots]]
    ) -> None:
        self._analysis, self._blas, self._parts = analysis, blas, parts
        self._negative = sum(pivots.negative for _, pivots in parts)
        self._moved = sum(pivots.moved for _, pivots in parts)

    @property
    def n_negative(self) -> int | None:
        """Eigenvalues of A below zero; None for a complex symmetric matrix."""
        return self._negative if self._blas.hermitian else None

    @property
    def n_perturbed(self) -> int:
        """Pivots that were moved."""
        return self._moved

    def solve(self, block: Store) -> Store:
        """Return A⁻¹ of an (n, m) block, in the precision of the factor, without refinement."""
        kind = self._blas.kind
        if kind.kind != "c" and np.iscomplexobj(block):
            parts = self.solve(np.concatenate([block.real, block.imag], axis=1))
            m = block.shape[1]
            return parts[:, :m] + 1j * parts[:, m:]
        analysis = self._analysis
        x = np.asfortranarray(block[analysis.order], dtype=kind)
        self._substitute(x)
        out = np.empty_like(x)
        out[analysis.order] = x
        return out

    def pop(self, number: int) -> tuple[Store, Pivots]:
        """Return own columns and pivots of a front, the last of those left, and forget them."""
        if number != len(self._parts) - 1:
            raise IndexError(f"front {number} is not the last of the {len(self._parts)} left")
        return self._parts.pop()

    def close(self) -> None:
        """Free the factor."""
        self._parts = []

    def _substitute(self, x: Store) -> None:
        """Replace right sides in the order of elimination by the solution."""
        analysis, blas, fronts = self._analysis, self._blas, self._analysis.fronts
        carried: dict[int, Store] = {}

        def own_part(front: Front) -> tuple[Store, slice]:
            """Return the rows of a front, its own as in x, and where these stand there."""
            part = np.empty((front.n_all, x.shape[1]), dtype=blas.kind, order="F")
            mine = slice(front.first, front.first + front.n_own)
            part[: front.n_own] = x[mine]
            return part, mine

        def up(number: int, share: Share = alone) -> None:
            front = fronts[number]
            own, pivots = self._parts[number]
            part, mine = own_part(front)
            part[front.n_own :] = 0
            for child in front.children:
                if fronts[child].n_rest:
                    part[fronts[child].into] += carried.pop(child)
            forward(front, own, pivots, part, blas, share=share)
            x[mine] = part[: front.n_own]
            if front.n_rest:
                carried[number] = part[front.n_own :]

        def down(number: int, share: Share = alone) -> None:
            front = fronts[number]
            own, pivots = self._parts[number]
            part, mine = own_part(front)
            part[front.n_own :] = x[analysis.rest_rows[number]]
            backward(front, own, pivots, part, blas, share=share)
            x[mine] = part[: front.n_own]

        _ = analysis.rest_rows  # made once, before threads ask for it
        schedule, threads = analysis.schedule, analysis.threads
        with blas_threads(1), ThreadPoolExecutor(threads) as pool:
            share = among(pool, threads)
            _all(pool, up, schedule.subtrees)
            for number in schedule.top:
                up(number, share)
            for number in reversed(schedule.top):
                down(number, share)
            turned = [(last, first) for first, last in reversed(schedule.subtrees)]
            _all(pool, down, turned)


@dataclass(eq=False)
class _Runs:
    """Consecutive rows of one atom, and which of them meet in the upper triangle.

    A spinor atom has two runs. `pairs` (n, 3) are run of the rows, run of the columns, and the
    entries of a row from the block's first to its end.
    """

    first: NDArray[np.int64]
    size: NDArray[np.int64]
    atom: NDArray[np.int64]
    within: NDArray[np.int64]
    pairs: NDArray[np.int64] = field(repr=False)

    @classmethod
    def of(cls, pattern: Pattern) -> _Runs:
        """Find the runs; `LayoutError` where a block is not full or the diagonal is missing."""
        atom_of = pattern.atom_of
        begins = np.flatnonzero(np.concatenate([[True], atom_of[1:] != atom_of[:-1]]))
        size = np.diff(np.append(begins, len(atom_of)))
        atom = atom_of[begins]
        run_of = np.repeat(np.arange(len(begins)), size)
        starts = np.asarray(pattern.starts, dtype=np.int64)
        lengths = starts[begins + 1] - starts[begins]
        # The first row of a run meets all its blocks; an entry where the run changes begins one.
        place = ranges(starts[begins], lengths)
        row = np.repeat(np.arange(len(begins)), lengths)
        col = run_of[pattern.columns[place]]
        new = np.flatnonzero(
            np.concatenate([[True], (col[1:] != col[:-1]) | (row[1:] != row[:-1])])
        )
        pairs = np.stack([row[new], col[new], starts[begins + 1][row[new]] - place[new]], axis=1)
        found = cls(begins, size, atom, _within(atom, size), pairs)
        found._require_full(starts)
        return found

    def _require_full(self, starts: NDArray[np.int64]) -> None:
        widths = np.bincount(
            self.pairs[:, 0], weights=self.size[self.pairs[:, 1]], minlength=len(self.first)
        ).astype(np.int64)
        inside = ranges(np.zeros_like(self.size), self.size)
        own = np.count_nonzero(self.pairs[:, 0] == self.pairs[:, 1]) == len(self.first)
        if not own or not np.array_equal(np.diff(starts), np.repeat(widths, self.size) - inside):
            raise LayoutError(
                "the sparse pattern is not one of full blocks of atoms with the whole diagonal, in "
                "its upper triangle."
            )

    def graph(self, n_atoms: int) -> scipy.sparse.csr_array:
        """Return the symmetric graph of the atoms, diagonal included."""
        import scipy.sparse

        i, j = self.atom[self.pairs[:, 0]], self.atom[self.pairs[:, 1]]
        ones = np.ones(2 * len(i), dtype=np.int8)
        both = (np.concatenate([i, j]), np.concatenate([j, i]))
        graph = scipy.sparse.coo_array((ones, both), shape=(n_atoms, n_atoms)).tocsr()
        graph.sum_duplicates()
        graph.data[:] = 1
        return graph


def _within(atom: NDArray[np.int64], size: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each run begins among the rows of its atom."""
    order = np.argsort(atom, kind="stable")
    sizes = size[order]
    before = np.cumsum(sizes) - sizes
    first = np.flatnonzero(np.concatenate([[True], atom[order][1:] != atom[order][:-1]]))
    counts = np.diff(np.append(first, len(order)))
    within = np.empty_like(size)
    within[order] = before - np.repeat(before[first], counts)
    return within


def _assign(fronts: list[Front], runs: _Runs, sizes: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return, for each front, the blocks of the matrix that its own columns hold.

    Each is (run of rows, run of columns, entries to the row's end, place of rows, of columns).
    """
    n_atoms = len(sizes)
    owner = np.empty(n_atoms, dtype=np.int64)
    turn = np.empty(n_atoms, dtype=np.int64)
    turn[np.concatenate([front.atoms for front in fronts])] = np.arange(n_atoms)
    for number, front in enumerate(fronts):
        owner[front.atoms] = number
    a, b = runs.atom[runs.pairs[:, 0]], runs.atom[runs.pairs[:, 1]]
    mine = owner[np.where(turn[a] <= turn[b], a, b)]
    order = np.argsort(mine, kind="stable")
    bounds = np.searchsorted(mine[order], np.arange(len(fronts) + 1))
    position = np.full(n_atoms, -1, dtype=np.int64)
    found = []
    for number, front in enumerate(fronts):
        chosen = order[bounds[number] : bounds[number + 1]]
        atoms = np.concatenate([front.atoms, front.boundary])
        position[atoms] = np.cumsum(sizes[atoms]) - sizes[atoms]
        rows, cols, tail = runs.pairs[chosen].T
        places = [position[runs.atom[run]] + runs.within[run] for run in (rows, cols)]
        found.append(np.ascontiguousarray(np.stack([rows, cols, tail, *places], axis=1)))
    return found


def _add(child: Front, update: Store, front: Front, own: Store, rest: Store, pool: Any) -> None:
    """Add a child's update to a front, by several threads where there is a pool."""
    from dock.states.sparse._front_kernels import extend_add

    arguments = (child.into, front.n_own, own, front.own_offsets(), rest, front.rest_offsets())
    into, n_own, *targets = arguments
    offsets = child.rest_offsets() + child.n_own  # rows of the update are counted from 0

    def add(ends: tuple[int, int]) -> None:
        extend_add(update, offsets, into, *ends, n_own, *targets)

    n = child.n_rest
    if pool is None or n < _SHARED:
        add((0, n))
        return
    width = _SHARED // 4
    for _ in pool.map(add, [(begin, min(n, begin + width)) for begin in range(0, n, width)]):
        pass


def _all(
    pool: ThreadPoolExecutor, act: Callable[[int], None], ends: Iterable[tuple[int, int]]
) -> None:
    """Act on the fronts from the first to the last of each subtree, in order, side by side."""

    def walk(pair: tuple[int, int]) -> None:
        first, last = pair
        step = 1 if last >= first else -1
        for number in range(first, last + step, step):
            act(number)

    for _ in pool.map(walk, ends):
        pass
