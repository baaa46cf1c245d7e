"""Overlap of twisted bilayer graphene, 28 to 100,468 atoms, with HPRO beside us where it can run.

    python benchmarks/overlap.py --basis FOLDER [--hpro PYTHON] [--m 1 5 10 20 30] [--huge]
    python benchmarks/overlap.py --basis FOLDER --rotation

``--basis`` is a folder with SIESTA's C.ion.xml or C.ion.nc (DZP), ``--hpro`` the Python of an
environment that holds HPRO (PyPI ``hpro``), ``--huge`` adds 100,468 atoms with the integrals going
nowhere, ``--scratch`` the folder for the files (1 GB at m = 30). Each process is measured alone, on
one core unless it says two; the lines of one size come from one run of this script. Integrals are
the best of three passes up to 20,000 atoms. ``--rotation`` times Gaunt sums and Wigner matrices.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _measure import machine, run

COMMAND = "from dock.cli.overlap import compute_overlap; compute_overlap()"
HPRO = """
import json, os, resource, sys, time
from HPRO.io.struio import from_poscar
from HPRO.io.aodata import AOData
from HPRO.v2h.twocenter import calc_overlap
from HPRO.io.deephio import save_mat_deeph
def now():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, time.perf_counter()
structure = from_poscar(open(sys.argv[1]))
basis = AOData(structure, basis_path_root=sys.argv[2], aocode="siesta")
begin = now(); S = calc_overlap(basis); middle = now()
os.makedirs(sys.argv[3], exist_ok=True); save_mat_deeph(sys.argv[3], S, "o"); end = now()
print("RESULT", json.dumps([middle[0] - begin[0], middle[1] - begin[1], end[1] - middle[1]]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--basis", type=Path, required=True)
    parser.add_argument("--hpro", default=os.environ.get("DOCK_HPRO"))
    parser.add_argument("--m", type=int, nargs="+", default=[1, 5, 10, 20, 30])
    parser.add_argument("--huge", action="store_true")
    parser.add_argument("--rotation", action="store_true")
    parser.add_argument("--scratch", type=Path, default=None)
    parser.add_argument("--figure", type=Path, help="draw the CPU times over the number of atoms")
    parser.add_argument("--phases", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.phases is not None:
        phases(options.phases, options.basis)
        return
    print(f"machine: {machine()}")
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        folder = Path(name)
        if options.rotation:
            rotation(folder, options.basis, max(options.m))
            return
        first_call(folder, options.basis)
        if options.hpro:
            as_ion(options.basis, folder / "ions")
        sizes = [*options.m, *([91] if options.huge else [])]
        rows = [size(folder, m, options) for m in sizes]
    if options.figure is not None:
        draw(rows, options.figure)


def bilayer(folder: Path, m: int) -> tuple[Path, int]:
    """Write the POSCAR of the commensurate bilayer (m, m + 1)."""
    from dock.converters.deeph.poscar import format_poscar
    from dock.structures import commensurate_integers, hexagonal_layer, twisted_bilayer

    layer = hexagonal_layer("graphene")
    made = twisted_bilayer(layer, layer, commensurate_integers(m), distance=3.35)
    place = folder / f"m{m}"
    place.mkdir(exist_ok=True)
    (place / "POSCAR").write_text(format_poscar(made.structure))
    return place / "POSCAR", made.structure.n_atoms


def rotation(folder: Path, basis_folder: Path, m: int) -> None:
    """Time both ways from radial tables to blocks in the lab frame."""
    from _rotation import compare

    from dock.converters.basis_files import basis_for, read_basis_folder
    from dock.converters.deeph.poscar import read_poscar

    poscar, n_atoms = bilayer(folder, m)
    structure = read_poscar(poscar)
    basis = basis_for(structure, read_basis_folder(basis_folder))
    sums, turned, difference = compare(structure, basis)
    print(
        f"{n_atoms} atoms: Gaunt sums {sums:.3f} s CPU, Wigner matrices {turned:.3f} s CPU, "
        f"largest difference {difference:.0e}"
    )


def first_call(folder: Path, basis: Path) -> None:
    """Compare the smallest case with an empty and with a filled cache of compiled code."""
    poscar, _ = bilayer(folder, 1)
    os.environ["NUMBA_CACHE_DIR"] = str(folder / "numba")
    command = [sys.executable, "-c", COMMAND, poscar, "--basis", basis, "-j", "1", "-q"]
    for name in ("empty", "filled"):
        cost = run([*command, "-o", folder / f"cache-{name}"])
        print(f"28 atoms, {name:6} cache of compiled code     {cost}")


def size(folder: Path, m: int, options: argparse.Namespace) -> tuple[int, float, float | None]:
    """Measure one size: our phases, our command, HPRO; return atoms, our and HPRO's CPU time."""
    poscar, n_atoms = bilayer(folder, m)
    script = [sys.executable, __file__, "--basis", options.basis, "--phases", poscar]
    parts = json.loads(run(script).output.splitlines()[-1])
    print(f"\n{n_atoms} atoms, {parts['pairs']} pairs, {parts['gigabytes']:.3f} GB of float64")
    print(
        f"  integrals: {parts['cpu']:.2f} s CPU ({1e6 * parts['cpu'] / n_atoms:.0f} µs an atom), "
        f"wall {parts['wall']:.2f} s with one thread, {parts['wall2']:.2f} s with two"
    )
    print(f"  before them: pairs {parts['prepare']:.2f} s, radial tables {parts['tables']:.2f} s")
    ours, theirs = parts["cpu"] + parts["prepare"] + parts["tables"], None
    if m > 30:
        return n_atoms, ours, None
    command = [sys.executable, "-c", COMMAND, poscar, "--basis", options.basis, "-j", "1", "-q"]
    print(f"  whole command, written  {run([*command, '-o', folder / f'ours{m}'])}")
    if options.hpro:
        script = [options.hpro, "-c", HPRO, poscar, folder / "ions", folder / f"hpro{m}"]
        cost = run(script)
        line = next(text for text in cost.output.splitlines() if text.startswith("RESULT"))
        cpu, wall, write = json.loads(line.removeprefix("RESULT"))
        print(f"  HPRO, whole process     {cost}")
        print(f"  HPRO: integrals {cpu:.2f} s CPU, {wall:.2f} s wall; writing {write:.2f} s wall")
        print(f"  CPU of pairs, tables and integrals: HPRO / dock = {cpu / ours:.1f}")
        theirs = cpu
    subprocess.run(["rm", "-rf", folder / f"ours{m}", folder / f"hpro{m}"], check=True)
    return n_atoms, ours, theirs


def draw(rows: list[tuple[int, float, float | None]], path: Path) -> None:
    """Draw CPU time over atoms, both logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    axes.loglog([row[0] for row in rows], [row[1] for row in rows], "o-", label="dock")
    peer = [row for row in rows if row[2] is not None]
    if peer:
        axes.loglog([row[0] for row in peer], [row[2] for row in peer], "s--", label="HPRO")
    axes.set_xlabel("atoms of twisted bilayer graphene (DZP)")
    axes.set_ylabel("pairs, tables and integrals, CPU s")
    axes.grid(which="both", alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=160)


def phases(poscar: Path, folder: Path) -> None:
    """Time the parts of one computation; the blocks are computed and dropped."""
    from dock.converters.basis_files import basis_for, read_basis_folder
    from dock.converters.deeph.poscar import read_poscar
    from dock.overlap import Integrals

    structure = read_poscar(poscar)
    basis = basis_for(structure, read_basis_folder(folder))
    Integrals.prepare(structure.select([0, 1]), basis.select([0, 1])).matrix("overlap")
    begin = time.process_time()
    integrals = Integrals.prepare(structure, basis)
    prepared = time.process_time()
    repeats = 3 if structure.n_atoms < 20_000 else 1
    result = {"pairs": len(integrals.pairs), "prepare": prepared - begin}
    result["gigabytes"] = integrals.layout.n_entries * 8e-9
    result["tables"] = _tables(structure, basis)
    one = [_drop(integrals, 1) for _ in range(repeats)]
    two = [_drop(integrals, 2) for _ in range(repeats)]
    result |= {"cpu": min(one)[0], "wall": min(wall for _, wall in one)}
    result["wall2"] = min(wall for _, wall in two)
    print(json.dumps(result))


def _drop(integrals, jobs: int) -> tuple[float, float]:
    """Compute all entries and keep none; return CPU and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in integrals.slabs("overlap", jobs=jobs):
        pass
    return time.process_time() - cpu, time.perf_counter() - wall


def _tables(structure, basis) -> float:
    """Return the CPU time of the radial tables alone."""
    from dock.overlap.twocenter import make_plan, orbital_side

    begin = time.process_time()
    grid, side = orbital_side(basis)
    make_plan(structure, basis, (side, side), grid, kinetic=False)
    return time.process_time() - begin


def as_ion(folder: Path, target: Path) -> None:
    """Write C.ion, the text format that HPRO reads, from the basis file."""
    from dock.converters.siesta.ion import read_ion

    ion = read_ion(next(path for path in sorted(folder.glob("C.ion*"), reverse=True)))
    lines = ["<preamble>", " C ca nrl nc", "</preamble>", "C # Symbol", "C # Label"]
    lines += ["6 # Atomic number", "4.0 # Valence charge", "12.01 # Mass", "1.0 # Self energy"]
    lines += [f"2 {len(ion.orbitals)} # Lmax for basis, no. of nl orbitals"]
    lines += ["2 0 # Lmax for projectors, no. of nl KB projectors", "# PAOs:______"]
    for item in ion.orbitals:
        head = f"  {item.l}  {item.n}  {item.zeta}  {int(item.polarised)}  0.000000"
        lines.append(f"{head}   #orbital l, n, z, is_polarized, population")
        step = item.delta_bohr
        lines.append(
            f" {len(item.values)} {step:.16e} {item.cutoff_bohr:.15f} # npts, delta, cutoff"
        )
        lines += [f"  {k * step:.15e}  {value:.15e}" for k, value in enumerate(item.values)]
    target.mkdir()
    (target / "C.ion").write_text("\n".join([*lines, "# KBs:______"]) + "\n")


if __name__ == "__main__":
    main()
