"""What the logs of ABACUS 3.0–3.11 call each fact: one table, with the version that brought a word.

A version that renames a line needs one more row here, nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

__all__ = ["KNOWN", "WORDS", "Found", "expected", "find", "find_last", "known"]

KNOWN = "3.0–3.11"
_FIRST, _LAST = (3, 0), (3, 11)

WORDS: dict[str, tuple[tuple[str, str], ...]] = {
    "version": (("3.0", "<!>ABACUS v<x>"),),
    "lattice constant": (
        ("3.0", "lattice constant (Bohr) = <x>"),
        ("3.9.0.9", "Lattice constant (Bohr) = <x>"),
    ),
    "species": (("3.0", "atom label = <x>"), ("3.9.0.9", "Atom label = <x>")),
    "number of atoms": (
        ("3.0", "number of atom for this type = <n>"),
        ("3.9.0.9", "Number of atoms for this type = <n>"),
    ),
    "shells": (("3.0", "L = <n>, number of zeta = <n>"),),
    "lattice vectors": (
        ("3.0", "Lattice vectors: (Cartesian coordinates: in unit of a_0)"),
        ("3.0", "Lattice vectors: (Cartesian coordinate: in unit of a_0)"),
    ),
    "coordinates": (
        ("3.0", "CARTESIAN COORDINATES$"),
        ("3.0", "CARTESIAN COORDINATES ( UNIT = <x>"),
        ("3.0", "DIRECT COORDINATES$"),
    ),
    "nspin": (("3.0", "nspin = <n>"),),
    "basis size": (("3.0", "NLOCAL = <n>"), ("3.9.0.9", "Number of basis (NLOCAL) = <n>")),
    "electrons": (
        ("3.0", "AUTOSET number of electrons = <x>"),
        ("3.0", "AUTOSET number of electrons: = <x>"),
        ("3.9.0.9", "Autoset the number of electrons: = <x>"),
        ("3.9.0.9", "Autoset the number of electrons = <x>"),
    ),
    "electrons set": (("3.0", "nelec now: = <x>"), ("3.0", "nelec now = <x>")),
    "loop": (
        ("3.0", "LCAO ALGORITHM --- ION = <n> ELEC = <n>"),
        ("3.0", "ALGORITHM --- ION = <n> ELEC = <n>"),
        ("3.9.0.9", "--> IONIC RELAXATION STEP = <n> ELECTRONIC ITERATION STEP = <n>"),
        ("3.9.0.9", "--> #ION MOVE# <n> #ELEC PROP# <*> #ELEC ITER# <n>"),
        ("3.9.0.10", "--> #ION MOVE# <n> #ELEC ITER# <n>"),
    ),
    "converged": (
        ("3.0", "charge density convergence is achieved"),
        ("3.9.0.9", "#SCF IS CONVERGED#"),
    ),
    "not converged": (
        ("3.0", "<!>convergence has not been achieved"),
        ("3.9.0.9", "<!>SCF IS NOT CONVERGED"),
    ),
    "Fermi level": (
        ("3.0", "E_Fermi <*> <x>"),
        ("3.0", "EFERMI = <x> eV"),
        ("3.9.0.9", "E_Fermi <*> <x>"),  # alone: EFERMI is gone
    ),
    "Fermi level up": (("3.0", "E_Fermi_up <*> <x>"),),
    "Fermi level down": (("3.0", "E_Fermi_dw <*> <x>"),),
    "ionic step": (
        ("3.0", "STEP OF RELAXATION : <n>"),
        ("3.0", "STEP OF ION RELAXATION : <n>"),
        ("3.0", "STEP OF MOLECULAR DYNAMICS : <n>"),
        ("3.9.0.9", "RELAX STEP : <n>"),
    ),
    "end": (("3.0", "TIME STATISTICS"),),
    "orbital radius": (
        ("3.0", "longest orb rcut (Bohr) = <x>"),
        ("3.9.0.16", "Orbital max radius cutoff (Bohr) = <x>"),
    ),
    "projector radius": (
        ("3.0", "longest nonlocal projector rcut (Bohr) = <x>"),
        ("3.9.0.16", "Nonlocal proj. max radius cutoff (Bohr) = <x>"),
    ),
}
"""Fact → (version since which a line is written so, the line), old ones first.

Capitals and the number of blanks and dashes do not matter. ``<x>`` is a word, ``<n>`` a whole
number, ``<*>`` a word that is passed over, ``<!>`` anything, ``$`` the end of the line.
"""

_PARTS = {
    "<x>": r"(\S+)",
    "<n>": r"(\d+)\b",
    "<*>": r"\S+",
    "<!>": r"[^\n]*?",
    "$": r"[ \t]*$",
    "=": r"[ \t]*=[ \t]*",
    ":": r"[ \t]*:[ \t]*",
    ",": r"[ \t]*,[ \t]*",
    "---": r"-+",
}
_CUT = re.compile(r"\s*([=:,])\s*|(<.>|\$|---(?!>)|\s+)")


class Found(NamedTuple):
    """A line of a fact.

    Attributes
    ----------
    start, end
        Where its words stand in the text.
    values
        The words and numbers in it.
    """

    start: int
    end: int
    values: tuple[str, ...]


def _expression(line: str) -> str:
    pieces = [piece for piece in _CUT.split(line) if piece]
    return "".join(
        r"[ \t]+" if piece.isspace() else _PARTS.get(piece, re.escape(piece)) for piece in pieces
    )


@cache
def _pattern(fact: str) -> re.Pattern[str]:
    lines = "|".join(_expression(line) for _, line in WORDS[fact])
    return re.compile(rf"^[ \t]*(?:{lines})", re.MULTILINE | re.IGNORECASE)


def find(fact: str, text: str) -> Iterator[Found]:
    r"""Yield the lines of a fact in a log, whatever version wrote them.

    Examples
    --------
    >>> [found.values for found in find("loop", " --> #ION MOVE#    2  #ELEC ITER#    1")]
    [('2', '1')]
    >>> [found.values for found in find("Fermi level", "E_Fermi_up 1 2\n E_Fermi 0.5 6.8")]
    [('6.8',)]
    """
    for match in _pattern(fact).finditer(text):
        values = tuple(value for value in match.groups() if value is not None)
        yield Found(match.start(), match.end(), values)


def find_last(fact: str, text: str) -> str | None:
    """Return the first value of the last line of a fact; None where there is none."""
    found = None
    for found in find(fact, text):  # noqa: B007 - the last one is wanted
        pass
    return found.values[0] if found is not None else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("-")[0]))


def known(version: str) -> bool:
    """Say whether a version's log is known; one that names no version counts as known.

    Examples
    --------
    >>> known("3.11.0-beta.1"), known("3.12"), known("2.3.4")
    (True, False, False)
    """
    return not version or _FIRST <= _numbers(version)[:2] <= _LAST


def expected(fact: str, version: str = "") -> str:
    """Return the line of a fact as that version writes it, or the newest known one, for messages.

    Examples
    --------
    >>> expected("species", "3.8.1"), expected("species", "3.12")
    ("'atom label = …'", "'Atom label = …'")
    """
    lines = [
        line for since, line in WORDS[fact] if not version or _numbers(since) <= _numbers(version)
    ]
    line = (lines or [WORDS[fact][-1][1]])[-1]
    return f"'{re.sub('<.>', '…', line).rstrip('$').strip()}'"
