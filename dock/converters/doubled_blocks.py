"""The block shapes of the DeepH formats: plain, quadrants [[uu, ud], [du, dd]], up above down.

`dock` keeps the components apart; the blocks with both spins exist in files alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.blocks import BlockLayout
from dock.core.spin import Spin
from dock.errors import FormatError

__all__ = [
    "PLAIN",
    "QUADRANTS",
    "STACKED",
    "collinear_content",
    "doubled_layout",
    "expand",
    "join_spin",
    "join_stacked",
    "real_part",
    "reduce_expanded",
    "split_spin",
    "split_stacked",
]

PLAIN, QUADRANTS, STACKED = (1, 1), (2, 2), (2, 1)
"""Rows and columns of a stored block in units of its atoms' orbitals."""

_TOLERANCE = 1e-12  # below this an imaginary or up-down entry of a stored matrix is zero
_ROUNDING = {4: 1e-6, 8: 1e-12}  # deviation from 1₂⊗S over the largest entry, by bytes

_PARTS = {
    Spin.COLLINEAR: ((0, 0), (1, 1)),
    Spin.NONCOLLINEAR: ((0, 0), (0, 1), (1, 0), (1, 1)),
}


def collinear_content(raw: NDArray[Any], stored: BlockLayout) -> bool:
    """Say whether doubled blocks are real and have no up-down parts."""
    if np.iscomplexobj(raw) and np.abs(raw.imag).max(initial=0.0) > _TOLERANCE:
        return False
    for group in stored.groups():
        part = stored.read(raw[None, :], group)[0]
        rows, cols = group.rows // 2, group.cols // 2
        mixing = (part[:, :rows, cols:], part[:, rows:, :cols])
        if max(np.abs(block).max(initial=0.0) for block in mixing) > _TOLERANCE:
            return False
    return True


def real_part(path: Path, raw: NDArray[Any], what: str, key: str) -> NDArray[Any]:
    """Return entries without their imaginary parts, which must be zero: else a FormatError.

    It names the file, what the entries are, and the key of info.json that may be wrong, if any.
    """
    if not np.iscomplexobj(raw):
        return raw
    largest = float(np.abs(raw.imag).max(initial=0.0))
    if largest > _TOLERANCE:
        raise FormatError(
            path,
            f"the {what} should be real",
            where="entries",
            found=f"imaginary parts up to {largest:.1e}",
            fix=f"'{key}' in info.json is wrong, or the file is another matrix."
            if key
            else "The file is another matrix: make it again.",
        )
    return np.ascontiguousarray(raw.real)


def split_spin(raw: NDArray[Any], single: BlockLayout, spin: Spin) -> NDArray[Any]:
    """Return the components, (2 or 4, n_entries), of doubled blocks.

    Parameters
    ----------
    raw
        (4 n_entries,) the doubled blocks, spin outer and orbital inner.
    single
        The blocks of one component.
    spin
        COLLINEAR, whose blocks must be real by then, or NONCOLLINEAR.
    """
    if spin is Spin.NONCOLLINEAR and not np.iscomplexobj(raw):
        raw = raw.astype(np.result_type(raw.dtype, np.complex64))
    stored = BlockLayout(2 * single.rows, 2 * single.cols)
    parts = _PARTS[spin]
    result = np.empty((len(parts), single.n_entries), dtype=raw.dtype)
    for group in stored.groups():
        rows, cols = group.rows // 2, group.cols // 2
        blocks = stored.read(raw[None, :], group)[0].reshape(len(group.index), 2, rows, 2, cols)
        components = np.stack([blocks[:, s, :, t, :] for s, t in parts])
        single.write(result, group._replace(rows=rows, cols=cols), components)
    return result


def join_spin(entries: NDArray[Any], single: BlockLayout, spin: Spin) -> NDArray[Any]:
    """Return doubled blocks, (4 n_entries,), of the components; the inverse of `split_spin`."""
    stored = BlockLayout(2 * single.rows, 2 * single.cols)
    result = np.zeros((1, stored.n_entries), dtype=entries.dtype)
    for group in single.groups():
        shape = (len(group.index), 2, group.rows, 2, group.cols)
        doubled = np.zeros(shape, dtype=entries.dtype)
        for (s, t), block in zip(_PARTS[spin], single.read(entries, group), strict=True):
            doubled[:, s, :, t, :] = block
        wide = group._replace(rows=2 * group.rows, cols=2 * group.cols)
        stored.write(result, wide, doubled.reshape(1, len(group.index), wide.rows, wide.cols))
    flat: NDArray[Any] = result[0]
    return flat


def doubled_layout(single: BlockLayout, shape: tuple[int, int]) -> BlockLayout:
    """Return the blocks as a file has them in one of the shapes."""
    return BlockLayout(shape[0] * single.rows, shape[1] * single.cols)


def expand(entries: NDArray[Any], single: BlockLayout) -> NDArray[Any]:
    """Return 1₂⊗O, (n_vector, 4 n_entries), of an operator without spin."""
    both = (join_spin(np.stack([part, part]), single, Spin.COLLINEAR) for part in entries)
    return np.stack(list(both))


def reduce_expanded(raw: NDArray[Any], single: BlockLayout) -> tuple[NDArray[Any], int]:
    """Return the operator O, (n_vector, n_entries), of 1₂⊗O, the inverse of `expand`.

    Returns
    -------
    entries
        The up–up parts.
    wrong
        Number of the first block that is not 1₂⊗O to rounding; −1 where all are.
    """
    stored = doubled_layout(single, QUADRANTS)
    result = np.empty((len(raw), single.n_entries), dtype=raw.dtype)
    limit = _ROUNDING.get(raw.real.dtype.itemsize, 1e-12) * np.abs(raw).max(initial=0.0)
    wrong = []
    for group in stored.groups():
        rows, cols = group.rows // 2, group.cols // 2
        blocks = stored.read(raw, group)
        single.write(result, group._replace(rows=rows, cols=cols), blocks[..., :rows, :cols])
        difference = np.array(blocks)
        difference[..., rows:, cols:] -= blocks[..., :rows, :cols]
        difference[..., :rows, :cols] = 0
        far = np.abs(difference).max(axis=(0, 2, 3), initial=0.0) > limit
        wrong.extend(group.index[far].tolist())
    return result, min(wrong, default=-1)


def split_stacked(raw: NDArray[Any], single: BlockLayout) -> NDArray[Any]:
    """Return the components, (2, n_entries), of blocks with the up rows above the down rows."""
    stored = doubled_layout(single, STACKED)
    result = np.empty((2, single.n_entries), dtype=raw.dtype)
    for group in stored.groups():
        shape = (len(group.index), 2, group.rows // 2, group.cols)
        parts = stored.read(raw[None, :], group)[0].reshape(shape).swapaxes(0, 1)
        single.write(result, group._replace(rows=shape[2]), np.ascontiguousarray(parts))
    return result


def join_stacked(entries: NDArray[Any], single: BlockLayout) -> NDArray[Any]:
    """Return blocks with the up rows above the down rows; the inverse of `split_stacked`."""
    stored = doubled_layout(single, STACKED)
    result = np.empty((1, stored.n_entries), dtype=entries.dtype)
    for group in single.groups():
        parts = single.read(entries, group).swapaxes(0, 1)
        shape = (1, len(group.index), 2 * group.rows, group.cols)
        stored.write(result, group._replace(rows=shape[2]), parts.reshape(shape))
    flat: NDArray[Any] = result[0]
    return flat
