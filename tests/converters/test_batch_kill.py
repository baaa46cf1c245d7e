"""Batches under fire: killed at any moment, two at once on one target, and under MPI."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import samples
from processes import CONVERSION, Child, Nursery

from dock.converters.batch import MARKER
from dock.io.files import folder_transaction

N_RUNS = 40
N_KILLS = 10
# The format is named: recognising it imports what no other part of these tests needs.
WORDS = ("convert", "-q", "--from", "siesta")


@pytest.fixture(scope="module")
def nursery():
    with Nursery(CONVERSION) as started:
        yield started


def start(*arguments, prefix=()):
    """Start the program itself: it starts others, of its own kind or under MPI."""
    environment = os.environ | {"PYTHONPATH": str(samples.ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "dock", *WORDS, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # the workers of a killed batch go with it
    )


def fork(nursery, *arguments):
    """Start a conversion in one process."""
    return nursery.start(*WORDS, *arguments, "-j", "1", group=True)


def ended(child):
    """Wait for a conversion; return its exit code and what it said."""
    if isinstance(child, Child):
        return child.end()
    out, err = child.communicate(timeout=240)
    return child.returncode, out + err


def finish(child):
    code, said = ended(child)
    assert "Traceback" not in said, said
    return code, said


def contents(folder):
    """Files below a folder; of info.json what does not name the command and the target."""
    found = samples.listing(folder)
    for name in list(found):
        if Path(name).name == "info.json":
            info = json.loads(found[name])
            info["dock"]["provenance"].pop("command", None)
            found[name] = json.dumps(info, sort_keys=True).encode()
    return found


@pytest.fixture(scope="module")
def set_of_runs(bundled, nursery, tmp_path_factory):
    """40 folders with one small SIESTA run each, and their clean conversion."""
    place = tmp_path_factory.mktemp("kill")
    for index in range(N_RUNS):
        shutil.copytree(bundled / "siesta" / "h2o_v0", place / "runs" / f"{index:03d}")
    code, said = finish(fork(nursery, place / "runs", "-o", place / "clean"))
    assert code == 0, said
    yield place, by_run(contents(place / "clean"))
    shutil.rmtree(place, ignore_errors=True)


def by_run(found):
    """Return the files of a batch's target by run and name; hidden folders are there, too."""
    runs = {}
    for path, data in found.items():
        run, _, name = path.partition("/")
        runs.setdefault(run, {})[name] = data
    return runs


def assert_complete_under_final_names(out, wanted):
    """Whatever stands under a final name must be whole; only hidden names may be half-written."""
    for folder in out.iterdir() if out.is_dir() else ():
        if folder.is_dir() and not folder.name.startswith("."):
            assert contents(folder) == wanted[folder.name], folder


def n_finished(out):
    return len(list(out.glob(f"*/{MARKER}")))


def n_named(out):
    """Return the number of final names, which is less work than looking for their markers."""
    return len(list(out.glob("[!.]*")))


def kill_at(child, out, n_runs, delay):
    """Kill a batch with SIGKILL a moment after it has finished so many runs."""
    while child.poll() is None and n_named(out) < n_runs:
        time.sleep(0.002)
    time.sleep(delay)
    with contextlib.suppress(ProcessLookupError):  # where it has ended
        os.killpg(child.pid, signal.SIGKILL)
    ended(child)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_at_random_moments_and_rerun(set_of_runs, nursery, jobs):
    """Killed at a random moment and run again, ten times out of ten."""
    place, wanted = set_of_runs
    begin = partial(fork, nursery) if jobs == 1 else partial(start, "-j", jobs)
    moments = random.Random(20261121)
    n_partial = 0
    for _ in range(N_KILLS // 2):
        out = place / f"out{jobs}"
        child = begin(place / "runs", "-o", out)
        kill_at(child, out, moments.randrange(N_RUNS * 3 // 4), moments.uniform(0, 0.02))
        assert_complete_under_final_names(out, wanted)
        n_partial += 0 < n_finished(out) < N_RUNS
        code, said = finish(begin(place / "runs", "-o", out))
        assert code == 0, said
        assert by_run(contents(out)) == wanted
        shutil.rmtree(out)
    assert n_partial >= 4, "no kill came while runs were being converted"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_remains_of_a_process_that_nobody_reaped_are_removed(tmp_path):
    """In a container without an init process a killed worker stays listed as a zombie."""
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    for _ in range(600):
        if Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.01)
    with folder_transaction(tmp_path / "out") as temporary:
        name = temporary.name.replace(f"-{os.getpid()}-", f"-{child.pid}-")
    shutil.rmtree(tmp_path / "out")
    (tmp_path / name).mkdir()
    with folder_transaction(tmp_path / "out") as temporary:
        assert [path.name for path in tmp_path.iterdir()] == [temporary.name]
    child.wait()


def test_two_batches_on_one_target(set_of_runs, nursery, tmp_path):
    """Both end; each says of a run that it is done, or that the other made it; all is whole."""
    place, wanted = set_of_runs
    runs = tmp_path / "runs"
    for index in range(30):
        shutil.copytree(place / "runs" / f"{index:03d}", runs / f"{index:03d}")
    children = [fork(nursery, runs, "-o", tmp_path / "out") for _ in range(2)]
    answers = [finish(child) for child in children]
    for code, said in answers:
        assert code in (0, 1), said
        assert code == 0 or "exists already" in said
    assert_complete_under_final_names(tmp_path / "out", wanted)
    code, said = finish(fork(nursery, runs, "-o", tmp_path / "out"))
    assert code == 0, said
    assert by_run(contents(tmp_path / "out")) == {run: wanted[run] for run in sorted(wanted)[:30]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "runs"]


def test_mpirun_gives_the_bytes_of_one_process(set_of_runs, tmp_path):
    pytest.importorskip("mpi4py", reason="mpi4py is not installed: pip install 'dock-dft[mpi]'")
    beside = Path(sys.executable).parent
    mpirun = shutil.which("mpirun", path=f"{beside}{os.pathsep}{os.environ['PATH']}")
    if mpirun is None:
        pytest.skip("no mpirun beside Python or in PATH: pip install 'dock-dft[mpi]'")
    place, wanted = set_of_runs
    runs = tmp_path / "runs"
    for index in range(8):
        shutil.copytree(place / "runs" / f"{index:03d}", runs / f"{index:03d}")
    child = start(runs, "-o", tmp_path / "out", "--mpi", prefix=[mpirun, "-n", "2"])
    code, said = finish(child)
    assert code == 0, said
    assert by_run(contents(tmp_path / "out")) == {run: wanted[run] for run in sorted(wanted)[:8]}
