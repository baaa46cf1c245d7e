"""From a Calculation to a legacy folder, for programs that read nothing newer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from dock._version import __version__
from dock.converters.deeph_legacy.blocks import FILES, write_blocks
from dock.converters.deeph_legacy.dat_files import format_texts
from dock.converters.deeph_legacy.reader import CODE
from dock.converters.doubled_blocks import join_spin
from dock.converters.format import WriteOptions
from dock.converters.origin import in_source_order
from dock.core.blocks import BlockLayout
from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.orbital_order import reorder_entries, shell_orders
from dock.core.spin import Spin
from dock.io.files import write_text
from dock.io.text import without_folders

__all__ = ["write_calculation"]


def write_calculation(calc: Calculation, folder: Path, options: WriteOptions) -> list[Path]:
    """Write the files of a legacy folder.

    Elements may stand in any order there, and atoms of one element may have different shells, so
    nothing is regrouped; data that came from a legacy folder get their first order of atoms back.
    Density matrices of runs without spin are summed over both spins, which an attribute says.

    A `dock.converters.format.Writer` without settings, always in double precision; info.json is the
    last file.
    """
    if calc.provenance.code == CODE:
        calc = in_source_order(calc)
    written = []
    for quantity in options.quantities or ():
        target = folder / FILES[quantity][0]
        _write_matrix(target, calc.require(quantity))
        written.append(target)
    texts = format_texts(calc.structure, calc.basis)
    texts["info.json"] = json.dumps(_info(calc, options.command), allow_nan=False) + "\n"
    for name, text in texts.items():
        write_text(folder / name, text)
        written.append(folder / name)
    return written


def _write_matrix(path: Path, matrix: AOMatrix) -> None:
    """Write one matrix in the orbital order of the format."""
    orders = shell_orders(matrix.basis, "deeph-legacy")
    entries = reorder_entries(matrix.entries, matrix.basis, matrix.pairs, orders)
    layout = matrix.layout
    double = np.complex128 if np.iscomplexobj(entries) else np.float64
    if matrix.facts.has_spin and matrix.spin is not Spin.NONE:
        flat = join_spin(entries, layout, matrix.spin)
        layout = BlockLayout(2 * layout.rows, 2 * layout.cols)
    else:
        flat = entries if matrix.facts.n_vector == 3 else entries[0]
    note = "both spins" if matrix.quantity == "density_matrix" else ""
    if note and matrix.spin is not Spin.NONE:
        note = "each spin separately"
    write_blocks(path, matrix.pairs, layout, flat.astype(double, copy=False), note)


def _info(calc: Calculation, command: str) -> dict[str, Any]:
    """Return the content of info.json."""
    structure, source = calc.structure, calc.provenance
    own: dict[str, Any] = {"dock_version": __version__, "pbc": list(structure.pbc)}
    if calc.spin is not Spin.NONE:
        own["spin"] = calc.spin.value
    if structure.labels != structure.symbols:
        own["species"] = list(structure.labels)
    if calc.n_electrons is not None:
        own["n_electrons"] = calc.n_electrons
    own["provenance"] = {
        "code": source.code,
        "version": source.version,
        "files": list(source.files),
        "command": command or source.command,
    }
    return {
        "nsites": structure.n_atoms,
        "isorthogonal": False,
        "isspinful": calc.spin is not Spin.NONE,
        "fermi_level": calc.fermi_level,
        "dock": without_folders(own),
    }
