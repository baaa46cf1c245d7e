"""``dock`` in processes of its own that need not import anything: forks of one that has.

A start of ``dock train`` is mostly imports. `Nursery` imports all of it once, without computing
anything (JAX must not have begun when a process forks), and has children run the commands.

The script itself reads lines of JSON, ``{"words", "env", "said"}``, forks for each, and answers
with the child's id; to the line of an id it answers, once that child has ended, with how it ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path


class Nursery:
    """Starts commands; a context manager."""

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory()
        self._said = {}
        self._parent = subprocess.Popen(
            [sys.executable, "-B", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self

    def __exit__(self, *_):
        self._parent.stdin.close()
        self._parent.wait()
        self._parent.stdout.close()
        self._folder.cleanup()

    def start(self, *words, **env):
        """Start ``dock`` with words and variables; return the process id."""
        said = Path(self._folder.name) / str(len(self._said))
        pid = self._ask({"words": [str(x) for x in words], "env": env, "said": str(said)})
        self._said[pid] = said
        return pid

    def wait(self, pid):
        """Return how a process ended (minus the signal that ended it) and what it said."""
        return self._ask(pid), self._said[pid].read_text()

    def run(self, *words, **env):
        """Run a command that must end well."""
        code, said = self.wait(self.start(*words, **env))
        assert code == 0, said

    def _ask(self, line):
        self._parent.stdin.write(json.dumps(line) + "\n")
        self._parent.stdin.flush()
        return json.loads(self._parent.stdout.readline())


def main() -> None:
    """Import what a training needs, then answer the lines of stdin."""
    import dock.cli.train
    import dock.converters.deeph.folder
    import dock.models.network.backend
    import dock.models.network.training.run  # noqa: F401

    sys.modules["matplotlib.figure"] = None  # as if it were not installed: figures take a while
    for line in sys.stdin:
        order = json.loads(line)
        if isinstance(order, int):
            answer = os.waitstatus_to_exitcode(os.waitpid(order, 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                child(order)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def child(order) -> None:
    """Run one command and end."""
    from dock.cli import _run

    os.environ.update(order["env"])
    said = os.open(order["said"], os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(said, stream)
    code = 70
    try:
        sys.argv = ["dock", *order["words"]]
        code = _run(order["words"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
