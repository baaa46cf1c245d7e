"""Two-centre integrals: the overlap of a real molecule is made of them, in any direction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import dock
from dock.core.spin import Spin
from dock.errors import LayoutError
from dock.models.backend import PairsOfBasis
from dock.models.graph import build_graph
from dock.models.integrals import add_overlap, integrals_of, overlap_of
from dock.models.targets import TargetLayout

EXACT = 1e-6  # of the files' own integrals


@pytest.fixture
def water(bundled):
    """The layout of water, its overlap, and the graph with its integrals."""
    calc = dock.read(bundled / "water" / "055")
    layout = TargetLayout.from_bases([calc.basis], Spin.NONE)
    graph = build_graph(calc.structure, calc.basis, calc.overlap.pairs, layout.species)
    return layout, calc.overlap, add_overlap(graph, calc.overlap, layout)


def test_blocks_follow_from_them(water):
    layout, overlap, graph = water
    plain = replace(layout, quantity="overlap")
    blocks = plain.labels(overlap, graph)[1][:, 0]
    made = integrals_of(layout).blocks(overlap_of(graph), graph)
    assert np.abs(blocks).max() > 0.1
    np.testing.assert_allclose(made, blocks, atol=EXACT)


def test_they_do_not_turn(water):
    layout, overlap, graph = water
    turned = overlap.rotate(-Rotation.random(random_state=2).as_matrix())
    other = build_graph(turned.structure, turned.basis, turned.pairs, layout.species)
    found = overlap_of(add_overlap(other, turned, layout))
    np.testing.assert_allclose(found, overlap_of(graph), atol=1e-12)


def test_a_pattern_may_lack_the_numbers_or_some_pairs(water):
    layout, overlap, graph = water
    bare = replace(graph, overlap=None)
    assert add_overlap(bare, PairsOfBasis(overlap.basis, overlap.pairs), layout).overlap is None
    with pytest.raises(LayoutError, match="without the overlap"):
        overlap_of(bare)
    alone = overlap.take_pairs(np.flatnonzero(overlap.pairs.is_onsite))
    found = add_overlap(bare, PairsOfBasis(overlap.basis, overlap.pairs, alone), layout)
    assert not np.any(overlap_of(found))
