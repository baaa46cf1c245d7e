"""Planes through reciprocal space: points along two directions, through a third point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.errors import UsageError

__all__ = ["POINTS", "KPlane"]

POINTS = 40
"""Points along each side where none are given."""

_MOST = 10**8


@dataclass(frozen=True, eq=False)
class KPlane:
    """The points origin + x b_A + y b_B of a plane that two reciprocal vectors span.

    Over a whole period (``extent`` 1) x and y are i/n − ⌊n/2⌋/n with i = 0 … n−1, so that the
    origin is a point and no point is there twice. Otherwise they run from −extent/2 to extent/2,
    both ends included. The plane's normal is b_A × b_B: a sign that belongs to an orientation, such
    as that of a Chern number, changes with the order of A and B.

    Attributes
    ----------
    axes
        A and B: reciprocal vectors counted from 1, or ``x``, ``y``, ``z``; see `cartesian`.
    origin : (3,) float
        The point that the plane goes through, fractional.
    size
        Points along A and along B.
    extent
        Length of both sides in reciprocal vectors, or of Cartesian axes in 1/Å, with 2π.
    directions : (2, 3) float
        Both sides of unit extent in fractions of the reciprocal vectors; None: those of `axes`.

    Examples
    --------
    >>> KPlane.of((1, 2), points=2).points.tolist()
    [[-0.5, -0.5, 0.0], [-0.5, 0.0, 0.0], [0.0, -0.5, 0.0], [0.0, 0.0, 0.0]]
    """

    axes: tuple[Any, Any]
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    size: tuple[int, int] = (POINTS, POINTS)
    extent: float = 1.0
    directions: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        a, b = self.axes
        if a == b or not ({a, b} <= {1, 2, 3} or self.is_cartesian):
            raise UsageError(f"a plane has two different axes of 1, 2, 3; found {a} and {b}.")
        if not np.isfinite(self.origin).all() or len(self.origin) != 3:
            raise UsageError(
                f"a plane goes through a k-point of three numbers, found {self.origin}."
            )
        if min(self.size) < 1 or np.prod(self.size, dtype=np.float64) > _MOST:
            raise UsageError(f"a plane has from 1 to 10⁸ points, found {self.size}.")
        if not 0 < self.extent <= (np.inf if self.is_cartesian else 1):
            raise UsageError(
                "the extent of a plane is above 0 and, in reciprocal vectors, at most 1; found "
                f"{self.extent}."
            )

    @classmethod
    def of(
        cls,
        axes: Sequence[int] | KPlane,
        *,
        at: Sequence[float] | None = None,
        points: int | None = None,
        extent: float = 1.0,
    ) -> KPlane:
        """Return the plane along two axes, with the same number of points (40) along both."""
        if isinstance(axes, KPlane):
            return axes
        a, b = (int(axis) for axis in axes)
        origin = (0.0, 0.0, 0.0) if at is None else tuple(float(x) for x in at)
        n = POINTS if points is None else points
        return cls((a, b), origin, (n, n), extent)  # type: ignore[arg-type]

    @classmethod
    def cartesian(
        cls,
        axes: Sequence[str],
        reciprocal: NDArray[Any],
        *,
        at: Sequence[float] | None = None,
        points: int | None = None,
        extent: float = 1.0,
    ) -> KPlane:
        """Return the plane along two of x, y, z, with sides of `extent` in 1/Å (2π included).

        `reciprocal` has the reciprocal vectors as rows, 1/Å; `at` is fractional as ever.
        """
        a, b = axes
        if not {a, b} <= set("xyz"):
            raise UsageError(f"a plane has two of 1, 2, 3 or two of x, y, z; found {a} and {b}.")
        unit = np.eye(3)[["xyz".index(a), "xyz".index(b)]] @ np.linalg.inv(reciprocal)
        origin = (0.0, 0.0, 0.0) if at is None else tuple(float(x) for x in at)
        n = POINTS if points is None else points
        return cls((a, b), origin, (n, n), extent, unit)  # type: ignore[arg-type]

    @property
    def is_cartesian(self) -> bool:
        """Whether its sides are Cartesian axes."""
        return self.directions is not None

    @property
    def is_closed(self) -> bool:
        """Whether it is a whole period along both sides."""
        return self.extent == 1 and not self.is_cartesian

    @property
    def sides_frac(self) -> NDArray[np.float64]:
        """(2, 3) sides of unit extent in fractions of the reciprocal vectors."""
        if self.directions is not None:
            return self.directions
        sides: NDArray[np.float64] = np.eye(3)[[axis - 1 for axis in self.axes]]
        return sides

    @property
    def n_points(self) -> int:
        """Number of points."""
        return self.size[0] * self.size[1]

    @cached_property
    def sides(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coordinates x and y of the points, in reciprocal vectors from the origin."""
        return self._side(self.size[0]), self._side(self.size[1])

    def _side(self, n: int) -> NDArray[np.float64]:
        if self.is_closed:
            return (np.arange(n) - n // 2) / n
        half = 0.5 * self.extent
        return np.linspace(-half, half, n) if n > 1 else np.zeros(1)

    @cached_property
    def points(self) -> NDArray[np.float64]:
        """(n, 3) fractional points, those along B one behind another."""
        x, y = self.sides
        a, b = self.sides_frac
        points: NDArray[np.float64] = (
            np.array(self.origin) + x[:, None, None] * a + y[None, :, None] * b
        )
        return points.reshape(-1, 3)

    def in_plane(self, reciprocal: NDArray[Any]) -> NDArray[np.float64]:
        """Return two unit vectors (2, 3): along b_A, and in the plane at a right angle to it.

        `reciprocal` has the reciprocal vectors as rows.
        """
        a, b = self.sides_frac @ reciprocal
        first = a / np.linalg.norm(a)
        second = b - (b @ first) * first
        return np.stack([first, second / np.linalg.norm(second)])

    def facts(self) -> dict[str, Any]:
        """Return the plane by the keys of results."""
        return {
            "plane_axes": list(self.axes),
            "plane_origin_frac": list(self.origin),
            "plane_size": list(self.size),
            "plane_extent": self.extent,
        }

    def describe(self) -> str:
        """Return the plane in words."""
        at = ", ".join(f"{x:.6g}" for x in self.origin)
        letter, unit = ("", " 1/Å") if self.is_cartesian else ("b", " of a period")
        a, b = (f"{letter}{axis}" for axis in self.axes)
        wide = "" if self.is_closed else f", {self.extent:g}{unit} wide"
        return f"along {a} and {b} through ({at}), {self.size[0]}×{self.size[1]} points{wide}"
