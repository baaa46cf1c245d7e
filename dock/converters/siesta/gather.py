"""From blocks of atom pairs to SIESTA's sparse rows of single orbitals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.converters.siesta.matrix_file import canonical_images
from dock.converters.siesta.sparse_rows import OrbitalOrder
from dock.core.basis import Basis
from dock.core.blocks import BlockLayout
from dock.core.pairs import Pairs
from dock.io.binary import row_slices

__all__ = ["Component", "Gather", "record", "write_rows"]


class Component(NamedTuple):
    """One real component: (n_entries,) numbers in the blocks' order, and a factor."""

    values: NDArray[Any]
    factor: float


class _Slots(NamedTuple):
    """The columns of the rows of each atom, in ascending order; one slot a column.

    Attributes
    ----------
    begin
        (n_atoms + 1,) first slot of each atom.
    column
        Supercell orbital, from 0.
    start, stride
        The entry is ``start + stride · (row of the block)``.
    sign
        Sign of the column orbital.
    pair
        Pair of atoms.
    """

    begin: NDArray[np.int64]
    column: NDArray[np.int64]
    start: NDArray[np.int64]
    stride: NDArray[np.int64]
    sign: NDArray[np.float64]
    pair: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Gather:
    """The rows of a file to be written.

    Attributes
    ----------
    basis, pairs
        Of the blocks, in the order of `dock`.
    nsc
        Supercell that holds all lattice vectors of the pairs.
    mask
        bool (n_entries,): the elements that are written.
    """

    basis: Basis
    pairs: Pairs
    nsc: tuple[int, int, int]
    mask: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        basis: Basis,
        pairs: Pairs,
        nsc: tuple[int, int, int],
        entries: Sequence[NDArray[Any]],
    ) -> Gather:
        """Choose the elements that are not zero in any matrix, and their partners.

        Parameters
        ----------
        basis, pairs, nsc
            As the attributes; the pairs must be closed.
        entries
            (n_components, n_entries) of every matrix that the files will hold.
        """
        counts = basis.counts
        layout = BlockLayout(counts[pairs.i], counts[pairs.j])
        mask = np.zeros((1, layout.n_entries), dtype=bool)
        for matrix in entries:
            for row in matrix:
                mask[0] |= row != 0
        mask |= layout.transpose(mask, pairs.require_closed())
        for group in layout.groups():
            onsite = np.isin(group.index, pairs.onsite)
            if group.rows == group.cols and onsite.any():
                chosen = group._replace(index=group.index[onsite])
                blocks = layout.read(mask, chosen) | np.eye(group.rows, dtype=bool)
                layout.write(mask, chosen, blocks)
        return cls(basis, pairs, nsc, mask[0])

    @cached_property
    def order(self) -> OrbitalOrder:
        """Place and sign of each orbital."""
        return OrbitalOrder.of(self.basis)

    @cached_property
    def _slots(self) -> _Slots:
        basis, pairs, order = self.basis, self.pairs, self.order
        layout = BlockLayout(basis.counts[pairs.i], basis.counts[pairs.j])
        images = canonical_images(self.nsc)
        strides = np.array([1, self.nsc[0], self.nsc[0] * self.nsc[1]])
        image = (np.mod(pairs.R, self.nsc) * strides).sum(axis=1)
        if len(pairs) and not np.array_equal(images[image], pairs.R):
            raise ValueError("the supercell does not hold all lattice vectors")
        sorted_pairs = np.lexsort((pairs.j, image, pairs.i))
        widths = basis.counts[pairs.j[sorted_pairs]].astype(np.int64)
        ends = np.cumsum(widths)
        local = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - widths, widths)
        pair = np.repeat(sorted_pairs, widths)
        orbital = basis.offsets[pairs.j[pair]] + local
        per_atom = np.bincount(pairs.i[sorted_pairs], weights=widths, minlength=basis.n_atoms)
        return _Slots(
            np.concatenate([[0], np.cumsum(per_atom.astype(np.int64))]),
            image[pair].astype(np.int64) * basis.n_orbitals + orbital,
            layout.starts[pair] + order.place[orbital],
            basis.counts[pairs.j[pair]].astype(np.int64),
            order.sign[orbital],
            pair,
        )

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(n_orbitals,) elements of each row."""
        counts = np.empty(self.basis.n_orbitals, dtype=np.int64)
        for begin, end in self._all_slices():
            row, _, place = self._everything(begin, end)
            kept = row[self.mask[place]]
            counts[begin:end] = np.bincount(kept - begin, minlength=end - begin)
        return counts

    def columns(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield rows and their columns, from 1."""
        for begin, end in row_slices(self.counts):
            _, slot, _ = self._chosen(begin, end)
            yield slice(begin, end), (self._slots.column[slot] + 1).astype(np.int32)

    def values(self, component: Component) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield rows and their numbers in SIESTA's signs."""
        sign = self.order.sign
        for begin, end in row_slices(self.counts):
            row, slot, place = self._chosen(begin, end)
            factor = component.factor * sign[row] * self._slots.sign[slot]
            yield slice(begin, end), component.values[place] * factor

    def vectors(
        self, positions: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield rows and the vectors from orbital to orbital, x fastest."""
        pairs = self.pairs
        between = positions[pairs.j] - positions[pairs.i] + pairs.R @ cell
        for begin, end in row_slices(self.counts):
            _, slot, _ = self._chosen(begin, end)
            yield slice(begin, end), between[self._slots.pair[slot]].ravel()

    def _all_slices(self) -> Iterator[tuple[int, int]]:
        return row_slices(np.diff(self._slots.begin)[self.order.atom])

    def _everything(
        self, begin: int, end: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return row, slot and entry of all elements of the blocks in some rows."""
        slots, order = self._slots, self.order
        atoms = order.atom[begin:end]
        first, last = slots.begin[atoms], slots.begin[atoms + 1]
        lengths = last - first
        ends = np.cumsum(lengths)
        row = np.repeat(np.arange(begin, end), lengths)
        slot = np.arange(int(ends[-1])) + np.repeat(first - ends + lengths, lengths)
        return row, slot, slots.start[slot] + order.place[row] * slots.stride[slot]

    def _chosen(
        self, begin: int, end: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        row, slot, place = self._everything(begin, end)
        kept = self.mask[place]
        return row[kept], slot[kept], place[kept]


def record(stream: BinaryIO, *parts: NDArray[Any] | bytes) -> None:
    """Write one Fortran record, little-endian."""
    data = b"".join(part if isinstance(part, bytes) else _little(part) for part in parts)
    length = np.array([len(data)], dtype="<i4").tobytes()
    stream.write(length + data + length)


def write_rows(
    stream: BinaryIO,
    counts: NDArray[np.int64],
    slices: Iterator[tuple[slice, NDArray[Any]]],
    kind: str,
) -> None:
    """Write one Fortran record a row.

    Parameters
    ----------
    stream
        Where to.
    counts
        (n_rows,) numbers of each row.
    slices
        Ranges of rows with their numbers, in order.
    kind
        ``"<i4"``, ``"<f4"`` or ``"<f8"``.
    """
    width = np.dtype(kind).itemsize // 4
    for rows, values in slices:
        words = counts[rows] * width
        ends = np.cumsum(words + 2)
        heads = ends - words - 2
        out = np.empty(int(ends[-1]), dtype="<i4")
        data = np.ones(len(out), dtype=bool)
        data[heads] = data[ends - 1] = False
        out[heads] = out[ends - 1] = 4 * words
        out[data] = np.ascontiguousarray(values, dtype=kind).view("<i4")
        stream.write(out.tobytes())


def _little(values: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
