"""Files and figures of densities and wavefunctions on a grid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock._version import __version__
from dock.errors import UsageError
from dock.extras import require
from dock.grid.cube_xsf import write_cube, write_xsf
from dock.io.files import atomic_path, write_text
from dock.post.density_grid import GridDensity
from dock.results import require_figure_name
from dock.units import CODATA2018

__all__ = ["density_facts", "plot_density", "require_grid_name", "save_density"]

_CUBIC_BOHR = CODATA2018.bohr_angstrom**3
_SUFFIXES = {".h5", ".cube", ".xsf"}


def require_grid_name(path: Path) -> None:
    """Raise `UsageError` where a name does not end in .h5, .cube or .xsf."""
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"{path}: a function on a grid is written as .h5, .cube or .xsf.")


def density_facts(result: GridDensity) -> dict[str, Any]:
    """Return what the JSON file says of a density."""
    return {
        "written_by": f"dock {__version__}",
        "kind": result.kind,
        "formula": result.grid.structure.formula,
        "spin": result.spin.value,
        "shape": list(result.grid.shape),
        "oversample": result.oversample,
        "parts": list(result.names),
        "unit": "electrons/angstrom^3, moments in mu_B/angstrom^3",
        "integrals": result.integrals,
        "expected_electrons": None if np.isnan(result.expected) else result.expected,
        "largest": float(result.values[0].max()),
        "smallest": float(result.values[0].min()),
    }


def save_density(result: GridDensity, path: Path, *, overwrite: bool = False) -> list[Path]:
    """Write a density in the format that the name's ending says, and a JSON file; return all."""
    require_grid_name(path)
    structure, suffix = result.grid.structure, path.suffix.lower()
    written = [path]
    if suffix == ".h5":
        _save_hdf5(result, path, overwrite=overwrite)
    elif suffix == ".xsf":
        fields = dict(zip(result.names, result.values, strict=True))
        write_xsf(path, structure, fields, overwrite=overwrite)
    else:
        written = []
        for name, values in zip(result.names, result.values, strict=True):
            target = path if name == "total" else path.with_stem(f"{path.stem}_{name}")
            comment = f"{structure.formula} {result.kind} {name}, per Bohr^3"
            write_cube(
                target, structure, values * _CUBIC_BOHR, comment=comment, overwrite=overwrite
            )
            written.append(target)
    text = path.with_suffix(".json")
    write_text(text, json.dumps(density_facts(result)) + "\n", overwrite=overwrite)
    return [*written, text]


def _save_hdf5(result: GridDensity, path: Path, *, overwrite: bool) -> None:
    """Write the unified ``charge_density.h5``: ``shape`` and the flat ``entries`` in C order.

    The spin density is in ``magnetization``, (n, N) in the order of the attribute ``parts``.
    """
    import h5py

    with atomic_path(path, overwrite=overwrite) as temporary, h5py.File(temporary, "w") as file:
        file["shape"] = np.array(result.grid.shape, dtype=np.int64)
        file["entries"] = result.values[0].ravel()
        if len(result.values) > 1:
            file["magnetization"] = result.values[1:].reshape(len(result.values) - 1, -1)
            file["magnetization"].attrs["parts"] = ",".join(result.names[1:])
        file["cell"] = result.grid.structure.cell
        file.attrs["unit"] = "electrons/angstrom^3"
        file.attrs["kind"] = result.kind
        file.attrs["spin"] = result.spin.value
        file.attrs["n_electrons"] = result.n_electrons
        file.attrs["written_by"] = f"dock {__version__}"


def plot_density(
    result: GridDensity,
    path: Path,
    *,
    part: str = "total",
    axis: int = 2,
    overwrite: bool = False,
) -> Path:
    """Draw one part summed along a lattice vector, with the atoms; return the file."""
    require_figure_name(path)
    if axis not in (0, 1, 2):
        raise UsageError(f"the axis is 0, 1 or 2, found {axis}.")
    values = result.part(part)
    structure = result.grid.structure
    length = float(np.linalg.norm(structure.cell[axis]))
    summed = values.sum(axis=axis) * length / values.shape[axis]
    first, second = (number for number in range(3) if number != axis)
    figure = require("matplotlib.figure", "plot").Figure((5.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    x, y = _in_plane(structure.cell[first], structure.cell[second], summed.shape)
    bound = float(np.abs(summed).max()) or 1.0
    signed = part != "total"
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
    unit = "μ_B/Å²" if signed else "electrons/Å²"
    figure.colorbar(image, ax=axes, label=f"{part}, summed ({unit})")
    axes.set_title(f"{structure.formula}  {result.kind}", fontsize="medium")
    with atomic_path(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, dpi=200, format=path.suffix[1:].lower())
    return path


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
