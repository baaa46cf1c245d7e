"""Radial functions of bonds: splines of the distance, and least squares for their coefficients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from dock.core.arrays import FloatArray
from dock.models.data.samples import Item
from dock.models.graph import by_kind
from dock.models.targets import TargetLayout

__all__ = ["RIDGE", "RadialEquations", "RadialSpan", "find_spans", "splines"]

RIDGE = 1e-10
"""The usual penalty on coefficients, relative to the mean of their squared functions."""

_KNOT_SPACING = 0.45  # Å
_MAX_INTERVALS = 20
_SMOOTH = 1e-6


class RadialSpan(NamedTuple):
    """Where the edges of one kind lie: shortest, longest, cutoff (0 for none), intervals."""

    shortest: float
    longest: float
    cutoff: float
    intervals: int

    @property
    def n_functions(self) -> int:
        """Number of splines."""
        return self.intervals + 3 if self.intervals else 0


class RadialEquations:
    """Normal equations of radial functions: a constant or none, then the splines of spans."""

    def __init__(self, spans: Sequence[RadialSpan], n_constants: int, n_channels: int) -> None:
        self._spans, self._n_constants = spans, n_constants
        size = n_constants + sum(span.n_functions for span in spans)
        self.gram: FloatArray = np.zeros((size, size))
        self.side: FloatArray = np.zeros((size, n_channels))

    def solve(self, ridge: float = RIDGE) -> FloatArray:
        """Solve with a penalty on the coefficients, and one on their second differences."""
        from scipy.linalg import lstsq

        n = len(self.gram)
        if n == 0 or not self.gram.any():
            return np.zeros_like(self.side)
        scale = float(np.trace(self.gram)) / n
        matrix = self.gram + ridge * scale * np.eye(n)
        begin = self._n_constants
        for span in self._spans:
            size = span.n_functions
            if size > 2:
                bend = np.diff(np.eye(size), 2, axis=0)
                own = slice(begin, begin + size)
                matrix[own, own] += _SMOOTH * scale * bend.T @ bend
            begin += size
        return np.asarray(lstsq(matrix, self.side, cond=1e-14)[0])


def find_spans(
    items: Iterable[Item], layout: TargetLayout, cutoffs: FloatArray
) -> tuple[RadialSpan, ...]:
    """Return where the edges of each kind lie."""
    n_kinds = layout.n_species**2
    shortest, longest = np.full(n_kinds, np.inf), np.zeros(n_kinds)
    distinct: list[set[int]] = [set() for _ in range(n_kinds)]
    for item in items:
        graph = item.graph
        np.minimum.at(shortest, graph.edge_type, graph.lengths)
        np.maximum.at(longest, graph.edge_type, graph.lengths)
        for kind, here in by_kind(graph.edge_type):
            if len(distinct[kind]) < 200:
                distinct[kind].update(np.round(graph.lengths[here] / 0.02).astype(int).tolist())
    found = []
    for kind in range(n_kinds):
        if not distinct[kind]:
            found.append(RadialSpan(0.0, 0.0, 0.0, 0))
            continue
        width = longest[kind] - shortest[kind]
        wanted = int(np.ceil(width / _KNOT_SPACING))
        intervals = max(1, min(wanted, _MAX_INTERVALS, len(distinct[kind]) // 2))
        high = max(float(longest[kind]), float(shortest[kind]) + 0.1)
        found.append(RadialSpan(float(shortest[kind]), high, float(cutoffs[kind]), intervals))
    return tuple(found)


def splines(r: FloatArray, span: RadialSpan) -> FloatArray:
    """Return cubic B-splines (n, n_functions), straight lines outside the span."""
    from scipy.interpolate import BSpline

    if not span.intervals:
        return np.zeros((len(r), 0))
    low, high = span.shortest, span.longest
    step = (high - low) / span.intervals
    knots = low + step * np.arange(-3, span.intervals + 4)
    inside = np.clip(r, low, high)
    spline = BSpline(knots, np.eye(span.n_functions), 3, extrapolate=True)
    values = spline(inside)
    outside = (r < low) | (r > high)
    if outside.any():
        slope = spline.derivative()(inside[outside])
        values[outside] += slope * (r - inside)[outside, None]
    if span.cutoff:
        values = values * (np.maximum(1 - (r / span.cutoff) ** 2, 0) ** 2)[:, None]
    return np.asarray(values)
