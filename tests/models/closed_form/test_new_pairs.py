"""Pairs that no training structure has: symmetry for all spins, and when elements are taken."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from datasets import SPINS, assert_parts_are_the_whole, calculation, molecule
from scipy.spatial.transform import Rotation
from synthetic import neighbour_pairs

from dock.core.basis import Basis
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.models.closed_form import fit_closed_form, fit_two_centre, read_closed_form
from dock.models.closed_form.elements import ElementForm, Layered, fit_elements, layered
from dock.models.data.samples import Item, find_samples, load_item
from dock.models.graph import build_graph
from dock.models.integrals import add_overlap, integrals_of
from dock.models.targets import TargetLayout

SHELLS = {"H": [0, 1], "C": [0, 0, 1, 2]}
NO_CUTOFFS = np.zeros(4)


def item_of(calc, layout):
    graph = build_graph(calc.structure, calc.basis, calc.hamiltonian.pairs, layout.species)
    graph = add_overlap(graph, calc.overlap, layout)
    return Item(graph, *layout.labels(calc.hamiltonian, graph))


def layout_of(spin=Spin.NONE, *, reversal=False):
    shells = tuple(tuple(SHELLS[label]) for label in ("C", "H"))
    return TargetLayout(("C", "H"), shells, spin, time_reversal=reversal)


def pairs_of_ch(rng, layout, count=6):
    """Items of C–H, whose blocks have the overlap's shape times −10 eV, with some noise."""
    found = []
    for _ in range(count):
        calc = calculation(molecule(rng, 2), spin=layout.spin, shells=SHELLS, shift=-10.0)
        found.append(item_of(calc, replace(layout, time_reversal=False)))
    kept = slice(None)
    if layout.time_reversal:
        kept = [0, 5, 6, 7]
    return [item._replace(node=item.node[:, kept], edge=item.edge[:, kept]) for item in found]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(("spin", "reversal"), SPINS)
@pytest.mark.parametrize("kind", ["two-centre", "three-centre"])
def test_equivariant_hermitian_and_not_zero(rng, monkeypatch, kind, spin, reversal, several):
    layout = layout_of(spin, reversal=reversal)
    items = pairs_of_ch(rng, layout)
    monkeypatch.setattr(layered, "are_several", lambda *_: several)
    form = fit_closed_form(kind, lambda: iter(items), layout, NO_CUTOFFS)
    assert form.needs_overlap
    assert form.only_unseen is not several
    calc = calculation(molecule(rng, 4), spin=spin, shells=SHELLS)
    graph = add_overlap(
        build_graph(calc.structure, calc.basis, calc.overlap.pairs, layout.species),
        calc.overlap,
        layout,
    )
    first = layout.matrix(*form.predict(graph), graph)
    assert first.hermiticity_error() == 0.0
    same = np.flatnonzero(graph.species[graph.receiver] == graph.species[graph.sender])
    assert len(same) >= 2
    edge = form.predict(graph)[1][same]
    assert np.abs(edge[:, 0]).max() > 0.1
    if spin is Spin.NONCOLLINEAR:  # only the part without spin has an overlap's shape
        assert not np.any(edge[:, 1:])
    if spin is Spin.COLLINEAR:
        np.testing.assert_array_equal(edge[:, 0], edge[:, 1])
    scale = np.abs(first.entries).max()
    for sign in (1, -1):
        turn = sign * Rotation.random(random_state=3).as_matrix()
        expected, S = first.rotate(turn), calc.overlap.rotate(turn)
        turned = build_graph(expected.structure, expected.basis, S.pairs, layout.species)
        turned = add_overlap(turned, S, layout)
        found = layout.matrix(*form.predict(turned), turned)
        assert np.abs((found - expected).entries).max() < 1e-10 * scale


def test_parts_of_a_graph_give_the_whole(rng):
    layout = layout_of()
    items = pairs_of_ch(rng, layout)
    form = fit_elements(lambda: iter(items), layout, NO_CUTOFFS)
    assert isinstance(form, ElementForm)
    graph = item_of(calculation(molecule(rng, 6), shells=SHELLS), layout).graph
    assert_parts_are_the_whole(form, graph, 4)


def test_a_multiple_of_the_overlap_is_found(rng):
    """The arbitrary zero of energy, a multiple of S, reaches pairs that no structure has."""
    layout = layout_of()
    items = [
        item._replace(node=0 * item.node, edge=-30.0 * blocks_of_overlap(layout, item))
        for item in pairs_of_ch(rng, layout, 20)
    ]
    form = fit_elements(lambda: iter(items), layout, NO_CUTOFFS)
    other = item_of(calculation(molecule(rng, 4), shells=SHELLS), layout)
    wanted = -30.0 * blocks_of_overlap(layout, other)
    for new in (False, True):
        ends = other.graph.species[other.graph.receiver], other.graph.species[other.graph.sender]
        chosen = np.equal(*ends) == new
        left = (form.predict(other.graph)[1] - wanted)[chosen]
        assert np.abs(left).max() < 0.02 * np.abs(wanted[chosen]).max()


def blocks_of_overlap(layout, item):
    from dock.models.integrals import integrals_of, overlap_of

    return integrals_of(layout).blocks(overlap_of(item.graph), item.graph)[:, None]


def test_elements_are_taken_only_where_kinds_are_lacking(rng):
    layout = layout_of()
    items = pairs_of_ch(rng, layout)
    whole = [item_of(calculation(molecule(rng, 5), shells=SHELLS), layout) for _ in range(6)]
    assert fit_elements(lambda: iter(items), layout, NO_CUTOFFS) is not None
    assert fit_elements(lambda: iter([*items, *whole]), layout, NO_CUTOFFS) is None


def test_elements_are_not_taken_where_a_structure_has_no_overlap(rng, caplog):
    layout = layout_of()
    bare = [
        item._replace(graph=replace(item.graph, overlap=None)) for item in pairs_of_ch(rng, layout)
    ]
    with caplog.at_level(logging.INFO, "dock"):
        form = fit_closed_form("two-centre", lambda: iter(bare), layout, NO_CUTOFFS)
    assert not form.needs_overlap
    assert "not all structures have an overlap" in caplog.text


def test_different_molecules_stand_on_elements(rng):
    """Also where no two of them have the same atoms."""
    layout = layout_of()
    items = [
        item_of(
            calculation(molecule(rng, n, labels=["H", *["C"] * (n - 1)]), shells=SHELLS), layout
        )
        for n in range(2, 8)
    ]
    form = fit_closed_form("two-centre", lambda: iter(items), layout, NO_CUTOFFS)
    assert isinstance(form, Layered)
    assert not form.only_unseen


def test_a_single_substance_is_predicted_as_without_elements(bundled):
    """Of water alone the forms are better fitted to the labels as they are."""
    layout = TargetLayout(("H", "O"), ((0, 0, 1), (0, 0, 1, 1, 2)), Spin.NONE)
    items = [load_item(sample, layout) for sample in find_samples(bundled / "water")[:16]]
    form = fit_closed_form("two-centre", lambda: iter(items), layout, NO_CUTOFFS)
    plain = fit_two_centre(lambda: iter(items), layout, NO_CUTOFFS)
    assert isinstance(form, Layered)
    assert form.only_unseen
    for found, expected in zip(
        form.predict(items[0].graph), plain.predict(items[0].graph), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    stored = form.stored()
    again = read_closed_form(stored.facts, layout, stored.arrays)
    assert again.only_unseen
    pair = Structure(np.eye(3) * 20, [[0, 0, 0], [0, 0, 2.6]], [8, 8])
    basis = Basis.from_ls({"O": layout.ls[1]}, pair.labels)
    graph = build_graph(pair, basis, neighbour_pairs(pair, 4.0), layout.species)
    overlap = np.full((graph.n_edges, integrals_of(layout).size), 0.1)
    node, edge = again.predict(replace(graph, overlap=overlap))
    assert np.abs(edge).max() > 0.1  # eV
    np.testing.assert_array_equal(node, plain.predict(graph)[0])
