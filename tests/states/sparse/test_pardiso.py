"""PARDISO against dense solutions and counts, on Hamiltonians of real runs."""

import subprocess
import sys
import threading
from importlib import metadata

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse

import dock
from dock import extras
from dock.errors import DependencyError, LayoutError, SolverError, UsageError
from dock.states.problem import Problem
from dock.states.sparse import pardiso
from dock.states.sparse.factorisation import Pattern

GENERAL = np.array([0.13, 0.21, 0.07])
GAMMA = np.zeros(3)
# Backward error of a solution, with Bunch–Kaufman pivots, in units of the precision.
BACKWARD = 1e3

try:
    metadata.distribution("mkl")
    MKL = True
except metadata.PackageNotFoundError:
    MKL = False
needs_mkl = pytest.mark.skipif(not MKL, reason="no mkl wheel: pip install 'dock-dft[mkl]'")


class Pencil:
    """H and S of a run at a k-point, as a solver has them."""

    def __init__(self, folder, k_frac, channel=0):
        problem = Problem.of(dock.read(folder))
        self.H, self.S = problem.sparse(channel, k_frac, "upper")
        self.n = problem.size
        rows = np.arange(self.n)
        self.pattern = Pattern(self.H.indptr.astype(np.int64), self.H.indices, rows)
        self.kind = self.H.dtype

    def values(self, shift):
        return self.H.data - shift * self.S.data

    def dense(self, shift):
        upper = (self.H - shift * self.S).toarray()
        return upper + np.triu(upper, 1).conj().T

    def energies(self):
        S = -self.dense(1.0) + self.dense(0.0)
        return scipy.linalg.eigh(self.dense(0.0), S, eigvals_only=True)


def backward_error(matrix, solution, right):
    left = np.abs(matrix @ solution - right).max()
    return left / (np.abs(matrix).sum(axis=0).max() * np.abs(solution).max())


def single(kind):
    return np.dtype({"f": np.float32, "c": np.complex64}[np.dtype(kind).kind])


@pytest.fixture
def engine():
    return pardiso.Pardiso()


RUNS = ["siesta/graphene", "openmx/mos2", "openmx/o2-nc-soc", "openmx/co-f", "openmx/o2-spin"]


@needs_mkl
@pytest.mark.parametrize("k_frac", [GAMMA, GENERAL], ids=["Γ", "k"])
@pytest.mark.parametrize("run", RUNS)
def test_solves_as_dense_and_counts_in_real_arithmetic(engine, bundled, rng, run, k_frac):
    pencil = Pencil(bundled / run, k_frac)
    energies = pencil.energies()
    analysis = engine.analyse(pencil.pattern, threads=1)
    gaps = np.flatnonzero(np.diff(energies) > 0.1)[:4]
    shifts = [energies[0] - 1, *(energies[gaps] + energies[gaps + 1]) / 2, energies[-1] + 1]
    for shift in shifts:
        matrix = pencil.dense(shift)
        right = rng.normal(size=(pencil.n, 3)).astype(pencil.kind)
        for kind in (pencil.kind, single(pencil.kind)):
            factor = analysis.factor(pencil.values(shift), kind)
            found = factor.solve(right)
            assert found.dtype == kind
            assert found.shape == right.shape
            assert backward_error(matrix, found, right) < BACKWARD * np.finfo(kind).eps
            below = int((energies < shift).sum())
            assert factor.n_negative == (below if kind.kind == "f" else None)
            assert factor.n_perturbed == 0
            factor.close()
        if kind.kind == "f":
            assert analysis.count_negative(pencil.values(shift), kind) == (below, 0)
        else:
            with pytest.raises(UsageError, match=r"complex Hermitian.*multifrontal"):
                analysis.count_negative(pencil.values(shift), kind)
    assert not analysis.counts
    analysis.close()


def lattice(rng, side, orbitals, kind):
    """A Hermitian matrix of a square lattice, and its pattern: blocks between neighbours."""
    sites = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)
    near = np.abs(sites[:, None] - sites[None]).max(-1) <= 1
    full = np.kron(near, np.ones((orbitals, orbitals), dtype=bool))
    n = len(full)
    dense = rng.normal(size=(n, n))
    if np.dtype(kind).kind == "c":
        dense = dense + 1j * rng.normal(size=(n, n))
    dense = np.where(full, dense + dense.conj().T, 0)
    upper = scipy.sparse.csr_array(np.triu(dense))
    atom_of = np.repeat(np.arange(len(sites)), orbitals)
    return dense, upper.data, Pattern(upper.indptr.astype(np.int64), upper.indices, atom_of)


@needs_mkl
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.complex64, np.complex128])
def test_large_supernodes_need_pivots(engine, rng, kind):
    # With 1 × 1 pivots this is wrong by 1e-3 in type −4.
    dense, values, pattern = lattice(rng, 8, 6, kind)
    analysis = engine.analyse(pattern, threads=2)
    factor = analysis.factor(values, np.dtype(kind))
    right = rng.normal(size=(len(dense), 5))
    assert backward_error(dense, factor.solve(right), right) < BACKWARD * np.finfo(kind).eps
    if factor.n_negative is not None:
        assert factor.n_negative == (np.linalg.eigvalsh(dense) < 0).sum()
    assert analysis.n_entries >= len(values)
    assert analysis.n_entries <= analysis.n_operations <= len(dense) ** 3
    assert analysis.memory(np.dtype(kind)) > analysis.n_entries * np.dtype(kind).itemsize


@needs_mkl
def test_one_symbolic_step_serves_all_types_and_an_order_is_taken(engine, rng):
    pattern = lattice(rng, 8, 2, np.float64)[2]
    analysis = engine.analyse(pattern, threads=1)
    costs = [analysis.memory(np.dtype(kind)) for kind in "fdFD"]
    assert costs[0] < costs[1] < costs[3]
    assert costs[0] < costs[2] < costs[3]
    # A band whose rows were mixed fills in nothing, eliminated from end to end.
    n, width = 300, 10
    mixed = rng.permutation(n)
    band = np.zeros((n, n))
    near = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) <= width
    band[np.ix_(mixed, mixed)] = near + 2 * width * np.eye(n)
    band = scipy.sparse.csr_array(np.triu(band))
    ends = Pattern(band.indptr.astype(np.int64), band.indices, np.arange(n))
    right = rng.normal(size=(n, 1))
    costs, answers = [], []
    for order in (None, mixed, np.argsort(mixed)):  # the last is another order of no use
        analysis = engine.analyse(ends, threads=1, order=order)
        costs.append(analysis.n_entries)
        answers.append(analysis.factor(band.data, np.dtype("d")).solve(right))
        np.testing.assert_allclose(answers[-1], answers[0], rtol=1e-10)
    assert max(costs[:2]) < 0.5 * costs[2]


@needs_mkl
def test_several_factors_at_once_and_in_threads(engine, rng):
    _, values, pattern = lattice(rng, 6, 4, np.complex128)
    analysis = engine.analyse(pattern, threads=1)
    right = rng.normal(size=(pattern.n, 2))
    shifts = np.linspace(0.1, 2.0, 6)
    diagonal = pattern.starts[:-1]

    def solve(number):
        shifted = values.copy()
        shifted[diagonal] -= shifts[number]
        factor = analysis.factor(shifted, np.dtype(complex))
        together[number] = factor.solve(right)
        factor.close()

    together = {}
    workers = [threading.Thread(target=solve, args=(number,)) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    in_threads = dict(together)
    for number in range(6):
        solve(number)
        np.testing.assert_array_equal(in_threads[number], together[number])
    first = analysis.factor(values, np.dtype(complex))
    analysis.close()
    assert np.isfinite(first.solve(right)).all()  # a factor outlives its analysis
    first.close()
    first.close()
    with pytest.raises(UsageError, match="closed"):
        first.solve(right)


@needs_mkl
def test_indices_of_64_bits_give_the_same(engine, rng):
    _, values, pattern = lattice(rng, 5, 3, np.complex128)
    right = rng.normal(size=(pattern.n, 2))
    narrow = engine.analyse(pattern, threads=1)
    wide = pardiso.PardisoAnalysis(pattern, 1, None, integer=np.dtype(np.int64))
    for kind in (np.dtype(np.complex64), np.dtype(np.complex128)):
        answers = [each.factor(values, kind).solve(right) for each in (narrow, wide)]
        np.testing.assert_array_equal(*answers)
    assert wide.n_entries == narrow.n_entries
    assert wide.memory(kind) > narrow.memory(kind)


@needs_mkl
def test_decoupled_rows_and_a_shift_on_an_eigenvalue(engine):
    diagonal = np.array([1.0, -2.0, 0.0, 3.0])  # a zero pivot is moved, and said
    pattern = Pattern(np.arange(5), np.arange(4, dtype=np.int32), np.arange(4))
    factor = engine.analyse(pattern, threads=1).factor(diagonal, np.dtype(float))
    assert factor.n_perturbed == 1
    solved = factor.solve(np.ones((4, 1)))[:, 0]
    np.testing.assert_allclose(solved[[0, 1, 3]], [1.0, -0.5, 1 / 3])
    assert factor.solve(np.ones((4, 0))).shape == (4, 0)


@needs_mkl
def test_what_is_refused(engine, rng):
    _, values, pattern = lattice(rng, 3, 2, np.complex128)
    analysis = engine.analyse(pattern, threads=1)
    with pytest.raises(UsageError, match="complex values need a complex factor"):
        analysis.factor(values, np.dtype(float))
    with pytest.raises(UsageError, match=r"float32, float64.*not int64"):
        analysis.memory(np.dtype(int))
    with pytest.raises(LayoutError, match=rf"{pattern.nnz} entries"):
        analysis.factor(values[:-1], np.dtype(complex))
    broken = values.copy()
    broken[3] = np.nan
    with pytest.raises(SolverError, match="not finite"):
        analysis.factor(broken, np.dtype(complex))
    with pytest.raises(SolverError, match="not finite in complex64"):
        analysis.factor(values * 1e300, np.dtype(np.complex64))
    factor = analysis.factor(values, np.dtype(complex))
    with pytest.raises(LayoutError, match="right sides"):
        factor.solve(np.ones(pattern.n))
    real = engine.analyse(pattern, threads=1).factor(np.abs(values), np.dtype(float))
    with pytest.raises(UsageError, match="real right sides"):
        real.solve(np.ones((pattern.n, 1), dtype=complex))
    with pytest.raises(LayoutError, match="its diagonal"):
        engine.analyse(Pattern(pattern.starts, pattern.columns[::-1], pattern.atom_of), threads=1)
    with pytest.raises(LayoutError, match="starts"):
        engine.analyse(Pattern(pattern.starts[:-1], pattern.columns, pattern.atom_of), threads=1)


STARVED = """
import resource, sys
import numpy as np
from dock.errors import SolverError
from dock.states.sparse.factorisation import Pattern
from dock.states.sparse.pardiso import Pardiso

n = 3000
starts = np.concatenate([[0], np.cumsum(np.arange(n, 0, -1))])
columns = np.concatenate([np.arange(row, n, dtype=np.int32) for row in range(n)])
analysis = Pardiso().analyse(Pattern(starts, columns, np.arange(n)), threads=1)
kind = np.dtype(complex)
peak = analysis.memory(kind)
values = np.ones(len(columns), dtype=complex)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + values.nbytes // 4,) * 2)
try:
    analysis.factor(values, kind)
except SolverError as error:
    print(error)
"""


@needs_mkl
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is that of Linux")
def test_memory_at_its_end_is_a_sentence():
    done = subprocess.run(
        [sys.executable, "-c", STARVED], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "3000 rows: not enough memory. Ask for single precision" in done.stdout


def test_without_the_wheel_the_line_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(DependencyError, match=r"pip install 'dock-dft\[mkl\]'") as caught:
        extras.require_library("no-such-wheel", "libmkl_rt", "mkl")
    assert caught.value.exit_code == 3
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libmkl_rt.so.2").write_bytes(b"no library")
    with pytest.raises(DependencyError, match=r"libmkl_rt\.so\.2 cannot be loaded"):
        extras.require_library("no-such-wheel", "libmkl_rt", "mkl")
