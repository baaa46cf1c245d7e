"""Many runs: workers, resume, failures, and what an interruption leaves."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import samples
from processes import CONVERSION, Nursery

import dock
from dock.converters import batch
from dock.converters.batch import MARKER, BatchOptions, Outcome, convert, run_plan
from dock.converters.plan import plan
from dock.errors import DependencyError, UsageError

SYSTEMS = ("h2o", "h2o-v38", "o2-spin", "o2-nc-soc", "si")


@pytest.fixture
def runs(tmp_path):
    for name in SYSTEMS:
        samples.run_folder(tmp_path / "runs" / name, name)
    return tmp_path / "runs"


def test_two_workers_write_what_one_does(runs, tmp_path):
    one = convert(runs, tmp_path / "one", jobs=1)
    two = convert(runs, tmp_path / "two", jobs=2)
    assert (one.exit_code, two.exit_code) == (0, 0)
    assert one.count("done") == two.count("done") == len(SYSTEMS)
    assert [item.source for item in one.outcomes] == [item.source for item in two.outcomes]
    assert samples.listing(tmp_path / "one") == samples.listing(tmp_path / "two")
    assert sorted(samples.names(tmp_path / "one")) == sorted(SYSTEMS)


def test_shards_make_a_whole(runs, tmp_path):
    tasks = plan([runs], tmp_path / "out")
    for part in range(3):
        report = run_plan(tasks, BatchOptions(shard=(part, 3)))
        assert len(report.outcomes) == len(tasks[part::3])
    convert(runs, tmp_path / "whole")
    assert samples.listing(tmp_path / "out") == samples.listing(tmp_path / "whole")
    assert run_plan(tasks, BatchOptions(shard=(7, 8))).outcomes == ()
    for shard in ((3, 3), (-1, 3), (0, 0)):
        with pytest.raises(UsageError, match="shard"):
            run_plan(tasks, BatchOptions(shard=shard))


def test_one_bad_run_does_not_stop_the_others(runs, tmp_path):
    bad = runs / "o2-spin" / "o2-spin.scfout"
    bad.write_bytes(bad.read_bytes()[:1000])
    for jobs in (1, 2):
        out = tmp_path / f"out{jobs}"
        report = convert(runs, out, jobs=jobs)
        assert report.exit_code == 1
        assert (report.count("done"), report.count("failed")) == (len(SYSTEMS) - 1, 1)
        assert report.failures == out / "failed.jsonl"
        (line,) = (out / "failed.jsonl").read_text().splitlines()
        failure = json.loads(line)
        assert failure["run"] == str(bad)
        assert "o2-spin.scfout" in failure["reason"]
        assert sorted(samples.names(out)) == sorted({*SYSTEMS, "failed.jsonl"} - {"o2-spin"})
        # Mended, the rest is skipped and the list goes.
        shutil.copy(samples.OPENMX / "o2-spin" / "o2-spin.scfout", bad)
        again = convert(runs, out, jobs=jobs)
        assert (again.count("done"), again.count("skipped")) == (1, len(SYSTEMS) - 1)
        assert again.exit_code == 0
        assert not (out / "failed.jsonl").exists()
        bad.write_bytes(bad.read_bytes()[:1000])


def test_a_users_file_of_that_name_is_kept(runs, tmp_path):
    (tmp_path / "out").mkdir()
    mine = tmp_path / "out" / "failed.jsonl"
    mine.write_text("my notes\n")
    convert(runs, tmp_path / "out")
    (runs / "si" / "si.scfout").write_bytes(b"")
    report = convert(runs, tmp_path / "out")
    assert (report.exit_code, report.failures) == (1, None)
    assert mine.read_text() == "my notes\n"


class TestRerun:
    @pytest.fixture
    def run(self, tmp_path):
        return samples.run_folder(tmp_path / "run", "h2o")

    def test_skips_what_is_done(self, run, tmp_path):
        assert convert(run, tmp_path / "out").count("done") == 1
        before = samples.listing(tmp_path / "out")
        dates = [path.stat().st_mtime_ns for path in sorted((tmp_path / "out").iterdir())]
        assert convert(run, tmp_path / "out").count("skipped") == 1
        assert samples.listing(tmp_path / "out") == before
        assert dates == [path.stat().st_mtime_ns for path in sorted((tmp_path / "out").iterdir())]

    def test_changed_input_is_refused_and_redone_on_demand(self, run, tmp_path):
        """Nothing existing is overwritten without overwrite=True: results may be in use."""
        convert(run, tmp_path / "out")
        before = samples.listing(tmp_path / "out")
        shutil.copy(samples.OPENMX / "h2o-v38" / "h2o-v38.scfout", run / "h2o.scfout")
        report = convert(run, tmp_path / "out")
        assert report.exit_code == 2
        reason = report.outcomes[0].reason
        assert "made from h2o.scfout before that changed" in reason
        assert "overwrite=True" in reason
        assert str(tmp_path / "out") in reason
        assert samples.listing(tmp_path / "out") == before
        options = dock.converters.WriteOptions(overwrite=True)
        assert convert(run, tmp_path / "out", options=options).exit_code == 0
        version = dock.read(tmp_path / "out").provenance.version
        assert version == "3.8"
        # The new content is complete: a further rerun has nothing to do.
        assert convert(run, tmp_path / "out").count("skipped") == 1

    def test_other_options_are_refused(self, run, tmp_path):
        convert(run, tmp_path / "out")
        less = dock.converters.WriteOptions(quantities=("H", "S"))
        assert "other options" in convert(run, tmp_path / "out", options=less).outcomes[0].reason

    def test_a_lost_file_is_made_again(self, run, tmp_path):
        convert(run, tmp_path / "out")
        before = samples.listing(tmp_path / "out")
        (tmp_path / "out" / "hamiltonian.h5").unlink()
        (tmp_path / "out" / "POSCAR").unlink()
        (tmp_path / "out" / "K_PATH").write_text("mine")
        assert convert(run, tmp_path / "out").count("done") == 1
        assert samples.listing(tmp_path / "out") == before | {"K_PATH": b"mine"}

    @pytest.mark.parametrize("marker", ["", "[]", "{}", '{"fingerprint": 1, "files": 3}', "\xff"])
    def test_a_marker_that_is_none(self, run, tmp_path, marker):
        convert(run, tmp_path / "out")
        (tmp_path / "out" / MARKER).write_text(marker, encoding="latin-1")
        report = convert(run, tmp_path / "out")
        assert report.exit_code == 2
        assert "exists already" in report.outcomes[0].reason

    def test_files_of_the_user_are_never_replaced(self, run, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "POSCAR").write_text("mine")
        report = convert(run, tmp_path / "out")
        assert report.exit_code == 2
        assert "exists already (POSCAR)" in report.outcomes[0].reason
        assert samples.listing(tmp_path) .keys() == {
            "out/POSCAR", "run/h2o.scfout", "run/h2o.dat", "run/h2o.out"
        }  # fmt: skip


def kill_worker(task):
    """Stand in for a conversion that the system kills for want of memory."""
    if "o2-spin" in str(task.source):
        os.kill(os.getpid(), signal.SIGKILL)
    return Outcome(str(task.source), str(task.target), "done")


@pytest.mark.filterwarnings("ignore:os.fork")  # JAX, where another test loaded it
def test_a_killed_worker_is_a_failure_that_a_rerun_mends(runs, tmp_path, monkeypatch):
    import concurrent.futures
    import multiprocessing

    tasks = plan([runs], tmp_path / "out")
    forked = concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("fork"))
    monkeypatch.setattr(batch, "convert_one", kill_worker)
    monkeypatch.setattr(batch, "_executor", lambda jobs, mpi: forked)
    report = run_plan(tasks, BatchOptions(jobs=2))
    assert report.exit_code == 1
    assert len(report.outcomes) == len(tasks)
    lost = [item for item in report.outcomes if item.status == "failed"]
    assert any("o2-spin" in item.source for item in lost)
    assert all("smaller jobs=N" in item.reason for item in lost)
    monkeypatch.undo()
    assert convert(runs, tmp_path / "out", jobs=1).exit_code == 0


def test_mpi(runs, tmp_path):
    tasks = plan([runs], tmp_path / "out")
    try:
        import mpi4py.MPI  # noqa: F401
    except (ImportError, RuntimeError):
        with pytest.raises(DependencyError, match=r"pip install 'dock-dft\[mpi\]'"):
            run_plan(tasks, BatchOptions(mpi=True))
        answer = samples.cli("convert", runs, "-o", tmp_path / "out", "--mpi")
        samples.refused(answer, "mpi4py", code=3)
        assert not (tmp_path / "out").exists()
    else:
        mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent))
        prefix = [mpiexec, "-n", "3"] if mpiexec else []
        command = [sys.executable, "-m", "dock", "convert", runs, "-o", tmp_path / "out", "--mpi"]
        done = subprocess.run(
            [*prefix, *map(str, command)], capture_output=True, check=False, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("5 done, 0 skipped, 0 failed") == 1
        convert(runs, tmp_path / "one")
        assert set(samples.listing(tmp_path / "out")) == set(samples.listing(tmp_path / "one"))


def test_workers_are_counted(runs, tmp_path):
    with pytest.raises(UsageError, match="jobs=N"):
        convert(runs, tmp_path / "out", jobs=0)


# --------------------------------------------------------------------------- interruptions


@pytest.fixture(scope="module")
def start():
    """Start a conversion in a process of its own."""
    with Nursery(CONVERSION) as nursery:
        yield partial(nursery.start, "convert", "-q")


@pytest.mark.parametrize("fresh", [True, False])
def test_killed_while_writing(tmp_path, start, fresh):
    """Whatever the moment, final names hold complete files and the rerun completes the set."""
    run = samples.run_folder(tmp_path / "run", "mos2")
    arguments = (run, "-o", tmp_path / "out")
    if not fresh:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "K_PATH").write_text("mine")
    clean = start(run, "-o", tmp_path / "clean")
    begin = time.monotonic()
    assert clean.end()[0] == 0
    whole = time.monotonic() - begin
    wanted = samples.listing(tmp_path / "clean")
    for fraction in (0.55, 0.7, 0.8, 0.88, 0.94):
        child = start(*arguments)
        time.sleep(fraction * whole)
        with contextlib.suppress(ProcessLookupError):  # where it has ended
            os.kill(child.pid, signal.SIGKILL)
        child.end()
        for name, content in samples.listing(tmp_path / "out").items():
            if name not in ("K_PATH", "info.json"):
                assert content == wanted[name], name
    assert start(*arguments).end()[0] == 0
    found = samples.listing(tmp_path / "out")
    assert {name for name in found if name != "K_PATH"} == set(wanted)
    for name, content in wanted.items():
        if name != "info.json":  # it has the command, and so the target's name
            assert found[name] == content
    assert found.get("K_PATH", b"mine") == b"mine"


@pytest.mark.parametrize("moved", range(1, 9))
def test_killed_between_two_files_of_the_hand_over(tmp_path, moved):
    """A target with other content gets its files one by one; the marker, first, tells whose."""
    run = samples.run_folder(tmp_path / "run", "h2o")
    convert(run, tmp_path / "out")
    whole = samples.listing(tmp_path / "out")
    for name in sorted(whole)[moved:]:
        (tmp_path / "out" / name).unlink()
    (tmp_path / "out" / "K_PATH").write_text("mine")
    report = convert(run, tmp_path / "out")
    assert report.exit_code == 0, report
    assert samples.listing(tmp_path / "out") == whole | {"K_PATH": b"mine"}


def test_two_processes_on_one_target(tmp_path, start):
    run = samples.run_folder(tmp_path / "run", "si")
    children = [start(run, "-o", tmp_path / "out") for _ in range(2)]
    answers = [child.end() for child in children]
    codes = sorted(code for code, _ in answers)
    assert codes in ([0, 0], [0, 2])  # the later one skips, or finds the files there
    for code, said in answers:
        assert "Traceback" not in said
        assert (code == 0) == ("exists already" not in said)
    assert dock.read(tmp_path / "out").require("H").entries.size == 4350
    assert samples.names(tmp_path) == ["out", "run"]
