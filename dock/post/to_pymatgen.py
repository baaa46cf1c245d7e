"""Results as pymatgen objects, for sumo, IFermi, pyprocar and the rest of that world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dock.core.interop import require
from dock.errors import UsageError
from dock.post.band_structure import BandStructure

if TYPE_CHECKING:
    from pymatgen.electronic_structure.bandstructure import BandStructureSymmLine

__all__ = ["band_structure"]


def band_structure(result: BandStructure) -> BandStructureSymmLine:
    """Return a ``BandStructureSymmLine`` with absolute energies.

    Parameters
    ----------
    result
        Bands; every k-point must have all of them.

    Raises
    ------
    UsageError
        When the Fermi level is unknown, or a k-point lacks a band.
    DependencyError
        Without pymatgen.
    """
    level = result.gap.fermi_level
    if level is None:
        raise UsageError("pymatgen needs a Fermi level: give the data one, or the electron count.")
    if np.any(np.isnan(result.energies)):
        raise UsageError("pymatgen needs the same number of bands at every k-point.")
    module = require("pymatgen.electronic_structure.bandstructure", "pymatgen")
    core = require("pymatgen.electronic_structure.core", "pymatgen")
    lattice = require("pymatgen.core.lattice", "pymatgen")
    spins = (core.Spin.up, core.Spin.down)
    energies = {spins[channel]: part.T for channel, part in enumerate(result.energies)}
    labels: dict[str, Any] = {}
    for ends, vectors in zip(result.path.labels, result.path.hsk_vectors, strict=True):
        for name, vector in zip(ends, vectors, strict=True):
            labels["\\Gamma" if name.upper() in {"G", "GAMMA"} else name] = vector
    line: BandStructureSymmLine = module.BandStructureSymmLine(
        result.path.kpoints_frac,
        energies,
        lattice.Lattice(result.structure.reciprocal),
        level,
        labels,
        structure=result.structure.to_pymatgen(),
    )
    return line
