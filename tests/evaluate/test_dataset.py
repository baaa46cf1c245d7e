"""Splits, counts and features of data sets."""

import json

import h5py
import pytest
from hypothesis import given, strategies as st
from samples import cli, refused, unified

from dock.errors import FormatError, MissingDataError, OutputError, UsageError
from dock.evaluate.dataset import features, find_structures, split, split_folder, stats
from dock.results import KEYS


@pytest.fixture
def data(tmp_path):
    for number in range(4):
        unified(tmp_path / "dft" / str(number), "h2o" if number % 2 else "si")
    return tmp_path


@pytest.mark.shared
def test_published_split_features_and_edges(shared):
    root = shared / "public" / "dataset_molecules"
    _, names = find_structures(root)
    found = split(names)
    wanted = json.loads((root / "reference" / "dataset_split.json").read_text())
    assert {part: list(getattr(found, part)) for part in wanted} == wanted
    own, published = features(root), json.loads((root / "reference" / "features.json").read_text())
    assert own == published
    with h5py.File(root / "reference" / "edge_statistic.h5") as file:
        edges = file["edges_quantity"][()].tolist()
    assert [row["n_edges"] for row in stats(root).rows] == edges


@given(
    count=st.integers(1, 60),
    first=st.floats(0, 1),
    second=st.floats(0, 1),
    seed=st.integers(0, 100),
)
def test_a_split_has_every_name_once(count, first, second, seed):
    names = [f"s{n}" for n in range(count)]
    ratios = (first, (1 - first) * second, (1 - first) * (1 - second))
    found = split(names, ratios, seed=seed)
    everything = [*found.train, *found.validate, *found.test]
    assert sorted(everything) == sorted(names)
    assert abs(len(found.train) - count * ratios[0]) <= 1
    assert found == split(names[::-1], ratios, seed=seed)


def test_links_to_structures_are_followed_and_circles_are_not(data, tmp_path):
    """A data set is often a folder of links into a larger one."""
    root, names = find_structures(data)
    chosen = tmp_path / "chosen"
    (chosen / "dft").mkdir(parents=True)
    (chosen / "dft" / "one").symlink_to(root / names[0])
    (chosen / "dft" / "group").symlink_to(root)
    (root / "back").symlink_to(root)
    (root / names[0] / "up").symlink_to(root)
    (chosen / "dft" / "broken").symlink_to(tmp_path / "nowhere")
    assert find_structures(data)[1] == names
    found = find_structures(chosen)[1]
    assert {"one", *(f"group/{name}" for name in names)} <= set(found)
    assert all((chosen / "dft" / name / "POSCAR").is_file() for name in found)


def test_a_split_may_leave_some_out_and_keep_groups_together():
    names = [f"{letter}{n}" for letter in "abcdef" for n in range(10)]
    found = split(names, (0.5, 0.1, 0.1))
    assert (len(found.train), len(found.validate), len(found.test)) == (30, 6, 6)
    grouped = split(names, (0.5, 0.25, 0.25), group=lambda name: name[0])
    parts = [{name[0] for name in part} for part in (grouped.train, grouped.validate, grouped.test)]
    assert not parts[0] & parts[1]
    assert not parts[1] & parts[2]
    assert set("abcdef") == parts[0] | parts[1] | parts[2]
    for ratios in ((0.5, 0.5, 0.5), (-0.1, 0.5, 0.5), (0, 0, 0)):
        with pytest.raises(UsageError, match="ratios"):
            split(names, ratios)
    with pytest.raises(UsageError, match="twice"):
        split(["a", "a"])


def test_commands(data, tmp_path):
    answer = cli("dataset", "split", data, "--ratios", 0.5, 0.25, 0.25, "--json")
    assert json.loads(answer.out) == {
        "train": 2,
        "validate": 1,
        "test": 1,
        "files": [str(data / "dataset_split.json")],
    }
    refused(cli("dataset", "split", data), "--overwrite")
    answer = cli("dataset", "split", data, "--by-formula", "--overwrite")
    assert answer.code == 0
    answer = cli("dataset", "stats", data, "--plot", tmp_path / "stats.png", "--json", "-q")
    summary = json.loads(answer.out)
    assert summary["n_structures"] == 4
    assert summary["atoms_by_element"] == {"Si": 4, "H": 4, "O": 2}
    with h5py.File(data / "dataset_stats.h5") as file:
        assert len(file["edges_quantity"]) == 4
    assert "edges per atom" in cli("dataset", "stats", data, "--overwrite").out
    answer = cli("dataset", "features", data)
    assert "4 structures" in answer.out
    assert json.loads((data / "features.json").read_text())["dft_data_num"] == 4


def test_the_face_of_the_result(data, tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    result = stats(data)
    assert set(result.facts()) | set(result.json()) <= set(KEYS)
    assert {key for row in result.structures for key in row} <= set(KEYS)
    assert [row["name"] for row in result.rows] == ["0", "1", "2", "3"]
    assert dict(result.rows())["atoms"] == "Si 4, H 4, O 2"
    assert result.summary() == result.facts() == result.json()["summary"]
    assert len(repr(result)) < 200
    assert "longest pair" in result._repr_html_()
    figure, axes = pyplot.subplots(1, 3)
    assert result.plot(ax=axes) is axes
    assert [panel.get_xlabel() for panel in axes] == ["atoms", "edges", "edges per atom"]
    pyplot.close(figure)
    for name in ("stats.json", "stats.h5"):
        assert {file.name for file in result.files(name)} == {"stats.json", "stats.h5"}
    before = [file.read_bytes() for file in result.save(tmp_path / "stats.json")]
    for there in ("stats.json", "stats.h5"):
        with pytest.raises(OutputError, match="overwrite"):
            result.save(tmp_path / "stats.json")
        assert [file.read_bytes() for file in result.files(tmp_path / "stats.json")] == before
        refused(cli("dataset", "stats", data, "-o", tmp_path / there), "--overwrite")


def test_formulas_stay_together(data):
    divided = split_folder(data, (0.5, 0.25, 0.25), by_formula=True)
    parts = [set(part) for part in (divided.train, divided.validate, divided.test)]
    assert {"0", "2"} in parts  # silicon
    assert sum(map(len, parts)) == 4


def test_damaged_structures_are_named(data):
    for file in (data / "dft" / "1").glob("*.h5"):
        file.unlink()
    answer = cli("dataset", "stats", data)
    assert answer.code == 1
    assert "compute-overlap" in answer.err
    refused(cli("dataset", "stats", data / "nothing"), "no such folder")
    (data / "empty").mkdir()
    with pytest.raises(MissingDataError, match="convert first"):
        find_structures(data / "empty")


def test_mixed_data_sets_have_no_common_features(data):
    info = data / "dft" / "3" / "info.json"
    content = json.loads(info.read_text())
    other = content | {"elements_orbital_map": {"H": [0, 1], "O": [0, 0, 1, 1, 2]}}
    del other["atoms_quantity"], other["orbits_quantity"]
    info.write_text(json.dumps(other))
    with pytest.raises(FormatError, match="another basis"):
        features(data)
    unified(data / "dft" / "4", "o2-spin")
    info.write_text(json.dumps(content))
    with pytest.raises(FormatError, match="spin"):
        features(data)
