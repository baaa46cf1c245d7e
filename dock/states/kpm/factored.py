"""A sparse G with G B G† ≈ 1: the factored approximate inverse of an overlap, atom by atom.

For each atom the rows of G are the last rows of L⁻¹ of its neighbourhood's matrix L L†: the atom
itself and its nearest neighbours that come before it. Which atom comes before another is the
same in every cell, (R, j) < (0, i), so that a tile has the G of its cell. The rows do not depend on
each other. Source: L. Kolotilina, A. Yeremin, SIAM J. Matrix Anal. Appl. 14, 45 (1993).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.pairs import Pairs
from dock.core.structure import Structure
from dock.errors import SolverError
from dock.states.kpm.blocks import Blocks, Layout, Torus
from dock.states.kpm.pencil import Pencil

__all__ = ["NEIGHBOURS", "factored_inverse", "neighbourhood"]

NEIGHBOURS = 16.0
"""Atoms in a neighbourhood besides its own, in the mean."""


def neighbourhood(pairs: Pairs, structure: Structure, mean: float = NEIGHBOURS) -> Pairs:
    """Return the pairs of G: each atom, and what comes before it within one distance.

    `pairs` are those of the operator, one of each pair and its partner; the distance is one at
    which an atom has so many neighbours before it in the mean.
    """
    order = np.argsort(pairs.lengths(structure), kind="stable")
    near = order[: pairs.n_atoms + int(mean * pairs.n_atoms)]
    R, i, j = (array[near].astype(np.int64) for array in (pairs.R, pairs.i, pairs.j))
    sign = np.sign(R @ np.array([2**42, 2**21, 1]))
    before = (sign < 0) | ((sign == 0) & (j <= i))
    R, i, j = np.where(before[:, None], R, -R), np.where(before, i, j), np.where(before, j, i)
    found = Pairs(R, i, j, pairs.n_atoms)
    onsite = found.is_onsite  # comes last among the members of its atom
    return found.take(np.lexsort((found.lattice_index, found.j, onsite, found.i)))


def factored_inverse(
    pencil: Pencil, structure: Structure, *, mean: float = NEIGHBOURS, threads: int = 1
) -> Blocks:
    """Return G for the operator B of a pencil.

    `SolverError` where the matrix of a neighbourhood, hence B, is not positive definite.
    """
    pairs = neighbourhood(pencil.pairs, structure, mean)
    layout = Layout.of(pencil.basis.counts, pairs.i, pairs.j, pairs.lattice_index)
    real = np.dtype(pencil.kind.type(0).real.dtype)
    torus = Torus.of(pencil.tile, pairs.lattice_vectors, pencil.k_frac, real)
    entries = np.zeros((len(pencil.B.entries), layout.n_entries), dtype=pencil.B.entries.dtype)
    task = _Rows(pencil, pairs, layout, entries)
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(task.atom, range(pencil.basis.n_atoms)):
            pass
    return Blocks(entries, layout, torus, pencil.B.n_rows, False, threads)


class _Rows:
    """The rows of G of single atoms."""

    def __init__(self, pencil: Pencil, pairs: Pairs, layout: Layout, entries: NDArray[Any]) -> None:
        self.pencil, self.pairs, self.layout, self.entries = pencil, pairs, layout, entries
        self.n_spins = 2 if len(entries) == 4 else 1
        self.onsite = pencil.pairs.is_onsite
        self.kind = np.result_type(entries.dtype, np.float64)

    def atom(self, atom: int) -> None:
        """Compute the rows of an atom."""
        import scipy.linalg

        mine = slice(self.layout.first[atom], self.layout.first[atom + 1])
        matrix = self._cluster(self.pairs.R[mine], self.pairs.j[mine])
        n = int(self.layout.atoms[atom, 1]) * self.n_spins
        last = np.zeros((len(matrix), n), dtype=self.kind)
        last[-n:] = np.eye(n)
        try:
            factor = scipy.linalg.cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
        except scipy.linalg.LinAlgError as error:
            raise SolverError(
                f"{self.pencil.source}: the overlap is not positive definite: that of the "
                f"neighbourhood of atom {atom + 1} has no Cholesky factor. Orbitals are nearly "
                "dependent there, or a file is damaged. Look at it with: dock check."
            ) from error
        rows = scipy.linalg.solve_triangular(
            factor, last, trans="C", lower=True, check_finite=False
        )
        self._store(atom, rows.conj().T)

    def _cluster(self, R: NDArray[Any], members: NDArray[Any]) -> NDArray[Any]:
        from dock.states.kpm._kernels import gather_cluster

        known, layout = self.pencil.pairs, self.pencil.B.layout
        between = R[None, :, :].astype(np.int64) - R[:, None, :]
        a, b = np.broadcast_arrays(members[:, None], members[None, :])
        direct = known.find(between, a, b)
        other = known.find(-between, b, a)
        n = int(layout.atoms[members, 1].sum()) * self.n_spins
        out = np.empty((n, n), dtype=self.kind)
        gather_cluster(
            self.pencil.B.entries,
            layout.starts,
            layout.atoms[:, 1],
            layout.before,
            members.astype(np.int64),
            np.where(direct >= 0, direct, other),
            direct < 0,
            self.onsite,
            self.n_spins,
            out,
        )
        return out

    def _store(self, atom: int, rows: NDArray[Any]) -> None:
        """Write rows (n, all columns), spins of an atom side by side, as components."""
        layout, s = self.layout, self.n_spins
        n = int(layout.atoms[atom, 1])
        mine = slice(layout.starts[atom], layout.starts[atom + 1])
        widths = layout.columns[layout.first[atom] : layout.first[atom + 1], 1]
        ends = np.cumsum(widths)
        within = np.arange(ends[-1]) + np.repeat((s - 1) * (ends - widths), widths)
        for row in range(s):
            for col in range(s):
                part = rows[row * n : (row + 1) * n, within + col * np.repeat(widths, widths)]
                self.entries[row * s + col, mine] = part.ravel()
