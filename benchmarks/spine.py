"""Start-up, conversion, bands and large Bloch sums, with DeepH-dock beside us where it can run.

    python benchmarks/spine.py [--shared FOLDER] [--peer COMMAND] [--large]

``--shared`` is the folder of reference data, ``--peer`` the ``dock`` command of an environment
that holds DeepH-dock (PyPI ``deepx-dock``), ``--large`` adds the system of 11,164 atoms, which
needs 2.2 GB of disk and 7 GB of memory.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _measure import best, machine, run

ROOT = Path(__file__).resolve().parents[1]
DOCK = (sys.executable, "-m", "dock")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--peer", default=os.environ.get("DOCK_PEER"))
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--build-one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build_one is not None:
        build_one(options.build_one)
        return
    print(f"machine: {machine()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start_up()
        conversion(options.shared / "fixtures/openmx", folder)
        bands(options.shared / "public/deeph/MoTe2", folder, options.peer)
        if options.large:
            large(folder)


def start_up() -> None:
    print(f"dock --help                         {best([*DOCK, '--help'], 5)}")


def conversion(runs: Path, folder: Path) -> None:
    if not runs.is_dir():
        print(f"conversion: skipped, no {runs}")
        return
    files = sorted(runs.rglob("*.scfout"))
    size = sum(file.stat().st_size for file in files) / 2**20
    copies = folder / "copies"
    copies.mkdir()
    begin = time.perf_counter()
    for index, file in enumerate(files):
        shutil.copyfile(file, copies / f"{index}.scfout")
    copied = time.perf_counter() - begin
    cost = run([*DOCK, "convert", runs, "--from", "openmx", "-o", folder / "set", "-j", "1", "-q"])
    print(f"convert {len(files)} OpenMX runs, {size:.1f} MB     {cost}")
    print(
        f"  {size / cost.wall:.0f} MB/s with start-up; copying the files {size / copied:.0f} MB/s"
    )


def bands(source: Path, folder: Path, peer: str | None) -> None:
    if not source.is_dir():
        print(f"bands: skipped, no {source}")
        return
    ours = folder / "MoTe2"
    shutil.copytree(source, ours, copy_function=shutil.copyfile)
    ours.chmod(0o755)
    (ours / "reference").chmod(0o755)
    command = [*DOCK, "bands", ours, "--path", ours / "K_PATH", "-j", "1", "-q", "--overwrite"]
    print(f"MoTe2, 140 k-points: dock bands     {best(command, 5)}")
    if not peer:
        print("  DeepH-dock: skipped (give --peer or set DOCK_PEER)")
        return
    print(f"  DeepH-dock calc-band -p 1         {best(_peer(peer, ours, '1'), 5)}")
    print(f"  DeepH-dock calc-band              {best(_peer(peer, ours, '-1'), 5)}")


def _peer(peer: str, folder: Path, jobs: str) -> list[str | Path]:
    return [peer, "compute", "eigen", "calc-band", "-p", jobs, folder]


def large(folder: Path) -> None:
    """Write 11,164 atoms with 13 orbitals and 0.8 M blocks, then build one k-point of it."""
    target = folder / "large"
    write_large(target)
    size = sum((target / name).stat().st_size for name in ("hamiltonian.h5", "overlap.h5"))
    for _ in range(2):  # the second run has the compiled kernels in their cache
        cost = run([sys.executable, __file__, "--build-one", target])
    print(f"11,164 atoms: read, H(k), S(k)      {cost}")
    ratio = cost.peak_mb / (size / 2**20)
    print(f"  both files {size / 2**20:.0f} MB; peak memory {ratio:.2f} times that")
    print("".join(f"  {line}\n" for line in cost.output.splitlines()), end="")


def write_large(target: Path) -> None:
    """Write a double layer of 11,164 atoms; entries fall off with the distance."""
    import dock
    from dock.converters import WriteOptions, write

    structure, pairs = _double_layer()
    basis = dock.Basis.from_ls({"C": [0, 0, 1, 1, 2]}, structure.labels)
    vectors = structure.positions[pairs.j] + pairs.R @ structure.cell - structure.positions[pairs.i]
    distance = np.linalg.norm(vectors, axis=1)
    shape = np.random.default_rng(1).normal(size=(13, 13))
    block = 0.01 * (shape + shape.T)
    entries = (np.exp(-distance)[:, None, None] * block).reshape(1, -1)
    make = (structure, basis, pairs, dock.Spin.NONE, entries)
    hamiltonian = dock.AOMatrix("hamiltonian", *make)
    overlap = dock.AOMatrix("overlap", *make)
    matrices = {"hamiltonian": hamiltonian, "overlap": overlap}
    calc = dock.Calculation(structure, basis, dock.Spin.NONE, matrices, 0.0, 4.0 * 11164)
    write(calc, target, options=WriteOptions())
    print(f"wrote {len(pairs)} blocks, {entries.size} entries for each of two matrices")


def _double_layer() -> tuple:
    import vesin

    import dock

    n, bond = 2791, 1.42
    columns = 53
    index = np.arange(columns * columns)[:n]
    a = np.array([[1.5 * bond, -np.sqrt(3) / 2 * bond], [1.5 * bond, np.sqrt(3) / 2 * bond]])
    corner = np.stack([index // columns, index % columns], axis=1) @ a
    layer = np.concatenate([corner, corner + np.array([bond, 0.0])])
    positions = np.concatenate([np.c_[layer, np.zeros(2 * n)], np.c_[layer, np.full(2 * n, 3.35)]])
    cell = np.zeros((3, 3))
    cell[:2, :2], cell[2, 2] = a * columns, 30.0
    structure = dock.Structure(cell, positions, np.full(len(positions), 6))
    finder = vesin.NeighborList(cutoff=5.75, full_list=True)
    i, j, shifts = finder.compute(points=positions, box=cell, periodic=True, quantities="ijS")
    atoms = np.arange(len(positions))
    pairs = dock.Pairs(
        np.concatenate([np.zeros((len(atoms), 3), dtype=int), shifts]),
        np.concatenate([atoms, i]),
        np.concatenate([atoms, j]),
        len(positions),
    )
    return structure, pairs


def build_one(folder: Path) -> None:
    """Read one folder and build H(k) and S(k) at one general k-point; print the times."""
    import dock
    from dock.core.kspace import KBuilder

    begin = time.perf_counter()
    calc = dock.read(folder)
    hamiltonian, overlap = calc.hamiltonian, calc.overlap
    print(f"read both files        {time.perf_counter() - begin:6.2f} s")
    for name, matrix in (("H", hamiltonian), ("S", overlap)):
        begin = time.perf_counter()
        builder = KBuilder(matrix)
        first = builder.sparse([0.1, 0.2, 0.0])
        middle = time.perf_counter()
        del first
        again = builder.sparse([0.3, 0.1, 0.0])
        print(
            f"{name}(k): first k with pattern {middle - begin:6.2f} s, each further k "
            f"{time.perf_counter() - middle:6.2f} s, {again.nnz} stored (upper triangle)"
        )
        del again, builder


if __name__ == "__main__":
    main()
