"""A trained network as a model that predicts."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.matrix import AOMatrix
from dock.core.structure import AnyStructure, Structure
from dock.errors import SolverError, UsageError
from dock.io.progress import Report
from dock.models.backend import Pattern, Scope
from dock.models.closed_form import ClosedForm
from dock.models.graph import Graph, GraphPart, build_graph, parts_of
from dock.models.integrals import add_overlap
from dock.models.modelfile import ModelFile, flatten, unflatten
from dock.models.network.environment import choose_devices, start_jax
from dock.models.network.inference.engine import PART_EDGES, NetworkEngine
from dock.models.network.parameters import count_parameters
from dock.models.network.trained import TrainedNetwork
from dock.models.targets import stacked
from dock.threads import available_cpus

__all__ = ["NetworkModel"]

_CLOSED_FORM_EDGES = 5_000  # pairs that one thread takes at a time


class NetworkModel:
    """A network, the closed form it corrects, and the statistics of its training.

    Parameters
    ----------
    device
        As in ``train.toml``: ``cpu``, ``cpu*2``, ``gpu``, …
    precision
        ``fp32``, ``fp64``, or ``auto`` for that of the training.
    part_edges
        Larger structures are predicted in parts of so many edges.

    Raises
    ------
    UsageError
        When the file holds no network; for a precision or a device that there is not.
    """

    def __init__(
        self,
        file: ModelFile,
        *,
        device: str = "cpu",
        precision: str = "auto",
        part_edges: int = PART_EDGES,
    ) -> None:
        network = TrainedNetwork.require(file)
        params = _in_precision(network.params, precision)
        self.file, self._network = file, replace(network, params=params)
        jax = start_jax()
        if np.dtype(jax.tree.leaves(params)[0].dtype) == np.float64:
            jax.config.update("jax_enable_x64", True)
        self._engine = NetworkEngine(
            params, network.config, network.layout.channel, choose_devices(device), part_edges
        )

    @property
    def scope(self) -> Scope:
        """What the model may be asked for."""
        return replace(self.file.scope, takes_moments=self._network.config.moments)

    def graph(
        self, structure: AnyStructure, overlap: Pattern, moments: ArrayLike | None = None
    ) -> Graph:
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
        takes = self._network.config.moments
        if takes and moments is None:
            raise UsageError(
                "this model takes a spin moment of each atom: write moments.json beside the "
                "structure, one [mx, my, mz] in μ_B for each atom."
            )
        given = moments if takes else None
        graph = build_graph(structure, overlap.basis, overlap.pairs, layout.species, given)
        form = self._network.closed_form
        needs_overlap = form is not None and form.needs_overlap
        return add_overlap(graph, overlap, layout) if needs_overlap else graph

    def predict(
        self,
        structure: Structure,
        overlap: Pattern,
        moments: ArrayLike | None = None,
        progress: Report = None,
        initial: AOMatrix | None = None,
    ) -> AOMatrix:
        """Return the matrix of a structure on the pattern of its overlap; see `Model.predict`.

        Progress is that of the parts of a large structure.
        """
        made = self.predict_graphs([self.graph(structure, overlap, moments)], progress)[0]
        return self.file.layout.with_known(made, initial)

    def predict_graphs(self, graphs: Sequence[Graph], progress: Report = None) -> list[AOMatrix]:
        """Return the matrices of several graphs; small ones are computed together.

        They are those of the targets: what a model adds to a known operator, without that.
        """
        matrices: list[AOMatrix] = []
        for group in self._engine.groups(graphs):
            together = [graphs[index] for index in group]
            matrices += [
                self.file.layout.matrix(*blocks, graph)
                for graph, blocks in zip(together, self.blocks(together, progress), strict=True)
            ]
        return matrices

    def blocks(
        self, graphs: Sequence[Graph], progress: Report = None
    ) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        """Return padded blocks, in the unit of the target, partners not averaged.

        Collinear magnets are predicted channel by channel, each as a structure of its own.

        Raises
        ------
        SolverError
            When the memory of the device does not suffice.
        """
        layout, engine = self.file.layout, self._engine
        parts = [part for graph in graphs for part in layout.graphs(graph)]
        try:
            corrections = [
                blocks
                for group in engine.groups(parts)
                for blocks in engine.predict([parts[index] for index in group], progress)
            ]
        except RuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise SolverError(
                f"the memory of the device does not suffice for parts of "
                f"{self._engine.part_edges} edges: pass a smaller part_edges=N, or more devices."
            ) from error
        form = self._network.closed_form
        totals = corrections
        if form is not None:
            totals = [(np.array(node), np.array(edge)) for node, edge in corrections]
            for part, total in zip(parts, totals, strict=True):
                _add_closed_form(form, part, total)
        per = len(parts) // len(graphs)
        return [stacked(totals[begin : begin + per]) for begin in range(0, len(totals), per)]

    def describe(self) -> dict[str, Any]:
        """Return plain data: sizes, targets, errors, provenance."""
        file, network = self.file, self._network
        return {
            "backend": file.backend,
            **file.layout.to_dict(),
            "parameters": count_parameters(network.params),
            "precision": str(self._engine.dtype),
            "baseline": "none" if network.closed_form is None else network.closed_form.kind,
            "network": network.config.to_dict(),
            **file.unseen_facts(),
            "fingerprint": file.fingerprint,
            **dict(file.summary),
        }


def _add_closed_form(
    form: ClosedForm, graph: Graph, total: tuple[NDArray[Any], NDArray[Any]]
) -> None:
    """Add the closed form to all blocks, on as many threads as this process may use."""
    around = form.begin(graph)

    def add(part: GraphPart) -> None:
        onsite, offsite = form.one_way(part, around)
        total[0][part.atoms] += onsite
        total[1][part.edges] += offsite

    parts = list(parts_of(graph, _CLOSED_FORM_EDGES))
    if len(parts) == 1:
        add(parts[0])
        return
    with ThreadPoolExecutor(available_cpus()) as threads:
        list(threads.map(add, parts))


def _in_precision(params: Any, precision: str) -> Any:
    """Return the parameters in the wanted precision."""
    if precision in ("auto", ""):
        return params
    kind = {"fp32": np.float32, "fp64": np.float64}.get(precision)
    if kind is None:
        raise UsageError(f"precision '{precision}': there are fp32 and fp64.")
    flat = flatten(params)
    return unflatten({name: np.asarray(array).astype(kind) for name, array in flat.items()})
