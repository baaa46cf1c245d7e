"""Evaluation of folders: pairing, files, figures, the command."""

import json

import h5py
import numpy as np
import pytest
from samples import OPENMX, cli, listing, refused, rewrite, unified

import dock
from dock.errors import LayoutError, MissingDataError, OutputError, UsageError
from dock.evaluate.report import band_overlay, evaluate_set, find_items
from dock.evaluate.structure import EvaluateOptions
from dock.results import KEYS


def predict(folder, target, shift=0.1, noise=0.0):
    """Write a prediction: H + shift · S + noise, as a network would (float32, H alone)."""
    calc = dock.read(folder)
    H, S = calc.require("H"), calc.require("S")
    rng = np.random.default_rng(1)
    target.mkdir(parents=True, exist_ok=True)
    values = (H + shift * S).hermitian_part().entries[0]
    values = values + noise * rng.normal(size=len(values))
    with (
        h5py.File(folder / "hamiltonian.h5") as source,
        h5py.File(target / "hamiltonian_pred.h5", "w") as file,
    ):
        for name in ("atom_pairs", "chunk_shapes", "chunk_boundaries"):
            file[name] = source[name][()]
        file["entries"] = values.astype(np.float32)


@pytest.fixture
def data(tmp_path):
    """Return (predictions, references) of silicon and water, and one more reference."""
    for name, system in (("a", "si"), ("b", "h2o"), ("c", "graphene-v38")):
        unified(tmp_path / "dft" / name, system)
    for name in "ab":
        predict(tmp_path / "dft" / name, tmp_path / "out" / name)
    return tmp_path / "out", tmp_path / "dft"


OPTIONS = EvaluateOptions(mesh=(2, 2, 2))


def test_folders_are_paired_by_name(data):
    result = evaluate_set(*data, OPTIONS)
    assert [row["name"] for row in result.rows] == ["a", "b"]
    assert result.unpredicted == ("c",)
    assert result.exit_code == 0
    for row in result.rows:
        assert row["shift_hamiltonian_eV"] == pytest.approx(0.1, abs=1e-6)
        assert row["mae_hamiltonian_eV"] < 1e-6  # single precision
    assert set(result.elements()) == {"Si", "H", "O"}
    assert result.worst("mae_band_eV")["name"] in "ab"


def test_one_folder_may_hold_both(data):
    out, dft = data
    (out / "a" / "hamiltonian_pred.h5").rename(dft / "a" / "hamiltonian_pred.h5")
    for given in ((dft / "a",), (dft / "a" / "hamiltonian_pred.h5",), (dft / "a", dft / "a")):
        result = evaluate_set(*given, options=OPTIONS)
        assert [row["name"] for row in result.rows] == ["a"]
    items, _ = find_items(dft)
    assert items[0].prediction.name == "hamiltonian_pred.h5"
    with pytest.raises(UsageError, match="same file"):
        evaluate_set(dft / "b", options=OPTIONS)


def test_a_failure_does_not_stop_the_others(data):
    out, dft = data
    rewrite(out / "a" / "hamiltonian_pred.h5", entries=lambda old: old * np.nan)
    answer = cli("evaluate", out, dft, "--mesh", 2, 2, 2, "--json")
    assert answer.code == 1
    assert "NaN" in answer.err
    *lines, summary = (json.loads(line) for line in answer.out.splitlines())
    assert [line.get("name") for line in lines] == ["b", None]
    assert summary["summary"]["n_failed"] == 1
    refused(cli("evaluate", out / "a", dft / "a", "-o", out / "x"), "not finite")


def test_files_and_figures(data, tmp_path):
    out, dft = data
    predict(dft / "a", out / "a", noise=1e-3)
    target = tmp_path / "result"
    answer = cli("evaluate", out, dft, "-o", target, "--plot", "--mesh", 2, 2, 2, "-q")
    assert answer.code == 0, answer.err
    assert "mean" in answer.out
    assert "without prediction: 1" in answer.out
    content = json.loads((target / "evaluation.json").read_text())
    assert content["summary"]["n_structures"] == 2
    assert content["summary"]["worst_mae_hamiltonian_eV"] == "a"
    silicon = content["structures"][0]
    # White noise of 1 meV: the mean of its modulus is √(2/π) meV.
    assert silicon["mae_hamiltonian_eV"] == pytest.approx(1e-3 * np.sqrt(2 / np.pi), rel=0.02)
    assert content["element_pairs"][0]["shells"][0][0] == "s1"
    with h5py.File(target / "evaluation.h5") as file:
        assert file["histogram/counts"][()].sum() == content["summary"]["n_entries"]
        assert file["structures/mae_band_eV"].shape == (2,)
        assert file["parity/reference_and_prediction"].shape[1] == 2
    for name in ("element_pairs", "shell_pairs", "histograms", "parity", "bands"):
        assert (target / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    refused(cli("evaluate", out, dft, "-o", target), "--overwrite")
    with pytest.raises(OutputError):
        evaluate_set(*data, OPTIONS).save(target)


def test_the_face_of_the_result(data, tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    result = evaluate_set(*data, EvaluateOptions(matrix_only=True))
    content = result.json()
    assert set(result.facts()) | set(content) <= set(KEYS)
    assert {key for row in result.structures for key in row} <= set(KEYS)
    assert {key for row in content["elements"].values() for key in row} <= set(KEYS)
    assert {key for row in content["element_pairs"] for key in row} <= set(KEYS)
    assert result.summary() == result.facts() == content["summary"]
    assert list(result.rows) == list(result.structures)
    assert dict(result.rows())["structures"] == "2"
    assert "without prediction: 1" in result.table()
    assert len(repr(result)) < 200
    assert "MAE H" in result._repr_html_()
    assert result.json(arrays=False)["summary"]["elements"] == content["elements"]
    figure, axes = pyplot.subplots()
    assert result.plot(ax=axes) is axes
    assert axes.get_xlabel() == "reference H (eV)"
    pyplot.close(figure)
    assert result.save_bands(tmp_path / "none") == []
    assert not (tmp_path / "none").exists()
    files = result.save(tmp_path / "errors")
    before = listing(tmp_path / "errors")
    assert sorted(file.name for file in files) == ["evaluation.h5", "evaluation.json"]
    with pytest.raises(OutputError, match="overwrite"):
        result.save(tmp_path / "errors")
    assert listing(tmp_path / "errors") == before


def test_names_of_the_package():
    import dock.evaluate as package

    for name in package.__all__:
        assert getattr(package, name) is not None
    assert package.evaluate_set is evaluate_set
    with pytest.raises(AttributeError, match="nothing"):
        _ = package.nothing


def test_overlay_is_on_one_scale(data):
    result = evaluate_set(*data, OPTIONS)
    exact, found = band_overlay(result.items[0], result.rows[0], path="LGX")
    assert exact.reference == found.reference == result.rows[0]["fermi_level_eV"]
    difference = exact.difference(found)
    assert difference.mean < 2e-5  # single precision, magnified by small eigenvalues of S
    assert difference.largest < 1e-3
    assert abs(difference.shift) < 1e-5


def test_what_does_not_belong_together_is_refused(data, tmp_path):
    out, dft = data
    moved = unified(tmp_path / "moved", "si")
    text = (moved / "POSCAR").read_text().splitlines()
    text[-1] = "0.1 0.2 0.3"
    (moved / "POSCAR").write_text("\n".join(text) + "\n")
    with pytest.raises(LayoutError, match="different structures"):
        evaluate_set(moved, dft / "a")
    with pytest.raises(MissingDataError, match="no such file"):
        evaluate_set(out / "nothing", dft)
    with pytest.raises(MissingDataError, match="no such file"):
        evaluate_set(out, dft / "nothing")
    with pytest.raises(MissingDataError, match="same names"):
        evaluate_set(out, OPENMX)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MissingDataError, match="Neither this folder"):
        evaluate_set(empty, dft)
    (dft / "a" / "hamiltonian.h5").rename(dft / "a" / "hamiltonian_pred.h5")
    with pytest.raises(MissingDataError, match="prediction only"):
        evaluate_set(out / "a", dft / "a")
    refused(cli("evaluate", out / "b", dft / "b", "--states", 40, 1, "-o", out / "x"), "--states")
    refused(cli("evaluate", out, dft, "--mesh", 0, 1, 1, "-o", out / "x"), code=1)
