"""Trainings in processes of their own: killed at random moments, and on several devices."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time

import numpy as np
import pytest
from datasets import log_of, make_set, small_toml
from processes import TRAINING, Nursery

from dock.models.modelfile import flatten, read_model

pytest.importorskip("jax")

KILLS = 10


@pytest.fixture(scope="module")
def nursery():
    """Figures take a while: here they are as if Matplotlib was not installed."""
    with Nursery(TRAINING, absent=["matplotlib.figure"]) as started:
        yield started


def step_of(folder):
    """Return how many lines the log has."""
    path = folder / "log.jsonl"
    text = path.read_text() if path.is_file() else ""
    return text.count("\n")


@pytest.mark.slow
@pytest.mark.timeout(900)  # twelve starts, on a machine that others may be using
def test_killed_ten_times(tmp_path, nursery):
    """SIGKILL at random moments, one process after another: the curve is that of a quiet run."""
    make_set(tmp_path / "set", cutoff=9.0)
    changes = {
        "process.train.max_epoch": 40,
        "process.train.validate_interval": 6,
        "data.model_save.latest_interval": 2,
    }
    (tmp_path / "quiet").mkdir()
    toml = small_toml(tmp_path / "quiet" / "t.toml", tmp_path / "set", **changes)
    nursery.run("train", toml, "-q")
    quiet, found = tmp_path / "quiet" / "run", tmp_path / "run"
    toml = small_toml(tmp_path / "t.toml", tmp_path / "set", **changes)
    chance = random.Random(7)
    seen = []
    for number in range(KILLS):
        goal = step_of(found) + 1 + number % 3
        process = nursery.start("train", toml, "-q")
        end = time.monotonic() + 120
        while step_of(found) < goal:
            assert time.monotonic() < end
            time.sleep(0.005)
        time.sleep(chance.uniform(0.0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        code, said = process.end()
        seen.append(step_of(found))
        assert code == -signal.SIGKILL, (seen, said)
    assert seen == sorted(seen)
    nursery.run("train", toml, "-q")
    assert log_of(found) == log_of(quiet)
    for name in ("best.h5", "latest.h5"):
        one, two = (flatten(read_model(x / "model" / name).network.arrays) for x in (found, quiet))
        assert all(np.array_equal(one[key], two[key]) for key in one)
    assert not [path for path in found.rglob("*") if path.name.startswith(".")]


@pytest.mark.slow
def test_several_devices(tmp_path, nursery):
    """Uneven molecules on one and three devices: the same curve to rounding, in both stages."""
    make_set(tmp_path / "set", (2, 3, 4, 2, 3, 4, 2, 3, 2, 3), cutoff=9.0, electrons=2)
    logs = {}
    for count in (1, 3):
        folder = tmp_path / str(count)
        folder.mkdir()
        changes = {
            "system.device": f"cpu*{count}",
            "system.float_type": "fp64",
            "model.loss_type": "wmae",
            "process.train.max_epoch": 3,
            "process.train.states.enable": True,
            "process.train.states.epochs": 1,
            "process.train.multi_way_jit_num": 1,
            "process.train.dataloader.batch_size": 4,
        }
        nursery.run("train", small_toml(folder / "t.toml", tmp_path / "set", **changes), "-q")
        logs[count] = log_of(folder / "run")
    assert ["mae_low_levels" in row for row in logs[1]] == [False, False, True, True]
    for one, many in zip(logs[1], logs[3], strict=True):
        for name in ("train_loss", "validation_mae", "mae_low_levels"):
            assert many.get(name, 0) == pytest.approx(one.get(name, 0), rel=1e-8)
        assert many["pairs"] == pytest.approx(one["pairs"], rel=1e-8)


@pytest.mark.slow
def test_several_hosts(tmp_path, nursery):
    """Two processes that find each other by variables share each batch; one writes the files."""
    make_set(tmp_path / "set", cutoff=9.0)
    changes = {"process.train.max_epoch": 2, "process.train.dataloader.test_size": 2}
    (tmp_path / "one").mkdir()
    nursery.run("train", small_toml(tmp_path / "one" / "t.toml", tmp_path / "set", **changes), "-q")
    changes["system.multi_host"] = True
    toml = small_toml(tmp_path / "t.toml", tmp_path / "set", **changes)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    known = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    processes = [nursery.start("train", toml, **known, JAX_PROCESS_ID=str(rank)) for rank in (0, 1)]
    for process in processes:
        code, said = process.end()
        assert code == 0, said
    one, two = tmp_path / "one" / "run", tmp_path / "run"
    for first, second in zip(log_of(one), log_of(two), strict=True):
        assert second["train_loss"] == pytest.approx(first["train_loss"], rel=1e-4)
        assert second["validation_mae"] == pytest.approx(first["validation_mae"], rel=1e-4)
    results = [json.loads((x / "result.json").read_text()) for x in (one, two)]
    assert results[1]["test_mae"] == pytest.approx(results[0]["test_mae"], rel=1e-4)


def test_hosts_that_cannot_be_found(tmp_path, nursery):
    make_set(tmp_path / "set", (2,) * 5)
    toml = small_toml(tmp_path / "t.toml", tmp_path / "set", **{"system.multi_host": True})
    process = nursery.start("train", toml, "-q", JAX_COORDINATOR_ADDRESS="localhost:1")
    code, said = process.end()
    assert code == 2
    assert "Traceback" not in said
    assert "JAX_NUM_PROCESSES" in said


def test_the_flag_of_virtual_devices(monkeypatch):
    from dock.models.network.environment import prepare_process

    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    prepare_process("cpu*3")
    assert "--xla_force_host_platform_device_count=3" in os.environ["XLA_FLAGS"]
    assert os.environ["JAX_PLATFORMS"] == "cpu"
    before = os.environ["XLA_FLAGS"]
    prepare_process("cpu*3")
    assert os.environ["XLA_FLAGS"] == before
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)
    prepare_process("gpu*2:1,3", preallocate=False)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1,3"
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE")
