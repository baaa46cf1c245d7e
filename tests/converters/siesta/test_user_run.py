"""Restarts of a user's own SIESTA run."""

import gc
import lzma
import shutil

import numpy as np
import pytest
import samples
from restarts import changes, strange

import dock
from dock.converters import get_format
from dock.errors import LayoutError, MissingDataError

siesta = samples.beside(__file__, "independent_siesta")


def off_own(calc, run):
    """Return by how much a density matrix differs from the run's own, where that has an element."""
    mine, theirs = calc.require("density_matrix").aligned(run.require("density_matrix"))
    theirs = theirs.on_pairs(mine.pairs)
    return np.abs(mine.entries - theirs.entries)[theirs.entries != 0].max()


def largest_difference(one, two):
    """Return by how much two DM files differ, by the plain reader; the second has all elements."""
    sign = np.ones(26)
    parts = zip(siesta.dm(one, sign), siesta.dm(two, sign), strict=True)
    return max(np.abs(mine[cell] - own[cell]).max() for mine, own in parts for cell in own)


def read_back(target, run, label):
    """Read a written DM file with the user's structure beside it."""
    for ending in (".HSX", ".TSHS", ".XV", ".ORB_INDX", ".EIG"):
        if (run / f"{label}{ending}").is_file():
            shutil.copy(run / f"{label}{ending}", target)
    return dock.read(target)


class TestSiesta:
    @pytest.mark.parametrize(("name", "limit"), [("graphene", 8e-7), ("h2o", 2e-7), ("o2", 5e-8)])
    def test_the_runs_own_density_from_h_and_the_input_alone(self, bundled, tmp_path, name, limit):
        run = bundled / "siesta" / name
        folder = run if name != "graphene" else strange(run, tmp_path / "x")
        arguments = ["--from", "siesta", "--matrices", "H,S"] if folder == run else []
        if arguments:  # a molecule at Γ: its pairs are folded, its cell is a box
            samples.cli("convert", run, *arguments, "-o", tmp_path / "x")
        target = tmp_path / "again"
        answer = samples.cli(
            "convert", tmp_path / "x", "--to", "siesta", "--like", run, "-o", target
        )
        assert answer.code == 0, answer
        assert "solver: eigen because" in answer.err
        assert "density matrix: " + ("15×15×1" if name == "graphene" else "1×1×1") in answer.err
        assert "also needs the pseudopotential of" in answer.err
        new = target / f"{name}.fdf"
        assert changes(run / f"{name}.fdf", new) == ["+ DM.UseSaveDM true"]
        again = read_back(target, run, name)
        assert off_own(again, dock.read(run)) < limit
        assert largest_difference(target / f"{name}.DM", run / f"{name}.DM") < limit

    def test_sisl_reads_it(self, bundled, tmp_path):
        sisl = pytest.importorskip("sisl")
        run = bundled / "siesta" / "graphene"
        dock.write(dock.read(strange(run, tmp_path / "x")), tmp_path / "again", "siesta", like=run)
        mine, own = (
            sisl.get_sile(place / "graphene.DM").read_density_matrix()
            for place in (tmp_path / "again", run)
        )
        assert mine.shape == own.shape
        assert np.abs((mine - own)._csr._D).max() < 8e-7
        gc.collect()  # sisl leaves files open: let it be warned about here, where that is ignored

    def test_an_input_that_was_never_run(self, bundled, tmp_path):
        """Included files and pseudopotentials go along; the basis is not known."""
        own = bundled / "siesta" / "graphene"
        run = tmp_path / "mine"
        (run / "parts").mkdir(parents=True)
        text = (own / "graphene.fdf").read_text().replace("graphene", "sheet")
        head, _, rest = text.partition("PAO.BasisSize")
        (run / "parts" / "rest.fdf").write_text("PAO.BasisSize" + rest)
        (run / "in.fdf").write_text(head + "%include parts/rest.fdf\ndm_use-save-DM F # no\n")
        (run / "C.psml").write_text("a pseudopotential")
        folder = strange(own, tmp_path / "x")
        arguments = ["--to", "siesta", "--like", run, "-o", tmp_path / "again"]
        answer = samples.cli("convert", folder, *arguments)
        assert answer.code == 0, answer
        assert "whether its basis is that of" in answer.err
        assert "also needs" not in answer.err
        names = [".dock.json", "C.psml", "in.fdf", "parts", "sheet.DM"]
        assert samples.names(tmp_path / "again") == names
        assert changes(run / "in.fdf", tmp_path / "again" / "in.fdf") == [
            "- dm_use-save-DM F # no",
            "+ DM.UseSaveDM true",
        ]
        assert largest_difference(tmp_path / "again" / "sheet.DM", own / "graphene.DM") < 8e-7

    def test_the_same_in_python_for_several_runs(self, bundled, tmp_path):
        run = bundled / "siesta" / "graphene"
        folder = strange(run, tmp_path / "x")
        report = dock.convert(folder, tmp_path / "again", target="siesta", like=run)
        assert report.exit_code == 0
        assert samples.names(tmp_path / "again") == [".dock.json", "graphene.DM", "graphene.fdf"]
        again = dock.convert(folder, tmp_path / "again", target="siesta", like=run)
        assert again.outcomes[0].status == "skipped"

    @pytest.mark.shared
    def test_interleaved_species_and_a_shifted_odd_mesh(self, shared, tmp_path):
        """Al N N Al on 5×5×3 points shifted by half a step, which Monkhorst and Pack have not."""
        run = shared / "cases/K14-atom-order/il"
        folder = strange(run, tmp_path / "x")
        assert dock.read(folder).structure.symbols != ("Al", "N", "N", "Al")
        target = tmp_path / "again"
        answer = samples.cli("convert", folder, "--to", "siesta", "--like", run, "-o", target)
        assert "density matrix: 5×5×3 shifted by (0.5, 0.5, 0.5) steps" in answer.err, answer
        assert off_own(read_back(target, run, "il"), dock.read(run)) < 2e-6
        assert changes(run / "il.fdf", target / "il.fdf") == ["+ DM.UseSaveDM true"]

    @pytest.mark.shared
    @pytest.mark.parametrize(("name", "limit"), [("gaas_soc", 3e-6), ("fe2_nc", 1e-4)])
    def test_spinors(self, shared, tmp_path, rng, caplog, name, limit):
        """With spin–orbit coupling 8 components, without 4; iron's own changed by 9.5e-5 last."""
        run = tmp_path / "run"
        run.mkdir()
        for file in (shared / "fixtures/siesta" / name).iterdir():
            if file.suffix == ".xz":
                (run / file.stem).write_bytes(lzma.decompress(file.read_bytes()))
            elif file.suffix != ".TSHS" and ".v0." not in file.name:
                shutil.copy(file, run)
        (run / f"{name}.v2.HSX").rename(run / f"{name}.HSX")
        calc = dock.read(strange(run, tmp_path / "x"))
        dock.write(calc, tmp_path / "again", "siesta", like=run)
        again = read_back(tmp_path / "again", run, name)
        assert off_own(again, dock.read(run)) < limit
        if name == "gaas_soc":
            text = (run / "gaas_soc.fdf").read_text().replace("Spin SO", "Spin non-collinear")
            (tmp_path / "other.fdf").write_text(text)
            with pytest.raises(LayoutError, match="without spin-orbit coupling"):
                dock.write(calc, tmp_path / "y", "siesta", like=tmp_path / "other.fdf")
            assert not (tmp_path / "y").exists()
            return
        assert "spin-orbit" not in caplog.text
        exact = calc.require("hamiltonian")  # and with what a prediction's error adds to it
        error = exact.with_entries(rng.uniform(-3e-3, 3e-3, exact.entries.shape) * (1 + 1j))
        error = (error + error.adjoint()) * 0.5
        calc = calc.replace(matrices={**calc.matrices, "hamiltonian": exact + error})
        dock.write(calc, tmp_path / "near", "siesta", like=run)
        assert "the error of a prediction may be that large" in caplog.text

    @pytest.mark.parametrize("word", ["4 1 0 0.0", "kgrid.Cutoff"])
    def test_a_grid_without_three_numbers(self, bundled, tmp_path, word):
        """The points that the run listed serve; without a list it is refused."""
        own = bundled / "siesta" / "graphene"
        run = tmp_path / "mine"
        run.mkdir()
        text = (own / "graphene.fdf").read_text()
        if word.startswith("kgrid"):
            text = text.replace("%block kgrid.MonkhorstPack", f"{word} 18 Ang\n%block Unused")
            text = text.replace("%endblock kgrid.MonkhorstPack", "%endblock Unused")
        else:
            text = text.replace(" 15 0 0 0.0", f" {word}", 1)
        (run / "graphene.fdf").write_text(text)
        calc = dock.read(strange(own, tmp_path / "x"))
        with pytest.raises(MissingDataError, match=r"graphene\.KP"):
            dock.write(calc, tmp_path / "again", "siesta", like=run)
        shutil.copy(own / "graphene.KP", run)
        dock.write(calc, tmp_path / "again", "siesta", like=run)
        written = tmp_path / "again" / "graphene.DM"
        assert largest_difference(written, own / "graphene.DM") < 5e-6  # KP has six digits

    def test_one_cell_where_the_run_has_one(self, bundled, tmp_path):
        """At Γ alone SIESTA folds: each element of the pair stands once, for all cells."""
        own, run = bundled / "siesta" / "graphene", tmp_path / "mine"
        run.mkdir()
        text = (own / "graphene.fdf").read_text().replace("BandLines", "Unused")
        text = text.replace(" 15 0 0 0.0", " 1 0 0 0.0").replace(" 0 15 0 0.0", " 0 1 0 0.0")
        (run / "graphene.fdf").write_text(text)
        calc = dock.read(strange(own, tmp_path / "x"))
        dock.write(calc, tmp_path / "one", "siesta", like=run)
        (run / "graphene.fdf").write_text(text + "ForceAuxCell T\n")
        dock.write(calc, tmp_path / "many", "siesta", like=run)
        sign = np.ones(26)
        (one,), (many,) = (siesta.dm(tmp_path / x / "graphene.DM", sign) for x in ("one", "many"))
        assert list(one) == [(0, 0, 0)]
        assert len(many) > 1
        largest = np.max([np.abs(block) for block in many.values()], axis=0)
        np.testing.assert_allclose(np.abs(one[0, 0, 0]), largest, atol=1e-12)
        for block in many.values():  # each is the same, sign and all, where the pair is there
            there = block != 0
            np.testing.assert_allclose(block[there], one[0, 0, 0][there], atol=1e-12)
        only = calc.replace(matrices={"density_matrix": dock.read(own).require("DM")})
        (run / "graphene.fdf").write_text(text)
        with pytest.raises(LayoutError, match="differs from cell to cell"):
            dock.write(only, tmp_path / "other", "siesta", like=run)

    def test_what_lies_outside_the_folder_is_not_copied(self, bundled, tmp_path):
        """``..`` in an include would lead out of the target folder, over the user's own files."""
        own, run = bundled / "siesta" / "graphene", tmp_path / "runs" / "mine"
        run.mkdir(parents=True)
        text = (own / "graphene.fdf").read_text()
        (run / "graphene.fdf").write_text(text + "%include ../common.fdf\n")
        (run.parent / "common.fdf").write_text("SCF.DM.Tolerance 1e-5\n")
        other = tmp_path / "out" / "common.fdf"
        other.parent.mkdir()
        other.write_text("mine")
        folder, target = strange(own, tmp_path / "x"), other.parent / "again"
        answer = samples.cli("convert", folder, "--to", "siesta", "--like", run, "-o", target)
        assert answer.code == 0, answer
        assert "also needs" in answer.err
        assert "common.fdf" in answer.err
        assert samples.names(target) == [".dock.json", "graphene.DM", "graphene.fdf"]
        assert other.read_text() == "mine"

    def test_charge_and_fixed_moment_are_cautioned_of(self, bundled, tmp_path):
        """A charge counts where the run's own matrices say the electrons that it leaves."""
        own, run = bundled / "siesta" / "o2", tmp_path / "mine"
        shutil.copytree(own, run)
        fdf = run / "o2.fdf"
        fdf.write_text(fdf.read_text() + "NetCharge 1.0\nSpin.Fix T\n")
        calc = dock.read(own)
        for file in [None, *run.iterdir()]:
            if file is not None and file != fdf:
                file.unlink()
        assert [words.split()[0] for words in get_format("siesta").restart.read(run).cautions] == [
            "NetCharge",
            "Spin.Fix",
        ]
        shutil.copytree(own, run, dirs_exist_ok=True)
        fdf.write_text(fdf.read_text() + "NetCharge 1.0\n")
        found = get_format("siesta").restart.read(run)
        assert (found.cautions, found.n_electrons) == ((), pytest.approx(calc.n_electrons))
