"""Hold H and S of a run against the eigenvalues that the code printed, to see whether all fit."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.calculation import Calculation
from dock.core.check import Finding
from dock.core.kspace import KBuilder

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
    if not {"hamiltonian", "overlap"} <= set(calc.available):
        return Finding("note", "levels", f"not compared with {where}: H or S is not there.")
    hamiltonian = KBuilder(calc.require("hamiltonian"))
    size = calc.basis.n_orbitals * (2 if hamiltonian.spinor else 1)
    if size > LARGEST:
        return Finding("note", "levels", f"not compared with {where}: {size} orbitals are many.")
    found = _levels(hamiltonian, KBuilder(calc.require("overlap"), spinor=hamiltonian.spinor), k)
    if found is None or len(found) != len(printed):
        text = f"{where} has {len(printed)} spin channels, or S is not positive definite there."
        return Finding("error", "levels", text)
    n = min(found.shape[1], printed.shape[1])
    top = calc.fermi_level if calc.fermi_level is not None else float(np.median(printed))
    occupied = printed[:, :n] < top
    off = float(np.abs(found[:, :n] - printed[:, :n])[occupied].max(initial=0.0))
    if off > limit:
        text = (
            f"the occupied levels of H and S differ by up to {off:.3g} eV from those in {where}: "
            "H, S and that file are not of one run, or the run was stopped early."
        )
        return Finding("error", "levels", text)
    text = f"H and S have the occupied levels of {where} to {off:.1e} eV."
    return Finding("ok", "levels", text)


def _levels(hamiltonian: KBuilder, overlap: KBuilder, k: ArrayLike) -> NDArray[np.float64] | None:
    """Return (n_channels, n_bands) eV; None where S is not positive definite."""
    parts = hamiltonian.dense(k)
    parts = parts if parts.ndim == 3 else parts[None]
    try:
        factor = np.linalg.cholesky(overlap.dense(k))
    except np.linalg.LinAlgError:
        return None
    left = np.linalg.solve(factor, parts)
    levels = np.linalg.eigvalsh(np.linalg.solve(factor, left.conj().swapaxes(-1, -2)))
    return np.asarray(levels, dtype=np.float64)
