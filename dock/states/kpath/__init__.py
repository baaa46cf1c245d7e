"""Paths through the Brillouin zone: from a file, from a string, or from the structure.

Coordinates are always fractions of the reciprocal vectors of the cell that the Hamiltonian
belongs to. No cell is standardised on the way: a Hamiltonian is tied to its own cell.
"""

from dock.states.kpath.path import KPath, labelled_point, make_path
from dock.states.kpath.special import SpecialPoints, special_points, vacuum_axes

__all__ = [
    "KPath",
    "SpecialPoints",
    "labelled_point",
    "make_path",
    "special_points",
    "vacuum_axes",
]
