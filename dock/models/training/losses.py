"""Losses on the entries of blocks, and the errors that are reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from dock.models.options.train import TrainOptions
from dock.models.targets import TargetLayout

__all__ = ["error_sums", "make_loss"]

Prediction = tuple[jax.Array, jax.Array]


def _masks(layout: TargetLayout, batch: Mapping[str, Any]) -> Prediction:
    """Return which entries of the padded blocks exist."""
    kind = batch["vector"].dtype
    node = jnp.asarray(layout.node_mask, kind)[batch["species"]]
    edge = jnp.asarray(layout.edge_mask, kind)[batch["edge_type"]]
    node = node * batch["atom_mask"][:, None, None]
    edge = edge * batch["edge_mask"][:, None, None]
    return node[:, None], edge[:, None]


def make_loss(
    options: TrainOptions, layout: TargetLayout
) -> Callable[[Prediction, Mapping[str, Any]], jax.Array]:
    """Return the function (node, edge), batch → loss.

    ``mae``, ``mse`` and ``huber`` are means over all entries that exist; ``wmae`` weights every
    pair of species and on-site species alike, however many blocks it has. With
    ``standardize_gauge`` the deviation is taken after the multiple of S that fits it best has been
    removed from each structure: the zero of energy of periodic runs is arbitrary.
    """
    kind, delta = options.model.loss_type, options.model.huber_delta
    gauge = options.model.advanced.standardize_gauge

    def loss(found: Prediction, batch: Mapping[str, Any]) -> jax.Array:
        node, edge = found
        d_node, d_edge = node - batch["node_label"], edge - batch["edge_label"]
        if gauge:
            d_node, d_edge = _without_gauge(layout, (d_node, d_edge), batch)
        masks = _masks(layout, batch)
        values = [
            _penalty(d, kind, delta) * m for d, m in zip((d_node, d_edge), masks, strict=True)
        ]
        if kind == "wmae":
            return _by_kind(values, masks, layout, batch)
        channels = layout.n_channels
        total = (masks[0].sum() + masks[1].sum()) * channels
        return (values[0].sum() + values[1].sum()) / total

    return loss


def _penalty(d: jax.Array, kind: str, delta: float) -> jax.Array:
    if kind == "mse":
        return d * d
    size = jnp.abs(d)
    if kind == "huber":
        return jnp.where(size < delta, 0.5 * d * d / delta, size - 0.5 * delta)
    return size


def _by_kind(
    values: list[jax.Array], masks: Prediction, layout: TargetLayout, batch: Mapping[str, Any]
) -> jax.Array:
    """Return the mean over kinds of blocks of the mean over their entries."""
    means = []
    for value, mask, kind, n in (
        (values[0], masks[0], batch["species"], layout.n_species),
        (values[1], masks[1], batch["edge_type"], layout.n_species**2),
    ):
        sums = jax.ops.segment_sum(value.sum((1, 2, 3)), kind, n)
        counts = jax.ops.segment_sum(mask.sum((1, 2, 3)), kind, n) * layout.n_channels
        means.append((jnp.where(counts > 0, sums / jnp.maximum(counts, 1), 0.0), counts > 0))
    total = sum(mean.sum() for mean, _ in means)
    there = sum(here.sum() for _, here in means)
    return jnp.asarray(total / jnp.maximum(there, 1))


def _without_gauge(
    layout: TargetLayout, deviation: Prediction, batch: Mapping[str, Any]
) -> Prediction:
    """Subtract μS with μ = ⟨ΔH, S⟩ / ⟨S, S⟩ of each structure; for spinors from H⁰ alone."""
    s_node, s_edge = batch["overlap_node"], batch["overlap_edge"]
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


def error_sums(
    layout: TargetLayout, found: Prediction, batch: Mapping[str, Any]
) -> dict[str, jax.Array]:
    """Return sums of |Δ| and numbers of entries by species (``node``) and pair (``edge``)."""
    masks = _masks(layout, batch)
    result = {}
    for name, index, kind, n in (
        ("node", 0, batch["species"], layout.n_species),
        ("edge", 1, batch["edge_type"], layout.n_species**2),
    ):
        size = jnp.abs(found[index] - batch[f"{name}_label"]) * masks[index]
        result[name] = jax.ops.segment_sum(size.sum((1, 2, 3)), kind, n)
        counts = masks[index].sum((1, 2, 3)) * layout.n_channels
        result[f"{name}_count"] = jax.ops.segment_sum(counts, kind, n)
    return result
