"""Restarts of a user's own run: the input but for its restart lines, matrices in its order."""

import difflib
import gc
import shutil

import numpy as np
import pytest
import samples

import dock
from dock.errors import FormatError, LayoutError, MissingDataError, UsageError

siesta = samples.beside(samples.ROOT / "tests/converters/siesta/x", "independent_siesta")


def strange(run, target, *, matrices="H,S"):
    """Return a prediction as it comes: a unified folder that groups atoms and remembers no code.

    Its atoms stand in another order and in other cells than in the run.
    """
    calc = dock.read(run)
    n = calc.structure.n_atoms
    calc = calc.permute_atoms([*range(1, n), 0])
    names = [dock.core.quantity.quantity_of(name).name for name in matrices.split(",")]
    calc = calc.replace(
        matrices={name: calc.matrices[name] for name in names},
        provenance=dock.core.calculation.Provenance("dock"),
    )
    shift = np.arange(3 * n).reshape(n, 3) % 2
    if any(calc.structure.pbc):
        moved = calc.structure.positions - shift @ calc.structure.cell
        calc = dock.converters.origin.with_moved_atoms(calc, shift, moved)
    dock.write(calc, target)
    return target


def changes(old, new):
    """Return the lines that a new input has more and less than an old one."""
    lines = difflib.ndiff(old.read_text().split("\n"), new.read_text().split("\n"))
    return [line for line in lines if line[0] in "+-"]


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


class TestRefusals:
    @pytest.fixture
    def prediction(self, bundled, tmp_path):
        return dock.read(strange(bundled / "siesta" / "graphene", tmp_path / "x"))

    def refused(self, calc, target, run, error, *words):
        with pytest.raises(error) as caught:
            dock.write(calc, target, "siesta", like=run)
        for word in words:
            assert word in str(caught.value)
        assert not target.exists()

    def test_another_crystal(self, bundled, tmp_path, prediction):
        run = bundled / "siesta" / "h2o"
        self.refused(prediction, tmp_path / "y", run, LayoutError, "another crystal", "not C2")

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("2.46 Ang", "2.47 Ang", "lattice vectors differ by up to 0.08"),
            (" 0.3333333333333333  0.3333333333333333", " 0.33 0.33", "atoms are more than"),
            ("XC.authors CA", "Spin polarized", "another spin"),
            ("XC.authors CA", "SpinOrbit .true.", "another spin"),
        ],
    )
    def test_another_cell_place_or_spin(self, bundled, tmp_path, prediction, old, new, words):
        run = tmp_path / "mine.fdf"
        text = (bundled / "siesta" / "graphene" / "graphene.fdf").read_text()
        assert old in text
        run.write_text(text.replace(old, new))
        self.refused(prediction, tmp_path / "y", run, LayoutError, words, "Give the run")

    def test_another_basis(self, bundled, tmp_path, prediction):
        run = tmp_path / "mine"
        run.mkdir()
        shutil.copy(bundled / "siesta" / "graphene" / "graphene.fdf", run)
        ion = (bundled / "qe" / "si_3s3p2d" / "Si.ion").read_bytes()
        (run / "C.ion").write_bytes(ion)
        self.refused(prediction, tmp_path / "y", run, LayoutError, "another basis", "C (atom 1)")

    @pytest.mark.parametrize(
        ("old", "new", "error"),
        [
            ("XC.authors CA", "Spin sideways", FormatError),
            ("50 meV", "50", FormatError),
            ("MeshCutoff 200 Ry", "OccupationFunction Step", FormatError),
            (" 15 0 0 0.0", " 15 0 0", FormatError),
        ],
    )
    def test_an_input_that_says_nothing_known(self, bundled, tmp_path, prediction, old, new, error):
        run = tmp_path / "mine.fdf"
        text = (bundled / "siesta" / "graphene" / "graphene.fdf").read_text()
        run.write_text(text.replace(old, new))
        self.refused(prediction, tmp_path / "y", run, error, "mine.fdf")

    def test_what_comes_from_the_run_is_not_given(self, bundled, tmp_path, prediction):
        run = bundled / "siesta" / "graphene"
        with pytest.raises(UsageError, match="leave out settings="):
            dock.write(prediction, tmp_path / "y", "siesta", like=run, settings={"name": "x"})

    def test_formats_without_a_restart(self, bundled, tmp_path, prediction):
        with pytest.raises(UsageError, match=r"has no restart.* siesta"):
            dock.write(prediction, tmp_path / "y", "npz", like=bundled / "siesta" / "graphene")

    def test_several_inputs_or_none(self, bundled, tmp_path, prediction):
        folder = tmp_path / "mine"
        folder.mkdir()
        self.refused(prediction, tmp_path / "y", folder, FormatError, "Found none")
        text = (bundled / "siesta" / "graphene" / "graphene.fdf").read_text()
        for name in ("a", "b"):
            (folder / f"{name}.fdf").write_text(text)
        self.refused(prediction, tmp_path / "y", folder, FormatError, "Found a.fdf, b.fdf")
