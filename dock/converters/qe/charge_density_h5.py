"""``charge_density.h5`` of a unified folder: a density on a real-space grid.

Datasets: ``shape`` (3,), ``entries`` (n1·n2·n3, C order) the total density and, with spin,
``magnetization`` (1 or 3, n1·n2·n3): up − down, or m_x, m_y, m_z. Unit: electrons/Å³. Grid point
(a, b, c) lies at a/n1 of the first lattice vector, b/n2 of the second and c/n3 of the third.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock._version import __version__
from dock.converters.deeph.poscar import read_poscar
from dock.core.arrays import FloatArray, frozen
from dock.errors import FormatError, LayoutError, MissingDataError
from dock.io.hdf5 import new_hdf5, open_hdf5
from dock.io.refusal import Refusal

__all__ = ["GRID_FILE", "GridDensity", "read_grid", "write_grid"]

GRID_FILE = "charge_density.h5"
_UNIT = "electrons/angstrom^3"
_FIX = "The file is damaged or of another program: convert the run again."
_damaged = Refusal(damaged_fix=_FIX).damaged


@dataclass(frozen=True, eq=False)
class GridDensity:
    """A charge density on a regular grid of the cell.

    Parameters
    ----------
    cell
        (3, 3) lattice vectors as rows, Å.
    values
        (n_components, n1, n2, n3), electrons/Å³: total; or total and up − down; or total, m_x,
        m_y, m_z.
    facts
        What a plane-wave code needs beside it: ``ecutrho_hartree``, ``alat_bohr``,
        ``gamma_only``.

    Raises
    ------
    LayoutError
        When shapes are wrong or numbers not finite.
    """

    cell: FloatArray
    values: FloatArray
    facts: Mapping[str, float | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cell", frozen("cell", self.cell, np.float64, (3, 3)))
        values = frozen("values", self.values, np.float64, (None, None, None, None))
        if len(values) not in (1, 2, 4) or values.size == 0:
            raise LayoutError(f"a density has 1, 2 or 4 components, found shape {values.shape}.")
        object.__setattr__(self, "values", values)

    @property
    def n_electrons(self) -> float:
        """Integral of the total density over the cell."""
        return float(self.values[0].mean() * abs(np.linalg.det(self.cell)))


def write_grid(path: Path, density: GridDensity) -> None:
    """Write ``charge_density.h5`` atomically."""
    values = density.values.reshape(len(density.values), -1)
    with new_hdf5(path) as file:
        file.create_dataset("shape", data=np.array(density.values.shape[1:], dtype=np.int64))
        file.create_dataset("entries", data=values[0])
        if len(values) > 1:
            file.create_dataset("magnetization", data=values[1:])
        file.attrs["unit"] = _UNIT
        file.attrs["cell_angstrom"] = density.cell
        file.attrs["n_electrons"] = density.n_electrons
        file.attrs["written_by"] = f"dock {__version__}"
        for name, value in density.facts.items():
            file.attrs[name] = value


def read_grid(path: str | Path) -> GridDensity:
    """Read ``charge_density.h5``, or that of a unified folder.

    The cell comes from the file's attributes, or from POSCAR beside it.

    Raises
    ------
    MissingDataError
        When there is no such file, or no cell.
    FormatError
        When it is damaged.
    """
    path = Path(path)
    path = path / GRID_FILE if path.is_dir() else path
    with open_hdf5(path, _FIX) as file:
        shape = _shape(path, file)
        size = int(np.prod(shape))
        parts = [_values(path, file["entries"], (size,))[None]]
        if "magnetization" in file:
            components = file["magnetization"].shape[0]
            parts.append(_values(path, file["magnetization"], (components, size)))
        unit = file.attrs.get("unit", _UNIT)
        cell = file.attrs.get("cell_angstrom")
        known = ("ecutrho_hartree", "alat_bohr", "gamma_only")
        facts = {name: file.attrs[name].item() for name in known if name in file.attrs}
    if unit != _UNIT:
        raise FormatError(path, "the unit is not known", expected=_UNIT, found=unit)
    values = np.concatenate(parts).reshape(-1, *shape)
    try:
        return GridDensity(_cell(path) if cell is None else np.asarray(cell), values, facts)
    except LayoutError as error:
        raise FormatError(path, str(error).rstrip("."), fix=_FIX) from error


def _shape(path: Path, file: Any) -> tuple[int, int, int]:
    shape = np.ravel(file["shape"][()])
    if shape.dtype.kind not in "iu" or shape.shape != (3,) or shape.min() < 1:
        _damaged(path, "the grid is wrong", "three counts", shape, "shape")
    return int(shape[0]), int(shape[1]), int(shape[2])


def _values(path: Path, dataset: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    if dataset.shape != shape or dataset.dtype.kind != "f":
        expected = f"floating-point numbers of shape {shape}"
        found = f"{dataset.dtype} of shape {dataset.shape}"
        problem = "a dataset has the wrong length or type"
        _damaged(path, problem, expected, found, dataset.name)
    return np.asarray(dataset[()], dtype=np.float64)


def _cell(path: Path) -> NDArray[np.float64]:
    """Return the cell of POSCAR beside a file that another program wrote."""
    poscar = path.parent / "POSCAR"
    if not poscar.is_file():
        raise MissingDataError("POSCAR", path.parent, "It holds the cell of the density's grid.")
    return np.asarray(read_poscar(poscar).cell)
