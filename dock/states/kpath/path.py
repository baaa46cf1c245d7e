"""`KPath`: straight segments between k-points, their samples and their lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.arrays import read_only
from dock.core.calculation import Calculation
from dock.core.structure import AnyStructure, Structure
from dock.errors import LayoutError, MissingDataError, UsageError
from dock.states.kpath import text
from dock.states.kpath.special import SYMPREC, SpecialPoints, special_points

__all__ = ["KPath", "labelled_point", "make_path", "tick_marks"]

POINTS = 50
"""Samples on the longest segment where neither `points` nor `density` is given."""


@dataclass(frozen=True, eq=False)
class KPath:
    """A path of straight segments in fractional reciprocal coordinates.

    Sample p = 0 … n−1 of a segment of n points is start + (end − start)·p/(n−1): both ends are
    samples of every segment, so a corner appears twice, once for each of its segments.

    Attributes
    ----------
    n_points : int64 (S,)
        Samples of each segment: at least 2, or 1 for a segment of no length.
    starts, ends : float64 (S, 3)
        The ends of each segment, in fractions of the reciprocal vectors of `cell`.
    labels
        The names of the two ends of each segment.
    cell : float64 (3, 3) or None
        Lattice vectors as rows in Å. Lengths (`distances`, `ticks`) need it.
    note
        What an automatic path assumed: the lattice it found, a folded supercell.

    Examples
    --------
    >>> path = KPath([3], [[0, 0, 0]], [[0.5, 0, 0]], (("GAMMA", "X"),), cell=np.eye(3) * 2.0)
    >>> path.kpoints_frac[:, 0].tolist()
    [0.0, 0.25, 0.5]
    >>> path.distances.tolist()
    [0.0, 0.125, 0.25]
    """

    n_points: NDArray[np.int64]
    starts: NDArray[np.float64]
    ends: NDArray[np.float64]
    labels: tuple[tuple[str, str], ...]
    cell: NDArray[np.float64] | None = None
    note: str = ""

    def __post_init__(self) -> None:
        counts = _valid_array(self.n_points, np.int64, (-1,), "n_points")
        starts = _valid_array(self.starts, np.float64, (len(counts), 3), "starts")
        ends = _valid_array(self.ends, np.float64, (len(counts), 3), "ends")
        labels = tuple((str(first), str(last)) for first, last in self.labels)
        if len(counts) == 0 or len(labels) != len(counts):
            raise LayoutError(
                f"A k-path needs one pair of labels for each of its segments (at least one). "
                f"Found {len(labels)} pairs and {len(counts)} segments."
            )
        point = (starts == ends).all(axis=1)
        if np.any(counts < np.where(point, 1, 2)):
            worst = int(np.argmax(counts < np.where(point, 1, 2)))
            raise UsageError(
                f"Segment {worst + 1} ({'–'.join(labels[worst])}) has {counts[worst]} points. "
                "Give at least 2: both ends are samples."
            )
        if bad := [name for pair in labels for name in pair if len(name.split()) != 1]:
            raise UsageError(f"The k-point label {bad[0]!r} is empty or contains a space.")
        for name, value in (("n_points", counts), ("starts", starts), ("ends", ends)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "labels", labels)
        if self.cell is not None:
            object.__setattr__(self, "cell", _valid_cell(self.cell))

    @classmethod
    def from_file(cls, path: str | Path, cell: ArrayLike | None = None) -> KPath:
        """Read a ``K_PATH`` file; see `dock.states.kpath.text` for the format and the errors.

        The cell, lattice vectors as rows in Å, is for the lengths.
        """
        rows = text.read_k_path(Path(path))
        return cls(
            np.array([row.n_points for row in rows]),
            np.array([row.start for row in rows]),
            np.array([row.end for row in rows]),
            tuple(row.labels for row in rows),
            None if cell is None else np.asarray(cell, dtype=np.float64),
        )

    def to_file(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a ``K_PATH`` file whose numbers read back exactly.

        `OutputError` where the file exists and `overwrite` is not given, or cannot be written.
        """
        rows = [
            text.Row(int(n), start, end, labels)
            for n, start, end, labels in zip(
                self.n_points, self.starts, self.ends, self.labels, strict=True
            )
        ]
        text.write_k_path(Path(path), rows, overwrite=overwrite)

    @classmethod
    def from_string(
        cls,
        path: str,
        cell: ArrayLike,
        positions_frac: ArrayLike,
        numbers: ArrayLike,
        *,
        periodic_axes: Sequence[int] | None = None,
        points: int | None = None,
        density: float | None = None,
        symprec: float = SYMPREC,
    ) -> KPath:
        """Make a path from labels: ``GMKG``, ``G-M-K-G``, ``L-G-X|U-G``, ``GAMMA,X_1,M``.

        Labels are those of `special_points`; ``G``, ``Γ`` and ``GAMMA`` are the zone centre,
        and ``X1`` is read as ``X_1``. For one that this lattice does not have a `UsageError` lists
        those it has. The other arguments are those of `automatic`.
        """
        known = special_points(
            cell, positions_frac, numbers, periodic_axes=periodic_axes, symprec=symprec
        )
        branches = text.parse_labels(path, known.points, known.lattice)
        return cls.through(known, branches, cell, points=points, density=density)

    @classmethod
    def automatic(
        cls,
        cell: ArrayLike,
        positions_frac: ArrayLike,
        numbers: ArrayLike,
        *,
        periodic_axes: Sequence[int] | None = None,
        points: int | None = None,
        density: float | None = None,
        symprec: float = SYMPREC,
    ) -> KPath:
        """Make the standard path of the structure, in the reciprocal basis of the given cell.

        A crystal follows Hinuma et al. (2017) through seekpath, with time reversal. Of a
        supercell the points are those of the primitive cell, expressed in the reciprocal
        vectors of the given cell; `note` says so. Slabs follow their two-dimensional lattice,
        chains go from Γ to the zone edge, a molecule has Γ alone. See `special_points`.

        Parameters
        ----------
        cell : (3, 3)
            Lattice vectors as rows in Å.
        positions_frac : (N, 3)
            Fractional positions.
        numbers : (N,)
            Atomic numbers, or any positive integers that tell the species apart.
        periodic_axes
            The axes (0, 1, 2) along which atoms are coupled. Left out: every axis without a
            vacuum gap (`vacuum_axes`).
        points
            Samples on the longest segment; the others in proportion, at least 2.
        density
            Samples per 1/Å of length (without 2π), instead of `points`.
        symprec
            Distance in Å within which atoms count as symmetric.

        Raises
        ------
        UsageError
            For a sampling or axes without meaning.
        LayoutError
            For a cell without volume or arrays of other shapes.
        SolverError
            When no symmetry is found (atoms on top of each other).
        """
        known = special_points(
            cell, positions_frac, numbers, periodic_axes=periodic_axes, symprec=symprec
        )
        return cls.through(known, known.path, cell, points=points, density=density)

    @classmethod
    def of(
        cls,
        path: str | Path | None,
        structure: AnyStructure,
        periodic_axes: Sequence[int] | None = None,
        *,
        points: int | None = None,
    ) -> KPath:
        """Return the path of a structure that is named by a file, by labels, or by nothing.

        `path` is a ``K_PATH`` file, labels such as ``GMKG``, or None or ``auto`` for the automatic
        path, the only one that may be a single point. `periodic_axes` and `points`, as in
        `automatic`, are without meaning for a file.
        """
        structure = Structure.of(structure)
        if path is not None and Path(path).is_file():
            return cls.from_file(path, structure.cell).require_line()
        where = (structure.cell, structure.fractional, structure.numbers)
        if path is None or str(path).lower() == "auto":
            return cls.automatic(*where, periodic_axes=periodic_axes, points=points)
        labelled = cls.from_string(str(path), *where, periodic_axes=periodic_axes, points=points)
        return labelled.require_line()

    @classmethod
    def through(
        cls,
        known: SpecialPoints,
        branches: Sequence[Sequence[str]],
        cell: ArrayLike,
        *,
        points: int | None = None,
        density: float | None = None,
    ) -> KPath:
        """Join named points: one unbroken line through the points of each branch.

        See `automatic` for `points` and `density`.
        """
        if lonely := [branch[0] for branch in branches if len(branch) == 1]:
            if len(branches) > 1:
                raise UsageError(f"The k-path's part {lonely[0]!r} is one point. Name two or more.")
            branches = [(lonely[0], lonely[0])]
        pairs = [pair for branch in branches for pair in pairwise(branch)]
        if not pairs:
            raise UsageError("The k-path is empty. Name its points, for example GMKG.")
        starts = np.array([known.points[first] for first, _ in pairs])
        ends = np.array([known.points[last] for _, last in pairs])
        rows = _valid_cell(cell)
        lengths = np.linalg.norm((ends - starts) @ np.linalg.inv(rows).T, axis=1)
        return cls(_samples(lengths, points, density), starts, ends, tuple(pairs), rows, known.note)

    def with_cell(self, cell: ArrayLike) -> KPath:
        """Return the path with the lattice vectors (rows, Å) that its lengths need."""
        return replace(self, cell=np.asarray(cell, dtype=np.float64))

    @property
    def n_segments(self) -> int:
        """The number of segments."""
        return len(self.n_points)

    @property
    def n_kpoints(self) -> int:
        """The number of samples, corners counted twice."""
        return int(self.n_points.sum())

    def require_line(self) -> KPath:
        """Return the path itself, or raise `UsageError` where it is a single point."""
        if self.n_kpoints < 2:
            raise UsageError(
                f"The k-path {self.labels[0][0]!r} is one point. Name two or more, such as "
                "--path GX; for the levels at one k-point take: dock fermi --mesh 1 1 1"
            )
        return self

    @cached_property
    def segment(self) -> NDArray[np.int64]:
        """The segment of each sample, int64 (N_k,)."""
        return read_only(np.repeat(np.arange(self.n_segments), self.n_points))

    @cached_property
    def kpoints_frac(self) -> NDArray[np.float64]:
        """The samples in fractional coordinates, float64 (N_k, 3)."""
        of, step = self.segment, self._step[:, None]
        points = self.starts[of] + (self.ends - self.starts)[of] * step
        return read_only(np.where(step == 1.0, self.ends[of], points))

    @cached_property
    def distances(self) -> NDArray[np.float64]:
        """The length of the path up to each sample in 1/Å, without 2π, float64 (N_k,)."""
        return read_only(self.hsk_distance[self.segment] + self._lengths[self.segment] * self._step)

    @cached_property
    def hsk_distance(self) -> NDArray[np.float64]:
        """The length in 1/Å, without 2π, at the ends of the segments, float64 (S + 1,).

        A jump (the end of one segment is not the start of the next) adds nothing.
        """
        return read_only(np.concatenate([[0.0], np.cumsum(self._lengths)]))

    @cached_property
    def hsk_vectors(self) -> NDArray[np.float64]:
        """The two ends of each segment, fractional, float64 (S, 2, 3)."""
        return read_only(np.stack([self.starts, self.ends], axis=1))

    @cached_property
    def reciprocal(self) -> NDArray[np.float64]:
        """The reciprocal vectors as rows in 1/Å, with 2π, float64 (3, 3)."""
        return read_only(2 * np.pi * np.linalg.inv(self._needed_cell).T)

    @cached_property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """The marks of a plot's axis: length in 1/Å and label, a jump's two joined: ``U|K``."""
        return tick_marks(self.labels, self.hsk_distance.tolist())

    def arrays(self) -> dict[str, Any]:
        """Return segments, k-points and lengths by the keys of results."""
        pieces = zip(self.n_points, self.labels, strict=True)
        return {
            "segments": [{"points": int(n), "labels": list(labels)} for n, labels in pieces],
            "kpoints_frac": self.kpoints_frac,
            "distance_1_per_A_without_2pi": self.distances,
        }

    def datasets(self) -> dict[str, Any]:
        """Return the path by the names of DeepH's ``band.h5``."""
        return {
            "hsk_distance_list": self.hsk_distance,
            "hsk_symbol_list": [list(labels) for labels in self.labels],
            "hsk_vector_list": self.hsk_vectors,
            "k_path_density_list": self.n_points,
            "k_path_quantity": np.int64(self.n_segments),
            "kpoints_distance_list": self.distances,
            "kpoints_frac_list": self.kpoints_frac,
            "kpoints_quantity": np.int64(self.n_kpoints),
        }

    @cached_property
    def _step(self) -> NDArray[np.float64]:
        """Each sample's fraction of its segment, p/(n − 1)."""
        first = np.cumsum(self.n_points) - self.n_points
        position = np.arange(self.n_kpoints) - first[self.segment]
        return read_only(position / np.maximum(self.n_points - 1, 1)[self.segment])

    @cached_property
    def _lengths(self) -> NDArray[np.float64]:
        cartesian = (self.ends - self.starts) @ np.linalg.inv(self._needed_cell).T
        return read_only(np.linalg.norm(cartesian, axis=1))

    @property
    def _needed_cell(self) -> NDArray[np.float64]:
        if self.cell is None:
            raise MissingDataError(
                "the cell", "k-path", "Lengths need the lattice vectors: use with_cell(cell)."
            )
        return self.cell


def make_path(
    calc: Calculation, path: str | Path | None = None, *, points: int | None = None
) -> KPath:
    """Return a path for a calculation: a file, labels, or the automatic one.

    Axes along which no pair reaches into a neighbouring cell have no dispersion and are left out.
    Only the automatic path, of a molecule, may be one point.
    """
    structure = calc.structure
    matrix = calc.get("overlap") or calc.get("hamiltonian")
    reaches = structure.pbc if matrix is None else matrix.pairs.periodic_axes
    axes = [axis for axis in range(3) if reaches[axis] and structure.pbc[axis]]
    made = KPath.of(path, structure, axes, points=points)
    return replace(made, note="The matrices hold at Γ only.") if calc.only_gamma else made


def tick_marks(
    labels: Sequence[tuple[str, str]], places: Sequence[float]
) -> tuple[tuple[float, str], ...]:
    """Return the marks of a plot's axis: length and label, a jump's two joined: ``U|K``.

    `labels` are those of the two ends of each segment, `places` the lengths at the beginning and at
    the end of each.

    Examples
    --------
    >>> tick_marks([("GAMMA", "X"), ("U", "L")], [0.0, 0.2, 0.5])
    ((0.0, 'Γ'), (0.2, 'X|U'), (0.5, 'L'))
    """
    names = [[pretty_label(labels[0][0])]]
    for (_, end), following in zip(labels, [*labels[1:], None], strict=True):
        mark = [end] if following is None or following[0] == end else [end, following[0]]
        names.append([pretty_label(name) for name in mark])
    if places[-1] == 0.0:
        return ((0.0, names[0][0]),)
    return tuple((at, "|".join(mark)) for at, mark in zip(places, names, strict=True))


def labelled_point(
    label: str, structure: AnyStructure, periodic_axes: Sequence[int] | None = None
) -> NDArray[np.float64]:
    """Return the point of high symmetry of that name, (3,) in fractions of reciprocal vectors.

    Labels and errors are those of `KPath.from_string`; a text of several is a `UsageError`.

    Examples
    --------
    >>> import dock
    >>> calc = dock.read("fixtures/openmx/si")
    >>> labelled_point("L", calc.structure).tolist()
    [0.5, 0.5, 0.5]
    """
    structure = Structure.of(structure)
    where = (structure.cell, structure.fractional, structure.numbers)
    known = special_points(*where, periodic_axes=periodic_axes)
    branches = text.parse_labels(label, known.points, known.lattice)
    if [len(branch) for branch in branches] != [1]:
        raise UsageError(f"{label!r} names several k-points: ask for one at a time, such as 'X'.")
    return read_only(np.array(known.points[branches[0][0]], dtype=np.float64))


def pretty_label(label: str) -> str:
    """Return a label as it is printed: ``GAMMA`` and ``G`` as Γ, ``SIGMA_0`` as Σ_0."""
    stem, underscore, index = label.partition("_")
    return text.GREEK_GLYPHS.get(stem, stem) + underscore + index


def _samples(
    lengths: NDArray[np.float64], points: int | None, density: float | None
) -> NDArray[np.int64]:
    """Return the samples of each segment from its length in 1/Å; see `KPath.automatic`."""
    if points is not None and density is not None:
        raise UsageError("Give the sampling as points or as density, not both.")
    if points is not None and points < 2:
        raise UsageError(f"A segment needs at least 2 points. Found {points}.")
    if density is not None and not 0 < density < np.inf:
        raise UsageError(f"The density must be a positive number of points. Found {density}.")
    longest = float(lengths.max())
    if longest == 0.0:
        return np.ones(len(lengths), dtype=np.int64)
    per_length = ((POINTS if points is None else points) - 1) / longest
    steps = lengths * (per_length if density is None else density)
    return np.maximum(np.rint(steps).astype(np.int64) + 1, 2)


def _valid_cell(cell: ArrayLike) -> NDArray[np.float64]:
    rows = _valid_array(cell, np.float64, (3, 3), "cell")
    if abs(np.linalg.det(rows)) < 1e-9:
        raise LayoutError(f"The cell has no volume. Found the lattice vectors {rows.tolist()} Å.")
    return rows


def _valid_array(value: Any, dtype: type, shape: tuple[int, ...], name: str) -> NDArray[Any]:
    """Return a read-only copy of `value` after checking its shape (-1: any) and finiteness."""
    array: NDArray[Any] = np.array(value, dtype=dtype)
    if array.ndim != len(shape) or any(
        want not in (-1, have) for want, have in zip(shape, array.shape, strict=True)
    ):
        raise LayoutError(f"{name} of a k-path: expected the shape {shape}, found {array.shape}.")
    if not np.isfinite(array).all():
        raise LayoutError(f"{name} of a k-path holds NaN or infinite numbers. Check its source.")
    return read_only(array)
