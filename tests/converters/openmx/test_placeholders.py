"""An scfout file has a place for every matrix, known or not: zeros are never taken for data."""

import logging
import re
import shutil

import h5py
import numpy as np
import pytest
import samples

import dock
from dock.converters import WriteOptions
from dock.core.check import check_calculation
from dock.core.position import POSITION_LIMIT, position_error
from dock.errors import FormatError, LayoutError
from dock.post.density_grid import density_source

HS = WriteOptions(quantities=("hamiltonian", "overlap"))
plain = samples.plain_scfout()


def through_openmx(tmp_path, *words, system="h2o"):
    """deeph (H and S alone) → openmx, by the command."""
    dock.write(dock.read(samples.OPENMX / system), tmp_path / "hs", options=HS)
    answer = samples.cli(
        "convert", tmp_path / "hs", "--to", "openmx", "-o", tmp_path / "run", *words
    )
    assert answer.code == 0, answer
    return answer, tmp_path / "run" / f"{system}.scfout"


class TestZeros:
    def test_round_trip_without_density_has_none(self, tmp_path):
        answer, scfout = through_openmx(tmp_path)
        assert "written as zeros" in answer.err
        answer = samples.cli("convert", scfout, "-o", tmp_path / "back")
        assert answer.code == 0
        assert samples.names(tmp_path / "back") == [
            ".dock.json", "POSCAR", "hamiltonian.h5", "info.json", "overlap.h5",
        ]  # fmt: skip
        calc = dock.read(scfout)
        assert calc.available == ("overlap", "hamiltonian")
        note = calc.provenance.extra["notes"][0]
        assert "density matrix, position, gradient" in note
        samples.same_matrices(calc, dock.read(tmp_path / "hs"), 1e-13)
        assert dock.read(tmp_path / "back").provenance.extra["notes"] == [note]

    def test_what_follows_from_it_asks_for_a_density(self, tmp_path):
        _, scfout = through_openmx(tmp_path)
        answer = samples.cli("populations", scfout, "--stored", "-o", tmp_path / "p.h5")
        samples.refused(answer, "density matrix", "--stored needs it")
        for target in ("siesta", "abacus"):
            out = tmp_path / target
            assert samples.cli("convert", scfout, "--to", target, "-o", out).code == 0
            names = [path.name for path in out.rglob("*")]
            assert not any(".DM" in name or "DMR" in name or "rR" in name for name in names), names

    def test_numbers_that_nobody_knew_come_back_unknown(self, tmp_path, bundled):
        calc = dock.read(bundled / "openmx" / "h2o")
        unknown = dock.Calculation(
            calc.structure, calc.basis, calc.spin, calc.matrices, provenance=calc.provenance
        )
        path = dock.write(unknown, tmp_path / "run", "openmx")[0]
        again = dock.read(path)
        assert (again.fermi_level, again.n_electrons) == (None, None)
        assert again.provenance.extra["input"] == calc.provenance.extra["input"]
        path = dock.write(again.replace(fermi_level=0.0), tmp_path / "zero", "openmx")[0]
        assert (dock.read(path).fermi_level, dock.read(path).n_electrons) == (0.0, None)

    def test_a_run_that_made_no_density(self, tmp_path, bundled):
        """HamGNN's OpenMX writes H of superposed atoms, and no density."""
        content = bytearray((bundled / "openmx" / "si" / "si.scfout").read_bytes())
        file = dock.converters.openmx.reader.ScfoutFile.open(bundled / "openmx" / "si/si.scfout")
        begin, count = file.offsets["density"], file.sections["density"] * file.n_entries
        content[begin : begin + 8 * count] = bytes(8 * count)
        begin, count = file.offsets["density_imag"], 2 * file.n_entries
        content[begin : begin + 8 * count] = bytes(8 * count)
        (tmp_path / "si.scfout").write_bytes(content)
        calc = dock.read(tmp_path / "si.scfout")
        assert calc.available == ("overlap", "hamiltonian", "position", "gradient")
        assert any("H0" in note for note in calc.provenance.extra["notes"])

    def test_a_folder_that_got_zeros_before(self, tmp_path, bundled):
        folder = shutil.copytree(bundled / "unified" / "si", tmp_path / "old")
        for name in ("density_matrix", "gradient_matrix"):
            with h5py.File(folder / f"{name}.h5", "r+") as file:
                file["entries"][...] = 0
        calc = dock.read(folder)
        assert set(calc.available) == {"overlap", "hamiltonian", "position"}
        assert [note.split()[0] for note in calc.provenance.extra["notes"]] == [
            "density_matrix.h5", "gradient_matrix.h5",
        ]  # fmt: skip
        dock.write(calc, tmp_path / "new")
        assert not (tmp_path / "new" / "density_matrix.h5").exists()
        with h5py.File(folder / "hamiltonian.h5", "r+") as file:
            file["entries"][...] = 0
        with pytest.raises(FormatError, match="hamiltonian is zero throughout"):
            dock.read(folder).require("H")

    @pytest.mark.parametrize("factor", [0.5, 1.01])
    def test_a_density_of_other_electrons_is_refused(self, tmp_path, bundled, factor):
        calc = dock.read(bundled / "unified" / "si")
        rho = calc.require("DM") * factor
        wrong = calc.replace(matrices={**calc.matrices, "density_matrix": rho})
        dock.write(wrong, tmp_path / "x")
        words = f"holds {8 * factor:g} electrons (Tr ρS), expected 8"
        restart = ["--matrices", "H,S,DM", "--set", "grid=8,8,8", "--allow-lossy"]
        for command in (
            ["populations", tmp_path / "x", "--stored", "-o", tmp_path / "p.h5"],
            ["convert", tmp_path / "x", "--to", "abacus", "--allow-lossy", "-o", tmp_path / "a"],
            ["convert", tmp_path / "x", "--to", "siesta", "--allow-lossy", "-o", tmp_path / "s"],
            ["convert", tmp_path / "x", "--to", "openmx-restart", *restart, "-o", tmp_path / "o"],
        ):
            samples.refused(samples.cli(*command), words)
        with pytest.raises(LayoutError, match=re.escape(words)):
            density_source(dock.read(tmp_path / "x"))
        assert samples.names(tmp_path) == ["x"]


class TestComputed:
    @pytest.mark.shared
    @pytest.mark.parametrize("system", ["si", "co-f"])
    def test_position_and_gradient_are_those_of_the_code(self, tmp_path, shared, bundled, system):
        """OpenMX integrates both on its grid, we by two centres."""
        folder = shared / "public" / "openmx" / "pao"
        answer, scfout = through_openmx(tmp_path, "--basis", folder, system=system)
        assert "density_matrix." in answer.err  # of all that was lacking, this alone is zeros
        calc, own = dock.read(scfout), dock.read(bundled / "openmx" / system)
        assert calc.available == ("overlap", "hamiltonian", "position", "gradient")
        assert np.abs((calc.require("r") - own.require("r")).entries).max() < 1e-4  # Å
        assert np.abs((calc.require("grad") - own.require("grad")).entries).max() < 6e-3  # 1/Å

    def test_from_another_code(self, tmp_path, bundled):
        run = bundled / "siesta" / "graphene"
        command = ["convert", run, "--to", "openmx", "--basis", run, "-o", tmp_path / "x"]
        answer = samples.cli(*command)
        assert answer.code == 0, answer
        calc = dock.read(next((tmp_path / "x").glob("*.scfout")))
        r, S = calc.require("r"), calc.require("S")
        assert position_error(r, S) < 1e-4
        places = calc.structure.positions
        for atom in range(2):  # ⟨s|r|s⟩ is the atom's place
            block, s = r.block([0, 0, 0], atom, atom), S.block([0, 0, 0], atom, atom)
            np.testing.assert_allclose(block[:, 0, 0], places[atom] * s[0, 0], atol=1e-6)
        assert calc.require("grad").hermiticity_error() < 1e-6

    def test_basis_of_another_calculation(self, tmp_path, bundled):
        run = bundled / "siesta" / "graphene"
        dock.write(dock.read(run), tmp_path / "graphene", options=HS)
        with h5py.File(tmp_path / "graphene" / "overlap.h5", "r+") as file:
            file["entries"][...] *= 0.99
        command = ["convert", tmp_path / "graphene", "--to", "openmx", "--basis", run]
        answer = samples.cli(*command, "-o", tmp_path / "x")
        samples.refused(answer, "are of another basis", run)
        dock.write(dock.read(bundled / "openmx" / "graphene-v38"), tmp_path / "y", options=HS)
        command[1] = tmp_path / "y"
        samples.refused(samples.cli(*command, "-o", tmp_path / "x"), "other shells")
        assert not (tmp_path / "x").exists()


class TestPosition:
    """Numbers of another operator where positions belong, as HamGNN's OpenMX writes them."""

    @pytest.fixture
    def gradients(self, tmp_path, bundled):
        source = bundled / "openmx" / "si" / "si.scfout"
        file = dock.converters.openmx.reader.ScfoutFile.open(source)
        content = bytearray(source.read_bytes())
        place, size = file.offsets["position"], 8 * 3 * file.n_entries
        content[place : place + size] = file.read("momentum").tobytes()
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "si.scfout").write_bytes(content)
        return tmp_path / "run" / "si.scfout"

    def test_are_left_out_with_a_note(self, tmp_path, gradients):
        calc = dock.read(gradients)
        assert "position" not in calc.available
        assert len(calc.available) == 4
        assert "r_ji(−R)" in calc.provenance.extra["notes"][0]
        assert samples.cli("convert", gradients, "-o", tmp_path / "x").code == 0
        assert not (tmp_path / "x" / "position_matrix.h5").exists()
        assert "r_ji(−R)" in dock.read(tmp_path / "x").provenance.extra["notes"][0]

    def test_in_a_folder(self, tmp_path, bundled, caplog):
        """A reader that goes through no sample finds it when the matrix is read, and check does."""
        folder = shutil.copytree(bundled / "unified" / "si", tmp_path / "x")
        with h5py.File(folder / "gradient_matrix.h5") as file:
            gradient = file["entries"][()]
        sound = {one.what: one for one in check_calculation(dock.read(folder))}["position"]
        assert sound.level == "ok"
        assert f"limit {POSITION_LIMIT:g}" in sound.message
        samples.rewrite(folder / "position_matrix.h5", entries=gradient)
        with pytest.raises(FormatError, match="position matrix is wrong"):
            dock.read(folder).require("r")
        found = {one.what: one for one in check_calculation(dock.read(folder))}["position"]
        assert found.level == "error"
        answer = samples.cli("check", folder)
        assert answer.code == 2
        assert "error  position" in answer.out
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            answer = samples.cli(
                "convert", folder, "--to", "abacus", "--allow-lossy", "-o", tmp_path / "y"
            )
        assert answer.code == 0
        assert "r_ji(−R)" in answer.err
        assert not list((tmp_path / "y").rglob("*rR*"))
        words = ["--matrices", "H,S,r", "-o", tmp_path / "z"]
        samples.refused(samples.cli("convert", folder, "--to", "abacus", *words), "position")

    @pytest.mark.shared
    def test_the_file_that_users_have(self, shared):
        calc = dock.read(shared / "cases/K7-position/HG_overlap_scfout/overlap.scfout")
        assert calc.available == ("overlap", "hamiltonian", "gradient")
        notes = " ".join(calc.provenance.extra["notes"])
        assert "H0" in notes
        assert "position matrix is left out" in notes
