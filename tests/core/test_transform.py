"""Rotation, supercell, selection: exact on covariant synthetic data, measured on real data."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from synthetic import (
    PAULI,
    angular_momentum,
    bloch,
    covariant,
    full_basis,
    hermitian_matrices,
    neighbour_pairs,
    orthogonals,
    random_case,
    random_matrix,
    random_structure,
    seeds,
    spins,
    triples_of,
)

from dock.core.spin import Spin
from dock.core.structure import supercell_matrix
from dock.core.wigner import rotation_matrix
from dock.errors import ConventionError, LayoutError

EXACT = 1e-10
"""Rounding of frames, Wigner matrices and sums over neighbours; entries are of order one."""

REAL_NOISE_EV = 7e-5
"""Grid noise of the SCF runs on one molecule: measured 3.7e-5, 3.7e-5 and 5.9e-5 eV rms."""

TURN = np.linalg.qr(np.array([[0.3, -0.8, 0.1], [0.5, 0.4, -0.9], [0.7, 0.2, 0.6]]))[0]
PROPER = TURN * np.linalg.det(TURN)
OPERATORS = [
    *[("hamiltonian", spin) for spin in Spin],
    *[(quantity, Spin.NONE) for quantity in ("overlap", "position", "gradient")],
]


# ------------------------------------------------------------------------------------- rotation


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(20)
    structure = random_structure(rng, 3)
    return structure, full_basis(structure), neighbour_pairs(structure, 3.6, rng)


def test_the_scene_is_rich(scene):
    structure, basis, pairs = scene
    assert len(pairs) > 20
    matrix = covariant(structure, basis, pairs, spin=Spin.NONCOLLINEAR)
    assert matrix.hermiticity_error() < EXACT
    weights = np.abs(matrix.entries).max(axis=1)
    assert np.all(weights > 0.1)  # every spin component, so that none is tested in vain


@pytest.mark.parametrize("l", range(4))
def test_angular_momentum_of_the_scene(l):
    """[L_x, L_y] = i L_z and D L D^T = the axial vector turned: the generator is no guess."""
    L = angular_momentum(l)
    np.testing.assert_allclose(L[0] @ L[1] - L[1] @ L[0], 1j * L[2], atol=1e-12)
    np.testing.assert_allclose(np.einsum("aij,ajk->ik", L, L), l * (l + 1) * np.eye(2 * l + 1),
                               atol=1e-12)  # fmt: skip
    for Q in (PROPER, -PROPER):
        D = rotation_matrix(Q, l)
        wanted = np.einsum("ab,bij->aij", np.linalg.det(Q) * Q.T, L)
        np.testing.assert_allclose(D @ L @ D.T, wanted, atol=1e-12)
    np.testing.assert_allclose(PAULI[0] @ PAULI[1], 1j * PAULI[2])


@pytest.mark.parametrize(("quantity", "spin"), OPERATORS)
@pytest.mark.parametrize("Q", [PROPER, -PROPER, np.diag([1.0, 1, -1]), np.eye(3)[[1, 2, 0]]])
def test_rotation_is_exact(scene, quantity, spin, Q):
    structure, basis, pairs = scene
    before = covariant(structure, basis, pairs, quantity=quantity, spin=spin)
    wanted = covariant(structure.rotate(Q), basis, pairs, quantity=quantity, spin=spin)
    found = before.rotate(Q)
    assert found.structure.is_close(wanted.structure, 1e-12)
    np.testing.assert_allclose(found.entries, wanted.entries, rtol=0, atol=EXACT)
    assert found.entries.dtype == before.entries.dtype
    if not np.allclose(Q, np.eye(3)) and quantity != "overlap":
        assert np.abs(found.entries - before.entries).max() > 0.01


@given(seeds, orthogonals())
@settings(max_examples=10)
def test_rotation_is_exact_for_any_structure(seed, Q):
    structure = random_structure(np.random.default_rng(seed), 2)
    basis, pairs = full_basis(structure), neighbour_pairs(structure, 3.0)
    before = covariant(structure, basis, pairs, spin=Spin.NONCOLLINEAR)
    wanted = covariant(structure.rotate(Q), basis, pairs, spin=Spin.NONCOLLINEAR)
    np.testing.assert_allclose(before.rotate(Q).entries, wanted.entries, rtol=0, atol=EXACT)


@given(hermitian_matrices(), orthogonals(), st.tuples(*[st.floats(-1, 1)] * 3))
def test_rotation_keeps_eigenvalues(matrix, Q, k):
    turned = matrix.rotate(Q)
    assert turned.hermiticity_error() < 1e-11
    for before, after in zip(bloch(matrix, k), bloch(turned, k), strict=True):
        np.testing.assert_allclose(
            np.linalg.eigvalsh(after), np.linalg.eigvalsh(before), rtol=0, atol=EXACT
        )


@given(hermitian_matrices(quantity=st.sampled_from(["hamiltonian", "gradient"])), orthogonals(),
       orthogonals())  # fmt: skip
def test_rotations_compose(matrix, Q, P):
    once, twice = matrix.rotate(P @ Q), matrix.rotate(Q).rotate(P)
    np.testing.assert_allclose(twice.entries, once.entries, rtol=0, atol=EXACT)
    assert twice.structure.is_close(once.structure, EXACT)
    back = matrix.rotate(Q).rotate(Q.T)
    np.testing.assert_allclose(back.entries, matrix.entries, rtol=0, atol=EXACT)


def test_a_full_turn_of_a_spinor_changes_nothing():
    """U is given up to a sign; the matrix knows no sign."""
    matrix = random_case(3, Spin.NONCOLLINEAR)
    third = np.eye(3)[[1, 2, 0]]
    turned = matrix.rotate(third).rotate(third).rotate(third)
    np.testing.assert_allclose(turned.entries, matrix.entries, atol=EXACT)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_rotation_keeps_the_precision(dtype):
    matrix = random_case(3, dtype=dtype)
    assert matrix.rotate(PROPER).entries.dtype == dtype
    exact = matrix.astype(np.complex128).rotate(PROPER)
    np.testing.assert_allclose(matrix.rotate(PROPER).entries, exact.entries, atol=1e-5)


def test_rotation_gives_real_spinors_their_imaginary_part():
    matrix = random_case(3, Spin.NONCOLLINEAR)
    real = matrix.with_entries(matrix.entries.real)
    assert real.rotate(PROPER).is_complex


def test_no_rotation():
    with pytest.raises(ConventionError, match="not orthogonal"):
        random_case(1).rotate(np.ones((3, 3)))


def best_rotation(before, after):
    """The rotation between two sets of vectors (Kabsch)."""
    u, _, v = np.linalg.svd(before.T @ after)
    sign = np.sign(np.linalg.det(u @ v))
    return (u @ np.diag([1, 1, sign]) @ v).T


@pytest.mark.shared
@pytest.mark.parametrize(("first", "second"), [("0", "1"), ("0", "2"), ("1", "2")])
def test_water_in_three_orientations(shared, first, second):
    """Real H of one molecule, computed in three orientations, turned into each other."""
    from dock.converters.deeph import read

    one, other = (read(shared / "public" / "equivariance_H2O" / name) for name in (first, second))
    a, b = one.structure.positions, other.structure.positions
    Q = best_rotation(a - a[0], b - b[0])
    np.testing.assert_allclose((a - a[0]) @ Q.T, b - b[0], atol=1e-5)
    rms = rms_difference(one.hamiltonian.rotate(Q), other.hamiltonian)
    assert rms < REAL_NOISE_EV
    assert rms_difference(one.overlap.rotate(Q), other.overlap) < 1e-6
    # Without the rotation of the orbitals the two differ by electron volts.
    assert rms_difference(one.hamiltonian, other.hamiltonian) > 1000 * rms


def rms_difference(first, second):
    first, second = first.aligned(second)
    return float(np.sqrt(np.mean((first.entries - second.entries) ** 2)))


# ------------------------------------------------------------------------------------ supercell

CELLS = [
    [2, 1, 1],
    [1, 2, 2],
    [[1, 1, 0], [-1, 1, 0], [0, 0, 1]],
    [[2, 1, 0], [0, 1, -1], [1, 0, 2]],
]


def folded_k(transform):
    """The primitive k-points that fold onto Γ of the supercell: k with M k integer."""
    inverse = np.linalg.inv(transform)
    size = round(np.linalg.det(transform))
    grid = np.stack(np.meshgrid(*[np.arange(size)] * 3), axis=-1).reshape(-1, 3)
    numerators = np.rint(size * (grid @ inverse.T)).astype(int) % size
    found = np.unique(numerators, axis=0) / size
    assert len(found) == size
    return found


@pytest.mark.parametrize("cells", CELLS)
@pytest.mark.parametrize("spin", list(Spin))
def test_supercell_folds_the_bands(cells, spin):
    matrix = random_case(4, spin, n_atoms=2)
    transform = supercell_matrix(cells)
    large = matrix.supercell(cells)
    assert large.structure.is_close(matrix.structure.supercell(cells))
    assert large.hermiticity_error() < 1e-14
    shift = np.array([0.13, -0.21, 0.4])  # a k-point of the supercell, then Γ
    for k_large in (np.zeros(3), shift):
        k_small = folded_k(transform) + np.linalg.solve(transform, k_large)
        for channel in range(1 if spin is not Spin.COLLINEAR else 2):
            found = np.linalg.eigvalsh(bloch(large, k_large)[channel])
            wanted = [np.linalg.eigvalsh(bloch(matrix, k)[channel]) for k in k_small]
            np.testing.assert_allclose(found, np.sort(np.ravel(wanted)), rtol=0, atol=EXACT)


@pytest.mark.parametrize("cells", CELLS)
def test_supercell_of_a_function_of_the_structure(scene, cells):
    """The operator of the supercell is that of the supercell's structure, block by block."""
    structure, basis, pairs = scene
    structure, basis = structure.select([0, 1]), basis.select([0, 1])
    pairs = neighbour_pairs(structure, 3.4)
    large = covariant(structure, basis, pairs, spin=Spin.NONCOLLINEAR).supercell(cells)
    direct = covariant(large.structure, large.basis, large.pairs, spin=Spin.NONCOLLINEAR)
    np.testing.assert_allclose(large.entries, direct.entries, rtol=0, atol=EXACT)
    assert len(large.pairs) == len(pairs) * round(np.linalg.det(supercell_matrix(cells)))


@given(hermitian_matrices())
def test_supercell_of_one_cell_and_of_a_supercell(matrix):
    same = matrix.supercell([1, 1, 1])
    assert same.pairs.is_same(matrix.pairs)
    np.testing.assert_array_equal(same.entries, matrix.entries)
    once, twice = matrix.supercell([2, 1, 2]), matrix.supercell([2, 1, 1]).supercell([1, 1, 2])
    assert once.structure.n_atoms == twice.structure.n_atoms
    found = np.linalg.eigvalsh(bloch(twice, [0, 0, 0])[0])
    np.testing.assert_allclose(found, np.linalg.eigvalsh(bloch(once, [0, 0, 0])[0]), atol=EXACT)


def test_supercell_errors():
    matrix = random_case(1)
    with pytest.raises(LayoutError, match="no positive determinant"):
        matrix.supercell([1, 0, 1])
    with pytest.raises(LayoutError, match="three integers"):
        matrix.supercell([1.5, 1, 1])
    position = random_matrix(
        np.random.default_rng(0), matrix.structure, matrix.basis, matrix.pairs, quantity="position"
    )
    with pytest.raises(LayoutError, match="position: a supercell of it needs the overlap"):
        position.supercell([2, 1, 1])


# ------------------------------------------------------------------------------------ selection


@given(seeds, spins, st.data())
def test_select_and_permute(seed, spin, data):
    matrix = random_case(seed, spin, n_atoms=4)
    atoms = data.draw(st.permutations(range(4)))[: data.draw(st.integers(1, 4))]
    part = matrix.select_atoms(atoms)
    assert part.structure.n_atoms == part.basis.n_atoms == len(atoms)
    wanted = [key for key in triples_of(matrix.pairs) if key[1] in atoms and key[2] in atoms]
    assert len(part.pairs) == len(wanted)
    for R, i, j in wanted:
        found = part.block(R, atoms.index(i), atoms.index(j))
        np.testing.assert_array_equal(found, matrix.block(R, i, j))
    rows = np.concatenate([np.arange(*matrix.basis.offsets[atom : atom + 2]) for atom in atoms])
    k = [0.1, -0.3, 0.2]
    if spin is not Spin.NONCOLLINEAR:
        cut = bloch(matrix, k)[:, rows][:, :, rows]
        np.testing.assert_allclose(bloch(part, k), cut, atol=1e-12)
    if len(atoms) == 4:
        whole = matrix.permute_atoms(atoms)
        assert np.shares_memory(whole.entries, matrix.entries)
        back = whole.permute_atoms(np.argsort(atoms))
        assert back.pairs.is_same(matrix.pairs)
        assert back.structure.is_close(matrix.structure, 0)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        ([3], "atoms must be numbers from 0 to 2"),
        ([-1], "atoms must be numbers from 0 to 2"),
        ([], "atoms must be numbers from 0 to 2"),
        ([True, False, True], "atoms must be numbers from 0 to 2"),
        ([0, 1, 0], "named twice"),
    ],
)
def test_selection_errors(atoms, message):
    with pytest.raises(LayoutError, match=message):
        random_case(1).select_atoms(atoms)


def test_permutation_errors():
    with pytest.raises(LayoutError, match="an order of 3 atoms is needed, found 2"):
        random_case(1).permute_atoms([0, 1])
    with pytest.raises(LayoutError, match="named twice"):
        random_case(1).permute_atoms([0, 1, 1])
