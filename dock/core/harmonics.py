"""Real spherical harmonics, and the registry of the orders and signs that each code gives them.

One convention is used in memory, called ``dock``: inside a shell m = −l … +l, orthonormal real
harmonics with positive coefficients and no Condon–Shortley phase, ``sin(|m| φ)`` for m < 0 and
``cos(m φ)`` for m > 0. Then p = (y, z, x) and d = (xy, yz, z², xz, x²−y²).

Every other convention is written in its terms, one label per orbital with the sign in the label:
``c2`` is the function of m = +2 (cosine), ``s1`` that of m = −1 (sine), ``c0`` that of m = 0, and
``-c1`` is minus the function of m = +1. SIESTA's p shell, for example, is ``("-s1", "c0", "-c1")``,
that is −y, z, −x.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dock.core.basis import shell_letter
from dock.core.reorder import OrbitalLabel, Reorder, reorder_orbitals
from dock.errors import ConventionError, UsageError

__all__ = [
    "CONVENTIONS",
    "LMAX",
    "Convention",
    "ConventionRow",
    "convention",
    "convention_table",
    "real_harmonics",
    "reorder",
]

LMAX = 6
"""The highest l that the registry writes out; `real_harmonics` has no limit."""

_LABEL = re.compile(r"(-?)([cs])(\d+)")
_NAMES = (
    ("s",),
    ("y", "z", "x"),
    ("xy", "yz", "z2", "xz", "x2-y2"),
    ("y(3x2-y2)", "xyz", "yz2", "z3", "xz2", "z(x2-y2)", "x(x2-3y2)"),
)


def real_harmonics(
    l: int, directions: npt.ArrayLike, *, solid: bool = False
) -> npt.NDArray[np.float64]:
    """Evaluate the real spherical harmonics of one l ≥ 0 in the dock convention.

    With M = ``|m|``, Y is N P_l^M(cos θ) times 1 for m = 0, √2 cos(Mφ) for m > 0 and √2 sin(Mφ)
    for m < 0, where P_l^M has no Condon–Shortley phase and N² = (2l+1)/(4π) · (l−M)!/(l+M)!. The
    normalised Legendre functions come from the upward recurrence in l at fixed m, which is stable.

    Parameters
    ----------
    l
        Angular momentum.
    directions
        Vectors (..., 3) of any length but zero; the result is (..., 2l+1), m = −l … +l.
    solid
        Give r^l Y_{l,m} of the vectors as they are (zero vectors are then allowed).

    Raises
    ------
    UsageError
        If l is negative, the last axis is not of length 3, or a vector is not finite or is zero.

    Examples
    --------
    >>> p = real_harmonics(1, [[1.0, 2.0, 2.0]])  # y, z, x
    >>> print((p / p[0, 2]).round(12))
    [[2. 2. 1.]]
    >>> real_harmonics(1, [0.0, 0.0, 3.0], solid=True).round(4).tolist()
    [0.0, 1.4658, 0.0]
    """
    if l < 0:
        raise UsageError(f"l is {l}; an angular momentum is 0 or greater.")
    vectors = np.asarray(directions, dtype=np.float64)
    if vectors.ndim == 0 or vectors.shape[-1] != 3:
        raise UsageError(f"directions has shape {vectors.shape}; expected (..., 3): x, y, z.")
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    # An infinite or undefined component makes the norm infinite or undefined.
    bad = ~np.isfinite(norm) if solid else ~(np.isfinite(norm) & (norm > 0))
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad[..., 0])[0])
        raise UsageError(
            f"directions{list(where)} is {vectors[where].tolist()}; expected a finite vector"
            f"{'' if solid else ' of non-zero length'}. Leave it out"
            f"{'' if solid else ', or ask for solid harmonics'}."
        )
    if not solid:
        vectors = vectors / norm
    x, y, z = np.moveaxis(vectors, -1, 0)
    r2 = norm[..., 0] ** 2 if solid else np.ones_like(z)
    values = np.empty((*z.shape, 2 * l + 1))
    cosine, sine = np.ones_like(z), np.zeros_like(z)
    for m in range(l + 1):
        legendre = _legendre(l, m, z, r2)
        values[..., l + m] = legendre * cosine
        if m:
            values[..., l - m] = legendre * sine
        # r^m sin^m θ (cos mφ, sin mφ) are the parts of (x + iy)^m.
        cosine, sine = x * cosine - y * sine, x * sine + y * cosine
    return values


def _legendre(
    l: int, m: int, z: npt.NDArray[np.float64], r2: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Give the normalised Legendre function of (l, m) over sin^m θ, √2 included, times r^(l−m)."""
    seed = (2 * m + 1) / (4 * math.pi) * math.prod((2 * k - 1) / (2 * k) for k in range(1, m + 1))
    current = np.full_like(z, math.sqrt(seed * (2 if m else 1)))
    previous = np.zeros_like(z)
    for k in range(m + 1, l + 1):
        a = math.sqrt((4 * k * k - 1) / (k * k - m * m))
        b = math.sqrt(((k - 1) ** 2 - m * m) / (4 * (k - 1) ** 2 - 1))
        previous, current = current, a * (z * current - b * r2 * previous)
    return current


@dataclass(frozen=True)
class Convention:
    """The order and signs that one code or format gives to the orbitals of a shell.

    Attributes
    ----------
    name
        Key in `CONVENTIONS`.
    labels
        ``labels[l]`` holds the 2l+1 signed labels of a shell in the code's order, else a
        `ConventionError`: that many different functions of that l.
    verified_l
        The l at which overlaps computed by the code confirmed order and signs; the others follow
        from the code's rule.
    rule
        The rule in one sentence.
    """

    name: str
    labels: tuple[tuple[str, ...], ...]
    verified_l: frozenset[int]
    rule: str

    def __post_init__(self) -> None:
        for l, labels in enumerate(self.labels):
            found = sorted(m for m, _ in map(_parse, labels))
            if found != list(range(-l, l + 1)):
                raise ConventionError(
                    f"Convention {self.name}: the labels of l = {l} are {labels}; expected each of "
                    f"{', '.join(_label(m, 1) for m in range(-l, l + 1))} once, signs apart."
                )

    @property
    def lmax(self) -> int:
        """The highest l that is defined."""
        return len(self.labels) - 1

    def shell(self, l: int) -> tuple[tuple[int, int], ...]:
        """Give (m, sign) of each orbital of a shell, in the code's order.

        `ConventionError` where the convention does not go up to l.

        Examples
        --------
        >>> CONVENTIONS["siesta"].shell(1)
        ((-1, -1), (0, 1), (1, -1))
        """
        if not 0 <= l <= self.lmax:
            raise ConventionError(
                f"Convention {self.name} has no order for l = {l}; expected 0 to {self.lmax}. "
                "Leave such shells out of the basis, or pass a Convention that defines them."
            )
        return tuple(map(_parse, self.labels[l]))

    def unverified(self, ls: Iterable[int]) -> list[int]:
        """List those l of a basis that were never confirmed with overlaps of the code itself.

        Examples
        --------
        >>> CONVENTIONS["siesta"].unverified([0, 1, 3])
        [3]
        """
        return sorted(set(ls) - self.verified_l)


def _parse(label: str) -> tuple[int, int]:
    """Split a signed label into m and sign: ``-s1`` is (−1, −1)."""
    match = _LABEL.fullmatch(label)
    if match is None:
        raise ConventionError(
            f"Orbital label {label!r} is not understood; expected c or s and |m|, "
            "with an optional minus before it: c0, s2, -c1."
        )
    m = int(match[3])
    return (m if match[2] == "c" else -m), (-1 if match[1] else 1)


def _label(m: int, sign: int) -> str:
    """Write m and sign as a label."""
    return f"{'-' if sign < 0 else ''}{'s' if m < 0 else 'c'}{abs(m)}"


def _ascending(l: int) -> Sequence[int]:
    return range(-l, l + 1)


def _zero_first(l: int) -> Sequence[int]:
    return (0, *(m for k in range(1, l + 1) for m in (k, -k)))


def _openmx(l: int) -> Sequence[int]:
    return {1: (1, -1, 0), 2: (0, 2, -2, 1, -1)}.get(l, _zero_first(l))


def _pyscf(l: int) -> Sequence[int]:
    return (1, -1, 0) if l == 1 else _ascending(l)


def _plus(_: int) -> int:
    return 1


def _odd_minus(m: int) -> int:
    return -1 if m % 2 else 1


def _odd_positive_minus(m: int) -> int:
    return _odd_minus(max(m, 0))


def _from_rule(
    name: str,
    order: Callable[[int], Sequence[int]],
    sign: Callable[[int], int],
    verified: int,
    rule: str,
) -> Convention:
    """Write a rule out as labels; `verified` is the highest confirmed l."""
    labels = tuple(tuple(_label(m, sign(m)) for m in order(l)) for l in range(LMAX + 1))
    return Convention(name, labels, frozenset(range(verified + 1)), rule)


_RULES = (
    _from_rule("dock", _ascending, _plus, LMAX, "m = -l ... +l, all signs +"),
    _from_rule("deeph", _ascending, _plus, LMAX, "the unified DeepH folder: as dock"),
    _from_rule("openmx", _openmx, _plus, 3, "from f on m = 0, +1, -1, +2, -2 ...; all signs +"),
    _from_rule("deeph-legacy", _openmx, _plus, 3, "the older DeepH files: as openmx"),
    _from_rule("siesta", _ascending, _odd_minus, 2, "m = -l ... +l, minus for odd |m|"),
    _from_rule("abacus", _zero_first, _odd_minus, 3, "m = 0, +1, -1, +2, -2 ..., minus for odd m"),
    _from_rule("aims", _ascending, _odd_positive_minus, 3, "m = -l ... +l, minus for odd m > 0"),
    _from_rule("cp2k", _ascending, _plus, 5, "m = -l ... +l, all signs +"),
    _from_rule("pyscf", _pyscf, _plus, 4, "p = x, y, z; others m = -l ... +l; all signs +"),
)

CONVENTIONS: Mapping[str, Convention] = MappingProxyType({c.name: c for c in _RULES})
"""The conventions by name, written out for l = 0 … `LMAX`; ``pyscf`` is its spherical basis."""


def convention(name: str | Convention) -> Convention:
    """Look a convention up by name; a `Convention` is returned as it is.

    A name that is not registered is a `ConventionError`.

    Examples
    --------
    >>> convention("openmx").labels[2]
    ('c0', 'c2', 's2', 'c1', 's1')
    """
    if isinstance(name, Convention):
        return name
    if name not in CONVENTIONS:
        raise ConventionError(
            f"No orbital convention is called {name!r}; expected one of {', '.join(CONVENTIONS)}."
        )
    return CONVENTIONS[name]


class ConventionRow(NamedTuple):
    """One l of a convention, as the documentation's tables show it.

    ``dock[k] = signs[k] * code[permutation[k]]`` inside the shell.
    """

    l: int
    letter: str
    labels: tuple[str, ...]
    functions: tuple[str, ...]
    permutation: tuple[int, ...]
    signs: tuple[int, ...]
    verified: bool


def convention_table(name: str | Convention, lmax: int = LMAX) -> list[ConventionRow]:
    """Tabulate a convention for l = 0 … `lmax`; raises as `convention` and `Convention.shell`.

    Examples
    --------
    >>> row = convention_table("abacus", 1)[1]
    >>> row.functions, row.permutation, row.signs
    (('z', '-x', '-y'), (2, 0, 1), (-1, 1, -1))
    """
    chosen = convention(name)
    rows = []
    for l in range(lmax + 1):
        shell = chosen.shell(l)
        change = reorder([l], chosen)
        functions = chosen.labels[l]
        if l < len(_NAMES):
            functions = tuple(f"{'-' if sign < 0 else ''}{_NAMES[l][l + m]}" for m, sign in shell)
        rows.append(
            ConventionRow(
                l,
                shell_letter(l),
                chosen.labels[l],
                functions,
                tuple(change.permutation.tolist()),
                tuple(change.signs.tolist()),
                l in chosen.verified_l,
            )
        )
    return rows


def reorder(
    ls: Sequence[int], source: str | Convention = "openmx", target: str | Convention = "dock"
) -> Reorder:
    """Give the change of convention for an atom with shells of the given l; their order is kept.

    It acts on all Σ(2l+1) orbitals of the atom. A convention that is not known, or does not define
    one of the l, is a `ConventionError`.

    Examples
    --------
    >>> reorder([0, 1], source="siesta").signs.tolist()
    [1, -1, 1, -1]
    """
    return _reorder(tuple(int(l) for l in ls), convention(source), convention(target))


@lru_cache(maxsize=1024)
def _reorder(ls: tuple[int, ...], source: Convention, target: Convention) -> Reorder:
    """Build `reorder` once per set of shells."""
    labels = [
        [OrbitalLabel(k, m, sign) for k, l in enumerate(ls) for m, sign in code.shell(l)]
        for code in (source, target)
    ]
    return reorder_orbitals(*labels)
