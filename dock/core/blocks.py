"""Blocks in one flat array: where they stand, and moving them without a loop over them.

A matrix keeps all its blocks row-major, one behind another. Everything that touches every entry
(transposition, another orbital order, another order of pairs) is a gather, done here for all
blocks of one shape at once and in slices, so that the memory above the result stays small.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import IntArray, read_only

__all__ = ["BlockGroup", "BlockLayout"]

_SLICE = 2**18  # entries of one component handled at once: a temporary is 16 MB at the most


class BlockGroup(NamedTuple):
    """Some blocks of one shape and kind.

    `index` (n,) are the numbers of the blocks, `kind` is the value of the key that they were
    grouped by.
    """

    index: IntArray  # type: ignore[assignment]  # hides tuple.index on purpose
    rows: int
    cols: int
    kind: int


@dataclass(frozen=True, eq=False)
class BlockLayout:
    """Where the blocks of a flat matrix stand; `rows` and `cols` (n_blocks,) are their shapes."""

    rows: IntArray
    cols: IntArray

    @cached_property
    def starts(self) -> IntArray:
        """(n_blocks + 1,) first entry of each block; the last is the number of entries."""
        sizes = self.rows.astype(np.int64) * self.cols.astype(np.int64)
        return read_only(np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes)]))

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return len(self.rows)

    @property
    def n_entries(self) -> int:
        """Number of entries."""
        return int(self.starts[-1])

    def groups(self, kind: IntArray | None = None) -> Iterator[BlockGroup]:
        """Yield the blocks in groups of one shape (and one `kind`), a slice of memory at a time."""
        key = self.rows.astype(np.int64) << 32 | self.cols.astype(np.int64)
        kinds = np.zeros(self.n_blocks, dtype=np.int64) if kind is None else kind
        order = np.lexsort((kinds, key))
        changes = np.flatnonzero((np.diff(key[order]) != 0) | (np.diff(kinds[order]) != 0)) + 1
        for members in np.split(order, changes):
            if len(members) == 0:
                continue
            rows, cols = int(self.rows[members[0]]), int(self.cols[members[0]])
            step = max(1, _SLICE // max(1, rows * cols))
            for begin in range(0, len(members), step):
                chosen = members[begin : begin + step]
                yield BlockGroup(chosen, rows, cols, int(kinds[chosen[0]]))

    def place(self, group: BlockGroup, starts: IntArray | None = None) -> IntArray | slice:
        """Return where the entries of a group stand: (n, rows · cols) indices, or a slice.

        `starts` is the first entry of each block of the group; default those of this layout.
        """
        first = self.starts[group.index] if starts is None else starts
        size = group.rows * group.cols
        if len(first) and np.array_equal(first, first[0] + size * np.arange(len(first))):
            return slice(int(first[0]), int(first[0]) + size * len(first))
        return first[:, None] + np.arange(size)

    def read(
        self, entries: NDArray[Any], group: BlockGroup, starts: IntArray | None = None
    ) -> NDArray[Any]:
        """Return the blocks of a group as (n_components, n, rows, cols)."""
        place = self.place(group, starts)
        shape = (len(entries), len(group.index), group.rows, group.cols)
        return entries[:, place].reshape(shape)

    def write(self, entries: NDArray[Any], group: BlockGroup, blocks: NDArray[Any]) -> None:
        """Store blocks (n_components, n, rows, cols) into the flat array, in place."""
        place = self.place(group)
        flat = blocks.reshape(len(entries), len(group.index), -1)
        entries[:, place] = flat.reshape(len(entries), -1) if isinstance(place, slice) else flat

    def take(self, entries: NDArray[Any], blocks: IntArray) -> NDArray[Any]:
        """Return the flat array of the given blocks, in the given order."""
        target = BlockLayout(self.rows[blocks], self.cols[blocks])
        result = np.empty((len(entries), target.n_entries), dtype=entries.dtype)
        for group in target.groups():
            source = self.starts[blocks[group.index]]
            target.write(result, group, self.read(entries, group, source))
        return result

    def transpose(self, entries: NDArray[Any], partner: IntArray) -> NDArray[Any]:
        """Return the flat array whose block p is the transpose of block ``partner[p]``."""
        result = np.empty_like(entries)
        for group in self.groups():
            self.write(result, group, self.read_turned(entries, group, partner))
        return result

    def read_turned(
        self, entries: NDArray[Any], group: BlockGroup, partner: IntArray
    ) -> NDArray[Any]:
        """Return, for each block p of a group, the transpose of block ``partner[p]``."""
        turned = BlockGroup(partner[group.index], group.cols, group.rows, group.kind)
        return self.read(entries, turned).swapaxes(-1, -2)

    def block_max(self, entries: NDArray[Any]) -> NDArray[Any]:
        """Return the largest absolute entry of each block over all components, (n_blocks,)."""
        largest = np.zeros(self.n_blocks)
        for group in self.groups():
            largest[group.index] = np.abs(self.read(entries, group)).max(axis=(0, 2, 3), initial=0)
        return largest

    def block_norm(self, entries: NDArray[Any]) -> NDArray[Any]:
        """Return the root of the sum of |entry|² of each block over all components, (n_blocks,).

        No rotation of the orbitals of a shell changes it.
        """
        norms = np.zeros(self.n_blocks)
        for group in self.groups():
            blocks = self.read(entries, group)
            norms[group.index] = np.sqrt(np.sum(np.abs(blocks) ** 2, axis=(0, 2, 3)))
        return norms
