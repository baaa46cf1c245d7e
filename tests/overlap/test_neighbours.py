"""Pairs of atoms: against a brute-force twin, and what is refused."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from dock.core.basis import Basis, Shell
from dock.core.structure import Structure
from dock.errors import LayoutError, UsageError
from dock.overlap import neighbours
from dock.overlap.neighbours import (
    check_distances,
    orbital_cutoffs,
    orbital_pairs,
    projector_pairs,
)


def brute(structure, first, second, n=6):
    """Return the set of (i, j, R) nearer than first + second, on-site pairs included."""
    found = set()
    ranges = [range(-n, n + 1) if periodic else (0,) for periodic in structure.pbc]
    for R in itertools.product(*ranges):
        shift = np.array(R) @ structure.cell
        for i, j in itertools.product(range(structure.n_atoms), repeat=2):
            distance = np.linalg.norm(structure.positions[j] + shift - structure.positions[i])
            own = i == j and R == (0, 0, 0)
            if own or distance < first[structure.labels[i]] + second[structure.labels[j]]:
                found.add((i, j, *R))
    return found


def too_near(structure):
    """Return the pairs of different atoms nearer than 0.1 Å."""
    half = dict.fromkeys(structure.labels, 0.05)
    return {key for key in brute(structure, half, half, n=8) if key[0] != key[1] or any(key[2:])}


def as_set(pairs):
    return {
        (int(i), int(j), *map(int, R)) for i, j, R in zip(pairs.i, pairs.j, pairs.R, strict=True)
    }


@st.composite
def structures(draw):
    seed = draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    n = draw(st.integers(1, 4))
    cell = np.diag(rng.uniform(2.0, 4.0, 3)) + rng.uniform(-1.0, 1.0, (3, 3))
    pbc = tuple(draw(st.booleans()) for _ in range(3))
    # Unwrapped positions: some atoms stand cells away from the origin.
    positions = rng.uniform(-1.5, 2.5, (n, 3)) @ cell
    return Structure(cell, positions, [(1, 6)[k % 2] for k in range(n)], pbc=pbc)


CUTOFFS = {"H": 0.8, "C": 1.6}


@settings(max_examples=60, deadline=None)
@given(structures())
def test_pairs_are_those_of_all_images(structure):
    expected = brute(structure, CUTOFFS, CUTOFFS, n=8)
    if too_near(structure):
        with pytest.raises(LayoutError, match="on top of each other"):
            orbital_pairs(structure, CUTOFFS)
        return
    found = orbital_pairs(structure, CUTOFFS)
    assert as_set(found) == expected
    assert found.is_closed
    assert np.array_equal(np.lexsort((found.j, found.i)), np.arange(len(found)))


@settings(max_examples=30, deadline=None)
@given(structures())
def test_the_tree_finds_what_vesin_finds(structure):
    one = neighbours._search_vesin(structure, 3.1)
    two = neighbours._search_tree(structure, 3.1)
    rows = [np.column_stack([found.i, found.j, found.R]) for found in (one, two)]
    assert {tuple(row) for row in rows[0].tolist()} == {tuple(row) for row in rows[1].tolist()}
    assert np.allclose(np.sort(one.distance), np.sort(two.distance), atol=1e-10)


def test_without_vesin_the_tree_is_used(monkeypatch):
    import sys

    chain = Structure(np.diag([2.0, 9.0, 9.0]), [[0, 0, 0]], [1], pbc=(True, False, False))
    expected = as_set(orbital_pairs(chain, {"H": 3.5}))
    monkeypatch.setitem(sys.modules, "vesin", None)
    assert as_set(orbital_pairs(chain, {"H": 3.5})) == expected
    assert len(expected) == 7


def test_one_atom_with_many_images():
    cell = np.array([[1.1, 0, 0], [0.3, 1.2, 0], [0.1, -0.4, 1.3]])
    structure = Structure(cell, [[7.0, -3.0, 0.2]], [6])
    assert as_set(orbital_pairs(structure, {"C": 2.6})) == brute(
        structure, {"C": 2.6}, {"C": 2.6}, n=9
    )


@settings(max_examples=15, deadline=None)
@given(structures())
def test_projector_pairs_are_two_steps(structure):
    projectors = {"H": 0.5, "C": 0.9}
    try:
        found = as_set(projector_pairs(structure, CUTOFFS, projectors))
    except LayoutError:
        return
    reach = brute(structure, CUTOFFS, projectors, n=6)
    twice = {
        (i, j, *(np.array(R) - np.array(S)).tolist())
        for (i, k, *R) in reach
        for (j, m, *S) in reach
        if k == m
    }
    assert found == brute(structure, CUTOFFS, CUTOFFS, n=8) | twice


def test_slabs_of_centres_give_the_same_pattern(monkeypatch):
    rng = np.random.default_rng(5)
    structure = Structure(np.eye(3) * 5, rng.uniform(0, 5, (7, 3)), [6] * 7)
    whole = projector_pairs(structure, {"C": 1.5}, {"C": 1.0})
    monkeypatch.setattr(neighbours, "_EXPAND", 40)
    assert projector_pairs(structure, {"C": 1.5}, {"C": 1.0}).is_same(whole)


def test_atoms_on_top_of_each_other_are_refused():
    twin = Structure(np.eye(3) * 5, [[0, 0, 0], [0, 0, 4.96]], [1, 6])
    with pytest.raises(LayoutError, match=r"atoms 0 and 1 .*cell \[0, 0, -1\].*0\.0400 Å"):
        orbital_pairs(twin, CUTOFFS)
    with pytest.raises(LayoutError, match="on top of each other"):
        check_distances(twin)


def test_a_cutoff_of_hundreds_of_cells_is_refused():
    tiny = Structure(np.diag([0.021, 5.0, 5.0]), [[0, 0, 0]], [6])
    with pytest.raises(UsageError, match=r"477 cells along lattice vector 1.*wrong unit"):
        orbital_pairs(tiny, {"C": 5.0})


def test_a_missing_species_is_named():
    with pytest.raises(UsageError, match=r"lacks the species H\. It has: C"):
        orbital_pairs(Structure(np.eye(3) * 5, [[0, 0, 0]], [1]), {"C": 2.0})


def test_cutoffs_need_radial_functions():
    with pytest.raises(UsageError, match=r"species C: not every shell"):
        orbital_cutoffs(Basis({"C": (Shell(0),)}, ("C",)))
