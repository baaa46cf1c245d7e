"""band.h5 in the DeepH layout, with a JSON file of the same content beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock._version import __version__
from dock.core.spin import Spin
from dock.errors import OutputError, UsageError
from dock.io.files import write_text
from dock.io.hdf5 import new_hdf5
from dock.post.band_structure import BandStructure
from dock.states.gap import Edge

__all__ = ["save", "to_dict"]


def save(
    result: BandStructure,
    path: Path,
    *,
    overwrite: bool = False,
    projections: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write ``path`` (HDF5) and the JSON file of the same name; return both.

    ``band_data`` is (n_bands, n_k) in eV relative to the Fermi level, all spin channels merged and
    sorted at each k-point as in the doubled eigenproblem of a spinful folder. Collinear results
    have the channels apart as well, in ``band_data_up`` and ``band_data_down``. `projections`
    adds ``projection_names`` and ``projections`` (n_spin, n_k, n_bands, n_names).

    Raises
    ------
    OutputError
        When a file exists or cannot be written; neither is written then.
    UsageError
        When `path` ends in ``.json``.
    """
    import h5py

    json_path = path.with_suffix(".json")
    if path == json_path:
        raise UsageError(f"{path}: bands are saved as HDF5 with a .json beside; name the .h5 file.")
    if json_path.exists() and not overwrite:
        raise OutputError(f"{json_path}: exists already. Give --overwrite to replace it.")
    with new_hdf5(path, overwrite=overwrite) as file:
        for name, value in {**_datasets(result), **(projections or {})}.items():
            if name in ("hsk_symbol_list", "projection_names"):
                file.create_dataset(name, data=value, dtype=h5py.string_dtype())
            else:
                file.create_dataset(name, data=value)
        file.attrs["written_by"] = f"dock {__version__}"
        file.attrs["spin"] = result.spin.value
        file.attrs["fermi_source"] = result.gap.fermi_source
        file.attrs["first_band"] = result.first_band
    content = to_dict(result)
    if projections is not None:
        content["projection_names"] = projections["projection_names"]
        content["projections"] = _nested(projections["projections"])
    write_text(json_path, json.dumps(content) + "\n", overwrite=overwrite)
    return [path, json_path]


def to_dict(result: BandStructure, *, energies: bool = True) -> dict[str, Any]:
    """Return the result as plain Python data; NaN becomes None."""
    gap, path = result.gap, result.path
    content: dict[str, Any] = {
        "formula": result.structure.formula,
        "spin": result.spin.value,
        "n_bands": result.energies.shape[2],
        "first_band": result.first_band,
        "n_kpoints": path.n_kpoints,
        "fermi_level_eV": gap.fermi_level,
        "fermi_source": gap.fermi_source,
        "n_electrons": result.n_electrons,
        "kind": gap.kind,
        "gap_eV": gap.size,
        "direct_gap_eV": gap.direct,
        "vbm": _edge(gap.vbm),
        "cbm": _edge(gap.cbm),
        "smallest_overlap_eigenvalue": _plain(result.smallest_overlap),
        "n_removed_states": result.n_removed,
        "path_note": path.note,
    }
    if energies:
        content["segments"] = [
            {"points": int(n), "labels": list(labels)}
            for n, labels in zip(path.n_points, path.labels, strict=True)
        ]
        content["kpoints_frac"] = path.kpoints_frac.tolist()
        content["distance_1_per_A_without_2pi"] = path.distances.tolist()
        content["energies_eV"] = _nested(result.energies)
    return content


def _datasets(result: BandStructure) -> dict[str, Any]:
    path, gap = result.path, result.gap
    shifted = result.energies - result.reference
    merged = np.sort(shifted.transpose(1, 0, 2).reshape(path.n_kpoints, -1), axis=1).T
    content: dict[str, Any] = {
        "band_data": merged,
        "band_gap": np.float64(gap.size),
        "band_quantity": np.int64(len(merged)),
        "fermi_energy_before_shift_eV": np.float64(result.reference),
        "fermi_energy_eV": np.float64(0.0),
        "hsk_distance_list": path.hsk_distance,
        "hsk_symbol_list": [list(labels) for labels in path.labels],
        "hsk_vector_list": path.hsk_vectors,
        "is_metal": np.bool_(gap.kind == "metal"),
        "k_path_density_list": path.n_points,
        "k_path_quantity": np.int64(path.n_segments),
        "kpoints_distance_list": path.distances,
        "kpoints_frac_list": path.kpoints_frac,
        "kpoints_quantity": np.int64(path.n_kpoints),
        "rlv": result.structure.reciprocal,
        "spinful": np.bool_(result.spin is not Spin.NONE),
    }
    if result.spin is Spin.COLLINEAR:
        content["band_data_up"], content["band_data_down"] = shifted[0].T, shifted[1].T
    return content


def _edge(edge: Edge | None) -> dict[str, Any] | None:
    if edge is None:
        return None
    return {
        "energy_eV": edge.energy,
        "k_frac": list(edge.k_frac),
        "band": edge.band,
        "spin": edge.spin,
    }


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _nested(array: NDArray[np.float64]) -> list[Any]:
    """Return nested lists with None for NaN, which JSON does not know."""
    plain = array.astype(object)
    plain[np.isnan(array)] = None
    nested: list[Any] = plain.tolist()
    return nested
