"""The options of solvers, the same for every command: which one, a plan, parts, what is kept."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import samples
from part_solver import PartOnly

from dock.states import kept
from dock.states.choice import SOLVERS

SHORT = ("--path", "LGX", "--points", "5")
MESH = ("--mesh", "2", "2", "2")
COMMANDS = {
    "bands": ("bands", "si", *SHORT),
    "dos": ("dos", "si", *MESH, "--step", "0.5"),
    "fermi": ("fermi", "si", *MESH),
    "populations": ("populations", "si", *MESH),
    "unfold": ("unfold", "si", "--supercell", "1 1 1", *SHORT),
    "wavefunction": ("wavefunction", "si", "--bands", "4"),
}


@pytest.fixture
def si(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return samples.unified(tmp_path / "si")


@pytest.fixture
def part(monkeypatch):
    """Return the solver that gives parts alone, by the name ``part``."""
    solver = PartOnly()
    monkeypatch.setitem(SOLVERS, "part", lambda: solver)
    return solver


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(kept, "_PATIENCE", 0.0)


def test_a_window_of_a_sparse_solver_is_that_of_a_dense_one(si):
    """The level of the run lies in the bands: electrons move the zero to the middle of the gap."""
    info = json.loads((si / "info.json").read_text())
    (si / "info.json").write_text(json.dumps(info | {"fermi_energy_eV": -3.25}))
    asked = ("bands", si, "--path", "LG", "--points", 25, "--window", -2, 3, "-q", "--overwrite")
    found = {}
    for solver in ("dense", "sparse"):
        answer = samples.cli(*asked, "--solver", solver)
        assert answer.code == 0, answer.err
        content = json.loads((si / "band.json").read_text())
        assert content["fermi_source"] == "mid-gap"
        levels = np.array(content["energies_eV"], dtype=float) - content["fermi_level_eV"]
        found[solver] = np.sort(levels[(levels >= -2) & (levels <= 3)])
    np.testing.assert_allclose(found["sparse"], found["dense"], atol=1e-9)
    assert found["dense"].max() > 2.5


@pytest.mark.parametrize("name", COMMANDS)
class TestEveryCommand:
    def test_the_choice_is_said_once(self, si, name):
        answer = samples.cli(*COMMANDS[name])
        assert answer.code == 0
        assert answer.err.count("solver: dense because 10 orbitals") == 1

    def test_a_plan_makes_nothing(self, si, name, monkeypatch):
        def refuse(*args, **kwargs):
            raise AssertionError("solved for a plan")

        monkeypatch.setattr("dock.states.dense.Dense.solve", refuse)
        before = sorted(si.iterdir())
        content = json.loads(samples.cli(*COMMANDS[name], "--dry-run", "--json").out)
        assert content["solver"] == "dense"
        assert content["memory_bytes"] > 0
        assert content["n_problems"] >= 1
        assert sorted(si.iterdir()) == before


class TestOptions:
    def test_a_plan_in_words(self, si):
        text = samples.cli(*COMMANDS["bands"], "--dry-run")
        assert text.code == 0
        assert "solver: dense because" in text.out
        assert "8 eigenproblems to be solved" in text.out

    def test_quiet(self, si):
        assert samples.cli(*COMMANDS["fermi"], "-q").err == ""

    def test_an_unknown_solver(self, si):
        samples.refused(
            samples.cli(*COMMANDS["dos"], "--solver", "magic"), "no solver 'magic'", "dense"
        )

    def test_a_wrong_shard(self, si):
        answer = samples.cli(*COMMANDS["bands"], "--shard", "2/2")
        samples.refused(answer, "i/n with 0 ≤ i < n")

    def test_what_a_threshold_removes_reaches_the_solver(self, si, monkeypatch):
        from dock.states.dense import Dense

        solve, asked = Dense.solve, []

        def remember(self, problem, channel, k_frac, want):
            asked.append(want.removal)
            return solve(self, problem, channel, k_frac, want)

        monkeypatch.setattr(Dense, "solve", remember)
        words = ("wavefunction", "si", "--bands", "4", "--s-removal", "window")
        assert samples.cli(*words).code == 0
        fermi = ("fermi", "si", "--mesh", "1", "1", "1", "--s-threshold", "1e-4")
        samples.cli(*fermi, "--s-removal", "window")
        assert set(asked) == {"project", "window"}


class TestKept:
    def test_shards_are_gathered(self, si, at_once):
        assert samples.cli("bands", "si", *SHORT, "-o", "plain.h5").code == 0
        first = samples.cli("bands", "si", *SHORT, "--shard", "0/3")
        assert first.code == 0
        assert "shard 0/3 is done: 3 of 8 eigenproblems are kept in si/.band.h5.kept" in first.out
        assert not (si / "band.h5").exists()
        assert samples.cli("bands", "si", *SHORT, "--shard", "1/3").code == 0
        last = samples.cli("bands", "si", *SHORT, "--shard", "2/3", "--json")
        assert json.loads(last.out)["path"] == "si/.band.h5.kept"
        assert not (si / "band.h5").exists()
        answer = samples.cli("bands", "si", *SHORT)
        assert "solver:" not in answer.err
        assert answer.code == 0
        assert not (si / ".band.h5.kept").exists()
        with h5py.File("plain.h5") as one, h5py.File(si / "band.h5") as other:
            for name in one:
                np.testing.assert_array_equal(one[name][()], other[name][()])

    def test_they_stay_if_asked(self, si, at_once):
        assert samples.cli("bands", "si", *SHORT, "--keep").code == 0
        assert (si / ".band.h5.kept").is_dir()
        # Another path shares its k-points; the folder is nothing that check or info know of.
        more = samples.cli(
            "bands", "si", "--path", "LGXG", "--points", "5", "--dry-run", "-o", "b.h5"
        )
        assert "solved" in more.out
        assert ".band.h5.kept" not in samples.cli("info", "si").out
        again = samples.cli("bands", "si", *SHORT, "--overwrite", "--dry-run")
        assert "0 eigenproblems to be solved, 8 kept from before" in again.out

    def test_a_disk_that_is_full_in_the_middle(self, si, at_once, monkeypatch):
        class Full(io.FileIO):
            left = 1000

            def write(self, data):
                Full.left -= len(data)
                if Full.left < 0:
                    raise OSError(28, "No space left on device")
                return super().write(data)

        monkeypatch.setattr(kept.io, "FileIO", Full)
        answer = samples.cli("bands", "si", *SHORT, "-j", "1")
        samples.refused(answer, "the disk is full", "eigenproblems are kept in si/.band.h5.kept")
        assert not (si / "band.h5").exists()
        Full.left = 10**6
        solved = []
        solve = kept.Kept.put
        monkeypatch.setattr(
            kept.Kept, "put", lambda self, *args: solved.append(args) or solve(self, *args)
        )
        assert samples.cli("bands", "si", *SHORT).code == 0
        assert 0 < len(solved) < 8

    def test_memory_that_ends_in_the_middle(self, si, at_once, monkeypatch):
        from dock.states.dense import Dense

        solve, calls = Dense.solve, []

        def greedy(self, *args):
            calls.append(args)
            if len(calls) > 4:
                raise MemoryError
            return solve(self, *args)

        monkeypatch.setattr(Dense, "solve", greedy)
        answer = samples.cli("bands", "si", *SHORT, "-j", "1")
        samples.refused(answer, "not enough memory", "--jobs", "4 of 8 eigenproblems are kept")

    def test_states_of_another_hamiltonian_are_not_taken(self, si, at_once):
        assert samples.cli("bands", "si", *SHORT, "--shard", "0/2").code == 0
        samples.rewrite(si / "hamiltonian.h5", entries=lambda old: 1.01 * old)
        answer = samples.cli("bands", "si", *SHORT)
        assert answer.code == 0
        assert "k-points of a run with another H or S" in answer.err
        assert "9 k-points" in answer.err or "solver: dense" in answer.err
        assert (si / ".band.h5.kept").is_dir()


class TestPart:
    """Commands with a solver that gives a part of the spectrum alone."""

    def test_bands(self, si, part):
        answer = samples.cli(
            "bands", "si", *SHORT, "--states", "4", "--solver", "part", "--project", "l", "--json"
        )
        content = json.loads(answer.out)
        assert content["first_band"] == content["n_below"] + 1
        assert content["n_certified"] == 9
        assert content["certificate"] == "counted by the test"
        with h5py.File(si / "band.h5") as file:
            assert file.attrs["n_below"] == content["n_below"]
            assert file["states_counted"][()].tolist() == file["states_found"][()].tolist()
            assert file["projections"].shape[-1] == 2
        saved = json.loads((si / "band.json").read_text())
        assert np.shape(saved["residual_eV"]) == (1, 9)
        # A file with bands that not every k-point has is none that is damaged.
        assert samples.cli("check", "si").code == 0

    def test_fermi(self, si, part):
        some = json.loads(
            samples.cli("fermi", "si", *MESH, "--states", "4", "--solver", "part", "--json").out
        )
        every = json.loads(samples.cli("fermi", "si", *MESH, "--overwrite", "--json").out)
        assert some["fermi_level_eV"] == pytest.approx(every["fermi_level_eV"], abs=1e-9)
        assert some["gap_eV"] == pytest.approx(every["gap_eV"], abs=1e-9)
        assert some["vbm"]["band"] == every["vbm"]["band"] == 4
        assert some["band_energy_eV"] is None
        assert every["tail_occupation"] == 0

    def test_dos_and_populations_of_a_window(self, si, part):
        window = ("--window", "-3", "3", "--solver", "part")
        broad = ("--smearing", "gaussian", "--width", "0.1", "--step", "0.1")
        assert samples.cli("dos", "si", *MESH, *broad, *window, "--project", "l").code == 0
        answer = samples.cli("populations", "si", *MESH, *window, "--json")
        assert 0 < json.loads(answer.out)["n_electrons"] < 16
        samples.refused(
            samples.cli("populations", "si", *window, "--stored", "--overwrite"), "--window"
        )

    def test_wavefunction_nearest_to_an_energy(self, si, part, bundled):
        place = ("--k", "0.1", "0.2", "0.3", "--states", "2", "--solver", "part", "--json")
        answer = samples.cli("wavefunction", "si", *place)
        assert json.loads(answer.out)["n_states"] == 2
        samples.refused(samples.cli("wavefunction", "si", *place, "--mesh", "2", "2", "2"), "--k")
        samples.refused(
            samples.cli("wavefunction", "si", *place, "--plot", "a.png", "-o", "b.h5"), "--basis"
        )

    def test_unfold(self, si, part):
        answer = samples.cli(
            "unfold", "si", "--supercell", "1 1 1", *SHORT, "--window", "-3", "3",
            "--solver", "part", "--json",
        )  # fmt: skip
        assert json.loads(answer.out)["n_certified"] == 9


def test_targets_on_a_grid_are_looked_at_before_anything_is_computed(
    tmp_path, monkeypatch, bundled
):
    def compute(*_, **__):
        raise AssertionError("computed")

    graphene = bundled / "siesta" / "graphene"
    run = ("wavefunction", graphene, "--basis", graphene, "--grid", "6", "6", "8")
    target = tmp_path / "psi.cube"
    target.write_text("mine, and in nobody's way")
    (tmp_path / "psi_band5_density.cube").write_text("mine")
    monkeypatch.setattr("dock.post.wavefunction.states_on_grid", compute)
    samples.refused(samples.cli(*run, "-o", target), "psi_band5_density.cube", "--overwrite")
    monkeypatch.setattr("dock.post.wavefunction.coefficients", compute)
    samples.refused(samples.cli(*run, "--bands", "2-5", "-o", target), "psi_band5_density.cube")
    assert {path.name for path in tmp_path.iterdir()} == {"psi.cube", "psi_band5_density.cube"}


def test_a_wavefunction_is_drawn(tmp_path, monkeypatch, bundled):
    monkeypatch.chdir(tmp_path)
    graphene = bundled / "siesta" / "graphene"
    answer = samples.cli(
        "wavefunction", graphene, "--basis", graphene, "--grid", "6", "6", "8", "--states", "1",
        "--plot", "psi.png", "-o", "psi.h5",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert Path("psi.png").read_bytes().startswith(b"\x89PNG")


class TestProcesses:
    @pytest.fixture
    def mpirun(self):
        pytest.importorskip("mpi4py")
        place = Path(sys.executable).with_name("mpiexec")
        if not place.exists():
            pytest.skip("no mpiexec beside this Python")
        return place

    def run(self, mpirun, *words):
        command = [str(mpirun), "-n", "2", sys.executable, "-m", "dock", *map(str, words)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(samples.ROOT)}
        return subprocess.run(
            command, capture_output=True, text=True, timeout=120, env=environment, check=False
        )

    def test_two_processes_give_what_one_gives(self, si, mpirun):
        assert samples.cli("bands", "si", *SHORT, "-o", "one.h5").code == 0
        answer = self.run(mpirun, "bands", "si", *SHORT, "--mpi", "-o", "two.h5")
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout.splitlines()[-2:] == ["two.h5", "two.json"]
        assert answer.stderr.count("solver:") == 1
        with h5py.File("one.h5") as one, h5py.File("two.h5") as two:
            np.testing.assert_array_equal(one["band_data"][()], two["band_data"][()])
        assert not Path(".two.h5.kept").exists()

    def test_what_is_wrong_for_all_is_said_once(self, si, mpirun):
        answer = self.run(mpirun, "bands", "nothing", "--mpi")
        assert answer.returncode == 2
        assert answer.stderr.count("dock: nothing") == 1
