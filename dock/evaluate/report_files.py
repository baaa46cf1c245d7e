"""evaluation.json and evaluation.h5: the errors of a set of predictions."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dock._version import __version__
from dock.evaluate.blocks import HISTOGRAM_EDGES, shell_names
from dock.evaluate.report import EvaluationSet
from dock.io.files import prepare_folder, write_text
from dock.io.hdf5 import new_hdf5

__all__ = ["save", "to_dict"]


def to_dict(result: EvaluationSet) -> dict[str, Any]:
    """Return everything but histogram and sample as plain Python data."""
    blocks = result.blocks
    pairs = []
    for (left, right), sums in blocks.pairs.items():
        matrix = blocks.shell_matrix(left, right)
        pairs.append(
            {
                "elements": [left, right],
                "mae_eV": sums.mean,
                "max_eV": float(sums.largest.max()),
                "n_entries": sums.n_entries,
                "shells": [shell_names(blocks.shells[name]) for name in (left, right)],
                "shell_mae_eV": matrix.tolist(),
            }
        )
    return {
        "written_by": f"dock {__version__}",
        "options": asdict(result.options),
        "summary": result.summary(),
        "elements": result.elements(),
        "element_pairs": pairs,
        "structures": list(result.rows),
        "failed": [failure._asdict() for failure in result.failures],
        "without_prediction": list(result.unpredicted),
    }


def save(result: EvaluationSet, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write both files; return them.

    Raises
    ------
    OutputError
        When a file exists or cannot be written.
    """
    prepare_folder(folder)
    text, data = folder / "evaluation.json", folder / "evaluation.h5"
    write_text(text, json.dumps(to_dict(result)) + "\n", overwrite=overwrite)
    _save_arrays(result, data, overwrite=overwrite)
    return [text, data]


def _save_arrays(result: EvaluationSet, path: Path, *, overwrite: bool) -> None:
    import h5py

    blocks = result.blocks
    words = h5py.string_dtype()
    with new_hdf5(path, overwrite=overwrite) as file:
        file.attrs["written_by"] = f"dock {__version__}"
        file.attrs["unit"] = "eV"
        file.create_dataset("elements", data=np.array(blocks.elements, dtype=object), dtype=words)
        file["element_pair_mae"] = blocks.pair_matrix()
        for left, right in blocks.pairs:
            file[f"shell_pair_mae/{left}-{right}"] = blocks.shell_matrix(left, right)
        file["histogram/log10_edges"] = HISTOGRAM_EDGES
        file["histogram/counts"] = blocks.histogram
        file["parity/reference_and_prediction"] = blocks.sample
        names = np.array([row["name"] for row in result.rows], dtype=object)
        file.create_dataset("structures/name", data=names, dtype=words)
        for key in ("mae_hamiltonian_eV", "mae_band_eV", "mae_dos", "rmse_state"):
            values = [np.nan if row[key] is None else row[key] for row in result.rows]
            file[f"structures/{key}"] = np.array(values, dtype=np.float64)
