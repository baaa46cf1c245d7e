"""CP2K itself, where it is installed: files of runs made now, with its own basis sets."""

import os
import shutil
import subprocess

import numpy as np
import pytest
from trip import through_folder

from dock.converters.cp2k import read
from dock.converters.cp2k.check import check_run, printed_k_point
from dock.converters.cp2k.matrices import overlap_deviation
from dock.converters.cp2k.run import run_files
from dock.units import CP2K

pytestmark = [
    pytest.mark.cp2k,
    pytest.mark.skipif(shutil.which("cp2k") is None, reason="cp2k is not installed"),
]

ORDER = """H TESTS
  4
  1 0 1 2 1 1
   1.30  0.40  0.70
   0.40  0.60 -0.30
  3 2 3 1 1 1
   0.70  1.0 1.0
  5 4 4 1 1
   1.10  1.0
  6 5 5 2 1
   1.40  1.0
   0.80  0.5
"""
SET = "SZV-MOLOPT-SR-GTH"
INPUT = """&GLOBAL
  PROJECT run
  RUN_TYPE ENERGY
&END GLOBAL
&FORCE_EVAL
  &DFT
    BASIS_SET_FILE_NAME BASIS_MOLOPT
    POTENTIAL_FILE_NAME POTENTIAL
    {dft}
    &MGRID
      CUTOFF 100
    &END MGRID
    &QS
      EPS_DEFAULT 1.0E-10
    &END QS
    &SCF
      EPS_SCF 1.0E-7
      MAX_SCF {steps}
      ADDED_MOS {added}
    &END SCF
    &XC
      &XC_FUNCTIONAL PADE
      &END XC_FUNCTIONAL
    &END XC
    &PRINT
      &KS_CSR_WRITE ON
        REAL_SPACE
      &END KS_CSR_WRITE
      &S_CSR_WRITE ON
        REAL_SPACE
        BINARY
      &END S_CSR_WRITE
      &AO_MATRICES ON
        OVERLAP
        DENSITY
        NDIGITS 12
        FILENAME ao
        &EACH
          QS_SCF 0
        &END EACH
      &END AO_MATRICES
      &MO ON
        EIGENVALUES
        OCCUPATION_NUMBERS
        NDIGITS 10
        &EACH
          QS_SCF 0
        &END EACH
      &END MO
    &END PRINT
  &END DFT
  &SUBSYS
    &CELL
      {cell}
    &END CELL
    &COORD
      SCALED
      {atoms}
    &END COORD
{kinds}
  &END SUBSYS
&END FORCE_EVAL
"""
KINDS = {"Si": 4, "H": 1, "O": 6}
FCC = "A 0.0 2.7 2.7\n B 2.7 0.0 2.7\n C 2.7 2.7 0.0"


def run(folder, **settings):
    """Run CP2K in a folder."""
    elements = dict.fromkeys(line.split()[0] for line in settings["atoms"].splitlines())
    kinds = [
        f"&KIND {name}\n BASIS_SET {SET}\n POTENTIAL GTH-PADE-q{KINDS[name]}\n&END KIND"
        for name in elements
    ]
    text = INPUT.format(**settings, kinds="\n".join(kinds))
    (folder / "run.inp").write_text(text)
    more = {"OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1"}
    more |= {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    words = ["cp2k", "-i", "run.inp", "-o", "run.out"]
    done = subprocess.run(words, cwd=folder, env={**os.environ, **more}, check=False, timeout=200)
    assert done.returncode == 0, (folder / "run.out").read_text()[-2000:]
    return folder


def deviation(folder, validation):
    """Return the largest |Δε|, eV, from all levels that CP2K printed."""
    calc, log = through_folder(read(folder)), run_files(folder).log
    assert log.levels
    return max(
        validation.level_deviation(
            calc, printed_k_point(log, one.k_point), one.spin, one.energies / CP2K.hartree_ev
        )
        for one in log.levels
    )


def test_silicon_with_k_points(tmp_path, validation):
    mesh = "&KPOINTS\n SCHEME MONKHORST-PACK 2 2 2\n&END KPOINTS"
    folder = run(
        tmp_path, dft=mesh, steps=40, added=4, cell=FCC, atoms="Si 0 0 0\n Si 0.25 0.25 0.25"
    )
    assert deviation(folder, validation) < 2e-5
    calc = read(folder)
    assert overlap_deviation(calc) < 1e-6
    np.testing.assert_allclose(validation.electrons(calc), [8], atol=1e-7)
    assert not [finding for finding in check_run(folder) if finding.level == "error"]


def test_four_atoms_with_spin_some_at_half_a_cell(tmp_path, validation):
    """The atoms at ½ show which cell CP2K counts them into; one step is enough for that."""
    mesh = "LSD\n&KPOINTS\n SCHEME MONKHORST-PACK 2 2 2\n&END KPOINTS"
    atoms = "Si 0.1 0 0\n Si 0.5 0.25 0.25\n H 0.5 -0.5 0.5\n H 1.63 0.55 0.58"
    cell = FCC.replace("2.7", "3.6")
    folder = run(tmp_path, dft=mesh, steps=1, added="2 2", cell=cell, atoms=atoms)
    calc = read(folder)
    assert overlap_deviation(calc) < 1e-6
    np.testing.assert_allclose(validation.electrons(calc), [5, 5], atol=1e-7)
    assert "did not converge" in calc.unsound


def test_water_in_a_periodic_box_is_said_to_hold_at_gamma(tmp_path, validation):
    atoms = "O 0.5 0.5 0.5\n H 0.5 0.61 0.585\n H 0.5 0.39 0.585"
    folder = run(tmp_path, dft="", steps=40, added=2, cell="ABC 7.0 7.0 7.0", atoms=atoms)
    calc = read(folder)
    assert calc.only_gamma
    assert deviation(folder, validation) < 2e-5
    assert overlap_deviation(calc) < 1e-6
    np.testing.assert_allclose(validation.electrons(calc), [8], atol=1e-7)


def test_order_and_signs_up_to_h(tmp_path):
    """Two atoms at a general distance, contracted functions of every l from 0 to 5."""
    (tmp_path / "BASIS_MOLOPT").write_text(ORDER.replace("TESTS", SET))
    atoms = "H 0.41 0.42 0.43\n H 0.47 0.49 0.56"
    folder = run(tmp_path, dft="", steps=1, added=0, cell="ABC 9 9 9", atoms=atoms)
    calc = read(folder)
    assert calc.basis.ls("H") == (0, 1, 2, 3, 4, 5)
    assert overlap_deviation(calc) < 1e-8
    assert "did not converge" in calc.unsound
