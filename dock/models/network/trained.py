"""A trained network with all that its predictions need, and how it stands in a model file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dock.core.arrays import FloatArray
from dock.errors import UsageError
from dock.models.closed_form import ClosedForm, closed_form_of
from dock.models.modelfile import ModelFile, Stored
from dock.models.network.config import NetworkConfig
from dock.models.statistics import Statistics
from dock.models.targets import TargetLayout

__all__ = ["TrainedNetwork"]


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network, the closed form it corrects, and what was counted over its training set.

    Parameters are nested dicts and lists of arrays, ``constants`` among them; the other attributes
    are those of `ModelFile`. The network predicts what the layout's ``channel`` describes.
    """

    layout: TargetLayout
    cutoffs: FloatArray
    statistics: Statistics
    closed_form: ClosedForm | None
    config: NetworkConfig
    params: Any
    summary: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, file: ModelFile) -> TrainedNetwork | None:
        """Return the network of a model file, None where it has none.

        Raises
        ------
        FormatError
            When a part of it is damaged.
        """
        stored = file.network
        if stored is None:
            return None
        config = file.decoded(lambda: NetworkConfig.from_dict(stored.facts))
        form = closed_form_of(file)
        common = (file.layout, file.cutoffs, file.statistics)
        return cls(*common, form, config, stored.arrays, file.summary)

    @classmethod
    def require(cls, file: ModelFile) -> TrainedNetwork:
        """Return the network of a model file; raise a `UsageError` where it has none."""
        network = cls.of(file)
        if network is None:
            raise UsageError("the model file holds no network.")
        return network

    def to_file(self) -> ModelFile:
        """Return the model file of the network."""
        form = None if self.closed_form is None else self.closed_form.stored()
        network = Stored(self.config.to_dict(), self.params)
        common = (self.layout, self.cutoffs, self.statistics)
        return ModelFile("jax", *common, form, network, self.summary)
