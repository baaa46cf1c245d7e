"""The compiled step: prediction, gradient, update and average in one program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dock.models.network.config import NetworkConfig
from dock.models.network.model import apply
from dock.models.options.train import TrainOptions
from dock.models.targets import TargetLayout
from dock.models.training.losses import error_sums, make_loss
from dock.models.training.optimiser import clipped, empty_norms, make_optimiser

__all__ = ["Engine", "State"]


class State(NamedTuple):
    """Everything that a step changes, on the device."""

    params: Any
    moments: Any
    average: Any
    norms: jax.Array
    step: jax.Array
    loss_sum: jax.Array


class Engine:
    """Compiled functions of one training.

    Parameters
    ----------
    options
        Loss, optimiser, averaging.
    layout, config
        Targets and network.
    constants
        The part of the parameters that is not trained.
    devices
        More than one: each takes its own batch, gradients are averaged.
    """

    _copied: Any = PartitionSpec()  # type: ignore[no-untyped-call]
    _split: Any = PartitionSpec("data")  # type: ignore[no-untyped-call]

    def __init__(
        self,
        options: TrainOptions,
        layout: TargetLayout,
        config: NetworkConfig,
        constants: Any,
        devices: Sequence[Any],
    ) -> None:
        self.layout, self.config = layout, config
        self._constants = jax.tree.map(jnp.asarray, constants)
        self._loss = make_loss(options, layout)
        self._train = options.process.train
        self._freeze = self._train.continued.freeze if self._train.continued.enable else ()
        self.n_devices = len(devices)
        self._mesh = Mesh(np.array(devices), ("data",)) if len(devices) > 1 else None
        self._device = devices[0]
        self.step: Callable[..., tuple[State, jax.Array]] = jax.jit(self._step, donate_argnums=(0,))
        self.errors = jax.jit(self._errors)

    def start(self, params: Any) -> State:
        """Return the state before the first step."""
        self._rule = make_optimiser(self._train.optimizer, params, self._freeze)
        dtype = jax.tree.leaves(params)[0].dtype
        state = State(
            jax.tree.map(jnp.array, params),
            self._rule.init(params),
            jax.tree.map(jnp.array, params),
            empty_norms(dtype),
            jnp.zeros((), jnp.int32),
            jnp.zeros((), dtype),
        )
        return self.placed(state)

    def placed(self, state: State) -> State:
        """Return the state on the devices, copied to each of them."""
        where = self._device if self._mesh is None else NamedSharding(self._mesh, self._copied)
        placed: State = jax.device_put(state, where)
        return placed

    def put(self, batch: Mapping[str, Any]) -> Any:
        """Return a batch on the device, or stacked batches split over the devices."""
        if self._mesh is None:
            return batch
        return jax.device_put(batch, NamedSharding(self._mesh, self._split))

    def predict(self, params: Any, batch: Mapping[str, Any]) -> Any:
        """Return the blocks of a batch."""
        return apply({**params, "constants": self._constants}, self.config, self.layout, batch)

    def _mean_loss(self, params: Any, batch: Mapping[str, Any]) -> jax.Array:
        def one(part: Mapping[str, Any]) -> jax.Array:
            return self._loss(self.predict(params, part), part)

        if self._mesh is None:
            return one(batch)
        weight = batch["atom_mask"].sum(1) > 0  # devices without a batch at an epoch's end
        losses = jnp.where(weight, jax.vmap(one)(batch), 0.0)
        return jnp.asarray(losses.sum() / weight.sum())

    def _step(
        self, state: State, batch: Mapping[str, Any], rate: jax.Array, decay: jax.Array
    ) -> tuple[State, jax.Array]:
        """Do one step; `rate` is the learning rate, `decay` the average's memory."""
        loss, gradient = jax.value_and_grad(self._mean_loss)(state.params, batch)
        factor = self._train.optimizer.clip_norm_factor
        gradient, norms = clipped(gradient, state.norms, state.step, factor)
        updates, moments = self._rule.update(gradient, state.moments, state.params)
        params = jax.tree.map(lambda p, u: p + rate * u, state.params, updates)
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state.average, params)
        done = State(params, moments, average, norms, state.step + 1, state.loss_sum + loss)
        return done, loss

    def _errors(self, params: Any, batch: Mapping[str, Any]) -> dict[str, jax.Array]:
        """Return sums of errors of a batch (of one device)."""
        return error_sums(self.layout, self.predict(params, batch), batch)
