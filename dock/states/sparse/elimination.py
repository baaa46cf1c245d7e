"""The dense elimination of one front: L D Lᴴ of its own columns, and the update of the rest.

The own columns are eliminated in blocks. A diagonal block is factored with Bunch–Kaufman pivoting
among its rows; pivots that are too small are moved and counted. Everything below it follows by
products of matrices, of which only the lower triangle is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.states.sparse._front_kernels import divide_columns, gather_columns, read_pivots
from dock.states.sparse.blas import Blas, Part
from dock.states.sparse.fronts import Front, Panel
from dock.states.sparse.sharing import Share, alone

__all__ = ["Pivots", "Workspace", "eliminate"]

BLOCK = 128
"""Rows among which a pivot is chosen."""

Store = NDArray[Any]


@dataclass(eq=False)
class Pivots:
    """D of a front's own rows, and how the rows of each diagonal block were interchanged.

    `order` holds, block by block, the places of the rows before the interchanges; `off_diagonal`
    is 0 at pivots of one row. `negative` and `moved` are the numbers of negative eigenvalues of D
    and of pivots that were moved away from zero.
    """

    order: NDArray[np.int32]
    diagonal: Store
    off_diagonal: Store
    negative: int = 0
    moved: int = 0

    @classmethod
    def empty(cls, n: int, kind: np.dtype[Any]) -> Pivots:
        """Return room for the pivots of `n` rows."""
        return cls(np.empty(n, dtype=np.int32), np.empty(n, dtype=kind), np.empty(n, dtype=kind))


class Workspace:
    """Memory for one panel, kept from front to front."""

    def __init__(self, kind: np.dtype[Any]) -> None:
        self._store = np.empty(0, dtype=kind)

    def take(self, length: int) -> Store:
        """Return a store of at least so many entries; what was taken before is lost."""
        if len(self._store) < length:
            self._store = np.empty(0, dtype=self._store.dtype)  # two are not needed at once
            self._store = np.empty(length, dtype=self._store.dtype)
        return self._store


def eliminate(
    front: Front,
    own: Store,
    rest: Store,
    blas: Blas,
    space: Workspace,
    smallest: float,
    share: Share = alone,
) -> Pivots:
    """Eliminate a front's own columns in place and subtract what that leaves from the others.

    `own` and `rest` are the stores of its panels, `smallest` is the least size of a pivot.
    """
    pivots = Pivots.empty(front.n_own, blas.kind)
    for number, panel in enumerate(front.own_panels):
        divided = space.take(panel.lead * panel.width)
        _eliminate_panel(panel, own, divided, blas, smallest, pivots, share)
        later = [(target, own) for target in front.own_panels[number + 1 :]]
        later += [(target, rest) for target in front.rest_panels]

        def update(
            first: int,
            stop: int,
            panel: Panel = panel,
            divided: Store = divided,
            later: list[tuple[Panel, Store]] = later,
        ) -> None:
            for target, store in later[first:stop]:
                _update(target, store, panel, own, divided, blas)

        share(update, [target.lead * target.width for target, _ in later])
    return pivots


def _eliminate_panel(
    panel: Panel,
    own: Store,
    products: Store,
    blas: Blas,
    smallest: float,
    pivots: Pivots,
    share: Share,
) -> None:
    """Eliminate the columns of one panel; `products` gets L D below each diagonal block."""
    kinds = (b"N", blas.transpose)
    a = blas.part(own, panel.begin, panel.lead)
    y = blas.part(products, 0, panel.lead)
    for begin in range(0, panel.width, BLOCK):
        width = min(BLOCK, panel.width - begin)
        below = begin + width
        n_below = panel.lead - below
        here = blas.at(a, begin, begin)
        left, above = blas.at(a, begin, 0), blas.at(y, begin, 0)
        if begin:

            def follow(
                first: int,
                stop: int,
                places: tuple[Part, Part, Part] = (here, left, above),
                width: int = width,
                begin: int = begin,
            ) -> None:
                target, a, b = places
                target, a = blas.at(target, first, 0), blas.at(a, first, 0)
                blas.subtract(target, a, b, stop - first, width, begin, kinds)

            share(follow, panel.lead - begin)
        interchanges, off_diagonal = blas.factor(here, width)
        rows = slice(panel.first + begin, panel.first + below)
        order, diagonal = pivots.order[rows], pivots.diagonal[rows]
        place = panel.begin + begin * (panel.lead + 1)
        negative, moved = read_pivots(
            own[place:],
            panel.lead,
            width,
            interchanges,
            off_diagonal,
            smallest,
            blas.hermitian,
            order,
            diagonal,
        )
        pivots.off_diagonal[rows] = off_diagonal
        pivots.negative += negative
        pivots.moved += moved
        source = panel.begin + below + begin * panel.lead
        target = below + begin * panel.lead
        gather_columns(own, source, panel.lead, n_below, order, products, target, panel.lead)
        product = blas.at(y, below, begin)

        def divide(
            first: int,
            stop: int,
            places: tuple[Part, Part] = (here, product),
            width: int = width,
        ) -> None:
            factor, b = places[0], blas.at(places[1], first, 0)
            blas.solve_unit(b"R", blas.transpose, factor, b, stop - first, width)

        share(divide, n_below)
        divide_columns(
            products,
            target,
            panel.lead,
            n_below,
            diagonal,
            off_diagonal,
            blas.hermitian,
            own,
            source,
            panel.lead,
        )


def _update(
    target: Panel, store: Store, panel: Panel, own: Store, products: Store, blas: Blas
) -> None:
    """Subtract L D Lᴴ of an eliminated panel from a later one."""
    shift = target.first - panel.first
    blas.subtract(
        blas.part(store, target.begin, target.lead),
        blas.part(own, panel.begin + shift, panel.lead),
        blas.part(products, shift, panel.lead),
        target.lead,
        target.width,
        panel.width,
        (b"N", blas.transpose),
    )
