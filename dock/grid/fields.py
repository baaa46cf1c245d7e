"""Functions on a grid as a result: HDF5, cube or xsf files, and their figure."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.structure import Structure
from dock.errors import UsageError
from dock.grid.cube_xsf import write_cube, write_xsf
from dock.grid.grid import Grid
from dock.results import Result, require_absent

__all__ = ["GridFields", "draw_sum"]

_SUFFIXES = (".h5", ".cube", ".xsf")

Field = NDArray[np.float64]
"""A real function on a grid, (N_1, N_2, N_3)."""


class GridFields(Result):
    """Base of results that are functions on a grid; the name of the file chooses its kind."""

    FIGURE = (5.2, 4.4)

    grid: Grid

    @abstractmethod
    def fields(self) -> Iterator[tuple[str, Field]]:
        """Yield names and values of the real functions that cube and xsf files get."""

    @abstractmethod
    def cube(self, path: Path, name: str) -> tuple[Path, float, str]:
        """Return the cube file of a field, the factor to units of Bohr, and the first line."""

    @abstractmethod
    def cube_names(self) -> Sequence[str]:
        """Return all names that `fields` may yield."""

    @classmethod
    def files(cls, path: str | Path) -> list[Path]:
        """Return the files of a path; raises `UsageError` unless it ends in .h5, .cube or .xsf."""
        path = Path(path)
        if path.suffix.lower() not in _SUFFIXES:
            raise UsageError(f"{path}: a function on a grid is written as .h5, .cube or .xsf.")
        return [path, path.with_suffix(".json")]

    def save(self, path: str | Path | None = None, *, overwrite: bool = False) -> list[Path]:
        """Write an HDF5 file, cube files (``.cube``) or one ``.xsf`` file, and a JSON file.

        A cube file has one function: others are written beside it. Raises as `Result.save` and,
        for another ending, `files`.
        """
        path, beside = self.files(self.FILE if path is None else path)
        suffix = path.suffix.lower()
        if suffix == ".h5":
            return super().save(path, overwrite=overwrite)
        structure = self.grid.structure
        if suffix == ".xsf":
            require_absent([path, beside], overwrite=overwrite)
            written = [write_xsf(path, structure, dict(self.fields()), overwrite=overwrite)]
        else:
            targets = [self.cube(path, name)[0] for name in self.cube_names()]
            require_absent([*targets, beside], overwrite=overwrite)
            written = []
            for name, values in self.fields():
                target, factor, comment = self.cube(path, name)
                scaled = values * factor
                write_cube(target, structure, scaled, comment=comment, overwrite=overwrite)
                written.append(target)
        self.write_json(beside, overwrite=overwrite)
        return [*written, beside]


def draw_sum(
    axes: Any,
    structure: Structure,
    values: Field,
    axis: int,
    *,
    label: str,
    signed: bool = False,
) -> None:
    """Draw a function summed along lattice vector 0, 1 or 2, in the plane of the other two.

    The figure gets a colour bar with the label; colours tell positive from negative values where
    the function is `signed`. Another axis raises `UsageError`.
    """
    if axis not in (0, 1, 2):
        raise UsageError(f"the axis is 0, 1 or 2, found {axis}.")
    length = float(np.linalg.norm(structure.cell[axis]))
    summed = values.sum(axis=axis) * length / values.shape[axis]
    first, second = (number for number in range(3) if number != axis)
    x, y = _in_plane(structure.cell[first], structure.cell[second], summed.shape)
    bound = float(np.abs(summed).max()) or 1.0
    image = axes.pcolormesh(
        x,
        y,
        np.pad(summed, ((0, 1),) * 2, mode="wrap"),
        cmap="RdBu_r" if signed else "magma_r",
        vmin=-bound if signed else 0,
        vmax=bound,
        shading="gouraud",
        rasterized=True,
    )
    axes.set_aspect("equal")
    axes.set_xlabel("Å")
    axes.set_ylabel("Å")
    axes.figure.colorbar(image, ax=axes, label=label)


def _in_plane(
    first: NDArray[np.float64], second: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the coordinates of the grid in the plane of two vectors, ends included."""
    ahead = first / np.linalg.norm(first)
    along = float(second @ ahead)
    across = float(np.linalg.norm(second - along * ahead))
    a = np.arange(shape[0] + 1)[:, None] / shape[0]
    b = np.arange(shape[1] + 1)[None, :] / shape[1]
    return a * np.linalg.norm(first) + b * along, b * across + 0 * a
