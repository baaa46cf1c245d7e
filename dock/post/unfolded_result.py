"""What every result along a path of a supercell's primitive cell has: both cells and the path."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock._version import __version__
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.results import Result
from dock.states.kpath import KPath

__all__ = ["UnfoldedResult"]


@dataclass(frozen=True, eq=False, repr=False)
class UnfoldedResult(Result):
    """A result of a supercell at wave vectors of its primitive cell.

    Attributes
    ----------
    primitive
        The primitive cell and one atom for each site.
    supercell : (3, 3) int
        Rows: the supercell's lattice vectors in those of the primitive cell.
    spin, path
        What was computed; the path is in fractions of the primitive reciprocal vectors.
    energies
        eV, absolute.
    """

    FILE = "unfold.h5"
    FIGURE = (4.8, 4.2)

    primitive: Structure
    supercell: NDArray[np.int64]
    spin: Spin
    path: KPath
    energies: NDArray[np.float64]

    @cached_property
    def n_cells(self) -> int:
        """Primitive cells in the supercell."""
        return abs(round(float(np.linalg.det(self.supercell))))

    def facts(self) -> dict[str, Any]:
        """Return cells, spin and path, by key; see `dock.results.KEYS`."""
        return {
            "written_by": f"dock {__version__}",
            "formula": self.primitive.formula,
            "n_cells": self.n_cells,
            "supercell": self.supercell.tolist(),
            "spin": self.spin.value,
            "n_kpoints": self.path.n_kpoints,
            "path_note": self.path.note,
        }

    def datasets(self) -> dict[str, Any]:
        """Return cells and path by the names of ``unfold.h5``."""
        cells = {"supercell": self.supercell, "primitive_cell": self.primitive.cell}
        return {**cells, **self.path.datasets()}

    def write_hdf5(self, file: Any) -> None:
        """Write `datasets`, and `facts` as attributes; A(k, E) has its unit."""
        super().write_hdf5(file)
        file["spectral"].attrs["unit"] = "1/eV"

    @property
    def path_words(self) -> str:
        """The path in words."""
        labels = " ".join(f"{first}–{last}" for first, last in self.path.labels)
        return f"{labels}, {self.path.n_kpoints} k-points"
