"""Finding the structures of a data set, and their labels."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from datasets import make_set

import dock
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.errors import LayoutError, MissingDataError
from dock.models.data.inspection import Inspection
from dock.models.data.samples import find_samples, load_item
from dock.models.targets import TargetLayout

ONE = {"H": [0]}


@pytest.fixture
def folder(tmp_path):
    return make_set(tmp_path / "set", (2, 3, 2))


def layout_of(folder, **options):
    seen = Inspection(find_samples(folder), "hamiltonian")
    bases = [calc.basis for _, calc in seen.calculations]
    return TargetLayout.from_bases(bases, seen.spin, **options)


class TestFinding:
    def test_sorted_below_dft_at_any_depth(self, folder, tmp_path):
        shutil.copytree(folder, tmp_path / "other" / "dft" / "deep")
        found = find_samples(tmp_path / "other")
        assert [sample.name for sample in found] == ["deep/m00", "deep/m01", "deep/m02"]
        assert (found[0].folder / "info.json").is_file()

    def test_no_folder(self, tmp_path):
        with pytest.raises(MissingDataError, match="no such folder"):
            find_samples(tmp_path / "none")

    @pytest.mark.parametrize("name", ["POSCAR", "info.json"])
    def test_matrices_without_their_head_are_not_passed_over(self, folder, name):
        (folder / "m01" / name).unlink()
        with pytest.raises(MissingDataError, match=f"m01: {name} is missing"):
            find_samples(folder)


class TestItems:
    @pytest.mark.parametrize("spin", list(Spin))
    def test_labels_are_the_matrix(self, tmp_path, spin):
        folder = make_set(tmp_path / "set", (3,), spin=spin)
        layout, (sample,) = layout_of(folder), find_samples(folder)
        item = load_item(sample, layout)
        truth = dock.read(sample.folder).hamiltonian
        back = layout.matrix(item.node, item.edge, item.graph)
        assert np.abs((back - truth).entries).max() < 1e-12

    def test_edges_are_those_of_h_and_s(self, folder):
        calc = dock.read(folder / "m01")
        pairs = calc.hamiltonian.pairs
        more = pairs.union(Pairs([[1, 0, 0], [-1, 0, 0]], [0, 2], [2, 0], 3))
        wider = calc.overlap.on_pairs(more)
        matrices = {"hamiltonian": calc.hamiltonian, "overlap": wider}
        new = dock.Calculation(calc.structure, calc.basis, Spin.NONE, matrices)
        dock.write(new, folder / "wide")
        item = load_item(find_samples(folder)[-1], layout_of(folder))
        assert item.graph.n_edges == len(pairs) - 3 + 2
        assert not item.edge[item.graph.lengths > 10].any()

    def test_another_layout(self, folder):
        sample = find_samples(folder)[0]
        with pytest.raises(LayoutError, match="m00"):
            load_item(sample, TargetLayout(("H",), ((0,),), Spin.NONE))

    @pytest.mark.parametrize("spin", list(Spin))
    def test_a_standard_gauge(self, tmp_path, spin):
        """Labels with the overlap at hand do not change when a multiple of S is added to H."""
        plain = make_set(tmp_path / "a", (3, 2), spin=spin)
        shifted = make_set(tmp_path / "b", (3, 2), spin=spin, shifts=(5.0, -3.0))
        layout = layout_of(plain)
        for one, two in zip(find_samples(plain), find_samples(shifted), strict=True):
            first, second = (load_item(x, layout, with_overlap=True) for x in (one, two))
            np.testing.assert_allclose(second.node, first.node, atol=1e-12)
            np.testing.assert_allclose(second.edge, first.edge, atol=1e-12)
            assert np.abs(load_item(two, layout).node - first.node).max() > 1
