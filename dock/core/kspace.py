"""Bloch sums: O(k) = Σ_R exp(+2πi k·R) O(R), dense or sparse, one pass over the entries per k."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.arrays import IntArray, NumberArray
from dock.core.blockmatrix import BlockMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.errors import LayoutError, UsageError

if TYPE_CHECKING:
    import scipy.sparse

__all__ = ["Derivative", "Gauge", "KBuilder", "Triangle", "is_time_reversal_invariant"]

Gauge: TypeAlias = Literal["cell", "atom"]
Derivative: TypeAlias = int | tuple[int, ...]
"""Cartesian components of k by which a Bloch sum is differentiated, () for none."""

Triangle: TypeAlias = Literal["upper", "full"]

_FULL_LIMIT = 2000  # rows up to which a product is one with a full matrix
_FOLDED_LIMIT = 2**21  # entries of the R-resolved matrix that small systems are folded into


def is_time_reversal_invariant(k_frac: ArrayLike) -> bool:
    """Say whether 2k is a reciprocal lattice vector, so that every Bloch phase is ±1.

    Examples
    --------
    >>> is_time_reversal_invariant([0.5, 0, 0]), is_time_reversal_invariant([1 / 3, 0, 0])
    (True, False)
    """
    doubled = 2 * np.asarray(k_frac, dtype=np.float64)
    return bool(np.all(np.abs(doubled - np.rint(doubled)) < 1e-13))


class KBuilder:
    """Build O(k) for many k-points.

    Parameters
    ----------
    matrix
        The operator in real space.
    spinor
        Build the (2N, 2N) matrix of spinors, all up orbitals first. Default: for a non-collinear
        Hamiltonian or density matrix. Give it for the overlap that goes with one: S ⊗ 1.
    pattern
        Pairs whose atom pairs the sparse pattern has, so that several matrices share it; those of
        the matrix must be among them (take the union of the pairs of all).

    Raises
    ------
    LayoutError
        When the matrix cannot be built with or without spin as asked, or the pattern lacks an
        atom pair of the matrix.
    UsageError
        From the methods, for a k-point without three finite fractional coordinates, or an unknown
        gauge, derivative or triangle.

    Notes
    -----
    The default gauge ``cell`` has no phase from the atoms' positions; ``atom`` has
    exp(2πi k·(R + τ_j − τ_i)), in which the derivative is the operator's velocity-like part.
    Small matrices are summed over R beforehand by a matrix product; large ones are gone through by
    a compiled kernel that releases the GIL, without temporaries.
    """

    def __init__(
        self, matrix: BlockMatrix, *, spinor: bool | None = None, pattern: Pairs | None = None
    ) -> None:
        carries = matrix.spin is Spin.NONCOLLINEAR and matrix.facts.has_spin
        self.matrix = matrix
        self.spinor = carries if spinor is None else spinor
        if carries and not self.spinor:
            raise LayoutError(f"the {matrix.quantity} of spinors cannot be built without spin.")
        if self.spinor and matrix.facts.has_spin and not carries:
            raise LayoutError(
                f"the {matrix.quantity} with {matrix.spin.value} spin has no spinors."
            )
        self._pattern_pairs = matrix.pairs if pattern is None else pattern
        self._sparse_places: dict[Triangle, tuple[_Pattern, list[IntArray]]] = {}
        if pattern is not None:
            _require_atom_pairs(matrix, pattern)

    @property
    def size(self) -> int:
        """Number of rows of the matrix at a k-point."""
        return self.matrix.basis.n_orbitals * (2 if self.spinor else 1)

    @property
    def n_channels(self) -> int:
        """Number of matrices per k-point: 2 for collinear spin, 3 for vector operators, else 1."""
        return self.matrix.facts.n_vector if self.spinor else len(self.matrix.entries)

    @cached_property
    def _parts(self) -> list[tuple[int, int, int, int]]:
        """(component, channel, row spin, column spin) of everything that is added up."""
        if not self.spinor:
            return [(channel, channel, 0, 0) for channel in range(self.n_channels)]
        if not self.matrix.facts.has_spin:
            return [(vector, vector, s, s) for vector in range(self.n_channels) for s in (0, 1)]
        return [(2 * s + t, 0, s, t) for s in (0, 1) for t in (0, 1)]

    def is_real(self, k_frac: ArrayLike, gauge: Gauge = "cell") -> bool:
        """Say whether O(k) is a real matrix: real entries, a time-reversal-invariant k."""
        return not self.matrix.is_complex and gauge == "cell" and is_time_reversal_invariant(k_frac)

    def dense(
        self, k_frac: ArrayLike, *, gauge: Gauge = "cell", derivative: Derivative = ()
    ) -> NumberArray:
        """Return O(k), or a derivative by Cartesian components of k.

        With `derivative` 0, 1 or 2 it is ∂O/∂k_x, y or z with k in 1/Å (2π included); with (0, 1)
        it is ∂²O/∂k_x∂k_y, and so on.

        Returns
        -------
        ndarray
            (size, size), or (n_channels, size, size) for several channels. Float64 where the
            result is real, else complex128.
        """
        k = _checked(k_frac, gauge)
        axes = (derivative,) if isinstance(derivative, int) else derivative
        if any(axis not in (0, 1, 2) for axis in axes):
            raise UsageError(f"a derivative is by k_x, k_y or k_z (0, 1, 2), found {derivative}.")
        folded = self._folded
        if folded is not None and gauge == "cell":
            out = self._sum_folded(folded, k, axes)
        else:
            out = self._sum_blocks(k, gauge, axes)
        return out[0] if self.n_channels == 1 else out

    def gradient(self, k_frac: ArrayLike) -> NDArray[np.complex128]:
        """Return ∂O/∂k_x, y, z (3, size, size); several channels are the second axis.

        It is `dense` with the derivatives 0, 1 and 2, in one pass over a small matrix.
        """
        k, folded = _checked(k_frac, "cell"), self._folded
        if folded is None:
            each = [self.dense(k, derivative=axis) for axis in range(3)]
            return np.stack(each).astype(np.complex128, copy=False)
        lattice, size = self.matrix.pairs.lattice_vectors, self.matrix.basis.n_orbitals
        bloch, vectors = _bloch(k, lattice), lattice @ self.matrix.structure.cell
        phases = np.stack([_moved(bloch, vectors, (axis,)) for axis in range(3)])
        out = np.zeros((3, self.n_channels, self.size, self.size), dtype=np.complex128)
        for component, channel, s, t in self._parts:
            rows, cols = slice(s * size, (s + 1) * size), slice(t * size, (t + 1) * size)
            total: NDArray[Any]
            if folded.dtype.kind == "f":
                both = np.concatenate([phases.real, phases.imag]) @ folded[component]
                total = both.reshape(2, 3, size, size)
                out.real[:, channel, rows, cols], out.imag[:, channel, rows, cols] = total
            else:
                total = phases @ folded[component]
                out[:, channel, rows, cols] = total.reshape(3, size, size)
        return out[:, 0] if self.n_channels == 1 else out

    def times(self, k_frac: ArrayLike, block: NDArray[Any]) -> NDArray[Any]:
        """Return O(k) X of a block of vectors (size, m), for a Hermitian operator of one channel.

        Of a large operator the upper triangle is made, sparse, and nothing larger.
        """
        if self.size <= _FULL_LIMIT:
            product: NDArray[Any] = self.dense(k_frac) @ block
            return product
        if self.n_channels != 1 or self.matrix.facts.parity != 1:
            raise LayoutError(
                f"the {self.matrix.quantity} is not one Hermitian matrix at a k-point."
            )
        upper: Any = self.sparse(k_frac, triangle="upper")
        product = upper @ block
        product += (upper.T @ block.conj()).conj()  # O = U + U† − D, and U† X = (Uᵀ X*)*
        product -= upper.diagonal()[:, None] * block
        return product

    def sparse(
        self, k_frac: ArrayLike, *, triangle: Triangle = "upper", gauge: Gauge = "cell"
    ) -> scipy.sparse.csr_array | list[scipy.sparse.csr_array]:
        """Return O(k) in compressed rows with sorted columns; one matrix per channel.

        The triangle ``upper`` with the diagonal is all that a Hermitian solver wants; ``full``
        keeps everything.
        """
        from scipy.sparse import csr_array

        from dock.core._kernels import fold_sparse

        k = _checked(k_frac, gauge)
        if triangle not in ("upper", "full"):
            raise UsageError(f"a triangle is 'upper' or 'full', found {triangle!r}.")
        pattern, places = self._places(triangle)
        phases = self._phases(k, gauge)
        dtype = np.result_type(phases, self.matrix.entries, np.float64)
        data = np.zeros((self.n_channels, len(pattern.indices)), dtype=dtype)
        starts = self.matrix.layout.starts
        for (component, channel, _, _), place in zip(self._parts, places, strict=True):
            entries = self.matrix.entries[component]
            fold_sparse(entries, starts, place, pattern.indptr, phases, data[channel])
        shape = (self.size, self.size)
        built = [csr_array((row, pattern.indices, pattern.indptr), shape=shape) for row in data]
        for csr in built:
            csr.has_sorted_indices = True
            csr.has_canonical_format = True
        return built[0] if len(built) == 1 else built

    def pattern(self, *, triangle: Triangle = "upper") -> tuple[IntArray, IntArray]:
        """Return where the rows of `sparse` begin, and the columns of its entries."""
        if triangle not in ("upper", "full"):
            raise UsageError(f"a triangle is 'upper' or 'full', found {triangle!r}.")
        places = self._places(triangle)[0]
        return places.indptr, places.indices

    def _phases(
        self, k: NDArray[np.float64], gauge: Gauge, axes: tuple[int, ...] = ()
    ) -> NDArray[np.float64] | NDArray[np.complex128]:
        """(n_pairs,) phase of each pair, times i · displacement for each derivative."""
        pairs, structure = self.matrix.pairs, self.matrix.structure
        if gauge == "cell":
            lattice = pairs.lattice_vectors
            return _moved(_bloch(k, lattice), lattice @ structure.cell, axes)[pairs.lattice_index]
        fractional = structure.fractional
        vectors = pairs.R + fractional[pairs.j] - fractional[pairs.i]
        phases: NDArray[np.complex128] = np.exp(2j * np.pi * (vectors @ k))
        return _moved(phases, vectors @ structure.cell, axes)

    @cached_property
    def _folded(self) -> NDArray[Any] | None:
        """(n_components, n_R, N²) dense matrices per lattice vector, for small systems only."""
        pairs, basis = self.matrix.pairs, self.matrix.basis
        n_lattice, size = len(pairs.lattice_vectors), basis.n_orbitals
        n_components = len(self.matrix.entries)
        if n_components * n_lattice * size * size > _FOLDED_LIMIT:
            return None
        kind = np.complex128 if self.matrix.is_complex else np.float64
        folded = np.zeros((n_components, n_lattice, size, size), dtype=kind)
        layout, offsets = self.matrix.layout, basis.offsets
        for group in layout.groups():
            first, second = pairs.i[group.index], pairs.j[group.index]
            rows = offsets[first][:, None, None] + np.arange(group.rows)[:, None]
            cols = offsets[second][:, None, None] + np.arange(group.cols)[None, :]
            lattice = pairs.lattice_index[group.index][:, None, None]
            folded[:, lattice, rows, cols] = layout.read(self.matrix.entries, group)
        return folded.reshape(n_components, n_lattice, size * size)

    def _sum_folded(
        self, folded: NDArray[Any], k: NDArray[np.float64], axes: tuple[int, ...]
    ) -> NDArray[Any]:
        """Add up the matrices of the lattice vectors by one matrix product per component."""
        size = self.matrix.basis.n_orbitals
        lattice = self.matrix.pairs.lattice_vectors
        phases = _moved(_bloch(k, lattice), lattice @ self.matrix.structure.cell, axes)
        dtype = np.result_type(phases, folded)
        out = np.zeros((self.n_channels, self.size, self.size), dtype=dtype)
        for component, channel, s, t in self._parts:
            if dtype.kind == "c" and folded.dtype.kind == "f":
                total = np.empty(size * size, dtype=dtype)
                total.real = phases.real @ folded[component]
                total.imag = phases.imag @ folded[component]
            else:
                total = phases @ folded[component]
            rows, cols = slice(s * size, (s + 1) * size), slice(t * size, (t + 1) * size)
            out[channel, rows, cols] = total.reshape(size, size)
        return out

    def _sum_blocks(
        self, k: NDArray[np.float64], gauge: Gauge, axes: tuple[int, ...]
    ) -> NDArray[Any]:
        """Add up the blocks by the compiled kernel."""
        from dock.core._kernels import fold_dense

        basis, pairs, layout = self.matrix.basis, self.matrix.pairs, self.matrix.layout
        phases = self._phases(k, gauge, axes)
        dtype = np.result_type(phases, self.matrix.entries, np.float64)
        out = np.zeros((self.n_channels, self.size, self.size), dtype=dtype)
        row, col = basis.offsets[pairs.i], basis.offsets[pairs.j]
        for component, channel, s, t in self._parts:
            fold_dense(
                self.matrix.entries[component],
                layout.starts,
                row + s * basis.n_orbitals,
                col + t * basis.n_orbitals,
                layout.rows,
                layout.cols,
                phases,
                out[channel],
            )
        return out

    def _places(self, triangle: Triangle) -> tuple[_Pattern, list[IntArray]]:
        """Return the sparse pattern and where each part's blocks stand in it, made once."""
        if triangle not in self._sparse_places:
            spins = [(s, t) for s in (0, 1) for t in (0, 1)] if self.spinor else [(0, 0)]
            pattern = _make_pattern(self.matrix, self._pattern_pairs, spins, triangle)
            places = [pattern.place(self.matrix, s, t) for _, _, s, t in self._parts]
            self._sparse_places[triangle] = pattern, places
        return self._sparse_places[triangle]


@dataclass(frozen=True, eq=False)
class _Pattern:
    """The rows and columns of a sparse matrix, and where each atom pair stands in them.

    Spinors are atoms 0 … n − 1 with spin up followed by the same atoms with spin down.
    """

    indptr: IntArray
    indices: IntArray
    keys: IntArray
    places: IntArray
    n_atoms: int
    n_virtual: int

    def place(self, matrix: BlockMatrix, s: int, t: int) -> IntArray:
        """(n_pairs, 6) place of the matrix's blocks of spins (s, t); see `_kernels.fold_sparse`."""
        i = matrix.pairs.i.astype(np.int64) + s * self.n_atoms
        j = matrix.pairs.j.astype(np.int64) + t * self.n_atoms
        wanted = i * self.n_virtual + j
        found = np.searchsorted(self.keys, wanted)
        here = found < len(self.keys)
        here[here] = self.keys[found[here]] == wanted[here]
        place = np.full((len(wanted), 6), -1, dtype=np.int64)
        place[here] = self.places[found[here]]
        return place


def _make_pattern(
    matrix: BlockMatrix, pairs: Pairs, spins: list[tuple[int, int]], triangle: Triangle
) -> _Pattern:
    """Lay out the distinct atom pairs of `pairs` as rows of a CSR matrix."""
    from dock.core._kernels import fill_columns

    n_atoms = matrix.basis.n_atoms
    n_spins = 1 + max(s for s, _ in spins)
    counts = np.tile(matrix.basis.counts, n_spins)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    n_virtual = n_atoms * n_spins
    once = _distinct(pairs.i.astype(np.int64) * n_virtual + pairs.j)
    keys = np.sort(np.concatenate([once + s * n_atoms * n_virtual + t * n_atoms for s, t in spins]))
    first, second = keys // n_virtual, keys % n_virtual
    if triangle == "upper":
        kept = second >= first
        keys, first, second = keys[kept], first[kept], second[kept]
    widths = counts[second]
    ends = np.cumsum(widths)
    row_begin = np.searchsorted(first, np.arange(n_virtual))
    before = ends - widths
    slots = before - before[row_begin[first]]
    diagonal = first == second
    half = diagonal & (triangle == "upper")
    shrink = np.zeros(n_virtual, dtype=np.int64)
    shrink[first[half]] = 1
    width_of_row = np.bincount(first, weights=widths, minlength=n_virtual).astype(np.int64)
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    lengths = np.repeat(width_of_row, counts) - within * np.repeat(shrink, counts)
    indptr = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    places = np.stack(
        [offsets[first], counts[first], widths, slots, shrink[first], half.astype(np.int64)], axis=1
    )
    index_type = np.int32 if indptr[-1] < 2**31 else np.int64
    indices = np.empty(indptr[-1], dtype=index_type)
    fill_columns(places, offsets[second], indptr, indices)
    return _Pattern(indptr.astype(index_type), indices, keys, places, n_atoms, n_virtual)


def _checked(k_frac: ArrayLike, gauge: Gauge) -> NDArray[np.float64]:
    """Return one k-point as an array; refuse what is no k-point or no gauge."""
    k: NDArray[np.float64] = np.asarray(k_frac, dtype=np.float64)
    if k.shape != (3,) or not np.all(np.isfinite(k)):
        raise UsageError(f"a k-point has three finite fractional coordinates, found {k.tolist()}.")
    if gauge not in ("cell", "atom"):
        raise UsageError(f"a gauge is 'cell' or 'atom', found {gauge!r}.")
    return k


def _require_atom_pairs(matrix: BlockMatrix, pattern: Pairs) -> None:
    """Refuse a sparse pattern in which some blocks of the matrix have no place."""
    number = np.int64(matrix.basis.n_atoms)
    if pattern.n_atoms != number:
        raise LayoutError(f"the pattern has {pattern.n_atoms} atoms, the matrix {number}.")
    if pattern is matrix.pairs:
        return
    mine = matrix.pairs.i * number + matrix.pairs.j
    known = np.append(_distinct(pattern.i * number + pattern.j), number * number)
    lost = np.flatnonzero(known[np.searchsorted(known, mine)] != mine)
    if len(lost):
        raise LayoutError(
            f"the pattern has no place for {matrix.pairs.describe(int(lost[0]))} of the "
            f"{matrix.quantity} ({len(lost)} such pairs). Take the union of all pairs."
        )


def _distinct(keys: IntArray) -> IntArray:
    """Return the distinct keys ≥ 0, sorted; ``np.unique`` hashes, ten times slower here."""
    ordered: NDArray[np.int64] = np.sort(keys)
    return ordered[np.diff(ordered, prepend=-1) > 0]


def _bloch(
    k_frac: NDArray[np.float64], lattice: IntArray
) -> NDArray[np.float64] | NDArray[np.complex128]:
    """Return exp(2πi k·R) for each lattice vector; real where 2k is a reciprocal vector."""
    angle: NDArray[np.float64] = lattice @ k_frac
    if is_time_reversal_invariant(k_frac):
        signs: NDArray[np.float64] = np.cos(np.pi * np.rint(2 * angle))
        return np.rint(signs)
    phases: NDArray[np.complex128] = np.exp(2j * np.pi * angle)
    return phases


def _moved(
    phases: NDArray[Any], vectors: NDArray[np.float64], axes: tuple[int, ...]
) -> NDArray[Any]:
    """Return phases exp(ik·r) times i r_a for each of some axes: their derivative by k."""
    for axis in axes:
        phases = phases * (1j * vectors[:, axis])
    return phases
