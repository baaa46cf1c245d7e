"""Restarts of a user's own run: the input but for its restart lines, matrices in its order."""

import contextlib
import dataclasses
import shutil

import numpy as np
import pytest
import samples
from restarts import changes, strange

import dock
from dock.converters import WriteOptions, get_format
from dock.errors import DockError, FormatError, LayoutError, MissingDataError, UsageError

HERE = samples.ROOT / "tests" / "converters"
siesta = samples.beside(HERE / "siesta/x", "independent_siesta")
openmx = samples.beside(HERE / "openmx/x", "independent_restart")
aims = samples.beside(HERE / "aims/x", "independent_aims")


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
            ("50 meV", "-50 meV", FormatError),
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
            ("Temperature 300.0", "Temperature -3.0", "scf.ElectronicTemperature.*negative"),
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
