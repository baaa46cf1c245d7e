"""Sparse matrices of ABACUS in its native binary records (``out_hsr 2``, since 2026).

A record is one ionic step: its number, the size and the number of lattice vectors as int32; then
for each of them R and the number of entries (int32), the values (float64 or complex128), the
columns (int32) and the row pointers (int64), without padding. Nothing in it says whether the
values are complex; the row pointers do, as they must end with the number of entries.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

import numpy as np

from dock.converters.abacus.sparse_base import SparseBlock, SparseSource, Step

__all__ = ["binary_blocks", "binary_steps"]


def binary_steps(file: SparseSource) -> list[Step]:
    """Walk through the records of a native binary file."""
    steps, size = [], file.path.stat().st_size
    with file.path.open("rb") as stream:
        while stream.tell() < size:
            offset = stream.tell()
            number, rows, count = struct.unpack("=3i", _exactly(file, stream, 12))
            file.check_size(rows)
            steps.append(Step(number, offset))
            width = _binary_width(file, offset + 12, size)
            for _ in range(count):
                nnz = struct.unpack("=4i", _exactly(file, stream, 16))[3]
                if nnz < 0:
                    file.fail("a count is negative", f"offset {stream.tell() - 4}")
                stream.seek(nnz * (width + 4) + 8 * (rows + 1), 1)
            if stream.tell() > size:
                file.fail("the file is cut", f"step {number}", found=f"{size} bytes")
    return steps


def _binary_width(file: SparseSource, offset: int, size: int) -> int:
    """Return the bytes of a value, 8 or 16: the row pointers that follow end with the count."""
    with file.path.open("rb") as stream:
        while offset < size:
            stream.seek(offset)
            nnz = struct.unpack("=4i", _exactly(file, stream, 16))[3]
            for width in (8, 16) if nnz > 0 else ():
                begin = offset + 16 + nnz * (width + 4)
                end = begin + 8 * file.size
                if end + 8 > size:
                    continue
                stream.seek(begin)
                first = struct.unpack("=q", _exactly(file, stream, 8))[0]
                stream.seek(end)
                if first == 0 and struct.unpack("=q", _exactly(file, stream, 8))[0] == nnz:
                    return width
            if nnz != 0:
                file.fail("the row pointers are wrong or the file is cut", f"offset {offset}")
            offset += 16 + 8 * (file.size + 1)
    return 8


def binary_blocks(
    file: SparseSource, step: Step
) -> Iterator[tuple[tuple[int, int, int], list[SparseBlock]]]:
    """Yield the lattice vectors of one step with their matrix."""
    width = _binary_width(file, step.offset + 12, file.path.stat().st_size)
    kind = "c16" if width == 16 else "f8"
    with file.path.open("rb") as stream:
        stream.seek(step.offset)
        _, rows, count = struct.unpack("=3i", _exactly(file, stream, 12))
        for index in range(count):
            where = f"block {index + 1} of step {step.number}"
            *R, nnz = struct.unpack("=4i", _exactly(file, stream, 16))
            values = np.frombuffer(_exactly(file, stream, width * nnz), kind)
            cols = np.frombuffer(_exactly(file, stream, 4 * nnz), "i4").astype(np.int64)
            pointers = np.frombuffer(_exactly(file, stream, 8 * (rows + 1)), "i8")
            vector = (R[0], R[1], R[2])
            place = file.rows(pointers, cols, where) if nnz else cols
            yield vector, [SparseBlock(vector, 0, place, cols, values)]


def _exactly(file: SparseSource, stream: IO[bytes], count: int) -> bytes:
    data: bytes = stream.read(count) if count >= 0 else b""
    if len(data) != count:
        file.fail("the file is cut", f"offset {stream.tell()}", expected=f"{count} bytes more")
    return data
