"""Perturbed copies and shifted layers."""

import numpy as np
import pytest

from dock.core.structure import Structure
from dock.errors import UsageError
from dock.structures import (
    commensurate_integers,
    hexagonal_layer,
    perturb,
    shift_layers,
    twisted_bilayer,
)
from dock.structures.modify import find_layers


@pytest.fixture
def bilayer():
    layer = hexagonal_layer("MoS2")
    return twisted_bilayer(layer, layer, commensurate_integers(1), distance=3.0).structure


def test_perturb_is_bounded_and_repeatable(bilayer):
    one, two = perturb(bilayer, 0.1, seed=4), perturb(bilayer, 0.1, seed=4)
    assert np.array_equal(one.positions, two.positions)
    move = np.abs(one.positions - bilayer.positions)
    assert 0.05 < move.max() <= 0.1
    assert np.array_equal(one.cell, bilayer.cell)
    assert not np.array_equal(perturb(bilayer, 0.1, seed=5).positions, one.positions)


def test_strain_deforms_cell_and_atoms_alike(bilayer):
    made = perturb(bilayer, 0.0, seed=1, strain=0.02)
    assert np.allclose(made.fractional, bilayer.fractional)
    assert 0 < np.abs(made.cell - bilayer.cell).max() < 0.02 * np.abs(bilayer.cell).max() * 2


def test_nothing_is_strained_where_nothing_repeats():
    slab = Structure(np.diag([3.0, 4.0, 20.0]), [[0, 0, 1]], [6], pbc=(True, True, False))
    made = perturb(slab, 0.0, seed=1, strain=0.05)
    assert np.array_equal(made.cell[2], slab.cell[2])
    assert made.positions[0, 2] == 1


def test_layers_are_found_also_across_the_boundary(bilayer):
    half = bilayer.n_atoms // 2
    expected = np.repeat([0, 1], half)
    assert np.array_equal(find_layers(bilayer), expected)
    lowered = Structure(
        bilayer.cell, bilayer.positions - [0, 0, bilayer.positions[0, 2]], bilayer.numbers
    )
    assert np.array_equal(find_layers(lowered), expected)


def test_only_the_chosen_layer_moves(bilayer):
    made = shift_layers(bilayer, (0.5, 0.25, 0.3))
    move = made.positions - bilayer.positions
    top = find_layers(bilayer) == 1
    expected = 0.5 * bilayer.cell[0] + 0.25 * bilayer.cell[1] + [0, 0, 0.3]
    assert np.allclose(move[top], expected)
    assert not move[~top].any()
    assert np.allclose(
        (shift_layers(bilayer, (0, 0, 1), layer=0).positions - bilayer.positions)[top], 0
    )


def test_bad_input(bilayer):
    with pytest.raises(UsageError, match="must be 0 or more"):
        perturb(bilayer, -1, seed=0)
    with pytest.raises(UsageError, match="not finite"):
        perturb(bilayer, np.inf, seed=0)
    with pytest.raises(UsageError, match="three numbers"):
        shift_layers(bilayer, (0, 0))
    with pytest.raises(UsageError, match=r"1 layer\(s\)"):
        shift_layers(hexagonal_layer("graphene"), (0, 0, 1))
    with pytest.raises(UsageError, match="layer 2 was asked for"):
        shift_layers(bilayer, (0, 0, 1), layer=2)
