"""Two-centre integrals in linear time: overlap, kinetic energy, position, and their gradients."""

from __future__ import annotations

from dock.overlap.assemble import Integrals, compute_integrals, compute_overlap

__all__ = ["Integrals", "compute_integrals", "compute_overlap"]
