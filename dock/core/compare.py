"""How far two matrices are apart: overall, per pair of elements, per pair of shells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dock.core.basis import Basis, shell_letter, shell_numbers, shell_starts
from dock.core.matrix import AOMatrix
from dock.errors import LayoutError

__all__ = ["Difference", "ShellPairDifference", "compare"]


@dataclass(frozen=True)
class ShellPairDifference:
    """The largest and mean |Δ|, in the unit of the quantity, in the blocks of one pair of shells.

    The shells are counted from 0 in their species; `names` has them in words, such as
    ``("Mo s0", "S p1")``.
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
        Largest and mean |Δ| over all entries of the union of both patterns; of densities over those
        of the common pairs.
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

    Not so of density matrices: codes leave blocks out that are not zero where the overlap is. Of
    them the common pairs are compared.

    `LayoutError` where quantity, spin or basis differ, or two densities have no pair in common.
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
    if words and first.quantity.endswith("density_matrix"):
        first, second = _on_common_pairs(first, second)
        words += "; only the common pairs are compared"
    one, other = first.aligned(second)
    if not one.pairs.is_same(other.pairs):
        other = other.on_pairs(one.pairs)
    sums = _reduce(one, other)
    return Difference(
        first.quantity,
        first.facts.unit,
        max((float(part.largest.max(initial=0.0)) for part in sums.values()), default=0.0),
        sum(float(part.total.sum()) for part in sums.values()) / max(1, one.entries.size),
        words,
        same_order,
        _by_shell(first.basis, sums),
    )


def _on_common_pairs(first: AOMatrix, second: AOMatrix) -> tuple[AOMatrix, AOMatrix]:
    """Return both matrices on the pairs that both have, in the order of the first."""
    mine = first.pairs
    place = second.pairs.find(mine.R, mine.i, mine.j)
    shared = np.flatnonzero(place >= 0)
    if not len(shared):
        raise LayoutError(f"{first.quantity}: the two have no pair of atoms in common.")
    return first.take_pairs(shared), second.take_pairs(place[shared])


@dataclass
class _KindSums:
    """Max and sum of |Δ| over the blocks of one pair of species, as matrices of one block."""

    largest: NDArray[np.float64]
    total: NDArray[np.float64]
    n_blocks: int


def _reduce(one: AOMatrix, other: AOMatrix) -> dict[int, _KindSums]:
    """Return what the blocks of each pair of species differ by."""
    basis, pairs, layout = one.basis, one.pairs, one.layout
    sums: dict[int, _KindSums] = {}
    for group in layout.groups(basis.pair_kinds(pairs.i, pairs.j)):
        delta = np.abs(layout.read(one.entries, group) - layout.read(other.entries, group))
        if group.kind not in sums:
            zero = np.zeros((group.rows, group.cols))
            sums[group.kind] = _KindSums(zero, zero.copy(), 0)
        kind = sums[group.kind]
        np.maximum(kind.largest, delta.max(axis=(0, 1)), out=kind.largest)
        kind.total += delta.sum(axis=(0, 1), dtype=np.float64)
        kind.n_blocks += delta.shape[0] * delta.shape[1]
    return sums


def _by_shell(basis: Basis, sums: dict[int, _KindSums]) -> tuple[ShellPairDifference, ...]:
    shell_pairs = []
    for kind, blocks in sums.items():
        left, right = basis.species_of_kind(kind)
        rows, cols = shell_starts(basis.ls(left)), shell_starts(basis.ls(right))
        peaks = np.maximum.reduceat(np.maximum.reduceat(blocks.largest, rows, axis=0), cols, axis=1)
        totals = np.add.reduceat(np.add.reduceat(blocks.total, rows, axis=0), cols, axis=1)
        row_names, column_names = _shell_names(basis, left), _shell_names(basis, right)
        for a, la in enumerate(basis.ls(left)):
            for b, lb in enumerate(basis.ls(right)):
                names = row_names[a], column_names[b]
                mean = float(totals[a, b]) / ((2 * la + 1) * (2 * lb + 1) * blocks.n_blocks)
                shell_pairs.append(
                    ShellPairDifference((left, right), (a, b), names, float(peaks[a, b]), mean)
                )
    return tuple(sorted(shell_pairs, key=lambda pair: -pair.largest))


def _shell_names(basis: Basis, label: str) -> list[str]:
    """Return the shells of a species in words, counted from 0 as atoms and pairs are here."""
    ls = basis.ls(label)
    numbers = zip(ls, shell_numbers(ls), strict=True)
    return [f"{label} {shell_letter(l)}{number - 1}" for l, number in numbers]
