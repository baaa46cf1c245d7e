"""Fermi level, density of states, a state on a grid and LAPACK's share, beside DeepH-dock.

    python benchmarks/post.py [--shared FOLDER] [--peer COMMAND]

``--shared`` is the folder of reference data, ``--peer`` the ``dock`` command of an environment
that holds DeepH-dock (PyPI ``deepx-dock``). Every process runs on one thread; the best of three.
DeepH-dock knows no electron count in its commands but that of ``info.json``, which both get.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from _measure import Cost, machine, run

ROOT = Path(__file__).resolve().parents[1]
DOCK = (sys.executable, "-m", "dock")
MESHES = {41: "0.05", 68: "0.03"}  # points along each axis, and DeepH-dock's density for them
# DeepH-dock's default for this mesh is a standard deviation of 0.069155515574047 eV.
PEER_WIDTH = 2**0.5 * 0.069155515574047
REPEATS = 3
SUPERCELL = (4, 4, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--peer", default=os.environ.get("DOCK_PEER"))
    parser.add_argument("--inside", choices=["psi", "lapack"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside is not None:
        {"psi": psi, "lapack": lapack_share}[options.inside](options.shared)
        return
    print(f"machine: {machine()}")
    source = options.shared / "public/deeph/MoTe2"
    if not source.is_dir():
        sys.exit(f"no {source}: give the folder of reference data with --shared")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "MoTe2"
        shutil.copytree(source, folder, copy_function=shutil.copyfile)
        for each in (folder, *(part for part in folder.iterdir() if part.is_dir())):
            each.chmod(0o755)
        print(f"{'MoTe2, 57 orbitals, 1 thread':42} {'time and peak memory':38} beside the peer")
        fermi(folder, options.peer)
        dos(folder, options.peer)
    for what in ("psi", "lapack"):
        cost = run([sys.executable, __file__, "--inside", what, "--shared", options.shared])
        print(cost.output, end="")


def fermi(folder: Path, peer: str | None) -> None:
    for size, density in MESHES.items():
        theirs = _peer(peer, folder, "find-fermi", "-d", density)
        for reduction in ("point-group", "none"):
            ours = _ours(folder, "fermi", size, "--symmetry", reduction)
            _row(f"Fermi level, {size}×{size}×1, symmetry {reduction}", ours, theirs)
        if theirs is not None:
            print(f"{'  DeepH-dock find-fermi -d ' + density:42} {theirs}")


def dos(folder: Path, peer: str | None) -> None:
    """Compare at DeepH-dock's settings: its window of −5 … 5 eV, d = 0.05, two numbers of energies.

    Its memory grows with the number of energies, ours does not.
    """
    for method, count in (("gaussian", 201), ("tetrahedron", 201), ("tetrahedron", 501)):
        options = ("-d", "0.05", "--method", method, "--num", str(count))
        theirs = _peer(peer, folder, "calc-dos", *options)
        if theirs is not None and method == "gaussian":
            difference = _difference_of_dos(folder)
        window = ("--window", "-5", "5", "--step", str(10 / (count - 1)))
        kind = ("--smearing", "gaussian", "--width", str(PEER_WIDTH))
        if method == "tetrahedron":
            kind = ("--smearing", "tetrahedra")
        for reduction in ("point-group", "none"):
            ours = _ours(folder, "dos", 41, *window, *kind, "--symmetry", reduction)
            _row(f"DOS, {method} × {count}, symmetry {reduction}", ours, theirs)
        if theirs is not None:
            print(f"{f'  DeepH-dock calc-dos, {method} × {count}':42} {theirs}")
            if method == "gaussian":
                print(f"  largest difference of the two densities of states: {difference:.1e}")


def _difference_of_dos(folder: Path) -> float:
    """Return the largest difference, states/eV, of DeepH-dock's DOS and ours without symmetry."""
    import h5py
    import numpy as np

    import dock
    from dock.post.density_of_states import dos as compute
    from dock.states.kmesh import make_mesh
    from dock.states.smearing import Smearing

    with h5py.File(folder / "dos.h5") as file:
        energies, values = file["energy"][()], file["dos_data"][()]
    calc = dock.read(folder)
    mesh = make_mesh(calc, (41, 41, 1), reduction="none")
    broadening = Smearing("gaussian", PEER_WIDTH)
    options = {"window": (-5, 5), "step": float(energies[1] - energies[0])}
    ours = compute(calc, mesh, method=broadening, average=False, **options)
    return float(np.abs(ours.total[0] - values).max())


def _ours(folder: Path, command: str, size: int, *options: str) -> Cost:
    """Measure one command of ours; results go beside the folder, so that nothing is cached."""
    costs = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as name:
            target = Path(name) / ("result.json" if command == "fermi" else "result.h5")
            mesh = ("--mesh", str(size), str(size), "1", "-j", "1", "-q", "-o", target)
            costs.append(run([*DOCK, command, folder, *mesh, *options]))
    return min(costs, key=lambda cost: cost.cpu)


def _peer(peer: str | None, folder: Path, command: str, *options: str) -> Cost | None:
    if not peer:
        return None
    costs = []
    for _ in range(REPEATS):
        for name in ("fermi_energy.json", "dos.h5", "dos.png"):  # it would take its last results
            (folder / name).unlink(missing_ok=True)
        costs.append(run([peer, "compute", "eigen", command, *options, folder]))
    return min(costs, key=lambda cost: cost.cpu)


def _row(name: str, ours: Cost, theirs: Cost | None) -> None:
    text = f"{name:42} {ours}"
    if theirs is not None:
        text += f"   {theirs.cpu / ours.cpu:.1f}× less CPU, "
        text += f"{theirs.peak_mb / ours.peak_mb:.1f}× less memory"
    print(text)


def psi(shared: Path) -> None:
    """Time one state of MoS2 at a general k-point on a grid of 80³ points."""
    import dock
    from dock.grid.grid import make_grid
    from dock.post.wavefunction import coefficients, states_on_grid

    basis = shared / "public/openmx/pao"
    calc = dock.read(ROOT / "fixtures/openmx/mos2", basis=basis)
    found = coefficients(calc, [[0.25, 0.13, 0.0]], bands=[round(calc.n_electrons) // 2 - 1])
    grid = make_grid(calc.structure, (80, 80, 80))
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        states = states_on_grid(found, grid, jobs=1)
        times.append(time.perf_counter() - begin)
    print(
        f"ψ of MoS2 on an 80³ grid: {times[0]:.2f} s at first (kernels loaded), then "
        f"{min(times[1:]):.2f} s; norm − 1 = {states.norms[0] - 1:.1e}"
    )


def lapack_share(shared: Path) -> None:
    """Measure which share of diagonalising at four k-points is spent inside LAPACK."""
    import numpy as np

    import dock
    from dock.states import lapack
    from dock.states.problem import Problem
    from dock.states.solver import Want
    from dock.states.stream import states

    calc = dock.read(shared / "public/deeph/MoTe2")
    matrices = (calc.hamiltonian.supercell(SUPERCELL), calc.overlap.supercell(SUPERCELL))
    spent = 0.0
    inner = lapack._invoke

    def timed(*arguments: object, **options: object) -> int:
        nonlocal spent
        begin = time.perf_counter()
        info = inner(*arguments, **options)
        spent += time.perf_counter() - begin
        return info

    lapack._invoke = timed
    points = np.array([[0.1, 0.2, 0.0], [0.3, 0.1, 0.0], [0.4, 0.2, 0.0], [0.2, 0.2, 0.0]])
    Problem(*matrices).dense(0, points[0])  # loading the kernels (0.4 s) is not what is asked
    for vectors in (False, True):
        spent, begin = 0.0, time.perf_counter()
        for _ in states(Problem(*matrices), points, Want(vectors=vectors), jobs=1):
            pass
        whole = time.perf_counter() - begin
        what = "states" if vectors else "eigenvalues"
        print(
            f"LAPACK's share, {what} of {matrices[0].basis.n_orbitals} orbitals at four k-points: "
            f"{100 * spent / whole:.1f} % of {whole:.2f} s"
        )


if __name__ == "__main__":
    main()
