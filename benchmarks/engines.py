"""Factorisations of H(k) − σS(k) side by side: the own engine, PARDISO, MUMPS and SuperLU_DIST.

Each engine works in a process of its own (MUMPS and SuperLU_DIST in those of mpirun), so that its
peak memory is its own. The folders are unified folders with H and S, as `dock infer` writes them.
MUMPS and SuperLU_DIST make an LU, in which `fill` counts both triangles.

Example: python benchmarks/engines.py moire-1324 moire-2884 --slepc ENV/bin/python --processes 2
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _measure import machine, run

from dock.threads import available_cpus

KPOINTS = {"G": (0.0, 0.0, 0.0), "K": (1 / 3, 2 / 3, 0.0)}
ENGINES = ("multifrontal", "pardiso", "slepc")
BLOCK = 20


def clock() -> Callable[[], tuple[float, float]]:
    """Return a function that says the seconds since it was last called: wall, and CPU."""
    last = [(time.perf_counter(), time.process_time())]

    def lap() -> tuple[float, float]:
        (wall, cpu), now = last[0], (time.perf_counter(), time.process_time())
        last[0] = now
        return now[0] - wall, now[1] - cpu

    return lap


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20 * 1.073741824


def engine_of(name: str) -> Any:
    if name == "pardiso":
        from dock.states.sparse.pardiso import Pardiso

        return Pardiso()
    from dock.states.sparse.multifrontal import Multifrontal

    return Multifrontal()


def measure_engine(name: str, folder: str, k_frac: list[float], energy: float, kind: str) -> None:
    """Print what one of our engines takes, as JSON."""
    import dock
    from dock.states.problem import Problem
    from dock.states.sparse.factorisation import Pattern

    problem = Problem.of(dock.read(folder))
    H, S = problem.sparse(0, np.array(k_frac), "upper")
    atoms = np.repeat(np.arange(problem.basis.n_atoms), problem.basis.counts)
    structure = problem.hamiltonian.structure
    starts = H.indptr.astype(np.int64)
    pattern = Pattern(starts, H.indices, atoms, structure)
    values = H.data - energy * S.data
    dtype = np.dtype(kind)
    before, lap = peak_gb(), clock()
    analysis = engine_of(name).analyse(pattern, threads=int(os.environ["OMP_NUM_THREADS"]))
    predicted = analysis.memory(dtype) / 1e9
    facts: dict[str, Any] = {"analyse_s": lap(), "fill": analysis.n_entries}
    factor = analysis.factor(values, dtype)
    facts["factor_s"] = lap()
    right = np.random.default_rng(1).normal(size=(problem.size, BLOCK)).astype(dtype)
    lap()
    factor.solve(right[:, :1])
    facts["solve_1_s"] = lap()
    found = factor.solve(right)
    facts["solve_block_s"] = lap()
    facts["peak_gb"] = [peak_gb()]  # what the residual takes is not the engine's
    product = _applied(H, S, energy, found.astype(values.dtype))
    norm = np.abs(values).max() * np.abs(found).max()
    facts["residual"] = float(np.abs(product - right).max() / norm)
    facts |= {"below": factor.n_negative, "predicted_gb": predicted}
    facts["before_gb"] = before
    print(json.dumps(facts))


def _applied(H: Any, S: Any, energy: float, block: Any) -> Any:
    """Return (H − σS) times a block, from upper triangles."""
    A = H - energy * S
    turned = A.conj().T @ block
    return A @ block + turned - A.diagonal()[:, None] * block


def measure_slepc(folder: str, k_frac: list[float], energy: float) -> None:
    """Print what MUMPS and SuperLU_DIST take on all processes, as JSON."""
    import dock
    from dock.states.problem import Problem
    from dock.states.ranks import Ranks

    ranks = Ranks.world() if "OMPI_COMM_WORLD_SIZE" in os.environ else Ranks()
    if not ranks.is_root:
        ranks.serve()
        return
    from dock.states.slepc.rows import Source

    source = Source.of(Problem.of(dock.read(folder)), ranks.size)
    print(json.dumps(ranks.call(spread, source, k_frac, energy)))
    ranks.dismiss()


def spread(team: Any, source: Any, k_frac: list[float], energy: float) -> dict[str, Any]:
    """Measure in every process of a team."""
    from dock.states.slepc.library import load
    from dock.states.slepc.rows import SpreadPencil
    from dock.states.slepc.search import Search

    library, lap = load(team), clock()
    pencil = SpreadPencil(team, source)
    H, S = pencil.matrices(library, 0, np.array(k_frac))
    facts: dict[str, Any] = {"read_s": lap()}
    search = Search(library, team, H, S)
    eps = search._prepared(energy, BLOCK, 35)
    facts["factor_s"] = lap()
    st = eps.getST()
    factor = st.getKSP().getPC().getFactorMatrix()
    facts["fill"] = abs(factor.getMumpsInfog(29)) * (10**6 if factor.getMumpsInfog(29) < 0 else 1)
    right, found = H.createVecLeft(), H.createVecRight()
    right.set(1.0)
    lap()
    st.getKSP().getPC().apply(right, found)
    facts["solve_1_s"] = lap()
    eps.solve()
    facts["states_s"] = lap()
    facts["n_states"] = eps.getConverged()
    facts["factor_gb"] = [part / 1e3 for part in team.gather(factor.getMumpsInfo(16))]
    for thing in (factor, st, eps):
        thing.destroy()
    library.PETSc.garbage_cleanup(H.comm)
    lap()
    facts["below"] = search.counter.below(energy)
    facts["count_s"] = lap()
    facts["residual"] = search.counter.worst
    facts["peak_gb"] = team.gather(peak_gb())
    return facts


def rows(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield a line of the table for each engine, folder and k-point."""
    me = [str(Path(__file__).resolve())]
    for folder in arguments.folders:
        for label in arguments.k:
            k_frac = json.dumps(KPOINTS[label])
            kinds = ("float32", "float64") if label == "G" else ("complex64", "complex128")
            for engine in arguments.engines:
                if engine != "slepc":
                    for kind in kinds:
                        words = [sys.executable, *me, "--one", engine, folder, k_frac, kind]
                        yield line(folder, label, engine, kind, words, arguments)
                elif arguments.slepc:
                    words = [arguments.slepc, *me, "--one", engine, folder, k_frac, "complex128"]
                    for number in {1, arguments.processes}:
                        start = [*arguments.mpirun.split(), "-n", str(number)] if number > 1 else []
                        name = f"MUMPS, {number} process" + ("es" if number > 1 else "")
                        yield line(folder, label, name, "complex128", [*start, *words], arguments)


def line(
    folder: str,
    label: str,
    engine: str,
    kind: str,
    words: list[str],
    arguments: argparse.Namespace,
) -> str:
    threads = 1 if "MUMPS" in engine else arguments.threads
    cost = run([*words, "--energy", str(arguments.energy)], threads=threads)
    facts = json.loads(cost.output.strip().splitlines()[-1])
    memory = " + ".join(f"{size:.2f}" for size in facts["peak_gb"])
    parts = [
        f"{Path(folder).name:>10} {label} {engine:20} {kind:10}",
        f"fill {facts['fill'] / 1e6:7.1f} M",
        *([f"analyse {took(facts['analyse_s'])}"] if "analyse_s" in facts else []),
        f"factor {took(facts['factor_s'])}, solve 1 {took(facts['solve_1_s'])}",
    ]
    if "solve_block_s" in facts:
        parts.append(f"{BLOCK} {took(facts['solve_block_s'])}")
        parts.append(f"residual {facts['residual']:.0e}")
    if "states_s" in facts:
        parts.append(f"{facts['n_states']} states {took(facts['states_s'])}")
        parts.append(f"count by SuperLU_DIST {took(facts['count_s'])}")
    parts.append(f"below {facts['below']}, peak {memory} GB")
    if "predicted_gb" in facts:
        parts.append(f"(predicted {facts['predicted_gb'] + facts['before_gb']:.2f})")
    return "  ".join(parts)


def took(seconds: list[float]) -> str:
    """Return wall and CPU time."""
    wall, cpu = seconds
    return f"{wall:.2f} s ({cpu:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--engines", nargs="+", default=ENGINES, choices=ENGINES)
    parser.add_argument("--k", nargs="+", default=list(KPOINTS), choices=list(KPOINTS))
    parser.add_argument("--energy", type=float, default=-4.215, help="shift, eV")
    cores = available_cpus()
    parser.add_argument("--threads", type=int, default=cores, help="of our engines")
    parser.add_argument("--slepc", help="Python that has slepc4py")
    parser.add_argument("--mpirun", default="mpirun", help="mpirun of PETSc's MPI, with options")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        engine, folder, k_frac, kind = arguments.one
        if engine == "slepc":
            measure_slepc(folder, json.loads(k_frac), arguments.energy)
        else:
            measure_engine(engine, folder, json.loads(k_frac), arguments.energy, kind)
        return
    print("machine:", machine())
    print("seconds of wall, of CPU in brackets")
    for text in rows(arguments):
        print(text, flush=True)


if __name__ == "__main__":
    main()
