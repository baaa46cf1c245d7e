"""Twisted bilayers: counts, angles, distances and strain."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.spatial import cKDTree

from dock.core.structure import Structure
from dock.errors import UsageError
from dock.structures.twisted import (
    commensurate_integers,
    hexagonal_layer,
    lattice_angle,
    twisted_bilayer,
)


def bond_lengths(structure, atoms):
    """Return the nearest-neighbour distances inside one layer, periodic images included."""
    cells = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1], [0], indexing="ij"), -1).reshape(-1, 3)
    points = structure.positions[atoms]
    images = np.concatenate([points + cell @ structure.cell for cell in cells])
    return cKDTree(images).query(points, k=2)[0][:, 1]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 6), st.integers(0, 6))
def test_the_commensurate_family_has_no_strain(m, n):
    layer = hexagonal_layer("graphene")
    if m == n:
        with pytest.raises(UsageError, match="two different integers"):
            commensurate_integers(m, n)
        return
    made = twisted_bilayer(layer, layer, commensurate_integers(m, n), distance=3.4)
    structure = made.structure
    assert structure.n_atoms == 4 * (m * m + m * n + n * n)
    cosine = (n * n + 4 * n * m + m * m) / (2 * (n * n + n * m + m * m))
    assert abs(made.angle) == pytest.approx(np.degrees(np.arccos(cosine)), abs=1e-9)
    assert made.strain_top == made.strain_bottom == (0.0, 0.0)
    half = structure.n_atoms // 2
    for atoms in (np.arange(half), np.arange(half, 2 * half)):
        assert np.allclose(bond_lengths(structure, atoms), 2.46 / np.sqrt(3), atol=1e-9)
    heights = structure.positions[:, 2]
    assert np.allclose(heights[half:] - heights[0], 3.4)
    assert structure.cell[0, 1] == 0
    assert np.linalg.det(structure.cell) > 0


@pytest.mark.parametrize(("m", "count"), [(1, 28), (5, 364), (10, 1324), (20, 5044), (30, 11164)])
def test_sizes_of_the_benchmark(m, count):
    bottom, _ = commensurate_integers(m)
    assert 4 * round(np.linalg.det(bottom)) == count


def test_layers_of_two_materials_are_strained_as_asked():
    bottom, top = hexagonal_layer("BN"), hexagonal_layer("graphene")
    integers = ([[55, 0], [0, 55]], [[56, 0], [0, 56]])
    misfit = 55 * 2.504 / (56 * 2.46) - 1
    for strain, of_top, of_bottom in (("top", misfit, 0), ("bottom", 0, 1 / (1 + misfit) - 1)):
        made = twisted_bilayer(bottom, top, integers, distance=3.3, strain=strain)
        assert made.strain_top == pytest.approx((of_top, of_top), abs=2e-9)
        assert made.strain_bottom == pytest.approx((of_bottom, of_bottom), abs=2e-9)
        assert made.angle == pytest.approx(0)
    both = twisted_bilayer(bottom, top, integers, distance=3.3, strain="both")
    assert both.strain_top[0] * both.strain_bottom[0] < 0
    assert abs(both.strain_top[0]) < abs(misfit)


def test_dichalcogenides_keep_their_distance():
    layer = hexagonal_layer("MoS2")
    structure = twisted_bilayer(layer, layer, commensurate_integers(1), distance=3.0).structure
    assert structure.formula == "Mo14S28"
    heights = np.unique(structure.positions[:, 2].round(6))
    assert np.diff(heights)[2] == pytest.approx(3.0)


@pytest.fixture
def at_120():
    """Graphene with its vectors at 120°."""
    layer = hexagonal_layer("graphene")
    cell = np.array(layer.cell)
    cell[1] -= cell[0]
    return Structure(cell, layer.positions, layer.numbers)


def test_vectors_at_120_degrees_give_the_same_bilayer(at_120):
    layer = hexagonal_layer("graphene")
    assert (lattice_angle(layer), lattice_angle(at_120)) == (60, 120)
    one = twisted_bilayer(layer, layer, commensurate_integers(2), distance=3.35)
    for first, second, angles in (
        (at_120, at_120, (120, 120)),
        (layer, at_120, (60, 120)),
        (at_120, layer, (120, 60)),
    ):
        integers = commensurate_integers(2, angles=angles)
        two = twisted_bilayer(first, second, integers, distance=3.35)
        assert np.allclose(one.structure.cell, two.structure.cell)
        assert one.angle == pytest.approx(two.angle)
        assert two.strain_top == (0.0, 0.0)
    with pytest.raises(UsageError, match=r"angles=\(120, 120\)"):
        twisted_bilayer(at_120, at_120, commensurate_integers(2), distance=3.35)
    with pytest.raises(UsageError, match="60° or 120°"):
        commensurate_integers(2, angles=(90, 60))


@pytest.mark.parametrize("at", [60, 120])
def test_a_rectangular_cell_stays_rectangular(at_120, at, caplog):
    """Quasi-one-dimensional: 20 cells on 21, strained along the armchair rows alone."""
    layer = at_120 if at == 120 else hexagonal_layer("graphene")
    across = [1, 2] if at == 120 else [-1, 2]
    made = twisted_bilayer(layer, layer, ([[20, 0], across], [[21, 0], across]), distance=3.35)
    assert made.angle == pytest.approx(0, abs=1e-12)
    wanted = np.diag([20 * 2.46, 2.46 * np.sqrt(3)])
    np.testing.assert_allclose(made.structure.cell[:2, :2], wanted, atol=1e-9)
    np.testing.assert_allclose(made.strain_top, [20 / 21 - 1, 0], atol=1e-12)
    assert made.strain_bottom == (0.0, 0.0)
    assert made.structure.n_atoms == 4 * (20 + 21)
    assert not caplog.messages
    half = 4 * 20
    assert np.allclose(bond_lengths(made.structure, np.arange(half)), 2.46 / np.sqrt(3), atol=1e-9)


def test_integers_of_other_vectors_shear_and_are_refused():
    """The same integers in vectors at 60° are no rectangles: the turn is the shear's own."""
    layer = hexagonal_layer("graphene")
    integers = ([[20, 0], [1, 2]], [[21, 0], [1, 2]])
    with pytest.raises(UsageError, match=r"turned by -1\.61°, .* 0\.00° and 0\.00°.*shear=True"):
        twisted_bilayer(layer, layer, integers, distance=3.35)
    made = twisted_bilayer(layer, layer, integers, distance=3.35, shear=True)
    assert made.angle == pytest.approx(-1.613, abs=0.001)


def test_bad_input():
    layer = hexagonal_layer("graphene")
    good = commensurate_integers(1)
    with pytest.raises(UsageError, match=r"no layer is called 'Foo'\. Known: graphene"):
        hexagonal_layer("Foo")
    with pytest.raises(UsageError, match="must be positive"):
        hexagonal_layer("BN", -1.0)
    with pytest.raises(UsageError, match="must be positive"):
        twisted_bilayer(layer, layer, good, distance=0)
    with pytest.raises(UsageError, match="strain the layers by"):
        twisted_bilayer(layer, layer, ([[1, 0], [0, 1]], [[2, 0], [0, 2]]), distance=3.0)
    with pytest.raises(UsageError, match="no right-handed cell"):
        twisted_bilayer(layer, layer, ([[1, 1], [1, 1]], good[1]), distance=3.0)
    with pytest.raises(UsageError, match="expected four integers"):
        twisted_bilayer(layer, layer, ([1, 2, 3], good[1]), distance=3.0)
    with pytest.raises(UsageError, match="expected top, bottom or both"):
        twisted_bilayer(layer, layer, good, distance=3.0, strain="none")
    tilted = Structure(layer.cell + np.eye(3)[[2, 2, 0]] * [0, 0, 1], layer.positions, [6, 6])
    with pytest.raises(UsageError, match="lie in the xy plane"):
        twisted_bilayer(tilted, layer, good, distance=3.0)
    left = Structure(layer.cell[[1, 0, 2]], layer.positions, [6, 6])
    with pytest.raises(UsageError, match="left-handed"):
        twisted_bilayer(left, layer, good, distance=3.0)
