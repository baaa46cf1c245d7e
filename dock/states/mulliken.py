"""Whose an electron is between two orbitals: Mulliken's shares, and S^½ for Löwdin's."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import NumberArray, read_only
from dock.core.kspace import KBuilder
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.errors import UsageError
from dock.states.memory import allowance, in_words

__all__ = ["Scheme", "charge_and_moment", "orbital_populations", "overlap_root", "root_of_overlap"]

Scheme = Literal["mulliken", "lowdin"]


def orbital_populations(density: AOMatrix, overlap: AOMatrix) -> NDArray[np.float64]:
    """Return q = Σ_R Re (ρ(R) ∘ S(R)*), summed over the second orbital, for any treatment of spin.

    It has the shape (n_orbitals, 4): electrons and spin moment (x, y, z; μ_B) of each orbital;
    collinear spin points along z. `LayoutError` where the matrices have other bases.
    """
    rho, S = density.aligned(overlap)
    layout, basis, spin = rho.layout, rho.basis, density.spin
    sums = np.zeros((spin.n_components, basis.n_orbitals), dtype=rho.entries.dtype)
    for group in layout.groups():
        product = layout.read(rho.entries, group) * layout.read(S.entries, group)
        rows = basis.offsets[rho.pairs.i[group.index]][:, None] + np.arange(group.rows)
        for component, part in zip(sums, product.sum(axis=3), strict=True):
            np.add.at(component, rows, part)
    return charge_and_moment(sums, spin)


def charge_and_moment(sums: NumberArray, spin: Spin) -> NDArray[np.float64]:
    """Return electrons and moments (n_orbitals, 4) of the stored spin components."""
    result = np.zeros((sums.shape[1], 4))
    if spin is Spin.NONE:
        result[:, 0] = sums[0].real
    elif spin is Spin.COLLINEAR:
        result[:, 0], result[:, 3] = (sums[0] + sums[1]).real, (sums[0] - sums[1]).real
    else:
        uu, ud, du, dd = sums
        result[:, 0], result[:, 3] = (uu + dd).real, (uu - dd).real
        result[:, 1] = (ud + du).real
        result[:, 2] = (du - ud).imag
    return read_only(result)


def overlap_root(builder: KBuilder, k_frac: NDArray[np.float64]) -> NumberArray:
    """Return S^½ at a k-point, a full matrix; `UsageError` where there is no room for it."""
    room, needed = allowance(), 4 * 16 * builder.size**2
    if needed > room.n_bytes:
        raise UsageError(
            f"Löwdin's shares need S^½, a full matrix: {in_words(needed)} for {builder.size} "
            f"orbitals, and there are {room}. Pass scheme='mulliken'."
        )
    return root_of_overlap(builder.dense(k_frac))


def root_of_overlap(S: NumberArray) -> NumberArray:
    """Return S^½ of a Hermitian matrix that is not negative."""
    values, vectors = np.linalg.eigh(S)
    root: NumberArray = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.conj().T
    return root
