"""Solutions with factored fronts: up the tree with L, down again with D and Lᴴ."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.states.sparse._front_kernels import divide_rows
from dock.states.sparse.blas import Blas
from dock.states.sparse.elimination import BLOCK, Pivots
from dock.states.sparse.fronts import Front, Panel

__all__ = ["backward", "forward"]

Store = NDArray[Any]


def forward(
    front: Front, own: Store, pivots: Pivots, x: Store, blas: Blas, *, start: int = 0
) -> None:
    """Replace the front's rows of right sides, x (n_all, m) in columns, by L⁻¹ of them.

    From the rows of the boundary, what follows from the own ones is subtracted. Without them, x is
    (n_own, m). With `start`, x begins at that own panel: it is 0 above.
    """
    n_rows, n_sides = x.shape
    chosen = front.own_panels[start:]
    for panel in chosen:
        a = blas.part(own, panel.begin, panel.lead)
        for begin in range(0, panel.width, BLOCK):
            width = min(BLOCK, panel.width - begin)
            first = panel.first + begin - chosen[0].first
            rows = slice(first, first + width)
            x[rows] = x[rows][_order(pivots, panel, begin, width)]
            mine = blas.part(x, first, n_rows)
            blas.solve_unit(b"L", b"N", blas.at(a, begin, begin), mine, width, n_sides)
            below = blas.at(mine, width, 0)
            left = blas.at(a, begin + width, begin)
            n_below = n_rows - first - width
            blas.subtract(below, left, mine, n_below, n_sides, width, (b"N", b"N"))


def backward(
    front: Front, own: Store, pivots: Pivots, x: Store, blas: Blas, *, start: int = 0
) -> None:
    """Replace the own rows of x, which `forward` left, by the solution.

    The rows of the boundary hold the solution already, or are not there: it is 0 on them. With
    `start`, x begins at that own panel, and is not wanted above.
    """
    n_rows, n_sides = x.shape
    chosen = front.own_panels[start:]
    shift = chosen[0].first
    d = (pivots.diagonal[shift:], pivots.off_diagonal[shift:])
    # Flat: each layout of two dimensions would be compiled for itself.
    divide_rows(x.T.reshape(-1), n_rows, n_sides, *d, blas.hermitian)
    for panel in reversed(chosen):
        a = blas.part(own, panel.begin, panel.lead)
        for begin in reversed(range(0, panel.width, BLOCK)):
            width = min(BLOCK, panel.width - begin)
            first = panel.first + begin - shift
            rows = slice(first, first + width)
            mine = blas.part(x, first, n_rows)
            below = blas.at(mine, width, 0)
            left = blas.at(a, begin + width, begin)
            n_below = n_rows - first - width
            kinds = (blas.transpose, b"N")
            blas.subtract(mine, left, below, width, n_sides, n_below, kinds)
            here = blas.at(a, begin, begin)
            blas.solve_unit(b"L", blas.transpose, here, mine, width, n_sides)
            x[rows][_order(pivots, panel, begin, width)] = np.array(x[rows])


def _order(pivots: Pivots, panel: Panel, begin: int, width: int) -> NDArray[np.int32]:
    """Return how the rows of a diagonal block were interchanged."""
    first = panel.first + begin
    return pivots.order[first : first + width]
