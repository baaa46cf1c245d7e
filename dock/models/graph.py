"""The graph of a structure: atoms, and directed edges where a matrix has blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dock.core.arrays import FloatArray, IntArray, frozen, read_only
from dock.core.basis import Basis
from dock.core.pairs import Pairs
from dock.core.structure import AnyStructure, Structure
from dock.errors import LayoutError

__all__ = ["Graph", "GraphPart", "build_graph", "by_kind", "parts_of"]

_TOUCHING = 1e-3  # Å; nearer atoms have no direction between them
_ACROSS = 1e-4  # μ_B; moments of collinear spin have no larger part across z


@dataclass(frozen=True, eq=False)
class Graph:
    """Atoms and the directed edges between them.

    Edge e stands for the block ⟨i, 0|O|j, R⟩ of the e-th pair: the receiver is i, the sender j.
    The edges are closed under (R, i, j) → (−R, j, i), sorted by receiver, and on-site pairs
    are no edges.

    Attributes
    ----------
    structure, basis
        What the graph was made from.
    pairs
        The off-site pairs.
    species
        (n_atoms,) index of each atom's species in the list of the model.
    n_species
        Length of that list.
    moments
        (n_atoms, 3) spin moment of each atom in μ_B (an axial vector), or None without. Of a graph
        of one spin (`of_spins`) z is the direction of that spin, which is no direction in space.
    overlap
        (n_edges, n) two-centre integrals of the overlap, see `dock.models.integrals`, or None.
    """

    structure: Structure
    basis: Basis
    pairs: Pairs
    species: IntArray
    n_species: int
    moments: FloatArray | None = None
    overlap: FloatArray | None = None

    def __post_init__(self) -> None:
        n_atoms = self.structure.n_atoms
        object.__setattr__(self, "species", frozen("species", self.species, np.int32, (n_atoms,)))
        if self.moments is not None:
            found = frozen("moments", self.moments, np.float64, (n_atoms, 3))
            object.__setattr__(self, "moments", found)
        if self.overlap is not None:
            found = frozen("overlap", self.overlap, np.float64, (self.n_edges, None))
            object.__setattr__(self, "overlap", found)
        self.pairs.require_closed()
        near = np.flatnonzero(self.lengths < _TOUCHING)
        if len(near):
            raise LayoutError(
                f"the atoms of {self.pairs.describe(int(near[0]))} are less than {_TOUCHING} Å "
                "apart: a structure needs its atoms at different places."
            )

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return self.structure.n_atoms

    @property
    def n_edges(self) -> int:
        """Number of directed edges."""
        return len(self.pairs)

    @property
    def receiver(self) -> IntArray:
        """(n_edges,) the first atom of each pair."""
        return self.pairs.i

    @property
    def sender(self) -> IntArray:
        """(n_edges,) the second atom of each pair."""
        return self.pairs.j

    @property
    def reverse(self) -> IntArray:
        """(n_edges,) index of (−R, j, i)."""
        return self.pairs.partner

    @cached_property
    def vectors(self) -> FloatArray:
        """(n_edges, 3) from the receiver to the sender, Å."""
        return read_only(self.pairs.vectors(self.structure))

    @cached_property
    def lengths(self) -> FloatArray:
        """(n_edges,) distance of the two atoms, Å."""
        return read_only(np.linalg.norm(self.vectors, axis=1))

    @cached_property
    def edge_type(self) -> IntArray:
        """(n_edges,) species of the receiver times `n_species` plus species of the sender."""
        first = self.species[self.receiver].astype(np.int32) * self.n_species
        return read_only(first + self.species[self.sender])

    @cached_property
    def of_spins(self) -> tuple[Graph, Graph]:
        """The structure as spin up and as spin down see it: with moments along their own spin.

        Collinear spin is not tied to space: H of a channel is one function of the structure and of
        the moments along the channel's spin, so that turning round all moments exchanges the two.

        Raises
        ------
        LayoutError
            When there are no moments, or some that do not lie along z.
        """
        if self.moments is None:
            raise LayoutError(
                "collinear spin needs a moment of each atom: write moments.json beside the "
                "structure, one [0, 0, m] in μ_B for each."
            )
        across = np.abs(self.moments[:, :2]).max(axis=1, initial=0.0)
        if across.max(initial=0.0) > _ACROSS:
            atom = int(np.argmax(across))
            raise LayoutError(
                f"the moment of atom {atom} is {self.moments[atom].tolist()} μ_B, but collinear "
                "spin has moments along z alone: write [0, 0, m] for each atom, with its sign."
            )
        return self, replace(self, moments=-self.moments)

    @cached_property
    def full_pairs(self) -> Pairs:
        """The pattern of a matrix on this graph: on-site pairs in atom order, then the edges."""
        atoms = np.arange(self.n_atoms, dtype=np.int32)
        return Pairs(
            np.concatenate([np.zeros((self.n_atoms, 3), dtype=np.int32), self.pairs.R]),
            np.concatenate([atoms, self.pairs.i]),
            np.concatenate([atoms, self.pairs.j]),
            self.n_atoms,
        )


class GraphPart(NamedTuple):
    """Some neighbouring atoms of a graph with all edges that they receive.

    Attributes
    ----------
    atoms, edges
        Which ones, of the whole graph.
    species
        (n,) of these atoms, of the model's n_species.
    receiver
        (e,) counted from the first of these atoms.
    sender
        (e,) counted from the first atom of the graph.
    edge_type, vectors, lengths, overlap
        As in `Graph`.
    """

    atoms: slice
    edges: slice
    species: IntArray
    n_species: int
    receiver: IntArray
    sender: IntArray
    edge_type: IntArray
    vectors: FloatArray
    lengths: FloatArray
    overlap: FloatArray | None = None

    @property
    def n_atoms(self) -> int:
        """Number of these atoms."""
        return len(self.species)

    @property
    def n_edges(self) -> int:
        """Number of edges that they receive."""
        return len(self.receiver)


def parts_of(graph: Graph, n_edges: int) -> Iterator[GraphPart]:
    """Cut a graph into parts of at most so many edges; a part has at least one atom."""
    ends = np.searchsorted(graph.receiver, np.arange(graph.n_atoms), side="right")
    first = begin = 0
    while first < graph.n_atoms:
        last = int(np.searchsorted(ends, begin + n_edges, side="right"))
        last = max(last, first + 1)
        stop = int(ends[last - 1])
        atoms, own = slice(first, last), slice(begin, stop)
        yield GraphPart(
            atoms,
            own,
            graph.species[atoms],
            graph.n_species,
            graph.receiver[own] - first,
            graph.sender[own],
            graph.edge_type[own],
            graph.vectors[own],
            graph.lengths[own],
            None if graph.overlap is None else graph.overlap[own],
        )
        first, begin = last, stop


def by_kind(kinds: IntArray) -> Iterator[tuple[int, IntArray]]:
    """Yield each kind that occurs, of edges or of atoms, and the indices where it does."""
    for kind in np.unique(kinds).tolist():
        yield kind, np.flatnonzero(kinds == kind)


def build_graph(
    structure: AnyStructure,
    basis: Basis,
    pairs: Pairs,
    species: tuple[str, ...],
    moments: ArrayLike | None = None,
) -> Graph:
    """Make the graph of a structure from any pattern of pairs, such as the union of H's and S's.

    Missing partners are added and on-site pairs left out. `species` are those that the model
    knows, `moments` (n_atoms, 3) spin moments in μ_B.

    Raises
    ------
    LayoutError
        For a species that the model does not know, naming it; for atoms at one place.
    """
    position = {label: index for index, label in enumerate(species)}
    unknown = [label for label in basis.species if label not in position]
    if unknown:
        raise LayoutError(
            f"the model knows the species {', '.join(species)}; the structure has also "
            f"{', '.join(unknown)}. Train with structures that hold them."
        )
    index = np.array([position[label] for label in basis.labels], dtype=np.int32)
    edges = pairs.take(np.flatnonzero(~pairs.is_onsite))
    if not edges.is_closed:
        edges = edges.union(Pairs(-edges.R, edges.j, edges.i, edges.n_atoms))
    edges = edges.take(edges.row_order())
    given = None if moments is None else np.asarray(moments, dtype=np.float64)
    return Graph(Structure.of(structure), basis, edges, index, len(species), given)
