"""The closed-form model with three centres.

It is the linear cluster expansion of Hamiltonian blocks (R. Drautz, Phys. Rev. B 99, 014104
(2019); for Hamiltonians L. Zhang et al., npj Comput. Mater. 8, 158 (2022)), here with polynomials
that are penalised by their degree, so that it goes on smoothly beyond the distances of its
training data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import FloatArray, IntArray
from dock.models.closed_form.form import ClosedForm, Part, parts_of_layout
from dock.models.closed_form.three_centre.terms import (
    L_MAX,
    N_MAX,
    PAIR_DEGREE,
    BondTerms,
    SiteTerms,
    bond_terms,
    site_terms,
)
from dock.models.graph import Graph, GraphPart, parts_of
from dock.models.targets import TargetLayout

__all__ = ["REACH", "Span", "Surroundings", "ThreeCentre"]

REACH = 6.0  # Å; farther neighbours are no surroundings
_STRAIGHT = 1.5  # where polynomials go over into straight lines, in units of half the span
_PART_EDGES = 20_000
_CHUNK = 2**21  # numbers of a table of functions


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
        values = np.empty((len(r), degree + 1))
        fill_polynomials(values, np.ascontiguousarray(r), ends, _STRAIGHT)
        return values


class Surroundings(NamedTuple):
    """A_i,nlm of all atoms of a graph: (n_atoms, n_species, N_MAX + 1, (L_MAX + 1)²)."""

    around: FloatArray

    @classmethod
    def of(cls, graph: Graph, spans: Sequence[Span]) -> Surroundings:
        """Sum over the neighbours of each atom."""
        from dock.models.closed_form.three_centre._kernels import add_surroundings

        shape = (graph.n_atoms, graph.n_species, N_MAX + 1, (L_MAX + 1) ** 2)
        around = np.zeros(shape)
        for part in parts_of(graph, _PART_EDGES):
            near = part.lengths < max(REACH, 1e-3)
            near |= np.array([span.longest <= REACH for span in spans])[part.edge_type]
            chosen = np.flatnonzero(near)
            kinds = part.edge_type[chosen]
            radial = np.zeros((len(chosen), N_MAX + 1))
            for kind in np.unique(kinds).tolist():
                here = kinds == kind
                if spans[kind].is_known:
                    lengths = part.lengths[chosen][here]
                    radial[here] = spans[kind].near.polynomials(lengths, N_MAX)
            directions = part.vectors[chosen] / part.lengths[chosen, None]
            add_surroundings(
                around,
                part.receiver[chosen] + part.atoms.start,
                kinds % graph.n_species,
                radial,
                harmonics_up_to(L_MAX, directions),
            )
        return cls(around)


def harmonics_up_to(l_max: int, directions: FloatArray) -> FloatArray:
    """Return √(4π / (2l+1)) Y_lm, shape (n, (l_max + 1)²)."""
    from dock.models.closed_form.three_centre._kernels import fill_harmonics

    values = np.empty((len(directions), (l_max + 1) ** 2))
    fill_harmonics(values, np.ascontiguousarray(directions), l_max)
    return values


class Bonds:
    """Bonds of one kind, ready for the functions of any part."""

    def __init__(
        self,
        part: GraphPart,
        here: IntArray,
        kind: int,
        spans: Sequence[Span],
        l_max: int,
    ) -> None:
        n_species = part.n_species
        lengths = part.lengths[here]
        self.n = len(here)
        self._bond = spans[kind].polynomials(lengths, PAIR_DEGREE)
        self._harmonics = harmonics_up_to(l_max, part.vectors[here] / lengths[:, None])
        receivers = part.receiver[here] + part.atoms.start
        self._ends = np.column_stack([receivers, part.sender[here]]).astype(np.int64)
        first, second = kind // n_species, kind % n_species
        back = second * n_species + first
        self._species = np.array([second, first], dtype=np.int64)
        radial = [_near(spans[one], lengths) for one in (kind, back)]
        self._radial = np.ascontiguousarray(np.stack(radial))

    def functions(self, terms: BondTerms, around: Surroundings, chosen: slice) -> FloatArray:
        """Return the functions of some bonds, (bonds, 2J + 1, functions)."""
        from dock.models.closed_form.three_centre._kernels import fill_bonds

        count = len(range(*chosen.indices(self.n)))
        out = np.empty((count, 2 * terms.J + 1, terms.n_functions))
        fill_bonds(
            out,
            (terms.J, terms.degree, terms.n_pair),
            (terms.couplings, terms.starts, terms.places, terms.factors),
            self._bond[chosen],
            self._harmonics[chosen],
            around.around,
            self._ends[chosen],
            (self._species, np.ascontiguousarray(self._radial[:, chosen])),
        )
        return out


def _near(span: Span, lengths: FloatArray) -> FloatArray:
    """Return what a bond of this kind adds to the surroundings."""
    result = np.zeros((len(lengths), N_MAX + 1))
    if span.is_known:
        inside = lengths < REACH if span.longest > REACH else np.ones(len(lengths), dtype=bool)
        result[inside] = span.near.polynomials(lengths[inside], N_MAX)
    return result


def site_functions(terms: SiteTerms, around: FloatArray) -> FloatArray:
    """Return the functions of some atoms, (atoms, 2J + 1, functions)."""
    from dock.models.closed_form.three_centre._kernels import fill_sites

    out = np.zeros((len(around), 2 * terms.J + 1, terms.n_functions))
    fill_sites(
        out,
        (terms.J, terms.degree, terms.constant),
        terms.singles,
        (terms.couplings, terms.starts, terms.places, terms.factors),
        np.ascontiguousarray(around),
    )
    return out


def bond_neighbours(
    neighbours: NDArray[np.bool_], kind: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the species of other neighbours of both ends of a kind of bond."""
    first, second = (tuple(np.flatnonzero(row).tolist()) for row in neighbours[kind])
    return first, second


def site_neighbours(spans: Sequence[Span], kind: int) -> tuple[int, ...]:
    """Return the species of the neighbours of a kind of atom."""
    n_species = round(len(spans) ** 0.5)
    return tuple(s for s in range(n_species) if spans[kind * n_species + s].is_known)


def chunk_of(terms: BondTerms | SiteTerms) -> int:
    """Return how many bonds or atoms to do at a time."""
    return max(16, _CHUNK // (max(terms.n_functions, 1) * (2 * terms.J + 1)))


@dataclass(frozen=True, eq=False)
class ThreeCentre(ClosedForm):
    """Fitted coefficients.

    Attributes
    ----------
    layout
        The targets.
    spans
        For each ordered pair of species.
    neighbours
        (n_species², 2, n_species) whether a bond's receiver and its sender have other neighbours
        of each species.
    bond_degrees, site_degrees
        (kinds, parts) total degree of the functions; −2 where nothing was fitted.
    bond_weights, site_weights
        For each kind and part, (functions, multiplicity).
    """

    layout: TargetLayout
    spans: tuple[Span, ...]
    neighbours: NDArray[np.bool_]
    bond_degrees: IntArray
    site_degrees: IntArray
    bond_weights: tuple[tuple[FloatArray, ...], ...]
    site_weights: tuple[tuple[FloatArray, ...], ...]

    kind: ClassVar[str] = "three-centre"
    part_edges: ClassVar[int] = _PART_EDGES

    def begin(self, graph: Graph) -> Surroundings:
        """Return what `one_way` needs of the whole graph."""
        return Surroundings.of(graph, self.spans)

    def one_way(self, part: GraphPart, around: Surroundings) -> tuple[FloatArray, FloatArray]:
        """Return padded blocks of some atoms and their edges, not averaged with the adjoints."""
        layout = self.layout
        edge = np.zeros((part.n_edges, layout.n_block))
        for kind in np.unique(part.edge_type).tolist():
            if self.spans[kind].is_known:
                self._bonds(part, kind, around, edge)
        node = np.zeros((part.n_atoms, layout.n_block))
        for kind in np.unique(part.species).tolist():
            atoms = np.flatnonzero(part.species == kind)
            own = around.around[part.atoms][atoms]
            beside = site_neighbours(self.spans, kind)
            for number, one in enumerate(parts_of_layout(layout)):
                degree = int(self.site_degrees[kind, number])
                if degree < -1:
                    continue
                terms = site_terms(beside, one.J, degree, natural=one.natural)
                for begin in range(0, len(atoms), chunk_of(terms)):
                    chosen = slice(begin, begin + chunk_of(terms))
                    values = site_functions(terms, own[chosen]) @ self.site_weights[kind][number]
                    _put(node, atoms[chosen], one, values)
        return layout.uncouple(node), layout.uncouple(edge)

    def _bonds(self, part: GraphPart, kind: int, around: Surroundings, edge: FloatArray) -> None:
        """Add the parts of all bonds of one kind."""
        layout = self.layout
        here = np.flatnonzero(part.edge_type == kind)
        bonds = Bonds(part, here, kind, self.spans, layout.max_J + L_MAX)
        beside = bond_neighbours(self.neighbours, kind)
        for number, one in enumerate(parts_of_layout(layout)):
            degree = int(self.bond_degrees[kind, number])
            if degree < -1:
                continue
            terms = bond_terms(beside, one.J, degree, natural=one.natural)
            for begin in range(0, len(here), chunk_of(terms)):
                chosen = slice(begin, min(begin + chunk_of(terms), len(here)))
                values = bonds.functions(terms, around, chosen) @ self.bond_weights[kind][number]
                _put(edge, here[chosen], one, values)

    def to_arrays(self) -> dict[str, Any]:
        """Return everything but the layout as arrays by name, for a file."""
        found: dict[str, Any] = {
            "spans": np.array(self.spans, dtype=np.float64),
            "neighbours": self.neighbours,
            "bond_degrees": self.bond_degrees,
            "site_degrees": self.site_degrees,
        }
        for name, groups in (("bond", self.bond_weights), ("site", self.site_weights)):
            for kind, weights in enumerate(groups):
                for number, array in enumerate(weights):
                    found[f"{name}_{kind}_{number}"] = array
        return found

    @classmethod
    def from_arrays(cls, layout: TargetLayout, arrays: Mapping[str, Any]) -> ThreeCentre:
        """Make a model from what `to_arrays` returned."""
        spans = tuple(Span(*(float(value) for value in row)) for row in arrays["spans"])
        count = len(parts_of_layout(layout))

        def weights(name: str, kinds: int) -> tuple[tuple[NDArray[Any], ...], ...]:
            return tuple(
                tuple(np.asarray(arrays[f"{name}_{kind}_{number}"]) for number in range(count))
                for kind in range(kinds)
            )

        return cls(
            layout,
            spans,
            np.asarray(arrays["neighbours"], dtype=bool),
            np.asarray(arrays["bond_degrees"]),
            np.asarray(arrays["site_degrees"]),
            weights("bond", layout.n_species**2),
            weights("site", layout.n_species),
        )


def _put(target: FloatArray, rows: IntArray, one: Part, values: FloatArray) -> None:
    """Store (rows, 2J + 1, multiplicity) values at their coupled places."""
    flat = values.transpose(0, 2, 1).reshape(len(rows), -1)
    target[rows[:, None], np.arange(one.place.start, one.place.stop)] = flat
