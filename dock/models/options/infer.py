"""The options of ``dock infer``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from dock.errors import FormatError
from dock.models.options.schema import ANY, Untaken, build, key, read_toml
from dock.models.options.train import absolute, require_device

__all__ = ["InferOptions", "read_infer"]


@dataclass(frozen=True)
class System:
    """``[system]``."""

    note: str = key("", "free text, kept in prediction.json")
    device: str = key("cpu", "cpu, gpu, cuda, rocm or tpu; with a number such as gpu*4")
    float_type: str = key(
        "auto", "precision; auto: that of the training", choices=("auto", "fp32", "fp64")
    )
    log_level: str = key("info", "how much is said", choices=("debug", "info", "warning", "error"))
    jax_memory_preallocate: bool = key(False, "let JAX take the memory of a GPU at once")
    show_infer_process_bar: bool = key(True, "show progress on stderr")


@dataclass(frozen=True)
class Data:
    """``[data]``."""

    inputs_dir: str = key("", "unified folders with overlap.h5 (or structures, with basis)")
    outputs_dir: str = key("", "where predictions go; empty: beside each overlap.h5")
    basis: str = key("", "folder of basis files: overlaps are computed where there are none")
    basis_code: str = key("auto", "siesta, openmx, abacus or deeph")
    basis_species: tuple[str, ...] = key((), "OpenMX: C=C6.0-s2p2d1 for each species")


@dataclass(frozen=True)
class Model:
    """``[model]``."""

    model_dir: str = key("", "run folder of the training, or a model file")
    load_model_type: str = key("best", "which model of the folder", choices=("best", "latest"))
    ensemble: tuple[str, ...] = key((), "further models: mean and spread of all are given")


@dataclass(frozen=True)
class Infer:
    """``[process.infer]``."""

    output_into: str = key(
        "auto",
        "to_input: beside each overlap; to_output: below outputs_dir; auto: where that is given",
        choices=("auto", "to_input", "to_output"),
    )
    single_precision: bool = key(False, "store 32-bit numbers")
    overwrite: bool = key(False, "replace predictions of another model")
    strict: bool = key(False, "refuse structures that lie outside the training data")
    part_edges: int = key(8192, "larger structures go in parts of so many pairs", low=64)


@dataclass(frozen=True)
class Process:
    """``[process]``."""

    infer: Infer = field(default_factory=Infer)


@dataclass(frozen=True)
class InferOptions:
    """Everything that ``infer.toml`` can say."""

    system: System = field(default_factory=System)
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    process: Process = field(default_factory=Process)


_UNTAKEN = {
    "model.load_model_epoch": Untaken(
        "Only the best and the latest model are kept: load_model_type."
    ),
    "process.infer.output_type": Untaken(
        "Predictions are HDF5 files; for PETSc run dock convert FOLDER --to petsc.", ("h5",)
    ),
    "process.infer.target_symmetrize": Untaken("Predictions are Hermitian bit by bit.", (True,)),
    "process.infer.multi_way_jit_num": Untaken("Shapes are chosen by themselves.", ANY),
    "process.infer.dataloader": Untaken(
        "Small structures are joined by themselves, see process.infer.part_edges.", ANY
    ),
    "data.graph": Untaken("Graphs are made from the overlaps in memory.", ANY),
    "data.dft": Untaken("data.inputs_dir is searched for unified folders.", ANY),
}
"""Keys of the DeepH programs, and which of their values ask for what is done anyway."""


def read_infer(path: str | Path) -> InferOptions:
    """Read and check ``infer.toml``; paths count from its folder.

    Raises
    ------
    MissingDataError, FormatError
        Naming the key and what to write instead.
    """
    path = Path(path)

    def device(options: InferOptions) -> None:
        require_device(options.system.device, path)

    def complete(options: InferOptions) -> None:
        data, model = options.data, options.model
        wanted = {"model.model_dir": model.model_dir, "data.inputs_dir": data.inputs_dir}
        if options.process.infer.output_into == "to_output":
            wanted["data.outputs_dir"] = data.outputs_dir
        for name, value in wanted.items():
            if not value:
                raise FormatError(path, "a key is missing", where=name, fix="Add it.")

    options = build(InferOptions, read_toml(path), path, _UNTAKEN, device, complete)
    data, model = options.data, options.model
    data = absolute(path, data, "inputs_dir", "outputs_dir", "basis")
    model = absolute(path, model, "model_dir", "ensemble")
    return dataclasses.replace(options, data=data, model=model)
