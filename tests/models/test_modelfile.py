"""Model files say what they are; damaged, foreign and future ones are refused."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given, strategies as st

from dock.core.spin import Spin
from dock.errors import FormatError, MissingDataError, OutputError
from dock.models import load
from dock.models.closed_form import closed_form_of
from dock.models.modelfile import (
    ModelFile,
    Stored,
    file_fingerprint,
    find_model,
    flatten,
    read_backend_name,
    read_model,
    unflatten,
    write_model,
)
from dock.models.network.config import NetworkConfig
from dock.models.network.trained import TrainedNetwork
from dock.models.statistics import StatisticsBuilder
from dock.models.targets import TargetLayout

LAYOUT = TargetLayout(("H", "O"), ((0, 1), (0, 0, 1, 2)), Spin.NONCOLLINEAR, time_reversal=True)
CONFIG = replace(NetworkConfig(), cutoffs=(1.0, 2.5, 2.5, 0.0), n_heads=2, mean_degree=3.5)
PARAMS = {
    "species": np.arange(6, dtype=np.float32).reshape(2, 3),
    "blocks": [{"w": np.float64(1.5)}, {"w": np.float64(2.5)}],
}


def model(**changes):
    statistics = StatisticsBuilder(LAYOUT).result()
    file = ModelFile("jax", LAYOUT, np.array([1.0, 2.5, 2.5, 0.0]), statistics)
    network = Stored(CONFIG.to_dict(), PARAMS)
    made = replace(file, network=network, summary={"step": 3, "note": "Å"})
    return replace(made, **changes)


def read_whole(path):
    """Read a model file and what its parts mean, as `load` does."""
    file = read_model(path)
    return file, TrainedNetwork.of(file), closed_form_of(file)


@pytest.fixture
def path(tmp_path):
    write_model(tmp_path / "best.h5", model())
    return tmp_path / "best.h5"


class TestRoundTrip:
    def test_everything(self, path):
        (found, network, form), made = read_whole(path), model()
        for name in ("backend", "layout", "summary", "closed_form", "program"):
            assert getattr(found, name) == getattr(made, name), name
        assert network.config == CONFIG
        assert form is None
        assert (found.path, found.fingerprint) == (path, file_fingerprint(path))
        np.testing.assert_array_equal(found.cutoffs, made.cutoffs)
        assert flatten(network.params).keys() == flatten(PARAMS).keys()
        for name, value in flatten(PARAMS).items():
            read = flatten(network.params)[name]
            assert read.dtype == value.dtype
            np.testing.assert_array_equal(read, value)
        for name, value in made.statistics.to_arrays().items():
            np.testing.assert_array_equal(found.statistics.to_arrays()[name], value)

    def test_it_describes_itself(self, path):
        with h5py.File(path) as file:
            head = json.loads(file.attrs["head"])
        assert head["format"] == "dock model"
        assert head["units"] == {"hamiltonian": "eV", "length": "angstrom"}
        assert head["fingerprint"] == LAYOUT.fingerprint()
        assert head["dock"]

    def test_no_folder_of_the_machine(self, tmp_path):
        options = {"data": {"inputs_dir": str(tmp_path / "set"), "outputs_dir": "training"}}
        write_model(tmp_path / "m.h5", model(summary={"options": options}))
        kept = read_model(tmp_path / "m.h5").summary["options"]["data"]
        assert kept == {"inputs_dir": "set", "outputs_dir": "training"}
        assert str(tmp_path).encode() not in (tmp_path / "m.h5").read_bytes()

    def test_ninety_species(self, tmp_path):
        """Cutoffs of 8,100 pairs are longer than an HDF5 attribute may be."""
        names = tuple(f"X{number}" for number in range(90))
        layout = TargetLayout(names, ((0,),) * 90, Spin.NONE)
        limits = np.linspace(1, 9, 8100)
        file = ModelFile("jax", layout, limits, StatisticsBuilder(layout).result())
        config = replace(CONFIG, cutoffs=tuple(limits))
        write_model(tmp_path / "m.h5", replace(file, network=Stored(config.to_dict(), PARAMS)))
        assert read_whole(tmp_path / "m.h5")[1].config.cutoffs == tuple(limits)

    def test_an_existing_file_is_kept(self, path):
        before = path.read_bytes()
        with pytest.raises(OutputError):
            write_model(path, model())
        assert path.read_bytes() == before
        write_model(path, model(summary={}), overwrite=True)
        assert read_model(path).summary == {}

    @given(
        st.recursive(
            st.integers(),
            lambda inner: (
                st.lists(inner, min_size=1, max_size=12)
                | st.dictionaries(st.text("abc_", min_size=1), inner, min_size=1, max_size=4)
            ),
            max_leaves=20,
        ).filter(lambda tree: not isinstance(tree, int))
    )
    def test_trees(self, tree):
        assert unflatten(flatten(tree)) == tree


class TestFinding:
    def test_in_a_run_folder(self, path):
        run = path.parent / "run" / "model"
        run.mkdir(parents=True)
        with pytest.raises(MissingDataError, match=r"model/best\.h5 is missing"):
            find_model(run.parent)
        path.rename(run / "latest.h5")
        assert find_model(run.parent) == find_model(run) == run / "latest.h5"
        write_model(run / "best.h5", model())
        assert find_model(run.parent) == run / "best.h5"
        assert find_model(run.parent, "latest") == run / "latest.h5"
        assert read_backend_name(run.parent) == "jax"

    def test_latest_is_not_replaced_by_best(self, path):
        with pytest.raises(MissingDataError, match="latest"):
            find_model(path.parent, "latest")

    def test_no_file(self, tmp_path):
        with pytest.raises(MissingDataError):
            read_model(tmp_path / "none.h5")


class TestRefusals:
    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
    def test_cut(self, path, share):
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        for read in (read_model, read_backend_name, load):
            with pytest.raises(FormatError, match=r"best\.h5"):
                read(path)

    def change(self, path, **changes):
        with h5py.File(path, "r+") as file:
            head = json.loads(file.attrs["head"])
            file.attrs["head"] = json.dumps(head | changes)

    def test_another_version(self, path):
        self.change(path, version=99)
        with pytest.raises(FormatError, match=r"another version\. Expected 1 to 3\. Found 99"):
            read_model(path)

    @pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"format": "other"}'])
    def test_no_model(self, path, text):
        with h5py.File(path, "r+") as file:
            del file.attrs["head"]
            if text is not None:
                file.attrs["head"] = text
        with pytest.raises(FormatError, match="no model file"):
            read_model(path)
        with pytest.raises(FormatError, match="no model file"):
            read_backend_name(path)

    @pytest.mark.parametrize(
        "changes",
        [
            {"layout": {"species": ["H"]}},
            {"layout": None},
            {"network": {"moon": 1}},
            {"fingerprint": "0"},
            {"network": None},
            {"baseline": "four-centre"},
        ],
    )
    def test_parts_that_do_not_fit(self, path, changes):
        self.change(path, **changes)
        if "baseline" in changes:
            with h5py.File(path, "r+") as file:
                file.create_group("baseline")["spans"] = np.zeros(3)
        with pytest.raises(FormatError, match=r"damaged|belong together"):
            read_whole(path)

    @pytest.mark.parametrize("name", ["cutoffs", "statistics", "statistics/longest"])
    def test_a_missing_part(self, path, name):
        with h5py.File(path, "r+") as file:
            del file[name]
        with pytest.raises(FormatError, match=r"best\.h5"):
            read_model(path)

    def test_not_complete(self, path):
        with h5py.File(path, "r+") as file:
            del file.attrs["complete"]
        with pytest.raises(FormatError, match="not complete"):
            read_model(path)

    def test_any_flipped_byte_is_read_or_refused(self, path, rng):
        """Never another error than a sentence."""
        content = path.read_bytes()
        for place in rng.integers(0, len(content), 150).tolist():
            changed = bytearray(content)
            changed[place] ^= 0xFF
            path.write_bytes(bytes(changed))
            with contextlib.suppress(FormatError):
                read_whole(path)
