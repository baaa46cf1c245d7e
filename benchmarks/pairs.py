"""Time two checkouts against each other with the benchmarks' commands: old, new, old, new.

    python benchmarks/pairs.py OLD_CHECKOUT NEW_CHECKOUT [--shared FOLDER] [--pairs 5] [--only WORD]

Every command runs as a process of its own with one thread, each version with its own cache of
compiled code, after one run that is not counted. A row gives the medians of CPU seconds and peak MB
and the median of the ratios new/old pair by pair, which hold where the machine's speed drifts.
``--shared`` is the folder of reference data; rows whose data are not there are said to be skipped.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from _measure import machine, run

ROOT = Path(__file__).resolve().parents[1]
PSI = """
import dock
try:
    from dock.grid.grid import make_grid
except ImportError:  # the old version's place
    from dock.post.grid import make_grid
from dock.post.wavefunction import coefficients, states_on_grid
calc = dock.read({run!r}, basis={basis!r})
found = coefficients(calc, [[0.25, 0.13, 0.0]], bands=[round(calc.n_electrons) // 2 - 1])
for _ in range(3):
    states_on_grid(found, make_grid(calc.structure, (80, 80, 80)), jobs=1)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    print(f"machine: {machine()}, medians of {options.pairs} pairs")
    print(f"{'':44}{'CPU s':>8}{'':8}{'':8}{'MB':>8}")
    print(f"{'':44}{'old':>8}{'new':>8}{'new/old':>8}{'old':>8}{'new':>8}{'new/old':>8}")
    with tempfile.TemporaryDirectory() as name:
        for label, words in commands(options.shared.resolve(), Path(name)):
            if options.only in label:
                row(label, words, options, Path(name))


def commands(shared: Path, scratch: Path) -> Iterator[tuple[str, list[str | Path]]]:
    """Yield a name and the words of each command; ``OUT`` stands for a fresh name."""
    dock: list[str | Path] = ["-m", "dock"]
    mote2, openmx = shared / "public/deeph/MoTe2", shared / "fixtures/openmx"
    one: list[str | Path] = ["-j", "1", "-q", "-o", "OUT"]
    level: list[str | Path] = [*one[:-1], "OUT.json"]
    curve: list[str | Path] = [*one[:-1], "OUT.h5"]
    yield "help", [*dock, "--help"]
    small: list[str | Path] = [ROOT / "fixtures/unified/si", "-j", "1", "-q", "-o"]
    coarse = ["--mesh", "4", "4", "4"]
    yield "bands of Si, 213 k", [*dock, "bands", *small, "OUT.h5"]
    yield "fermi of Si, 4³", [*dock, "fermi", *small, "OUT.json", *coarse]
    yield "dos of Si, 4³", [*dock, "dos", *small, "OUT.h5", *coarse, "--smearing", "gaussian"]
    yield "convert 32 OpenMX runs", [*dock, "convert", openmx, "--from", "openmx", *one]
    for code, folder in (("siesta", "siesta/Si"), ("abacus", "abacus/MoS2"), ("aims", "aims/Si")):
        source = shared / "public" / folder
        if source.is_dir():
            yield f"convert {folder}", [*dock, "convert", source, "--from", code, *one]
    yield "bands MoTe2, 140 k", [*dock, "bands", mote2, "--path", mote2 / "K_PATH", *one]
    for size in ("41", "68"):
        for kind in ("point-group", "none"):
            mesh = ["--mesh", size, size, "1", "--symmetry", kind]
            yield f"fermi MoTe2 {size}², {kind}", [*dock, "fermi", mote2, *mesh, *level]
    window = ["--window", "-5", "5", "--step", "0.05", "--mesh", "41", "41", "1"]
    for method in (["gaussian", "--width", "0.0978"], ["tetrahedra"]):
        for kind in ("point-group", "none"):
            words = [
                *dock,
                "dos",
                mote2,
                *window,
                "--smearing",
                *method,
                "--symmetry",
                kind,
                *curve,
            ]
            yield f"dos MoTe2 41², {method[0]}, {kind}", words
    silicon = ["--mesh", "8", "8", "8", "--smearing", "gaussian", "--width", "0.1"]
    yield "dos Si 8³, gaussian", [*dock, "dos", ROOT / "fixtures/unified/si", *silicon, *curve]
    psi = PSI.format(
        run=str(ROOT / "fixtures/openmx/mos2"), basis=str(shared / "public/openmx/pao")
    )
    yield "state of MoS2 on 80³ points", ["-c", psi]
    yield from _twisted(scratch, one)
    data = shared / "public/qe/si_projection"
    if (data / "si.save").is_dir():
        source = [data / "si.save", "--from", "qe", "--basis", data / "aobasis"]
        source += [
            "--set",
            f"pseudo={data.parent / 'pseudo'}",
            "--set",
            "quality=none",
            "--potential",
            "vsc",
        ]
        yield "convert QE silicon, VSC", [*dock, "convert", *source, "-o", "OUT", "-q"]
    yield "poles, sheets to 400 atoms", ["SCRIPT/pole_expansion.py", "--largest", "400"]
    yield (
        "network, 1,000 steps' start",
        ["SCRIPT/models.py", "molecules", "--data", ROOT / "fixtures/water"],
    )


def _twisted(scratch: Path, one: list[str | Path]) -> Iterator[tuple[str, list[str | Path]]]:
    """Yield overlaps of twisted graphene, whose structures are written with the new version."""
    basis = ROOT / "fixtures/siesta/graphene"
    sys.path.insert(0, str(ROOT))
    from overlap import COMMAND, bilayer

    for m in (1, 30):
        poscar, n_atoms = bilayer(scratch, m)
        yield f"overlap, {n_atoms} atoms", ["-c", COMMAND, poscar, "--basis", basis, *one]


def row(label: str, words: list[str | Path], options: argparse.Namespace, scratch: Path) -> None:
    """Measure one command in pairs and print its row."""
    costs: dict[str, list[tuple[float, float]]] = {"old": [], "new": []}
    for count in range(-1, options.pairs):
        for version, checkout in (("old", options.old), ("new", options.new)):
            os.environ["PYTHONPATH"] = str(checkout.resolve())
            for name in ("NUMBA_CACHE_DIR", "DOCK_JAX_CACHE"):
                os.environ[name] = str(scratch / f"{name}-{version}")
            with tempfile.TemporaryDirectory() as place:
                swap = {"OUT": f"{place}/result", "SCRIPT": str(checkout.resolve() / "benchmarks")}
                command = [_filled(word, swap) for word in words]
                cost = run([sys.executable, *command], cwd=Path(place))
            if count >= 0:
                costs[version].append((cost.cpu, cost.peak_mb))
    text = f"{label:44}"
    for figure in (0, 1):
        old, new = ([cost[figure] for cost in costs[version]] for version in ("old", "new"))
        ratio = statistics.median(b / a for a, b in zip(old, new, strict=True))
        shape = ".2f" if figure == 0 else ".0f"
        text += f"{statistics.median(old):8{shape}}{statistics.median(new):8{shape}}{ratio:8.2f}"
    print(text, flush=True)


def _filled(word: str | Path, swap: dict[str, str]) -> str:
    text = str(word)
    for mark, value in swap.items():
        text = value if text == mark else re.sub(rf"\b{mark}(?=[/.])", value, text)
    return text


if __name__ == "__main__":
    main()
