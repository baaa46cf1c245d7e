"""What a model knows of a structure's pairs of atoms, and what it does not."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import FloatArray, IntArray
from dock.core.pairs import Pairs
from dock.core.structure import Structure
from dock.models.backend import PairsOfBasis, Pattern, Scope

__all__ = ["Coverage", "cover", "foreign_moments"]

_MOMENT_SLACK = 0.1  # μ_B beyond the sizes of the training data
_SLACK = 1.02  # of the longest training edge; a little beyond is still the known physics
_COUNT_SLACK = 1.1  # of the most pairs of an atom
_NAMED = 8  # kinds of pairs in a sentence

_OF_UNSEEN = {
    "": "extrapolated",
    "zeros": "predicted as zero",
    "elements": "predicted from parameters of their elements and the overlap",
}


@dataclass(frozen=True, eq=False)
class Coverage:
    """The pattern to predict, and what is worth saying about it.

    Attributes
    ----------
    pattern
        The pairs of the overlap and those that only the training data had.
    n_added
        Pairs within distances where all training data had blocks, but which the overlap lacks;
        they are predicted all the same.
    n_beyond, n_below
        Directed pairs longer, and shorter, than any of their kind in the training data.
    farthest, nearest
        The kind of the one that is most so, and by how many Å.
    unseen
        Kinds of pairs that were not in the training data at all.
    n_unseen
        Directed pairs of these kinds.
    of_unseen
        What they get, see `Scope`.
    crowds
        For each species with more or fewer pairs at an atom than any in the training data: its
        label, how many such atoms, and the most and the fewest of the training data.
    """

    pattern: Pattern
    n_added: int = 0
    n_beyond: int = 0
    n_below: int = 0
    unseen: tuple[str, ...] = ()
    n_unseen: int = 0
    of_unseen: str = ""
    crowds: tuple[tuple[str, int, int, int], ...] = ()
    farthest: tuple[str, float] = ("", 0.0)
    nearest: tuple[str, float] = ("", 0.0)

    @property
    def outside(self) -> list[str]:
        """What of the structure lies outside the training data, one phrase each."""
        phrases = [
            f"{count} pairs are {how} than any in the training data ({kind} by {excess:.2f} Å)"
            for count, how, (kind, excess) in (
                (self.n_beyond, "longer", self.farthest),
                (self.n_below, "shorter", self.nearest),
            )
            if count
        ]
        if self.unseen:
            names = ", ".join(self.unseen[:_NAMED]) + (", …" if len(self.unseen) > _NAMED else "")
            kinds = f"{len(self.unseen)} kinds, " if len(self.unseen) > 1 else ""
            phrases.append(
                f"the training data have no pairs {names} ({kinds}{self.n_unseen} pairs)"
            )
        phrases += [
            f"for {count} of the {label} atoms the number of neighbours was never seen "
            f"({few} to {many} pairs in the training data)"
            for label, count, few, many in self.crowds
        ]
        return phrases

    @property
    def notes(self) -> list[str]:
        """Sentences for the user."""
        sentences = []
        if self.n_added:
            sentences.append(
                f"{self.n_added} pairs that the overlap lacks have blocks in the training data at "
                "such distances: predicted as well"
            )
        for phrase in self.outside:
            what = _OF_UNSEEN[self.of_unseen] if "have no pairs" in phrase else "extrapolated"
            sentences.append(f"{phrase}: {what}")
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
        return Coverage(pattern)
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
    beyond = known & (length > _SLACK * longest[kind])
    shortest = np.zeros_like(longest) if scope.shortest is None else scope.shortest
    below = known & (length * _SLACK < shortest[kind])
    names = np.array(["-".join(sorted(ends)) for ends in product(layout.species, repeat=2)])
    return Coverage(
        PairsOfBasis(pattern.basis, pairs),
        len(added),
        int(np.count_nonzero(beyond)),
        int(np.count_nonzero(below)),
        tuple(np.unique(names[kind[~known]]).tolist()),
        int(np.count_nonzero(~known)),
        scope.of_unseen,
        tuple(_crowds(scope, species, pairs.i[offsite])),
        _worst(names[kind], np.where(known, length - longest[kind], 0.0)),
        _worst(names[kind], np.where(known, shortest[kind] - length, 0.0)),
    )


def _worst(names: NDArray[np.str_], excess: FloatArray) -> tuple[str, float]:
    """Return the kind of the pair with the largest excess, and that in Å."""
    if not len(excess):
        return "", 0.0
    worst = int(np.argmax(excess))
    return str(names[worst]), float(excess[worst])


def _crowds(scope: Scope, species: IntArray, first: IntArray) -> list[tuple[str, int, int, int]]:
    """Return the species with more or fewer pairs at an atom than known, see `Coverage`."""
    if scope.neighbours is None:
        return []
    counts = np.bincount(first, minlength=len(species))
    few, many = scope.neighbours[species].T
    outside = (counts * _COUNT_SLACK < few) | (counts > _COUNT_SLACK * many)
    return [
        (
            scope.layout.species[label],
            int(np.count_nonzero(outside & (species == label))),
            int(scope.neighbours[label, 0]),
            int(scope.neighbours[label, 1]),
        )
        for label in np.unique(species[outside]).tolist()
    ]


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
