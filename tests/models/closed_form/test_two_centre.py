"""The two-centre model: equivariant, Hermitian, exact where the truth has two centres."""

from __future__ import annotations

import time

import numpy as np
import pytest
from datasets import (
    CUTOFF,
    SPINS,
    assert_equivariant,
    assert_parts_are_the_whole,
    calculation,
    molecule,
)
from synthetic import neighbour_pairs, random_hermitian, random_structure

import dock
from dock.core.basis import Basis
from dock.core.spin import Spin
from dock.errors import UsageError
from dock.models.closed_form import fit_closed_form, read_closed_form
from dock.models.closed_form.two_centre import TwoCentre, fit_two_centre
from dock.models.data.batches import Batcher
from dock.models.data.inspection import Inspection
from dock.models.data.samples import Item, find_samples
from dock.models.data.store import GraphStore
from dock.models.graph import build_graph
from dock.models.statistics import find_cutoffs
from dock.models.targets import TargetLayout

SHELLS = {"H": [0, 1], "C": [0, 1, 2]}


def item_of(calc, layout):
    H = calc.hamiltonian
    graph = build_graph(calc.structure, calc.basis, H.pairs, layout.species)
    return Item(graph, *layout.labels(H, graph))


def two_centre_set(rng, count, spin=Spin.NONE):
    """Molecules whose blocks off site depend on their bond alone, with a field on site."""
    layout = TargetLayout(("C", "H"), ((0, 1, 2), (0, 1)), spin)
    return layout, [
        item_of(calculation(molecule(rng, 4), spin=spin, shells=SHELLS), layout)
        for _ in range(count)
    ]


def fitted(layout, items):
    cutoffs = find_cutoffs((item.graph for item in items), layout.n_species)
    return fit_two_centre(lambda: iter(items), layout, cutoffs)


@pytest.mark.parametrize(("spin", "reversal"), SPINS)
def test_equivariant_and_hermitian_for_any_labels(rng, spin, reversal):
    structure = random_structure(rng, 4, size=4.0)
    basis = Basis.from_ls({"H": [0, 1], "C": [0, 1, 1], "Mo": [2, 0]}, structure.labels)
    pairs = neighbour_pairs(structure, CUTOFF)
    matrix = random_hermitian(rng, structure, basis, pairs, spin=spin)
    layout = TargetLayout.from_bases([basis], spin, time_reversal=reversal)
    graph = build_graph(structure, basis, pairs, layout.species)
    model = fitted(layout, [Item(graph, *layout.labels(matrix, graph))])

    def predict(structure, basis):
        graph = build_graph(structure, basis, pairs, layout.species)
        return layout.matrix(*model.predict(graph), graph)

    assert_equivariant(predict(structure, basis), predict, 1e-11)


@pytest.mark.parametrize("spin", [Spin.NONE, Spin.COLLINEAR])
def test_a_truth_of_two_centres_is_found(rng, spin):
    """Blocks off site fall off as exp(−r): splines of a fine grid reach them on new molecules."""
    layout, items = two_centre_set(rng, 60, spin)
    model = fitted(layout, items[:50])
    for item in items[50:]:
        node, edge = model.predict(item.graph)
        inside = item.graph.lengths < 3.2
        assert np.abs(edge - item.edge)[inside].max() < 0.01
        assert np.abs(node - item.node).max() < 0.05
        assert np.abs(item.edge).max() > 0.1


def test_instant(rng):
    layout, items = two_centre_set(rng, 20)
    begin = time.process_time()
    fitted(layout, items)
    assert time.process_time() - begin < 2.0


def test_it_survives_a_file(rng):
    layout, items = two_centre_set(rng, 4)
    model = fitted(layout, items)
    again = read_closed_form("two-centre", layout, model.to_arrays())
    assert isinstance(again, TwoCentre)
    for one, two in zip(model.predict(items[0].graph), again.predict(items[0].graph), strict=True):
        np.testing.assert_array_equal(one, two)


def test_parts_of_a_graph_give_the_whole(rng):
    layout, items = two_centre_set(rng, 4)
    assert_parts_are_the_whole(fitted(layout, items), items[1].graph, 2)


def test_smooth_to_zero_where_edges_end(rng):
    """A bond drawn out to the cutoff loses its block without a jump."""
    layout, items = two_centre_set(rng, 30)
    cutoffs = find_cutoffs((item.graph for item in items), 2)
    longest = max(item.graph.lengths.max() for item in items)
    assert (cutoffs >= 0).all()
    assert cutoffs.max() >= longest
    model = fitted(layout, items)
    kind = int(np.argmax(cutoffs))
    labels = [layout.species[kind // 2], layout.species[kind % 2]]
    values = []
    for length in (0.9, 0.99, 0.999):
        structure = type(items[0].graph.structure)(
            np.eye(3) * 20,
            [[0, 0, 0], [0, 0, length * cutoffs[kind]]],
            [{"C": 6, "H": 1}[label] for label in labels],
        )
        calc = calculation(structure, shells=SHELLS)
        pairs = neighbour_pairs(structure, 9.0)
        graph = build_graph(structure, calc.basis, pairs, layout.species)
        values.append(np.abs(model.predict(graph)[1]).max())
    assert values[0] > values[1] > values[2]
    assert values[2] < 1e-3 * max(values[0], 1e-2)


@pytest.mark.shared
def test_a_periodic_set(shared, tmp_path):
    """Displaced graphene from OpenMX: edges end, batches are hardly padded, bonds are learned."""
    place = shared / "fixtures" / "openmx" / "graphene8-train"
    for name in ("00", "01", "02", "03", "04", "05"):
        calc = dock.read(place / name, "openmx")
        matrices = {x: calc.require(x) for x in ("hamiltonian", "overlap")}
        dock.write(
            dock.Calculation(calc.structure, calc.basis, calc.spin, matrices), tmp_path / name
        )
    samples = find_samples(tmp_path)
    seen = Inspection(samples, "hamiltonian")
    seen.require_good()
    layout = TargetLayout.from_bases([calc.basis for _, calc in seen.calculations], seen.spin)
    store = GraphStore.from_samples(samples, layout)
    assert Batcher(store, range(6), 2).padding_waste < 0.05
    items = [store.item(index) for index in range(5)]
    cutoffs = find_cutoffs((item.graph for item in items), layout.n_species)
    assert cutoffs[0] >= max(item.graph.lengths.max() for item in items)
    model = fitted(layout, items)
    node, edge = model.predict(store.item(5).graph)
    error = np.abs(edge - store.item(5).edge).mean()
    assert error < 0.1 * np.abs(store.item(5).edge).mean()
    assert np.abs(node - store.item(5).node).max() < 2.0


def test_atoms_without_bonds(rng):
    layout = TargetLayout(("C",), ((0, 1),), Spin.NONE)
    item = item_of(calculation(molecule(rng, 1), shells={"C": [0, 1]}), layout)
    model = fit_two_centre(lambda: iter([item]), layout, np.zeros(1))
    node, edge = model.predict(item.graph)
    np.testing.assert_allclose(node, item.node, atol=1e-9)
    assert edge.shape == (0, 1, 4, 4)


def test_a_kind_that_is_none(rng):
    layout, items = two_centre_set(rng, 2)
    with pytest.raises(UsageError, match="three-centre, two-centre"):
        fit_closed_form("four-centre", lambda: iter(items), layout, np.zeros(4))
    with pytest.raises(UsageError, match="three-centre, two-centre"):
        read_closed_form("four-centre", layout, {})
