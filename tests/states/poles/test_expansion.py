"""Poles of the Fermi function: its values, the electrons' level that may move, errors."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from dock.errors import ConvergenceError, UsageError
from dock.states.poles.expansion import TOLERANCE, WIDE, Expansion

ROOM = 300 * 8.617e-5  # k_B T at 300 K, eV


def fermi(x, width):
    return 0.5 * (1 - np.tanh(0.5 * x / width))


@settings(max_examples=15)
@given(st.floats(0.01, 0.5), st.floats(0.1, 100), st.booleans())
def test_the_sum_is_the_fermi_function_on_the_whole_spectrum(width, depth, wide):
    found = Expansion.make(width, depth, wide=wide)
    x = np.concatenate([-np.geomspace(1e-6, depth, 300), np.geomspace(1e-6, 1e4, 500)])
    assert np.abs(found.fermi(x) - fermi(x, width)).max() <= 1.05 * found.error
    assert np.all(found.shifts.imag > 0)
    assert len(found.shifts) == len(set(found.shifts))


@pytest.mark.parametrize("depth", [5, 10, 20])
def test_twenty_poles_are_enough_at_room_temperature(depth):
    narrow, wide = Expansion.make(ROOM, depth), Expansion.make(ROOM, depth, wide=True)
    assert len(narrow.shifts) <= 18
    assert len(wide.shifts) <= 20
    assert narrow.error <= 1.5 * TOLERANCE
    assert wide.error <= 30 * TOLERANCE


def test_the_same_poles_serve_a_level_that_moves():
    wide = Expansion.make(ROOM, 20, wide=True)
    x = np.concatenate([-np.geomspace(1e-5, 20, 300), np.geomspace(1e-5, 1e3, 300)])
    for offset in np.linspace(-1, 1, 7) * WIDE * ROOM:
        assert np.abs(wide.fermi(x, offset) - fermi(x - offset, ROOM)).max() < 1.5 * wide.error
        assert wide.shares(offset).sum() == pytest.approx(1)
    # Those of one level only do not.
    narrow = Expansion.make(ROOM, 20)
    assert narrow.reach == 0
    assert np.abs(narrow.fermi(x) - fermi(x - 0.01 * ROOM, ROOM)).max() > 1e-3


def test_a_number_of_poles_is_the_most_that_is_taken():
    errors = []
    for number in (10, 12, 14, 16):
        found = Expansion.make(ROOM, 20, poles=number)
        assert len(found.shifts) == number
        errors.append(found.error)
    assert np.all(np.diff(np.log(errors)) < -1)
    assert len(Expansion.make(ROOM, 20, poles=200).shifts) < 40


@pytest.mark.parametrize(
    ("number", "wide", "words"),
    [
        (1, False, "at all"),
        (8, True, "at all"),
        (9, False, "the error is"),
        (12, True, "the error is"),
    ],
)
def test_too_few_poles_do_not_converge(number, wide, words):
    with pytest.raises(ConvergenceError, match=words) as caught:
        Expansion.make(ROOM, 100, poles=number, wide=wide)
    assert caught.value.exit_code == 4


def test_numbers_without_meaning_and_temperatures_without_poles():
    for number in (0, -5):
        with pytest.raises(UsageError, match="1 or more"):
            Expansion.make(ROOM, 20, poles=number)
    with pytest.raises(ConvergenceError, match="Raise the temperature"):
        Expansion.make(1e-30, 20)


def test_a_very_low_temperature_is_said(caplog):
    found = Expansion.make(20 / 2.0**15, 20, tolerance=1e-13)
    assert 1e-13 < found.error < 2e-7
    assert "only" in caplog.text
