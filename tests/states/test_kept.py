"""States that are kept: the same to the last bit, and safe whatever ends the process."""

import errno
import io
import os
import signal
import struct
import time

import numpy as np
import pytest
import samples

import dock
from dock.errors import OutputError, UsageError
from dock.states import kept as module
from dock.states.dense import Dense
from dock.states.job import Job, PartDone, Planned
from dock.states.kept import Kept, Mark, remove
from dock.states.problem import Problem
from dock.states.solver import Certificate, Eigenstates, Want
from dock.states.stream import states

MARK = Mark("0123456789abcdef", "aa", "a test")
K = np.array([1 / 3, 0.0, -0.5])


@pytest.fixture
def problem():
    return Problem.of(dock.read(samples.OPENMX / "si"))


@pytest.fixture
def points(rng):
    return rng.uniform(-1, 1, (6, 3))


def a_result(rng, n_below=7):
    vectors = rng.normal(size=(5, 2)) + 1j * rng.normal(size=(5, 2))
    proof = Certificate("counted", 2, 1.5e-9)
    return Eigenstates(rng.normal(size=2), np.asfortranarray(vectors), n_below, 0.1, 3, proof)


def same(one, other):
    """Assert that two results agree to the last bit."""
    np.testing.assert_array_equal(one.energies, other.energies)
    assert (one.vectors is None) == (other.vectors is None)
    if one.vectors is not None:
        np.testing.assert_array_equal(one.vectors, other.vectors)
        assert one.vectors.flags.f_contiguous == other.vectors.flags.f_contiguous
    assert (one.n_below, one.n_removed) == (other.n_below, other.n_removed)
    assert one.smallest_overlap == other.smallest_overlap
    assert one.certificate == other.certificate


class TestStore:
    def test_what_comes_back_is_what_went_in(self, tmp_path, rng):
        store, given = Kept(tmp_path / "k", MARK, at_once=True), a_result(rng)
        store.put(1, K, given)
        store.put(0, K, Eigenstates(np.arange(3.0)))
        store.close()
        again = Kept(tmp_path / "k", MARK)
        same(again.get(1, K), given)
        same(again.get(0, -0.0 * K + K), Eigenstates(np.arange(3.0)))
        assert again.get(0, 2 * K) is None
        assert (1, K) in again
        assert len(again) == 2

    def test_minus_zero_is_zero(self, tmp_path, rng):
        store = Kept(tmp_path, MARK, at_once=True)
        store.put(0, np.array([0.0, 0.5, 0.0]), a_result(rng))
        store.refresh()
        assert (0, np.array([-0.0, 0.5, -0.0])) in store
        store.close()

    def test_a_record_that_was_cut_is_left_out(self, tmp_path, rng):
        store = Kept(tmp_path, MARK, at_once=True)
        for number in range(3):
            store.put(0, K + number, a_result(rng, number))
        store.close()
        (file,) = tmp_path.iterdir()
        whole = file.read_bytes()
        for size in (len(whole) - 1, len(whole) - 300, 63, 5, 0):
            file.write_bytes(whole[:size])
            left = Kept(tmp_path, MARK)
            assert len(left) == (2 if size > 300 else 0)
            assert (0, K + 2) not in left

    def test_a_damaged_record_and_what_follows_is_computed_again(self, tmp_path, rng, caplog):
        store = Kept(tmp_path, MARK, at_once=True)
        for number in range(3):
            store.put(0, K + number, a_result(rng, number))
        store.close()
        (file,) = tmp_path.iterdir()
        whole = bytearray(file.read_bytes())
        for place in range(0, len(whole), 97):
            caplog.clear()
            hurt = bytearray(whole)
            hurt[place] ^= 255
            file.write_bytes(hurt)
            left = Kept(tmp_path, MARK)
            # A length that leads beyond the end looks as if the process had been killed there.
            assert len(left) < 3
            for number in range(len(left)):
                assert left.get(0, K + number).n_below == number

    def test_a_store_of_another_run_is_said_and_stays(self, tmp_path, rng, caplog):
        other = Mark("fedcba9876543210", "bb")
        for mark in (MARK, other):
            store = Kept(tmp_path, mark, at_once=True)
            store.put(0, K, a_result(rng))
            store.close()
        store = Kept(tmp_path, MARK)
        assert "another H or S" in caplog.text
        assert len(store) == 1
        remove(tmp_path, {MARK.problem})
        assert [file.name.startswith(other.problem) for file in tmp_path.iterdir()] == [True]
        remove(tmp_path, {other.problem})
        assert not tmp_path.exists()

    def test_a_short_run_leaves_nothing(self, tmp_path, rng):
        store = Kept(tmp_path / "k", MARK)
        store.put(0, K, a_result(rng))
        assert store.has_some
        store.close()
        assert not (tmp_path / "k").exists()

    def test_a_longer_run_writes_what_waited(self, tmp_path, rng, monkeypatch):
        store = Kept(tmp_path / "k", MARK)
        store.put(0, K, a_result(rng))
        monkeypatch.setattr(module.time, "monotonic", lambda: 1e9)
        store.put(0, 2 * K, a_result(rng))
        store.put(0, 3 * K, a_result(rng))
        store.close()
        assert len(Kept(tmp_path / "k", MARK)) == 3

    def test_a_full_disk_leaves_what_is_written(self, tmp_path, rng, monkeypatch):
        class Full(io.FileIO):
            left = 10**6  # bytes

            def write(self, data):
                size = min(len(data), Full.left)
                Full.left -= size
                if not size:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return super().write(data[:size])

        monkeypatch.setattr(module.io, "FileIO", Full)
        store = Kept(tmp_path / "k", MARK, at_once=True)
        store.put(0, K, a_result(rng))
        Full.left = 100  # room for a part of a record
        with pytest.raises(OutputError, match="the disk is full"):
            store.put(0, 2 * K, a_result(rng))
        Full.left = 10**6
        store.put(0, 9 * K, a_result(rng))
        store.close()
        again = Kept(tmp_path / "k", MARK)
        assert (0, K) in again
        assert (0, 9 * K) in again

    def test_a_place_that_cannot_be_written(self, tmp_path, rng):
        (tmp_path / "file").write_text("")
        store = Kept(tmp_path / "file" / "k", MARK, at_once=True)
        with pytest.raises(OutputError, match="cannot be written"):
            store.put(0, K, a_result(rng))

    def test_the_mark_knows_the_question(self, problem):
        marks = {
            Mark.of(problem, want).name
            for want in (
                Want(),
                Want(vectors=True),
                Want(window=(0, 1)),
                Want(window=(0, 1 + 1e-15)),
                Want(nearest=(4, 0.0)),
                Want(s_threshold=1e-3),
            )
        }
        assert len(marks) == 6
        moved = Problem(problem.hamiltonian * (1 + 1e-15), problem.overlap)
        assert Mark.of(moved, Want()).problem != Mark.of(problem, Want()).problem


class Counting(Dense):
    """Counts what it solves."""

    def __init__(self):
        super().__init__()
        object.__setattr__(self, "seen", [])

    def solve(self, problem, channel, k_frac, want):
        self.seen.append((channel, tuple(k_frac)))
        return super().solve(problem, channel, k_frac, want)


class TestStream:
    @pytest.fixture(autouse=True)
    def _at_once(self, monkeypatch):
        monkeypatch.setattr(module, "_PATIENCE", 0.0)

    @pytest.mark.parametrize("want", [Want(), Want(vectors=True, window=(-9.0, 3.0))], ids=str)
    def test_a_rerun_does_what_is_missing(self, problem, points, tmp_path, want):
        plain = list(states(problem, points, want))
        job = Job(Counting(), tmp_path / "k")
        first = list(states(problem, points[:4], want, solver=job))
        assert len(job.solver.seen) == 4
        every = list(states(problem, points, want, solver=job))
        assert len(job.solver.seen) == 6
        for one, other in zip([*first, *every], [*plain[:4], *plain], strict=True):
            assert (one.channel, one.number) == (other.channel, other.number)
            same(one.states, other.states)
        job.clear()
        assert not (tmp_path / "k").exists()

    def test_vectors_of_whole_spectra_are_not_kept(self, problem, points, tmp_path):
        list(states(problem, points, Want(vectors=True), solver=Job("dense", tmp_path / "k")))
        assert not (tmp_path / "k").exists()

    def test_shards(self, points, tmp_path):
        problem = Problem.of(dock.read(samples.OPENMX / "o2-spin"))
        points = points * 0
        plain = list(states(problem, points[:1]))
        jobs = [Job(Counting(), tmp_path, (number, 2)) for number in range(2)]
        with pytest.raises(PartDone, match=r"shard 0/2 is done: 1 of 2"):
            list(states(problem, points[:1], solver=jobs[0]))
        found = list(states(problem, points[:1], solver=jobs[1]))
        assert [len(job.solver.seen) for job in jobs] == [1, 1]
        for one, other in zip(found, plain, strict=True):
            same(one.states, other.states)

    def test_a_shard_needs_a_folder_and_a_number(self, tmp_path):
        with pytest.raises(UsageError, match="needs a folder"):
            Job("dense", None, (0, 2))
        with pytest.raises(UsageError, match="does not exist"):
            Job("dense", tmp_path, (2, 2))

    def test_a_plan_solves_nothing(self, problem, points, tmp_path):
        counting = Counting()
        with pytest.raises(Planned, match="6 eigenproblems") as planned:
            list(states(problem, points, solver=Job(counting, tmp_path, dry_run=True)))
        assert planned.value.facts["n_problems"] == 6
        list(states(problem, points[:2], solver=Job(counting, tmp_path)))
        with pytest.raises(Planned, match="4 eigenproblems to be solved, 2 kept"):
            list(states(problem, points, solver=Job(counting, tmp_path, dry_run=True)))
        with pytest.raises(Planned, match="all is kept"):
            list(states(problem, points[:2], solver=Job(counting, tmp_path, dry_run=True)))
        assert len(counting.seen) == 2

    def test_an_error_says_what_is_not_lost(self, problem, points, tmp_path):
        class Greedy(Counting):
            def solve(self, problem, channel, k_frac, want):
                if len(self.seen) == 3:
                    raise MemoryError
                return super().solve(problem, channel, k_frac, want)

        with pytest.raises(dock.errors.SolverError, match="not enough memory") as caught:
            list(states(problem, points, solver=Job(Greedy(), tmp_path / "k"), jobs=1))
        assert "3 of 6 eigenproblems are kept" in caught.value.__notes__[-1]
        job = Job(Counting(), tmp_path / "k")
        list(states(problem, points, solver=job))
        assert len(job.solver.seen) == 3


class TestKilled:
    """A process that is killed ten times, at times within the writing of a record."""

    def killed(self, problem, points, folder, after, cut):
        """Solve in a child that SIGKILL ends after some k-points; it may cut the last record."""

        class Deadly(Dense):
            left = after

            def solve(self, problem, channel, k_frac, want):
                if Deadly.left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                Deadly.left -= 1
                return super().solve(problem, channel, k_frac, want)

        class Cut(io.FileIO):
            def write(self, data):
                if Deadly.left == 0 and cut:
                    super().write(data[: len(data) * cut // 100])
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().write(data)

        child = os.fork()
        if child == 0:  # pragma: no cover - it is killed
            module.io.FileIO = Cut
            module._PATIENCE = 0.0
            list(states(problem, points, Want(), solver=Job(Deadly(), folder), jobs=1))
            os._exit(0)
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.WTERMSIG(status)
            time.sleep(0.005)
        os.kill(child, signal.SIGKILL)
        pytest.fail("the child hangs")

    def test_the_result_is_that_of_an_undisturbed_run(self, problem, rng, tmp_path):
        points = rng.uniform(-1, 1, (24, 3))
        plain = list(states(problem, points))
        for number in range(10):
            cut = (0, 3, 50, 99)[number % 4]
            signal_of = self.killed(problem, points, tmp_path / "k", 2, cut)
            assert signal_of == signal.SIGKILL
        job = Job(Counting(), tmp_path / "k")
        found = list(states(problem, points, solver=job, jobs=1))
        # Two k-points before each kill, but for the record that was cut.
        assert len(job.solver.seen) == 24 - sum(2 - (number % 4 > 0) for number in range(10))
        for one, other in zip(found, plain, strict=True):
            same(one.states, other.states)

    def test_heads_are_what_the_page_says(self, tmp_path, rng):
        store = Kept(tmp_path, MARK, at_once=True)
        store.put(1, K, a_result(rng))
        store.close()
        (file,) = tmp_path.iterdir()
        data = file.read_bytes()
        magic, length, _, channel = struct.unpack_from("<8sQ16sq", data)
        assert (magic, channel) == (b"dockkep2", -1)
        assert b"a test" in data[64 : 64 + length]
