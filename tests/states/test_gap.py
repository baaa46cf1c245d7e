"""Fermi level, edges and gap of made-up levels."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from dock.states.gap import find_gap

K = np.array([[0.0, 0, 0], [0.25, 0, 0], [0.5, 0, 0]])
# A direct gap of 3 at the second point, an indirect one of 2: from the third to the first.
LEVELS = np.array([[[-2.0, 1.0, 9.0], [-1.5, 1.5, 9.5], [-1.0, 2.5, 9.0]]])


def gap(energies=LEVELS, **options):
    return find_gap(
        np.asarray(energies, float), K, **({"n_filled": None, "fermi_level": None} | options)
    )


def test_insulator_with_a_level():
    found = gap(fermi_level=0.3)
    assert (found.kind, found.fermi_level, found.fermi_source) == ("insulator", 0.3, "given")
    assert (found.vbm.energy, found.vbm.k_frac, found.vbm.band) == (-1.0, (0.5, 0.0, 0.0), 1)
    assert (found.cbm.energy, found.cbm.k_index, found.cbm.band) == (1.0, 0, 2)
    assert (found.size, found.direct, found.is_direct) == (2.0, 3.0, False)


def test_insulator_by_counting():
    found = gap(n_filled=1)
    assert (found.fermi_level, found.fermi_source, found.size) == (0.0, "mid-gap", 2.0)
    assert gap(n_filled=2).size == 6.5


@pytest.mark.parametrize("level", [-1.0, 0.999])
def test_level_on_an_edge(level):
    assert gap(fermi_level=level).size == 2.0


def test_direct():
    found = gap([[[0.0, 1.0], [-1.0, 2.0], [-1.0, 2.0]]], fermi_level=0.5)
    assert found.is_direct
    assert found.direct == found.size == 1.0


def test_metals():
    crossing = gap(fermi_level=-1.7)
    assert (crossing.kind, crossing.size, crossing.is_direct) == ("metal", 0.0, False)
    # By counting: the bands overlap in energy, and nothing decides where the level lies.
    overlapping = gap([[[0.0, 1.0], [2.0, 3.0], [0.0, 1.0]]], n_filled=1)
    assert (overlapping.kind, overlapping.fermi_level) == ("metal", None)
    assert overlapping.fermi_source == "unknown"


@pytest.mark.parametrize(
    "options",
    [{}, {"n_filled": 1.5}, {"n_filled": 3}, {"n_filled": 0}, {"n_filled": 1, "n_below": 2}],
)
def test_what_nobody_can_know(options):
    assert gap(**options).kind == "unknown"


def test_level_outside_the_levels_of_a_window():
    found = gap(fermi_level=20.0)
    assert (found.kind, found.fermi_level) == ("unknown", 20.0)


def test_spin_channels_fill_together():
    up, down = LEVELS[0], LEVELS[0] + 0.4
    found = gap(np.array([up, down]), n_filled=2)
    assert (found.vbm.spin, found.cbm.spin) == (1, 0)
    assert found.size == pytest.approx(1.6)


def test_half_metal():
    """One channel crosses the level: a metal, whatever the other does."""
    assert gap(np.array([LEVELS[0], LEVELS[0] - 1.2]), fermi_level=0.0).kind == "metal"


def test_bands_that_some_points_lack():
    energies = LEVELS.copy()
    energies[0, 1, :] = np.nan
    found = gap(energies, fermi_level=0.0, n_below=4)
    assert (found.size, found.vbm.band, found.cbm.band) == (2.0, 5, 6)


class TestPartOfASpectrum:
    """Levels 5 to 7 of a system, where four lie below: what a window holds, and what it proves."""

    BELOW = np.array([[4, 4, 4]])

    def part(self, energies=LEVELS, below=BELOW, **options):
        return gap(energies, below=below, n_below=4, **options)

    def test_electrons_are_counted_from_what_lies_below(self):
        found = self.part(n_filled=5)
        assert (found.kind, found.size, found.vbm.band, found.cbm.band) == ("insulator", 2.0, 5, 6)

    def test_a_window_that_reaches_over_the_gap_without_both_its_edges(self):
        """The second point has no filled level here, and the window says that there is none."""
        energies, below = LEVELS.copy(), np.array([[4, 5, 4]])
        energies[0, 1, 0] = np.nan
        found = self.part(energies, below, n_filled=5, covered=(-1.2, 10.0))
        assert (found.kind, found.size) == ("insulator", 2.0)
        # Without a window the lowest state there is not known to follow on the gap.
        assert self.part(energies, below, n_filled=5).kind == "unknown"

    def test_a_window_above_the_gap_tells_nothing_of_it(self):
        energies = LEVELS.copy()
        energies[..., 0] = np.nan
        found = self.part(energies, np.array([[5, 5, 5]]), n_filled=5, covered=(0.9, 10.0))
        assert (found.kind, found.fermi_level) == ("unknown", None)
        found = self.part(
            energies, np.array([[5, 5, 5]]), n_filled=5, covered=(0.9, 10.0), fermi_level=0.95
        )
        assert (found.kind, found.fermi_level, found.fermi_source) == ("unknown", 0.95, "given")

    def test_a_metal_is_certain_where_a_band_is_seen_on_both_sides(self):
        found = self.part(fermi_level=-1.7, covered=(-2.5, 3.0))
        assert (found.kind, found.fermi_level) == ("metal", -1.7)
        # The count alone does not prove one: bands between those found may overlap as well.
        assert self.part([[[0.0, 1], [2, 3], [0, 1]]], n_filled=5).kind == "unknown"

    @pytest.mark.parametrize("level", [0.3, None])
    def test_a_level_outside_the_gap_of_the_window_moves_into_it(self, level):
        stored = 1.3 if level is None else level
        found = self.part(n_filled=5, covered=(-1.7, 4.3), fermi_level=stored)
        assert found.fermi_level == (0.0 if level is None else level)
        assert found.fermi_source == ("mid-gap" if level is None else "given")
        assert found.is_stored_outside == (level is None)

    def test_a_level_without_a_count_needs_states_on_both_sides(self):
        assert self.part(fermi_level=0.3, covered=(-3.0, 3.0)).size == 2.0
        energies = LEVELS.copy()
        energies[0, 1, 0] = np.nan
        # What lies below the second level of that point may lie on either side of the level.
        assert self.part(energies, np.array([[4, 5, 4]]), fermi_level=0.3).kind == "unknown"


@given(st.integers(0, 2**32 - 1), st.floats(-3, 3))
def test_a_shift_of_all_levels_shifts_the_answer(seed, shift):
    energies = np.sort(np.random.default_rng(seed).normal(size=(1, 3, 6)), axis=2)
    for options in ({"n_filled": 3}, {"fermi_level": 0.1}):
        moved = dict(options)
        if "fermi_level" in moved:
            moved["fermi_level"] += shift
        one, two = gap(energies, **options), gap(energies + shift, **moved)
        assert one.kind == two.kind
        assert one.size == pytest.approx(two.size, abs=1e-9)
