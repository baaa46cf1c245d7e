"""``dock info``, ``check``, ``diff`` and ``formats``."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import samples

import dock
from dock.converters import format_names


@pytest.fixture
def si(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return samples.unified(tmp_path / "si")


class TestInfo:
    def test_text(self, si):
        out = samples.cli("info", si).out
        for words in ("Si2, 2 atoms", "-1.930082 eV", "8", "2s1p", "OpenMX 3.9 (si.scfout)",
                      "174 pairs", "exp(+2 pi i k.R)", "y z x"):  # fmt: skip
            assert words in out

    def test_of_the_run_and_of_the_folder_agree(self, si, bundled):
        one = json.loads(samples.cli("info", si, "--json").out)
        two = json.loads(samples.cli("info", bundled / "openmx" / "si", "--json").out)
        different = {key for key in one if one[key] != two[key]}
        assert different <= {"path", "format", "matrix_files"}
        assert one["species"][0]["shells_l"] == [0, 0, 1]

    def test_current_folder_and_given_format(self, si, monkeypatch):
        monkeypatch.chdir(si)
        assert "Si2" in samples.cli("info").out
        assert samples.cli("info", "--from", "deeph").code == 0
        samples.refused(samples.cli("info", "--from", "openmx"), "HS.fileout")

    def test_without_matrices_and_levels(self, si):
        for file in si.glob("*.h5"):
            file.unlink()
        info = json.loads((si / "info.json").read_text())
        del info["occupation"]
        (si / "info.json").write_text(json.dumps(info | {"fermi_energy_eV": None}))
        out = samples.cli("info", si).out
        assert "unknown" in out
        assert "none" in out
        assert "sparsity" not in out

    def test_notes_of_the_source(self, bundled):
        out = samples.cli("info", bundled / "openmx" / "o2-nc-soc-v38").out
        assert "does not store the imaginary part" in out


class TestCheck:
    def test_real_runs_are_sound(self, bundled, tmp_path):
        answer = samples.cli("check", bundled / "openmx")
        assert answer.code == 0, answer
        assert f"{len(samples.BUNDLED)} sound, 0 with errors" in answer.out
        # …and so are the folders made of them.
        samples.cli("convert", bundled / "openmx", "-o", tmp_path / "all", "-q")
        assert samples.cli("check", tmp_path / "all").code == 0

    def test_what_is_wrong_is_listed(self, si):
        def spoil(old):
            old[7] += 1.0
            return old

        samples.rewrite(si / "hamiltonian.h5", entries=spoil)
        samples.rewrite(si / "density_matrix.h5", entries=lambda old: 1.01 * old)
        answer = samples.cli("check", si)
        assert answer.code == 2
        assert "1.0e+00 eV" in answer.out
        assert "Tr(ρS) = 8.08" in answer.out
        content = json.loads(samples.cli("check", si, "--json").out)
        assert content["ok"] is False
        bad = {item["what"] for item in content["findings"] if item["level"] == "error"}
        assert bad == {"hamiltonian", "Tr(ρS)"}

    def test_a_file_that_cannot_be_read_is_a_finding(self, si, tmp_path):
        samples.unified(tmp_path / "good", "h2o")
        (si / "overlap.h5").write_bytes(b"nothing")
        answer = samples.cli("check", tmp_path)
        assert answer.code == 2
        assert "1 sound, 1 with errors" in answer.out
        assert str(si / "overlap.h5") in answer.out

    def test_negative_overlap(self, si):
        samples.rewrite(si / "overlap.h5", entries=lambda old: -old)
        answer = samples.cli("check", si, "-q")
        assert answer.code == 2
        assert "not positive definite" in answer.out

    def test_nothing_there(self, tmp_path):
        samples.refused(samples.cli("check", tmp_path), tmp_path)


class TestDiff:
    def test_same(self, si, bundled):
        answer = samples.cli("diff", si, bundled / "openmx" / "si")
        assert answer.code == 0
        assert answer.out.count("max |Δ| 0.000e+00") == 5

    def test_where_and_how_much(self, si, tmp_path):
        other = samples.unified(tmp_path / "other")

        def shift(old):
            old[0] += 0.5  # first entry of the first pair: s0 with s0
            return old

        samples.rewrite(other / "hamiltonian.h5", entries=shift)
        out = samples.cli("diff", si, other, "--rows", "1").out
        assert "hamiltonian: max |Δ| 5.000e-01 eV" in out
        row = next(line for line in out.splitlines() if line.startswith("Si"))
        assert row.split()[:4] == ["Si", "s0", "Si", "s0"]
        content = [json.loads(x) for x in samples.cli("diff", si, other, "--json").out.splitlines()]
        (H,) = [item for item in content if item["quantity"] == "hamiltonian"]
        assert H["max"] == pytest.approx(0.5)
        assert H["mean"] == pytest.approx(0.5 / 4350)

    def test_order_and_missing_matrices(self, si, tmp_path, rng):
        calc = dock.read(si)
        S = calc.require("S")
        turned = S.take_pairs(rng.permutation(len(S.pairs)))
        dock.write(calc.replace(matrices={"S": turned}), tmp_path / "other")
        answer = samples.cli("diff", si, tmp_path / "other")
        assert "same pairs in another order" in answer.out
        assert f"only {si} has the hamiltonian" in answer.err
        near = np.flatnonzero(np.abs(S.pairs.R).max(axis=1) < 2)
        dock.write(calc.replace(matrices={"S": S.take_pairs(near)}), tmp_path / "less")
        assert "pairs only in the first" in samples.cli("diff", si, tmp_path / "less").out

    def test_different_things(self, si, tmp_path):
        water = samples.unified(tmp_path / "h2o", "h2o")
        samples.refused(samples.cli("diff", si, water), "different structures", si, water)
        two = samples.unified(tmp_path / "o2", "o2-spin")
        nc = samples.unified(tmp_path / "nc", "o2-nc-soc")
        samples.refused(samples.cli("diff", two, nc), "different structures")
        for file in water.glob("*.h5"):
            file.unlink()
        samples.refused(samples.cli("diff", water, samples.OPENMX / "h2o"), "no matrix in common")


class TestFormats:
    def test_all_are_listed(self):
        rows = [json.loads(line) for line in samples.cli("formats", "--json").out.splitlines()]
        assert [row["name"] for row in rows] == list(format_names())
        openmx = next(row for row in rows if row["name"] == "openmx")
        assert openmx["reads"] == ["S", "H", "DM", "r", "grad"]
        assert openmx["read_spins"] == ["none", "collinear", "noncollinear"]
        assert "spin_orbit" in openmx["settings"]
        restart = next(row for row in rows if row["name"] == "openmx-restart")
        assert restart["reads"] == restart["read_spins"] == []
        text = samples.cli("formats").out
        assert all(name in text for name in format_names())


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_entered(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o000)
    samples.refused(samples.cli("info", Path(closed) / "x"), "closed")
