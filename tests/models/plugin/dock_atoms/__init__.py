"""A backend of one's own for `dock`: every atom has the mean on-site block of its species."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dock.errors import UsageError
from dock.models.graph import build_graph
from dock.models.modelfile import ModelFile, read_model, write_model
from dock.models.statistics import StatisticsBuilder
from dock.models.training.setup import check_data, prepare_data, record


class Atoms:
    """A fitted model; `file` lets the commands know species, shells and spin."""

    def __init__(self, file):
        self.file = file

    def predict(self, structure, overlap, moments=None):
        """Return a matrix with blocks where the overlap has them."""
        layout = self.file.layout
        layout.require_basis(overlap.basis)
        graph = build_graph(structure, overlap.basis, overlap.pairs, layout.species)
        node = layout.uncouple(self.file.statistics.node_shift[graph.species])
        edge = np.zeros((graph.n_edges, *node.shape[1:]))
        return layout.matrix(node, edge, graph)

    def describe(self):
        return {"backend": "atoms", **self.file.layout.to_dict(), **self.file.summary}


class Backend:
    """What the entry point names: `fit`, `load` and `check`."""

    def fit(self, options, progress=None):
        parts = prepare_data(options)  # finds, checks, divides and reads the structures
        builder = StatisticsBuilder(parts.layout)
        for name in parts.split.train:
            item = parts.store.item(parts.store.names.index(name))
            builder.add(item.graph, item.node, item.edge)
        path = Path(options.data.outputs_dir) / "model" / "best.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        limits = np.zeros(parts.layout.n_species**2)
        summary = {"training_set": parts.provenance}
        file = ModelFile("atoms", parts.layout, limits, builder.result(), summary=summary)
        write_model(path, file, overwrite=True)
        record(options, parts.split)
        return {"best": str(path), "reason": "averaged"}

    def load(self, path, **options):
        if options:
            raise UsageError(f"this model takes no option {', '.join(options)}.")
        return Atoms(read_model(path))

    def check(self, options):
        return check_data(options)


BACKEND = Backend()
