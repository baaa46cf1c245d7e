"""The closed form with two centres: radial functions of bonds, and crystal fields on site.

Off site, the natural-parity parts of a block depend on distance and direction as
h_JM = f_J(r) Y_JM(r̂) in a two-centre picture (Slater and Koster 1954); on site, as
h_JM = c δ_J0 + Σ_j g_J(r_j) Y_JM(r̂_j). The radial functions are splines whose
coefficients follow from linear least squares, with a small penalty on their second differences.
For a channel of collinear spin each function comes with the moments at the ends of its bond
(`dock.models.closed_form.moments`).
The result is exactly equivariant. It is the floor that every network must beat, and what a
network need not learn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dock.core.arrays import FloatArray, IntArray
from dock.core.harmonics import real_harmonics
from dock.models.closed_form.form import ClosedForm, named_weights, weights_by_name
from dock.models.closed_form.moments import (
    BOND_DEGREES,
    SITE_DEGREES,
    bond_factors,
    scaled_moments,
    site_factors,
)
from dock.models.closed_form.radial import (
    RIDGE,
    RadialEquations,
    RadialSpan,
    find_spans,
    splines,
)
from dock.models.data.moments import moment_unit
from dock.models.data.samples import Item
from dock.models.graph import Graph, GraphPart, by_kind
from dock.models.targets import Irrep, TargetLayout

__all__ = ["SHRINK", "TwoCentre", "fit_two_centre"]

SHRINK = 0.1
"""The penalty for labels that are near zero already, as those that a form of elements leaves."""


@dataclass(frozen=True, eq=False)
class TwoCentre(ClosedForm):
    """Fitted radial functions.

    Attributes
    ----------
    spans
        For each ordered pair of species.
    edge_weights
        For each ordered pair of species, (n_functions, channels of natural parts).
    node_weights
        For each species and natural J, (functions of all neighbours, multiplicity).
    unit
        Of moments, μ_B; 0 for a form without.
    """

    layout: TargetLayout
    spans: tuple[RadialSpan, ...]
    edge_weights: tuple[FloatArray, ...]
    node_weights: tuple[tuple[FloatArray, ...], ...]
    unit: float = 0.0

    kind: ClassVar[str] = "two-centre"
    part_edges: ClassVar[int] = 50_000

    def begin(self, graph: Graph) -> FloatArray | None:
        """Return what `one_way` needs of the whole graph: moments, where the form has them."""
        return scaled_moments(graph, self.unit)

    def one_way(
        self, part: GraphPart, around: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Return padded blocks of some atoms and their edges, not averaged with the adjoints."""
        layout = self.layout
        features = _features(part, self.spans, around)
        harmonics = _harmonics(part, layout)
        groups = _natural(layout)
        edge = np.zeros((part.n_edges, layout.n_block))
        for kind, here in by_kind(part.edge_type):
            radial = features[kind] @ self.edge_weights[kind]
            for irrep, columns in groups:
                own = radial[:, columns, None] * harmonics[irrep.J][here][:, None, :]
                edge[here, irrep.place] = own.reshape(len(here), -1)
        node = np.zeros((part.n_atoms, layout.n_block))
        own_moments = None if around is None else around[part.atoms]
        for kind, atoms in by_kind(part.species):
            constants = _constants(atoms, own_moments)
            for (irrep, _), weights in zip(groups, self.node_weights[kind], strict=True):
                design = _site_design(
                    part, atoms, self.spans, features, harmonics[irrep.J], constants
                )
                own = np.einsum("amf,fc->acm", design, weights)
                node[atoms, irrep.place] = own.reshape(len(atoms), -1)
        return layout.uncouple(node), layout.uncouple(edge)

    def to_arrays(self) -> dict[str, Any]:
        """Return everything but the layout as arrays by name, for a file."""
        spans = np.array(self.spans, dtype=np.float64)
        edges = {f"edge_{kind}": weights for kind, weights in enumerate(self.edge_weights)}
        unit = {"moment_unit": np.float64(self.unit)} if self.unit else {}
        return {"spans": spans, **edges, **weights_by_name(node=self.node_weights), **unit}

    @classmethod
    def from_arrays(cls, layout: TargetLayout, arrays: Mapping[str, Any]) -> TwoCentre:
        """Make a form from what `to_arrays` returned."""
        rows = np.asarray(arrays["spans"])
        spans = tuple(RadialSpan(float(a), float(b), float(c), int(n)) for a, b, c, n in rows)
        edges = tuple(np.asarray(arrays[f"edge_{kind}"]) for kind in range(len(spans)))
        nodes = named_weights(arrays, "node", layout.n_species, len(_natural(layout)))
        return cls(layout, spans, edges, nodes, float(arrays.get("moment_unit", 0.0)))


def fit_two_centre(
    items: Callable[[], Iterable[Item]],
    layout: TargetLayout,
    cutoffs: FloatArray,
    *,
    ridge: float = RIDGE,
) -> TwoCentre:
    """Fit the radial functions to labels; the parameters are those of `fit_closed_form`.

    `ridge` is the penalty on the coefficients, relative to the mean of their squared functions.
    """
    spans = find_spans(items(), layout, cutoffs)
    unit = moment_unit(item.graph for item in items()) if layout.per_spin else 0.0
    n_species, groups = layout.n_species, _natural(layout)
    n_channels = sum(irrep.multiplicity for irrep, _ in groups)
    n_factors, n_constants = (len(BOND_DEGREES), len(SITE_DEGREES)) if unit else (1, 1)
    each = [span for span in spans for _ in range(n_factors)]
    width = n_species * n_factors
    edges = [RadialEquations([span] * n_factors, 0, n_channels) for span in spans]
    sites = [
        [
            RadialEquations(each[begin : begin + width], n_constants, irrep.multiplicity)
            for irrep, _ in groups
        ]
        for begin in range(0, len(each), width)
    ]
    for item in items():
        graph = item.graph
        moments = scaled_moments(graph, unit)
        features, harmonics = _features(graph, spans, moments), _harmonics(graph, layout)
        parts = layout.couple(item.edge)
        for kind, here in by_kind(graph.edge_type):
            edges[kind].gram += features[kind].T @ features[kind]
            for irrep, columns in groups:
                width = 2 * irrep.J + 1
                own = parts[here, irrep.place].reshape(len(here), -1, width)
                along = np.einsum("ecm,em->ec", own, harmonics[irrep.J][here]) / width
                edges[kind].side[:, columns] += features[kind].T @ along
        parts = layout.couple(item.node)
        for kind, atoms in by_kind(graph.species):
            constants = _constants(atoms, moments)
            for (irrep, _), equations in zip(groups, sites[kind], strict=True):
                design = _site_design(graph, atoms, spans, features, harmonics[irrep.J], constants)
                own = parts[atoms, irrep.place].reshape(len(atoms), -1, 2 * irrep.J + 1)
                equations.gram += np.einsum("amf,amg->fg", design, design)
                equations.side += np.einsum("amf,acm->fc", design, own)
    return TwoCentre(
        layout,
        spans,
        tuple(equations.solve(ridge) for equations in edges),
        tuple(tuple(equations.solve(ridge) for equations in row) for row in sites),
        unit,
    )


def _natural(layout: TargetLayout) -> list[tuple[Irrep, slice]]:
    """Return the natural parts, and which columns of the edges' coefficients are theirs."""
    natural, column = [], 0
    for irrep in layout.irreps:
        if irrep.natural:
            natural.append((irrep, slice(column, column + irrep.multiplicity)))
            column += irrep.multiplicity
    return natural


def _features(
    graph: Graph | GraphPart, spans: tuple[RadialSpan, ...], moments: FloatArray | None
) -> dict[int, FloatArray]:
    """Return the splines at the edges of each kind, times each factor of the moments."""
    found = {
        kind: splines(graph.lengths[here], spans[kind]) for kind, here in by_kind(graph.edge_type)
    }
    if moments is None:
        return found
    factors = bond_factors(graph, moments)
    return {
        kind: (factors[here][:, :, None] * found[kind][:, None]).reshape(len(here), -1)
        for kind, here in by_kind(graph.edge_type)
    }


def _constants(atoms: IntArray, moments: FloatArray | None) -> FloatArray:
    """Return the functions of some of the atoms that know no neighbour, (atoms, functions)."""
    return np.ones((len(atoms), 1)) if moments is None else site_factors(moments[atoms])


def _harmonics(graph: Graph | GraphPart, layout: TargetLayout) -> dict[int, FloatArray]:
    """Return √4π Y_J of the edges for each natural J of the layout."""
    directions = graph.vectors / graph.lengths[:, None]
    return {
        J: real_harmonics(J, directions) * np.sqrt(4 * np.pi)
        for J in {irrep.J for irrep in layout.irreps if irrep.natural}
    }


def _site_design(
    graph: Graph | GraphPart,
    atoms: IntArray,
    spans: tuple[RadialSpan, ...],
    features: dict[int, FloatArray],
    harmonics: FloatArray,
    constants: FloatArray,
) -> FloatArray:
    """Return (atoms, 2J+1, functions): the constants, then Σ_j B(r_j) Y(r̂_j) by species."""
    n_species, kind = graph.n_species, int(graph.species[atoms[0]])
    width = harmonics.shape[1]
    n_factors = len(BOND_DEGREES) if constants.shape[1] > 1 else 1
    columns = [np.repeat(constants[:, None], width, axis=1) * float(width == 1)]
    place = np.full(graph.n_atoms, -1)
    place[atoms] = np.arange(len(atoms))
    for other in range(n_species):
        edge_kind = kind * n_species + other
        size = spans[edge_kind].n_functions * n_factors
        sums = np.zeros((len(atoms), width, size))
        if edge_kind in features and size:
            here = np.flatnonzero(graph.edge_type == edge_kind)
            terms = harmonics[here][:, :, None] * features[edge_kind][:, None, :]
            rows = place[graph.receiver[here]]  # ascending: edges are sorted by receiver
            starts = np.flatnonzero(np.diff(rows, prepend=-1))
            sums[rows[starts]] = np.add.reduceat(terms, starts, axis=0)
        columns.append(sums)
    return np.concatenate(columns, axis=2)


Baseline, fit_baseline = TwoCentre, fit_two_centre  # names of earlier versions
