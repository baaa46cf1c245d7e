"""Commands about Berry phases: berry, wilson, polarization."""

import json
import shutil

import h5py
import numpy as np
import pytest
import samples

import dock
from dock.errors import LossError
from dock.structures import haldane, kane_mele

OPENMX = samples.ROOT / "fixtures" / "openmx"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model(place):
    dock.write(kane_mele(), place / "model")
    return place


def test_curvature_of_a_prediction_and_of_its_reference(place):
    """A prediction, its overlap and its positions do; the Fermi level is given."""
    dock.write(dock.read(OPENMX / "o2-nc-soc"), place / "run")
    pred = place / "pred"
    shutil.copytree(place / "run", pred)
    (pred / "hamiltonian.h5").rename(pred / "hamiltonian_pred.h5")
    answers = []
    for path in ("run", "pred/hamiltonian_pred.h5"):
        words = ("berry", path, "--k", 0.1, 0.2, 0.3, "--bands", "1..12", "--json")
        found = samples.cli(*words)
        assert found.code == 0, found.err
        answers.append(json.loads(found.out))
    np.testing.assert_allclose(
        answers[1]["largest_berry_curvature_ang2"],
        answers[0]["largest_berry_curvature_ang2"],
        atol=1e-12,
    )
    with h5py.File(pred / "berry.h5") as file:
        assert file["berry_curvature_ang2"].shape == (1, 1, 3)
        assert file.attrs["bands"] == "1..12"


def test_a_mesh_has_a_hall_conductivity_with_its_change_and_scan(model):
    words = ("berry", "model", "--mesh", 4, 4, 1, "--fermi", 0, "--energies", -1, 1, 3)
    found = samples.cli(*words, "--plot", "scan.png")
    assert found.code == 0, found.err
    assert "time reversal makes it zero" in found.out
    assert "from half the mesh" in found.out
    with h5py.File(model / "model" / "anomalous_hall.h5") as file:
        assert file["ahc_scan_S_per_cm"].shape == (3, 3)
    assert (model / "scan.png").is_file()


def test_a_hall_sum_that_was_kept_is_not_made_again(model):
    words = ("berry", "model", "--mesh", 4, 4, 1, "--fermi", 0)
    for shard in ("0/2", "1/2"):
        assert samples.cli(*words, "--shard", shard).code == 0
    kept = model / "model" / ".anomalous_hall.h5.kept"
    assert kept.is_dir()
    last = samples.cli(*words, "--json")
    assert last.code == 0, last.err
    whole = samples.cli(*words, "--json", "--overwrite", "-o", "other.h5")
    both = [json.loads(answer.out)["ahc_S_per_cm"] for answer in (last, whole)]
    np.testing.assert_allclose(*both, atol=1e-12)
    assert not kept.exists()


def test_wilson_loops_tell_z2_and_draw_it(model):
    found = samples.cli(
        "wilson", "model", "--plane", 1, 2, "--points", 12, "--z2", "--plot", "w.png"
    )
    assert found.code == 0, found.err
    assert "1 (topological plane)" in found.out
    assert (model / "w.png").is_file()
    again = samples.cli("wilson", "model", "--points", 8, "--z2", "--json")
    assert json.loads(again.out)["z2"] == [0, 0, 0, 1]
    node = samples.cli("wilson", "model", "--k", 0.1, 0.2, 0, "--bands", "1..2", "--json")
    assert json.loads(node.out)["chern"] == 0


def test_polarisation_of_a_molecule_and_of_silicon(place):
    words = ("polarization", OPENMX / "h2o", "--mesh", 1, 8, 1, "-o", "p.h5", "--json")
    found = samples.cli(*words, "--charges", "O=6", "--charges", "H=1")
    assert found.code == 0, found.err
    content = json.loads(found.out)
    assert content["valence_charges_e"] == {"O": 6.0, "H": 1.0}
    assert content["polarization_C_per_m2"][1] == pytest.approx(
        16.02176634 * content["polarization_e_per_ang2"][1]
    )
    refused = samples.cli(*words, "--overwrite")
    assert refused.code == 2
    assert "--charges O=Z" in refused.err


def test_predictions_have_polarisations_and_loops_too(model):
    dock.write(dock.read(OPENMX / "h2o"), model / "water")
    for name in ("water", "model"):
        (model / name / "hamiltonian.h5").rename(model / name / "hamiltonian_pred.h5")
    charges = ("--charges", "O=6", "--charges", "H=1", "--json")
    water = samples.cli("polarization", "water/hamiltonian_pred.h5", "--mesh", 1, 8, 1, *charges)
    assert water.code == 0, water.err
    volume = np.linalg.det(dock.read(OPENMX / "h2o").structure.cell)
    dipole = json.loads(water.out)["polarization_e_per_ang2"][1] * volume
    assert dipole == pytest.approx(2.08572570 * 0.20819434, rel=1e-5)  # h2o.out, Debye
    loops = samples.cli(
        "wilson", "model/hamiltonian_pred.h5", "--plane", 1, 2, "--points", 12, "--z2", "--json"
    )
    assert loops.code == 0, loops.err
    assert json.loads(loops.out)["z2"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("berry", "--mesh", 2, 2, 1, "--bands", "1..2"), "a mesh fills to --fermi"),
        (("berry", "--k", 0, 0, 0, "--temperature", 10), "belong to --mesh"),
        (("berry", "--mesh", 2, 2, 1, "--plot", "a.png"), "give --energies EMIN EMAX N"),
        (("berry", "--k", 0, 0, 0, "--bands", "1..2", "--plot", "a.png"), "along a path or over"),
        (("berry", "--mesh", 2, 2, 1, "--refine", 2), "an odd number"),
        (("berry", "--k", 0, 0, 0, "--bands", "1..9"), "there are 4 bands"),
        (("wilson",), "give --plane A B, --z2, or --k"),
        (("wilson", "--k", 0, 0, 0), "takes one --k and --bands"),
        (("wilson", "--plane", 1, 2, "--radius", 0.1), "give --k K1 K2 K3 too"),
        (("wilson", "--plane", 1, 2, "--extent", 0.5), "whole period of the plane: --extent 1."),
        (("wilson", "--plane", 1, 2, "--points", 5, "--z2"), "an even number of points"),
        (("wilson", "--plane", 1, 2, "--points", 4, "--electrons", 1.5), "1.5 bands: a metal"),
        (("polarization",), "--mesh N1 N2 N3"),
        (("polarization", "--mesh", 2, 2, 1, "--charges", "X=a"), "a number, found 'a'"),
        (("polarization", "--mesh", 2, 2, 1, "--charges", "X=2"), "4 e together"),
    ],
)
def test_what_cannot_be_is_said_in_the_words_of_the_command_line(model, words, said):
    lattice = dock.read(model / "model")
    dock.write(lattice.replace(fermi_level=None, n_electrons=2), model / "bare")
    command, *rest = words
    found = samples.cli(command, "bare", *rest)
    assert found.code == 2, found.out
    assert said in found.err
    assert not list(model.glob("*.png"))
    assert not list((model / "bare").glob(f"{command}*"))


def test_a_run_without_positions_is_told_of_basis(place):
    calc = kane_mele()
    bare = calc.replace(matrices={n: calc.matrices[n] for n in ("hamiltonian", "overlap")})
    dock.write(bare, place / "bare")
    found = samples.cli("berry", "bare", "--k", 0, 0, 0, "--bands", "1..2")
    assert found.code == 2
    assert "--basis DIR" in found.err


def test_what_no_basis_helps_is_said_before_one_is_asked_for(place):
    run = samples.ROOT / "fixtures" / "siesta" / "graphene"  # no positions, no spin
    out = place / "x.h5"
    loops = samples.cli("wilson", run, "--z2", "--points", 4, "-o", out)
    samples.refused(loops, "Z2 needs states with spin directions")
    hall = samples.cli("berry", run, "--mesh", 2, 2, 1, "-o", out)
    samples.refused(hall, "zero by symmetry", "spin–orbit coupling")
    assert "--basis" not in loops.err + hall.err


def test_a_model_without_spinors_is_not_written_as_what_cannot_be_read(place):
    with pytest.raises(LossError, match="complex matrices without spinors"):
        dock.write(haldane(), place / "haldane")
    assert not (place / "haldane").exists()
