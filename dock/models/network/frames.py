"""Rotations between the laboratory and the frame of each edge, whose z axis is the edge.

With z ↦ direction by R = R_z(α) R_y(β), D(R) = Z(α) D(R_y(β)), and D(R_y(β)) is a fixed linear
function of cos mβ and sin mβ, m ≤ l. Those are polynomials of the components of the
direction; where the edge lies on the z axis, α = 0 is taken (any α is right, as the network is
equivariant under rotations about the edge), with finite derivatives.

In the frame, coefficients are *m-major*: m = 0 with l = 0 … lmax; then for m = 1, 2, …: +m
with l = m … lmax, and −m with the same l.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dock.core.arrays import FloatArray, IntArray
from dock.core.wigner import rotation_matrix

__all__ = ["frame_matrices", "local_order", "m_starts", "to_frame", "to_lab"]

_DENSE_LMAX = 4  # up to here one (K, K) matrix per edge is quicker than one for each l


def _m_major(lmax: int) -> list[tuple[int, int]]:
    """Return l and m of the coefficients in the frame."""
    places = [(l, 0) for l in range(lmax + 1)]
    for m in range(1, lmax + 1):
        places += [(l, sign * m) for sign in (1, -1) for l in range(m, lmax + 1)]
    return places


@lru_cache(maxsize=32)
def local_order(lmax: int) -> IntArray:
    """Return for each m-major place its index l² + l + m among the l-major coefficients."""
    return np.array([l * l + l + m for l, m in _m_major(lmax)])


@lru_cache(maxsize=32)
def m_starts(lmax: int) -> tuple[int, ...]:
    """Return where the coefficients of each |m| begin, and the end."""
    counts = [lmax + 1] + [2 * (lmax + 1 - m) for m in range(1, lmax + 1)]
    return tuple(np.concatenate([[0], np.cumsum(counts)]).tolist())


@lru_cache(maxsize=32)
def _polar_table(l: int) -> FloatArray:
    """Return T (2l+3, 2l+1, 2l+1) with D(R_y(β)) = Σ_q t_q T_q for t = 1, cos β, sin β, cos 2β….

    The last two are what an edge on the z axis, upwards or downwards, turns by when its sender
    moves along y: terms that vanish, but not their derivatives.
    """
    tilt = rotation_matrix([[1, 0, 0], [0, 0, 1], [0, -1, 0]], l)  # takes z to y
    table = np.zeros((2 * l + 3, 2 * l + 1, 2 * l + 1))
    table[0] = np.outer(tilt[:, l], tilt[:, l])
    for m in range(1, l + 1):
        plus, minus = tilt[:, l + m], tilt[:, l - m]
        table[2 * m - 1] = np.outer(plus, plus) + np.outer(minus, minus)
        table[2 * m] = np.outer(minus, plus) - np.outer(plus, minus)
    about_x = _generator(l)
    table[-2] = -about_x
    table[-1] = about_x @ rotation_matrix(np.diag([-1.0, 1.0, -1.0]), l)
    return table


def _generator(l: int) -> FloatArray:
    """Return dD(R_x(θ))/dθ at θ = 0: a turn about z by m, brought to x."""
    about_z = np.zeros((2 * l + 1, 2 * l + 1))
    for m in range(1, l + 1):
        about_z[l + m, l - m], about_z[l - m, l + m] = -m, m
    to_x = rotation_matrix([[0, 0, 1], [1, 0, 0], [0, 1, 0]], l)  # z to x, x to y, y to z
    return to_x @ about_z @ to_x.T


@lru_cache(maxsize=32)
def _dense_table(lmax: int) -> FloatArray:
    """Return the tables of all l as one (2 lmax + 3, K·K) matrix, columns m-major."""
    K = (lmax + 1) ** 2
    table = np.zeros((2 * lmax + 3, K, K))
    for l in range(lmax + 1):
        place = slice(l * l, (l + 1) ** 2)
        own = _polar_table(l)
        table[: 2 * l + 1, place, place] = own[:-2]
        table[-2:, place, place] = own[-2:]
    return table[:, :, local_order(lmax)].reshape(2 * lmax + 3, K * K)


def _multiples(cosine: jax.Array, sine: jax.Array, lmax: int) -> tuple[jax.Array, jax.Array]:
    """Return cos mφ and sin mφ for m = 0 … lmax, shape (n, lmax + 1)."""
    cosines, sines = [jnp.ones_like(cosine)], [jnp.zeros_like(sine)]
    for _ in range(lmax):
        c, s = cosines[-1], sines[-1]
        cosines.append(c * cosine - s * sine)
        sines.append(s * cosine + c * sine)
    return jnp.stack(cosines, axis=-1), jnp.stack(sines, axis=-1)


def _angles(vectors: jax.Array) -> tuple[jax.Array, ...]:
    """Return cos α, sin α, cos β, sin β, and y of the edges up and down the z axis, else 0."""
    x, y, z = vectors[:, 0], vectors[:, 1], vectors[:, 2]
    tiny = jnp.asarray(1e-6 if vectors.dtype == jnp.float32 else 1e-14, vectors.dtype)
    length = jnp.sqrt(x * x + y * y + z * z)
    x, y, z = x / length, y / length, z / length
    squared = x * x + y * y
    on_axis = squared < tiny**2
    rho = jnp.sqrt(jnp.where(on_axis, 1.0, squared))
    cos_a = jnp.where(on_axis, 1.0, x / rho)
    sin_a = jnp.where(on_axis, 0.0, y / rho)
    # On the axis β is 0 or π and, with α = 0, sin β = x to first order.
    sin_b = jnp.where(on_axis, x, rho)
    up, down = jnp.where(on_axis & (z > 0), y, 0.0), jnp.where(on_axis & (z < 0), y, 0.0)
    return cos_a, sin_a, z, sin_b, up, down


def frame_matrices(vectors: jax.Array, lmax: int) -> Any:
    """Return D of each edge's frame: lab coefficients (l-major) = D · local ones (m-major).

    `vectors` (n, 3) may have any length but 0.

    Returns
    -------
    jax.Array or tuple of jax.Array
        Up to lmax 4, (n, K, K) with K = (lmax+1)²; beyond, one (n, 2l+1, 2l+1) for each l, with
        columns m = −l … l. Only `to_frame` and `to_lab` need to know.
    """
    cos_a, sin_a, cos_b, sin_b, up, down = _angles(vectors)
    cos_ma, sin_ma = _multiples(cos_a, sin_a, lmax)
    cos_mb, sin_mb = _multiples(cos_b, sin_b, lmax)
    polar = jnp.stack([cos_mb[:, 1:], sin_mb[:, 1:]], axis=-1).reshape(vectors.shape[0], 2 * lmax)
    polar = jnp.concatenate([cos_mb[:, :1], polar], axis=1)
    ends = jnp.stack([up, down], axis=1)
    if lmax <= _DENSE_LMAX:
        K = (lmax + 1) ** 2
        table = jnp.asarray(_dense_table(lmax), vectors.dtype)
        tilted = (jnp.concatenate([polar, ends], axis=1) @ table).reshape(-1, K, K)
        ls = np.repeat(np.arange(lmax + 1), 2 * np.arange(lmax + 1) + 1)
        ms = np.arange(K) - ls * ls - ls
        return _turn(tilted, cos_ma, sin_ma, ms, ls * ls + ls - ms)
    matrices = []
    for l in range(lmax + 1):
        width = 2 * l + 1
        table = jnp.asarray(_polar_table(l).reshape(width + 2, width * width), vectors.dtype)
        terms = jnp.concatenate([polar[:, :width], ends], axis=1)
        tilted = (terms @ table).reshape(-1, width, width)
        ms = np.arange(-l, l + 1)
        matrices.append(_turn(tilted, cos_ma, sin_ma, ms, np.arange(width)[::-1]))
    return tuple(matrices)


def _turn(
    tilted: jax.Array, cosines: jax.Array, sines: jax.Array, ms: IntArray, opposite: IntArray
) -> jax.Array:
    """Multiply by Z(α) from the left: rows m and −m mix."""
    cosine = cosines[:, np.abs(ms)]
    sine = sines[:, np.abs(ms)] * (-np.sign(ms)).astype(np.float64)
    return cosine[:, :, None] * tilted + sine[:, :, None].astype(tilted.dtype) * tilted[:, opposite]


def to_frame(frames: Any, features: jax.Array) -> jax.Array:
    """Turn lab features (n, K, C), l-major, into the frames, m-major."""
    if not isinstance(frames, tuple):
        return jnp.einsum("nkp,nkc->npc", frames, features)
    parts = [
        jnp.einsum("nkp,nkc->npc", matrix, features[:, l * l : (l + 1) ** 2])
        for l, matrix in enumerate(frames)
    ]
    rows = [parts[l][:, l + m : l + m + 1] for l, m in _m_major(len(frames) - 1)]
    return jnp.concatenate(rows, axis=1)


def to_lab(frames: Any, features: jax.Array) -> jax.Array:
    """Turn features of the frames (n, K, C), m-major, into the lab, l-major."""
    if not isinstance(frames, tuple):
        return jnp.einsum("nkp,npc->nkc", frames, features)
    places = np.argsort(local_order(len(frames) - 1)).tolist()
    parts = []
    for l, matrix in enumerate(frames):
        rows = [features[:, row : row + 1] for row in places[l * l : (l + 1) ** 2]]
        parts.append(jnp.einsum("nkp,npc->nkc", matrix, jnp.concatenate(rows, axis=1)))
    return jnp.concatenate(parts, axis=1)
