"""Moments in closed forms: every function of places, times products of the moments at its ends.

One channel of collinear spin is a function of the moments along it (`TargetLayout.per_spin`). To
lowest orders it has the terms 1, m_i, m_j and m_i m_j on a bond, and 1, m_i and m_i² on an atom.
"""

from __future__ import annotations

import numpy as np

from dock.core.arrays import FloatArray
from dock.errors import LayoutError
from dock.models.graph import Graph, GraphPart

__all__ = ["BOND_DEGREES", "SITE_DEGREES", "bond_factors", "scaled_moments", "site_factors"]

BOND_DEGREES = (0, 1, 1, 2)
"""How many moments each factor of a bond has."""

SITE_DEGREES = (0, 1, 2)
"""How many moments each factor of an atom has."""


def scaled_moments(graph: Graph, unit: float) -> FloatArray | None:
    """Return the moments of all atoms in a unit; None for the unit 0, of a form without moments."""
    if not unit:
        return None
    if graph.moments is None:
        raise LayoutError("the model takes a spin moment of each atom; the graph has none.")
    return np.asarray(graph.moments[:, 2] / unit)


def bond_factors(graph: Graph | GraphPart, moments: FloatArray) -> FloatArray:
    """Return 1, m_i, m_j and m_i m_j of the edges, (n_edges, 4)."""
    first = graph.atoms.start if isinstance(graph, GraphPart) else 0
    own, other = moments[graph.receiver + first], moments[graph.sender]
    return np.stack([np.ones_like(own), own, other, own * other], axis=1)


def site_factors(moments: FloatArray) -> FloatArray:
    """Return 1, m_i and m_i² of atoms, (n_atoms, 3)."""
    return np.stack([np.ones_like(moments), moments, moments**2], axis=1)
