"""What is said of a structure outside the training data, and refused with strict=True."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from datasets import calculation, molecule, write_toml

import dock
from dock.core.spin import Spin
from dock.models import load, train
from dock.models.backend import PairsOfBasis, Scope
from dock.models.coverage import cover
from dock.models.options import read_train
from dock.models.predict import PredictionJob, find_targets, predict
from dock.models.targets import TargetLayout

LAYOUT = TargetLayout(("C", "H"), ((0, 1), (0,)), Spin.NONE)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A closed form of C–H alone: no pair of two hydrogens, none of two carbons."""
    folder = tmp_path_factory.mktemp("ch")
    rng = np.random.default_rng(4)
    for number in range(12):
        dock.write(calculation(molecule(rng, 2)), folder / "set" / f"m{number:02d}")
    keys = {"data.inputs_dir": str(folder / "set"), "model.backend": "two-centre"}
    keys |= {"data.outputs_dir": str(folder / "run")}
    train(read_train(write_toml(folder / "train.toml", **keys)))
    return folder / "run"


@pytest.fixture
def source(tmp_path):
    """CH₂ with its overlap alone."""
    calc = calculation(molecule(np.random.default_rng(1), 3, labels=["C", "H", "H"]))
    bare = dock.Calculation(calc.structure, calc.basis, Spin.NONE, {"overlap": calc.overlap})
    dock.write(bare, tmp_path / "source")
    return tmp_path / "source"


def test_notes_of_a_prediction(trained, source, tmp_path):
    model = load(trained)
    assert model.scope.of_unseen == "elements"
    assert model.describe()["unseen_pairs"] == ["C-C", "H-H"]
    report = predict([model], find_targets([source], tmp_path / "out"))
    assert report.outcomes[0].status == "done"
    notes = json.loads((tmp_path / "out" / "prediction.json").read_text())["notes"]
    assert (
        "the training data have no pairs H-H (2 pairs): predicted from parameters of "
        "their elements and the overlap" in notes
    )
    made = dock.read(tmp_path / "out").hamiltonian
    block = made.block([0, 0, 0], 1, 2)
    assert np.abs(block).max() > 1e-6


def test_strict_refuses_before_anything_is_written(trained, source, tmp_path):
    job = PredictionJob(strict=True)
    report = predict([load(trained)], find_targets([source], tmp_path / "out"), job)
    assert report.exit_code == 2
    reason = report.outcomes[0].reason
    assert "strict=True" in reason
    assert "the training data have no pairs H-H (2 pairs)" in reason
    assert not (tmp_path / "out").exists()


def test_known_structures_pass(trained, tmp_path):
    names = json.loads((trained / "dataset_split.json").read_text())["train"]
    known = trained.parent / "set" / names[0]
    job = PredictionJob(strict=True)
    report = predict([load(trained)], find_targets([known], tmp_path / "out"), job)
    assert report.exit_code == 0


def test_a_file_of_an_earlier_version_says_less(trained, source, tmp_path):
    """It does not know its shortest pairs and how many an atom has."""
    model = tmp_path / "old.h5"
    model.write_bytes((trained / "model" / "best.h5").read_bytes())
    with h5py.File(model, "r+") as file:
        del file["statistics/shortest"], file["statistics/neighbours"]
    scope, known = load(model).scope, load(trained).scope
    assert scope.shortest is None
    assert known.neighbours.tolist() == [[1, 1], [1, 1]]
    overlap = dock.read(source).overlap
    pattern = PairsOfBasis(overlap.basis, overlap.pairs)
    counted = [len(cover(one, overlap.structure, pattern).crowds) for one in (scope, known)]
    assert counted[0] == 0 < counted[1]
    a, b = (load(path).predict(overlap.structure, overlap) for path in (model, trained))
    np.testing.assert_array_equal(a.entries, b.entries)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"shortest": np.full(4, 5.0)}, "6 pairs are shorter than any in the training data ("),
        ({"longest": np.full(4, 0.1)}, " Å): extrapolated"),
        ({"longest": np.zeros(4)}, "no pairs C-H, H-H (2 kinds, 6 pairs): extrapolated"),
        ({"longest": np.zeros(4), "of_unseen": "zeros"}, "predicted as zero"),
        (
            {"neighbours": np.array([[3.0, 4.0], [2.0, 2.0]])},
            "for 1 of the C atoms the number of neighbours was never seen (3 to 4 pairs",
        ),
    ],
)
def test_each_way_to_be_outside_is_said(source, facts, words):
    overlap = dock.read(source).overlap
    scope = Scope(LAYOUT, **{"longest": np.full(4, 9.0), "cutoffs": np.full(4, 9.0), **facts})
    pattern = PairsOfBasis(overlap.basis, overlap.pairs)
    found = cover(scope, overlap.structure, pattern)
    assert any(words in note for note in found.notes), found.notes
    assert len(found.outside) == 1
