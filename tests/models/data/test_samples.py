"""Reading a data set and what is said about its faults."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import samples as files
from datasets import calculation, make_set, molecule
from synthetic import random_matrix

import dock
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.errors import FormatError, LayoutError, MissingDataError, UsageError
from dock.models.data.samples import (
    find_samples,
    inspect_samples,
    load_item,
    moments_of,
    spin_moments,
)
from dock.models.targets import TargetLayout

ONE = {"H": [0]}


@pytest.fixture
def folder(tmp_path):
    return make_set(tmp_path / "set", (2, 3, 2))


def layout_of(folder, **options):
    report = inspect_samples(find_samples(folder), "hamiltonian")
    return TargetLayout.from_bases(report.bases, report.spin, **options)


def faults(folder, **options):
    report = inspect_samples(find_samples(folder), "hamiltonian", **options)
    with pytest.raises(UsageError, match="nothing was trained"):
        report.require_good()
    return report.errors


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


class TestInspection:
    def test_good(self, folder):
        report = inspect_samples(find_samples(folder), "hamiltonian")
        report.require_good()
        assert report.spin is Spin.NONE
        assert (report.errors, report.warnings) == ([], [])
        assert len(report.bases) == 3

    def test_progress(self, folder):
        said = []
        inspect_samples(find_samples(folder), "H", progress=lambda *x: said.append(x))
        assert said == [(1, 3), (2, 3), (3, 3)]

    @pytest.mark.parametrize("deep", [True, False])
    def test_mixed_spins(self, folder, rng, deep):
        calc = calculation(molecule(rng, 2), spin=Spin.COLLINEAR)
        dock.write(calc, folder / "n")
        (error,) = faults(folder, deep=deep)
        assert error.startswith("n: spin is 'collinear', but 'none'")

    @pytest.mark.parametrize("deep", [True, False])
    def test_mixed_bases(self, folder, rng, deep):
        dock.write(calculation(molecule(rng, 2), shells={"H": [0, 1], "C": [0, 1]}), folder / "n")
        (error,) = faults(folder, deep=deep)
        assert error.startswith("n: H has shells (0, 1), but (0,)")

    @pytest.mark.parametrize("deep", [True, False])
    def test_missing_target(self, folder, deep):
        (folder / "m01" / "hamiltonian.h5").unlink()
        (error,) = faults(folder, deep=deep)
        assert error.startswith("m01: hamiltonian.h5 is missing")

    def test_a_prediction_is_no_label(self, folder):
        place = folder / "m01"
        (place / "hamiltonian.h5").rename(place / "hamiltonian_pred.h5")
        (error,) = faults(folder)
        assert "hamiltonian.h5 is missing" in error

    def test_nan(self, folder):
        def spoil(entries):
            entries[3] = np.nan
            return entries

        files.rewrite(folder / "m02" / "hamiltonian.h5", entries=spoil)
        (error,) = faults(folder)
        assert error.startswith("m02: ")
        assert "1 NaN or infinite" in error
        inspect_samples(find_samples(folder), "H", deep=False).require_good()
        sample = find_samples(folder)[2]
        with pytest.raises(FormatError, match="NaN"):
            load_item(sample, TargetLayout(("C", "H"), ((0, 1), (0,)), Spin.NONE))

    def test_one_atom_too_few(self, folder, rng):
        shutil.copy(folder / "m00" / "POSCAR", folder / "m01" / "POSCAR")
        (error,) = faults(folder)
        assert error.startswith("m01: ")
        assert "atoms" in error

    def test_cut_file(self, folder):
        path = folder / "m01" / "hamiltonian.h5"
        path.write_bytes(path.read_bytes()[:500])
        (error,) = faults(folder)
        assert str(path) in error

    def test_at_most_five_are_shown(self, folder, tmp_path):
        for number in range(7):
            shutil.copytree(folder / "m00", folder / f"bad{number}")
            (folder / f"bad{number}" / "hamiltonian.h5").unlink()
        report = inspect_samples(find_samples(folder), "H")
        with pytest.raises(UsageError, match="… and 2 more"):
            report.require_good()

    def test_missing_overlaps(self, folder):
        (folder / "m01" / "overlap.h5").unlink()
        report = inspect_samples(find_samples(folder), "H")
        assert report.errors == []
        assert "m01: no overlap.h5 in 1 structures" in report.warnings[0]
        (error,) = faults(folder, needs_overlap=True)
        assert "standardize_gauge" in error

    def test_far_from_hermitian(self, folder, rng):
        calc = dock.read(folder / "m00")
        H = calc.hamiltonian
        noise = random_matrix(rng, H.structure, H.basis, H.pairs)
        wrong = H.with_entries(H.entries + 0.01 * noise.entries)
        new = dock.Calculation(calc.structure, calc.basis, Spin.NONE, {"hamiltonian": wrong})
        dock.write(new, folder / "wrong")
        report = inspect_samples(find_samples(folder), "H")
        assert any(text.startswith("wrong: the hamiltonian deviates") for text in report.warnings)

    def test_an_outlier_is_named(self, tmp_path):
        shifts = [0.0] * 12
        shifts[7] = 60.0
        folder = make_set(tmp_path / "set", (3,) * 12, shifts=shifts)
        report = inspect_samples(find_samples(folder), "H")
        assert report.errors == []
        assert [text.split(":")[0] for text in report.warnings] == ["m07"]
        assert "converged" in report.warnings[0]


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
        item = load_item(find_samples(folder)[0], layout_of(folder), with_moments=True)
        np.testing.assert_array_equal(item.graph.moments, [[0, 0, 1], [0, 1, 0]])
