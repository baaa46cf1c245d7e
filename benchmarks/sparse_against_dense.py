"""Solver sparse against full matrices: real systems of several codes, real and complex k.

    python benchmarks/sparse_against_dense.py [--shared FOLDER] [--also FOLDER ...]

Cells are repeated until they have some 300 orbitals, so that the matrices are sparse in earnest.
A window of some ten states about a third of the spectrum, where the Fermi level of these systems
lies or near it, is solved with single and with double precision factors; energies are compared with
those of LAPACK, and states with H and S. Both solvers get the same Hermitian matrices: files keep
the two partners of an entry to seven or eight digits, and each solver reads one triangle.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
from _measure import machine

import dock
from dock.core.calculation import Calculation
from dock.states.dense import solve
from dock.states.problem import Problem
from dock.states.solver import Want
from dock.states.sparse.shift_invert import ShiftInvert

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "states" / "sparse"))  # cells repeated, as the tests do it
BUNDLED = {
    "siesta/graphene": "semimetal, SIESTA",
    "siesta/o2": "molecule, collinear spin, SIESTA",
    "openmx/mos2": "semiconductor, OpenMX",
    "openmx/o2-spin": "molecule, collinear spin, OpenMX",
    "openmx/o2-nc-soc": "chain, spin–orbit, OpenMX",
    "abacus/graphene": "semimetal, ABACUS",
}
SHARED = {
    "siesta/fe_bcc/fe_bcc.v2.HSX": "metal, collinear spin, SIESTA",
    "siesta/fept_soc/fept_soc.v2.HSX": "metal, spin–orbit, SIESTA",
    "openmx/gaas-soc": "semiconductor, spin–orbit, OpenMX",
    "abacus/fe": "metal, collinear spin, ABACUS",
    "abacus/gaas_soc": "semiconductor, spin–orbit, ABACUS",
}
K = ([0.0, 0.0, 0.0], [0.13, 0.27, 0.31])
STATES, ORBITALS = 12, 300


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", metavar="FOLDER")
    parser.add_argument("--also", type=Path, nargs="*", default=[], metavar="FOLDER")
    options = parser.parse_args()
    print(f"machine: {machine()}")
    print("system                                     orbitals  k        factor   states  "
          "largest error  residual")  # fmt: skip
    runs = [(ROOT / "fixtures" / name, what) for name, what in BUNDLED.items()]
    runs += [(options.shared / "fixtures" / name, what) for name, what in SHARED.items()]
    runs += [(path, "given") for path in options.also]
    worst = max((compare(path, what) for path, what in runs if path.exists()), default=0.0)
    print(f"largest error of all: {worst:.1e} eV")


def compare(path: Path, what: str) -> float:
    """Print the comparison of one system, and return the largest error of an energy."""
    calc = dock.read(path)
    problem = _repeated(calc, str(path))
    worst = 0.0
    for k in map(np.array, K[:1] if calc.only_gamma else K):
        for channel in range(problem.n_channels):
            begin = time.process_time()
            energies = solve(*problem.dense(channel, k), overwrite=True).energies
            spent = time.process_time() - begin
            middle = len(energies) // 3
            stop = min(middle + STATES, len(energies))
            want = Want(window=(float(energies[middle]) - 1e-3, float(energies[stop - 1]) + 1e-3))
            first, stop = want.within(energies)
            for precision in ("double", "single"):
                begin = time.process_time()
                found = ShiftInvert(precision=precision).solve(problem, channel, k, want)
                own = time.process_time() - begin
                complete = (found.n_below, len(found.energies)) == (first, stop - first)
                error = np.abs(found.energies - energies[first:stop]).max() if complete else np.inf
                worst = max(worst, float(error))
                name = f"{path.name.partition('.')[0]}, {what}"
                residual = found.certificate.residual_eV if found.certificate else None
                print(
                    f"{name:42.42s} {len(energies):8d}  {'Γ' if not k.any() else 'general':8s} "
                    f"{precision:7s} {len(found.energies):7d}  {error:10.1e} eV  {residual:.1e} eV"
                    f"   {own:6.1f} s CPU, full {spent:6.1f} s",
                    flush=True,
                )
    return worst


def _repeated(calc: Calculation, source: str) -> Problem:
    """Return the problem of a cell repeated along its first two vectors."""
    from repeated import repeat

    size = Problem.of(calc).size
    side = 1 if calc.only_gamma else math.ceil(math.sqrt(max(1.0, ORBITALS / size)))
    H, S = (repeat(calc.require(name), (side, side, 1)) for name in ("hamiltonian", "overlap"))
    return Problem(H, S, source, calc.only_gamma)


if __name__ == "__main__":
    main()
