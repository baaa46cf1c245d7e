"""The closed-form model with three centres: equivariant, Hermitian, good beyond its data."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import assert_equivariant
from synthetic import neighbour_pairs, random_hermitian, random_structure

from dock.core.basis import Basis
from dock.core.spin import Spin
from dock.models.closed_form import fit_closed_form, read_closed_form
from dock.models.closed_form.three_centre import ThreeCentre, fit_three_centre
from dock.models.closed_form.three_centre.model import Span
from dock.models.closed_form.three_centre.terms import bond_terms, site_terms
from dock.models.data.samples import Item, find_samples, load_item
from dock.models.graph import build_graph, parts_of
from dock.models.statistics import find_cutoffs
from dock.models.targets import TargetLayout


def random_items(rng, spin, *, reversal=False, count=3):
    """Random Hermitian matrices on random structures: nothing to learn, all to transform."""
    layout, items = None, []
    for _ in range(count):
        structure = random_structure(rng, 4, size=4.0)
        basis = Basis.from_ls({"H": [0, 1], "C": [0, 1, 1], "Mo": [2, 0]}, structure.labels)
        pairs = neighbour_pairs(structure, 3.5)
        matrix = random_hermitian(rng, structure, basis, pairs, spin=spin)
        layout = layout or TargetLayout.from_bases([basis], spin, time_reversal=reversal)
        graph = build_graph(structure, basis, pairs, layout.species)
        items.append(Item(graph, *layout.labels(matrix, graph)))
    return layout, items


def fitted(layout, items):
    cutoffs = find_cutoffs((item.graph for item in items), layout.n_species)
    return fit_three_centre(lambda: iter(items), layout, cutoffs)


def predicted(model, graph):
    return model.layout.matrix(*model.predict(graph), graph)


@pytest.mark.parametrize(
    ("spin", "reversal"),
    [(Spin.NONE, False), (Spin.COLLINEAR, False), (Spin.NONCOLLINEAR, True)],
)
def test_equivariant_and_hermitian(rng, spin, reversal):
    layout, items = random_items(rng, spin, reversal=reversal)
    model = fitted(layout, items)
    graph = items[0].graph

    def turned(structure, basis):
        again = build_graph(structure, basis, graph.full_pairs, layout.species)
        return predicted(model, again)

    assert_equivariant(predicted(model, graph), turned, 1e-10)


def test_order_of_atoms_and_choice_of_cell_do_not_matter(rng):
    layout, items = random_items(rng, Spin.NONE)
    model = fitted(layout, items)
    first = predicted(model, items[0].graph)
    for expected in (first.permute_atoms([2, 0, 3, 1]), first.supercell(np.diag([2, 1, 1]))):
        graph = build_graph(expected.structure, expected.basis, expected.pairs, layout.species)
        found = predicted(model, graph)
        assert np.abs((found - expected).entries).max() < 1e-9 * np.abs(first.entries).max()


def test_the_same_in_one_part_or_many(rng):
    """A large structure is cut into parts; the numbers are those of the whole."""
    layout, items = random_items(rng, Spin.NONE)
    model, graph = fitted(layout, items), items[0].graph
    around = model.begin(graph)
    parts = list(parts_of(graph, 30))
    assert len(parts) > 1
    node = np.concatenate([model.one_way(part, around)[0] for part in parts])
    edge = np.concatenate([model.one_way(part, around)[1] for part in parts])
    whole = next(parts_of(graph, 10**9))
    expected = model.one_way(whole, around)
    np.testing.assert_allclose(node, expected[0], atol=1e-12)
    np.testing.assert_allclose(edge, expected[1], atol=1e-12)


def test_nothing_jumps_when_a_neighbour_leaves(rng):
    """At the cutoff a bond's functions and what it adds to surroundings vanish smoothly."""
    for longest in (4.0, 7.5):
        span = Span(1.0, longest, longest)
        values = span.polynomials(np.array([longest - 1e-3, longest, longest + 1]), 6)
        assert np.abs(values[0]).max() < 1e-6
        assert not values[1:].any()
        near = span.near
        assert near.cutoff == min(longest, 6.0)


def test_polynomials_go_on_as_straight_lines():
    span = Span(1.0, 2.0, 0.0)
    r = np.array([0.70, 0.65, 0.60])
    values = span.polynomials(r, 5)
    np.testing.assert_allclose(values[0] - values[1], values[1] - values[2], atol=1e-9)
    inside = span.polynomials(np.array([0.82]), 5)[0]
    x = 2 * 0.82 - 3.0
    np.testing.assert_allclose(inside, np.polynomial.chebyshev.chebvander([x], 5)[0])


def test_polynomials_stay_small_far_outside():
    """0.2 Å beyond a long span they are straight, and 0.4 Å below it constant."""
    span = Span(3.0, 7.5, 7.6)
    values = span.polynomials(np.array([1.3, 2.5, 2.6]), 12)
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_allclose(values[1], values[2], rtol=1e-12)
    assert np.abs(values).max() < 300  # T12 itself: 30,000


def test_functions_are_counted_by_degree():
    assert bond_terms(((), ()), 1, 3, natural=True).n_functions == 13
    assert bond_terms(((), ()), 1, 3, natural=False).n_functions == 0
    one = bond_terms(((0,), ()), 0, 1, natural=True)  # l2 = 0: a + n ≤ 1; l2 = 1: a = n = 0
    assert one.n_functions == 13 + 3 + 1
    assert site_terms((), 0, 5, natural=True).n_functions == 1
    assert site_terms((), 1, 5, natural=True).n_functions == 0
    assert (np.diff(site_terms((0,), 0, 3, natural=True).starts) > 0).all()


@pytest.fixture(scope="module")
def water(bundled):
    samples = find_samples(bundled / "water")
    layout = TargetLayout(("H", "O"), ((0, 0, 1), (0, 0, 1, 1, 2)), Spin.NONE)
    return layout, [load_item(sample, layout) for sample in samples]


def mean_error(model, items):
    layout, total, count = model.layout, 0.0, 0
    for item in items:
        node, edge = model.predict(item.graph)
        total += np.abs(node - item.node).sum() + np.abs(edge - item.edge).sum()
        count += layout.node_mask[item.graph.species].sum()
        count += layout.edge_mask[item.graph.edge_type].sum()
    return 1e3 * total / count


def test_water_is_predicted_far_better_than_with_two_centres(water):
    """40 molecules: three centres see what bends the bond's blocks."""
    layout, items = water
    three = fit_closed_form("three-centre", lambda: iter(items[:40]), layout, np.zeros(4))
    two = fit_closed_form("two-centre", lambda: iter(items[:40]), layout, np.zeros(4))
    assert mean_error(three, items[40:]) < 1.0  # meV
    assert mean_error(two, items[40:]) > 100.0


def test_arrays_give_the_same_model(water):
    layout, items = water
    model = fit_three_centre(lambda: iter(items[:12]), layout, np.zeros(4))
    again = read_closed_form("three-centre", layout, model.to_arrays())
    assert isinstance(again, ThreeCentre)
    for first, second in zip(
        model.predict(items[0].graph), again.predict(items[0].graph), strict=True
    ):
        assert np.array_equal(first, second)


def test_one_structure_is_no_more_than_it_can_bear(water):
    """With few rows the degree is lowered instead of fitting noise."""
    layout, items = water
    model = fit_three_centre(lambda: iter(items[:1]), layout, np.zeros(4))
    assert model.bond_degrees[0].max() < 8
    assert np.isfinite(model.predict(items[1].graph)[1]).all()
