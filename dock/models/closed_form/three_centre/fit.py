"""Least squares with a penalty on high degrees, chosen by structures that are held out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import FloatArray, IntArray
from dock.models.closed_form.three_centre.model import (
    REACH,
    Bonds,
    Sites,
    Span,
    ThreeCentre,
    surroundings,
    terms_of_bonds,
    terms_of_sites,
)
from dock.models.closed_form.three_centre.terms import L_MAX, Terms
from dock.models.data.samples import Item
from dock.models.graph import Graph, by_kind, parts_of
from dock.models.targets import Irrep, TargetLayout

__all__ = ["fit_three_centre"]

_MAX_DEGREE = 8
_MAX_FUNCTIONS = 500
_ROWS_PER_FUNCTION = 1.0  # at least, else the degree is lowered
_ENOUGH_ROWS = 40  # rows for each function; of more, some are left out
_HELD_OUT = 5  # every fifth structure chooses the penalty
_ZERO = 1e-8  # eV; smaller labels are rounding
_SLOPES = (1.0, 1.5, 2.0)
_PENALTIES = (1e-14, 1e-12, 1e-10, 1e-8, 1e-6)
_AS_GOOD = 1.1  # of the smallest squared error: the smoothest such penalty is taken


class _Problem:
    """Normal equations of one kind of part, of the kept and of the held-out structures."""

    def __init__(self, terms: Terms, irrep: Irrep) -> None:
        self.terms, self.irrep = terms, irrep
        n, m = terms.n_functions, irrep.multiplicity
        self.gram: FloatArray = np.zeros((2, n, n))
        self.side: FloatArray = np.zeros((2, n, m))
        self.square = np.zeros(2)
        self.n_labels = 0

    def add(self, fold: int, functions: FloatArray, parts: FloatArray) -> None:
        """Add rows: (n, 2J + 1, functions), and (n, multiplicity · (2J + 1)) coupled labels."""
        count, width = self.irrep.multiplicity, 2 * self.irrep.J + 1
        table = functions.reshape(-1, functions.shape[-1])
        labels = parts.reshape(-1, count, width).transpose(0, 2, 1).reshape(-1, count)
        self.gram[fold] += table.T @ table
        self.side[fold] += table.T @ labels
        self.square[fold] += float((labels**2).sum())
        self.n_labels += labels.size

    @property
    def is_zero(self) -> bool:
        """Whether the labels vanish, by a symmetry of all structures."""
        return bool(self.square.sum() <= self.n_labels * _ZERO**2)

    def solve(self) -> FloatArray:
        """Return the coefficients (functions, multiplicity)."""
        slope, penalty = self._choose()
        scale = np.exp(-slope * self.terms.degrees)
        values, vectors = _decomposed(self.gram.sum(axis=0), scale)
        side = vectors.T @ (scale[:, None] * self.side.sum(axis=0))
        inner = side / (values + penalty * values.mean())[:, None]
        return np.asarray(scale[:, None] * (vectors @ inner))

    def _choose(self) -> tuple[float, float]:
        """Return slope and penalty: the smoothest of those that do as well as the best."""
        if not self.gram[0].any() or not self.gram[1].any():
            return _SLOPES[1], _PENALTIES[1]
        found = []
        for slope in _SLOPES:
            scale = np.exp(-slope * self.terms.degrees)
            values, vectors = _decomposed(self.gram[0], scale)
            held = vectors.T @ (scale[:, None] * self.gram[1] * scale) @ vectors
            side = vectors.T @ (scale[:, None] * self.side[0])
            target = vectors.T @ (scale[:, None] * self.side[1])
            for penalty in _PENALTIES:
                c = side / (values + penalty * values.mean())[:, None]
                error = self.square[1] - 2 * (c * target).sum() + (c * (held @ c)).sum()
                found.append((max(float(error), 0.0), slope, penalty))
        floor = 1e-16 * self.square[1]
        best = min(error for error, _, _ in found) + floor
        good = [(slope, penalty) for error, slope, penalty in found if error <= _AS_GOOD * best]
        return max(good)


def _decomposed(gram: FloatArray, scale: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return eigenvalues, none negative, and eigenvectors of the scaled normal matrix."""
    from scipy.linalg import eigh

    values, vectors = eigh(scale[:, None] * gram * scale)
    return np.maximum(values, 1e-17 * max(float(values[-1]), 1e-300)), vectors


def fit_three_centre(
    items: Callable[[], Iterable[Item]], layout: TargetLayout, cutoffs: FloatArray
) -> ThreeCentre:
    """Fit the coefficients to labels; the parameters are those of `fit_closed_form`."""
    spans, neighbours, n_bonds, n_sites = _first_pass(items(), layout, cutoffs)
    bonds = [
        _problems(terms_of_bonds(neighbours, kind), count, layout)
        for kind, count in enumerate(n_bonds)
    ]
    sites = [
        _problems(terms_of_sites(spans, kind), count, layout) for kind, count in enumerate(n_sites)
    ]
    strides = [_stride(row, count) for row, count in zip(bonds, n_bonds, strict=True)]
    for number, item in enumerate(items()):
        fold = int(number % _HELD_OUT == _HELD_OUT - 1)
        around = surroundings(item.graph, spans)
        for part in parts_of(item.graph, ThreeCentre.part_edges):
            for kind, here in by_kind(part.edge_type):
                rows = here[:: strides[kind]]
                blocks = Bonds(part, rows, kind, spans, around, l_max=layout.max_J + L_MAX)
                _add(bonds[kind], blocks, layout.couple(item.edge[part.edges][rows]), fold)
        labels = layout.couple(item.node)
        for kind, atoms in by_kind(item.graph.species):
            _add(sites[kind], Sites(atoms, around[atoms]), labels[atoms], fold)
    bond_degrees, bond_weights = _solved(bonds)
    site_degrees, site_weights = _solved(sites)
    return ThreeCentre(
        layout, spans, neighbours, bond_degrees, site_degrees, bond_weights, site_weights
    )


def _problems(
    terms_of: Callable[..., Terms], count: int, layout: TargetLayout
) -> list[_Problem | None]:
    """Return the problem of each part of so many bonds or atoms, of a degree that they can bear."""
    if count == 0:
        return [None] * len(layout.irreps)
    problems: list[_Problem | None] = []
    for irrep in layout.irreps:
        rows = count * (2 * irrep.J + 1)
        for degree in range(_MAX_DEGREE, -2, -1):
            terms = terms_of(irrep.J, degree, natural=irrep.natural)
            if terms.n_functions <= min(_MAX_FUNCTIONS, rows / _ROWS_PER_FUNCTION):
                break
        problems.append(_Problem(terms, irrep) if terms.n_functions else None)
    return problems


def _stride(problems: list[_Problem | None], count: int) -> int:
    """Return how many bonds of a kind to step on: of very many, evenly spread ones are taken."""
    most = max((problem.terms.n_functions for problem in problems if problem), default=1)
    return max(1, count // (_ENOUGH_ROWS * most))


def _solved(
    problems: list[list[_Problem | None]],
) -> tuple[IntArray, tuple[tuple[FloatArray, ...], ...]]:
    """Return degrees, −2 where there is nothing to fit, and coefficients by kind and part."""
    degrees = np.full((len(problems), len(problems[0])), -2)
    weights = []
    for kind, row in enumerate(problems):
        solutions: list[FloatArray] = [np.zeros((0, 0))] * len(row)
        for number, problem in enumerate(row):
            if problem is not None and not problem.is_zero:
                degrees[kind, number] = problem.terms.degree
                solutions[number] = problem.solve()
        weights.append(tuple(solutions))
    return degrees, tuple(weights)


def _first_pass(
    items: Iterable[Item], layout: TargetLayout, cutoffs: FloatArray
) -> tuple[tuple[Span, ...], NDArray[np.bool_], list[int], list[int]]:
    """Return of each kind of edge the distances and neighbours, and how many edges and atoms."""
    n_kinds = layout.n_species**2
    shortest, longest = np.full(n_kinds, np.inf), np.zeros(n_kinds)
    bonds = np.zeros(n_kinds, dtype=np.int64)
    sites = np.zeros(layout.n_species, dtype=np.int64)
    neighbours = np.zeros((n_kinds, 2, layout.n_species), dtype=bool)
    for item in items:
        graph = item.graph
        np.minimum.at(shortest, graph.edge_type, graph.lengths)
        np.maximum.at(longest, graph.edge_type, graph.lengths)
        bonds += np.bincount(graph.edge_type, minlength=n_kinds)
        sites += np.bincount(graph.species, minlength=layout.n_species)
        _note_neighbours(graph, neighbours)
    shortest = np.where(np.isfinite(shortest), shortest, 0.0)
    spans = tuple(
        Span(float(a), float(b), float(c))
        for a, b, c in zip(shortest, longest, cutoffs, strict=True)
    )
    return spans, neighbours, bonds.tolist(), sites.tolist()


def _note_neighbours(graph: Graph, found: NDArray[np.bool_]) -> None:
    """Note which species stand beside the ends of each kind of bond, the bond itself apart."""
    n = graph.n_species
    near = graph.lengths < REACH
    code = graph.receiver[near] * n + graph.edge_type[near] % n
    counts = np.bincount(code, minlength=graph.n_atoms * n).reshape(graph.n_atoms, n)
    for kind, here in by_kind(graph.edge_type):
        first, second = divmod(kind, n)
        ends = (graph.receiver, second), (graph.sender, first)
        for end, (atoms, other) in enumerate(ends):
            most = counts[atoms[here]].max(axis=0)
            most[other] -= 1
            found[kind, end] |= most > 0


def _add(
    problems: Sequence[_Problem | None], blocks: Bonds | Sites, labels: FloatArray, fold: int
) -> None:
    """Add blocks of one kind to the problems of their parts."""
    for problem in problems:
        if problem is not None:
            for chosen in problem.terms.chunks(len(blocks.rows)):
                functions = blocks.functions(problem.terms, chosen)
                problem.add(fold, functions, labels[chosen, problem.irrep.place])
