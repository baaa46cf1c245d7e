"""Basis: offsets, the orbital table, and what is refused."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from synthetic import random_basis, random_structure, seeds

from dock.core.basis import Basis, Radial, Shell, shell_numbers, shell_starts
from dock.errors import LayoutError


@pytest.fixture
def mos2():
    return Basis.from_ls({"Mo": [0, 0, 1, 2], "S": [0, 1]}, ["Mo", "S", "S"])


def test_offsets(mos2):
    assert mos2.n_atoms == 3
    assert mos2.species == ("Mo", "S")
    assert mos2.counts.tolist() == [10, 4, 4]
    assert mos2.offsets.tolist() == [0, 10, 14, 18]
    assert mos2.n_orbitals == 18
    assert mos2.ls("Mo") == (0, 0, 1, 2)
    assert mos2.describe("Mo") == "2s1p1d"
    assert Basis.from_ls({"U": [3, 9]}, ["U"]).describe("U") == "1f1(l=9)"


@given(seeds)
def test_table_is_the_naive_loop(seed):
    rng = np.random.default_rng(seed)
    basis = random_basis(rng, random_structure(rng, 4))
    rows = [
        (atom, number, shell.l, m)
        for atom, label in enumerate(basis.labels)
        for number, shell in enumerate(basis.shells[label])
        for m in range(-shell.l, shell.l + 1)
    ]
    np.testing.assert_array_equal(np.column_stack(basis.table), rows)
    assert basis.n_orbitals == len(rows)
    for atom in range(4):
        inside = basis.table.atom == atom
        assert basis.offsets[atom] == np.argmax(inside)
        assert basis.counts[atom] == inside.sum()


def test_select_and_repeat(mos2):
    assert mos2.select([2, 0]).labels == ("S", "Mo")
    assert mos2.repeat(2).counts.tolist() == [10, 4, 4, 10, 4, 4]
    with pytest.raises(LayoutError, match="numbers from 0 to 2"):
        mos2.select([True, False, True])


def test_is_same_compares_angular_momenta_only(mos2):
    renamed = Basis.from_ls({"A": [0, 0, 1, 2], "B": [0, 1], "C": [3]}, ["A", "B", "B"])
    assert mos2.is_same(renamed)
    assert not mos2.is_same(Basis.from_ls({"Mo": [0, 1, 0, 2], "S": [0, 1]}, ["Mo", "S", "S"]))
    assert not mos2.is_same(mos2.select([0, 1]))


def test_fingerprint(mos2):
    assert mos2.fingerprint() == mos2.repeat(3).fingerprint()
    assert mos2.fingerprint() != Basis.from_ls({"Mo": [0], "S": [0, 1]}, mos2.labels).fingerprint()
    numpy_ls = Basis({"Mo": (Shell(np.int64(1)),)}, ("Mo",))
    assert numpy_ls.fingerprint() == Basis.from_ls({"Mo": [1]}, ["Mo"]).fingerprint()


def test_what_is_kept_cannot_be_changed(mos2):
    for array in (mos2.counts, mos2.offsets, mos2.species_index, *mos2.table):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5


def test_it_travels_between_processes(mos2):
    assert pickle.loads(pickle.dumps(mos2)).is_same(mos2)  # noqa: S301 - our own bytes


def test_errors():
    with pytest.raises(LayoutError, match=r"no shells for species 'S'\. It has: Mo"):
        Basis.from_ls({"Mo": [0]}, ["Mo", "S"])
    with pytest.raises(LayoutError, match=r"no shells for species 'S'\. It has: S"):
        Basis.from_ls({"S": []}, ["S"])
    with pytest.raises(LayoutError, match="at least one atom"):
        Basis.from_ls({"S": [0]}, [])


@pytest.mark.parametrize("l", [-1, 13, 0.5])
def test_no_shell(l):
    with pytest.raises(LayoutError, match="l from 0 to 12"):
        Shell(l)


def test_shells_compare_by_l_and_label():
    r = np.linspace(0, 5, 11)
    assert Shell(1, "2p", Radial(r, np.exp(-r))) == Shell(1, "2p")
    assert Shell(1).n_orbitals == 3


def test_radial():
    r = np.linspace(0, 20, 4001)
    radial = Radial(r, 2 * np.exp(-r))
    assert radial.cutoff == 20
    assert radial.norm == pytest.approx(1, abs=1e-5)
    assert Radial(r, r, 7.5).cutoff == 7.5


@pytest.mark.parametrize(
    ("r", "values", "message"),
    [
        ([0, 1, 1], [1, 1, 1], "radii that increase"),
        ([-1, 1], [1, 1], "radii that increase"),
        ([1], [1], "at least two radii"),
        ([0, 1], [1], r"values: expected shape \(2\)"),
        ([0, 1], [1, np.nan], "values: 1 of 2 values are NaN"),
    ],
)
def test_no_radial(r, values, message):
    with pytest.raises(LayoutError, match=message):
        Radial(r, values)


def test_shells_in_words():
    assert [Shell(l).letter for l in (0, 1, 6, 7, 12)] == ["s", "p", "i", "k", "(l=12)"]
    assert shell_numbers((0, 1, 0, 1, 2)) == [1, 1, 2, 2, 1]
    assert shell_starts((0, 1, 0, 2)) == [0, 1, 4, 5]
    assert shell_starts(()) == []


def test_kinds_of_pairs(mos2):
    i, j = np.meshgrid(np.arange(3), np.arange(3), indexing="ij")
    for kind, one, other in zip(mos2.pair_kinds(i, j).ravel(), i.ravel(), j.ravel(), strict=True):
        assert mos2.species_of_kind(int(kind)) == (mos2.labels[one], mos2.labels[other])
