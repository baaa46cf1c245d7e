"""A prediction's Fermi level is its own: counted, never that of the run that gave its overlap."""

import json
import shutil

import numpy as np
import pytest
import samples

import dock
from dock.converters.deeph.blockfile import write_matrix
from dock.core.spin import Spin
from dock.evaluate import EvaluateOptions, evaluate
from dock.post import bands
from dock.states.kpath import KPath
from dock.states.own_level import own_level

SHIFT = 3.0


@pytest.fixture
def predicted(bundled, tmp_path):
    """The folder of a run with a prediction in it that lies 3 eV above and is a little off."""
    folder = tmp_path / "si"
    shutil.copytree(bundled / "unified" / "si", folder, copy_function=shutil.copyfile)
    calc = dock.read(folder)
    H = 1.002 * calc.require("H") + SHIFT * calc.require("S")
    write_matrix(folder / "hamiltonian_pred.h5", H, {"quantity": "hamiltonian", "model": "abc123"})
    report = {"source": "si", "models": ["abc123"], "command": "dock infer model si"}
    (folder / "prediction.json").write_text(json.dumps(report))
    return folder / "hamiltonian_pred.h5"


def test_the_level_of_the_run_is_not_taken(predicted):
    calc = dock.read(predicted)
    assert calc.fermi_level is None
    assert dock.read(predicted.parent).fermi_level is not None
    middle = bands(dock.read(predicted.parent), "LGX", points=4).gap
    own = bands(calc, "LGX", points=4)
    assert own.gap.fermi_source == "mid-gap"
    assert own.reference == pytest.approx(
        1.002 * 0.5 * (middle.vbm.energy + middle.cbm.energy) + SHIFT, abs=1e-6
    )


def test_infer_fermi_bands_and_dos_hang_together(predicted, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    level = json.loads(samples.cli("fermi", predicted, "--mesh", 3, 3, 3, "--json").out)
    for command in (("bands", "--path", "GX", "--points", 3), ("dos", "--mesh", 2, 2, 2)):
        answer = samples.cli(
            command[0], predicted, *command[1:], "-o", f"{command[0]}.h5", "--json"
        )
        content = json.loads(answer.out)
        assert content["fermi_level_eV"] == level["fermi_level_eV"], command
        assert content["fermi_source"] == "counted"
        assert content["kind"] == "insulator"
    other = samples.cli("bands", predicted.parent / "hamiltonian.h5", "--path", "GX", "--points", 3,
                        "-o", "c.h5", "--json")  # fmt: skip
    assert json.loads(other.out)["fermi_source"] == "given"


@pytest.mark.parametrize("target", ["openmx", "siesta"])
def test_exits_carry_the_level(predicted, tmp_path, target, caplog):
    counted = own_level(dock.read(predicted))
    answer = samples.cli(
        "convert", predicted, "--to", target, "--matrices", "H,S", "-o", tmp_path / "out"
    )
    assert answer.code == 0, answer
    assert dock.read(tmp_path / "out").fermi_level == pytest.approx(counted, abs=1e-6)
    assert "Fermi level" not in answer.err


def test_info_names_the_model(predicted):
    answer = samples.cli("info", predicted)
    assert "hamiltonian_pred.h5: predicted by the model abc123 from si" in answer.out
    assert "dock infer model si" in answer.out
    origin = json.loads(samples.cli("info", predicted, "--json").out)["provenance"]
    assert origin["prediction"]["model"] == "abc123"
    run = json.loads(samples.cli("info", predicted.parent, "--json").out)["provenance"]
    assert run["prediction"] is None
    (predicted.parent / "prediction.json").write_text('{"models": ["other"], "source": "x"}')
    assert " from x" not in samples.cli("info", predicted).out


def test_a_copy_stays_a_prediction(predicted, tmp_path):
    for name in ("hamiltonian.h5", "density_matrix.h5"):
        (predicted.parent / name).unlink()
    answer = samples.cli("convert", predicted.parent, "--from", "deeph", "-o", tmp_path / "new")
    assert answer.code == 0, answer
    assert "predicted by the model abc123" in samples.cli("info", tmp_path / "new").out
    assert dock.read(tmp_path / "new").fermi_level is None


def test_compare_is_evaluate(predicted, bundled):
    """The same k-points and the same window give the same number to the last digit."""
    guess, reference = dock.read(predicted), dock.read(bundled / "unified" / "si")
    mesh = EvaluateOptions(mesh=(2, 1, 1), half_width=6.0, min_bands=1, fermi=reference.fermi_level)
    measured = evaluate(guess.require("H"), reference, mesh).bands
    line = KPath([2], [[0, 0, 0]], [[0.5, 0, 0]], [("G", "L")], reference.structure.cell)
    difference = bands(guess, line, compare=reference).difference(bands(reference, line))
    assert difference.window == (measured.window.low, measured.window.high)
    assert difference.n_levels == measured.n_levels
    assert difference.mean == measured.mae > 1e-3
    assert difference.shift == measured.shift
    assert difference.largest == measured.largest


def test_a_metal_takes_the_level_of_what_it_is_compared_with(predicted, bundled):
    reference = dock.read(bundled / "unified" / "si").replace(n_electrons=7.0, fermi_level=-4.4)
    guess = dock.read(predicted).replace(n_electrons=7.0)
    found = bands(guess, "GX", points=3, compare=reference)
    assert (found.reference, found.gap.fermi_source) == (-4.4, "reference")
    insulator = bands(dock.read(predicted), "GX", points=3, compare=reference)
    assert insulator.gap.fermi_source == "mid-gap"
    assert insulator.gap.stored is None  # that of the reference is not stored with this one
    assert "stored level" not in insulator.table()
    assert np.isfinite(insulator.difference(insulator.compared).mean)
    assert guess.spin is Spin.NONE
