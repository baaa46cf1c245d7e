"""Structure builders: twisted bilayers, perturbed copies, supercells and shifted layers."""

from __future__ import annotations

from dock.structures.built import BuiltStructure
from dock.structures.modify import perturb, shift_layers, write_perturbed
from dock.structures.twisted import (
    TwistedBilayer,
    commensurate_integers,
    hexagonal_layer,
    lattice_angle,
    twisted_bilayer,
)

__all__ = [
    "BuiltStructure",
    "TwistedBilayer",
    "commensurate_integers",
    "hexagonal_layer",
    "lattice_angle",
    "perturb",
    "shift_layers",
    "twisted_bilayer",
    "write_perturbed",
]
