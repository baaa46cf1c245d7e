"""What a training starts from: data, split, baseline, statistics, network."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dock.converters.deeph.dataset import Split, split
from dock.core.arrays import FloatArray
from dock.core.spin import Spin
from dock.errors import FormatError, LayoutError, UsageError
from dock.files import write_text
from dock.models.baseline import find_cutoffs
from dock.models.closed_form import ClosedForm, fit_closed_form
from dock.models.data.samples import (
    DatasetReport,
    Item,
    Sample,
    find_samples,
    inspect_samples,
    load_item,
)
from dock.models.data.store import GraphStore, read_shards, write_shards
from dock.models.modelfile import ModelFile, read_model
from dock.models.network.config import NetworkConfig
from dock.models.options.train import TrainOptions
from dock.models.statistics import Statistics, StatisticsBuilder
from dock.models.targets import TargetLayout
from dock.models.training.environment import choose_devices, start_jax

__all__ = ["Setup", "choose_layout", "choose_split", "prepare", "prepare_data"]

_LOG = logging.getLogger(__name__)
_REVERSAL = 1e-5  # eV
_RADIAL_SPACING = 0.75  # Å between the Gaussians of a distance
_FIRST_OUTPUT = 0.3  # initial outputs, in units of what the baseline leaves


@dataclass(frozen=True, eq=False)
class Setup:
    """All but the arrays that change.

    Attributes
    ----------
    store, split
        The structures, and which are for what.
    layout, config
        Targets and network.
    cutoffs, statistics, baseline
        Found on the training set.
    params
        Initial parameters, with ``constants``.
    devices
        To train on.
    provenance
        What the model file says about the data.
    """

    store: GraphStore
    split: Split
    layout: TargetLayout
    config: NetworkConfig
    cutoffs: FloatArray
    statistics: Statistics
    baseline: ClosedForm | None
    params: Any
    devices: list[Any]
    provenance: dict[str, Any]


def prepare(options: TrainOptions) -> Setup:
    """Read and check the data, fit the baseline, and make the network."""
    jax = start_jax(multi_host=options.system.multi_host)
    jax.config.update("jax_enable_x64", options.system.float_type == "fp64")
    devices = choose_devices(options.system.device)
    parts = prepare_data(options)
    store, layout = parts.store, parts.layout
    old = _old_model(options, layout)
    trained = [store.names.index(name) for name in parts.split.train]
    if old is None:
        cutoffs = find_cutoffs((store.raw(index).graph for index in trained), layout.n_species)
        baseline = None
        kind = options.model.baseline
        if kind != "none":
            baseline = fit_closed_form(
                kind, lambda: (store.raw(i) for i in trained), layout, cutoffs
            )
    else:
        cutoffs, baseline = old.cutoffs, old.baseline
    store.set_baseline(baseline)
    if old is None:
        statistics = _statistics(store, trained, layout)
        config = make_config(options, layout, statistics, cutoffs)
        params = _initial(options, config, layout, statistics)
    else:
        if old.config is None:
            raise UsageError("the run to continue has no network; it is a closed-form model.")
        statistics, config, params = old.statistics, old.config, old.params
    return Setup(
        store,
        parts.split,
        layout,
        config,
        cutoffs,
        statistics,
        baseline,
        params,
        devices,
        parts.provenance,
    )


@dataclass(frozen=True, eq=False)
class DataParts:
    """The part of a setup that needs no JAX."""

    store: GraphStore
    split: Split
    layout: TargetLayout
    provenance: dict[str, Any]


def prepare_data(options: TrainOptions) -> DataParts:
    """Find, check, split and read the structures.

    Raises
    ------
    UsageError
        Listing what is wrong with the data set.
    """
    folder = Path(options.data.outputs_dir)
    folder.mkdir(parents=True, exist_ok=True)
    samples = find_samples(options.data.inputs_dir)
    report = inspect_samples(samples, options.quantity)
    if options.data.dft.validation_check:
        report.require_good()
    for warning in report.warnings:
        _LOG.warning("%s", warning)
    if report.spin is None:
        report.require_good()
        raise UsageError("the data set is empty.")
    layout = choose_layout(options, samples, report)
    chosen = choose_split(options, [sample.name for sample in samples])
    text = json.dumps(options.to_dict(), indent=1) + "\n"
    write_text(folder / "train.json", text, overwrite=True)
    chosen.save(folder / "dataset_split.json", overwrite=True)
    wanted = {name for part in (chosen.train, chosen.validate, chosen.test) for name in part}
    used = [sample for sample in samples if sample.name in wanted]
    moments, overlap = options.data.moments, options.model.advanced.standardize_gauge
    graph = options.data.graph
    if graph.storage_type == "disk" or graph.only_save_graph:
        paths = write_shards(
            used,
            layout,
            folder / graph.dataset_name,
            shards=graph.disk_shards_num,
            with_moments=moments,
            with_overlap=overlap,
        )
        store = read_shards(paths, layout, capacity=graph.disk_mem_buffer_size)
    else:
        store = GraphStore.from_samples(used, layout, with_moments=moments, with_overlap=overlap)
    provenance = {
        "n_structures": len(used),
        "n_train": len(chosen.train),
        "folder": Path(options.data.inputs_dir).name,
        "fingerprint": store.fingerprint(),
        "shells": {label: list(ls) for label, ls in zip(layout.species, layout.ls, strict=True)},
    }
    return DataParts(store, chosen, layout, provenance)


def choose_layout(
    options: TrainOptions, samples: list[Sample], report: DatasetReport
) -> TargetLayout:
    """Return the targets; whether time reversal holds is looked up in the first structures."""
    spin = report.spin if report.spin is not None else Spin.NONE
    layout = TargetLayout.from_bases(report.bases, spin, quantity=options.quantity)
    wanted = options.model.time_reversal
    if spin is not Spin.NONCOLLINEAR or wanted == "off":
        return layout
    kept = replace(layout, time_reversal=True)
    if wanted == "on":
        return kept
    for sample in samples[:4]:
        item = load_item(sample, layout)
        # Channels that time reversal forbids: Im O⁰ and Re of the spin vector.
        broken = max(float(np.abs(part[:, 1:5]).max(initial=0.0)) for part in item[1:3])
        if broken > _REVERSAL:
            return layout
    return kept


def choose_split(options: TrainOptions, names: list[str]) -> Split:
    """Return which structures are for training, validation and test.

    Raises
    ------
    UsageError
        When the sizes do not fit the data set, or nothing is left to train on.
    FormatError
        For a split file that is none, or names structures that are not there.
    """
    loader = options.process.train.dataloader
    if loader.dataset_split_json:
        return _read_split(Path(loader.dataset_split_json), names)
    n = len(names)
    fifth = n // 5
    validate = fifth if loader.validate_size < 0 else loader.validate_size
    if loader.only_use_train_loss:
        validate = 0
    test = fifth if loader.test_size < 0 else loader.test_size
    train = n - validate - test if loader.train_size < 0 else loader.train_size
    if train < 1 or train + validate + test > n:
        raise UsageError(
            f"the data set has {n} structures; {train} for training, {validate} for validation and "
            f"{test} for test do not fit. Change the sizes in [process.train.dataloader]."
        )
    order = split(names, (1.0, 0.0, 0.0), seed=options.system.random_seed).train
    parts = (order[:train], order[train : train + validate])
    return Split(parts[0], parts[1], order[train + validate : train + validate + test])


def _read_split(path: Path, names: list[str]) -> Split:
    fix = 'Write {"train": [names], "validate": [names], "test": [names]}.'
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        parts = {kind: tuple(data.get(kind, ())) for kind in ("train", "validate", "test")}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise FormatError(path, "no split of a data set", found=str(error), fix=fix) from error
    every = [name for part in parts.values() for name in part]
    unknown = sorted(set(every) - set(names))
    if unknown or len(set(every)) != len(every) or not parts["train"]:
        problem = f"{unknown[0]} is not in the data set" if unknown else "a name occurs twice"
        problem = problem if every else "it has no structures"
        raise FormatError(path, f"the split does not fit: {problem}", fix=fix)
    return Split(parts["train"], parts["validate"], parts["test"])


def _statistics(store: GraphStore, indices: Iterable[int], layout: TargetLayout) -> Statistics:
    builder = StatisticsBuilder(layout)
    for index in indices:
        item: Item = store.item(index)
        builder.add(item.graph, item.node, item.edge)
    return builder.result()


def make_config(
    options: TrainOptions, layout: TargetLayout, statistics: Statistics, cutoffs: FloatArray
) -> NetworkConfig:
    """Return the preset with the changes of ``[model.advanced]``, fitted to the data."""
    advanced, train = options.model.advanced, options.process.train
    config = NetworkConfig.preset(options.preset)
    if advanced.net_irreps:
        config = config.with_irreps(advanced.net_irreps)
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
    config = replace(
        config, **{name: value for name, value in changes.items() if value is not None}
    )
    return replace(
        config,
        lmax=max(config.lmax, layout.max_J) if not advanced.net_irreps else config.lmax,
        radial_reach=reach,
        cutoffs=tuple(cutoffs.tolist()),
        mean_degree=statistics.mean_degree,
        moments=options.data.moments,
        remat=train.do_remat,
    )


def _initial(
    options: TrainOptions, config: NetworkConfig, layout: TargetLayout, statistics: Statistics
) -> Any:
    """Return initial parameters; the first predictions are close to the baseline's."""
    from dock.models.network.parameters import init_params

    dtype = np.float64 if options.system.float_type == "fp64" else np.float32
    params = init_params(config, layout, statistics, options.system.random_seed, dtype)
    for head in ("node_head", "edge_head"):
        params[head]["out"] = [weight * dtype(_FIRST_OUTPUT) for weight in params[head]["out"]]
    return params


def _old_model(options: TrainOptions, layout: TargetLayout) -> ModelFile | None:
    """Return the model to start from, or None."""
    continued = options.process.train.continued
    if not continued.enable:
        return None
    path = Path(continued.previous_output_dir)
    if path.is_dir():
        path = path / "model" / f"{continued.load_model_type}.h5"
    model = read_model(path)
    if model.layout != layout:
        raise LayoutError(
            f"{path}: the model was made for {model.layout.to_dict()}, the new data are "
            f"{layout.to_dict()}: species, shells, spin and quantity must be the same."
        )
    return model
