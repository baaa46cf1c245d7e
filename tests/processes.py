"""``dock`` in processes of its own that need not import anything: forks of one that has.

A start of ``dock`` is mostly imports. `Nursery` imports all of it once, without computing anything
(JAX must not have begun when a process forks), and has children run the commands: each a process
of its own, with its own memory, folder, environment and end, which can be killed like any other.
`Nursery.program` is for shells: a program that has its words run by such a child.

The script itself listens at a socket. Each connection brings a line of JSON, ``{"words", "cwd",
"env", "path", "group"}``, and what are to be stdin, stdout and stderr; it answers with the child's
id, and once that child has ended, with how it ended.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

TRAINING = (
    "h5py",
    "dock.cli.train",
    "dock.converters.deeph",
    "dock.models.network.backend",
    "dock.models.network.training.run",
)
"""What a training imports."""

CONVERSION = (
    "h5py",
    "dock.cli.convert",
    "dock.converters.batch",
    *(f"dock.converters.{name}" for name in ("deeph", "openmx", "siesta")),
)
"""What a conversion from those codes imports."""

COMMANDS = (
    *TRAINING,
    *CONVERSION,
    *(f"dock.converters.{name}" for name in ("abacus", "aims", "deeph_legacy", "pyscf", "qe")),
    *(f"dock.cli.{name}" for name in ("bands", "build", "dataset", "density_matrix", "dos")),
    *(f"dock.cli.{name}" for name in ("equivariance", "evaluate", "fermi", "infer", "inspect")),
    *(f"dock.cli.{name}" for name in ("model", "overlap", "populations", "unfold")),
    *(f"dock.{name}" for name in ("evaluate", "grid", "overlap", "planewave.format", "post")),
    *("numba", "scipy.io", "scipy.linalg", "scipy.sparse.linalg", "numpy.polynomial"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg"),
)
"""What most commands import."""

PROGRAM = """\
#!{python} -IS
import json, os, socket, sys

order = {{"words": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}}
with socket.socket(socket.AF_UNIX) as door:
    door.connect({address!r})
    socket.send_fds(door, [json.dumps(order).encode() + b"\\n"], [0, 1, 2])
    code = int(door.makefile().read().split()[1])
sys.exit(code if code >= 0 else 128 - code)
"""


STREAMS = ("stdin", "stdout", "stderr")


class Child:
    """A command that a nursery started; what `subprocess.Popen` calls so is the same here."""

    def __init__(self, door: socket.socket, out: Path, err: Path):
        self.door, self._out, self._err = door, out, err
        self.pid = int(self._line())

    def poll(self):
        """Return None while it runs."""
        return True if select.select([self.door], [], [], 0)[0] else None

    def end(self):
        """Wait; return how it ended (minus the signal that ended it) and what it said."""
        self.returncode = int(self._line())
        self.door.close()
        self.stdout, self.stderr = self._out.read_text(), self._err.read_text()
        return self.returncode, self.stdout + self.stderr

    def _line(self):
        text = b""
        while not text.endswith(b"\n"):
            byte = self.door.recv(1)
            assert byte, "the nursery has ended"
            text += byte
        return text


class Nursery:
    """Starts commands; a context manager.

    Parameters
    ----------
    modules
        What is imported beforehand.
    absent
        Modules that shall be as if they were not installed.
    """

    def __init__(self, modules: Sequence[str], absent: Sequence[str] = ()):
        self._words = [*modules, *(f"-{name}" for name in absent)]

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory()
        self._address = str(Path(self._folder.name) / "door")
        self._children = []
        self._parent = subprocess.Popen(
            [sys.executable, "-B", __file__, self._address, *self._words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._parent.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_):
        for child in self._children:  # also those that a failed test did not wait for
            child.door.close()
        self._parent.stdin.close()
        self._parent.wait()
        self._parent.stdout.close()
        self._folder.cleanup()

    def start(self, *words, cwd=None, path=(), group=False, **env):
        """Start ``dock`` with words and variables; return the child.

        It finds modules in the folders `path`, too; with `group` it leads a group of processes.
        """
        number, folder = len(self._children), Path(self._folder.name)
        out, err = (folder / f"{number}.{name}" for name in ("out", "err"))
        order = {
            "words": [str(x) for x in words],
            "cwd": str(cwd or Path.cwd()),
            "env": os.environ | env,
            "path": [str(x) for x in path],
            "group": group,
        }
        door = socket.socket(socket.AF_UNIX)
        door.connect(self._address)
        with Path(os.devnull).open("rb") as nothing, out.open("wb") as one, err.open("wb") as two:
            line = json.dumps(order).encode() + b"\n"
            socket.send_fds(door, [line], [file.fileno() for file in (nothing, one, two)])
        self._children.append(Child(door, out, err))
        return self._children[-1]

    def run(self, *words, **env):
        """Run a command that must end well."""
        code, said = self.start(*words, **env).end()
        assert code == 0, said

    def program(self, file: Path) -> None:
        """Write a program whose words, folder, variables and streams a child takes over."""
        file.write_text(PROGRAM.format(python=sys.executable, address=self._address))
        file.chmod(file.stat().st_mode | stat.S_IXUSR)


def main(address: str, *modules: str) -> None:
    """Import the modules, then serve until stdin is closed."""
    from dock.models.network.environment import prepare_process

    prepare_process("cpu")  # what JAX reads when it is imported
    for name in modules:
        if not name.startswith("-"):
            importlib.import_module(name)
    for name in modules:
        if name.startswith("-"):
            sys.modules[name[1:]] = None
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            door, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                watch(door)
            door.close()
            reap(os.WNOHANG)
    reap(0)


def reap(options: int) -> None:
    """Take note of children that ended, so that the time they took is known."""
    try:
        while os.waitpid(-1, options)[0]:
            pass
    except ChildProcessError:
        pass


def watch(door: socket.socket) -> None:
    """Fork the child of a connection and answer with its id and with how it ends."""
    text, streams = b"", []
    while not text.endswith(b"\n"):
        part, files, _, _ = socket.recv_fds(door, 2**16, 3)
        text, streams = text + part, streams + files
    order = json.loads(text)
    pid = os.fork()
    if pid == 0:
        door.close()
        child(order, streams)
    for file in streams:
        os.close(file)
    try:
        door.sendall(f"{pid}\n".encode())
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        door.sendall(f"{code}\n".encode())
    except BrokenPipeError:  # nobody waits for the answer any more
        pass
    os._exit(0)


def child(order, streams) -> None:
    """Run one command and end."""
    from dock.cli import main as run

    code = 70
    try:
        if order.get("group"):
            os.setsid()
        for number, (name, file) in enumerate(zip(STREAMS, streams, strict=True)):
            os.dup2(file, number)
            os.close(file)
            # Anew: Python keeps in mind whether a stream can seek, and these are others now.
            setattr(sys, name, os.fdopen(number, "w" if number else "r", 1 if number == 2 else -1))
        os.chdir(order["cwd"])
        os.environ.clear()
        os.environ.update(order["env"])
        sys.path[:0] = order.get("path", [])
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        sys.argv = ["dock", *order["words"]]
        run(order["words"])
    except SystemExit as end:
        code = end.code or 0
    except BaseException:  # noqa: BLE001 - whoever waits must read it, as of any program
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
