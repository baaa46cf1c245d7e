"""Checkpoints: all that a run needs to go on exactly as if it had not stopped."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dock.converters._reading import open_hdf5
from dock.errors import FormatError
from dock.hdf5 import new_hdf5
from dock.models.training.optimiser import Plateau

__all__ = ["Progress", "read_state", "write_state"]

_FORMAT = "dock training state 1"
_FIX = "Delete it to train from the start, or restore it from a copy."


@dataclass
class Progress:
    """Where a run stands, apart from its arrays.

    Attributes
    ----------
    step
        Steps done.
    epoch, batch
        The epoch, and its next batch.
    best
        Lowest validation error, eV.
    waited
        Validations since then.
    plateau
        State of reduce_on_plateau.
    seconds
        Wall time spent, in all parts of the run.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best: float = float("inf")
    waited: int = 0
    plateau: Plateau = field(default_factory=Plateau)
    seconds: float = 0.0


def write_state(path: Path, leaves: list[Any], progress: Progress, fingerprint: str) -> None:
    """Write a checkpoint in place of the last one, complete or not at all."""
    with new_hdf5(path, overwrite=True) as file:
        for number, leaf in enumerate(leaves):
            file[f"leaf_{number:05d}"] = np.asarray(leaf)
        file.attrs["head"] = json.dumps(
            {
                "format": _FORMAT,
                "leaves": len(leaves),
                "fingerprint": fingerprint,
                "progress": asdict(progress),
            }
        )


def read_state(path: Path, fingerprint: str) -> tuple[list[Any], Progress]:
    """Read a checkpoint.

    Raises
    ------
    FormatError
        When it is cut, or belongs to other options or data.
    """
    with open_hdf5(path, _FIX) as file:
        try:
            head = json.loads(file.attrs["head"])
            leaves = [file[f"leaf_{number:05d}"][()] for number in range(head["leaves"])]
        except (KeyError, ValueError, TypeError) as error:
            raise FormatError(
                path, "this is no complete checkpoint", found=repr(error), fix=_FIX
            ) from error
    if head["format"] != _FORMAT or head["fingerprint"] != fingerprint:
        raise FormatError(
            path,
            "the checkpoint belongs to other options or other data",
            expected=fingerprint,
            found=head["fingerprint"],
            fix="Undo the change in train.toml, or give another outputs_dir; to start from the "
            "parameters use [process.train.continued].",
        )
    kept = dict(head["progress"])
    plateau = Plateau(**kept.pop("plateau"))
    return leaves, Progress(plateau=plateau, **kept)
