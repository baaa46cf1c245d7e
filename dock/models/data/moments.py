"""Spin moments of atoms that a model takes as input: from a file, or from the density matrix."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from dock.core.arrays import FloatArray
from dock.core.calculation import Calculation
from dock.core.density import require_density
from dock.core.matrix import AOMatrix
from dock.errors import FormatError
from dock.states.mulliken import orbital_populations

__all__ = ["MOMENTS_FILE", "moments_of", "spin_moments"]

MOMENTS_FILE = "moments.json"


def spin_moments(density: AOMatrix, overlap: AOMatrix) -> FloatArray:
    """Return Mulliken spin moments (n_atoms, 3) in μ_B; zeros without spin.

    They are those of `dock.states.mulliken`, summed over the orbitals of each atom.
    """
    orbitals = orbital_populations(density, overlap)
    moments: FloatArray = np.add.reduceat(orbitals, density.basis.offsets[:-1], axis=0)[:, 1:]
    return moments


def moments_of(folder: Path, calc: Calculation) -> FloatArray:
    """Return the spin moments that a model takes as input.

    Read from ``moments.json`` (a list of three numbers in μ_B per atom) beside the matrices, else
    computed from the density matrix (Mulliken).

    Raises
    ------
    FormatError
        When the file does not hold three numbers for each atom.
    MissingDataError
        When there is neither.
    """
    path = Path(folder) / MOMENTS_FILE
    n_atoms = calc.structure.n_atoms
    if path.is_file():
        try:
            found = np.asarray(json.loads(path.read_text(encoding="utf-8")), dtype=np.float64)
        except (ValueError, TypeError, UnicodeDecodeError) as error:
            found, problem = np.zeros(0), str(error)
        else:
            problem = f"an array of shape {found.shape}"
        if found.shape != (n_atoms, 3) or not np.isfinite(found).all():
            raise FormatError(
                path,
                "no spin moments",
                expected=f"a list of {n_atoms} lists of three finite numbers (μ_B)",
                found=problem,
                fix="Write one [mx, my, mz] for each atom in the order of POSCAR.",
            )
        return found
    fix = f"Write the moments into {MOMENTS_FILE}, or give density_matrix.h5."
    return spin_moments(require_density(calc, fix), calc.require("overlap", fix))
