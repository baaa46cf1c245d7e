"""The protocol of a model backend, and the registry: the toolkit knows no network.

A backend is an object with the verbs below, found under its name: ``jax`` and ``two-centre`` are
bundled, others come by an entry point of the group ``dock.models``. Whatever asks a model anything
asks through this protocol, so that one from elsewhere is as good as a bundled one.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from dock.core.arrays import FloatArray
from dock.core.basis import Basis
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.structure import AnyStructure, Structure
from dock.errors import UsageError
from dock.io.progress import Report
from dock.models.options.train import TrainOptions
from dock.models.targets import TargetLayout

__all__ = ["Model", "ModelBackend", "PairsOfBasis", "Pattern", "Scope", "backend", "backend_names"]

_BUILT_IN = {
    "jax": ("dock.models.network.backend", "BACKEND"),
    "jax-export": ("dock.models.network.backend", "EXPORTED"),
    "three-centre": ("dock.models.closed_form.backend", "THREE_CENTRE"),
    "two-centre": ("dock.models.closed_form.backend", "TWO_CENTRE"),
}
_GROUP = "dock.models"


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
    """The pattern of an overlap without its numbers, or with those of fewer pairs.

    Attributes
    ----------
    overlap
        The overlap; where it lacks some of the pairs it is zero. None where its numbers are not
        known: a model then predicts less of pairs that its training never saw.
    """

    basis: Basis
    pairs: Pairs
    overlap: AOMatrix | None = None


@dataclass(frozen=True, eq=False)
class Scope:
    """What a model may be asked for.

    Attributes
    ----------
    layout
        Species, shells, spin and the operator that it predicts.
    fingerprint
        Hash of its file: predictions carry it, and a rerun goes by it. Empty: nothing is skipped.
    takes_moments
        Whether `Model.predict` needs spin moments.
    longest
        (n_species²,) longest pair of each kind in the training data, Å, 0 where there was none;
        None where the model does not know. Kinds are numbered as in `Graph.edge_type`.
    cutoffs
        (n_species²,) where blocks end in the training data, Å; 0 where nothing was cut off. None
        with `longest`.
    shortest, neighbours
        The shortest pair of each kind, and the fewest and most pairs of an atom of each species
        (n_species, 2) in the training data; None where the model does not know.
    of_unseen
        What kinds of pairs get that the training data have not: ``zeros``, or a block from
        ``elements``, for which the numbers of the overlap are needed. Empty: not known.
    electrons
        Valence electrons of each species, as the training data tell; empty where they do not.
    moments
        Smallest and largest size of the moments of each species in the training data, μ_B.
    known_by
        Who made the operator that the targets are less of; empty where that is not known.
    """

    layout: TargetLayout
    fingerprint: str = ""
    takes_moments: bool = False
    longest: FloatArray | None = None
    cutoffs: FloatArray | None = None
    shortest: FloatArray | None = None
    neighbours: FloatArray | None = None
    of_unseen: str = ""
    electrons: Mapping[str, float] = field(default_factory=dict)
    moments: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    known_by: tuple[str, ...] = ()

    @property
    def unseen(self) -> tuple[str, ...]:
        """The kinds of pairs that the training data have not, such as ``C-Ge``, each once."""
        if self.longest is None:
            return ()
        species, n = self.layout.species, self.layout.n_species
        lacking = np.triu(np.reshape(self.longest, (n, n)) <= 0)
        return tuple(
            f"{species[a]}-{species[b]}" for a, b in zip(*np.nonzero(lacking), strict=True)
        )

    def electrons_of(self, structure: AnyStructure) -> float | None:
        """Return the valence electrons of a neutral structure; None where a species is unknown."""
        structure = Structure.of(structure)
        if not set(structure.labels) <= set(self.electrons):
            return None
        return float(sum(self.electrons[label] for label in structure.labels))


@runtime_checkable
class Model(Protocol):
    """A fitted model."""

    @property
    def scope(self) -> Scope:
        """What it may be asked for."""

    def predict(
        self, structure: AnyStructure, overlap: Pattern, moments: ArrayLike | None = None
    ) -> AOMatrix:
        """Return the matrix of a structure: the overlap has its basis and the pairs of its blocks.

        An overlap that is an `AOMatrix`, or a `PairsOfBasis` that has one, gives its numbers too.
        `moments` are (n_atoms, 3) spin moments in μ_B, for models that take them. A model that
        works for minutes may have a further argument `progress`, a `dock.io.progress.Report`: it
        is told of the parts that are done. One whose layout says ``less`` has the argument
        `initial`: the known operator, which it adds to what it has learned.
        """

    def describe(self) -> dict[str, Any]:
        """Return plain data: backend, species, shells, spin, errors, provenance."""


@runtime_checkable
class ModelBackend(Protocol):
    """Makes and loads models.

    Attributes
    ----------
    load_options
        Names that `load` takes. ``device``, ``precision``, ``part_edges`` and ``preallocate`` get
        what the user of ``dock infer`` asked for.
    """

    load_options: tuple[str, ...]

    def fit(self, options: TrainOptions, progress: Report = None) -> dict[str, Any]:
        """Train; return at least ``best`` (the model file) and ``reason``."""

    def load(self, path: str | Path, **options: Any) -> Model:
        """Return the model of a file; `options` are those of `load_options`."""

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
            plugin = point.load()
            if not isinstance(plugin, ModelBackend):
                raise UsageError(
                    f"the plug-in '{name}' ({point.value}) is no backend: it needs the methods "
                    "fit, load and check, and load_options, the names that load takes."
                )
            return plugin
    raise UsageError(f"there is no backend '{name}'. Known: {', '.join(backend_names())}.")
