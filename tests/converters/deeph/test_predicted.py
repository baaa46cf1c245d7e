"""What a model predicted is called a prediction in every folder that descends from it."""

import json
import shutil

import h5py
import numpy as np
import pytest
import samples

import dock
from dock.converters.deeph.blockfile import read_attributes


@pytest.fixture
def prediction(tmp_path, bundled):
    """A folder as ``dock infer`` leaves it: an overlap of our own, and a predicted H."""
    source = bundled / "unified" / "si"
    folder = samples.copied(source, tmp_path / "pred", "POSCAR", "overlap.h5", "info.json")
    shutil.copy(bundled / "unified/si/hamiltonian.h5", folder / "hamiltonian_pred.h5")
    with h5py.File(folder / "hamiltonian_pred.h5", "r+") as file:
        file.attrs["model"] = "3f2a"
        file.attrs["source_code"] = "dock model 3f2a"
    content = json.loads((folder / "info.json").read_text())
    content["dock"]["provenance"] = {"code": "dock", "command": "dock compute-overlap", "files": []}
    (folder / "info.json").write_text(json.dumps(content))
    return folder


def predicted(folder):
    return dock.read(folder).provenance.extra.get("predicted")


def marks(file):
    known = read_attributes(file)
    return known.get("model"), known.get("source_code")


def test_the_folder_of_its_density_matrix(prediction, tmp_path):
    assert predicted(prediction) == {"hamiltonian": "3f2a"}
    words = ["--mesh", "2", "2", "2", "--energy-weighted"]
    answer = samples.cli("density-matrix", prediction, *words, "-o", tmp_path / "rho")
    assert answer.code == 0, answer
    folder = tmp_path / "rho"
    assert not (folder / "hamiltonian.h5").exists()
    for name in ("hamiltonian_pred.h5", "density_matrix.h5", "energy_density_matrix.h5"):
        assert marks(folder / name) == ("3f2a", "dock model 3f2a")
    assert marks(folder / "overlap.h5")[0] is None
    every = dict.fromkeys(("hamiltonian", "density_matrix", "energy_density_matrix"), "3f2a")
    assert predicted(folder) == every
    own = json.loads((folder / "info.json").read_text())["dock"]["provenance"]
    assert own["command"] == "dock density-matrix"
    assert samples.cli("check", folder).code == 0
    # and in what is made of that folder
    dock.write(dock.read(folder), tmp_path / "again")
    assert predicted(tmp_path / "again") == every
    assert marks(tmp_path / "again" / "hamiltonian_pred.h5")[0] == "3f2a"
    H, again = (dock.read(x).require("H") for x in (prediction, tmp_path / "again"))
    assert np.array_equal(H.entries, again.on_pairs(H.pairs).entries)


def test_the_density_beside_it(prediction):
    """A file of its own in the folder, and a prediction of a program that names no model."""
    with h5py.File(prediction / "hamiltonian_pred.h5", "r+") as file:
        del file.attrs["model"]
    assert predicted(prediction) == {"hamiltonian": "unknown"}
    answer = samples.cli("density-matrix", prediction, "--mesh", "2", "2", "2")
    assert answer.code == 0, answer
    assert predicted(prediction) == {"hamiltonian": "unknown", "density_matrix": "unknown"}


def test_what_a_run_made_is_none(prediction, bundled, tmp_path):
    """The DFT result beside the prediction is not marked, nor is what is made of it."""
    shutil.copy(bundled / "unified" / "si" / "hamiltonian.h5", prediction)
    assert predicted(prediction) is None
    dock.write(dock.read(prediction), tmp_path / "run")
    assert (tmp_path / "run" / "hamiltonian.h5").is_file()
    assert predicted(tmp_path / "run") is None
    assert predicted(tmp_path / "run" / "hamiltonian_pred.h5") == {"hamiltonian": "3f2a"}
    dock.write(dock.read(prediction / "hamiltonian_pred.h5"), tmp_path / "model")
    assert not (tmp_path / "model" / "hamiltonian.h5").exists()
    assert predicted(tmp_path / "model") == {"hamiltonian": "3f2a"}
