"""The linear tetrahedron method: a mesh divided into tetrahedra, and integrals over them.

P. E. Blöchl, O. Jepsen and O. K. Andersen, Phys. Rev. B 49, 16223 (1994). Each cell of the mesh is
cut into six tetrahedra along its shortest diagonal. Tetrahedra that symmetry makes equal are
handled once.

Between two neighbouring corner energies e₁ ≤ e₂ ≤ e₃ ≤ e₄ the filled part of a tetrahedron is a
cubic of the energy, and what each corner has of it a quartic (appendix B there). Their
coefficients are made once for all energies of a range, in y = (E − origin)/width with |y| ≤ 1, so
that corners which nearly agree cost no digits. All is plain numpy in slabs that fit the cache: as
fast as compiled loops, whose compiler alone takes 100 MB and 0.3 s to load.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dock.core.structure import Structure
from dock.states.kmesh import KMesh

__all__ = ["Tetrahedra", "corner_shares", "filled_share"]

_SLAB = 32_768  # numbers of one temporary array: a quarter of a megabyte
_BLOCK = 1 << 18  # numbers of the shares of all k-points in some bins: two megabytes

Array: TypeAlias = NDArray[Any]
Rule: TypeAlias = Callable[[Array, Array, Array, Array], tuple[Array, Array, Array]]
"""Maps corner energies to origin, width and coefficients (powers, …) of one range."""


@dataclass(frozen=True, eq=False)
class Tetrahedra:
    """The tetrahedra of a mesh.

    Attributes
    ----------
    corners : int (n, 4)
        Irreducible k-points at the corners.
    volumes : float (n,)
        Shares of the reciprocal cell; the sum is 1.
    n_points
        Number of irreducible k-points.
    """

    corners: NDArray[np.int64]
    volumes: NDArray[np.float64]
    n_points: int

    @classmethod
    def of(cls, mesh: KMesh, structure: Structure) -> Tetrahedra:
        """Divide the cells of a mesh."""
        size = np.array(mesh.size)
        cells = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), -1)
        cells = cells.reshape(-1, 1, 3)
        sixths = []
        for shape in _six_tetrahedra(structure.reciprocal / size[:, None]):
            a, b, c = np.moveaxis((cells + shape) % size, -1, 0)
            sixths.append(mesh.index[(a * size[1] + b) * size[2] + c])
        corners = np.sort(np.concatenate(sixths), axis=1)
        distinct, counts = np.unique(corners, axis=0, return_counts=True)
        return cls(
            np.ascontiguousarray(distinct, dtype=np.int64), counts / len(corners), mesh.n_points
        )

    def occupations(
        self, energies: NDArray[np.float64], level: float, *, corrected: bool = True
    ) -> NDArray[np.float64]:
        """Return the filled weight (n_k, n_bands) of every state; the sum is the states per cell.

        Energies (n_k, n_bands) and Fermi level are in eV. `corrected` adds Blöchl's correction for
        the curvature of the bands.
        """
        n_bands = energies.shape[1]
        out = np.zeros(energies.size)
        for rows, values in self._slabs(energies):
            order = np.argsort(values, axis=0, kind="stable")
            e = np.take_along_axis(values, order, axis=0)
            w, density = corner_shares(np.full(e.shape[1], level), e)
            if corrected:
                w += density * (e.sum(axis=0) - 4 * e) / 40
            w *= np.repeat(self.volumes[rows], n_bands)
            corners = np.repeat(self.corners[rows].T, n_bands, axis=1)
            band = np.tile(np.arange(n_bands), len(self.corners[rows]))
            place = np.take_along_axis(corners, order, axis=0) * n_bands + band
            out += np.bincount(place.ravel(), w.ravel(), minlength=out.size)
        return out.reshape(energies.shape)

    def filled(self, energies: NDArray[np.float64], level: float) -> float:
        """Return the number of states per cell below an energy."""
        return self.counter([energies], (level, level))(level)

    def counter(
        self, parts: Iterable[NDArray[np.float64]], bracket: tuple[float, float]
    ) -> Callable[[float], float]:
        """Return a function that counts the states per cell below energies within a bracket.

        `parts` are the energies (n_k, n_bands) of each spin channel, `bracket` the lowest and
        highest energy that will be asked for, eV: what is full below the one or empty below the
        other is counted once.
        """
        low, high = bracket
        full, cut, volumes = 0.0, [np.empty((4, 0))], [np.empty(0)]
        for energies in parts:
            for rows, values in self._slabs(energies):
                lowest, highest = values.min(axis=0), values.max(axis=0)
                volume = np.repeat(self.volumes[rows], energies.shape[1])
                full += float(volume @ (highest <= low))
                between = np.flatnonzero((highest > low) & (lowest < high))
                cut.append(np.sort(values[:, between], axis=0))
                volumes.append(volume[between])
        e, volume = np.concatenate(cut, axis=1), np.concatenate(volumes)

        def count(level: float) -> float:
            slabs = (slice(at, at + _SLAB) for at in range(0, len(volume), _SLAB))
            return full + sum(
                float(volume[part] @ filled_share(np.full(len(volume[part]), level), e[:, part]))
                for part in slabs
            )

        return count

    def bin_states(
        self, energies: NDArray[np.float64], first: float, step: float, n_bins: int
    ) -> NDArray[np.float64]:
        """Return the number of states per cell in each of the bins of width `step` from `first`."""
        filled = np.zeros(n_bins + 1)
        for rows, values in self._slabs(energies):
            volume = np.repeat(self.volumes[rows], energies.shape[1])
            _add_filled(np.sort(values, axis=0), volume, first, step, filled)
        return np.diff(filled)

    def project(
        self,
        energies: NDArray[np.float64],
        weights: NDArray[np.float64],
        first: float,
        step: float,
        n_bins: int,
    ) -> NDArray[np.float64]:
        """Return the number of states, times weights, in each bin, (n_names, n_bins).

        Parameters
        ----------
        energies
            (n_k, n_bands) eV.
        weights
            (n_k, n_names, n_bands) numbers of each state.
        first, step, n_bins
            Lower edge of the first bin, width and number of all; eV.
        """
        out = np.zeros((weights.shape[1], n_bins))
        corners = np.ascontiguousarray(self.corners.T)
        length = max(2, _BLOCK // self.n_points)
        for band in range(energies.shape[1]):
            values = energies[:, band][corners]
            order = np.argsort(values, axis=0, kind="stable")
            e = np.take_along_axis(values, order, axis=0)
            points = np.take_along_axis(corners, order, axis=0)
            place = np.ceil((e - first) / step)
            begin = int(np.clip(place[0].min() - 1, 0, n_bins))
            end = int(np.clip(place[3].max(), 0, n_bins))
            rows = np.ascontiguousarray(weights[:, :, band].T)
            while begin < end:  # bins begin … stop − 1, between edges begin … stop
                stop = min(begin + length - 1, end)
                share = np.zeros((self.n_points, stop + 1 - begin))
                _add_corners(e, points, self.volumes, (first + begin * step, step), share)
                out[:, begin:stop] += rows @ np.diff(share, axis=1)
                begin = stop
        return out

    def _slabs(self, energies: NDArray[np.float64]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Yield some tetrahedra and their corner energies (4, tetrahedra × bands)."""
        length = max(1, _SLAB // (4 * energies.shape[1]))
        for begin in range(0, len(self.corners), length):
            rows = slice(begin, begin + length)
            yield rows, energies[self.corners[rows].T].reshape(4, -1)


def _six_tetrahedra(steps: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the corners (6, 4, 3) of six tetrahedra that fill one cell of the mesh.

    All share the shortest of the cell's four body diagonals: from 000 to 111 after some axes are
    turned round; each walks along the three axes in another order.
    """
    signs = np.array([[1, 1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    shortest = signs[np.linalg.norm(signs @ steps, axis=1).argmin()]
    walks = []
    for order in permutations(range(3)):
        corner = np.zeros((4, 3), dtype=np.int64)
        for number, axis in enumerate(order, 1):
            corner[number] = corner[number - 1]
            corner[number, axis] = 1
        walks.append(corner)
    shapes = np.array(walks)
    return np.where(shortest < 0, 1 - shapes, shapes)


def filled_share(energy: Array, e: Array) -> Array:
    """Return the filled part of each tetrahedron of volume 1, up to an energy (n,) of its own.

    `e` (4, n) are the energies of the corners, ascending.
    """
    share = np.where(energy >= e[3], 1.0, 0.0)
    for items, rule in zip(_ranges(energy, e), _FILLED, strict=True):
        if len(items):
            origin, width, c = rule(*e[:, items])
            share[items] = _polynomial(c, (energy[items] - origin) / width)
    return share


def corner_shares(energy: Array, e: Array) -> tuple[Array, Array]:
    """Return the share of each corner in the filled part (4, n), and the density of states (n,).

    The arguments are those of `filled_share`.
    """
    share = np.where(energy >= e[3], 0.25, np.zeros((4, 1)))
    density = np.zeros(len(energy))
    for items, filled, corners in zip(_ranges(energy, e), _FILLED, _CORNERS, strict=True):
        if len(items):
            origin, width, c = filled(*e[:, items])
            y = (energy[items] - origin) / width
            density[items] = (c[1] + y * (2 * c[2] + y * (3 * c[3]))) / width
            share[:, items] = _polynomial(corners(*e[:, items])[2], y)
    return share, density


def _ranges(energy: Array, e: Array) -> list[Array]:
    """Return which energies lie in each of the three ranges between the corners."""
    e1, e2, e3, e4 = e
    first = (energy > e1) & (energy < e2)
    second = (energy >= e2) & (energy < e3)
    third = (energy >= e3) & (energy < e4)
    return [np.flatnonzero(part) for part in (first, second, third)]


def _polynomial(c: Array, y: Array) -> Array:
    """Return Σ_p c_p y^p by Horner's rule."""
    value: Array = c[-1]
    for row in c[-2::-1]:
        value = value * y + row
    return value


def _add_filled(e: Array, volume: Array, first: float, step: float, out: Array) -> None:
    """Add to ``out[k]`` the filled parts of all tetrahedra at the energies first + k · step."""
    n = len(out)
    place = np.clip(np.ceil((e - first) / step), 0, n).astype(np.int64)
    out += np.cumsum(np.bincount(place[3], volume, minlength=n + 1))[:n]
    for items, counts, edges, share in _at_edges(e, place, _FILLED, first, step):
        share *= np.repeat(volume[items], counts)
        out += np.bincount(edges, share, minlength=n)


def _add_corners(
    e: Array, points: Array, volume: Array, grid: tuple[float, float], out: Array
) -> None:
    """Add to ``out[point, k]`` what the corners have of the filled parts at first + k · step.

    `points` (4, n) are the k-points of the sorted corners, `grid` is (first, step).
    """
    n_points, n = out.shape
    place = np.clip(np.ceil((e - grid[0]) / grid[1]), 0, n).astype(np.int64)
    full = np.flatnonzero(place[3] < n)
    where, quarters = points[:, full] * n + place[3, full], np.tile(0.25 * volume[full], 4)
    jumps = np.bincount(where.ravel(), quarters, minlength=out.size)
    out += np.cumsum(jumps.reshape(n_points, n), axis=1)
    for items, counts, edges, share in _at_edges(e, place, _CORNERS, *grid):
        share *= np.repeat(volume[items], counts)
        where = np.repeat(points[:, items] * n, counts, axis=1) + edges
        out += np.bincount(where.ravel(), share.ravel(), minlength=out.size).reshape(out.shape)


def _at_edges(
    e: Array, place: Array, rules: Sequence[Rule], first: float, step: float
) -> Iterator[tuple[Array, Array, Array, Array]]:
    """Yield some tetrahedra, their numbers of edges, the edges k, and the shares (…, edges).

    Edges are the energies first + k · step; `place` (4, n) has the first one above each corner.
    """
    top = 1.0 if rules is _FILLED else 0.25
    for number, rule in enumerate(rules):
        counts = place[number + 1] - place[number]
        crossed = np.flatnonzero(counts)
        ends = np.cumsum(counts[crossed])
        begin = 0
        while begin < len(crossed):
            before = ends[begin - 1] if begin else 0
            stop = max(begin + 1, int(np.searchsorted(ends, before + _SLAB, side="right")))
            items = crossed[begin:stop]
            some = counts[items]
            origin, width, c = rule(*e[:, items])
            starts = np.cumsum(some) - some
            edges = np.arange(int(some.sum())) + np.repeat(place[number, items] - starts, some)
            d = edges - np.repeat((origin - first) / step, some)
            share = _repeated(c, step / width, some, d)
            # Corners that differ by rounding alone could leave the range.
            yield items, some, edges, np.clip(share, 0.0, top, out=share)
            begin = stop


def _repeated(c: Array, scale: Array, counts: Array, d: Array) -> Array:
    """Return Σ_p c_p (scale · d)^p, with every coefficient repeated for its own edges."""
    value = np.repeat(c[-1] * scale ** (len(c) - 1), counts, axis=-1)
    for power in range(len(c) - 2, -1, -1):
        value *= d
        value += np.repeat(c[power] * scale**power, counts, axis=-1)
    return value


def _first_filled(e1: Array, e2: Array, e3: Array, e4: Array) -> tuple[Array, Array, Array]:
    e21 = e2 - e1
    zero = np.zeros(len(e1))
    return e1, e21, np.stack([zero, zero, zero, (e21 / (e3 - e1)) * (e21 / (e4 - e1))])


def _second_filled(e1: Array, e2: Array, e3: Array, e4: Array) -> tuple[Array, Array, Array]:
    e21, e31, e41, e32, e42 = e2 - e1, e3 - e1, e4 - e1, e3 - e2, e4 - e2
    a, b = e21 / e31, e32 / e31
    c, d = e21 / e41, e32 / e41
    bend = -(e31 + e42) / e42 * b * d
    return e2, e32, np.stack([a * c, 3 * a * d, 3 * b * d, bend])


def _third_filled(e1: Array, e2: Array, e3: Array, e4: Array) -> tuple[Array, Array, Array]:
    e43 = e4 - e3
    zero = np.zeros(len(e1))
    return e4, e43, np.stack([zero + 1, zero, zero, (e43 / (e4 - e1)) * (e43 / (e4 - e2))])


def _first_corners(e1: Array, e2: Array, e3: Array, e4: Array) -> tuple[Array, Array, Array]:
    e21 = e2 - e1
    ratios = np.stack([np.ones(len(e1)), e21 / (e3 - e1), e21 / (e4 - e1)])
    filled = ratios[1] * ratios[2]
    c = np.zeros((5, 4, len(e1)))
    c[4, 1:] = 0.25 * filled * ratios
    c[4, 0] = -c[4, 1:].sum(axis=0)
    c[3, 0] = filled
    return e1, e21, c


def _second_corners(e1: Array, e2: Array, e3: Array, e4: Array) -> tuple[Array, Array, Array]:
    # Linear in y: how far E is on the way from corner i to corner j, and what is left of it.
    e21, e31, e41, e32, e42 = e2 - e1, e3 - e1, e4 - e1, e3 - e2, e4 - e2
    zero, one = np.zeros(len(e1)), np.ones(len(e1))
    to_3, to_4 = np.stack([e21 / e31, e32 / e31]), np.stack([e21 / e41, e32 / e41])
    from_2_to_3, from_2_to_4 = np.stack([zero, one]), np.stack([zero, e32 / e42])
    left = np.array([[1.0], [0.0]])
    c1 = 0.25 * _product(to_4, to_3)
    c2 = 0.25 * _product(_product(to_4, from_2_to_3), left - to_3)
    c3 = 0.25 * _product(_product(from_2_to_4, from_2_to_3), left - to_4)
    c1 = np.concatenate([c1, zero[None]])
    c = np.zeros((5, 4, len(e1)))
    c[:4, 0] = c1
    c[:, 0] += _product(c1 + c2, left - to_3) + _product(c1 + c2 + c3, left - to_4)
    c[:4, 1] = c1 + c2 + c3
    c[:, 1] += _product(c2 + c3, left - from_2_to_3) + _product(c3, left - from_2_to_4)
    c[:, 2] = _product(c1 + c2, to_3) + _product(c2 + c3, from_2_to_3)
    c[:, 3] = _product(c1 + c2 + c3, to_4) + _product(c3, from_2_to_4)
    return e2, e32, c


def _third_corners(e1: Array, e2: Array, e3: Array, e4: Array) -> tuple[Array, Array, Array]:
    e43 = e4 - e3
    ratios = np.stack([e43 / (e4 - e1), e43 / (e4 - e2), np.ones(len(e1))])
    empty = ratios[0] * ratios[1]
    c = np.zeros((5, 4, len(e1)))
    c[0] = 0.25
    c[4, :3] = -0.25 * empty * ratios
    c[4, 3] = -c[4, :3].sum(axis=0)
    c[3, 3] = empty
    return e4, e43, c


def _product(p: Array, q: Array) -> Array:
    """Return the coefficients of the product of two polynomials (powers, n)."""
    out = np.zeros((len(p) + len(q) - 1, p.shape[1]))
    for power, row in enumerate(q):
        out[power : power + len(p)] += row * p
    return out


_FILLED: Sequence[Rule] = (_first_filled, _second_filled, _third_filled)
_CORNERS: Sequence[Rule] = (_first_corners, _second_corners, _third_corners)
