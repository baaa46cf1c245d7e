"""Vectors of a stack in the Bloch states of its separate layers, and back, by Fourier transforms.

States |l, q, n⟩ of layer l at the wave vectors q that fold to k are eigenvectors of the layer's own
H(q) and S(q): all of them together are a basis of the whole space.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.errors import SolverError
from dock.states.layers.averages import averaged
from dock.states.layers.lattice import Lattice
from dock.states.problem import Problem

__all__ = ["LayerStates", "own_problem"]

Block = NDArray[Any]


@dataclass(frozen=True, eq=False)
class _Part:
    """One layer at one k: rows and phases (n_cells, width), energies, U (n_cells, width, width)."""

    lattice: Lattice
    rows: NDArray[np.int64]
    phases: NDArray[np.complex64]
    energies: NDArray[np.float64]
    states: NDArray[np.complex64]

    def coefficients(self, X: Block) -> Block:
        """Return U† F† X, (n_cells, width, m)."""
        import scipy.fft

        n_cells, width = self.rows.shape
        x = X[self.rows.T.ravel()].reshape(width, n_cells, -1) * self.phases.conj().T[:, :, None]
        x = x.astype(np.complex64, copy=False).reshape(width, *self.lattice.orders, -1)
        x = scipy.fft.fftn(x, axes=(1, 2, 3), norm="ortho", overwrite_x=True)
        x = np.ascontiguousarray(x.reshape(width, n_cells, -1).transpose(1, 0, 2))
        return self.states.conj().transpose(0, 2, 1) @ x

    def add(self, c: Block, X: Block) -> None:
        """Put F U c of coefficients (n_cells, width, m) into the layer's rows of X."""
        import scipy.fft

        n_cells, width = self.rows.shape
        x = np.ascontiguousarray((self.states @ c).transpose(1, 0, 2))
        x = x.reshape(width, *self.lattice.orders, -1)
        x = scipy.fft.ifftn(x, axes=(1, 2, 3), norm="ortho", overwrite_x=True)
        x = x.reshape(width, n_cells, -1) * self.phases.T[:, :, None]
        X[self.rows.T.ravel()] = x.reshape(width * n_cells, -1)


class LayerStates:
    """The states of all layers of a problem at one k-point.

    Parameters
    ----------
    lattices
        The layers.
    own
        H and S of each layer's primitive cell.
    problem, channel, k_frac
        The stack, spin channel and k-point.
    threads
        Among which the columns of a block are dealt.

    Attributes
    ----------
    energies : float64 (size,)
        Of all states, eV: layer after layer, wave vector after wave vector.
    """

    def __init__(
        self,
        lattices: list[Lattice],
        own: list[Problem],
        problem: Problem,
        channel: int,
        k_frac: NDArray[np.float64],
        *,
        threads: int = 1,
    ) -> None:
        self.size, self._threads = problem.size, threads
        pairs = zip(lattices, own, strict=True)
        self._parts = [_part(lattice, one, problem, channel, k_frac) for lattice, one in pairs]
        self.energies = np.concatenate([part.energies.ravel() for part in self._parts])

    def coefficients(self, X: Block) -> NDArray[np.complex64]:
        """Return those (size, m) of a block's image by the states: ⟨l, q, n|X⟩ without S."""
        out = np.empty((self.size, X.shape[1]), dtype=np.complex64)

        def some(columns: slice) -> None:
            at = 0
            for part in self._parts:
                found = part.coefficients(X[:, columns])
                stop = at + part.energies.size
                out[at:stop, columns] = found.reshape(stop - at, -1)
                at = stop

        self._by_columns(some, X.shape[1])
        return out

    def vectors(self, c: NDArray[Any]) -> NDArray[np.complex64]:
        """Return Σ |l, q, n⟩ c of coefficients (size, m)."""
        X = np.empty((self.size, c.shape[1]), dtype=np.complex64, order="F")

        def some(columns: slice) -> None:
            at = 0
            for part in self._parts:
                stop = at + part.energies.size
                part.add(c[at:stop, columns].reshape(*part.rows.shape, -1), X[:, columns])
                at = stop

        self._by_columns(some, c.shape[1])
        return X

    def _by_columns(self, work: Callable[[slice], None], count: int) -> None:
        """Do a work on parts of the columns, several at a time."""
        ends = np.linspace(0, count, min(self._threads, count) + 1).astype(int)
        parts = [slice(a, b) for a, b in pairwise(ends)]
        with ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(work, parts))


def own_problem(problem: Problem, lattice: Lattice) -> Problem:
    """Return H and S of a layer's primitive cell."""
    H, S = (averaged(matrix, lattice) for matrix in (problem.hamiltonian, problem.overlap))
    return Problem(H, S, problem.source)


def _part(
    lattice: Lattice, own: Problem, problem: Problem, channel: int, k_frac: NDArray[np.float64]
) -> _Part:
    """Solve a layer at all its wave vectors."""
    q = lattice.momenta(k_frac)
    made = [own.dense(channel, point) for point in q]
    H, S = (np.array(matrices, dtype=np.complex128) for matrices in zip(*made, strict=True))
    try:
        inverse = np.linalg.inv(np.linalg.cholesky(S))
    except np.linalg.LinAlgError as error:
        raise SolverError(
            f"{problem.source}: the overlap of a layer by itself is not positive definite. Look at "
            "it with: dock check."
        ) from error
    turned = inverse.conj().transpose(0, 2, 1)
    energies, states = np.linalg.eigh(inverse @ H @ turned)
    return _Part(
        lattice, *_rows(lattice, problem, k_frac), energies, (turned @ states).astype("c8")
    )


def _rows(
    lattice: Lattice, problem: Problem, k_frac: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.complex64]]:
    """Return the row of each orbital of each cell, (n_cells, width), and its phase at k."""
    basis = problem.basis
    base = k_frac @ np.linalg.inv(lattice.transform.T.astype(np.float64))
    rows, phases = [], []
    for spin in range(problem.size // basis.n_orbitals):
        for site, cells in zip(lattice.atoms.T, lattice.cells.transpose(1, 0, 2), strict=True):
            count = int(basis.counts[site[0]])
            first = basis.offsets[site] + spin * basis.n_orbitals
            rows.append(first[:, None] + np.arange(count))
            phases.append(np.repeat(np.exp(2j * np.pi * (cells @ base))[:, None], count, axis=1))
    return np.hstack(rows), np.hstack(phases).astype(np.complex64)
