"""The nonlocal part of norm-conserving pseudopotentials, with and without spin–orbit coupling."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import IntArray
from dock.core.basis import Basis, Radial, Shell
from dock.core.blocks import BlockLayout
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.overlap.mixed import compute_mixed_overlap
from dock.overlap.radial import gaussian_radial
from dock.planewave.upf import Projector, Pseudopotential
from dock.units import QE

__all__ = ["angular_momentum", "nonlocal_entries", "projector_basis", "strengths"]


def projector_basis(pseudos: Mapping[str, Pseudopotential], labels: tuple[str, ...]) -> Basis:
    """Return the projectors of all species as a basis, Å^(−3/2).

    A species without projectors gets a small s function; its strength is zero.
    """
    shells = {}
    for label in dict.fromkeys(labels):
        pseudo = pseudos[label]
        group = tuple(Shell(p.l, radial=_radial(pseudo, p)) for p in pseudo.projectors)
        shells[label] = group or (Shell(0, radial=gaussian_radial(0, 20.0)),)
    return Basis(shells, labels)


def _radial(pseudo: Pseudopotential, projector: Projector) -> Radial:
    """Return β(r) on its mesh; at the origin it is even in r."""
    r = pseudo.r[: len(projector.r_beta)]
    values = np.zeros(len(r))
    first = int(r[0] == 0)
    values[first:] = projector.r_beta[first:] / r[first:]
    if first and projector.l == 0:
        values[0] = (4 * values[1] - values[2]) / 3
    bohr = QE.bohr_angstrom
    return Radial(r * bohr, values / bohr**1.5)


@lru_cache(maxsize=16)
def angular_momentum(l: int) -> NDArray[np.complex128]:
    """Return L_x, L_y, L_z between the real harmonics of l in the dock order, in units of ħ.

    They are (3, 2 l + 1, 2 l + 1), Hermitian and purely imaginary.

    Examples
    --------
    >>> Lx, Ly, Lz = angular_momentum(1)  # y, z, x
    >>> bool(np.allclose(Lx @ Ly - Ly @ Lx, 1j * Lz))
    True
    """
    m = np.arange(-l, l + 1)
    raising = np.diag(np.sqrt(l * (l + 1) - m[:-1] * (m[:-1] + 1)), -1).astype(np.complex128)
    lowering = raising.conj().T
    parts = [(raising + lowering) / 2, (raising - lowering) / 2j, np.diag(m).astype(complex)]
    # Rows: real harmonics in terms of the complex ones, which have the Condon–Shortley phase.
    turn = np.zeros((2 * l + 1, 2 * l + 1), dtype=np.complex128)
    turn[l, l] = 1.0
    for k in range(1, l + 1):
        sign = (-1) ** k
        turn[l + k, [l + k, l - k]] = np.array([sign, 1]) / np.sqrt(2)
        turn[l - k, [l + k, l - k]] = np.array([sign, -1]) / (1j * np.sqrt(2))
    # |real⟩ = Σ turn |complex⟩, hence ⟨real|L|real⟩ = turn* L turnᵀ
    return np.array([turn.conj() @ part @ turn.T for part in parts])


def strengths(pseudo: Pseudopotential, *, spinors: bool) -> NDArray[np.complex128]:
    """Return D between all projector functions (shells with their m), eV.

    It is (4, n, n) for uu, ud, du, dd with `spinors`, else (1, n, n). With j,
    ``Σ |l j m_j⟩⟨l j m_j|`` is (l + 1 + L·σ)/(2l + 1) for j = l + 1/2 and
    (l − L·σ)/(2l + 1) for j = l − 1/2.
    """
    group = pseudo.projectors
    if not group:
        return np.zeros((4 if spinors else 1, 1, 1), dtype=np.complex128)
    sizes = [2 * p.l + 1 for p in group]
    ends = np.cumsum(sizes)
    result = np.zeros((2, 2, ends[-1], ends[-1]), dtype=np.complex128)
    for a, left in enumerate(group):
        for b, right in enumerate(group):
            if left.l != right.l or left.j != right.j:
                continue
            rows = slice(ends[a] - sizes[a], ends[a])
            cols = slice(ends[b] - sizes[b], ends[b])
            factor = pseudo.strengths[a, b] * QE.rydberg_ev
            result[:, :, rows, cols] = factor * _spin_angle(left.l, left.j)
    flat = result.reshape(4, ends[-1], ends[-1])
    return flat if spinors else flat[:1]


def _spin_angle(l: int, j: float | None) -> NDArray[np.complex128]:
    """Return the projector on j (1 where there is none) as (2, 2, 2l + 1, 2l + 1)."""
    one = np.eye(2 * l + 1)
    result = np.zeros((2, 2, 2 * l + 1, 2 * l + 1), dtype=np.complex128)
    if j is None:
        result[0, 0] = result[1, 1] = one
        return result
    Lx, Ly, Lz = angular_momentum(l)
    coupling = np.array([[Lz, Lx - 1j * Ly], [Lx + 1j * Ly, -Lz]])
    result[0, 0] = result[1, 1] = one * (l + 1 if j > l else l)
    result += coupling if j > l else -coupling
    return result / (2 * l + 1)


def _by_projector(pairs: Pairs) -> list[NDArray[np.int64]]:
    """Return, for each atom, the numbers of the pairs whose projectors it has."""
    ends = np.cumsum(np.bincount(pairs.j, minlength=pairs.n_atoms))
    return np.split(np.argsort(pairs.j, kind="stable"), ends[:-1])


def nonlocal_entries(
    structure: Structure,
    basis: Basis,
    pairs: Pairs,
    pseudos: Mapping[str, Pseudopotential],
    spin: Spin,
    *,
    q_last: float | None = None,
) -> NDArray[np.float64] | NDArray[np.complex128]:
    """Return Σ ⟨i|β⟩ D ⟨β|j⟩ on the given pairs, (n_components, n_entries), eV.

    There are four complex components for non-collinear spin, else one real. The pairs are those of
    `dock.overlap.neighbours.projector_pairs`, or nothing is lost but what meets through a projector
    only. `q_last` is the momentum beyond which the functions' waves are left out, 1/Å.
    """
    from dock.planewave._kernels import add_blocks

    spinors = spin is Spin.NONCOLLINEAR
    projectors = projector_basis(pseudos, basis.labels)
    overlap = compute_mixed_overlap(structure, basis, projectors, q_last=q_last)
    layout = BlockLayout(basis.counts[pairs.i], basis.counts[pairs.j])
    table = {label: strengths(pseudos[label], spinors=spinors) for label in basis.species}
    entries = np.zeros((4 if spinors else 1, layout.n_entries), np.complex128 if spinors else float)
    for label, chosen in zip(basis.labels, _by_projector(overlap.pairs), strict=True):
        # Seen from the projectors, orbital atom i stands in cell −R.
        atoms, cells = overlap.pairs.i[chosen], -overlap.pairs.R[chosen]
        B = np.concatenate([overlap.block(int(number)) for number in chosen])
        counts = basis.counts[atoms]
        rows = np.cumsum(counts) - counts
        index = _pair_index(pairs, atoms, cells)
        for component, D in enumerate(table[label]):
            if not np.any(D):
                continue
            part = B @ (D if spinors else D.real) @ B.T
            add_blocks(part, rows, counts, index, layout.starts, entries[component])
    return entries


def _pair_index(pairs: Pairs, atoms: IntArray, cells: IntArray) -> IntArray:
    """Return (m, m) the pair that connects two images, −1 where there is none."""
    n = len(atoms)
    R = (cells[None, :, :] - cells[:, None, :]).reshape(-1, 3)
    return pairs.find(R, np.repeat(atoms, n), np.tile(atoms, n)).reshape(n, n)
