"""A band structure that is killed at random times, against one that is left alone.

    python benchmarks/killed_bands.py FOLDER [--kills 10] [--points 8] [--states 12] [--solver auto]

FOLDER is a unified folder, such as that of a twisted cell. A run is killed (SIGKILL) and started
again as often as asked, each time after a random part of the time that a run takes; then it is left
to its end. Prints how many k-points each run found done, and whether the result is the same to the
last bit. One thread: set by this script.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}


def command(options: argparse.Namespace, output: Path) -> list[str]:
    words = ["bands", options.folder, "--path", "GMKG", "--points", options.points, "-q", "-j", 1]
    words += ["--states", options.states, "--fermi", options.fermi, "--solver", options.solver]
    return [sys.executable, "-m", "dock", *map(str, [*words, "-o", output])]


def start(words: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, env=os.environ | ONE_THREAD, stdout=subprocess.DEVNULL)


def records(folder: Path) -> int:
    """Return how many bytes are kept."""
    return sum(file.stat().st_size for file in folder.glob("*")) if folder.is_dir() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--points", type=int, default=8)
    parser.add_argument("--states", type=int, default=12)
    parser.add_argument("--fermi", type=float, default=-4.03)
    parser.add_argument("--solver", default="auto")
    options = parser.parse_args()
    chance = random.Random(20261130)  # noqa: S311
    with tempfile.TemporaryDirectory() as place:
        plain, killed = Path(place) / "plain.h5", Path(place) / "killed.h5"
        begin = time.perf_counter()
        assert start(command(options, plain)).wait() == 0
        whole = time.perf_counter() - begin
        print(f"undisturbed: {whole:.1f} s")
        store = killed.with_name(f".{killed.name}.kept")
        for number in range(options.kills):
            process = start(command(options, killed))
            wait = chance.uniform(0.1, 0.5) * whole
            try:
                process.wait(wait)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            ended = process.wait()
            print(f"kill {number + 1}: after {wait:.1f} s, {ended}, {records(store)} bytes kept")
            if killed.exists():
                print("the result was there: it is started again")
                killed.unlink()
                shutil.rmtree(store, ignore_errors=True)
        begin = time.perf_counter()
        assert start(command(options, killed)).wait() == 0
        print(f"left alone: {time.perf_counter() - begin:.1f} s")
        with h5py.File(plain) as one, h5py.File(killed) as other:
            first, second = one["band_data"][()], other["band_data"][()]
        same = np.array_equal(first, second, equal_nan=True)
        print(f"same to the last bit: {same}; largest difference {np.nanmax(abs(first - second))}")
        assert same


if __name__ == "__main__":
    main()
