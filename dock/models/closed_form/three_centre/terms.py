"""Which functions describe a block: products of bond and surroundings, by total degree.

A part (J, parity) of the block of a bond i–j is a sum of

* T_a(r_ij) Y_J(r̂_ij), natural parity only: two centres;
* T_a(r_ij) [Y_l1(r̂_ij) ⊗ A_k,nl2]_J, where A_k,nlm = Σ T_n(r_kq) Y_lm(r̂_kq) runs over the
  neighbours q of k = i or j except the other atom of the bond, by species of q: three centres;

and a part of the on-site block of i is a sum of a constant, of A_i,nJ, and of
[A_i,n1 l1 ⊗ A_i,n2 l2]_J. Their *degree* is a + n + l2, or n1 + n2 + (l1 + l2) / 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dock.core.arrays import FloatArray, IntArray
from dock.models.coupling import clebsch_gordan

__all__ = ["L_MAX", "N_MAX", "Terms", "bond_terms", "site_terms"]

N_MAX = 6  # of the surroundings' polynomials
L_MAX = 5  # of the surroundings' harmonics
PAIR_DEGREE = 12  # of the polynomials of two centres
_PAIR_WEIGHT = 0.67  # what one degree of those counts in the penalty
_CHUNK = 2**21  # numbers of a table of functions


@dataclass(frozen=True, eq=False)
class Terms:
    """The functions of one kind of part of the blocks of bonds, or of atoms.

    Attributes
    ----------
    J
        Which part.
    degree
        Largest total degree of products with the surroundings; −1 for none.
    n_first
        Functions that come first: of bonds those with two centres, of atoms 1 for a constant.
    singles
        Of atoms: species of the functions linear in the surroundings, which come next.
    couplings
        (n, 4) the products. Of bonds: end (0 receiver, 1 sender), species of the neighbour, l1,
        l2; of atoms: species and l of the first factor, then of the second.
    starts, places, factors
        Clebsch–Gordan coefficients of coupling q: entries starts[q] … starts[q + 1], each with
        (m1, m2, M) and a number.
    degrees
        (n_functions,) for the penalty.
    """

    J: int
    degree: int
    n_first: int
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

    @property
    def n_single(self) -> int:
        """Functions that are no products: they come first, whatever the degree."""
        return self.n_first + len(self.singles) * (N_MAX + 1)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """J, degree and n_first, as the kernels take them."""
        return self.J, self.degree, self.n_first

    @property
    def table(self) -> tuple[IntArray, IntArray, IntArray, FloatArray]:
        """The products and their coefficients, as the kernels take them."""
        return self.couplings, self.starts, self.places, self.factors

    def chunks(self, count: int) -> Iterator[slice]:
        """Yield which of so many bonds or atoms to do at a time."""
        size = max(16, _CHUNK // (max(self.n_functions, 1) * (2 * self.J + 1)))
        for begin in range(0, count, size):
            yield slice(begin, min(begin + size, count))


@lru_cache(maxsize=512)
def _sparse_coupling(l1: int, l2: int, J: int) -> tuple[IntArray, FloatArray]:
    """Return where Clebsch–Gordan coefficients are not zero, and their values."""
    table = clebsch_gordan(l1, l2, J)
    places = np.argwhere(np.abs(table) > 1e-13)
    return places.astype(np.int64), table[tuple(places.T)]


def _collected(
    couplings: list[tuple[int, int, int, int]], ls: tuple[int, int], J: int
) -> tuple[IntArray, IntArray, IntArray, FloatArray]:
    """Return couplings with their coefficients as arrays; `ls`: in which columns l1 and l2 are."""
    sparse = [_sparse_coupling(row[ls[0]], row[ls[1]], J) for row in couplings]
    starts = np.concatenate([[0], np.cumsum([len(values) for _, values in sparse])])
    places = np.concatenate([np.zeros((0, 3), np.int64), *(place for place, _ in sparse)])
    factors = np.concatenate([np.zeros(0), *(values for _, values in sparse)])
    table = np.array(couplings, dtype=np.int64).reshape(-1, 4)
    return table, starts.astype(np.int64), places, factors


@lru_cache(maxsize=512)
def bond_terms(
    around: tuple[tuple[int, ...], tuple[int, ...]], J: int, degree: int, *, natural: bool
) -> Terms:
    """Return the functions of a part of the off-site blocks up to a total degree.

    `around` has the species of other neighbours of the receiver and of the sender; the degree −1
    leaves those with two centres.
    """
    couplings, degrees = [], []
    n_pair = PAIR_DEGREE + 1 if natural else 0
    pairs = list(_PAIR_WEIGHT * np.arange(n_pair))
    for end in (0, 1):
        for species in around[end]:
            for l2 in range(min(L_MAX, degree) + 1):
                for l1 in range(abs(J - l2), J + l2 + 1):
                    if ((l1 + l2 + J) % 2 == 0) is not natural:
                        continue
                    couplings.append((end, species, l1, l2))
                    for n in range(min(N_MAX, degree - l2) + 1):
                        degrees += [a + n + l2 for a in range(degree - l2 - n + 1)]
    table = _collected(couplings, (2, 3), J)
    weights = np.array([*pairs, *degrees], dtype=np.float64)
    return Terms(J, degree, n_pair, np.zeros(0, np.int64), *table, weights)


@lru_cache(maxsize=512)
def site_terms(around: tuple[int, ...], J: int, degree: int, *, natural: bool) -> Terms:
    """Return the functions of a part of the on-site blocks up to a total degree.

    `around` has the species of the neighbours; the degree −1 leaves out products.
    """
    couplings, degrees = [], []
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
            same = (s1, l1) == (s2, l2)
            degrees += [
                n1 + n2 + (l1 + l2) / 2
                for n1 in range(N_MAX + 1)
                for n2 in range(n1 if same else 0, N_MAX + 1)
                if n1 + n2 + (l1 + l2) / 2 <= degree
            ]
    table = _collected(couplings, (1, 3), J)
    weights = np.array([*first, *degrees], dtype=np.float64)
    return Terms(J, degree, constant, np.array(singles, dtype=np.int64), *table, weights)
