"""info.json: what is understood, and what is refused."""

import json

import pytest

from dock.converters.deeph.info import Info, read_info
from dock.core.basis import Basis
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import FormatError, MissingDataError

GOOD = {
    "atoms_quantity": 2,
    "orbits_quantity": 8,
    "orthogonal_basis": False,
    "spinful": False,
    "fermi_energy_eV": -1.5,
    "elements_orbital_map": {"C": [0, 1]},
}


def read(tmp_path, content):
    path = tmp_path / "info.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_info(path)


def test_plain(tmp_path):
    found = read(tmp_path, GOOD)
    assert found.element_shells == {"C": (0, 1)}
    assert (found.spin, found.fermi_level, found.n_electrons) == (Spin.NONE, -1.5, None)


def test_of_other_programs(tmp_path):
    """Unknown keys, null, any order, integers for numbers, no counts."""
    content = {
        "elements_fitting_map": {"C": [0, 1, 2]},
        "basis": "def2",
        "spinful": True,
        "fermi_energy_eV": None,
        "occupation": 8,
        "elements_orbital_map": {"C": [0, 1], "O": [0]},
        "elements_core_orbital_index": {"C": [0]},
        "dock": "not ours",
    }
    found = read(tmp_path, content)
    assert (found.spin, found.fermi_level, found.n_electrons) == (None, None, 8.0)
    assert found.own == {}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"elements_orbital_map": None}, "elements_orbital_map"),
        ({"elements_orbital_map": {}}, "elements_orbital_map"),
        ({"elements_orbital_map": {"C": []}}, "elements_orbital_map"),
        ({"elements_orbital_map": {"C": [0, -1]}}, "elements_orbital_map"),
        ({"elements_orbital_map": {"C": [0, 99]}}, "elements_orbital_map"),
        ({"elements_orbital_map": {"C": [0, True]}}, "elements_orbital_map"),
        ({"elements_orbital_map": {"C": "sp"}}, "elements_orbital_map"),
        ({"elements_orbital_map": [0, 1]}, "elements_orbital_map"),
        ({"spinful": None}, "true or false"),
        ({"spinful": 1}, "true or false"),
        ({"fermi_energy_eV": "-1.5"}, "fermi_energy_eV"),
        ({"fermi_energy_eV": float("nan")}, "fermi_energy_eV"),
        ({"fermi_energy_eV": float("inf")}, "fermi_energy_eV"),
        ({"fermi_energy_eV": 10**400}, "fermi_energy_eV"),
        ({"fermi_energy_eV": True}, "fermi_energy_eV"),
        ({"occupation": [8]}, "occupation"),
        ({"atoms_quantity": "two"}, "atoms_quantity"),
    ],
)
def test_refusals_name_the_file_and_the_key(tmp_path, changes, words):
    with pytest.raises(FormatError, match=words) as caught:
        read(tmp_path, GOOD | changes)
    assert str(tmp_path / "info.json") in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"a": 1,}', "[" * 100_000, "\0\0"])
def test_no_json_object(tmp_path, text):
    with pytest.raises(FormatError, match=r"info\.json"):
        read(tmp_path, text)


def test_bytes_and_absence(tmp_path):
    with pytest.raises(MissingDataError, match=r"info\.json"):
        read_info(tmp_path / "info.json")
    (tmp_path / "info.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(FormatError, match="not valid JSON"):
        read_info(tmp_path / "info.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(MissingDataError):
        read_info(tmp_path / "folder")


def test_written_as_one_line_with_the_keys_of_the_format(tmp_path):
    structure = Structure([[5, 0, 0], [0, 5, 0], [0, 0, 5]], [[0, 0, 0], [1, 1, 1]], [6, 6])
    basis = Basis.from_ls({"C": [0, 1]}, structure.labels)
    text = Info({"C": (0, 1)}, True, None, 7.9999999999, {"spin": "collinear"}).to_json(
        structure, basis
    )
    assert text.count("\n") == 1
    content = json.loads(text)
    assert list(content)[:6] == list(GOOD)
    assert content["fermi_energy_eV"] is None
    assert content["occupation"] == 8
    assert isinstance(content["occupation"], int)
    assert read(tmp_path, text).spin is Spin.COLLINEAR
