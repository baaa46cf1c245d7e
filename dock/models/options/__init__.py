"""``train.toml`` and ``infer.toml``: every key with type, default, range and meaning."""

from dock.models.options.schema import read_toml, table_of
from dock.models.options.train import TrainOptions, read_train

__all__ = ["TrainOptions", "read_toml", "read_train", "table_of"]
