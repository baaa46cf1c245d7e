"""Two-centre matrices: exact Gaussians, symmetries, assembly, and what is refused."""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest

from dock.core.basis import Basis, Radial, Shell
from dock.core.pairs import Pairs
from dock.core.structure import Structure
from dock.core.wigner import rotation_matrix
from dock.errors import ConventionError, LayoutError, MissingDataError, UsageError
from dock.overlap import assemble
from dock.overlap.assemble import (
    QUANTITIES,
    Integrals,
    compute_integrals,
    compute_overlap,
    two_centre_name,
)
from dock.overlap.radial import gaussian_radial

_SPEC = importlib.util.spec_from_file_location(
    "gaussians", Path(__file__).with_name("gaussians.py")
)
gaussians = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(gaussians)

ANALYTIC = 1e-9
"""The table's step and the q-grid leave 1e-11 (measured); the goal is 1e-9."""

POSITIONS = np.array([[0.3, -1.2, 0.5], [-0.8, 0.4, 1.1], [1.3, 0.9, -0.7], [0.1, 1.7, 0.6]])


@pytest.fixture(scope="module")
def molecule():
    return gaussians.molecule(POSITIONS)


@pytest.fixture(scope="module")
def matrices(molecule):
    return compute_integrals(molecule, gaussians.gaussian_basis(molecule.labels), QUANTITIES)


@pytest.mark.parametrize(("i", "j"), [(0, 0), (0, 1), (1, 0), (1, 2), (2, 2), (3, 0)])
def test_gaussians_are_exact_for_s_to_i(molecule, matrices, i, j):
    S, T, r, grad = gaussians.exact(molecule, i, j)
    home = [0, 0, 0]
    assert np.abs(matrices["overlap"].block(home, i, j) - S).max() < ANALYTIC
    assert np.abs(matrices["kinetic"].block(home, i, j) - T).max() < 1e-8  # eV, of up to 80 eV
    assert np.abs(matrices["position"].block(home, i, j) - r).max() < ANALYTIC
    assert np.abs(matrices["gradient"].block(home, i, j) - grad).max() < 1e-8  # the twin's limit


STEP = 1e-3  # Å
STENCIL = {-2: 1, -1: -8, 1: 8, 2: -1}  # times 12 steps; its error falls with the fourth power


@pytest.fixture(scope="module")
def displaced():
    """Atom 1 with a moved atom 0 or 2, one pair for each step of each axis, all far apart."""
    places, numbers, positions = {}, [], []
    for atom, axis, count in itertools.product((0, 2), range(3), STENCIL):
        places[atom, axis, count] = len(positions)
        apart = 40.0 * np.array([atom // 2, axis, count + 2])  # twice what two orbitals reach
        moved = POSITIONS[atom] + count * STEP * np.eye(3)[axis]
        positions += [POSITIONS[1] + apart, moved + apart]
        numbers += [6, (1, 6, 6, 1)[atom]]
    structure = gaussians.molecule(positions, tuple(numbers))
    basis = gaussians.gaussian_basis(structure.labels)
    return places, compute_integrals(structure, basis, ["overlap", "kinetic"])


@pytest.mark.parametrize(
    ("name", "slope"), [("overlap", "gradient"), ("kinetic", "kinetic_gradient")]
)
@pytest.mark.parametrize("atom", [0, 2])
def test_gradients_are_the_finite_differences(matrices, displaced, name, slope, atom):
    places, moved = displaced
    home, other = [0, 0, 0], 1
    for axis in range(3):
        difference = sum(
            weight
            * moved[name].block(home, places[atom, axis, count], places[atom, axis, count] + 1)
            for count, weight in STENCIL.items()
        ) / (12 * STEP)
        # ∂/∂r_j ⟨i|O|j⟩ = −⟨i|O ∇|j⟩
        assert np.abs(difference + matrices[slope].block(home, other, atom)[axis]).max() < 1e-8


def test_symmetries(matrices):
    for name in ("overlap", "kinetic", "gradient", "kinetic_gradient"):
        assert matrices[name].hermiticity_error() < 1e-12
    r, S = matrices["position"], matrices["overlap"]
    assert np.allclose(
        r.block([0, 0, 0], 1, 2), r.block([0, 0, 0], 2, 1).swapaxes(1, 2), atol=1e-12
    )
    assert S.entries.dtype == np.float64


@pytest.fixture(scope="module")
def crystal():
    cell = np.array([[3.1, 0.2, 0.0], [-0.4, 2.9, 0.3], [0.1, 0.5, 3.4]])
    positions = np.array([[0.0, 0.1, 0.2], [1.7, 1.2, 5.1]])  # the second one a cell away
    structure = Structure(cell, positions, [1, 6])
    exponents = {"H": ((0, 1.1), (1, 1.4)), "C": ((0, 1.6), (1, 1.2), (2, 1.5))}
    return structure, gaussians.gaussian_basis(structure.labels, exponents)


def test_translation_and_rotation_leave_the_overlap_alone(crystal):
    structure, basis = crystal
    S = compute_overlap(structure, basis)
    shifted = Structure(
        structure.cell, structure.positions + np.array([0.3, -7.0, 2.0]), structure.numbers
    )
    assert np.abs(compute_overlap(shifted, basis).entries - S.entries).max() < 1e-12
    Q, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    turned = compute_overlap(structure.rotate(Q), basis)
    assert np.abs((turned - S.rotate(Q)).entries).max() < 1e-12
    assert rotation_matrix(Q, 1).shape == (3, 3)


def test_the_overlap_is_positive_definite_and_that_of_a_supercell(crystal):
    structure, basis = crystal
    S = compute_overlap(structure, basis)
    for k in ([0, 0, 0], [0.5, 0.5, 0], [0.1, 0.3, 0.7]):
        assert np.linalg.eigvalsh(S.k(k))[0] > 0
    big = compute_overlap(structure.supercell([2, 1, 1]), basis)
    assert np.abs((big - S.supercell([2, 1, 1])).entries).max() < 1e-12


def test_wrapping_an_atom_moves_r_only(crystal):
    structure, basis = crystal
    S = compute_overlap(structure, basis)
    positions = structure.positions - np.array([[0, 0, 0], [0, 0, 1]]) @ structure.cell
    wrapped = compute_overlap(Structure(structure.cell, positions, structure.numbers), basis)
    assert np.allclose(wrapped.block([0, 0, 0], 0, 1), S.block([0, 0, -1], 0, 1), atol=1e-13)


def test_position_partners_differ_by_r_times_the_overlap(crystal):
    structure, basis = crystal
    found = compute_integrals(structure, basis, ["S", "r"])
    R = np.array([1, 0, -1])
    forward, back = found["position"].block(R, 0, 1), found["position"].block(-R, 1, 0)
    shift = (R @ structure.cell)[:, None, None] * found["overlap"].block(R, 0, 1)
    assert np.allclose(back.swapaxes(1, 2), forward - shift, atol=1e-12)


def test_threads_and_slabs_change_nothing(crystal, monkeypatch):
    structure, basis = crystal
    monkeypatch.setattr(assemble, "_SLAB_ENTRIES", 500)
    integrals = Integrals.prepare(structure, basis)
    for name in QUANTITIES:
        whole = integrals.matrix(name)
        assert np.array_equal(integrals.matrix(name, jobs=3).entries, whole.entries)
        slabs = [np.array(slab) for slab in integrals.slabs(name, jobs=2)]
        assert len(slabs) > 2
        assert np.abs(np.concatenate(slabs, axis=1) - whole.entries).max() < 1e-13
    single = np.concatenate([np.array(s) for s in integrals.slabs("S", dtype=np.float32)], axis=1)
    assert single.dtype == np.float32
    assert np.abs(single - integrals.matrix("S").entries).max() < 1e-6


def test_a_given_pattern_is_kept(crystal):
    structure, basis = crystal
    wide = Pairs([[0, 0, 0], [9, 0, 0], [0, 0, 0], [-9, 0, 0]], [0, 0, 1, 1], [0, 1, 1, 0], 2)
    S = compute_overlap(structure, basis, pairs=wide)
    assert S.pairs.is_same(wide)
    assert not S.block([9, 0, 0], 0, 1).any()
    assert np.allclose(np.diag(S.block([0, 0, 0], 1, 1)), 1, atol=1e-9)
    half = Pairs([[0, 0, 0], [0, 0, 0]], [0, 0], [0, 1], 2)
    whole = compute_overlap(structure, basis)
    found = compute_overlap(structure, basis, pairs=half).block([0, 0, 0], 0, 1)
    assert np.array_equal(found, whole.block([0, 0, 0], 0, 1))


def test_projector_pairs_add_zero_blocks(crystal):
    structure, basis = crystal
    plain = compute_overlap(structure, basis)
    wide = compute_overlap(structure, basis, pairs="kb", projectors={"H": 1.0, "C": 1.5})
    assert len(wide.pairs) > len(plain.pairs)
    assert np.abs((wide - plain).entries).max() < 1e-14


def test_names_and_letters():
    assert [two_centre_name(name) for name in ("S", "T", "r", "dS", "dT", "position")] == [
        "overlap", "kinetic", "position", "gradient", "kinetic_gradient", "position",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="no two-centre integral"):
        two_centre_name("H")
    with pytest.raises(ConventionError, match="no matrix that dock knows"):
        two_centre_name("Q")


def test_bad_input(crystal):
    structure, basis = crystal
    with pytest.raises(UsageError, match=r"lacks the species C\. It has: H"):
        compute_overlap(structure, Basis({"H": basis.shells["H"]}, ("H",)))
    with pytest.raises(UsageError, match="expected orbital, kb or a pattern"):
        compute_overlap(structure, basis, pairs="all")
    with pytest.raises(MissingDataError, match="radius of the projectors"):
        compute_overlap(structure, basis, pairs="kb")
    with pytest.raises(LayoutError, match="for 1 atoms, the structure has 2"):
        compute_overlap(structure, basis, pairs=Pairs([[0, 0, 0]], [0], [0], 1))
    empty = Basis({"H": basis.shells["H"], "C": (Shell(0),)}, basis.labels)
    with pytest.raises(MissingDataError, match=r"--basis"):
        compute_overlap(structure, empty)
    short = gaussian_radial(0, 1.0)
    cut = Radial(short.r[:200], short.values[:200])
    with pytest.raises(UsageError, match="or was cut"):
        compute_overlap(structure, Basis({**basis.shells, "C": (Shell(0, "", cut),)}, basis.labels))


def test_a_norm_that_is_off_is_said(crystal, caplog):
    structure, basis = crystal
    good = gaussian_radial(0, 1.0)
    off = Shell(0, "1s", Radial(good.r, 1.02 * good.values))
    integrals = Integrals.prepare(structure, Basis({**basis.shells, "H": (off,)}, basis.labels))
    assert len(integrals.notes) == 1
    assert "not 1; used as it is" in integrals.notes[0]


def test_a_distance_just_inside_and_just_outside_the_cutoff():
    r = np.linspace(0, 1.5, 300)
    shape = (1.5 - r) ** 2
    norm = np.sqrt(np.trapezoid((shape * r) ** 2, r))
    shell = Shell(0, radial=Radial(r, shape / norm))
    for distance, count in ((2.9999, 4), (3.0001, 2)):
        pair = gaussians.molecule([[0, 0, 0], [0, 0, distance]], (1, 1))
        S = compute_overlap(pair, Basis({"H": (shell,)}, pair.labels))
        assert len(S.pairs) == count
        if count == 4:
            assert abs(S.block([0, 0, 0], 0, 1)[0, 0]) < 1e-9
