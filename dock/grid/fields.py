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
from dock.io.files import require_absent
from dock.results import Result

__all__ = ["GridFields", "draw_sum"]

_MOST_ATOMS = 60  # that a figure marks
_EDGE = 1e-6  # from the far end of a cell at which an atom lies at its near end
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
    def cube(self, name: str) -> tuple[float, str]:
        """Return the factor of a field to units of Bohr, and the first line of its cube file."""

    @staticmethod
    @abstractmethod
    def cube_file(path: Path, name: str) -> Path:
        """Return the cube file of a field."""

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

    @classmethod
    def targets(cls, path: str | Path, names: Sequence[str]) -> list[Path]:
        """Return what `save` may write for a path, by the `cube_names`; raises as `files`."""
        path, beside = cls.files(path)
        if path.suffix.lower() != ".cube":
            return [path, beside]
        return [*(cls.cube_file(path, name) for name in names), beside]

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
            require_absent(self.targets(path, self.cube_names()), overwrite=overwrite)
            written = []
            for name, values in self.fields():
                target = self.cube_file(path, name)
                factor, comment = self.cube(name)
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
    if structure.n_atoms <= _MOST_ATOMS:
        _mark_atoms(axes, structure, (first, second))
    axes.set_aspect("equal")
    axes.set_xlabel("Å")
    axes.set_ylabel("Å")
    # Beside equal axes a bar of the figure's own is as high as what they might have been.
    beside = axes.inset_axes((1.03, 0.0, 0.045, 1.0))
    axes.figure.colorbar(image, cax=beside, label=label)


def _mark_atoms(axes: Any, structure: Structure, plane: tuple[int, int]) -> None:
    """Mark the atoms, folded into the cell, by their names in the plane of two vectors."""
    inside = structure.fractional[:, plane] % 1.0
    inside[inside > 1.0 - _EDGE] = 0.0
    length, along, across = _plane_of(structure.cell[plane[0]], structure.cell[plane[1]])
    x, y = inside[:, 0] * length + inside[:, 1] * along, inside[:, 1] * across
    axes.plot(x, y, "o", ms=4, mfc="white", mec="0.2", mew=0.8, clip_on=False)
    look: dict[str, Any] = {"xytext": (4, 3), "textcoords": "offset points", "fontsize": "small"}
    look["bbox"] = {"fc": "white", "ec": "none", "alpha": 0.7, "pad": 0.5}
    for label, *place in zip(structure.labels, x, y, strict=True):
        axes.annotate(label, place, **look)


def _in_plane(
    first: NDArray[np.float64], second: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the coordinates of the grid in the plane of two vectors, ends included."""
    length, along, across = _plane_of(first, second)
    a = np.arange(shape[0] + 1)[:, None] / shape[0]
    b = np.arange(shape[1] + 1)[None, :] / shape[1]
    return a * length + b * along, b * across + 0 * a


def _plane_of(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Return the length of the first vector, and the second's parts along and across it, Å."""
    length = float(np.linalg.norm(first))
    along = float(second @ first) / length
    return length, along, float(np.linalg.norm(second - along * first / length))
