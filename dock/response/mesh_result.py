"""What results of sums over a mesh have in common: crystal, mesh, filling, and how converged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dock.core.structure import Structure
from dock.response.filling import MeshFilling
from dock.results import Result
from dock.states.kmesh import KMesh

__all__ = ["MeshResult"]


@dataclass(frozen=True, eq=False, repr=False)
class MeshResult(Result):
    """A result of a sum over a mesh; base of spectra and of transport.

    Attributes
    ----------
    structure, mesh, filling
        What was computed.
    half_change
        Largest change against half the mesh, over the largest value; None without a half.
    """

    BRIEF = True

    structure: Structure
    mesh: KMesh
    filling: MeshFilling
    half_change: float | None = field(default=None, kw_only=True)

    def facts(self) -> dict[str, Any]:
        """Return filling, mesh and convergence by key; see `dock.results.KEYS`."""
        return {
            "formula": self.structure.formula,
            **self.filling.facts(),
            **self.mesh.facts(),
            "half_mesh_change": self.half_change,
        }
