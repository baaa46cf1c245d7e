"""Copies of crystals: which structures are held out together."""

from __future__ import annotations

from collections import Counter

from dock.models.data.copies import are_several, folds_of, kinds_of_structures

CRYSTALS = ["NaCl", "MgO", "Si2", "GaAs", "BN", "C2", "Ge2"]


def test_copies_share_a_kind_and_a_fold():
    contents = [name for name in CRYSTALS for _ in range(3)]
    kinds, folds = kinds_of_structures(contents, 5), folds_of(contents, 3)
    assert kinds is not None
    assert len(set(zip(contents, kinds, strict=True))) == len(set(kinds)) == len(CRYSTALS)
    assert len(set(zip(contents, folds, strict=True))) == len(CRYSTALS)
    assert max(Counter(folds).values()) - min(Counter(folds).values()) <= 3


def test_one_by_one_where_there_are_no_other_crystals():
    assert kinds_of_structures(["H2O"] * 20, 5) is None
    assert folds_of(["H2O"] * 5, 3) == [0, 1, 2, 0, 1]
    assert kinds_of_structures(CRYSTALS[:5] * 4, 5) is None  # too few kinds
    assert kinds_of_structures([*CRYSTALS, *["H2O"] * 20], 5) is None  # one is most of the set
    assert kinds_of_structures(CRYSTALS, 5) is None  # nothing is a copy


def test_crystals_are_several_with_and_without_copies():
    assert are_several(CRYSTALS, 3)
    assert are_several(CRYSTALS * 2, 3)
    assert not are_several(CRYSTALS[:5], 3)
    assert not are_several([*CRYSTALS, *["H2O"] * 20], 3)
