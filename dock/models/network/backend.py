"""The backends ``jax``, the bundled network, and ``jax-export``, programs made of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dock.errors import UsageError
from dock.io.progress import Report
from dock.models.modelfile import read_model
from dock.models.options.train import TrainOptions

if TYPE_CHECKING:
    from dock.models.network.inference.export import ExportedModel
    from dock.models.network.inference.model import NetworkModel

__all__ = ["BACKEND", "EXPORTED", "ExportBackend", "JaxBackend"]


def _prepare(device: str, *, preallocate: bool) -> None:
    """Set what JAX reads when it is imported; whatever imports it comes after this."""
    from dock.extras import require
    from dock.models.network.environment import prepare_process

    prepare_process(device, preallocate=preallocate)
    for package in ("jax", "optax"):
        require(package, "models")


class JaxBackend:
    """Trains and loads edge-frame networks."""

    load_options: tuple[str, ...] = ("device", "precision", "part_edges", "preallocate")

    def fit(self, options: TrainOptions, progress: Report = None) -> dict[str, Any]:
        """Train, or go on with a training that was stopped."""
        from dock.models.network.environment import keep_freed_memory

        system = options.system
        _prepare(system.device, preallocate=system.jax_memory_preallocate)
        if system.device.startswith("cpu"):
            keep_freed_memory()
        from dock.models.network.training.run import train

        return train(options, progress=progress).to_dict()

    def load(
        self, path: str | Path, *, device: str = "cpu", preallocate: bool = False, **options: Any
    ) -> NetworkModel:
        """Load a model file or that of a run folder.

        With `preallocate` JAX takes the memory of a GPU at once; the others are the options of
        `NetworkModel`.
        """
        _prepare(device, preallocate=preallocate)
        from dock.models.network.inference.model import NetworkModel

        return NetworkModel(read_model(path), device=device, **options)

    def check(self, options: TrainOptions) -> dict[str, Any]:
        """Read and check the data."""
        from dock.models.data.preparation import check_data

        return check_data(options, per_spin=True, with_states=True)


class ExportBackend:
    """Loads exported programs; they cannot be trained."""

    load_options: tuple[str, ...] = ("device", "preallocate")

    def fit(self, options: TrainOptions, progress: Report = None) -> dict[str, Any]:  # noqa: ARG002
        """Raise a `UsageError`: a program is fixed."""
        raise UsageError('an exported program cannot be trained: use backend = "jax".')

    def load(
        self, path: str | Path, *, device: str = "cpu", preallocate: bool = False
    ) -> ExportedModel:
        """Load a program; the options are as for networks."""
        _prepare(device, preallocate=preallocate)
        from dock.models.network.inference.export import ExportedModel

        return ExportedModel(read_model(path), device=device)

    def check(self, options: TrainOptions) -> dict[str, Any]:
        """Refuse as `fit` does."""
        return self.fit(options)


BACKEND = JaxBackend()
EXPORTED = ExportBackend()
