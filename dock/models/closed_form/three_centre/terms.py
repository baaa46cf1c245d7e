"""Which functions describe a block: products of bond and surroundings, by total degree.

A part (J, parity) of the block of a bond i–j is a sum of

* T_a(r_ij) Y_J(r̂_ij), natural parity only: two centres;
* T_a(r_ij) [Y_l1(r̂_ij) ⊗ A_k,nl2]_J, where A_k,nlm = Σ T_n(r_kq) Y_lm(r̂_kq) runs over the
  neighbours q of k = i or j except the other atom of the bond, by species of q: three centres;

and a part of the on-site block of i is a sum of a constant, of A_i,nJ, and of
[A_i,n1 l1 ⊗ A_i,n2 l2]_J. Their *degree* is a + n + l2, or n1 + n2 + (l1 + l2) / 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dock.core.arrays import FloatArray, IntArray
from dock.models.coupling import clebsch_gordan

__all__ = ["L_MAX", "N_MAX", "BondTerms", "SiteTerms", "bond_terms", "site_terms"]

N_MAX = 6  # of the surroundings' polynomials
L_MAX = 5  # of the surroundings' harmonics
PAIR_DEGREE = 12  # of the polynomials of two centres
_PAIR_WEIGHT = 0.67  # what one degree of those counts in the penalty


@dataclass(frozen=True, eq=False)
class BondTerms:
    """The functions of one kind of part of off-site blocks.

    Attributes
    ----------
    J
        Which part.
    degree
        Largest total degree with three centres; −1 for none.
    n_pair
        Functions with two centres, which come first.
    couplings
        (n, 4) end (0 receiver, 1 sender), species of the neighbour, l1, l2.
    starts, places, factors
        Clebsch–Gordan coefficients of coupling q: entries starts[q] … starts[q + 1], each with
        (m1, m2, M) and a number.
    degrees
        (n_functions,) for the penalty.
    """

    J: int
    degree: int
    n_pair: int
    couplings: IntArray
    starts: IntArray
    places: IntArray
    factors: FloatArray
    degrees: FloatArray

    @property
    def n_functions(self) -> int:
        """Number of functions."""
        return len(self.degrees)


@dataclass(frozen=True, eq=False)
class SiteTerms:
    """The functions of one kind of part of on-site blocks.

    Attributes
    ----------
    J
        Which part.
    degree
        Largest total degree.
    constant
        1 where a constant comes first.
    singles
        Species of the functions linear in the surroundings, which come next.
    couplings
        (n, 4) species and l of the first factor, then of the second.
    starts, places, factors, degrees
        As for `BondTerms`.
    """

    J: int
    degree: int
    constant: int
    singles: IntArray
    couplings: IntArray
    starts: IntArray
    places: IntArray
    factors: FloatArray
    degrees: FloatArray

    @property
    def n_functions(self) -> int:
        """Number of functions."""
        return len(self.degrees)


@lru_cache(maxsize=512)
def _sparse_coupling(l1: int, l2: int, J: int) -> tuple[IntArray, FloatArray]:
    """Return where Clebsch–Gordan coefficients are not zero, and their values."""
    table = clebsch_gordan(l1, l2, J)
    places = np.argwhere(np.abs(table) > 1e-13)
    return places.astype(np.int64), table[tuple(places.T)]


def _collected(
    couplings: list[tuple[int, int, int, int]], ls: list[tuple[int, int]], J: int
) -> tuple[IntArray, IntArray, IntArray, FloatArray]:
    """Return the arrays of couplings and their coefficients."""
    found = [_sparse_coupling(l1, l2, J) for l1, l2 in ls]
    starts = np.concatenate([[0], np.cumsum([len(values) for _, values in found])])
    places = np.concatenate([place for place, _ in found] or [np.zeros((0, 3), np.int64)])
    factors = np.concatenate([values for _, values in found] or [np.zeros(0)])
    table = np.array(couplings, dtype=np.int64).reshape(-1, 4)
    return table, starts.astype(np.int64), places, factors


@lru_cache(maxsize=512)
def bond_terms(
    around: tuple[tuple[int, ...], tuple[int, ...]], J: int, degree: int, *, natural: bool
) -> BondTerms:
    """Return the functions of a part of the off-site blocks up to a total degree.

    Parameters
    ----------
    around
        Species of other neighbours of the receiver and of the sender.
    J, natural
        Which part.
    degree
        Largest total degree; −1 for two centres only.
    """
    couplings, ls, degrees = [], [], []
    n_pair = PAIR_DEGREE + 1 if natural else 0
    pairs = list(_PAIR_WEIGHT * np.arange(n_pair))
    for end in (0, 1):
        for species in around[end]:
            for l2 in range(min(L_MAX, degree) + 1):
                for l1 in range(abs(J - l2), J + l2 + 1):
                    if ((l1 + l2 + J) % 2 == 0) is not natural:
                        continue
                    couplings.append((end, species, l1, l2))
                    ls.append((l1, l2))
                    for n in range(min(N_MAX, degree - l2) + 1):
                        degrees += [a + n + l2 for a in range(degree - l2 - n + 1)]
    table, starts, places, factors = _collected(couplings, ls, J)
    weights = np.array([*pairs, *degrees], dtype=np.float64)
    return BondTerms(J, degree, n_pair, table, starts, places, factors, weights)


@lru_cache(maxsize=512)
def site_terms(around: tuple[int, ...], J: int, degree: int, *, natural: bool) -> SiteTerms:
    """Return the functions of a part of the on-site blocks up to a total degree.

    Parameters
    ----------
    around
        Species of the neighbours.
    J, natural
        Which part.
    degree
        Largest total degree of products; −1 for none.
    """
    couplings, ls, degrees = [], [], []
    constant = int(natural and J == 0)
    singles = around if natural and J <= L_MAX else ()
    first = [0.0] * constant + [float(n) for _ in singles for n in range(N_MAX + 1)]
    channels = [(species, l) for species in around for l in range(L_MAX + 1)]
    for index, (s1, l1) in enumerate(channels):
        for s2, l2 in channels[index:]:
            allowed = abs(l1 - l2) <= J <= l1 + l2 and ((l1 + l2 + J) % 2 == 0) is natural
            if not allowed or (l1 + l2) / 2 > degree:
                continue
            couplings.append((s1, l1, s2, l2))
            ls.append((l1, l2))
            same = (s1, l1) == (s2, l2)
            degrees += [
                n1 + n2 + (l1 + l2) / 2
                for n1 in range(N_MAX + 1)
                for n2 in range(n1 if same else 0, N_MAX + 1)
                if n1 + n2 + (l1 + l2) / 2 <= degree
            ]
    table, starts, places, factors = _collected(couplings, ls, J)
    weights = np.array([*first, *degrees], dtype=np.float64)
    alone = np.array(singles, dtype=np.int64)
    return SiteTerms(J, degree, constant, alone, table, starts, places, factors, weights)
