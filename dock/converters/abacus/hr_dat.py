"""Sparse matrices of ABACUS in its native binary records (``out_hsr 2``, since 2026).

A record is one ionic step: its number, the size and the number of lattice vectors as int32; then
for each of them R and the number of entries (int32), the values (float64 or complex128), the
columns (int32) and the row pointers (int64), without padding. Nothing in it says whether the
values are complex; the row pointers do, as they must end with the number of entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dock.converters.abacus.sparse import SparseBlock, SparseFile, Step
from dock.io.binary import BinaryReader, open_reader

__all__ = ["DatFile"]


@dataclass(frozen=True)
class DatFile(SparseFile):
    """A file of native binary records."""

    def find_steps(self) -> list[Step]:
        """Walk through the records."""
        return _steps(self)

    def read_blocks(self, step: Step) -> Iterator[tuple[tuple[int, int, int], list[SparseBlock]]]:
        """Yield the lattice vectors of one step with their matrix."""
        return _blocks(self, step)


def _steps(file: SparseFile) -> list[Step]:
    steps = []
    with open_reader(file.path, "=") as reader:
        while not reader.at_end:
            offset = reader.offset
            number, rows, count = _integers(reader, 3, "the header of a step")
            if file.size:
                file.check_size(rows)
            steps.append(Step(number, offset))
            width = _binary_width(file, reader, rows)
            for _ in range(count):
                nnz = _integers(reader, 4, "the header of a block")[3]
                if nnz < 0:
                    file.fail("a count is negative", f"offset {reader.offset - 4}")
                reader.skip(nnz * (width + 4) + 8 * (rows + 1), f"step {number}")
    return steps


def _binary_width(file: SparseFile, reader: BinaryReader, rows: int) -> int:
    """Return the bytes of a value, 8 or 16: the row pointers that follow end with the count.

    The reader stays where it is.
    """
    start = offset = reader.offset
    try:
        while offset < reader.size:
            reader.offset = offset
            nnz = _integers(reader, 4, "the header of a block")[3]
            for width in (8, 16) if nnz > 0 else ():
                reader.offset = offset + 16 + nnz * (width + 4)
                if reader.offset + 8 * (rows + 1) > reader.size:
                    continue
                pointers = reader.take("i8", rows + 1, "the row pointers")
                if pointers[0] == 0 and pointers[-1] == nnz:
                    return width
            if nnz != 0:
                file.fail("the row pointers are wrong or the file is cut", f"offset {offset}")
            offset += 16 + 8 * (rows + 1)
        return 8
    finally:
        reader.offset = start


def _blocks(
    file: SparseFile, step: Step
) -> Iterator[tuple[tuple[int, int, int], list[SparseBlock]]]:
    with open_reader(file.path, "=") as reader:
        reader.offset = step.offset
        _, rows, count = _integers(reader, 3, "the header of a step")
        kind = "c16" if _binary_width(file, reader, rows) == 16 else "f8"
        for index in range(count):
            where = f"block {index + 1} of step {step.number}"
            first, second, third, nnz = _integers(reader, 4, where)
            values = reader.take(kind, nnz, where)
            cols = reader.take("i4", nnz, where).astype(np.int64)
            pointers = reader.take("i8", rows + 1, where)
            vector = (first, second, third)
            place = file.rows(pointers, cols, where) if nnz else cols
            yield vector, [SparseBlock(vector, 0, place, cols, values)]


def _integers(reader: BinaryReader, count: int, what: str) -> list[int]:
    found: list[int] = reader.take("i4", count, what).tolist()
    return found
