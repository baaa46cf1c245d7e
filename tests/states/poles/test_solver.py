"""Counts, chemical potentials and sums over poles against eigenvalues."""

import lattice_models
import numpy as np
import pytest

from dock.core.spin import Spin
from dock.states.kmesh import KMesh
from dock.states.poles.contour import Contour
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
    contour = Contour.make(WIDTH, level - solver.lowest())
    sums = solver.sum_poles(level, contour, ())
    assert sums.entries == {}
    for offset, limit in ((0.0, 1e-9), (0.3 * WIDTH, 1e-6)):  # the contour is made for offset 0
        filling = 1 / (1 + np.exp((energies - level - offset) / WIDTH))
        expected = filling.sum() / solver.mesh.n_points
        assert sums.count(offset) == pytest.approx(expected, abs=limit)


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
