"""Orbitals that are named in words: ``C-pz``, ``Mo-d``, ``Mo-d+S-p``, ``3-s``.

A word says where, and after a hyphen what; either may be left out. Where is a species, an element,
or an atom: its number from 1, or that after its species as in legends (``C2``). What is a shell by
its letter (``d``), with its number among the shells of that letter in the atom (``2p``), or a
function of it (``pz``, ``dx2-y2``). Several words with ``+`` between them are one group.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.basis import SHELL_LETTERS, Basis, shell_letter, shell_numbers
from dock.core.harmonics import LMAX, convention_table
from dock.core.structure import Structure
from dock.errors import UsageError

__all__ = ["EXAMPLES", "Word", "chosen_orbitals", "parse_word", "parse_words"]

EXAMPLES = "C-pz, Mo-d, Mo-d+S-p, 3-s, px"
"""What words look like, for messages and help."""

_WHAT = re.compile(rf"(\d*)([{SHELL_LETTERS}])(?:\(?([a-z0-9(][a-z0-9()-]*?)\)?)?")
_WHERE = re.compile(r"[A-Z][A-Za-z0-9_]*|\d+")


class Word(NamedTuple):
    """Where and what, None for everywhere and everything.

    `shell` counts the shells of one l in an atom from 1, 0 for all of them; `function` is one of
    the names of m in `dock.core.harmonics`, without brackets and signs.
    """

    text: str
    where: str | None
    l: int | None
    shell: int = 0
    function: str = ""


def parse_words(text: str) -> dict[str, tuple[Word, ...]]:
    """Return the words of each group by the text of the group; groups have commas between them.

    Raises `UsageError` for what is no word.

    Examples
    --------
    >>> list(parse_words("Mo-d, S-p+S-s"))
    ['Mo-d', 'S-p+S-s']
    """
    groups = [part.strip() for part in text.split(",")]
    return {group: tuple(parse_word(word.strip()) for word in group.split("+")) for group in groups}


def parse_word(text: str) -> Word:
    """Return what a word means, without looking at any structure; `UsageError` where it is none.

    Examples
    --------
    >>> parse_word("C-2pz")[1:]
    ('C', 1, 2, 'z')
    """
    where, hyphen, what = text.partition("-")
    if not hyphen or not _WHERE.fullmatch(where):
        where, what = (text, "") if _WHERE.fullmatch(text) else ("", text)
    if not what and where and not hyphen:
        return Word(text, where, None)
    found = _WHAT.fullmatch(what)
    if found is None:
        raise UsageError(_no_word(text))
    number, letter, function = found[1], found[2], _bare(found[3] or "")
    l = SHELL_LETTERS.index(letter)
    functions = [_bare(name) for name in _functions(l)]
    if function and (l == 0 or function not in functions):
        raise UsageError(f"{_no_word(text)} The {letter} orbitals are {', '.join(_functions(l))}.")
    return Word(text, where or None, l, int(number or 0), function)


def chosen_orbitals(word: Word, structure: Structure, basis: Basis) -> NDArray[np.int64]:
    """Return the numbers, from 0, of the orbitals that a word names.

    Raises
    ------
    UsageError
        Where the structure has no such atoms, or these no such orbitals: it lists what there is.
    """
    atoms = _atoms(word, structure)
    table = basis.table
    numbers = {
        label: np.array(shell_numbers(basis.ls(label)), dtype=np.int64) for label in basis.species
    }
    number = np.array(
        [numbers[basis.labels[a]][s] for a, s in zip(table.atom, table.shell, strict=True)]
    )
    keep = np.isin(table.atom, atoms)
    if word.l is not None:
        keep &= table.l == word.l
        if word.shell:
            keep &= number == word.shell
        if word.function:
            place = [_bare(name) for name in _functions(word.l)].index(word.function)
            keep &= table.m == place - word.l
    chosen = np.flatnonzero(keep)
    if not chosen.size:
        kinds = dict.fromkeys(basis.labels[atom] for atom in atoms)
        there = "; ".join(f"{kind} has {_shells(basis, kind)}" for kind in kinds)
        raise UsageError(f"there is no orbital '{word.text}': {there}.")
    return chosen


def _atoms(word: Word, structure: Structure) -> list[int]:
    """Return the atoms that a word is about, from 0."""
    where, labels, symbols = word.where, structure.labels, structure.symbols
    if where is None:
        return list(range(len(labels)))
    for group in (labels, symbols):
        if found := [atom for atom, name in enumerate(group) if name == where]:
            return found
    numbered = [f"{label}{atom + 1}" for atom, label in enumerate(labels)]
    counted = [f"{atom + 1}" for atom in range(len(labels))]
    for names in (numbered, counted):
        if where in names:
            return [names.index(where)]
    species = ", ".join(dict.fromkeys((*labels, *symbols)))
    raise UsageError(
        f"'{word.text}': there is no {where} in {structure.formula}. Species: {species}; atoms are "
        f"1 to {len(labels)}."
    )


def _shells(basis: Basis, label: str) -> str:
    """Return the orbitals of a species in words, ``s, px, py, pz``: the functions up to d."""
    names: list[str] = []
    for l in sorted(set(basis.ls(label))):
        functions = _functions(l) if 0 < l < 3 else ("",)
        names += [f"{shell_letter(l)}{name}" for name in functions]
    return ", ".join(names)


def _functions(l: int) -> tuple[str, ...]:
    """Return the names of the functions of a shell; none where they have none, beyond `LMAX`."""
    return convention_table("dock", l)[-1].functions if 0 < l <= LMAX else ("",)


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name)


def _no_word(text: str) -> str:
    return f"'{text}' names no orbitals. Words look like {EXAMPLES}."
