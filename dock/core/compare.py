"""How far two matrices are apart: overall, per pair of elements, per pair of shells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dock.core.basis import Basis, shell_letter, shell_numbers, shell_starts
from dock.core.blocks import BlockGroup
from dock.core.matrix import AOMatrix
from dock.errors import LayoutError

__all__ = ["Difference", "ShellPairDifference", "compare"]


@dataclass(frozen=True)
class ShellPairDifference:
    """The difference in the blocks of one pair of shells.

    Attributes
    ----------
    species
        Labels of the two species.
    shells
        Numbers of the two shells in their species, from 0.
    names
        The shells in words, such as ``("Mo s0", "S p1")``.
    largest, mean
        Largest and mean |Δ| in the unit of the quantity.
    """

    species: tuple[str, str]
    shells: tuple[int, int]
    names: tuple[str, str]
    largest: float
    mean: float


@dataclass(frozen=True)
class Difference:
    """The difference of two matrices.

    Attributes
    ----------
    quantity, unit
        What was compared.
    largest, mean
        Largest and mean |Δ| over all entries of the union of both patterns.
    pairs
        Which pairs only one of the two has, in words; empty when the patterns agree.
    same_order
        Whether the pairs also stand in the same order.
    shell_pairs
        The same per ordered pair of shells, largest first.
    """

    quantity: str
    unit: str
    largest: float
    mean: float
    pairs: str
    same_order: bool
    shell_pairs: tuple[ShellPairDifference, ...]


def compare(first: AOMatrix, second: AOMatrix) -> Difference:
    """Compare two matrices of one quantity in one basis; a pair that one lacks counts as zero.

    Raises
    ------
    LayoutError
        When quantity, spin or basis differ.
    """
    if first.quantity != second.quantity:
        raise LayoutError(f"a {first.quantity} cannot be compared with a {second.quantity}.")
    if len(first.entries) != len(second.entries):
        raise LayoutError(
            f"{first.quantity}: {first.spin.value} spin cannot be compared with "
            f"{second.spin.value} spin."
        )
    if not first.basis.is_same(second.basis):
        raise LayoutError(f"{first.quantity}: the two have different bases.")
    words = first.pairs.difference(second.pairs)
    same_order = first.pairs.is_same(second.pairs)
    one, other = first.aligned(second)
    if not one.pairs.is_same(other.pairs):
        other = other.on_pairs(one.pairs)
    largest, total, count = _reduce(one, other)
    n_entries = one.entries.size
    return Difference(
        first.quantity,
        first.facts.unit,
        max((float(part.max(initial=0.0)) for part in largest.values()), default=0.0),
        sum(float(part.sum()) for part in total.values()) / max(1, n_entries),
        words,
        same_order,
        _by_shell(first, largest, total, count),
    )


def _reduce(
    one: AOMatrix, other: AOMatrix
) -> tuple[dict[int, NDArray[np.float64]], dict[int, NDArray[np.float64]], dict[int, int]]:
    """Return max and sum of |Δ| and the number of blocks, per pair of species, as matrices."""
    basis, pairs, layout = one.basis, one.pairs, one.layout
    largest: dict[int, NDArray[np.float64]] = {}
    total: dict[int, NDArray[np.float64]] = {}
    count: dict[int, int] = {}
    group: BlockGroup
    for group in layout.groups(basis.pair_kinds(pairs.i, pairs.j)):
        delta = np.abs(layout.read(one.entries, group) - layout.read(other.entries, group))
        peak, summed = delta.max(axis=(0, 1)), delta.sum(axis=(0, 1), dtype=np.float64)
        if group.kind in largest:
            np.maximum(largest[group.kind], peak, out=largest[group.kind])
            total[group.kind] += summed
        else:
            largest[group.kind] = peak.astype(np.float64)
            total[group.kind] = summed
        count[group.kind] = count.get(group.kind, 0) + delta.shape[0] * delta.shape[1]
    return largest, total, count


def _by_shell(
    matrix: AOMatrix,
    largest: dict[int, NDArray[np.float64]],
    total: dict[int, NDArray[np.float64]],
    count: dict[int, int],
) -> tuple[ShellPairDifference, ...]:
    basis = matrix.basis
    found = []
    for kind, peak in largest.items():
        left, right = basis.species_of_kind(kind)
        rows, cols = shell_starts(basis.ls(left)), shell_starts(basis.ls(right))
        peaks = np.maximum.reduceat(np.maximum.reduceat(peak, rows, axis=0), cols, axis=1)
        sums = np.add.reduceat(np.add.reduceat(total[kind], rows, axis=0), cols, axis=1)
        row_names, column_names = _shell_names(basis, left), _shell_names(basis, right)
        for a, la in enumerate(basis.ls(left)):
            for b, lb in enumerate(basis.ls(right)):
                size = (2 * la + 1) * (2 * lb + 1) * count[kind]
                names = row_names[a], column_names[b]
                mean = float(sums[a, b]) / size
                found.append(
                    ShellPairDifference((left, right), (a, b), names, float(peaks[a, b]), mean)
                )
    return tuple(sorted(found, key=lambda item: -item.largest))


def _shell_names(basis: Basis, label: str) -> list[str]:
    """Return the shells of a species in words, counted from 0 as atoms and pairs are here."""
    ls = basis.ls(label)
    numbers = zip(ls, shell_numbers(ls), strict=True)
    return [f"{label} {shell_letter(l)}{number - 1}" for l, number in numbers]
