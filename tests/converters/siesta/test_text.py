"""XV, STRUCT_OUT, ORB_INDX, EIG, KP and fdf: what is read, and what is refused."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, strategies as st

from dock.converters.siesta.eig import read_eig, read_fermi, read_kp
from dock.converters.siesta.fdf import read_fdf
from dock.converters.siesta.orb_indx import read_orb_indx
from dock.converters.siesta.run import read_log
from dock.converters.siesta.xv import read_struct_out, read_xv
from dock.errors import DockError, FormatError, MissingDataError
from dock.units import SIESTA4, SIESTA5


@pytest.fixture
def folder(bundled):
    return bundled / "siesta"


class TestStructureFiles:
    @pytest.mark.parametrize("name", ["h2o", "graphene"])
    def test_three_files_of_one_run_agree(self, folder, name):
        xv = read_xv(folder / name / f"{name}.XV")
        out = read_struct_out(folder / name / f"{name}.STRUCT_OUT")
        atoms = read_fdf(folder / name / f"{name}.fdf").atoms(SIESTA4)
        for cell, positions in ((out.cell, out.positions), (atoms.cell, atoms.positions)):
            np.testing.assert_allclose(xv.cell * 0.529177, cell, atol=3e-8)
            np.testing.assert_allclose(xv.positions * 0.529177, positions, atol=3e-8)
        np.testing.assert_array_equal(xv.species, atoms.species)
        np.testing.assert_array_equal(xv.numbers, out.numbers)

    @pytest.mark.parametrize("cut", [0, 5, 300, -30])
    def test_cut(self, folder, tmp_path, cut):
        path = tmp_path / "h2o.XV"
        path.write_bytes((folder / "h2o" / "h2o.XV").read_bytes()[:cut])
        with pytest.raises(FormatError):
            read_xv(path)

    def test_crlf_and_d_exponents(self, folder, tmp_path):
        text = (folder / "h2o" / "h2o.XV").read_text()
        path = tmp_path / "h2o.XV"
        path.write_text(text.replace("18.897268778", "0.18897268778D+02").replace("\n", "\r\n"))
        np.testing.assert_allclose(read_xv(path).cell, read_xv(folder / "h2o" / "h2o.XV").cell)

    def test_overflowed_columns(self, folder, tmp_path):
        path = tmp_path / "h2o.XV"
        text = (folder / "h2o" / "h2o.XV").read_text()
        path.write_text(text.replace("18.897268778", "************", 1))
        with pytest.raises(FormatError, match=r"\*\*\*"):
            read_xv(path)


class TestEigenvalues:
    def test_shapes(self, folder):
        assert read_eig(folder / "h2o" / "h2o.EIG").energies.shape == (1, 1, 23)
        assert read_eig(folder / "o2" / "o2.EIG").energies.shape == (1, 2, 26)
        assert read_eig(folder / "graphene" / "graphene.EIG").energies.shape == (113, 1, 26)
        assert read_fermi(folder / "o2" / "o2.EIG") == pytest.approx(-4.94874099)

    def test_k_points(self, folder):
        points = read_kp(folder / "graphene" / "graphene.KP")
        cell = read_xv(folder / "graphene" / "graphene.XV").cell
        reference = json.loads((folder / "graphene" / "reference.json").read_text())
        np.testing.assert_allclose(points.fractional(cell), reference["k_frac"], atol=5e-6)
        assert points.weights.sum() == pytest.approx(1, abs=1e-5)

    @pytest.mark.parametrize("reader", [read_eig, read_fermi, read_kp])
    def test_cut(self, folder, tmp_path, reader):
        ending = "KP" if reader is read_kp else "EIG"
        data = (folder / "graphene" / f"graphene.{ending}").read_bytes()
        for cut in (0, 9, 200):
            path = tmp_path / "x"
            path.write_bytes(data[:cut])
            if reader is read_fermi and cut == 200:
                continue
            with pytest.raises(FormatError):
                reader(path)

    def test_stars(self, folder, tmp_path):
        path = tmp_path / "x.EIG"
        text = (folder / "h2o" / "h2o.EIG").read_text()
        path.write_text(text.replace("-0.194286074E+01", "****************"))
        with pytest.raises(FormatError, match="word"):
            read_fermi(path)


class TestOrbitalIndex:
    def test_shells(self, folder):
        index = read_orb_indx(folder / "h2o" / "h2o.ORB_INDX")
        assert [one.label for one in index.species] == ["O", "H"]
        assert index.species[0].shells == (
            (2, 0, 1, False),
            (2, 0, 2, False),
            (2, 1, 1, False),
            (2, 1, 2, False),
            (3, 2, 1, True),
        )
        assert index.atom_species.tolist() == [0, 1, 1]

    def test_cut_in_the_orbitals(self, folder, tmp_path):
        lines = (folder / "h2o" / "h2o.ORB_INDX").read_text().splitlines(keepends=True)
        path = tmp_path / "x.ORB_INDX"
        for kept in (0, 1, 3, 10, 25):
            path.write_text("".join(lines[:kept]))
            with pytest.raises(FormatError):
                read_orb_indx(path)

    def test_wrong_m(self, folder, tmp_path):
        text = (folder / "h2o" / "h2o.ORB_INDX").read_text().splitlines()
        text[5], text[6] = text[6], text[5]
        path = tmp_path / "x.ORB_INDX"
        path.write_text("\n".join(text) + "\n")
        with pytest.raises(FormatError, match="out of order"):
            read_orb_indx(path)


FDF = """\
system-label  test   # a comment
SystemLabel   second
Lattice_Constant 2.0 Bohr
%block LatticeVectors
 3 0 0
 0 4 0
 0 0 5
%endblock
NumberOfAtoms 2
AtomicCoordinatesFormat {format}
%block Atomic.Coordinates_and_AtomicSpecies
 0.0 0.0 0.0 1
 0.5 0.25 1.d0 2
%endblock AtomicCoordinatesAndAtomicSpecies
%block ChemicalSpeciesLabel
 2 -1 H_ghost
 1 8 O
%endblock ChemicalSpeciesLabel
"""


class TestFdf:
    def write(self, tmp_path, style="Ang", **more):
        path = tmp_path / "x.fdf"
        text = FDF.format(format=style)
        for old, new in more.items():
            text = text.replace(old, new)
        path.write_text(text)
        return read_fdf(path)

    @pytest.mark.parametrize(
        ("style", "expected"),
        [
            ("Ang", [0.5, 0.25, 1.0]),
            ("NotScaledCartesianBohr", [0.5 * 0.529177, 0.25 * 0.529177, 0.529177]),
            ("ScaledCartesian", [0.529177, 0.5 * 0.529177, 2 * 0.529177]),
            ("fractional", [3 * 0.529177, 2 * 0.529177, 10 * 0.529177]),
        ],
    )
    def test_formats(self, tmp_path, style, expected):
        file = self.write(tmp_path, style)
        atoms = file.atoms(SIESTA4)
        np.testing.assert_allclose(atoms.positions[1], expected, rtol=1e-14)
        np.testing.assert_allclose(np.diag(atoms.cell), np.array([6, 8, 10]) * 0.529177)
        assert atoms.species.tolist() == [0, 1]
        assert file.label == "test"
        assert file.species() == ((8, "O"), (-1, "H_ghost"))

    def test_newer_units(self, tmp_path):
        atoms = self.write(tmp_path).atoms(SIESTA5)
        assert atoms.cell[0, 0] == pytest.approx(6 * 0.529177210903, rel=1e-14)

    def test_parameters(self, tmp_path):
        path = tmp_path / "x.fdf"
        text = FDF.format(format="Ang")
        begin, end = text.index("%block LatticeVectors"), text.index("NumberOfAtoms")
        block = "%block LatticeParameters\n 1 1 2 90 90 120\n%endblock LatticeParameters\n"
        path.write_text(text[:begin] + block + text[end:])
        cell = read_fdf(path).atoms(SIESTA4).cell
        expected = np.array([[1, 0, 0], [-0.5, np.sqrt(0.75), 0], [0, 0, 2]]) * 2 * 0.529177
        np.testing.assert_allclose(cell, expected, atol=1e-14)

    def test_included_files(self, tmp_path):
        (tmp_path / "cell.fdf").write_text("LatticeConstant 1 Ang\nSystemLabel inner\n")
        (tmp_path / "atoms").write_text("0 0 0 1\n")
        (tmp_path / "x.fdf").write_text(
            "SystemLabel outer\n%include cell.fdf\nSpin < spin.fdf\n"
            "%block AtomicCoordinatesAndAtomicSpecies < atoms\nAtomicCoordinatesFormat Ang\n"
        )
        (tmp_path / "spin.fdf").write_text("Spin polarized\n")
        file = read_fdf(tmp_path / "x.fdf")
        assert (file.label, file.text("spin")) == ("outer", "polarized")
        assert file.atoms(SIESTA5).cell.tolist() == np.eye(3).tolist()

    def test_includes_itself(self, tmp_path):
        (tmp_path / "x.fdf").write_text("%include x.fdf\n")
        with pytest.raises(FormatError, match="without end"):
            read_fdf(tmp_path / "x.fdf")

    def test_missing_include(self, tmp_path):
        (tmp_path / "x.fdf").write_text("%include y.fdf\n")
        with pytest.raises(MissingDataError, match=r"y\.fdf"):
            read_fdf(tmp_path / "x.fdf")

    def test_open_block(self, tmp_path):
        (tmp_path / "x.fdf").write_text("%block LatticeVectors\n 1 0 0\n")
        with pytest.raises(FormatError, match="no end"):
            read_fdf(tmp_path / "x.fdf")

    @pytest.mark.parametrize(
        ("old", "new", "error"),
        [
            ("2.0 Bohr", "2.0 furlong", FormatError),
            ("Lattice_Constant 2.0 Bohr", "", MissingDataError),
            (" 0 0 5\n", "", FormatError),
            ("0.5 0.25", "0.5 abc", FormatError),
            ("NumberOfAtoms 2", "NumberOfAtoms 3", FormatError),
            ("Format Ang", "Format Furlong", FormatError),
        ],
    )
    def test_wrong_content(self, tmp_path, old, new, error):
        file = self.write(tmp_path, **{old: new})
        with pytest.raises(error):
            file.atoms(SIESTA4)

    @given(text=st.text(max_size=200))
    def test_any_text_is_read_or_refused(self, tmp_path_factory, text):
        path = tmp_path_factory.mktemp("fdf") / "x.fdf"
        path.write_text(text.replace("%include", "").replace("<", ""), encoding="utf-8")
        with contextlib.suppress(DockError):
            read_fdf(path).atoms(SIESTA4)


SIESTA = "Siesta Version  : 4.1\n   scf:    1     -465.91\n   scf:    2     -466.31\n"


class TestLog:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("Siesta Version  : v4.1.5\n", ("v4.1.5", None, False)),
            (
                "Executable      : siesta\nVersion         : 5.4.2\nSCF_NOT_CONV: x\n",
                ("5.4.2", False, True),
            ),
            (f"{SIESTA}SCF cycle converged after 2 iterations\n", ("4.1", True, True)),
            (f"{SIESTA}{' ' * 200_000}\nJob completed\n", ("4.1", True, True)),
            (f"{SIESTA}SCF cycle converged\n{' ' * 200_000}\n", ("4.1", True, True)),
            (SIESTA, ("4.1", None, False)),
            (f"{SIESTA}SCF cycle converged\n   scf:    1   -1.0\n", ("4.1", None, False)),
            ("Some other program\nVersion : 3\n", ("", None, True)),
        ],
    )
    def test_log(self, tmp_path, text, expected):
        path = tmp_path / "x.out"
        path.write_text(text)
        assert read_log(path) == expected
