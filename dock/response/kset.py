"""The k-points that a quantity is computed at: a list, a path, a mesh or a plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.errors import UsageError
from dock.states.kmesh import KMesh
from dock.states.kpath import KPath, make_path
from dock.states.kplane import KPlane

__all__ = ["KSet", "Where"]

Where: TypeAlias = "KSet | KPath | KMesh | KPlane | str | Path | Sequence[Sequence[float]] | Any"


@dataclass(frozen=True, eq=False)
class KSet:
    """K-points, and what they are.

    Attributes
    ----------
    points : float64 (n, 3)
        Fractional. Of a mesh, its irreducible points.
    kind
        ``list``, ``path``, ``mesh`` or ``plane``.
    what
        The `KPath`, `KMesh` or `KPlane`; None for a list.
    """

    points: NDArray[np.float64]
    kind: str
    what: Any = None

    @classmethod
    def of(cls, where: Where, calc: Calculation) -> KSet:
        """Return the k-points of a path, mesh, plane or list, or of a path that a text names.

        `UsageError` for a list that is not of three finite numbers each.
        """
        if isinstance(where, KSet):
            return where
        if where is None or isinstance(where, str | Path):
            where = make_path(calc, where)
        if isinstance(where, KPath):
            return cls(where.kpoints_frac, "path", where)
        if isinstance(where, KMesh):
            return cls(where.points, "mesh", where)
        if isinstance(where, KPlane):
            return cls(where.points, "plane", where)
        points = np.atleast_2d(np.asarray(where, dtype=np.float64))
        if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
            raise UsageError(
                f"a k-point is three finite numbers; found an array of shape {points.shape}."
            )
        return cls(points, "list")

    @property
    def n_points(self) -> int:
        """Number of points."""
        return len(self.points)

    @property
    def path(self) -> KPath | None:
        """The path, or None for other kinds."""
        return self.what if isinstance(self.what, KPath) else None

    @property
    def plane(self) -> KPlane | None:
        """The plane, or None for other kinds."""
        return self.what if isinstance(self.what, KPlane) else None

    @property
    def mesh(self) -> KMesh | None:
        """The mesh, or None for other kinds."""
        return self.what if isinstance(self.what, KMesh) else None

    def facts(self) -> dict[str, Any]:
        """Return what the k-points are by the keys of results."""
        facts: dict[str, Any] = {"n_kpoints": self.n_points}
        if self.mesh is not None:
            facts |= self.mesh.facts()
        elif self.plane is not None:
            facts |= self.plane.facts()
        elif self.path is not None:
            facts["path_note"] = self.path.note
        return facts

    def arrays(self) -> dict[str, Any]:
        """Return the k-points by the keys of results, with weights of a mesh, lengths of a path."""
        if self.path is not None:
            return self.path.arrays()
        weights = {} if self.mesh is None else {"k_weights": self.mesh.weights}
        return {"kpoints_frac": self.points, **weights}

    def datasets(self) -> dict[str, Any]:
        """Return the same for an HDF5 file: the segments of a path by the names of ``band.h5``."""
        if self.path is None:
            return self.arrays()
        arrays = {name: value for name, value in self.arrays().items() if name != "segments"}
        return {**self.path.datasets(), **arrays}

    def describe(self) -> str:
        """Return what they are in words."""
        if self.path is not None:
            labels = " ".join(f"{first}–{last}" for first, last in self.path.labels)
            return f"{self.n_points} on the path {labels}"
        if self.what is not None:
            return f"{self.kind} {self.what.describe()}"
        return ", ".join(f"({a:.6g}, {b:.6g}, {c:.6g})" for a, b, c in self.points[:3]) + (
            f" and {self.n_points - 3} more" if self.n_points > 3 else ""
        )
