"""Rotations of harmonics and spinors: definition, group properties, e3nn, and real Hamiltonians."""

import contextlib

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st
from scipy.linalg import expm

from dock.core.harmonics import real_harmonics, reorder
from dock.core.wigner import orthogonal_matrix, rotation_matrix, shell_rotation, spinor_rotation
from dock.errors import ConventionError, UsageError

EXACT = 1e-13
PAULI = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])


def turn(axis, angle):
    """Rotate about an axis by Rodrigues' formula."""
    x, y, z = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * K + 2 * np.sin(angle / 2) ** 2 * (K @ K)


components = st.floats(-1, 1, allow_subnormal=False)


@st.composite
def axes(draw):
    axis = np.array([draw(components) for _ in range(3)])
    assume(np.linalg.norm(axis) > 0.1)
    return axis / np.linalg.norm(axis)


@st.composite
def rotations(draw):
    return turn(draw(axes()), draw(st.floats(0, np.pi)))


@st.composite
def orthogonals(draw):
    return draw(rotations()) * draw(st.sampled_from([-1.0, 1.0]))


@given(orthogonals(), st.integers(0, 7))
def test_the_definition(Q, l):
    points = np.random.default_rng(l).normal(size=(20, 3))
    np.testing.assert_allclose(
        real_harmonics(l, points @ Q.T),
        real_harmonics(l, points) @ rotation_matrix(Q, l).T,
        rtol=0,
        atol=EXACT,
    )


@given(orthogonals(), orthogonals(), st.integers(0, 7))
def test_a_group(Q1, Q2, l):
    D1, D2 = rotation_matrix(Q1, l), rotation_matrix(Q2, l)
    one = np.eye(2 * l + 1)
    np.testing.assert_allclose(rotation_matrix(Q1 @ Q2, l), D1 @ D2, rtol=0, atol=EXACT)
    np.testing.assert_allclose(D1 @ D1.T, one, rtol=0, atol=EXACT)
    np.testing.assert_allclose(rotation_matrix(Q1.T, l), D1.T, rtol=0, atol=EXACT)
    np.testing.assert_allclose(rotation_matrix(-Q1, l), (-1) ** l * D1, rtol=0, atol=EXACT)


@pytest.mark.parametrize("l", range(8))
def test_identity_and_turn_about_z(l):
    one = np.eye(2 * l + 1)
    np.testing.assert_allclose(rotation_matrix(np.eye(3), l), one, rtol=0, atol=EXACT)
    angle = 0.7
    expected = np.zeros_like(one)
    expected[l, l] = 1
    for m in range(1, l + 1):
        # cos m(φ+α) and sin m(φ+α) by the addition theorems.
        c, s = np.cos(m * angle), np.sin(m * angle)
        expected[l + m, l + m], expected[l + m, l - m] = c, -s
        expected[l - m, l - m], expected[l - m, l + m] = c, s
    D = rotation_matrix(turn([0, 0, 1], angle), l)
    np.testing.assert_allclose(D, expected, rtol=0, atol=EXACT)


def test_p_orbitals_turn_as_vectors(rng):
    Q = turn(rng.normal(size=3), 2.1)
    to_xyz = reorder([1], source="dock", target="openmx")
    np.testing.assert_allclose(to_xyz.apply_block(rotation_matrix(Q, 1)), Q, rtol=0, atol=EXACT)


@pytest.fixture(scope="module")
def rotations_of_e3nn():
    """A turn, and e3nn's matrices of l = 0 … 7 for it and for minus it, compiled together."""
    e3nn = pytest.importorskip("e3nn_jax")
    import jax

    rng = np.random.default_rng(20261120)
    Q = turn(rng.normal(size=3), rng.uniform(0, np.pi))
    # The axes (x, y, z) of e3nn, whose polar axis is y, are dock's (y, z, x).
    P = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    irreps = [e3nn.Irrep(l, (-1) ** l) for l in range(8)]
    all_of = jax.jit(lambda R: [irrep.D_from_matrix(R) for irrep in irreps])
    doubles = getattr(jax, "enable_x64", None)
    with doubles() if callable(doubles) else contextlib.nullcontext():
        theirs = {p: [np.asarray(D) for D in all_of(p * P @ Q @ P.T)] for p in (1, -1)}
    return Q, theirs


@pytest.mark.parametrize("l", range(8))
@pytest.mark.parametrize("parity", [1, -1])
def test_e3nn_agrees(l, parity, rotations_of_e3nn):
    Q, theirs = rotations_of_e3nn
    D = theirs[parity][l]
    tolerance = 1e-12 if D.dtype == np.float64 else 1e-5
    np.testing.assert_allclose(rotation_matrix(parity * Q, l), D, rtol=0, atol=tolerance)


def test_shells_stand_on_the_diagonal(rng):
    Q = turn(rng.normal(size=3), 1.3)
    ls = [0, 2, 0, 1, 1, 3]
    D = shell_rotation(Q, ls)
    assert D.shape == (20, 20)
    expected = np.zeros((20, 20))
    start = 0
    for l in ls:
        part = slice(start, start + 2 * l + 1)
        expected[part, part] = rotation_matrix(Q, l)
        start = part.stop
    np.testing.assert_array_equal(D, expected)
    assert shell_rotation(Q, []).shape == (0, 0)


@given(orthogonals(), axes())
def test_spin_turns_as_an_axial_vector(Q, n):
    U = spinor_rotation(Q)
    sigma_n, proper = np.einsum("a,aij->ij", n, PAULI), Q * np.sign(np.linalg.det(Q))
    np.testing.assert_allclose(
        U @ sigma_n @ U.conj().T, np.einsum("a,aij->ij", proper @ n, PAULI), rtol=0, atol=EXACT
    )
    np.testing.assert_allclose(U @ U.conj().T, np.eye(2), rtol=0, atol=EXACT)
    assert np.linalg.det(U) == pytest.approx(1, abs=EXACT)
    np.testing.assert_allclose(spinor_rotation(-Q), U, rtol=0, atol=EXACT)


@given(rotations(), rotations())
def test_spinors_compose_up_to_a_sign(Q1, Q2):
    product = spinor_rotation(Q1) @ spinor_rotation(Q2)
    overlap = np.trace(spinor_rotation(Q1 @ Q2).conj().T @ product) / 2
    assert abs(overlap) == pytest.approx(1, abs=EXACT)
    assert abs(overlap.imag) < EXACT


@given(axes(), st.one_of(st.floats(0, np.pi - 1e-3), st.sampled_from([1e-12, 1e-9, 1e-6, 3.1415])))
def test_spinors_are_the_exponential(axis, angle):
    expected = expm(-0.5j * angle * np.einsum("a,aij->ij", axis, PAULI))
    np.testing.assert_allclose(spinor_rotation(turn(axis, angle)), expected, rtol=0, atol=1e-12)


def test_spinors_are_the_exponential_everywhere(rng):
    # Every octant of axes, and angles at which each quaternion component is the largest.
    for _ in range(200):
        axis, angle = rng.normal(size=3), rng.uniform(0, np.pi)
        unit = axis / np.linalg.norm(axis)
        expected = np.cos(angle / 2) * np.eye(2) - 1j * np.sin(angle / 2) * np.einsum(
            "a,aij->ij", unit, PAULI
        )
        np.testing.assert_allclose(spinor_rotation(turn(axis, angle)), expected, rtol=0, atol=EXACT)


@given(axes(), st.floats(-1e-6, 1e-6))
def test_near_half_turns_only_the_sign_is_open(axis, delta):
    expected = expm(-0.5j * (np.pi + delta) * np.einsum("a,aij->ij", axis, PAULI))
    U = spinor_rotation(turn(axis, np.pi + delta))
    assert min(np.abs(U - expected).max(), np.abs(U + expected).max()) < 1e-12


def test_the_sign_at_half_turns():
    for axis, first in (([1, -2, 0], 0), ([1, 1, -3], 0), ([0, 1, -2], 1), ([0, 0, 1], 2)):
        for direction in (1, -1):
            U = spinor_rotation(turn(direction * np.array(axis), np.pi))
            part = np.einsum("aij,ji->a", PAULI, 1j * U).real / 2
            assert part[first] > 0
            np.testing.assert_allclose(part[:first], 0, atol=EXACT)


def test_a_full_turn_changes_the_sign():
    eighth = spinor_rotation(turn([1, 2, 3], np.pi / 4))
    np.testing.assert_allclose(np.linalg.matrix_power(eighth, 8), -np.eye(2), atol=EXACT)
    np.testing.assert_allclose(np.linalg.matrix_power(eighth, 16), np.eye(2), atol=EXACT)
    np.testing.assert_array_equal(spinor_rotation(np.eye(3)), np.eye(2))
    np.testing.assert_array_equal(spinor_rotation(-np.eye(3)), np.eye(2))


@pytest.mark.parametrize("rotate", [orthogonal_matrix, spinor_rotation])
@pytest.mark.parametrize(
    ("Q", "message"),
    [
        (np.eye(2), r"shape \(2, 2\); expected \(3, 3\)"),
        (np.full((3, 3), np.nan), "not finite"),
        (np.diag([1, 1, 1 + 1e-7]), "2e-07; expected at most 1e-08"),
        (2 * np.eye(3), "is 3;"),
        (np.zeros((3, 3)), "not orthogonal"),
    ],
)
def test_what_is_no_rotation(rotate, Q, message):
    with pytest.raises(ConventionError, match=message):
        rotate(Q)


def test_the_other_entry_points_check_too():
    with pytest.raises(ConventionError, match="not orthogonal"):
        rotation_matrix(2 * np.eye(3), 1)
    with pytest.raises(ConventionError, match="not orthogonal"):
        shell_rotation(2 * np.eye(3), [1])
    with pytest.raises(UsageError, match="l is -1"):
        rotation_matrix(np.eye(3), -1)
    with pytest.raises(UsageError, match=r"\[0, -2\]"):
        shell_rotation(np.eye(3), [0, -2])


def test_a_rotation_of_ten_digits_still_gives_an_exact_one(rng):
    Q = turn(rng.normal(size=3), 2.0)
    rounded = Q.round(10)
    assert np.abs(rounded @ rounded.T - np.eye(3)).max() > 1e-12
    D = rotation_matrix(rounded, 4)
    np.testing.assert_allclose(D @ D.T, np.eye(9), rtol=0, atol=EXACT)
    np.testing.assert_allclose(orthogonal_matrix(rounded), Q, rtol=0, atol=2e-10)


WATER = [[0, 0, 0, 1, 1, 2], [0, 0, 1], [0, 0, 1]]


def read_water(folder):
    """Read positions in Å and the blocks of H and S of one orientation."""
    import h5py

    lines = (folder / "POSCAR").read_text().splitlines()[8:11]
    positions = np.array([line.split()[:3] for line in lines], dtype=float)
    blocks = []
    for name in ("hamiltonian.h5", "overlap.h5"):
        with h5py.File(folder / name) as file:
            pairs, bounds, shapes, entries = (
                file[key][:]
                for key in ("atom_pairs", "chunk_boundaries", "chunk_shapes", "entries")
            )
        parts = np.split(entries, bounds[1:-1])
        blocks.append(
            {tuple(p): e.reshape(s) for p, e, s in zip(pairs, parts, shapes, strict=True)}
        )
    return positions, *blocks


def kabsch(start, end):
    """Find the proper rotation that takes `start` to `end` and the largest distance left."""
    a, b = start - start.mean(axis=0), end - end.mean(axis=0)
    u, _, vt = np.linalg.svd(b.T @ a)
    Q = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    return Q, np.abs(a @ Q.T - b).max()


def deviation(D, start, end):
    """Give the elements of D_i A D_jᵀ − A' of all blocks."""
    assert start.keys() == end.keys()
    return np.concatenate([(D[k[3]] @ start[k] @ D[k[4]].T - end[k]).ravel() for k in end])


def rms(values):
    return np.sqrt(np.mean(np.square(values)))


@pytest.mark.shared
@pytest.mark.parametrize("orientation", ["1", "2"])
def test_the_hamiltonian_of_a_turned_molecule(shared, orientation):
    folder = shared / "public" / "equivariance_H2O"
    positions, H, S = read_water(folder / "0")
    turned_positions, turned_H, turned_S = read_water(folder / orientation)
    Q, distance = kabsch(positions, turned_positions)
    assert distance < 1e-12
    D = [shell_rotation(Q, ls) for ls in WATER]
    difference = deviation(D, H, turned_H)
    # The calculations' own noise: s-s elements know no orientation, yet differ by 6.7e-5 eV rms.
    scalars = [
        H[k][a, b] - turned_H[k][a, b]
        for k in H
        for a in range(WATER[k[3]].count(0))
        for b in range(WATER[k[4]].count(0))
    ]
    assert rms(difference) < 4e-5
    assert rms(difference) < rms(scalars)
    assert rms(deviation(D, S, turned_S)) < 1e-6
    # The same numbers with the inverse rotation, or with another order of m, are far off.
    assert rms(deviation([d.T for d in D], H, turned_H)) > 0.1
    other = [reorder(ls, "dock", "openmx").apply_block(d) for d, ls in zip(D, WATER, strict=True)]
    assert rms(deviation(other, H, turned_H)) > 0.1
