"""The closed-form model with three centres.

It is the linear cluster expansion of Hamiltonian blocks (R. Drautz, Phys. Rev. B 99, 014104
(2019); for Hamiltonians L. Zhang et al., npj Comput. Mater. 8, 158 (2022)), here with polynomials
that are penalised by their degree, so that it goes on smoothly beyond the distances of its
training data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import FloatArray, IntArray
from dock.models.closed_form.form import ClosedForm, named_weights, weights_by_name
from dock.models.closed_form.moments import bond_factors, scaled_moments, site_factors
from dock.models.closed_form.three_centre.terms import (
    L_MAX,
    N_MAX,
    PAIR_DEGREE,
    Terms,
    bond_terms,
    site_terms,
)
from dock.models.graph import Graph, GraphPart, by_kind, parts_of
from dock.models.targets import Irrep, TargetLayout

__all__ = [
    "MEASURED",
    "REACH",
    "Bonds",
    "Sites",
    "Span",
    "Surroundings",
    "ThreeCentre",
    "surroundings",
]

MEASURED = ("errors", "centres", "limits")
"""What a fit says of each kind and part beside the coefficients."""

REACH = 6.0  # Å; farther neighbours are no surroundings
_STRAIGHT = 1.5  # half spans from the middle, where polynomials go over into straight lines
_BEYOND = 0.2  # Å, how far beyond the span at most: of a long one, high degrees would explode
_NEAREST = 0.4  # Å below the shortest distance, where straight lines end: nothing is known there


class Span(NamedTuple):
    """Where the edges of one kind lie, Å: shortest, longest, cutoff (0 for none)."""

    shortest: float
    longest: float
    cutoff: float

    @property
    def is_known(self) -> bool:
        """Whether there were such edges."""
        return self.longest > 0

    @property
    def near(self) -> Span:
        """The same for surroundings, which end at `REACH`."""
        if self.longest <= REACH:
            return self
        cutoff = REACH if self.cutoff == 0 else min(self.cutoff, REACH)
        return Span(self.shortest, min(self.longest, cutoff), cutoff)

    def polynomials(self, r: FloatArray, degree: int) -> FloatArray:
        """Return Chebyshev polynomials (n, degree + 1) of the distances, faded at the cutoff."""
        from dock.models.closed_form.three_centre._kernels import fill_polynomials

        ends = self.shortest, max(self.longest, self.shortest + 0.1), self.cutoff
        straight = min(_STRAIGHT, 1 + 2 * _BEYOND / (ends[1] - ends[0]))
        values = np.empty((len(r), degree + 1))
        known = np.maximum(r, self.shortest - _NEAREST)
        fill_polynomials(values, np.ascontiguousarray(known), ends, straight)
        return values

    def around(self, lengths: FloatArray) -> FloatArray:
        """Return what bonds of such lengths add to surroundings, (n, N_MAX + 1)."""
        values = np.zeros((len(lengths), N_MAX + 1))
        if self.is_known:
            inside = (lengths < REACH) | (self.longest <= REACH)
            values[inside] = self.near.polynomials(lengths[inside], N_MAX)
        return values


class Surroundings(NamedTuple):
    """What stands around all atoms of a graph.

    Attributes
    ----------
    values
        A_i,nlm, (n_atoms, n_species, N_MAX + 1, (L_MAX + 1)²). With moments there are twice as
        many: to the second half each neighbour adds its moment times.
    moments
        (n_atoms,) in the unit of the form, or None.
    """

    values: FloatArray
    moments: FloatArray | None


def surroundings(graph: Graph, spans: Sequence[Span], unit: float) -> Surroundings:
    """Return the surroundings of all atoms; `unit` is that of moments, 0 without."""
    from dock.models.closed_form.three_centre._kernels import add_surroundings

    moments = scaled_moments(graph, unit)
    n_kinds = graph.n_species * (1 if moments is None else 2)
    around = np.zeros((graph.n_atoms, n_kinds, N_MAX + 1, (L_MAX + 1) ** 2))
    ends_near = np.array([span.longest <= REACH for span in spans])
    for part in parts_of(graph, ThreeCentre.part_edges):
        near = np.flatnonzero((part.lengths < REACH) | ends_near[part.edge_type])
        kinds, lengths = part.edge_type[near], part.lengths[near]
        radial = np.zeros((len(near), N_MAX + 1))
        for kind, here in by_kind(kinds):
            radial[here] = spans[kind].around(lengths[here])
        harmonics = harmonics_up_to(L_MAX, part.vectors[near] / lengths[:, None])
        receivers, species = part.receiver[near] + part.atoms.start, kinds % graph.n_species
        add_surroundings(around, receivers, species, radial, harmonics)
        if moments is not None:
            radial *= moments[part.sender[near]][:, None]
            add_surroundings(around, receivers, species + graph.n_species, radial, harmonics)
    return Surroundings(around, moments)


def harmonics_up_to(l_max: int, directions: FloatArray) -> FloatArray:
    """Return √(4π / (2l+1)) Y_lm, shape (n, (l_max + 1)²)."""
    from dock.models.closed_form.three_centre._kernels import fill_harmonics

    values = np.empty((len(directions), (l_max + 1) ** 2))
    fill_harmonics(values, np.ascontiguousarray(directions), l_max)
    return values


class Bonds:
    """Bonds of one kind, which are rows of a part of a graph, among the surroundings of all atoms.

    `l_max` is the largest l of a bond's own harmonics.
    """

    def __init__(
        self,
        part: GraphPart,
        rows: IntArray,
        kind: int,
        spans: Sequence[Span],
        around: Surroundings,
        *,
        l_max: int,
    ) -> None:
        lengths = part.lengths[rows]
        self.rows, self._around = rows, around.values
        self._bond = spans[kind].polynomials(lengths, PAIR_DEGREE)
        self._harmonics = harmonics_up_to(l_max, part.vectors[rows] / lengths[:, None])
        receivers = part.receiver[rows] + part.atoms.start
        self._ends = np.column_stack([receivers, part.sender[rows]]).astype(np.int64)
        first, second = divmod(kind, part.n_species)
        back = second * part.n_species + first
        self._species = np.array([second, first, part.n_species], dtype=np.int64)
        self._radial = np.stack([spans[kind].around(lengths), spans[back].around(lengths)])
        self._factors, self._others = None, np.zeros((2, len(rows)))
        if around.moments is not None:
            self._factors = bond_factors(part, around.moments)[rows]
            self._others = np.ascontiguousarray(around.moments[self._ends[:, ::-1]].T)

    def functions(self, terms: Terms, chosen: slice) -> FloatArray:
        """Return the functions of some of the rows, (bonds, 2J + 1, functions)."""
        from dock.models.closed_form.three_centre._kernels import fill_bonds

        out = np.empty((len(self.rows[chosen]), 2 * terms.J + 1, terms.n_places))
        fill_bonds(
            out,
            terms.sizes,
            terms.table,
            self._bond[chosen],
            self._harmonics[chosen],
            self._around,
            self._ends[chosen],
            (
                self._species,
                np.ascontiguousarray(self._radial[:, chosen]),
                np.ascontiguousarray(self._others[:, chosen]),
            ),
        )
        return terms.times(out, None if self._factors is None else self._factors[chosen])


class Sites(NamedTuple):
    """Atoms of one kind: their numbers, their surroundings, and the factors of their moments."""

    rows: IntArray
    around: FloatArray
    factors: FloatArray | None

    @classmethod
    def of(cls, rows: IntArray, around: Surroundings, first: int = 0) -> Sites:
        """Return some atoms, which are counted from the `first` of the whole graph."""
        own = around.moments
        factors = None if own is None else site_factors(own[first + rows])
        return cls(rows, around.values[first + rows], factors)

    def functions(self, terms: Terms, chosen: slice) -> FloatArray:
        """Return the functions of some of the rows, (atoms, 2J + 1, functions)."""
        from dock.models.closed_form.three_centre._kernels import fill_sites

        around = np.ascontiguousarray(self.around[chosen])
        out = np.zeros((len(around), 2 * terms.J + 1, terms.n_places))
        fill_sites(out, terms.sizes, terms.singles, terms.table, around)
        return terms.times(out, None if self.factors is None else self.factors[chosen])


def terms_of_bonds(
    neighbours: NDArray[np.bool_], kind: int, *, magnetic: bool
) -> Callable[..., Terms]:
    """Return `bond_terms` with the species of other neighbours of both ends of a kind of bond."""
    first, second = (tuple(np.flatnonzero(row).tolist()) for row in neighbours[kind])
    return partial(bond_terms, (first, second), magnetic=neighbours.shape[2] * magnetic)


def terms_of_sites(spans: Sequence[Span], kind: int, *, magnetic: bool) -> Callable[..., Terms]:
    """Return `site_terms` with the species of the neighbours of a kind of atom."""
    n_species = round(len(spans) ** 0.5)
    own = spans[kind * n_species : (kind + 1) * n_species]
    around = tuple(s for s, span in enumerate(own) if span.is_known)
    return partial(site_terms, around, magnetic=n_species * magnetic)


@dataclass(frozen=True, eq=False)
class ThreeCentre(ClosedForm):
    """Fitted coefficients.

    Attributes
    ----------
    spans
        For each ordered pair of species.
    neighbours
        (n_species², 2, n_species) whether a bond's receiver and its sender have other neighbours
        of each species.
    bond_degrees, site_degrees
        (kinds, parts) total degree of the functions; −2 where nothing was fitted.
    bond_weights, site_weights
        For each kind and part, (functions, multiplicity).
    measured
        ``bond_errors`` and ``site_errors`` (kinds, n_block): root mean square of each part that was
        left of structures which a fit had not seen; ``…_centres`` and ``…_limits``: how far from
        where a part is predicted at most. Empty for a file of earlier versions.
    unit
        Of moments, μ_B; 0 for a form without.
    """

    layout: TargetLayout
    spans: tuple[Span, ...]
    neighbours: NDArray[np.bool_]
    bond_degrees: IntArray
    site_degrees: IntArray
    bond_weights: tuple[tuple[FloatArray, ...], ...]
    site_weights: tuple[tuple[FloatArray, ...], ...]
    measured: Mapping[str, FloatArray]
    unit: float = 0.0

    kind: ClassVar[str] = "three-centre"
    part_edges: ClassVar[int] = 20_000

    @property
    def held_out(self) -> tuple[FloatArray, FloatArray] | None:
        """What structures that a fit has not seen were wrong by, see `ClosedForm`."""
        if "site_errors" not in self.measured:
            return None
        return self.measured["site_errors"], self.measured["bond_errors"]

    def begin(self, graph: Graph) -> Surroundings:
        """Return what `one_way` needs of the whole graph."""
        return surroundings(graph, self.spans, self.unit)

    def one_way(self, part: GraphPart, around: Surroundings) -> tuple[FloatArray, FloatArray]:
        """Return padded blocks of some atoms and their edges, not averaged with the adjoints."""
        layout, l_max = self.layout, self.layout.max_J + L_MAX
        edge = np.zeros((part.n_edges, layout.n_block))
        for kind, here in by_kind(part.edge_type):
            if self.spans[kind].is_known:
                bonds = Bonds(part, here, kind, self.spans, around, l_max=l_max)
                terms = terms_of_bonds(self.neighbours, kind, magnetic=self.unit > 0)
                self._fill(edge, bonds, terms, "bond", kind)
        node = np.zeros((part.n_atoms, layout.n_block))
        for kind, atoms in by_kind(part.species):
            sites = Sites.of(atoms, around, part.atoms.start)
            terms = terms_of_sites(self.spans, kind, magnetic=self.unit > 0)
            self._fill(node, sites, terms, "site", kind)
        return layout.uncouple(node), layout.uncouple(edge)

    def _fill(
        self,
        target: FloatArray,
        blocks: Bonds | Sites,
        terms_of: Callable[..., Terms],
        name: str,
        kind: int,
    ) -> None:
        """Set the coupled parts that were fitted of blocks of one kind of ``bond`` or ``site``."""
        is_bond = name == "bond"
        degrees = (self.bond_degrees if is_bond else self.site_degrees)[kind]
        weights = (self.bond_weights if is_bond else self.site_weights)[kind]
        for irrep, degree, own in zip(self.layout.irreps, degrees, weights, strict=True):
            if degree < -1:
                continue
            terms = terms_of(irrep.J, int(degree), natural=irrep.natural)
            for chosen in terms.chunks(len(blocks.rows)):
                values = self._bounded(blocks.functions(terms, chosen) @ own, name, kind, irrep)
                flat = values.transpose(0, 2, 1).reshape(len(values), -1)
                target[blocks.rows[chosen], irrep.place] = flat

    def _bounded(self, values: FloatArray, name: str, kind: int, irrep: Irrep) -> FloatArray:
        """Return parts (n, 2J + 1, multiplicity) no farther from what occurs than the limits.

        Lengths are what is bounded, so that nothing depends on directions.
        """
        if f"{name}_limits" not in self.measured:
            return values
        place = slice(irrep.place.start, irrep.place.stop, 2 * irrep.J + 1)
        centres, limits = (
            self.measured[f"{name}_{what}"][kind, place] for what in ("centres", "limits")
        )
        away = values - centres
        lengths = np.sqrt((away**2).sum(axis=1))
        shares = limits / np.maximum(np.maximum(lengths, limits), np.finfo(float).tiny)
        return np.asarray(centres + shares[:, None] * away)

    def to_arrays(self) -> dict[str, Any]:
        """Return everything but the layout as arrays by name, for a file."""
        found: dict[str, Any] = {
            "spans": np.array(self.spans, dtype=np.float64),
            "neighbours": self.neighbours,
            "bond_degrees": self.bond_degrees,
            "site_degrees": self.site_degrees,
            **self.measured,
        }
        if self.unit:
            found["moment_unit"] = np.float64(self.unit)
        return found | weights_by_name(bond=self.bond_weights, site=self.site_weights)

    @classmethod
    def from_arrays(cls, layout: TargetLayout, arrays: Mapping[str, Any]) -> ThreeCentre:
        """Make a model from what `to_arrays` returned."""
        spans = tuple(Span(*(float(value) for value in row)) for row in arrays["spans"])
        n_species = layout.n_species
        return cls(
            layout,
            spans,
            np.asarray(arrays["neighbours"], dtype=bool),
            np.asarray(arrays["bond_degrees"]),
            np.asarray(arrays["site_degrees"]),
            named_weights(arrays, "bond", n_species**2, len(layout.irreps)),
            named_weights(arrays, "site", n_species, len(layout.irreps)),
            {
                name: np.asarray(arrays[name])
                for name in (f"{kind}_{what}" for kind in ("bond", "site") for what in MEASURED)
                if name in arrays
            },
            float(arrays.get("moment_unit", 0.0)),
        )
