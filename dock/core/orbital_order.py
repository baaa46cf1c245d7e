"""Another orbital order for a whole matrix: each atom's shells, m and signs, in one gather."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.basis import Basis
from dock.core.blocks import BlockLayout
from dock.core.harmonics import convention
from dock.core.pairs import Pairs
from dock.core.reorder import OrbitalLabel, Reorder, reorder_orbitals
from dock.errors import LayoutError

__all__ = ["reorder_entries", "shell_orders"]


def shell_orders(basis: Basis, code: str, *, sort_by_l: bool = False) -> dict[str, Reorder]:
    """Return, for each species, how the orbitals of `dock` become those of a code.

    Parameters
    ----------
    basis
        The basis, shells in the order of `dock`.
    code
        Name of the code's convention in `dock.core.harmonics.CONVENTIONS`.
    sort_by_l
        Also bring the shells into ascending l, keeping the order of shells of one l.
    """
    rule = convention(code)
    orders = {}
    for label in basis.species:
        ls = basis.ls(label)
        shells = list(range(len(ls)))
        if sort_by_l:
            shells.sort(key=lambda shell: ls[shell])
        ours = [OrbitalLabel(s, m) for s, l in enumerate(ls) for m in range(-l, l + 1)]
        theirs = [OrbitalLabel(s, m, sign) for s in shells for m, sign in rule.shell(ls[s])]
        orders[label] = reorder_orbitals(ours, theirs)
    return orders


def reorder_entries(
    entries: NDArray[Any], basis: Basis, pairs: Pairs, orders: Mapping[str, Reorder]
) -> NDArray[Any]:
    """Return flat entries (n_components, n_entries) with the orbitals of every atom reordered.

    `orders` leads from the source's order of each species to the wanted one; `LayoutError` where a
    species has none, or one of the wrong length.
    """
    chosen = {label: _order_of(basis, label, orders) for label in basis.species}
    if all(order.is_identity for order in chosen.values()):
        return entries
    layout = BlockLayout(basis.counts[pairs.i], basis.counts[pairs.j])
    result = np.empty_like(entries)
    for group in layout.groups(basis.pair_kinds(pairs.i, pairs.j)):
        left, right = (chosen[label] for label in basis.species_of_kind(group.kind))
        blocks = layout.read(entries, group)
        turned = blocks[:, :, left.permutation[:, None], right.permutation[None, :]]
        if (left.signs < 0).any() or (right.signs < 0).any():
            turned *= left.signs[:, None] * right.signs[None, :]
        layout.write(result, group, turned)
    return result


def _order_of(basis: Basis, label: str, orders: Mapping[str, Reorder]) -> Reorder:
    order = orders.get(label)
    size = sum(shell.n_orbitals for shell in basis.shells[label])
    if order is None or len(order) != size:
        found = "none" if order is None else f"one of {len(order)}"
        raise LayoutError(
            f"species '{label}': an order of {size} orbitals is needed, found {found}."
        )
    return order
