"""Random windows of a large cell, to find a state that is missing.

    python benchmarks/random_windows.py FOLDER [--windows 100] [--reference FILE] [--precision P]

Windows of 0.01 to 2 eV anywhere from the lowest state to 8 eV, at Γ and at a general k-point in
turn. With a reference, all energies by LAPACK kept in FILE_gamma.npy and FILE_k.npy (made if they
are not there: N³ in time and N² in memory), each window is held against it. Without one, windows
are held against each other: each has a number of states below it and its own, by inertia, and where
two overlap the same states must be found with the same numbers.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from _measure import machine

import dock
from dock.states.dense import solve
from dock.states.problem import Problem
from dock.states.solver import Want
from dock.states.sparse.shift_invert import ShiftInvert

POINTS = {"gamma": np.zeros(3), "k": np.array([0.13, 0.27, 0.0])}
EXACT = 1e-8  # eV


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--windows", type=int, default=100, metavar="N")
    parser.add_argument("--reference", metavar="FILE")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--engine", default="multifrontal")
    parser.add_argument("--emin", type=float, default=-22.5, metavar="E")
    parser.add_argument("--emax", type=float, default=8.0, metavar="E")
    parser.add_argument("--points", nargs="*", default=list(POINTS), choices=list(POINTS))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"machine: {machine()}")
    problem = Problem.of(dock.read(options.folder))
    known: dict[str, dict[int, float]] = {name: {} for name in POINTS}
    if options.reference:
        for name in options.points:
            energies = reference(problem, name, options.reference)
            known[name] = dict(enumerate(energies.tolist()))
    run(problem, options, known)


def reference(problem: Problem, name: str, file: str) -> np.ndarray:
    """Return all energies by LAPACK, kept in a file."""
    path = Path(f"{file}_{name}.npy")
    if not path.exists():
        np.save(path, solve(*problem.dense(0, POINTS[name]), overwrite=True).energies)
    return np.load(path)


def run(problem: Problem, options: argparse.Namespace, known: dict[str, dict[int, float]]) -> None:
    """Solve the windows, one after another, and print what is wrong."""
    rng = np.random.default_rng(options.seed)
    solver = ShiftInvert(options.engine, options.precision)
    wrong, begin, found_in_all = 0, time.process_time(), 0
    for number in range(options.windows):
        name = options.points[number % len(options.points)]
        middle, width = rng.uniform(options.emin, options.emax), 10 ** rng.uniform(-2.0, 0.3)
        low, high = middle - width / 2, middle + width / 2
        since = time.process_time()
        found = solver.solve(problem, 0, POINTS[name], Want(window=(low, high)))
        problems = check(found, low, high, known[name], complete=options.reference is not None)
        wrong += bool(problems)
        found_in_all += len(found.energies)
        residual = found.certificate.residual_eV if found.certificate else None
        print(
            f"{number:4d} {name:6s} {low:10.5f} {high:10.5f} eV {len(found.energies):5d} states, "
            f"{found.n_below} below, residual {residual or 0.0:.1e} eV, "
            f"{time.process_time() - since:6.1f} s CPU  {problems or 'complete'}",
            flush=True,
        )
    spent = time.process_time() - begin
    print(
        f"{options.windows} windows, {found_in_all} states, {wrong} windows wrong; "
        f"{spent:.0f} s CPU"
    )


def check(found, low: float, high: float, known: dict[int, float], *, complete: bool) -> str:
    """Hold a window against what is known of the spectrum by number; return what is wrong."""
    problems = []
    numbers = range(found.n_below, found.n_below + len(found.energies))
    for number, energy in zip(numbers, found.energies, strict=True):
        other = known.setdefault(number, float(energy))
        if abs(other - energy) > EXACT:
            problems.append(f"state {number}: {energy:.9f} and {other:.9f} eV")
    inside = {number for number, energy in known.items() if low <= energy <= high}
    missing = inside - set(numbers)
    if missing:
        problems.append(f"missing: {sorted(missing)[:5]}")
    if complete and len(inside) != len(numbers):
        problems.append(f"{len(numbers)} states where there are {len(inside)}")
    return "; ".join(problems)


if __name__ == "__main__":
    main()
