"""Berry curvature and Hall conductivity of dock and of pyatb, from the same matrices.

    python benchmarks/berry_peer.py --pyatb PROGRAM [--shared FOLDER] [--mesh N]

``--pyatb`` is the program of an environment of its own (``pip install pyatb mpich``), ``--shared``
the reference data (SIESTA's FePt and OpenMX's GaAs with spin–orbit coupling). H, S and r are
written for ABACUS, as text; pyatb runs on the files, with its own input. r is written twice: as the
code has it, and as its Hermitian part about the middle of two cells, which is what dock takes.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from _measure import machine

import dock
from dock.grid.grid import read_with_radials
from dock.overlap.assemble import Integrals
from dock.response import anomalous_hall, berry_curvature
from dock.response.operators import midpoint_position
from dock.states.kmesh import KMesh

POINTS = [[0.13, 0.21, 0.37], [0.31, -0.12, 0.07], [0.05, 0.44, 0.22]]
BANDS = {"fept": 18, "gaas": 28}
INPUT = """INPUT_PARAMETERS
{{
    nspin 4
    package ABACUS
    fermi_energy {level:.12f}
    fermi_energy_unit eV
    HR_route {folder}/OUT.ABACUS/data-HR-sparse_SPIN0.csr
    SR_route {folder}/OUT.ABACUS/data-SR-sparse_SPIN0.csr
    rR_route {folder}/OUT.ABACUS/data-rR-sparse.csr
    HR_unit Ry
    rR_unit Bohr
    max_kpoint_num 4000
}}
LATTICE
{{
    lattice_constant 1.0
    lattice_constant_unit Angstrom
    lattice_vector
{cell}
}}
{task}
"""
CURVATURE = """BERRY_CURVATURE
{{
    method {method}
    occ_band {bands}
    kpoint_mode direct
    kpoint_num {count}
    kpoint_direct_coor
{points}
}}"""
HALL = """AHC
{{
    method {method}
    integrate_mode Grid
    integrate_grid {n} {n} {n}
    adaptive_grid 1 1 1
    adaptive_grid_threshold 1e8
}}"""


def systems(shared: Path) -> dict[str, dock.Calculation]:
    """Return the runs with H, S and r."""
    folder = shared / "fixtures/siesta/fept_soc"
    fept = read_with_radials(folder, basis=folder)
    r = Integrals.prepare(fept.structure, fept.basis, pairs=fept.overlap.pairs).matrix("position")
    gaas = dock.read(shared / "fixtures/openmx/gaas-soc")
    return {
        name: c.replace(matrices=matrices(c, r))
        for name, c, r in (("fept", fept, r), ("gaas", gaas, gaas.position))
    }


def matrices(calc: dock.Calculation, position: object) -> dict[str, object]:
    """Return H, S and a position matrix by name."""
    known = {name: calc.require(name) for name in ("hamiltonian", "overlap")}
    return {**known, "position": position}


def hermitian(calc: dock.Calculation) -> dock.Calculation:
    """Return the run with r = h + ½ R S of the Hermitian h, in the numbers of pyatb's Bohr."""
    h = midpoint_position(calc.position, calc.overlap)
    S = calc.overlap.on_pairs(h.pairs)
    half = 0.5 * h.pairs.R @ h.structure.cell
    moved = np.repeat(half, np.diff(h.layout.starts), axis=0).T * S.entries
    return calc.replace(matrices=matrices(calc, h.with_entries(h.entries + moved)))


def peer(program: str, folder: Path, calc: dock.Calculation, task: str) -> tuple[Path, float]:
    """Run pyatb; return its folder of results and its CPU seconds."""
    cell = "\n".join(" ".join(f"{x:.16f}" for x in row) for row in calc.structure.cell)
    work = Path(tempfile.mkdtemp(dir=folder))
    level = calc.fermi_level or 0.0
    (work / "Input").write_text(INPUT.format(level=level, folder=folder, cell=cell, task=task))
    before = os.times()
    subprocess.run([program], cwd=work, check=True, capture_output=True)
    after = os.times()
    spent = after.children_user + after.children_system
    return work / "Out", spent - before.children_user - before.children_system


def main() -> None:
    """Print the largest deviations, and the seconds of a Hall conductivity."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pyatb", required=True)
    parser.add_argument("--shared", type=Path, default=os.environ.get("DOCK_SHARED", "../shared"))
    parser.add_argument("--mesh", type=int, default=12)
    options = parser.parse_args()
    print(machine())
    scratch = Path(tempfile.mkdtemp())
    points = "\n".join(" ".join(map(str, k)) for k in POINTS)
    for name, calc in systems(Path(options.shared)).items():
        for words, given in (("r of the run", calc), ("Hermitian r", hermitian(calc))):
            folder = scratch / f"{name} {words}".replace(" ", "-")
            dock.write(given, folder, format="abacus")
            for method, number in (("full", 0), ("kubo", 1)):
                about = {"method": number, "bands": BANDS[name], "count": len(POINTS)}
                task = CURVATURE.format(**about, points=points)
                out, _ = peer(options.pyatb, folder, calc, task)
                theirs = np.loadtxt(out / "Berry_Curvature/berry_curvature.dat")
                bands = f"1..{BANDS[name]}"
                ours = berry_curvature(calc, POINTS, bands=bands, method=method).curvature[0]
                print(f"{name}, {words}, {method}: |ΔΩ| up to {abs(theirs - ours).max():.1e} Å²")
    calc, n = systems(Path(options.shared))["fept"], options.mesh
    begin = time.process_time()
    ours = anomalous_hall(calc, KMesh.full((n, n, n)), jobs=1).conductivity
    mine = time.process_time() - begin
    out, theirs = peer(
        options.pyatb, scratch / "fept-Hermitian-r", calc, HALL.format(method=0, n=n)
    )
    print(f"Hall of FePt, {n}³ points: dock {ours.round(3)} S/cm, {mine:.1f} CPU s")
    found = [file for file in out.rglob("*.dat") if re.search("ahc", str(file), re.IGNORECASE)]
    print(f"pyatb {theirs:.1f} CPU s:", *(file.read_text().strip() for file in found), sep="\n")


if __name__ == "__main__":
    main()
