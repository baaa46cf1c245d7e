"""Models of matrices: structure in, Hamiltonian out.

>>> from dock.models import backend_names
>>> backend_names()
['jax', 'jax-export', 'three-centre', 'two-centre']
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dock.errors import UsageError
from dock.io.progress import Report
from dock.models.backend import Model, ModelBackend, backend, backend_names

if TYPE_CHECKING:
    from dock.models.options.train import TrainOptions

__all__ = ["Model", "ModelBackend", "backend", "backend_names", "load", "train"]


def train(options: TrainOptions | str | Path, progress: Report = None) -> dict[str, Any]:
    """Train a model by options, or the path of a ``train.toml``; ``best`` is the model file.

    `progress` is told the steps done and their number; the note of a
    `dock.io.progress.Progress` has the error of the last validation.
    """
    from dock.models.options.train import TrainOptions, read_train

    given = options if isinstance(options, TrainOptions) else read_train(options)
    return backend(given.model.backend).fit(given, progress)


def load(path: str | Path, **options: Any) -> Model:
    """Load a model file, or the best model of a run folder.

    Parameters
    ----------
    options
        What the backend's ``load`` takes (its ``load_options``); for ``jax`` the device, precision
        and part_edges of `dock.models.network.inference.model.NetworkModel`.

    Raises
    ------
    FormatError
        When it is none, or damaged.
    UsageError
        For an option that the backend does not take, or when a plug-in's model lacks a verb.
    """
    from dock.models.modelfile import read_backend_name

    name = read_backend_name(path)
    maker = backend(name)
    foreign = [option for option in options if option not in maker.load_options]
    if foreign:
        takes = ", ".join(maker.load_options) or "none"
        raise UsageError(f"a {name} model takes no option {', '.join(foreign)}; it takes {takes}.")
    model = maker.load(path, **options)
    if not isinstance(model, Model):
        raise UsageError(
            f"the model of the backend '{name}' is none: it needs scope, predict and describe."
        )
    return model
