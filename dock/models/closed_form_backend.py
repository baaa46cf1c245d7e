"""The backends ``three-centre`` and ``two-centre``: closed-form models, without JAX."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from dock.core.matrix import AOMatrix
from dock.core.quantity import quantity_of
from dock.core.structure import Structure
from dock.errors import UsageError
from dock.io.files import write_text
from dock.models.backend import Pattern, Report
from dock.models.baseline import find_cutoffs
from dock.models.closed_form import ClosedForm, fit_closed_form
from dock.models.data.samples import Item
from dock.models.graph import build_graph
from dock.models.modelfile import ModelFile, file_fingerprint, read_model, write_model
from dock.models.options.train import TrainOptions
from dock.models.statistics import StatisticsBuilder
from dock.models.targets import TargetLayout
from dock.models.training.setup import check_data, prepare_data, record

__all__ = ["THREE_CENTRE", "TWO_CENTRE", "ClosedFormModel", "mean_absolute_error"]


def mean_absolute_error(baseline: ClosedForm, items: list[Item]) -> float | None:
    """Return the error over all entries of structures, in the unit of the target."""
    layout: TargetLayout = baseline.layout
    total = count = 0.0
    for item in items:
        node, edge = baseline.predict(item.graph)
        masks = (layout.node_mask[item.graph.species], layout.edge_mask[item.graph.edge_type])
        total += float(np.abs(node - item.node).sum() + np.abs(edge - item.edge).sum())
        count += sum(float(mask.sum()) for mask in masks) * layout.n_channels
    return total / count if count else None


class ClosedFormModel:
    """A fitted closed-form model.

    Parameters
    ----------
    file
        What `read_model` returned.
    fingerprint
        Hash of the file.
    """

    def __init__(self, file: ModelFile, fingerprint: str = "") -> None:
        if file.baseline is None:
            raise UsageError("the model file has no closed-form part.")
        self.file, self._baseline, self.fingerprint = file, file.baseline, fingerprint

    def predict(self, structure: Structure, overlap: Pattern, moments: Any = None) -> AOMatrix:
        """Return the matrix of a structure on the pattern of its overlap."""
        layout = self.file.layout
        layout.require_basis(overlap.basis)
        graph = build_graph(structure, overlap.basis, overlap.pairs, layout.species, moments)
        node, edge = self._baseline.predict(graph)
        return layout.matrix(node, edge, graph)

    def describe(self) -> dict[str, Any]:
        """Return plain data about the model."""
        return {
            "backend": self.file.backend,
            **self.file.layout.to_dict(),
            "fingerprint": self.fingerprint,
            **self.file.summary,
        }


class ClosedFormBackend:
    """Fits a closed-form model by linear least squares.

    Parameters
    ----------
    kind
        ``three-centre`` or ``two-centre``.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def fit(self, options: TrainOptions, progress: Report | None = None) -> dict[str, Any]:
        """Fit, write ``model/best.h5``, return errors in the unit of the target."""
        begin = time.monotonic()
        parts = prepare_data(options)
        store, layout = parts.store, parts.layout
        index = {name: number for number, name in enumerate(store.names)}
        trained = [index[name] for name in parts.split.train]
        cutoffs = find_cutoffs((store.raw(i).graph for i in trained), layout.n_species)
        baseline = fit_closed_form(
            self._kind, lambda: (store.raw(i) for i in trained), layout, cutoffs
        )
        builder = StatisticsBuilder(layout)
        for number in trained:
            item = store.raw(number)
            builder.add(item.graph, item.node, item.edge)
        errors = {
            f"{kind}_mae": mean_absolute_error(baseline, [store.raw(index[name]) for name in names])
            for kind, names in (
                ("train", parts.split.train),
                ("validation", parts.split.validate),
                ("test", parts.split.test),
            )
        }
        folder = Path(options.data.outputs_dir)
        (folder / "model").mkdir(parents=True, exist_ok=True)
        record(options, parts.split)
        summary = {**errors, "options": options.to_dict(), "training_set": parts.provenance}
        path = folder / "model" / "best.h5"
        model = ModelFile(self._kind, layout, cutoffs, builder.result(), baseline, summary=summary)
        write_model(path, model, overwrite=True)
        if progress is not None:
            progress(1, 1, "")
        unit = quantity_of(layout.quantity).unit
        result = {"best": str(path), "reason": "fitted", "unit": unit, **errors}
        result["seconds"] = time.monotonic() - begin
        write_text(folder / "result.json", json.dumps(result, indent=1) + "\n", overwrite=True)
        return result

    def load(self, path: str | Path, **options: Any) -> ClosedFormModel:
        """Load a model file.

        Raises
        ------
        UsageError
            For any option: there are none.
        """
        if options:
            raise UsageError(f"a closed-form model takes no option {', '.join(options)}.")
        return ClosedFormModel(read_model(path), file_fingerprint(path))

    def check(self, options: TrainOptions) -> dict[str, Any]:
        """Read and check the data."""
        return check_data(options)


THREE_CENTRE = ClosedFormBackend("three-centre")
TWO_CENTRE = ClosedFormBackend("two-centre")
