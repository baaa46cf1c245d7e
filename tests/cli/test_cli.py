"""The root command: start-up, help, exit codes, errors as sentences."""

import errno
import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import samples

from dock.cli import cli
from dock.cli.options import parse_settings, parse_shard
from dock.cli.runner import Bar
from dock.errors import ConvergenceError, DependencyError, DockError, UsageError
from dock.results import table

HEAVY = ("numpy", "h5py", "scipy", "numba", "ase", "spglib", "seekpath", "matplotlib", "logging")
COMMANDS = cli.list_commands(None)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["nonsense"], []])
def test_start_up_imports_nothing_heavy(arguments):
    script = (
        "import sys\nfrom dock.cli import _run\n"
        f"code = _run({arguments!r})\n"
        f"print([name for name in {HEAVY[:-1]!r} if name in sys.modules], file=sys.stderr)\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=False, text=True
    )
    assert done.stderr.splitlines()[-1] == "[]", done.stderr
    assert done.returncode == (0 if arguments and arguments[0].startswith("--") else 2)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_starts_with_an_example(name):
    answer = samples.cli(name, "--help")
    assert answer.code == 0, answer
    assert len(answer.out) > 200
    if isinstance(cli.get_command(None, name), click.Group):
        return
    example = answer.out.index("Example:")
    assert f"dock {name}" in answer.out[example : example + 80].splitlines()[1]
    assert example < answer.out.index("Options:")


@pytest.mark.parametrize("name", COMMANDS)
def test_command_names_and_help_lines(name):
    assert name in samples.cli("--help").out
    command = cli.get_command(None, name)
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help or parameter.metavar, (name, parameter.name)


def test_root():
    answer = samples.cli("--help")
    assert "Exit codes: 0 all done; 1 some items" in answer.out
    assert re.fullmatch(r"dock, version \S+\n", samples.cli("--version").out)
    samples.refused(samples.cli("nonsense"), "nonsense")
    samples.refused(samples.cli("info", "--nonsense"), "--nonsense")
    assert samples.cli("-h").out == answer.out


def test_the_module_is_the_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "dock", "info", str(tmp_path)],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (DockError("a sentence"), 2, "a sentence"),
        (ConvergenceError("no convergence"), 4, "no convergence"),
        (DependencyError("pip install x"), 3, "pip install x"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 999), 2, "File name too long"),
        (OSError("something odd"), 2, "something odd"),
        (MemoryError("12 GiB"), 2, "not enough memory (12 GiB)"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.exceptions.Abort(), 130, "interrupted"),
    ],
)
def test_errors_end_as_sentences(monkeypatch, error, code, words):
    import dock.converters

    def fail(*_):
        raise error

    monkeypatch.setattr(dock.converters, "resolve", fail)
    answer = samples.cli("info", ".")
    samples.refused(answer, words, code=code)
    assert len(answer.err) < 400


def test_a_fault_of_our_own_is_one_line_and_can_be_shown(monkeypatch):
    import dock.converters

    def fail(*_):
        raise TypeError("no\nsuch thing")

    monkeypatch.setattr(dock.converters, "resolve", fail)
    answer = samples.cli("info", ".", "--json")
    samples.refused(answer, "TypeError: no such thing", "report", "DOCK_TRACEBACK", code=70)
    assert answer.err.count("\n") == 1
    assert json.loads(answer.out) == {"error": answer.err[6:-1], "exit_code": 70}
    monkeypatch.setenv("DOCK_TRACEBACK", "1")
    with pytest.raises(TypeError):
        samples.cli("info", ".")


def test_errors_are_objects_with_json(tmp_path):
    for words in (("info", tmp_path, "--json"), ("bands", "--nonsense", "--json")):
        answer = samples.cli(*words)
        found = json.loads(answer.out)
        assert found["exit_code"] == answer.code == 2
        assert found["error"] in answer.err


INTERRUPTED = """
import ctypes, os, signal, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
from dock.cli import main
import dock.converters

def hang(*_):
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    mutex = ctypes.create_string_buffer(128)
    for _ in range(2):  # the second waits for ever, and goes on waiting after a signal
        ctypes.CDLL(None).pthread_mutex_lock(mutex)

dock.converters.resolve = hang
main(["info", "."])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the mutex is that of Linux")
def test_ctrl_c_ends_compiled_code():
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, check=False, text=True, timeout=60
    )
    assert done.returncode == 130
    assert done.stderr == "dock: interrupted\n"


def test_notes_of_an_error_are_shown(monkeypatch):
    import dock.converters

    error = UsageError("first")
    error.add_note("second")

    def fail(*_):
        raise error

    monkeypatch.setattr(dock.converters, "resolve", fail)
    assert samples.cli("info", ".").err == "dock: first\nsecond\n"


def test_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m dock formats --json; echo $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({command}) | head -c 1"], capture_output=True, check=False, text=True
    )
    assert done.stderr in ("0\n", "1\n")  # and nothing else


@pytest.mark.parametrize("name", ["x" * 5000, "no\nline", "ü", "-"])
def test_strange_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    samples.refused(samples.cli("info", name))
    if name != "-":
        samples.refused(samples.cli("convert", name))


class TestParts:
    def test_shard(self):
        assert parse_shard(None) is None
        assert parse_shard("3/8") == (3, 8)
        for text in ("8/8", "1", "a/b", "1/", "-1/2", "²/3", "0/0"):
            with pytest.raises(UsageError, match="--shard"):
                parse_shard(text)

    def test_settings(self):
        assert parse_settings(["a=1", "b = x=y"]) == {"a": "1", "b": "x=y"}
        for text in ("a", "=1", ""):
            with pytest.raises(UsageError, match="name=value"):
                parse_settings([text])

    def test_table(self):
        assert table([]) == ""
        assert table([["a", "b"]], ["first", "x"]) == "first  x\n-----  -\na      b"

    def test_progress(self, capsys, monkeypatch):
        import time

        clock = iter(range(0, 3000, 3))
        monkeypatch.setattr(time, "monotonic", lambda: next(clock))
        bar = Bar("runs", quiet=False)
        for done in range(1, 41):
            bar(done, 40)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 20
        assert lines[0].startswith("2/40 runs, about")
        assert lines[-1].startswith("40/40 runs")
        for total, quiet in ((40, True), (1, False)):
            Bar("runs", quiet=quiet)(total, total)
        assert capsys.readouterr() == ("", "")
        bar = Bar("runs", quiet=False)
        bar.terminal = True
        bar(2, 2, ", all well")
        assert "█" * 24 + " 2/2 runs, all well" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["formats"],
        ["info", "x"],
        ["check", "x"],
        ["diff", "x", "x"],
        ["convert", "run", "-o", "y"],
        ["convert", "run", "-o", "z", "--dry-run"],
        ["bands", "x", "--path", "LG", "--points", "3"],
    ],
)
def test_json_lines(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    samples.unified(Path("x"))
    samples.run_folder(Path("run"))
    answer = samples.cli(*arguments, "--json")
    assert answer.code == 0, answer
    lines = answer.out.splitlines()
    assert lines
    for line in lines:
        assert isinstance(json.loads(line, parse_constant=pytest.fail), dict)
