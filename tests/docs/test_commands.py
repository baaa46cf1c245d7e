"""Every command and Python block of the README and the documentation runs, and prints what it says.

Fences: ``bash`` is a script; ``console`` has commands after ``$ `` and under them what they print,
where ``...`` stands for anything; ``python`` is executed, or is a doctest when it has ``>>>``.
The blocks of a page run in order in one folder that holds the bundled data. A ``text`` block that
shows a command is not run; the line above it must say why: ``<!-- not run: reason -->``.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from processes import COMMANDS, Nursery

ROOT = Path(__file__).resolve().parents[2]
RUN = {"bash", "console", "python"}
SHOWN = {"text", "toml", "json", "math"}
NOT_RUN_LIMIT = 27  # commands in the whole documentation that are shown but not run
BUILT = {"_build", "_generated"}

REASON = re.compile(r"<!-- not run: \S.* -->")


@dataclass(frozen=True)
class Block:
    """A fenced block: its kind, its text, the line above it, and where it begins."""

    kind: str
    body: str
    above: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    lines = page.read_text(encoding="utf-8").splitlines(keepends=True)
    found = []
    begin = None
    for number, line in enumerate(lines):
        if begin is None and line.startswith("```"):
            begin = number
        elif begin is not None and line.rstrip() == "```":
            above = next((text for text in reversed(lines[:begin]) if text.strip()), "")
            kind = lines[begin].removeprefix("```").strip()
            found.append(Block(kind, "".join(lines[begin + 1 : number]), above, begin + 1))
            begin = None
    assert begin is None, f"{page}: a fence is not closed"
    return found


def pages() -> list[Path]:
    below = [page for page in (ROOT / "docs").rglob("*.md") if not BUILT & {*page.parts}]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(below)]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


RUNNABLE = [page for page in pages() if any(block.kind in RUN for block in blocks_of(page))]
TUTORIALS = ROOT / "docs" / "tutorials"
FIRST = {
    TUTORIALS / "water.md": ROOT / "README.md",
    TUTORIALS / "magic-angle.md": TUTORIALS / "twisted-bilayer.md",
}
"""Pages that run in the folder of another, after it: a run that is finished is left as it is, so
that the network which both train is trained once, and what one leaves another may go on with."""


@pytest.fixture(scope="module")
def nursery():
    with Nursery(COMMANDS) as started:
        yield started


@pytest.fixture
def place(tmp_path, monkeypatch, nursery):
    """A folder like a fresh clone: the data, and a virtual environment whose dock is this one.

    Installing is left out here (``python3 -m venv``, ``pip`` and ``pytest`` do nothing):
    ``.ci/run`` runs the README's two command lines as they stand. ``dock`` without a folder is a
    fork of a process that has imported it: the same, but for the time that a start takes.
    """
    for name in ("fixtures", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    water = tmp_path / "examples" / "water.toml"
    text, count = re.subn(r"max_epoch = \d+", "max_epoch = 4", water.read_text())
    assert count == 1  # as it stands a minute of training, of which four epochs show all there is
    water.write_text(text)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    scripts = {
        "dock": f'exec "{sys.executable}" -m dock "$@"',
        "python": f'exec "{sys.executable}" "$@"',
        "python3": f'case "$*" in "-m venv "*) ;; *) exec "{sys.executable}" "$@";; esac',
        "pip": ":",
        "pytest": ":",
    }
    for script, text in scripts.items():
        file = programs / script
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    forked = tmp_path / ".venv" / "forked"
    forked.mkdir()
    nursery.program(forked / "dock")
    path = [str(forked), str(programs), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str) -> tuple[str, str]:
    """Run a command and return what it wrote to stdout and stderr; it must end with 0."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    said = done.stderr + done.stdout
    assert done.returncode == 0, f"{command}\nended with {done.returncode}:\n{said}"
    return done.stdout, done.stderr


def run_console(body: str) -> None:
    """Run the commands of a console block and compare what they print."""
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        while command.endswith("\\"):
            more, _, shown = shown.partition("\n")
            command = f"{command[:-1]} {more.removeprefix('> ').strip()}"
        out, err = run(command)
        if shown.strip():
            good = is_like(shown, out) or is_like(shown, err + out)
            assert good, f"$ {command}\nshown:\n{shown}\nprinted:\n{err}{out}"


def is_like(shown: str, printed: str) -> bool:
    """Say whether a text is what was shown, with ``...`` for anything, also for nothing."""
    wanted = re.escape(" ".join(shown.split())).replace(r"\.\.\.", "@@")
    wanted = re.sub(r"(?:\\ )?@@(?:\\ )?", ".*", wanted)
    return re.fullmatch(wanted, " ".join(printed.split())) is not None


def run_python(block: Block, page: Path, variables: dict[str, object]) -> None:
    if ">>> " in block.body:
        test = doctest.DocTestParser().get_doctest(
            block.body, variables, name(page), name(page), block.line
        )
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        said = io.StringIO()
        runner.run(test, out=said.write, clear_globs=False)
        variables.update(test.globs)
        assert runner.summarize(verbose=False).failed == 0, said.getvalue()
        return
    code = compile("\n" * block.line + block.body, str(page), "exec")
    with contextlib.redirect_stdout(io.StringIO()):
        exec(code, variables)  # noqa: S102 - the documentation's own code


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("page", [page for page in RUNNABLE if page not in FIRST], ids=name)
def test_page_runs(page):
    run_page(page)
    for other in [other for other, first in FIRST.items() if first == page]:
        run_page(other)


def run_page(page: Path) -> None:
    """Run the blocks of a page, which share their variables."""
    variables: dict[str, object] = {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.kind == "bash":
            run(block.body)
        elif block.kind == "console":
            run_console(block.body)
        elif block.kind == "python":
            run_python(block, page, variables)


def test_readme_and_quick_start_are_among_the_pages():
    assert {"README.md", "docs/quickstart.md", "docs/format.md"} <= {name(p) for p in RUNNABLE}


@pytest.mark.parametrize("page", pages(), ids=name)
def test_fences_are_known_and_commands_not_run_have_a_reason(page):
    for block in blocks_of(page):
        where = f"{name(page)}:{block.line}"
        known = block.kind in RUN | SHOWN or block.kind.startswith("{")
        assert known, f"{where}: the fence '{block.kind}' is neither run nor known as not run"
        if block.kind == "console":
            assert re.search(r"^\$ ", block.body, re.MULTILINE), f"{where}: no line begins with $"
        if block.kind == "text" and re.search(r"^\$ ", block.body, re.MULTILINE):
            assert REASON.search(block.above), f"{where}: say above why this is not run"


def test_few_commands_are_not_run():
    not_run = [
        f"{name(page)}:{block.line}"
        for page in pages()
        for block in blocks_of(page)
        if REASON.search(block.above)
    ]
    assert len(not_run) <= NOT_RUN_LIMIT, not_run


def test_the_first_readme_lines_make_an_environment_and_run():
    first, second = (block.body for block in blocks_of(ROOT / "README.md") if block.kind == "bash")
    assert first.count("\n") == second.count("\n") == 1
    assert "dock convert fixtures/" in first
    assert "--plot" in first
    assert ".venv/bin/pytest" in second


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\n...\nd\n", "a\nb\nc\nd\n", True),
        ("a\n...\nd\n", "a\nd\n", True),
        ("gap 1.9... eV\n", "gap    1.966 eV\n", True),
        ("a\n", "a\nb\n", False),
        ("a.c\n", "abc\n", False),
    ],
)
def test_ellipsis(shown, printed, same):
    assert is_like(shown, printed) is same
