"""The names of orbitals, or of groups of them, by what they are resolved by."""

from __future__ import annotations

from collections.abc import Collection

from dock.core.basis import Basis, shell_numbers
from dock.core.harmonics import convention_table

__all__ = ["orbital_names"]


def orbital_names(basis: Basis, fields: Collection[str]) -> list[str]:
    """Return for each orbital the name of the group that it belongs to.

    The fields are some of ``species``, ``atom`` (from 1), ``l``, ``m`` (as a function of x, y, z)
    and ``shell``, which counts the radial functions of one l within an atom, from 1.

    Examples
    --------
    >>> orbital_names(Basis.from_ls({"O": [0, 0, 1]}, ["O"]), ("atom", "shell", "m"))
    ['O1 1s', 'O1 2s', 'O1 1p(y)', 'O1 1p(z)', 'O1 1p(x)']
    """
    rows = {row.l: row for row in convention_table("dock", int(basis.table.l.max()))}
    names = []
    for atom, label in enumerate(basis.labels):
        ls = basis.ls(label)
        where = f"{label}{atom + 1}" if "atom" in fields else label if "species" in fields else ""
        for l, number in zip(ls, shell_numbers(ls), strict=True):
            shell = f"{number}" if "shell" in fields else ""
            for function in rows[l].functions:
                part = f"({function})" if "m" in fields and l > 0 else ""
                what = f"{shell}{rows[l].letter}{part}" if {"l", "m", "shell"} & {*fields} else ""
                names.append(f"{where} {what}".strip())
    return names
