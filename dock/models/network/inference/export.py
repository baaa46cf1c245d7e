"""A network as one compiled-anywhere program (StableHLO) that needs no network code to run.

The program takes the arrays of `ARGUMENTS` for any number of atoms and edges, and returns on-site
and off-site blocks. Whoever reads it needs `jax.export.deserialize` and what is written beside it;
`dock` itself predicts with such a file as with any model.
"""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dock.core.arrays import FloatArray
from dock.core.matrix import AOMatrix
from dock.core.structure import AnyStructure
from dock.errors import FormatError, UsageError
from dock.extras import require
from dock.models.backend import Pattern, Scope
from dock.models.closed_form import closed_form_of
from dock.models.graph import Graph, build_graph
from dock.models.integrals import add_overlap
from dock.models.modelfile import ModelFile, find_model, read_model, write_model
from dock.models.network.environment import choose_devices, prepare_process, start_jax
from dock.models.network.trained import TrainedNetwork

__all__ = ["ARGUMENTS", "ExportedModel", "export_model"]

ARGUMENTS = ("species", "receiver", "sender", "reverse", "edge_type", "vector")
"""Arrays that the program takes, in order; then ``moments`` where the network has them."""

_PLATFORMS = ("cpu", "cuda")


def export_model(path: str | Path, output: str | Path, *, overwrite: bool = False) -> Path:
    """Write the network of a model file or run folder of the backend ``jax`` as a program.

    Raises
    ------
    UsageError
        When the model is no network.
    OutputError
        When the file exists.
    """
    source = find_model(path)
    file = read_model(source)
    network = TrainedNetwork.of(file)
    if network is None:
        raise UsageError(f"{source}: only networks can be exported, this is '{file.backend}'.")
    names, program = _program(network)
    summary = {**dict(file.summary), "exported_from": str(source.name), "arguments": names}
    exported = dataclasses.replace(
        file, backend="jax-export", network=None, program=program, summary=summary
    )
    write_model(output, exported, overwrite=overwrite)
    return Path(output)


def _program(network: TrainedNetwork) -> tuple[list[str], bytes]:
    """Return the arguments of a network's program, and the program, serialised."""
    prepare_process("cpu")
    jax = start_jax()
    require("flatbuffers", "models")  # a program is serialised with it
    from jax import export

    from dock.models.network.model import apply

    dtype = np.dtype(jax.tree.leaves(network.params)[0].dtype)
    jax.config.update("jax_enable_x64", dtype == np.float64)
    names = [*ARGUMENTS, *(["moments"] if network.config.moments else [])]
    atoms, edges = export.symbolic_shape("atoms, edges")
    shapes = {"species": (atoms,), "vector": (edges, 3), "moments": (atoms, 3)}
    kinds = {"vector": dtype, "moments": dtype}
    arguments = [
        jax.ShapeDtypeStruct(shapes.get(name, (edges,)), kinds.get(name, np.dtype(np.int32)))
        for name in names
    ]
    params = jax.tree.map(jax.numpy.asarray, network.params)

    def program(*arrays: Any) -> Any:
        batch = dict(zip(names, arrays, strict=True))
        batch["edge_mask"] = jax.numpy.ones_like(batch["vector"][:, 0])
        return apply(params, network.config, network.layout.channel, batch)

    exported = export.export(jax.jit(program), platforms=_PLATFORMS)(*arguments)
    return names, bytes(exported.serialize())


class ExportedModel:
    """A program made by `export_model`, on ``cpu`` or (one) ``gpu``.

    Raises
    ------
    FormatError
        When the file holds no program, or one that this JAX cannot read.
    """

    def __init__(self, file: ModelFile, *, device: str = "cpu") -> None:
        self.file = file
        self._form = closed_form_of(file)
        path = file.path or Path("model file")
        if file.program is None:
            raise FormatError(path, "the file holds no exported program")
        jax = start_jax()
        require("flatbuffers", "models")
        from jax import export

        try:
            exported = export.deserialize(bytearray(file.program))
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
            struct.error,
        ) as error:
            raise FormatError(
                path,
                "this JAX cannot read the exported program",
                found=str(error)[:200],
                fix="Export it again with this version, or install the one it was made with.",
            ) from error
        self._names = list(file.summary["arguments"])
        kinds = [np.dtype(aval.dtype) for aval in exported.in_avals]
        self._kinds = dict(zip(self._names, kinds, strict=True))
        jax.config.update("jax_enable_x64", self._kinds["vector"] == np.float64)
        self._device = choose_devices(device)[0]
        self._call: Any = jax.jit(exported.call)
        self._put: Any = jax.device_put

    @property
    def scope(self) -> Scope:
        """What the model may be asked for."""
        return dataclasses.replace(self.file.scope, takes_moments="moments" in self._names)

    def predict(
        self,
        structure: AnyStructure,
        overlap: Pattern,
        moments: ArrayLike | None = None,
        initial: AOMatrix | None = None,
    ) -> AOMatrix:
        """Return the matrix of a structure on the pattern of its overlap.

        Raises
        ------
        LayoutError
            For a species or shell that the model was not made for.
        UsageError
            When the model takes moments and there are none.
        """
        layout = self.file.layout
        layout.require_basis(overlap.basis)
        takes = "moments" in self._names
        if takes and moments is None:
            raise UsageError("this model takes a spin moment of each atom; there are none.")
        graph = build_graph(
            structure, overlap.basis, overlap.pairs, layout.species, moments if takes else None
        )
        if self._form is not None and self._form.needs_overlap:
            graph = add_overlap(graph, overlap, layout)
        node, edge = layout.predicted(self._blocks, graph)
        return layout.with_known(layout.matrix(node, edge, graph), initial)

    def _blocks(self, graph: Graph) -> tuple[FloatArray, FloatArray]:
        """Return the blocks of a graph, of one channel where they are predicted one by one."""
        node, edge = (np.asarray(part, np.float64) for part in self._call(*self._arguments(graph)))
        if self._form is not None:
            onsite, offsite = self._form.predict(graph)
            node, edge = node + onsite, edge + offsite
        return node, edge

    def _arguments(self, graph: Graph) -> list[Any]:
        """Return the arrays of a graph on the device, in the program's order."""
        attributes = {"vector": "vectors"}  # the others have the same name
        arrays = {name: getattr(graph, attributes.get(name, name)) for name in self._names}
        return [
            self._put(np.asarray(array, self._kinds[name]), self._device)
            for name, array in arrays.items()
        ]

    def describe(self) -> dict[str, Any]:
        """Return plain data about the model."""
        return {
            "backend": "jax-export",
            **self.file.layout.to_dict(),
            **self.file.unseen_facts(),
            "fingerprint": self.file.fingerprint,
            **dict(self.file.summary),
        }
