"""What a training starts from: data, closed form, statistics, network, devices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dock.core.arrays import FloatArray
from dock.errors import UsageError
from dock.models.closed_form import Judgement, choose_closed_form
from dock.models.data.moments import moment_unit
from dock.models.data.preparation import DataParts, prepare_data
from dock.models.modelfile import find_model, read_model
from dock.models.network.config import NetworkConfig
from dock.models.network.environment import choose_devices, start_jax
from dock.models.network.parameters import init_params
from dock.models.network.trained import TrainedNetwork
from dock.models.options.train import TrainOptions, is_same_value
from dock.models.statistics import Statistics, find_cutoffs
from dock.models.targets import TargetLayout

__all__ = ["BASELINE_ERRORS", "Setup", "make_config", "prepare"]

BASELINE_ERRORS = "baseline_errors"
"""Where the summary of a model file has what its closed form alone is wrong by."""

_RADIAL_SPACING = 0.75  # Å between the Gaussians of a distance
_OF_THE_FORM = "model.baseline"
_OF_THE_NETWORK = ("model.net_type", _OF_THE_FORM, "model.initial", "model.advanced.")
_OF_THE_LOSS = "model.advanced.standardize_gauge"
_FIRST_OUTPUT = 0.3  # initial outputs, in units of what the closed form leaves


@dataclass(frozen=True, eq=False)
class Setup:
    """Data with labels less the closed form, the network before the first step, and devices.

    `judgement` says what the closed form alone is wrong by.
    """

    data: DataParts
    network: TrainedNetwork
    judgement: Judgement
    devices: list[Any]


def prepare(options: TrainOptions) -> Setup:
    """Read and check the data, fit the closed form, and make the network."""
    jax = start_jax(multi_host=options.system.multi_host)
    jax.config.update("jax_enable_x64", options.system.float_type == "fp64")
    devices = choose_devices(options.system.device)
    old = _old_network(options)
    if old is not None:
        options = _with_moments(options, moments=old.config.moments)
    data = prepare_data(options, None if old is None else old.layout, per_spin=True)
    if old is None:
        return Setup(data, *_new_network(options, data), devices)
    data.store.set_baseline(old.closed_form)
    judgement = Judgement.of(old.summary.get(BASELINE_ERRORS), old.closed_form)
    return Setup(data, _continued(options, old), judgement, devices)


def _new_network(options: TrainOptions, data: DataParts) -> tuple[TrainedNetwork, Judgement]:
    """Return a network with initial parameters; its first predictions are near the closed form."""
    layout, names = data.layout.channel, data.split.train
    cutoffs = find_cutoffs((item.graph for item in data.items(names)), layout.n_species)
    parts = (names, data.split.validate)
    form, judgement = choose_closed_form(options.closed_form, data.items, parts, layout, cutoffs)
    data.store.set_baseline(form)
    left = (part for name in names for part in data.store.item(data.number[name]).channels)
    statistics = Statistics.of(left, layout)
    if form is not None and form.held_out is not None:
        statistics = statistics.at_least(*form.held_out)
    config = make_config(options, layout, statistics, cutoffs)
    unit = moment_unit(item.graph for item in data.items(names)) if layout.per_spin else 0.0
    config = replace(config, moments=data.moments, moment_unit=unit)
    dtype = _dtype(options)
    params = init_params(config, layout, statistics, options.system.random_seed, dtype)
    for head in ("node_head", "edge_head"):
        params[head]["out"] = [weight * dtype(_FIRST_OUTPUT) for weight in params[head]["out"]]
    return TrainedNetwork(data.layout, cutoffs, statistics, form, config, params), judgement


def make_config(
    options: TrainOptions, layout: TargetLayout, statistics: Statistics, cutoffs: FloatArray
) -> NetworkConfig:
    """Return the preset with the changes of ``[model.advanced]``, fitted to the data."""
    advanced = options.model.advanced
    config = NetworkConfig.preset(options.preset)
    if advanced.net_irreps:
        config = config.with_irreps(advanced.net_irreps)
        if config.lmax < layout.max_J:
            half = max(1, config.channels // 2)
            terms = [f"{config.channels}x{J}{'eo'[J % 2]}" for J in range(layout.max_J + 1)]
            terms += [f"{half}x{J}{'oe'[J % 2]}" for J in range(1, layout.max_J + 1)]
            good = "+".join(terms)
            raise UsageError(
                f"net_irreps '{advanced.net_irreps}' ends at l = {config.lmax}, but the blocks of "
                f"these shells hold parts up to l = {layout.max_J}. Write for example '{good}'."
            )
    longest = float(max(statistics.longest.max(), cutoffs.max(), 1.0))
    reach = advanced.gaussian_basis_rmax or max(8.0, 1.1 * longest)
    changes: dict[str, Any] = {
        "n_blocks": advanced.num_blocks,
        "n_heads": advanced.num_heads,
        "self_product": advanced.self_product,
        "hidden": advanced.hidden,
        "radial_hidden": advanced.radial_hidden,
        "n_radial": advanced.n_radial or math.ceil(reach / _RADIAL_SPACING) + 1,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    return replace(
        config.fitted_to(layout),
        **given,
        radial_reach=reach,
        cutoffs=tuple(cutoffs.tolist()),
        mean_degree=statistics.mean_degree,
        remat=options.process.train.do_remat,
    )


def _dtype(options: TrainOptions) -> type[np.float32 | np.float64]:
    return np.float64 if options.system.float_type == "fp64" else np.float32


def _old_network(options: TrainOptions) -> TrainedNetwork | None:
    """Return the network to start from, or None; refuse one that cannot be gone on with."""
    continued = options.process.train.continued
    if not continued.enable:
        return None
    path = find_model(continued.previous_output_dir, continued.load_model_type)
    network = TrainedNetwork.of(read_model(path))
    if network is None:
        raise UsageError(f"{path}: this model has no network to go on with.")
    if options.data.moments not in ("auto", network.config.moments):
        raise UsageError(
            f"{path}: the model was trained with moments = {str(network.config.moments).lower()}; "
            "write the same in [data]."
        )
    _require_same_network(options, network, path)
    return network


def _with_moments(options: TrainOptions, *, moments: bool) -> TrainOptions:
    """Return the options with the moments that a network takes or does not take."""
    return replace(options, data=replace(options.data, moments=moments))


def _require_same_network(options: TrainOptions, old: TrainedNetwork, path: Path) -> None:
    """Refuse keys that would make another network than the one that is gone on with."""
    before = old.summary.get("options") or {}
    other = [
        name
        for name, value in options.changed().items()
        if name.startswith(_OF_THE_NETWORK)
        and name != _OF_THE_LOSS
        and not is_same_value(name, _value_of(before, name), value)
        and not (name == _OF_THE_FORM and value == _kind_of(old))
    ]
    if other:
        raise UsageError(
            f"{path}: a continued run goes on with the network and the closed form of that model, "
            f"which {', '.join(other)} cannot change. Leave them out, or train anew."
        )


def _kind_of(network: TrainedNetwork) -> str:
    """Return the value of ``model.baseline`` that asks for the closed form of a network."""
    return "none" if network.closed_form is None else network.closed_form.kind


def _value_of(options: Mapping[str, Any], name: str) -> Any:
    """Return the value of a full key of plain options, None where there is none."""
    value: Any = options
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _continued(options: TrainOptions, old: TrainedNetwork) -> TrainedNetwork:
    """Return the network to start from in the precision of the options."""
    import jax

    dtype = _dtype(options)

    def cast(leaf: Any) -> Any:
        array = np.asarray(leaf)
        return array.astype(dtype) if array.dtype.kind == "f" else array

    config = replace(old.config, remat=options.process.train.do_remat)
    return replace(old, config=config, params=jax.tree.map(cast, old.params))
