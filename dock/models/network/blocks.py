"""From the parts of the targets to padded, exactly Hermitian blocks."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dock.core.arrays import FloatArray
from dock.models.network.layers import Params
from dock.models.targets import TargetLayout

__all__ = [
    "edge_blocks",
    "hermitian_edges",
    "hermitian_nodes",
    "node_blocks",
    "uncouple",
]

_DENSE_BLOCK = 400


@jax.custom_vjp
def _permuted(x: jax.Array, order: jax.Array, inverse: jax.Array) -> jax.Array:
    """Return x[..., order]; its derivative is a gather too, not a slow scatter."""
    del inverse
    return x[..., order]


def _permuted_forward(x: jax.Array, order: jax.Array, inverse: jax.Array) -> tuple[Any, Any]:
    return x[..., order], inverse


def _permuted_backward(inverse: jax.Array, g: jax.Array) -> tuple[Any, None, None]:
    return g[..., inverse], None, None


_permuted.defvjp(_permuted_forward, _permuted_backward)


@lru_cache(maxsize=8)
def _dense_uncoupling(layout: TargetLayout) -> FloatArray:
    """Return the whole orthogonal matrix from parts to the flat block."""
    n = layout.n_block
    return layout.uncouple(np.eye(n)).reshape(n, n)


def uncouple(layout: TargetLayout, parts: jax.Array) -> jax.Array:
    """Return padded blocks (n, n_channels, n_common, n_common) of the parts (n, n_block)."""
    n, side = parts.shape[0], layout.n_common
    if layout.n_block <= _DENSE_BLOCK:
        flat = parts @ jnp.asarray(_dense_uncoupling(layout), parts.dtype)
        return flat.reshape(n, layout.n_channels, side, side)
    before, after = layout.uncoupling
    ordered = _permuted(parts, jnp.asarray(before), jnp.asarray(np.argsort(before)))
    found, begin = [], 0
    for group in layout.groups:
        count, width = group.place.shape
        own = ordered[:, begin : begin + count * width].reshape(n, count, width)
        begin += count * width
        found.append((own @ jnp.asarray(group.matrix.T, parts.dtype)).reshape(n, count * width))
    flat = jnp.concatenate(found, axis=-1)
    flat = _permuted(flat, jnp.asarray(after), jnp.asarray(np.argsort(after)))
    return flat.reshape(n, layout.n_channels, side, side)


def node_blocks(
    params: Params, layout: TargetLayout, parts: jax.Array, species: jax.Array
) -> jax.Array:
    """Return Hermitian on-site blocks in the unit of the target."""
    own = params["constants"]
    scaled = parts * own["node_scale"][species] + own["node_shift"][species]
    return hermitian_nodes(layout, uncouple(layout, scaled), species)


def edge_blocks(
    params: Params, layout: TargetLayout, parts: jax.Array, edge_type: jax.Array
) -> jax.Array:
    """Return off-site blocks of each direction by itself, not yet averaged with the other."""
    return uncouple(layout, parts * params["constants"]["edge_scale"][edge_type])


def hermitian_nodes(layout: TargetLayout, blocks: jax.Array, species: jax.Array) -> jax.Array:
    """Average on-site blocks with their adjoints; zero the padding."""
    signs = jnp.asarray(layout.channel_signs, blocks.dtype)[:, None, None]
    mask = jnp.asarray(layout.node_mask, blocks.dtype)[species]
    return 0.5 * (blocks + signs * blocks.swapaxes(-1, -2)) * mask[:, None]


def hermitian_edges(
    layout: TargetLayout, blocks: jax.Array, reverse: jax.Array, edge_type: jax.Array
) -> jax.Array:
    """Average off-site blocks with the adjoints of their partners; zero the padding."""
    signs = jnp.asarray(layout.channel_signs, blocks.dtype)[:, None, None]
    mask = jnp.asarray(layout.edge_mask, blocks.dtype)[edge_type]
    other = _permuted_rows(blocks, reverse).swapaxes(-1, -2)
    return 0.5 * (blocks + signs * other) * mask[:, None]


@jax.custom_vjp
def _permuted_rows(x: jax.Array, reverse: jax.Array) -> jax.Array:
    """Return x[reverse] for an involution: its derivative is the same gather."""
    return x[reverse]


def _rows_forward(x: jax.Array, reverse: jax.Array) -> tuple[jax.Array, jax.Array]:
    return x[reverse], reverse


def _rows_backward(reverse: jax.Array, g: jax.Array) -> tuple[jax.Array, None]:
    return g[reverse], None


_permuted_rows.defvjp(_rows_forward, _rows_backward)
