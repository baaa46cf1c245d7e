"""The second stage of a training: what it does and leaves, and that it goes on exactly."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from datasets import log_of, make_set, small_options

import dock
from dock.errors import FormatError, UsageError
from dock.models.modelfile import flatten, read_model
from dock.models.options import read_train

jax = pytest.importorskip("jax")

from dock.models.network.training import run as module  # noqa: E402
from dock.models.network.training.engine import Engine  # noqa: E402
from dock.models.network.training.log import TrainingLog  # noqa: E402
from dock.models.network.training.run import train  # noqa: E402

STATES = "process.train.states."
KEYS = {
    "process.train.max_epoch": 3,
    STATES + "enable": True,
    STATES + "epochs": 3,
    STATES + "init_learning_rate": 0.01,
    STATES + "weight": 1.0,
    STATES + "window": 1.0,
}
ENGINES = {}


@pytest.fixture(scope="module", autouse=True)
def engines():
    """Trainings of the same network share its compiled functions."""

    def shared(options, layout, config, constants, devices):
        key = json.dumps([layout.to_dict(), config.to_dict()])
        if key not in ENGINES:
            ENGINES[key] = Engine(options, layout, config, constants, devices)
        ENGINES[key]._constants = constants
        return ENGINES[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Engine", shared)
        patch.setattr(TrainingLog, "draw", lambda self, **_: None)
        yield
    ENGINES.clear()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Ten molecules with electrons."""
    return make_set(tmp_path_factory.mktemp("data") / "set", cutoff=9.0, electrons=4)


def run(tmp_path, data, **changes):
    return train(small_options(tmp_path / "t.toml", data, **(KEYS | changes)))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run(folder, data)
    return folder / "run"


def params_of(file):
    return flatten(read_model(file).network.arrays)


def same_models(one, two):
    first, second = params_of(one), params_of(two)
    return all(np.array_equal(first[name], second[name]) for name in first)


class StoppedError(Exception):
    """As if the power had gone."""


class TestStage:
    def test_what_it_leaves(self, whole):
        result = json.loads((whole / "result.json").read_text())
        before, after = result["before_stage"], result["after_stage"]
        rows = log_of(whole)
        assert [row["step"] for row in rows] == [5, 10, 12, 15, 20, 24]
        assert ["mae_low_levels" in row for row in rows] == [False] * 3 + [True] * 3
        assert (result["steps"], result["epochs"]) == (24, 6)
        names = ("mae", "mae_low_levels", "n_with_ghosts", "n_structures")
        assert tuple(before) == tuple(after) == names
        assert before["n_structures"] == 2
        assert before["mae"] == pytest.approx(
            min(row["validation_mae"] for row in rows[:3]), rel=1e-5
        )
        assert result["validation_mae"] == after["mae"]
        measures = [
            found["mae"] * found["mae_low_levels"]
            for found in (before, *({**row, "mae": row["validation_mae"]} for row in rows[3:]))
        ]
        assert after["mae"] * after["mae_low_levels"] == min(measures) < measures[0]
        assert read_model(whole).summary["stage"] == {"before": before, "after": after}

    def test_the_first_stage_is_the_training_without_it(self, whole, data, tmp_path):
        run(tmp_path, data, **{STATES + "enable": False})
        assert log_of(tmp_path / "run") == log_of(whole)[:3]

    def test_from_a_finished_run(self, whole, data, tmp_path):
        changes = {
            "process.train.continued.enable": True,
            "process.train.continued.previous_output_dir": str(whole),
            "process.train.max_epoch": 0,
            "data.outputs_dir": "new",
        }
        result = run(tmp_path, data, **changes)
        old = json.loads((whole / "result.json").read_text())
        for name, value in old["after_stage"].items():
            assert result.before_stage[name] == pytest.approx(value, rel=1e-5)
        assert result.steps == 12


class TestGoingOn:
    @pytest.mark.parametrize("steps", [12, 18])
    def test_stopped_and_resumed(self, whole, data, tmp_path, monkeypatch, steps):
        plain = module._Run._one_step

        def counted(self, batch):
            if self.standing.step == steps:
                raise StoppedError
            plain(self, batch)

        changes = {"data.model_save.latest_interval": 2}
        with monkeypatch.context() as patch:
            patch.setattr(module._Run, "_one_step", counted)
            with pytest.raises(StoppedError):
                run(tmp_path, data, **changes)
        run(tmp_path, data, **changes)
        self.same(tmp_path / "run", whole)

    def test_stopped_while_the_stage_begins(self, whole, data, tmp_path, monkeypatch):
        def broken(self, stage):
            raise StoppedError

        with monkeypatch.context() as patch:
            patch.setattr(module._Run, "_errors_in", broken)
            with pytest.raises(StoppedError):
                run(tmp_path, data)
        run(tmp_path, data)
        self.same(tmp_path / "run", whole)

    def same(self, found, whole):
        assert log_of(found) == log_of(whole)
        for name in ("best.h5", "latest.h5"):
            assert same_models(found / "model" / name, whole / "model" / name)
        one, two = (json.loads((folder / "result.json").read_text()) for folder in (found, whole))
        assert one["after_stage"] == two["after_stage"]

    def test_again_when_all_is_done(self, whole, data, tmp_path):
        shutil.copytree(whole, tmp_path / "run")
        assert run(tmp_path, data).steps == 24
        self.same(tmp_path / "run", whole)

    @pytest.mark.parametrize("changes", [{STATES + "weight": 0.2}, {STATES + "epochs": 4}])
    def test_other_options_are_refused(self, whole, data, tmp_path, changes):
        shutil.copytree(whole, tmp_path / "run")
        with pytest.raises(FormatError, match="other options or other data"):
            run(tmp_path, data, **changes)

    def test_another_overlap_is_refused(self, whole, data, tmp_path):
        shutil.copytree(whole, tmp_path / "run")
        shutil.copytree(data, tmp_path / "set")
        calc = dock.read(data / "m00")
        S = calc.require("overlap")
        matrices = {"hamiltonian": calc.require("hamiltonian"), "overlap": 1.01 * S}
        dock.write(calc.replace(matrices=matrices), tmp_path / "set" / "m00", overwrite=True)
        with pytest.raises(FormatError, match="other options or other data"):
            run(tmp_path, tmp_path / "set")


class TestRefusals:
    def test_nothing_is_written_without_overlap(self, data, tmp_path):
        shutil.copytree(data, tmp_path / "set")
        (tmp_path / "set" / "m03" / "overlap.h5").unlink()
        with pytest.raises(UsageError, match=r"states\]: m03: .*overlap"):
            run(tmp_path, tmp_path / "set")
        assert not (tmp_path / "run").exists()

    def test_no_epochs_at_all(self, tmp_path):
        (tmp_path / "t.toml").write_text("process.train.max_epoch = 0\n")
        with pytest.raises(FormatError, match=r"max_epoch.*nothing to train"):
            read_train(tmp_path / "t.toml")

    def test_a_mesh_of_two_numbers(self, tmp_path):
        (tmp_path / "t.toml").write_text("process.train.states.kmesh = [2, 2]\n")
        with pytest.raises(FormatError, match=r"states\.kmesh.*3 items"):
            read_train(tmp_path / "t.toml")


def test_without_validation(data, tmp_path):
    """The best model goes by the loss of the stage, and nothing is said of levels."""
    changes = {
        "process.train.dataloader.only_use_train_loss": True,
        "process.train.dataloader.test_size": 2,
        "process.train.max_epoch": 1,
        STATES + "epochs": 1,
    }
    result = run(tmp_path, data, **changes)
    assert (result.before_stage, result.after_stage, result.validation_mae) == (None, None, None)
    assert result.steps == 8
    assert "mae_low_levels" not in log_of(tmp_path / "run")[-1]
