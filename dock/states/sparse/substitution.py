"""Solutions with factored fronts: up the tree with L, down again with D and Lᴴ."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.states.sparse._front_kernels import divide_rows
from dock.states.sparse.blas import Blas, Part
from dock.states.sparse.elimination import BLOCK, Pivots
from dock.states.sparse.fronts import Front, Panel
from dock.states.sparse.sharing import Share, alone

__all__ = ["backward", "forward"]

Store = NDArray[Any]


def forward(
    front: Front,
    own: Store,
    pivots: Pivots,
    x: Store,
    blas: Blas,
    *,
    start: int = 0,
    share: Share = alone,
) -> None:
    """Replace the front's rows of right sides, x (n_all, m) in columns, by L⁻¹ of them.

    From the rows of the boundary, what follows from the own ones is subtracted. Without them, x is
    (n_own, m). With `start`, x begins at that own panel: it is 0 above.
    """
    n_rows, n_sides = x.shape
    chosen = front.own_panels[start:]
    for panel in chosen:
        a = blas.part(own, panel.begin, panel.lead)
        shift = panel.first - chosen[0].first
        for begin in range(0, panel.width, BLOCK):
            width = min(BLOCK, panel.width - begin)
            rows = slice(shift + begin, shift + begin + width)
            x[rows] = x[rows][_order(pivots, panel, begin, width)]
            mine = blas.part(x, rows.start, n_rows)
            blas.solve_unit(b"L", b"N", blas.at(a, begin, begin), mine, width, n_sides)
            below = blas.at(mine, width, 0)
            left = blas.at(a, begin + width, begin)
            rest = panel.width - begin - width
            blas.subtract(below, left, mine, rest, n_sides, width, (b"N", b"N"))
        mine = blas.part(x, shift, n_rows)

        def under(first: int, stop: int, panel: Panel = panel, a: Part = a, x: Part = mine) -> None:
            rows = panel.width + first
            below, left = blas.at(x, rows, 0), blas.at(a, rows, 0)
            blas.subtract(below, left, x, stop - first, n_sides, panel.width, (b"N", b"N"))

        share(under, n_rows - shift - panel.width)


def backward(
    front: Front,
    own: Store,
    pivots: Pivots,
    x: Store,
    blas: Blas,
    *,
    start: int = 0,
    share: Share = alone,
) -> None:
    """Replace the own rows of x, which `forward` left, by the solution.

    The rows of the boundary hold the solution already, or are not there: it is 0 on them. With
    `start`, x begins at that own panel, and is not wanted above.
    """
    n_rows, n_sides = x.shape
    chosen = front.own_panels[start:]
    before = chosen[0].first
    d = (pivots.diagonal[before:], pivots.off_diagonal[before:])
    # Flat: each layout of two dimensions would be compiled for itself.
    divide_rows(x.T.reshape(-1), n_rows, n_sides, *d, blas.hermitian)
    kinds = (blas.transpose, b"N")
    for panel in reversed(chosen):
        a = blas.part(own, panel.begin, panel.lead)
        shift = panel.first - before
        whole = blas.part(x, shift, n_rows)
        n_below = n_rows - shift - panel.width

        def over(
            first: int,
            stop: int,
            panel: Panel = panel,
            a: Part = a,
            x: Part = whole,
            n_below: int = n_below,
        ) -> None:
            mine, left = blas.at(x, first, 0), blas.at(a, panel.width, first)
            below = blas.at(x, panel.width, 0)
            blas.subtract(mine, left, below, stop - first, n_sides, n_below, kinds)

        share(over, panel.width)
        for begin in reversed(range(0, panel.width, BLOCK)):
            width = min(BLOCK, panel.width - begin)
            rows = slice(shift + begin, shift + begin + width)
            mine = blas.part(x, rows.start, n_rows)
            below = blas.at(mine, width, 0)
            left = blas.at(a, begin + width, begin)
            rest = panel.width - begin - width
            blas.subtract(mine, left, below, width, n_sides, rest, kinds)
            here = blas.at(a, begin, begin)
            blas.solve_unit(b"L", blas.transpose, here, mine, width, n_sides)
            x[rows][_order(pivots, panel, begin, width)] = np.array(x[rows])


def _order(pivots: Pivots, panel: Panel, begin: int, width: int) -> NDArray[np.int32]:
    """Return how the rows of a diagonal block were interchanged."""
    first = panel.first + begin
    return pivots.order[first : first + width]
