"""ABACUS numerical orbitals."""

import numpy as np
import pytest

from dock.converters.abacus.orb import read_orb
from dock.errors import FormatError, MissingDataError
from dock.overlap.radial import shell_norm
from dock.units import ABACUS

VALUES = np.exp(-0.4 * np.arange(6)) - np.exp(-2.0)


def text(*, head="1", mesh="6", step="0.5", cutoff="2.5", tables=((0, 0), (1, 0), (1, 1)), cut=0):
    lines = [
        "---------", "Element                     Si", "Energy Cutoff(Ry)           100",
        f"Radius Cutoff(a.u.)         {cutoff}", "Lmax                        1",
        f"Number of Sorbital-->       {head}", "Number of Porbital-->       2", "---------",
        "SUMMARY  END", "", f"Mesh                        {mesh}", f"dr  {step}",
    ]  # fmt: skip
    for l, zeta in tables:
        numbers = [f"{value:.14e}" for value in VALUES]
        lines += ["     Type     L     N", f"        0   {l}   {zeta}"]
        lines += ["  ".join(numbers[:4]), "  ".join(numbers[4:])]
    return "\n".join(lines[: len(lines) - cut]) + "\n"


def write(tmp_path, content):
    path = tmp_path / "Si.orb"
    path.write_text(content)
    return path


def test_shells_and_units(tmp_path):
    orb = read_orb(write(tmp_path, text()))
    assert (orb.symbol, orb.cutoff_bohr, orb.step_bohr) == ("Si", 2.5, 0.5)
    shells = orb.shells()
    assert [shell.l for shell in shells] == [0, 1, 1]
    bohr = ABACUS.bohr_angstrom
    assert np.allclose(shells[2].radial.values, VALUES / bohr**1.5)
    assert shells[0].radial.cutoff == pytest.approx(2.5 * bohr)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cut": 1}, "a table is cut.*Expected 6 numbers.*Found 4"),
        ({"cut": 4}, "header and the tables disagree"),
        ({"head": "2"}, "header and the tables disagree"),
        ({"tables": ((1, 0), (0, 0), (1, 1))}, "header and the tables disagree"),
        ({"mesh": "9"}, "mesh and cutoff disagree"),
        ({"step": "x"}, "'dr' is missing or no number"),
        ({"cutoff": "inf"}, "'Radius Cutoff"),
        ({"tables": ((0, 0), (7, 0))}, "out of range"),
    ],
)
def test_damaged_files(tmp_path, changes, message):
    with pytest.raises(FormatError, match=message):
        read_orb(write(tmp_path, text(**changes)))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FormatError, match="no ABACUS orbital file"):
        read_orb(write(tmp_path, "hello"))
    with pytest.raises(FormatError, match="not finite"):
        read_orb(write(tmp_path, text().replace(f"{VALUES[1]:.14e}", "nan", 1)))
    with pytest.raises(FormatError, match="holds a word"):
        read_orb(write(tmp_path, text().replace(f"{VALUES[1]:.14e}", "one", 1)))
    (tmp_path / "x.orb").write_bytes(b"\xff\xfe\x81")
    with pytest.raises(FormatError, match="no text file"):
        read_orb(tmp_path / "x.orb")
    with pytest.raises(MissingDataError, match=r"none\.orb"):
        read_orb(tmp_path / "none.orb")


@pytest.mark.shared
def test_real_files_are_normalised(shared):
    paths = sorted((shared / "public/abacus/orb").glob("*.orb"))
    assert len(paths) >= 6
    for path in paths:
        shells = read_orb(path).shells()
        assert all(abs(shell_norm(shell) - 1) < 1e-5 for shell in shells)
    iron = read_orb(shared / "public/abacus/orb/Fe_gga_6au_100Ry_4s2p2d1f.orb")
    assert [shell.l for shell in iron.shells()] == [0] * 4 + [1] * 2 + [2] * 2 + [3]
