"""SIESTA, ABACUS and FHI-aims to the unified folder, with DeepH-dock beside us where it can run.

    python benchmarks/converters.py [--shared FOLDER] [--peer COMMAND] [--large] [--repeats N]

``--shared`` is the folder of reference data, ``--peer`` the ``dock`` command of an environment
that holds DeepH-dock (PyPI ``deepx-dock``), ``--large`` adds text files of more than 100 MB, which
are supercells written with dock's own writers. Both programs run with one process.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from _measure import Cost, best, machine, run

ROOT = Path(__file__).resolve().parents[1]
DOCK = (sys.executable, "-m", "dock")
# Name, folder below --shared, our format, the peer's command, copies, ratio of CPU times aimed at.
CASES = (
    ("SIESTA Si", "public/siesta/Si", "siesta", "siesta to-deeph", 1, 1.0),
    ("ABACUS MoS2", "public/abacus/MoS2", "abacus", "abacus to-deeph", 1, 1.0),
    ("FHI-aims Si", "public/aims/Si", "aims", "fhi-aims periodic-to-deeph", 1, 3.0),
    ("FHI-aims MoS2", "public/aims/MoS2", "aims", "fhi-aims periodic-to-deeph", 1, 3.0),
    ("16x SIESTA Si", "public/siesta/Si", "siesta", "siesta to-deeph", 16, 3.0),
    ("16x ABACUS MoS2", "public/abacus/MoS2", "abacus", "abacus to-deeph", 16, 3.0),
)
MEMORY_RATIO = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--peer", default=os.environ.get("DOCK_PEER"))
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # both programs keep their bytecode
    print(f"machine: {machine()}")
    for name, source, code, command, copies, aim in CASES:
        if not (options.shared / source).is_dir():
            print(f"{name}: skipped, no {options.shared / source}")
            continue
        with tempfile.TemporaryDirectory() as place:
            runs = copied(options.shared / source, Path(place) / "runs", copies)
            compare(
                name, runs, code, options.peer and (options.peer, command), aim, options.repeats
            )
    if options.large:
        for code, command in (
            ("abacus", "abacus to-deeph"),
            ("aims", "fhi-aims periodic-to-deeph"),
        ):
            with tempfile.TemporaryDirectory() as place:
                runs = Path(place) / "runs"
                size = write_large(runs / "large", code)
                name = f"{code} {size / 2**20:.0f} MB"
                compare(name, runs, code, options.peer and (options.peer, command), 5.0, 1)


def copied(source: Path, target: Path, copies: int) -> Path:
    """Copy a run as often as asked, without the reference conversion that lies in it."""
    for index in range(copies):
        shutil.copytree(
            source,
            target / f"{index:02d}",
            copy_function=shutil.copyfile,
            ignore=shutil.ignore_patterns("reference*", "README*"),
        )
    for folder in (target, *target.rglob("*")):
        if folder.is_dir():
            folder.chmod(0o755)
    return target


def compare(
    name: str, runs: Path, code: str, peer: tuple[str, str] | None, aim: float, repeats: int
) -> None:
    """Convert a folder of runs with both programs and print what it cost."""
    output = runs.parent / "ours"
    command = [*DOCK, "convert", runs, "--from", code, "-o", output, "-j", "1", "-q", "--overwrite"]
    run(command)  # the compiled kernels enter their cache
    ours = best(command, repeats)
    result = sum(file.stat().st_size for file in output.rglob("*.h5")) / 2**20
    print(f"{name:18s} dock       {ours}", flush=True)
    if peer is None:
        print("  DeepH-dock: skipped (give --peer or set DOCK_PEER)")
    else:
        theirs = best(
            [
                peer[0],
                "convert",
                *peer[1].split(),
                runs,
                runs.parent / "theirs",
                "-p",
                "1",
                "--force",
            ],
            repeats,
        )
        print(f"{'':18s} DeepH-dock {theirs}", flush=True)
        print(f"  CPU: {ratio(ours, theirs, aim)}")
    print(f"  result {result:.1f} MB, peak memory {ours.peak_mb / result:.2f} times that")


def ratio(ours: Cost, theirs: Cost, aim: float) -> str:
    found = theirs.cpu / ours.cpu
    return f"{found:.1f} times less (aim {aim:g}){'' if found >= aim else ' MISSED'}"


def write_large(target: Path, code: str) -> int:
    """Write a crystal of many atoms in a code's own text files; return their bytes."""
    from dock.converters import WriteOptions, write

    calc = crystal(4)
    files = write(calc, target, code, WriteOptions(quantities=("overlap", "hamiltonian")))
    if code == "aims":
        # The peer reads there how the matrices were written.
        (target / "control.in").write_text("output_rs_matrices plain\n")
    return sum(file.stat().st_size for file in files)


def crystal(n: int):
    """Return a supercell of silicon with n³ cubes of 8 atoms and 13 orbitals an atom."""
    import ase.build
    import vesin

    import dock
    from dock.core.structure import Structure

    atoms = ase.build.bulk("Si", cubic=True) * (n, n, n)
    structure = Structure.from_ase(atoms)
    finder = vesin.NeighborList(cutoff=8.0, full_list=True)
    i, j, shifts = finder.compute(
        points=structure.positions, box=structure.cell, periodic=True, quantities="ijS"
    )
    own = np.arange(structure.n_atoms)
    pairs = dock.Pairs(
        np.concatenate([np.zeros((len(own), 3), dtype=int), shifts]),
        np.concatenate([own, i]),
        np.concatenate([own, j]),
        structure.n_atoms,
    )
    basis = dock.Basis.from_ls({"Si": [0, 0, 1, 1, 2]}, structure.labels)
    vectors = structure.positions[pairs.j] + pairs.R @ structure.cell - structure.positions[pairs.i]
    fall = np.exp(-np.linalg.norm(vectors, axis=1))
    shape = np.random.default_rng(1).normal(size=(13, 13))
    block = 0.01 * (shape + shape.T)
    make = (structure, basis, pairs, dock.Spin.NONE)
    entries = (fall[:, None, None] * block).reshape(1, -1)
    onsite = (fall == 1.0)[:, None, None] * np.eye(13)
    overlap = (entries.reshape(-1, 13, 13) + onsite).reshape(1, -1)
    matrices = {
        "hamiltonian": dock.AOMatrix("hamiltonian", *make, entries),
        "overlap": dock.AOMatrix("overlap", *make, overlap),
    }
    return dock.Calculation(
        structure, basis, dock.Spin.NONE, matrices, 0.0, 4.0 * structure.n_atoms
    )


if __name__ == "__main__":
    main()
