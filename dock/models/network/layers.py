"""The parts of the network: pure functions of parameters and arrays.

Features have two kinds of channels: *natural* ones with parity (−1)^l, and *pseudo* ones with
the other. In the frame of an edge the pseudo channels are stored multiplied by i (+m ← −(−m),
−m ← +m), after which a reflection through the edge acts on both kinds alike; for m > 0 one real
matrix may then mix all channels, for m = 0 the two kinds stay apart. This is the most general
linear map that commutes with rotations and reflections about the edge, so the network is
equivariant under O(3), not only under rotations.

Local features are (n, K, c) with K = (lmax + 1)², m-major; lab features the same, l-major. Natural
channels come first; `sizes` are the natural channels of the input and of the output.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dock.core.arrays import IntArray
from dock.models.network.frames import local_order, m_starts

__all__ = [
    "Params",
    "dense",
    "envelope",
    "gate_factors",
    "lab_ls",
    "mix_channels",
    "norm_lab",
    "norm_local",
    "radial_features",
    "so2_linear",
    "times_i",
]

Params = Mapping[str, Any]
_SILU = 1.6767  # keeps the mean square of a normal variable
_SIGMOID = 1.8
_EPSILON = 1e-6


def dense(params: Params, x: jax.Array) -> jax.Array:
    """Apply a network of two layers, SiLU between them."""
    hidden = jax.nn.silu(x @ params["w0"] + params["b0"]) * _SILU
    result: jax.Array = hidden @ params["w1"] + params["b1"]
    return result


def radial_features(lengths: jax.Array, n: int, reach: float) -> jax.Array:
    """Return (n_edges, n) Gaussians on a grid from 0 to `reach`, Å."""
    centres = jnp.linspace(0.0, reach, n, dtype=lengths.dtype)
    width = reach / (n - 1)
    return jnp.exp(-0.5 * ((lengths[:, None] - centres) / width) ** 2)


def envelope(lengths: jax.Array, cutoffs: jax.Array, power: int = 2) -> jax.Array:
    """Return (1 − xᵖ)³ for x = r / cutoff < 1, else 0; 1 where the cutoff is 0.

    Value, slope and curvature vanish at the cutoff, so that nothing jumps when an edge appears.
    The larger the power p, the later it falls.
    """
    limited = cutoffs > 0
    x = lengths / jnp.where(limited, cutoffs, 1.0)
    inside = jnp.maximum(1.0 - x**power, 0.0) ** 3
    return jnp.where(limited, inside, 1.0)


def times_i(x: jax.Array, lmax: int) -> jax.Array:
    """Multiply m-major local features by i: +m ← −(−m), −m ← +m."""
    starts = m_starts(lmax)
    middles = [(starts[m] + starts[m + 1]) // 2 for m in range(1, lmax + 1)]
    parts = jnp.split(x, sorted([*starts[1:-1], *middles]), axis=1)
    for plus in range(1, 2 * lmax, 2):
        parts[plus : plus + 2] = [-parts[plus + 1], parts[plus]]
    return jnp.concatenate(parts, axis=1)


def so2_linear(
    params: Params,
    x: jax.Array,
    sizes: tuple[int, int],
    lmax: int,
    factors: jax.Array | None = None,
) -> jax.Array:
    """Apply the general O(2)-equivariant linear map of each |m| to local features.

    Parameters
    ----------
    params
        ``m0``, ``p0`` for m = 0 of natural and pseudo channels, ``m1`` … for the rest.
    factors
        (n, lmax + 1, c) numbers that multiply each l and channel of the input first. Given here,
        they are applied while the parts are cut out, without arrays of their own.
    """
    n, _, channels = x.shape
    rows = lmax + 1
    c_in, c_out = sizes
    first, *others = jnp.split(x, m_starts(lmax)[1:-1], axis=1)
    if factors is not None:
        first = first * factors
    own, pseudo = jnp.split(first, [c_in], axis=2)
    first = (own.reshape(n, rows * c_in) @ params["m0"]).reshape(n, rows, c_out)
    if "p0" in params:
        mixed = pseudo.reshape(n, rows * (channels - c_in)) @ params["p0"]
        first = jnp.concatenate([first, mixed.reshape(n, rows, -1)], axis=-1)
    mapped = [first]
    for m, part in enumerate(others, 1):
        rows = lmax + 1 - m
        if factors is not None:
            part = part.reshape(n, 2, rows, channels) * factors[:, None, m:]
        both = part.reshape(2 * n, rows * channels) @ params[f"m{m}"]
        mapped.append(both.reshape(n, 2 * rows, -1))
    return jnp.concatenate(mapped, axis=1)


def gate_factors(scalars: jax.Array, gates: jax.Array, lmax: int) -> jax.Array:
    """Return factors (n, lmax + 1, c) that pass natural scalars through SiLU and gate the rest.

    `scalars` (n, natural channels) is the part of l = 0. `gates` (n, (lmax + 1) · c) are made of
    scalars; those of l = 0 act on pseudo-scalars only.
    """
    n, natural = scalars.shape
    factor = jax.nn.sigmoid(gates.reshape(n, lmax + 1, -1)) * _SIGMOID
    silu = jax.nn.sigmoid(scalars[:, None]) * _SILU
    first = jnp.concatenate([silu, factor[:, :1, natural:]], axis=-1)
    return jnp.concatenate([first, factor[:, 1:]], axis=1)


def _rms_normalised(x: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt((x**2).mean((-1, -2), keepdims=True) + _EPSILON)


def _norm(params: Params, x: jax.Array, natural: int, ls: np.ndarray) -> jax.Array:
    """Normalise scalars apart from everything else; weights of each l and channel follow."""
    first, rest = jnp.split(x, [1], axis=1)
    own, pseudo = jnp.split(first, [natural], axis=2)
    scalars = _rms_normalised(own - own.mean(-1, keepdims=True))
    weights = 1.0 / ((2 * ls[1:] + 1) * max(ls.max(), 1))
    squares = jnp.einsum("nkc,k->n", rest**2, jnp.asarray(weights, rest.dtype))
    scale = jax.lax.rsqrt(squares / rest.shape[-1] + _EPSILON)
    scalars = scalars + params["b"]
    if x.shape[-1] > natural:
        scalars = jnp.concatenate([scalars, _rms_normalised(pseudo)], axis=-1)
    normed = jnp.concatenate([scalars, rest * scale[:, None, None]], axis=1)
    return normed * jnp.asarray(params["w"])[ls]


def norm_local(params: Params, x: jax.Array, natural: int, lmax: int) -> jax.Array:
    """Normalise local features."""
    return _norm(params, x, natural, lab_ls(lmax)[local_order(lmax)])


def norm_lab(params: Params, x: jax.Array, natural: int, lmax: int) -> jax.Array:
    """Normalise lab features."""
    return _norm(params, x, natural, lab_ls(lmax))


def lab_ls(lmax: int) -> IntArray:
    """Return the l of each lab coefficient."""
    return np.repeat(np.arange(lmax + 1), 2 * np.arange(lmax + 1) + 1)


def mix_channels(params: Params, x: jax.Array, sizes: tuple[int, int], lmax: int) -> jax.Array:
    """Mix the channels of each l of lab features, natural and pseudo apart, with a bias on scalars.

    `params` has ``n`` (lmax + 1, c, c′), ``b`` (c′,), and ``p`` for pseudo channels.
    """
    natural, pseudo = jnp.split(x, [sizes[0]], axis=-1)
    mixed = _mix(params["n"], natural, lmax, params["b"])
    if "p" not in params:
        return mixed
    return jnp.concatenate([mixed, _mix(params["p"], pseudo, lmax, None)], axis=-1)


def _mix(weights: jax.Array, x: jax.Array, lmax: int, bias: jax.Array | None) -> jax.Array:
    """Multiply each l by its matrix."""
    n, _, channels = x.shape
    parts = []
    for l, own in enumerate(jnp.split(x, [l * l for l in range(1, lmax + 1)], axis=1)):
        mixed = own.reshape(n * (2 * l + 1), channels) @ weights[l]
        parts.append(mixed.reshape(n, 2 * l + 1, -1))
    if bias is not None:
        parts[0] = parts[0] + bias
    return jnp.concatenate(parts, axis=1)
