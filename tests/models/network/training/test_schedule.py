"""Schedules against closed forms, and the plateau step by step."""

from __future__ import annotations

import numpy as np
import pytest

from dock.models.options.train import Scheduler

jax = pytest.importorskip("jax")

from dock.models.network.training.schedule import Plateau, Schedule  # noqa: E402

TOTAL = 1000


def rates(**options):
    schedule = Schedule(Scheduler(**options), TOTAL)
    return np.array([schedule(step) for step in range(TOTAL + 50)])


class TestSchedules:
    @pytest.mark.parametrize("kind", ["constant", "warmup_cosine_decay", "warmup_stable_decay"])
    def test_warm_up(self, kind):
        found = rates(type=kind, warmup_steps=100, init_scale=0.2)
        np.testing.assert_allclose(found[:101], 0.2 + 0.8 * np.arange(101) / 100)

    def test_automatic_warm_up(self):
        found = rates()
        assert np.argmax(found) == 30
        schedule = Schedule(Scheduler(), 8)
        few = [schedule(step) for step in range(8)]
        assert np.argmax(few) == 2

    def test_cosine(self):
        found = rates(warmup_steps=0, end_scale=0.1)
        steps = np.arange(TOTAL)
        expected = 0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * steps / TOTAL))
        np.testing.assert_allclose(found[:TOTAL], expected)
        np.testing.assert_allclose(found[TOTAL:], 0.1)

    def test_cosine_with_a_length_of_its_own(self):
        found = rates(warmup_steps=10, decay_steps=100, end_scale=0.0)
        assert found[60] == pytest.approx(0.5)
        np.testing.assert_allclose(found[110:], 0.0)

    @pytest.mark.parametrize(("given", "length"), [(-1, 200), (50, 50)])
    def test_stable_then_linear(self, given, length):
        kind = {"type": "warmup_stable_decay", "warmup_steps": 0, "decay_steps": given}
        found = rates(end_scale=0.0, **kind)
        np.testing.assert_array_equal(found[: TOTAL - length + 1], 1.0)
        falling = 1 - np.arange(length + 1) / length
        np.testing.assert_allclose(found[TOTAL - length : TOTAL + 1], falling, atol=1e-12)
        assert rates(end_scale=0.3, **kind)[-1] == 0.3

    @pytest.mark.parametrize("staircase", [False, True])
    def test_exponential(self, staircase):
        found = rates(
            type="warmup_exponential_decay",
            warmup_steps=0,
            transition_steps=100,
            decay_rate=0.5,
            staircase=staircase,
            end_scale=0.01,
        )
        power = np.arange(TOTAL + 50) / 100
        power = np.floor(power) if staircase else power
        np.testing.assert_allclose(found, np.maximum(0.5**power, 0.01))

    def test_constant_and_plateau(self):
        for kind in ("constant", "reduce_on_plateau"):
            assert (rates(type=kind, warmup_steps=0) == 1).all()


class TestPlateau:
    OPTIONS = Scheduler(patience=3, factor=0.5, rtol=0.1, cooldown=2)

    def after(self, errors):
        plateau = Plateau(self.OPTIONS)
        scales = []
        for error in errors:
            plateau.update(error)
            scales.append(plateau.scale)
        return scales

    def test_it_waits_then_rests(self):
        # one gain, three without: halved; two of rest, three more: halved again
        assert self.after([1.0] * 9) == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]

    def test_small_gains_do_not_count(self):
        assert self.after([1.0, 0.99, 0.98, 0.97])[-1] == 0.5
        assert self.after([1.0, 0.8, 0.6, 0.4, 0.3])[-1] == 1
