"""The error of H between the states of the references: C†(k) ΔH(k) C(k), in real arithmetic.

No eigenproblem is solved here; see `dock.models.data.reference_states` for the arrays of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from dock.models.targets import TargetLayout

__all__ = ["between_states", "state_sums"]

_SMALL = 1e-6  # eV: below it the root has no slope to speak of

Complex = tuple[jax.Array, jax.Array | None]


def between_states(
    layout: TargetLayout, deviation: tuple[jax.Array, jax.Array], batch: Mapping[str, Any]
) -> Complex:
    """Return real and imaginary part (None where there is none) of C†ΔHC, eV.

    `deviation` are padded blocks of atoms and edges. Of shape (slots, channels, k-points, states,
    states), zero in empty places.
    """
    X, Y = batch["state_vectors"], batch.get("state_vectors_imag")
    A, B = _bloch_sums(layout, deviation, batch)
    XT = jnp.swapaxes(X, -1, -2)
    if Y is None or B is None:
        return XT @ (A @ X), None
    YT = jnp.swapaxes(Y, -1, -2)
    U, V = A @ X - B @ Y, A @ Y + B @ X  # ΔH C
    return XT @ U + YT @ V, XT @ V - YT @ U


def _bloch_sums(
    layout: TargetLayout, deviation: tuple[jax.Array, jax.Array], batch: Mapping[str, Any]
) -> Complex:
    """Return ΔH(k) of each slot, (slots, channels, k-points, orbitals, orbitals)."""
    S, c, K, orbitals, _ = batch["state_vectors"].shape
    n = layout.n_common
    A = orbitals // n
    blocks = jnp.concatenate(deviation).reshape(-1, c, 1, n * n)

    def summed(phase: jax.Array) -> jax.Array:
        folded = jax.ops.segment_sum(
            blocks * phase[:, None, :, None], batch["state_place"], S * A * A
        )
        folded = folded.reshape(S, A, A, c, K, n, n).transpose(0, 3, 4, 1, 5, 2, 6)
        return folded.reshape(S, c, K, orbitals, orbitals)

    imaginary = batch.get("state_phase_imag")
    return summed(batch["state_phase"]), None if imaginary is None else summed(imaginary)


def state_sums(projected: Complex, batch: Mapping[str, Any]) -> tuple[jax.Array, jax.Array]:
    """Return sums and counts of the errors among low, between low and high, and among high states.

    An error is the root mean square of D C†ΔHC D over the block of one structure at one k-point,
    eV; states that are turned among themselves within a block leave it as it is. Sums go over
    structures, channels and k-points with their weights.
    """
    scale = batch["state_scale"]
    squares = sum(part**2 for part in projected if part is not None)
    squares = squares * (scale[..., :, None] * scale[..., None, :]) ** 2
    low, high = batch["state_low"], batch["state_high"]
    sums, counts = [], []
    for left, right in ((low, low), (low, high), (high, high)):
        total = jnp.einsum("...m,...mn,...n->...", left, squares, right)
        number = left.sum(-1) * right.sum(-1)
        error = jnp.sqrt(total / jnp.maximum(number, 1) + _SMALL**2) - _SMALL
        weight = batch["state_weight"][:, None] * (number > 0)
        sums.append((error * weight).sum())
        counts.append(weight.sum())
    return jnp.stack(sums), jnp.stack(counts)
