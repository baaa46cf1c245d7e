"""Time and memory of a part of the spectrum against the size of a cell, with fitted exponents.

    python benchmarks/large_cells.py tbg364 tbg1324 tbg2884 tbg11164 --states 40 --energy -4.03
    python benchmarks/large_cells.py tbg364 tbg1324 tbg2884 tbg11164 --solver layers

The folders are unified folders with H and S, as `dock infer` writes them. Each cell and k-point is
a process of its own, which reads the folder and finds the states: certified by ``sparse``, which
orders and factors the matrix, not so by ``layers``.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from pathlib import Path

import numpy as np
from _measure import machine, run

from dock.threads import available_cpus

KPOINTS = {"G": (0.0, 0.0, 0.0), "M": (0.5, 0.0, 0.0), "K": (1 / 3, 2 / 3, 0.0)}


def measure(folder: str, label: str, number: int, energy: float, precision: str, name: str) -> None:
    """Find the states and print the facts as JSON."""
    import dock
    from dock.states.layers.solver import LayerSolver
    from dock.states.problem import Problem
    from dock.states.solver import Want
    from dock.states.sparse.shift_invert import ShiftInvert
    from dock.states.stream import states

    problem = Problem.of(dock.read(folder))
    want = Want(vectors=True, nearest=(number, energy))
    solver = ShiftInvert(precision=precision) if name == "sparse" else LayerSolver()
    plan = solver.plan(problem, want, 1, available_cpus())
    found = next(iter(states(problem, [KPOINTS[label]], want, solver=solver))).states
    proof = found.certificate
    facts = {
        "atoms": problem.basis.n_atoms,
        "orbitals": problem.size,
        "found": len(found.energies),
        "counted": proof.counted,
        "residual": proof.residual_eV,
        "predicted_gb": plan.memory_bytes / 1e9,
        "predicted_s": plan.seconds,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }
    print(json.dumps(facts))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--k", nargs="+", default=["G", "K"], choices=list(KPOINTS))
    parser.add_argument("--states", type=int, default=40, metavar="N")
    parser.add_argument("--energy", type=float, default=-4.03, metavar="E")
    parser.add_argument("--precision", default="single", choices=("auto", "single", "double"))
    parser.add_argument("--solver", default="sparse", choices=("sparse", "layers"))
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        arguments = (options.states, options.energy, options.precision, options.solver)
        measure(options.folders[0], options.k[0], *arguments)
        return
    print(f"machine: {machine()}, {options.states} states about {options.energy} eV")
    for label in options.k:
        table(label, options)


def table(label: str, options: argparse.Namespace) -> None:
    """Print a row for each cell, then the exponents."""
    rows = []
    for folder in options.folders:
        words = ["--one", "--k", label, "--states", str(options.states)]
        words += ["--energy", str(options.energy), "--precision", options.precision]
        words += ["--solver", options.solver]
        script = str(Path(__file__).resolve())
        cost = run([sys.executable, script, folder, *words], threads=available_cpus())
        facts = json.loads(cost.output.strip().splitlines()[-1])
        rows.append((facts["atoms"], cost.wall, facts["peak_gb"]))
        print(
            f"{label} {facts['atoms']:7d} atoms {facts['orbitals']:8d} orbitals  "
            f"{cost.wall:7.1f} s wall {cost.cpu:7.1f} s CPU  {facts['peak_gb']:6.2f} GB "
            f"(predicted {facts['predicted_s']:.0f} s, {facts['predicted_gb']:.2f} GB)  "
            f"{facts['found']} states of {facts['counted']} counted, "
            f"residual {facts['residual']:.1e} eV",
            flush=True,
        )
    for first in (0, 1):
        if len(rows) - first > 1:
            atoms, wall, memory = np.log(np.array(rows[first:])).T
            print(
                f"{label} exponents from {rows[first][0]} atoms on: time "
                f"{np.polyfit(atoms, wall, 1)[0]:.2f}, memory {np.polyfit(atoms, memory, 1)[0]:.2f}"
            )


if __name__ == "__main__":
    main()
