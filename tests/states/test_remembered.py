"""States that are found with the energies are given when they are asked for, once."""

import numpy as np
import pytest

import dock
from dock.states.dense import Dense
from dock.states.job import Job
from dock.states.problem import Problem
from dock.states.remembered import Remembered, remembering
from dock.states.solver import Want
from dock.states.stream import levels, states

KPOINTS = [[0, 0, 0], [0.1, 0.2, 0.3]]


@pytest.fixture(scope="module")
def silicon():
    return Problem.of(dock.read("fixtures/openmx/si"))


@pytest.fixture
def counted(monkeypatch):
    """How often LAPACK is called."""
    calls, solve = [], Dense.solve

    def counting(self, problem, channel, k_frac, want):
        calls.append(want)
        return solve(self, problem, channel, k_frac, want)

    monkeypatch.setattr(Dense, "solve", counting)
    return calls


def vectors(problem, job):
    return [at.states.vectors for at in states(problem, KPOINTS, Want(vectors=True), solver=job)]


def test_a_second_look_costs_nothing_and_a_third_does(silicon, counted):
    job = remembering("auto", silicon, 2)
    energies = levels(silicon, KPOINTS, solver=job).energies
    assert len(counted) == 2
    found = vectors(silicon, job)
    assert len(counted) == 2
    again = vectors(silicon, job)
    assert len(counted) == 4
    assert all(np.array_equal(one, two) for one, two in zip(found, again, strict=True))
    wanted = levels(silicon, KPOINTS, Want(vectors=True)).energies
    assert np.array_equal(energies, wanted)


def test_another_threshold_or_problem_is_another_question(silicon, counted):
    job = Job(Remembered())
    levels(silicon, KPOINTS, Want(s_threshold=1e-2), solver=job)
    vectors(silicon, job)
    vectors(Problem.of(dock.read("fixtures/openmx/si")), job)
    assert len(counted) == 6


def test_shared_jobs_have_the_same_energies_and_keep_nothing(silicon, counted, tmp_path):
    job = Job(folder=tmp_path / "kept", shard=(0, 1), stays=True)
    shared = levels(silicon, KPOINTS, solver=remembering(job, silicon, 2)).energies
    assert np.array_equal(shared, levels(silicon, KPOINTS, solver=Job(Remembered())).energies)
    assert len(counted) == 4


def test_large_and_planned_jobs_stay_as_they_are(silicon):
    planned, sparse = Job(dry_run=True), Job("sparse")
    assert remembering(planned, silicon, 2) is planned
    assert remembering(sparse, silicon, 2) is sparse
    assert remembering("auto", silicon, 10**7).solver == "auto"
    kept = Job(folder=None)
    assert remembering(kept, silicon, 2)._problems is kept._problems  # cleared together
