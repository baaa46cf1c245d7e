"""Checkpoints: all that a run needs to go on exactly as if it had not stopped."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dock._version import __version__
from dock.errors import FormatError
from dock.io.hdf5 import new_hdf5, open_hdf5

__all__ = ["Standing", "read_state", "write_state"]

_FORMAT, _VERSION = "dock training state", 4
_FIX = "Delete it to train from the start, or restore it from a copy."


@dataclass
class Standing:
    """Where a run stands, apart from its arrays.

    Attributes
    ----------
    step, epoch, batch
        Steps done, the epoch, and its next batch.
    best, waited
        Lowest validation error, eV, and the validations since then.
    plateau
        State of reduce_on_plateau, see `Plateau.to_dict`; empty without.
    seconds
        Wall time spent, in all parts of the run.
    stage
        Step at which the second stage began; −1 before. Then `best` is its own measure.
    before, after
        Errors on the structures for validation when that stage began, and of its best model, see
        `dock.models.network.training.stage.StageErrors`; empty without.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best: float = float("inf")
    waited: int = 0
    plateau: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    stage: int = -1
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)

    @property
    def validation_mae(self) -> float | None:
        """Error of the best model on the structures for validation; None without."""
        lowest = self.after.get("mae", math.inf) if self.stage >= 0 else self.best
        return None if math.isinf(lowest) else lowest


def write_state(path: Path, leaves: list[Any], standing: Standing, fingerprint: str) -> None:
    """Write a checkpoint in place of the last one, complete or not at all."""
    with new_hdf5(path, overwrite=True) as file:
        for number, leaf in enumerate(leaves):
            file[f"leaf_{number:05d}"] = np.asarray(leaf)
        head = {"format": _FORMAT, "version": _VERSION, "dock": __version__, "leaves": len(leaves)}
        about = {"fingerprint": fingerprint, "progress": asdict(standing)}
        file.attrs["head"] = json.dumps(head | about)


def read_state(path: Path, fingerprint: str, like: Sequence[Any]) -> tuple[list[Any], Standing]:
    """Read a checkpoint of the same options and data into arrays of the shapes and types of `like`.

    Raises
    ------
    FormatError
        When it is cut, of another version, or belongs to other options or data.
    """
    with open_hdf5(path, _FIX) as file:
        head = json.loads(file.attrs["head"])
        if not isinstance(head, dict) or head.get("format") != _FORMAT:
            raise FormatError(path, "this is no checkpoint", expected=_FORMAT, fix=_FIX)
        if head["version"] != _VERSION:
            raise FormatError(
                path,
                "the checkpoint has another version",
                expected=f"version {_VERSION}",
                found=f"version {head['version']}, written by dock {head.get('dock')}",
                fix="Go on with that dock, or start from its model with "
                "[process.train.continued] and another outputs_dir.",
            )
        if head["fingerprint"] != fingerprint:
            raise FormatError(
                path,
                "the checkpoint belongs to other options or other data",
                expected=fingerprint,
                found=head["fingerprint"],
                fix="Undo the change in train.toml, or give another outputs_dir; to start from the "
                "parameters use [process.train.continued].",
            )
        leaves = [file[f"leaf_{number:05d}"][()] for number in range(head["leaves"])]
        standing = Standing(**head["progress"])
    if [np.shape(leaf) for leaf in leaves] != [np.shape(leaf) for leaf in like]:
        raise FormatError(path, "the checkpoint belongs to another network", fix=_FIX)
    new = [np.asarray(leaf, dtype=old.dtype) for leaf, old in zip(leaves, like, strict=True)]
    return new, standing
