"""Spin moments from SIESTA's log: the last populations, whole or not at all."""

import json

import numpy as np
import pytest
from synthetic import covariant, neighbour_pairs

import dock
from dock.converters.siesta.mulliken import prints_populations, read_moments
from dock.core.basis import Basis
from dock.core.spin import Spin
from dock.core.structure import Structure

UP = """
mulliken: Atomic and Orbital Populations:

mulliken: Spin UP

Species: Fe
Atom  Qatom  Qorb
               4s      3dxy    3dyz    3dz2    3dxz    3dx2-y2 4Ppy    4Ppz
               4Ppx
   1  5.070   0.549   0.786   0.788   0.881   0.787   0.891   0.129   0.128
              0.131
   2  2.931   0.461   0.517   0.501   0.345   0.513   0.311   0.094   0.095
              0.093

mulliken: Qtot =        8.001
"""
DOWN = """
mulliken: Spin DOWN

Species: Fe
Atom  Qatom  Qorb
               4s      3dxy    3dyz    3dz2    3dxz    3dx2-y2 4Ppy    4Ppz
               4Ppx
   1  2.930   0.461   0.518   0.501   0.345   0.513   0.310   0.094   0.095
              0.093
   2  5.069   0.549   0.786   0.788   0.881   0.787   0.891   0.129   0.128
              0.131

mulliken: Qtot =        7.999
"""
WHOLE = UP + DOWN
OTHER = WHOLE.replace("5.070", "5.000").replace("8.001", "7.931")
STEP = "   scf:   17    -1562.273065    -1562.273065    -1562.434   0.000007 -5.992069  0.000009\n"
HEAD = "Siesta Version  : master-post-4.1-268\n\nsiesta: System type = bulk\n"
END = "\nSCF cycle converged after 17 iterations\n>> End of run:  30-NOV-2026\nJob completed\n"


@pytest.fixture
def log(tmp_path):
    def write(text):
        path = tmp_path / "fe.out"
        path.write_text(text)
        return path

    return write


def test_difference_of_both_spins(log):
    found = read_moments(log(HEAD + STEP + WHOLE + END), 2)
    np.testing.assert_array_equal(found, [[0, 0, 2.14], [0, 0, -2.138]])


def test_species_after_species_and_atoms_in_their_own_order(log):
    """Atoms stand by species; their numbers say whose they are."""
    first, second = "   1  5.070", "   2  2.931"
    mixed = WHOLE.replace(first, "   7  5.070").replace(second, "   1  2.931")
    mixed = mixed.replace("   1  2.930", "   7  2.930").replace("   2  5.069", "   1  5.069")
    mixed = mixed.replace("   7  ", "Species: O\nAtom  Qatom  Qorb\n   2  ")
    np.testing.assert_array_equal(read_moments(log(mixed), 2), [[0, 0, -2.138], [0, 0, 2.14]])


@pytest.mark.parametrize("first", [WHOLE, OTHER, UP])
def test_the_last_block_counts(log, first):
    text = HEAD + STEP + first + STEP + WHOLE + END
    np.testing.assert_array_equal(read_moments(log(text), 2)[:, 2], [2.14, -2.138])


@pytest.mark.parametrize(
    "text",
    [
        UP,
        UP + DOWN[:300],
        WHOLE.replace("mulliken: Qtot =        7.999\n", ""),
        WHOLE.replace("7.999", "6.999"),
        WHOLE.replace("   2  5.069", "   2 ******"),
        WHOLE.replace("   2  2.931", "   3  2.931"),
        WHOLE.replace("   1  5.070", "   1  5.070   0.549\n   1  0.000"),
        WHOLE + STEP,
        DOWN + UP,
        WHOLE + UP,
        "nothing of the kind",
    ],
    ids=["up alone", "cut", "no sum", "wrong sum", "stars", "atom 3", "twice", "another step",
         "wrong order", "a second one cut", "none"],
)  # fmt: skip
def test_what_is_not_whole_is_not_taken(log, text):
    assert read_moments(log(HEAD + STEP + text), 2) is None


def test_of_another_number_of_atoms(log):
    assert read_moments(log(WHOLE), 3) is None
    assert prints_populations(log(WHOLE))


OXYGEN = WHOLE.replace("5.070", "3.500").replace("2.931", "3.500").replace("8.001", "7.000")
OXYGEN = OXYGEN.replace("2.930", "2.500").replace("5.069", "2.500").replace("7.999", "5.000")


class TestRuns:
    @pytest.fixture
    def run(self, copy_run):
        """Triplet oxygen, with a log as its run printed it."""

        def make(text):
            folder = copy_run("o2")
            (folder / "o2.out").write_text(HEAD + STEP + text + END)
            return folder

        return make

    def test_a_run_has_them(self, run):
        calc = dock.read(run(OXYGEN))
        np.testing.assert_array_equal(calc.moments, [[0, 0, 1], [0, 0, 1]])
        turned = calc.permute_atoms([1, 0])
        np.testing.assert_array_equal(turned.moments, calc.moments[::-1])

    def test_they_are_written_into_the_unified_folder(self, run, tmp_path):
        calc = dock.read(run(OXYGEN))
        files = dock.write(calc, tmp_path / "folder")
        assert "moments.json" in {path.name for path in files}
        found = json.loads((tmp_path / "folder" / "moments.json").read_text())
        np.testing.assert_array_equal(found, calc.moments)

    def test_in_the_order_of_its_atoms(self, tmp_path):
        """The folder groups atoms by element; moments go with them."""
        structure = Structure(np.eye(3) * 9, [[0, 0, 0], [0, 0, 2], [0, 2, 0]], [8, 26, 8])
        basis = Basis.from_ls({"O": [0], "Fe": [2]}, structure.labels)
        moments = [[0, 0, 0.1], [0, 0, 4.0], [0, 0, -0.2]]
        S = covariant(structure, basis, neighbour_pairs(structure, 3.0), quantity="overlap")
        known = {"overlap": S}
        calc = dock.Calculation(structure, basis, Spin.COLLINEAR, known, moments=moments)
        dock.write(calc, tmp_path / "folder")
        found = json.loads((tmp_path / "folder" / "moments.json").read_text())
        assert found == [[0, 0, 0.1], [0, 0, -0.2], [0, 0, 4.0]]

    def test_damaged_populations_are_said(self, run):
        calc = dock.read(run(UP))
        assert calc.moments is None
        assert any("populations at the end of o2.out are not complete" in n for n in calc.notes)

    def test_a_run_without_spin_or_log_has_none(self, copy_run):
        for name in ("h2o", "graphene"):
            calc = dock.read(copy_run(name))
            assert calc.moments is None
        assert dock.read(copy_run("o2")).moments is None


@pytest.mark.shared
def test_reference_runs(unpack, tmp_path):
    """Real logs: triplet oxygen, ferromagnetic iron, and a non-collinear run, which has vectors."""
    for name, file, moments in (
        ("o2", "o2.v2.HSX", [1.0, 1.0]),
        ("fe_bcc", "fe_bcc.TSHS", [2.368]),
    ):
        calc = dock.read(unpack("fixtures", "siesta", name) / file)
        assert calc.moments[:, 2].tolist() == moments
    assert dock.read(unpack("fixtures", "siesta", "fe2_nc") / "fe2_nc.TSHS").moments is None
