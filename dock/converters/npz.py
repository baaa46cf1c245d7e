"""Exit to scipy: one sparse matrix file for each lattice vector, and a JSON file about them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from dock._version import __version__
from dock.converters.csr import csr_by_lattice_vector
from dock.converters.format import Format, WriteOptions
from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.quantity import QUANTITIES
from dock.core.spin import Spin
from dock.io.files import write_text

__all__ = ["FORMAT", "INDEX", "write", "write_calculation"]

INDEX = "matrices.json"


def write_calculation(calc: Calculation, folder: Path, options: WriteOptions) -> list[Path]:
    """Write ``<letter>[_<component>]_<R1>_<R2>_<R3>.npz`` for each matrix, and ``matrices.json``.

    The files are read by ``scipy.sparse.load_npz``; each is ⟨i, 0|O|j, R⟩ with rows and columns in
    the order of ``orbitals`` in the JSON file (m = −l … +l, real harmonics without
    Condon–Shortley phase). The Bloch sum is Σ_R exp(2πi k·R) O(R).

    A `dock.converters.format.Writer`; it uses ``quantities`` and ``single_precision``, and the JSON
    file is the last one.
    """
    written: list[Path] = []
    listing: list[dict[str, Any]] = []
    for quantity in options.quantities or ():
        matrix = calc.require(quantity)
        if options.single_precision:
            matrix = matrix.astype(np.complex64 if matrix.is_complex else np.float32)
        files = _write_matrix(matrix, folder)
        listing.extend(files)
        written.extend(folder / entry["file"] for entry in files)
    write_text(folder / INDEX, json.dumps(_describe(calc, listing), allow_nan=False) + "\n")
    return [*written, folder / INDEX]


def _write_matrix(matrix: AOMatrix, folder: Path) -> list[dict[str, Any]]:
    """Write the files of one matrix and return their lines in the index."""
    from scipy.sparse import save_npz

    facts, names = matrix.facts, _component_names(matrix)
    listing = []
    for R, parts in csr_by_lattice_vector(matrix):
        vector = R.tolist()
        place = "_".join(map(str, vector))
        for name, part in zip(names, parts, strict=True):
            stem = f"{facts.letter}_{name}" if len(names) > 1 else facts.letter
            file = f"{stem}_{place}.npz"
            save_npz(folder / file, part, compressed=False)
            line = {"quantity": facts.name, "component": name, "R": vector, "file": file}
            listing.append({**line, "unit": facts.unit})
    return listing


def _component_names(matrix: AOMatrix) -> tuple[str, ...]:
    if matrix.facts.n_vector == 3:
        return ("x", "y", "z")
    return matrix.spin.component_names if matrix.facts.has_spin else Spin.NONE.component_names


def _describe(calc: Calculation, listing: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the content of the JSON file."""
    structure, table = calc.structure, calc.basis.table
    return {
        "written_by": f"dock {__version__}",
        "source": f"{calc.provenance.code} {calc.provenance.version}".strip(),
        "symbols": list(structure.symbols),
        "positions_angstrom": structure.positions.tolist(),
        "cell_angstrom": structure.cell.tolist(),
        "pbc": list(structure.pbc),
        "spin": calc.spin.value,
        "fermi_level_eV": calc.fermi_level,
        "n_electrons": calc.n_electrons,
        "orbitals": {name: getattr(table, name).tolist() for name in table._fields},
        "matrices": listing,
    }


FORMAT = Format(
    "npz",
    "scipy.sparse matrices (.npz), one for each lattice vector",
    versions="scipy.sparse.load_npz",
    notes="matrices.json says which file holds what.",
).writing(tuple(QUANTITIES), write_calculation)

write = FORMAT.save
