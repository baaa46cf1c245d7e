from dataclasses import dataclass

import pytest

import dock
from dock.errors import UsageError
from dock.states import choice, dense
from dock.states.choice import SOLVERS, choose, describe
from dock.states.dense import Dense
from dock.states.memory import Allowance
from dock.states.problem import Problem
from dock.states.solver import Plan, Want
from dock.states.sparse import shift_invert

SOME = Want(nearest=(40, -4.2))


@dataclass
class Large:
    """A problem of which only the sizes are known: nothing of it can be made."""

    size: int = 145_132
    n_channels: int = 1

    def dense(self, channel, k_frac):
        raise AssertionError("full matrices were made")


class LargeSparse(Large):
    def pattern(self):
        raise AssertionError("not here")

    sparse = atom_graph = pattern


@dataclass
class Planned:
    """A sparse solver with a plan of its own."""

    plan_of: Plan
    name: str = "sparse"
    closed: bool = False

    def plan(self, problem, want, n_problems, jobs):
        return self.plan_of

    def close(self):
        self.closed = True


@pytest.fixture
def room(monkeypatch):
    """Return a function that sets the memory of this process, bytes."""

    def limit(n_bytes):
        for module in (choice, dense, shift_invert):
            monkeypatch.setattr(module, "allowance", lambda: Allowance(n_bytes, "left by a test"))

    return limit


def planned(monkeypatch, n_bytes, seconds=200.0):
    solver = Planned(Plan("sparse", "…", 1, 2, n_bytes, seconds, "multifrontal"))
    monkeypatch.setattr(choice, "_sparse", lambda: solver)
    monkeypatch.setitem(SOLVERS, "sparse", lambda: solver)
    return solver


def test_without_a_problem_it_is_a_name():
    assert choose("auto").name == choose().name == "dense"
    assert choose("sparse").name == "sparse"
    given = Dense()
    assert choose(given) is given
    with pytest.raises(UsageError, match=r"no solver 'lanczos'\. There are: auto, dense, sparse"):
        choose("lanczos")


def test_small_problems_are_dense_whatever_is_asked(bundled):
    problem = Problem.of(dock.read(bundled / "siesta/graphene"))
    for want in (None, Want(nearest=(4, 0.0)), Want(vectors=True)):
        assert choose("auto", problem, want).name == "dense"


def test_a_part_of_a_large_problem_is_sparse(room, monkeypatch):
    room(24 * 10**9)
    solver = planned(monkeypatch, 11 * 10**9)
    assert choose("auto", LargeSparse(), SOME) is solver
    assert not solver.closed


def test_a_part_of_what_fits_is_sparse_only_where_that_is_clearly_quicker(room, monkeypatch):
    room(24 * 10**9)
    solver = planned(monkeypatch, 10**9, seconds=1e-3)
    assert choose("auto", LargeSparse(4000), SOME) is solver
    solver = planned(monkeypatch, 10**9, seconds=1e7)
    assert choose("auto", LargeSparse(4000), SOME).name == "dense"
    assert solver.closed


def test_what_needs_full_matrices_is_dense(room, monkeypatch):
    room(24 * 10**9)
    planned(monkeypatch, 10**9, seconds=1e-3)
    projected = Want(nearest=(40, -4.2), s_threshold=1e-5)
    for want in (Want(), projected):
        assert choose("auto", LargeSparse(4000), want).name == "dense"
    assert choose("auto", Large(4000), SOME).name == "dense"


@pytest.mark.parametrize("name", ["auto", "dense"])
def test_all_states_of_a_large_problem_are_refused_before_anything_is_made(room, name):
    room(8 * 10**9)
    message = (
        r"needs 1.3 TB for 145132 orbitals, and there are 8.0 GB \(left by a test\)\. Ask for a "
        r"part of the states.*solver='sparse'.*machine with more memory"
    )
    with pytest.raises(UsageError, match=message):
        choose(name, Large(), n_problems=20)


def test_a_part_that_has_no_room_names_two_ways_out(room, monkeypatch):
    room(8 * 10**9)
    planned(monkeypatch, 12 * 10**9)
    message = r"'sparse' needs 12 GB .* 8.0 GB .* more memory.* solver='slepc' under mpirun"
    with pytest.raises(UsageError, match=message):
        choose("auto", LargeSparse(), SOME)
    with pytest.raises(UsageError, match=r"'dense' needs 1.3 TB .* Pass solver='sparse'\."):
        choose("dense", LargeSparse(), SOME)


def test_full_matrices_are_solved_one_after_another_where_they_do_not_fit_at_once(room):
    room(10**9)
    plan = Dense().plan(Large(1500), Want(), 100, 16)
    assert plan.memory_bytes <= 10**9
    assert (plan.workers, plan.blas_threads) == (6, 2)
    room(10**12)
    assert Dense().plan(Large(1500), Want(), 100, 16).workers == 16


def test_more_states_than_orbitals_are_refused(bundled):
    problem = Problem.of(dock.read(bundled / "siesta/graphene"))
    for want in (Want(nearest=(27, 0.0)), Want(bands=(20, 27))):
        with pytest.raises(UsageError, match=r"there are 26 states.*Found 27"):
            choose("auto", problem, want)
    assert choose("auto", problem, Want(nearest=(26, 0.0))).name == "dense"


def test_the_line_of_a_plan():
    plan = Plan("dense", "10 orbitals fit into full matrices", 2, 1, 6400, 0.01)
    line = "solver: dense because 10 orbitals fit into full matrices; about 0.1 s a k-point, 1 MB"
    assert describe(plan) == line
    plan = Plan("sparse", "…", 1, 2, 10**10, 7200.0, "pardiso, single precision")
    assert describe(plan).startswith("solver: sparse (pardiso, single precision) because")
    assert "about 2.0 h a k-point" in describe(plan)
    assert describe(Plan("other", "asked for", 1, 1, 10**6)).endswith("asked for; 1 MB")


def test_an_unknown_removal_is_refused():
    with pytest.raises(UsageError, match=r"one of project, window, orbital\. Found 'both'"):
        Want(removal="both")
