"""From a folder of structures to data that can be learned: found, checked, divided, stored."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dock.converters.deeph.dataset import Split, split
from dock.converters.deeph.folder import FILES
from dock.core.calculation import Calculation
from dock.core.spin import Spin
from dock.errors import DockError, FormatError, MissingDataError, UsageError
from dock.io.files import write_text
from dock.models.data.copies import kinds_of_structures
from dock.models.data.inspection import Inspection
from dock.models.data.moments import choose_moments, has_moments, moment_ranges
from dock.models.data.reference_states import StateArrays, collect_states
from dock.models.data.samples import Item, Sample, find_samples, label
from dock.models.data.store import GraphStore, read_shards, write_shards
from dock.models.known_operator import makers
from dock.models.options.train import TrainOptions
from dock.models.targets import INITIAL, TargetLayout

__all__ = ["DataParts", "check_data", "choose_layout", "choose_split", "prepare_data", "record"]

_LOG = logging.getLogger(__name__)
_REVERSAL = 1e-5  # eV
_PARTS = 5  # of a set: a kind with more than a fifth of the structures cannot be held out
_LOOKED_AT = 4  # structures tell whether time reversal holds


@dataclass(frozen=True, eq=False)
class DataParts:
    """The data of a training; `provenance` is what a model file says about them.

    With `moments` the graphs have spin moments. Where the channels of the layout are learned one by
    one, the items are those of its ``channel``.
    """

    store: GraphStore
    split: Split
    layout: TargetLayout
    provenance: dict[str, Any]
    moments: bool = False

    @cached_property
    def number(self) -> dict[str, int]:
        """Number of each structure in the store."""
        return {name: number for number, name in enumerate(self.store.names)}

    def items(self, names: Sequence[str]) -> Iterator[Item]:
        """Yield structures with their labels as they were read, channel by channel if need be."""
        return (part for name in names for part in self.store.raw(self.number[name]).channels)


def prepare_data(
    options: TrainOptions, layout: TargetLayout | None = None, *, per_spin: bool = False
) -> DataParts:
    """Find, check, divide and read the structures; every file is read once.

    The targets are taken from the data, or have to fit `layout` where there is one. A caller that
    learns the channels of collinear magnets one by one (`TargetLayout.per_spin`) says so; for
    others ``moments = "auto"`` means false.

    Raises
    ------
    UsageError
        Listing what is wrong with the data set.
    """
    inspection = Inspection(
        find_samples(options.data.inputs_dir),
        options.quantity,
        deep=options.data.dft.validation_check,
        needs_overlap=options.model.advanced.standardize_gauge,
    )
    if inspection.errors:
        inspection.require_good()
    own = choose_layout(options, inspection.calculations, inspection.spin)
    wanted = options.wants_initial if layout is None else layout.less or False
    own = replace(own, less=choose_initial(wanted, own, inspection.calculations))
    if layout is not None:
        layout.require_same_kind(own)
    moments = _choose_moments(options, own, inspection, per_spin=per_spin)
    if layout is None:
        one_by_one = per_spin and moments and own.spin is Spin.COLLINEAR
        layout = replace(own, per_spin=True) if one_by_one else own
    atoms = {sample.name: calc.structure.labels for sample, calc in inspection.calculations}
    division = choose_split(options, [sample.name for sample in inspection.samples], atoms)
    chosen = {*division.train, *division.validate, *division.test}
    used = [sample for sample in inspection.samples if sample.name in chosen]
    try:
        store = _stored(options, used, layout, inspection, moments=moments)
    except DockError:
        inspection.require_good()  # names all structures with faults, not the first alone
        raise
    inspection.require_good()
    for warning in inspection.warnings:
        _LOG.warning("%s", warning)
    provenance = {
        "n_structures": len(used),
        "n_train": len(division.train),
        "n_validate": len(division.validate),
        "n_test": len(division.test),
        "folder": Path(options.data.inputs_dir).name,
        "fingerprint": store.fingerprint(),
        "shells": {name: list(ls) for name, ls in zip(layout.species, layout.ls, strict=True)},
        "electrons_of_species": inspection.electrons(),
    }
    if layout.less:
        provenance["initial_by"] = _initial_by(layout.less, inspection.calculations)
    parts = DataParts(store, division, layout, provenance, moments)
    if moments:
        ranges = moment_ranges(item.graph for item in parts.items(division.train))
        provenance["moments_muB"] = ranges
    return parts


def _choose_moments(
    options: TrainOptions, layout: TargetLayout, inspection: Inspection, *, per_spin: bool
) -> bool:
    """Return whether the graphs get moments, see `choose_moments`."""
    wanted = options.data.moments
    if wanted == "auto" and not per_spin:
        return False
    known = inspection.calculations
    at_hand = {sample.name: has_moments(sample.folder, calc) for sample, calc in known}
    return choose_moments(wanted, layout, at_hand)


def _stored(
    options: TrainOptions,
    used: Sequence[Sample],
    layout: TargetLayout,
    inspection: Inspection,
    *,
    moments: bool,
) -> GraphStore:
    """Return the labels of structures, in memory or on disk as the options say."""
    graph, item = options.data.graph, inspection.item
    overlap = options.model.advanced.standardize_gauge
    wanted = {"with_moments": moments, "with_overlap": overlap}
    if graph.storage_type != "disk" and not graph.only_save_graph:
        return GraphStore.from_samples(used, layout, read=item, **wanted)
    folder = Path(options.data.outputs_dir) / graph.dataset_name
    paths = write_shards(used, layout, folder, shards=graph.disk_shards_num, read=item, **wanted)
    return read_shards(paths, layout, capacity=graph.disk_mem_buffer_size)


def check_data(
    options: TrainOptions, *, per_spin: bool = False, with_states: bool = False
) -> dict[str, Any]:
    """Read and check the data as a training would; return what was found as plain data.

    `with_states` looks at the states of a second stage, too, where the options have one. Nothing is
    written, unless the options ask for shards. `per_spin` is that of `prepare_data`.
    """
    parts = prepare_data(options, per_spin=per_spin)
    channel = parts.layout.channel
    atoms, edges = parts.store.sizes.T * channel.n_channels // parts.layout.n_channels
    irreps = "+".join(
        f"{irrep.multiplicity}x{irrep.J}{'eo'[(irrep.J + (not irrep.natural)) % 2]}"
        for irrep in channel.irreps
    )
    states: dict[str, Any] = {}
    if with_states and options.process.train.states.enable:
        names = (*parts.split.train, *parts.split.validate)
        numbers = {name: parts.number[name] for name in names}
        found = collect_states(options, parts.layout, numbers, parts.split.train)
        states["states"] = StateArrays.of(found, parts.layout, parts.store.sizes, 1).facts()
    return {
        **parts.provenance,
        "atoms": [int(atoms.min()), int(atoms.max())],
        "edges": [int(edges.min()), int(edges.max())],
        **parts.layout.to_dict(),
        "moments": parts.moments,
        "irreps": irreps,
        **states,
    }


def record(options: TrainOptions, division: Split) -> None:
    """Write ``train.json`` and ``dataset_split.json`` into the run folder."""
    folder = Path(options.data.outputs_dir)
    text = json.dumps(options.to_dict(), indent=1) + "\n"
    write_text(folder / "train.json", text, overwrite=True)
    division.save(folder / "dataset_split.json", overwrite=True)


def choose_layout(
    options: TrainOptions,
    calculations: Sequence[tuple[Sample, Calculation]],
    spin: Spin | None = None,
) -> TargetLayout:
    """Return the targets of structures (see `Inspection.calculations`) with one treatment of spin.

    Whether time reversal holds is looked up in the first of them, unless the options say it.
    """
    spin = Spin.NONE if spin is None else spin
    bases = [calc.basis for _, calc in calculations]
    layout = TargetLayout.from_bases(bases, spin, quantity=options.quantity)
    wanted = options.model.time_reversal
    if spin is not Spin.NONCOLLINEAR or wanted == "off":
        return layout
    if wanted == "auto" and any(
        _breaks_time_reversal(calc, sample, layout) for sample, calc in calculations[:_LOOKED_AT]
    ):
        return layout
    return replace(layout, time_reversal=True)


def _breaks_time_reversal(calc: Calculation, sample: Sample, layout: TargetLayout) -> bool:
    """Whether channels that time reversal forbids occur: Im O⁰ and Re of the spin vector."""
    try:
        item = label(calc, sample, layout)
    except DockError:
        return False  # it will be met again where the labels are read, and said there
    forbidden = (item.node[:, 1:5], item.edge[:, 1:5])
    return max(float(np.abs(part).max(initial=0.0)) for part in forbidden) > _REVERSAL


def choose_initial(
    wanted: bool | str, layout: TargetLayout, calculations: Sequence[tuple[Sample, Calculation]]
) -> str:
    """Return the known operator that targets are learned less of, empty for none.

    `wanted` is true, false, ``auto`` (where all structures have one), or its name.

    Raises
    ------
    UsageError
        When it is wanted and structures lack it, naming some.
    """
    if wanted is False:
        return ""
    possible = INITIAL.get(layout.quantity, ())
    names = [wanted] if wanted in possible else list(possible)
    lacking = {
        name: [sample.name for sample, calc in calculations if name not in calc.available]
        for name in names
    }
    found = next((str(name) for name in names if not lacking[name]), "")
    if found:
        _LOG.info(
            "initial: what H is beyond that of superposed free atoms is learned (%s of all %d "
            "structures; initial = false learns H itself); predictions need that file too%s",
            FILES[found], len(calculations),
            ", or SIESTA's basis files" if found == "hamiltonian0" else "",
        )  # fmt: skip
        return found
    least = min(lacking.values(), key=len, default=[])
    few = ", ".join(least[:3]) + (", …" if len(least) > 3 else "")
    if wanted != "auto":
        raise UsageError(
            f"initial: the H of superposed free atoms is missing in {len(least)} of "
            f"{len(calculations)} structures ({few}). Compute it with dock compute-overlap "
            "--quantities H0 --basis DIR (SIESTA's .ion.xml), or leave the key out."
            if possible
            else f"initial: only the hamiltonian is learned beyond that of superposed free atoms, "
            f"not the {layout.quantity}. Leave the key out."
        )
    if 0 < len(least) < len(calculations):
        _LOG.warning(
            "initial: %d of %d structures lack the H of superposed free atoms (%s), so H itself is "
            "learned; with it in all of them, what is left is far smaller",
            len(least), len(calculations), few,
        )  # fmt: skip
    return ""


def _initial_by(less: str, calculations: Sequence[tuple[Sample, Calculation]]) -> list[str]:
    """Return who made the known operator; warn where it was not one program."""
    found = makers([calc for _, calc in calculations], less)
    if len(found) > 1:
        _LOG.warning(
            "initial: %s was made by %s: what is learned beyond them is not one thing",
            FILES[less], " and ".join(found),
        )  # fmt: skip
    return found


def choose_split(
    options: TrainOptions, names: list[str], atoms: Mapping[str, Sequence[str]] | None = None
) -> Split:
    """Return which structures are for training, validation and test.

    With the labels of the `atoms` of each structure those with the same atoms stay together, see
    `dock.models.data.copies`; the parts for validation and test are then no larger than asked for.

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
    validate = n // 5 if loader.validate_size < 0 else loader.validate_size
    if loader.only_use_train_loss:
        validate = 0
    test = n // 5 if loader.test_size < 0 else loader.test_size
    train = n - validate - test if loader.train_size < 0 else loader.train_size
    if train < 1 or train + validate + test > n:
        raise UsageError(
            f"the data set has {n} structures; {train} for training, {validate} for validation and "
            f"{test} for test do not fit. Change the sizes in [process.train.dataloader]."
        )
    order = split(names, (1.0, 0.0, 0.0), seed=options.system.random_seed).train
    if atoms is not None and loader.copies_together:
        kinds = kinds_of_structures([tuple(sorted(atoms[name])) for name in order], _PARTS)
        if kinds is not None:
            most = len(names) if loader.train_size < 0 else train
            found = _by_kinds(dict(zip(order, kinds, strict=True)), most, validate, test)
            if bool(found.validate) >= bool(validate) and bool(found.test) >= bool(test):
                return found
            _LOG.warning(
                "split: %d structures for validation and %d for test have no room for all copies "
                "of one crystal: structures are dealt out one by one, and copies of what is "
                "trained on will flatter the errors. Ask for larger parts.",
                validate, test,
            )  # fmt: skip
    rest = order[train:]
    return Split(order[:train], rest[:validate], rest[validate : validate + test])


def _by_kinds(kinds: Mapping[str, int], train: int, validate: int, test: int) -> Split:
    """Deal whole kinds of structures out, in the order of their first structures."""
    members: dict[int, list[str]] = {}
    for name, kind in kinds.items():
        members.setdefault(kind, []).append(name)
    parts: dict[str, list[str]] = {"validate": [], "test": [], "train": []}
    for own in members.values():
        room = {"validate": validate, "test": test, "train": len(kinds)}
        part = next(part for part, most in room.items() if len(parts[part]) + len(own) <= most)
        parts[part] += own
    _LOG.info(
        "split: structures with the same atoms stay together (%d kinds): %d for training, %d for "
        "validation, %d for test",
        len(members), min(train, len(parts["train"])), len(parts["validate"]), len(parts["test"]),
    )  # fmt: skip
    chosen = {part: tuple(own) for part, own in parts.items()}
    return Split(chosen["train"][:train], chosen["validate"], chosen["test"])


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
    return Split(**parts)
