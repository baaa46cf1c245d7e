"""Twisted bilayers, perturbed copies, supercells, shifted layers, and lattice models."""

from __future__ import annotations

from dock.structures.built import BuiltStructure
from dock.structures.lattice_models import haldane, kane_mele, lattice_model
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
    "haldane",
    "hexagonal_layer",
    "kane_mele",
    "lattice_angle",
    "lattice_model",
    "perturb",
    "shift_layers",
    "twisted_bilayer",
    "write_perturbed",
]
