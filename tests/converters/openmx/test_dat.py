"""OpenMX input text: what is understood, what is refused with line and keyword, what is made."""

import json

import numpy as np
import pytest
from hypothesis import given, strategies as st

from dock.converters.openmx.dat import minimal_input, parse_input, read_input
from dock.converters.openmx.scfout import ScfoutFile
from dock.converters.openmx.species import PaoName, Species, basis_string, element_number
from dock.errors import FormatError, MissingDataError, UsageError
from dock.units import OPENMX

TEXT = """\
# a comment
SYSTEM.name   test   # a name
Species.Number  3
<Definition.of.atomic.species
  Fe1  Fe6.0S-s2p1   Fe_PBE19S
  proj O5.0-p1s2     O_PBE19   # shells in any order
  EH   H5.0-s1p1     E
definition.of.Atomic.Species>
atoms.number 3
Atoms.SpeciesAndCoordinates.Unit  frac
<Atoms.SpeciesAndCoordinates
  1 Fe1   0.0 0.0 0.0    8.0 6.0  10.0 20.0 1 on
  2 proj  0.5 0.5 0.25   3.0 3.0
  3 EH   -0.1 0.0 1.25   0.0 0.0
Atoms.SpeciesAndCoordinates>
Atoms.UnitVectors.Unit AU
<Atoms.UnitVectors
  4.0 0.0 0.0
  0.0 5.0 0.0
  0.0 1.0 6.0
Atoms.UnitVectors>
scf.Kgrid  4 5 6
scf.SpinPolarization  NC
scf.SpinOrbit.Coupling ON
scf.ElectronicTemperature 500
scf.XcType GGA-PBE
Band.Nkpath 1
<Band.kpath
  7  0.0 0.0 0.0  0.5 0.0 0.0  G X
Band.kpath>
"""


class TestParse:
    def test_everything(self):
        found = parse_input(TEXT, "x.dat")
        assert found.system_name == "test"
        assert found.labels == ("Fe1", "proj", "EH")
        assert found.numbers.tolist() == [26, 8, 0]
        assert [one.pao.shells() for one in found.species] == [(0, 0, 1), (0, 0, 1), (0, 1)]
        assert (found.spin, found.spin_switch, found.spin_orbit) == ("nc", 3, True)
        assert (found.kgrid, found.temperature, found.xc) == ((4, 5, 6), 500.0, "GGA-PBE")
        assert found.charges.tolist() == [[8, 6], [3, 3], [0, 0]]
        assert found.text == TEXT
        np.testing.assert_allclose(found.positions_bohr[1], [2.0, 2.75, 1.5])
        np.testing.assert_allclose(found.positions_bohr[2], [-0.4, 1.25, 7.5])

    def test_defaults_of_a_molecule_in_angstrom(self):
        text = TEXT.replace("  frac", "  Ang")
        start, end = text.index("Atoms.UnitVectors.Unit"), text.index("scf.Kgrid")
        found = parse_input(text[:start] + text[text.index("scf.XcType") :], "x.dat")
        assert found.cell is None
        assert found.cell_bohr is None
        assert (found.kgrid, found.spin, found.spin_orbit) == ((1, 1, 1), "off", False)
        assert (found.temperature, found.solver) == (300.0, "Cluster")
        assert start < end
        np.testing.assert_array_equal(
            found.positions_bohr, found.coordinates / OPENMX.bohr_angstrom
        )

    def test_windows_line_ends(self):
        found = parse_input(TEXT.replace("\n", "\r\n"), "x.dat")
        assert found.labels == ("Fe1", "proj", "EH")

    def test_keyword_twice_with_the_same_value(self):
        assert parse_input(TEXT + "scf.kgrid 4 5 6\n", "x.dat").kgrid == (4, 5, 6)

    @pytest.mark.parametrize(
        ("old", "new", "problem"),
        [
            ("Species.Number  3", "", "Species.Number.*missing"),
            ("Species.Number  3", "Species.Number  4", r"line 5, Definition.*Expected 4 lines"),
            ("Species.Number  3", "Species.Number  x", r"line 3, Species.Number.*1 numbers"),
            ("atoms.number 3", "atoms.number 2", r"line 12, Atoms.*2 lines .*Found 3 lines"),
            ("2 proj", "7 proj", r"line 13.*not numbered in order. Expected 2. Found 7"),
            ("2 proj", "2 prj", r"line 13.*not an atom. Expected number, one of Fe1, proj, EH"),
            ("0.5 0.5 0.25", "0.5 0.5", "line 13.*not an atom"),
            ("0.5 0.5 0.25", "0.5 nan 0.25", "line 13.*5 numbers"),
            ("  frac", "  furlong", r"line 10.*unknown value. Expected ang or au or frac"),
            ("  NC", "  maybe", "scf.SpinPolarization.*off or on or nc"),
            ("Coupling ON", "Coupling 1", "scf.SpinOrbit.Coupling"),
            ("Fe6.0S-s2p1", "Fe6.0S", "line 5.*has not the form of C6.0-s2p2d1"),
            ("Fe6.0S-s2p1 ", "Fe6.0S-s2s1", "line 5.*one angular momentum twice"),
            ("  Fe_PBE19S", "", "line 5.*columns are missing"),
            ("proj O5.0", "Fe1  O5.0", "line 6.*label stands twice"),
            ("  0.0 1.0 6.0\n", "", "Atoms.UnitVectors.*three vectors.*Found 2 lines"),
            ("0.0 1.0 6.0", "0.0 1.0", "line 20, Atoms.UnitVectors.*3 numbers"),
            ("Band.kpath>", "", "Band.kpath.*not closed"),
            ("Atoms.UnitVectors\n", "Atoms.UnitVectorz\n", "UnitVector"),
            ("scf.Kgrid  4 5 6", "scf.Kgrid  4 5 6\nscf.kgrid 1 1 1", "line 23.*contradicts"),
            ("H5.0-s1p1     E", "Q5.0-s1p1     Qq", "line 7.*names an element"),
        ],
    )
    def test_refusals_name_line_and_keyword(self, old, new, problem):
        assert old in TEXT
        with pytest.raises(FormatError, match=f"(?s)x.dat.*{problem}"):
            parse_input(TEXT.replace(old, new, 1), "x.dat")

    def test_block_twice(self):
        with pytest.raises(FormatError, match=r"line 31, Atoms.UnitVectors.*twice"):
            parse_input(TEXT + "<Atoms.UnitVectors\nAtoms.UnitVectors>\n", "x.dat")

    def test_fractions_without_a_cell(self):
        start, end = TEXT.index("Atoms.UnitVectors.Unit"), TEXT.index("scf.Kgrid")
        with pytest.raises(FormatError, match="units of the lattice vectors, which are missing"):
            parse_input(TEXT[:start] + TEXT[end:], "x.dat")

    def test_files_that_are_none(self, tmp_path):
        with pytest.raises(MissingDataError, match=r"none\.dat"):
            read_input(tmp_path / "none.dat")
        for content in (b"", b"a\0b"):
            (tmp_path / "x.dat").write_bytes(content)
            with pytest.raises(FormatError, match="not an OpenMX input file"):
                read_input(tmp_path / "x.dat")

    @given(st.integers(0, len(TEXT)))
    def test_cut_text_is_refused_or_whole(self, at):
        try:
            parse_input(TEXT[:at], "x.dat")
        except FormatError:
            return
        assert TEXT[:at].count("Atoms.UnitVectors>") == 1


class TestOrbitals:
    def test_counts_fit(self):
        found = parse_input(TEXT, "x.dat")
        assert found.contracted([5, 5, 4]) is False

    def test_counts_do_not_fit(self):
        found = parse_input(TEXT, "x.dat")
        with pytest.raises(FormatError, match=r"atom 2 \(proj.*Expected 5 orbitals. Found 6"):
            found.contracted([5, 6, 4])
        with pytest.raises(FormatError, match="number of atoms"):
            found.contracted([5, 5])

    def test_contracted_orbitals_are_told_by_their_number(self):
        text = TEXT.replace("Fe6.0S-s2p1", "Fe6.0S-s4>2p3>1")
        assert parse_input(text, "x.dat").contracted([5, 5, 4]) is True
        assert parse_input(text, "x.dat").contracted([13, 5, 4]) is False
        optimised = parse_input(text + "orbitalOpt.Method species\n", "x.dat")
        assert optimised.contracted([5, 5, 4]) is True

    @pytest.mark.shared
    def test_real_files(self, shared):
        for path in sorted((shared / "fixtures" / "openmx").glob("*/*.scfout")):
            header = ScfoutFile.open(path)
            found = parse_input(header.input_text, path)
            assert found.text == path.with_suffix(".dat").read_text()
            assert found.contracted(header.n_orbitals) is False
            assert found.spin_switch == header.spin_switch
            assert found.temperature == header.temperature
            # The same constants in the same order of operations: no digit is lost.
            np.testing.assert_allclose(found.positions_bohr, header.positions, atol=1e-14)
            if found.cell_bohr is not None:
                np.testing.assert_array_equal(found.cell_bohr, header.cell)
            reference = json.loads((path.parent / "reference.json").read_text())
            symbols = [element_number(name) for name in reference["elements"]]
            assert found.numbers.tolist() == symbols
            assert list(found.kgrid) == reference["kgrid"]


class TestBasisNames:
    @pytest.mark.parametrize(
        ("text", "file_name", "shells"),
        [
            ("C6.0-s2p2d1", "C6.0", (0, 0, 1, 1, 2)),
            ("Fe6.0S-s1p1", "Fe6.0S", (0, 1)),
            ("Fe5.5H-d1s1", "Fe5.5H", (0, 2)),
            ("C6.0_1s-s2", "C6.0_1s", (0, 0)),
            ("H7-s1", "H7", (0,)),
            ("Si-mine-s1p1", "Si-mine", (0, 1)),
            ("C6.0-S2P1", "C6.0", (0, 0, 1)),
        ],
    )
    def test_forms(self, text, file_name, shells):
        found = PaoName.parse(text)
        assert found.file_name == file_name
        assert found.shells() == shells
        assert not found.has_contraction

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("C6.0", "form of"),
            ("-s2", "form of"),
            ("C6.0-", "form of"),
            ("C6.0-s2x", "form of"),
            ("C6.0-2s", "form of"),
            ("C6.0-s0", "counts from 1 up"),
            ("C6.0-s1>2", "counts from 1 up"),
            ("C6.0-s1j1", "shell 'j'"),
            ("C6.0-s42p42", "two readings"),
        ],
    )
    def test_other_forms(self, text, problem):
        with pytest.raises(UsageError, match=problem):
            PaoName.parse(text)

    @given(st.lists(st.integers(0, 6), min_size=1, max_size=12).map(sorted))
    def test_basis_string_is_the_inverse(self, shells):
        found = PaoName.parse(basis_string("Xe9.5", shells))
        assert list(found.shells()) == shells
        assert str(found) == basis_string("Xe9.5", shells)
        assert found.n_orbitals() == sum(2 * one + 1 for one in shells)

    @pytest.mark.parametrize("shells", [(), (1, 0), (7,), (-1, 0)])
    def test_shells_without_a_string(self, shells):
        with pytest.raises(UsageError, match="orders shells"):
            basis_string("C6.0", shells)


class TestMinimalInput:
    @given(
        st.lists(
            st.tuples(*[st.floats(-1e3, 1e3, allow_subnormal=False)] * 3), min_size=1, max_size=5
        )
    )
    def test_numbers_survive(self, positions):
        species = [Species.parse("C1", "C6.0-s2p1", "C_PBE19"), Species.parse("E", "H5.0-s1", "E")]
        which = [n % 2 for n in range(len(positions))]
        cell = np.array([[1 / 3, 0.1, 0], [0, np.pi, 0], [1e-9, 0, 7]])
        text = minimal_input(species, which, positions, cell, spin="nc", spin_orbit=True)
        found = parse_input(text, "x.dat")
        np.testing.assert_array_equal(found.positions_bohr, np.array(positions))
        np.testing.assert_array_equal(found.cell_bohr, cell)
        assert found.species == tuple(species)
        assert found.atom_species.tolist() == which
        assert (found.spin, found.spin_orbit, found.kgrid) == ("nc", True, (1, 1, 1))
        assert max(len(line) for line in text.split("\n")) < 255

    @pytest.mark.parametrize(
        ("which", "positions", "cell", "problem"),
        [
            ([0, 0], [[0, 0, 0]], np.eye(3), "Positions of shape"),
            ([0], [[0, 0, 0]], np.eye(2), "A cell of shape"),
            ([1], [[0, 0, 0]], np.eye(3), "species index from 0 to 0"),
            ([], np.zeros((0, 3)), np.eye(3), "species index"),
        ],
    )
    def test_refusals(self, which, positions, cell, problem):
        species = [Species.parse("C", "C6.0-s2p1", "C_PBE19")]
        with pytest.raises(UsageError, match=problem):
            minimal_input(species, which, positions, cell)

    def test_sisl_reads_it(self, tmp_path, monkeypatch):
        sisl = pytest.importorskip("sisl")
        # sisl 0.20 forgets to define this name; anything will do.
        monkeypatch.setattr("sisl.io.openmx.omx.output", False, raising=False)
        species = [Species.parse("C", "C6.0-s2p1", "C_PBE19"), Species.parse("O", "O5.0-s1", "O_P")]
        cell = np.array([[9.0, 0, 0], [0.5, 8.0, 0], [0, 0, 7.0]])
        positions = np.array([[0.1, 0.2, 0.3], [2.0, 2.5, 3.0]])
        path = tmp_path / "x.dat"
        path.write_text(minimal_input(species, [0, 1], positions, cell))
        geometry = sisl.io.openmx.omxSileOpenMX(path).read_geometry()
        scale = OPENMX.bohr_angstrom
        np.testing.assert_allclose(geometry.cell, cell * scale, rtol=1e-6)
        np.testing.assert_allclose(geometry.xyz, positions * scale, rtol=1e-6)
        assert geometry.atoms.Z.tolist() == [6, 8]
        assert [atom.no for atom in geometry.atoms.atom] == [5, 1]
