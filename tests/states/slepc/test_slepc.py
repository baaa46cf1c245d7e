"""SLEPc under MPI against dense solutions: one process, two, and what each of them is refused."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import samples

import dock
from dock.errors import ConvergenceError, DependencyError, LayoutError, SolverError, UsageError
from dock.states import dense
from dock.states.problem import Problem
from dock.states.ranks import Ranks, Team
from dock.states.slepc import factors, library, search
from dock.states.slepc.rows import Source, SpreadPencil, _share
from dock.states.slepc.solver import Slepc
from dock.states.solver import Want

SPREAD = Path(__file__).with_name("spread.py")
K_POINTS = ((0.13, 0.21, 0.07), (0.0, 0.0, 0.0))
RUNS = ("graphene", "o2_collinear", "o2_soc")
SAME = 1e-9  # eV between one process and two
DENSE = 1e-8  # eV from LAPACK, which reads one triangle of an H that is Hermitian to 1e-8


def missing():
    """Return why SLEPc cannot be run here, or nothing."""
    for name in ("petsc4py", "slepc4py", "mpi4py"):
        if importlib.util.find_spec(name) is None:
            return f"no {name}: see docs/howto/slepc.md"
    return "" if mpirun() else "no mpirun of Open MPI in PATH"


def mpirun():
    for name in ("mpirun.openmpi", "mpirun"):
        found = shutil.which(name)
        # Debian's mpirun.openmpi calls itself OpenRTE.
        if found and any(word in samples_version(found) for word in ("Open MPI", "OpenRTE")):
            return found
    return None


def samples_version(program):
    return subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=False
    ).stdout


needs_slepc = pytest.mark.skipif(bool(missing()), reason=missing())


def run(out, folders, processes, **environment):
    """Run the script; return its JSON, or the sentence of its error."""
    command = [sys.executable, SPREAD, out, *folders]
    env = {
        **os.environ,
        **environment,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "OMPI_MCA_mpi_yield_when_idle": "1",
        "PYTHONPATH": os.pathsep.join([str(samples.ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    if processes > 1:
        command = [mpirun(), "-n", str(processes), *command]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    text = Path(out).read_text()
    return json.loads(text) if text.startswith("{") else text


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("runs")
    for name in RUNS[1:]:
        shutil.copytree(samples.ROOT / "fixtures" / "deeph" / name, base / name)
    dock.write(dock.read(samples.ROOT / "fixtures" / "siesta" / "graphene"), base / RUNS[0])
    return [base / name for name in RUNS]


@pytest.fixture(scope="module")
def answers(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("answers")
    return {number: (run(out / str(number), folders, number), out) for number in (1, 2)}


def arrays(answers, processes, number):
    return np.load(answers[processes][1] / f"{processes}-{number}.npz")


@needs_slepc
@pytest.mark.slepc
def test_the_states_are_those_of_lapack_and_certified(folders, answers):
    for number, folder in enumerate(folders):
        problem = Problem.of(dock.read(folder))
        said = answers[2][0][str(folder)]
        found = arrays(answers, 2, number)
        assert not said["held_all"]
        assert len(said["memory_bytes"]) == 2
        assert min(said["memory_bytes"]) > 1e7
        for label, n_below, counted, residual in said["facts"]:
            channel, k, name = label.split("-")
            H, S = problem.dense(int(channel), np.array(K_POINTS[int(k)]))
            exact = dense.solve(H, S).energies
            energies = found[label]
            assert counted == len(energies)
            assert residual < 1e-6
            part = exact[n_below : n_below + len(energies)]
            np.testing.assert_allclose(energies, part, atol=DENSE)
            if name == "empty":
                assert (n_below, len(energies)) == (0, 0)
            if name == "bands":
                assert (n_below, len(energies)) == (2, 3)
            if name == "window":
                around = dock.read(folder).fermi_level or 0.0
                wanted = (exact >= around - 6.0) & (exact <= around + 3.0)
                assert wanted.sum() == len(energies) > 0
            if name == "nearest":
                assert len(energies) >= 5
                x = found[f"{label}-vectors"]
                gram = x.conj().T @ S @ x
                np.testing.assert_allclose(gram, np.eye(len(energies)), atol=1e-7)
                assert np.abs(H @ x - S @ x * energies).max() < 1e-6


@needs_slepc
@pytest.mark.slepc
def test_two_processes_give_what_one_gives(folders, answers):
    for number in range(len(folders)):
        one, two = (arrays(answers, processes, number) for processes in (1, 2))
        assert set(one.files) == set(two.files)
        for label in one.files:
            if not label.endswith("vectors"):
                np.testing.assert_allclose(one[label], two[label], atol=SAME)
    one, two = (answers[processes][0] for processes in (1, 2))
    for folder in map(str, folders):
        for mine, other in zip(one[folder]["facts"], two[folder]["facts"], strict=True):
            assert mine[:3] == other[:3]


@needs_slepc
@pytest.mark.slepc
def test_processes_that_see_different_files_are_refused(folders, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    for place in (here, there):
        shutil.copytree(folders[2], place / "run")
    import h5py

    with h5py.File(there / "run" / "overlap.h5", "r+") as file:
        file["entries"][0] += 1e-9
    said = run(tmp_path / "out", ["run"], 2, DOCK_RANK_0=str(here), DOCK_RANK_1=str(there))
    assert said.startswith("UsageError: ")
    assert "not those of the first" in said


def test_what_is_no_part_of_the_spectrum_is_refused(monkeypatch, folders):
    monkeypatch.setattr(library.importlib.util, "find_spec", lambda name: name)
    solver = Slepc(Ranks())
    problem = Problem.of(dock.read(folders[0]))
    for want in (Want(), Want(vectors=True)):
        with pytest.raises(UsageError, match="a part of the states"):
            solver.plan(problem, want, 1, 1)
    with pytest.raises(UsageError, match="removes no orbitals"):
        solver.solve(problem, 0, np.zeros(3), Want(window=(0.0, 1.0), s_threshold=1e-5))
    plan = solver.plan(problem, Want(window=(0.0, 1.0)), 5, 2)
    assert (plan.solver, plan.workers) == ("slepc", 1)


def test_without_slepc4py_the_line_to_install_it(monkeypatch):
    monkeypatch.setattr(library.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"petsc4py.*conda install") as caught:
        Slepc(Ranks())
    assert caught.value.exit_code == 3


def test_complex_matrices_need_a_complex_build(folders):
    source = Source.of(Problem.of(dock.read(folders[0])), 1)
    pencil = SpreadPencil(Team(), source)
    with pytest.raises(DependencyError, match="complex at this k-point") as caught:
        pencil.matrices(types.SimpleNamespace(is_complex=False), 0, np.array(K_POINTS[0]))
    assert caught.value.exit_code == 3


def test_rows_of_all_processes_are_the_whole(folders):
    for folder in folders:
        problem = Problem.of(dock.read(folder))
        source = Source.of(problem, 3)
        shares = [_share(source.basis, rank, 3) for rank in range(3)]
        assert shares[0][0] == 0
        assert [stop for _, stop in shares[:-1]] == [first for first, _ in shares[1:]]
        assert shares[-1][1] == source.basis.n_atoms
        whole = problem.hamiltonian
        parts = [source.rows[0].rows(first, stop) for first, stop in shares]
        assert sum(len(part.pairs) for part in parts) == len(whole.pairs)
        for part in parts:
            index = whole.pairs.find(part.pairs.R, part.pairs.i, part.pairs.j)
            np.testing.assert_array_equal(whole.take_pairs(index).entries, part.entries)


def test_a_source_is_that_of_its_problem_and_no_other(monkeypatch, folders):
    monkeypatch.setattr(library.importlib.util, "find_spec", lambda name: name)
    solver = Slepc(Ranks())
    marks = set()
    for folder in folders:  # each problem is gone when the next is made, often at its address
        marks.add(solver._source(Problem.of(dock.read(folder))).fingerprint)
    assert len(marks) == len(folders)


def test_matrices_of_one_process_cannot_be_spread():
    calc = dock.read(samples.ROOT / "fixtures" / "siesta" / "graphene")
    with pytest.raises(UsageError, match="dock convert"):
        Source.of(Problem.of(calc), 2)
    assert Source.of(Problem.of(calc), 1).problem is not None


def test_errors_of_mumps_are_sentences():
    def factor(*numbers):
        return types.SimpleNamespace(getMumpsInfog=lambda number: numbers[number - 1])

    assert factors.check_mumps(factor(0, 0), 7)
    assert not factors.check_mumps(factor(-9, 1), 7)
    with pytest.raises(SolverError, match=r"not enough memory.*16\.0 GB"):
        factors.check_mumps(factor(-13, -1000), 7)
    with pytest.raises(SolverError, match="singular"):
        factors.check_mumps(factor(-10, 3), 7)
    with pytest.raises(SolverError, match="error -3, 5"):
        factors.check_mumps(factor(-3, 5), 7)


def test_ends_of_a_range_lie_in_gaps():
    energies = np.array([-2.0, -1.0, -1.0 + 1e-7, 0.1, 0.2, 1.5])
    low, high = search._ends(energies, 2, 0.0, everything=False)
    assert -1.0 + 1e-7 < low < 0.1
    assert 0.2 < high < 1.5
    low, high = search._ends(energies, 3, 0.0, everything=False)  # not between the two at −1
    assert -2.0 < low < -1.0
    assert search._ends(energies, 6, 0.0, everything=False) is None  # unknown beyond the farthest
    low, high = search._ends(energies, 6, 0.0, everything=True)
    assert low < -2.0
    assert high > 1.5


class Comm:
    """As many processes as there are answers; this one is the first."""

    def __init__(self, *others):
        self.others = others

    def Get_rank(self):
        return 0

    def Get_size(self):
        return 1 + len(self.others)

    def allgather(self, value):
        return [value, *self.others]


def test_an_error_of_one_process_is_that_of_all():
    with (
        pytest.raises(LayoutError, match="over there"),
        Team(Comm(LayoutError("over there"))).together(),
    ):
        pass
    with pytest.raises(SolverError, match="not enough memory"), Team(Comm(None)).together():
        raise MemoryError
    with Team(Comm(None)).together():
        pass


def test_one_process_serves_itself():
    ranks = Ranks()
    assert ranks.is_root
    assert ranks.call(lambda team, value: (team.size, value), 3) == (1, 3)
    ranks.barrier()
    ranks.stop(2)
    ranks.dismiss()
    with pytest.raises(UsageError, match="cannot be divided into 2 teams"):
        Ranks(teams=2)


def test_a_shift_on_a_state_is_moved(monkeypatch):
    quiet = types.SimpleNamespace(getSize=lambda: (9, 9))
    monkeypatch.setattr(search, "Counter", lambda *_: None)
    seeker = search.Search(types.SimpleNamespace(is_complex=True), Team(), quiet, quiet)
    shifts = []

    def solved(shift, count):
        shifts.append(shift)
        raise factors.SingularError("on it") if len(shifts) == 1 else SolverError("enough seen")

    monkeypatch.setattr(seeker, "_solved", solved)
    with pytest.raises(SolverError, match="enough seen"):
        seeker._near(0.5, 2)
    assert shifts == [0.5, 0.5 + search._GAP]


def test_what_petsc_raises_is_a_sentence():
    class Error(Exception):
        pass

    petsc = types.SimpleNamespace(Error=Error)
    loaded = library.Library(petsc, None, True, True, True, None)
    with pytest.raises(SolverError, match=r"PETSc stopped \(out of memory\)"), loaded.explained():
        raise Error("error code 55\n  out of memory\n")


def test_a_missing_state_is_an_error(monkeypatch):
    quiet = types.SimpleNamespace(getSize=lambda: (9, 9))
    monkeypatch.setattr(search, "Counter", lambda *_: types.SimpleNamespace(below=int))
    seeker = search.Search(types.SimpleNamespace(is_complex=True), Team(), quiet, quiet)
    found = search.Found(np.array([0.5]), np.zeros((9, 1)), 0, 0.0)
    monkeypatch.setattr(seeker, "_near", lambda shift, count: found)
    with pytest.raises(ConvergenceError, match="inertia counts 4"):
        seeker.window(0.0, 4.0)
