"""Which runs are found, and where each goes."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import samples

from dock.converters import WriteOptions
from dock.converters.plan import find_runs, plan, size_and_date
from dock.errors import FormatError, MissingDataError, UsageError


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b/one", "b/two"):
        samples.run_folder(tmp_path / "runs" / name, "h2o")
    (tmp_path / "runs" / ".hidden").mkdir()
    shutil.copy(tmp_path / "runs" / "a" / "h2o.scfout", tmp_path / "runs" / ".hidden")
    (tmp_path / "runs" / "notes").mkdir()
    return Path("runs")


def targets(tasks):
    return {str(task.source): str(task.target) for task in tasks}


def test_one_run_goes_to_the_output_itself(runs):
    for given in ("runs/a", "runs/a/h2o.scfout", "runs/a/h2o.dat", "runs/[a]"):
        assert targets(plan([given])) == {"runs/a/h2o.scfout": "deeph"}
        assert targets(plan([given], "out")) == {"runs/a/h2o.scfout": "out"}


def test_a_folder_of_runs(runs):
    expected = {
        "runs/a/h2o.scfout": "out/a",
        "runs/b/one/h2o.scfout": "out/b/one",
        "runs/b/two/h2o.scfout": "out/b/two",
    }
    assert targets(plan(["runs"], "out")) == expected
    assert targets(plan(["runs"], "out", source="openmx")) == expected


def test_a_folder_of_one_run_keeps_its_name(runs):
    shutil.rmtree("runs/b")
    assert targets(plan(["runs"], "out")) == {"runs/a/h2o.scfout": "out/a"}


def test_a_glob_takes_what_is_a_run(runs):
    assert targets(plan(["runs/b/*"], "out")) == {
        "runs/b/one/h2o.scfout": "out/one",
        "runs/b/two/h2o.scfout": "out/two",
    }
    assert len(plan(["runs/**/*.scfout"], "out")) == 3
    assert len(plan([f"{Path.cwd()}/runs/b/*"], "out")) == 2


def test_several_named_runs_are_told_apart(runs):
    named = ["runs/a", "runs/b/two"]
    assert targets(plan(named, "out")) == {
        "runs/a/h2o.scfout": "out/a",
        "runs/b/two/h2o.scfout": "out/b/two",
    }
    shutil.copy("runs/a/h2o.scfout", "runs/a/other.scfout")
    assert targets(plan(["runs/a/h2o.scfout", "runs/a/other.scfout"], "out")) == {
        "runs/a/h2o.scfout": "out/a/h2o",
        "runs/a/other.scfout": "out/a/other",
    }


def test_a_run_named_twice_is_done_once(runs):
    assert len(plan(["runs/a", "runs/a/h2o.scfout", "./runs/a"], "out")) == 1


def test_links_to_one_file_are_runs_of_their_own(runs):
    for name in ("x", "y"):
        (Path("linked") / name).mkdir(parents=True)
        (Path("linked") / name / "h2o.scfout").symlink_to(Path("runs/a/h2o.scfout").resolve())
    assert sorted(targets(plan(["linked"], "out")).values()) == ["out/x", "out/y"]
    assert sorted(targets(plan(["linked/x", "linked/y"], "out")).values()) == ["out/x", "out/y"]


def test_the_output_of_an_earlier_call_is_no_input(runs):
    samples.unified(Path("runs/out/a"), "h2o")
    samples.unified(Path("runs/b/two/deeph"), "h2o")
    assert len(plan(["runs"], "runs/out")) == 3
    assert [name for name, _, _ in find_runs(["runs"], target="deeph")] == 3 * ["openmx"]
    named = find_runs(["runs"], source="deeph", target="deeph")
    assert [str(relative) for _, _, relative in named] == ["b/two/deeph", "out/a"]


def test_two_runs_with_one_target(runs):
    samples.run_folder(Path("more/a"), "h2o")
    with pytest.raises(UsageError, match=r"runs/a/h2o.scfout and more/a/h2o.scfout would both"):
        plan(["runs", "more"], "out")


def test_nothing_there(runs):
    for given, words in (
        ("nothing", "no such file"),
        ("nothing/*", "no such file"),
        ("runs/notes", "not recognised"),
        ("runs/no*", "not recognised"),
    ):
        with pytest.raises((MissingDataError, FormatError), match=words):
            plan([given])
    with pytest.raises(FormatError, match="unified folder"):
        plan(["runs"], source="deeph")


def test_to_the_same_format(runs):
    with pytest.raises(UsageError, match="is 'openmx' already"):
        plan(["runs/a"], target="openmx")


def test_fingerprint(runs):
    def fingerprint(**options):
        (task,) = plan(["runs/a"], options=WriteOptions(**options))
        return task.fingerprint()

    first = fingerprint()
    assert fingerprint(overwrite=True, command="another") == first
    assert fingerprint(quantities=("H",)) != first
    assert fingerprint(single_precision=True) != first
    (task,) = plan(["runs/a"])
    for change in ({"basis": Path("pao")}, {"read_settings": {"a": "b"}}, {"target_format": "x"}):
        assert replace(task, **change).fingerprint() != first
    os.utime("runs/a/h2o.out")  # not what is converted
    assert fingerprint() == first
    Path("runs").rename("moved")
    (task,) = plan(["moved/a"])
    assert task.fingerprint() == first
    os.utime("moved/a/h2o.scfout", ns=(1, 1))
    assert task.fingerprint() != first
    assert size_and_date(Path("nothing")) == (0, 0)
