"""One operator in the atomic-orbital basis: its blocks on atom pairs, and the algebra on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from dock.core.arrays import IntArray, NumberArray, is_wanted_shape
from dock.core.basis import Basis
from dock.core.blocks import BlockLayout
from dock.core.pairs import Pairs
from dock.core.quantity import Quantity, quantity_of
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import LayoutError

if TYPE_CHECKING:
    import scipy.sparse

__all__ = ["AOMatrix"]


@dataclass(frozen=True, eq=False)
class AOMatrix:
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
        When the sizes disagree.

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

    def __post_init__(self) -> None:
        facts = quantity_of(self.quantity)
        if not self.structure.n_atoms == self.basis.n_atoms == self.pairs.n_atoms:
            raise LayoutError(
                f"{facts.name}: the structure has {self.structure.n_atoms} atoms, the basis "
                f"{self.basis.n_atoms}, the pairs {self.pairs.n_atoms}."
            )
        entries = np.atleast_2d(np.asarray(self.entries))
        if entries.dtype.kind not in "fc":
            entries = entries.astype(np.float64)
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

    def with_entries(self, entries: NDArray[Any]) -> AOMatrix:
        """Return the same operator on the same pairs with other numbers."""
        return replace(self, entries=entries)

    def astype(self, dtype: DTypeLike) -> AOMatrix:
        """Return the matrix in another precision.

        Raises
        ------
        LayoutError
            When complex numbers would lose their imaginary part.
        """
        wanted = np.dtype(dtype)
        if self.is_complex and wanted.kind != "c":
            raise LayoutError(f"{self.quantity}: complex entries cannot become {wanted}.")
        return self.with_entries(self.entries.astype(wanted, copy=False))

    def block(self, R: ArrayLike, i: int, j: int) -> NumberArray:
        """Return the block of one pair.

        Returns
        -------
        ndarray
            (rows, cols), or (n_components, rows, cols) where there are several components.

        Raises
        ------
        LayoutError
            When the pattern has no such pair.
        """
        index = int(self.pairs.find(np.asarray(R), np.asarray(i), np.asarray(j)))
        if index < 0:
            lattice = tuple(int(component) for component in np.asarray(R))
            raise LayoutError(f"{self.quantity} has no pair (R={lattice}, i={i}, j={j}).")
        begin, end = self.layout.starts[index : index + 2]
        shape = (len(self.entries), int(self.layout.rows[index]), int(self.layout.cols[index]))
        found = self.entries[:, begin:end].reshape(shape)
        return found[0] if len(found) == 1 else found

    def take_pairs(self, index: IntArray) -> AOMatrix:
        """Return the matrix with only the given pairs, in the given order."""
        chosen = self.layout.take(self.entries, index)
        return replace(self, pairs=self.pairs.take(index), entries=chosen)

    def on_pairs(self, pairs: Pairs) -> AOMatrix:
        """Return the matrix on another pattern, zero where it had no block.

        Raises
        ------
        LayoutError
            When the new pattern lacks a pair that this one has.
        """
        if self.pairs.is_same(pairs):
            return self
        target = pairs.find(self.pairs.R, self.pairs.i, self.pairs.j)
        if np.any(target < 0):
            raise LayoutError(f"{self.quantity}: {self.pairs.difference(pairs)}.")
        counts = self.basis.counts
        layout = BlockLayout(counts[pairs.i], counts[pairs.j])
        result = np.zeros((len(self.entries), layout.n_entries), dtype=self.entries.dtype)
        for group in self.layout.groups():
            moved = group._replace(index=target[group.index])
            layout.write(result, moved, self.layout.read(self.entries, group))
        return replace(self, pairs=pairs, entries=result)

    def adjoint(self) -> AOMatrix:
        """Return O†: block (R, i, j) becomes the conjugate transpose of (−R, j, i)."""
        turned = self.layout.transpose(self.entries, self.pairs.require_closed())
        if self.spin is Spin.NONCOLLINEAR and self.facts.has_spin:
            turned[[1, 2]] = turned[[2, 1]]
        if self.is_complex:
            np.conjugate(turned, out=turned)
        return self.with_entries(turned)

    def hermitian_part(self) -> AOMatrix:
        """Return (O + O†)/2, or (O − O†)/2 for an anti-Hermitian quantity."""
        result = np.array(self.adjoint().entries)
        if self.facts.parity < 0:
            np.negative(result, out=result)
        result += self.entries
        result *= 0.5
        return self.with_entries(result)

    def hermiticity_error(self) -> float:
        """Return the largest |O − O†| (|O + O†| for an anti-Hermitian quantity)."""
        difference = np.array(self.adjoint().entries)
        if self.facts.parity < 0:
            difference += self.entries
        else:
            difference -= self.entries
        return _largest(difference)

    def assert_same_layout(self, other: AOMatrix) -> None:
        """Raise where two matrices do not share basis and pairs, saying which pairs differ."""
        if not self.basis.is_same(other.basis):
            raise LayoutError(f"{self.quantity} and {other.quantity} have different bases.")
        if not self.pairs.is_same(other.pairs):
            reason = self.pairs.difference(other.pairs) or "the same pairs in another order"
            raise LayoutError(f"{self.quantity} and {other.quantity} differ: {reason}.")

    def aligned(self, other: AOMatrix) -> tuple[AOMatrix, AOMatrix]:
        """Return both matrices on the union of their pairs."""
        if self.pairs.is_same(other.pairs):
            return self, other
        union = self.pairs.union(other.pairs)
        return self.on_pairs(union), other.on_pairs(union)

    def __add__(self, other: AOMatrix) -> AOMatrix:
        return self._combine(other, 1.0)

    def __sub__(self, other: AOMatrix) -> AOMatrix:
        return self._combine(other, -1.0)

    def __mul__(self, factor: float) -> AOMatrix:
        return self.with_entries(self.entries * factor)

    __rmul__ = __mul__

    def __neg__(self) -> AOMatrix:
        return self * -1.0

    def _combine(self, other: AOMatrix, factor: float) -> AOMatrix:
        """Return self + factor · other; an overlap acts on both spins alike (H − μ S)."""
        mine, theirs = self.aligned(other)
        mine.assert_same_layout(theirs)
        dtype = np.result_type(mine.entries, theirs.entries)
        result = np.array(mine.entries, dtype=dtype)
        if len(theirs.entries) == len(result):
            result += factor * theirs.entries
        elif len(theirs.entries) == 1 and mine.facts.n_vector == 1:
            for component in (0,) if len(result) == 1 else (0, len(result) - 1):
                result[component] += factor * theirs.entries[0]
        else:
            raise LayoutError(
                f"{self.quantity} has {len(result)} components, {other.quantity} has "
                f"{len(theirs.entries)}: they cannot be added."
            )
        return mine.with_entries(result)

    def dot(self, other: AOMatrix) -> float:
        """Return Tr(A B) per cell, Σ_R Σ_ij A_ij(R) conj(B_ij(R)) for Hermitian B.

        With the overlap as one partner the spin-diagonal components are summed; with a
        Hamiltonian of ``Spin.NONE`` and a spin-summed density matrix this is the band energy.
        """
        mine, theirs = self.aligned(other)
        if len(mine.entries) == len(theirs.entries):
            products = zip(mine.entries, theirs.entries, strict=True)
        elif 1 in (len(mine.entries), len(theirs.entries)):
            several, one = sorted((mine.entries, theirs.entries), key=len, reverse=True)
            diagonal = (several[0], several[-1])
            products = zip(diagonal, (one[0], one[0]), strict=True)
        else:
            raise LayoutError(
                f"{self.quantity} has {len(self.entries)} components, {other.quantity} has "
                f"{len(other.entries)}: their product has no trace."
            )
        return float(sum(np.vdot(right, left).real for left, right in products))

    def k(self, k_frac: ArrayLike) -> NumberArray:
        """Return the dense matrix at one k-point; for many use `dock.core.kspace.KBuilder`.

        Parameters
        ----------
        k_frac
            Three fractional coordinates.

        Returns
        -------
        ndarray
            (N, N); (2, N, N) for collinear spin; (2N, 2N) for spinors, all up orbitals first;
            (3, N, N) for vector operators. Real where the Bloch sum is.
        """
        from dock.core.kspace import KBuilder

        return KBuilder(self).dense(k_frac)

    def to_csr(self, R: ArrayLike, component: int = 0) -> scipy.sparse.csr_array:
        """Return the (N, N) sparse matrix of one lattice vector and component."""
        from dock.core.interop import to_csr

        return to_csr(self, R, component)

    def to_sisl(self, overlap: AOMatrix | None = None) -> Any:
        """Return a sisl ``Hamiltonian`` or ``DensityMatrix``; see `dock.core.interop.to_sisl`."""
        from dock.core.interop import to_sisl

        return to_sisl(self, overlap)

    def rotate(self, Q: ArrayLike) -> AOMatrix:
        """Return the operator of the structure rotated by Q; see `dock.core.transform.rotate`."""
        from dock.core.transform import rotate

        return rotate(self, Q)

    def supercell(self, matrix: ArrayLike) -> AOMatrix:
        """Return the operator of a supercell; see `dock.core.transform.supercell`."""
        from dock.core.transform import supercell

        return supercell(self, matrix)

    def select_atoms(self, atoms: ArrayLike) -> AOMatrix:
        """Return the blocks among the given atoms, renumbered in the given order."""
        from dock.core.transform import select_atoms

        return select_atoms(self, atoms)

    def permute_atoms(self, order: ArrayLike) -> AOMatrix:
        """Return the matrix with atom ``order[a]`` as its atom a; the blocks stay in place."""
        from dock.core.transform import permute_atoms

        return permute_atoms(self, order)

    def drop_small(self, threshold: float) -> AOMatrix:
        """Return the matrix without the pairs whose entries all lie below `threshold`.

        On-site blocks stay, and a pair goes only together with its partner.
        """
        largest = self.layout.block_max(self.entries)
        partner = self.pairs.require_closed()
        keep = np.maximum(largest, largest[partner]) >= threshold
        keep[self.pairs.onsite] = True
        return self.take_pairs(np.flatnonzero(keep))


def _largest(values: NDArray[Any]) -> float:
    """Return the largest absolute value without an array of absolute values of complex data."""
    if values.size == 0:
        return 0.0
    if values.dtype.kind == "c":
        return float(np.sqrt((values.real**2 + values.imag**2).max()))
    return float(max(values.max(), -values.min()))
