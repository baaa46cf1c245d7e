"""The protocol of a model backend, and the registry: the toolkit knows no network.

A backend is an object with the verbs below, found under its name: ``jax`` and ``two-centre`` are
bundled, others come by an entry point of the group ``dock.models``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from dock.core.basis import Basis
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.structure import Structure
from dock.errors import UsageError
from dock.models.options.train import TrainOptions

__all__ = ["Model", "ModelBackend", "PairsOfBasis", "Pattern", "backend", "backend_names"]

_BUILT_IN = {
    "jax": ("dock.models.jax_backend", "BACKEND"),
    "jax-export": ("dock.models.inference.export", "BACKEND"),
    "three-centre": ("dock.models.closed_form_backend", "THREE_CENTRE"),
    "two-centre": ("dock.models.closed_form_backend", "TWO_CENTRE"),
}
_GROUP = "dock.models"
Report = Callable[[int, int, str], None]


class Pattern(Protocol):
    """What a prediction needs of an overlap: an `AOMatrix` has it, and so has `PairsOfBasis`."""

    @property
    def basis(self) -> Basis:
        """The orbitals of the atoms."""

    @property
    def pairs(self) -> Pairs:
        """The pairs of atoms that have blocks."""


@dataclass(frozen=True)
class PairsOfBasis:
    """The pattern of an overlap without its numbers.

    Attributes
    ----------
    basis
        The orbitals of the atoms.
    pairs
        The pairs of atoms that have blocks.
    """

    basis: Basis
    pairs: Pairs


@runtime_checkable
class Model(Protocol):
    """A fitted model."""

    def predict(self, structure: Structure, overlap: Pattern, moments: Any = None) -> AOMatrix:
        """Return the matrix of a structure on the pattern of its overlap.

        Parameters
        ----------
        structure
            Atoms and cell.
        overlap
            Gives the basis, and the pairs that get blocks.
        moments
            (n_atoms, 3) spin moments in μ_B, for models that take them.
        """

    def describe(self) -> dict[str, Any]:
        """Return plain data: backend, species, shells, spin, errors, provenance."""


@runtime_checkable
class ModelBackend(Protocol):
    """Makes and loads models."""

    def fit(self, options: TrainOptions, progress: Report | None = None) -> dict[str, Any]:
        """Train; return at least ``best`` (the model file) and ``reason``."""

    def load(self, path: str | Path, **options: Any) -> Model:
        """Return the model of a file; `options` are the backend's own."""

    def check(self, options: TrainOptions) -> dict[str, Any]:
        """Read and check the data without training; return plain data."""


def backend_names() -> list[str]:
    """Return the names of all backends."""
    return sorted({*_BUILT_IN, *(point.name for point in entry_points(group=_GROUP))})


def backend(name: str) -> ModelBackend:
    """Return a backend by name.

    Raises
    ------
    UsageError
        Listing the known ones; or when a plug-in lacks a verb.
    """
    if name in _BUILT_IN:
        module, attribute = _BUILT_IN[name]
        return cast("ModelBackend", getattr(importlib.import_module(module), attribute))
    for point in entry_points(group=_GROUP):
        if point.name == name:
            found = point.load()
            if not isinstance(found, ModelBackend):
                raise UsageError(
                    f"the plug-in '{name}' ({point.value}) is no backend: it needs the methods "
                    "fit, load and check."
                )
            return found
    raise UsageError(f"there is no backend '{name}'. Known: {', '.join(backend_names())}.")
