"""Tensors of a crystal: what symmetry makes of a sum over the irreducible points of a mesh."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.states.kmesh import KMesh

__all__ = ["averaged"]


def averaged(
    tensor: NDArray[Any],
    mesh: KMesh,
    rank: int,
    *,
    axial: bool = False,
    time: str = "even",
) -> NDArray[Any]:
    """Return a sum over irreducible points as that over the whole mesh.

    It is averaged over the operations that reduced the mesh.

    Parameters
    ----------
    tensor
        (…, 3, …, 3): the last `rank` axes are Cartesian components.
    axial
        It takes the determinant of a rotation along: Berry curvature, spin.
    time
        What time reversal does: nothing (``even``), a minus sign (``odd``), or the last two
        components change places (``transposed``), as those of a conductivity do (Onsager).
    """
    if mesh.symmetry is None:
        return tensor
    total = np.zeros_like(tensor)
    for operation in mesh.symmetry.operations:
        turned = tensor
        for axis in range(-rank, 0):
            turned = np.moveaxis(np.tensordot(turned, operation.Q, axes=(axis, 1)), -1, axis)
        if axial:
            turned = turned * np.rint(np.linalg.det(operation.Q))
        if operation.reverses_time and time != "even":
            turned = -turned if time == "odd" else turned.swapaxes(-1, -2)
        total += turned
    result: NDArray[Any] = total / len(mesh.symmetry.operations)
    return result
