"""A backend of one's own for `dock`: every atom has the mean on-site block of its species."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dock.models.data.preparation import check_data, prepare_data, record
from dock.models.graph import build_graph
from dock.models.modelfile import ModelFile, read_model, write_model
from dock.models.statistics import Statistics


class Atoms:
    """A fitted model."""

    def __init__(self, file):
        self.file, self.scope = file, file.scope  # what it may be asked for: species, shells, spin

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

    load_options = ()

    def fit(self, options, progress=None):
        parts = prepare_data(options)  # finds, checks, divides and reads the structures
        statistics = Statistics.of(parts.items(parts.split.train), parts.layout)
        path = Path(options.data.outputs_dir) / "model" / "best.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        limits = np.zeros(parts.layout.n_species**2)
        summary = {"training_set": parts.provenance}
        file = ModelFile("atoms", parts.layout, limits, statistics, summary=summary)
        write_model(path, file, overwrite=True)
        record(options, parts.split)
        return {"best": str(path), "reason": "averaged"}

    def load(self, path):
        return Atoms(read_model(path))

    def check(self, options):
        return check_data(options)


BACKEND = Backend()
