"""PAO files: the tables, their norms, and files that are cut or edited."""

import numpy as np
import pytest

from dock.converters.openmx.pao import read_pao
from dock.errors import FormatError, MissingDataError

SHIPPED = {
    "As7.0": (33, 15.0, 7.0, 3), "B7.0": (5, 3.0, 7.0, 3), "C5.0": (6, 4.0, 5.0, 3),
    "C6.0": (6, 4.0, 6.0, 3), "Fe6.0S": (26, 14.0, 6.0, 4), "Ga7.0": (31, 13.0, 7.0, 4),
    "H5.0": (1, 1.0, 5.0, 3), "Mo7.0": (42, 14.0, 7.0, 3), "N6.0": (7, 5.0, 6.0, 3),
    "O5.0": (8, 6.0, 5.0, 3), "S7.0": (16, 6.0, 7.0, 3), "Si7.0": (14, 4.0, 7.0, 3),
}  # fmt: skip
# Trapezoid rule on the logarithmic mesh; two shipped files are not normalised any better.
NORM_TOLERANCE = {"Mo7.0": 2e-2, "As7.0": 6e-3}
# Beyond the cutoff the tables are zero, but for a rest of 2e-15 in N6.0.
ZERO = 1e-14


def make(path, *, l_max=1, n_zeta=2, n_mesh=20, cutoff=2.0):
    """Write a small PAO file in the layout of the shipped ones; return its text."""
    x = np.linspace(-4, 1, n_mesh)
    r = np.exp(x)
    lines = [
        "***** header *****", "number.optpao 1", "AtomSpecies   6", "valence.electron  4.0  # four",
        f"grid.num.output  {n_mesh}   # default=2000", f"radial.cutoff.pao  {cutoff} # Bohr",
        "maxL.pao 9", "num.pao 9", f"PAO.Lmax   {l_max}", f"PAO.Mul    {n_zeta}",
    ]  # fmt: skip
    for l_value in range(l_max + 1):
        table = [r**l_value * np.exp(-(n + 1) * r) * (r < cutoff) for n in range(n_zeta)]
        lines.append(f"<pseudo.atomic.orbitals.L={l_value}")
        rows = np.column_stack([x, r, *table])
        lines += ["  ".join(f"{value:.15f}" for value in row) for row in rows]
        lines.append(f"pseudo.atomic.orbitals.L={l_value}>")
    text = "\n".join(lines) + "\n"
    path.write_text(text)
    return text


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "C2.0.pao"
    return path, make(path)


def test_small_file(small):
    found = read_pao(small[0])
    assert (found.number, found.valence_electrons, found.cutoff_bohr) == (6, 4.0, 2.0)
    assert found.l_max == 1
    assert [table.shape for table in found.radial] == [(2, 20), (2, 20)]
    inside = found.mesh < 2.0
    expected = found.mesh * np.exp(-2 * found.mesh) * inside
    np.testing.assert_allclose(found.radial[1][1], expected, atol=1e-13)
    with pytest.raises(ValueError, match="read-only"):
        found.radial[0][0, 0] = 1.0


def test_what_a_file_need_not_say(small):
    path, text = small
    path.write_text(text.replace("AtomSpecies   6\n", "").replace("valence.electron", "valence"))
    found = read_pao(path)
    assert found.number is None
    assert found.valence_electrons is None


@pytest.mark.shared
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files(shared, name):
    found = read_pao(shared / "public" / "openmx" / "pao" / f"{name}.pao")
    facts = (found.number, found.valence_electrons, found.cutoff_bohr, found.l_max)
    assert facts == SHIPPED[name]
    assert {table.shape for table in found.radial} == {(15, 500)}
    for table in found.radial[:3]:
        assert np.abs(table[:, found.mesh > found.cutoff_bohr]).max() < ZERO
        norms = np.trapezoid(table[:2] ** 2 * found.mesh**3, np.log(found.mesh), axis=1)
        np.testing.assert_allclose(norms, 1, atol=NORM_TOLERANCE.get(name, 1e-4))


@pytest.mark.shared
def test_shipped_file_cut(shared, tmp_path):
    data = (shared / "public" / "openmx" / "pao" / "H5.0.pao").read_bytes()
    path = tmp_path / "H5.0.pao"
    for at in {0, 1, 23, 24, *np.linspace(100, len(data) - 40, 30, dtype=int)}:
        path.write_bytes(data[:at])
        with pytest.raises(FormatError, match=r"H5\.0\.pao"):
            read_pao(path)


def test_cut_at_each_line(small):
    path, text = small
    lines = text.split("\n")
    for at in range(len(lines) - 2):
        path.write_text("\n".join(lines[:at]))
        with pytest.raises(FormatError, match=r"missing|wrong length|not an OpenMX PAO"):
            read_pao(path)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("PAO.Lmax   1", "PAO.Lmax   2", "L=2 is missing"),
        ("PAO.Lmax   1", "PAO.Lmax   one", "PAO.Lmax is not a number"),
        ("PAO.Lmax   1", "PAO.Lmax   1.5", "PAO.Lmax is out of range"),
        ("PAO.Lmax   1", "PAO.Lmax   999999999", "PAO.Lmax is out of range"),
        ("PAO.Mul    2", "PAO.Mul    3", r"Expected 5 columns \(2 \+ PAO.Mul\). Found 4 columns"),
        ("PAO.Mul    2", "", "PAO.Mul is missing"),
        ("grid.num.output  20", "grid.num.output  21", "Expected 21 lines"),
        ("grid.num.output  20", "grid.num.output  999999", "wrong length"),
        ("radial.cutoff.pao  2.0", "radial.cutoff.pao  9.0", "ends before the cutoff"),
        ("AtomSpecies   6", "AtomSpecies   600", "AtomSpecies is out of range"),
        ("pseudo.atomic.orbitals.L=0>", "", "L=0 has the wrong length"),
    ],
)
def test_contradictions(small, old, new, problem):
    path, text = small
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(FormatError, match=problem):
        read_pao(path)


@pytest.mark.parametrize(
    ("row", "column", "value", "problem"),
    [
        (3, 2, "nan", "not finite.*"),
        (3, 3, "inf", "line 15.*not finite"),
        (3, 3, "word", "holds a word"),
        (3, 1, "0.000001", "do not increase"),
        (0, 1, "-1.0", "do not increase"),
        (3, 0, "-3.0", "first two columns disagree"),
        (23 + 2, 1, "0.123456", "mesh of L=1 differs"),
    ],
)
def test_bad_numbers(small, row, column, value, problem):
    path, text = small
    lines = text.split("\n")
    at = lines.index("<pseudo.atomic.orbitals.L=0") + 1 + row
    words = lines[at].split()
    words[column] = value
    lines[at] = " ".join(words)
    path.write_text("\n".join(lines))
    with pytest.raises(FormatError, match=problem):
        read_pao(path)


def test_files_that_are_none(tmp_path):
    with pytest.raises(MissingDataError, match="No such file"):
        read_pao(tmp_path / "none.pao")
    (tmp_path / "x.pao").write_bytes(b"\x89HDF\r\n\x1a\n\0\0")
    with pytest.raises(FormatError, match="binary data"):
        read_pao(tmp_path / "x.pao")
