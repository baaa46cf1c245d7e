"""The joint density of states by tetrahedra: sharp edges without a broadening."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.errors import UsageError
from dock.response.filling import MeshFilling
from dock.response.mesh_sum import half_weights
from dock.response.operators import Operators
from dock.states.kmesh import KMesh
from dock.states.solver import Want
from dock.states.stream import levels
from dock.states.tetrahedra import Tetrahedra

__all__ = ["tetrahedral_pairs"]


def tetrahedral_pairs(
    operators: Operators,
    mesh: KMesh,
    energies: NDArray[np.float64],
    filling: MeshFilling,
    *,
    s_threshold: float | None = None,
    **run: Any,
) -> tuple[NDArray[np.float64], float | None]:
    """Return the joint density of states of a crystal with a gap, and its change from half a mesh.

    Parameters
    ----------
    energies : (n,)
        Even energies, eV: values are means over the bins about them.
    run
        Solver, jobs and progress of `dock.states.stream.levels`.

    Returns
    -------
    density : (n,)
        Pairs per eV and cell, both spins.
    change
        Largest change against half the mesh, over the largest value; None without a half.
    """
    step = _step(energies)
    filling.require_gap("a joint density of states by tetrahedra", operators.calc.source)
    found = levels(operators.problem, mesh.points, Want(s_threshold=s_threshold), **run).energies
    usable = found[:, :, np.isfinite(found).all(axis=(0, 1))]

    def density(of: KMesh, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        tetrahedra, total = Tetrahedra.of(of, operators.structure), np.zeros(len(energies))
        for channel in usable[:, rows]:
            n = int(np.sum(channel[0] < filling.level))
            pairs = channel[:, None, n:] - channel[:, :n, None]
            flat = pairs.reshape(len(rows), -1)
            total += tetrahedra.bin_states(flat, energies[0] - 0.5 * step, step, len(energies))
        return operators.electrons_per_state * total / step

    whole = density(mesh, np.arange(mesh.n_points))
    if half_weights(mesh) is None or not np.abs(whole).max():
        return whole, None
    coarse = KMesh.full(tuple(max(1, n // 2) for n in mesh.size))
    steps = [2 if n > 1 else 1 for n in mesh.size]
    numbers = mesh.index.reshape(mesh.size)[tuple(slice(None, None, s) for s in steps)].ravel()
    change = np.abs(whole - density(coarse, numbers)).max() / np.abs(whole).max()
    return whole, float(change)


def _step(energies: NDArray[np.float64]) -> float:
    steps = np.diff(energies)
    if not len(steps) or not np.allclose(steps, steps[0], rtol=1e-6, atol=0):
        raise UsageError("a joint density of states by tetrahedra needs evenly spaced energies.")
    return float(steps[0])
