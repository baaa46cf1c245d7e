"""Run a command in a process of its own and say what it cost."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """Cost of one process and its children: seconds of wall and CPU, peak resident MB."""

    wall: float
    cpu: float
    peak_mb: float
    output: str

    def __str__(self) -> str:
        return f"{self.wall:7.2f} s wall {self.cpu:7.2f} s CPU {self.peak_mb:8.0f} MB"


_LAUNCHER = """
import os, sys, time
begin = time.perf_counter()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
wall = time.perf_counter() - begin
figures = wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, os.waitstatus_to_exitcode(status)
os.write(int(sys.argv[1]), " ".join(map(repr, figures)).encode())
"""
"""Small process between this one and the command: the system counts the memory that a process had
before it became the command, which is that of the process it was forked from."""


def run(command: Sequence[str | Path], *, cwd: Path | None = None, threads: int | None = 1) -> Cost:
    """Run a command and measure it with ``wait4``; a failure ends the benchmark."""
    environment = dict(os.environ)
    if threads is not None:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = str(threads)
    words = [str(word) for word in command]
    read_end, write_end = os.pipe()
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(write_end), *words],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=(write_end,),
        check=False,
    )
    os.close(write_end)
    with os.fdopen(read_end, encoding="ascii") as report:
        wall, cpu, peak, code = map(float, report.read().split() or [0.0, 0.0, 0.0, 127.0])
    if code:
        sys.exit(f"{' '.join(words)}\nended with {code:.0f}:\n{done.stdout}")
    return Cost(wall, cpu, peak / 1024, done.stdout)


def best(command: Sequence[str | Path], repeats: int, **options: object) -> Cost:
    """Return the run with the least CPU time of several."""
    return min((run(command, **options) for _ in range(repeats)), key=lambda cost: cost.cpu)


def machine() -> str:
    """Return processor, cores and versions in one line."""
    import numpy as np
    import scipy as sp

    from dock.threads import available_cpus

    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    cores = available_cpus()
    versions = f"Python {platform.python_version()}, numpy {np.__version__}"
    return f"{model}, {cores} cores, {versions}, scipy {sp.__version__}"
