"""The compiled step: its average, its memory, and what its program depends on."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from datasets import make_set, small_options

from dock.models.modelfile import flatten

pytest.importorskip("jax")

from dock.models.network.training.engine import Engine
from dock.models.network.training.setup import prepare


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


@pytest.fixture(scope="module")
def engine_of(parts):
    """The engine that recomputes, or not, and the parameters to start from.

    Tracing and compiling a step takes longer than a hundred of them: the tests share it.
    """
    options, setup = parts
    network = setup.network
    params = dict(network.params)
    constants = params.pop("constants")

    @functools.cache
    def made(remat):
        train_options = replace(options.process.train, do_remat=remat)
        changed = replace(options, process=replace(options.process, train=train_options))
        config = replace(network.config, remat=remat)
        return Engine(changed, network.layout, config, constants, setup.devices), params

    return made


class TestEngine:
    def batches(self, parts, count=3):
        from dock.models.data.batches import Batcher

        made = Batcher(parts[1].data.store, range(8), 2)
        return [made.batch(0, step) for step in range(count)]

    def test_the_average_follows_its_recursion(self, parts, engine_of):
        engine, params = engine_of(False)
        state = engine.start(params)
        expected = {name: np.array(value) for name, value in flatten(params).items()}
        for batch, decay in zip(self.batches(parts), (0.0, 0.5, 0.9), strict=True):
            state, _ = engine.step(state, batch, np.float32(0.01), np.float32(decay))
            for name, value in flatten(engine.packing.unpack(on_host(state.params))).items():
                expected[name] = decay * expected[name] + (1 - decay) * np.asarray(value)
        for name, value in flatten(engine.packing.unpack(on_host(state.average))).items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-7)
        assert int(state.step) == 3

    def test_recomputing_changes_nothing_but_memory(self, parts, engine_of):
        losses = []
        for remat in (False, True):
            engine, params = engine_of(remat)
            state = engine.start(params)
            for batch in self.batches(parts):
                state, loss = engine.step(state, batch, np.float32(0.01), np.float32(0.9))
                losses.append(float(loss))
        np.testing.assert_allclose(losses[3:], losses[:3], rtol=1e-4)

    def test_a_step_of_no_length(self, parts, engine_of):
        """The rate multiplies the whole update: at zero nothing moves."""
        engine, params = engine_of(False)
        before = flatten(params)
        state, _ = engine.step(
            engine.start(params), self.batches(parts)[0], np.float32(0), np.float32(0.9)
        )
        for name, value in flatten(engine.packing.unpack(on_host(state.params))).items():
            np.testing.assert_array_equal(value, before[name])
