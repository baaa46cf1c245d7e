"""Which structures of a data set are likely to be copies of one crystal or molecule.

Strained and shaken copies of a crystal know of each other: a model that has seen some of them is
judged by the others as if by itself. So they are held out together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

__all__ = ["are_several", "folds_of", "kinds_of_structures"]

_FEWEST = 6  # kinds, from which on they are kept together


def are_several(contents: Sequence[Hashable], parts: int) -> bool:
    """Say whether there are six kinds or more, none of more than its share of so many parts."""
    counts = Counter(contents)
    return len(counts) >= _FEWEST and counts.most_common(1)[0][1] <= len(contents) / parts


def kinds_of_structures(contents: Sequence[Hashable], parts: int) -> list[int] | None:
    """Return the number of each structure's kind, None where structures are held out one by one.

    Parameters
    ----------
    contents
        What a structure consists of, such as its atoms: the same of copies.
    parts
        In how many parts the set is divided: a kind with more than that share of the structures
        cannot stay together, and a set with fewer than six kinds has hardly any to hold out.
    """
    numbers = {content: number for number, content in enumerate(dict.fromkeys(contents))}
    if not are_several(contents, parts) or len(numbers) == len(contents):
        return None
    return [numbers[content] for content in contents]


def folds_of(contents: Sequence[Hashable], parts: int) -> list[int]:
    """Return the fold of each structure, copies in one of them; the folds are about equal."""
    kinds = kinds_of_structures(contents, parts)
    if kinds is None:
        return [number % parts for number in range(len(contents))]
    full, fold_of = [0] * parts, {}
    for kind, count in Counter(kinds).items():
        fold = full.index(min(full))
        fold_of[kind] = fold
        full[fold] += count
    return [fold_of[kind] for kind in kinds]
