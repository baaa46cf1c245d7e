"""Compiled loops over atom pairs; `dock.overlap.assemble` is their only caller.

Pairs of one kind (species of i, species of j) are worked on eight at a time: every array of the
inner loops has a last axis of eight lanes, so that the compiler makes vector instructions of them.
Pairs must therefore come sorted by kind; lanes without a pair are left at stale, finite numbers.
The inner functions take plain arrays where they are called for every pair: passing the thirty of a
plan counts references for longer than they work.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.overlap._compiled import inner, kernel, largest
from dock.overlap._plan import Plan, Raising

LANES = 8
_SHORTEST = 1e-9  # Å; below this a pair is one atom with itself and has no direction


@inner
def _batch(kinds: NDArray[Any], p: int, end: int) -> int:
    """Return how many pairs from p on have the kind of p, at most one for each lane."""
    count = 1
    while count < LANES and p + count < end and kinds[p + count] == kinds[p]:
        count += 1
    return count


@inner
def _bonds(
    positions: NDArray[Any], cell: NDArray[Any], i: NDArray[Any], j: NDArray[Any],
    R: NDArray[Any], out: NDArray[Any],
) -> None:  # fmt: skip
    """Set the unit vector from atom i to atom j in cell R, and its length, in each lane."""
    for v in range(len(i)):
        square = 0.0
        for x in range(3):
            shift = R[v, 0] * cell[0, x] + R[v, 1] * cell[1, x] + R[v, 2] * cell[2, x]
            out[x, v] = (positions[j[v], x] - positions[i[v], x]) + shift
            square += out[x, v] * out[x, v]
        out[3, v] = math.sqrt(square)
        scale = 1 / out[3, v] if out[3, v] > _SHORTEST else 0.0
        for x in range(3):
            out[x, v] *= scale


@inner
def _harmonics(
    count: int, lmax: int, bonds: NDArray[Any], up: NDArray[Any], down: NDArray[Any],
    out: NDArray[Any],
) -> None:  # fmt: skip
    """Evaluate all Y_lm of the unit vectors, at l² + l + m."""
    for v in range(count):
        x, y, z = bonds[0, v], bonds[1, v], bonds[2, v]
        cosine, sine = 1.0, 0.0
        for m in range(lmax + 1):
            current, previous = up[m, m], 0.0
            for l in range(m, lmax + 1):
                if l > m:
                    previous, current = current, up[l, m] * (z * current) - down[l, m] * previous
                out[l * l + l + m, v] = current * cosine
                if m > 0:
                    out[l * l + l - m, v] = current * sine
            cosine, sine = x * cosine - y * sine, x * sine + y * cosine


@inner
def _hermite(t: float, w: NDArray[Any]) -> None:
    """Set the six weights of the quintic Hermite polynomial at t in [0, 1]."""
    t3 = t * t * t
    w[3] = t3 * (10 + t * (6 * t - 15))
    w[0] = 1 - w[3]
    w[1] = t + t3 * (-6 + t * (8 - 3 * t))
    w[2] = 0.5 * (t * t + t3 * (-3 + t * (3 - t)))
    w[4] = t3 * (-4 + t * (7 - 3 * t))
    w[5] = 0.5 * t3 * (1 + t * (t - 2))


@inner
def _hermite_slope(t: float, w: NDArray[Any]) -> None:
    """Set the derivatives of the six weights with respect to t."""
    t2 = t * t
    w[3] = 30 * t2 * (1 + t * (t - 2))
    w[0] = -w[3]
    w[1] = 1 + t2 * (-18 + t * (32 - 15 * t))
    w[2] = t + t2 * (-4.5 + t * (6 - 2.5 * t))
    w[4] = t2 * (-12 + t * (28 - 15 * t))
    w[5] = t2 * (1.5 + t * (2.5 * t - 4))


@inner
def _radial(
    bonds: NDArray[Any], count: int, step: float, nodes: NDArray[Any], out: NDArray[Any],
    slope: bool,
) -> None:  # fmt: skip
    """Interpolate every channel at the length of each bond, or its slope times `step`.

    ``nodes`` is (n_nodes, 3, n_channels). The last node holds zeros, and every distance beyond it
    is taken for it.
    """
    w = np.empty(6)
    single = np.empty(nodes.shape[2])
    for v in range(count):
        place = bonds[3, v] / step
        node = min(int(place), len(nodes) - 2)
        if slope:
            _hermite_slope(min(place - node, 1.0), w)
        else:
            _hermite(min(place - node, 1.0), w)
        low, high = nodes[node], nodes[node + 1]
        w0, w1, w2, w3, w4, w5 = w[0], w[1], w[2], w[3], w[4], w[5]
        for c in range(len(single)):
            single[c] = (
                w0 * low[0, c]
                + w1 * low[1, c]
                + w2 * low[2, c]
                + w3 * high[0, c]
                + w4 * high[1, c]
                + w5 * high[2, c]
            )
        for c in range(len(single)):
            out[c, v] = single[c]


@inner
def _sums(
    start: NDArray[Any], source: NDArray[Any], weight: NDArray[Any], values: NDArray[Any],
    out: NDArray[Any],
) -> None:  # fmt: skip
    """Set row r of `out` to Σ weight · values[source] over the terms of r, in all lanes."""
    for r in range(len(start) - 1):
        target = out[r]
        for v in range(LANES):
            target[v] = 0.0
        for t in range(start[r], start[r + 1]):
            factor, row = weight[t], values[source[t]]
            for v in range(LANES):
                target[v] += factor * row[v]


@inner
def _products(
    start: NDArray[Any], channel: NDArray[Any], factor: NDArray[Any], channels: NDArray[Any],
    factors: NDArray[Any], out: NDArray[Any],
) -> None:  # fmt: skip
    """Set row e of `out` to Σ channel · factor over the products of entry e, in all lanes."""
    for e in range(len(start) - 1):
        target = out[e]
        for v in range(LANES):
            target[v] = 0.0
        for k in range(start[e], start[e + 1]):
            left, right = channels[channel[k]], factors[factor[k]]
            for v in range(LANES):
                target[v] += left[v] * right[v]


@inner
def _angular(plan: Plan, kind: int, harmonics: NDArray[Any], factors: NDArray[Any]) -> None:
    """Form the angular factors that a kind needs from the harmonics."""
    for g in range(plan.group_start[kind], plan.group_start[kind + 1]):
        begin, end = plan.factor_start[plan.group[g]], plan.factor_start[plan.group[g] + 1]
        start = plan.term_start[begin : end + 1]
        _sums(start, plan.term_lm, plan.term_weight, harmonics, factors[begin:end])


@inner
def _combine(
    plan: Plan, kind: int, channels: NDArray[Any], factors: NDArray[Any], block: NDArray[Any]
) -> None:
    """Sum the products of every entry of a block."""
    start = plan.product_start[plan.sum_start[kind] : plan.sum_start[kind + 1]]
    _products(start, plan.product_channel, plan.product_factor, channels, factors, block)


@inner
def _nodes(plan: Plan, kind: int) -> NDArray[Any]:
    """Return the radial table of a kind, (n_nodes, 3, n_channels)."""
    n, rows = plan.n_channels[kind], plan.n_nodes[kind]
    begin = plan.table_start[kind]
    table: NDArray[Any] = plan.table[begin : begin + 3 * n * rows].reshape((rows, 3, n))
    return table


@kernel
def fill_blocks(
    plan: Plan, kinds: NDArray[Any], i: NDArray[Any], j: NDArray[Any], R: NDArray[Any],
    first: NDArray[Any], mirror: NDArray[Any], begin: int, end: int, out: NDArray[Any],
) -> None:  # fmt: skip
    """Write the blocks of pairs begin … end of a scalar operator, and their transposes.

    Block p goes to ``out[first[p]:]`` and, where ``mirror[p]`` ≥ 0, its transpose there.
    """
    bonds, harmonics = np.zeros((4, LANES)), np.zeros((plan.up.size, LANES))
    channels = np.zeros((largest(plan.n_channels, 0), LANES))
    factors = np.zeros((len(plan.term_start) - 1, LANES))
    block = np.zeros((largest(plan.n_rows, 0) * largest(plan.n_cols, 0), LANES))
    p = begin
    while p < end:
        count, kind = _batch(kinds, p, end), kinds[p]
        here = slice(p, p + count)
        _bonds(plan.positions, plan.cell, i[here], j[here], R[here], bonds)
        _radial(bonds, count, plan.step, _nodes(plan, kind), channels, False)
        _harmonics(count, plan.lmax[kind], bonds, plan.up, plan.down, harmonics)
        _angular(plan, kind, harmonics, factors)
        _combine(plan, kind, channels, factors, block)
        rows, cols = plan.n_rows[kind // plan.n_species], plan.n_cols[kind % plan.n_species]
        for v in range(count):
            _store(block, v, out[first[p + v] : first[p + v] + rows * cols])
            if mirror[p + v] >= 0:
                turned = out[mirror[p + v] : mirror[p + v] + rows * cols]
                _store_transposed(block, v, turned.reshape((cols, rows)))
        p += count


@inner
def _store(block: NDArray[Any], lane: int, out: NDArray[Any]) -> None:
    for e in range(len(out)):
        out[e] = block[e, lane]


@inner
def _store_transposed(block: NDArray[Any], lane: int, out: NDArray[Any]) -> None:
    cols, rows = out.shape
    for b in range(cols):
        for a in range(rows):
            out[b, a] = block[a * cols + b, lane]


@kernel
def fill_positions(
    plan: Plan, moved: Plan, raising: Raising, kinds: NDArray[Any], i: NDArray[Any],
    j: NDArray[Any], R: NDArray[Any], first: NDArray[Any], begin: int, end: int, out: NDArray[Any],
) -> None:  # fmt: skip
    """Write ⟨i|r|j⟩ about the global origin into out[x, y, z].

    (r − r_j)_α acting on an orbital of j gives functions of `moved`, combined as `raising` says;
    the rest is r_j times the overlap.
    """
    bonds, harmonics = np.zeros((4, LANES)), np.zeros((moved.up.size, LANES))
    channels = np.zeros((largest(moved.n_channels, largest(plan.n_channels, 0)), LANES))
    factors = np.zeros((max(len(plan.term_start), len(moved.term_start)) - 1, LANES))
    block = np.zeros((largest(plan.n_rows, 0) * largest(plan.n_cols, 0), LANES))
    raised = np.zeros((largest(plan.n_rows, 0) * largest(moved.n_cols, 0), LANES))
    p = begin
    while p < end:
        count, kind = _batch(kinds, p, end), kinds[p]
        b = kind % plan.n_species
        rows, cols, wide = plan.n_rows[kind // plan.n_species], plan.n_cols[b], moved.n_cols[b]
        here = slice(p, p + count)
        _bonds(plan.positions, plan.cell, i[here], j[here], R[here], bonds)
        _harmonics(count, moved.lmax[kind], bonds, moved.up, moved.down, harmonics)
        _radial(bonds, count, plan.step, _nodes(plan, kind), channels, False)
        _angular(plan, kind, harmonics, factors)
        _combine(plan, kind, channels, factors, block)
        _radial(bonds, count, moved.step, _nodes(moved, kind), channels, False)
        _angular(moved, kind, harmonics, factors)
        _combine(moved, kind, channels, factors, raised)
        for v in range(count):
            for x in range(3):
                center = plan.positions[j[p + v], x]
                for y in range(3):
                    center += R[p + v, y] * plan.cell[y, x]
                target = out[x, first[p + v] : first[p + v] + rows * cols]
                for e in range(rows * cols):
                    target[e] = center * block[e, v]
                for t in range(raising.start[3 * b + x], raising.start[3 * b + x + 1]):
                    source, place = raising.source[t], raising.target[t]
                    for a in range(rows):
                        value = raising.weight[t] * raised[a * wide + source, v]
                        target[a * cols + place] += value
        p += count


@kernel
def fill_gradients(
    plan: Plan, kinds: NDArray[Any], i: NDArray[Any], j: NDArray[Any], R: NDArray[Any],
    first: NDArray[Any], begin: int, end: int, out: NDArray[Any],
) -> None:  # fmt: skip
    """Write ⟨i|O ∇|j⟩ = −∂⟨i|O|j⟩/∂r_j of a scalar operator O into out[x, y, z].

    ∇(I Y_LM) = (I' − L I/d) Y_LM d̂ + (I/d) ∇(r^L Y_LM) at r = 1.
    """
    n_lm = plan.up.size
    bonds, harmonics = np.zeros((4, LANES)), np.zeros((n_lm, LANES))
    channels = np.zeros((largest(plan.n_channels, 0), LANES))
    factors = np.zeros((len(plan.term_start) - 1, LANES))
    block = np.zeros((largest(plan.n_rows, 0) * largest(plan.n_cols, 0), LANES))
    slopes, bent, along = np.zeros_like(channels), np.zeros_like(factors), np.zeros_like(block)
    turned = np.zeros_like(harmonics)
    p = begin
    while p < end:
        count, kind = _batch(kinds, p, end), kinds[p]
        here = slice(p, p + count)
        _bonds(plan.positions, plan.cell, i[here], j[here], R[here], bonds)
        _radial(bonds, count, plan.step, _nodes(plan, kind), channels, False)
        _radial(bonds, count, plan.step, _nodes(plan, kind), slopes, True)
        begin_c, end_c = plan.channel_start[kind], plan.channel_start[kind + 1]
        _split(plan.channel_order[begin_c:end_c], bonds, count, plan.step, channels, slopes)
        _harmonics(count, plan.lmax[kind], bonds, plan.up, plan.down, harmonics)
        _angular(plan, kind, harmonics, factors)
        _combine(plan, kind, slopes, factors, along)
        used = (plan.lmax[kind] + 1) ** 2
        size = plan.n_rows[kind // plan.n_species] * plan.n_cols[kind % plan.n_species]
        for x in range(3):
            start = plan.turn_start[x * n_lm : x * n_lm + used + 1]
            _sums(start, plan.turn_lm, plan.turn_weight, harmonics, turned)
            _angular(plan, kind, turned, bent)
            _combine(plan, kind, channels, bent, block)
            for v in range(count):
                target = out[x, first[p + v] : first[p + v] + size]
                for e in range(size):
                    target[e] = -block[e, v] - bonds[x, v] * along[e, v]
        p += count


@inner
def _split(
    orders: NDArray[Any], bonds: NDArray[Any], count: int, step: float, channels: NDArray[Any],
    slopes: NDArray[Any],
) -> None:  # fmt: skip
    """Turn I and step · I' of each channel into I/d and I' − L I/d; at d = 0 into their limits."""
    for c in range(len(orders)):
        L = orders[c]
        for v in range(count):
            d, slope = bonds[3, v], slopes[c, v] / step
            limit = slope if L == 1 else 0.0
            ratio = channels[c, v] / d if d > _SHORTEST else limit
            slopes[c, v] = slope - L * ratio
            channels[c, v] = ratio
