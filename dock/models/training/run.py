"""One training from options to model files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dock.errors import ConvergenceError
from dock.files import write_text
from dock.models.data.batches import Batch, Batcher, make_batch
from dock.models.modelfile import ModelFile, write_model
from dock.models.options.train import TrainOptions
from dock.models.training.log import TrainingLog, named_errors
from dock.models.training.optimiser import learning_rate
from dock.models.training.setup import Setup, prepare
from dock.models.training.state import Progress, read_state, write_state

__all__ = ["TrainingResult", "train"]

_LOG = logging.getLogger(__name__)
_LEAST_BETWEEN = 200  # steps between validations, where the data set is small
_IN_FLIGHT = 16  # steps whose loss has not been looked at yet
_REPORT = Callable[[int, int, str], None]


@dataclass(frozen=True)
class TrainingResult:
    """What a training left behind.

    Attributes
    ----------
    folder
        The run folder.
    best
        The model file with the lowest validation error, or the latest.
    steps, epochs
        How far it went.
    validation_mae, test_mae
        Of that model, in the unit of the target; None without such structures.
    reason
        Why it ended.
    seconds
        Wall time.
    """

    folder: Path
    best: Path
    steps: int
    epochs: int
    validation_mae: float | None
    test_mae: float | None
    reason: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        found = dataclasses.asdict(self)
        return found | {"folder": str(self.folder), "best": str(self.best)}


def train(options: TrainOptions, *, progress: _REPORT | None = None) -> TrainingResult:
    """Train a network, or go on with a training that was stopped.

    Parameters
    ----------
    options
        `dock.models.options.read_train`.
    progress
        Called with the steps done, their number, and a note.

    Returns
    -------
    TrainingResult
        The run folder has ``train.json`` (the options as understood), ``dataset_split.json``,
        ``log.jsonl``, ``train.png`` and ``model/best.h5``, ``model/latest.h5``, ``model/state.h5``.

    Raises
    ------
    UsageError, FormatError, MissingDataError
        For data or options that cannot be used.
    ConvergenceError
        When the loss is no number any more; the last good models stay.
    """
    setup = prepare(options)
    return _Run(options, setup, progress).go()


class _Run:
    """The state of one training in this process."""

    def __init__(self, options: TrainOptions, setup: Setup, report: _REPORT | None) -> None:
        from dock.models.training.engine import Engine

        self.options, self.setup, self.report = options, setup, report
        self.train_options = options.process.train
        self.folder = Path(options.data.outputs_dir)
        self.models = self.folder / "model"
        self.models.mkdir(parents=True, exist_ok=True)
        self.dtype = np.float64 if options.system.float_type == "fp64" else np.float32
        params = dict(setup.params)
        self.constants = params.pop("constants")
        self.engine = Engine(options, setup.layout, setup.config, self.constants, setup.devices)
        self.batcher = self._batcher(setup.split.train, shuffle=True)
        per_step = self.engine.n_devices
        self.steps_per_epoch = math.ceil(self.batcher.steps_per_epoch / per_step)
        self.total = self.steps_per_epoch * self.train_options.max_epoch
        self.state = self.engine.start(params)
        self.progress = Progress()
        self._resume()
        self.log = TrainingLog(self.folder, self.progress.step)
        self.begin = time.monotonic() - self.progress.seconds
        self.pending: list[tuple[int, int, int, Any]] = []

    def _batcher(self, names: tuple[str, ...], *, shuffle: bool) -> Batcher:
        place = {name: index for index, name in enumerate(self.setup.store.names)}
        loader = self.train_options.dataloader
        size = max(1, loader.batch_size // self.engine.n_devices)
        return Batcher(
            self.setup.store,
            [place[name] for name in names],
            size if shuffle else max(size, min(50, 4 * size)),
            seed=self.options.system.random_seed,
            dtype=self.dtype,
            max_shapes=self.train_options.multi_way_jit_num if shuffle else 4,
            shuffle=shuffle,
        )

    # ---------------------------------------------------------------- checkpoints

    @property
    def fingerprint(self) -> str:
        """Hash of all that must be the same for a run to go on exactly."""
        content = self.options.to_dict()
        content["system"] = {
            name: content["system"][name] for name in ("device", "float_type", "random_seed")
        }
        content["data"] = content["data"]["moments"]
        for name in ("validate_interval", "early_stop"):
            content["process"]["train"].pop(name)
        content["store"] = self.setup.store.fingerprint()
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _resume(self) -> None:
        """Go on from the checkpoint where there is one."""
        import jax

        path = self.models / "state.h5"
        if not path.is_file():
            return
        leaves, self.progress = read_state(path, self.fingerprint)
        old, tree = jax.tree.flatten(self.state)
        new = [np.asarray(leaf, dtype=kind.dtype) for leaf, kind in zip(leaves, old, strict=True)]
        self.state = self.engine.placed(jax.tree.unflatten(tree, new))
        _LOG.info("going on from step %d of %s", self.progress.step, path)

    def _save(self, *, is_best: bool) -> None:
        """Write the models and, last, the checkpoint that makes them count."""
        import jax

        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(self.state)]
        average = jax.tree.map(np.asarray, self.state.average)
        model = self._model(average)
        saving = self.options.data.model_save
        if is_best and saving.best:
            write_model(self.models / "best.h5", model, overwrite=True)
        if saving.latest or not saving.best:
            write_model(self.models / "latest.h5", model, overwrite=True)
        self.progress.seconds = time.monotonic() - self.begin
        kept = self.progress
        if kept.batch == self._steps_of(kept.epoch):
            kept = dataclasses.replace(kept, epoch=kept.epoch + 1, batch=0)
        write_state(self.models / "state.h5", leaves, kept, self.fingerprint)

    def _steps_of(self, epoch: int) -> int:
        """Return the number of steps of an epoch."""
        return math.ceil(len(self.batcher.plan(epoch)) / self.engine.n_devices)

    def _model(self, average: Any) -> ModelFile:
        setup = self.setup
        summary = {
            "note": self.options.system.note,
            "step": self.progress.step,
            "epoch": self.progress.epoch,
            "validation_mae": None if math.isinf(self.progress.best) else self.progress.best,
            "options": self.options.to_dict(),
            "training_set": setup.provenance,
        }
        return ModelFile(
            "jax",
            setup.layout,
            setup.cutoffs,
            setup.statistics,
            setup.baseline,
            setup.config,
            {**average, "constants": self.constants},
            summary,
        )

    # ---------------------------------------------------------------- the loop

    def go(self) -> TrainingResult:
        """Train to the end."""
        if self.train_options.ahead_of_time_compile:
            self._compile_all()
        reason = self._finished() or self._loop()
        self._save(is_best=False)
        self.log.draw()
        return self._result(reason)

    def _loop(self) -> str:
        interval = self.train_options.validate_interval
        if interval == 0:
            epochs = max(1, math.ceil(_LEAST_BETWEEN / self.steps_per_epoch))
            interval = epochs * self.steps_per_epoch
        saving = self.options.data.model_save.latest_interval
        since = self.progress.step
        while self.progress.epoch < self.train_options.max_epoch:
            for batch in self._device_batches():
                self._one_step(batch)
                done = self.progress.step
                if done % interval == 0:
                    since = done
                    reason = self._validate()
                    if reason:
                        return reason
                elif saving and done - since >= saving:
                    self._look_at_losses(0)
                    since = done
                    self._save(is_best=False)
            self.progress.epoch, self.progress.batch = self.progress.epoch + 1, 0
        if self.progress.step > self._last_logged():
            self._validate()
        return "all epochs are done"

    def _last_logged(self) -> int:
        return int(self.log.rows[-1]["step"]) if self.log.rows else 0

    def _device_batches(self) -> Iterator[Any]:
        """Yield what each step takes: one batch, or one for each device."""
        first = self.progress.batch * self.engine.n_devices
        if self.engine.n_devices == 1:
            yield from self.batcher.prefetch(self.progress.epoch, first)
            return
        plan = self.batcher.plan(self.progress.epoch)
        for begin in range(first, len(plan), self.engine.n_devices):
            steps = range(begin, min(begin + self.engine.n_devices, len(plan)))
            yield self.engine.put(self._stacked(self.progress.epoch, list(steps)))

    def _stacked(self, epoch: int, steps: list[int]) -> Batch:
        """Return batches of equal shape on a leading axis; empty ones fill the last step."""
        groups = [
            [self.setup.store.item(index) for index in self.batcher.members(epoch, step)]
            for step in steps
        ]
        sizes = [
            [sum(item.graph.n_atoms for item in group), sum(item.graph.n_edges for item in group)]
            for group in groups
        ]
        known = np.array([*self.batcher.shapes, np.max(sizes, axis=0) + np.array([1, 0])])
        fits = (known > np.max(sizes, axis=0)).all(axis=1)
        fits[-1] = True
        shape = (int(known[fits][0][0]), int(known[fits][0][1]))
        batches = [make_batch(group, shape, self.dtype) for group in groups]
        empty = {name: np.zeros_like(value) for name, value in batches[0].items()}
        empty["vector"][:, 2] = 1.0
        batches += [empty] * (self.engine.n_devices - len(batches))
        return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}

    def _one_step(self, batch: Any) -> None:
        options, done = self.train_options, self.progress.step
        rate = learning_rate(options.scheduler, done, self.total)
        rate *= options.optimizer.init_learning_rate * self.progress.plateau.scale
        decay = min(options.ema_decay, (1 + done) / (10 + done))
        kind = self.dtype
        self.state, loss = self.engine.step(self.state, batch, kind(rate), kind(decay))
        self.pending.append((done, self.progress.epoch, self.progress.batch, loss))
        self._look_at_losses(_IN_FLIGHT)
        self.progress.step += 1
        self.progress.batch += 1
        if self.report is not None and done % 10 == 0:
            best = self.progress.best
            note = "" if math.isinf(best) else f", validation MAE {1e3 * best:.4g} meV"
            self.report(done, self.total, note)

    def _look_at_losses(self, keep: int) -> None:
        """Refuse to go on when an old enough loss is no number."""
        while len(self.pending) > keep:
            step, epoch, batch, loss = self.pending.pop(0)
            if not math.isfinite(float(loss)):
                first = batch * self.engine.n_devices
                steps = range(
                    first, min(first + self.engine.n_devices, len(self.batcher.plan(epoch)))
                )
                names = [
                    self.setup.store.names[index]
                    for number in steps
                    for index in self.batcher.members(epoch, number)
                ]
                raise ConvergenceError(
                    f"{self.folder}: the loss became {float(loss)} at step {step}, with the "
                    f"structures {', '.join(names[:5])}. The models of the last validation are "
                    "kept. Lower optimizer.init_learning_rate, or look at these structures with "
                    "dock check."
                )

    # ---------------------------------------------------------------- validation

    def _validate(self) -> str:
        """Measure the averaged parameters, write models and log; return a reason to stop."""
        self._look_at_losses(0)
        loss = float(self.state.loss_sum) / max(self.progress.step - self._last_logged(), 1)
        self.state = self.state._replace(loss_sum=self.state.loss_sum * 0)
        names = self.setup.split.validate
        error, pairs = (loss, {}) if not names else self.measure(names)
        options = self.train_options
        is_best = error < self.progress.best
        self.progress.waited = 0 if is_best else self.progress.waited + 1
        self.progress.best = min(error, self.progress.best)
        if options.scheduler.type == "reduce_on_plateau":
            self.progress.plateau.update(error, options.scheduler)
        done = self.progress.step
        rate = learning_rate(options.scheduler, done, self.total) * self.progress.plateau.scale
        self.log.add(
            {
                "step": done,
                "epoch": self.progress.epoch,
                "train_loss": loss,
                "validation_mae": error if names else None,
                "learning_rate": rate * options.optimizer.init_learning_rate,
                "seconds": round(time.monotonic() - self.begin, 3),
                "pairs": pairs,
            }
        )
        self._save(is_best=is_best)
        self.log.draw()
        return self._finished()

    def _finished(self) -> str:
        """Return why the training is over, empty while it is not."""
        options = self.train_options
        if options.early_stop and self.progress.waited >= options.early_stop:
            return f"no gain in {options.early_stop} validations"
        scale = self.progress.plateau.scale
        if scale < options.scheduler.min_learning_rate_scale:
            return "the learning rate has reached its lower limit"
        if self.progress.epoch >= options.max_epoch:
            return "all epochs are done"
        return ""

    def measure(self, names: tuple[str, ...], params: Any = None) -> tuple[float, dict[str, float]]:
        """Return the mean absolute error of structures, and that of each species and pair."""
        batcher = self._batcher(names, shuffle=False)
        params = self.state.average if params is None else params
        totals: dict[str, Any] = {}
        for batch in batcher.prefetch(0):
            found = self.engine.errors(params, batch)
            for name, value in found.items():
                totals[name] = totals.get(name, 0) + np.asarray(value, dtype=np.float64)
        return named_errors(totals, self.setup.layout.species)

    def _compile_all(self) -> None:
        """Compile the step for every shape before the first of them."""
        import jax

        item = self.setup.store.item(0)
        kind = self.dtype
        for shape in self.batcher.shapes:
            batch = make_batch([item], shape, kind)
            if self.engine.n_devices > 1:
                many = {
                    name: np.stack([part] * self.engine.n_devices) for name, part in batch.items()
                }
                batch = self.engine.put(many)
            copy = jax.tree.map(lambda leaf: leaf.copy(), self.state)
            self.engine.step(copy, batch, kind(0), kind(1))

    def _result(self, reason: str) -> TrainingResult:
        """Measure the best model on the test set and sum up."""
        from dock.models.modelfile import read_model

        best = self.models / "best.h5"
        best = best if best.is_file() else self.models / "latest.h5"
        test = None
        if self.setup.split.test:
            params = dict(read_model(best).params)
            params.pop("constants")
            test = self.measure(self.setup.split.test, params)[0]
        found = self.progress.best
        result = TrainingResult(
            self.folder,
            best,
            self.progress.step,
            self.progress.epoch,
            None if math.isinf(found) or not self.setup.split.validate else found,
            test,
            reason,
            time.monotonic() - self.begin,
        )
        write_text(
            self.folder / "result.json",
            json.dumps(result.to_dict(), indent=1) + "\n",
            overwrite=True,
        )
        return result
