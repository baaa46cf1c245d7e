"""The other way to the lab frame: bond channels rotated with real Wigner matrices.

`dock.overlap` sums Gaunt coefficients times harmonics; here the same integrals are made along the
bond, for m = −min(l₁, l₂) … , and turned with D(l₁) and D(l₂), in the same eight lanes and from the
same radial tables. For one species with s, p and d shells; `benchmarks/overlap.py --rotation`
times both.
"""

from __future__ import annotations

import time

import numba
import numpy as np

from dock.overlap import _kernels
from dock.overlap.angular import gaunt
from dock.overlap.assemble import Integrals

LANES = _kernels.LANES
SQRT3 = 3**0.5
_compiled = numba.njit(nogil=True, cache=True, fastmath={"contract"})


@_compiled
def _frames(bonds, first, second):
    """Set D of l = 1 (y, z, x) and of l = 2 of the frames whose z axis is the bond."""
    axes = (1, 2, 0)
    for v in range(LANES):
        x, y, z = bonds[0, v], bonds[1, v], bonds[2, v]
        if x == 0 and y == 0 and z == 0:  # an atom with itself
            z = 1.0
        turn = np.empty((3, 3))
        turn[0, 2], turn[1, 2], turn[2, 2] = x, y, z
        a = 1 / (1 + abs(z))
        s = 1.0 if z >= 0 else -1.0
        turn[0, 0], turn[1, 0], turn[2, 0] = 1 - x * x * a, -x * y * a, -x * s
        turn[0, 1], turn[1, 1], turn[2, 1] = -x * y * a, 1 - y * y * a, -y * s
        for p in range(3):
            for q in range(3):
                first[p, q, v] = turn[axes[p], axes[q]]
        for m, (p, q) in ((0, (0, 1)), (1, (1, 2)), (3, (0, 2))):
            for n, (i, j) in ((0, (0, 1)), (1, (1, 2)), (3, (0, 2))):
                second[n, m, v] = turn[i, p] * turn[j, q] + turn[i, q] * turn[j, p]
            second[2, m, v] = SQRT3 * turn[2, p] * turn[2, q]
            second[4, m, v] = turn[0, p] * turn[0, q] - turn[1, p] * turn[1, q]
        for n, (i, j) in ((0, (0, 1)), (1, (1, 2)), (3, (0, 2))):
            second[n, 2, v] = SQRT3 * turn[i, 2] * turn[j, 2]
            second[n, 4, v] = turn[i, 0] * turn[j, 0] - turn[i, 1] * turn[j, 1]
        second[2, 2, v] = 1.5 * z * z - 0.5
        second[4, 2, v] = 0.5 * SQRT3 * (x * x - y * y)
        second[2, 4, v] = 0.5 * SQRT3 * (turn[2, 0] ** 2 - turn[2, 1] ** 2)
        square = turn[0, 0] ** 2 - turn[1, 0] ** 2 - turn[0, 1] ** 2 + turn[1, 1] ** 2
        second[4, 4, v] = 0.5 * square


@_compiled
def _turn(ls, offsets, channels, D, half, block):
    """Set block[a, b] = Σ_m D(l₁)[a, m] V_m D(l₂)[b, m] for all pairs of shells."""
    width, channel = offsets[-1], 0
    for left in range(len(ls)):
        l1 = ls[left]
        for right in range(len(ls)):
            l2 = ls[right]
            least = min(l1, l2)
            for a in range(2 * l1 + 1):
                for m in range(-least, least + 1):
                    value, factor, target = channels[channel + abs(m)], D[l1, a, l1 + m], half[m]
                    for v in range(LANES):
                        target[v] = factor[v] * value[v]
                for b in range(2 * l2 + 1):
                    target = block[(offsets[left] + a) * width + offsets[right] + b]
                    for v in range(LANES):
                        target[v] = 0.0
                    for m in range(-least, least + 1):
                        part, factor = half[m], D[l2, b, l2 + m]
                        for v in range(LANES):
                            target[v] += part[v] * factor[v]
            channel += least + 1


@_compiled
def fill_rotated(positions, cell, step, nodes, ls, i, j, R, first, out):
    """Write all blocks of one species to ``out[first[p]:]``."""
    offsets = np.zeros(len(ls) + 1, dtype=np.int64)
    for n in range(len(ls)):
        offsets[n + 1] = offsets[n] + 2 * ls[n] + 1
    size = offsets[-1] ** 2
    bonds, channels = np.zeros((4, LANES)), np.zeros((nodes.shape[2], LANES))
    D, half, block = np.zeros((3, 5, 5, LANES)), np.zeros((5, LANES)), np.zeros((size, LANES))
    D[0, 0, 0, :] = 1.0
    for p in range(0, len(i), LANES):
        count = min(LANES, len(i) - p)
        here = slice(p, p + count)
        _kernels._bonds(positions, cell, i[here], j[here], R[here], bonds)
        _kernels._radial(bonds, count, step, nodes, channels, False)
        _frames(bonds, D[1], D[2])
        _turn(ls, offsets, channels, D, half, block)
        for v in range(count):
            _kernels._store(block, v, out[first[p + v] : first[p + v] + size])


def bond_table(plan, ls):
    """Return the radial tables (n_nodes, 3, n_channels) with channels m = 0 … min(l₁, l₂)."""
    nodes = _kernels._nodes.py_func(plan, 0)
    columns, begin = [], 0
    for l1 in ls:
        for l2 in ls:
            orders = range(abs(l1 - l2), l1 + l2 + 1, 2)
            part = nodes[:, :, begin : begin + len(orders)]
            begin += len(orders)
            for m in range(min(l1, l2) + 1):
                signs = [8.0 if (l1 - l2 - L) // 2 % 2 == 0 else -8.0 for L in orders]
                along = [np.sqrt((2 * L + 1) / (4 * np.pi)) for L in orders]
                table = [gaunt(l1, l2, L)[l1 + m, l2 + m, L] for L in orders]
                columns.append(part @ (np.array(signs) * along * np.array(table)))
    return np.ascontiguousarray(np.stack(columns, axis=-1))


def compare(structure, basis) -> tuple[float, float, float]:
    """Return the CPU seconds of Gaunt sums and of rotations, and the largest difference."""
    integrals = Integrals.prepare(structure, basis)
    (label,) = basis.species
    ls = np.array(basis.ls(label))
    pairs, plan, first = integrals.pairs, integrals._plan, integrals.layout.starts[:-1]
    columns = [np.ascontiguousarray(x, dtype=np.int64) for x in (pairs.i, pairs.j, pairs.R, first)]
    kinds, mirror = np.zeros(len(pairs), dtype=np.int64), np.full(len(pairs), -1)
    nodes, out = bond_table(plan, ls), np.empty((2, integrals.layout.n_entries))
    positions, cell = plan.positions, plan.cell

    def gaunt_sums() -> None:
        _kernels.fill_blocks(plan, kinds, *columns, mirror, 0, len(pairs), out[0])

    def rotations() -> None:
        fill_rotated(positions, cell, plan.step, nodes, ls, *columns, out[1])

    times = []
    for run in (gaunt_sums, rotations):
        run()
        best = np.inf
        for _ in range(3):
            begin = time.process_time()
            run()
            best = min(best, time.process_time() - begin)
        times.append(best)
    return times[0], times[1], float(np.abs(out[0] - out[1]).max())
