"""A grid in blocks of neighbouring points, each with the orbitals that reach it.

Memory and time grow with the number of points times the orbitals within reach of one of them: in
large structures linearly.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice, pairwise, product
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import FloatArray, IntArray
from dock.core.basis import Basis
from dock.core.pairs import Pairs
from dock.grid.grid import Grid, OrbitalTables, orbital_tables
from dock.io.progress import Progress, Report
from dock.threads import available_cpus

__all__ = ["Block", "GridBlocks"]

T = TypeVar("T")
Box: TypeAlias = tuple[slice, slice, slice]

_EDGE = 1.0  # Å: blocks about so long touch few orbitals that reach only a part of their points
_SMALLEST = 4


class Block(NamedTuple):
    """A box of grid points and the orbitals on it.

    Attributes
    ----------
    place
        Three slices of the grid.
    points : (n, 3)
        Positions, Å.
    atoms, lattice
        (m,) atom and (m, 3) lattice vector of each atom image that reaches the block.
    rows, counts
        (m,) first row and number of the orbitals of each.
    values : (n_rows, n)
        Orbitals at the points, Å^(−3/2).
    """

    place: Box
    points: NDArray[np.float64]
    atoms: IntArray
    lattice: IntArray
    rows: IntArray
    counts: IntArray
    values: NDArray[np.float64]

    def orbital_index(self, basis: Basis) -> IntArray:
        """Return the number in the cell of the orbital in each row."""
        return _ranges(basis.offsets[self.atoms], self.counts)

    def pair_index(self, pairs: Pairs) -> IntArray:
        """Return (m, m) the pair that connects two images, −1 where there is none."""
        n = len(self.atoms)
        R = (self.lattice[None, :, :] - self.lattice[:, None, :]).reshape(-1, 3)
        first, second = np.repeat(self.atoms, n), np.tile(self.atoms, n)
        return pairs.find(R, first, second).reshape(n, n)

    def fill(
        self,
        entries: NDArray[np.float64],
        starts: IntArray,
        index: IntArray,
        out: NDArray[np.float64],
    ) -> None:
        """Set `out` (n_rows, n_rows) to a matrix between the orbitals, 0 where no pair connects.

        `entries` is one component of the matrix, `starts` where the entries of each pair begin,
        `index` from `pair_index`.
        """
        from dock.grid._kernels import fill_local

        fill_local(entries, starts, index, self.rows, self.counts, out)


@dataclass(frozen=True, eq=False)
class GridBlocks:
    """All blocks of a grid, and the orbitals with their radial functions."""

    grid: Grid
    basis: Basis
    tables: OrbitalTables

    @classmethod
    def of(cls, grid: Grid, basis: Basis) -> GridBlocks:
        """Prepare the blocks; raises as `dock.grid.grid.orbital_tables`."""
        return cls(grid, basis, orbital_tables(basis))

    @property
    def n_blocks(self) -> int:
        """Number of blocks of the grid."""
        return len(self._boxes())

    def map(
        self,
        work: Callable[[Block], T],
        *,
        jobs: int | None = None,
        progress: Report = None,
    ) -> Iterator[tuple[Box, T]]:
        """Yield the place of each block that an orbital reaches and what `work` makes of it.

        `work` is called in `jobs` threads, by default as many as this process has CPUs; `progress`
        is told of each finished block.
        """
        from threadpoolctl import threadpool_limits

        boxes = self._boxes()
        steps = Progress.of(progress)
        steps.start(len(boxes))
        places = zip(boxes, self._images_near(boxes), strict=True)

        def work_on(box: Box, near: tuple[IntArray, IntArray]) -> tuple[Box, T] | None:
            return (box, work(self._block(box, *near))) if len(near[0]) else None

        workers = jobs or available_cpus()
        with (
            threadpool_limits(limits=1, user_api="blas"),
            ThreadPoolExecutor(workers, thread_name_prefix="dock-grid") as pool,
        ):
            waiting = deque(pool.submit(work_on, *place) for place in islice(places, 2 * workers))
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(work_on, *place) for place in islice(places, 1))
                steps.advance()
                if result is not None:
                    yield result

    def fill(
        self,
        values: NDArray[Any],
        work: Callable[[Block], NDArray[Any]],
        *,
        jobs: int | None = None,
        progress: Report = None,
    ) -> None:
        """Set values (n, N_1, N_2, N_3) to the rows (n, points) that `work` makes; see `map`."""
        for place, rows in self.map(work, jobs=jobs, progress=progress):
            box = values[(slice(None), *place)]
            box[...] = rows.reshape(box.shape)

    def _boxes(self) -> list[Box]:
        """Cut the grid into boxes with edges of about 1 Å."""
        cuts = []
        for n, step in zip(self.grid.shape, self.grid.steps, strict=True):
            size = min(n, max(_SMALLEST, round(_EDGE / float(np.linalg.norm(step)))))
            edges = np.linspace(0, n, max(1, round(n / size)) + 1).round().astype(int)
            cuts.append([slice(int(a), int(b)) for a, b in pairwise(edges)])
        return [(a, b, c) for a, b, c in product(*cuts)]

    def _images_near(self, boxes: list[Box]) -> list[tuple[IntArray, IntArray]]:
        """Return atoms and lattice vectors of the images that reach each box."""
        from scipy.spatial import cKDTree

        structure = self.grid.structure
        reach = self.tables.species_reach[self.basis.species_index]
        atoms, lattice = _images(structure.fractional, structure.cell, reach)
        centres = structure.positions[atoms] + lattice @ structure.cell
        tree = cKDTree(centres)
        low = np.array([[part.start for part in box] for box in boxes])
        high = np.array([[part.stop - 1 for part in box] for box in boxes])
        middle = 0.5 * (low + high) @ self.grid.steps
        corners = np.array(list(product((-0.5, 0.5), repeat=3)))
        spans = (high - low)[:, None, :] * corners
        radius = np.linalg.norm(spans @ self.grid.steps, axis=-1).max(axis=1)
        nearby = tree.query_ball_point(middle, radius + reach.max(), return_sorted=True)
        result = []
        for number, candidates in enumerate(nearby):
            images = np.array(candidates, dtype=np.int64)
            apart = np.linalg.norm(centres[images] - middle[number], axis=1)
            images = images[apart < reach[atoms[images]] + radius[number]]
            result.append((atoms[images], lattice[images]))
        return result

    def _block(self, box: Box, atoms: IntArray, lattice: IntArray) -> Block:
        """Evaluate the orbitals on a box."""
        from dock.grid._kernels import fill_orbitals

        grid, basis, tables = self.grid, self.basis, self.tables
        points = np.moveaxis(np.mgrid[box], 0, -1).reshape(-1, 3) @ grid.steps
        centres = grid.structure.positions[atoms] + lattice @ grid.structure.cell
        counts = basis.counts[atoms]
        rows = np.cumsum(counts) - counts
        values = np.empty((int(counts.sum()), len(points)))
        species = basis.species_index[atoms].astype(np.int64)
        recurrence = _recurrence(int(tables.l.max()))
        fill_orbitals(points, centres, species, rows, tables, recurrence, values)
        return Block(box, points, atoms, lattice, rows, counts, values)


def _images(
    fractional: FloatArray, cell: FloatArray, reach: FloatArray
) -> tuple[IntArray, IntArray]:
    """Return all images (atom, lattice vector) that reach a point of the cell.

    The height of the cell over each face says how many cells an orbital reaches.
    """
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    atoms, lattice = [], []
    for atom, (place, far) in enumerate(zip(fractional, reach, strict=True)):
        low = np.ceil(-place - far / heights).astype(int)
        high = np.floor(1 - place + far / heights).astype(int)
        shifts = low + np.moveaxis(np.indices(high - low + 1), 0, -1).reshape(-1, 3)
        atoms.append(np.full(len(shifts), atom, dtype=np.int64))
        lattice.append(shifts)
    return np.concatenate(atoms), np.concatenate(lattice)


def _ranges(first: IntArray, counts: IntArray) -> IntArray:
    """Return first[0] … first[0] + counts[0] − 1, first[1] …, one behind another."""
    ends = np.cumsum(counts)
    within = np.arange(int(ends[-1])) - np.repeat(ends - counts, counts)
    return np.repeat(first, counts) + within


def _recurrence(lmax: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the coefficients of the normalised Legendre recurrence; see `real_harmonics`."""
    up, down = np.zeros((lmax + 1, lmax + 1)), np.zeros((lmax + 1, lmax + 1))
    seed = np.zeros(lmax + 1)
    for m in range(lmax + 1):
        factor = math.prod((2 * k - 1) / (2 * k) for k in range(1, m + 1))
        seed[m] = math.sqrt((2 * m + 1) / (4 * math.pi) * factor * (2 if m else 1))
        for l in range(m + 1, lmax + 1):
            up[l, m] = math.sqrt((4 * l * l - 1) / (l * l - m * m))
            down[l, m] = math.sqrt(((l - 1) ** 2 - m * m) / (4 * (l - 1) ** 2 - 1))
    return up, down, seed
