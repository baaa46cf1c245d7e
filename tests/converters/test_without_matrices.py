"""Runs without their matrix file: named, with the keyword that makes it; batches count them."""

import json
import shutil

import pytest
import samples

import dock
from dock.converters.plan import find_runs
from dock.errors import MissingDataError

RUNS = {
    "openmx": ("openmx/si", "*.scfout", "HS.fileout on"),
    "siesta": ("siesta/graphene", "*.[HDT]*", "SaveHS true"),
    "abacus": ("abacus/graphene", "OUT.ABACUS/*.csr.gz", "out_mat_hs2 1"),
}


@pytest.fixture
def bare(bundled, tmp_path):
    """Return a function that copies a bundled run without its matrices."""

    def make(code, target=None):
        name, pattern, _ = RUNS[code]
        run = shutil.copytree(bundled / name, target or tmp_path / code)
        for file in run.glob(pattern):
            file.unlink()
        return run

    return make


@pytest.mark.parametrize("code", list(RUNS))
def test_one_run(bare, tmp_path, code):
    run = bare(code)
    with pytest.raises(MissingDataError, match=RUNS[code][2]):
        dock.read(run)
    for words in (["convert", run, "-o", tmp_path / "x"], ["info", run], ["bands", run]):
        samples.refused(samples.cli(*words), RUNS[code][2], run)
    answer = samples.cli("convert", run, "--from", code, "-o", tmp_path / "x")
    samples.refused(answer, RUNS[code][2])
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("as_glob", [True, False])
def test_a_batch_counts_them(bare, bundled, tmp_path, as_glob):
    runs = tmp_path / "runs"
    for number, code in enumerate(RUNS):
        bare(code, runs / str(number))
    shutil.copytree(bundled / "openmx" / "h2o", runs / "sound")
    (runs / "notes").mkdir()  # no run at all
    (runs / "README.md").write_text("three of four")
    given = f"{runs}/*" if as_glob else runs
    answer = samples.cli("convert", given, "-o", tmp_path / "out")
    assert answer.code == 1, answer
    assert "1 done, 0 skipped, 3 failed" in answer.out
    lines = (tmp_path / "out" / "failed.jsonl").read_text().splitlines()
    assert len(lines) == 3
    for line, (_, _, keyword) in zip(lines, RUNS.values(), strict=True):
        assert keyword in json.loads(line)["reason"]
    assert (tmp_path / "out" / "sound" / "hamiltonian.h5").is_file()
    answer = samples.cli("check", given)
    assert answer.code == 2
    assert "3 with errors" in answer.out


def test_what_is_no_run_of_its_own(bundled, tmp_path):
    """A template above the runs, and the outputs of other calculations beside one."""
    runs = tmp_path / "runs"
    for name in ("a", "b"):
        shutil.copytree(bundled / "abacus" / "graphene", runs / name)
    for name in ("INPUT", "STRU", "KPT"):
        shutil.copy(runs / "a" / name, runs)
    shutil.copytree(runs, tmp_path / "above" / "runs")
    for place in (runs, tmp_path / "above"):
        found = find_runs([place])
        assert [(name, main.name) for name, main, _ in found] == [("abacus", "OUT.ABACUS")] * 2


def test_only_formats_that_are_read_are_listed(tmp_path):
    (tmp_path / "x").mkdir()
    answer = samples.cli("convert", tmp_path / "x", "-o", tmp_path / "y")
    samples.refused(answer, "deeph, openmx, siesta, abacus, aims, cp2k, pyscf")
    assert "restart" not in answer.err
    assert "petsc" not in answer.err


class TestSteps:
    """SIESTA keeps the matrices of steps with Write.HS.History."""

    @pytest.fixture
    def run(self, bundled, tmp_path):
        run = shutil.copytree(bundled / "siesta" / "graphene", tmp_path / "run")
        calc = dock.read(run)
        for step, factor in enumerate((1.02, 1.01, 1.0)):
            H = calc.require("H") * factor
            scaled = calc.replace(matrices={"S": calc.require("S"), "H": H})
            dock.write(scaled, tmp_path / "made", "siesta", overwrite=True)
            shutil.copy(tmp_path / "made" / "graphene.HSX", run / f"graphene.{step}.HSX")
        return run

    def test_each_is_a_structure_of_a_data_set(self, run, tmp_path):
        answer = samples.cli("convert", run, "--set", "step=all", "-o", tmp_path / "set")
        assert answer.code == 0, answer
        assert samples.names(tmp_path / "set") == ["0", "1", "2"]
        H = dock.read(run).require("H")
        for step, factor in enumerate((1.02, 1.01, 1.0)):
            calc = dock.read(tmp_path / "set" / str(step))
            assert set(calc.available) == {"hamiltonian", "overlap"}
            mine, theirs = (H * factor).aligned(calc.require("H"))
            assert abs(mine.entries - theirs.entries).max() < 1e-3  # constants of 4.x or 5.x
        note = dock.read(run).provenance.extra["notes"][-1]
        assert "3 steps (0 to 2)" in note
        answer = samples.cli("convert", run, "-o", tmp_path / "last")
        assert "--set step=all every one" in answer.err  # the option that the command has
        assert "--set step=all every one" in samples.cli("info", tmp_path / "last").out

    def test_one_of_them(self, run, tmp_path):
        one = dock.read(run, settings={"step": "1"})
        assert one.source.endswith("graphene.1.HSX")
        answer = samples.cli("convert", run, "--set", "step=9", "-o", tmp_path / "x")
        samples.refused(answer, "step 9 is missing", "0, 1, 2")
        answer = samples.cli("convert", run, "--set", "step=last", "-o", tmp_path / "x")
        samples.refused(answer, "a number from 0")


@pytest.mark.shared
def test_cases(shared, tmp_path):
    cases = shared / "cases"
    answer = samples.cli("convert", cases / "K10-no-matrix-file/N_batch", "-o", tmp_path / "x")
    assert answer.code == 1
    assert "1 done, 0 skipped, 3 failed" in answer.out
    for name, keyword in (
        ("A17_hk", "out_mat_hs2"), ("N_openmx", "HS.fileout"), ("S11_noHSX", "SaveHS"),
    ):  # fmt: skip
        samples.refused(samples.cli("info", cases / "K10-no-matrix-file" / name), keyword)
    words = ["--set", "step=all"]
    for name in ("K8-many-steps/M_md", "K13-codes-2026/siesta-5.4-history"):
        answer = samples.cli("convert", cases / name, *words, "-o", tmp_path / name)
        assert answer.code == 0, answer
        assert samples.names(tmp_path / name) == ["0", "1"]
