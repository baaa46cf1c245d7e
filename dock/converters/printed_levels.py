"""Hold H and S of a run against the eigenvalues that the code printed, to see whether all fit."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.calculation import Calculation
from dock.core.check import Finding
from dock.errors import SolverError

__all__ = ["compare_levels"]

LARGEST = 600
"""Orbitals (with spin) up to which one k-point is diagonalised for the comparison."""


def compare_levels(
    calc: Calculation, k: ArrayLike, printed: NDArray[np.float64], where: str, limit: float
) -> Finding:
    """Compare the occupied eigenvalues at one k-point with those of the code's own output.

    Parameters
    ----------
    calc
        The run.
    k
        (3,) fractional.
    printed
        (n_channels, n_bands) eV, ascending.
    where
        Name of the file that has them.
    limit
        Largest difference, eV, that the digits of the k-point and of the file explain.
    """
    # A conversion imports this module and compares nothing: 0.01 s of its start.
    from dock.states.problem import Problem
    from dock.states.stream import levels

    if not {"hamiltonian", "overlap"} <= set(calc.available):
        return Finding("note", "levels", f"not compared with {where}: H or S is not there.")
    problem = Problem.of(calc)
    if problem.size > LARGEST:
        text = f"not compared with {where}: {problem.size} orbitals are many."
        return Finding("note", "levels", text)
    if problem.n_channels != len(printed):
        text = f"{where} has {len(printed)} spin channels, H and S {problem.n_channels}."
        return Finding("error", "levels", text)
    try:
        energies = levels(problem, k).energies[:, 0]
    except SolverError as error:
        return Finding("error", "levels", f"not compared with {where}: {error}")
    n = min(energies.shape[1], printed.shape[1])
    top = calc.fermi_level if calc.fermi_level is not None else float(np.median(printed))
    occupied = printed[:, :n] < top
    off = float(np.abs(energies[:, :n] - printed[:, :n])[occupied].max(initial=0.0))
    if off > limit:
        text = (
            f"the occupied levels of H and S differ by up to {off:.3g} eV from those in {where}: "
            "H, S and that file are not of one run, or the run was stopped early."
        )
        return Finding("error", "levels", text)
    text = f"H and S have the occupied levels of {where} to {off:.1e} eV."
    return Finding("ok", "levels", text)
