"""Dielectric functions of predictions against those of references."""

import numpy as np
import pytest

import dock
from dock.errors import MissingDataError, UsageError
from dock.evaluate import EvaluateOptions, evaluate
from dock.evaluate.optics import spectrum_error
from dock.response import optics

MESH = EvaluateOptions(mesh=(2, 2, 2), optics=True)


@pytest.fixture(scope="module")
def silicon():
    return dock.read("fixtures/openmx/si")


def test_a_constant_times_the_overlap_is_no_error(silicon):
    shifted = silicon.hamiltonian + 0.7 * silicon.overlap
    assert evaluate(shifted, silicon, MESH).epsilon < 1e-6


def test_it_is_the_integral_of_the_difference(silicon):
    guess = silicon.hamiltonian * 1.01
    found = evaluate(guess, silicon, MESH)
    kept = {name: silicon.require(name) for name in ("overlap", "position")}
    other = silicon.replace(matrices={"hamiltonian": guess, **kept})
    x = np.linspace(0, 10, 501)
    one, two = (
        np.trace(optics(c, (2, 2, 2), x).epsilon.imag, axis1=1, axis2=2) for c in (other, silicon)
    )
    wanted = np.trapezoid(abs(one - two), x) / np.trapezoid(two, x)
    assert found.epsilon == pytest.approx(wanted, rel=1e-2)
    assert found.facts()["mae_epsilon_2"] == found.epsilon
    assert ("MAE ε₂", f"{found.epsilon:.4g}") in found.rows()
    assert "MAE ε₂" not in dict(evaluate(guess, silicon, EvaluateOptions(mesh=(2, 2, 2))).rows())


def test_positions_are_needed(silicon):
    bare = silicon.replace(matrices={n: silicon.matrices[n] for n in ("hamiltonian", "overlap")})
    with pytest.raises(MissingDataError, match="position matrix"):
        evaluate(silicon.hamiltonian * 1.01, bare, MESH)


def test_nothing_to_compare_is_said():
    with pytest.raises(UsageError, match="does not absorb"):
        spectrum_error(np.ones(3), np.zeros(3))
    with pytest.raises(UsageError, match="not both"):
        EvaluateOptions(optics=True, matrix_only=True)
