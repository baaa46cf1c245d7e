"""dock optics and dock transport as they are called."""

import json

import numpy as np
import pytest
import samples
from samples import cli

import dock
from dock.cli.wording import in_options
from dock.response.optical_spectrum import change_row

GRAPHENE = samples.ROOT / "fixtures" / "siesta" / "graphene"
MESH = ("--mesh", 2, 2, 2)


@pytest.fixture(scope="module")
def si(tmp_path_factory):
    return samples.unified(tmp_path_factory.mktemp("optics") / "si")


def test_json_figure_and_file_of_a_spectrum(si, tmp_path):
    words = ("optics", si, *MESH, "--eta", 0.2, "--energies", 0, 6, 7, "-o", tmp_path / "e.h5")
    answer = cli(*words, "--plot", tmp_path / "e.png", "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert np.shape(found["epsilon_2"]) == (7, 3, 3)
    assert found["photon_energies_eV"] == [0, 1, 2, 3, 4, 5, 6]
    assert {str(tmp_path / f"e.{kind}") for kind in ("h5", "json", "png")} == set(found["files"])
    again = cli(*words)
    assert again.code == 2
    assert "--overwrite" in again.err


def test_shards_share_a_spectrum(si, tmp_path):
    words = ("optics", si, "--mesh", 3, 3, 1, "--energies", 0, 6, 7, "--json")
    whole = cli(*words, "-o", tmp_path / "whole.h5")
    for _ in range(2):  # the electrons' level first, then the spectrum
        for shard in ("0/2", "1/2"):
            assert cli(*words, "-o", tmp_path / "s.h5", "--shard", shard).code == 0
    shared = cli(*words, "-o", tmp_path / "s.h5")
    one, other = (json.loads(answer.out) for answer in (whole, shared))
    assert other["epsilon_2"] == one["epsilon_2"]
    assert not list(tmp_path.glob(".*kept"))


def test_a_prediction_takes_its_positions_from_the_basis(tmp_path):
    folder = tmp_path / "c"
    assert cli("convert", GRAPHENE, "-o", folder).code == 0
    (folder / "hamiltonian.h5").rename(folder / "hamiltonian_pred.h5")
    words = ("optics", folder / "hamiltonian_pred.h5", "--mesh", 2, 2, 1, "--energies", 0, 10, 11)
    bare = cli(*words, "-q")
    samples.refused(bare, "position matrix", "--basis")
    assert "compute_overlap" not in bare.err  # the way of Python
    answer = cli(*words, "--basis", GRAPHENE, "--json")
    assert answer.code == 0, answer.err
    height = dock.read(GRAPHENE).structure.cell[2, 2]  # that of the box, across the sheet
    assert "from cell to cell along a3" in answer.err
    assert f"{height:.4f} Å times" in answer.err
    assert np.max(json.loads(answer.out)["epsilon_2"]) > 1
    transported = cli(
        "transport", folder / "hamiltonian_pred.h5", *MESH, "--mu", -2, "--json", "-q"
    )
    assert json.loads(transported.out)["plasma_squared_eV2"][0][0][0][0] >= 0


def test_a_metal_is_told_of_its_option_and_a_coarse_mesh_of_a_finer_one(si, tmp_path):
    words = ("optics", si, *MESH, "--energies", 0.5, 6, 3, "--electrons", 7, "-q")
    answer = cli(*words, "-o", tmp_path / "m.h5")
    assert "give --drude RATE (ħ/τ, eV)" in answer.out
    assert in_options("a rate drude=0.1 eV") == "a rate --drude 0.1 eV"
    assert change_row(0.21)[1].endswith("of the largest value; take a finer mesh")
    assert change_row(0.19)[1].endswith("of the largest value")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("optics",), ("--mesh",)),
        (("transport",), ("--mesh",)),
        (("optics", *MESH, "--energies", 5, 1, 10), ("ascend",)),
        (("optics", *MESH, "--eta", -0.1), ("eta", "positive")),
        (("optics", *MESH, "--drude", 0.1, "--quantity", "jdos"), ("--drude", "no carriers")),
        (("optics", *MESH, "--drude", 0.1, "--quantity", "shg"), ("--drude", "no carriers")),
        (("optics", *MESH, "--drude", 0, "--quantity", "sigma"), ("--drude", "above 0")),
        (
            ("optics", *MESH, "--broadened-to", 9, "--quantity", "shift"),
            ("--broadened-to", "linear"),
        ),
        (("optics", *MESH, "--fermi", 1000), ("outside all states",)),
        (("optics", *MESH, "--quantity", "shift", "--electrons", 7), ("shift current", "gap")),
        (("optics", *MESH, "--quantity", "shg", "--fermi", -8), ("second-harmonic", "--fermi")),
        (("optics", *MESH, "--smearing", "tetrahedra"), ("tetrahedra",)),
        (("optics", *MESH, "-o", "x2.png"), ("x2.png", "HDF5", "--plot x2.png")),
        (("transport", *MESH, "-o", "x.txt"), ("HDF5", "x.h5", "--plot FILE")),
        (("transport", *MESH, "--temperature", 0), ("above 0 K",)),
        (("transport", *MESH, "--mu", 0, "--mu-grid", 0, 1, 3), ("not both",)),
    ],
)
def test_wrong_usage_is_one_sentence(si, tmp_path, words, said):
    command, *options = words
    output = () if "-o" in options else ("-o", tmp_path / "x.h5")
    answer = cli(command, si, *options, *output, "-q")
    samples.refused(answer, *said)
    assert not list(tmp_path.iterdir())
