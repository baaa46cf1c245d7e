"""Spin of states."""

import numpy as np
import pytest

import dock
from dock.errors import ConventionError, UsageError
from dock.response import spin_texture
from dock.response.level_values import resolved

K = np.array([0.13, 0.21, 0.37])


@pytest.mark.shared
def test_spins_of_gallium_arsenide(shared):
    """Measured with another program on the same Hamiltonian; signs tell k from −k, y from −y."""
    calc = dock.read(shared / "fixtures/abacus/gaas_soc")
    found = spin_texture(calc, [K, -K], bands="17..20")
    assert found.n_shared == 0
    spins = found.vectors[0, 0]
    expected_x = [0.826986, -0.829879, -0.002007, -0.000372]
    np.testing.assert_allclose(spins[:, 0], expected_x, rtol=0, atol=1e-6)
    expected_y = [0.558117, -0.556252, -0.996650, 0.999659]
    np.testing.assert_allclose(spins[:, 1], expected_y, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.vectors[0, 1], -spins, rtol=0, atol=1e-6)  # time reversal


@pytest.mark.shared
def test_spins_are_the_response_to_a_field(shared):
    """H + b σ ⊗ S shifts a state by b ⟨σ⟩, to first order: no formula of ours but the matrices."""
    from dock.states.dense import solve
    from dock.states.problem import Problem

    calc = dock.read(shared / "fixtures/openmx/gaas-soc")
    H, S = Problem.of(calc).dense(0, K)
    half = S[: len(S) // 2, : len(S) // 2]
    found = spin_texture(calc, [K], bands="1..8").vectors[0, 0]
    pauli = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
    for axis, matrix in enumerate(pauli):
        field = 1e-6 * np.kron(matrix, half)
        ahead, behind = (solve(H + sign * field, S).energies[:8] for sign in (1, -1))
        np.testing.assert_allclose(found[:, axis], (ahead - behind) / 2e-6, rtol=0, atol=1e-4)


@pytest.mark.shared
def test_kramers_pairs_have_their_mean_or_states_along_an_axis(shared):
    calc = dock.read(shared / "fixtures/abacus/gaas_soc")
    mean = spin_texture(calc, [[0, 0, 0]], bands="19..20")
    assert mean.sizes.tolist() == [[[2, 2]]]
    np.testing.assert_allclose(mean.vectors, 0, atol=1e-9)
    assert mean.within == "the mean over the level, which is zero for Kramers pairs"
    assert "2 states share theirs: the mean over the level" in mean.table()
    along = spin_texture(calc, [[0, 0, 0]], bands="19..20", axis=(0, 0, 2))
    assert along.within == "states with spins along (0, 0, 1)"
    down, up = along.vectors[0, 0]
    np.testing.assert_allclose(up, [0, 0, 1], atol=1e-6)  # an s state: wholly polarised
    np.testing.assert_allclose(down, -up, atol=1e-9)


def test_what_does_not_depend_on_the_states_of_a_level(rng):
    """A level of two spins: the mean vanishes, each component has ±1, an axis has ±1 along it."""
    pauli = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], dtype=complex)
    turn = np.linalg.qr(rng.normal(size=(2, 2)) + 1j * rng.normal(size=(2, 2)))[0]
    matrices = turn.conj().T @ pauli @ turn
    diagonal = np.diagonal(matrices, axis1=1, axis2=2).real
    level = [slice(0, 2)]
    mean = resolved(diagonal, level, lambda _: matrices, "mean")
    np.testing.assert_allclose(mean, 0, atol=1e-12)
    each = resolved(diagonal, level, lambda _: matrices, "each")
    np.testing.assert_allclose(each, [[-1] * 3, [1] * 3], atol=1e-12)
    along = resolved(diagonal, level, lambda _: matrices, (0.6, 0.0, 0.8))
    np.testing.assert_allclose(along, [[-0.6, 0, -0.8], [0.6, 0, 0.8]], atol=1e-12)
    same = resolved(diagonal, level, lambda _: 0 * matrices, (0.0, 0.0, 1.0))
    assert same.tolist() == [[0] * 3] * 2


@pytest.mark.parametrize("name", ["openmx/si", "openmx/o2-spin"])
def test_spins_need_spinors(name):
    with pytest.raises(ConventionError, match="a spin texture needs states with spin directions"):
        spin_texture(dock.read(f"fixtures/{name}"), [K])


def test_what_is_refused():
    calc = dock.read("fixtures/deeph/o2_soc")
    with pytest.raises(UsageError, match="not all zero"):
        spin_texture(calc, [[0, 0, 0]], axis=(0, 0, 0))
    with pytest.raises(UsageError, match="a range from 1"):
        spin_texture(calc, [[0, 0, 0]], bands="vbm")
