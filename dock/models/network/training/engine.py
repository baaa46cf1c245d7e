"""The compiled step: prediction, gradient, update and average in one program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dock.models.network.config import NetworkConfig
from dock.models.network.model import apply
from dock.models.network.training.between_states import between_states, state_sums
from dock.models.network.training.losses import deviation_of, make_errors, make_loss, mean_of
from dock.models.network.training.optimiser import clipped, empty_norms, make_optimiser
from dock.models.network.training.packing import Packing
from dock.models.options.train import TrainOptions
from dock.models.targets import TargetLayout

__all__ = ["Engine", "State"]

Placed = TypeVar("Placed")


class State(NamedTuple):
    """Everything that a step changes, on the device; parameters are packed, see `Packing`."""

    params: Any
    moments: Any
    average: Any
    norms: Any
    step: Any
    loss_sum: Any


class Engine:
    """Compiled functions of one training.

    `constants` are the part of the parameters that is not trained. Of several devices each takes
    its share of a batch; the loss is that of the whole batch.
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
        self._constants = jax.device_put(constants)
        self._loss, self._error_sums = make_loss(options, layout), make_errors(options, layout)
        self._train = options.process.train
        self._gauge = options.model.advanced.standardize_gauge
        self._weight = self._train.states.weight
        self._freeze = self._train.continued.freeze if self._train.continued.enable else ()
        self.n_devices = len(devices)
        self._mesh = Mesh(np.array(devices), ("data",)) if len(devices) > 1 else None
        self._device = devices[0]
        whole: dict[str, Any] = {}
        if self._mesh is not None:  # every process has all results
            whole["out_shardings"] = NamedSharding(self._mesh, self._copied)
        self._jitted_step = jax.jit(self._step, donate_argnums=(0,), **whole)
        self._jitted_errors = jax.jit(self._errors, **whole)
        self._jitted_state_errors = jax.jit(self._state_errors, **whole)

    def start(self, params: Any) -> State:
        """Return the state before the first step; `packing` is that of these parameters."""
        self.packing = packing = Packing(params, self._freeze)
        self._rule = make_optimiser(self._train.optimizer, packing.decayed, packing.moving)
        params = packing.pack(params)
        moments = jax.jit(self._rule.init)(params)  # one program instead of one for each array
        dtype = jax.tree.leaves(params)[0].dtype
        average, step = jax.tree.map(np.array, params), np.zeros((), np.int32)
        state = State(params, moments, average, empty_norms(dtype), step, np.zeros((), dtype))
        return self.placed(state)

    def placed(self, tree: Placed) -> Placed:
        """Return a state, or a part of one, on the devices, copied to each of them.

        Arrays that lie elsewhere, or nowhere for certain, would have the programs compiled anew.
        """
        where = self._device if self._mesh is None else NamedSharding(self._mesh, self._copied)
        placed: Placed = jax.device_put(tree, where)
        return placed

    def put(self, batch: Mapping[str, Any]) -> Any:
        """Return a batch on the device, or stacked batches split over the devices."""
        if self._mesh is None:
            return batch
        return jax.device_put(batch, NamedSharding(self._mesh, self._split))

    def step(
        self, state: State, batch: Mapping[str, Any], rate: Any, decay: Any
    ) -> tuple[State, jax.Array]:
        """Do one step; return the new state and the loss.

        The old state is used up; the batch is what `put` returned. `decay` is the share of the
        average that is kept.
        """
        kind = state.norms.dtype.type
        done: tuple[State, jax.Array] = self._jitted_step(
            state, self._constants, batch, kind(rate), kind(decay)
        )
        return done

    def errors(self, params: Any, batch: Mapping[str, Any]) -> dict[str, jax.Array]:
        """Return sums of errors of a batch with packed, placed parameters, see `make_errors`."""
        sums: dict[str, jax.Array] = self._jitted_errors(params, self._constants, batch)
        return sums

    def state_errors(self, params: Any, batch: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return what `errors` does, and C†ΔHC of a batch with states, see `between_states`.

        Both have a leading axis over the devices.
        """
        found: tuple[Any, Any] = self._jitted_state_errors(params, self._constants, batch)
        return found

    # What depends on the data is an argument of the programs, no constant in them: so JAX finds
    # them in its cache on disk whatever the data set, and the shapes alone decide.

    def _of_share(
        self, params: Any, constants: Any, function: Callable[..., Any]
    ) -> Callable[[Mapping[str, Any]], Any]:
        """Return the function of the batch of one device that predicts and calls another."""
        whole = {**self.packing.unpack(params), "constants": constants}
        return lambda part: function(apply(whole, self.config, self.layout, part), part)

    def _shared(
        self, params: Any, constants: Any, batch: Mapping[str, Any], sums: Callable[..., Any]
    ) -> Any:
        """Return sums over a batch, or over the shares of all devices."""
        of_share = self._of_share(params, constants, sums)
        if self._mesh is None:
            return of_share(batch)
        return jax.tree.map(lambda shares: shares.sum(0), jax.vmap(of_share)(batch))

    def _mean_loss(self, params: Any, constants: Any, batch: Mapping[str, Any]) -> jax.Array:
        """Return the loss; with that between states where a batch has them."""
        if "state_weight" not in batch:
            return mean_of(*self._shared(params, constants, batch, self._loss))
        ordinary, between = self._shared(params, constants, batch, self._both_losses)
        return mean_of(*ordinary) + self._weight * mean_of(*between)

    def _both_losses(self, found: Any, batch: Mapping[str, Any]) -> Any:
        return self._loss(found, batch), state_sums(self._projected(found, batch), batch)

    def _projected(self, found: Any, batch: Mapping[str, Any]) -> Any:
        """Return C†ΔHC of a batch of one device."""
        deviation = deviation_of(self.layout, found, batch, gauge=self._gauge)
        return between_states(self.layout, deviation, batch)

    def _step(
        self, state: State, constants: Any, batch: Mapping[str, Any], rate: Any, decay: Any
    ) -> tuple[State, jax.Array]:
        gradients = jax.value_and_grad(self._mean_loss)
        loss, gradient = gradients(state.params, constants, batch)
        factor = self._train.optimizer.clip_norm_factor
        gradient, norms = clipped(gradient, state.norms, state.step, factor)
        updates, moments = self._rule.update(gradient, state.moments, state.params)
        params = jax.tree.map(lambda p, u: p + rate * u, state.params, updates)
        # Not optax.incremental_update, which weighs both sides: where nothing moves, nor does this.
        average = jax.tree.map(lambda a, p: a + (1 - decay) * (p - a), state.average, params)
        done = State(params, moments, average, norms, state.step + 1, state.loss_sum + loss)
        return done, loss

    def _errors(self, params: Any, constants: Any, batch: Mapping[str, Any]) -> Any:
        return self._shared(params, constants, batch, self._error_sums)

    def _state_errors(self, params: Any, constants: Any, batch: Mapping[str, Any]) -> Any:
        def both(found: Any, part: Mapping[str, Any]) -> Any:
            return self._error_sums(found, part), self._projected(found, part)

        of_share = self._of_share(params, constants, both)
        if self._mesh is None:
            return jax.tree.map(lambda part: part[None], of_share(batch))
        return jax.vmap(of_share)(batch)
