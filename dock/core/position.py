"""The relation that every position matrix obeys, and how far one is from it."""

from __future__ import annotations

import numpy as np

from dock.core.matrix import AOMatrix

__all__ = ["POSITION_LIMIT", "breaks_relation", "position_error"]

POSITION_LIMIT = 5e-3
"""Largest deviation, Å, that the codes' integration explains, with room.

Measured: 9e-5 for OpenMX, which integrates on its real-space grid, 7e-8 for ABACUS."""

_CHECKED = 20_000
"""Pairs up to which all are looked at; of more, as many, spread over the matrix."""


def position_error(position: AOMatrix, overlap: AOMatrix) -> float:
    """Return the largest |r_ij(R) − R S_ij(R) − r_ji(−R)ᵀ|, Å.

    Both matrices are Hermitian operators' but for the origin: r_ij(R) is about that of the home
    cell, and r_ji(−R) has atom i, not j, there (docs/conventions.md). Blocks of S that are missing
    count as zero; pairs without any r, which only S has, are passed over.

    Raises
    ------
    LayoutError
        When a pair lacks its partner, or the bases differ.

    Examples
    --------
    >>> import dock
    >>> calc = dock.read("fixtures/openmx/si")
    >>> position_error(calc.position, calc.overlap) < 1e-3
    True
    """
    partner = position.pairs.require_closed()
    step = max(1, len(position.pairs) // _CHECKED)
    if step > 1:
        chosen = np.arange(0, len(position.pairs), step)
        position = position.take_pairs(np.unique(np.concatenate([chosen, partner[chosen]])))
        partner = position.pairs.require_closed()
    if not overlap.pairs.is_same(position.pairs):
        whole = overlap.on_pairs(overlap.pairs.union(position.pairs))
        pairs = position.pairs
        overlap = whole.take_pairs(whole.pairs.find(pairs.R, pairs.i, pairs.j))
    position.assert_same_layout(overlap)
    shifts, layout, largest = position.pairs.R @ position.structure.cell, position.layout, 0.0
    for group in layout.groups():
        blocks = layout.read(position.entries, group)
        turned = layout.read_turned(position.entries, group, partner)
        there = np.any(blocks != 0, axis=(0, 2, 3)) | np.any(turned != 0, axis=(0, 2, 3))
        moved = (shifts[group.index] * there[:, None]).T[:, :, None, None]
        with np.errstate(over="ignore", invalid="ignore"):  # damaged numbers may be huge
            difference = blocks - turned - moved * layout.read(overlap.entries, group)
        largest = float(np.maximum(largest, np.abs(difference).max(initial=0.0)))
    return largest


def breaks_relation(position: AOMatrix, overlap: AOMatrix) -> str:
    """Return what is wrong with a position matrix in a clause, empty where it is one."""
    error = position_error(position, overlap)
    if error <= POSITION_LIMIT:
        return ""
    return (
        f"r_ji(−R) = r_ij(R)ᵀ − R S_ij(R)ᵀ is violated by up to {error:.2g} Å (limit "
        f"{POSITION_LIMIT:g} Å): these are no positions of this overlap, but another operator"
    )
