"""The matrices that CP2K writes with KS_CSR_WRITE and S_CSR_WRITE: one file a lattice vector.

A file has no header: a row, a column (from 1) and a value for each entry, as text, or as records
of Fortran with two integers and a double. Matrices at k-points have complex values; they are
refused, for the same run prints those in real space.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from dock.core.basis import Basis
from dock.errors import FormatError
from dock.io.files import readable
from dock.io.refusal import Refusal
from dock.io.text import NotANumber, parse_numbers, require_line_end

__all__ = ["REFUSAL", "Entries", "completed", "read_csr", "require_whole_blocks"]

REFUSAL = Refusal("CP2K")
_RECORD, _COMPLEX = 16, 24  # bytes of a record's data: two integers and one double, or two
_ABSURD = 1e12


class Entries(NamedTuple):
    """Entries of one matrix, (n,) each; rows and columns are orbitals of the cell, from 0."""

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    values: NDArray[np.float64]


def read_csr(path: Path, size: int) -> Entries:
    """Read a file, text or binary, of a matrix with so many orbitals.

    Raises
    ------
    FormatError
        When it is cut, damaged, complex, or of another size.
    MissingDataError
        When it cannot be read.
    """
    with readable(path):
        data = path.read_bytes()
    if not data:
        REFUSAL.cut(path, "the matrix", 1, 0)
    entries = _binary(path, data) if b"\0" in data[:8] else _text(path, data)
    rows, cols, values = entries
    largest = int(max(rows.max(), cols.max())) + 1
    if min(rows.min(), cols.min()) < 0 or largest > size:
        REFUSAL.damaged(
            path,
            "the matrix does not fit the basis",
            f"rows and columns from 1 to {size}",
            f"up to {largest}" if largest > size else "0 or less",
        )
    if not np.abs(values).max() < _ABSURD:  # NaN too
        REFUSAL.damaged(path, "a value is not finite", "finite numbers", "NaN or a far larger one")
    places = rows * np.int64(size) + cols
    if not bool(np.all(np.diff(places) > 0)):
        REFUSAL.damaged(path, "the entries are out of order", "row by row", "another order")
    return entries


def _binary(path: Path, data: bytes) -> Entries:
    """Split records of Fortran, all of one length."""
    if len(data) < _RECORD + 8:
        REFUSAL.cut(path, "the first record", _RECORD + 8, len(data))
    lengths = {order: int(np.frombuffer(data[:4], f"{order}i4")[0]) for order in "<>"}
    if _COMPLEX in lengths.values():
        _refuse_complex(path)
    order = next((order for order, length in lengths.items() if length == _RECORD), None)
    if order is None:
        found = f"{lengths['<']} bytes"
        REFUSAL.damaged(path, "this is no matrix of CP2K", f"records of {_RECORD} bytes", found)
    step = _RECORD + 8
    if len(data) % step:
        REFUSAL.cut(path, "the matrix", (len(data) // step + 1) * step, len(data))
    fields = ["head", "row", "col", "value", "tail"]
    kinds = [f"{order}i4"] * 3 + [f"{order}f8", f"{order}i4"]
    table = np.frombuffer(data, np.dtype(list(zip(fields, kinds, strict=True))))
    if np.any(table["head"] != _RECORD) or np.any(table["tail"] != _RECORD):
        REFUSAL.damaged(path, "the records differ in length", f"{_RECORD} bytes", "others")
    rows, cols = (table[name].astype(np.int64) - 1 for name in ("row", "col"))
    return Entries(rows, cols, table["value"].astype(np.float64))


def _text(path: Path, data: bytes) -> Entries:
    first = data.split(b"\n", 1)[0].split()
    if len(first) == 4:
        _refuse_complex(path)
    require_line_end(path, data[-40:].decode("ascii", "replace"))
    count = data.count(b"\n")
    try:
        numbers = parse_numbers(data)
    except NotANumber as error:
        REFUSAL.damaged(path, "a word stands where a number should be", "a number", error.shown)
    if len(first) != 3 or numbers.size != 3 * count:
        REFUSAL.damaged(
            path, "this is no matrix of CP2K", "row, column and value on each line",
            f"{numbers.size} numbers on {count} lines",
        )  # fmt: skip
    table = numbers.reshape(-1, 3)
    if np.any(table[:, :2] % 1):
        REFUSAL.damaged(path, "a row or column is no whole number", "whole numbers", "others")
    rows, cols = (table[:, column].astype(np.int64) - 1 for column in (0, 1))
    return Entries(rows, cols, np.ascontiguousarray(table[:, 2]))


def _refuse_complex(path: Path) -> NoReturn:
    raise FormatError(
        path,
        "this is a matrix at a k-point",
        expected="matrices in real space",
        found="complex numbers",
        fix="Run CP2K again with REAL_SPACE .TRUE. in KS_CSR_WRITE and S_CSR_WRITE.",
    )


def require_whole_blocks(path: Path, entries: Entries, basis: Basis, *, upper: bool) -> None:
    """Refuse a matrix in which a block of two atoms is there in part: the file was cut.

    `upper` says that the lower triangle was left out. Not for files with a THRESHOLD.
    """
    atom = basis.table.atom
    n_atoms = np.int64(basis.n_atoms)
    key = atom[entries.rows] * n_atoms + atom[entries.cols]
    found = np.bincount(key, minlength=int(n_atoms**2)).reshape(basis.n_atoms, -1)
    whole = np.multiply.outer(basis.counts, basis.counts)
    if upper:
        whole[np.diag_indices(basis.n_atoms)] = basis.counts * (basis.counts + 1) // 2
    wrong = np.argwhere((found != 0) & (found != whole))
    if len(wrong):
        i, j = wrong[0]
        REFUSAL.damaged(
            path,
            "the block of two atoms is not whole",
            f"{whole[i, j]} entries of the atoms {i + 1} and {j + 1}",
            f"{found[i, j]}: the file is cut, or of another basis",
        )


def completed(vectors: NDArray[np.int64], parts: Sequence[Entries]) -> list[Entries]:
    """Return matrices whose lower triangles were left out with them: O_ab(R) = O_ba(−R).

    `vectors` are (n, 3) lattice vectors, each with its partner −R, and `parts` their matrices.
    """
    place = {tuple(R): number for number, R in enumerate(vectors.tolist())}
    result = []
    for R, own in zip(vectors, parts, strict=True):
        partner = parts[place[tuple((-R).tolist())]]
        strict = partner.rows < partner.cols
        rows = np.concatenate([own.rows, partner.cols[strict]])
        cols = np.concatenate([own.cols, partner.rows[strict]])
        values = np.concatenate([own.values, partner.values[strict]])
        order = np.lexsort((cols, rows))
        result.append(Entries(rows[order], cols[order], values[order]))
    return result
