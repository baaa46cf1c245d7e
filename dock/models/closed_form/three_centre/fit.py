"""Least squares with as many functions, and such a penalty, as held-out structures bear."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import FloatArray, IntArray
from dock.models.closed_form.three_centre.equations import (
    FOLDS,
    NOTHING,
    Equations,
    Solution,
)
from dock.models.closed_form.three_centre.model import (
    MEASURED,
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
from dock.models.data.copies import folds_of
from dock.models.data.moments import moment_unit
from dock.models.data.samples import Item
from dock.models.graph import Graph, by_kind, parts_of
from dock.models.targets import TargetLayout

__all__ = ["fit_three_centre"]

_log = logging.getLogger("dock")

_MAX_DEGREE = 8
_MAX_FUNCTIONS = 500
_MEMORY = 1e9  # bytes of all normal equations: of many kinds each gets fewer functions
_ROWS_PER_FUNCTION = 1.0  # at least, else the degree is lowered
_ENOUGH_ROWS = 40  # rows for each function; of more, some are left out
_NAMED = 8  # kinds of pairs in a message


def fit_three_centre(
    items: Callable[[], Iterable[Item]], layout: TargetLayout, cutoffs: FloatArray
) -> ThreeCentre:
    """Fit the coefficients to labels; the parameters are those of `fit_closed_form`."""
    unit = moment_unit(item.graph for item in items()) if layout.per_spin else 0.0
    known = _first_pass(items(), layout, cutoffs, unit)
    most = _most_functions(known, len(layout.irreps))
    bonds = [
        _equations(
            terms_of_bonds(known.neighbours, kind, magnetic=known.unit > 0), count, layout, most
        )
        for kind, count in enumerate(known.n_bonds)
    ]
    sites = [
        _equations(terms_of_sites(known.spans, kind, magnetic=known.unit > 0), count, layout, most)
        for kind, count in enumerate(known.n_sites)
    ]
    strides = [_stride(row, count) for row, count in zip(bonds, known.n_bonds, strict=True)]
    l_max = layout.max_J + L_MAX
    for fold, item in zip(known.folds, items(), strict=True):
        around = surroundings(item.graph, known.spans, known.unit)
        for part in parts_of(item.graph, ThreeCentre.part_edges):
            for kind, here in by_kind(part.edge_type):
                rows = here[:: strides[kind]]
                blocks = Bonds(part, rows, kind, known.spans, around, l_max=l_max)
                _add(bonds[kind], blocks, layout.couple(item.edge[part.edges][rows]), fold)
        labels = layout.couple(item.node)
        for kind, atoms in by_kind(item.graph.species):
            _add(sites[kind], Sites.of(atoms, around), labels[atoms], fold)
    of_bonds, of_sites = _solved(bonds), _solved(sites)
    _say(layout, known, of_bonds, of_sites)
    return ThreeCentre(
        layout,
        known.spans,
        known.neighbours,
        _degrees(of_bonds),
        _degrees(of_sites),
        _weights(of_bonds),
        _weights(of_sites),
        {
            f"{name}_{what}": _of_parts(solved, layout, what)
            for name, solved in (("bond", of_bonds), ("site", of_sites))
            for what in MEASURED
        },
        known.unit,
    )


_Row: TypeAlias = list[Equations | None]
_Solved: TypeAlias = list[list[Solution | None]]


def _most_functions(known: _Known, n_parts: int) -> int:
    """Return how many functions each part of each kind may have, so that all fit into memory."""
    n_kinds = sum(count > 0 for count in (*known.n_bonds, *known.n_sites))
    return min(_MAX_FUNCTIONS, int((_MEMORY / (8 * FOLDS * n_kinds * n_parts)) ** 0.5))


def _equations(terms_of: Callable[..., Terms], count: int, layout: TargetLayout, most: int) -> _Row:
    """Return equations for each part of so many bonds or atoms, of a degree that they can bear."""
    if count == 0:
        return [None] * len(layout.irreps)
    found: _Row = []
    for irrep in layout.irreps:
        rows = count * (2 * irrep.J + 1)
        for degree in range(_MAX_DEGREE, -2, -1):
            terms = terms_of(irrep.J, degree, natural=irrep.natural)
            if terms.n_functions <= min(most, rows / _ROWS_PER_FUNCTION):
                break
        found.append(Equations(terms, irrep) if terms.n_functions else None)
    return found


def _stride(row: _Row, count: int) -> int:
    """Return how many bonds of a kind to step on: of very many, evenly spread ones are taken."""
    most = max((one.terms.n_functions for one in row if one), default=1)
    return max(1, count // (_ENOUGH_ROWS * most))


def _solved(equations: list[_Row]) -> _Solved:
    return [[None if one is None else one.solve() for one in row] for row in equations]


def _degrees(solved: _Solved) -> IntArray:
    """Return the degrees (kinds, parts)."""
    return np.array([[one.degree if one else NOTHING for one in row] for row in solved])


def _weights(solved: _Solved) -> tuple[tuple[FloatArray, ...], ...]:
    """Return the coefficients by kind and part."""
    return tuple(tuple(one.weights if one else np.zeros((0, 0)) for one in row) for row in solved)


def _of_parts(solved: _Solved, layout: TargetLayout, what: str) -> FloatArray:
    """Return errors, centres or limits of all parts, (kinds, n_block)."""
    found = np.zeros((len(solved), layout.n_block))
    for kind, row in enumerate(solved):
        for irrep, one in zip(layout.irreps, row, strict=True):
            if one is not None:
                found[kind, irrep.place] = np.repeat(getattr(one, what), 2 * irrep.J + 1)
    return found


def _say(layout: TargetLayout, known: _Known, bonds: _Solved, sites: _Solved) -> None:
    """Log what was chosen, and the kinds of which nothing could be held out."""
    counts = Counter(
        "nothing" if one.degree == NOTHING else "two centres" if one.degree == -1 else "three"
        for row in (*bonds, *sites)
        for one in row
        if one is not None and one.judged
    )
    if counts:
        _log.info(
            "closed form: of %d parts of blocks that occur in several structures, %d have three "
            "centres, %d two, %d none, as suits structures that a fit has not seen",
            counts.total(), counts["three"], counts["two centres"], counts["nothing"],
        )  # fmt: skip
    n = layout.n_species
    alone = [
        f"{layout.species[kind // n]}-{layout.species[kind % n]}"
        for kind, row in enumerate(bonds)
        if kind // n <= kind % n and any(one is not None and not one.judged for one in row)
    ]
    if alone and sum(known.n_structures) > 1:
        _log.info(
            "closed form: %d kinds of pairs occur in structures of one kind alone, so that nothing "
            "says how well they are known: %s. They have two centres",
            len(alone), ", ".join(alone[:_NAMED]) + (", …" if len(alone) > _NAMED else ""),
        )  # fmt: skip


class _Known(NamedTuple):
    """What a first look at the structures says.

    Attributes
    ----------
    spans, neighbours
        As in `ThreeCentre`.
    n_bonds, n_sites
        Of each kind.
    folds
        Of each structure, the part that it is held out with.
    unit
        Of moments, μ_B; 0 without.
    """

    spans: tuple[Span, ...]
    neighbours: NDArray[np.bool_]
    n_bonds: list[int]
    n_sites: list[int]
    folds: list[int]
    unit: float

    @property
    def n_structures(self) -> list[int]:
        """Structures of each fold."""
        return [self.folds.count(fold) for fold in range(FOLDS)]


def _first_pass(
    items: Iterable[Item], layout: TargetLayout, cutoffs: FloatArray, unit: float
) -> _Known:
    """Return of each kind of edge the distances and neighbours, and how many edges and atoms."""
    n_kinds = layout.n_species**2
    shortest, longest = np.full(n_kinds, np.inf), np.zeros(n_kinds)
    bonds = np.zeros(n_kinds, dtype=np.int64)
    sites = np.zeros(layout.n_species, dtype=np.int64)
    neighbours = np.zeros((n_kinds, 2, layout.n_species), dtype=bool)
    contents: list[Hashable] = []
    structures: dict[Hashable, int] = {}
    numbers: list[int] = []
    for item in items:
        graph = item.graph
        mark = _structure_of(graph) if unit else len(numbers)
        numbers.append(structures.setdefault(mark, len(structures)))
        if numbers[-1] == len(contents):
            contents.append(tuple(np.bincount(graph.species, minlength=layout.n_species).tolist()))
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
    of_structures = folds_of(contents, FOLDS)
    folds = [of_structures[number] for number in numbers]
    return _Known(spans, neighbours, bonds.tolist(), sites.tolist(), folds, unit)


def _structure_of(graph: Graph) -> Hashable:
    """Return what both spin channels of a structure have in common, and no other structure has."""
    moments = np.zeros(graph.n_atoms) if graph.moments is None else graph.moments[:, 2]
    turned = moments * np.sign(moments[np.argmax(moments != 0)]) + 0.0
    parts = (graph.structure.cell, graph.structure.positions, turned)
    return tuple(part.tobytes() for part in parts)


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


def _add(row: _Row, blocks: Bonds | Sites, labels: FloatArray, fold: int) -> None:
    """Add blocks of one kind to the equations of their parts."""
    for one in row:
        if one is not None:
            for chosen in one.terms.chunks(len(blocks.rows)):
                functions = blocks.functions(one.terms, chosen)
                one.add(fold, functions, labels[chosen, one.irrep.place])
