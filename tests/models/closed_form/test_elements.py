"""Crystals of many elements, from real runs: the closed forms on crystals that no fit has seen."""

from __future__ import annotations

import tarfile

import numpy as np
import pytest

import dock
from dock.models.closed_form import fit_closed_form
from dock.models.data.samples import find_samples, load_item
from dock.models.statistics import find_cutoffs
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


def error(form, layout, items):
    """Return the mean absolute error in meV."""
    total = count = 0.0
    for item in items:
        node, edge = (0.0, 0.0) if form is None else form.predict(item.graph)
        total += np.abs(node - item.node).sum() + np.abs(edge - item.edge).sum()
        count += layout.node_mask[item.graph.species].sum()
        count += layout.edge_mask[item.graph.edge_type].sum()
    return 1e3 * total / count


def test_three_centres_do_no_harm(crystals):
    """With as many functions as rows, and no judge, they were wrong by electronvolts."""
    layout, fitted, others = crystals
    cutoffs = find_cutoffs((item.graph for item in fitted), layout.n_species)
    three, two = (
        error(fit_closed_form(kind, lambda: iter(fitted), layout, cutoffs), layout, others)
        for kind in ("three-centre", "two-centre")
    )
    assert three < 1.1 * two
    assert three < 0.8 * error(None, layout, others)
