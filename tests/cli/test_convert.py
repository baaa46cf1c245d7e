"""``dock convert``: what a user types, and every way in which it can go wrong."""

import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import samples
from hypothesis import given, settings, strategies as st

import dock
from dock import hdf5
from dock.converters.openmx.scfout import ScfoutFile

H5 = ["density_matrix.h5", "gradient_matrix.h5", "hamiltonian.h5", "overlap.h5"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return samples.run_folder(tmp_path / "run")


class TestOptions:
    def test_here_to_the_default_folder(self, run, monkeypatch):
        monkeypatch.chdir(run)
        answer = samples.cli("convert", "--from", "openmx")
        assert answer.code == 0
        assert samples.names(run / "deeph") == sorted(
            [*H5, "position_matrix.h5", "POSCAR", "info.json", ".dock.json"]
        )
        assert answer.out.splitlines()[-1] == "deeph/info.json"
        assert samples.cli("convert", "--from", "openmx").out.endswith("nothing to do\n")

    def test_what_was_recognised_is_said(self, run):
        assert "recognised: openmx" in samples.cli("convert", run).err
        assert samples.cli("convert", run, "-o", "b", "-q").err == ""
        assert "recognised" not in samples.cli("convert", run, "-o", "c", "--from", "openmx").err

    def test_matrices_and_precision(self, run):
        assert samples.cli("convert", run, "--matrices", "H, S", "--single-precision").code == 0
        calc = dock.read("deeph")
        assert set(calc.available) == {"overlap", "hamiltonian"}
        assert calc.require("H").entries.dtype == np.float32
        samples.refused(samples.cli("convert", run, "-o", "x", "--matrices", "H,EDM"), "no energy")
        samples.refused(samples.cli("convert", run, "-o", "x", "--matrices", "Q"), "'Q'")
        assert not Path("x").exists()

    def test_list_on_standard_input(self, run):
        samples.run_folder(Path("two"), "h2o")
        answer = samples.cli("convert", "-", "-o", "out", stdin=f"{run}\n\n two \n")
        assert answer.code == 0, answer
        assert samples.names(Path("out")) == ["run", "two"]
        samples.refused(samples.cli("convert", "-", stdin=""), "run")

    def test_dry_run_writes_nothing(self, run):
        before = samples.listing(Path())
        answer = samples.cli("convert", run, "-o", "out", "--dry-run")
        assert answer.code == 0
        assert str(run / "si.scfout") in answer.out
        assert samples.listing(Path()) == before
        row = json.loads(samples.cli("convert", run, "--dry-run", "--json").out)
        assert row == {
            "run": str(run / "si.scfout"), "from": "openmx", "to": "deeph", "target": "deeph"
        }  # fmt: skip

    def test_overwrite_and_no_resume(self, run):
        assert samples.cli("convert", run, "-o", "out").code == 0
        first = samples.listing(Path("out"))
        samples.refused(samples.cli("convert", run, "-o", "out", "--no-resume"), "--overwrite")
        assert samples.listing(Path("out")) == first
        (Path("out") / "K_PATH").write_text("mine")
        (Path("out") / "overlap.h5").write_bytes(b"x")
        answer = samples.cli("convert", run, "-o", "out", "--overwrite")
        assert answer.code == 0
        again = samples.listing(Path("out"))
        assert again.pop("K_PATH") == b"mine"
        assert {**again, "info.json": 0} == {**first, "info.json": 0}

    def test_json_report(self, run):
        (Path("bad") / "x").mkdir(parents=True)
        (Path("bad") / "x" / "x.scfout").write_bytes(b"1")
        done = json.loads(samples.cli("convert", run, "--json").out)
        assert (done["status"], done["reason"]) == ("done", "")
        assert "deeph/POSCAR" in done["files"]
        answer = samples.cli("convert", run, "bad/x", "-o", "out", "--json")
        assert answer.code == 1
        rows = [json.loads(line) for line in answer.out.splitlines()]
        assert [row["status"] for row in rows] == ["done", "failed"]
        assert "failed.jsonl" in answer.err

    def test_many_with_jobs_and_shards(self, run):
        for name in ("h2o", "o2-spin"):
            samples.run_folder(Path("runs") / name, name)
        assert samples.cli("convert", "runs", "-o", "one", "--shard", "0/2", "-q").code == 0
        assert samples.names(Path("one")) == ["h2o"]
        answer = samples.cli("convert", "runs", "-o", "one", "-j", "2")
        assert "1 done, 1 skipped, 0 failed" in answer.out
        samples.refused(samples.cli("convert", "runs", "-o", "one", "--shard", "2/2"), "--shard")
        samples.refused(samples.cli("convert", "runs", "-o", "one", "-j", "0"), "--jobs")

    def test_many_files_are_summed_up(self, run):
        """A format that writes a file for each lattice vector does not fill the screen."""
        answer = samples.cli("convert", run, "--to", "npz", "-o", "out", "--matrices", "H,S")
        n_files = len(samples.names(Path("out"))) - 1  # .dock.json
        assert n_files > 12
        assert answer.out == f"out: {n_files} files\n"
        row = json.loads(
            samples.cli("convert", run, "--to", "npz", "-o", "b", "--matrices", "S", "--json").out
        )
        assert len(row["files"]) > 12  # a script gets all names

    def test_lossy(self, run):
        samples.refused(
            samples.cli("convert", run, "--to", "openmx-restart", "--set", "grid=1,1,1"),
            "cannot hold the position, gradient",
        )
        answer = samples.cli(
            "convert", run, "--to", "openmx-restart", "--set", "grid=1,1,1", "--allow-lossy"
        )
        assert answer.code == 0, answer

    @pytest.mark.shared
    def test_basis(self, run, shared):
        assert samples.cli("convert", run, "--basis", shared / "public/openmx/pao").code == 0
        answer = samples.cli("convert", run, "-o", "x", "--basis", run)
        samples.refused(answer, "Si7.0.pao")

    def test_the_command_is_recorded_without_folders_of_the_machine(self, run):
        target = run.parent / "a b"
        for extra in ((), ("--to", "deeph-legacy", "--matrices", "S,r", "--overwrite")):
            assert samples.cli("convert", run, "-o", target, *extra).code == 0
            text = (target / "info.json").read_text()
            command = " ".join(["dock convert run -o a b", *extra])
            assert json.loads(text)["dock"]["provenance"]["command"] == command
            assert str(run.parent) not in text


class TestBadInput:
    """Exit code 2, a sentence with the file's name, and the folder as it was before."""

    def refuse(self, path, *words, where=None):
        before = samples.listing(Path())
        folders = sorted(str(item) for item in Path().rglob("*") if item.is_dir())
        answer = samples.cli("convert", path, "-o", "out", "--from", "openmx")
        samples.refused(answer, where or Path(path).name, *words)
        assert samples.listing(Path()) == before
        assert folders == sorted(str(item) for item in Path().rglob("*") if item.is_dir())

    @pytest.mark.parametrize(
        "content", [b"", b"\0", b"\0" * 10_000, b"GIF89a" * 999, b"\x89HDF\r\n"]
    )
    def test_empty_and_foreign(self, run, content):
        (run / "si.scfout").write_bytes(content)
        self.refuse(run / "si.scfout")

    @pytest.mark.parametrize("share", [0.001, 0.01, 0.3, 0.5, 0.9, 0.999])
    def test_cut(self, run, share):
        path = run / "si.scfout"
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])
        self.refuse(path, "bytes")

    def test_counts_that_contradict_the_size(self, run):
        path = run / "si.scfout"
        data = path.read_bytes()
        for at, value in ((0, 1_000_000), (0, -2), (0, 0), (20, 2**31 - 1), (24, 10**6), (4, 2)):
            spoiled = bytearray(data)
            spoiled[at : at + 4] = int(value).to_bytes(4, "little", signed=True)
            path.write_bytes(spoiled)
            self.refuse(path)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_values_that_are_not_finite(self, run, value):
        path = run / "si.scfout"
        file = ScfoutFile.open(path)
        data = path.read_bytes()
        sections = ("hamiltonian", "overlap", "density")
        for needle in [file.read(section)[0, 5:8].tobytes() for section in sections]:
            assert data.count(needle) >= 1
            path.write_bytes(data.replace(needle, np.array([value] * 3).tobytes(), 1))
            self.refuse(path)
            path.write_bytes(data)

    def test_two_in_one_folder(self, run):
        shutil.copy(run / "si.scfout", run / "b.scfout")
        self.refuse(run, "b.scfout, si.scfout")

    def test_no_such_input(self, run):
        self.refuse("nothing", "no such file")
        self.refuse("nothing*", "no such file")


@settings(max_examples=60)
@given(st.sampled_from(["h2o", "o2-nc-soc", "h2o-v38"]), st.integers(0, 2**40), st.integers(0, 7))
def test_a_flipped_bit_is_a_message_or_a_number(tmp_path_factory, system, place, bit):
    folder = tmp_path_factory.mktemp("flip")
    content = bytearray((samples.OPENMX / system / f"{system}.scfout").read_bytes())
    content[place % min(len(content), 6000)] ^= 1 << bit
    path = folder / "x.scfout"
    path.write_bytes(content)
    answer = samples.cli("convert", path, "-o", folder / "out", "-q")
    if answer.code == 0:
        assert samples.names(folder) == ["out", "x.scfout"]
    else:
        samples.refused(answer, "x.scfout")
        assert samples.names(folder) == ["x.scfout"]


class TestTarget:
    def test_exists(self, run):
        Path("out").mkdir()
        (Path("out") / "info.json").write_text("mine")
        samples.refused(samples.cli("convert", run, "-o", "out"), "out", "info.json", "--overwrite")
        assert samples.listing(Path("out")) == {"info.json": b"mine"}

    def test_is_a_file(self, run):
        Path("out").write_text("mine")
        samples.refused(samples.cli("convert", run, "-o", "out"), "out", "a file stands")
        samples.refused(samples.cli("convert", run, "-o", "out/deeper"), "out")
        assert Path("out").read_text() == "mine"

    @pytest.mark.skipif(not Path("/proc/version").exists(), reason="a file system nobody writes to")
    def test_where_nobody_can_write(self, run):
        samples.refused(samples.cli("convert", run, "-o", "/proc/x/y"), "/proc/x")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_read_only(self, run):
        Path("closed").mkdir(mode=0o500)
        samples.refused(samples.cli("convert", run, "-o", "closed/x"), "closed", "permission")

    def test_empty_folder_and_the_current_one(self, run, monkeypatch):
        Path("out").mkdir()
        assert samples.cli("convert", run, "-o", "out").code == 0
        Path("here").mkdir()
        monkeypatch.chdir("here")
        assert samples.cli("convert", run, "-o", ".").code == 0
        assert samples.names(Path())[0] == ".dock.json"
        assert samples.names(Path.cwd().parent) == ["here", "out", "run"]

    @pytest.mark.parametrize("after", [0, 1, 5, 20])
    def test_full_disk(self, run, monkeypatch, after):
        write, calls = hdf5._Guarded.write, iter(range(1000))

        def full(stream, data):
            if next(calls) >= after:
                stream.refusal = OSError(errno.ENOSPC, "No space left on device")
            return write(stream, data)

        monkeypatch.setattr(hdf5._Guarded, "write", full)
        samples.refused(samples.cli("convert", run, "-o", "out"), "out", "the disk is full")
        assert samples.names(Path()) == ["run"]

    @pytest.mark.parametrize("name", ["POSCAR", "info.json"])
    def test_full_disk_for_the_text_files(self, run, monkeypatch, name):
        write = Path.write_text

        def full(path, *arguments, **options):
            if name in path.name:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(path, *arguments, **options)

        monkeypatch.setattr(Path, "write_text", full)
        samples.refused(samples.cli("convert", run, "-o", "out"), "out", "the disk is full")
        assert samples.names(Path()) == ["run"]

    @pytest.mark.parametrize("limit", [0, 100, 3000, 20_000, 60_000, 100_000])
    def test_a_file_that_cannot_grow(self, run, limit):
        """The real thing: the system refuses bytes beyond a limit, wherever HDF5 happens to be."""

        def restrict():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        command = [sys.executable, "-B", "-m", "dock", "convert", str(run), "-o", "out"]
        environment = os.environ | {"NUMBA_DISABLE_JIT": "0", "PYTHONPATH": str(samples.ROOT)}
        done = subprocess.run(
            command,
            preexec_fn=restrict,
            capture_output=True,
            check=False,
            text=True,
            env=environment,
        )
        assert done.returncode == 2, done
        assert "Traceback" not in done.stderr
        assert "out" in done.stderr
        assert samples.names(Path()) == ["run"]

    def test_input_and_output_in_one_folder(self, run):
        with contextlib.chdir(run):
            assert samples.cli("convert", ".", "-o", ".").code == 0
            assert {"si.scfout", "POSCAR", "info.json"} <= set(samples.names(Path()))
            # From now on the folder is a unified one too; the run is still found by its name.
            assert samples.cli("info", "si.scfout").code == 0
