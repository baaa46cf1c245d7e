"""The update rule: what optax gives, which parameters it moves, and how gradients are clipped."""

from __future__ import annotations

import fnmatch
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dock.core.arrays import FloatArray
from dock.errors import UsageError
from dock.models.modelfile import flatten, unflatten
from dock.models.options.train import Optimizer

__all__ = ["clipped", "empty_norms", "is_matrix", "make_optimiser", "trainable"]

_MATRICES = ("w0", "w1", "p0", "n", "p")
_NORM_MEMORY = 64


def trainable(params: Any, freeze: tuple[str, ...]) -> Any:
    """Return a tree of booleans: False for parameters whose path matches a pattern.

    Raises
    ------
    UsageError
        When a pattern matches nothing.
    """
    moves = dict.fromkeys(flatten(params), True)
    for pattern in freeze:
        frozen = fnmatch.filter(moves, pattern)
        if not frozen:
            some = ", ".join(list(moves)[:4])
            raise UsageError(
                f"freeze: no parameter is called '{pattern}'. There are {some}, …; patterns such "
                "as blocks/* or edge_head/* match whole groups."
            )
        moves |= dict.fromkeys(frozen, False)
    return unflatten(moves)


def is_matrix(name: str) -> bool:
    """Return whether the parameters of a path are a matrix, whose entries decay."""
    last = name.rsplit("/", 1)[-1]
    digits = last[0] in "m#" and last[1:].isdecimal()
    return digits or last in _MATRICES


def make_optimiser(
    options: Optimizer, decayed: Any, moving: Any | None = None
) -> optax.GradientTransformation:
    """Return the rule with a learning rate of one (minus included); the step multiplies it.

    `decayed` and `moving` are trees of booleans like the parameters: whose weights decay, and
    which are trained (default: all).
    """
    beta1, beta2 = options.betas
    if options.type == "sgd":
        rule = optax.sgd(1.0, momentum=options.momentum)
    elif options.type == "adam":
        rule = optax.adam(1.0, b1=beta1, b2=beta2, eps=options.eps)
    else:
        rule = optax.adamw(
            1.0, b1=beta1, b2=beta2, eps=options.eps, weight_decay=options.weight, mask=decayed
        )
    if moving is None or all(jax.tree.leaves(moving)):
        return rule
    still = jax.tree.map(lambda value: not value, moving)
    return optax.chain(optax.masked(rule, moving), optax.masked(optax.set_to_zero(), still))


def clipped(gradient: Any, norms: jax.Array, step: jax.Array, factor: float) -> tuple[Any, Any]:
    """Clip a gradient at `factor` times the median norm of the last 64 steps.

    optax clips at a given norm or one relative to the parameters; which norm is usual here differs
    by orders of magnitude between targets and falls while a network learns. The memory of norms
    that is returned has this step's in it, limited to the clip as well, so that one explosion does
    not raise the bar for the next.
    """
    squares = [jnp.sum(jnp.square(part)) for part in jax.tree.leaves(gradient)]
    norm = jnp.sqrt(jnp.sum(jnp.stack(squares)))  # optax's norm is called otherwise before 0.2.6
    known = jnp.minimum(step, _NORM_MEMORY)
    ordered = jnp.sort(norms)  # empty places hold infinity
    median = ordered[jnp.maximum(known // 2, 0)]
    limit = jnp.where((factor > 0) & (known >= 8), factor * median, jnp.inf)
    scale = jnp.minimum(1.0, limit / jnp.maximum(norm, 1e-30))
    norms = norms.at[step % _NORM_MEMORY].set(jnp.minimum(norm, limit))
    return jax.tree.map(lambda part: part * scale, gradient), norms


def empty_norms(dtype: Any) -> FloatArray:
    """Return the memory of `clipped` before the first step."""
    return np.full(_NORM_MEMORY, np.inf, dtype)
