"""Two jobs on one output: what the other has finished is done, not failed; faults stop no other."""

from __future__ import annotations

import math
from dataclasses import replace

import samples

from dock.converters import batch
from dock.converters.plan import plan
from dock.errors import FAULT, OutputError
from dock.io.files import write_text
from dock.io.text import json_text, read_json


def task_of(tmp_path, name="si"):
    tasks = plan([samples.run_folder(tmp_path / name)], tmp_path / "out")
    return replace(tasks[0], resume=True)


def test_what_another_job_made_meanwhile_is_done(tmp_path, monkeypatch):
    task = task_of(tmp_path)
    write = batch.write

    def slower(*arguments, **options):
        write(*arguments, **options)
        return write(*arguments, **options)  # the first is that of the other job

    monkeypatch.setattr(batch, "write", slower)
    assert batch.convert_one(task).status == "skipped"


def test_what_it_made_of_another_run_is_not(tmp_path, monkeypatch):
    task = task_of(tmp_path)
    other = replace(task, options=replace(task.options, quantities=("overlap",)))
    write = batch.write

    def slower(*arguments, **options):
        monkeypatch.setattr(batch, "write", write)
        batch.convert_one(other)
        raise OutputError(f"{task.target}: exists already.")

    monkeypatch.setattr(batch, "write", slower)
    outcome = batch.convert_one(task)
    assert (outcome.status, outcome.exit_code) == ("failed", 2)


def test_a_fault_in_one_run_is_an_outcome(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(batch, "write", fail)
    outcome = batch.convert_one(task_of(tmp_path))
    assert (outcome.status, outcome.exit_code) == ("failed", FAULT)
    assert "ZeroDivisionError" in outcome.reason
    assert "report" in outcome.reason


def test_json_with_bytes_that_are_no_text(tmp_path):
    """A name of a file or a species may have them: what is written is read again."""
    content = {"näme": "Å b\udcff"}
    write_text(tmp_path / "a.json", json_text(content))
    assert (tmp_path / "a.json").read_text("utf-8") == '{"näme": "Å b\\udcff"}'
    assert read_json(tmp_path / "a.json") == content


def test_json_has_no_nan():
    assert json_text({"a": [math.nan, 1.0], "b": (-math.inf,)}) == '{"a": [null, 1.0], "b": [null]}'
