"""``dock doctor``: what is there is told, and what lacks with what helps."""

import json
import os
import sys

import h5py
import pytest
import samples

import dock.cli.doctor


@pytest.fixture
def module():
    """Return the module, for its parts that tests exchange."""
    return dock.cli.doctor


@pytest.fixture
def answers(tmp_path, monkeypatch):
    """Run the command in an empty folder; return the findings by what they are about."""
    monkeypatch.chdir(tmp_path)

    def ask():
        answer = samples.cli("doctor", "--json")
        assert answer.code == 0
        content = json.loads(answer.out)
        assert content["ok"]
        return {one["what"]: one for one in content["findings"]}

    return ask


@pytest.fixture
def without_libraries(module, monkeypatch):
    monkeypatch.setattr(module, "_ask", lambda code: ("cpu: 1 × cpu", True))
    monkeypatch.setattr(module, "_GPU", module.Path("/nowhere"))


def test_what_is_there(answers, tmp_path, without_libraries):
    found = answers()
    assert list(found)[:6] == ["dock", "Python", "packages", "CPUs", "memory", "BLAS"]
    assert "numpy 2" in found["packages"]["message"]
    assert "thread(s)" in found["BLAS"]["message"]
    assert found["HDF5"]["level"] == "ok"
    assert str(tmp_path) in found["HDF5"]["message"]
    assert not list(tmp_path.iterdir())
    text = samples.cli("doctor").out
    assert all(what in text for what in found)


def test_an_extra_that_is_missing(answers, module, monkeypatch, without_libraries):
    known = module._version
    monkeypatch.setattr(module, "_version", lambda name: "?" if name == "mkl" else known(name))
    found = answers()["mkl"]
    assert found["level"] == "note"
    assert "PARDISO" in found["message"]
    assert "pip install 'dock-dft[mkl]'" in found["message"]


@pytest.mark.parametrize(
    ("code", "message", "works"),
    [
        ("print('cpu', 'cpu', 'cpu', sep='|')", "cpu: 2 × cpu", True),
        ("print('MPICH   5')", "MPICH 5", True),
        ("raise OSError('no libmpi')", "OSError: no libmpi", False),
        ("import os; os.abort()", "it ends without a word", False),
    ],
)
def test_libraries_are_asked_in_processes_of_their_own(module, code, message, works):
    assert module._ask(code) == (message, works)


def test_a_library_that_hangs(module, monkeypatch):
    monkeypatch.setattr(module, "_WAIT", 0.5)
    assert module._ask("import time; time.sleep(60)") == ("no answer in 0.5 s", False)


def test_what_does_not_start(answers, module, monkeypatch, without_libraries):
    monkeypatch.setattr(module, "_version", lambda name: "1.0")
    monkeypatch.setattr(module, "_ask", lambda code: ("OSError: no libmpi", False))
    found = answers()["mpi4py"]
    assert found["level"] == "note"
    assert "does not start: OSError: no libmpi" in found["message"]


def test_a_gpu_that_is_not_used(answers, module, monkeypatch, without_libraries, tmp_path):
    monkeypatch.setattr(module, "_version", lambda name: "1.0")
    monkeypatch.setattr(module, "_GPU", tmp_path)
    assert "there is a GPU: pip install 'jax[cuda12]'" in answers()["jax"]["message"]


def test_places_that_cannot_be_written(answers, monkeypatch, without_libraries):
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = answers()
    assert "Set NUMBA_CACHE_DIR" in found["numba"]["message"]

    def refuse(*_, **__):
        raise OSError("unable to lock file")

    monkeypatch.setattr(h5py, "File", refuse)
    assert "cannot be written to" in answers()["HDF5"]["message"]
    monkeypatch.setattr(os, "access", lambda *_: True)
    assert "set HDF5_USE_FILE_LOCKING=FALSE" in answers()["HDF5"]["message"]


def test_threads_that_are_set(answers, monkeypatch, without_libraries):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert "OMP_NUM_THREADS=3" in answers()["threads"]["message"]
    assert sys.version.split()[0] in answers()["Python"]["message"]
