"""Spin moments: from a file, or from the density matrix."""

from __future__ import annotations

import json

import numpy as np
import pytest
from datasets import make_set

import dock
from dock.core.spin import Spin
from dock.errors import FormatError, MissingDataError
from dock.models.data.moments import moments_of, spin_moments
from dock.models.data.samples import find_samples, load_item
from dock.models.targets import TargetLayout


@pytest.fixture
def folder(tmp_path):
    return make_set(tmp_path / "set", (2, 3, 2))


class TestMoments:
    def test_from_a_file(self, folder):
        calc = dock.read(folder / "m00")
        (folder / "m00" / "moments.json").write_text("[[0, 0, 1], [0.5, 0, 0]]")
        found = moments_of(folder / "m00", calc)
        np.testing.assert_array_equal(found, [[0, 0, 1], [0.5, 0, 0]])

    @pytest.mark.parametrize(
        "text", ["[[0, 0, 1]]", "[[0, 0], [1, 1]]", "{}", "[[0,0,1],[0,0,NaN]]", "x", '"abc"']
    )
    def test_bad_file(self, folder, text):
        (folder / "m00" / "moments.json").write_text(text)
        with pytest.raises(FormatError, match="a list of 2 lists of three"):
            moments_of(folder / "m00", dock.read(folder / "m00"))

    def test_neither_file_nor_density(self, folder):
        with pytest.raises(MissingDataError, match="moments"):
            moments_of(folder / "m00", dock.read(folder / "m00"))

    @pytest.mark.parametrize(
        ("system", "size", "direction"),
        [
            ("h2o", 0.0, (0, 0, 1)),
            ("o2-spin", 2.0, (0, 0, 1)),
            ("o2-nc-soc", 2.0, (60, 40)),
        ],
    )
    def test_against_openmx(self, bundled, system, size, direction):
        """Triplet oxygen has 2 μ_B; the non-collinear run turns them to θ = 60°, φ = 40°."""
        calc = dock.read(bundled / "openmx" / system)
        total = spin_moments(calc.require("DM"), calc.require("S")).sum(axis=0)
        if len(direction) == 2:
            theta, phi = np.radians(direction)
            direction = (
                np.sin(theta) * np.cos(phi),
                np.sin(theta) * np.sin(phi),
                np.cos(theta),
            )
        np.testing.assert_allclose(total, size * np.array(direction), atol=0.05)

    def test_they_come_with_the_item(self, folder):
        (folder / "m00" / "moments.json").write_text(json.dumps([[0, 0, 1], [0, 1, 0]]))
        item = load_item(
            find_samples(folder)[0],
            TargetLayout(("C", "H"), ((0, 1), (0,)), Spin.NONE),
            with_moments=True,
        )
        np.testing.assert_array_equal(item.graph.moments, [[0, 0, 1], [0, 1, 0]])
