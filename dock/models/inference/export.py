"""A network as one compiled-anywhere program (StableHLO) that needs no network code to run.

The program takes the arrays of `ARGUMENTS` for any number of atoms and edges, and returns on-site
and off-site blocks. Whoever reads it needs `jax.export.deserialize` and what is written beside it;
`dock` itself predicts with such a file as with any model.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from dock.core.matrix import AOMatrix
from dock.core.structure import Structure
from dock.errors import FormatError, UsageError
from dock.models.backend import Pattern, Report
from dock.models.graph import build_graph
from dock.models.modelfile import file_fingerprint, find_model, read_model, write_model
from dock.models.options.train import TrainOptions

__all__ = ["ARGUMENTS", "BACKEND", "ExportedModel", "export_model"]

ARGUMENTS = ("species", "receiver", "sender", "reverse", "edge_type", "vector")
"""Arrays that the program takes, in order; then ``moments`` where the network has them."""

_PLATFORMS = ("cpu", "cuda")


def export_model(path: str | Path, output: str | Path, *, overwrite: bool = False) -> Path:
    """Write a network as a program.

    Parameters
    ----------
    path
        Model file or run folder of the backend ``jax``.
    output
        The file to write.
    overwrite
        Replace an existing file.

    Raises
    ------
    UsageError
        When the model is no network.
    OutputError
        When the file exists.
    """
    from dock.models.training.environment import prepare_process, start_jax

    source = find_model(path)
    model = read_model(source)
    if model.config is None or model.params is None:
        raise UsageError(f"{source}: only networks can be exported, this is '{model.backend}'.")
    prepare_process("cpu")
    jax = start_jax()
    from jax import export

    from dock.models.network.model import apply

    dtype = np.dtype(jax.tree.leaves(model.params)[0].dtype)
    jax.config.update("jax_enable_x64", dtype == np.float64)
    config, layout = model.config, model.layout
    params = jax.tree.map(jax.numpy.asarray, model.params)
    names = [*ARGUMENTS, *(["moments"] if config.moments else [])]

    def program(*arrays: Any) -> Any:
        batch = dict(zip(names, arrays, strict=True))
        batch["edge_mask"] = jax.numpy.ones_like(batch["vector"][:, 0])
        return apply(params, config, layout, batch)

    atoms, edges = export.symbolic_shape("atoms, edges")
    shapes = {"species": (atoms,), "vector": (edges, 3), "moments": (atoms, 3)}
    kinds = {"vector": dtype, "moments": dtype}
    arguments = [
        jax.ShapeDtypeStruct(shapes.get(name, (edges,)), kinds.get(name, np.dtype(np.int32)))
        for name in names
    ]
    exported = export.export(jax.jit(program), platforms=_PLATFORMS)(*arguments)
    summary = {**dict(model.summary), "exported_from": str(source.name), "arguments": names}
    written = dataclasses.replace(
        model,
        backend="jax-export",
        config=None,
        params=None,
        program=bytes(exported.serialize()),
        summary=summary,
    )
    write_model(output, written, overwrite=overwrite)
    return Path(output)


class ExportedModel:
    """A program made by `export_model`.

    Parameters
    ----------
    path
        The file.
    device
        Only ``cpu`` and ``gpu`` (one); what JAX finds is used.
    """

    def __init__(self, path: str | Path, *, device: str = "cpu") -> None:
        from dock.models.training.environment import choose_devices, prepare_process, start_jax

        path = find_model(path)
        self.file = read_model(path)
        self.fingerprint = file_fingerprint(path)
        if self.file.program is None:
            raise FormatError(path, "the file holds no exported program")
        prepare_process(device, preallocate=False)
        jax = start_jax()
        from jax import export

        try:
            exported = export.deserialize(bytearray(self.file.program))
        except (ValueError, RuntimeError, TypeError, AttributeError) as error:
            raise FormatError(
                path,
                "this JAX cannot read the exported program",
                found=str(error)[:200],
                fix="Export it again with this version, or install the one it was made with.",
            ) from error
        self._names = list(self.file.summary["arguments"])
        kinds = [np.dtype(aval.dtype) for aval in exported.in_avals]
        self._kinds = dict(zip(self._names, kinds, strict=True))
        jax.config.update("jax_enable_x64", self._kinds["vector"] == np.float64)
        self._device = choose_devices(device)[0]
        self._call: Any = jax.jit(exported.call)
        self._put: Any = jax.device_put

    def predict(self, structure: Structure, overlap: Pattern, moments: Any = None) -> AOMatrix:
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
        arrays = {
            "species": graph.species,
            "receiver": graph.receiver,
            "sender": graph.sender,
            "reverse": graph.reverse,
            "edge_type": graph.edge_type,
            "vector": graph.vectors,
            "moments": graph.moments,
        }
        given = [
            self._put(np.asarray(arrays[name], self._kinds[name]), self._device)
            for name in self._names
        ]
        node, edge = (np.asarray(found, np.float64) for found in self._call(*given))
        if self.file.baseline is not None:
            onsite, offsite = self.file.baseline.predict(graph)
            node, edge = node + onsite, edge + offsite
        return layout.matrix(node, edge, graph)

    def describe(self) -> dict[str, Any]:
        """Return plain data about the model."""
        return {
            "backend": "jax-export",
            **self.file.layout.to_dict(),
            "fingerprint": self.fingerprint,
            **dict(self.file.summary),
        }


class ExportBackend:
    """Loads exported programs; they cannot be trained."""

    def fit(
        self,
        options: TrainOptions,  # noqa: ARG002
        progress: Report | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        """Refuse: a program is fixed.

        Raises
        ------
        UsageError
            Always.
        """
        raise UsageError('an exported program cannot be trained: use backend = "jax".')

    def load(self, path: str | Path, **options: Any) -> ExportedModel:
        """Load a program; the only option is the device."""
        return ExportedModel(path, **{k: v for k, v in options.items() if k == "device"})

    def check(self, options: TrainOptions) -> dict[str, Any]:
        """Refuse: a program is fixed.

        Raises
        ------
        UsageError
            Always.
        """
        return self.fit(options)


BACKEND = ExportBackend()
