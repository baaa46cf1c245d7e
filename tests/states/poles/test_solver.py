"""Counts, chemical potentials and sums over poles against eigenvalues."""

import lattice_models
import numpy as np
import pytest

from dock.core.spin import Spin
from dock.states.kmesh import KMesh
from dock.states.poles.expansion import Expansion
from dock.states.poles.solver import PoleSolver
from dock.states.problem import Problem
from dock.states.stream import levels

WIDTH = 0.2


@pytest.fixture(params=list(Spin))
def case(request):
    """Return a solver and all energies (n_spin, n_k, n_bands) of a random model."""
    calc = lattice_models.random_calculation(4, request.param)
    mesh = KMesh.full((2, 2, 1))
    problem = Problem.of(calc)
    return PoleSolver(problem, mesh, WIDTH), levels(problem, mesh.points).energies


def test_inertia_counts_the_states_below(case):
    solver, energies = case
    assert solver.lowest() < energies.min() < solver.lowest() + 40
    for energy in np.quantile(energies, [0.1, 0.5, 0.8]) + 1e-6:
        expected = (energies < energy).sum() / solver.mesh.n_points
        assert solver.count(energy) == pytest.approx(expected)


def test_traces_give_the_filled_states_for_any_near_level(case):
    solver, energies = case
    level = float(np.median(energies))
    expansion = Expansion.make(WIDTH, level - solver.lowest(), wide=True)
    sums = solver.sum_poles(level, expansion, ())
    assert sums.entries == {}
    for offset in (0.0, 0.7 * expansion.reach, -expansion.reach):
        filling = 1 / (1 + np.exp((energies - level - offset) / WIDTH))
        expected = filling.sum() / solver.mesh.n_points
        assert sums.count(offset) == pytest.approx(expected, abs=1e-8)


def test_the_middle_of_a_gap_is_found_and_is_one_pass():
    calc = lattice_models.random_calculation(1, Spin.NONE)
    mesh = KMesh.full((1, 1, 1))
    energies = levels(Problem.of(calc), mesh.points).energies.ravel()
    first = int(np.argmax(np.diff(energies)))
    width = np.diff(energies).max() / 60
    solver = PoleSolver(Problem.of(calc), mesh, width)
    found = solver.solve(2.0 * (first + 1), ("density_matrix",))
    middle = 0.5 * (energies[first] + energies[first + 1])
    assert found.level == pytest.approx(middle, abs=0.1 * width)
    assert (found.n_passes, len(found.expansion.nodes)) == (1, 1)
    assert solver.in_gap(middle, first + 1.0)
    assert not solver.in_gap(energies[first] + width, first + 1.0)
    assert not solver.in_gap(middle, first + 2.0)


def test_a_guess_far_off_is_mended(case):
    solver, energies = case
    electrons = 6.0
    wanted = solver.solve(electrons, ("density_matrix",))
    calls = []
    far = solver.solve(
        electrons,
        ("density_matrix",),
        guess=float(energies.max()),
        progress=lambda *step: calls.append(step),
    )
    assert far.level == pytest.approx(wanted.level, abs=1e-6)
    (density,) = solver.matrices(far)
    assert density.dot(solver.problem.overlap) == pytest.approx(electrons, abs=1e-7)
    assert calls[-1][0] == calls[-1][1]
