"""Plane waves onto atomic orbitals: silicon beside HPRO, then supercells from 2 to 512 atoms.

    python benchmarks/planewave.py --data FOLDER --pseudo FOLDER [--hpro PYTHON] [--cells 1 2 4 …]

``--data`` has ``si.save``, ``VSC`` and ``aobasis/Si.ion`` (26 orbitals); the basis of 44 orbitals
is ``fixtures/qe/si_3s3p2d``. ``--hpro`` is the Python of an environment with HPRO and mpi4py. One
thread everywhere; CPU seconds of whole processes, imports included, and of the integrals alone for
the supercells, which have the smaller basis.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _measure import best, machine

HPRO = """
import sys
from HPRO import PW2AOkernel
kernel = PW2AOkernel(aodata_interface="siesta", aodata_root=sys.argv[1], hrdata_interface="qe-bgw",
                     vscdir=sys.argv[2], upfdir=sys.argv[3], ecutwfn=30)
kernel.run_pw2ao_rs(sys.argv[4])
"""
LARGE = Path(__file__).resolve().parents[1] / "fixtures" / "qe" / "si_3s3p2d"
CONVERT = [sys.executable, "-m", "dock", "convert", "--from", "qe"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pseudo", type=Path, required=True)
    parser.add_argument("--hpro", default=os.environ.get("DOCK_HPRO"))
    parser.add_argument("--cells", type=int, nargs="*", default=[1, 2, 4, 8, 16, 32, 64, 128, 256])
    options = parser.parse_args()
    small = options.data / "aobasis"
    print(f"machine: {machine()}")
    for size, basis in ((26, small), (44, LARGE)):
        print(f"{size} orbitals")
        with tempfile.TemporaryDirectory() as name:
            whole(Path(name), options, basis)
    for count in options.cells:
        supercell(options, small, count)


def whole(folder: Path, options: argparse.Namespace, basis: Path) -> None:
    """Measure whole commands."""
    words = [*CONVERT, options.data / "si.save", "--basis", basis, "--overwrite"]
    words += ["--set", f"pseudo={options.pseudo}", "-o", folder / "out"]
    best(words, 1)  # compiles
    for label, extra in (
        ("dock, VSC, no report", ["--potential", "vsc", "--set", "quality=none"]),
        ("dock, VSC, bands at 16 k", ["--potential", "vsc"]),
        ("dock, density, no report", ["--potential", "density", "--set", "quality=none"]),
    ):
        print(f"{label:28}", best([*words, *extra], 3))
    if options.hpro:
        upf = folder / "upf"
        upf.mkdir()
        shutil.copy(next(options.pseudo.glob("Si*")), upf / "Si.upf")
        script = folder / "hpro.py"
        script.write_text(HPRO)
        peer = [options.hpro, script, basis, options.data / "VSC", upf, folder / "peer"]
        print(f"{'HPRO':28}", best(peer, 2))


def supercell(options: argparse.Namespace, basis_folder: Path, count: int) -> None:
    """Measure T, S, V_nl and V_loc of a supercell with the cell's own potential repeated."""
    from dock.converters.basis_files import basis_for, read_basis_folder
    from dock.core.spin import Spin
    from dock.grid.potential_integrals import integrate_potential
    from dock.overlap.assemble import Integrals
    from dock.planewave.facts import read_facts, read_pseudos
    from dock.planewave.projectors import nonlocal_entries
    from dock.planewave.vsc import read_vsc
    from dock.units import QE

    facts = read_facts(options.data)
    pseudos = read_pseudos(facts, options.pseudo)
    factors = [1, 1, 1]
    while np.prod(factors) < count:
        factors[int(np.argmin(factors))] *= 2
    structure = facts.run.structure.supercell(factors)
    basis = basis_for(structure, read_basis_folder(basis_folder))
    field = read_vsc(options.data / "VSC").grid(facts.run.fft_grid) * QE.rydberg_ev
    field = np.tile(field, (1, *factors))
    reach = {k: p.r[len(p.projectors[0].r_beta) - 1] * QE.bohr_angstrom for k, p in pseudos.items()}
    marks = [time.process_time()]
    integrals = Integrals.prepare(structure, basis, pairs="kb", projectors=reach)
    pairs = integrals.pairs
    for name in ("overlap", "kinetic"):
        integrals.matrix(name)
    marks.append(time.process_time())
    nonlocal_entries(structure, basis, pairs, pseudos, Spin.NONE)
    marks.append(time.process_time())
    integrate_potential(structure, basis, pairs, field, jobs=1)
    marks.append(time.process_time())
    two, kb, local = np.diff(marks)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{structure.n_atoms:5} atoms: S, T {two:6.2f}  V_nl {kb:6.2f}  V_loc {local:7.2f}  all "
        f"{marks[-1] - marks[0]:7.2f} s CPU, {peak:6.0f} MB",
        flush=True,
    )


if __name__ == "__main__":
    main()
