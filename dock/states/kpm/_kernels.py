"""Compiled products of stored blocks and vectors; `dock.states.kpm.blocks` calls them."""

from __future__ import annotations

from typing import Any, TypeAlias

import numba
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _gather(columns: Array, spin: int, targets: Array, phases: Array, x: Array, out: Array) -> None:
    """Write the rows of x that the columns of an atom's blocks meet, times phases."""
    k = 0
    for p in range(len(columns)):
        col, n_cols, lattice = columns[p]
        col += spin
        source, phase = x[targets[lattice]], phases[lattice]
        for b in range(n_cols):
            for j in range(x.shape[2]):
                out[k + b, j] = phase * source[col + b, j]
        k += n_cols


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _scatter(
    columns: Array, spin: int, targets: Array, phases: Array, found: Array, y: Array
) -> None:
    """Add what the adjoints of an atom's blocks gave, conjugated, to the rows of y."""
    k = 0
    for p in range(len(columns)):
        col, n_cols, lattice = columns[p]
        col += spin
        target, phase = y[targets[lattice]], phases[lattice]
        for b in range(n_cols):
            for j in range(y.shape[2]):
                target[col + b, j] += np.conj(phase * found[k + b, j])
        k += n_cols


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def add_products(
    entries: Array,
    spins: Array,
    atoms: Array,
    first: Array,
    columns: Array,
    starts: Array,
    targets: Array,
    phases: Array,
    x: Array,
    y: Array,
    gathered: Array,
    gathered_numbers: Array,
    small: Array,
    small_numbers: Array,
    begin: int,
    end: int,
    forward: bool,
    backward: bool,
) -> None:
    """Add the products of the rows of atoms begin … end − 1 with x to y.

    ``atoms[i]`` = (first row, rows); the pairs of atom i are ``first[i]`` … ``first[i + 1]``, and
    ``columns[p]`` = (first column, columns, lattice vector). Its blocks stand side by side in a
    matrix (rows, all columns) from ``starts[i]`` on, one for each component; ``spins[c]`` is what
    component c adds to rows and columns. In cell c the columns are those of the cell
    ``targets[c, lattice vector]``, and the block is times ``phases`` there. Forward adds the
    blocks, backward their adjoints. x, y: (cells, rows, m). The buffers hold all columns of an
    atom, and one atom's rows, once as the numbers of x and once as those of the entries.
    """
    for i in range(begin, end):
        row, n_rows = atoms[i]
        width = (starts[i + 1] - starts[i]) // n_rows
        if width == 0:
            continue
        own = columns[first[i] : first[i + 1]]
        for cell in range(len(targets)):
            for c in range(len(entries)):
                block = entries[c, starts[i] : starts[i + 1]].reshape(n_rows, width)
                mine = slice(row + spins[c, 0], row + spins[c, 0] + n_rows)
                if forward:
                    _gather(own, spins[c, 1], targets[cell], phases[cell], x, gathered)
                    np.dot(block, gathered_numbers[:width], small_numbers[:n_rows])
                    y[cell, mine] += small[:n_rows]
                if backward:
                    small[:n_rows] = np.conj(x[cell, mine])
                    np.dot(block.T, small_numbers[:n_rows], gathered_numbers[:width])
                    _scatter(own, spins[c, 1], targets[cell], phases[cell], gathered, y)


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _copy(entries: Array, place: tuple[int, int, int, bool], out: Array) -> None:
    """Write a stored block, or its adjoint where it is turned, times a factor."""
    first, width, factor, turned = place
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            if turned:
                out[i, j] = factor * np.conj(entries[first + j * width + i])
            else:
                out[i, j] = factor * entries[first + i * width + j]


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def gather_cluster(
    entries: Array,
    starts: Array,
    sizes: Array,
    before: Array,
    members: Array,
    found: Array,
    turned: Array,
    onsite: Array,
    n_spins: int,
    out: Array,
) -> None:
    """Write the matrix of a cluster of atoms into out (n, n), both triangles.

    ``members[a]`` are atoms; ``found[a, b]`` is the stored pair of members a and b, −1 for none;
    where ``turned`` it is that of b and a. The rows of an atom are those of one spin after the
    other. Of onsite blocks half is stored.
    """
    out[:] = 0
    row = 0
    for a in range(len(members)):
        n_rows = sizes[members[a]]
        col = 0
        for b in range(len(members)):
            n_cols = sizes[members[b]]
            p = found[a, b]
            if p >= 0:
                owner = members[b] if turned[a, b] else members[a]
                own = sizes[owner]
                width = (starts[owner + 1] - starts[owner]) // own
                first = starts[owner] + before[p]
                factor = 2 if onsite[p] else 1
                for s in range(n_spins):
                    for t in range(n_spins):
                        rows = slice(row + s * n_rows, row + (s + 1) * n_rows)
                        cols = slice(col + t * n_cols, col + (t + 1) * n_cols)
                        c = (t * n_spins + s) if turned[a, b] else (s * n_spins + t)
                        place = (first, width, factor, turned[a, b])
                        _copy(entries[c], place, out[rows, cols])
            col += n_spins * n_cols
        row += n_spins * n_rows
