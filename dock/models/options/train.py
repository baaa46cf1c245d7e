"""The options of ``dock train``."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dock.errors import FormatError, UsageError
from dock.models.options.schema import ANY, T, Untaken, build, key, read_toml

__all__ = [
    "Advanced",
    "Continued",
    "Dataloader",
    "Optimizer",
    "Scheduler",
    "States",
    "TrainOptions",
    "is_same_value",
    "read_train",
]

_NET_TYPES = {"normal": "normal", "sparrow": "normal", "accurate": "accurate", "eagle": "accurate"}
_ACCURATE = "the largest preset here, accurate, is taken; net_irreps makes it wider."
_LARGER = dict.fromkeys(("eagleplus", "albatross"), ("accurate", _ACCURATE))
_NO_NETWORK = {
    "owl": "Forces are not learned here.",
    "petrel": "Forces are not learned here.",
    "swift": "Auto-encoders are not part of dock.",
}
_LESS_PRECISION = "fp32 is taken: it would cost the last digits of matrix products."
_NO_TARGET = "Potentials, forces and energies are not learned here: use H, Rho, EDM or T."
_NO_LOSS = "Train from labels with mae, mse, wmae or huber."


@dataclass(frozen=True)
class System:
    """``[system]``."""

    note: str = key("", "free text, kept in the model file")
    device: str = key(
        "cpu", "cpu, gpu, cuda, rocm or tpu; with a number such as gpu*4; ids after :"
    )
    float_type: str = key(
        "fp32",
        "precision of parameters and features",
        choices=("fp32", "fp64"),
        means=dict.fromkeys(("bf16", "tf32"), ("fp32", _LESS_PRECISION)),
    )
    random_seed: int = key(137, "of initial parameters, split and order", low=0)
    log_level: str = key("info", "how much is said", choices=("debug", "info", "warning", "error"))
    jax_memory_preallocate: bool = key(True, "let JAX take the memory of a GPU at once")
    show_train_process_bar: bool = key(True, "show progress on stderr")
    multi_host: bool = key(False, "join the other hosts with jax.distributed (Slurm, MPI)")


@dataclass(frozen=True)
class Graph:
    """``[data.graph]``."""

    storage_type: str = key(
        "memory",
        "where graphs are kept: memory, or HDF5 shards on disk",
        choices=("memory", "disk"),
    )
    disk_shards_num: int = key(8, "number of shards", low=1)
    disk_mem_buffer_size: int = key(512, "structures of the shards kept in memory", low=1)
    dataset_name: str = key("graph", "folder of the shards below outputs_dir")
    only_save_graph: bool = key(False, "make the shards and stop")


@dataclass(frozen=True)
class Dft:
    """``[data.dft]``."""

    validation_check: bool = key(True, "read and check every structure before training")


@dataclass(frozen=True)
class ModelSave:
    """``[data.model_save]``."""

    best: bool = key(True, "keep the model with the lowest validation error, model/best.h5")
    latest: bool = key(True, "keep the latest model, model/latest.h5")
    latest_interval: int = key(0, "steps between checkpoints; 0: at every validation", low=0)


@dataclass(frozen=True)
class Data:
    """``[data]``."""

    inputs_dir: str = key(".", "folder of unified folders (or of a folder dft that holds them)")
    outputs_dir: str = key("training", "folder of the run")
    moments: bool | str = key(
        "auto",
        "give the model spin moments (moments.json, or from the density matrix); auto: magnets, "
        "where the structures have them",
        choices=(True, False, "auto"),
    )
    graph: Graph = field(default_factory=Graph)
    dft: Dft = field(default_factory=Dft)
    model_save: ModelSave = field(default_factory=ModelSave)


@dataclass(frozen=True)
class Advanced:
    """``[model.advanced]``; keys that are absent keep the preset's value."""

    net_irreps: str = key("", "features such as 32x0e+32x1o+8x1e; empty: the preset's")
    num_blocks: int | None = key(None, "interactions", low=1, high=32)
    num_heads: int | None = key(None, "heads of the attention; 0: none", low=0, high=64)
    self_product: int | None = key(None, "channels of the on-site product; 0: none", low=0)
    hidden: int | None = key(None, "channels inside a convolution", low=1)
    radial_hidden: int | None = key(None, "width of the networks of distances", low=4)
    n_radial: int | None = key(None, "Gaussians of a distance", low=4, high=512)
    gaussian_basis_rmax: float | None = key(
        None,
        "distance of the last Gaussian, Å; default: 1.1 times the longest edge, at least 8",
        low=0.5,
    )
    standardize_gauge: bool = key(False, "loss blind to a multiple of S added to H")


@dataclass(frozen=True)
class Model:
    """``[model]``."""

    backend: str = key("jax", "jax, three-centre, two-centre, or the name of a plug-in")
    net_type: str = key(
        "normal",
        "preset; sparrow means normal, eagle means accurate; accurate has ten times the parameters "
        "and pays with hundreds of structures, where errors of training and validation end close",
        choices=tuple(_NET_TYPES),
        instead=_NO_NETWORK,
        means=_LARGER,
    )
    target_type: str = key(
        "H",
        "what is learned: H, Rho (density matrix), EDM, T",
        choices=("H", "Rho", "EDM", "T"),
        instead=dict.fromkeys(("VrC", "Vc", "FF", "IEP"), _NO_TARGET),
    )
    loss_type: str = key(
        "mae",
        "loss on the block entries; wmae: every kind of block counts alike; block-: every block "
        "and every structure counts alike, equation (7) of the DeepH-pack paper",
        choices=("mae", "mse", "huber", "wmae", "block-mae", "block-mse"),
        instead=dict.fromkeys(("ai2dft", "ai2dft_node", "hopad", "aims"), _NO_LOSS),
    )
    huber_delta: float = key(0.01, "eV; where huber goes from quadratic to linear", low=1e-9)
    initial: bool | str = key(
        "auto",
        "learn what H is beyond that of superposed free atoms (hamiltonian0.h5 of every structure, "
        "from dock compute-overlap --quantities H0); auto: where all structures have it",
        choices=(True, False, "auto"),
    )
    baseline: str = key(
        "auto",
        "closed-form model that the network corrects; auto: none, two-centre or three-centre, the "
        "simplest of those that are best on structures that it was not fitted to; initial: none, "
        "and initial = true",
        choices=("auto", "three-centre", "two-centre", "none", "initial"),
    )
    time_reversal: str = key(
        "auto",
        "for spinors: only what time reversal allows; auto: if the labels obey it to 1e-5 eV",
        choices=("auto", "on", "off"),
    )
    advanced: Advanced = field(default_factory=Advanced)


@dataclass(frozen=True)
class Dataloader:
    """``[process.train.dataloader]``."""

    batch_size: int = key(1, "structures of a batch, over all devices", low=1)
    train_size: int = key(-1, "structures to train on; −1: what the others leave", low=-1)
    validate_size: int = key(-1, "structures for validation; −1: a fifth", low=-1)
    test_size: int = key(-1, "structures kept out; −1: a fifth", low=-1)
    dataset_split_json: str = key("", "file with train, validate, test; overrides the sizes")
    copies_together: bool = key(
        True,
        "structures with the same atoms stay in one part, as copies of one crystal flatter each "
        "other; where most have the same atoms it does nothing",
    )
    only_use_train_loss: bool = key(False, "no validation; 'best' goes by the training loss")


@dataclass(frozen=True)
class Optimizer:
    """``[process.train.optimizer]``."""

    type: str = key("adamw", "update rule", choices=("adamw", "adam", "sgd"))
    init_learning_rate: float = key(3e-3, "largest learning rate", low=0.0)
    clip_norm_factor: float = key(
        8.0, "clip gradients at this many times their running median norm; < 0: off"
    )
    betas: tuple[float, ...] = key((0.9, 0.99), "of adamw and adam", low=0, high=0.999999, length=2)
    eps: float = key(1e-8, "of adamw and adam", low=0.0)
    weight: float = key(1e-4, "weight decay of adamw, on matrices only", low=0.0)
    momentum: float = key(0.9, "of sgd", low=0.0, high=1.0)


@dataclass(frozen=True)
class Scheduler:
    """``[process.train.scheduler]``."""

    type: str = key(
        "warmup_cosine_decay",
        "how the learning rate changes",
        choices=(
            "warmup_cosine_decay",
            "warmup_stable_decay",
            "warmup_exponential_decay",
            "reduce_on_plateau",
            "constant",
        ),
    )
    init_scale: float = key(
        0.01, "learning rate at the first step, in units of the largest", low=0.0
    )
    warmup_steps: int = key(-1, "steps to the largest rate; −1: 3 % of all", low=-1)
    decay_steps: int = key(
        -1, "steps of the decay; −1: to the end (stable: the last fifth)", low=-1
    )
    end_scale: float = key(1e-3, "learning rate at the end, in units of the largest", low=0.0)
    transition_steps: int = key(1000, "exponential: steps for a factor decay_rate", low=1)
    decay_rate: float = key(0.9, "exponential: that factor", low=0.0, high=1.0)
    staircase: bool = key(False, "exponential: in steps")
    factor: float = key(0.5, "plateau: what the rate is multiplied by", low=0.0, high=1.0)
    patience: int = key(20, "plateau: validations without gain before that", low=1)
    rtol: float = key(1e-4, "plateau: relative gain that counts", low=0.0)
    cooldown: int = key(5, "plateau: validations to wait after a reduction", low=0)
    accum_size: int = key(
        0,
        "plateau: steps between the looks at the error that patience and cooldown count; those of "
        "an epoch make them epochs; 0: those of validate_interval",
        low=0,
    )
    min_learning_rate_scale: float = key(
        1e-4, "plateau: training stops below this, in units of the largest", low=0.0
    )


@dataclass(frozen=True)
class Continued:
    """``[process.train.continued]``: start from another run."""

    enable: bool = key(False, "start from the parameters of a finished or stopped run")
    previous_output_dir: str = key("", "folder of that run, or a model file")
    load_model_type: str = key("best", "which of its models", choices=("best", "latest"))
    new_training_data: bool = key(
        True, "false: the structures are divided as in that run, so that its test set stays unseen"
    )
    freeze: tuple[str, ...] = key(
        (), "parameters that stay as they are, such as blocks/* (patterns)"
    )


@dataclass(frozen=True)
class States:
    """``[process.train.states]``: a second stage that looks at the states of the references."""

    enable: bool = key(
        False, "after max_epoch, add to the loss what errors of H do to states; needs overlap.h5"
    )
    epochs: int = key(100, "passes over the training set in this stage", low=1)
    init_learning_rate: float = key(1e-3, "largest learning rate of this stage", low=0.0)
    weight: float = key(0.4, "of the error between states beside the loss", low=0.0)
    kmesh: tuple[int, ...] = key(
        (2, 2, 2),
        "k-points along each reciprocal vector, Γ among them; one where no pair reaches the next "
        "cell, and along lattice vectors of more than 16 Å",
        low=1,
        high=16,
        length=3,
    )
    window: float = key(
        3.0, "eV above the Fermi level up to which states count like occupied ones", low=0.0
    )
    max_orbitals: int = key(
        400, "structures with more orbitals have the ordinary loss alone", low=1
    )


@dataclass(frozen=True)
class Train:
    """``[process.train]``."""

    max_epoch: int = key(
        1000, "passes over the training set; 0: only those of the second stage", low=0
    )
    multi_way_jit_num: int = key(8, "largest number of padded shapes", low=1, high=64)
    ahead_of_time_compile: bool = key(False, "compile every shape before the first step")
    do_remat: bool = key(False, "recompute instead of store: less memory, a third more time")
    ema_decay: float = key(
        0.995, "of the averaged parameters that are validated and kept", low=0, high=1
    )
    validate_interval: int = key(0, "steps between validations; 0: each epoch, at least 200", low=0)
    early_stop: int = key(0, "stop after this many validations without gain; 0: never", low=0)
    dataloader: Dataloader = field(default_factory=Dataloader)
    optimizer: Optimizer = field(default_factory=Optimizer)
    scheduler: Scheduler = field(default_factory=Scheduler)
    continued: Continued = field(default_factory=Continued)
    states: States = field(default_factory=States)


@dataclass(frozen=True)
class Process:
    """``[process]``."""

    train: Train = field(default_factory=Train)


@dataclass(frozen=True)
class TrainOptions:
    """Everything in ``train.toml``; relative paths count from the folder of the file."""

    system: System = field(default_factory=System)
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    process: Process = field(default_factory=Process)

    def to_dict(self) -> dict[str, Any]:
        """Return plain nested data."""
        return dataclasses.asdict(self)

    def changed(self) -> dict[str, Any]:
        """Return the values that are not the defaults by full key, such as ``model.baseline``."""
        return _changed(self, TrainOptions(), "")

    @property
    def preset(self) -> str:
        """The network's preset under the project's own name."""
        return _NET_TYPES[self.model.net_type]

    @property
    def quantity(self) -> str:
        """The quantity that is learned."""
        names = {"H": "hamiltonian", "Rho": "density_matrix", "EDM": "energy_density_matrix"}
        return names.get(self.model.target_type, "kinetic")

    @property
    def closed_form(self) -> str:
        """The closed form that a network corrects: a kind, ``auto`` or ``none``."""
        return "none" if self.model.baseline == "initial" else self.model.baseline

    @property
    def wants_initial(self) -> bool | str:
        """Whether H is learned beyond that of free atoms: true, false or ``auto``."""
        return True if self.model.baseline == "initial" else self.model.initial


def is_same_value(name: str, one: Any, other: Any) -> bool:
    """Say whether two values of a full key mean the same: ``sparrow`` is ``normal``.

    Examples
    --------
    >>> is_same_value("model.net_type", "sparrow", "normal")
    True
    """
    if name == "model.net_type":
        one, other = (_NET_TYPES.get(word, word) for word in (one, other))
    return bool(one == other)


def _changed(one: Any, default: Any, where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in dataclasses.fields(one):
        value, other = getattr(one, item.name), getattr(default, item.name)
        if dataclasses.is_dataclass(value):
            found |= _changed(value, other, f"{where}{item.name}.")
        elif value != other:
            found[where + item.name] = value
    return found


_OUTPUTS = "Every pair of elements has its own output weights."
_PLUGIN = "Train from DFT labels; a backend of your own is an entry point of the group dock.models."
_UNTAKEN = {
    "data.dft.data_dir_depth": Untaken("Unified folders are found at any depth.", ANY),
    "data.graph.graph_type": Untaken(
        "The graph is the union of the patterns of H and S.", ("H", "S", "HS", "Rho")
    ),
    "data.graph.common_orbital_types": Untaken("The common basis is found from the data.", ANY),
    "data.graph.parallel_num": Untaken("Reading is not the bottleneck.", ANY),
    "data.graph.disk_shards_indices": Untaken("All shards are read; leave the key out.", ([],)),
    "data.model_save.latest_num": Untaken("One latest model is kept.", ANY),
    "model.advanced.consider_parity": Untaken(
        "Features are tensors of O(3), parity included, in every network here.", ANY
    ),
    "model.advanced.enable_bs3b_layer": Untaken(_OUTPUTS, ANY),
    "model.advanced.bs3b_orbital_types": Untaken(_OUTPUTS, ANY),
    "model.advanced.latent_irreps": Untaken("There are no latent irreps; use net_irreps.", ("",)),
    "model.advanced.latent_scalar_dim": Untaken(
        "There are no latent features; use radial_hidden.", (0,)
    ),
    "model.advanced.latent_edge_cutoff": Untaken("Edges end where the matrix does.", (0,)),
    "model.advanced.vr_focus_size": Untaken(
        "Real-space potentials are not learned; use target_type H.", (0,)
    ),
    "model.advanced.enable_element_moe": Untaken(_OUTPUTS, ANY),
    "model.advanced.moe_element_include": Untaken(_OUTPUTS, ANY),
    "process.train.drop": Untaken(
        "There is no dropout; use optimizer.weight and ema_decay.", (0, 0.0)
    ),
    "process.train.with_plugin": Untaken(_PLUGIN, (False, "")),
    "process.train.scheduler.transition_begin": Untaken("Use warmup_steps.", (0,)),
    "process.train.continued.new_optimizer": Untaken(
        "A continued run always has a new optimizer; to go on with the old one, run the same "
        "train.toml again.",
        (True,),
    ),
    "process.train.continued.load_model_epoch": Untaken("Use load_model_type best or latest."),
}
"""Keys of the DeepH programs, and which of their values ask for what is done anyway."""


def read_train(path: str | Path) -> TrainOptions:
    """Read ``train.toml``.

    Raises
    ------
    MissingDataError
        When there is no such file.
    FormatError
        For invalid TOML, unknown or refused keys, wrong types and values.
    """
    path = Path(path)

    def device(options: TrainOptions) -> None:
        require_device(options.system.device, path)

    def start(options: TrainOptions) -> None:
        continued = options.process.train.continued
        if continued.enable and not continued.previous_output_dir:
            raise FormatError(
                path,
                "a continued run needs the run to start from",
                where="process.train.continued.previous_output_dir",
                fix="Give its folder.",
            )

    def interval(options: TrainOptions) -> None:
        train = options.process.train
        given = (train.validate_interval, train.scheduler.accum_size)
        if train.scheduler.type == "reduce_on_plateau" and all(given) and given[0] != given[1]:
            raise FormatError(
                path,
                "the plateau is looked for at validations, and two keys say when they are",
                where="process.train.scheduler.accum_size",
                expected=f"{given[0]}, as validate_interval says",
                found=given[1],
                fix="Leave one of them out.",
            )

    def epochs(options: TrainOptions) -> None:
        train = options.process.train
        if train.max_epoch == 0 and not train.states.enable:
            raise FormatError(
                path,
                "there is nothing to train",
                where="process.train.max_epoch",
                expected="at least 1 without a second stage",
                found=0,
                fix="Raise it, or set enable = true in [process.train.states].",
            )

    checks = (device, start, interval, epochs)
    options = build(TrainOptions, read_toml(path), path, _UNTAKEN, *checks)
    data = absolute(path, options.data, "inputs_dir", "outputs_dir")
    train = options.process.train
    loader = absolute(path, train.dataloader, "dataset_split_json")
    continued = absolute(path, train.continued, "previous_output_dir")
    process = Process(dataclasses.replace(train, dataloader=loader, continued=continued))
    return dataclasses.replace(options, data=data, process=process)


def parse_device(text: str) -> tuple[str, int, list[int]]:
    """Return kind, number and ids of ``gpu*4:0,1,2,3``.

    Raises
    ------
    UsageError
        For any other form.
    """
    head, _, tail = text.partition(":")
    kind, star, count = head.partition("*")
    ids = [part.strip() for part in tail.split(",")] if tail else []
    known = kind in ("cpu", "gpu", "cuda", "rocm", "dcu", "tpu")
    numbers = [count, *ids] if star else ids
    if not known or not all(part.isdecimal() for part in numbers) or (star and int(count) < 1):
        raise UsageError(
            f"'{text}' is no device: there are cpu, gpu, cuda, rocm, dcu and tpu, with *NUMBER and "
            ":IDS if wanted. Write for example cpu, cpu*4, gpu or gpu*2:0,1."
        )
    number = int(count) if star else max(1, len(ids))
    return kind, number, [int(part) for part in ids]


def require_device(text: str, path: Path) -> None:
    """Raise a `FormatError` that names the key for a file whose ``system.device`` is none."""
    try:
        parse_device(text)
    except UsageError as error:
        raise FormatError(
            path,
            "this is no device",
            where="system.device",
            expected="cpu, gpu, cuda, rocm, dcu or tpu, with *NUMBER and :IDS if wanted",
            found=text,
            fix="Write for example cpu, cpu*4, gpu or gpu*2:0,1.",
        ) from error


def absolute(file: Path, table: T, *names: str) -> T:
    """Return a table of options whose paths count from the folder of the file; empty ones stay."""
    base = file.resolve().parent

    def resolved(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(resolved, value))
        return os.path.normpath(base / value) if value else ""

    paths = {name: resolved(getattr(table, name)) for name in names}
    return dataclasses.replace(table, **paths)  # type: ignore[type-var]
