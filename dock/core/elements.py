"""Element symbols and atomic numbers, with the markers that files use for no element at all."""

from __future__ import annotations

import re

from dock.errors import ConventionError

__all__ = ["SYMBOLS", "atomic_number", "element_of_label", "symbol"]

_TABLE = """
X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As
Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd
Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am
Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""

SYMBOLS: tuple[str, ...] = tuple(_TABLE.split())
"""Symbol of each atomic number; 0 is ``X``, an atom without a nucleus (empty or ghost atom)."""

_FIRST_CUSTOM = 131  # the DeepH format's My1..My6 are 131..136
_N_CUSTOM = 6
_NUMBER = {name: number for number, name in enumerate(SYMBOLS)}
_NUMBER |= {f"My{n}": _FIRST_CUSTOM + n - 1 for n in range(1, _N_CUSTOM + 1)}


def atomic_number(name: str) -> int:
    """Return the atomic number of a symbol: H … Og, X (no nucleus), or My1 … My6 of DeepH.

    Any other name is a `ConventionError`.

    Examples
    --------
    >>> atomic_number("Si"), atomic_number("My1")
    (14, 131)
    """
    try:
        return _NUMBER[name]
    except KeyError:
        raise ConventionError(
            f"'{name}' is no element. Expected a symbol of the periodic table, X for an empty "
            f"atom, or My1..My{_N_CUSTOM}."
        ) from None


def symbol(number: int) -> str:
    """Return the symbol of an atomic number; the inverse of `atomic_number`.

    Examples
    --------
    >>> symbol(14)
    'Si'
    """
    if 0 <= number < len(SYMBOLS):
        return SYMBOLS[number]
    if _FIRST_CUSTOM <= number < _FIRST_CUSTOM + _N_CUSTOM:
        return f"My{number - _FIRST_CUSTOM + 1}"
    raise ConventionError(f"{number} is no atomic number. Expected 0..118 or 131..136.")


def element_of_label(label: str) -> str | None:
    """Return the element that a free label like ``Fe1`` or ``O_surface`` begins with, or None.

    Two letters are tried before one, so ``Co`` is cobalt and ``C1`` is carbon.

    Examples
    --------
    >>> element_of_label("Fe1"), element_of_label("O_top"), element_of_label("7")
    ('Fe', 'O', None)
    """
    match = re.match(r"My[1-6]|[A-Z][a-z]?", label)
    if match is None:
        return None
    name = match.group()
    for candidate in (name, name[:1]):
        if candidate in _NUMBER:
            return candidate
    return None
