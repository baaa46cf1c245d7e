"""Graphs of structures, and what is counted over them."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import molecule
from synthetic import neighbour_pairs, random_hermitian, random_structure

from dock.core.basis import Basis
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import LayoutError
from dock.models.graph import build_graph
from dock.models.statistics import Statistics, StatisticsBuilder, find_cutoffs
from dock.models.targets import TargetLayout


@pytest.fixture
def matrix(rng):
    structure = random_structure(rng, 4)
    basis = Basis.from_ls({"H": [0, 1], "C": [0, 1, 1], "Mo": [2]}, structure.labels)
    return random_hermitian(rng, structure, basis, neighbour_pairs(structure, 4.0, rng))


def test_edges_know_their_vectors_and_partners(matrix):
    graph = build_graph(matrix.structure, matrix.basis, matrix.pairs, matrix.basis.species)
    assert np.all(np.diff(graph.receiver) >= 0)
    np.testing.assert_allclose(graph.vectors[graph.reverse], -graph.vectors, atol=1e-12)
    assert graph.lengths.min() > 0
    assert graph.n_edges == len(matrix.pairs) - matrix.structure.n_atoms
    kinds = graph.edge_type
    np.testing.assert_array_equal(kinds // 3, graph.species[graph.receiver])
    np.testing.assert_array_equal(kinds % 3, graph.species[graph.sender])


def test_missing_partners_are_added(matrix):
    half = matrix.pairs.take(np.flatnonzero(matrix.pairs.i <= matrix.pairs.j))
    graph = build_graph(matrix.structure, matrix.basis, half, matrix.basis.species)
    assert graph.pairs.is_closed
    assert graph.n_edges == len(matrix.pairs) - matrix.structure.n_atoms


def test_two_atoms_at_one_place():
    structure = Structure(np.eye(3) * 9, [[0, 0, 0], [0, 0, 1e-5]], [1, 1])
    basis = Basis.from_ls({"H": [0]}, ["H", "H"])
    with pytest.raises(LayoutError, match="different places"):
        build_graph(structure, basis, Pairs([[0, 0, 0]], [0], [1], 2), ("H",))


def test_moments_need_three_components(matrix):
    with pytest.raises(LayoutError, match="moments"):
        build_graph(
            matrix.structure, matrix.basis, matrix.pairs, matrix.basis.species, np.zeros((4, 2))
        )


def test_statistics_against_plain_sums(matrix):
    layout = TargetLayout.from_bases([matrix.basis], Spin.NONE)
    graph = build_graph(matrix.structure, matrix.basis, matrix.pairs, layout.species)
    node, edge = layout.labels(matrix, graph)
    builder = StatisticsBuilder(layout)
    builder.add(graph, node, edge)
    builder.add(graph, 3 * node, edge)
    found = builder.result()
    parts = np.concatenate([layout.couple(node), 3 * layout.couple(node)])
    species = np.tile(graph.species, 2)
    scalars = layout.irreps[0].multiplicity
    for kind in range(3):
        own = parts[species == kind]
        np.testing.assert_allclose(found.node_shift[kind, :scalars], own[:, :scalars].mean(0))
        assert not found.node_shift[kind, scalars:].any()
        np.testing.assert_allclose(found.node_scale[kind, :scalars], own[:, :scalars].std(0))
    p = np.s_[scalars : scalars + 3]  # the first part of J = 1
    edges = layout.couple(edge)[graph.edge_type == 4][:, p]
    np.testing.assert_allclose(found.edge_scale[4, p], np.sqrt((edges**2).mean()))
    assert np.isclose(found.mean_degree, graph.n_edges / graph.n_atoms)
    assert np.isclose(found.longest.max(), graph.lengths.max())


def test_statistics_survive_a_file(matrix):
    layout = TargetLayout.from_bases([matrix.basis], Spin.NONE)
    graph = build_graph(matrix.structure, matrix.basis, matrix.pairs, layout.species)
    builder = StatisticsBuilder(layout)
    builder.add(graph, *layout.labels(matrix, graph))
    first = builder.result()
    again = Statistics.from_arrays(first.to_arrays())
    for name, value in first.to_arrays().items():
        np.testing.assert_array_equal(value, again.to_arrays()[name])


def test_parts_that_vanish_by_symmetry_get_no_scale():
    """The odd parts of an on-site block of one shell with itself are exactly zero."""
    structure = Structure(np.eye(3) * 9, [[0, 0, 0]], [6])
    basis = Basis.from_ls({"C": [1]}, ["C"])
    layout = TargetLayout.from_bases([basis], Spin.NONE)
    graph = build_graph(structure, basis, Pairs([[0, 0, 0]], [0], [0], 1), ("C",))
    square = np.diag([1.0, 2.0, 4.0])[None, None]
    builder = StatisticsBuilder(layout)
    builder.add(graph, square, np.zeros((0, 1, 3, 3)))
    scale = builder.result().node_scale[0]
    names = [(irrep.J, irrep.natural) for irrep in layout.irreps]
    assert names == [(0, True), (1, False), (2, True)]
    assert not scale[1:4].any()
    assert scale[4:].all()


class TestCutoffs:
    def test_a_molecule_with_all_pairs_has_none(self, rng):
        structure = molecule(rng, 3)
        basis = Basis.from_ls({"H": [0], "C": [0]}, structure.labels)
        graph = build_graph(structure, basis, neighbour_pairs(structure, 15.0), ("C", "H"))
        assert find_cutoffs([graph], 2).tolist() == [0.0] * 4

    def test_a_crystal_ends_between_the_last_and_the_next_shell(self, rng):
        structure = random_structure(rng, 3, size=4.0)
        basis = Basis.from_ls({"H": [0], "C": [0], "Mo": [0]}, structure.labels)
        graph = build_graph(structure, basis, neighbour_pairs(structure, 3.5), basis.species)
        found = find_cutoffs([graph], 3)
        for kind in np.unique(graph.edge_type).tolist():
            longest = graph.lengths[graph.edge_type == kind].max()
            assert found[kind] == 0.0 or longest < found[kind] <= 1.2 * longest
        np.testing.assert_array_equal(found.reshape(3, 3), found.reshape(3, 3).T)

    def test_a_kind_that_ends_earlier_in_one_of_many_structures(self):
        """A crystal behind many others is looked at, where it has other species."""
        apart = Structure(np.eye(3) * 20.0, [[0, 0, 0], [3.0, 0, 0]], [6, 6])
        other = Structure(np.eye(3) * 20.0, [[0, 0, 0], [2.0, 0, 0], [0, 1.0, 0]], [6, 6, 1])
        shells = {"C": [0], "H": [0]}
        first, second = (
            build_graph(
                structure,
                Basis.from_ls({x: shells[x] for x in set(structure.labels)}, structure.labels),
                neighbour_pairs(structure, reach),
                ("C", "H"),
            )
            for structure, reach in ((apart, 3.5), (other, 1.5))
        )
        assert find_cutoffs([first] * 20, 2)[0] == 0
        assert find_cutoffs([first] * 20 + [second], 2)[0] == pytest.approx(3.0)

    def test_atoms_without_bonds(self, rng):
        structure = molecule(rng, 1)
        basis = Basis.from_ls({"C": [0, 1]}, structure.labels)
        graph = build_graph(structure, basis, neighbour_pairs(structure, 3.5), ("C",))
        assert find_cutoffs([graph], 1).tolist() == [0.0]
