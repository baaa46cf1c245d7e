"""Checkpoints and logs: complete or refused with the reason; cut lines are dropped."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from dock.errors import FormatError, MissingDataError

pytest.importorskip("jax")

from dock.models.network.training.log import TrainingLog, named_errors
from dock.models.network.training.state import Standing, read_state, write_state

LEAVES = [np.arange(6, dtype=np.float32).reshape(2, 3), np.int32(7), np.zeros(0)]
STANDING = Standing(12, 3, 2, 0.125, 1, {"scale": 0.5, "best_value": 0.1}, 33.5)


@pytest.fixture
def state(tmp_path):
    path = tmp_path / "state.h5"
    write_state(path, LEAVES, STANDING, "abc")
    return path


class TestState:
    def test_bit_by_bit(self, state):
        leaves, standing = read_state(state, "abc", LEAVES)
        assert standing == STANDING
        for one, two in zip(leaves, LEAVES, strict=True):
            assert one.dtype == two.dtype
            np.testing.assert_array_equal(one, two)

    def test_infinity_is_kept(self, tmp_path):
        write_state(tmp_path / "s.h5", LEAVES, Standing(), "abc")
        assert read_state(tmp_path / "s.h5", "abc", LEAVES)[1] == Standing()

    def test_it_replaces_the_last(self, state):
        write_state(state, LEAVES, Standing(step=99), "abc")
        assert read_state(state, "abc", LEAVES)[1].step == 99
        assert [path.name for path in state.parent.iterdir()] == ["state.h5"]

    def test_other_options(self, state):
        with pytest.raises(FormatError, match=r"other options or other data.*continued"):
            read_state(state, "xyz", LEAVES)

    def test_another_network(self, state):
        with pytest.raises(FormatError, match="another network"):
            read_state(state, "abc", LEAVES[:2])
        with pytest.raises(FormatError, match="another network"):
            read_state(state, "abc", [np.zeros((3, 2)), *LEAVES[1:]])

    def test_another_version(self, state):
        with h5py.File(state, "r+") as file:
            head = json.loads(file.attrs["head"])
            file.attrs["head"] = json.dumps(head | {"version": 1, "dock": "0.0.1"})
        with pytest.raises(FormatError, match=r"version 1, written by dock 0\.0\.1"):
            read_state(state, "abc", LEAVES)

    @pytest.mark.parametrize("kind", ["cut", "empty", "text", "foreign", "head", "leaf", "fields"])
    def test_damaged(self, state, kind):
        if kind in ("cut", "empty", "text"):
            content = {"cut": state.read_bytes()[:900], "empty": b"", "text": b"checkpoint"}
            state.write_bytes(content[kind])
        else:
            with h5py.File(state, "r+") as file:
                head = json.loads(file.attrs["head"])
                if kind == "foreign":
                    del file.attrs["head"]
                elif kind == "head":
                    file.attrs["head"] = "{"
                elif kind == "leaf":
                    del file["leaf_00001"]
                else:
                    head["progress"]["moon"] = 1
                    file.attrs["head"] = json.dumps(head)
        with pytest.raises(FormatError, match=r"state\.h5.*Delete it"):
            read_state(state, "abc", LEAVES)

    def test_missing(self, tmp_path):
        with pytest.raises(MissingDataError):
            read_state(tmp_path / "none.h5", "abc", LEAVES)


def row(step, **more):
    return {
        "step": step,
        "train_loss": 0.1 / step,
        "validation_mae": 0.2 / step,
        "learning_rate": 1e-3,
    } | more


class TestLog:
    def lines(self, tmp_path):
        return [json.loads(x) for x in (tmp_path / "log.jsonl").read_text().splitlines()]

    def test_lines_beyond_the_checkpoint_are_dropped(self, tmp_path):
        log = TrainingLog(tmp_path, 0)
        for step in (10, 20, 30):
            log.add(row(step))
        assert [x["step"] for x in TrainingLog(tmp_path, 20).rows] == [10, 20]
        assert [x["step"] for x in self.lines(tmp_path)] == [10, 20]

    @pytest.mark.parametrize("tail", ['{"step": 3', "\0\0\0", "3\n", "null\n"])
    def test_a_cut_line(self, tmp_path, tail):
        TrainingLog(tmp_path, 0).add(row(10))
        with (tmp_path / "log.jsonl").open("a") as file:
            file.write(tail)
        assert [x["step"] for x in TrainingLog(tmp_path, 99).rows] == [10]
        assert len(self.lines(tmp_path)) == 1

    def test_a_new_run(self, tmp_path):
        TrainingLog(tmp_path, 0).add(row(10))
        assert TrainingLog(tmp_path, 0).rows == []

    @pytest.mark.parametrize("unit", ["eV", "1"])
    def test_figure(self, tmp_path, unit):
        log = TrainingLog(tmp_path, 0, unit)
        log.add(row(1))
        log.draw()
        assert not (tmp_path / "train.png").exists()
        log.add(row(2))
        log.draw()
        first = (tmp_path / "train.png").read_bytes()
        assert first.startswith(b"\x89PNG")
        log.add(row(3))
        log.draw()
        assert (tmp_path / "train.png").read_bytes() == first  # half a minute has not passed
        log.draw(at_once=True)
        assert (tmp_path / "train.png").read_bytes() != first

    def test_figure_without_validation(self, tmp_path):
        log = TrainingLog(tmp_path, 0)
        for step in (1, 2):
            log.add(row(step, validation_mae=None, train_loss=0.0))
        log.draw()
        assert (tmp_path / "train.png").is_file()

    @pytest.mark.parametrize(
        ("errors", "says"),
        [
            ([4.0, 1.0, 1.1, 1.2, 1.3], True),
            ([4.0, 3.0, 2.0, 1.5, 1.6], False),
            ([1.0, 2.0], False),
        ],
    )
    def test_a_validation_that_gains_nothing(self, tmp_path, errors, says):
        log = TrainingLog(tmp_path, 0)
        for step, error in enumerate(errors, 1):
            log.add(row(10 * step, validation_mae=error, train_loss=1.0 / step))
        text = log.stalled()
        assert bool(text) is says
        assert (
            not says
            or "of step 20 of 50: since then the training loss went from 500 to 200" in text
        )

    def test_means_by_name(self):
        sums = {
            "node": np.array([2.0, 0.0]),
            "node_count": np.array([4.0, 0.0]),
            "edge": np.array([0.0, 6.0, 1.0, 0.0]),
            "edge_count": np.array([0.0, 3.0, 2.0, 0.0]),
        }
        mean, names = named_errors(sums, ("C", "H"))
        assert mean == 1.0
        assert names == {"C": 0.5, "C-H": 2.0, "H-C": 0.5}
