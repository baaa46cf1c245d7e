"""Rotations of real harmonics (Wigner D) and of spinors, in the dock convention.

With r → Q r the functions obey Y_m(Q r̂) = Σ_m' D_{mm'}(Q) Y_m'(r̂). A structure whose positions
are turned by Q has the blocks H' = D_i H D_jᵀ and, with spin, (U ⊗ D_i) H (U ⊗ D_j)†.

Q is everywhere an orthogonal (3, 3) matrix, a rotation or a rotation with inversion, that acts on
column vectors; one that is not orthogonal to 1e-8 is a `ConventionError`, a negative l a
`UsageError`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dock.errors import ConventionError, UsageError

__all__ = ["orthogonal_matrix", "rotation_matrix", "shell_rotation", "spinor_rotation"]

_ORTHOGONALITY = 1e-8
# Below this the scalar part of a unit quaternion is rounding: the angle is π.
_HALF_TURN = 1e-10


def orthogonal_matrix(Q: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Check that Q is orthogonal to 1e-8 and remove what it lacks.

    The result is Q after one Newton step to its polar factor, float64 and orthogonal to rounding,
    so that a matrix read from a file of ten digits gives exact rotations too. Another shape or a
    number that is not finite is a `ConventionError` as well.
    """
    q = np.asarray(Q, dtype=np.float64)
    if q.shape != (3, 3):
        raise ConventionError(f"The rotation has shape {q.shape}; expected (3, 3).")
    if not np.isfinite(q).all():
        raise ConventionError(f"The rotation {q.tolist()} is not finite; expected real numbers.")
    gram = q.T @ q
    deviation = float(np.abs(gram - np.eye(3)).max())
    if deviation > _ORTHOGONALITY:
        raise ConventionError(
            f"The rotation is not orthogonal: the largest element of |QᵀQ − 1| is {deviation:.3g}; "
            f"expected at most {_ORTHOGONALITY:g}. Give it with more digits, or pass it through a "
            "QR or singular value decomposition."
        )
    return q @ (1.5 * np.eye(3) - 0.5 * gram)


def rotation_matrix(Q: npt.ArrayLike, l: int) -> npt.NDArray[np.float64]:
    """Give the real Wigner matrix D of one l: Y_m(Q r̂) = Σ_m' D_{mm'} Y_m'(r̂).

    D = ∫ Y(Q r̂) Y(r̂)ᵀ dr̂ by a product quadrature that is exact for polynomials of degree 2l, so
    there is no linear system to solve and no axis at which the angles are undefined. D is
    orthogonal, D(Q₁Q₂) = D(Q₁) D(Q₂), and an improper Q brings its parity (−1)^l. Its rows and
    columns, 2l+1 each, are m = −l … +l.

    Examples
    --------
    A quarter turn about z takes x to y and y to −x; in the order y, z, x:

    >>> turn = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    >>> print(rotation_matrix(turn, 1).round(12) + 0.0)
    [[ 0.  0.  1.]
     [ 0.  1.  0.]
     [-1.  0.  0.]]
    """
    q = orthogonal_matrix(Q)
    if l < 0:
        raise UsageError(f"l is {l}; an angular momentum is 0 or greater.")
    return _rotation(q.tobytes(), l).copy()


def shell_rotation(Q: npt.ArrayLike, ls: Sequence[int]) -> npt.NDArray[np.float64]:
    """Give the rotation (n, n) of all orbitals of an atom: D of each shell on the diagonal.

    Examples
    --------
    >>> inversion = -np.eye(3)
    >>> shell_rotation(inversion, [0, 1]).diagonal().round(12).tolist()
    [1.0, -1.0, -1.0, -1.0]
    """
    q = orthogonal_matrix(Q)
    if len(ls) and min(ls) < 0:
        raise UsageError(f"The shells are {list(ls)}; an angular momentum is 0 or greater.")
    blocks = {l: _rotation(q.tobytes(), l) for l in set(ls)}
    ends = np.cumsum([2 * l + 1 for l in ls], dtype=np.int64)
    size = int(ends[-1]) if len(ls) else 0
    full = np.zeros((size, size))
    for l, end in zip(ls, ends, strict=True):
        place = slice(end - 2 * l - 1, end)
        full[place, place] = blocks[l]
    return full


def spinor_rotation(Q: npt.ArrayLike) -> npt.NDArray[np.complex128]:
    """Give the SU(2) matrix U of the proper part of Q: U (σ·n) U† = σ·(Q n).

    U = exp(−iθ σ·a/2) for the turn by θ about the unit axis a, in the order up, down; an improper
    Q acts as det(Q)·Q, for inversion leaves spin alone. Of the two signs of U the one with θ in
    [0, π] is given; at θ = π the first component of a that is not zero is positive. So
    U(Q₁Q₂) = ±U(Q₁) U(Q₂).

    Examples
    --------
    >>> half_turn_about_z = np.diag([-1.0, -1.0, 1.0])
    >>> spinor_rotation(half_turn_about_z).diagonal().tolist()
    [-1j, 1j]
    """
    q = orthogonal_matrix(Q)
    w, x, y, z = _quaternion(q * math.copysign(1.0, np.linalg.det(q)))
    return np.array([[w - 1j * z, -y - 1j * x], [y - 1j * x, w + 1j * z]])


@lru_cache(maxsize=512)
def _rotation(q: bytes, l: int) -> npt.NDArray[np.float64]:
    """Integrate Y(q r) Y(r)ᵀ over the sphere; H, S and every species are turned by the same q."""
    from dock.core.harmonics import real_harmonics  # its tables are 2 ms of a start of 300

    points, weighted = _quadrature(l)
    turn = np.frombuffer(q).reshape(3, 3)
    return real_harmonics(l, points @ turn.T).T @ weighted


@lru_cache(maxsize=64)
def _quadrature(l: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Give directions (n, 3) exact to degree 2l, and the weights times Y there, (n, 2l+1)."""
    from numpy.polynomial.legendre import leggauss

    from dock.core.harmonics import real_harmonics

    z, weights = leggauss(l + 1)
    phi = 2 * np.pi * np.arange(2 * l + 1) / (2 * l + 1)
    rho = np.sqrt(1 - z * z)[:, None]
    points = np.stack(
        [rho * np.cos(phi), rho * np.sin(phi), np.repeat(z[:, None], phi.size, axis=1)], axis=-1
    ).reshape(-1, 3)
    area = np.repeat(weights * 2 * np.pi / phi.size, phi.size)
    weighted = area[:, None] * real_harmonics(l, points)
    points.flags.writeable = weighted.flags.writeable = False
    return points, weighted


def _quaternion(q: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Give the unit quaternion (w, x, y, z) of a proper rotation, its sign fixed.

    Row k of the matrix below is 4 c_k (w, x, y, z) with c_k the k-th component; the row of the
    largest component, at least 1/2, loses no digits at any angle.
    """
    (a, b, c), (d, e, f), (g, h, i) = q
    products = np.array(
        [
            [1 + a + e + i, h - f, c - g, d - b],
            [h - f, 1 + a - e - i, b + d, c + g],
            [c - g, b + d, 1 - a + e - i, f + h],
            [d - b, c + g, f + h, 1 - a - e + i],
        ]
    )
    row = products[np.argmax(np.diag(products))]
    quaternion: npt.NDArray[np.float64] = row / np.linalg.norm(row)
    leading = next(part for part in quaternion if abs(part) > _HALF_TURN)
    return quaternion if leading > 0 else -quaternion
