"""The nonlocal part of norm-conserving pseudopotentials, with and without spin–orbit coupling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.basis import Basis, Radial, Shell
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.overlap.radial import gaussian_radial
from dock.overlap.separable import separable_entries, spin_angle
from dock.planewave.upf import Projector, Pseudopotential
from dock.units import QE

__all__ = ["nonlocal_entries", "projector_basis", "strengths"]


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


def strengths(pseudo: Pseudopotential, *, spinors: bool) -> NDArray[np.complex128]:
    """Return D between all projector functions (shells with their m), eV.

    It is (4, n, n) for uu, ud, du, dd with `spinors`, else (1, n, n); for functions with j see
    `dock.overlap.separable.spin_angle`.
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
            result[:, :, rows, cols] = factor * spin_angle(left.l, left.j)
    flat = result.reshape(4, ends[-1], ends[-1])
    return flat if spinors else flat[:1]


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
    spinors = spin is Spin.NONCOLLINEAR
    table: dict[str, NDArray[Any]] = {}
    for label in basis.species:
        D = strengths(pseudos[label], spinors=spinors)
        table[label] = D if spinors else D.real  # one component has no L·σ
    projectors = projector_basis(pseudos, basis.labels)
    return separable_entries(structure, basis, pairs, projectors, table, q_last=q_last)
