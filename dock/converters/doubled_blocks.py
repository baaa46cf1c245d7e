"""Doubled blocks [[uu, ud], [du, dd]] of the DeepH formats, to and from spin components.

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

__all__ = ["collinear_content", "join_spin", "real_part", "split_spin"]

_TOLERANCE = 1e-12  # below this an imaginary or up-down entry of a stored matrix is zero

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

    It names the file, what the entries are, and the key of info.json that doubles blocks.
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
            fix=f"'{key}' in info.json is wrong, or the file is another matrix.",
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
