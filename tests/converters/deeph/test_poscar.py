"""POSCAR files in the dialect of the unified folder, and what is refused."""

import numpy as np
import pytest
import samples
from hypothesis import given, strategies as st

from dock.converters.deeph.poscar import format_poscar, read_poscar
from dock.core.structure import Structure
from dock.errors import ConventionError, FormatError

GOOD = """comment
1.0
4 0 0
0 5 0
1 0 6
Mo S
1 2
Cartesian
0 0 0
1.5 0.25 7
-1 0 0.5
"""


def read(tmp_path, text):
    path = tmp_path / "POSCAR"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_poscar(path)


def edit(number, line):
    lines = GOOD.splitlines()
    lines[number - 1] = line
    return "\n".join(lines) + "\n"


def test_cartesian(tmp_path):
    found = read(tmp_path, GOOD)
    assert found.symbols == ("Mo", "S", "S")
    np.testing.assert_array_equal(found.cell, [[4, 0, 0], [0, 5, 0], [1, 0, 6]])
    np.testing.assert_array_equal(found.positions[1], [1.5, 0.25, 7])  # not wrapped


@pytest.mark.parametrize("mode", ["Direct", "d", "DIRECT configuration= 1"])
def test_direct(tmp_path, mode):
    found = read(tmp_path, edit(8, mode))
    np.testing.assert_allclose(found.positions[1], [1.5 * 4 + 7 * 1, 0.25 * 5, 7 * 6])


@pytest.mark.parametrize("mode", ["c", "K", "Cart"])
def test_first_letter_counts(tmp_path, mode):
    np.testing.assert_array_equal(read(tmp_path, edit(8, mode)).positions[1], [1.5, 0.25, 7])


def test_scale_factors(tmp_path):
    double = read(tmp_path, edit(2, "2.0"))
    np.testing.assert_array_equal(double.cell[2], [2, 0, 12])
    np.testing.assert_array_equal(double.positions[1], [3, 0.5, 14])
    three = read(tmp_path, edit(2, "1 2 3"))  # of the Cartesian components
    np.testing.assert_array_equal(three.cell[2], [1, 0, 18])
    np.testing.assert_array_equal(three.positions[1], [1.5, 0.5, 21])
    volume = read(tmp_path, edit(2, "-960"))
    assert volume.volume == pytest.approx(960)


def test_selective_dynamics_and_velocities(tmp_path):
    lines = GOOD.splitlines()
    lines.insert(7, "Selective dynamics")
    lines[9:] = [line + " T F T" for line in lines[9:]]
    found = read(tmp_path, "\r\n".join([*lines, "", "0 0 0"]))
    np.testing.assert_array_equal(found.positions, read(tmp_path, GOOD).positions)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "0 lines"),
        ("\n".join(GOOD.splitlines()[:7]), "too short"),
        (edit(2, "zero"), "line 2"),
        (edit(2, "0"), "no volume"),
        (edit(3, "4 0"), "line 3"),
        (edit(4, "4 0 0"), "no volume"),
        (edit(4, "4 1e-9 0"), "no volume"),
        (edit(4, "nan 5 0"), "line 4"),
        (edit(6, "1 2"), "symbols are missing"),
        (edit(6, "Mo Xx"), "Xx"),
        (edit(7, "1"), "lines 6 and 7"),
        (edit(7, "1 two"), "lines 6 and 7"),
        (edit(7, "0 0"), "lines 6 and 7"),
        (edit(7, "1 ²"), "lines 6 and 7"),
        (edit(7, "1 3"), "coordinates are missing"),
        (edit(7, "1 999999999999"), "coordinates are missing"),
        (edit(7, "1 " + 400 * "9"), "lines 6 and 7"),
        (edit(8, "fractional"), "line 8"),
        (edit(10, "1.5 0.25"), "line 10"),
        (edit(10, "1.5 0.25 inf"), "line 10"),
        (b"\xff\xfe\x00" + 20 * b"\n", "not a text file"),
        (20 * "\0\n", "line 2"),
    ],
)
def test_refusals_name_the_file_and_the_line(tmp_path, text, words):
    with pytest.raises(FormatError, match=words) as caught:
        read(tmp_path, text)
    assert str(tmp_path / "POSCAR") in str(caught.value)


@given(st.data())
def test_cut_anywhere(tmp_path_factory, data):
    """A cut file is refused, or is what is left of the last number (which nobody can see)."""
    folder = tmp_path_factory.mktemp("cut")
    cut = data.draw(st.integers(0, len(GOOD)))
    try:
        found = read(folder, GOOD[:cut])
    except FormatError as error:
        samples.named(error, folder / "POSCAR")
    else:
        assert found.n_atoms == 3


@given(
    st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=6, max_size=6),
    st.sampled_from([["C"], ["H", "O", "O"], ["My1", "Fe", "Fe"], ["X", "Si", "Si"]]),
)
def test_numbers_survive_exactly(tmp_path_factory, numbers, symbols):
    from dock.core.elements import atomic_number

    positions = np.resize(numbers, (len(symbols), 3))
    cell = np.eye(3) * 3.3 + np.array(numbers[:3])[:, None] * 1e-7 * np.ones((3, 3))
    kinds = np.array([atomic_number(name) for name in symbols])
    structure = Structure(cell, positions, kinds)
    found = read(tmp_path_factory.mktemp("x"), format_poscar(structure, "two\nlines"))
    np.testing.assert_array_equal(found.cell, structure.cell)
    np.testing.assert_array_equal(found.positions, structure.positions)
    assert found.symbols == structure.symbols


def test_elements_must_be_together():
    mixed = Structure(np.eye(3) * 5, np.zeros((3, 3)) + np.arange(3)[:, None], [1, 8, 1])
    with pytest.raises(ConventionError, match="together"):
        format_poscar(mixed)
