"""Vector operators whose blocks have their components one below another: (3 n_i, n_j)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.doubled_blocks import doubled_layout
from dock.core.blocks import BlockLayout

__all__ = ["COMPONENTS", "VECTORS", "join_components", "split_components"]

COMPONENTS = (3, 1)
"""Rows and columns of a stored block in units of its atoms' orbitals."""

VECTORS = ("electric_response", "momentum")
"""Quantities that files hold this way; other vector operators have entries (3, M)."""

_ROWS = [1, 2, 0]  # y, z, x: m = −1, 0, 1


def split_components(raw: NDArray[Any], single: BlockLayout) -> NDArray[Any]:
    """Return the components x, y, z, (3, n_entries), of stacked blocks (3 n_entries,)."""
    result = np.empty((3, single.n_entries), dtype=raw.dtype)
    stored = doubled_layout(single, COMPONENTS)
    for group in stored.groups():
        rows = group.rows // 3
        blocks = stored.read(raw[None, :], group)[0]
        parts = blocks.reshape(len(group.index), 3, rows, group.cols).swapaxes(0, 1)
        single.write(result, group._replace(rows=rows), parts[np.argsort(_ROWS)])
    return result


def join_components(entries: NDArray[Any], single: BlockLayout) -> NDArray[Any]:
    """Return stacked blocks, (3 n_entries,); the inverse of `split_components`."""
    stored = doubled_layout(single, COMPONENTS)
    result = np.empty((1, stored.n_entries), dtype=entries.dtype)
    for group in single.groups():
        parts = single.read(entries, group)[_ROWS].swapaxes(0, 1)
        wide = group._replace(rows=3 * group.rows)
        stored.write(result, wide, parts.reshape(1, len(group.index), wide.rows, wide.cols))
    flat: NDArray[Any] = result[0]
    return flat
