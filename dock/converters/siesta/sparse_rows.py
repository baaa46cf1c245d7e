"""Between SIESTA's sparse rows of single orbitals and blocks of atom pairs, both ways.

SIESTA keeps an element when the two orbitals (or a projector between them) overlap; a block of an
atom pair has zeros where it keeps none. The rows are gone through in slices, so that beside the
result only the columns, at 4 bytes an entry, are in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.converters.siesta.matrix_file import MatrixFile, canonical_images, damaged
from dock.converters.sparse_blocks import distinct
from dock.core.arrays import Float64Array, FloatArray, Int64Array
from dock.core.basis import Basis
from dock.core.blocks import BlockLayout
from dock.core.orbital_order import shell_orders
from dock.core.pairs import Pairs
from dock.errors import FormatError, LayoutError
from dock.io.binary import Rows, row_slices

__all__ = ["Component", "NewRows", "Part", "StoredRows", "write_record"]

_Slice = tuple[int, int, NDArray[np.int64], NDArray[np.float64]]


class Part(NamedTuple):
    """One spin component on file, and the (n_entries,) arrays that get it times a factor."""

    rows: Rows
    targets: Sequence[tuple[NDArray[Any], float]]


@dataclass(frozen=True, eq=False)
class _OrbitalOrder:
    """Where each orbital of the file stands in its atom, in the order of `dock`, and its sign."""

    atom: Int64Array
    place: Int64Array
    sign: Float64Array

    @classmethod
    def of(cls, basis: Basis) -> _OrbitalOrder:
        """Return the order of a basis whose shells stand as in SIESTA."""
        orders = shell_orders(basis, "siesta")
        return cls(
            np.repeat(np.arange(basis.n_atoms), basis.counts),
            np.concatenate([orders[label].permutation for label in basis.labels]),
            np.concatenate([orders[label].signs for label in basis.labels], dtype=np.float64),
        )


@dataclass(frozen=True, eq=False)
class StoredRows:
    """The rows of one file, matched with the blocks that they fill.

    Attributes
    ----------
    basis, pairs
        What the blocks refer to; the pairs are closed under (R, i, j) → (−R, j, i).
    counts
        (n_orbitals,) entries of each row.
    columns
        int32 (n_entries on file,): supercell orbital of each entry, from 0.
    pair_keys
        int64 (n_pairs,), ascending: (atom of the row · images + image) · atoms + atom.
    images
        (n_images, 3) lattice vectors of the cells of the supercell.
    """

    basis: Basis
    pairs: Pairs
    counts: Int64Array
    columns: NDArray[np.int32]
    pair_keys: Int64Array
    images: NDArray[np.int32]

    @classmethod
    def of(cls, file: MatrixFile, images: NDArray[np.int32], basis: Basis) -> StoredRows:
        """Read the columns of a file and find its atom pairs.

        Raises
        ------
        FormatError
            When a column lies outside the supercell or occurs twice in a row, or a pair lacks its
            partner.
        """
        order = _OrbitalOrder.of(basis)
        table = _column_keys(order.atom, len(images), basis.n_atoms)
        stride = len(images) * basis.n_atoms
        columns = np.empty(int(file.counts.sum()), dtype=np.int32)
        parts, place = [], 0
        for begin, end in row_slices(file.counts):
            part = file.columns.read(begin, end) - np.int32(1)
            _check_columns(file, part, len(table), (begin, end))
            columns[place : place + len(part)] = part
            place += len(part)
            keys = np.repeat(order.atom[begin:end] * stride, file.counts[begin:end]) + table[part]
            parts.append(distinct(keys[_heads(keys)]))
        keys = distinct(np.concatenate(parts))
        first, rest = np.divmod(keys, stride)
        image, second = np.divmod(rest, basis.n_atoms)
        try:
            pairs = Pairs(images[image], first, second, basis.n_atoms)
            pairs.require_closed()
        except LayoutError as error:
            raise FormatError(
                file.path, str(error).rstrip("."), where="the columns, or the table of images"
            ) from error
        return cls(basis, pairs, file.counts, columns, keys, images)

    def fits(self, file: MatrixFile, images: NDArray[np.int32]) -> bool:
        """Say whether another file of the run has the very same sparse pattern.

        Two files may number the images that no column is in differently.
        """
        if images.shape != self.images.shape or not np.array_equal(file.counts, self.counts):
            return False
        if not np.array_equal(images[self._used], self.images[self._used]):
            return False
        place = 0
        for begin, end in row_slices(self.counts):
            part = file.columns.read(begin, end)
            if not np.array_equal(part - np.int32(1), self.columns[place : place + len(part)]):
                return False
            place += len(part)
        return True

    @cached_property
    def _used(self) -> NDArray[np.bool_]:
        """(n_images,) whether any column lies in that cell."""
        used = np.zeros(len(self.images), dtype=bool)
        used[self.columns // self.basis.n_orbitals] = True
        return used

    @cached_property
    def order(self) -> _OrbitalOrder:
        """Place and sign of each orbital."""
        return _OrbitalOrder.of(self.basis)

    @cached_property
    def layout(self) -> BlockLayout:
        """Where each pair's block stands."""
        return _layout(self.basis, self.pairs)

    def fill(self, parts: Sequence[Part]) -> None:
        """Add the numbers of each part to its targets, in the order and signs of `dock`."""
        is_one_slice = len(list(islice(row_slices(self.counts), 2))) == 1
        slices = self._only_slice if is_one_slice else self._slices()
        for begin, end, where, factor in slices:
            for part in parts:
                values = part.rows.read(begin, end) * factor
                for target, multiple in part.targets:
                    target[where] += multiple * values

    @cached_property
    def _only_slice(self) -> list[_Slice]:
        """The destinations of a small file, kept for its further matrices."""
        return list(self._slices())

    def _slices(self) -> Iterator[_Slice]:
        """Yield first and last row of each slice, and place and sign of its entries."""
        order, basis = self.order, self.basis
        table = _column_keys(order.atom, len(self.images), basis.n_atoms)
        stride = len(self.images) * basis.n_atoms
        local = np.tile(order.place, len(self.images))
        sign = np.tile(order.sign, len(self.images))
        width = basis.counts[self.pairs.j]
        begin_entry = 0
        for begin, end in row_slices(self.counts):
            counts = self.counts[begin:end]
            total = int(counts.sum())
            columns = self.columns[begin_entry : begin_entry + total]
            begin_entry += total
            rows = np.repeat(np.arange(begin, end), counts)
            keys = order.atom[rows] * stride + table[columns]
            heads = _heads(keys, rows)
            pair = np.searchsorted(self.pair_keys, keys[heads])
            base = self.layout.starts[pair] + order.place[rows[heads]] * width[pair]
            where = np.repeat(base, np.diff(heads, append=total)) + local[columns]
            yield begin, end, where, order.sign[rows] * sign[columns]


def _layout(basis: Basis, pairs: Pairs) -> BlockLayout:
    return BlockLayout(basis.counts[pairs.i], basis.counts[pairs.j])


def _column_keys(atom: NDArray[np.int64], n_images: int, n_atoms: int) -> NDArray[np.int64]:
    """Return image · atoms + atom for every orbital of the supercell."""
    return (np.arange(n_images)[:, None] * n_atoms + atom[None, :]).ravel()


def _heads(keys: NDArray[np.int64], rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Return where runs of equal keys (and rows) begin: neighbours mostly are of one pair."""
    changed = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=changed[1:])
    if rows is not None:
        changed[1:] |= rows[1:] != rows[:-1]
    return np.flatnonzero(changed)


def _check_columns(
    file: MatrixFile, columns: NDArray[np.int32], n_columns: int, rows: tuple[int, int]
) -> None:
    """Refuse columns outside the supercell, and one that occurs twice in its row."""
    if len(columns) == 0:
        return
    where = f"columns of the rows {rows[0] + 1} to {rows[1]}"
    if columns.min() < 0 or columns.max() >= n_columns:
        found = f"{columns.min() + 1} to {columns.max() + 1}"
        damaged(file.path, "a column is out of range", f"1 to {n_columns}", found, where)
    row = np.repeat(np.arange(rows[1] - rows[0]), file.counts[rows[0] : rows[1]])
    keys = row * n_columns + columns
    if not np.all(keys[1:] > keys[:-1]):
        keys = np.sort(keys)
        twice = np.flatnonzero(keys[1:] == keys[:-1])
        if len(twice):
            line, column = divmod(int(keys[twice[0]]), n_columns)
            found = f"column {column + 1} twice in row {rows[0] + line + 1}"
            damaged(file.path, "a column occurs twice", "each once in a row", found, where)


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

    begin: Int64Array
    column: Int64Array
    start: Int64Array
    stride: Int64Array
    sign: Float64Array
    pair: Int64Array


@dataclass(frozen=True, eq=False)
class NewRows:
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
        cls, basis: Basis, pairs: Pairs, nsc: tuple[int, int, int], entries: Sequence[NDArray[Any]]
    ) -> NewRows:
        """Choose the elements that are not zero in any matrix, and their partners.

        The pairs must be closed; `entries` are (n_components, n_entries) of every matrix that the
        files will hold.
        """
        layout = _layout(basis, pairs)
        mask = np.zeros((1, layout.n_entries), dtype=bool)
        for matrix in entries:
            for row in matrix:
                mask[0] |= row != 0
        mask |= layout.transpose(mask, pairs.require_closed())
        for group in layout.groups():
            onsite = np.isin(group.index, pairs.onsite)
            if group.rows == group.cols and onsite.any():
                diagonal = group._replace(index=group.index[onsite])
                blocks = layout.read(mask, diagonal) | np.eye(group.rows, dtype=bool)
                layout.write(mask, diagonal, blocks)
        return cls(basis, pairs, nsc, mask[0])

    @cached_property
    def order(self) -> _OrbitalOrder:
        """Place and sign of each orbital."""
        return _OrbitalOrder.of(self.basis)

    @cached_property
    def _slots(self) -> _Slots:
        basis, pairs, order = self.basis, self.pairs, self.order
        layout = _layout(basis, pairs)
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
        for begin, end in row_slices(np.diff(self._slots.begin)[self.order.atom]):
            row, _, _ = self._kept(begin, end)
            counts[begin:end] = np.bincount(row - begin, minlength=end - begin)
        return counts

    def write_pattern(self, stream: BinaryIO) -> None:
        """Write the entries of each row, then the columns, from 1."""
        write_record(stream, self.counts.astype(np.int32))
        for begin, end in row_slices(self.counts):
            _, slot, _ = self._kept(begin, end)
            _write_rows(stream, self.counts[begin:end], self._slots.column[slot] + 1, "<i4")

    def write_values(self, stream: BinaryIO, components: Sequence[Component], kind: str) -> None:
        """Write the numbers of each component as ``"<f4"`` or ``"<f8"``, in SIESTA's signs."""
        sign = self.order.sign
        for values, unit in components:
            for begin, end in row_slices(self.counts):
                row, slot, place = self._kept(begin, end)
                factor = unit * sign[row] * self._slots.sign[slot]
                _write_rows(stream, self.counts[begin:end], values[place] * factor, kind)

    def write_vectors(self, stream: BinaryIO, positions: FloatArray, cell: FloatArray) -> None:
        """Write the vectors from orbital to orbital, x fastest, in single precision."""
        pairs = self.pairs
        between = positions[pairs.j] - positions[pairs.i] + pairs.R @ cell
        for begin, end in row_slices(self.counts):
            _, slot, _ = self._kept(begin, end)
            vectors = between[self._slots.pair[slot]].ravel()
            _write_rows(stream, 3 * self.counts[begin:end], vectors, "<f4")

    def _kept(self, begin: int, end: int) -> tuple[Int64Array, Int64Array, Int64Array]:
        """Return row, slot and entry of the elements to be written in some rows."""
        slots, order = self._slots, self.order
        atoms = order.atom[begin:end]
        first, last = slots.begin[atoms], slots.begin[atoms + 1]
        lengths = last - first
        ends = np.cumsum(lengths)
        row = np.repeat(np.arange(begin, end), lengths)
        slot = np.arange(int(ends[-1])) + np.repeat(first - ends + lengths, lengths)
        place = slots.start[slot] + order.place[row] * slots.stride[slot]
        kept = self.mask[place]
        return row[kept], slot[kept], place[kept]


def write_record(stream: BinaryIO, *parts: NDArray[Any]) -> None:
    """Write one Fortran record, little-endian."""
    little = (part.astype(part.dtype.newbyteorder("<"), copy=False) for part in parts)
    data = b"".join(part.tobytes() for part in little)
    length = np.array([len(data)], dtype="<i4").tobytes()
    stream.write(length + data + length)


def _write_rows(
    stream: BinaryIO, counts: NDArray[np.int64], values: NDArray[Any], kind: str
) -> None:
    """Write one Fortran record a row, of (n_rows,) `counts` numbers each."""
    words = counts * (np.dtype(kind).itemsize // 4)
    ends = np.cumsum(words + 2)
    heads = ends - words - 2
    out = np.empty(int(ends[-1]), dtype="<i4")
    data = np.ones(len(out), dtype=bool)
    data[heads] = data[ends - 1] = False
    out[heads] = out[ends - 1] = 4 * words
    out[data] = np.ascontiguousarray(values, dtype=kind).view("<i4")
    stream.write(out.tobytes())
