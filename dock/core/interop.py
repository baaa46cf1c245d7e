"""Exits to the ecosystem: scipy.sparse matrices and sisl objects."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.basis import Basis, Shell, shell_numbers
from dock.core.blockmatrix import BlockMatrix
from dock.core.blocks import BlockLayout
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.errors import LayoutError
from dock.extras import require

if TYPE_CHECKING:
    import scipy.sparse

__all__ = ["orbital_indices", "to_csr", "to_sisl"]

_NAME = re.compile(r"(?:^|\s)(\d+)(P?)([a-z])\b")  # 2s z1, 3Pd z1, atomic 4s
_SHORTEST = 1.0  # Å: orbitals of a lone atom


def orbital_indices(basis: Basis, pairs: Pairs) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row and the column orbital of every entry of blocks on pairs, (n_entries,) each.

    Examples
    --------
    >>> basis = Basis.from_ls({"H": [0], "O": [1]}, ["H", "O"])
    >>> row, col = orbital_indices(basis, Pairs([[0, 0, 0]], [0], [1], 2))
    >>> row.tolist(), col.tolist()
    ([0, 0, 0], [1, 2, 3])
    """
    layout = BlockLayout(basis.counts[pairs.i], basis.counts[pairs.j])
    sizes = layout.rows * layout.cols
    inside = np.arange(layout.n_entries) - np.repeat(layout.starts[:-1], sizes)
    row, col = np.divmod(inside, np.repeat(layout.cols, sizes))
    row += np.repeat(basis.offsets[pairs.i], sizes)
    col += np.repeat(basis.offsets[pairs.j], sizes)
    return row, col


def to_csr(matrix: BlockMatrix, R: ArrayLike, component: int = 0) -> scipy.sparse.csr_array:
    """Return the (N, N) sparse matrix of one lattice vector and one component.

    `LayoutError` where the matrix has no such component, or R is no lattice vector.
    """
    from scipy.sparse import coo_array

    if np.shape(R) != (3,):
        raise LayoutError(f"R needs three components, found shape {np.shape(R)}.")
    if not 0 <= component < len(matrix.entries):
        raise LayoutError(f"{matrix.quantity} has components 0 to {len(matrix.entries) - 1}.")
    pairs = matrix.pairs
    here = np.flatnonzero(np.all(np.asarray(R) == pairs.R, axis=1))
    part = matrix.take_pairs(here)
    row, col = orbital_indices(part.basis, part.pairs)
    size = matrix.basis.n_orbitals
    return coo_array((part.entries[component], (row, col)), shape=(size, size)).tocsr()


def to_sisl(
    matrix: BlockMatrix, overlap: BlockMatrix | None = None, *, orthogonal: bool = False
) -> Any:
    """Return a sisl ``Hamiltonian`` or ``DensityMatrix`` with the same atoms and pairs.

    Orbitals carry the order of `dock` (m = −l … +l) and its signs: sisl's matrices are ours, only
    what sisl evaluates from the shapes of its orbitals would see the other sign of odd m. Energies
    in eV, absolute. Collinear spin becomes a polarised sisl matrix, spinors a spin–orbit one whose
    eight real components are Re uu, Re dd, Re ud, ±Im ud, Im uu, Im dd, Re du, Im du; the sign is
    the one that makes sisl's ``Hk`` ours (it changed between sisl's versions). In sisl the two
    spins of an orbital are neighbours: row 2a is ours a, row 2a + 1 is ours N + a.

    Orbitals have the n and the zeta that the shells' names say, and the cut-off of their radial
    function; without one, half the longest pair of the species.

    Parameters
    ----------
    overlap
        The overlap, which sisl keeps with the matrix.
    orthogonal
        Without an overlap, that the basis is orthonormal; it is never taken for granted.

    Raises
    ------
    DependencyError
        When sisl is not installed.
    LayoutError
        When the operator, the basis or the overlap does not fit, or there is no overlap.
    """
    sisl = require("sisl", "sisl")
    kinds = {"hamiltonian": sisl.Hamiltonian, "density_matrix": sisl.DensityMatrix}
    if matrix.quantity not in kinds:
        raise LayoutError(f"sisl has no counterpart of the {matrix.quantity} that dock knows.")
    if overlap is None and not orthogonal:
        raise LayoutError(
            f"sisl takes a {matrix.quantity} without overlap for one in an orthonormal basis, with "
            "other energies: pass the overlap, to_sisl(calc.overlap), or orthogonal=True where the "
            "basis is orthonormal."
        )
    if overlap is not None:
        if overlap.quantity != "overlap":
            raise LayoutError(f"sisl needs an overlap beside the matrix, found {overlap.quantity}.")
        matrix, overlap = matrix.aligned(overlap)
        matrix.assert_same_layout(overlap)
    geometry = _sisl_geometry(sisl, matrix)
    row, col = orbital_indices(matrix.basis, matrix.pairs)
    columns = geometry.no * _supercell_index(geometry, matrix) + col
    data = _sisl_components(sisl, matrix)
    if overlap is not None:
        data = np.concatenate([data, overlap.entries[:1]])
    from scipy.sparse import coo_array

    shape = (geometry.no, geometry.no * geometry.n_s)
    parts = [coo_array((values, (row, columns)), shape=shape).tocsr() for values in data]
    spin = {
        Spin.NONE: "unpolarized",
        Spin.COLLINEAR: "polarized",
        Spin.NONCOLLINEAR: "spin-orbit",
    }[matrix.spin]
    options: dict[str, Any] = {"spin": sisl.Spin(spin)}
    if overlap is not None:
        options["S"] = parts.pop()
    return kinds[matrix.quantity].fromsp(geometry, parts, **options)


def _sisl_components(sisl: Any, matrix: BlockMatrix) -> NDArray[np.float64]:
    """Return the (n_components, n_entries) real numbers that sisl keeps."""
    if matrix.spin is not Spin.NONCOLLINEAR:
        return np.asarray(matrix.entries, dtype=np.float64)
    uu, ud, du, dd = matrix.entries
    sign = _sisl_sign(sisl)
    parts = [uu.real, dd.real, ud.real, sign * ud.imag, uu.imag, dd.imag, du.real, du.imag]
    return np.stack(parts).astype(np.float64)


def _sisl_sign(sisl: Any) -> float:
    """Return the sign with which this sisl keeps Im ud, found by building one orbital."""
    probe = sisl.Hamiltonian(sisl.Geometry([0, 0, 0]), spin=sisl.Spin("spin-orbit"))
    probe[0, 0] = [0, 0, 0, 1, 0, 0, 0, 0]
    return float(probe.Hk(format="array")[0, 1].imag)


def _sisl_geometry(sisl: Any, matrix: BlockMatrix) -> Any:
    """Return sisl's geometry: as many neighbouring cells as the pairs reach."""
    structure, basis = matrix.structure, matrix.basis
    nsc = 2 * np.abs(matrix.pairs.R).max(axis=0, initial=0) + 1
    atoms = {}
    for label in basis.species:
        number = int(structure.numbers[basis.labels.index(label)])
        reach = _reach(matrix, label)
        zetas = shell_numbers(basis.ls(label))
        orbitals = [
            sisl.AtomicOrbital(
                n=n,
                l=shell.l,
                m=m,
                zeta=zeta,
                P=polarised,
                R=reach if shell.radial is None else shell.radial.cutoff,
            )
            for shell, zeta in zip(basis.shells[label], zetas, strict=True)
            for n, polarised in [_quantum_number(shell)]
            for m in range(-shell.l, shell.l + 1)
        ]
        atoms[label] = sisl.Atom(number, orbitals, tag=label)
    lattice = sisl.Lattice(structure.cell, nsc=nsc)
    return sisl.Geometry(structure.positions, [atoms[label] for label in basis.labels], lattice)


def _quantum_number(shell: Shell) -> tuple[int, bool]:
    """Return the n that the name of a shell says, else l + 1, and whether it polarises another.

    Examples
    --------
    >>> _quantum_number(Shell(1, "3Pp z1")), _quantum_number(Shell(0, "atomic 4s"))
    ((3, True), (4, False))
    """
    match = _NAME.search(shell.label)
    if match is None or match[3] != shell.letter or int(match[1]) <= shell.l:
        return shell.l + 1, False
    return int(match[1]), bool(match[2])


def _reach(matrix: BlockMatrix, label: str) -> float:
    """Return half the longest pair between atoms of one species, Å, at least a little."""
    of_label = np.array([name == label for name in matrix.basis.labels])
    here = of_label[matrix.pairs.i] & of_label[matrix.pairs.j]
    longest = float(matrix.pairs.lengths(matrix.structure)[here].max(initial=0.0))
    return max(0.5 * longest, _SHORTEST) + 1e-6


def _supercell_index(geometry: Any, matrix: BlockMatrix) -> Any:
    """Return sisl's supercell number of every entry's lattice vector."""
    vectors = matrix.pairs.lattice_vectors
    numbers = np.array([geometry.lattice.sc_index(vector) for vector in vectors.tolist()])
    sizes = matrix.layout.rows * matrix.layout.cols
    return np.repeat(numbers[matrix.pairs.lattice_index], sizes)
