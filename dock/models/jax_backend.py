"""The backend ``jax``: the bundled equivariant network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dock.models.backend import Report
from dock.models.options.train import TrainOptions

if TYPE_CHECKING:
    from dock.models.inference.model import NetworkModel

__all__ = ["BACKEND", "JaxBackend"]


class JaxBackend:
    """Trains and loads edge-frame networks."""

    def fit(self, options: TrainOptions, progress: Report | None = None) -> dict[str, Any]:
        """Train, or go on with a training that was stopped."""
        from dock.models.training.environment import keep_freed_memory, prepare_process

        system = options.system
        prepare_process(system.device, preallocate=system.jax_memory_preallocate)
        if system.device.startswith("cpu"):
            keep_freed_memory()
        from dock.models.training.run import train

        return train(options, progress=progress).to_dict()

    def load(self, path: str | Path, **options: Any) -> NetworkModel:
        """Load a model file; `options` are those of `NetworkModel`."""
        from dock.models.inference.model import NetworkModel

        return NetworkModel.read(path, **options)

    def check(self, options: TrainOptions) -> dict[str, Any]:
        """Read and check the data."""
        from dock.models.training.setup import check_data

        return check_data(options)


BACKEND = JaxBackend()
