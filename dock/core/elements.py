"""Element symbols and atomic numbers, with the markers that files use for no element at all."""

from __future__ import annotations

import re

from dock.errors import ConventionError

__all__ = [
    "CUSTOM",
    "SYMBOLS",
    "atomic_number",
    "element_of_label",
    "element_of_mass",
    "ghost_element",
    "symbol",
]

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
CUSTOM: tuple[str, ...] = tuple(f"My{n}" for n in range(1, _N_CUSTOM + 1))
"""What the DeepH format calls species that are no element, or need a basis of their own."""

_NUMBER = {name: number for number, name in enumerate(SYMBOLS)}
_NUMBER |= {name: _FIRST_CUSTOM + place for place, name in enumerate(CUSTOM)}
_GHOST = re.compile(r"(?i)ghost|empty|bq|gh(?=[_:-])")
_SAME_MASS = 0.3  # u: between neighbouring elements there is 0.03 at least, mostly 1 to 3


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


def ghost_element(label: str) -> str | None:
    """Return the element whose orbitals an atom without a nucleus has, by its label, or None.

    Examples
    --------
    >>> [ghost_element(label) for label in ("H_empty", "GHOST-O1", "ghost:Si", "E")]
    ['H', 'O', 'Si', None]
    """
    rest = _GHOST.sub("", label).strip("_:-. ")
    element = element_of_label(rest) if rest != label else None
    return element if element not in ("X", *CUSTOM) else None


def element_of_mass(mass: float) -> str | None:
    """Return the element that has an atomic mass, in u; None where none or several may be meant.

    Examples
    --------
    >>> element_of_mass(12.011), element_of_mass(1.0), element_of_mass(58.8)
    ('C', 'H', None)
    """
    from ase.data import atomic_masses

    near = [
        name
        for name, known in zip(SYMBOLS[1:], atomic_masses[1:], strict=False)
        if abs(known - mass) < _SAME_MASS
    ]
    return near[0] if len(near) == 1 else None
