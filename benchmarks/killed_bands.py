"""A band structure that is killed at random times, against one that is left alone.

    python benchmarks/killed_bands.py FOLDER [--kills 10] [--path GMKG] [--points 8]
        [--states 12] [--fermi -4.03] [--solver auto]

FOLDER is a unified folder, such as that of a twisted cell. A run is killed (SIGKILL) and started
again as often as asked, each time when it has done a random number of k-points more; then it is
left to its end. Prints how much each run kept, and whether the result is the same to the last
bit. One thread: set by this script.
"""

from __future__ import annotations

import argparse
import os
import random
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
    words = [
        "bands",
        options.folder,
        "--path",
        options.path,
        "--points",
        options.points,
        "-q",
        "-j",
        1,
    ]
    words += ["--states", options.states, "--fermi", options.fermi, "--solver", options.solver]
    return [sys.executable, "-m", "dock", *map(str, [*words, "-o", output])]


def start(words: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, env=os.environ | ONE_THREAD, stdout=subprocess.DEVNULL)


def timed(words: list[str]) -> float:
    begin = time.perf_counter()
    assert start(words).wait() == 0
    return time.perf_counter() - begin


def kept(result: Path) -> int:
    """Return how many bytes are kept beside a result."""
    store = result.with_name(f".{result.name}.kept")
    return sum(file.stat().st_size for file in store.glob("*")) if store.is_dir() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--points", type=int, default=8)
    parser.add_argument("--states", type=int, default=12)
    parser.add_argument("--fermi", type=float, default=-4.03)
    parser.add_argument("--path", default="GMKG")
    parser.add_argument("--solver", default="auto")
    options = parser.parse_args()
    chance = random.Random(20261130)  # noqa: S311
    with tempfile.TemporaryDirectory() as place:
        plain, killed = Path(place) / "plain.h5", Path(place) / "killed.h5"
        whole = timed([*command(options, plain), "--keep"])
        total = kept(plain)
        print(f"undisturbed: {whole:.1f} s, {total} bytes kept")
        assert total, "all was done within a second: give more --points"
        for number in range(options.kills):
            # A run writes first when it is a second old: the kill comes some k-points later.
            limit = kept(killed) + chance.uniform(0.01, 0.6) * total / options.kills
            process = start(command(options, killed))
            while process.poll() is None and kept(killed) < limit:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            ended = process.wait()
            print(f"kill {number + 1}: {ended}, {kept(killed) / total:.0%} kept")
            assert ended == -signal.SIGKILL, "it came to its end: give more --points"
        print(f"left alone: {timed(command(options, killed)):.1f} s")
        with h5py.File(plain) as one, h5py.File(killed) as other:
            first, second = one["band_data"][()], other["band_data"][()]
        same = np.array_equal(first, second, equal_nan=True)
        print(f"same to the last bit: {same}; largest difference {np.nanmax(abs(first - second))}")
        assert same


if __name__ == "__main__":
    main()
