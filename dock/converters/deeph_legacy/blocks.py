"""The HDF5 files of a legacy folder: one dataset for each block, named ``[R1, R2, R3, i, j]``.

There are as many datasets as blocks, so a loop over them cannot be avoided; HDF5's low-level
calls make it two to three times faster than indexing the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dock.core.blocks import BlockLayout
from dock.core.pairs import Pairs
from dock.errors import FormatError, LayoutError
from dock.io.hdf5 import new_hdf5, open_hdf5
from dock.io.text import NotANumber, parse_numbers

if TYPE_CHECKING:
    import h5py

__all__ = [
    "FILES",
    "MATRIX_FILES",
    "TEXT_FILES",
    "block_shape",
    "file_attributes",
    "others_in",
    "read_blocks",
    "read_pairs",
    "read_position",
    "write_blocks",
]

FILES: Mapping[str, tuple[str, ...]] = {
    "overlap": ("overlaps.h5",),
    "hamiltonian": ("hamiltonians.h5", "hamiltonians_pred.h5"),
    "density_matrix": ("density_matrices.h5", "density_matrixs.h5"),
    "position": ("positions.h5",),
}
"""File names of each quantity; the first that exists is read, the first is written."""

MATRIX_FILES = tuple(name for names in FILES.values() for name in names)
TEXT_FILES = ("lat.dat", "element.dat", "site_positions.dat", "orbital_types.dat")

_DAMAGED = "The file was cut or damaged: copy it again, or make it again."


def file_attributes(path: Path) -> dict[str, str]:
    """Return the file's text attributes (none in files of other programs)."""
    with open_hdf5(path, _DAMAGED) as file:
        return {name: value for name, value in file.attrs.items() if isinstance(value, str)}


def others_in(path: Path) -> list[str]:
    """Return the datasets, groups and attributes that are no blocks, and are not read."""
    with open_hdf5(path, _DAMAGED) as file:
        attributes = [f"attribute {name}" for name in file.attrs if name != "spin_sum"]
        return [name for name in file if not name.startswith("[")] + attributes


def read_pairs(path: Path, n_atoms: int) -> Pairs:
    """Read which blocks a file has, in HDF5's order of their names.

    Raises
    ------
    FormatError
        For names that are no block, atoms outside the cell, or a block without its partner.
    """
    with open_hdf5(path, _DAMAGED) as file:
        names = _block_names(file)
    if not names:
        raise FormatError(path, "the file has no blocks", fix=_DAMAGED)
    keys = _parse_names(path, names)
    try:
        pairs = Pairs(keys[:, :3], keys[:, 3] - 1, keys[:, 4] - 1, n_atoms)
        pairs.require_closed()
    except LayoutError as error:
        raise FormatError(path, str(error).rstrip("."), where="names of the blocks") from error
    return pairs


def block_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of the first block, which says whether blocks carry spin."""
    import h5py

    with open_hdf5(path, _DAMAGED) as file:
        names = _block_names(file)
        if not names:
            raise FormatError(path, "the file has no blocks", fix=_DAMAGED)
        shape: tuple[int, ...] = h5py.h5d.open(file.id, names[0]).shape
        return shape


def read_blocks(path: Path, pairs: Pairs, counts: NDArray[Any]) -> NDArray[Any]:
    """Read the blocks of `pairs`, which `read_pairs` gave for this file.

    Parameters
    ----------
    path
        The file.
    pairs
        Its pairs.
    counts
        (n_atoms,) rows of each atom's blocks: orbitals, twice as many with spin.

    Returns
    -------
    ndarray
        (n_entries,) the blocks row-major, one behind another; float64 or complex128.

    Raises
    ------
    FormatError
        For a block that is missing, is cut, or has the wrong shape or type.
    """
    import h5py

    layout = BlockLayout(counts[pairs.i], counts[pairs.j])
    with open_hdf5(path, _DAMAGED) as file:
        names = _block_names(file)
        if len(names) != len(pairs):
            raise FormatError(path, "the file changed while it was read", fix="Read it again.")
        first = h5py.h5d.open(file.id, names[0])
        if first.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS:
            _check_size(path, layout.n_entries)
        entries = np.empty(layout.n_entries, dtype=_dtype(file, names[0]))
        _read_each(path, file, names, _places(layout), [entries] * len(names))
    _require_finite(path, entries)
    return entries


def read_position(
    path: Path, overlap: Pairs | None, counts: NDArray[Any]
) -> tuple[Pairs, NDArray[Any], int]:
    """Read the position matrix: a dataset ``[R1, R2, R3, i, j, d]`` for each block and axis d.

    Parameters
    ----------
    path
        The file.
    overlap
        The pairs of the overlap, which come first in their order; None without one.
    counts
        (n_atoms,) orbitals of each atom.

    Returns
    -------
    pairs, entries, n_absent
        The pairs; (3, n_entries) x, y, z; the number of blocks that are not there: zeros.

    Raises
    ------
    FormatError
        For names that are no block, and as `read_blocks`.
    """
    with open_hdf5(path, _DAMAGED) as file:
        names = _block_names(file)
        if not names:
            raise FormatError(path, "the file has no blocks", fix=_DAMAGED)
        keys = _parse_names(path, names, 6)
        R, i, j, axis = keys[:, :3], keys[:, 3] - 1, keys[:, 4] - 1, keys[:, 5] - 1
        if axis.min() < 0 or axis.max() > 2:
            raise FormatError(
                path,
                "a direction is not understood",
                where="names of the blocks",
                expected="1, 2 or 3 for x, y, z, as the last number",
                found=sorted(set((axis + 1).tolist())),
                fix=_DAMAGED,
            )
        try:
            pairs = overlap or Pairs(R[:0], i[:0], j[:0], len(counts))
            for here in (axis == d for d in range(3)):
                pairs = pairs.union(Pairs(R[here], i[here], j[here], len(counts)))
            pairs.require_closed()
        except LayoutError as error:
            raise FormatError(path, str(error).rstrip("."), where="names of the blocks") from error
        layout = BlockLayout(counts[pairs.i], counts[pairs.j])
        kinds = {_dtype(file, name) for name in names}
        entries = np.zeros((3, layout.n_entries), dtype=max(kinds, key=lambda kind: kind.itemsize))
        places = _places(layout, pairs.find(R, i, j))
        targets = [entries[d] for d in axis.tolist()]
        _read_each(path, file, names, places, targets, mixed=len(kinds) > 1)
    _require_finite(path, entries)
    return pairs, entries, 3 * len(pairs) - len(names)


def _dtype(file: h5py.File, name: bytes) -> np.dtype[Any]:
    """Return the type in memory of a block's numbers."""
    import h5py

    is_complex = h5py.h5d.open(file.id, name).dtype.kind == "c"
    return np.dtype(np.complex128 if is_complex else np.float64)


def _places(layout: BlockLayout, blocks: Any = slice(None)) -> list[tuple[int, int, int]]:
    """Return first entry, rows and columns of blocks."""
    table = np.column_stack([layout.starts[:-1], layout.rows, layout.cols])
    return [(start, rows, cols) for start, rows, cols in table[blocks].tolist()]


def _read_each(
    path: Path,
    file: h5py.File,
    names: list[bytes],
    places: list[tuple[int, int, int]],
    targets: list[NDArray[Any]],
    *,
    mixed: bool = False,
) -> None:
    """Read each named block into its place of a flat array; some are real if `mixed`."""
    import h5py

    everything = h5py.h5s.ALL
    for name, (start, rows, cols), target in zip(names, places, targets, strict=True):
        block = h5py.h5d.open(file.id, name)
        if block.shape != (rows, cols):
            _wrong_shape(path, name, (rows, cols), block.shape)
        place = target[start : start + rows * cols]
        if mixed and block.dtype.kind != "c":  # HDF5 does not make complex numbers of these
            part = np.empty(rows * cols)
            block.read(everything, everything, part)
            place[:] = part
        else:
            block.read(everything, everything, place)


def write_blocks(
    path: Path, pairs: Pairs, layout: BlockLayout, entries: NDArray[Any], note: str = ""
) -> None:
    """Write the blocks of `pairs`, one dataset each, atomically.

    Parameters
    ----------
    path
        The file.
    pairs, layout
        The blocks and their stored shapes.
    entries
        (n_entries,) float64 or complex128; (3, n_entries) for the position matrix.
    note
        What the file says of its spin sum, for density matrices.
    """
    import h5py

    kind = h5py.h5t.py_create(entries.dtype, logical=True)
    spaces: dict[tuple[int, int], Any] = {}
    everything = h5py.h5s.ALL
    table = np.column_stack([pairs.R, pairs.i + 1, pairs.j + 1]).tolist()
    ends: list[list[int]] = [[]] if entries.ndim == 1 else [[1], [2], [3]]
    with new_hdf5(path) as file:
        for row, (start, rows, cols) in zip(table, _places(layout), strict=True):
            space = spaces.get((rows, cols)) or h5py.h5s.create_simple((rows, cols))
            spaces[rows, cols] = space
            for end, values in zip(ends, np.atleast_2d(entries), strict=True):
                block = h5py.h5d.create(file.id, str(row + end).encode(), kind, space)
                block.write(everything, everything, values[start : start + rows * cols])
        if note:
            file.attrs["spin_sum"] = note


def _block_names(file: h5py.File) -> list[bytes]:
    """Return the names of all blocks in HDF5's own order."""
    names: list[bytes] = []

    def collect(name: bytes) -> None:
        names.append(name)

    file.id.links.iterate(collect)
    return [name for name in names if name.startswith(b"[")]


def _parse_names(path: Path, names: list[bytes], width: int = 5) -> NDArray[np.int64]:
    """Return the integers of every name, (n, width)."""
    text = b" ".join(names).translate(None, b"[]").replace(b",", b" ")
    try:
        keys = parse_numbers(text, np.int64)
    except NotANumber:
        keys = np.zeros(0, dtype=np.int64)
    if keys.size != width * len(names) or any(name.count(b",") != width - 1 for name in names):
        wrong = next((n for n in names if not _is_block_name(n, width)), names[0])
        raise FormatError(
            path,
            "the name of a block is not understood",
            expected=f"[R1, R2, R3, i, j{', d' * (width - 5)}] with atoms counted from 1",
            found=wrong.decode(errors="replace"),
            fix=_DAMAGED,
        )
    return keys.reshape(-1, width)


def _is_block_name(name: bytes, width: int) -> bool:
    words = name.strip(b"[]").split(b",")
    return len(words) == width and all(word.strip().lstrip(b"-").isdigit() for word in words)


def _check_size(path: Path, n_entries: int) -> None:
    """Refuse, before memory is taken, a file too short for its blocks in single precision."""
    size = path.stat().st_size
    if size < 4 * n_entries:
        raise FormatError(
            path,
            "the file is too short for its blocks",
            expected=f"at least {4 * n_entries} bytes",
            found=f"{size} bytes",
            fix="orbital_types.dat belongs to another calculation, or the file was cut.",
        )


def _wrong_shape(
    path: Path, name: bytes, expected: tuple[int, int], found: tuple[int, ...]
) -> None:
    raise FormatError(
        path,
        "a block and orbital_types.dat disagree",
        where=name.decode(errors="replace"),
        expected=f"{expected[0]}×{expected[1]}",
        found="×".join(map(str, found)),
        fix="orbital_types.dat belongs to another calculation, or 'isspinful' in info.json is "
        "wrong.",
    )


def _require_finite(path: Path, entries: NDArray[Any]) -> None:
    if not np.isfinite(entries.sum()) and not np.all(np.isfinite(entries)):
        bad = entries.size - int(np.count_nonzero(np.isfinite(entries)))
        raise FormatError(
            path,
            "entries are not finite",
            found=f"{bad} NaN or infinite values of {entries.size}",
            fix="The calculation or prediction that made them failed; make the file again.",
        )
