"""The update rule, and the learning rate as a pure function of the step."""

from __future__ import annotations

import fnmatch
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dock.core.arrays import FloatArray
from dock.errors import UsageError
from dock.models.modelfile import flatten, unflatten
from dock.models.options.train import Optimizer, Scheduler

__all__ = [
    "Plateau",
    "clipped",
    "empty_norms",
    "is_matrix",
    "learning_rate",
    "make_optimiser",
    "trainable",
]

_MATRICES = ("w0", "w1", "p0", "n", "p")
_NORM_MEMORY = 64


def trainable(params: Any, freeze: tuple[str, ...]) -> Any:
    """Return a tree of booleans: False for parameters whose path matches a pattern.

    Raises
    ------
    UsageError
        When a pattern matches nothing.
    """
    flat = flatten(params)
    for pattern in freeze:
        if not any(fnmatch.fnmatch(name, pattern) for name in flat):
            some = ", ".join(list(flat)[:4])
            raise UsageError(
                f"freeze: no parameter is called '{pattern}'. There are {some}, …; patterns such "
                "as blocks/* or edge_head/* match whole groups."
            )
    frozen = {name: not any(fnmatch.fnmatch(name, pattern) for pattern in freeze) for name in flat}
    return unflatten(frozen)


def is_matrix(name: str) -> bool:
    """Return whether the parameters of a path are a matrix, whose entries decay."""
    last = name.rsplit("/", 1)[-1]
    digits = last[0] in "m#" and last[1:].isdecimal()
    return digits or last in _MATRICES


def make_optimiser(
    options: Optimizer, decayed: Any, moving: Any | None = None
) -> optax.GradientTransformation:
    """Return the rule with a learning rate of one (minus included); the step multiplies it.

    Parameters
    ----------
    options
        Which rule.
    decayed, moving
        Trees of booleans like the parameters: whose weights decay, and which are trained
        (default: all).
    """
    beta1, beta2 = options.betas
    if options.type == "sgd":
        rule = optax.sgd(1.0, momentum=options.momentum)
    elif options.type == "adam":
        rule = optax.adam(1.0, b1=beta1, b2=beta2, eps=options.eps)
    else:
        rule = optax.adamw(
            1.0,
            b1=beta1,
            b2=beta2,
            eps=options.eps,
            weight_decay=options.weight,
            mask=decayed,
        )
    if moving is None or all(jax.tree.leaves(moving)):
        return rule
    still = jax.tree.map(lambda value: not value, moving)
    return optax.chain(optax.masked(rule, moving), optax.masked(optax.set_to_zero(), still))


def clipped(gradient: Any, norms: jax.Array, step: jax.Array, factor: float) -> tuple[Any, Any]:
    """Clip a gradient at `factor` times the median norm of the last 64 steps.

    Returns
    -------
    gradient, norms
        `norms` is the memory with this step's norm in it (limited to the clip as well, so that one
        explosion does not raise the bar for the next).
    """
    squares = [jnp.sum(jnp.square(part)) for part in jax.tree.leaves(gradient)]
    norm = jnp.sqrt(jnp.sum(jnp.stack(squares)))
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


def learning_rate(options: Scheduler, step: int, total: int) -> float:
    """Return the learning rate of a step in units of the largest.

    Parameters
    ----------
    options
        The schedule; a plateau's reductions come on top.
    step
        From 0.
    total
        Steps of the whole training.
    """
    warmup = options.warmup_steps
    if warmup < 0:
        warmup = min(max(20, int(0.03 * total)), max(1, total // 4))
    if step < warmup:
        return options.init_scale + (1 - options.init_scale) * step / warmup
    if options.type in ("constant", "reduce_on_plateau"):
        return 1.0
    if options.type == "warmup_exponential_decay":
        power = (step - warmup) / options.transition_steps
        power = math.floor(power) if options.staircase else power
        return max(options.decay_rate**power, options.end_scale)
    if options.type == "warmup_stable_decay":
        length = options.decay_steps if options.decay_steps > 0 else max(1, total // 5)
        done = (step - (total - length)) / length
        return 1.0 if done <= 0 else max(options.end_scale, 1.0 - min(done, 1.0))
    length = options.decay_steps if options.decay_steps > 0 else max(1, total - warmup)
    done = min(1.0, (step - warmup) / length)
    return options.end_scale + (1 - options.end_scale) * 0.5 * (1 + math.cos(math.pi * done))


@dataclass
class Plateau:
    """Reduces the rate when the validation error stops falling.

    Attributes
    ----------
    scale
        What the learning rate is multiplied by.
    best
        Lowest error seen.
    waited
        Validations since then.
    resting
        Validations left of the cooldown.
    """

    scale: float = 1.0
    best: float = math.inf
    waited: int = 0
    resting: int = 0

    def update(self, error: float, options: Scheduler) -> None:
        """Take note of one validation."""
        if error < self.best * (1 - options.rtol):
            self.best, self.waited = error, 0
        elif self.resting > 0:
            self.resting -= 1
        else:
            self.waited += 1
        if self.waited >= options.patience:
            self.scale *= options.factor
            self.waited, self.resting = 0, options.cooldown
