"""Chebyshev densities of states: ways to S⁻¹, errors over seeds, time and memory against size.

    python benchmarks/chebyshev.py inverse FOLDER
    python benchmarks/chebyshev.py seeds FOLDER --levels FILE.npy --resolution 0.2
    python benchmarks/chebyshev.py seeds FOLDER --window -2 2 --resolution 0.2
    python benchmarks/chebyshev.py size FOLDER --tile 4 4 1 --moments 16

The folders are unified folders with H and S, as `dock infer` writes them; energies count from
--energy. Exact levels are all of them in a file (LAPACK), or those of a
window by the sparse solver.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
from _measure import machine

import dock
from dock.errors import DockError
from dock.states.kpm.cost import Cost
from dock.states.kpm.factored import factored_inverse
from dock.states.kpm.inverse import ConjugateGradients, Direct, Polynomial
from dock.states.kpm.pencil import Pencil, Transform
from dock.states.kpm.recursion import Expansion
from dock.states.problem import Problem
from dock.states.solver import Want
from dock.states.sparse.blas import blas_threads
from dock.states.sparse.shift_invert import ShiftInvert

VECTORS = 16


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("inverse", "seeds", "size"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--energy", type=float, default=-4.03, metavar="E")
    parser.add_argument("--resolution", type=float, default=0.2, metavar="EV")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--vectors", type=int, default=4)
    parser.add_argument("--levels", type=Path)
    parser.add_argument("--window", type=float, nargs=2, default=(-2.0, 2.0))
    parser.add_argument("--tile", type=int, nargs=3, default=(1, 1, 1))
    parser.add_argument("--moments", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(f"machine: {machine()}")
    {"inverse": inverse, "seeds": seeds, "size": size}[options.what](options)


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def inverse(options: argparse.Namespace) -> None:
    """Print error, time and memory of each way, of S and of the compressed B."""
    calc = dock.read(options.folder)
    problem = Problem.of(calc)
    prepared = Expansion.of(
        problem, structure=calc.structure, origin=options.energy, threads=options.threads
    )
    compressed = prepared.scale.transform
    for transform in (Transform(options.energy), compressed):
        pencil = Pencil.read(problem, threads=options.threads)
        pencil.change(transform)
        print(f"τ = {transform.compression:.3f}/eV, {VECTORS} vectors of {pencil.size}")
        rng = np.random.default_rng(1)
        x = rng.normal(size=(pencil.size, VECTORS)).astype(pencil.kind)
        with blas_threads(1):
            w = pencil.B.times(x)
            G = timed("  factored G", lambda p=pencil: factored_inverse(p, calc.structure))
            ways = {
                "Cholesky factor": lambda p=pencil: Direct(problem, p),
                "Chebyshev series": lambda p=pencil: Polynomial.of(p, None, tolerance=1e-3),
                "conjugate gradients": lambda p=pencil: ConjugateGradients(p, None, 1e-4),
                "CG with G": lambda p=pencil, g=G: ConjugateGradients(p, g, 1e-4),
                "series with G": lambda p=pencil, g=G: Polynomial.of(p, g, tolerance=1e-3),
            }
            for name, make in ways.items():
                apply_one(name, make, w, x)


def timed(name: str, make: object) -> object:
    begin = time.process_time()
    made = make()
    print(f"{name}: {time.process_time() - begin:.2f} s CPU", flush=True)
    return made


def apply_one(name: str, make: object, w: np.ndarray, x: np.ndarray) -> None:
    """Print what one way takes, and how far it is from x."""
    begin = time.process_time()
    try:
        way = make()
        ready = time.process_time()
        found = way.apply(w)
    except DockError as error:
        print(f"  {name:20s} {error}", flush=True)
        return
    spent = time.process_time() - ready
    off = np.linalg.norm(found - x) / np.linalg.norm(x)
    print(
        f"  {name:20s} set-up {ready - begin:6.2f} s  one application {spent:7.3f} s CPU  "
        f"{way.n_bytes / 1e6:7.1f} MB  |x' − x|/|x| {off:.1e}  {way.description}",
        flush=True,
    )


def seeds(options: argparse.Namespace) -> None:
    """Print for how many seeds the integrated difference is within the error."""
    from dock.post.chebyshev_sum import averaged

    calc = dock.read(options.folder)
    problem = Problem.of(calc)
    found = Expansion.of(
        problem, structure=calc.structure, origin=options.energy, threads=options.threads
    )
    scale = found.scale
    n = scale.moments_for(options.resolution, np.array([options.energy]))
    low, high = (options.energy + end for end in options.window)
    if options.levels:
        levels = np.load(options.levels)
    else:
        margin = 4 * options.resolution
        want = Want(window=(low - margin, high + margin))
        levels = ShiftInvert().solve(problem, 0, np.zeros(3), want).energies
    energies = np.arange(low, high, options.resolution / 4)
    exact = scale.density(scale.kernel(levels, n), energies)
    begin = time.process_time()
    moments = []
    for number in range(-(-options.seeds * options.vectors // VECTORS)):
        moments.append(found.trace_moments(n, VECTORS, (number,))[:, 0])
        print(f"  {number + 1} blocks, {time.process_time() - begin:.0f} s CPU", flush=True)
    curves = scale.density(np.concatenate(moments), energies)
    step = energies[1] - energies[0]
    good = signed = 0
    inside = []
    for seed in range(options.seeds):
        mine = curves[seed * options.vectors : (seed + 1) * options.vectors]
        curve = averaged([mine], np.ones(1))
        whole = averaged([mine.sum(axis=1, keepdims=True) * step], np.ones(1))
        off = np.abs(curve.mean - exact)
        good += off.sum() <= curve.error.sum()
        signed += abs(whole.mean[0] - exact.sum() * step) <= whole.error[0]
        inside.append(np.mean(off <= curve.error))
    print(
        f"{len(levels)} levels, {n} moments, {options.vectors} vectors a seed, "
        f"{exact.sum() * step:.1f} states in the window: ∫|difference| within ∫ error for {good} "
        f"of {options.seeds} seeds, |∫ difference| within its error for {signed}; "
        f"{100 * np.mean(inside):.1f} % of all energies within"
    )


def size(options: argparse.Namespace) -> None:
    """Print time a step and memory an atom of a tile."""
    base, calc = peak(), dock.read(options.folder)
    problem, tile = Problem.of(calc), tuple(options.tile)
    cost = Cost.of(problem, np.zeros(3), tile=tile, width=VECTORS)
    begin = time.process_time()
    found = Expansion.of(
        problem, structure=calc.structure, origin=options.energy, tile=tile, threads=options.threads
    )
    ready, wall = time.process_time(), time.perf_counter()
    found.trace_moments(options.moments, VECTORS, (0,))
    spent, wall = time.process_time() - ready, time.perf_counter() - wall
    atoms = calc.structure.n_atoms * int(np.prod(tile))
    needed = found.scale.moments_for(0.02, np.array([options.energy]))
    print(
        f"{atoms:7d} atoms: set-up {ready - begin:6.1f} s CPU; {options.moments} moments of "
        f"{VECTORS} vectors {spent:7.1f} s CPU {wall:7.1f} s wall; "
        f"peak {(peak() - base) / 1e6:6.0f} MB, {(peak() - base) / atoms / 1e3:5.1f} kB an atom "
        f"(predicted {cost.per_atom / 1e3:.1f}); "
        f"20 meV need {needed} moments; {found.description}"
    )


if __name__ == "__main__":
    main()
