"""Meshes of k-points: Γ-centred, Monkhorst–Pack or shifted, and their irreducible points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.errors import UsageError
from dock.states.symmetry import Symmetry, find_symmetry

__all__ = ["Centring", "KMesh", "Reduction", "make_mesh"]

Centring: TypeAlias = Literal["gamma", "monkhorst-pack", "openmx"]
Reduction: TypeAlias = Literal["none", "time-reversal", "point-group"]

DEFAULT_SPACING = 0.2  # 1/Å, 2π included
_OPENMX_OFFSET = (1e-6, -1e-6, 2e-6)
_MOST = 10**8  # points: 2.4 GB of coordinates
_ON_MESH = 1e-4  # steps by which an image may miss a point: OpenMX offsets its meshes by 1e-5


@dataclass(frozen=True, eq=False)
class KMesh:
    """The points k = (n + shift) / size of the reciprocal cell and their weights.

    Attributes
    ----------
    size : (3,) int
        Number of points along each reciprocal vector.
    shift : (3,) float
        In units of the mesh step: 0 has Γ on the mesh, 1/2 lies midway.
    points : (n, 3) float
        Irreducible fractional points.
    weights : (n,) float
        Their shares of the whole mesh; the sum is 1.
    index : (n_full,) int
        The irreducible point of each point of the whole mesh, last axis fastest.
    symmetry
        The operations by which the points were reduced; None for the whole mesh.

    Examples
    --------
    >>> mesh = KMesh.full((2, 2, 1))
    >>> mesh.points.tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.5, 0.0], [0.5, 0.0, 0.0], [0.5, 0.5, 0.0]]
    """

    size: tuple[int, int, int]
    shift: tuple[float, float, float]
    points: NDArray[np.float64]
    weights: NDArray[np.float64]
    index: NDArray[np.int64]
    symmetry: Symmetry | None = field(default=None, repr=False)

    @classmethod
    def full(cls, size: Sequence[int], centring: Centring | Sequence[float] = "gamma") -> KMesh:
        """Return the whole mesh of three numbers of points.

        The centring is ``gamma``; ``monkhorst-pack`` (half a step where the number is even);
        ``openmx`` (the same with that program's own offset of 1e-6); or three shifts in units of
        the step. `UsageError` for another one, a size without three positive integers, or more
        than 10⁸ points.
        """
        numbers = _checked_size(size)
        shift = _shift(numbers, centring)
        axes = [(np.arange(n) + s) / n for n, s in zip(numbers, shift, strict=True)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        count = len(points)
        return cls(numbers, shift, points, np.full(count, 1 / count), np.arange(count))

    @property
    def n_points(self) -> int:
        """Number of irreducible points."""
        return len(self.points)

    @property
    def n_full(self) -> int:
        """Number of points of the whole mesh."""
        return len(self.index)

    @property
    def full_points(self) -> NDArray[np.float64]:
        """(n_full, 3) all points, last axis fastest."""
        return KMesh.full(self.size, self.shift).points

    def reduced(self, symmetry: Symmetry) -> KMesh:
        """Return the mesh with one point of each set that the operations connect.

        Operations that do not take the mesh to itself (to 1e-4 of a step) are left out.
        """
        points = self.full_points
        orbit = np.arange(len(points))
        used = []
        for operation in symmetry.operations:
            image = self._image(points, operation.on_k)
            if image is None:
                continue
            used.append(operation)
            orbit = np.minimum(orbit, image)
        lowest, index = np.unique(orbit, return_inverse=True)
        weights = np.bincount(index) / len(points)
        kept = symmetry.keeping(used)
        return KMesh(self.size, self.shift, points[lowest], weights, index.ravel(), kept)

    def _image(
        self, points: NDArray[np.float64], on_k: NDArray[np.int64]
    ) -> NDArray[np.int64] | None:
        """Return the number of each point's image, None if some image is not on the mesh."""
        size = np.array(self.size)
        steps = (points @ on_k.T) * size - np.array(self.shift)
        number = np.rint(steps)
        if np.abs(steps - number).max() > _ON_MESH:
            return None
        a, b, c = np.mod(number.astype(np.int64), size).T
        image: NDArray[np.int64] = (a * size[1] + b) * size[2] + c
        return image

    def symmetrised(self, matrix: AOMatrix) -> AOMatrix:
        """Return a sum over the irreducible points as that over the whole mesh.

        It is averaged over the operations that reduced the mesh.
        """
        if self.symmetry is None or len(self.symmetry.operations) < 2:
            return matrix
        return self.symmetry.symmetrise(matrix)

    def facts(self) -> dict[str, Any]:
        """Return the mesh and its symmetry by the keys of results; see `dock.results.KEYS`."""
        symmetry = self.symmetry
        return {
            "kmesh": list(self.size),
            "kmesh_shift": list(self.shift),
            "n_kpoints": self.n_full,
            "n_irreducible": self.n_points,
            "n_symmetries": 1 if symmetry is None else len(symmetry.operations),
            "symmetry_error_eV": 0.0 if symmetry is None else symmetry.largest_error,
        }

    def describe(self) -> str:
        """Return the mesh in words: ``41×41×1, 154 irreducible points``."""
        text = "×".join(str(n) for n in self.size)
        within = [s - np.rint(s) for s in self.shift]  # whole steps lead to the same mesh
        if any(abs(s) > _ON_MESH for s in within):
            text += f" shifted by ({', '.join(f'{s:.6g}' for s in within)}) steps"
        return f"{text}, {self.n_points} irreducible of {self.n_full} points"


def make_mesh(
    calc: Calculation,
    size: KMesh | Sequence[int] | None = None,
    *,
    spacing: float | None = None,
    centring: Centring | Sequence[float] = "gamma",
    reduction: Reduction = "point-group",
    tolerance: float = 1e-5,
) -> KMesh:
    """Return the mesh of a calculation, reduced by the symmetry that its Hamiltonian obeys.

    Parameters
    ----------
    calc
        A calculation with Hamiltonian and overlap.
    size
        Points along each reciprocal vector; None: from `spacing`. A mesh is returned as it is.
    spacing
        Largest distance of points, 1/Å with 2π; default 0.2. Along lattice vectors without any
        pair that reaches into the next cell there is one point, and Γ alone where the matrices
        hold only there.
    centring
        See `KMesh.full`.
    reduction
        ``point-group`` (with time reversal), ``time-reversal``, or ``none``.
    tolerance
        See `dock.states.symmetry.find_symmetry`.

    Raises
    ------
    UsageError
        For a mesh of zero points, a spacing that is not positive, or both given.
    MissingDataError
        When Hamiltonian or overlap is missing.
    """
    if isinstance(size, KMesh):
        return size
    hamiltonian = calc.require("hamiltonian", "A k-mesh is reduced by its symmetry.")
    overlap = calc.require("overlap", "Compute it with: dock compute-overlap.")
    if size is not None and spacing is not None:
        raise UsageError("give the size of the mesh or a spacing, not both.")
    if size is None and calc.only_gamma:
        size = (1, 1, 1)
    elif size is None:
        axes = hamiltonian.pairs.periodic_axes, overlap.pairs.periodic_axes
        spacing = DEFAULT_SPACING if spacing is None else spacing
        size = _size_of_spacing(calc, spacing, np.any(axes, axis=0))
    mesh = KMesh.full(size, centring)
    if reduction == "none" or mesh.n_full == 1:
        return mesh
    if reduction not in ("time-reversal", "point-group"):
        raise UsageError(
            f"a mesh is reduced by 'point-group', 'time-reversal' or 'none', found '{reduction}'."
        )
    group = find_symmetry(
        hamiltonian, overlap, tolerance=tolerance, point_group=reduction == "point-group"
    )
    return mesh.reduced(group)


def _size_of_spacing(calc: Calculation, spacing: float, reaches: NDArray[np.bool_]) -> list[int]:
    if not 0 < spacing < np.inf:
        raise UsageError(f"the spacing of k-points must be a positive number, found {spacing}.")
    lengths = np.linalg.norm(calc.structure.reciprocal, axis=1)
    return [
        max(1, int(np.ceil(length / spacing - 1e-9))) if reach else 1
        for length, reach in zip(lengths, reaches, strict=True)
    ]


def _checked_size(size: Sequence[int]) -> tuple[int, int, int]:
    values = np.asarray(size)
    if values.shape != (3,) or values.dtype.kind not in "iu" or values.min() < 1:
        raise UsageError(
            f"a k-mesh has three positive whole numbers, such as 8 8 1; found {values.tolist()}. "
            "Pass mesh=(N1, N2, N3)."
        )
    a, b, c = (int(value) for value in values)
    if a * b * c > _MOST:
        raise UsageError(f"a k-mesh of {a}×{b}×{c} points is larger than any: at most {_MOST:.0e}.")
    return a, b, c


def _shift(
    size: tuple[int, int, int], centring: Centring | Sequence[float]
) -> tuple[float, float, float]:
    """Return the shift in units of the step."""
    if not isinstance(centring, str):
        given = np.asarray(centring, dtype=np.float64)
        if given.shape != (3,) or not np.isfinite(given).all():
            raise UsageError(f"a mesh is shifted by three numbers, found {given.tolist()}.")
        a, b, c = (float(value) for value in given)
        return a, b, c
    if centring == "gamma":
        return 0.0, 0.0, 0.0
    if centring not in ("monkhorst-pack", "openmx"):
        raise UsageError(
            f"a mesh is centred by 'gamma', 'monkhorst-pack', 'openmx' or three shifts, found "
            f"'{centring}'."
        )
    half = [0.5 if n % 2 == 0 else 0.0 for n in size]
    if centring == "openmx":
        # That program starts at −1/2 and keeps the first point of each time-reversed pair.
        half = [
            0.5 - n / 2 + n * offset if n > 1 else 0.0
            for n, offset in zip(size, _OPENMX_OFFSET, strict=True)
        ]
    return half[0], half[1], half[2]
