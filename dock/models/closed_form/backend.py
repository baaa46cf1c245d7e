"""The backends ``three-centre`` and ``two-centre``: closed forms as models of their own."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from dock.core.matrix import AOMatrix
from dock.core.quantity import quantity_of
from dock.core.structure import AnyStructure
from dock.errors import UsageError
from dock.io.files import write_text
from dock.io.progress import Progress, Report
from dock.io.text import json_text
from dock.models.backend import Pattern, Scope
from dock.models.closed_form.family import closed_form_of, fit_closed_form
from dock.models.closed_form.judgement import mean_absolute_error
from dock.models.closed_form.three_centre import ThreeCentre
from dock.models.closed_form.two_centre import TwoCentre
from dock.models.data.preparation import DataParts, check_data, prepare_data, record
from dock.models.graph import build_graph
from dock.models.integrals import add_overlap
from dock.models.modelfile import ModelFile, read_model, write_model
from dock.models.options.train import TrainOptions
from dock.models.statistics import Statistics, find_cutoffs

_log = logging.getLogger("dock")

_OF_NETWORKS = (
    "system.device",
    "system.float_type",
    "system.multi_host",
    "data.model_save.",
    "model.net_type",
    "model.loss_type",
    "model.huber_delta",
    "model.baseline",
    "model.advanced.",
    "process.train.max_epoch",
    "process.train.multi_way_jit_num",
    "process.train.ahead_of_time_compile",
    "process.train.do_remat",
    "process.train.ema_decay",
    "process.train.validate_interval",
    "process.train.early_stop",
    "process.train.dataloader.batch_size",
    "process.train.optimizer.",
    "process.train.scheduler.",
    "process.train.continued.",
    "process.train.states.",
)

__all__ = ["THREE_CENTRE", "TWO_CENTRE", "ClosedFormModel"]


class ClosedFormModel:
    """The closed form of a model file.

    Raises
    ------
    UsageError
        When the file has no closed form.
    """

    def __init__(self, file: ModelFile) -> None:
        form = closed_form_of(file)
        if form is None:
            raise UsageError("the model file has no closed-form part.")
        self.file, self._form = file, form

    @property
    def scope(self) -> Scope:
        """What the model may be asked for."""
        return self.file.scope

    def predict(
        self,
        structure: AnyStructure,
        overlap: Pattern,
        moments: ArrayLike | None = None,
        initial: AOMatrix | None = None,
    ) -> AOMatrix:
        """Return the matrix of a structure on the pattern of its overlap; see `Model.predict`."""
        layout = self.file.layout
        layout.require_basis(overlap.basis)
        graph = build_graph(structure, overlap.basis, overlap.pairs, layout.species, moments)
        if self._form.needs_overlap:
            graph = add_overlap(graph, overlap, layout)
        node, edge = layout.predicted(self._form.predict, graph)
        return layout.with_known(layout.matrix(node, edge, graph), initial)

    def describe(self) -> dict[str, Any]:
        """Return plain data about the model."""
        return {
            "backend": self.file.backend,
            **self.file.layout.to_dict(),
            **self.file.unseen_facts(),
            "fingerprint": self.file.fingerprint,
            **self.file.summary,
        }


class ClosedFormBackend:
    """Fits a closed form of one kind by linear least squares."""

    load_options: tuple[str, ...] = ()

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def fit(self, options: TrainOptions, progress: Report = None) -> dict[str, Any]:
        """Fit, write ``model/best.h5``, return errors in the unit of the target."""
        begin = time.monotonic()
        self._say_what_is_not_used(options)
        steps = Progress.of(progress)
        steps.start(1)
        data = prepare_data(options, per_spin=True)
        model, errors = self._fitted(options, data)
        folder = Path(options.data.outputs_dir)
        (folder / "model").mkdir(parents=True, exist_ok=True)
        record(options, data.split)
        path = folder / "model" / "best.h5"
        write_model(path, model, overwrite=True)
        steps.advance()
        unit = quantity_of(data.layout.quantity).unit
        result = {"best": str(path), "reason": "fitted", "unit": unit, **errors}
        result["seconds"] = time.monotonic() - begin
        write_text(folder / "result.json", json_text(result, indent=1) + "\n", overwrite=True)
        return result

    def _say_what_is_not_used(self, options: TrainOptions) -> None:
        """Log the keys that were given and are those of networks."""
        idle = [name for name in options.changed() if name.startswith(_OF_NETWORKS)]
        if idle:
            _log.info(
                "backend %s: a fit by least squares on the CPU, which does not use %s",
                self._kind,
                ", ".join(idle),
            )

    def _fitted(
        self, options: TrainOptions, data: DataParts
    ) -> tuple[ModelFile, dict[str, float | None]]:
        """Return the model of a data set, and its errors on the parts of the set."""
        layout, split = data.layout.channel, data.split
        cutoffs = find_cutoffs((item.graph for item in data.items(split.train)), layout.n_species)
        form = fit_closed_form(self._kind, lambda: data.items(split.train), layout, cutoffs)
        parts = {"train": split.train, "validation": split.validate, "test": split.test}
        errors = {
            f"{part}_mae": mean_absolute_error(form, data.items(names))
            for part, names in parts.items()
        }
        statistics = Statistics.of(data.items(split.train), layout)
        summary = {**errors, "options": options.to_dict(), "training_set": data.provenance}
        model = ModelFile(
            self._kind, data.layout, cutoffs, statistics, form.stored(), summary=summary
        )
        return model, errors

    def load(self, path: str | Path, **options: Any) -> ClosedFormModel:
        """Load a model file.

        Raises
        ------
        UsageError
            For any option: there are none.
        """
        if options:
            raise UsageError(f"a closed-form model takes no option {', '.join(options)}.")
        return ClosedFormModel(read_model(path))

    def check(self, options: TrainOptions) -> dict[str, Any]:
        """Read and check the data."""
        return check_data(options, per_spin=True)


THREE_CENTRE = ClosedFormBackend(ThreeCentre.kind)
TWO_CENTRE = ClosedFormBackend(TwoCentre.kind)
