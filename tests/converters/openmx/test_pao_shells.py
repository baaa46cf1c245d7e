"""Shells of OpenMX species, with and without their radial functions."""

from pathlib import Path

import numpy as np
import pytest

from dock.converters.openmx.pao import SUBDIVISION, PaoFile, radial_of_pao, read_pao, shells_of_pao
from dock.converters.openmx.species import Species
from dock.errors import FormatError, MissingDataError

BOHR = 0.529177249


@pytest.fixture
def folder(shared):
    return shared / "public" / "openmx" / "pao"


@pytest.mark.shared
def test_shells_carry_the_functions_of_the_basis_string(folder):
    shells = shells_of_pao(Species.parse("Mo", "Mo7.0-s3p2d1", "Mo_PBE19"), folder)
    assert [(shell.l, shell.label) for shell in shells] == [
        (0, "s0"), (0, "s1"), (0, "s2"), (1, "p0"), (1, "p1"), (2, "d0"),
    ]  # fmt: skip
    assert all(shell.radial.cutoff == pytest.approx(7 * BOHR) for shell in shells)


@pytest.mark.shared
def test_norm_is_one_in_angstrom(folder):
    """∫ R² r² dr = 1 whatever the unit; the tail beyond the cutoff is zero."""
    pao = read_pao(folder / "C6.0.pao")
    radial = radial_of_pao(pao, 1, 0)
    norm = np.trapezoid(radial.values**2 * radial.r**3, np.log(radial.r))
    assert norm == pytest.approx(1.0, abs=1e-4)
    assert radial.cutoff == pytest.approx(6 * BOHR)


@pytest.mark.shared
def test_what_is_missing_is_named(folder, tmp_path):
    with pytest.raises(MissingDataError, match=r"Xe9\.0\.pao.*basis=DIR"):
        shells_of_pao(Species.parse("Xe", "Xe9.0-s1", "Xe_PBE19"), folder)
    with pytest.raises(FormatError, match=r"Si7\.0\.pao.*no function 1 of l = 5.*15 of l = 0"):
        shells_of_pao(Species.parse("Si", "Si7.0-s1h1", "Si_PBE19"), folder)


def test_the_function_passes_through_the_table():
    r = np.geomspace(1e-3, 6, 200)
    pao = PaoFile(
        path=Path("X5.0.pao"),
        number=None,
        valence_electrons=None,
        cutoff_bohr=5.0,
        mesh=r,
        radial=((np.exp(-r) * r)[None, :],),
    )
    fine = radial_of_pao(pao, 0, 0)
    assert fine.cutoff == pytest.approx(5.0 * BOHR)
    assert np.allclose(fine.values[::SUBDIVISION] * BOHR**1.5, pao.radial[0][0], atol=1e-14)
    x = fine.r / BOHR
    assert np.allclose(fine.values * BOHR**1.5, np.exp(-x) * x, atol=1e-4)
