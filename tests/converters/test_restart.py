"""Restarts of a user's own run: the input but for its restart lines, matrices in its order."""

import contextlib
import dataclasses
import difflib
import gc
import lzma
import shutil

import numpy as np
import pytest
import samples

import dock
import dock.restart as module
from dock.converters import WriteOptions, get_format
from dock.converters.abacus.user_run import RESTART as ABACUS
from dock.errors import DockError, FormatError, LayoutError, MissingDataError, UsageError

HERE = samples.ROOT / "tests" / "converters"
siesta = samples.beside(HERE / "siesta/x", "independent_siesta")
openmx = samples.beside(HERE / "openmx/x", "independent_restart")
aims = samples.beside(HERE / "aims/x", "independent_aims")


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


def prepared(calc, run, restart):
    """Return the calculation in a run's order with the matrices that its code wants."""
    return module._prepared(module.in_order_of(calc, run), run, restart)


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
            ("SystemLabel", "SystemLabel ../other #", FormatError),
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

    def test_electrons_that_nobody_knows(self, bundled, tmp_path, prediction):
        """What is advised can be done: a conversion has no option for electrons."""
        run = tmp_path / "mine.fdf"
        shutil.copy(bundled / "siesta" / "graphene" / "graphene.fdf", run)
        unknown = dataclasses.replace(prediction, n_electrons=None)
        self.refused(unknown, tmp_path / "y", run, MissingDataError, "electrons", "'occupation'")
        dock.write(unknown, tmp_path / "y", "siesta", like=bundled / "siesta" / "graphene")

    def test_formats_without_a_restart(self, bundled, tmp_path, prediction):
        run = bundled / "siesta" / "graphene"
        with pytest.raises(UsageError, match=r"has no restart.* siesta, abacus, aims"):
            dock.write(prediction, tmp_path / "y", "npz", like=run)
        with pytest.raises(UsageError, match=r"dock\.write"):
            get_format("siesta").save(prediction, tmp_path / "y", WriteOptions(like=run))
        with pytest.raises(UsageError, match="starts from a charge density"):
            dock.convert(tmp_path / "x", tmp_path / "y", target="qe", like=run)

    def test_several_inputs_or_none(self, bundled, tmp_path, prediction):
        folder = tmp_path / "mine"
        folder.mkdir()
        self.refused(prediction, tmp_path / "y", folder, FormatError, "Found none")
        text = (bundled / "siesta" / "graphene" / "graphene.fdf").read_text()
        for name in ("a", "b"):
            (folder / f"{name}.fdf").write_text(text)
        self.refused(prediction, tmp_path / "y", folder, FormatError, "Found a.fdf, b.fdf")


def blocks_of(found, n_orbitals, part):
    """Return {(neighbour from 1, cell): block} of one atom of OpenMX's restart files."""
    sizes = n_orbitals * found.neighbour_orbitals
    pieces = np.split(part, np.cumsum(sizes)[:-1])
    keys = zip(found.neighbour_atoms + 1, map(tuple, found.neighbour_cells.tolist()), strict=True)
    return {key: piece.reshape(n_orbitals, -1) for key, piece in zip(keys, pieces, strict=True)}


class TestOpenmx:
    @pytest.mark.parametrize("name", ["si", "o2-spin", "o2-nc-soc"])
    def test_each_atom_has_its_own_hamiltonian_and_density(self, bundled, tmp_path, name):
        run, target = bundled / "openmx" / name, tmp_path / "again"
        folder = strange(run, tmp_path / "x")
        answer = samples.cli("convert", folder, "--to", "openmx", "--like", run, "-o", target)
        assert answer.code == 0, answer
        assert "was not measured" in answer.err
        assert "DATA.PATH ./DFT_DATA" in answer.err
        own = samples.plain_scfout().read((run / f"{name}.scfout").read_bytes())
        place = target / f"{name}_rst"
        for atom in range(1, own["atoms"] + 1):
            found = openmx.read_atom(place / f"{name}.rst{atom}")
            assert found.spin_orbit == (name == "o2-nc-soc")
            parts = list(zip(found.hamiltonian, own["H"], strict=True))
            if found.spin_orbit:  # of Im H_ud the sum counts
                parts = parts[:3] + list(
                    zip(found.hamiltonian_imag[:2], own["iH"][:2], strict=True)
                )
                both = {key: np.add(own["H"][3][key], own["iH"][2][key]) for key in own["S"]}
                parts.append((found.hamiltonian[3] + found.hamiltonian_imag[2], both))
            parts += list(zip(found.density, own["DM"], strict=True))
            for part, wanted in parts:
                blocks = blocks_of(found, own["no"][atom - 1], part)
                mine = {key[1:]: block for key, block in wanted.items() if key[0] == atom}
                assert set(blocks) == set(mine)
                for key, block in mine.items():
                    assert np.abs(blocks[key] - np.reshape(block, blocks[key].shape)).max() < 5e-8
        grid = openmx.read_grid(place / f"{name}.crst_check")
        assert min(grid[1]) > 10
        assert grid[2] == own["spin"]

    def test_lines_of_the_input(self, bundled, tmp_path):
        own = bundled / "openmx" / "si"
        dock.write(dock.read(strange(own, tmp_path / "x")), tmp_path / "y", "openmx", like=own)
        new = tmp_path / "y" / "si.dat"
        atoms = [x for x in (own / "si.dat").read_text().split("\n") if x.endswith("2.0 2.0")]
        assert [line for line in changes(own / "si.dat", new) if line[0] == "-"] == [
            f"- {line}" for line in atoms
        ]
        assert [line[2:] for line in changes(own / "si.dat", new) if line[0] == "+"] == [
            *(f"{line} off" for line in atoms),
            "scf.restart on",
            "scf.Hubbard.U on",
            "<Hubbard.U.values",
            " Si 1s 0.0 2s 0.0 1p 0.0",
            "Hubbard.U.values>",
        ]

    def test_the_files_that_openmx_begins_with_are_those(self, bundled, tmp_path, caplog):
        """An input that began with the files of another run would do so again."""
        own, run = bundled / "openmx" / "si", tmp_path / "mine"
        run.mkdir()
        shutil.copy(own / "si.out", run)
        text = (own / "si.dat").read_text().replace("  ./\n", "  /scratch/\n", 1)
        (run / "si.dat").write_text(text + "scf.restart.filename other\n")
        dock.write(dock.read(strange(own, tmp_path / "x")), tmp_path / "y", "openmx", like=run)
        lines = changes(run / "si.dat", tmp_path / "y" / "si.dat")
        assert "- scf.restart.filename other" in lines
        assert "+ scf.restart.filename si" in lines
        assert "si_rst in its System.CurrrentDirectory /scratch/" in caplog.text

    def test_a_charge_is_cautioned_of(self, bundled, tmp_path, caplog):
        own, run = bundled / "openmx" / "si", tmp_path / "mine"
        run.mkdir()
        shutil.copy(own / "si.out", run)
        (run / "si.dat").write_text((own / "si.dat").read_text() + "scf.system.charge 1.0\n")
        dock.write(dock.read(strange(own, tmp_path / "x")), tmp_path / "y", "openmx", like=run)
        assert "scf.system.charge 1 is not looked at" in caplog.text

    def test_with_spin_orbit_coupling_one_line_is_enough(self, bundled, tmp_path):
        own = bundled / "openmx" / "o2-nc-soc"
        dock.write(dock.read(strange(own, tmp_path / "x")), tmp_path / "y", "openmx", like=own)
        new = tmp_path / "y" / "o2-nc-soc.dat"
        assert changes(own / "o2-nc-soc.dat", new) == ["+ scf.restart on"]

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("scf.XcType", "scf.SpinPolarization on\n#", "spin"),
            ("Si7.0-s2p1", "Si7.0-s2p2", "basis"),
            ("2.7150000000", "2.7", "lattice vectors"),
            ("DATA.PATH", "<Hubbard.U.values\n Si 1s 3.0\nHubbard.U.values>\n#", "block"),
            ("DATA.PATH", "#", "Num.Grid1"),
        ],
    )
    def test_refusals(self, bundled, tmp_path, old, new, words):
        own = bundled / "openmx" / "si"
        text = (own / "si.dat").read_text()
        if words == "spin":
            text = text.replace("scf.SpinPolarization      off", "")
        run = tmp_path / "mine.dat"
        run.write_text(text.replace(old, new))
        if words != "Num.Grid1":
            shutil.copy(own / "si.out", tmp_path)
        calc = dock.read(strange(own, tmp_path / "x"))
        with pytest.raises(DockError, match=words):
            dock.write(calc, tmp_path / "y", "openmx", like=run)
        assert not (tmp_path / "y").exists()


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
            density = prepared(calc, ABACUS.read(run), ABACUS).require("density_matrix")
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


INPUTS = {
    "siesta/graphene": ("graphene.fdf", "graphene.KP"),
    "openmx/si": ("si.dat", "si.out"),
    "abacus/v311_graphene": ("INPUT", "STRU", "KPT"),
}


class TestDamage:
    @pytest.mark.parametrize("name", INPUTS)
    def test_a_damaged_input_is_a_sentence(self, bundled, tmp_path, name, rng):
        code, system = name.split("/")
        restart = get_format(code).restart
        for file in INPUTS[name]:
            shutil.copy(bundled / code / system / file, tmp_path)
        for file in INPUTS[name]:
            whole = (tmp_path / file).read_bytes()
            for _ in range(25):
                place = rng.integers(len(whole))
                flipped = bytearray(whole)
                flipped[place] ^= 1 << rng.integers(8)
                for damaged in (whole[:place], bytes(flipped)):
                    (tmp_path / file).write_bytes(damaged)
                    with contextlib.suppress(DockError):
                        assert restart.read(tmp_path).structure.n_atoms == 2
            (tmp_path / file).write_bytes(whole)

    @pytest.mark.parametrize("code", ["siesta", "openmx", "abacus", "aims"])
    def test_no_run_there(self, bundled, tmp_path, code):
        calc = dock.read(bundled / "siesta" / "graphene")
        with pytest.raises(MissingDataError, match="no such file or folder"):
            dock.write(calc, tmp_path / "y", code, like=tmp_path / "none")


class TestAims:
    CONTROL = "xc pbe # exchange\nk_grid 6 6 6\nspecies Si\n  nucleus 14\n"

    @pytest.fixture
    def run(self, bundled, tmp_path):
        """A run with silicon's matrices, and a control.in of ours."""
        only = WriteOptions(quantities=("hamiltonian", "overlap"))
        dock.write(dock.read(bundled / "openmx" / "si"), tmp_path / "run", "aims", only)
        (tmp_path / "run" / "control.in").write_text(self.CONTROL)
        return tmp_path / "run"

    def test_fhi_aims_finds_the_runs_own_hamiltonian(self, run, tmp_path):
        target = tmp_path / "again"
        folder = strange(run, tmp_path / "x")
        answer = samples.cli("convert", folder, "--to", "aims", "--like", run, "-o", target)
        assert answer.code == 0, answer
        assert "patch" in answer.err
        assert "density matrix" not in answer.err
        line = "use_deepx_warmstart    .true."
        assert changes(run / "control.in", target / "control.in") == [f"+ {line}"]
        assert (target / "geometry.in").read_bytes() == (run / "geometry.in").read_bytes()
        names = [".dock.json", "control.in", "deeph_warm", "geometry.in"]
        assert samples.names(target) == names
        wanted = np.array(aims.read_values(run, "rs_hamiltonian.out")[:-1])
        found = aims.warm_start(run, target / "deeph_warm" / "hamiltonian.h5")
        np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-15)
        assert np.abs(wanted).max() > 0.05

    @pytest.mark.parametrize(
        ("more", "words"),
        [
            ("use_local_index .true.\n", "use_local_index"),
            ("elsi_restart write 5\n", "elsi_restart"),
            ("spin collinear\n", "another spin"),
        ],
    )
    def test_refusals(self, run, tmp_path, more, words):
        calc = dock.read(strange(run, tmp_path / "x"))
        (run / "control.in").write_text(more + self.CONTROL)
        with pytest.raises(DockError, match=words):
            dock.write(calc, tmp_path / "y", "aims", like=run)

    def test_without_control_in(self, run, tmp_path):
        calc = dock.read(strange(run, tmp_path / "x"))
        (run / "control.in").unlink()
        with pytest.raises(MissingDataError, match=r"control\.in is missing"):
            dock.write(calc, tmp_path / "y", "aims", like=run)
