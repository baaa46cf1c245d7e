"""From a legacy folder to a Calculation: orbital order, spin, lazy matrices."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dock.converters.deeph.beside import Beside
from dock.converters.deeph.info import Info
from dock.converters.deeph_legacy.blocks import (
    FILES,
    MATRIX_FILES,
    TEXT_FILES,
    file_attributes,
    others_in,
    read_blocks,
    read_pairs,
    read_position,
)
from dock.converters.deeph_legacy.dat_files import read_atoms, read_legacy_info
from dock.converters.doubled_blocks import collinear_content, real_part, split_spin
from dock.converters.format import ReadOptions
from dock.converters.origin import number_of
from dock.core.basis import Basis
from dock.core.blocks import BlockLayout
from dock.core.calculation import Calculation, Provenance
from dock.core.matrix import AOMatrix
from dock.core.orbital_order import reorder_entries, shell_orders
from dock.core.pairs import Pairs
from dock.core.quantity import QUANTITIES
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import FormatError, MissingDataError

__all__ = ["CODE", "read_calculation"]

CODE = "DeepH (legacy folder)"

_LOG = logging.getLogger("dock")

_SPIN_SUM_UNKNOWN = (
    "{name} does not say whether it is summed over both spins; it is taken as it is. Compare "
    "Tr(rho S) with the number of electrons."
)
_KEY = "isspinful"  # of info.json
_LOCAL_FRAMES = ("rh.h5", "rh_pred.h5")


def read_calculation(path: Path, options: ReadOptions) -> Calculation:  # noqa: ARG001
    """Read a legacy folder; no matrix is read before it is asked for.

    Parameters
    ----------
    path
        The folder, or one matrix file in it.
    options
        Not used.

    Raises
    ------
    MissingDataError
        When a file of the format is not there.
    FormatError
        When a file is damaged or two files disagree.
    """
    folder = path.parent if path.is_file() else path
    info = read_legacy_info(folder / "info.json")
    structure, basis = read_atoms(folder, info)
    files = _matrix_files(folder, path.name if path.is_file() else None)
    spin = _spin(folder, files, basis, info)
    run = _Run(folder, structure, basis, spin)
    readers = {name: partial(run.matrix, name, file) for name, file in files.items()}
    electrons = number_of(info.own, "n_electrons", None)
    origin = _provenance(folder, info, files)
    levels = (info.fermi_level, electrons)
    sizes = {"n_atoms": structure.n_atoms, "n_orbitals": basis.n_orbitals}
    taken = (*TEXT_FILES, "rlat.dat", *files.values())
    unread = partial(_unread, folder, tuple(files.values()))
    rest = Info({}, info.spinful, others=info.others)
    beside = Beside(folder, rest, {}, {}, sizes, taken, unread)
    return Calculation(structure, basis, spin, readers, *levels, origin, str(path), beside)


@dataclass(frozen=True, eq=False)
class _Run:
    """A folder and what its matrices refer to."""

    folder: Path
    structure: Structure
    basis: Basis
    spin: Spin

    def matrix(self, quantity: str, file: str) -> AOMatrix:
        """Read one file into the orbital order of `dock`."""
        path = self.folder / file
        spin = self.spin if QUANTITIES[quantity].has_spin else Spin.NONE
        if quantity == "position":
            pairs, entries = self._position(path)
        else:
            pairs = read_pairs(path, self.basis.n_atoms)
            entries = self._components(path, pairs, spin)
        orders = {
            label: order.inverse
            for label, order in shell_orders(self.basis, "deeph-legacy").items()
        }
        entries = reorder_entries(entries, self.basis, pairs, orders)
        return AOMatrix(quantity, self.structure, self.basis, pairs, spin, entries)

    def _position(self, path: Path) -> tuple[Pairs, NDArray[Any]]:
        """Return pairs, those of the overlap first, and the three components."""
        beside = self.folder / FILES["overlap"][0]
        overlap = read_pairs(beside, self.basis.n_atoms) if beside.is_file() else None
        pairs, entries, n_absent = read_position(path, overlap, self.basis.counts)
        if n_absent:
            _LOG.warning("%s: %d blocks of the pairs are not there: zeros", path, n_absent)
        return pairs, real_part(path, entries, "position matrix", "")

    def _components(self, path: Path, pairs: Pairs, spin: Spin) -> NDArray[Any]:
        """Return the spin components, orbitals still in the file's order."""
        counts = self.basis.counts
        if spin is Spin.NONE:
            return real_part(path, read_blocks(path, pairs, counts), "entries", _KEY)[None, :]
        raw = read_blocks(path, pairs, 2 * counts)
        if spin is Spin.COLLINEAR:
            raw = real_part(path, raw, "entries", _KEY)
        return split_spin(raw, BlockLayout(counts[pairs.i], counts[pairs.j]), spin)


def _matrix_files(folder: Path, given: str | None) -> dict[str, str]:
    """Return the file of each quantity that is there; `chosen` goes before the others."""
    if given is not None and given not in MATRIX_FILES:
        known = ", ".join(MATRIX_FILES)
        raise FormatError(folder / given, "this is no file of a legacy folder", expected=known)
    files: dict[str, str] = {}
    for quantity, names in FILES.items():
        there = [name for name in names if (folder / name).is_file()]
        if given in names:
            there = [given]
        if there:
            files[quantity] = there[0]
    local = [name for name in _LOCAL_FRAMES if (folder / name).is_file()]
    if local and "hamiltonian" not in files:
        raise MissingDataError(
            "hamiltonians.h5",
            folder,
            f"{local[0]} holds each block in a local frame of its own, which dock does not read: "
            "let DeepH-pack rotate it back to hamiltonians.h5 first.",
        )
    return files


def _unread(folder: Path, files: tuple[str, ...]) -> list[str]:
    """Name the datasets and attributes that are no blocks of the matrices."""
    return [f"{file}: {name}" for file in files for name in others_in(folder / file)]


def _spin(folder: Path, files: dict[str, str], basis: Basis, info: Info) -> Spin:
    """Return the spin treatment: from info.json, or from the content of spinful blocks."""
    if not info.spinful:
        return Spin.NONE
    stated = info.own.get("spin")
    if stated in {Spin.COLLINEAR.value, Spin.NONCOLLINEAR.value}:
        return Spin(stated)
    for quantity in ("hamiltonian", "density_matrix"):
        if quantity in files:
            path = folder / files[quantity]
            pairs = read_pairs(path, basis.n_atoms)
            stored = BlockLayout(2 * basis.counts[pairs.i], 2 * basis.counts[pairs.j])
            is_collinear = collinear_content(read_blocks(path, pairs, 2 * basis.counts), stored)
            return Spin.COLLINEAR if is_collinear else Spin.NONCOLLINEAR
    return Spin.NONCOLLINEAR


def _provenance(folder: Path, info: Info, files: dict[str, str]) -> Provenance:
    """Say where the data came from, and what the files leave open."""
    stored = info.own.get("provenance")
    extra: dict[str, object] = {"source": stored} if isinstance(stored, dict) else {}
    density = files.get("density_matrix")
    if density and not info.spinful and "spin_sum" not in file_attributes(folder / density):
        extra["notes"] = [_SPIN_SUM_UNKNOWN.format(name=density)]
    return Provenance(CODE, "", tuple(files.values()), "", extra)
