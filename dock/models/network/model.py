"""The network: from the graph of a structure to padded blocks.

Features of atoms are (n_atoms, K, c), those of edges (n_edges, K, c_e) in the frames, with
K = (lmax + 1)² and natural channels first. `block` and `head` are the parameters of one
interaction and of one output.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dock.core.arrays import FloatArray
from dock.models.coupling import clebsch_gordan
from dock.models.network.blocks import edge_blocks, hermitian_edges, node_blocks
from dock.models.network.config import NetworkConfig
from dock.models.network.frames import frame_matrices, to_frame, to_lab
from dock.models.network.layers import (
    Params,
    dense,
    envelope,
    gate_factors,
    lab_ls,
    mix_channels,
    norm_lab,
    norm_local,
    radial_features,
    so2_linear,
    times_i,
)
from dock.models.targets import TargetLayout

__all__ = [
    "EdgeGeometry",
    "Edges",
    "apply",
    "edge_geometry",
    "edge_head",
    "edge_update",
    "node_head",
    "node_update",
    "start_edges",
    "start_nodes",
    "summed_messages",
]

_BLOCK_POWER = 12  # blocks fade late: what the closed form leaves far out must stay within reach


class Edges(NamedTuple):
    """Edges between nodes: who receives, who sends, and the kind (receiver·n_species + sender)."""

    receiver: jax.Array
    sender: jax.Array
    edge_type: jax.Array
    vector: jax.Array
    edge_mask: jax.Array

    @classmethod
    def of(cls, arrays: Mapping[str, Any]) -> Edges:
        """Return the edges of a batch."""
        return cls(*(arrays[name] for name in cls._fields))


class EdgeGeometry(NamedTuple):
    """Edges, and what depends on them alone: frames, radial features, envelopes."""

    edges: Edges
    frames: Any
    radial: jax.Array
    envelope: jax.Array
    block_envelope: jax.Array


def edge_geometry(params: Params, config: NetworkConfig, edges: Edges) -> EdgeGeometry:
    """Return frames, radial features with those of the pair of species, and the envelopes."""
    lengths = jnp.sqrt((edges.vector**2).sum(-1))
    gaussians = radial_features(lengths, config.n_radial, config.radial_reach)
    radial = jnp.concatenate([gaussians, params["pair"][edges.edge_type]], axis=-1)
    fade = late = edges.edge_mask
    if any(config.cutoffs):
        cutoffs = jnp.asarray(config.cutoffs, lengths.dtype)[edges.edge_type]
        fade = fade * envelope(lengths, cutoffs)
        late = late * envelope(lengths, cutoffs, _BLOCK_POWER)
    return EdgeGeometry(edges, frame_matrices(edges.vector, config.lmax), radial, fade, late)


def start_nodes(
    params: Params, config: NetworkConfig, species: jax.Array, moments: jax.Array | None
) -> jax.Array:
    """Return the first features of the atoms (n, K, channels): their species, their moments."""
    scalars = params["species"][species]
    K, width = (config.lmax + 1) ** 2, config.channels + config.pseudo_channels
    x = jnp.zeros((species.shape[0], K, width), scalars.dtype)
    if config.moment_unit and moments is not None:
        own, m = params["moment"], moments[:, 2:] / config.moment_unit
        powers = jnp.concatenate([m, m**2], axis=-1)
        weights = own["scalar"][species].reshape(-1, 2, config.channels)
        scalars = scalars + dense(own["size"], powers) + jnp.einsum("np,npc->nc", powers, weights)
    elif config.moments and moments is not None:
        own = params["moment"]
        sizes = jnp.stack([(moments**2).sum(-1), moments[:, 2]], axis=-1)
        collinear = jnp.asarray([1.0, 1.0 if config.pseudo_channels == 0 else 0.0], x.dtype)
        scalars = scalars + dense(own["size"], sizes * collinear)
        axial = moments[:, jnp.asarray([1, 2, 0])]  # l = 1 has the order y, z, x
        if config.pseudo_channels:
            x = x.at[:, 1:4, config.channels :].set(
                axial[:, :, None] * own["axial"][species][:, None]
            )
    return x.at[:, 0, : config.channels].set(scalars)


def start_edges(params: Params, config: NetworkConfig, geometry: EdgeGeometry) -> jax.Array:
    """Return the first features of the edges (n, K, edge channels), m = 0 only."""
    n, rows = geometry.radial.shape[0], config.lmax + 1
    first = dense(params["start"], geometry.radial).reshape(n, rows, config.edge_channels)
    width = config.edge_channels + config.edge_pseudo_channels
    e = jnp.zeros((n, rows * rows, width), first.dtype)
    return e.at[:, :rows, : config.edge_channels].set(first)


def _into_frame(geometry: EdgeGeometry, x: jax.Array, natural: int, lmax: int) -> tuple[Any, Any]:
    """Return natural and pseudo features in the frame, the latter times i."""
    own, pseudo = jnp.split(to_frame(geometry.frames, x), [natural], axis=-1)
    return own, times_i(pseudo, lmax)


def _out_of_frame(geometry: EdgeGeometry, x: jax.Array, natural: int, lmax: int) -> jax.Array:
    """Undo `_into_frame`."""
    if x.shape[-1] > natural:
        own, pseudo = jnp.split(x, [natural], axis=-1)
        # i² = −1 for m > 0; m = 0 is not touched.
        signs = np.where(np.arange(x.shape[1]) <= lmax, 1.0, -1.0)[:, None]
        pseudo = times_i(pseudo, lmax) * jnp.asarray(signs, x.dtype)
        x = jnp.concatenate([own, pseudo], axis=-1)
    return to_lab(geometry.frames, x)


def edge_update(
    block: Params, config: NetworkConfig, x: jax.Array, e: jax.Array, geometry: EdgeGeometry
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Convolve atoms `x`, normalised by `norm_lab` with ``norm_x``, and edges `e`.

    Returns
    -------
    e, message, logits
        New features of the edges, messages (n_edges, K, c) in the lab, and the logits of the
        attention (n_edges, heads) or None.
    """
    lmax, c = config.lmax, config
    n_i, p_i = _into_frame(geometry, x[geometry.edges.receiver], c.channels, lmax)
    n_j, p_j = _into_frame(geometry, x[geometry.edges.sender], c.channels, lmax)
    own = norm_local(block["norm_e"], e, c.edge_channels, lmax)
    n_e, p_e = jnp.split(own, [c.edge_channels], axis=-1)
    h = jnp.concatenate([n_i, n_j, n_e, p_i, p_j, p_e], axis=-1)
    weights = dense(block["radial"], geometry.radial).reshape(h.shape[0], lmax + 1, -1)
    natural = 2 * c.channels + c.edge_channels
    h = so2_linear(block["first"], h, (natural, c.hidden), lmax, weights)
    own = h[:, 0, : c.hidden]
    gates = dense(block["gate"], jnp.concatenate([own, geometry.radial], axis=-1))
    factors = gate_factors(own, gates, lmax)
    passed = own * factors[:, 0, : c.hidden]
    scalars = jnp.concatenate([passed, geometry.radial], axis=-1)
    total = c.channels + c.edge_channels
    h = so2_linear(block["second"], h, (c.hidden, total), lmax, factors)
    ends = [c.channels, total, total + c.pseudo_channels]
    n_x, n_e, p_x, p_e = jnp.split(h, ends, axis=-1)
    e = e + jnp.concatenate([n_e, p_e], axis=-1)
    message = _out_of_frame(geometry, jnp.concatenate([n_x, p_x], axis=-1), c.channels, lmax)
    message = message * (dense(block["weight"], scalars) * geometry.envelope[:, None])[:, None]
    logits = dense(block["attention"], scalars) if c.n_heads else None
    return e, message, logits


def node_update(
    block: Params, config: NetworkConfig, x: jax.Array, summed: jax.Array, species: jax.Array
) -> jax.Array:
    """Add the sum of the messages to the atoms and let each atom's features react.

    `summed` (n_atoms, K, c) are messages summed over the neighbours, attention included.
    """
    c, lmax = config, config.lmax
    sizes = (c.channels, c.channels)
    x = x + mix_channels(block["out"], summed, sizes, lmax)
    y = mix_channels(block["f_in"], norm_lab(block["norm_f"], x, c.channels, lmax), sizes, lmax)
    scalars = jnp.concatenate([y[:, 0, : c.channels], block["f_species"][species]], axis=-1)
    factor = gate_factors(y[:, 0, : c.channels], dense(block["f_gate"], scalars), lmax)
    return x + mix_channels(block["f_out"], y * factor[:, lab_ls(lmax)], sizes, lmax)


def summed_messages(
    config: NetworkConfig,
    message: jax.Array,
    logits: jax.Array | None,
    geometry: EdgeGeometry,
    n_atoms: int,
) -> jax.Array:
    """Return the messages that each atom gets, divided by the root of the mean degree."""
    receiver = geometry.edges.receiver
    scale = max(config.mean_degree, 1.0) ** -0.5
    if logits is not None:
        weights = _attention_weights(logits, geometry.envelope, receiver, n_atoms)
        heads = jnp.repeat(weights, config.channels // config.n_heads, axis=-1)
        if config.pseudo_channels:
            share = config.pseudo_channels // config.n_heads
            heads = jnp.concatenate([heads, jnp.repeat(weights, share, axis=-1)], axis=-1)
        message = message * heads[:, None] * max(config.mean_degree, 1.0)
    summed: jax.Array = jax.ops.segment_sum(message, receiver, n_atoms) * scale
    return summed


def _attention_weights(
    logits: jax.Array, fade: jax.Array, receiver: jax.Array, n_atoms: int
) -> jax.Array:
    """Return softmax weights over the edges of each receiver, faded at the cutoff."""
    limited = 8.0 * jnp.tanh(logits / 8.0)  # no maximum over neighbours is needed, chunks add up
    weights = jnp.exp(limited) * fade[:, None]
    total = jax.ops.segment_sum(weights, receiver, n_atoms)
    return weights / (total[receiver] + 1e-3)


@lru_cache(maxsize=16)
def _product_table(lmax: int, factor_lmax: int, *, natural: bool) -> FloatArray:
    """Return the couplings of two factors to natural or to pseudo parts."""
    K, small = (lmax + 1) ** 2, (factor_lmax + 1) ** 2
    table = np.zeros((small, small, K))
    for l1 in range(factor_lmax + 1):
        for l2 in range(factor_lmax + 1):
            for l3 in range(abs(l1 - l2), min(l1 + l2, lmax) + 1):
                if ((l1 + l2 + l3) % 2 == 0) is natural:
                    place = np.s_[
                        l1**2 : (l1 + 1) ** 2, l2**2 : (l2 + 1) ** 2, l3**2 : (l3 + 1) ** 2
                    ]
                    table[place] = clebsch_gordan(l1, l2, l3) * (2 * l3 + 1) ** 0.5 / 2
    return table.reshape(small * small, K)


def node_head(
    head: Params, config: NetworkConfig, layout: TargetLayout, x: jax.Array, species: jax.Array
) -> jax.Array:
    """Return the parts (n_atoms, n_block) of the on-site blocks, of size one."""
    c, lmax = config, config.lmax
    x = norm_lab(head["norm"], x, c.channels, lmax)
    natural, pseudo = x[..., : c.channels], x[..., c.channels :]
    if c.self_product:
        factor_lmax = min(lmax, c.self_product_lmax)
        small = (factor_lmax + 1) ** 2
        sizes = (c.channels, c.self_product)
        left = mix_channels(head["left"], x, sizes, lmax)[:, :small]
        right = mix_channels(head["right"], x, sizes, lmax)[:, :small]
        outer = (left[:, :, None] * right[:, None]).reshape(x.shape[0], small**2, c.self_product)
        even = jnp.asarray(_product_table(lmax, factor_lmax, natural=True), x.dtype)
        odd = jnp.asarray(_product_table(lmax, factor_lmax, natural=False), x.dtype)
        natural = jnp.concatenate([natural, jnp.einsum("npc,pk->nkc", outer, even)], axis=-1)
        pseudo = jnp.concatenate([pseudo, jnp.einsum("npc,pk->nkc", outer, odd)], axis=-1)
    return _parts(head["out"], layout, (natural, pseudo), species)


def edge_head(
    head: Params, config: NetworkConfig, layout: TargetLayout, e: jax.Array, geometry: EdgeGeometry
) -> jax.Array:
    """Return the parts (n_edges, n_block) of the off-site blocks, of size one."""
    c, lmax = config, config.lmax
    e = norm_local(head["norm"], e, c.edge_channels, lmax)
    e = so2_linear(head["mix"], e, (c.edge_channels, c.edge_channels), lmax)
    lab = _out_of_frame(geometry, e, c.edge_channels, lmax)
    both = (lab[..., : c.edge_channels], lab[..., c.edge_channels :])
    parts = _parts(head["out"], layout, both, geometry.edges.edge_type)
    return parts * geometry.block_envelope[:, None]


def _parts(
    weights: list[Any], layout: TargetLayout, features: tuple[Any, Any], kind: jax.Array
) -> jax.Array:
    """Return the parts of the targets, each a mixture of channels of its J and parity."""
    parts = []
    for irrep, weight in zip(layout.irreps, weights, strict=True):
        J = irrep.J
        own = features[0 if irrep.natural else 1][:, J * J : (J + 1) ** 2]
        if weight.shape[0] == 1:
            part = jnp.einsum("nkc,cd->ndk", own, weight[0])
        else:
            part = jnp.einsum("nkc,ncd->ndk", own, weight[kind])
        parts.append(part.reshape(own.shape[0], irrep.multiplicity * (2 * J + 1)))
    return jnp.concatenate(parts, axis=-1)


def apply(
    params: Params, config: NetworkConfig, layout: TargetLayout, batch: Mapping[str, Any]
) -> tuple[jax.Array, jax.Array]:
    """Predict the blocks of a batch.

    The batch has ``species``, ``receiver``, ``sender``, ``reverse``, ``edge_type``, ``vector`` (Å)
    and ``edge_mask``, and ``moments`` where the network takes them.

    Returns
    -------
    node : jax.Array
        (n_atoms, n_channels, n_common, n_common), exactly Hermitian.
    edge : jax.Array
        (n_edges, n_channels, n_common, n_common); partners are exactly each other's adjoints.
    """
    batch = {name: jnp.asarray(value) for name, value in batch.items()}
    species, edges = batch["species"], Edges.of(batch)
    geometry = edge_geometry(params, config, edges)
    x = start_nodes(params, config, species, batch.get("moments"))
    e = start_edges(params, config, geometry)

    def interact(block: Params, x: jax.Array, e: jax.Array) -> tuple[jax.Array, jax.Array]:
        normed = norm_lab(block["norm_x"], x, config.channels, config.lmax)
        e, message, logits = edge_update(block, config, normed, e, geometry)
        summed = summed_messages(config, message, logits, geometry, species.shape[0])
        return node_update(block, config, x, summed, species), e

    # Compiled once for all blocks: tracing is most of what a start with a warm cache costs.
    step = jax.jit(jax.checkpoint(interact) if config.remat else interact)
    for block in params["blocks"]:
        x, e = step(block, x, e)
    node = node_head(params["node_head"], config, layout, x, species)
    edge = edge_head(params["edge_head"], config, layout, e, geometry)
    blocks = edge_blocks(params, layout, edge, edges.edge_type)
    return (
        node_blocks(params, layout, node, species),
        hermitian_edges(layout, blocks, batch["reverse"], edges.edge_type),
    )
