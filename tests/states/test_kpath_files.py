"""Paths in the words of other codes: VASP's KPOINTS, ABACUS's KPT, labels in quotes."""

import numpy as np
import pytest
import samples

from dock.errors import FormatError
from dock.states.kpath import KPath
from dock.states.kpath.text import parse_labels, read_k_path

KPOINTS = """k-points along lines
 20   ! intersections
Line-mode
Reciprocal
  0.0 0.0 0.0   ! \\Gamma
  0.5 0.0 0.0   ! M

  0.5 0.0 0.0   M
  0.3333333333 0.3333333333 0.0  # K'
"""
KPT = """K_POINTS   // keyword
4          # points
Line
0.0 0.0 0.0 20 // G
0.5 0.0 0.0 1  # M
0.25 0.25 0.0 10 //"X"
0.5 0.5 0.0 1
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="KPOINTS"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_vasp(write):
    rows = read_k_path(write(KPOINTS))
    assert [(row.n_points, row.labels) for row in rows] == [
        (20, ("GAMMA", "M")),
        (20, ("M", "K'")),
    ]
    assert rows[1].end.tolist() == [0.3333333333, 0.3333333333, 0.0]
    path = KPath.from_file(write(KPOINTS))
    assert path.n_kpoints == 40
    np.testing.assert_array_equal(path.kpoints_frac[19], [0.5, 0, 0])


def test_abacus(write):
    """The count of a point are the steps to the next one, and 1 ends a branch."""
    rows = read_k_path(write(KPT, "KPT"))
    assert [(row.n_points, row.labels) for row in rows] == [(21, ("G", "M")), (11, ("X", "?"))]
    np.testing.assert_allclose(rows[0].end, [0.5, 0, 0])
    np.testing.assert_allclose(rows[1].start, [0.25, 0.25, 0])


def test_quotes(write):
    rows = read_k_path(write("20  0 0 0  0.5 0 0  'GAMMA' \"M\"\n", "K_PATH"))
    assert rows[0].labels == ("GAMMA", "M")
    known = ["GAMMA", "M", "K", "K'"]
    for text in ("'G'-'M'", '"G-M"', "'G' \"M\""):
        assert parse_labels(text, known) == [("GAMMA", "M")]
    assert parse_labels("K'-G-K'", known) == [("K'", "GAMMA", "K'")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (KPOINTS.replace("Line-mode", "Gamma"), "no k-points along lines.*Line-mode"),
        (KPOINTS.replace("Reciprocal", "Cartesian"), "no k-points along lines.*cartesian"),
        (KPOINTS.replace("0.5 0.0 0.0   M\n", ""), "a segment has no end"),
        (KPOINTS.replace("0.5 0.0 0.0   M\n", "0.5 zero 0.0 M\n"), "line 8.*three coordinates"),
        (KPOINTS.replace(" 20 ", " 1 "), "too few points"),
        (KPT.replace("Line", "Gamma"), "no k-points along lines.*'Line'"),
        (KPT.replace("0.5 0.0 0.0 1", "0.5 0.0 x 1"), "line 5.*a count"),
    ],
)
def test_refusals(write, text, message):
    with pytest.raises(FormatError, match=message):
        read_k_path(write(text))


def test_bands_along_it(write, tmp_path, bundled):
    run = bundled / "openmx" / "si"
    answer = samples.cli("bands", run, "--path", write(KPT, "KPT"), "-o", tmp_path / "band.h5")
    assert answer.code == 0, answer
    again = samples.cli("bands", run, "--path", write(KPOINTS), "-o", tmp_path / "b2.h5")
    assert again.code == 0, again
