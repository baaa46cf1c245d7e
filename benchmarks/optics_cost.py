"""The dielectric function of an ABACUS run beside pyatb, from the same files in one run.

    python benchmarks/optics_cost.py RUN --pyatb VENV/bin/pyatb [--meshes 6 6 1 12 12 1]
        [--eta 0.1] [--highest 10]

RUN is a run of any code whose positions are known (OpenMX's mos2); it is written as one of ABACUS,
and both programs read that. Two meshes are done: the difference is the cost of k-points without
that of starting, compiling, reading and drawing. `dock` runs on the whole mesh, as pyatb does, with
one thread and with two, and then with symmetry. pyatb leaves out transitions beyond one and a half
times the highest energy; with a highest energy of 10 eV or more `dock` does not broaden those, and
ε₂ must agree. pyatb is run by its own input file; it is installed by `pip install pyatb mpich`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from _measure import Cost, machine, run

import dock
from dock.states.problem import Problem

PYATB = """INPUT_PARAMETERS
{{
    nspin            {nspin}
    package          ABACUS
    fermi_energy     {fermi}
    fermi_energy_unit eV
    HR_route         {folder}/data-HR-sparse_SPIN0.csr
    SR_route         {folder}/data-SR-sparse_SPIN0.csr
    rR_route         {folder}/data-rR-sparse.csr
    HR_unit          Ry
    rR_unit          Bohr
}}
LATTICE
{{
    lattice_constant 1.8897268777743552
    lattice_constant_unit Bohr
    lattice_vector
{cell}
}}
OPTICAL_CONDUCTIVITY
{{
    occ_band         {filled}
    omega            0 {highest}
    domega           0.01
    eta              {eta}
    grid             {mesh}
}}
"""


def peer(program: Path, place: Path, calc: dock.Calculation, mesh: list[int], options) -> Cost:
    """Run pyatb in a folder of its own."""
    place.mkdir()
    cell = "\n".join("    " + " ".join(f"{x:.12f}" for x in row) for row in calc.structure.cell)
    text = PYATB.format(
        nspin=4 if calc.spin.value == "noncollinear" else 1,
        fermi=calc.fermi_level,
        folder=options.folder,
        cell=cell,
        filled=round(calc.n_electrons / calc.spin.degeneracy),
        highest=options.highest,
        eta=options.eta,
        mesh=" ".join(map(str, mesh)),
    )
    (place / "Input").write_text(text)
    return run([program.absolute()], cwd=place)


def ours(place: Path, mesh: list[int], options, symmetry: str = "none", jobs: int = 1) -> Cost:
    """Run ``dock optics``."""
    words = ["dock", "optics", options.folder.parent, "--mesh", *mesh, "--eta", options.eta]
    words += ["--energies", 0, options.highest, round(options.highest / 0.01) + 1]
    words += ["--symmetry", symmetry, "-j", jobs, "-q", "-o", place]
    return run([str(word) for word in words])


def spectra(place: Path, place_of_peer: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return ε₂ (n, 9) of both."""
    own = np.array(json.loads(place.with_suffix(".json").read_text())["epsilon_2"])
    folder = place_of_peer / "Out" / "Optical_Conductivity"
    other = np.loadtxt(folder / "dielectric_function_imag_part.dat")[:, 1:]
    return own.reshape(-1, 9)[: len(other)], other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--pyatb", type=Path, required=True)
    parser.add_argument("--meshes", type=int, nargs=6, default=[6, 6, 1, 12, 12, 1])
    parser.add_argument("--eta", type=float, default=0.1)
    parser.add_argument("--highest", type=float, default=10.0)
    options = parser.parse_args()
    print(machine())
    calc = dock.read(options.run)
    meshes = options.meshes[:3], options.meshes[3:]
    points = [int(np.prod(mesh)) for mesh in meshes]
    rows = Problem.of(calc).size
    print(f"{calc.structure.formula}: {rows} rows, {points[0]} and {points[1]} k-points")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        options.folder = work / "run" / "OUT.ABACUS"
        about = ["--to", "abacus", "--matrices", "H,S,r", "-o", work / "run"]
        run(["dock", "convert", options.run, *about])
        kinds = {
            "pyatb": lambda mesh, n: peer(options.pyatb, work / f"p{n}", calc, mesh, options),
            "dock": lambda mesh, n: ours(work / f"w{n}.h5", mesh, options),
            "dock, two threads": lambda mesh, n: ours(work / f"t{n}.h5", mesh, options, jobs=2),
            "dock, symmetry": lambda mesh, n: ours(
                work / f"s{n}.h5", mesh, options, symmetry="point-group"
            ),
        }
        ours(work / "compiled.h5", [1, 1, 1], options)
        cpu, wall, whole = {}, {}, {}
        for kind, made in kinds.items():
            small, large = (made(mesh, n) for n, mesh in enumerate(meshes))
            cpu[kind] = (large.cpu - small.cpu) / (points[1] - points[0])
            whole[kind] = large.cpu
            wall[kind] = (large.wall - small.wall) / (points[1] - points[0])
            print(f"{kind:18} {small}\n{'':18} {large}   {1e3 * cpu[kind]:.3f} ms CPU a k-point")
        print(f"CPU a k-point, pyatb / dock: {cpu['pyatb'] / cpu['dock']:.2f}")
        for kind in ("dock", "dock, symmetry"):
            print(f"CPU in all, pyatb / {kind}: {whole['pyatb'] / whole[kind]:.2f}")
        print(f"wall of one thread / two: {wall['dock'] / wall['dock, two threads']:.2f}")
        for letter, kind in (("w", "whole mesh"), ("s", "symmetry")):
            own, other = spectra(work / f"{letter}1.h5", work / "p1")
            error = np.abs(own - other).max() / np.abs(other).max()
            print(f"largest deviation of ε₂, {kind}: {error:.1e} of its largest value")


if __name__ == "__main__":
    main()
