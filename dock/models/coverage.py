"""What a model knows of a structure's pairs of atoms, and what it does not."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np

from dock.core.arrays import FloatArray
from dock.core.pairs import Pairs
from dock.core.structure import Structure
from dock.models.backend import PairsOfBasis, Pattern, Scope

__all__ = ["Coverage", "cover", "foreign_moments"]

_MOMENT_SLACK = 0.1  # μ_B beyond the sizes of the training data
_SLACK = 1.02  # of the longest training edge; a little beyond is still the known physics


class Coverage(NamedTuple):
    """The pattern to predict, and what is worth saying about it.

    Attributes
    ----------
    pattern
        The pairs of the overlap and those that only the training data had.
    n_added
        Pairs within distances where all training data had blocks, but which the overlap lacks;
        they are predicted all the same.
    n_beyond
        Directed pairs longer than any of their kind in the training data.
    unseen
        Kinds of pairs that were not in the training data at all.
    """

    pattern: Pattern
    n_added: int
    n_beyond: int
    unseen: tuple[str, ...]

    @property
    def notes(self) -> list[str]:
        """Sentences for the user."""
        sentences = []
        if self.n_added:
            sentences.append(
                f"{self.n_added} pairs that the overlap lacks have blocks in the training data at "
                "such distances: predicted as well"
            )
        if self.n_beyond:
            sentences.append(
                f"{self.n_beyond} pairs are longer than any in the training data: extrapolated"
            )
        if self.unseen:
            sentences.append(
                f"the training data have no pairs {', '.join(self.unseen)}: extrapolated"
            )
        return sentences


def cover(scope: Scope, structure: Structure, pattern: Pattern) -> Coverage:
    """Compare the pairs of a structure with those that a model was trained on.

    A scope that does not know its longest pairs leaves the pattern as it is.

    Raises
    ------
    LayoutError
        For a species or shell that the model was not made for.
    """
    layout = scope.layout
    layout.require_basis(pattern.basis)
    if scope.longest is None:
        return Coverage(pattern, 0, 0, ())
    place = {label: index for index, label in enumerate(layout.species)}
    species = np.array([place[label] for label in pattern.basis.labels])
    longest = scope.longest
    cutoffs = np.zeros_like(longest) if scope.cutoffs is None else scope.cutoffs
    is_full = (longest > 0) & ((cutoffs == 0) | (cutoffs > longest * (1 + 2e-6)))
    sure = np.where(is_full, longest, 0.0)
    pairs = pattern.pairs
    added = _absent(structure, pairs, species, sure)
    if len(added):
        pairs = pairs.union(added)
    offsite = ~pairs.is_onsite
    kind = (species[pairs.i] * layout.n_species + species[pairs.j])[offsite]
    length = pairs.lengths(structure)[offsite]
    known = longest[kind] > 0
    beyond = int(np.count_nonzero(length[known] > _SLACK * longest[kind[known]]))
    names = ["-".join(ends) for ends in product(layout.species, repeat=2)]
    unseen = tuple(names[number] for number in np.unique(kind[~known]).tolist())
    return Coverage(PairsOfBasis(pattern.basis, pairs), len(added), beyond, unseen)


def foreign_moments(scope: Scope, structure: Structure, moments: FloatArray) -> list[str]:
    """Return a sentence about moments (n_atoms, 3) whose sizes the training data do not have."""
    sizes = np.linalg.norm(moments, axis=1)
    sentences = []
    for label, (low, high) in scope.moments.items():
        own = sizes[[other == label for other in structure.labels]]
        beyond = own[(own < low - _MOMENT_SLACK) | (own > high + _MOMENT_SLACK)]
        if len(beyond):
            sentences.append(
                f"{len(beyond)} moments of {label} ({beyond.min():.2f} to {beyond.max():.2f} μ_B) "
                f"lie outside those of the training data ({low:.2f} to {high:.2f} μ_B): "
                "extrapolated"
            )
    return sentences


def _absent(structure: Structure, pairs: Pairs, species: np.ndarray, sure: np.ndarray) -> Pairs:
    """Return the pairs within the sure distance of their kind that are not there."""
    from dock.overlap.neighbours import orbital_pairs

    reach = float(sure.max(initial=0.0))
    if reach == 0.0:
        return pairs.take(np.zeros(0, dtype=np.int64))
    near = orbital_pairs(structure, dict.fromkeys(structure.labels, reach / 2))
    kind = species[near.i] * round(len(sure) ** 0.5) + species[near.j]
    inside = near.lengths(structure) <= sure[kind]
    inside &= pairs.find(near.R, near.i, near.j) < 0
    return near.take(np.flatnonzero(inside))
