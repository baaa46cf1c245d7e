"""One training from options to model files."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np

from dock.core.quantity import quantity_of
from dock.errors import ConvergenceError, UsageError
from dock.io.files import write_text
from dock.io.progress import Progress, Report
from dock.io.text import json_text
from dock.models.closed_form import mean_absolute_error
from dock.models.data.batches import Batcher
from dock.models.data.preparation import record
from dock.models.modelfile import read_model, write_model
from dock.models.network.trained import TrainedNetwork
from dock.models.network.training.engine import Engine
from dock.models.network.training.log import TrainingLog, named_errors
from dock.models.network.training.schedule import Plateau, Schedule
from dock.models.network.training.setup import BASELINE_ERRORS, Setup, prepare
from dock.models.network.training.stage import Stage, StageErrors
from dock.models.network.training.state import Standing, read_state, write_state
from dock.models.options.train import TrainOptions

__all__ = ["TrainingResult", "train"]

_LOG = logging.getLogger(__name__)
_LEAST_BETWEEN = 200  # steps between validations, where the data set is small
_IN_FLIGHT = 16  # steps whose loss has not been looked at yet


@dataclass(frozen=True)
class TrainingResult:
    """What a training left behind, how far it went and why it ended.

    Attributes
    ----------
    folder, best
        The run folder, and the model file with the lowest validation error, or the latest.
    validation_mae, test_mae
        Of that model, in the `unit` of the target; None without such structures.
    baseline
        Kind of the closed form that the network corrects, or ``none``.
    baseline_mae, baseline_test_mae
        Of that form alone: on the structures that it was judged by, and on those for test.
    before_stage, after_stage
        Errors on the structures for validation when the second stage began, and of its best model,
        see `dock.models.network.training.stage.StageErrors`; None without.
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
    unit: str = "eV"
    baseline: str = "none"
    baseline_mae: float | None = None
    baseline_test_mae: float | None = None
    before_stage: dict[str, float] | None = None
    after_stage: dict[str, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        plain = dataclasses.asdict(self)
        return plain | {"folder": str(self.folder), "best": str(self.best)}


def train(options: TrainOptions, *, progress: Report = None) -> TrainingResult:
    """Train a network, or go on with a training that was stopped.

    Progress is told the steps done and their number, and as a note the validation error. The run
    folder has ``train.json`` (the options as understood), ``dataset_split.json``, ``log.jsonl``,
    ``train.png`` and ``model/best.h5``, ``model/latest.h5``, ``model/state.h5``.

    Raises
    ------
    UsageError, FormatError, MissingDataError
        For data or options that cannot be used, and when memory does not suffice.
    ConvergenceError
        When the loss is no number any more; the last good models stay.
    """
    with _enough_memory(options):
        setup = prepare(options)
        return _Run(options, setup, Progress.of(progress)).go()


@contextlib.contextmanager
def _enough_memory(options: TrainOptions) -> Iterator[None]:
    """Say what to lower when the memory of the device or the machine is not enough."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else "no memory left"
        named = "RESOURCE_EXHAUSTED" in reason or "out of memory" in reason.lower()
        if not named and not isinstance(error, MemoryError):
            raise
        batch_size = options.process.train.dataloader.batch_size
        raise UsageError(
            f"{options.data.outputs_dir}: not enough memory ({reason[:160]}). Lower batch_size "
            f"in [process.train.dataloader] (now {batch_size}), set do_remat = "
            "true in [process.train], or take a smaller network ([model] net_type, net_irreps); "
            'storage_type = "disk" in [data.graph] keeps the structures out of memory. The models '
            "written so far are kept."
        ) from error


class _Run:
    """The state of one training in this process."""

    def __init__(self, options: TrainOptions, setup: Setup, progress: Progress) -> None:
        self.writes = jax.process_index() == 0  # of several processes one keeps the files
        self.options, self.setup, self.progress = options, setup, progress
        data, network = setup.data, setup.network
        self.train_options = options.process.train
        self.folder = Path(options.data.outputs_dir)
        self.models = self.folder / "model"
        self.dtype = np.float64 if options.system.float_type == "fp64" else np.float32
        params = dict(network.params)
        self.constants = params.pop("constants")
        layout = data.layout.channel
        self.engine = Engine(options, layout, network.config, self.constants, setup.devices)
        self.batcher = self._batcher(data.split.train, shuffle=True)
        self.steps_per_epoch = self.batcher.steps_per_epoch
        self.last_epoch = self.train_options.max_epoch
        self.total = self.steps_per_epoch * self.last_epoch
        self.schedule = Schedule(self.train_options.scheduler, max(1, self.total))
        self.stage = Stage(options, data) if self.train_options.states.enable else None
        self.total += self.steps_per_epoch * (self.train_options.states.epochs if self.stage else 0)
        on_plateau = self.train_options.scheduler.type == "reduce_on_plateau"
        self.plateau = Plateau(self.train_options.scheduler) if on_plateau else None
        self.state = self.engine.start(params)
        self.standing = Standing()
        self._resume()
        if self.writes:
            self.models.mkdir(parents=True, exist_ok=True)
            record(options, data.split)
        unit = quantity_of(options.quantity).unit
        self.log = TrainingLog(self.folder, self.standing.step, unit, writes=self.writes)
        self.begin = time.monotonic() - self.standing.seconds
        self.pending: list[tuple[int, int, int, Any]] = []
        self.last = (0, 0)

    def _batcher(self, names: tuple[str, ...], *, shuffle: bool) -> Batcher:
        data, size = self.setup.data, self.train_options.dataloader.batch_size
        return Batcher(
            data.store,
            [data.number[name] for name in names],
            size if shuffle else max(size, min(50, 4 * size)),
            seed=self.options.system.random_seed,
            dtype=self.dtype,
            max_shapes=self.train_options.multi_way_jit_num if shuffle else 4,
            shuffle=shuffle,
            parts=self.engine.n_devices,
        )

    @property
    def fingerprint(self) -> str:
        """Hash of all that must be the same for a run to go on exactly."""
        content, system = self.options.to_dict(), self.options.system
        content["system"] = {"float_type": system.float_type, "random_seed": system.random_seed}
        content["data"] = self.setup.data.moments
        for name in ("validate_interval", "early_stop", "ahead_of_time_compile"):
            content["process"]["train"].pop(name)
        content["store"] = self.setup.data.store.fingerprint()
        content["parameters"] = self.engine.packing.digest
        if self.stage is not None:
            content["states"] = self.stage.digest
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _resume(self) -> None:
        """Go on from the checkpoint where there is one."""
        path = self.models / "state.h5"
        if not path.is_file():
            return
        old, tree = jax.tree.flatten(self.state)
        new, self.standing = read_state(path, self.fingerprint, old)
        self.state = self.engine.placed(jax.tree.unflatten(tree, new))
        if self._stage_now is not None:
            self._turn_to(self._stage_now)
        elif self.plateau is not None:
            self.plateau.restore(self.standing.plateau)
        _LOG.info("going on from step %d of %s", self.standing.step, path)

    def _save(self, *, is_best: bool) -> None:
        """Write the models and, last, the checkpoint that makes them count."""
        state = jax.tree.map(np.asarray, self.state)
        trained = jax.tree.leaves((state.params, state.average))
        if not all(np.isfinite(leaf).all() for leaf in trained):
            self._refuse_nan(self.standing.step - 1, *self.last)
        if not self.writes:
            return
        model = self._network(self.engine.packing.unpack(state.average)).to_file()
        saving = self.options.data.model_save
        if is_best and saving.best:
            write_model(self.models / "best.h5", model, overwrite=True)
        if saving.latest or not saving.best:
            write_model(self.models / "latest.h5", model, overwrite=True)
        self.standing.seconds = time.monotonic() - self.begin
        kept = self.standing
        if self.plateau is not None:
            kept.plateau = self.plateau.to_dict()
        if kept.batch == len(self.batcher.plan(kept.epoch)):
            kept = dataclasses.replace(kept, epoch=kept.epoch + 1, batch=0)
        write_state(self.models / "state.h5", jax.tree.leaves(state), kept, self.fingerprint)

    def _network(self, average: Any) -> TrainedNetwork:
        """Return the network with averaged parameters, and what the file says about it."""
        summary = {
            "note": self.options.system.note,
            "step": self.standing.step,
            "epoch": self.standing.epoch,
            "validation_mae": self.standing.validation_mae,
            "options": self.options.to_dict(),
            "training_set": self.setup.data.provenance,
            BASELINE_ERRORS: self.setup.judgement.to_dict(),
        }
        if self.standing.stage >= 0:
            summary["stage"] = {"before": self.standing.before, "after": self.standing.after}
        params = {**average, "constants": self.constants}
        return dataclasses.replace(self.setup.network, params=params, summary=summary)

    def go(self) -> TrainingResult:
        """Train to the end."""
        reason = self._finished()
        if not reason and self.train_options.ahead_of_time_compile:
            self._compile_all()
        self.progress.start(self.total)
        reason = reason or self._loop()
        if self.stage is None and self.log.stalled():
            _LOG.info("%s", self.log.stalled())
        if self.stage is not None:
            if self._stage_now is None:
                self._begin(self.stage)
            reason = self._finished() or self._loop()
            for when, errors in (("before", self.standing.before), ("after", self.standing.after)):
                if errors:
                    _LOG.info("second stage, %s: %s", when, self.stage.words(errors))
        self.log.draw(at_once=True)
        self.progress.say("")
        self.progress.advance(max(0, self.total - self.progress.done))
        return self._result(reason)

    def _loop(self) -> str:
        looked = 0 if self.plateau is None else self.train_options.scheduler.accum_size
        interval = self.train_options.validate_interval or looked
        if interval == 0:
            epochs = max(1, math.ceil(_LEAST_BETWEEN / self.steps_per_epoch))
            interval = epochs * self.steps_per_epoch
        saving = self.options.data.model_save.latest_interval
        since = self.standing.step
        while self.standing.epoch < self.last_epoch:
            for batch in self.batcher.prefetch(self.standing.epoch, self.standing.batch):
                self._one_step(self.engine.put(batch))
                done = self.standing.step
                if done % interval == 0:
                    since = done
                    reason = self._validate()
                    if reason:
                        return reason
                elif saving and done - since >= saving:
                    self._look_at_losses(0)
                    since = done
                    self._save(is_best=False)
            self.standing.epoch, self.standing.batch = self.standing.epoch + 1, 0
        if self.standing.step > self._last_logged():
            self._validate()
        return "all epochs are done"

    def _last_logged(self) -> int:
        return int(self.log.rows[-1]["step"]) if self.log.rows else 0

    def _one_step(self, batch: Any) -> None:
        options, done = self.train_options, self.standing.step
        rate = self._rate(done)
        own = done - max(0, self.standing.stage)  # steps of this stage
        decay = min(options.ema_decay, (1 + own) / (10 + own))
        self.state, loss = self.engine.step(self.state, batch, rate, decay)
        self.last = (self.standing.epoch, self.standing.batch)
        self.pending.append((done, *self.last, loss))
        self._look_at_losses(_IN_FLIGHT)
        self.standing.step += 1
        self.standing.batch += 1
        if done % 10 == 0:
            best = self.standing.validation_mae
            scaled = None if best is None else best * self.log.scale
            note = "" if scaled is None else f", validation {scaled:.4g} {self.log.unit}"
            self.progress.say(note)
            self.progress.advance(done - self.progress.done)

    def _rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        if self._stage_now is not None:
            return self.schedule(step - self.standing.stage) * self._stage_now.largest_rate
        largest = self.train_options.optimizer.init_learning_rate
        return self.schedule(step) * largest * self._plateau_scale

    @property
    def _plateau_scale(self) -> float:
        return 1.0 if self.plateau is None else self.plateau.scale

    def _look_at_losses(self, keep: int) -> None:
        """Refuse to go on when an old enough loss is no number."""
        while len(self.pending) > keep:
            step, epoch, batch, loss = self.pending.pop(0)
            if not math.isfinite(float(loss)):
                self._refuse_nan(step, epoch, batch, float(loss))

    def _refuse_nan(self, step: int, epoch: int, batch: int, loss: float = math.nan) -> NoReturn:
        """Stop, naming the structures of a batch."""
        names = [self.setup.data.store.names[index] for index in self.batcher.members(epoch, batch)]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise ConvergenceError(
            f"{self.folder}: the loss became {loss} at step {step}, with the structures "
            f"{', '.join(names[:5])}{more}. The models and the checkpoint of the last validation "
            "are kept. Lower init_learning_rate in [process.train.optimizer], or look at these "
            "structures with dock check; then start anew in another outputs_dir, or from the kept "
            "model with [process.train.continued]."
        )

    def _validate(self) -> str:
        """Measure the averaged parameters, write models and log; return a reason to stop."""
        self._look_at_losses(0)
        loss = float(self.state.loss_sum) / max(self.standing.step - self._last_logged(), 1)
        self.state = self.state._replace(loss_sum=self.state.loss_sum * 0)
        names = self.setup.data.split.validate
        stage, more = self._stage_now, {}
        error, pairs = (loss, {}) if not names or stage else self.measure(names)
        measure = error
        if names and stage:
            found = self._errors_in(stage)
            error, pairs, measure, more = found.mae, found.pairs, found.measure, found.to_dict()
        if not math.isfinite(measure):
            self._refuse_nan(self.standing.step - 1, *self.last)
        is_best = measure < self.standing.best
        self.standing.waited = 0 if is_best else self.standing.waited + 1
        self.standing.best = min(measure, self.standing.best)
        if is_best:
            self.standing.after = more
        if self.plateau is not None:
            self.plateau.update(error)
        done = self.standing.step
        self.log.add(
            {
                "step": done,
                "epoch": self.standing.epoch,
                "train_loss": loss,
                "validation_mae": error if names else None,
                "learning_rate": self._rate(done),
                "seconds": round(time.monotonic() - self.begin, 3),
                "pairs": pairs,
                **{name: value for name, value in more.items() if name != "mae"},
            }
        )
        self._save(is_best=is_best)
        self.log.draw()
        return self._finished()

    @property
    def _stage_now(self) -> Stage | None:
        """The second stage once it has begun."""
        return self.stage if self.standing.stage >= 0 else None

    def _begin(self, stage: Stage) -> None:
        """Go on from the best model so far with a new optimiser, and measure where it stands."""
        split, best = self.setup.data.split, self.models / "best.h5"
        params = self.engine.packing.unpack(jax.tree.map(np.asarray, self.state.average))
        if self.standing.validation_mae is not None and best.is_file():
            params = dict(TrainedNetwork.require(read_model(best)).params)
            params.pop("constants")
        self.state = self.engine.start(params)
        standing = self.standing
        standing.stage, standing.epoch = standing.step, self.train_options.max_epoch
        standing.batch = 0
        standing.best, standing.waited = math.inf, 0
        self._turn_to(stage)
        if split.validate:
            found = self._errors_in(stage)
            standing.best, standing.before = found.measure, found.to_dict()
            standing.after = found.to_dict()
        self._save(is_best=True)
        if self.train_options.ahead_of_time_compile:
            self._compile_all()

    def _turn_to(self, stage: Stage) -> None:
        """Take batches, learning rate and end of the second stage."""
        self.batcher = stage.add_states(self.batcher)
        self.schedule = stage.schedule(self.steps_per_epoch)
        self.plateau = None
        self.last_epoch = self.train_options.max_epoch + self.train_options.states.epochs

    def _errors_in(self, stage: Stage) -> StageErrors:
        """Return the errors of the averaged parameters on the structures for validation."""
        batcher = self._batcher(self.setup.data.split.validate, shuffle=False)
        batcher = stage.add_states(batcher)
        return stage.measure(self.engine, batcher, self.state.average)

    def _finished(self) -> str:
        """Return why the training, or its first stage, is over; empty while it is not."""
        options = self.train_options
        if options.early_stop and self.standing.waited >= options.early_stop:
            return f"no gain in {options.early_stop} validations"
        if self._plateau_scale < options.scheduler.min_learning_rate_scale:
            return "the learning rate has reached its lower limit"
        if self.standing.epoch >= self.last_epoch:
            return "all epochs are done"
        return ""

    def measure(self, names: tuple[str, ...], params: Any = None) -> tuple[float, dict[str, float]]:
        """Return the mean absolute error of structures, and that of each species and pair."""
        batcher = self._batcher(names, shuffle=False)
        params = self.state.average if params is None else params
        totals: dict[str, Any] = {}
        for batch in batcher.prefetch(0):
            sums = self.engine.errors(params, self.engine.put(batch))
            for name, value in sums.items():
                totals[name] = totals.get(name, 0) + np.asarray(value, dtype=np.float64)
        return named_errors(totals, self.setup.data.layout.species)

    def _compile_all(self) -> None:
        """Compile the step for every shape before the first of them."""
        for batch in self.batcher.examples():
            copy = jax.tree.map(lambda leaf: leaf.copy(), self.state)
            self.engine.step(copy, self.engine.put(batch), 0.0, 1.0)

    def _result(self, reason: str) -> TrainingResult:
        """Measure the best model on the test set and sum up."""
        from jax.experimental import multihost_utils

        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("the models are written")
        best = self.models / "best.h5"
        best = best if best.is_file() else self.models / "latest.h5"
        split, lowest, test = self.setup.data.split, self.standing.validation_mae, None
        if split.test:
            params = dict(TrainedNetwork.require(read_model(best)).params)
            params.pop("constants")
            packed = self.engine.placed(self.engine.packing.pack(params))
            test = self.measure(split.test, packed)[0]
        result = TrainingResult(
            self.folder,
            best,
            self.standing.step,
            self.standing.epoch,
            validation_mae=lowest if split.validate else None,
            test_mae=test,
            reason=reason,
            seconds=time.monotonic() - self.begin,
            unit=quantity_of(self.options.quantity).unit,
            before_stage=self.standing.before or None,
            after_stage=self.standing.after or None,
            **self._of_the_baseline(),
        )
        if self.writes:
            text = json_text(result.to_dict(), indent=1) + "\n"
            write_text(self.folder / "result.json", text, overwrite=True)
        return result

    def _of_the_baseline(self) -> dict[str, Any]:
        """Return what the closed form is alone, by the fields of a result."""
        data, form = self.setup.data, self.setup.network.closed_form
        if form is None:
            return {}
        return {
            "baseline": form.kind,
            "baseline_mae": self.setup.judgement.errors.get(form.kind),
            "baseline_test_mae": mean_absolute_error(form, data.items(data.split.test)),
        }
