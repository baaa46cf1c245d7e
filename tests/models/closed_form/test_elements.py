"""Crystals of many elements, from real runs: the closed forms on crystals that no fit has seen."""

from __future__ import annotations

import logging
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import dock
from dock.models.backend import PairsOfBasis
from dock.models.closed_form import fit_closed_form, fit_two_centre
from dock.models.closed_form.backend import ClosedFormModel
from dock.models.data.samples import find_samples, load_item
from dock.models.graph import build_graph
from dock.models.integrals import add_overlap, integrals_of, overlap_of
from dock.models.modelfile import ModelFile, read_model, write_model
from dock.models.statistics import Statistics, find_cutoffs
from dock.models.targets import TargetLayout

pytestmark = pytest.mark.shared

CRYSTALS = 24  # of the sixty, two structures of each
HELD_OUT = 4  # every fourth


@pytest.fixture(scope="module")
def crystals(shared, tmp_path_factory):
    """Return the targets, and the structures of crystals to fit and of others."""
    place = tmp_path_factory.mktemp("elements")
    with tarfile.open(shared / "fixtures/siesta/elements_set/elements_set.tar.xz") as archive:
        archive.extractall(place, filter="data")
    runs = sorted(path for path in (place / "elements_set").iterdir() if path.is_dir())
    dock.convert(
        [*runs[:CRYSTALS], *runs[60 : 60 + CRYSTALS]], place / "set", source="siesta", jobs=1
    )
    samples = find_samples(place / "set")
    bases = [dock.read(sample.folder).basis for sample in samples]
    layout = TargetLayout.from_bases(bases, dock.read(samples[0].folder).spin)
    items = [load_item(sample, layout) for sample in samples]
    contents = [tuple(item.graph.structure.labels) for item in items]
    kinds = list(dict.fromkeys(contents))
    out = {kind for number, kind in enumerate(kinds) if number % HELD_OUT == HELD_OUT - 1}
    fitted = [item for item, kind in zip(items, contents, strict=True) if kind not in out]
    others = [item for item, kind in zip(items, contents, strict=True) if kind in out]
    assert len(fitted) > 30
    assert len(others) > 8
    return layout, fitted, others


@pytest.fixture(scope="module")
def two_centres(crystals):
    """Return what is fitted to two centres alone, and on top of elements."""
    layout, fitted, _ = crystals
    cutoffs = find_cutoffs((item.graph for item in fitted), layout.n_species)
    return (
        fit_two_centre(lambda: iter(fitted), layout, cutoffs),
        fit_closed_form("two-centre", lambda: iter(fitted), layout, cutoffs),
    )


@pytest.fixture(scope="module")
def alloy(crystals):
    """Return SiGe, of whose elements the fit knows the crystals alone, with its overlap."""
    layout, _, others = crystals
    name = "SiGe"
    item = next(item for item in others if item.graph.structure.formula == name)
    S = integrals_of(layout).blocks(overlap_of(item.graph), item.graph)[:, None]
    plain = replace(layout, quantity="overlap")
    onsite = np.broadcast_to(np.eye(plain.n_common), (item.graph.n_atoms, 1, *S.shape[2:]))
    return item, plain.matrix(onsite, S, item.graph)


def is_new(layout, items, fitted):
    """Tell which edges have a kind that the fit has not seen."""
    seen = np.zeros(layout.n_species**2, dtype=bool)
    for item in fitted:
        seen[item.graph.edge_type] = True
    return [~seen[item.graph.edge_type] for item in items]


def error(form, layout, items):
    """Return the mean absolute error in meV."""
    total = count = 0.0
    for item in items:
        node, edge = (0.0, 0.0) if form is None else form.predict(item.graph)
        total += np.abs(node - item.node).sum() + np.abs(edge - item.edge).sum()
        count += layout.node_mask[item.graph.species].sum()
        count += layout.edge_mask[item.graph.edge_type].sum()
    return 1e3 * total / count


def test_three_centres_do_no_harm(crystals, two_centres):
    """With as many functions as rows, and no judge, they were wrong by electronvolts."""
    layout, fitted, others = crystals
    cutoffs = find_cutoffs((item.graph for item in fitted), layout.n_species)
    form = fit_closed_form("three-centre", lambda: iter(fitted), layout, cutoffs)
    three, two = (error(each, layout, others) for each in (form, two_centres[1]))
    assert three < 1.1 * two
    assert three < 0.8 * error(None, layout, others)


def test_pairs_never_seen_get_their_elements_blocks(crystals, two_centres):
    """They were zero where the truth is electronvolts, and atoms beside them were as wrong."""
    layout, fitted, others = crystals
    assert all(new.any() for new in is_new(layout, others, fitted))
    alone, on_elements = two_centres
    left = {"alone": [0.0, 0.0], "on elements": [0.0, 0.0], "labels": [0.0, 0.0]}
    for item, new in zip(others, is_new(layout, others, fitted), strict=True):
        found = {"alone": alone, "on elements": on_elements}
        blocks = {name: form.predict(item.graph) for name, form in found.items()}
        assert not np.any(blocks["alone"][1][new])
        blocks["labels"] = 0 * item.node, 0 * item.edge
        for name, (node, edge) in blocks.items():
            left[name][0] += np.abs(node - item.node).sum()
            left[name][1] += np.abs(edge - item.edge)[new].sum()
    assert left["on elements"][1] < 0.5 * left["labels"][1]
    assert left["on elements"][0] < 0.5 * left["alone"][0]
    assert error(on_elements, layout, others) < 0.5 * error(alone, layout, others)


def test_equivariant_and_hermitian_with_new_pairs(crystals, two_centres, alloy):
    layout = crystals[0]
    item, S = alloy
    form = two_centres[1]
    graph = add_overlap(item.graph, S, layout)
    first = layout.matrix(*form.predict(graph), graph)
    assert first.hermiticity_error() == 0.0
    scale = np.abs(first.entries).max()
    for sign in (1, -1):
        turn = sign * Rotation.random(random_state=3).as_matrix()
        expected, turned = first.rotate(turn), S.rotate(turn)
        graph = build_graph(expected.structure, expected.basis, S.pairs, layout.species)
        graph = add_overlap(graph, turned, layout)
        found = layout.matrix(*form.predict(graph), graph)
        assert np.abs((found - expected).entries).max() < 1e-10 * scale


def test_in_a_file_and_without_numbers_of_the_overlap(
    crystals, two_centres, alloy, tmp_path, caplog
):
    layout, fitted, _ = crystals
    item, S = alloy
    cutoffs = np.zeros(layout.n_species**2)
    statistics = Statistics.of(fitted[:4], layout)
    models = []
    for name, form in zip(("alone", "elements"), two_centres, strict=True):
        path = tmp_path / f"{name}.h5"
        write_model(path, ModelFile("two-centre", layout, cutoffs, statistics, form.stored()))
        models.append(ClosedFormModel(read_model(path)))
        graph = item.graph
        expected = layout.matrix(*form.predict(graph), graph)
        found = models[-1].predict(S.structure, S).on_pairs(expected.pairs)
        np.testing.assert_allclose(found.entries, expected.entries, atol=1e-6)
    assert [model.scope.of_unseen for model in models] == ["zeros", "elements"]
    assert "Ge-Si" in models[1].describe()["unseen_pairs"]
    with caplog.at_level(logging.WARNING, "dock"):
        bare = models[1].predict(S.structure, PairsOfBasis(S.basis, S.pairs))
        models[1].predict(S.structure, PairsOfBasis(S.basis, S.pairs))
    warnings = [record.message for record in caplog.records if "overlap" in record.message]
    assert len(warnings) == 1  # not once for each structure
    assert "pairs that the training data have not get zeros" in warnings[0]
    bare, known = (
        layout.labels(one, item.graph)[1] for one in (bare, models[1].predict(S.structure, S))
    )
    species = item.graph.species
    same = species[item.graph.receiver] == species[item.graph.sender]
    assert not np.any(bare[~same])
    # Functions of the distance stand for the overlap to some per mille.
    assert np.abs(bare - known)[same].mean() < 0.02 * np.abs(known[same]).mean()
