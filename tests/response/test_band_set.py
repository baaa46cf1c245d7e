"""Ranges of bands, and levels that they cut."""

import numpy as np
import pytest

from dock.errors import UsageError
from dock.response.band_set import band_range, require_whole_levels, words_of_range


@pytest.mark.parametrize("bands", ["17..20", "17-20", range(16, 20), slice(16, 20)])
def test_a_range_in_words_counts_from_one(bands):
    found = band_range(bands, 52)
    assert found == slice(16, 20)
    assert words_of_range(found) == "17..20"


def test_one_band_and_all():
    assert band_range("4", 8) == slice(3, 4)
    assert words_of_range(slice(3, 4)) == "4"
    assert band_range(None, 8) == slice(0, 8)


@pytest.mark.parametrize(
    ("bands", "words"),
    [
        ("0..2", "a range from 1"),
        ("3..2", "a range from 1"),
        ("vbm", "a range from 1"),
        ("7..9", "there are 8 bands"),
        (range(2, 2), "there are 8 bands"),
        (range(0, 4, 2), "without gaps"),
        ([2, 3], "words such as"),
        (3, "words such as"),
    ],
)
def test_ranges_that_are_refused(bands, words):
    with pytest.raises(UsageError, match=words):
        band_range(bands, 8)


def test_a_level_that_is_cut_is_said_with_the_set_that_would_do():
    energies = np.array([[0.0, 1, 2, 3, 4], [0.0, 1, 1, 1, 4]])
    require_whole_levels(energies, slice(1, 4))
    require_whole_levels(energies, slice(0, 1))
    with pytest.raises(UsageError) as caught:
        require_whole_levels(energies, slice(2, 5), [[0, 0, 0], [0.5, 0, 0]])
    text = str(caught.value)
    assert "bands 3..5 cuts a level in two: bands 2 and 3" in text
    assert "k = (0.5, 0, 0)" in text
    assert "bands='2..5'" in text
