"""Small parameters in a few long arrays.

A network has some hundred and fifty small arrays. Moments, averages and updates of each by itself
are kernels whose start costs more than their work; a program with them takes twice as long to load.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dock.models.modelfile import flatten, unflatten
from dock.models.network.training.optimiser import is_matrix, trainable

__all__ = ["Packing"]

_SMALL = 20_000  # numbers


class Packing:
    """How parameters are packed: those that the optimiser treats alike lie behind one another.

    `freeze` has patterns of those that stay as they are, see `trainable`. Of each packed array,
    `decayed` and `moving` say whether weights decay, and whether it is trained.
    """

    def __init__(self, params: Any, freeze: tuple[str, ...] = ()) -> None:
        flat = flatten(params)
        moves = flatten(trainable(params, freeze))
        self._shapes = {name: np.shape(flat[name]) for name in sorted(flat)}
        self._groups: dict[str, list[str]] = {}
        self.decayed: dict[str, bool] = {}
        self.moving: dict[str, bool] = {}
        for name in self._shapes:
            value = flat[name]
            decays, moving = is_matrix(name), bool(moves[name])
            kind = f"{'matrices' if decays else 'vectors'}, {'moving' if moving else 'still'}"
            place = kind if np.size(value) < _SMALL else name
            self._groups.setdefault(place, []).append(name)
            self.decayed[place], self.moving[place] = decays, moving

    @property
    def digest(self) -> str:
        """Hash of all names, shapes and places: packed arrays mean nothing to another packing."""
        text = json.dumps([self._groups, self._shapes], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def pack(self, params: Any) -> dict[str, Any]:
        """Return the packed arrays of nested parameters, on the host."""
        flat = flatten(params)
        packed = {}
        for place, names in self._groups.items():
            if names == [place]:
                packed[place] = np.array(flat[place])
            else:
                packed[place] = np.concatenate([np.ravel(flat[name]) for name in names])
        return packed

    def unpack(self, packed: Mapping[str, Any]) -> Any:
        """Return nested parameters, on the host or within a traced function."""
        flat = {}
        for place, names in self._groups.items():
            if names == [place]:
                flat[place] = packed[place]
                continue
            split: Any = jnp.split if isinstance(packed[place], jax.core.Tracer) else np.split
            ends = np.cumsum([int(np.prod(self._shapes[name])) for name in names])[:-1]
            for name, part in zip(names, split(packed[place], ends), strict=True):
                flat[name] = part.reshape(self._shapes[name])
        return unflatten({name: flat[name] for name in self._shapes})
