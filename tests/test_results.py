"""The one face of results, on a small result of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import pytest

from dock.errors import OutputError, UsageError
from dock.results import KEYS, Result, plain


@dataclass(frozen=True, eq=False, repr=False)
class Two(Result):
    """Two energies."""

    FILE = "two.h5"

    level: float | None = 1.5

    def facts(self) -> dict[str, Any]:
        return {"fermi_level_eV": self.level, "kind": "metal", "vbm": {"band": 1}}

    def arrays(self) -> dict[str, Any]:
        return {"energies_eV": np.array([1.0, np.nan]), "projection_names": ["a", "ß"]}

    def rows(self) -> list[tuple[str, str]]:
        return [("Fermi level", f"{self.level} <eV>"), ("kind", "metal")]

    def draw(self, axes: Any, *, colour: str = "k") -> None:
        axes.plot([0, 1], [1, 2], color=colour)


def test_files_hold_facts_and_arrays(tmp_path):
    written = Two().save(tmp_path / "two.h5")
    assert [file.name for file in written] == ["two.h5", "two.json"]
    with h5py.File(written[0]) as file:
        np.testing.assert_array_equal(file["energies_eV"], [1.0, np.nan])
        assert [name.decode() for name in file["projection_names"]] == ["a", "ß"]
        assert file.attrs["fermi_level_eV"] == 1.5
        assert json.loads(file.attrs["vbm"]) == {"band": 1}
        assert file.attrs["written_by"].startswith("dock ")
    content = json.loads(written[1].read_text(encoding="utf-8"))
    assert content["energies_eV"] == [1.0, None]
    assert content == Two().json()
    assert "energies_eV" not in Two().json(arrays=False)


def test_what_is_unknown_is_null_in_json_and_no_attribute(tmp_path):
    written = Two(None).save(tmp_path / "two.h5")
    assert json.loads(written[1].read_text(encoding="utf-8"))["fermi_level_eV"] is None
    with h5py.File(written[0]) as file:
        assert "fermi_level_eV" not in file.attrs


@pytest.mark.parametrize("there", ["two.h5", "two.json"])
def test_nothing_is_replaced_and_nothing_half_written(tmp_path, there):
    (tmp_path / there).write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        Two().save(tmp_path / "two.h5")
    assert [file.name for file in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"
    Two().save(tmp_path / "two.h5", overwrite=True)
    assert h5py.is_hdf5(tmp_path / "two.h5")


def test_names_that_are_none(tmp_path):
    with pytest.raises(UsageError, match="HDF5"):
        Two().save(tmp_path / "two.json")
    with pytest.raises(UsageError, match=r"\.png"):
        Two().plot(tmp_path / "two.txt")
    assert not list(tmp_path.iterdir())


def test_figures_go_to_files_and_into_axes(tmp_path):
    figure_module = pytest.importorskip("matplotlib.figure")
    assert Two().plot(tmp_path / "two.png", colour="r") == tmp_path / "two.png"
    assert (tmp_path / "two.png").read_bytes().startswith(b"\x89PNG")
    axes = figure_module.Figure().add_subplot()
    assert Two().plot(ax=axes, colour="r") is axes
    assert axes.lines[0].get_color() == "r"


def test_a_figure_that_is_shown_is_saved_as_well(tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    axes = Two().plot(save=tmp_path / "two.png")
    assert axes.lines[0].get_color() == "k"
    assert (tmp_path / "two.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(OutputError, match="exists"):
        Two().plot(save=tmp_path / "two.png")
    mine = axes.figure.add_subplot()
    assert Two().plot(ax=mine, save=tmp_path / "two.png", overwrite=True) is mine
    pyplot.close("all")


def test_words_for_people():
    assert repr(Two()) == "<Two: Fermi level 1.5 <eV>; kind metal>"
    assert "1.5 &lt;eV&gt;" in Two()._repr_html_()
    assert Two().table().splitlines() == ["Fermi level  1.5 <eV>", "kind         metal"]


def test_plain_data():
    given = {"a": np.float32(0.5), "b": (np.int64(1), np.bool_(True)), "c": float("nan")}
    assert plain(given) == {"a": 0.5, "b": [1, True], "c": None}
    assert plain(np.array(["x"])) == ["x"]


def test_the_vocabulary_is_in_order_and_says_something():
    assert list(KEYS) == sorted(KEYS)
    assert all(len(meaning) > 5 for meaning in KEYS.values())
