"""unfold.h5 and the map A(k, E) of unfolded bands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dock._version import __version__
from dock.errors import UsageError
from dock.extras import require
from dock.io.files import atomic_path, write_text
from dock.io.hdf5 import new_hdf5
from dock.post.unfold import Unfolded
from dock.results import require_figure_name

__all__ = ["energy_grid", "plot", "save"]

_SHOWN = 6.0
_VISIBLE = 0.02  # weight below which a level is left out of the JSON file


def energy_grid(
    result: Unfolded, window: tuple[float, float] | None, sigma: float
) -> NDArray[np.float64]:
    """Return absolute energies in steps of at most σ/2 over a window, or over all states, eV.

    Raises
    ------
    UsageError
        For an empty window.
    """
    zero = result.reference
    if window is None:
        low, high = float(np.nanmin(result.energies)), float(np.nanmax(result.energies))
        window = low - zero - 5 * sigma, high - zero + 5 * sigma
        if result.fermi_level is not None:
            window = max(window[0], -_SHOWN), min(window[1], _SHOWN)
    if not window[0] < window[1]:
        raise UsageError(f"the energy window {window[0]:g} … {window[1]:g} eV is empty.")
    steps = max(2, int(np.ceil((window[1] - window[0]) / (sigma / 2))))
    grid: NDArray[np.float64] = zero + np.linspace(window[0], window[1], steps + 1)
    return grid


def save(
    result: Unfolded,
    path: Path,
    *,
    window: tuple[float, float] | None = None,
    sigma: float = 0.05,
    overwrite: bool = False,
) -> list[Path]:
    """Write the HDF5 file and a JSON file beside it; return both.

    Energies are relative to the Fermi level where it is known, as in ``band.h5``.
    """
    import h5py

    k_path, zero = result.path, result.reference
    grid = energy_grid(result, window, sigma)
    words = h5py.string_dtype()
    with new_hdf5(path, overwrite=overwrite) as file:
        file["band_data"] = result.energies - zero
        file["weights"] = result.weights
        file["fermi_energy_before_shift_eV"] = (
            np.nan if result.fermi_level is None else result.fermi_level
        )
        file["supercell"] = result.supercell
        file["primitive_cell"] = result.primitive.cell
        file["kpoints_frac_list"] = k_path.kpoints_frac
        file["kpoints_distance_list"] = k_path.distances
        file["k_path_density_list"] = k_path.n_points
        file["hsk_vector_list"] = k_path.hsk_vectors
        file["hsk_distance_list"] = k_path.hsk_distance
        symbols = np.array(k_path.labels, dtype=object)
        file.create_dataset("hsk_symbol_list", data=symbols, dtype=words)
        group = file.create_group("spectral")
        group["energy"] = grid - zero
        group["A"] = result.spectral(grid, sigma)
        group.attrs["unit"] = "1/eV"
        group.attrs["sigma_eV"] = sigma
        if result.group_weights is not None:
            names = np.array(result.group_names, dtype=object)
            file.create_dataset("group_names", data=names, dtype=words)
            file["group_weights"] = result.group_weights
        file.attrs["method"] = result.method
        file.attrs["spin"] = result.spin.value
        file.attrs["written_by"] = f"dock {__version__}"
    text = path.with_suffix(".json")
    write_text(text, json.dumps(_to_dict(result)) + "\n", overwrite=overwrite)
    return [path, text]


def _to_dict(result: Unfolded) -> dict[str, object]:
    levels = []
    for spin, k, n in np.argwhere(result.weights > _VISIBLE):
        energy = float(result.energies[spin, k, n]) - result.reference
        weight = round(float(result.weights[spin, k, n]), 6)
        levels.append([int(spin), int(k), energy, weight])
    return {
        "written_by": f"dock {__version__}",
        "formula": result.primitive.formula,
        "supercell": result.supercell.tolist(),
        "method": result.method,
        "note": result.note,
        "spin": result.spin.value,
        "fermi_energy_eV": result.fermi_level,
        "kpoints_frac": result.path.kpoints_frac.tolist(),
        "kpoints_distance": result.path.distances.tolist(),
        "labels": [list(pair) for pair in result.path.labels],
        "columns": ["spin", "kpoint", "energy_eV", "weight"],
        "levels": levels,
    }


def plot(
    result: Unfolded,
    path: Path,
    *,
    window: tuple[float, float] | None = None,
    sigma: float = 0.05,
    group: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Draw A(k, E), one panel for each spin channel; return the file.

    Raises
    ------
    DependencyError
        Without matplotlib.
    UsageError
        For an unknown kind of figure or an empty window.
    """
    require_figure_name(path)
    k_path = result.path
    grid = energy_grid(result, window, sigma)
    spectra = result.spectral(grid, sigma, group=group)
    n_spin = len(spectra)
    module = require("matplotlib.figure", "plot")
    figure = module.Figure(figsize=(4.8 * n_spin, 4.2), layout="constrained")
    top = float(spectra.max()) or 1.0
    x, y = k_path.distances, grid - result.reference
    for spin in range(n_spin):
        axes = figure.add_subplot(1, n_spin, spin + 1)
        for segment in range(k_path.n_segments):
            inside = k_path.segment == segment
            if inside.sum() < 2:
                continue
            axes.pcolormesh(
                x[inside],
                y,
                spectra[spin][inside].T,
                cmap="magma_r",
                vmin=0,
                vmax=0.8 * top,
                shading="gouraud",
                rasterized=True,
            )
        for place, _ in k_path.ticks:
            axes.axvline(place, color="0.6", lw=0.6)
        axes.set_xticks([at for at, _ in k_path.ticks], [name for _, name in k_path.ticks])
        known = result.fermi_level is not None
        axes.set_ylabel("energy − Fermi level (eV)" if known else "energy (eV)")
        part = f", {group}" if group else ""
        channel = f", {('up', 'down')[spin]}" if n_spin == 2 else ""
        axes.set_title(f"{result.n_cells} cells unfolded{part}{channel}", fontsize="medium")
    with atomic_path(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, dpi=200, format=path.suffix[1:].lower())
    return path
