"""From a Calculation to FHI-aims' files: ``rs_*`` of a periodic run, or a molecule's matrices."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from pathlib import Path

import numpy as np

from dock.converters.aims.aims_out import format_log
from dock.converters.aims.basis_indices import format_basis
from dock.converters.aims.geometry_in import format_geometry
from dock.converters.aims.h_s_matrices import FILES, write_triangle
from dock.converters.aims.rs_files import SparsePattern, write_values
from dock.converters.format import WriteOptions
from dock.converters.origin import in_source_order, of_elements, relabelled
from dock.core.basis import Basis
from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.orbital_order import reorder_entries, shell_orders
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.errors import LossError
from dock.units import AIMS

__all__ = ["SETTINGS", "write_calculation"]

SETTINGS: Mapping[str, str] = {
    "mode": "periodic (rs_*.out) or cluster (hamiltonian.out); default: as the structure is",
    "files": "text (default) or hdf5, for the numbers of a periodic run",
}
_UNITS = {"overlap": 1.0, "hamiltonian": AIMS.hartree_ev}


def write_calculation(calc: Calculation, folder: Path, options: WriteOptions) -> list[Path]:
    """Write geometry.in, basis-indices.out, the matrices and a short log.

    The log holds the Fermi level and the electrons, and says that `dock` wrote it. Only one
    triangle is stored, as FHI-aims does: of a matrix that is not quite Hermitian, its Hermitian
    part.

    A `dock.converters.format.Writer`; it uses ``quantities`` and the settings of `SETTINGS`.

    Raises
    ------
    LossError
        When ``mode=cluster`` is asked for a periodic or spin-polarised calculation.
    """
    kind = options.choice("files", ("text", "hdf5"), "text")
    calc = in_source_order(calc)
    if calc.provenance.code != "FHI-aims":
        calc = relabelled(calc, of_elements(calc.structure))
    matrices = {name: _native(calc, name) for name in options.quantities or ()}
    mode = options.choice("mode", ("periodic", "cluster"), _natural_mode(calc, matrices))
    shells = {label: _shell_order(calc.basis, label) for label in calc.basis.species}
    texts = {
        "geometry.in": format_geometry(calc.structure, periodic=mode == "periodic"),
        "basis-indices.out": format_basis(calc.basis, shells),
        "aims.out": format_log(calc),
    }
    if mode == "cluster":
        _refuse_for_cluster(calc, matrices)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    written = [folder / name for name in texts]
    if mode == "cluster":
        for name, matrix in matrices.items():
            written.append(folder / FILES[name])
            write_triangle(written[-1], matrix.k([0, 0, 0]))
        return written
    return written + _write_periodic(folder, matrices, hdf5=kind == "hdf5")


def _natural_mode(calc: Calculation, matrices: Mapping[str, AOMatrix]) -> str:
    """Return ``cluster`` for a molecule without spin, else ``periodic``."""
    molecule = not any(calc.structure.pbc) and calc.spin is Spin.NONE
    home = not any(np.any(matrix.pairs.R) for matrix in matrices.values())
    return "cluster" if molecule and home else "periodic"


def _shell_order(basis: Basis, label: str) -> list[int]:
    """Return the shells of a species by ascending l, as FHI-aims orders them."""
    ls = basis.ls(label)
    return sorted(range(len(ls)), key=lambda shell: ls[shell])


def _native(calc: Calculation, name: str) -> AOMatrix:
    """Return the Hermitian part of a matrix in FHI-aims' units and orbital order."""
    matrix = calc.require(name).hermitian_part()
    orders = shell_orders(calc.basis, "aims", sort_by_l=True)
    entries = reorder_entries(matrix.entries, calc.basis, matrix.pairs, orders)
    return matrix.with_entries(entries / _UNITS[name])


def _refuse_for_cluster(calc: Calculation, matrices: Mapping[str, AOMatrix]) -> None:
    if calc.spin is not Spin.NONE:
        raise LossError(
            f"{calc.source}: the files of a molecule have no place for two spins. "
            "Pass settings={'mode': 'periodic'}."
        )
    if any(np.any(matrix.pairs.R) for matrix in matrices.values()):
        raise LossError(
            f"{calc.source}: the matrices reach into neighbouring cells, for which the files of a "
            "molecule have no place. Pass settings={'mode': 'periodic'}."
        )


def _write_periodic(folder: Path, matrices: Mapping[str, AOMatrix], *, hdf5: bool) -> list[Path]:
    if not matrices:
        return []
    pairs = reduce(Pairs.union, (matrix.pairs for matrix in matrices.values()))
    aligned = {name: matrix.on_pairs(pairs) for name, matrix in matrices.items()}
    pattern = SparsePattern.of(list(aligned.values()))
    written = [folder / "rs_indices.out"]
    pattern.write(written[0])
    for name, matrix in aligned.items():
        spins = ("",) if len(matrix.entries) == 1 else ("_up", "_down" if hdf5 else "_dn")
        for spin, entries in zip(spins, matrix.entries, strict=True):
            written.append(folder / f"rs_{name}{spin}.{'h5' if hdf5 else 'out'}")
            write_values(written[-1], entries[pattern.sources])
    return written
