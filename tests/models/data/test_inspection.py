"""What is said about the faults of a data set, and how often its files are read."""

from __future__ import annotations

import shutil
from collections import Counter

import numpy as np
import pytest
import samples as files
from datasets import calculation, count_reads, make_set, molecule, small_options
from synthetic import random_matrix

import dock
from dock.converters.deeph import folder as unified
from dock.core.spin import Spin
from dock.errors import FormatError, UsageError
from dock.models.data.inspection import Inspection
from dock.models.data.preparation import prepare_data
from dock.models.data.samples import find_samples, load_item
from dock.models.targets import TargetLayout


@pytest.fixture
def folder(tmp_path):
    return make_set(tmp_path / "set", (2, 3, 2))


def inspect_samples(samples, quantity, **options):
    """Read every matrix of the structures once."""
    inspection = Inspection(samples, quantity, **options)
    inspection.finish()
    return inspection


def faults(folder, **options):
    report = inspect_samples(find_samples(folder), "hamiltonian", **options)
    with pytest.raises(UsageError, match="nothing was trained"):
        report.require_good()
    return report.errors


class TestInspection:
    def test_good(self, folder):
        report = inspect_samples(find_samples(folder), "hamiltonian")
        report.require_good()
        assert report.spin is Spin.NONE
        assert (report.errors, report.warnings) == ([], [])
        assert len(report.calculations) == 3

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


class TestReading:
    """Every file of a structure is read once, whatever the options ask for."""

    @pytest.fixture
    def reads(self, monkeypatch):
        return count_reads(monkeypatch, (unified, ("read_poscar", "read_info", "read_matrix")))

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"model.advanced.standardize_gauge": True},
            {"data.graph.storage_type": "disk"},
            {"data.dft.validation_check": False},
        ],
        ids=["memory", "gauge", "disk", "without-check"],
    )
    def test_once(self, tmp_path, reads, changes):
        folder = make_set(tmp_path / "set", (2, 3, 2, 3))
        reads.clear()
        prepare_data(small_options(tmp_path / "t.toml", folder, **changes))
        assert sorted(reads) == sorted(str(file) for file in folder.rglob("*") if file.is_file())
        assert set(reads.values()) == {1}

    def test_once_where_time_reversal_is_looked_up(self, tmp_path, reads):
        folder = make_set(tmp_path / "set", (2,) * 6, spin=Spin.NONCOLLINEAR)
        reads.clear()
        prepare_data(small_options(tmp_path / "t.toml", folder))
        assert len(reads) == 6 * 4
        assert set(reads.values()) == {1}

    def test_shards_that_are_there_are_not_made_again(self, tmp_path, reads):
        folder = make_set(tmp_path / "set", (2, 3, 2, 3))
        changes = {"data.graph.storage_type": "disk", "data.dft.validation_check": False}
        prepare_data(small_options(tmp_path / "t.toml", folder, **changes))
        reads.clear()
        prepare_data(small_options(tmp_path / "t.toml", folder, **changes))
        assert {name.rpartition("/")[2] for name in reads} == {"POSCAR", "info.json"}

    def test_what_nobody_asked_for_is_checked_alone(self, tmp_path, reads):
        """Two of six structures are used; of the others the matrix that is learned is read."""
        folder = make_set(tmp_path / "set", (2,) * 6)
        reads.clear()
        changes = {f"process.train.dataloader.{name}_size": 1 for name in ("train", "validate")}
        parts = prepare_data(small_options(tmp_path / "t.toml", folder, **changes))
        names = Counter(name.rpartition("/")[2] for name in reads)
        assert len(parts.store) == 2
        assert names == {"POSCAR": 6, "info.json": 6, "hamiltonian.h5": 6, "overlap.h5": 2}
        assert set(reads.values()) == {1}

    def test_all_faults_are_listed_in_order(self, tmp_path):
        """Those that stop the labels of one structure too."""
        folder = make_set(tmp_path / "set", (2,) * 5)
        for name in ("m04", "m01", "m03"):
            path = folder / name / "hamiltonian.h5"
            path.write_bytes(path.read_bytes()[:500])
        with pytest.raises(UsageError, match="faults in 3 of its structures") as caught:
            prepare_data(small_options(tmp_path / "t.toml", folder))
        text = str(caught.value)
        assert text.index("m01: ") < text.index("m03: ") < text.index("m04: ")
