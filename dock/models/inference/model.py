"""A trained network as a model that predicts."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.matrix import AOMatrix
from dock.core.structure import Structure
from dock.errors import SolverError, UsageError
from dock.models.backend import Pattern
from dock.models.closed_form import ClosedForm
from dock.models.graph import Graph, GraphPart, build_graph, parts_of
from dock.models.inference.engine import PART_EDGES, NetworkEngine, Report
from dock.models.modelfile import ModelFile, file_fingerprint, read_model
from dock.threads import available_cpus

__all__ = ["NetworkModel"]

_BASELINE_EDGES = 5_000  # pairs that one thread takes at a time


class NetworkModel:
    """A network, the closed-form part it corrects, and the statistics of its training.

    Parameters
    ----------
    file
        What `read_model` returned.
    fingerprint
        Hash of the file.
    device
        As in ``train.toml``: ``cpu``, ``cpu*2``, ``gpu``, …
    precision
        ``fp32``, ``fp64``, or empty for that of the training.
    part_edges
        Larger structures are predicted in parts of so many edges.
    """

    def __init__(
        self,
        file: ModelFile,
        fingerprint: str = "",
        *,
        device: str = "cpu",
        precision: str = "",
        part_edges: int = PART_EDGES,
    ) -> None:
        if file.config is None or file.params is None:
            raise UsageError("the model file holds no network.")
        from dock.models.training.environment import choose_devices, start_jax

        self.file, self.fingerprint = file, fingerprint
        params = _tree_as(file.params, precision)
        jax = start_jax()
        if np.dtype(_first(params).dtype) == np.float64:
            jax.config.update("jax_enable_x64", True)
        self._engine = NetworkEngine(
            params, file.config, file.layout, choose_devices(device), part_edges
        )

    @classmethod
    def read(cls, path: str | Path, **options: Any) -> NetworkModel:
        """Read a model file; `options` are those of the class."""
        from dock.models.training.environment import prepare_process

        prepare_process(options.get("device", "cpu"), preallocate=False)
        return cls(read_model(path), file_fingerprint(path), **options)

    def graph(self, structure: Structure, overlap: Pattern, moments: Any = None) -> Graph:
        """Return the graph of a structure.

        Raises
        ------
        LayoutError
            For a species or a shell that the model was not made for, naming it.
        UsageError
            When the model takes moments and there are none.
        """
        layout = self.file.layout
        layout.require_basis(overlap.basis)
        takes = self.file.config is not None and self.file.config.moments
        if takes and moments is None:
            raise UsageError(
                "this model takes a spin moment of each atom: write moments.json beside the "
                "structure, one [mx, my, mz] in μ_B for each atom."
            )
        given = moments if takes else None
        return build_graph(structure, overlap.basis, overlap.pairs, layout.species, given)

    def predict(self, structure: Structure, overlap: Pattern, moments: Any = None) -> AOMatrix:
        """Return the matrix of a structure on the pattern of its overlap."""
        return self.predict_graphs([self.graph(structure, overlap, moments)])[0]

    def predict_graphs(
        self, graphs: Sequence[Graph], report: Report | None = None
    ) -> list[AOMatrix]:
        """Return the matrices of several graphs; small ones are computed together."""
        found: list[AOMatrix | None] = [None] * len(graphs)
        for group in self._engine.groups(graphs):
            chosen = [graphs[index] for index in group]
            for index, blocks in zip(group, self.blocks(chosen, report), strict=True):
                found[index] = self.file.layout.matrix(*blocks, graphs[index])
        return [matrix for matrix in found if matrix is not None]

    def blocks(
        self, graphs: Sequence[Graph], report: Report | None = None
    ) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        """Return padded blocks, in the unit of the target, partners not averaged.

        Raises
        ------
        SolverError
            When the memory of the device does not suffice.
        """
        try:
            found = self._engine.predict(graphs, report)
        except RuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise SolverError(
                f"the memory of the device does not suffice for parts of "
                f"{self._engine.part_edges} edges: lower --part-edges, or give more devices."
            ) from error
        baseline = self.file.baseline
        if baseline is None:
            return found
        result = []
        for graph, (node, edge) in zip(graphs, found, strict=True):
            total = np.array(node), np.array(edge)
            _add_closed_form(baseline, graph, total)
            result.append(total)
        return result

    def describe(self) -> dict[str, Any]:
        """Return plain data: sizes, targets, errors, provenance."""
        file = self.file
        if file.config is None:
            raise UsageError("the model file holds no network.")
        return {
            "backend": file.backend,
            **file.layout.to_dict(),
            "parameters": _count(file.params),
            "precision": str(self._engine.dtype),
            "baseline": "none" if file.baseline is None else file.baseline.kind,
            "network": file.config.to_dict(),
            "fingerprint": self.fingerprint,
            **dict(file.summary),
        }


def _add_closed_form(
    baseline: ClosedForm, graph: Graph, total: tuple[NDArray[Any], NDArray[Any]]
) -> None:
    """Add the closed-form part to all blocks, on as many threads as this process may use."""
    around: Any = baseline.begin(graph)

    def add(part: GraphPart) -> None:
        onsite, offsite = baseline.one_way(part, around)
        total[0][part.atoms] += onsite
        total[1][part.edges] += offsite

    parts = list(parts_of(graph, _BASELINE_EDGES))
    if len(parts) == 1:
        add(parts[0])
        return
    with ThreadPoolExecutor(available_cpus()) as threads:
        list(threads.map(add, parts))


def _first(tree: Any) -> Any:
    while isinstance(tree, (dict, list)):
        tree = next(iter(tree.values())) if isinstance(tree, dict) else tree[0]
    return tree


def _count(tree: Any) -> int:
    """Return the number of trained numbers."""
    if isinstance(tree, dict):
        return sum(_count(part) for name, part in tree.items() if name != "constants")
    if isinstance(tree, list):
        return sum(_count(part) for part in tree)
    return int(np.size(tree))


def _tree_as(tree: Any, precision: str) -> Any:
    """Return the parameters in the wanted precision."""
    kind = {"fp32": np.float32, "fp64": np.float64}.get(precision)
    if precision and kind is None:
        raise UsageError(f"precision '{precision}': there are fp32 and fp64.")
    if isinstance(tree, dict):
        return {name: _tree_as(part, precision) for name, part in tree.items()}
    if isinstance(tree, list):
        return [_tree_as(part, precision) for part in tree]
    array = np.asarray(tree)
    return array if kind is None else array.astype(kind)
