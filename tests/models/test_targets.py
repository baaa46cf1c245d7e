"""Blocks as irreducible tensors: exact both ways, covariant, Hermitian bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.spatial.transform import Rotation
from synthetic import neighbour_pairs, random_case, random_hermitian, random_structure

import dock
from dock.core.basis import Basis
from dock.core.spin import Spin
from dock.core.wigner import rotation_matrix
from dock.errors import LayoutError, UsageError
from dock.models.graph import build_graph
from dock.models.targets import TargetLayout

SPINS = st.sampled_from(list(Spin))


def case(seed, spin):
    """Return a Hermitian matrix on neighbouring atoms, its layout and graph."""
    rng = np.random.default_rng(seed)
    structure = random_structure(rng, 3)
    basis = Basis.from_ls({"H": [0, 1, 0], "C": [2, 1], "Mo": [0, 3]}, structure.labels)
    pairs = neighbour_pairs(structure, 3.2, rng)
    matrix = random_hermitian(rng, structure, basis, pairs, spin=spin)
    layout = TargetLayout.from_bases([basis], spin)
    return matrix, layout, build_graph(structure, basis, pairs, layout.species)


@given(st.integers(0, 10_000), SPINS)
def test_round_trip(seed, spin):
    matrix, layout, graph = case(seed, spin)
    node, edge = layout.labels(matrix, graph)
    back = layout.matrix(node, edge, graph)
    assert np.abs((back - matrix).entries).max() < 1e-13
    assert back.hermiticity_error() == 0.0
    np.testing.assert_allclose(layout.uncouple(layout.couple(edge)), edge, atol=1e-13)


@given(st.integers(0, 10_000), SPINS, st.booleans())
def test_parts_turn_with_the_structure(seed, spin, improper):
    matrix, layout, graph = case(seed, spin)
    turn = Rotation.random(random_state=seed).as_matrix()
    whole = -turn if improper else turn
    turned = matrix.rotate(whole)
    other = build_graph(turned.structure, turned.basis, turned.pairs, layout.species)
    for before, after in zip(
        layout.labels(matrix, graph), layout.labels(turned, other), strict=True
    ):
        first, second, begin = layout.couple(before), layout.couple(after), 0
        for irrep in layout.irreps:
            width = 2 * irrep.J + 1
            part = np.s_[:, begin : begin + irrep.multiplicity * width]
            begin += irrep.multiplicity * width
            sign = 1.0
            if improper:
                sign = (-1.0) ** irrep.J if irrep.natural else -((-1.0) ** irrep.J)
            expected = first[part].reshape(-1, width) @ rotation_matrix(turn, irrep.J).T * sign
            np.testing.assert_allclose(second[part].reshape(-1, width), expected, atol=1e-12)


def test_couplings_keep_lengths(rng):
    matrix, layout, graph = case(3, Spin.NONCOLLINEAR)
    _, edge = layout.labels(matrix, graph)
    assert np.isclose(np.linalg.norm(edge), np.linalg.norm(layout.couple(edge)))


def test_noise_in_the_padding_is_ignored(rng):
    matrix, layout, graph = case(5, Spin.NONE)
    node, edge = layout.labels(matrix, graph)
    noisy = [node + ~layout.node_mask[graph.species][:, None], edge.copy()]
    noisy[1] += ~layout.edge_mask[graph.edge_type][:, None]
    assert np.array_equal(
        layout.matrix(*noisy, graph).entries, layout.matrix(node, edge, graph).entries
    )


def test_hermitian_even_for_random_outputs(rng):
    for spin, reversal in (
        (Spin.NONE, False),
        (Spin.NONCOLLINEAR, False),
        (Spin.NONCOLLINEAR, True),
    ):
        _, layout, graph = case(7, spin)
        if reversal:
            layout = TargetLayout(layout.species, layout.ls, spin, time_reversal=True)
        shape = (layout.n_channels, layout.n_common, layout.n_common)
        node = rng.normal(size=(graph.n_atoms, *shape))
        edge = rng.normal(size=(graph.n_edges, *shape))
        for dtype in (np.float32, np.float64):
            found = layout.matrix(node, edge, graph, dtype)
            assert found.hermiticity_error() == 0.0
            assert found.entries.dtype.itemsize == np.dtype(dtype).itemsize * (
                2 if spin is Spin.NONCOLLINEAR else 1
            )


@pytest.mark.shared
def test_time_reversal_channels_hold_a_nonmagnetic_run(shared):
    calc = dock.read(shared / "fixtures" / "openmx" / "gaas-soc")
    matrix = calc.hamiltonian.hermitian_part()
    layout = TargetLayout.from_bases([calc.basis], calc.spin, time_reversal=True)
    graph = build_graph(calc.structure, calc.basis, matrix.pairs, layout.species)
    back = layout.matrix(*layout.labels(matrix, graph), graph)
    assert layout.n_channels == 4
    assert np.abs((back - matrix).entries).max() < 1e-7
    levels = np.linalg.eigvalsh(back.k([0.11, 0.2, 0.37]))
    assert levels.shape == (2 * calc.basis.n_orbitals,)
    at_gamma = np.linalg.eigvalsh(back.k([0, 0, 0]))
    np.testing.assert_allclose(at_gamma[::2], at_gamma[1::2], atol=1e-10)


def test_real_f_shells(bundled):
    calc = dock.read(bundled / "openmx" / "co-f")
    layout = TargetLayout.from_bases([calc.basis], calc.spin)
    matrix = calc.hamiltonian.hermitian_part()
    graph = build_graph(calc.structure, calc.basis, calc.overlap.pairs, layout.species)
    assert layout.max_J == 6
    back = layout.matrix(*layout.labels(matrix, graph), graph)
    assert np.abs((back - matrix).entries).max() == 0.0


def test_a_pair_without_a_block_is_zero():
    matrix, layout, graph = case(11, Spin.NONE)
    near = matrix.take_pairs(np.flatnonzero(matrix.pairs.i == matrix.pairs.j))
    _, edge = layout.labels(near, graph)
    other = graph.receiver != graph.sender
    assert not edge[other].any()


def test_dict_and_fingerprint():
    _, layout, _ = case(1, Spin.NONCOLLINEAR)
    again = TargetLayout.from_dict(layout.to_dict())
    assert again == layout
    assert again.fingerprint() == layout.fingerprint()
    changed = TargetLayout(layout.species, layout.ls, layout.spin, time_reversal=True)
    assert changed.fingerprint() != layout.fingerprint()


class TestRefusals:
    def test_matrix_with_more_pairs(self):
        matrix, layout, graph = case(2, Spin.NONE)
        fewer = build_graph(graph.structure, graph.basis, graph.pairs.take([0]), layout.species)
        with pytest.raises(LayoutError, match="pairs that the graph lacks"):
            layout.labels(matrix, fewer)

    def test_other_spin(self):
        matrix, layout, graph = case(2, Spin.COLLINEAR)
        plain = TargetLayout(layout.species, layout.ls, Spin.NONE)
        with pytest.raises(LayoutError, match="has spin 'collinear', the model 'none'"):
            plain.labels(matrix, graph)

    def test_unknown_species_and_shells(self):
        matrix, layout, _ = case(2, Spin.NONE)
        few = TargetLayout(layout.species[:1], layout.ls[:1], Spin.NONE)
        with pytest.raises(LayoutError, match="not made for species"):
            few.require_basis(matrix.basis)
        other = TargetLayout(layout.species, ((0,),) * 3, Spin.NONE)
        with pytest.raises(LayoutError, match="has shells l ="):
            other.require_basis(matrix.basis)

    def test_two_bases_of_one_species(self):
        first = Basis.from_ls({"C": [0]}, ["C"])
        second = Basis.from_ls({"C": [0, 1]}, ["C"])
        with pytest.raises(LayoutError, match="different labels"):
            TargetLayout.from_bases([first, second], Spin.NONE)

    def test_time_reversal_without_spinors(self):
        with pytest.raises(UsageError, match="time reversal"):
            TargetLayout(("C",), ((0,),), Spin.NONE, time_reversal=True)

    def test_operator_that_cannot_be_learned(self):
        with pytest.raises(UsageError, match="position cannot be learned"):
            TargetLayout(("C",), ((0,),), Spin.NONE, "position")

    def test_graph_of_an_unknown_species(self):
        matrix = random_case(4)
        with pytest.raises(LayoutError, match="the model knows the species X"):
            build_graph(matrix.structure, matrix.basis, matrix.pairs, ("X",))
