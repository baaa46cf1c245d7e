"""Which functions describe a block: products of bond and surroundings, by total degree.

A part (J, parity) of the block of a bond i–j is a sum of

* T_a(r_ij) Y_J(r̂_ij), natural parity only: two centres;
* T_a(r_ij) [Y_l1(r̂_ij) ⊗ A_k,nl2]_J, where A_k,nlm = Σ T_n(r_kq) Y_lm(r̂_kq) runs over the
  neighbours q of k = i or j except the other atom of the bond, by species of q: three centres;

and a part of the on-site block of i is a sum of a constant, of A_i,nJ, and of
[A_i,n1 l1 ⊗ A_i,n2 l2]_J. Their *degree* is a + n + l2, or n1 + n2 + (l1 + l2) / 2.

For a channel of collinear spin there are as many surroundings again, to which each neighbour adds
its moment times, and each function occurs times each of the factors of
`dock.models.closed_form.moments`. A moment counts as one degree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import FloatArray, IntArray
from dock.models.closed_form.moments import BOND_DEGREES, SITE_DEGREES
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
        Functions of places that come first: of bonds those with two centres, of atoms 1 for a
        constant.
    singles
        Of atoms: species of the functions linear in the surroundings, which come next.
    couplings
        (n, 5) the products. Of bonds: end (0 receiver, 1 sender), species of the neighbour, l1,
        l2; of atoms: species and l of the first factor, then of the second. Last the largest degree
        in places.
    starts, places, factors
        Clebsch–Gordan coefficients of coupling q: entries starts[q] … starts[q + 1], each with
        (m1, m2, M) and a number.
    n_places
        Number of functions of places.
    places_of, factors_of
        (n_functions,) which function of places, and which factor of the moments it is times.
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
    n_places: int
    places_of: IntArray
    factors_of: IntArray
    degrees: FloatArray

    @property
    def n_functions(self) -> int:
        """Number of functions."""
        return len(self.degrees)

    @property
    def n_single(self) -> int:
        """Functions of places that are no products: they come first."""
        return self.n_first + len(self.singles) * (N_MAX + 1)

    @property
    def is_first(self) -> NDArray[np.bool_]:
        """(n_functions,) those with two centres of bonds, or the constants of atoms."""
        return np.asarray(self.places_of < self.n_first)

    @property
    def is_single(self) -> NDArray[np.bool_]:
        """(n_functions,) those that are no products: they are there whatever the degree."""
        return np.asarray(self.places_of < self.n_single)

    @property
    def sizes(self) -> tuple[int, int]:
        """J and n_first, as the kernels take them."""
        return self.J, self.n_first

    def times(self, places: FloatArray, factors: FloatArray | None) -> FloatArray:
        """Return functions of places (n, 2J + 1, n_places) times factors (n, …) of moments."""
        if factors is None:
            return places
        return places[..., self.places_of] * factors[:, None, self.factors_of]

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
    couplings: list[tuple[int, int, int, int, int]], ls: tuple[int, int], J: int
) -> tuple[IntArray, IntArray, IntArray, FloatArray]:
    """Return couplings with their coefficients as arrays; `ls`: in which columns l1 and l2 are."""
    sparse = [_sparse_coupling(row[ls[0]], row[ls[1]], J) for row in couplings]
    starts = np.concatenate([[0], np.cumsum([len(values) for _, values in sparse])])
    places = np.concatenate([np.zeros((0, 3), np.int64), *(place for place, _ in sparse)])
    factors = np.concatenate([np.zeros(0), *(values for _, values in sparse)])
    table = np.array(couplings, dtype=np.int64).reshape(-1, 5)
    return table, starts.astype(np.int64), places, factors


@lru_cache(maxsize=512)
def bond_terms(
    around: tuple[tuple[int, ...], tuple[int, ...]],
    J: int,
    degree: int,
    *,
    natural: bool,
    magnetic: int = 0,
) -> Terms:
    """Return the functions of a part of the off-site blocks up to a total degree.

    `around` has the species of other neighbours of the receiver and of the sender; the degree −1
    leaves those with two centres. With moments `magnetic` is the number of species, else 0.
    """
    couplings, degrees = [], []
    n_pair = PAIR_DEGREE + 1 if natural else 0
    pairs = list(_PAIR_WEIGHT * np.arange(n_pair))
    for end in (0, 1):
        for species, order in _channels(around[end], magnetic):
            most = degree - order
            for l2 in range(min(L_MAX, most) + 1):
                for l1 in range(abs(J - l2), J + l2 + 1):
                    if ((l1 + l2 + J) % 2 == 0) is not natural:
                        continue
                    couplings.append((end, species, l1, l2, most))
                    for n in range(min(N_MAX, most - l2) + 1):
                        degrees += [order + a + n + l2 for a in range(most - l2 - n + 1)]
    table = _collected(couplings, (2, 3), J)
    weights = np.array([*pairs, *degrees], dtype=np.float64)
    products = _products(weights, n_pair, degree, BOND_DEGREES if magnetic else (0,))
    return Terms(J, degree, n_pair, np.zeros(0, np.int64), *table, *products)


def _channels(species: tuple[int, ...], magnetic: int) -> list[tuple[int, int]]:
    """Return the surroundings by species, and those by moments, each with its number of moments."""
    plain = [(one, 0) for one in species]
    return plain + [(one + magnetic, 1) for one in species] if magnetic else plain


def _products(
    weights: FloatArray, n_always: int, degree: int, orders: tuple[int, ...]
) -> tuple[int, IntArray, IntArray, FloatArray]:
    """Return the last fields of `Terms`: functions of places times factors with so many moments.

    The first `n_always` of places are there whatever the degree.
    """
    always = np.arange(len(weights)) < n_always
    kept = [np.flatnonzero(always | (weights + order <= degree)) for order in orders]
    factors = np.repeat(np.arange(len(orders)), [len(one) for one in kept])
    places = np.concatenate(kept)
    return len(weights), places, factors, weights[places] + np.array(orders)[factors]


@lru_cache(maxsize=512)
def site_terms(
    around: tuple[int, ...], J: int, degree: int, *, natural: bool, magnetic: int = 0
) -> Terms:
    """Return the functions of a part of the on-site blocks up to a total degree.

    `around` has the species of the neighbours; the degree −1 leaves out products. `magnetic` is as
    in `bond_terms`.
    """
    couplings, degrees = [], []
    constant = int(natural and J == 0)
    known = _channels(around, magnetic)
    singles = known if natural and J <= L_MAX else []
    first = [0.0] * constant + [float(order + n) for _, order in singles for n in range(N_MAX + 1)]
    channels = [(species, l, order) for species, order in known for l in range(L_MAX + 1)]
    for index, (s1, l1, order) in enumerate(channels):
        for s2, l2, other in channels[index:]:
            allowed = abs(l1 - l2) <= J <= l1 + l2 and ((l1 + l2 + J) % 2 == 0) is natural
            most = degree - order - other
            if not allowed or (l1 + l2) / 2 > most:
                continue
            couplings.append((s1, l1, s2, l2, most))
            same = (s1, l1) == (s2, l2)
            degrees += [
                order + other + n1 + n2 + (l1 + l2) / 2
                for n1 in range(N_MAX + 1)
                for n2 in range(n1 if same else 0, N_MAX + 1)
                if n1 + n2 + (l1 + l2) / 2 <= most
            ]
    table = _collected(couplings, (1, 3), J)
    weights = np.array([*first, *degrees], dtype=np.float64)
    products = _products(weights, len(first), degree, SITE_DEGREES if magnetic else (0,))
    species = np.array([one for one, _ in singles], dtype=np.int64)
    return Terms(J, degree, constant, species, *table, *products)
