"""The compiled step: its average, its memory, and what a kept program of it is found by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from datasets import make_set, small_options

from dock.models.modelfile import flatten

pytest.importorskip("jax")

from dock.models.training.engine import Engine
from dock.models.training.setup import prepare


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("data") / "set", cutoff=9.0)


@pytest.fixture(scope="module")
def parts(data, tmp_path_factory):
    """The options of a training and what it starts from."""
    options = small_options(tmp_path_factory.mktemp("parts") / "t.toml", data)
    return options, prepare(options)


def on_host(tree):
    return {name: np.asarray(value) for name, value in tree.items()}


class TestEngine:
    def engine(self, parts, **changes):
        options, setup = parts
        train_options = replace(options.process.train, **changes)
        options = replace(options, process=replace(options.process, train=train_options))
        params = dict(setup.params)
        constants = params.pop("constants")
        config = replace(setup.config, remat=train_options.do_remat)
        return Engine(options, setup.layout, config, constants, setup.devices), params

    def batches(self, parts, count=3):
        from dock.models.data.batches import Batcher

        made = Batcher(parts[1].store, range(8), 2)
        return [made.batch(0, step) for step in range(count)]

    def test_the_average_follows_its_recursion(self, parts):
        engine, params = self.engine(parts)
        state = engine.start(params)
        expected = {name: np.array(value) for name, value in flatten(params).items()}
        for batch, decay in zip(self.batches(parts), (0.0, 0.5, 0.9), strict=True):
            state, _ = engine.step(state, batch, np.float32(0.01), np.float32(decay))
            for name, value in flatten(engine.packing.unpack(on_host(state.params))).items():
                expected[name] = decay * expected[name] + (1 - decay) * np.asarray(value)
        for name, value in flatten(engine.packing.unpack(on_host(state.average))).items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-7)
        assert int(state.step) == 3

    def test_recomputing_changes_nothing_but_memory(self, parts):
        losses = []
        for remat in (False, True):
            engine, params = self.engine(parts, do_remat=remat)
            state = engine.start(params)
            for batch in self.batches(parts):
                state, loss = engine.step(state, batch, np.float32(0.01), np.float32(0.9))
                losses.append(float(loss))
        np.testing.assert_allclose(losses[3:], losses[:3], rtol=1e-4)

    def test_a_step_of_no_length(self, parts):
        """The rate multiplies the whole update: at zero nothing moves."""
        engine, params = self.engine(parts)
        before = flatten(params)
        state, _ = engine.step(
            engine.start(params), self.batches(parts)[0], np.float32(0), np.float32(0.9)
        )
        for name, value in flatten(engine.packing.unpack(on_host(state.params))).items():
            np.testing.assert_array_equal(value, before[name])

    def lowered(self, parts, options):
        """The text of a step, and what a kept program of it would be found by."""
        setup = parts[1]
        params = dict(setup.params)
        constants = params.pop("constants")
        engine = Engine(options, setup.layout, setup.config, constants, setup.devices)
        kept = engine._run_step
        words = (engine.start(params), constants, self.batches(parts)[0])
        text = kept._function.lower(*words, np.float32(0.1), np.float32(0.9)).as_text()
        return text, kept._identity

    def test_kept_programs_follow_the_options(self, parts):
        """Options outside the identity of a program leave its text alone; others change both."""
        options, _ = parts
        train = options.process.train
        text, identity = self.lowered(parts, options)
        outside = replace(
            train,
            max_epoch=train.max_epoch + 3,
            multi_way_jit_num=5,
            ahead_of_time_compile=True,
            ema_decay=0.7,
            validate_interval=3,
            early_stop=4,
            dataloader=replace(train.dataloader, batch_size=7),
            scheduler=replace(train.scheduler, type="constant"),
            optimizer=replace(train.optimizer, init_learning_rate=0.5),
        )
        other = replace(options, process=replace(options.process, train=outside))
        assert self.lowered(parts, other) == (text, identity)
        for inside in (
            replace(
                options,
                process=replace(
                    options.process,
                    train=replace(train, optimizer=replace(train.optimizer, clip_norm_factor=3.5)),
                ),
            ),
            replace(options, model=replace(options.model, loss_type="huber")),
        ):
            found = self.lowered(parts, inside)
            assert found[0] != text
            assert found[1] != identity
