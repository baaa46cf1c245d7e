"""Spin moments of atoms that a model takes as input: from a file, or from the density matrix."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from dock.core.arrays import FloatArray
from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.errors import FormatError

__all__ = ["MOMENTS_FILE", "moments_of", "spin_moments"]

MOMENTS_FILE = "moments.json"


def spin_moments(density: AOMatrix, overlap: AOMatrix) -> FloatArray:
    """Return Mulliken spin moments (n_atoms, 3) in μ_B; zeros without spin.

    m = Σ_j of P_ij S_ij over the orbitals i of each atom: m_z from up minus down, m_x and m_y from
    the spin-off-diagonal part.
    """
    density, overlap = density.aligned(overlap)
    n_atoms = density.structure.n_atoms
    moments = np.zeros((n_atoms, 3))
    if density.spin is Spin.NONE:
        return moments
    product = density.entries * overlap.entries[0]
    sums = np.add.reduceat(product, density.layout.starts[:-1], axis=1)
    by_atom = np.zeros((len(sums), n_atoms), dtype=sums.dtype)
    for component, row in enumerate(sums):
        np.add.at(by_atom[component], density.pairs.i, row)
    if density.spin is Spin.COLLINEAR:
        moments[:, 2] = by_atom[0] - by_atom[1]
        return moments
    moments[:, 0] = 2 * by_atom[1].real
    moments[:, 1] = -2 * by_atom[1].imag
    moments[:, 2] = (by_atom[0] - by_atom[3]).real
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
    return spin_moments(calc.require("density_matrix", fix), calc.require("overlap", fix))
