"""Matrices of ABACUS in ``.npz`` files (``out_hsr 3``): one array for each atom pair and R.

The names of the arrays end with ``_i_j_Rx_Ry_Rz``, the atoms counted from 0. Only i ≤ j is there:
where one of a pair and its partner (−R, j, i) is missing, it is the other's conjugate transpose.
Each ionic step overwrites the file, which says its structure but not its number.
"""

from __future__ import annotations

import re
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.abacus.sparse import SparseBlock, StepStructure
from dock.converters.abacus.stru import BOHR
from dock.core.basis import Basis
from dock.errors import FormatError, MissingDataError
from dock.io.text import CUT_FIX, UNREADABLE

__all__ = ["npz_blocks", "npz_structure"]

_NAME = re.compile(r".*?_(\d+)_(\d+)_(-?\d+)_(-?\d+)_(-?\d+)")


def npz_blocks(path: Path, basis: Basis, size: int) -> Iterator[SparseBlock]:
    """Yield the matrices of a ``.npz`` file, one lattice vector after another.

    Parameters
    ----------
    path
        The file.
    basis
        The basis.
    size
        Rows of the whole matrix: orbitals, doubled with spinors.

    Raises
    ------
    MissingDataError
        When the file cannot be opened.
    FormatError
        When it is damaged, or an array has another shape than its atoms' orbitals.
    """
    if not path.is_file():
        raise MissingDataError(path.name, path.parent, "Copy it there.")
    n_spinor = size // basis.n_orbitals
    with _opened(path) as archive:
        names = {_key(name): name for name in archive.files if _NAME.fullmatch(name)}
        for R in sorted({key[2] for key in names} | {_minus(key[2]) for key in names}):
            parts = [
                _entries(path, archive, names, (i, j, R), basis, n_spinor=n_spinor)
                for i, j in sorted(_atom_pairs(names, R))
            ]
            yield _joined(R, parts)


def npz_structure(path: Path) -> StepStructure | None:
    """Return the structure in a ``.npz`` file; None where it has none.

    Raises
    ------
    MissingDataError, FormatError
        As for `npz_blocks`.
    """
    with _opened(path) as archive:
        if not {"lattice_vectors", "atom_info"} <= set(archive.files):
            return None
        cell = np.asarray(archive["lattice_vectors"], dtype=np.float64)
        atoms = np.asarray(archive["atom_info"], dtype=np.float64)
    if cell.size != 9 or atoms.ndim != 2 or atoms.shape[1] != 5 or not np.isfinite(atoms).all():
        raise FormatError(
            path,
            "its structure is damaged",
            where="lattice_vectors, atom_info",
            expected="9 numbers and 5 for each atom",
            found=f"{cell.shape} and {atoms.shape}",
            fix=CUT_FIX,
        )
    numbers = tuple(int(number) for number in atoms[:, 1])
    return StepStructure(cell.reshape(3, 3) * BOHR, atoms[:, 2:], (), numbers)


_DAMAGED = (ValueError, zipfile.BadZipFile, LookupError, RuntimeError, OverflowError, struct.error)
"""What archives raise where they are damaged: a flipped bit may ask for a password."""


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open an archive; what is wrong with it is told as a sentence."""
    if not path.is_file():
        raise MissingDataError(path.name, path.parent, "Copy it there.")
    try:
        with path.open("rb") as stream, np.load(stream) as archive:
            yield archive
    except (*UNREADABLE, *_DAMAGED) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(path, f"the file cannot be read ({error})", fix=CUT_FIX) from error


_Lattice = tuple[int, int, int]
_Key = tuple[int, int, _Lattice]


def _key(name: str) -> _Key:
    match = _NAME.fullmatch(name)
    i, j, *R = (int(number) for number in match.groups()) if match else (0, 0, 0, 0, 0)
    return i, j, (R[0], R[1], R[2])


def _minus(R: _Lattice) -> _Lattice:
    return -R[0], -R[1], -R[2]


def _atom_pairs(names: dict[_Key, str], R: _Lattice) -> set[tuple[int, int]]:
    """Return the atom pairs of one lattice vector that are there, themselves or as partners."""
    here = {(i, j) for i, j, vector in names if vector == R}
    return here | {(j, i) for i, j, vector in names if vector == _minus(R)}


def _entries(
    path: Path, archive: Any, names: dict[_Key, str], key: _Key, basis: Basis, *, n_spinor: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    """Return rows, columns and values of one atom pair."""
    i, j, R = key
    if max(i, j) >= basis.n_atoms:
        raise FormatError(
            path,
            "an atom is out of range",
            where=names.get(key),
            expected=f"atoms 0 to {basis.n_atoms - 1}",
            found=f"{max(i, j)}",
            fix="The file belongs to another run.",
        )
    name = names.get(key)
    block = np.asarray(archive[name if name is not None else names[j, i, _minus(R)]])
    shape = (int(basis.counts[i]) * n_spinor, int(basis.counts[j]) * n_spinor)
    if name is None:
        block = block.reshape(shape[::-1]).conj().T if block.size == shape[0] * shape[1] else block
    if block.size != shape[0] * shape[1] or block.dtype.kind not in "fc":
        raise FormatError(
            path,
            "an array has the wrong shape",
            where=name,
            expected=f"{shape[0]} × {shape[1]} numbers",
            found=f"{block.shape} of {block.dtype}",
            fix="The file belongs to another run, or is damaged.",
        )
    first, second = basis.offsets[i] * n_spinor, basis.offsets[j] * n_spinor
    rows, cols = np.indices(shape).reshape(2, -1)
    return rows + first, cols + second, block.reshape(-1)


def _joined(
    R: _Lattice, parts: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]]
) -> SparseBlock:
    """Return the entries of all atom pairs of one lattice vector, row by row."""
    rows = np.concatenate([part[0] for part in parts])
    cols = np.concatenate([part[1] for part in parts])
    values = np.concatenate([part[2] for part in parts])
    order = np.lexsort((cols, rows))
    return SparseBlock(R, 0, rows[order], cols[order], values[order])
