"""OpenMX species: the basis string ``C6.0-s2p2d1``, the element behind it, its shells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dock.core.basis import SHELL_LETTERS
from dock.core.elements import SYMBOLS
from dock.errors import UsageError

__all__ = ["PaoName", "Species", "basis_string", "element_number"]

# OpenMX has no shells beyond l = 6.
_LETTERS = SHELL_LETTERS[:7]
# OpenMX writes E for an empty atom.
_NUMBERS = {"E": 0} | {name: number for number, name in enumerate(SYMBOLS) if number}
_SHELL = re.compile(r"([a-z])(\d+)(?:>(\d+))?")


@dataclass(frozen=True)
class PaoName:
    """The second column of ``Definition.of.Atomic.Species``, taken apart.

    Attributes
    ----------
    file_name
        The PAO file without ``.pao``: ``"Fe6.0S"``, where 6.0 is the cutoff in Bohr. It may have
        folders before it: OpenMX joins what is typed to its ``DATA.PATH``.
    zetas
        For each l present, ascending: (l, radial functions taken from the file, contracted
        functions made of them). Both numbers agree but in the form ``s4>2``.
    """

    file_name: str
    zetas: tuple[tuple[int, int, int], ...]

    @classmethod
    def parse(cls, text: str) -> PaoName:
        """Take apart ``C6.0-s2p2d1``, ``Fe6.0S-s2p1``, or contracted ``C5.0-s4>1p4>1``.

        Raises
        ------
        UsageError
            When the string has another form.

        Examples
        --------
        >>> PaoName.parse("Fe6.0S-s2p1d1")
        PaoName(file_name='Fe6.0S', zetas=((0, 2, 2), (1, 1, 1), (2, 1, 1)))
        >>> PaoName.parse("C5.0-s4>1p4>1").shells(contracted=True)
        (0, 1)
        """
        file_name, dash, shells = text.rpartition("-")
        if not dash or not file_name:
            raise UsageError(f"the basis {text!r} has not the form of C6.0-s2p2d1")
        matches = list(_SHELL.finditer(shells.lower()))
        if not matches or "".join(match.group() for match in matches) != shells.lower():
            raise UsageError(f"the shells {shells!r} of {text!r} have not the form of s2p2d1")
        zetas = sorted(_zeta(match, text) for match in matches)
        if len({l_value for l_value, _, _ in zetas}) < len(zetas):
            raise UsageError(f"the basis {text!r} names one angular momentum twice")
        return cls(file_name, tuple(zetas))

    def shells(self, *, contracted: bool = False) -> tuple[int, ...]:
        """Return the l of each shell in the order of the orbitals: l ascending, zeta inside."""
        column = 2 if contracted else 1
        return tuple(zeta[0] for zeta in self.zetas for _ in range(zeta[column]))

    def n_orbitals(self, *, contracted: bool = False) -> int:
        """Return the number of orbitals on one atom."""
        return sum(2 * l_value + 1 for l_value in self.shells(contracted=contracted))

    @property
    def base_name(self) -> str:
        """The PAO file without ``.pao`` and without folders."""
        return _without_folders(self.file_name)

    @property
    def has_contraction(self) -> bool:
        """Whether fewer functions than the file's are used (``s4>2``)."""
        return any(taken != made for _, taken, made in self.zetas)

    def __str__(self) -> str:
        """Return the basis string."""
        return f"{self.file_name}-" + "".join(
            f"{_LETTERS[l_value]}{taken}" + (f">{made}" if made != taken else "")
            for l_value, taken, made in self.zetas
        )


@dataclass(frozen=True)
class Species:
    """One line of ``Definition.of.Atomic.Species``.

    Attributes
    ----------
    label
        Free text: ``"C"``, ``"Fe1"``, ``"proj"``.
    pao
        The basis.
    vps
        The pseudopotential file without ``.vps``: ``"C_PBE19"``.
    number
        Atomic number; 0 for an empty atom.
    """

    label: str
    pao: PaoName
    vps: str
    number: int

    @classmethod
    def parse(cls, label: str, pao: str, vps: str) -> Species:
        """Build a species from its three columns.

        The element comes from the pseudopotential's leading letters, or else from the basis
        file's: a label is free text.

        Raises
        ------
        UsageError
            When the basis string is malformed or no element can be found.

        Examples
        --------
        >>> Species.parse("proj", "O5.0-s1p1", "O_PBE19").number
        8
        >>> Species.parse("EH", "H5.0-s1p1", "E").number
        0
        """
        name = PaoName.parse(pao)
        for source in (vps, name.file_name):
            number = element_number(_without_folders(source))
            if number is not None:
                return cls(label, name, vps, number)
        raise UsageError(f"neither the potential {vps!r} nor the basis {pao!r} names an element")


def element_number(name: str) -> int | None:
    """Return the atomic number of the element a file name starts with; 0 for ``E``.

    Examples
    --------
    >>> [element_number(name) for name in ("Fe_PBE19S", "C6.0", "Xy3", "E")]
    [26, 6, None, 0]
    """
    letters = re.match(r"[A-Za-z]*", name)
    return _NUMBERS.get(letters.group().capitalize()) if letters else None


def basis_string(file_name: str, shells: Sequence[int]) -> str:
    """Return the basis string for shells given by their l; OpenMX wants l ascending.

    `UsageError` where the shells do not ascend in l or reach beyond i.

    Examples
    --------
    >>> basis_string("C6.0", (0, 0, 1, 1, 2))
    'C6.0-s2p2d1'
    """
    known = all(0 <= l_value < len(_LETTERS) for l_value in shells)
    if not shells or not known or list(shells) != sorted(shells):
        raise UsageError(
            f"OpenMX orders shells by l, s to {_LETTERS[-1]}; these are l = {list(shells)}. "
            "Reorder the orbitals first."
        )
    counts = ((l_value, list(shells).count(l_value)) for l_value in sorted(set(shells)))
    return f"{file_name}-" + "".join(f"{_LETTERS[l_value]}{n}" for l_value, n in counts)


def _without_folders(name: str) -> str:
    """Return a file name as typed without the folders before it.

    Examples
    --------
    >>> _without_folders("../VPS/C_PBE19"), _without_folders("/data/PAO/C6.0")
    ('C_PBE19', 'C6.0')
    """
    return name.replace("\\", "/").rpartition("/")[2]


def _zeta(match: re.Match[str], text: str) -> tuple[int, int, int]:
    """Return (l, functions taken, functions made) of one shell term."""
    letter, taken, made = match.groups()
    if letter not in _LETTERS:
        raise UsageError(f"the basis {text!r} has a shell {letter!r}: expected one of {_LETTERS}")
    if len(taken) > 1 and made is None and int(taken) > 15:
        raise UsageError(
            f"{letter}{taken} in the basis {text!r} has two readings ({taken} functions, or "
            f"{taken[0]} contracted to {taken[1:]}): write {letter}{taken[0]}>{taken[1:]}"
        )
    numbers = int(taken), int(made if made is not None else taken)
    if not 1 <= numbers[1] <= numbers[0]:
        raise UsageError(f"the basis {text!r} takes {match.group()!r}: expected counts from 1 up")
    return _LETTERS.index(letter), *numbers
