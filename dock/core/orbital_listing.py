"""Which orbital a row of the matrices is, and which one it is in the code's own files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from dock.core.basis import Basis, shell_letter, shell_numbers
from dock.core.harmonics import LMAX, convention_table
from dock.core.orbital_order import shell_orders

__all__ = ["OWN_ORDERS", "list_orbitals", "order_of_code"]

OWN_ORDERS = {
    "abacus": True,
    "deeph-legacy": False,
    "openmx": True,
    "pyscf": True,
    "siesta": False,
}
"""Codes whose own order follows from their convention, and whether they sort shells by l."""

_N = re.compile(r"(?:^|\s)(\d+)P?[a-z]\b")  # 2s z1, 3Pd z1, atomic 4s


def order_of_code(code: str) -> str | None:
    """Return the name in `OWN_ORDERS` of a code as provenance calls it; None where it has none.

    Examples
    --------
    >>> order_of_code("OpenMX"), order_of_code("unknown")
    ('openmx', None)
    """
    name = code.lower()
    return name if name in OWN_ORDERS else None


def list_orbitals(
    basis: Basis, code: str | None = None, source_order: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """Return what each orbital of a cell is, in the order of the matrices.

    Parameters
    ----------
    code
        One of `OWN_ORDERS`, to have the orbital's place and sign in that code's own files too.
    source_order
        The number, from 0, that each atom has in those files; default the same.

    Returns
    -------
    list of dict
        ``index``, ``atom`` and ``shell`` (of the atom) from 1, ``species``, ``l``, ``m``, the
        ``orbital`` as a function of x, y, z, ``zeta`` (its number among the shells of one l in the
        atom, from 1), ``n`` where the source names it; and ``index_in_code`` (from 1) and
        ``orbital_in_code``, which is −px where the code's function has the other sign; both
        are left out where a shell's l is beyond what conventions say.

    Examples
    --------
    >>> rows = list_orbitals(Basis.from_ls({"O": [0, 1]}, ["O"]), "siesta")
    >>> [(row["orbital"], row["index_in_code"], row["orbital_in_code"]) for row in rows]
    [('s', 1, 's'), ('py', 2, '−py'), ('pz', 3, 'pz'), ('px', 4, '−px')]
    """
    highest = int(basis.table.l.max())
    names = [
        [f"{row.letter}{name}" if row.l else "s" for name in row.functions]
        for row in convention_table("dock", min(highest, LMAX))
    ]
    orders = None
    if code is not None and highest <= LMAX:
        orders = shell_orders(basis, code, sort_by_l=OWN_ORDERS[code])
    theirs = range(basis.n_atoms) if source_order is None else source_order
    before = basis.select(sorted(range(basis.n_atoms), key=lambda atom: theirs[atom])).offsets
    rows: list[dict[str, Any]] = []
    for atom, label in enumerate(basis.labels):
        shells, ls = basis.shells[label], basis.ls(label)
        start, zetas = len(rows), shell_numbers(ls)
        for number, (shell, l) in enumerate(zip(shells, ls, strict=True)):
            found = _N.search(shell.label)
            for m in range(-l, l + 1):
                row = {
                    "index": len(rows) + 1,
                    "atom": atom + 1,
                    "species": label,
                    "shell": number + 1,
                    "n": int(found[1]) if found else None,
                    "l": l,
                    "m": m,
                    "zeta": zetas[number],
                    "orbital": names[l][m + l] if l < len(names) else shell_letter(l),
                }
                rows.append(row)
        if orders is not None:
            order = orders[label]
            pairs = zip(order.permutation.tolist(), order.signs.tolist(), strict=True)
            for place, (source, sign) in enumerate(pairs):
                row = rows[start + source]
                row["index_in_code"] = int(before[theirs[atom]]) + place + 1
                row["orbital_in_code"] = ("−" if sign < 0 else "") + str(row["orbital"])
    return rows
