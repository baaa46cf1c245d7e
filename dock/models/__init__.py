"""Models of matrices: structure in, Hamiltonian out.

>>> from dock.models import backend_names
>>> backend_names()
['jax', 'jax-export', 'three-centre', 'two-centre']
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dock.models.backend import Model, ModelBackend, backend, backend_names

if TYPE_CHECKING:
    from dock.models.options.train import TrainOptions

__all__ = ["Model", "ModelBackend", "backend", "backend_names", "load", "train"]


def train(options: TrainOptions | str | Path, progress: Any = None) -> dict[str, Any]:
    """Train a model.

    Parameters
    ----------
    options
        The options, or the path of a ``train.toml``.
    progress
        Called with the steps done, their number, and a note.

    Returns
    -------
    dict
        ``best`` is the model file.
    """
    from dock.models.options.train import TrainOptions, read_train

    found = options if isinstance(options, TrainOptions) else read_train(options)
    return backend(found.model.backend).fit(found, progress)


def load(path: str | Path, **options: Any) -> Model:
    """Load a model file, or the best model of a run folder.

    Parameters
    ----------
    path
        The file or the folder.
    options
        What the backend's ``load`` takes; for ``jax`` the device, precision and part_edges of
        `dock.models.inference.model.NetworkModel`.

    Raises
    ------
    FormatError
        When it is none, or damaged.
    """
    from dock.models.modelfile import read_backend_name

    return backend(read_backend_name(path)).load(path, **options)
