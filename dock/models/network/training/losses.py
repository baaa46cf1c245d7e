"""Losses on the entries of blocks, and the errors that are reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dock.models.options.train import TrainOptions
from dock.models.targets import TargetLayout

__all__ = ["deviation_of", "make_errors", "make_loss", "mean_of"]

Prediction = tuple[jax.Array, jax.Array]
Sums = tuple[jax.Array, jax.Array]


def _masks(layout: TargetLayout, batch: Mapping[str, Any]) -> Prediction:
    """Return which entries of the padded blocks exist."""
    dtype = batch["vector"].dtype
    node = jnp.asarray(layout.node_mask, dtype)[batch["species"]]
    edge = jnp.asarray(layout.edge_mask, dtype)[batch["edge_type"]]
    node = node * batch["atom_mask"][:, None, None]
    edge = edge * batch["edge_mask"][:, None, None]
    return node[:, None], edge[:, None]


def make_loss(
    options: TrainOptions, layout: TargetLayout
) -> Callable[[Prediction, Mapping[str, Any]], Sums]:
    """Return the function (node, edge), batch → sums and counts, which `mean_of` makes the loss.

    ``mae``, ``mse`` and ``huber`` are means over all entries that exist; ``wmae`` weights every
    pair of species and on-site species alike, however many blocks it has. ``block-mae`` and
    ``block-mse`` are equation (7) of the DeepH-pack paper (arXiv:2601.02938): the mean over the
    structures of the mean over their blocks of the mean over the entries of a block. With
    ``standardize_gauge`` the deviation is taken after the multiple of S that fits it best has been
    removed from each structure: the zero of energy of periodic runs is arbitrary. Sums and counts
    of several devices are added before the mean is taken.
    """
    kind, delta = options.model.loss_type, options.model.huber_delta
    gauge = options.model.advanced.standardize_gauge

    def loss(found: Prediction, batch: Mapping[str, Any]) -> Sums:
        deviation = deviation_of(layout, found, batch, gauge=gauge)
        masks = _masks(layout, batch)
        entry = kind.removeprefix("block-")
        values = [_penalty(d, entry, delta) * m for d, m in zip(deviation, masks, strict=True)]
        if entry != kind:
            return _by_block(values, masks, layout, batch)
        if kind == "wmae":
            (node, n_node), (edge, n_edge) = _by_kind(values, masks, layout, batch)
            return jnp.concatenate([node, edge]), jnp.concatenate([n_node, n_edge])
        counts = (masks[0].sum() + masks[1].sum()) * layout.n_channels
        return (values[0].sum() + values[1].sum())[None], counts[None]

    return loss


def mean_of(sums: jax.Array, counts: jax.Array) -> jax.Array:
    """Return the mean over kinds of their means; kinds that do not occur do not count."""
    means = jnp.where(counts > 0, sums / jnp.maximum(counts, 1), 0.0)
    return jnp.asarray(means.sum() / jnp.maximum((counts > 0).sum(), 1))


def deviation_of(
    layout: TargetLayout, found: Prediction, batch: Mapping[str, Any], *, gauge: bool
) -> Prediction:
    """Return prediction less label; with `gauge` less the multiple of S that fits it best."""
    deviation = (found[0] - batch["node_label"], found[1] - batch["edge_label"])
    return _without_gauge(layout, deviation, batch) if gauge else deviation


def _penalty(d: jax.Array, kind: str, delta: float) -> jax.Array:
    if kind == "mse":
        return d * d
    if kind == "huber":  # divided by delta: beyond it, the slope is that of mae
        return jnp.asarray(optax.losses.huber_loss(d, delta=delta) / delta)
    return jnp.abs(d)


def _by_block(
    values: Sequence[jax.Array], masks: Prediction, layout: TargetLayout, batch: Mapping[str, Any]
) -> Sums:
    """Return the sum over structures of the mean over their blocks, and how many there are."""
    n = batch["species"].shape[0]  # at least as many as structures
    total = blocks = jnp.zeros(n, values[0].dtype)
    for value, mask, structure, there in zip(
        values,
        masks,
        (batch["structure"], batch["edge_structure"]),
        (batch["atom_mask"], batch["edge_mask"]),
        strict=True,
    ):
        entries = mask.sum((1, 2, 3)) * layout.n_channels
        means = value.sum((1, 2, 3)) / jnp.maximum(entries, 1)
        total = total + jax.ops.segment_sum(means, structure, n)
        blocks = blocks + jax.ops.segment_sum(there, structure, n)
    means = jnp.where(blocks > 0, total / jnp.maximum(blocks, 1), 0.0)
    return means.sum()[None], (blocks > 0).sum().astype(values[0].dtype)[None]


def _by_kind(
    values: Sequence[jax.Array], masks: Prediction, layout: TargetLayout, batch: Mapping[str, Any]
) -> tuple[Sums, Sums]:
    """Return sums and numbers of entries by species on site, and by pair of species."""
    totals = []
    for value, mask, kind, n in (
        (values[0], masks[0], batch["species"], layout.n_species),
        (values[1], masks[1], batch["edge_type"], layout.n_species**2),
    ):
        sums = jax.ops.segment_sum(value.sum((1, 2, 3)), kind, n)
        counts = jax.ops.segment_sum(mask.sum((1, 2, 3)), kind, n) * layout.n_channels
        totals.append((sums, counts))
    return totals[0], totals[1]


def _without_gauge(
    layout: TargetLayout, deviation: Prediction, batch: Mapping[str, Any]
) -> Prediction:
    """Subtract μS with μ = ⟨ΔH, S⟩ / ⟨S, S⟩ of each structure; for spinors from H⁰ alone."""
    s_node, s_edge = batch["overlap_node"][:, None], batch["overlap_edge"][:, None]
    spins = layout.n_channels if layout.n_channels <= 2 else 1
    n = batch["species"].shape[0]

    def summed(node: jax.Array, edge: jax.Array) -> jax.Array:
        atoms = jax.ops.segment_sum(node.sum((1, 2, 3)), batch["structure"], n)
        edges = edge.sum((1, 2, 3)) * batch["edge_mask"]
        return atoms + jax.ops.segment_sum(edges, batch["edge_structure"], n)

    d_node, d_edge = deviation[0][:, :spins], deviation[1][:, :spins]
    top = summed(d_node * s_node, d_edge * s_edge)
    mu = top / jnp.maximum(summed(s_node * s_node, s_edge * s_edge) * spins, 1e-12)
    first_node = d_node - mu[batch["structure"]][:, None, None, None] * s_node
    first_edge = d_edge - mu[batch["edge_structure"]][:, None, None, None] * s_edge
    return (
        jnp.concatenate([first_node, deviation[0][:, spins:]], axis=1),
        jnp.concatenate([first_edge, deviation[1][:, spins:]], axis=1),
    )


def make_errors(
    options: TrainOptions, layout: TargetLayout
) -> Callable[[Prediction, Mapping[str, Any]], dict[str, jax.Array]]:
    """Return the function (node, edge), batch → sums of |Δ| and numbers of entries.

    Under ``node`` and ``node_count`` by species, under ``edge`` and ``edge_count`` by pair of
    species; the deviation is that of the loss.
    """
    gauge = options.model.advanced.standardize_gauge

    def errors(found: Prediction, batch: Mapping[str, Any]) -> dict[str, jax.Array]:
        deviation = deviation_of(layout, found, batch, gauge=gauge)
        masks = _masks(layout, batch)
        sizes = [jnp.abs(d) * m for d, m in zip(deviation, masks, strict=True)]
        node, edge = _by_kind(sizes, masks, layout, batch)
        return {"node": node[0], "node_count": node[1], "edge": edge[0], "edge_count": edge[1]}

    return errors
