"""``dock convert`` and ``dock info`` of plane-wave runs, which have no orbitals."""

import json
import shutil

import numpy as np
import pytest
import samples

from dock.converters import detect, get_format, transfer
from dock.converters.batch import MARKER, convert
from dock.converters.format import WriteOptions
from dock.converters.qe.charge_density_dat import DAT, HDF5, START, read_density
from dock.converters.qe.charge_density_h5 import GRID_FILE
from dock.converters.qe.data_file_schema import SCHEMA, read_run
from dock.converters.qe.folder import BANDS_FILE, RUN_FILE
from dock.errors import UsageError


@pytest.fixture
def save(bundled, tmp_path):
    """Return a copy of a .save folder that may be changed."""
    return shutil.copytree(bundled / "qe/fe/fe.save", tmp_path / "run" / "fe.save")


@pytest.fixture
def folder(save, tmp_path):
    assert convert(save, tmp_path / "fe").exit_code == 0
    return tmp_path / "fe"


def test_there_and_back_on_the_command_line(save, tmp_path):
    out = samples.cli("convert", save.parent, "--from", "qe", "-o", tmp_path / "fe").out
    assert str(tmp_path / "fe" / GRID_FILE) in out
    expected = sorted([MARKER, "POSCAR", GRID_FILE, BANDS_FILE, RUN_FILE])
    assert samples.names(tmp_path / "fe") == expected
    back = tmp_path / "out" / "fe.save"
    answer = samples.cli(
        "convert", tmp_path / "fe", "--to", "qe", "--set", f"like={save}", "-o", back
    )
    assert answer.code == 0, answer
    assert samples.names(back) == sorted([MARKER, DAT, HDF5, SCHEMA, START])
    assert (back / SCHEMA).read_bytes() == (save / SCHEMA).read_bytes()
    original = read_density(save)
    for name in (DAT, HDF5):
        again = read_density(back / name)
        assert np.array_equal(again.miller, original.miller)
        assert np.abs(again.values - original.values).max() < 1e-15


def test_marker_and_resume(save, tmp_path):
    target = tmp_path / "fe"
    assert convert(save, target).count("done") == 1
    marker = json.loads((target / MARKER).read_text())
    assert marker["source"] == "fe.save"
    assert sorted(marker["files"]) == sorted(["POSCAR", GRID_FILE, BANDS_FILE, RUN_FILE])
    assert convert(save, target).count("skipped") == 1
    (target / RUN_FILE).unlink()  # as if it had been interrupted
    assert convert(save, target).count("done") == 1
    text = (save / SCHEMA).read_text()
    (save / SCHEMA).write_text(text.replace("<output>", "<output> "))
    report = convert(save, target)
    assert "made from fe.save before that changed" in report.outcomes[0].reason
    assert convert(save, target, options=WriteOptions(overwrite=True)).count("done") == 1


def test_a_damaged_run_leaves_nothing(save, tmp_path):
    (save / DAT).write_bytes((save / DAT).read_bytes()[:1000])
    report = convert(save, tmp_path / "fe")
    assert report.exit_code == 2
    assert str(save / DAT) in report.outcomes[0].reason
    assert samples.names(tmp_path) == ["run"]


def test_runs_of_other_codes_go_along(save, bundled, tmp_path):
    shutil.copytree(bundled / "openmx/h2o", tmp_path / "runs" / "h2o")
    save.parent.rename(tmp_path / "runs" / "fe")
    report = convert(tmp_path / "runs", tmp_path / "out")
    assert report.count("done") == 2
    assert (tmp_path / "out/h2o/hamiltonian.h5").is_file()
    assert (tmp_path / "out/fe" / GRID_FILE).is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--to", "siesta"), ("'qe' has no orbitals", "--to deeph")),
        (("--matrices", "H"), ("fe.save", "no matrices to choose from")),
        (("--set", "like=x"), ("no setting like",)),
    ],
)
def test_what_a_run_cannot_give_is_refused(save, tmp_path, arguments, words):
    answer = samples.cli("convert", save, *arguments, "-o", tmp_path / "x")
    samples.refused(answer, *words)
    assert samples.names(tmp_path) == ["run"]


@pytest.mark.parametrize("text", ["x", "-3", "nan", "0"])
def test_wrong_cutoffs(folder, tmp_path, text):
    setting = f"ecutrho_hartree={text}"
    answer = samples.cli("convert", folder, "--to", "qe", "--set", setting, "-o", tmp_path / "x")
    samples.refused(answer, "half of pw.x's ecutrho", f"'{text}'")


def test_only_densities_go_to_qe(bundled, tmp_path):
    answer = samples.cli("convert", bundled / "openmx/h2o", "--to", "qe", "-o", tmp_path / "x")
    samples.refused(answer, "'qe' is read, not written")
    with pytest.raises(UsageError, match="'openmx' has matrices"):
        transfer(bundled / "openmx/h2o/h2o.scfout", "openmx", tmp_path / "x")


def test_folders_are_recognised(folder, tmp_path):
    for path in (folder, folder / GRID_FILE, folder / RUN_FILE):
        found = detect(path)
        assert found is not None
        assert (found[0].name, found[1]) == ("qe-folder", folder)
    find = get_format("qe-folder").detect
    assert find(folder / "POSCAR") is None
    assert find(tmp_path) is None
    # A unified folder stays one; its density is asked for by name.
    unified = samples.unified(tmp_path / "si")
    shutil.copy(folder / GRID_FILE, unified)
    assert detect(unified)[0].name == "deeph"
    report = convert(unified, tmp_path / "x.save", source="qe-folder", target="qe")
    assert report.count("done") == 1


def test_info(save, folder):
    one = json.loads(samples.cli("info", save, "--json").out)
    two = json.loads(samples.cli("info", folder, "--json").out)
    shared = {"formula", "n_atoms", "pbc", "spin", "fermi_level_eV", "n_electrons"}
    assert {key: one[key] for key in shared} == {key: two[key] for key in shared}
    assert (one["n_kpoints"], one["n_bands"], one["spin"]) == (16, 16, "collinear")
    assert two["density_electrons"] == pytest.approx(16, abs=1e-6)
    text = samples.cli("info", save).out
    for words in ("Fe, 1 atoms", "18.165433 eV", "kpoints", "Quantum ESPRESSO 6.7"):
        assert words in text
    (folder / GRID_FILE).unlink()
    assert "density" not in samples.cli("info", folder).out
    samples.refused(samples.cli("bands", folder), "plane waves")


def test_an_unconverged_run_is_said_to_be_one(save, tmp_path):
    """Converted and shown it is all the same, and the folder repeats it on its way back."""
    shutil.copytree(save.parent, tmp_path / "other")
    said = "the self-consistency cycle did not converge"
    assert said not in samples.cli("info", save).out
    xml = save / SCHEMA
    whole = "<convergence_achieved>true</convergence_achieved>"
    assert xml.read_text().count(whole) == 1
    xml.write_text(xml.read_text().replace(whole, whole.replace("true", "false")))
    assert read_run(save).converged is False
    answer = samples.cli("convert", save.parent, tmp_path / "other", "-o", tmp_path / "set")
    assert answer.code == 0
    assert f"1 of 2 runs: {said}" in answer.err
    facts = {path: json.loads(path.read_text()) for path in (tmp_path / "set").rglob(RUN_FILE)}
    assert sorted(content["converged"] for content in facts.values()) == [False, True]
    (folder,) = (path.parent for path, content in facts.items() if not content["converged"])
    for place in (save, folder):
        assert said in samples.cli("info", place).out
    back = samples.cli(
        "convert", folder, "--to", "qe", "--set", f"like={save}", "-o", tmp_path / "b"
    )
    assert said in back.err


def test_a_run_without_a_cycle_has_not_failed_to_converge(save):
    xml = save / SCHEMA
    text = xml.read_text().replace("achieved>true<", "achieved>false<")
    xml.write_text(
        text.replace("<calculation>scf</calculation>", "<calculation>nscf</calculation>")
    )
    assert read_run(save).converged is None
    xml.write_text(text.replace("convergence_info", "other_info"))
    assert (read_run(save).converged, read_run(save).unsound) == (None, "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "a JSON object"),
        ('{"occupation": "8"}', "no number"),
    ],
)
def test_damaged_facts(folder, text, message):
    (folder / RUN_FILE).write_text(text)
    samples.refused(samples.cli("info", folder), message, RUN_FILE)


def test_density_of_another_program(folder):
    (folder / RUN_FILE).unlink()
    answer = samples.cli("info", folder)
    assert answer.code == 0
    assert "unknown" in answer.out
    (folder / "POSCAR").unlink()
    samples.refused(samples.cli("info", folder), "POSCAR")
