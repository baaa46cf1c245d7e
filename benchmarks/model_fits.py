"""Is the network expressive enough? Fit it to one structure of each kind.

    python benchmarks/model_fits.py RUN [RUN ...] [--steps 3000] [--time-reversal] [--only-averaged]

A DFT code integrates on a grid that breaks the symmetry of the crystal by up to a few meV; an
equivariant network cannot follow. So the labels are also averaged over the symmetry of the
structure, and both errors are given with what the averaging changed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from _measure import machine, run
from models import DOCK
from scipy.spatial.transform import Rotation

import dock
from dock.converters import WriteOptions
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin

OPTIONS = """
[system]
float_type = "{precision}"
[data]
inputs_dir = "{data}"
outputs_dir = "{out}"
moments = {moments}
[model]
time_reversal = "{reversal}"
[process.train]
max_epoch = {steps}
ema_decay = 0.99
validate_interval = {interval}
[process.train.dataloader]
only_use_train_loss = true
train_size = 1
validate_size = 0
test_size = 0
[process.train.optimizer]
init_learning_rate = 3e-3
weight = 0.0
"""
K_POINTS = ([0, 0, 0], [0.5, 0, 0], [1 / 3, 1 / 3, 0], [0.1, 0.2, 0.3])


def symmetrised(matrix: AOMatrix, overlap: AOMatrix) -> AOMatrix:
    """Return the average over the symmetry of the structure; of a diatomic, about its axis too."""
    structure = matrix.structure
    if structure.n_atoms == 2 and not any(structure.pbc):
        axis = structure.positions[1] - structure.positions[0]
        axis = axis / np.linalg.norm(axis)
        turns = Rotation.from_rotvec(np.arange(24)[:, None] * (np.pi / 12) * axis).as_matrix()
        return matrix.with_entries(np.mean([matrix.rotate(turn).entries for turn in turns], axis=0))
    from dock.states.symmetry import find_symmetry

    return find_symmetry(matrix, overlap, tolerance=0.05).symmetrise(matrix)


def levels(matrix: AOMatrix, overlap: AOMatrix, electrons: float) -> np.ndarray:
    """Return the occupied levels and a third as many empty ones at some k-points, eV."""
    from scipy.linalg import eigh

    found = []
    for k in K_POINTS:
        S, H = overlap.k(k), matrix.k(k)
        if matrix.spin is Spin.NONCOLLINEAR:
            S = np.kron(np.eye(2), S)
        per_state = 2 if matrix.spin is Spin.NONE else 1
        for one in H if H.ndim == 3 else [H]:
            count = int(np.ceil(electrons / per_state * 1.33))
            if matrix.spin is Spin.COLLINEAR:
                count = int(np.ceil(count / 2))
            found.append(eigh(one, S, eigvals_only=True)[: min(count, len(one))])
    return np.concatenate(found)


def fit(path: Path, given: argparse.Namespace, *, average: bool) -> None:
    """Fit one structure and print the errors."""
    folder = Path(tempfile.mkdtemp())
    calc = dock.read(path)
    H, S = calc.require("hamiltonian").hermitian_part(), calc.require("overlap")
    label = symmetrised(H, S) if average else H
    changed = 1e3 * np.abs((label - H).entries).mean()
    moved = 1e3 * np.abs(levels(label, S, calc.n_electrons) - levels(H, S, calc.n_electrons)).max()
    matrices = {"hamiltonian": label, "overlap": S}
    names: tuple[str, ...] = ("overlap", "hamiltonian")
    moments = calc.spin is Spin.NONCOLLINEAR and not given.time_reversal
    if moments:
        matrices["density_matrix"] = calc.require("density_matrix")
        names = (*names, "density_matrix")
    target = folder / "data" / "one"
    dock.write(replace(calc, matrices=matrices), target, options=WriteOptions(quantities=names))
    options = folder / "train.toml"
    options.write_text(
        OPTIONS.format(
            data=folder / "data",
            out=folder / "run",
            moments=str(moments).lower(),
            reversal="on" if given.time_reversal else "auto",
            steps=given.steps,
            precision=given.precision,
            interval=given.steps // 10,
        )
    )
    cost = run([DOCK, "train", options, "--quiet"])
    run([DOCK, "infer", folder / "run", target, "-o", folder / "out"])
    made = dock.read(folder / "out").hamiltonian
    wanted = dock.read(target).hamiltonian
    error = 1e3 * np.abs((made - wanted).entries)
    S = dock.read(target).overlap
    bands = levels(made, S, calc.n_electrons) - levels(wanted, S, calc.n_electrons)
    row = {
        "run": path.name,
        "labels": "averaged" if average else "as they are",
        "averaging changed H, meV": round(changed, 3),
        "and levels, meV": round(moved, 3),
        "MAE H, meV": round(float(error.mean()), 4),
        "levels, meV": round(1e3 * float(np.abs(bands).max()), 3),
        "CPU s": round(cost.cpu),
    }
    if made.spin is Spin.NONCOLLINEAR and given.time_reversal:
        from scipy.linalg import eigh

        at_gamma = eigh(made.k([0, 0, 0]), np.kron(np.eye(2), S.k([0, 0, 0])), eigvals_only=True)
        row["Kramers, eV"] = float(np.abs(at_gamma[::2] - at_gamma[1::2]).max())
    print(json.dumps(row), flush=True)


def main() -> None:
    """Read the command line and fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--time-reversal", action="store_true")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--only-averaged", action="store_true", help="leave the raw labels out")
    given = parser.parse_args()
    print(f"machine: {machine()}")
    for path in given.runs:
        for average in (True,) if given.only_averaged else (False, True):
            fit(path, given, average=average)


if __name__ == "__main__":
    main()
