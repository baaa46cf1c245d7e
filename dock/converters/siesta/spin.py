"""SIESTA's 1, 2, 4 or 8 real spin components, and the components of `dock`.

Non-collinear runs (4) and spin–orbit runs (8) store c1 … c8 for each element in row i and column
j of cell R. The density matrix is uu = c1 + i c5, dd = c2 + i c6, ud = c3 − i c4, du = c7 + i c8
(with 4 components c5 = c6 = 0 and du = c3 + i c4). The Hamiltonian is stored transposed in orbital
and spin: ⟨i|H|j,R⟩ has uu = c1 − i c5, dd = c2 − i c6, ud = c7 − i c8, du = c3 + i c4.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.converters.siesta.sparse_rows import Part
from dock.core.spin import Spin
from dock.io.binary import Rows

__all__ = ["Term", "allocate", "parts_of", "spin_of", "terms_of"]


class Term(NamedTuple):
    """Where a component goes: component of `dock`, ``"real"`` or ``"imag"``, and the sign."""

    component: int
    part: str
    sign: float


_UU, _UD, _DU, _DD = range(4)

_FOUR = (
    (Term(_UU, "real", 1),),
    (Term(_DD, "real", 1),),
    (Term(_UD, "real", 1), Term(_DU, "real", 1)),
    (Term(_UD, "imag", -1), Term(_DU, "imag", 1)),
)
_EIGHT_OF_DENSITY = (
    Term(_UU, "real", 1),
    Term(_DD, "real", 1),
    Term(_UD, "real", 1),
    Term(_UD, "imag", -1),
    Term(_UU, "imag", 1),
    Term(_DD, "imag", 1),
    Term(_DU, "real", 1),
    Term(_DU, "imag", 1),
)
_EIGHT_OF_HAMILTONIAN = (
    Term(_UU, "real", 1),
    Term(_DD, "real", 1),
    Term(_DU, "real", 1),
    Term(_DU, "imag", 1),
    Term(_UU, "imag", -1),
    Term(_DD, "imag", -1),
    Term(_UD, "real", 1),
    Term(_UD, "imag", -1),
)


def spin_of(n_spin: int) -> Spin:
    """Return the spin treatment of a file with so many components."""
    return {1: Spin.NONE, 2: Spin.COLLINEAR}.get(n_spin, Spin.NONCOLLINEAR)


def terms_of(quantity: str, n_spin: int) -> tuple[tuple[Term, ...], ...]:
    """Return, for each component on file, the terms of `dock` that it gives.

    Examples
    --------
    >>> terms_of("hamiltonian", 8)[2]
    (Term(component=2, part='real', sign=1),)
    """
    if n_spin <= 2:
        return tuple((Term(component, "real", 1),) for component in range(n_spin))
    if n_spin == 4:
        return _FOUR
    eight = _EIGHT_OF_HAMILTONIAN if quantity == "hamiltonian" else _EIGHT_OF_DENSITY
    return tuple((term,) for term in eight)


def allocate(n_spin: int, n_entries: int) -> NDArray[Any]:
    """Return zeros for the components of `dock`."""
    n_components = spin_of(n_spin).n_components
    return np.zeros((n_components, n_entries), dtype=np.complex128 if n_spin > 2 else np.float64)


def parts_of(
    quantity: str, sections: tuple[Rows, ...], result: NDArray[Any], unit: float
) -> list[Part]:
    """Return what is to be read and where it goes in `result`, times `unit`."""
    return [
        Part(
            rows,
            [(getattr(result[term.component], term.part), term.sign * unit) for term in terms],
        )
        for rows, terms in zip(sections, terms_of(quantity, len(sections)), strict=True)
    ]
