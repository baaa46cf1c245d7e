"""dock train with a closed-form backend, dock infer and dock model: files, refusals, reruns."""

from __future__ import annotations

import json
import shutil

import h5py
import numpy as np
import pytest
from samples import cli, copied

import dock
from dock.cli.model import _rows
from dock.models import load

TOML = """
[data]
inputs_dir = "{inputs}"
outputs_dir = "{name}"
[model]
backend = "{backend}"
[process.train.dataloader]
dataset_split_json = "split.json"
"""
FEW = 28  # molecules to train on: the fit of more takes far longer


def run(*arguments, code=0):
    answer = cli(*arguments)
    assert answer.code == code, answer
    assert "Traceback" not in answer.out + answer.err
    return answer


def levels_at_gamma(calc):
    import scipy.linalg

    gamma = [0, 0, 0]
    return scipy.linalg.eigvalsh(calc.hamiltonian.k(gamma), calc.overlap.k(gamma))


def said(answer):
    return answer.out + answer.err


@pytest.fixture(scope="module")
def trained(bundled, tmp_path_factory):
    """A three-centre and a two-centre model of the bundled molecules."""
    folder = tmp_path_factory.mktemp("models")
    split = json.loads((bundled / "water" / "split.json").read_text())
    (folder / "split.json").write_text(json.dumps({**split, "train": split["train"][:FEW]}))
    for name in ("three-centre", "two-centre"):
        text = TOML.format(inputs=bundled / "water", name=name, backend=name)
        (folder / f"{name}.toml").write_text(text)
        run("train", folder / f"{name}.toml", "--quiet")
    return folder


@pytest.fixture
def molecule(bundled, tmp_path):
    """A folder with the overlap alone, as an inference finds it."""
    source = bundled / "water" / "055"
    return copied(source, tmp_path / "molecule", "POSCAR", "info.json", "overlap.h5")


def test_prediction_beside_the_overlap(trained, molecule, bundled):
    run("infer", trained / "three-centre", molecule)
    made = dock.read(molecule)
    truth = dock.read(bundled / "water" / "055")
    assert np.abs((made.hamiltonian - truth.hamiltonian).entries).mean() < 1e-3
    assert made.hamiltonian.hermiticity_error() == 0.0
    report = json.loads((molecule / "prediction.json").read_text())
    assert report["models"] == [load(trained / "three-centre").describe()["fingerprint"]]
    assert report["pairs"] == 9
    assert report["notes"] == []
    with h5py.File(molecule / "hamiltonian_pred.h5") as file:
        assert file["entries"].dtype == np.float64
    assert "VBM" in run("bands", molecule).out


def test_a_prediction_is_compared_on_the_reference_s_scale(trained, molecule, bundled):
    """It has no Fermi level of its own; aligning that to zero would show a difference of eV."""
    content = json.loads((molecule / "info.json").read_text())
    del content["occupation"]
    (molecule / "info.json").write_text(json.dumps({**content, "fermi_energy_eV": None}))
    run("infer", trained / "three-centre", molecule)
    answer = run("bands", molecule, "--compare", bundled / "water" / "055", "--json")
    assert json.loads(answer.out)["difference_eV"]["max"] < 0.1


def test_training_prediction_and_level_hang_together(trained, molecule, tmp_path):
    """Train, predict, count: the level is the prediction's own, and its exits carry it."""
    content = json.loads((molecule / "info.json").read_text())
    (molecule / "info.json").write_text(json.dumps({**content, "fermi_energy_eV": 55.0}))
    run("infer", trained / "three-centre", molecule)
    prediction = molecule / "hamiltonian_pred.h5"
    assert dock.read(prediction).fermi_level is None
    counted = json.loads(run("fermi", prediction, "--json").out)
    levels = levels_at_gamma(dock.read(prediction))
    occupied = round(counted["n_electrons"]) // 2
    assert levels[occupied - 1] < counted["fermi_level_eV"] < levels[occupied]
    answer = run("bands", prediction, "--points", 2, "--json", "-o", tmp_path / "band.h5")
    found = json.loads(answer.out)
    assert (found["kind"], found["fermi_source"]) == ("insulator", "counted")
    assert found["fermi_level_eV"] == pytest.approx(counted["fermi_level_eV"], abs=1e-6)
    for target in ("openmx", "siesta"):
        run("convert", prediction, "--to", target, "--allow-lossy", "-o", tmp_path / target)
        level = dock.read(tmp_path / target).fermi_level
        assert level == pytest.approx(counted["fermi_level_eV"], abs=1e-6)


def test_a_rerun_skips_and_another_model_is_refused(trained, molecule):
    run("infer", trained / "three-centre", molecule)
    content = (molecule / "hamiltonian_pred.h5").read_bytes()
    again = run("infer", trained / "three-centre", molecule)
    assert "1 done before" in said(again)
    other = run("infer", trained / "two-centre", molecule, code=2)
    assert "--overwrite" in said(other)
    assert (molecule / "hamiltonian_pred.h5").read_bytes() == content
    run("infer", trained / "two-centre", molecule, "--overwrite", "--single-precision")
    with h5py.File(molecule / "hamiltonian_pred.h5") as file:
        assert file["entries"].dtype == np.float32


def test_many_structures_go_below_the_output(trained, bundled, tmp_path):
    """A bad one does not stop the others; it is named, and the exit code is 1."""
    source = tmp_path / "set"
    for name in ("050", "051", "052"):
        shutil.copytree(bundled / "water" / name, source / name)
    (source / "051" / "overlap.h5").write_bytes(b"nothing")
    result = run("infer", trained / "three-centre", source, "-o", tmp_path / "out", code=1)
    assert "051" in said(result)
    made = sorted(path.parent.name for path in (tmp_path / "out").glob("*/hamiltonian_pred.h5"))
    assert made == ["050", "052"]
    assert not (source / "050" / "hamiltonian_pred.h5").exists()
    compared = run("evaluate", tmp_path / "out" / "050", source / "050", "-o", tmp_path / "report")
    assert "MAE" in said(compared)


def test_ensemble_gives_the_spread(trained, molecule):
    result = run(
        "infer", trained / "three-centre", molecule, "--ensemble", trained / "two-centre", "--json"
    )
    assert json.loads(result.out.splitlines()[0])["status"] == "done"
    mean = dock.read(molecule).hamiltonian
    first, second = (  # a model has its own order of pairs, the file that of the overlap
        load(trained / name).predict(*pieces(molecule)).on_pairs(mean.pairs)
        for name in ("three-centre", "two-centre")
    )
    np.testing.assert_allclose(mean.entries, (first.entries + second.entries) / 2, atol=1e-12)
    with h5py.File(molecule / "uncertainty.h5") as file:
        spread = file["spread"][()]
        assert len(spread) == len(file["atom_pairs"])
    begin, end = first.layout.starts[2:4]
    change = (first.entries - second.entries)[0, begin:end] / np.sqrt(2)
    assert spread[2] == pytest.approx(np.sqrt((change**2).mean()))
    report = json.loads((molecule / "prediction.json").read_text())["uncertainty"]
    assert report["largest"] == pytest.approx(spread.max())
    assert set(report["pairs"]) == {"O-O", "O-H", "H-O", "H-H"}


def pieces(folder):
    calc = dock.read(folder)
    return calc.structure, calc.require("overlap")


def test_options_from_a_file(trained, molecule, tmp_path):
    text = '[model]\nmodel_dir = "{}"\n[data]\ninputs_dir = "{}"\noutputs_dir = "out"\n'
    path = tmp_path / "infer.toml"
    path.write_text(text.format(trained / "three-centre", molecule))
    run("infer", path)
    assert (tmp_path / "out" / "hamiltonian_pred.h5").is_file()
    assert (tmp_path / "out" / "overlap.h5").is_file()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ('[model]\nmodel_dir = "m"', "data.inputs_dir"),
        ('[data]\ninputs_dir = "m"', "model.model_dir"),
        ('[model]\nmodel_dirr = "m"', "model_dir"),
        ("[model]\nload_model_epoch = 3", "load_model_type"),
        ('[process.infer]\noutput_type = "petsc"', "--to petsc"),
        ("[process.infer]\ntarget_symmetrize = true", "Hermitian"),
        ('[system]\ndevice = "abacus"', "device"),
        ("[process.infer]\npart_edges = 3", "64"),
        ("nothing", "TOML"),
    ],
)
def test_bad_options_name_the_key(tmp_path, content, word):
    path = tmp_path / "infer.toml"
    path.write_text(content)
    assert word in said(run("infer", path, code=2))


def test_refusals(trained, molecule, tmp_path, bundled):
    model = trained / "three-centre"
    assert "at least one structure" in said(run("infer", model, code=2))
    assert "no-such" in said(run("infer", model, tmp_path / "no-such", code=2))
    assert "run folder" in said(run("infer", tmp_path, molecule, code=2))
    (molecule / "overlap.h5").unlink()
    assert "--basis" in said(run("infer", model, molecule, code=2))
    assert "'Si'" in said(
        run("infer", model, bundled / "unified" / "si", "-o", tmp_path / "x", code=2)
    )
    assert not (tmp_path / "x" / "hamiltonian_pred.h5").exists()
    for name in ("a", "b"):
        shutil.copytree(bundled / "water" / "000", tmp_path / name / "same")
    both = run("infer", model, tmp_path / "a", tmp_path / "b", "-o", tmp_path / "y", code=2)
    assert "different names" in said(both)


def test_read_only_folder_stays_as_it_is(trained, molecule, monkeypatch):
    """What cannot be written is an error with the path, and nothing half-written stays."""
    (molecule / "hamiltonian_pred.h5").mkdir()
    result = run("infer", trained / "three-centre", molecule, code=2)
    assert "hamiltonian_pred.h5" in said(result)
    assert sorted(path.name for path in molecule.iterdir()) == [
        "POSCAR",
        "hamiltonian_pred.h5",
        "info.json",
        "overlap.h5",
    ]


def test_pairs_beyond_the_training_are_reported(trained, tmp_path, bundled):
    """Atoms farther apart than ever seen: predicted, and said."""
    folder = tmp_path / "far"
    shutil.copytree(bundled / "water" / "055", folder)
    (folder / "hamiltonian.h5").unlink()
    lines = (folder / "POSCAR").read_text().splitlines()
    lines[-1] = "  0.0 -2.4 -0.5"
    (folder / "POSCAR").write_text("\n".join(lines) + "\n")
    refused = run("infer", trained / "three-centre", folder, "--strict", code=2)
    assert "--strict refuses" in said(refused)
    assert "longer than any in the training data" in said(refused)
    assert not (folder / "prediction.json").exists()
    run("infer", trained / "three-centre", folder)
    notes = json.loads((folder / "prediction.json").read_text())["notes"]
    assert any("longer than any in the training data" in note for note in notes)


def test_pairs_that_the_overlap_lacks_are_predicted(trained, molecule):
    overlap = dock.read(molecule).require("overlap")
    keep = np.flatnonzero(overlap.pairs.i == overlap.pairs.j)
    from dock.models.backend import PairsOfBasis
    from dock.models.coverage import cover

    scope = load(trained / "three-centre").scope
    found = cover(scope, overlap.structure, PairsOfBasis(overlap.basis, overlap.pairs.take(keep)))
    assert found.n_added == 6
    assert len(found.pattern.pairs) == 9
    assert "overlap lacks" in found.notes[0]


def test_model_info(trained):
    text = run("model", "info", trained / "three-centre").out
    for word in ("three-centre", "O sspdp", "H ssp", "hamiltonian", "test MAE"):
        assert word.replace("sspdp", "ssppd") in text
    facts = json.loads(run("model", "info", trained / "two-centre", "--json").out)
    assert facts["backend"] == "two-centre"
    assert facts["training_set"]
    refused = run("model", "export", trained / "two-centre", "-o", trained / "x.h5", code=2)
    assert "only networks" in said(refused)


def test_help_teaches():
    for command in (["train"], ["infer"], ["model"], ["model", "info"], ["model", "export"]):
        text = run(*command, "--help").out
        assert len(text) > 200


def test_errors_of_a_model_have_the_unit_of_what_it_predicts():
    """Those of density matrices were called meV."""
    judged = {"errors": {"none": 0.5}, "judged_on": "2 structures"}
    common = {"backend": "jax", "species": ["H"], "ls": [[0]], "spin": "none"}
    facts = {**common, "time_reversal": False, "test_mae": 0.25, "baseline_errors": judged}
    for quantity, unit, scale in (("hamiltonian", " meV", 1e3), ("density_matrix", "", 1.0)):
        rows = dict(_rows({**facts, "quantity": quantity}))
        assert rows["test MAE"] == f"{scale * 0.25:.4g}{unit}"
        assert rows["closed forms alone"] == f"MAE none {scale * 0.5:.4g}{unit} on 2 structures"
