"""The Hamiltonian that an FHI-aims patched for DeepH begins with (``use_deepx_warmstart``).

Such an FHI-aims reads ``deeph_warm/hamiltonian.h5`` and nothing else of that folder. It expects
the atoms of geometry.in sorted by symbol, atoms folded into (−½, ½], the shells in the order of
basis-indices.out, and eV; it takes a missing block from its partner, or as zero.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.aims.rs_files import fold_shifts
from dock.converters.deeph import FORMAT as UNIFIED
from dock.converters.format import WriteOptions
from dock.converters.origin import in_source_order
from dock.core.arrays import Int64Array
from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure

__all__ = ["FOLDER", "write_warm_folder", "write_warm_start"]

FOLDER = "deeph_warm"
_EDGE = 1e-6  # fractional coordinates this near to ±1/2 may be folded either way
_log = logging.getLogger("dock")
_RECIPE = f"""\
Copy the folder {FOLDER} into the folder of the FHI-aims run and add to control.in

    use_deepx_warmstart    .true.

It needs an FHI-aims patched for DeepH (250822_1). It does not go with use_local_index, restart
or elsi_restart. geometry.in must have the structure of {{source}}, with each element's atoms in
that order, and control.in the same species defaults, so that the shells are the same.
"""


def write_warm_start(calc: Calculation, folder: Path, options: WriteOptions) -> list[Path]:
    """Write ``deeph_warm/``, a unified folder as FHI-aims counts atoms and cells, and a recipe.

    The overlap goes along where it was asked for, so that the folder can be checked; FHI-aims
    does not read it.

    A `dock.converters.format.Writer`; the Hamiltonian must be there.
    """
    written = write_warm_folder(in_source_order(calc), folder, options)
    recipe = folder / "WARM_START.txt"
    recipe.write_text(
        _RECIPE.format(source=Path(calc.source).resolve().name),
        encoding="utf-8",
        errors="surrogateescape",
    )
    return [*written, recipe]


def write_warm_folder(calc: Calculation, folder: Path, options: WriteOptions) -> list[Path]:
    """Write ``deeph_warm/`` alone; the atoms of each element stand in the order of geometry.in."""
    calc.require("hamiltonian")
    target = folder / FOLDER
    target.mkdir()
    options = replace(options, single_precision=False)
    return UNIFIED.require_writer()(_native(calc), target, options)


def _native(calc: Calculation) -> Calculation:
    """Return the calculation with atoms sorted by symbol and folded into the cell."""
    symbols = calc.structure.symbols
    order = sorted(range(len(symbols)), key=symbols.__getitem__)
    extra = {**calc.provenance.extra, "source_order": order}
    calc = calc.permute_atoms(order).replace(provenance=replace(calc.provenance, extra=extra))
    structure = calc.structure
    shifts = fold_shifts(structure.fractional) * np.array(structure.pbc, dtype=np.int64)
    if np.any(np.abs(np.abs(structure.fractional - np.rint(structure.fractional)) - 0.5) < _EDGE):
        _log.warning(
            "FHI-aims warm start: an atom stands at ±1/2 of a lattice vector, where rounding "
            "decides how FHI-aims folds it; here it is put at +1/2. Shift the structure to be sure."
        )
    folded = replace(structure, positions=structure.positions - shifts @ structure.cell)
    matrices = {name: partial(_moved, calc, name, folded, shifts) for name in calc.available}
    return replace(calc, structure=folded, matrices=matrices)


def _moved(calc: Calculation, name: str, folded: Structure, shifts: Int64Array) -> AOMatrix:
    """Return a matrix with its lattice vectors counted from the folded atoms.

    With two spins it is complex, as DeepH's own converter writes what it reads of FHI-aims.
    """
    matrix = calc.require(name)
    R, i, j = matrix.pairs.R, matrix.pairs.i, matrix.pairs.j
    pairs = Pairs(R + shifts[j] - shifts[i], i, j, len(shifts))
    doubled = matrix.facts.has_spin and matrix.spin is not Spin.NONE
    entries: NDArray[Any] = matrix.entries.astype(np.complex128 if doubled else np.float64)
    return replace(matrix, structure=folded, pairs=pairs, entries=entries)
