"""Restarts of a user's own ABACUS run."""

import shutil

import numpy as np
import pytest
import samples
from restarts import changes, prepared, strange

import dock
from dock.converters.abacus.user_run import RESTART as ABACUS
from dock.errors import DockError, FormatError, UsageError


class TestAbacus:
    def test_the_runs_own_density(self, bundled, tmp_path):
        run, target = bundled / "abacus" / "v311_graphene", tmp_path / "again"
        folder = strange(run, tmp_path / "x")
        answer = samples.cli("convert", folder, "--to", "abacus", "--like", run, "-o", target)
        assert answer.code == 0, answer
        assert "density matrix: 6×6×1, 20 irreducible of 36 points; gaussian" in answer.err
        assert "init_chg dm" in answer.err
        assert changes(run / "INPUT", target / "INPUT") == ["+ init_chg dm"]
        for name in ("STRU", "KPT"):
            assert (target / name).read_bytes() == (run / name).read_bytes()
        written = sorted((target / "OUT.ABACUS").iterdir())
        assert [path.name for path in written] == ["dmrs1_nao.csr"]
        for name in ("hrs1_nao.csr.gz", "srs1_nao.csr.gz", "running_scf.log"):
            shutil.copy(run / "OUT.ABACUS" / name, target / "OUT.ABACUS")
        mine, own = (dock.read(place).require("DM") for place in (target, run))
        mine, own = mine.aligned(own)
        own = own.on_pairs(mine.pairs)  # ABACUS has pairs too that neither H nor S has
        both = (mine.entries != 0) & (own.entries != 0)
        assert np.mean(both) > 0.3
        assert np.abs(mine.entries - own.entries)[both].max() < 2e-7

    def test_a_folder_of_its_own_for_what_is_read(self, bundled, tmp_path):
        own, run = bundled / "abacus" / "v311_graphene", tmp_path / "mine"
        run.mkdir()
        for name in ("STRU", "KPT"):
            shutil.copy(own / name, run)
        text = (own / "INPUT").read_text().replace("ABACUS", "x")
        (run / "INPUT").write_text(text + "read_file_dir before // old\ninit_chg file\n")
        dock.write(dock.read(strange(own, tmp_path / "x")), tmp_path / "y", "abacus", like=run)
        assert sorted(changes(run / "INPUT", tmp_path / "y" / "INPUT")) == [
            *("+ init_chg dm", "+ read_file_dir ./OUT.x"),
            *("- init_chg file", "- read_file_dir before // old"),
        ]
        assert samples.names(tmp_path / "y" / "OUT.x") == ["dmrs1_nao.csr"]

    @pytest.mark.parametrize(
        ("name", "old", "new", "words"),
        [
            ("INPUT", "gamma_only              0", "gamma_only true", "gamma_only 0"),
            ("INPUT", "gamma_only              0", "lspinorb 1", "lspinorb 0; found 1"),
            ("INPUT", "gamma_only              0", "kspacing 0.2", "kspacing 0 and a file KPT"),
            ("INPUT", "nspin                   1", "nspin 4", "nspin 1, 2"),
            ("INPUT", "nspin                   1", "nspin 2", "another spin"),
            ("INPUT", "nbands                  26", "nelec_delta 1", "write nelec"),
            ("INPUT", "gauss", "boxes", "smearing_method"),
            ("INPUT", "0.002", "small", "smearing_sigma is no number"),
            ("INPUT", "0.002", "-0.002", "smearing_sigma.*negative"),
            ("KPT", "Gamma", "Line", "k-points"),
            ("KPT", "Gamma", "Direct", "k-points"),
            ("KPT", "6 6 1", "60000 60000 1", "larger than any"),
            ("STRU", "2s2p1d", "2s2p", "another basis"),
            ("STRU", "0.6666666667 0.3333333333", "0.66 0.33", "another crystal"),
        ],
    )
    def test_refusals(self, bundled, tmp_path, name, old, new, words):
        own, run = bundled / "abacus" / "v311_graphene", tmp_path / "mine"
        run.mkdir()
        for file in ("INPUT", "STRU", "KPT"):
            text = (own / file).read_text()
            assert file != name or old in text
            (run / file).write_text(text.replace(old, new) if file == name else text)
        with pytest.raises(DockError, match=words):
            dock.write(dock.read(strange(own, tmp_path / "x")), tmp_path / "y", "abacus", like=run)

    def test_points_of_a_list_keep_their_weights(self, bundled, tmp_path):
        """Also where they are those of a mesh, which has equal ones."""
        own, run = bundled / "abacus" / "v311_graphene", tmp_path / "mine"
        run.mkdir()
        for name in ("INPUT", "STRU"):
            shutil.copy(own / name, run)
        calc, found = dock.read(strange(own, tmp_path / "x")), {}
        for weights in ("1 1", "1 3", "0 1"):
            first, second = weights.split()
            (run / "KPT").write_text(f"K_POINTS\n2\nDirect\n0 0 0 {first}\n.5 0 0 {second}\n")
            like = ABACUS.read(run)
            assert "its k-points are a list" in like.cautions[0]
            density = prepared(calc, like, ABACUS).require("density_matrix")
            found[weights] = density.entries
        middle = 0.5 * (found["1 1"] + found["0 1"])
        assert np.abs(found["1 3"] - found["1 1"]).max() > 1e-3
        assert np.abs(found["1 3"] - middle).max() < 0.1 * np.abs(found["1 1"] - middle).max()
        for weights in ("0 0", "-1 2"):
            first, second = weights.split()
            (run / "KPT").write_text(f"K_POINTS\n2\nDirect\n0 0 0 {first}\n.5 0 0 {second}\n")
            with pytest.raises(FormatError, match="weights"):
                ABACUS.read(run)

    def test_words_and_widths_as_abacus_takes_them(self, bundled, tmp_path):
        """``smearing_sigma_temp`` T is a width of kT/2: kT in Hartree is taken for Rydberg."""
        own, run = bundled / "abacus" / "v311_graphene", tmp_path / "mine"
        (run / "parts").mkdir(parents=True)
        shutil.copy(own / "KPT", run / "parts")
        shutil.copy(own / "STRU", tmp_path)
        text = (own / "INPUT").read_text().replace("gamma_only              0", "gamma_only F")
        more = "smearing_sigma_temp 1000\nstru_file ../STRU\nkpoint_file parts/KPT\nnupdown 2.0\n"
        (run / "INPUT").write_text(text + more)
        found = ABACUS.read(run)
        assert found.smearing.width == pytest.approx(3.166815e-6 * 1000 * 13.605693, rel=1e-5)
        assert found.files == (run / "parts" / "KPT",)
        assert found.needs[0] == str(run / "../STRU")
        assert found.cautions[0].startswith("nupdown 2.0 is not looked at")

    def test_a_version_that_cannot(self, bundled, tmp_path):
        own = bundled / "abacus"
        calc = dock.read(strange(own / "v311_graphene", tmp_path / "x"))
        with pytest.raises(UsageError, match=r"ABACUS 3\.8\.1, which cannot start"):
            dock.write(calc, tmp_path / "y", "abacus", like=own / "graphene")

    @pytest.mark.parametrize(
        ("kind", "number", "shift"),
        [("Gamma", 4, 0.0), ("Gamma", 3, 0.5), ("MP", 4, 0.5), ("MP", 3, 0.0)],
    )
    def test_meshes_by_abacus_formula(self, bundled, tmp_path, kind, number, shift):
        offset = int(2 * shift) if kind == "Gamma" else 0
        (tmp_path / "KPT").write_text(f"K_POINTS\n0\n{kind}\n{number} 1 1 {offset * 0.5} 0 0\n")
        own = bundled / "abacus" / "v311_graphene"
        for name in ("INPUT", "STRU"):
            shutil.copy(own / name, tmp_path)
        points = ABACUS.read(tmp_path).mesh.points[:, 0] % 1
        wanted = (np.arange(number) + shift) / number % 1
        np.testing.assert_allclose(np.sort(points), np.sort(wanted), atol=1e-12)
