"""Clipping against medians, rules against their formulas, packing there and back."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dock.errors import UsageError
from dock.models.options.train import Optimizer

jax = pytest.importorskip("jax")

from dock.models.network.training.optimiser import (  # noqa: E402
    clipped,
    empty_norms,
    make_optimiser,
    trainable,
)
from dock.models.network.training.packing import Packing  # noqa: E402


class TestClipping:
    def run(self, norms, factor=2.0):
        found = []
        with jax.enable_x64(True):
            memory = jax.device_put(empty_norms(np.float64))
            clip = jax.jit(clipped)
            for step, norm in enumerate(norms):
                gradient, memory = clip({"a": np.array([norm, 0.0])}, memory, step, factor)
                found.append(float(gradient["a"][0]))
            return found, np.asarray(memory)

    def test_an_outlier_is_cut_to_a_multiple_of_the_median(self):
        found, memory = self.run([1.0, 2.0, 3.0] * 5 + [1000.0, 1000.0])
        assert found[:15] == [1.0, 2.0, 3.0] * 5
        assert found[15] == found[16] == 4.0
        assert np.isfinite(memory[:17]).all()
        assert float(memory[:17].max()) == 4.0

    def test_not_at_the_beginning(self):
        assert self.run([1.0] * 7 + [1000.0])[0][-1] == 1000.0
        assert self.run([1.0] * 8 + [1000.0])[0][-1] == 2.0

    def test_off(self):
        assert self.run([1.0] * 20 + [1000.0], factor=-1.0)[0][-1] == 1000.0

    def test_memory_of_64_steps(self):
        found, _ = self.run([100.0] * 64 + [1.0] * 64 + [50.0])
        assert found[-1] == 2.0


PARAMS = {
    "blocks": [{"w0": np.array([2.0]), "b": np.array([3.0])}],
    "edge_head": {"out": [np.array([4.0])]},
}
GRADIENT = jax.tree.map(lambda x: 0.5 * x, PARAMS)


def updates(options, freeze=(), steps=1):
    with jax.enable_x64(True):
        packing = Packing(PARAMS, freeze)
        params, gradient = packing.pack(PARAMS), packing.pack(GRADIENT)
        rule = make_optimiser(options, packing.decayed, packing.moving)
        state = rule.init(params)
        for _ in range(steps):
            found, state = rule.update(gradient, state, params)
        found = packing.unpack({name: np.asarray(part) for name, part in found.items()})
        return jax.tree.map(float, jax.tree.map(np.squeeze, found))


class TestRules:
    def test_adam_by_its_formula(self):
        found = updates(Optimizer(type="adam", betas=(0.9, 0.99), eps=1e-3), steps=3)
        for path, gradient in (("w0", 1.0), ("b", 1.5)):
            assert found["blocks"][0][path] == pytest.approx(-gradient / (gradient + 1e-3))

    def test_decay_on_matrices_only(self):
        plain = updates(Optimizer(weight=0.0))
        decayed = updates(Optimizer(weight=0.1))
        assert decayed["blocks"][0]["w0"] == pytest.approx(plain["blocks"][0]["w0"] - 0.2)
        assert decayed["blocks"][0]["b"] == plain["blocks"][0]["b"]
        assert decayed["edge_head"]["out"][0] == pytest.approx(-1.0 - 0.4)

    def test_sgd_with_momentum(self):
        found = updates(Optimizer(type="sgd", momentum=0.5), steps=3)
        assert found["blocks"][0]["b"] == pytest.approx(-1.5 * (1 + 0.5 + 0.25))

    @pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
    def test_frozen_parameters_do_not_move(self, kind):
        found = updates(Optimizer(type=kind, weight=0.1), ("blocks/*",), steps=2)
        assert found["blocks"][0] == {"w0": 0.0, "b": 0.0}
        assert found["edge_head"]["out"][0] < 0

    def test_trainable(self):
        found = trainable(PARAMS, ("*/out/*", "blocks/#0/b"))
        assert found == {"blocks": [{"w0": True, "b": False}], "edge_head": {"out": [False]}}

    def test_a_pattern_that_matches_nothing(self):
        with pytest.raises(UsageError, match=r"'block/x'.*blocks/#0/w0"):
            trainable(PARAMS, ("block/x",))

    def test_nan_is_not_hidden_by_clipping(self):
        memory = empty_norms(np.float32)
        gradient, _ = jax.jit(clipped)({"a": np.array([math.nan])}, memory, 20, 8.0)
        assert np.isnan(gradient["a"]).all()


class TestPacking:
    def params(self, rng):
        """Names as those of a network: matrices and vectors, small ones and one large."""
        sizes = {"w0": (3, 4), "b0": (4,), "m1": (5, 2), "w": (2, 3)}
        block = {name: rng.normal(size=shape) for name, shape in sizes.items()}
        return {
            "blocks": [block, jax.tree.map(lambda x: -2 * x, block)],
            "head": {"out": [rng.normal(size=(200, 150)), rng.normal(size=())]},
        }

    def test_there_and_back(self, rng):
        params = self.params(rng)
        packing = Packing(params)
        packed = packing.pack(params)
        assert sorted(packed) == ["head/out/#0", "matrices, moving", "vectors, moving"]
        assert packing.decayed == {
            "head/out/#0": True,
            "matrices, moving": True,
            "vectors, moving": False,
        }
        for back in (
            packing.unpack(packed),
            jax.jit(packing.unpack)(packed),
            packing.unpack(packing.pack(packing.unpack(packed))),
        ):
            assert jax.tree.structure(back) == jax.tree.structure(params)
            for one, two in zip(jax.tree.leaves(back), jax.tree.leaves(params), strict=True):
                assert np.shape(one) == np.shape(two)
                np.testing.assert_allclose(one, two, rtol=1e-6)

    def test_the_order_of_names_does_not_matter_but_their_shapes_do(self, rng):
        params = self.params(rng)
        block = params["blocks"][0]
        turned = {**params, "blocks": [dict(reversed(block.items())), params["blocks"][1]]}
        one, two = Packing(params), Packing(turned)
        assert one.digest == two.digest
        for name, value in one.pack(params).items():
            np.testing.assert_array_equal(two.pack(turned)[name], value)
        block["w0"] = block["w0"].T
        assert Packing(params).digest != one.digest

    def test_gradients_go_where_they_belong(self, rng):
        params = self.params(rng)
        packing = Packing(params)
        with jax.enable_x64(True):
            weights = jax.tree.map(lambda x: rng.normal(size=np.shape(x)), params)

            def value(packed):
                found = packing.unpack(packed)
                parts = jax.tree.map(lambda x, w: (w * x**2).sum(), found, weights)
                return sum(jax.tree.leaves(parts))

            packed = jax.grad(value)(packing.pack(params))
        found = packing.unpack({name: np.asarray(part) for name, part in packed.items()})
        expected = jax.tree.map(lambda x, w: 2 * w * x, params, weights)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, expected)

    def test_what_is_frozen_lies_apart(self, rng):
        packing = Packing(self.params(rng), ("blocks/#1/*",))
        assert packing.moving == {
            "matrices, moving": True,
            "vectors, moving": True,
            "matrices, still": False,
            "vectors, still": False,
            "head/out/#0": True,
        }
