"""The learning rate, by optax: a function of the step, and the plateau of the validation error."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib

from dock.core.arrays import FloatArray
from dock.models.options.train import Scheduler

__all__ = ["Plateau", "Schedule"]

_BLOCK = 1024  # steps
Rate: TypeAlias = Callable[[Any], Any]


class Schedule:
    """The learning rate of each step in units of the largest; a plateau's reductions come on top.

    Rates are arguments of the compiled step and no part of it, so that the number of steps in
    total does not decide whether the step is found in the cache. They are computed for many steps
    at once: alone on the host each would cost as much as a twentieth of a small step.
    """

    def __init__(self, options: Scheduler, total: int) -> None:
        self._rates = jax.jit(jax.vmap(_rate(options, total)))
        self._number, self._block = -1, cast("FloatArray", np.zeros(0))

    def __call__(self, step: int) -> float:
        """Return the rate of a step, counted from 0; steps may go on beyond the total."""
        number, place = divmod(step, _BLOCK)
        if number != self._number:
            steps = np.arange(number * _BLOCK, (number + 1) * _BLOCK)
            with _double_precision():
                self._number, self._block = number, np.asarray(self._rates(steps), np.float64)
        return float(self._block[place])


@contextlib.contextmanager
def _double_precision() -> Iterator[None]:
    """Compute in float64 for a moment: JAX's own context for it is called otherwise before 0.8."""
    settings: Any = jax.config
    before = settings.jax_enable_x64
    settings.update("jax_enable_x64", True)
    try:
        yield
    finally:
        settings.update("jax_enable_x64", before)


def _rate(options: Scheduler, total: int) -> Rate:
    """Return the rate as a function of the step."""
    warmup = options.warmup_steps
    if warmup < 0:
        warmup = min(max(20, int(0.03 * total)), max(1, total // 4))
    after = _rate_after(options, total, warmup)
    if warmup == 0:
        return after
    before = optax.linear_schedule(options.init_scale, 1.0, warmup)
    joined: Rate = optax.join_schedules([before, after], [warmup])
    return joined


def _rate_after(options: Scheduler, total: int, warmup: int) -> Rate:
    """Return the rate as a function of the steps since the warm-up."""
    decay: Rate
    given, left = options.decay_steps, max(1, total - warmup)
    if options.type in ("constant", "reduce_on_plateau"):
        decay = optax.constant_schedule(1.0)
        return decay
    if options.type == "warmup_cosine_decay":
        length = given if given > 0 else left
        decay = optax.cosine_decay_schedule(1.0, length, alpha=options.end_scale)
        return decay
    if options.type == "warmup_exponential_decay":
        decay = optax.exponential_decay(
            1.0, options.transition_steps, options.decay_rate, staircase=options.staircase
        )
    else:
        length = min(given if given > 0 else max(1, total // 5), left)
        decay = optax.linear_schedule(1.0, 0.0, length, max(0, total - warmup - length))
    return lambda step: jnp.maximum(decay(step), options.end_scale)


class Plateau:
    """Reduces the rate when the validation error stops falling."""

    def __init__(self, options: Scheduler) -> None:
        rule = optax.contrib.reduce_on_plateau(
            factor=options.factor,
            patience=options.patience,
            rtol=options.rtol,
            atol=1e-30,  # optax refuses two zeros; this one is none that matters
            cooldown=options.cooldown,
        )
        nothing = np.zeros((), np.float32)
        self._state = rule.init(nothing)
        self._update = jax.jit(lambda state, error: rule.update(nothing, state, value=error)[1])

    @property
    def scale(self) -> float:
        """What the learning rate is multiplied by."""
        return float(self._state.scale)

    def update(self, error: float) -> None:
        """Take note of one validation."""
        self._state = self._update(self._state, np.float32(error))

    def to_dict(self) -> dict[str, float]:
        """Return the state as plain data, exactly."""
        return {name: float(value) for name, value in self._state._asdict().items()}

    def restore(self, state: Mapping[str, float]) -> None:
        """Go on from what `to_dict` returned."""
        own = self._state._asdict()
        kept = {name: np.asarray(state[name], old.dtype) for name, old in own.items()}
        self._state = type(self._state)(**kept)
