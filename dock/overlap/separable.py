"""Operators Σ |β⟩ D ⟨β| of functions on the atoms, as the nonlocal part of pseudopotentials is."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import IntArray
from dock.core.basis import Basis
from dock.core.blocks import BlockLayout
from dock.core.pairs import Pairs
from dock.core.structure import Structure
from dock.overlap.mixed import compute_mixed_overlap

__all__ = ["angular_momentum", "separable_entries", "spin_angle"]


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


def spin_angle(l: int, j: float | None) -> NDArray[np.complex128]:
    """Return the projector on j (1 where there is none) as (2, 2, 2l + 1, 2l + 1).

    ``Σ |l j m_j⟩⟨l j m_j|`` is (l + 1 + L·σ)/(2l + 1) for j = l + 1/2 and (l − L·σ)/(2l + 1) for
    j = l − 1/2.
    """
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


def separable_entries(
    structure: Structure,
    basis: Basis,
    pairs: Pairs,
    projectors: Basis,
    strengths: Mapping[str, NDArray[Any]],
    *,
    q_last: float | None = None,
) -> NDArray[Any]:
    """Return Σ ⟨i|β⟩ D ⟨β|j⟩ on the given pairs, (n_components, n_entries), in the unit of D.

    Parameters
    ----------
    pairs
        Those of `dock.overlap.neighbours.projector_pairs`, or nothing is lost but what meets
        through a projector only.
    projectors
        The functions β as a basis on the same atoms.
    strengths
        D of each species between all its functions (shells with their m), (n_components, n, n).
    q_last
        The momentum beyond which the functions' waves are left out, 1/Å.
    """
    from dock.core.block_sums import add_blocks

    overlap = compute_mixed_overlap(structure, basis, projectors, q_last=q_last)
    layout = BlockLayout(basis.counts[pairs.i], basis.counts[pairs.j])
    first = next(iter(strengths.values()))
    entries = np.zeros((len(first), layout.n_entries), first.dtype)
    for label, chosen in zip(basis.labels, _by_projector(overlap.pairs), strict=True):
        # Seen from the projectors, orbital atom i stands in cell −R.
        atoms, cells = overlap.pairs.i[chosen], -overlap.pairs.R[chosen]
        B = np.concatenate([overlap.block(int(number)) for number in chosen])
        counts = basis.counts[atoms]
        rows = np.cumsum(counts) - counts
        index = _pair_index(pairs, atoms, cells)
        for component, D in enumerate(strengths[label]):
            if np.any(D):
                add_blocks(B @ D @ B.T, rows, counts, index, layout.starts, entries[component])
    return entries


def _by_projector(pairs: Pairs) -> list[NDArray[np.int64]]:
    """Return, for each atom, the numbers of the pairs whose projectors it has."""
    ends = np.cumsum(np.bincount(pairs.j, minlength=pairs.n_atoms))
    return np.split(np.argsort(pairs.j, kind="stable"), ends[:-1])


def _pair_index(pairs: Pairs, atoms: IntArray, cells: IntArray) -> IntArray:
    """Return (m, m) the pair that connects two images, −1 where there is none."""
    n = len(atoms)
    R = (cells[None, :, :] - cells[:, None, :]).reshape(-1, 3)
    return pairs.find(R, np.repeat(atoms, n), np.tile(atoms, n)).reshape(n, n)
