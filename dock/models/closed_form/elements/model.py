"""The closed form of elements: multiples of the overlap, with factors that add up from both atoms.

Off site each two-centre integral of a pair of shells is

    H_ab,m(r) = [k_a(r) + k_b(r)] S_ab,m(r),   k_a(r) = k⁰_a + k¹_a r,

(Wolfsberg and Helmholz, J. Chem. Phys. 20, 837, 1952), with k for each shell of each element, for
each l of the partner and for σ, π, δ. On site a shell has its level, and each neighbour adds
Σ_b w_b S_ab S_ba' over its shells b. All parameters belong to one element, so that they are known
for a pair that occurs in no training structure; the arbitrary zero of energy, a multiple of S, is
within the form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from typing import Any, ClassVar

import numpy as np

from dock.core.arrays import FloatArray, IntArray
from dock.core.spin import Spin
from dock.models.closed_form.form import ClosedForm
from dock.models.closed_form.radial import RadialSpan, splines
from dock.models.graph import Graph, GraphPart, by_kind
from dock.models.integrals import integrals_of
from dock.models.targets import TargetLayout

__all__ = ["ElementForm", "l_pairs", "scaled", "solved", "spinless", "spread"]

_MIDDLE, _WIDTH = 3.0, 1.5  # Å; distances are counted from here in these units


def scaled(lengths: FloatArray) -> FloatArray:
    """Return distances as the factors take them."""
    return (lengths - _MIDDLE) / _WIDTH


def spinless(layout: TargetLayout, blocks: FloatArray) -> FloatArray:
    """Return the part of blocks (n, n_channels, …) that does not depend on spin, (n, …)."""
    return blocks.mean(axis=1) if layout.spin is Spin.COLLINEAR else blocks[:, 0]


def spread(layout: TargetLayout, blocks: FloatArray) -> FloatArray:
    """Return blocks (n, …) that do not depend on spin with all channels."""
    found = np.zeros((len(blocks), layout.n_channels, *blocks.shape[1:]))
    found[:, : 1 if layout.spin is Spin.NONCOLLINEAR else layout.n_channels] = blocks[:, None]
    return found


def l_pairs(layout: TargetLayout) -> list[tuple[int, int]]:
    """Return the kinds of on-site blocks: l₁ ≤ l₂."""
    return list(combinations_with_replacement(sorted(set(layout.common_ls)), 2))


def _orbitals_of(layout: TargetLayout, l: int) -> IntArray:
    """Return the orbitals of the common basis with some l."""
    ls = np.array(layout.common_ls)
    return np.flatnonzero(np.repeat(ls, 2 * ls + 1) == l)


@dataclass(frozen=True, eq=False)
class ElementForm(ClosedForm):
    """Fitted parameters of elements.

    Attributes
    ----------
    factors
        (n_species, shells, l of the partner, m, 2) k⁰ and k¹ in the unit of the target; shells are
        those of the common basis.
    levels
        (n_species, shells, shells) on-site levels, and between shells of one l.
    fields
        (l₁, l₂ ≥ l₁, n_species, shells) the weights w of neighbours.
    spans, radial
        For each ordered pair of species the splines of the overlap's integrals, (n_functions, n),
        for structures whose overlap is not known.
    measured
        Root mean square of the integrals of kinds that were left out of the fit: ``left_out_error``
        of what is wrong, ``left_out_size`` of themselves; not a number where none could be.
    """

    layout: TargetLayout
    factors: FloatArray
    levels: FloatArray
    fields: FloatArray
    spans: tuple[RadialSpan, ...]
    radial: tuple[FloatArray, ...]
    measured: Mapping[str, float]

    kind: ClassVar[str] = "elements"
    part_edges: ClassVar[int] = 10_000

    def begin(self, graph: Graph) -> None:
        """Return what `one_way` needs of the whole graph: nothing."""

    def one_way(
        self,
        part: GraphPart,
        around: None = None,  # noqa: ARG002
    ) -> tuple[FloatArray, FloatArray]:
        """Return padded blocks of some atoms and their edges."""
        integrals = integrals_of(self.layout)
        overlap = self.known_overlap(part) if part.overlap is None else part.overlap
        first, second = self._by_kind[part.edge_type].transpose(2, 0, 1)
        bonds = overlap * (first + scaled(part.lengths)[:, None] * second)
        edge = integrals.blocks(bonds, part)
        node = self._onsite(part, integrals.blocks(overlap, part))
        return spread(self.layout, node), spread(self.layout, edge)

    def known_overlap(self, part: GraphPart) -> FloatArray:
        """Return the overlap's integrals as splines of the distance; zeros for kinds never seen."""
        found = np.zeros((part.n_edges, integrals_of(self.layout).size))
        for kind, here in by_kind(part.edge_type):
            found[here] = splines(part.lengths[here], self.spans[kind]) @ self.radial[kind]
        return found

    @cached_property
    def _by_kind(self) -> FloatArray:
        """(n_species², integrals, 2) the factors of both atoms of a kind of bond together."""
        integrals, ls = integrals_of(self.layout), np.array(self.layout.common_ls)
        ends = (integrals.first, integrals.second), (integrals.second, integrals.first)
        one, two = (self.factors[:, own, ls[other], integrals.m] for own, other in ends)
        return np.asarray((one[:, None] + two[None, :]).reshape(-1, integrals.size, 2))

    def _onsite(self, part: GraphPart, overlap: FloatArray) -> FloatArray:
        """Return the levels of atoms and what their neighbours add, (n, n_common, n_common)."""
        layout, shells = self.layout, integrals_of(self.layout).shells_of_orbitals()
        node = np.zeros((part.n_atoms, layout.n_common, layout.n_common))
        starts = np.flatnonzero(np.diff(part.receiver, prepend=-1))
        atoms, others = part.receiver[starts], part.edge_type % part.n_species
        for l1, l2 in l_pairs(layout):
            rows, columns = _orbitals_of(layout, l1), _orbitals_of(layout, l2)
            if l1 == l2:
                same = np.equal.outer(*(_m_of(layout, own) for own in (rows, columns)))
                node[:, rows[:, None], columns] = (
                    same
                    * self.levels[
                        part.species[:, None, None], shells[rows][:, None], shells[columns]
                    ]
                )
            if not len(starts):
                continue
            weights = self.fields[l1, l2][others][:, shells]
            terms = (overlap[:, rows] * weights[:, None, :]) @ overlap[:, columns].swapaxes(1, 2)
            sums = np.add.reduceat(terms, starts, axis=0)
            node[atoms[:, None, None], rows[:, None], columns] += sums
            if l1 != l2:
                block = (atoms[:, None, None], columns[:, None], rows)
                node[block] += sums.swapaxes(1, 2)
        return node

    def to_arrays(self) -> dict[str, Any]:
        """Return everything but the layout as arrays by name, for a file."""
        return {
            "factors": self.factors,
            "levels": self.levels,
            "fields": self.fields,
            "spans": np.array(self.spans, dtype=np.float64),
            **{f"overlap_{kind}": own for kind, own in enumerate(self.radial)},
            **{name: np.float64(value) for name, value in self.measured.items()},
        }

    @classmethod
    def from_arrays(cls, layout: TargetLayout, arrays: Mapping[str, Any]) -> ElementForm:
        """Make a form from what `to_arrays` returned."""
        rows = np.asarray(arrays["spans"])
        spans = tuple(RadialSpan(float(a), float(b), float(c), int(n)) for a, b, c, n in rows)
        radial = tuple(np.asarray(arrays[f"overlap_{kind}"]) for kind in range(len(spans)))
        names = ("left_out_error", "left_out_size")
        return cls(
            layout,
            np.asarray(arrays["factors"]),
            np.asarray(arrays["levels"]),
            np.asarray(arrays["fields"]),
            spans,
            radial,
            {name: float(arrays[name]) for name in names},
        )


def _m_of(layout: TargetLayout, orbitals: IntArray) -> IntArray:
    """Return m of orbitals of the common basis."""
    table = [m for l in layout.common_ls for m in range(-l, l + 1)]
    return np.array(table)[orbitals]


def solved(gram: FloatArray, side: FloatArray, weights: FloatArray) -> FloatArray:
    """Solve normal equations with relative penalties; functions that never occur get zero."""
    diagonal = np.diagonal(gram)
    used = np.flatnonzero(diagonal > 0)
    found = np.zeros(len(gram))
    if len(used):
        scale = float(diagonal[used].mean())
        kept = gram[np.ix_(used, used)] + np.diag(weights[used] * scale)
        found[used] = np.linalg.solve(kept, side[used])
    return found
