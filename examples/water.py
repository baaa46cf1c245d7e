"""Make a training set of water molecules with PySCF: unified folders, ready for dock train.

    python examples/water.py OUT [--count 600] [--jobs 2]

PBE, GTH pseudopotentials, gth-dzvp (23 orbitals). Each Cartesian coordinate of the experimental
geometry is displaced by a normal deviate of 0.06 Å; structure i depends on the seed and i alone, so
that a larger set contains the smaller one. Folders that are there already are kept.
"""

from __future__ import annotations

import argparse
import json
import os
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from dock.threads import available_cpus

GEOMETRY = np.array([[0.0, 0.0, 0.1173], [0.0, 0.7572, -0.4692], [0.0, -0.7572, -0.4692]])


def make(task: tuple[Path, int, int]) -> str:
    """Compute one molecule and write its folder."""
    from pyscf import dft, gto, lib

    import dock
    from dock.converters import WriteOptions
    from dock.converters.pyscf import from_scf

    out, index, seed = task
    folder = out / f"{index:03d}"
    if (folder / "info.json").is_file():
        return folder.name
    lib.num_threads(1)
    rng = np.random.default_rng([seed, index])
    positions = GEOMETRY + rng.normal(0, 0.06, (3, 3))
    molecule = gto.M(
        atom=list(zip(["O", "H", "H"], positions, strict=True)),
        basis="gth-dzvp",
        pseudo="gth-pbe",
        verbose=0,
    )
    run = dft.RKS(molecule, xc="pbe")
    run.grids.level = 3
    run.conv_tol = 1e-10
    run.kernel()
    if not run.converged:
        raise SystemExit(f"{folder}: the SCF did not converge")
    options = WriteOptions(quantities=("overlap", "hamiltonian"))
    dock.write(from_scf(run), folder, options=options)
    return folder.name


def main() -> None:
    """Read the command line and make the set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=available_cpus())
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    tasks = [(given.out, index, given.seed) for index in range(given.count)]
    with get_context("spawn").Pool(given.jobs) as pool:
        names = pool.map(make, tasks, chunksize=1)
    first, second = given.count * 2 // 3, given.count * 5 // 6
    split = {"train": names[:first], "validate": names[first:second], "test": names[second:]}
    (given.out / "split.json").write_text(json.dumps(split) + "\n", encoding="utf-8")
    print(f"{given.out}: {len(names)} molecules")


if __name__ == "__main__":
    main()
