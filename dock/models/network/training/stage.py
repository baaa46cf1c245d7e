"""The second stage of a training: errors of H where they do harm to states."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dock.models.data.batches import Batcher
from dock.models.data.preparation import DataParts
from dock.models.data.reference_states import ReferenceStates, StateArrays, collect_states
from dock.models.network.training.engine import Engine
from dock.models.network.training.log import named_errors
from dock.models.network.training.schedule import Schedule
from dock.models.options.train import Scheduler, TrainOptions

__all__ = ["Stage", "StageErrors"]

_LOG = logging.getLogger(__name__)


class StageErrors(NamedTuple):
    """Errors of a network on some structures.

    Attributes
    ----------
    mae, pairs
        Mean absolute error of H, eV, and that of each species and pair.
    low_levels
        Mean error of the levels up to the end of the window after the median deviation of the
        occupied ones, eV: of each structure, and then of all; None where no structure takes part.
    n_with_ghosts, n_structures
        Structures with false states below 3 eV above the Fermi level, of so many that take part.
    """

    mae: float
    pairs: dict[str, float]
    low_levels: float | None
    n_with_ghosts: int
    n_structures: int

    @property
    def measure(self) -> float:
        """What the best model goes by: the geometric mean of the errors of H and of levels.

        So that a tenth of either weighs the same, however far apart they are.
        """
        return self.mae if self.low_levels is None else math.sqrt(self.mae * self.low_levels)

    def to_dict(self) -> dict[str, float]:
        """Return the figures that a run keeps."""
        found: dict[str, float] = {"mae": self.mae}
        if self.low_levels is not None:
            found |= {"mae_low_levels": self.low_levels}
            found |= {"n_with_ghosts": self.n_with_ghosts, "n_structures": self.n_structures}
        return found


class Stage:
    """What the second stage of a training has beside the first."""

    def __init__(self, options: TrainOptions, data: DataParts) -> None:
        self.options = options.process.train.states
        self._data, split = data, data.split
        numbers = {name: data.number[name] for name in (*split.train, *split.validate)}
        self.states = collect_states(options, data.layout, numbers, split.train)
        self._scheduler = options.process.train.scheduler
        self.largest_rate = self.options.init_learning_rate
        train = self._of(split.train)
        _LOG.info(
            "second stage: states of %d of %d structures to train on (up to %d orbitals), at up to "
            "%d k-points",
            len(train), len(split.train), self.options.max_orbitals,
            max(len(own.points) for own in train),
        )  # fmt: skip

    def _of(self, names: Sequence[str]) -> list[ReferenceStates]:
        numbers = [self._data.number[name] for name in names]
        return [self.states[number] for number in numbers if number in self.states]

    @property
    def digest(self) -> list[str]:
        """What the states depend on beside labels and options."""
        return [own.overlap for _, own in sorted(self.states.items())]

    def add_states(self, batcher: Batcher) -> Batcher:
        """Let a batcher give the states of its structures, too."""
        slots = batcher.most_in_batch(self.states)
        store, layout = self._data.store, self._data.layout
        batcher.more = StateArrays.of(self.states, layout, store.sizes, slots)
        return batcher

    def schedule(self, steps_per_epoch: int) -> Schedule:
        """Return the learning rate over the steps of the stage, in units of the largest."""
        given = self._scheduler
        own = Scheduler(init_scale=given.init_scale, end_scale=given.end_scale)
        return Schedule(own, max(1, steps_per_epoch * self.options.epochs))

    def measure(self, engine: Engine, batcher: Batcher, params: Any) -> StageErrors:
        """Measure packed, placed parameters on the structures of a batcher with states."""
        totals: dict[str, Any] = {}
        levels: list[float] = []
        n_with_ghosts = n_structures = 0
        for step, batch in enumerate(batcher.prefetch(0)):
            errors, projected = engine.state_errors(params, engine.put(batch))
            for name, value in errors.items():
                totals[name] = totals.get(name, 0) + np.asarray(value, np.float64).sum(0)
            for own, matrices in self._matched(batcher.shares(0, step), projected):
                found = own.errors(matrices)
                n_structures += 1
                n_with_ghosts += found.n_ghosts > 0
                levels += [] if found.low is None else [found.low]
        mae, pairs = named_errors(totals, self._data.layout.species)
        low = float(np.mean(levels)) if levels else None
        return StageErrors(mae, pairs, low, n_with_ghosts, n_structures)

    def _matched(
        self, shares: Sequence[Sequence[int]], projected: Any
    ) -> Iterable[tuple[ReferenceStates, Any]]:
        """Yield the states of each structure of a batch with its part of C†ΔHC."""
        real = np.asarray(projected[0])
        imaginary = None if projected[1] is None else np.asarray(projected[1])
        for device, members in enumerate(shares):
            taking_part = (self.states[number] for number in members if number in self.states)
            for slot, own in enumerate(taking_part):
                k, n = own.energies.shape[1:]
                place = (device, slot, slice(None), slice(k), slice(n), slice(n))
                matrices = real[place].astype(np.complex128)
                if imaginary is not None:
                    matrices += 1j * imaginary[place]
                yield own, matrices

    def words(self, errors: dict[str, float]) -> str:
        """Return errors as a clause of a log."""
        text = f"H {1e3 * errors['mae']:.4g} meV"
        if "mae_low_levels" in errors:
            text += f", levels up to E_F + {self.options.window:g} eV "
            text += f"{1e3 * errors['mae_low_levels']:.4g} meV, false states in "
            text += f"{errors['n_with_ghosts']:.0f} of {errors['n_structures']:.0f} structures"
        return text
