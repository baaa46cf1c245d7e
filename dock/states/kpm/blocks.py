"""A sparse operator of a tiled cell as blocks of atoms, and its products with blocks of vectors.

The blocks are those of one cell. A supercell of it (a tile of n₁ × n₂ × n₃ cells) is never stored:
in each of its cells the same blocks meet the vectors of shifted cells. With one cell the same code
makes Bloch sums.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.kspace import is_time_reversal_invariant

__all__ = ["Blocks", "Layout", "Torus"]

Block = NDArray[Any]

_LEAST = 100_000  # entries times cells from which a second thread is worth its own sums


@dataclass(frozen=True, eq=False)
class Torus:
    """Where the cells of a tile lead to: the tile repeats, with the Bloch phase of the k-point.

    Attributes
    ----------
    targets : int32 (n_cells, n_R)
        The cell that lies R from each cell, folded into the tile.
    phases : (n_cells, n_R)
        exp(2πi k·W) of the W tiles that were folded away; ±1, real, where 2k is a reciprocal
        lattice vector.
    """

    targets: NDArray[np.int32]
    phases: NDArray[Any]

    @classmethod
    def of(
        cls,
        tile: tuple[int, int, int],
        lattice_vectors: NDArray[Any],
        k_frac: NDArray[np.float64],
        kind: np.dtype[Any],
    ) -> Torus:
        """Return the torus of a tile; k in the reciprocal vectors of the tile.

        `kind` is that of real numbers: float32 or float64.
        """
        size = np.array(tile)
        cells = np.stack(np.meshgrid(*map(np.arange, tile), indexing="ij"), axis=-1).reshape(-1, 3)
        reached = cells[:, None, :] + np.asarray(lattice_vectors, dtype=np.int64)[None]
        wraps, inside = np.floor_divide(reached, size), np.mod(reached, size)
        targets = np.ravel_multi_index(tuple(np.moveaxis(inside, -1, 0)), tile)
        angle = wraps @ k_frac
        phases: NDArray[Any]
        if is_time_reversal_invariant(k_frac):
            phases = np.rint(np.cos(2 * np.pi * angle)).astype(kind)
        else:
            phases = np.exp(2j * np.pi * angle).astype(np.result_type(kind, np.complex64))
        return cls(targets.astype(np.int32), phases)

    @property
    def n_cells(self) -> int:
        """Cells of the tile."""
        return len(self.targets)


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the blocks of an operator stand: all blocks of an atom's rows side by side.

    Attributes
    ----------
    atoms : int64 (n_atoms, 2)
        First row and number of rows of each atom, for one spin.
    first : int64 (n_atoms + 1,)
        First pair of each atom.
    columns : int64 (n_pairs, 3)
        First column, number of columns and lattice vector of each pair, in the order of atoms.
    starts : int64 (n_atoms + 1,)
        First entry of each atom.
    before : int64 (n_pairs,)
        Columns of the same atom before each pair's.
    """

    atoms: NDArray[np.int64]
    first: NDArray[np.int64]
    columns: NDArray[np.int64]
    starts: NDArray[np.int64]
    before: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        counts: NDArray[Any],
        i: NDArray[Any],
        j: NDArray[Any],
        lattice: NDArray[Any],
    ) -> Layout:
        """Return the layout of pairs in ascending order of i; `counts` (n_atoms,) are orbitals."""
        sizes = np.asarray(counts, dtype=np.int64)
        offsets = np.cumsum(sizes) - sizes
        first = np.searchsorted(i, np.arange(len(sizes) + 1)).astype(np.int64)
        widths = sizes[j]
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(widths)])
        per_atom = ends[first[1:]] - ends[first[:-1]]
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(per_atom * sizes)])
        columns = np.stack([offsets[j], widths, np.asarray(lattice, np.int64)], axis=1)
        before = ends[:-1] - ends[first[:-1]][i]
        return cls(np.stack([offsets, sizes], axis=1), first, columns, starts, before)

    @property
    def n_entries(self) -> int:
        """Entries of one component."""
        return int(self.starts[-1])

    @property
    def widest(self) -> int:
        """Most columns of an atom."""
        rows = np.maximum(self.atoms[:, 1], 1)
        return int((np.diff(self.starts) // rows).max(initial=1))

    def places(
        self, pairs: NDArray[np.int64], i: NDArray[Any], rows: int, cols: int
    ) -> NDArray[np.int64]:
        """Return where the entries of some blocks of one shape stand, (n, rows, cols)."""
        width = (self.starts[i + 1] - self.starts[i]) // rows
        begin = self.starts[i] + self.before[pairs]
        steps = np.arange(rows)[None, :, None] * width[:, None, None]
        found: NDArray[np.int64] = begin[:, None, None] + steps + np.arange(cols)[None, None, :]
        return found


@dataclass(eq=False)
class Blocks:
    """An operator O on the vectors of a tile.

    Attributes
    ----------
    entries : (n_components, n_entries)
        The blocks; of spinors the components up-up, up-down, down-up, down-down.
    is_half
        Of a Hermitian operator one block of each pair of atoms is stored, and half of the blocks
        on the diagonal: O = B + B†. Else O = B.
    n_rows
        Rows of one cell, all spins.
    """

    entries: NDArray[Any]
    layout: Layout
    torus: Torus
    n_rows: int
    is_half: bool
    threads: int = 1

    def __post_init__(self) -> None:
        work = self.layout.n_entries * self.torus.n_cells
        self.threads = self.threads if work >= _LEAST else 1
        shares = np.linspace(0, self.layout.n_entries, self.threads + 1)
        self._parts = [int(atom) for atom in np.searchsorted(self.layout.starts, shares)]
        per_spin = self.n_rows // 2
        pairs = [(s, t) for s in (0, 1) for t in (0, 1)]
        self._spins = np.array(
            [(s * per_spin, t * per_spin) for s, t in pairs] if len(self.entries) == 4 else [(0, 0)]
        )

    @property
    def n_bytes(self) -> int:
        """Memory of entries and places."""
        return int(self.entries.nbytes + self.layout.columns.nbytes + self.layout.before.nbytes)

    def times(self, x: Block, *, adjoint: bool = False) -> Block:
        """Return O x, or O† x, of vectors (n_cells · n_rows, m), contiguous, of one kind.

        The caller keeps BLAS to one thread: products run in threads of their own.
        """
        shaped = x.reshape(self.torus.n_cells, self.n_rows, x.shape[1])
        forward, backward = (True, True) if self.is_half else (not adjoint, adjoint)

        def part(ends: tuple[int, int]) -> Block:
            y = np.zeros_like(shaped)
            self._add(shaped, y, ends, forward, backward)
            return y

        results = list(self._mapped(part, list(pairwise(self._parts))))
        total = results[0]
        for other in results[1:]:
            total += other
        return total.reshape(x.shape)

    def _mapped(
        self, act: Callable[[tuple[int, int]], Block], ends: list[tuple[int, int]]
    ) -> list[Block]:
        if len(ends) == 1:
            return [act(ends[0])]
        with ThreadPoolExecutor(len(ends)) as pool:
            return list(pool.map(act, ends))

    def _add(
        self, x: Block, y: Block, ends: tuple[int, int], forward: bool, backward: bool
    ) -> None:
        from dock.states.kpm._kernels import add_products

        layout, m = self.layout, x.shape[2]
        gathered = np.empty((layout.widest, m), dtype=x.dtype)
        small = np.empty((int(layout.atoms[:, 1].max()), m), dtype=x.dtype)
        kind = self.entries.dtype
        phases = self.torus.phases.astype(x.dtype, copy=False)
        add_products(
            self.entries,
            self._spins,
            layout.atoms,
            layout.first,
            layout.columns,
            layout.starts,
            self.torus.targets,
            phases,
            x,
            y,
            gathered,
            gathered.view(kind),
            small,
            small.view(kind),
            *ends,
            forward,
            backward,
        )
