"""From the parts of the targets to padded, exactly Hermitian blocks."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dock.core.arrays import FloatArray
from dock.models.network.layers import Params
from dock.models.targets import TargetLayout

__all__ = ["edge_blocks", "hermitian_edges", "node_blocks", "uncouple"]

_DENSE_BLOCK = 400


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _permuted(x: jax.Array, order: jax.Array, inverse: jax.Array, axis: int) -> jax.Array:
    """Return x in another order along axis 0 or −1; the derivative is a gather too, no scatter."""
    del inverse
    return x[..., order] if axis else x[order]


def _forward(x: jax.Array, order: jax.Array, inverse: jax.Array, axis: int) -> tuple[Any, Any]:
    return _permuted(x, order, inverse, axis), inverse


def _backward(axis: int, inverse: jax.Array, g: jax.Array) -> tuple[Any, None, None]:
    return _permuted(g, inverse, inverse, axis), None, None


_permuted.defvjp(_forward, _backward)


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
    ordered = _permuted(parts, jnp.asarray(before), jnp.asarray(np.argsort(before)), -1)
    squares, begin = [], 0
    for group in layout.groups:
        count, width = group.place.shape
        own = ordered[:, begin : begin + count * width].reshape(n, count, width)
        begin += count * width
        squares.append((own @ jnp.asarray(group.matrix.T, parts.dtype)).reshape(n, count * width))
    flat = jnp.concatenate(squares, axis=-1)
    flat = _permuted(flat, jnp.asarray(after), jnp.asarray(np.argsort(after)), -1)
    return flat.reshape(n, layout.n_channels, side, side)


def node_blocks(
    params: Params, layout: TargetLayout, parts: jax.Array, species: jax.Array
) -> jax.Array:
    """Return on-site blocks in the unit of the target, averaged with their adjoints."""
    own = params["constants"]
    scaled = parts * own["node_scale"][species] + own["node_shift"][species]
    blocks = uncouple(layout, scaled)
    return _hermitian(layout, blocks, blocks, layout.node_mask, species)


def edge_blocks(
    params: Params, layout: TargetLayout, parts: jax.Array, edge_type: jax.Array
) -> jax.Array:
    """Return off-site blocks of each direction by itself, not yet averaged with the other."""
    return uncouple(layout, parts * params["constants"]["edge_scale"][edge_type])


def hermitian_edges(
    layout: TargetLayout, blocks: jax.Array, reverse: jax.Array, edge_type: jax.Array
) -> jax.Array:
    """Average off-site blocks with the adjoints of their partners; zero the padding."""
    partners = _permuted(blocks, reverse, reverse, 0)
    return _hermitian(layout, blocks, partners, layout.edge_mask, edge_type)


def _hermitian(
    layout: TargetLayout, blocks: jax.Array, partners: jax.Array, mask: Any, kind: jax.Array
) -> jax.Array:
    """Average blocks with the adjoints of their partners; zero the padding."""
    signs = jnp.asarray(layout.channel_signs, blocks.dtype)[:, None, None]
    exists = jnp.asarray(mask, blocks.dtype)[kind][:, None]
    return 0.5 * (blocks + signs * partners.swapaxes(-1, -2)) * exists
