"""``dock bands``: every option, and what goes wrong."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import samples

import dock


@pytest.fixture
def si(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return samples.unified(tmp_path / "si")


SHORT = ("--path", "LGX", "--points", "5")


class TestOptions:
    def test_folder_file_and_run_agree(self, si, bundled):
        for name, path in (("a", si), ("b", si / "hamiltonian.h5"), ("c", bundled / "openmx/si")):
            assert samples.cli("bands", path, *SHORT, "-o", f"{name}.h5").code == 0
        contents = [samples.listing(Path())[f"{name}.json"] for name in "abc"]
        assert len(set(contents)) == 1

    def test_default_output_is_beside_the_input(self, si, monkeypatch):
        answer = samples.cli("bands", si, *SHORT)
        assert answer.out.splitlines()[-2:] == [str(si / "band.h5"), str(si / "band.json")]
        (si / "band.h5").unlink()
        (si / "band.json").unlink()
        monkeypatch.chdir(si)
        assert samples.cli("bands", *SHORT).out.splitlines()[-2:] == ["band.h5", "band.json"]

    def test_text(self, si):
        out = samples.cli("bands", si, *SHORT).out
        assert "10 at" in out
        assert "-1.930082 eV (given)" in out
        assert "indirect" in out
        assert "band 4" in out
        assert "band 5" in out

    def test_automatic_path(self, si):
        out = samples.cli("bands", si, "--points", "3", "-q").out
        assert "GAMMA–X" in out

    def test_path_from_a_file(self, si):
        Path("K_PATH").write_text("3 0 0 0 0.5 0.5 0 G X\n2 0.5 0.5 0 0 0 0 X G\n")
        assert samples.cli("bands", si, "--path", "K_PATH").code == 0
        with h5py.File(si / "band.h5") as file:
            assert file["band_data"].shape == (10, 5)
            assert file["hsk_symbol_list"][()].tolist() == [[b"G", b"X"], [b"X", b"G"]]

    def test_window_and_states(self, si):
        answer = samples.cli("bands", si, *SHORT, "--window", "-3", "3", "--json")
        content = json.loads(answer.out)
        assert content["first_band"] >= 1
        assert content["n_bands"] < 10
        some = json.loads(
            samples.cli("bands", si, *SHORT, "--states", "2", "-o", "s.h5", "--json").out
        )
        assert 2 <= some["n_bands"] < 10
        assert some["gap_eV"] == pytest.approx(content["gap_eV"])
        far = json.loads(
            samples.cli(
                "bands", si, *SHORT, "--states", "1", "--around", "-99", "-o", "f.h5", "--json"
            ).out
        )
        assert (far["first_band"], far["n_bands"]) == (1, 1)
        samples.refused(samples.cli("bands", si, "--window", "1", "1"), "empty")
        samples.refused(samples.cli("bands", si, "--states", "0"), "at least 1")
        both = ("--states", "1", "--window", "0", "1")
        samples.refused(samples.cli("bands", si, *both), "not both")

    def test_fermi_and_electrons(self, si):
        info = json.loads((si / "info.json").read_text())
        del info["occupation"]
        (si / "info.json").write_text(json.dumps(info | {"fermi_energy_eV": None}))
        plain = samples.cli("bands", si, *SHORT, "-o", "a.h5").out
        assert "unknown: give --fermi E or --electrons N" in plain
        counted = samples.cli("bands", si, *SHORT, "-o", "b.h5", "--electrons", "8", "--json").out
        given = samples.cli("bands", si, *SHORT, "-o", "c.h5", "--fermi", "-1.9", "--json").out
        assert json.loads(counted)["fermi_source"] == "mid-gap"
        assert json.loads(given)["fermi_level_eV"] == -1.9
        assert json.loads(counted)["gap_eV"] == json.loads(given)["gap_eV"] > 1
        # The nearest states to the middle of the gap, not to an absolute zero.
        near = samples.cli(
            "bands", si, *SHORT, "-o", "d.h5", "--electrons", "8", "--states", "2", "--json"
        )
        assert json.loads(near.out)["fermi_level_eV"] == json.loads(counted)["fermi_level_eV"]
        assert json.loads(near.out)["gap_eV"] == json.loads(counted)["gap_eV"]

    def test_plot_and_compare(self, si, tmp_path):
        other = samples.unified(tmp_path / "other")
        samples.rewrite(other / "hamiltonian.h5", entries=lambda old: 1.01 * old)
        answer = samples.cli("bands", si, *SHORT, "--compare", other, "--plot", "b.png")
        assert answer.code == 0
        assert "compared" in answer.out
        assert Path("b.png").read_bytes().startswith(b"\x89PNG")
        assert answer.out.splitlines()[-1] == "b.png"
        content = samples.cli("bands", si, *SHORT, "--compare", si, "-o", "c.h5", "--json").out
        difference = json.loads(content)["difference_eV"]
        assert (difference["max"], difference["mean"], difference["shift"]) == (0, 0, 0)

    def test_threshold_prints_what_was_left_out(self, si):
        out = samples.cli("bands", si, *SHORT, "--s-threshold", "0.01").out
        assert "states left out at a k-point" in out
        with h5py.File(si / "band.h5") as file:
            assert np.isfinite(file["band_data"][0]).all()

    def test_threads_do_not_matter(self, si):
        one = samples.cli("bands", si, *SHORT, "-j", "1", "-o", "a.h5")
        two = samples.cli("bands", si, *SHORT, "-j", "2", "-o", "b.h5")
        assert one.code == two.code == 0
        files = samples.listing(Path())
        assert files["a.h5"] == files["b.h5"]

    def test_collinear_channels(self, tmp_path):
        folder = samples.unified(tmp_path / "o2", "o2-spin")
        assert samples.cli("bands", folder).code == 0
        with h5py.File(folder / "band.h5") as file:
            up, down = file["band_data_up"][()], file["band_data_down"][()]
            merged = file["band_data"][()]
            assert bool(file["spinful"][()])
        np.testing.assert_array_equal(np.sort(np.vstack([up, down]), axis=0), merged)


class TestRefusals:
    def test_existing_output(self, si):
        for name in ("band.h5", "band.json", "b.png"):
            (si / name).write_text("mine")
            answer = samples.cli("bands", si, *SHORT, "--plot", si / "b.png")
            samples.refused(answer, name, "--overwrite")
            assert (si / name).read_text() == "mine"
            (si / name).unlink()
        assert not (si / "band.h5").exists()
        assert samples.cli("bands", si, *SHORT).code == 0
        samples.refused(samples.cli("bands", si, *SHORT), "--overwrite")
        assert samples.cli("bands", si, *SHORT, "--overwrite").code == 0

    def test_places_and_kinds_are_checked_before_the_work(self, si, monkeypatch):
        def never(*_, **__):
            raise AssertionError

        monkeypatch.setattr("dock.post.band_structure.bands", never)
        before = samples.listing(Path())
        samples.refused(samples.cli("bands", si, "-o", "no/b.h5"), "no folder no")
        samples.refused(samples.cli("bands", si, "-o", "b.json"), "HDF5")
        samples.refused(samples.cli("bands", si, "--plot", "b.gif"), ".png, .pdf or .svg")
        samples.refused(samples.cli("bands", si, "--plot", "no/b.png"), "no folder no")
        assert samples.listing(Path()) == before

    def test_missing_matrices(self, si):
        (si / "overlap.h5").rename(si / "away")
        samples.refused(samples.cli("bands", si, *SHORT), "overlap", "compute-overlap", si)
        (si / "away").rename(si / "overlap.h5")
        (si / "hamiltonian.h5").unlink()
        samples.refused(samples.cli("bands", si, *SHORT), "hamiltonian", si)
        samples.refused(samples.cli("bands", si / "hamiltonian.h5"), "no such file")
        assert not (si / "band.h5").exists()

    def test_overlap_that_is_not_positive(self, si):
        samples.rewrite(si / "overlap.h5", entries=lambda old: -old)
        answer = samples.cli("bands", si, *SHORT)
        samples.refused(answer, "positive definite")
        assert not (si / "band.h5").exists()

    def test_missing_partner(self, si):
        calc = dock.read(si)
        H = calc.require("H")
        kept = np.arange(len(H.pairs))[:-1]
        matrices = {"H": H.take_pairs(kept), "S": calc.require("S").take_pairs(kept)}
        dock.write(calc.replace(matrices=matrices), "half")
        samples.refused(samples.cli("bands", "half", *SHORT), "no partner")

    def test_path(self, si):
        samples.refused(samples.cli("bands", si, "--path", "GQ"), "Q")
        samples.refused(samples.cli("bands", si, "--path", "LG", "--points", "0"), "oint")
        Path("K_PATH").write_text("3 0 0 0\n")
        samples.refused(samples.cli("bands", si, "--path", "K_PATH"), "K_PATH")
        samples.refused(samples.cli("bands", "nothing"), "nothing")

    def test_other_of_another_spin(self, si, tmp_path):
        other = samples.unified(tmp_path / "o2", "o2-spin")
        answer = samples.cli("bands", si, *SHORT, "--compare", other)
        samples.refused(answer, "different")
        assert not (si / "band.h5").exists()
