"""One operator in the atomic-orbital basis: its blocks on atom pairs, and the algebra on them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from dock.core.arrays import IntArray, NumberArray, is_wanted_shape
from dock.core.basis import Basis
from dock.core.blocks import BlockGroup, BlockLayout
from dock.core.notebook import html_table, size_in_words
from dock.core.pairs import Pairs
from dock.core.quantity import Quantity, quantity_of
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import LayoutError

__all__ = ["BlockMatrix"]

_DIGESTED = 2**11  # pairs hashed at once


@dataclass(frozen=True, eq=False)
class BlockMatrix:
    """An operator O with blocks ⟨i, cell 0 | O | j, cell R⟩.

    Parameters
    ----------
    quantity
        A name of `dock.core.quantity.QUANTITIES`, which fixes the unit.
    structure, basis, pairs
        What the blocks refer to.
    spin
        The spin treatment of the calculation; the overlap has one component whatever it is.
    entries
        (n_components, n_entries): all blocks row-major, one behind another in the order of
        `pairs`. Rows are orbitals of atom i, columns of atom j, both in the order of `basis` with
        m = −l … +l. Float32, float64, complex64 or complex128; kept without a copy, read-only.

    Raises
    ------
    LayoutError
        When the sizes disagree or the entries are no numbers; from a method, when pairs, bases or
        components do not fit or a pair that is needed is missing.

    Notes
    -----
    Bloch sum: O(k) = Σ_R exp(+2πi k·R) O(R) with k in units of the reciprocal lattice vectors.
    A density matrix is P(R) = (1/N_k) Σ_kn f_kn c_kn c_kn† exp(−2πi k·R), summed over both spins
    for ``Spin.NONE``, so that `dot` of it with the overlap is the number of electrons.
    """

    quantity: str
    structure: Structure
    basis: Basis
    pairs: Pairs
    spin: Spin
    entries: NumberArray
    __array_ufunc__ = None  # so that np.float64(2) * matrix asks __rmul__

    def __repr__(self) -> str:
        """Return one line: the operator, of what, how many entries of which type."""
        components, count = self.entries.shape
        return (
            f"<{type(self).__name__} {self.quantity} of {self.structure.formula}: "
            f"{len(self.pairs)} pairs, {components} × {count} entries, {self.entries.dtype}, "
            f"spin {self.spin.value}>"
        )

    def _repr_html_(self) -> str:
        """Return what it is and how big as a table for a notebook."""
        lattice = f"{len(np.unique(self.pairs.R, axis=0))} lattice vectors"
        rows = [
            ("of", f"{self.structure.formula}, {self.basis.n_orbitals} orbitals"),
            ("unit", self.facts.unit or "none"),
            ("spin", self.spin.value),
            ("pairs of atoms", f"{len(self.pairs)}, {lattice}"),
            ("size", self.size_words),
        ]
        return html_table(f"{type(self).__name__} {self.quantity}", rows)

    @property
    def size_words(self) -> str:
        """How many entries there are and what memory they take, in words."""
        components, count = self.entries.shape
        memory = size_in_words(self.entries.nbytes)
        return f"{components} × {count} entries, {self.entries.dtype}, {memory}"

    def __post_init__(self) -> None:
        facts = quantity_of(self.quantity)
        if not self.structure.n_atoms == self.basis.n_atoms == self.pairs.n_atoms:
            raise LayoutError(
                f"{facts.name}: the structure has {self.structure.n_atoms} atoms, the basis "
                f"{self.basis.n_atoms}, the pairs {self.pairs.n_atoms}."
            )
        entries = _numbers(facts.name, self.entries)
        expected = (facts.n_vector * self.n_spin, self.layout.n_entries)
        if not is_wanted_shape(entries.shape, expected):
            raise LayoutError(
                f"{facts.name}: the pairs and the basis need entries of shape {expected} "
                f"(spin {self.spin.value}), found {entries.shape}."
            )
        view = entries.view()
        view.flags.writeable = False
        object.__setattr__(self, "quantity", facts.name)
        object.__setattr__(self, "entries", view)

    @property
    def facts(self) -> Quantity:
        """Unit, parity and kind of the operator."""
        return quantity_of(self.quantity)

    @property
    def n_spin(self) -> int:
        """Number of spin components: 1, 2 or 4."""
        return self.spin.n_components if quantity_of(self.quantity).has_spin else 1

    @cached_property
    def layout(self) -> BlockLayout:
        """Where each pair's block stands in `entries`."""
        counts = self.basis.counts
        return BlockLayout(counts[self.pairs.i], counts[self.pairs.j])

    @property
    def is_complex(self) -> bool:
        """Whether the entries are complex numbers."""
        return self.entries.dtype.kind == "c"

    def with_entries(self, entries: NDArray[Any]) -> Self:
        """Return the same operator on the same pairs with other numbers."""
        return replace(self, entries=entries)

    def astype(self, dtype: DTypeLike) -> Self:
        """Return the matrix in another precision.

        `LayoutError` where complex numbers would lose their imaginary part, or all their fractions.
        """
        wanted = np.dtype(dtype)
        kind = "complex" if self.is_complex else "real"
        if wanted.kind not in ("c" if self.is_complex else "fc"):
            raise LayoutError(f"{self.quantity}: {kind} entries cannot become {wanted}.")
        return self.with_entries(self.entries.astype(wanted, copy=False))

    def block(self, R: ArrayLike, i: int, j: int) -> NumberArray:
        """Return the block of one pair, which must be in the pattern.

        Its shape is (rows, cols), or (n_components, rows, cols) where there are several components.
        """
        index = int(self.pairs.find(np.asarray(R), np.asarray(i), np.asarray(j)))
        if index < 0:
            lattice = tuple(int(component) for component in np.asarray(R))
            raise LayoutError(f"{self.quantity} has no pair (R={lattice}, i={i}, j={j}).")
        begin, end = self.layout.starts[index : index + 2]
        shape = (len(self.entries), int(self.layout.rows[index]), int(self.layout.cols[index]))
        found = self.entries[:, begin:end].reshape(shape)
        return found[0] if len(found) == 1 else found

    @property
    def n_channels(self) -> int:
        """Number of independent spin channels: 2 for an operator of collinear spin, else 1."""
        return self.spin.n_channels if self.facts.has_spin else 1

    def channel(self, number: int) -> Self:
        """Return one spin channel as a matrix of its own, without copying its entries.

        Collinear spin has the channels 0 (up) and 1 (down); without independent channels 0 is the
        matrix itself. `LayoutError` for a channel that the matrix does not have.
        """
        if not 0 <= number < self.n_channels:
            raise LayoutError(
                f"{self.quantity} with spin '{self.spin.value}' has {self.n_channels} channel(s), "
                f"counted from 0; there is no channel {number}."
            )
        if self.n_channels == 1:
            return self
        return replace(self, spin=Spin.NONE, entries=self.entries[number : number + 1])

    def digest(self) -> str:
        """Return a hash of pairs and entries, the same for any order of the pairs."""
        order = np.lexsort((self.pairs.j, self.pairs.i, *self.pairs.R.T))
        pairs = self.pairs.take(order)
        digest = hashlib.blake2b(repr((self.quantity, self.spin.value)).encode(), digest_size=16)
        for array in (pairs.R, pairs.i, pairs.j):
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        for component in self.entries:
            for begin in range(0, len(order), _DIGESTED):  # no copy of the whole matrix
                part = order[begin : begin + _DIGESTED]
                entries = self.layout.take(component[None], part)
                digest.update(np.ascontiguousarray(entries).view(np.uint8).data)
        return digest.hexdigest()

    def take_pairs(self, index: IntArray) -> Self:
        """Return the matrix with only the pairs of the given indices, in that order."""
        chosen = self.layout.take(self.entries, index)
        return replace(self, pairs=self.pairs.take(index), entries=chosen)

    def on_pairs(self, pairs: Pairs) -> Self:
        """Return the matrix on a pattern that has all its pairs, zero where it had no block."""
        if self.pairs.is_same(pairs):
            return self
        target = pairs.find(self.pairs.R, self.pairs.i, self.pairs.j)
        if pairs.n_atoms != self.pairs.n_atoms:
            raise LayoutError(
                f"{self.quantity} of {self.pairs.n_atoms} atoms cannot stand on pairs of "
                f"{pairs.n_atoms} atoms."
            )
        if np.any(target < 0):
            raise LayoutError(f"{self.quantity}: {self.pairs.difference(pairs)}.")
        counts = self.basis.counts
        layout = BlockLayout(counts[pairs.i], counts[pairs.j])
        result = np.zeros((len(self.entries), layout.n_entries), dtype=self.entries.dtype)
        for group in self.layout.groups():
            moved = group._replace(index=target[group.index])
            layout.write(result, moved, self.layout.read(self.entries, group))
        return replace(self, pairs=pairs, entries=result)

    def adjoint(self) -> Self:
        """Return O†: block (R, i, j) becomes the conjugate transpose of (−R, j, i).

        `LayoutError` where a pair lacks its partner, and for the position operator, whose partner
        block differs by R times the overlap.
        """
        partner, result = self._partner(), np.empty_like(self.entries)
        for group in self.layout.groups():
            self.layout.write(result, group, self._read_adjoint(group, partner))
        return self.with_entries(result)

    def hermitian_part(self) -> Self:
        """Return (O + O†)/2, or (O − O†)/2 for an anti-Hermitian quantity; raises as `adjoint`."""
        partner, result = self._partner(), np.empty_like(self.entries)
        for group in self.layout.groups():
            half = self._read_adjoint(group, partner)
            half *= 0.5 * self.facts.parity
            half += 0.5 * self.layout.read(self.entries, group)
            self.layout.write(result, group, half)
        return self.with_entries(result)

    def hermiticity_error(self) -> float:
        """Return the largest |O − O†| (|O + O†| if anti-Hermitian); raises as `adjoint`."""
        partner, largest = self._partner(), 0.0
        for group in self.layout.groups():
            difference = self._read_adjoint(group, partner)
            difference *= -self.facts.parity
            difference += self.layout.read(self.entries, group)
            largest = float(np.maximum(largest, np.abs(difference).max(initial=0.0)))
        return largest

    def _partner(self) -> IntArray:
        """Return the partner of each pair, where the operator has an adjoint on them."""
        if self.facts.parity == 0:
            raise LayoutError(
                f"{self.quantity}: its adjoint needs the overlap too (r_ij(R) differs from "
                "r_ji(−R)† by R times S), so it has no Hermitian part here."
            )
        return self.pairs.require_closed()

    def _read_adjoint(self, group: BlockGroup, partner: IntArray) -> NDArray[Any]:
        """Return the blocks of O† of a group, a new array (n_components, n, rows, cols)."""
        blocks = self.layout.read_turned(self.entries, group, partner)
        if self.spin is Spin.NONCOLLINEAR and self.facts.has_spin:
            blocks = blocks[[0, 2, 1, 3]]
        return blocks.conj() if self.is_complex else np.array(blocks)

    def assert_same_layout(self, other: Self) -> None:
        """Raise where two matrices do not share basis and pairs, saying which pairs differ."""
        if not self.basis.is_same(other.basis):
            raise LayoutError(f"{self.quantity} and {other.quantity} have different bases.")
        if not self.pairs.is_same(other.pairs):
            reason = self.pairs.difference(other.pairs) or "the same pairs in another order"
            raise LayoutError(f"{self.quantity} and {other.quantity} differ: {reason}.")

    def aligned(self, other: Self) -> tuple[Self, Self]:
        """Return both matrices on the union of their pairs."""
        if self.pairs.is_same(other.pairs):
            return self, other
        union = self.pairs.union(other.pairs)
        return self.on_pairs(union), other.on_pairs(union)

    def __add__(self, other: Self) -> Self:
        return self._combine(other, 1.0)

    def __sub__(self, other: Self) -> Self:
        return self._combine(other, -1.0)

    def __mul__(self, factor: float) -> Self:
        if not isinstance(factor, Real):
            return NotImplemented
        return self.with_entries(self.entries * float(factor))

    __rmul__ = __mul__

    def __neg__(self) -> Self:
        return self * -1.0

    def _combine(self, other: Self, sign: float) -> Self:
        """Return self ± other; an overlap acts on both spins alike (H − μ S)."""
        if not isinstance(other, type(self)):
            return NotImplemented  # type: ignore[no-any-return]
        mine, theirs = self.aligned(other)
        mine.assert_same_layout(theirs)
        result = np.array(mine.entries, dtype=np.result_type(mine.entries, theirs.entries))
        operation = np.add if sign > 0 else np.subtract
        for component, row in _matching(mine, theirs):
            operation(result[component], theirs.entries[row], out=result[component])
        return mine.with_entries(result)

    def dot(self, other: Self) -> float:
        """Return Tr(A B) per cell, the real part of Σ_R Σ_ij A_ij(R) conj(B_ij(R)), B Hermitian.

        For spinors the sum goes over all four components. With the overlap, or another operator
        without spin, the spin-diagonal components are summed: ``density.dot(overlap)`` is the
        number of electrons. With the Hamiltonian it is the band energy for every spin, as the
        density matrix of ``Spin.NONE`` holds both spins already. The sum is in double precision.
        """
        mine, theirs = self.aligned(other)
        mine.assert_same_layout(theirs)
        if len(mine.entries) < len(theirs.entries):
            mine, theirs = theirs, mine
        double = np.result_type(mine.entries, theirs.entries, np.float64)
        total, step = 0.0, 2**18
        for component, row in _matching(mine, theirs):
            for begin in range(0, mine.entries.shape[1], step):
                left = mine.entries[component, begin : begin + step].astype(double)
                right = theirs.entries[row, begin : begin + step].astype(double)
                total += float(np.vdot(right, left).real)
        return total

    def drop_small(self, threshold: float) -> Self:
        """Return the matrix without the pairs whose entries all lie below `threshold`.

        On-site blocks stay, and a pair goes only together with its partner.
        """
        largest = self.layout.block_max(self.entries)
        partner = self.pairs.require_closed()
        keep = np.maximum(largest, largest[partner]) >= threshold
        keep[self.pairs.onsite] = True
        return self.take_pairs(np.flatnonzero(keep))


def _numbers(name: str, values: Any) -> NDArray[Any]:
    """Return entries as rows in memory order, in one of the four types that all else can take."""
    entries = np.atleast_2d(np.asarray(values))
    if entries.dtype.kind not in "biufc":
        raise LayoutError(f"{name}: entries must be numbers, found {entries.dtype}.")
    wanted: np.dtype[Any] = entries.dtype.newbyteorder("=")
    if wanted.char not in "fdFD":
        wanted = np.dtype(np.complex128 if entries.dtype.kind == "c" else np.float64)
    return np.ascontiguousarray(entries, dtype=wanted)


def _matching(mine: BlockMatrix, theirs: BlockMatrix) -> list[tuple[int, int]]:
    """Return which component of `mine` meets which of `theirs` in sums and traces."""
    several, one = len(mine.entries), len(theirs.entries)
    same_kind = mine.facts.n_vector == theirs.facts.n_vector
    if several == one and same_kind:
        return [(component, component) for component in range(several)]
    if one == 1 and same_kind and not theirs.facts.has_spin:
        return [(0, 0), (several - 1, 0)]
    raise LayoutError(
        f"{mine.quantity} has {several} components, {theirs.quantity} has {one}: "
        "they cannot be combined."
    )
