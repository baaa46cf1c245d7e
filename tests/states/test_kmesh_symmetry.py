"""Meshes and symmetry: known points, orbits, and that reduction changes no result."""

import hypothesis.strategies as st
import lattice_models
import numpy as np
import pytest
from hypothesis import given

import dock
from dock.core.spin import Spin
from dock.errors import UsageError
from dock.states.kmesh import KMesh, make_mesh
from dock.states.spectrum import compute_spectrum
from dock.states.symmetry import find_symmetry


def test_points_of_the_three_centrings():
    gamma = KMesh.full((4, 1, 1)).points[:, 0]
    assert gamma.tolist() == [0, 0.25, 0.5, 0.75]
    packed = KMesh.full((4, 3, 1), "monkhorst-pack").points
    assert set(packed[:, 0].tolist()) == {0.125, 0.375, 0.625, 0.875}
    assert 0.0 in packed[:, 1]
    openmx = KMesh.full((4, 3, 1), "openmx").points
    expected = -0.5 + (2 * np.arange(4) + 1) / 8 + 1e-6
    assert np.allclose(np.unique(openmx[:, 0]), expected, atol=1e-15)
    assert np.allclose(np.unique(openmx[:, 1]), -0.5 + (2 * np.arange(3) + 1) / 6 - 1e-6)
    assert np.all(openmx[:, 2] == 0)


@given(
    size=st.tuples(*[st.integers(1, 7)] * 3),
    centring=st.sampled_from(["gamma", "monkhorst-pack", "openmx"]),
)
def test_time_reversal_halves_any_mesh(size, centring):
    calc = lattice_models.lattice(3)
    group = find_symmetry(calc.hamiltonian, calc.overlap, point_group=False)
    mesh = KMesh.full(size, centring).reduced(group)
    assert mesh.n_full == np.prod(size)
    assert mesh.weights.sum() == pytest.approx(1)
    assert mesh.n_points <= mesh.n_full // 2 + 8
    # Every point is its representative or the negative of it.
    full = mesh.full_points
    chosen = mesh.points[mesh.index]
    same = np.abs((full - chosen) - np.rint(full - chosen)).max(axis=1) < 1e-5
    turned = np.abs((full + chosen) - np.rint(full + chosen)).max(axis=1) < 1e-5
    assert np.all(same | turned)


def test_cubic_lattice_has_all_operations():
    calc = lattice_models.lattice(3)
    mesh = make_mesh(calc, (4, 4, 4))
    assert len(mesh.symmetry.operations) == 96
    assert mesh.n_points == 10
    energies = compute_spectrum(calc, mesh).energies[0, mesh.index, 0]
    exact = -2 * np.cos(2 * np.pi * mesh.full_points).sum(axis=1)
    assert np.abs(energies - exact).max() < 1e-12


def test_operations_that_the_hamiltonian_breaks_are_left_out(bundled):
    calc = dock.read(bundled / "openmx" / "si")
    strict = find_symmetry(calc.hamiltonian, calc.overlap, tolerance=1e-5)
    loose = find_symmetry(calc.hamiltonian, calc.overlap, tolerance=0.1)
    assert strict.n_crystal == 48
    assert len(loose.operations) == 96
    assert len(strict.operations) < 96  # the code's grid breaks some by 4 meV
    assert strict.largest_error < 1e-5 < loose.largest_error


@pytest.mark.parametrize("name", ["si", "mos2", "o2-spin", "o2-nc-soc"])
def test_reduction_changes_no_eigenvalue(bundled, name):
    calc = dock.read(bundled / "openmx" / name)
    mesh = make_mesh(calc, (3, 3, 2))
    whole = make_mesh(calc, (3, 3, 2), reduction="none")
    reduced = compute_spectrum(calc, mesh).energies[:, mesh.index]
    assert mesh.n_points < whole.n_points
    assert np.abs(reduced - compute_spectrum(calc, whole).energies).max() < 1e-4


def test_symmetrising_a_symmetric_matrix_changes_nothing(bundled):
    calc = dock.read(bundled / "openmx" / "o2-nc-soc")
    group = find_symmetry(calc.hamiltonian, calc.overlap)
    assert len(group.operations) > 1
    change = (group.symmetrise(calc.hamiltonian) - calc.hamiltonian).entries
    assert np.abs(change).max() < 1e-6


def test_a_field_breaks_time_reversal():
    free = lattice_models.lattice(2, spin=Spin.NONCOLLINEAR)
    split = lattice_models.lattice(2, spin=Spin.NONCOLLINEAR, field=0.3)
    for calc, expected in ((free, True), (split, False)):
        group = find_symmetry(calc.hamiltonian, calc.overlap, point_group=False)
        assert any(one.reverses_time for one in group.operations) is expected
    # With rotations there are again operations that reverse time: a half turn about x with it.
    group = find_symmetry(split.hamiltonian, split.overlap)
    assert any(one.reverses_time for one in group.operations)


@pytest.mark.parametrize("size", [(0, 1, 1), (1, 1), (1.5, 1, 1), (-2, 1, 1)])
def test_a_mesh_without_points_is_refused(size):
    with pytest.raises(UsageError, match="three positive whole numbers"):
        KMesh.full(size)


def test_other_errors():
    calc = lattice_models.lattice(1)
    with pytest.raises(UsageError, match="not both"):
        make_mesh(calc, (2, 1, 1), spacing=0.1)
    with pytest.raises(UsageError, match="spacing"):
        make_mesh(calc, spacing=0.0)
    with pytest.raises(UsageError, match="reduced by"):
        make_mesh(calc, (2, 1, 1), reduction="half")
    with pytest.raises(UsageError, match="centred"):
        KMesh.full((2, 1, 1), "somewhere")
    with pytest.raises(UsageError, match="three numbers"):
        KMesh.full((2, 1, 1), (0.5, 0.5))
    with pytest.raises(UsageError, match="tolerance"):
        find_symmetry(calc.hamiltonian, tolerance=0)


def test_spacing_leaves_out_axes_without_dispersion():
    mesh = make_mesh(lattice_models.lattice(2), spacing=0.3, reduction="none")
    assert mesh.size == (7, 7, 1)  # 2π/3 Å⁻¹ in steps of at most 0.3
    assert "7×7×1" in mesh.describe()


def test_many_atoms_are_matched_by_a_tree(monkeypatch, bundled):
    calc = dock.read(bundled / "openmx" / "mos2")
    few = find_symmetry(calc.hamiltonian, calc.overlap)
    monkeypatch.setattr("dock.states.symmetry._FEW_ATOMS", 0)
    many = find_symmetry(calc.hamiltonian, calc.overlap)
    assert len(many.operations) == len(few.operations) > 2
    for one, other in zip(few.operations, many.operations, strict=True):
        assert np.array_equal(one.atoms, other.atoms)
        assert np.array_equal(one.shifts, other.shifts)
