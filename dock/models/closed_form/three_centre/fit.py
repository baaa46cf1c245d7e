"""Least squares with a penalty on high degrees, chosen by structures that are held out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import FloatArray, IntArray
from dock.models.closed_form.form import Part, parts_of_layout
from dock.models.closed_form.three_centre.model import (
    REACH,
    Bonds,
    Span,
    Surroundings,
    ThreeCentre,
    bond_neighbours,
    chunk_of,
    site_functions,
    site_neighbours,
)
from dock.models.closed_form.three_centre.terms import (
    L_MAX,
    BondTerms,
    SiteTerms,
    bond_terms,
    site_terms,
)
from dock.models.data.samples import Item
from dock.models.graph import Graph, parts_of
from dock.models.targets import TargetLayout

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


Terms = TypeVar("Terms", BondTerms, SiteTerms)


class _Problem(Generic[Terms]):
    """Normal equations of one kind of part, of the kept and of the held-out structures."""

    def __init__(self, terms: Terms, part: Part) -> None:
        self.terms: Terms = terms
        self.part = part
        n, m = terms.n_functions, part.multiplicity
        self.gram: FloatArray = np.zeros((2, n, n))
        self.side: FloatArray = np.zeros((2, n, m))
        self.square = np.zeros(2)
        self.n_labels = 0

    def add(self, fold: int, functions: FloatArray, parts: FloatArray) -> None:
        """Add rows: (n, 2J + 1, functions), and (n, multiplicity · (2J + 1)) coupled labels."""
        width = 2 * self.part.J + 1
        table = functions.reshape(-1, functions.shape[-1])
        by_width = parts.reshape(len(parts), self.part.multiplicity, width).transpose(0, 2, 1)
        labels = by_width.reshape(-1, self.part.multiplicity)
        self.gram[fold] += table.T @ table
        self.side[fold] += table.T @ labels
        self.square[fold] += float((labels**2).sum())
        self.n_labels += labels.size

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


class _Counts(NamedTuple):
    """What the first pass over the structures finds."""

    spans: tuple[Span, ...]
    bonds: IntArray
    sites: IntArray
    neighbours: NDArray[np.bool_]


def fit_three_centre(
    items: Callable[[], Iterable[Item]], layout: TargetLayout, cutoffs: FloatArray
) -> ThreeCentre:
    """Fit the coefficients to labels.

    Parameters
    ----------
    items
        Returns the structures, one after another; called twice, so that only one of them
        need be in memory.
    layout
        The targets.
    cutoffs
        (n_species²,) where edges end, Å, 0 where nothing was cut off (`find_cutoffs`).
    """
    counts = _first_pass(items(), layout, cutoffs)
    parts, n_species = parts_of_layout(layout), layout.n_species
    n_kinds = n_species**2
    bonds = [[_bond_problem(counts, kind, one) for one in parts] for kind in range(n_kinds)]
    sites = [[_site_problem(counts, kind, one) for one in parts] for kind in range(n_species)]
    for number, item in enumerate(items()):
        fold = int(number % _HELD_OUT == _HELD_OUT - 1)
        around = Surroundings.of(item.graph, counts.spans)
        _add_bonds(item, layout, bonds, counts, around, fold)
        _add_sites(item, layout, sites, around, fold)
    bonds = [[_unless_zero(problem) for problem in row] for row in bonds]
    sites = [[_unless_zero(problem) for problem in row] for row in sites]
    return ThreeCentre(
        layout,
        counts.spans,
        counts.neighbours,
        np.array([[-2 if p is None else p.terms.degree for p in row] for row in bonds]),
        np.array([[-2 if p is None else p.terms.degree for p in row] for row in sites]),
        tuple(tuple(_solved(p) for p in row) for row in bonds),
        tuple(tuple(_solved(p) for p in row) for row in sites),
    )


def _unless_zero(problem: _Problem[Terms] | None) -> _Problem[Terms] | None:
    """Return the problem unless its labels vanish, by a symmetry of all structures."""
    if problem is None or problem.square.sum() <= problem.n_labels * _ZERO**2:
        return None
    return problem


def _solved(problem: _Problem[Any] | None) -> FloatArray:
    return np.zeros((0, 0)) if problem is None else problem.solve()


def _first_pass(items: Iterable[Item], layout: TargetLayout, cutoffs: FloatArray) -> _Counts:
    """Return the distances of each kind of edge, and how many edges and atoms there are."""
    n_kinds = layout.n_species**2
    shortest, longest = np.full(n_kinds, np.inf), np.zeros(n_kinds)
    bonds = np.zeros(n_kinds, dtype=np.int64)
    sites = np.zeros(layout.n_species, dtype=np.int64)
    neighbours = np.zeros((n_kinds, 2, layout.n_species), dtype=bool)
    for item in items:
        graph: Graph = item.graph
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
    return _Counts(spans, bonds, sites, neighbours)


def _note_neighbours(graph: Graph, found: NDArray[np.bool_]) -> None:
    """Note which species stand beside the ends of each kind of bond, the bond itself apart."""
    n = graph.n_species
    near = graph.lengths < REACH
    code = graph.receiver[near] * n + graph.edge_type[near] % n
    counts = np.bincount(code, minlength=graph.n_atoms * n).reshape(graph.n_atoms, n)
    for kind in np.unique(graph.edge_type).tolist():
        here = graph.edge_type == kind
        first, second = kind // n, kind % n
        for end, (atoms, other) in enumerate(
            ((graph.receiver[here], second), (graph.sender[here], first))
        ):
            most = counts[atoms].max(axis=0)
            most[other] -= 1
            found[kind, end] |= most > 0


def _bond_problem(counts: _Counts, kind: int, one: Part) -> _Problem[BondTerms] | None:
    """Return the problem of one part of one kind of bond, of a degree that the data can bear."""
    rows = int(counts.bonds[kind]) * (2 * one.J + 1)
    if rows == 0:
        return None
    beside = bond_neighbours(counts.neighbours, kind)
    for degree in range(_MAX_DEGREE, -2, -1):
        terms = bond_terms(beside, one.J, degree, natural=one.natural)
        if terms.n_functions <= min(_MAX_FUNCTIONS, rows / _ROWS_PER_FUNCTION):
            break
    return _Problem(terms, one) if terms.n_functions else None


def _site_problem(counts: _Counts, kind: int, one: Part) -> _Problem[SiteTerms] | None:
    """Return the same for one kind of atom."""
    rows = int(counts.sites[kind]) * (2 * one.J + 1)
    if rows == 0:
        return None
    beside = site_neighbours(counts.spans, kind)
    for degree in range(_MAX_DEGREE, -2, -1):
        terms = site_terms(beside, one.J, degree, natural=one.natural)
        if terms.n_functions <= min(_MAX_FUNCTIONS, rows / _ROWS_PER_FUNCTION):
            break
    return _Problem(terms, one) if terms.n_functions else None


def _add_bonds(
    item: Item,
    layout: TargetLayout,
    problems: list[list[_Problem[BondTerms] | None]],
    counts: _Counts,
    around: Surroundings,
    fold: int,
) -> None:
    """Add the bonds of a structure; of very many, evenly spread ones."""
    for part in parts_of(item.graph, 20_000):
        for kind in np.unique(part.edge_type).tolist():
            known = [problem for problem in problems[kind] if problem is not None]
            most = max(problem.terms.n_functions for problem in known)
            stride = max(1, int(counts.bonds[kind] // (_ENOUGH_ROWS * most)))
            here = np.flatnonzero(part.edge_type == kind)[::stride]
            bonds = Bonds(part, here, kind, counts.spans, layout.max_J + L_MAX)
            labels = layout.couple(item.edge[part.edges][here])
            for problem in known:
                size = chunk_of(problem.terms)
                for begin in range(0, len(here), size):
                    chosen = slice(begin, min(begin + size, len(here)))
                    table = bonds.functions(problem.terms, around, chosen)
                    problem.add(fold, table, labels[chosen, problem.part.place])


def _add_sites(
    item: Item,
    layout: TargetLayout,
    problems: list[list[_Problem[SiteTerms] | None]],
    around: Surroundings,
    fold: int,
) -> None:
    """Add the atoms of a structure."""
    species = item.graph.species
    labels = layout.couple(item.node)
    for kind in np.unique(species).tolist():
        atoms = np.flatnonzero(species == kind)
        for problem in problems[kind]:
            if problem is None:
                continue
            size = chunk_of(problem.terms)
            for begin in range(0, len(atoms), size):
                chosen = atoms[begin : begin + size]
                table = site_functions(problem.terms, around.around[chosen])
                problem.add(fold, table, labels[chosen][:, problem.part.place])
