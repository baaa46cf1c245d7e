"""Whole trainings: what they leave, how they stop, and that they go on exactly."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
from datasets import log_of, make_set, small_options
from samples import listing, names

from dock.core.spin import Spin
from dock.errors import ConvergenceError, FormatError, LayoutError, MissingDataError, UsageError
from dock.io.progress import Progress
from dock.models import load
from dock.models.modelfile import flatten, read_model

jax = pytest.importorskip("jax")

from dock.models.network.training import run as module  # noqa: E402
from dock.models.network.training.engine import Engine  # noqa: E402
from dock.models.network.training.log import TrainingLog  # noqa: E402
from dock.models.network.training.run import train  # noqa: E402

SAID = []
ENGINES = {}


@pytest.fixture(scope="module", autouse=True)
def engines():
    """Trainings of the same network share its compiled functions: tracing costs more than they."""

    def shared(options, layout, config, constants, devices):
        content = options.to_dict()
        train = content["process"]["train"]
        train["optimizer"].pop("init_learning_rate")
        frozen = train["continued"]["freeze"]
        parts = [content["model"], train["optimizer"], frozen, layout.to_dict(), config.to_dict()]
        key = json.dumps([*parts, jax.config.jax_enable_x64])
        if key not in ENGINES:
            ENGINES[key] = Engine(options, layout, config, constants, devices)
        ENGINES[key]._constants = constants  # arguments of the functions, as the data are
        return ENGINES[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Engine", shared)
        yield
    ENGINES.clear()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("data") / "set", cutoff=9.0)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A training from beginning to end."""
    folder = tmp_path_factory.mktemp("whole")
    options = small_options(folder / "t.toml", data)
    steps = Progress(lambda done, total: SAID.append((done, total, steps.note)))
    train(options, progress=steps)
    return folder / "run"


def run(tmp_path, data, **changes):
    return train(small_options(tmp_path / "t.toml", data, **changes))


def params_of(file):
    return flatten(read_model(file).network.arrays)


def same_models(one, two):
    first, second = params_of(one), params_of(two)
    assert first.keys() == second.keys()
    return all(np.array_equal(first[name], second[name]) for name in first)


@pytest.fixture
def no_figure(monkeypatch):
    monkeypatch.setattr(TrainingLog, "draw", lambda self, **_: None)


class StoppedError(Exception):
    """As if the power had gone."""


def stop_after(monkeypatch, steps):
    plain = module._Run._one_step

    def counted(self, batch):
        if self.standing.step == steps:
            raise StoppedError
        plain(self, batch)

    monkeypatch.setattr(module._Run, "_one_step", counted)


def nan_at(monkeypatch, number):
    """Let a step go nowhere."""
    plain = module.Schedule.__call__
    monkeypatch.setattr(
        module.Schedule,
        "__call__",
        lambda self, step: math.nan if step == number else plain(self, step),
    )


class TestResults:
    def test_what_a_run_leaves(self, whole):
        assert (whole / "train.png").read_bytes().startswith(b"\x89PNG")
        assert names(whole) == [
            "dataset_split.json",
            "log.jsonl",
            "model",
            "result.json",
            "train.json",
            "train.png",
        ]
        assert names(whole / "model") == ["best.h5", "latest.h5", "state.h5"]
        result = json.loads((whole / "result.json").read_text())
        assert result["reason"] == "all epochs are done"
        assert (result["steps"], result["epochs"], result["unit"]) == (24, 6, "eV")
        assert result["test_mae"] is None
        rows = log_of(whole)
        assert [row["step"] for row in rows] == [5, 10, 15, 20, 24]
        assert result["validation_mae"] == min(row["validation_mae"] for row in rows)
        assert rows[-1]["train_loss"] < rows[0]["train_loss"]
        assert set(rows[0]["pairs"]) == {"C", "H", "C-C", "C-H", "H-C"}
        options = json.loads((whole / "train.json").read_text())
        assert options["process"]["train"]["max_epoch"] == 6
        split = json.loads((whole / "dataset_split.json").read_text())
        assert [len(split[kind]) for kind in ("train", "validate", "test")] == [8, 2, 0]

    def test_the_model_says_what_it_is(self, whole):
        file = read_model(whole)
        assert file.backend == "jax"
        assert file.layout.species == ("C", "H")
        assert file.summary["training_set"]["n_train"] == 8
        assert file.summary["options"]["system"]["random_seed"] == 137
        assert file.summary["validation_mae"] == log_of(whole)[-1]["validation_mae"]
        model = load(whole)
        assert model.describe()["species"] == ["C", "H"]

    def test_running_it_again_changes_nothing(self, whole, data, tmp_path):
        shutil.copytree(whole, tmp_path / "run")
        result = run(tmp_path, data)
        assert result.steps == 24
        assert log_of(tmp_path / "run") == log_of(whole)
        assert same_models(tmp_path / "run/model/best.h5", whole / "model/best.h5")

    def test_from_disk_and_compiled_ahead(self, whole, data, tmp_path):
        changes = {
            "data.graph.storage_type": "disk",
            "data.graph.disk_mem_buffer_size": 2,
            "process.train.ahead_of_time_compile": True,
        }
        run(tmp_path, data, **changes)
        assert log_of(tmp_path / "run") == log_of(whole)

    def test_progress(self, whole):
        said = SAID
        assert said[0] == (0, 24, "")
        assert "validation" in said[1][2]
        assert said[-1][:2] == (24, 24)

    @pytest.mark.usefixtures("whole")
    def test_without_validation(self, data, tmp_path):
        """The test set, as large as the other's validation set, needs no program of its own."""
        before = {key: engine._jitted_errors._cache_size() for key, engine in ENGINES.items()}
        changes = {
            "process.train.dataloader.only_use_train_loss": True,
            "process.train.dataloader.test_size": 2,
            "process.train.max_epoch": 3,
            "data.model_save.best": False,
        }
        result = run(tmp_path, data, **changes)
        assert result.validation_mae is None
        assert result.test_mae > 0
        assert names(tmp_path / "run" / "model") == ["latest.h5", "state.h5"]
        assert log_of(tmp_path / "run")[-1]["validation_mae"] is None
        after = {key: engine._jitted_errors._cache_size() for key, engine in ENGINES.items()}
        assert after == before

    def test_a_gauge_of_each_structure_does_not_matter(self, data, tmp_path):
        shifts = np.random.default_rng(2).normal(0, 5, 10)
        shifted = make_set(tmp_path / "shifted", cutoff=9.0, shifts=shifts)
        logs = []
        for name, inputs in (("a", data), ("b", shifted)):
            changes = {"model.advanced.standardize_gauge": True, "process.train.max_epoch": 4}
            (tmp_path / name).mkdir()
            run(tmp_path / name, inputs, **changes)
            logs.append(log_of(tmp_path / name / "run"))
        for one, two in zip(*logs, strict=True):
            assert two["train_loss"] == pytest.approx(one["train_loss"], rel=2e-3)
            assert two["validation_mae"] == pytest.approx(one["validation_mae"], rel=2e-3)


@pytest.mark.usefixtures("no_figure")
class TestGoingOn:
    @pytest.mark.parametrize("steps", [2, 13])
    def test_stopped_and_resumed(self, whole, data, tmp_path, monkeypatch, steps):
        """Checkpoints lie within epochs; the curve and the models are the same bit by bit."""
        changes = {"data.model_save.latest_interval": 3}
        with monkeypatch.context() as patch:
            stop_after(patch, steps)
            with pytest.raises(StoppedError):
                run(tmp_path, data, **changes)
        found = tmp_path / "run"
        assert (found / "model" / "state.h5").is_file() == (steps > 3)
        run(tmp_path, data, **changes)
        assert log_of(found) == log_of(whole)
        for name in ("best.h5", "latest.h5"):
            assert same_models(found / "model" / name, whole / "model" / name)

    def test_killed_between_the_log_and_the_checkpoint(self, whole, data, tmp_path, monkeypatch):
        plain = module.write_state

        def broken(path, leaves, standing, fingerprint):
            if standing.step == 15:
                raise StoppedError
            plain(path, leaves, standing, fingerprint)

        with monkeypatch.context() as patch:
            patch.setattr(module, "write_state", broken)
            with pytest.raises(StoppedError):
                run(tmp_path, data)
        assert [row["step"] for row in log_of(tmp_path / "run")] == [5, 10, 15]
        run(tmp_path, data)
        assert log_of(tmp_path / "run") == log_of(whole)

    @pytest.mark.parametrize(
        "changes",
        [
            {"process.train.optimizer.init_learning_rate": 0.02},
            {"process.train.dataloader.validate_size": 3},
            {"process.train.max_epoch": 7},
        ],
    )
    def test_other_options_are_refused_and_nothing_changes(self, whole, data, tmp_path, changes):
        shutil.copytree(whole, tmp_path / "run")
        before = listing(tmp_path / "run")
        with pytest.raises(FormatError, match="other options or other data"):
            run(tmp_path, data, **changes)
        assert listing(tmp_path / "run") == before

    def test_other_labels_are_refused(self, whole, tmp_path):
        shifted = make_set(tmp_path / "set", cutoff=9.0, shifts=[1e-6] + [0.0] * 9)
        shutil.copytree(whole, tmp_path / "run")
        with pytest.raises(FormatError, match="other data"):
            run(tmp_path, shifted)

    @pytest.mark.parametrize("size", [0, 5000])
    def test_a_cut_checkpoint(self, whole, data, tmp_path, size):
        shutil.copytree(whole, tmp_path / "run")
        path = tmp_path / "run" / "model" / "state.h5"
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(FormatError, match="Delete it"):
            run(tmp_path, data)
        assert same_models(tmp_path / "run/model/best.h5", whole / "model/best.h5")

    def test_what_does_not_touch_the_curve_may_change(self, whole, data, tmp_path):
        shutil.copytree(whole, tmp_path / "run")
        changes = {"system.note": "new", "process.train.early_stop": 99}
        assert run(tmp_path, data, **changes).steps == 24


@pytest.mark.usefixtures("no_figure")
class TestEnds:
    def test_nan(self, whole, data, tmp_path, monkeypatch):
        """Named batch; models and checkpoint of the last validation stay as they were."""
        with monkeypatch.context() as patch:
            nan_at(patch, 7)
            with pytest.raises(ConvergenceError) as caught:
                run(tmp_path, data)
        found = tmp_path / "run"
        message = str(caught.value)
        assert "init_learning_rate" in message
        assert "the loss became nan at step" in message
        assert any(name in message for name in json.loads(
            (found / "dataset_split.json").read_text())["train"])  # fmt: skip
        assert log_of(found) == log_of(whole)[:1]
        assert all(np.isfinite(x).all() for x in params_of(found / "model/best.h5").values())
        run(tmp_path, data)  # the checkpoint of step 5 is as good as new
        assert log_of(found) == log_of(whole)

    def test_nan_in_the_step_before_a_validation(self, data, tmp_path, monkeypatch):
        nan_at(monkeypatch, 9)
        for changes in ({}, {"process.train.dataloader.only_use_train_loss": True}):
            shutil.rmtree(tmp_path / "run", ignore_errors=True)
            with pytest.raises(ConvergenceError, match="at step 9"):
                run(tmp_path, data, **changes)
            files = [tmp_path / "run/model" / name for name in ("best.h5", "latest.h5")]
            assert all(np.isfinite(x).all() for file in files for x in params_of(file).values())

    def test_early_stop(self, data, tmp_path):
        changes = {
            "process.train.optimizer.init_learning_rate": 0.0,
            "process.train.early_stop": 2,
            "process.train.max_epoch": 50,
        }
        result = run(tmp_path, data, **changes)
        assert result.reason == "no gain in 2 validations"
        assert result.steps == 15

    def test_plateau(self, data, tmp_path):
        changes = {
            "process.train.optimizer.init_learning_rate": 0.0,
            "process.train.max_epoch": 50,
            "process.train.scheduler.type": "reduce_on_plateau",
            "process.train.scheduler.patience": 1,
            "process.train.scheduler.cooldown": 0,
            "process.train.scheduler.factor": 0.1,
            "process.train.scheduler.min_learning_rate_scale": 0.05,
        }
        result = run(tmp_path, data, **changes)
        assert "learning rate" in result.reason
        assert result.steps == 15  # the first validation is a gain, two are not

    @pytest.mark.parametrize(
        "error",
        [
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."),
            MemoryError("Unable to allocate 9 GiB"),
            MemoryError(),
        ],
    )
    def test_out_of_memory(self, data, tmp_path, monkeypatch, error):
        def broken(self, batch):
            raise error

        monkeypatch.setattr(module._Run, "_one_step", broken)
        with pytest.raises(UsageError, match=r"not enough memory.*batch_size.*now 2.*do_remat"):
            run(tmp_path, data)

    def test_other_errors_of_jax_are_not_renamed(self, data, tmp_path, monkeypatch):
        def broken(self, batch):
            raise jax.errors.JaxRuntimeError("INTERNAL: something else")

        monkeypatch.setattr(module._Run, "_one_step", broken)
        with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
            run(tmp_path, data)


CONTINUED = "process.train.continued."


@pytest.mark.usefixtures("no_figure")
class TestContinued:
    def keys(self, whole, **more):
        return {
            CONTINUED + "enable": True,
            CONTINUED + "previous_output_dir": str(whole),
            "data.outputs_dir": "new",
            **more,
        }

    def test_with_new_data(self, whole, tmp_path):
        """Errors begin where the old run ended, and statistics stay those of the old run."""
        other = make_set(tmp_path / "set", seed=9, cutoff=9.0)
        changes = {"process.train.max_epoch": 2, "process.train.optimizer.init_learning_rate": 1e-9}
        result = run(tmp_path, other, **self.keys(whole, **changes))
        (tmp_path / "fresh").mkdir()
        fresh = run(tmp_path / "fresh", other, **changes)
        assert result.validation_mae < fresh.validation_mae
        old, new = read_model(whole), read_model(tmp_path / "new")
        assert new.network.facts == old.network.facts
        np.testing.assert_array_equal(new.statistics.node_scale, old.statistics.node_scale)

    def test_the_old_split(self, whole, data, tmp_path):
        changes = {
            CONTINUED + "new_training_data": False,
            "system.random_seed": 5,
            "process.train.max_epoch": 1,
        }
        run(tmp_path, data, **self.keys(whole, **changes))
        name = "dataset_split.json"
        assert (tmp_path / "new" / name).read_text() == (whole / name).read_text()

    def test_frozen_parts_in_double_precision_from_a_file(self, whole, data, tmp_path):
        old = whole / "model" / "latest.h5"
        changes = {
            CONTINUED + "previous_output_dir": str(old),
            CONTINUED + "freeze": ["blocks/*", "edge_head/*"],
            "system.float_type": "fp64",
            "process.train.max_epoch": 2,
        }
        try:
            run(tmp_path, data, **(self.keys(whole) | changes))
        finally:
            jax.config.update("jax_enable_x64", False)
        before, after = params_of(old), params_of(tmp_path / "new/model/latest.h5")
        assert after["species"].dtype == np.float64
        moved = {
            name.split("/")[0]
            for name in before
            if not np.array_equal(before[name].astype(np.float64), after[name])
        }
        assert "node_head" in moved
        assert not moved & {"blocks", "edge_head", "constants"}

    def test_another_network_is_refused_by_name(self, whole, data, tmp_path):
        changes = {"model.advanced.num_blocks": 3, "model.net_type": "accurate"}
        with pytest.raises(UsageError, match=r"model\.net_type, model\.advanced\.num_blocks"):
            run(tmp_path, data, **self.keys(whole, **changes))
        assert not (tmp_path / "new").exists()

    def test_no_such_run(self, data, tmp_path):
        with pytest.raises(MissingDataError):
            run(tmp_path, data, **self.keys(tmp_path / "none"))
        assert not (tmp_path / "new").exists()

    def test_other_species_shells_or_spin(self, whole, tmp_path):
        for options, words in (
            ({"shells": {"C": [0, 1], "H": [0, 1]}}, "species 'H' with the shells"),
            ({"spin": Spin.COLLINEAR}, "spin 'none'"),
        ):
            shutil.rmtree(tmp_path / "set", ignore_errors=True)
            make_set(tmp_path / "set", (2,) * 5, **options)
            with pytest.raises(LayoutError, match=words):
                run(tmp_path, tmp_path / "set", **self.keys(whole))

    def test_part_of_the_species(self, whole, tmp_path):
        """Fine-tuning on carbon alone keeps the network that also knows hydrogen."""
        rng = np.random.default_rng(1)
        from datasets import calculation, molecule

        import dock

        for number in range(6):
            calc = calculation(molecule(rng, 3, labels=["C"] * 3), cutoff=9.0)
            dock.write(calc, tmp_path / "set" / f"c{number}")
        changes = {"process.train.max_epoch": 1, "process.train.dataloader.test_size": 0}
        run(tmp_path, tmp_path / "set", **self.keys(whole, **changes))
        assert read_model(tmp_path / "new").layout.species == ("C", "H")

    def test_with_moments_or_without(self, whole, data, tmp_path):
        with pytest.raises(UsageError, match="moments = false"):
            run(tmp_path, data, **self.keys(whole, **{"data.moments": True}))
