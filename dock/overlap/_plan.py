"""What the kernels need to make the blocks of one operator, as arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.basis import Basis


class Plan(NamedTuple):
    """Everything that one kernel needs to make the blocks of one operator; see `twocenter`.

    Attributes
    ----------
    positions, cell
        (n_atoms, 3) and (3, 3), Å.
    species, n_species
        (n_atoms,) species of each atom; kind (A, B) has the number A · n_species + B.
    n_rows, n_cols
        (n_species,) orbitals of each species as first and as second centre.
    step
        Distance of the nodes of the radial tables, Å.
    table, table_start, n_nodes, n_channels
        Flat tables [node][value, step · slope, step² · curvature][channel] of each kind.
    channel_start, channel_order
        L of each channel of a kind, from ``channel_start[kind]``.
    lmax
        Highest L of each kind.
    group_start, group
        The (l₁, l₂) that each kind needs.
    factor_start, term_start, term_lm, term_weight
        Angular factors of group g: from ``factor_start[g]``; factor f is Σ weight · Y_lm over the
        terms from ``term_start[f]``.
    sum_start, product_start, product_channel, product_factor
        Entry e of a block of a kind is Σ channel · factor over the products from
        ``product_start[sum_start[kind] + e]``.
    turn_start, turn_lm, turn_weight
        Gradient at r = 1 of each solid harmonic, see `angular.sphere_gradient`.
    up, down
        Factors of the recurrence of the normalised Legendre functions.
    """

    positions: NDArray[Any]
    cell: NDArray[Any]
    species: NDArray[Any]
    n_species: int
    n_rows: NDArray[Any]
    n_cols: NDArray[Any]
    step: float
    table: NDArray[Any]
    table_start: NDArray[Any]
    n_nodes: NDArray[Any]
    n_channels: NDArray[Any]
    channel_start: NDArray[Any]
    channel_order: NDArray[Any]
    lmax: NDArray[Any]
    group_start: NDArray[Any]
    group: NDArray[Any]
    factor_start: NDArray[Any]
    term_start: NDArray[Any]
    term_lm: NDArray[Any]
    term_weight: NDArray[Any]
    sum_start: NDArray[Any]
    product_start: NDArray[Any]
    product_channel: NDArray[Any]
    product_factor: NDArray[Any]
    turn_start: NDArray[Any]
    turn_lm: NDArray[Any]
    turn_weight: NDArray[Any]
    up: NDArray[Any]
    down: NDArray[Any]


def by_kind(
    basis: Basis, i: NDArray[Any], j: NDArray[Any], *columns: NDArray[Any]
) -> tuple[NDArray[Any], ...]:
    """Return the kind of each pair before the columns, all sorted by it for the kernels.

    All are copies: the loops would be compiled once more for views that cannot be written.
    """
    species = basis.species_index.astype(np.int64)
    kind = species[i] * len(basis.species) + species[j]
    if len(basis.species) == 1:
        return tuple(np.array(column) for column in (kind, i, j, *columns))
    order = np.argsort(kind, kind="stable")
    return tuple(column[order] for column in (kind, i, j, *columns))


class Raising(NamedTuple):
    """How r acting on the orbitals of a species is made of the functions of `position_side`.

    Attributes
    ----------
    start
        (3 n_species + 1,) first term of species b and direction α, at 3 b + α.
    source, target, weight
        Column of the functions, column of the orbitals, coefficient.
    """

    start: NDArray[Any]
    source: NDArray[Any]
    target: NDArray[Any]
    weight: NDArray[Any]
