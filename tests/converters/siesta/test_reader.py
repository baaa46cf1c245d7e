"""From the files of a run to a Calculation: physics, missing files, files of different runs."""

import shutil

import numpy as np
import pytest
import samples

from dock.converters.deeph.folder import read_folder
from dock.converters.format import ReadOptions, WriteOptions
from dock.converters.siesta import FORMAT, read, write
from dock.converters.siesta.check import check_run
from dock.converters.siesta.run import find_main, input_files
from dock.core.check import check_calculation
from dock.core.spin import Spin
from dock.errors import FormatError, MissingDataError

HS = ("hamiltonian", "overlap")
validation = samples.beside(__file__, "validation")


def open_run(path, basis=None):
    return FORMAT.read(FORMAT.detect(path), ReadOptions(basis=basis))


def notes(calc):
    return " ".join(calc.provenance.extra.get("notes", []))


class TestPhysics:
    @pytest.mark.parametrize("name", ["h2o", "h2o_v0", "o2", "graphene"])
    def test_bundled_runs_against_their_own_numbers(self, bundled, name):
        rows = list(validation.rows_of(bundled / "siesta" / name))
        assert len(rows) >= 3
        for system, quantity, deviation, limit in rows:
            assert deviation <= limit, f"{system}: {quantity} is off by {deviation:.1e}"

    @pytest.mark.parametrize("name", ["h2o", "o2", "graphene"])
    def test_the_check_finds_nothing(self, bundled, name):
        findings = check_calculation(open_run(bundled / "siesta" / name))
        assert [item for item in findings if item.level == "error"] == []

    @pytest.mark.shared
    @pytest.mark.parametrize("system", validation.SYSTEMS)
    def test_reference_runs(self, unpack, system):
        for name, quantity, deviation, limit in validation.rows_of(unpack(*system.split("/"))):
            assert deviation <= limit, f"{name}: {quantity} is off by {deviation:.1e}"

    @pytest.mark.shared
    def test_transposition_of_spinors_matters(self, unpack):
        """A Hamiltonian without it is Hermitian too, but 10 meV wrong: the levels decide."""
        run = unpack("fixtures", "siesta", "fept_soc")
        calc = read(run / "fept_soc.v2.HSX")
        matrix = calc.hamiltonian
        wrong = matrix.with_entries(matrix.entries.conj()[[0, 2, 1, 3]])
        assert wrong.hermiticity_error() < 1e-6
        k = np.array([1 / 3, 0, 1 / 3])
        off = validation.levels(calc.replace(matrices={"S": calc.overlap, "H": wrong}), k)
        assert np.abs(off - validation.levels(calc, k)).max() > 1e-2

    @pytest.mark.shared
    def test_reference_folder(self, shared):
        """Another program's conversion of the same run, its Rydberg taken out."""
        folder = shared / "public" / "siesta" / "Si"
        mine, theirs = read(folder), read_folder(folder / "reference")
        assert mine.overlap.pairs.difference(theirs.overlap.pairs) == ""
        overlap = theirs.overlap.on_pairs(mine.overlap.pairs)
        np.testing.assert_allclose(mine.overlap.entries, overlap.entries, rtol=0, atol=1e-12)
        hamiltonian = theirs.hamiltonian.on_pairs(mine.hamiltonian.pairs).entries
        ratio = mine.hamiltonian.entries.ravel() @ hamiltonian.ravel() / np.sum(hamiltonian**2)
        assert ratio == pytest.approx(1, abs=1e-7)
        np.testing.assert_allclose(mine.hamiltonian.entries, ratio * hamiltonian, rtol=0, atol=1e-9)
        assert mine.fermi_level == pytest.approx(theirs.fermi_level, abs=1e-7)
        assert mine.structure.is_close(theirs.structure)

    @pytest.mark.shared
    def test_overlap_only(self, unpack, shared):
        run = unpack("fixtures", "siesta", "tbg_m1")
        calc = read(run, basis=shared / "fixtures" / "siesta" / "graphene")
        assert calc.available == ("overlap",)
        assert calc.basis.n_orbitals == 28 * 13
        assert calc.overlap.hermiticity_error() < 1e-7
        assert np.linalg.eigvalsh(calc.overlap.k([0.1, 0.2, 0])).min() > 0
        assert calc.basis.shells["C"][0].radial is not None

    @pytest.mark.shared
    def test_one_of_a_training_set(self, shared, tmp_path):
        import tarfile

        folder = shared / "fixtures" / "siesta" / "sic8_set"
        with tarfile.open(folder / "sic8_set.tar.xz") as archive:
            for member in archive:
                if "sic_01" in member.name:
                    archive.extract(member, tmp_path, **samples.TAR_FILTER)
                elif "sic_02" in member.name:
                    break
        run = next(tmp_path.rglob("*.HSX")).parent
        rows = list(validation.rows_of(run))
        assert len(rows) == 2
        assert all(deviation <= limit for _, _, deviation, limit in rows), rows


class TestDetection:
    def test_folder_and_files(self, bundled, copy_run):
        folder = bundled / "siesta" / "h2o"
        assert find_main(folder) == folder / "h2o.HSX"
        assert find_main(folder / "h2o.fdf") == folder / "h2o.HSX"
        assert find_main(folder / "h2o.TSHS") == folder / "h2o.TSHS"
        assert find_main(folder / "h2o.XV") is None
        run = copy_run("h2o", without=(".HSX",))
        assert find_main(run) == run / "h2o.TSHS"

    @pytest.mark.parametrize("system", ["h2o", "o2"])
    def test_the_more_precise_of_two_files_is_taken_and_said(self, copy_run, tmp_path, system):
        """HSX in single precision beside TSHS of the same run."""
        run = copy_run(system)
        double = read(run / f"{system}.HSX")
        write(
            double, tmp_path / "single", options=WriteOptions(quantities=HS, single_precision=True)
        )
        shutil.copy(tmp_path / "single" / f"{system}.HSX", run)
        assert find_main(run) == run
        assert find_main(run / f"{system}.HSX") == run / f"{system}.HSX"  # what is named is taken
        calc, rough = read(run), read(run / f"{system}.HSX")
        assert f"{system}.TSHS, in double" in notes(calc)
        assert "single precision" in notes(rough)
        for name in HS:
            exact = double.require(name).entries
            assert np.array_equal(calc.require(name).entries, exact)
            assert 1e-9 < np.abs(rough.require(name).entries - exact).max() < 1e-5
        assert calc.basis.is_same(double.basis)
        assert calc.available == double.available
        assert {run / f"{system}.HSX", run / f"{system}.TSHS"} <= set(input_files(run))
        assert all(finding.level != "error" for finding in check_run(run))

    def test_a_more_precise_file_of_another_run(self, copy_run, bundled, tmp_path):
        run = copy_run("h2o_v0")
        shutil.copy(bundled / "siesta" / "o2" / "o2.TSHS", run / "h2o.TSHS")
        with pytest.raises(FormatError, match=r"h2o\.HSX are of different runs.*orbitals"):
            read(run)
        shutil.copy(bundled / "siesta" / "h2o" / "h2o.TSHS", run / "h2o.TSHS")
        assert "h2o.TSHS, in double" in notes(read(run))  # version 0 is always in single

    def test_foreign_content(self, tmp_path, bundled):
        assert find_main(tmp_path) is None
        assert find_main(tmp_path / "nowhere") is None
        for name in ("a.nc", "a.DM", "a.TSHS", "a.fdf"):
            (tmp_path / name).write_bytes(b"something else entirely")
        assert find_main(tmp_path) is None
        assert find_main(bundled / "openmx" / "h2o") is None
        assert find_main(bundled / "unified" / "si") is None

    def test_several_runs_in_one_folder(self, copy_run):
        run = copy_run("h2o")
        shutil.copy(run / "h2o.HSX", run / "other.HSX")
        assert find_main(run) == run / "h2o.HSX"
        shutil.copy(run / "h2o.fdf", run / "other.fdf")
        assert find_main(run) == run
        (run / "O.ion.nc").write_bytes(b"CDF\x01")  # a basis file is no matrix file
        with pytest.raises(FormatError, match=r"h2o\.HSX, other\.HSX\. "):
            open_run(run)

    def test_label_with_more_endings(self, copy_run):
        run = copy_run("h2o")
        (run / "h2o.HSX").rename(run / "h2o.v2.HSX")
        calc = open_run(run)
        assert calc.provenance.extra["system_label"] == "h2o"
        assert "density_matrix" in calc.available

    def test_inputs(self, bundled):
        names = {file.name for file in input_files(bundled / "siesta" / "h2o" / "h2o.HSX")}
        assert {"h2o.HSX", "h2o.DM", "h2o.XV", "h2o.EIG", "h2o.fdf"} <= names


class TestPartsOfARun:
    def test_a_lone_hsx_is_enough(self, bundled, tmp_path):
        shutil.copy(bundled / "siesta" / "h2o" / "h2o.HSX", tmp_path)
        calc = open_run(tmp_path)
        assert calc.structure.symbols == ("O", "H", "H")
        assert calc.spin is Spin.NONE
        assert "taken from its name" in notes(calc)
        assert "constants of version 5" in notes(calc)
        assert calc.provenance.extra["rydberg_ev"] == pytest.approx(13.605693123)

    def test_version_0_takes_the_structure_from_any_file(self, copy_run):
        run = copy_run("h2o_v0")
        by_xv = open_run(run).structure
        (run / "h2o.XV").unlink()
        by_fdf = open_run(run).structure
        assert by_xv.is_close(by_fdf, 1e-7)
        (run / "h2o.fdf").unlink()
        with pytest.raises(MissingDataError, match=r"h2o\.XV"):
            open_run(run)

    def test_version_0_without_eig_has_no_fermi_level(self, copy_run):
        assert open_run(copy_run("h2o_v0", without=(".EIG",))).fermi_level is None

    def test_tshs_needs_the_species(self, copy_run):
        run = copy_run("h2o", without=(".HSX", ".ORB_INDX"))
        with pytest.raises(MissingDataError, match=r"ion\.xml"):
            open_run(run)

    def test_folded(self, bundled):
        assert "ForceAuxCell" in notes(open_run(bundled / "siesta" / "h2o"))
        assert "ForceAuxCell" not in notes(open_run(bundled / "siesta" / "graphene"))

    def test_unconverged(self, copy_run):
        run = copy_run("h2o")
        (run / "h2o.out").write_text("Siesta Version: v4.1.5\n\nSCF_NOT_CONV: SCF did not\n")
        calc = open_run(run)
        assert "did not converge" in notes(calc)
        assert calc.provenance.version == "v4.1.5"

    def test_radial_functions(self, bundled):
        folder = bundled / "siesta" / "graphene"
        shells = open_run(folder, basis=folder).basis.shells["C"]
        assert [shell.l for shell in shells] == [0, 0, 1, 1, 2]
        assert [shell.radial.norm for shell in shells] == pytest.approx([1] * 5, abs=1e-3)

    def test_foreign_radial_functions(self, bundled, copy_run):
        run = copy_run("h2o")
        for label in "OH":
            shutil.copy(bundled / "siesta" / "graphene" / "C.ion.nc", run / f"{label}.ion.nc")
        with pytest.raises(FormatError, match="species 'H'"):
            open_run(run, basis=run)

    @pytest.mark.shared
    def test_netcdf_file(self, unpack):
        run = unpack("fixtures", "siesta", "o2")
        one, two = read(run / "o2.v2.HSX"), read(run / "o2.nc")
        for quantity in ("H", "S"):
            np.testing.assert_array_equal(
                one.require(quantity).entries, two.require(quantity).entries
            )
        assert two.basis.ls("O") == one.basis.ls("O")
        assert two.structure.is_close(one.structure)

    @pytest.mark.shared
    def test_cut_netcdf_file(self, unpack):
        run = unpack("fixtures", "siesta", "h2o")
        data = (run / "h2o.nc").read_bytes()
        (run / "h2o.nc").unlink()
        (run / "h2o.nc").write_bytes(data[: len(data) // 2])
        with pytest.raises(FormatError, match="NetCDF"):
            read(run / "h2o.nc")


class TestFilesOfDifferentRuns:
    def test_fermi_level(self, copy_run):
        run = copy_run("h2o")
        text = (run / "h2o.EIG").read_text()
        (run / "h2o.EIG").write_text(text.replace("-0.194286074E+01", "-0.194386074E+01"))
        with pytest.raises(FormatError, match="different runs"):
            open_run(run)

    def test_newer_units(self, copy_run):
        run = copy_run("h2o")
        level = -0.142796508770707 * 13.605693122994
        text = (run / "h2o.EIG").read_text()
        (run / "h2o.EIG").write_text(text.replace("-0.194286074E+01", f"{level:.9E}"))
        assert open_run(run).provenance.extra["rydberg_ev"] == pytest.approx(13.605693123)

    def test_density_matrix(self, copy_run, bundled):
        run = copy_run("h2o")
        shutil.copy(bundled / "siesta" / "o2" / "o2.DM", run / "h2o.DM")
        with pytest.raises(FormatError, match="orbitals 23"):
            open_run(run)

    def test_structure(self, copy_run, bundled):
        run = copy_run("h2o")
        shutil.copy(bundled / "siesta" / "o2" / "o2.XV", run / "h2o.XV")
        with pytest.raises(FormatError, match="atoms are not those"):
            open_run(run)

    @pytest.mark.parametrize("name", ["h2o_v0", "h2o"])
    def test_moved_atoms(self, copy_run, name):
        run = copy_run(name)
        text = (run / "h2o.XV").read_text()
        assert "0.188972688" in text
        (run / "h2o.XV").write_text(text.replace("0.188972688", "0.288972688"))
        if name == "h2o":
            assert "other positions" in notes(open_run(run))
            return
        with pytest.raises(FormatError, match="do not belong to the structure"):
            open_run(run).require("overlap")

    def test_orbitals(self, copy_run, bundled):
        run = copy_run("h2o", without=(".HSX", ".TSDE", ".DM"))
        shutil.copy(bundled / "siesta" / "o2" / "o2.ORB_INDX", run / "h2o.ORB_INDX")
        with pytest.raises(FormatError, match=r"different atoms|contradict"):
            open_run(run)


class TestHistory:
    """``Write.HS.History`` (SIESTA 5.4): ``label.<step>.HSX`` beside files of the last step."""

    def test_a_step_never_gets_the_density_of_another(self, bundled, tmp_path):
        run = tmp_path / "run"
        shutil.copytree(bundled / "siesta" / "graphene", run)
        shutil.copy(run / "graphene.HSX", run / "graphene.0.HSX")
        calc = read(run / "graphene.0.HSX")
        assert calc.available == ("overlap", "hamiltonian")
        assert "graphene.DM, graphene.EIG of the label are of its last step" in notes(calc)
        assert read(run).available == ("overlap", "hamiltonian", "density_matrix")
        answer = samples.cli("check", run / "graphene.0.HSX")
        assert answer.code == 0
        rows = [line.split(maxsplit=2) for line in answer.out.splitlines()[1:]]
        assert not {"levels", "files"} & {row[1] for row in rows}  # EIG is of another step

    def test_its_own_density_is_taken(self, bundled, tmp_path):
        run = tmp_path / "run"
        shutil.copytree(bundled / "siesta" / "graphene", run)
        for suffix in ("HSX", "DM"):
            shutil.copy(run / f"graphene.{suffix}", run / f"graphene.0.{suffix}")
        calc = read(run / "graphene.0.HSX")
        assert "density_matrix" in calc.available
        assert "graphene.0.DM" in calc.provenance.files
