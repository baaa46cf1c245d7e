"""Solve runs by SLEPc in all processes of mpirun; the first writes what it found as JSON and .npz.

``spread.py OUT FOLDER...``: the states of `questions` in each folder. A folder is looked for in the
folder ``DOCK_RANK_<rank>`` of the environment, if there is one: so processes see different files.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

import dock
from dock.core.spin import Spin
from dock.errors import DockError
from dock.states.problem import Problem
from dock.states.ranks import Ranks
from dock.states.slepc.solver import Slepc
from dock.states.solver import Want

K_POINTS = ((0.13, 0.21, 0.07), (0.0, 0.0, 0.0))  # of spins the first alone
OF_SPINS = ("nearest",)  # and this question


def questions(around):
    """What is asked of a run of about this energy: a window, states around it, bands, nothing."""
    return {
        "window": Want(window=(around - 6.0, around + 3.0)),
        "nearest": Want(nearest=(5, around), vectors=True),
        "bands": Want(bands=(2, 5)),
        "empty": Want(window=(-3000.0, -2999.0)),
    }


def solve(solver, folder, out):
    """Write all states of a run; return what is said of them."""
    calc = dock.read(folder)
    problem = Problem.of(calc)
    facts, arrays = [], {}
    for channel in range(problem.n_channels):
        for number, k_frac in enumerate(K_POINTS[: 2 if calc.spin is Spin.NONE else 1]):
            for name, want in questions(calc.fermi_level or 0.0).items():
                if calc.spin is not Spin.NONE and name not in OF_SPINS:
                    continue
                found = solver.solve(problem, channel, np.array(k_frac), want)
                label = f"{channel}-{number}-{name}"
                arrays[label] = found.energies
                if want.vectors:
                    arrays[f"{label}-vectors"] = found.vectors
                facts.append(
                    [label, found.n_below, found.certificate.counted, found.certificate.residual_eV]
                )
    np.savez(out.with_suffix(".npz"), **arrays)
    whole = any(name in vars(problem) for name in ("hamiltonian", "overlap"))
    return {"facts": facts, "held_all": whole, "memory_bytes": solver.memory_bytes}


def main(out, *folders):
    ranks = Ranks.world() if "OMPI_COMM_WORLD_SIZE" in os.environ else Ranks()
    os.chdir(os.environ.get(f"DOCK_RANK_{ranks.rank}", "."))
    if not ranks.is_root:
        ranks.serve()
        return
    try:
        solver = Slepc(ranks)
        answer = {}
        for number, folder in enumerate(folders):
            answer[folder] = solve(solver, folder, Path(f"{out}-{number}"))
        Path(out).write_text(json.dumps(answer))
    except DockError as error:
        Path(out).write_text(f"{type(error).__name__}: {error}")
    finally:
        ranks.dismiss()


if __name__ == "__main__":
    main(*sys.argv[1:])
