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
from dock.errors import FormatError, MissingDataError, UsageError
from dock.io.files import write_text
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
from dock.models.modelfile import ModelFile, find_model, read_model
from dock.models.network.config import NetworkConfig
from dock.models.options.train import TrainOptions
from dock.models.statistics import Statistics, StatisticsBuilder
from dock.models.targets import TargetLayout
from dock.models.training.environment import choose_devices, start_jax

__all__ = [
    "DataParts",
    "Setup",
    "check_data",
    "choose_layout",
    "choose_split",
    "prepare",
    "prepare_data",
    "record",
]

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
    old = _old_model(options)
    parts = prepare_data(options, None if old is None else old.layout)
    store, layout = parts.store, parts.layout
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
        statistics, config, params = _continued(options, old)
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


def prepare_data(options: TrainOptions, layout: TargetLayout | None = None) -> DataParts:
    """Find, check, split and read the structures.

    Parameters
    ----------
    options
        What ``train.toml`` says.
    layout
        Targets that the structures must fit; None to take them from the data.

    Raises
    ------
    UsageError
        Listing what is wrong with the data set.
    """
    samples = find_samples(options.data.inputs_dir)
    overlap = options.model.advanced.standardize_gauge
    report = inspect_samples(
        samples,
        options.quantity,
        deep=options.data.dft.validation_check,
        needs_overlap=overlap,
    )
    report.require_good()
    for warning in report.warnings:
        _LOG.warning("%s", warning)
    found = choose_layout(options, samples, report)
    if layout is not None:
        layout.require_same_kind(found)
    layout = found if layout is None else layout
    chosen = choose_split(options, [sample.name for sample in samples])
    wanted = {name for part in (chosen.train, chosen.validate, chosen.test) for name in part}
    used = [sample for sample in samples if sample.name in wanted]
    moments, graph = options.data.moments, options.data.graph
    if graph.storage_type == "disk" or graph.only_save_graph:
        paths = write_shards(
            used,
            layout,
            Path(options.data.outputs_dir) / graph.dataset_name,
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
        "n_validate": len(chosen.validate),
        "n_test": len(chosen.test),
        "folder": Path(options.data.inputs_dir).name,
        "fingerprint": store.fingerprint(),
        "shells": {label: list(ls) for label, ls in zip(layout.species, layout.ls, strict=True)},
    }
    return DataParts(store, chosen, layout, provenance)


def check_data(options: TrainOptions) -> dict[str, Any]:
    """Read and check the data as a training would; return what was found as plain data.

    Nothing is written, unless the options ask for shards.
    """
    parts = prepare_data(options)
    sizes = parts.store.sizes
    layout = parts.layout
    irreps = "+".join(
        f"{irrep.multiplicity}x{irrep.J}{'eo'[(irrep.J + (not irrep.natural)) % 2]}"
        for irrep in layout.irreps
    )
    return {
        **parts.provenance,
        "atoms": [int(sizes[:, 0].min()), int(sizes[:, 0].max())],
        "edges": [int(sizes[:, 1].min()), int(sizes[:, 1].max())],
        **layout.to_dict(),
        "irreps": irreps,
    }


def record(options: TrainOptions, chosen: Split) -> None:
    """Write ``train.json`` and ``dataset_split.json`` into the run folder."""
    folder = Path(options.data.outputs_dir)
    text = json.dumps(options.to_dict(), indent=1) + "\n"
    write_text(folder / "train.json", text, overwrite=True)
    chosen.save(folder / "dataset_split.json", overwrite=True)


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
    loader, continued = options.process.train.dataloader, options.process.train.continued
    if loader.dataset_split_json:
        return _read_split(Path(loader.dataset_split_json), names)
    if continued.enable and not continued.new_training_data:
        return _read_split(Path(continued.previous_output_dir) / "dataset_split.json", names)
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
    if not path.is_file():
        raise MissingDataError(path.name, path.parent, fix)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        parts = {kind: tuple(data.get(kind, ())) for kind in ("train", "validate", "test")}
        every = [str(name) for part in parts.values() for name in part]
        unknown = sorted(set(every) - set(names))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise FormatError(path, "no split of a data set", found=str(error), fix=fix) from error
    if unknown or len(set(every)) != len(every) or not parts["train"]:
        problem = f"{unknown[0]} is not in the data set" if unknown else "a name occurs twice"
        problem = problem if parts["train"] else "it has nothing to train on"
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


def _old_model(options: TrainOptions) -> ModelFile | None:
    """Return the model to start from, or None."""
    continued = options.process.train.continued
    if not continued.enable:
        return None
    path = find_model(continued.previous_output_dir, continued.load_model_type)
    model = read_model(path)
    if model.config is None:
        raise UsageError(f"{path}: this model has no network to go on with.")
    if model.config.moments != options.data.moments:
        raise UsageError(
            f"{path}: the model was trained with moments = {str(model.config.moments).lower()}; "
            "write the same in [data]."
        )
    return model


def _continued(options: TrainOptions, old: ModelFile) -> tuple[Statistics, NetworkConfig, Any]:
    """Return statistics, network and parameters of the model to start from."""
    import jax

    if old.config is None:
        raise UsageError("this model has no network to go on with.")
    config = replace(old.config, remat=options.process.train.do_remat)
    dtype = np.float64 if options.system.float_type == "fp64" else np.float32

    def cast(leaf: Any) -> Any:
        array = np.asarray(leaf)
        return array.astype(dtype) if array.dtype.kind == "f" else array

    return old.statistics, config, jax.tree.map(cast, old.params)
