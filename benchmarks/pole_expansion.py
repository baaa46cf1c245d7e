"""Cost of the pole expansion against diagonalisation for sheets of growing size.

    python benchmarks/pole_expansion.py [--largest 3025] [--largest-dense 1600]
    python benchmarks/pole_expansion.py --folder tbg76 --folder tbg364 …

A square sheet with s and p shells on every atom, coupled to 12 neighbours: the sparsity of a short
basis. One pole is timed (all cost the same) and multiplied by their number. Times are CPU seconds
of this process; run it with OMP_NUM_THREADS=1. Exponents are fitted from 100 atoms on. Folders with
H and S are measured at Γ: what the plan says, one pole, one count of states, a whole pass.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from _measure import machine

import dock
from dock.core.basis import Basis
from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.states.dense import solve
from dock.states.kmesh import KMesh
from dock.states.poles.cost import PoleCost
from dock.states.poles.expansion import Expansion
from dock.states.poles.solver import PoleSolver
from dock.states.problem import Problem
from dock.states.solver import Want


def sheet(side: int, seed: int = 1) -> Calculation:
    """Return a periodic sheet of side² atoms with smooth random H and S of the right sparsity."""
    rng = np.random.default_rng(seed)
    x, y = np.divmod(np.arange(side * side), side)
    positions = np.stack([2.0 * x, 2.0 * y, np.full(side * side, 5.0)], axis=1).astype(float)
    structure = Structure(np.diag([2.0 * side, 2.0 * side, 20.0]), positions, [6] * side**2)
    basis = Basis.from_ls({"C": [0, 1]}, ["C"] * side**2)
    steps = [(a, b) for a in range(-2, 3) for b in range(-2, 3) if a * a + b * b <= 4]
    R, i, j, d = [], [], [], []
    for a, b in steps:
        rx, nx = np.divmod(x + a, side)
        ry, ny = np.divmod(y + b, side)
        R.append(np.stack([rx, ry, 0 * rx], axis=1))
        i.append(np.arange(side * side))
        j.append(nx * side + ny)
        d.append(np.full(side * side, 2.0 * np.hypot(a, b)))
    pairs = Pairs(np.concatenate(R), np.concatenate(i), np.concatenate(j), side * side)
    distance = np.concatenate(d)
    blocks = rng.normal(size=(len(pairs), 4, 4)) * np.exp(-distance / 1.2)[:, None, None]
    on_site = distance == 0
    onsite_h = np.diag([-12.0, -5.0, -5.0, -5.0])
    S = AOMatrix("overlap", structure, basis, pairs, Spin.NONE, 0.1 * blocks.reshape(1, -1))
    H = AOMatrix("hamiltonian", structure, basis, pairs, Spin.NONE, -3.0 * blocks.reshape(1, -1))
    S, H = S.hermitian_part(), H.hermitian_part()
    s, h = np.array(S.entries).reshape(-1, 4, 4), np.array(H.entries).reshape(-1, 4, 4)
    s[on_site], h[on_site] = np.eye(4), onsite_h + 0.5 * h[on_site]
    found = {"H": H.with_entries(h.reshape(1, -1)), "S": S.with_entries(s.reshape(1, -1))}
    return Calculation(structure, basis, Spin.NONE, found, None, 4.0 * side**2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--largest", type=int, default=3025, metavar="ATOMS")
    parser.add_argument("--largest-dense", type=int, default=1600, metavar="ATOMS")
    parser.add_argument("--folder", action="append", metavar="DIR")
    options = parser.parse_args()
    print(f"machine: {machine()}")
    for folder in options.folder or ():
        measure_folder(folder)
    if options.folder:
        return
    measure(options.largest, options.largest_dense)


def measure_folder(folder: str) -> None:
    """Print what one pole costs at Γ of a folder, and what was predicted."""
    calc, mesh = dock.read(folder), KMesh.full((1, 1, 1))
    problem = Problem.of(calc)
    cost = PoleCost.of(problem, mesh)
    plan = cost.plan("", poles=None, threads=1)
    begin = time.process_time()
    solver = PoleSolver(problem, mesh, 0.025852)
    symbolic = time.process_time() - begin
    at = next(solver.problems())
    begin = time.process_time()
    solver.inverse.count_negative(at.H + 4.0 * at.S)
    count = time.process_time() - begin
    begin = time.process_time()
    solver.inverse.invert((-4.0 + 0.1j) * at.S - at.H, symmetric=True)
    pole = time.process_time() - begin
    narrow, wide = (
        len(Expansion.make(0.025852, 25.0, wide=moves).shifts) for moves in (False, True)
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{calc.structure.n_atoms:6d} atoms {problem.size:6d} orbitals  front "
        f"{cost.largest_front:5d}  symbolic {symbolic:.1f} s  count {count:.1f} s  pole {pole:.1f} "
        f"s × {narrow} = {pole * narrow:.0f} s (a level that moves: × {wide}); predicted "
        f"{plan.seconds:.0f} s, {plan.memory_bytes / 1e9:.2f} GB; peak {peak:.2f} GB",
        flush=True,
    )


def measure(largest: int, largest_dense: int) -> None:
    """Time one pole and one diagonalisation of each size; print the table and the exponents."""
    rows = []
    for side in (7, 10, 14, 20, 28, 40, 55):
        atoms = side * side
        if atoms > largest:
            break
        calc = sheet(side)
        mesh = KMesh.full((1, 1, 1))
        begin = time.process_time()
        solver = PoleSolver(Problem.of(calc), mesh, 0.025852)
        symbolic = time.process_time() - begin
        problem = next(solver.problems())
        expansion = Expansion.make(0.025852, 25.0)
        pole = np.inf
        for _ in range(3 if side < 28 else 1):
            begin = time.process_time()
            shifted = (-7.0 + expansion.shifts[10]) * problem.S - problem.H
            solver.inverse.invert(shifted, symmetric=True)
            pole = min(pole, time.process_time() - begin)
        dense = np.nan
        if atoms <= largest_dense:
            H, S = calc.hamiltonian.k([0, 0, 0]), calc.overlap.k([0, 0, 0])
            begin = time.process_time()
            vectors = solve(H, S, Want(vectors=True)).vectors
            filled = vectors[:, : 2 * atoms]
            filled @ filled.T
            dense = time.process_time() - begin
        total = pole * len(expansion.shifts)
        rows.append((atoms, pole, total, dense))
        print(
            f"{atoms:6d} atoms {4 * atoms:6d} orbitals  front {solver.inverse.largest_front:5d}  "
            f"symbolic {symbolic:6.2f} s  pole {pole:8.3f} s × {len(expansion.shifts)} = "
            f"{total:8.1f} s  dense {dense:8.2f} s",
            flush=True,
        )
    table = np.array(rows).reshape(-1, 4)
    big = table[:, 0] >= 100
    if big.sum() < 2:
        return
    print(f"exponent of poles: {np.polyfit(*np.log(table[big][:, :2].T), 1)[0]:.2f}")
    known = np.isfinite(table[:, 3]) & big
    if known.sum() > 1:
        slope = np.polyfit(np.log(table[known, 0]), np.log(table[known, 3]), 1)[0]
        print(f"exponent of diagonalisation: {slope:.2f}")


if __name__ == "__main__":
    main()
