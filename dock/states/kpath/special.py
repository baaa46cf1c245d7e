"""The high-symmetry points of a structure, in the reciprocal basis of the cell as given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.errors import LayoutError, SolverError, UsageError
from dock.states.kpath.plane import plane_points

__all__ = ["SYMPREC", "SpecialPoints", "special_points", "vacuum_axes"]

VACUUM_GAP = 8.0
"""A gap between atoms longer than this, in Å, is vacuum."""

SYMPREC = 1e-3
"""Distance in Å within which atoms count as symmetric: relaxed structures pass."""

_AXIS_LABELS = ("X", "Y", "Z")


@dataclass(frozen=True, eq=False)
class SpecialPoints:
    """Named k-points of a structure and the path that joins them.

    Attributes
    ----------
    points
        Label → float64 (3,), in fractions of the reciprocal vectors of the given cell.
    path
        Unbroken branches of labels.
    lattice
        What was recognised: ``"cF2 lattice"``, ``"hexagonal slab"``.
    periodic_axes
        The axes of the given cell that have dispersion.
    note
        One or two sentences on what was assumed.
    """

    points: Mapping[str, NDArray[np.float64]]
    path: tuple[tuple[str, ...], ...]
    lattice: str
    periodic_axes: tuple[int, ...]
    note: str


def special_points(
    cell: ArrayLike,
    positions_frac: ArrayLike,
    numbers: ArrayLike,
    *,
    periodic_axes: Sequence[int] | None = None,
    symprec: float = SYMPREC,
) -> SpecialPoints:
    """Find the high-symmetry points of a structure without changing its cell.

    - Three periodic axes: points, labels and path of Hinuma et al., Comput. Mater. Sci. 128, 140
      (2017), by seekpath and spglib, with time reversal. They belong to the *primitive* cell:
      where the given cell is a supercell, its bands are folded and the points are still those of
      the primitive cell, written in the given reciprocal vectors (they may exceed 1). HPKOT's
      own point ``G`` (tI2, mC2) is called ``G_1`` here, since ``G`` means Γ.
    - Two: the lattice of the two periodic vectors *of the given cell*, by its lengths and angle
      alone; see `dock.states.kpath.plane`. Any axis may be the vacuum.
    - One: Γ and the zone edge, called X, Y or Z after the axis.
    - None: Γ.

    k-vectors lie in the span of the periodic lattice vectors, so that lengths are right where
    the vacuum axis is tilted; its fractional coordinate is then not zero (and has no effect).
    The arguments are those of `KPath.automatic`.

    Examples
    --------
    >>> graphene = [[2.46, 0, 0], [-1.23, 2.13042249, 0], [0, 0, 20]]
    >>> known = special_points(graphene, [[1/3, 2/3, 0.5], [2/3, 1/3, 0.5]], [6, 6])
    >>> known.lattice, known.points["M"].tolist()
    ('hexagonal slab', [0.5, 0.0, 0.0])
    """
    rows, positions, kinds = _structure(cell, positions_frac, numbers)
    if periodic_axes is None:
        vacuum = vacuum_axes(rows, positions)
        axes = tuple(axis for axis in range(3) if axis not in vacuum)
    else:
        axes = _valid_axes(periodic_axes)
    if len(axes) == 3:
        return _crystal(rows, positions, kinds, symprec)
    if len(axes) == 2:
        plane = plane_points(rows[list(axes)])
        points, path, lattice = plane.points, plane.path, f"{plane.lattice} slab"
        note = (
            f"{lattice.capitalize()} in the plane of axes {axes[0] + 1} and {axes[1] + 1} of the "
            "cell; the path assumes the full symmetry of that lattice."
        )
    elif len(axes) == 1:
        edge = _AXIS_LABELS[axes[0]]
        points = {"GAMMA": np.zeros(1), edge: np.full(1, 0.5)}
        path, lattice = (("GAMMA", edge),), "chain"
        note = f"Chain along axis {axes[0] + 1} of the cell."
    else:
        points, path, lattice = {"GAMMA": np.zeros(0)}, (("GAMMA",),), "molecule"
        note = "Vacuum on all sides: only the zone centre."
    placed = {label: _in_cell(rows, axes, k) for label, k in points.items()}
    return SpecialPoints(MappingProxyType(placed), path, lattice, axes, note)


def vacuum_axes(
    cell: ArrayLike, positions_frac: ArrayLike, *, gap: float = VACUUM_GAP
) -> tuple[int, ...]:
    """Return the axes along which the atoms leave a gap, measured across the other two vectors.

    The cell has lattice vectors as rows in Å; the atoms' fractional positions need not lie inside
    it. The shortest gap that is vacuum, in Å, is by default longer than the gaps between the layers
    of a crystal and shorter than what a slab calculation needs.

    Examples
    --------
    >>> vacuum_axes(np.diag([3.0, 3.0, 20.0]), [[0, 0, 0], [0.5, 0.5, 0.98]])
    (2,)
    """
    rows = np.asarray(cell, dtype=np.float64)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(rows), axis=0)
    inside = np.sort(np.asarray(positions_frac, dtype=np.float64) % 1.0, axis=0)
    gaps = np.diff(inside, axis=0, append=inside[:1] + 1.0).max(axis=0) * heights
    return tuple(int(axis) for axis in np.flatnonzero(gaps > gap))


def _crystal(
    cell: NDArray[np.float64],
    positions: NDArray[np.float64],
    numbers: NDArray[np.int64],
    symprec: float,
) -> SpecialPoints:
    """Return the HPKOT points, moved from the standard primitive cell to the given one.

    spglib's standard cell is rotated: r_std = Q r. The given lattice vectors are integer
    combinations T of the primitive ones, a = T (p Q), and k·a_i = Σ_j T_ij k·p_j for every k.
    """
    found, remarks = _seekpath(cell, positions, numbers, symprec)
    primitive = np.asarray(found["primitive_lattice"]) @ np.asarray(found["rotation_matrix"])
    exact = cell @ np.linalg.inv(primitive)
    to_given = np.rint(exact)
    if np.abs(exact - to_given).max() > 0.05:
        raise SolverError(
            "The cell is not a multiple of the primitive cell that the symmetry search found "
            f"(transformation {exact.round(3).tolist()}). "
            "Give the path as a K_PATH file, or a smaller symmetry tolerance."
        )
    name = {label: "G_1" if label == "G" else label for label in found["point_coords"]}
    points = {
        name[label]: to_given @ np.asarray(k, dtype=np.float64)
        for label, k in found["point_coords"].items()
    }
    copies = round(abs(np.linalg.det(to_given)))
    lattice = f"{found['bravais_lattice_extended']} lattice"
    group = f"{found['spacegroup_international']} ({found['spacegroup_number']})"
    sentences = [f"HPKOT path of the {lattice}, space group {group}."]
    if copies > 1:
        sentences.append(
            f"The cell holds {copies} primitive cells: the points are those of the primitive "
            "cell, in the reciprocal vectors of the given cell, whose bands are folded."
        )
    path = _joined([(name[first], name[last]) for first, last in found["path"]])
    return SpecialPoints(
        MappingProxyType(points), path, lattice, (0, 1, 2), " ".join([*sentences, *remarks])
    )


def _seekpath(
    cell: NDArray[np.float64],
    positions: NDArray[np.float64],
    numbers: NDArray[np.int64],
    symprec: float,
) -> tuple[dict[str, Any], list[str]]:
    """Run seekpath; return what it found and its remarks on edge cases."""
    import seekpath
    import spglib
    from seekpath.hpkot import SymmetryDetectionError

    failures: tuple[type[Exception], ...] = (SymmetryDetectionError, ValueError)
    if hasattr(spglib, "SpglibError"):
        failures = (*failures, spglib.SpglibError)
    structure = (cell.tolist(), positions.tolist(), numbers.tolist())
    with _edge_cases() as remarks:
        try:
            found = seekpath.get_path(structure, with_time_reversal=True, symprec=symprec)
        except failures as error:
            raise SolverError(
                f"The symmetry search failed within {symprec:g} Å ({error}). Two atoms may "
                "coincide: check the positions, or give the path as a K_PATH file."
            ) from error
    return found, remarks


@contextmanager
def _edge_cases() -> Iterator[list[str]]:
    """Collect seekpath's edge-case warnings and drop the two libraries' deprecations."""
    import warnings

    from seekpath.hpkot import EdgeCaseWarning

    remarks: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield remarks
    for warning in caught:
        if issubclass(warning.category, EdgeCaseWarning):
            remarks.append(f"Edge case: {warning.message}.")
        elif not issubclass(warning.category, DeprecationWarning):
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def _joined(pairs: Sequence[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
    """Join pairs that meet into unbroken branches."""
    branches: list[list[str]] = []
    for first, last in pairs:
        if branches and branches[-1][-1] == first:
            branches[-1].append(last)
        else:
            branches.append([first, last])
    return tuple(tuple(branch) for branch in branches)


def _in_cell(
    cell: NDArray[np.float64], axes: tuple[int, ...], k: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the k-point in the span of the periodic vectors, as fractions for all three axes."""
    periodic = list(axes)
    fractions = cell @ (np.linalg.pinv(cell[periodic]) @ k)
    fractions[periodic] = k
    fractions[np.abs(fractions) < 1e-10] = 0.0
    return fractions


def _structure(
    cell: ArrayLike, positions_frac: ArrayLike, numbers: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    rows = np.asarray(cell, dtype=np.float64)
    positions = np.asarray(positions_frac, dtype=np.float64)
    kinds = np.asarray(numbers, dtype=np.int64)
    if rows.shape != (3, 3) or positions.shape != (len(kinds), 3) or len(kinds) == 0:
        raise LayoutError(
            "Expected a cell (3, 3), positions (N, 3) and numbers (N,) with N ≥ 1. "
            f"Found {rows.shape}, {positions.shape} and {kinds.shape}."
        )
    if not (np.isfinite(rows).all() and np.isfinite(positions).all()):
        raise LayoutError("The cell or the positions hold NaN or infinite numbers.")
    if abs(np.linalg.det(rows)) < 1e-9:
        raise LayoutError(f"The cell has no volume. Found the lattice vectors {rows.tolist()} Å.")
    return rows, positions, kinds


def _valid_axes(axes: Sequence[int]) -> tuple[int, ...]:
    chosen = tuple(sorted(int(axis) for axis in axes))
    if len(set(chosen)) != len(chosen) or not set(chosen) <= {0, 1, 2}:
        raise UsageError(f"Periodic axes are some of 0, 1, 2, each once. Found {list(axes)}.")
    return chosen
