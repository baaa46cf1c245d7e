"""The HDF5 block files of a unified folder: four datasets, and our attributes beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import is_wanted_shape
from dock.core.basis import Basis
from dock.core.blocks import BlockLayout
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.quantity import quantity_of
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import FormatError, LayoutError
from dock.io.hdf5 import new_hdf5, open_hdf5

if TYPE_CHECKING:
    import h5py

__all__ = ["BlockFile", "detect_spin", "read_attributes", "read_matrix", "write_matrix"]

DATASETS = ("atom_pairs", "chunk_boundaries", "chunk_shapes", "entries")
FIX = "It was cut, damaged, or is no HDF5 file: copy it again or convert the run again."
_SPIN_TOLERANCE = 1e-12  # below this, up-down entries of a stored matrix are zero


class BlockFile(NamedTuple):
    """The pattern of a block file, checked, with its entries still on disk.

    `stored` has the shapes on the file, which are doubled where the blocks carry spin.
    """

    pairs: Pairs
    stored: BlockLayout
    entries: h5py.Dataset


def read_attributes(path: Path) -> dict[str, Any]:
    """Return the file's attributes (empty for files of other programs)."""
    with open_hdf5(path, FIX) as file:
        return {name: _plain(value) for name, value in file.attrs.items()}


def read_matrix(
    path: Path, quantity: str, structure: Structure, basis: Basis, spin: Spin
) -> AOMatrix:
    """Read one block file.

    Parameters
    ----------
    path
        The file.
    quantity
        What it is expected to hold; an attribute that says otherwise is an error.
    structure, basis, spin
        What POSCAR and info.json say.

    Raises
    ------
    FormatError
        For datasets that are missing, have the wrong type or length, contradict each other, the
        structure or the basis, or hold values that are not finite.
    """
    facts = quantity_of(quantity)
    spinful = facts.has_spin and spin is not Spin.NONE
    with open_hdf5(path, FIX) as file:
        found = _plain(file.attrs.get("quantity", facts.name))
        if not isinstance(found, str) or found != facts.name:
            raise FormatError(
                path,
                "this file holds another matrix",
                expected=facts.name,
                found=found,
                fix="It was renamed or copied to the wrong place: convert the run again.",
            )
        blocks = _read_pattern(path, file, basis, 2 if spinful else 1)
        length = (blocks.stored.n_entries,)
        _expect_shape(path, blocks.entries, (3, *length) if facts.n_vector == 3 else length)
        raw = np.atleast_2d(_load(path, blocks.entries))
    with np.errstate(over="ignore", invalid="ignore"):
        quick = np.isfinite(raw.sum())  # no temporary of the matrix's size in the usual case
    if not quick and not np.all(np.isfinite(raw)):
        bad = raw.size - int(np.count_nonzero(np.isfinite(raw)))
        raise FormatError(
            path,
            "entries are not finite",
            where="entries",
            found=f"{bad} NaN or infinite values of {raw.size}",
            fix="The calculation or prediction that made them failed; make the file again.",
        )
    if spinful:
        entries = _split_spin(path, raw, blocks.stored, spin)
    elif np.iscomplexobj(raw):
        entries = _real(path, raw, facts.name)
    else:
        entries = raw
    return AOMatrix(facts.name, structure, basis, blocks.pairs, spin, entries)


def write_matrix(
    path: Path,
    matrix: AOMatrix,
    attributes: Mapping[str, Any],
    *,
    single_precision: bool = False,
    overwrite: bool = False,
) -> None:
    """Write one block file atomically, byte-compatible with the DeepH format.

    Parameters
    ----------
    path
        The file; appears under this name only when it is complete.
    matrix
        The matrix, in the order of its pairs.
    attributes
        File attributes; old readers ignore them.
    single_precision
        Store float32 or complex64.
    overwrite
        Replace an existing file.
    """
    doubled = matrix.facts.has_spin and matrix.spin is not Spin.NONE
    layout, pairs = matrix.layout, matrix.pairs
    entries = _join_spin(matrix) if doubled else matrix.entries
    factor = 2 if doubled else 1
    if single_precision:
        entries = entries.astype(np.complex64 if np.iscomplexobj(entries) else np.float32)
    with new_hdf5(path, overwrite=overwrite) as file:
        atom_pairs = np.column_stack([pairs.R, pairs.i, pairs.j]).astype(np.int64)
        shapes = factor * np.column_stack([layout.rows, layout.cols]).astype(np.int64)
        file.create_dataset("atom_pairs", data=atom_pairs)
        file.create_dataset("chunk_boundaries", data=layout.starts * factor**2)
        file.create_dataset("chunk_shapes", data=shapes)
        file.create_dataset("entries", data=entries if len(entries) > 1 else entries[0])
        store = file.attrs  # each access to it opens the root group
        for name, value in attributes.items():
            store[name] = _fixed_text(value) if isinstance(value, str) else value


def detect_spin(path: Path, basis: Basis) -> Spin:
    """Tell collinear from non-collinear content of a spinful file without attributes.

    Doubled blocks whose up-down parts and imaginary parts all vanish are collinear.
    """
    with open_hdf5(path, FIX) as file:
        stated = _plain(file.attrs.get("spin"))
        if isinstance(stated, str) and stated in {spin.value for spin in Spin}:
            return Spin(stated)
        blocks = _read_pattern(path, file, basis, 2)
        _expect_shape(path, blocks.entries, (blocks.stored.n_entries,))
        raw = _load(path, blocks.entries)[None, :]
    if np.iscomplexobj(raw) and np.abs(raw.imag).max(initial=0.0) > _SPIN_TOLERANCE:
        return Spin.NONCOLLINEAR
    for group in blocks.stored.groups():
        part = blocks.stored.read(raw, group)[0]
        rows, cols = group.rows // 2, group.cols // 2
        mixing = (part[:, :rows, cols:], part[:, rows:, :cols])
        if max(np.abs(block).max(initial=0.0) for block in mixing) > _SPIN_TOLERANCE:
            return Spin.NONCOLLINEAR
    return Spin.COLLINEAR


def _read_pattern(path: Path, file: h5py.File, basis: Basis, factor: int) -> BlockFile:
    """Read and check pairs, shapes and boundaries; `layout` has the shapes on the file / factor."""
    missing = [name for name in DATASETS if name not in file]
    if missing:
        have = ", ".join(file) or "none"
        raise FormatError(
            path,
            f"datasets are missing: {', '.join(missing)}",
            expected=", ".join(DATASETS),
            found=have,
            fix="A folder of the older DeepH format must be read with format='deeph-legacy'."
            if any(name.startswith("[") for name in file)
            else "Convert the run again.",
        )
    table = _integers(path, _dataset(path, file, "atom_pairs"), (None, 5))
    shapes = _integers(path, _dataset(path, file, "chunk_shapes"), (len(table), 2))
    boundaries = _integers(path, _dataset(path, file, "chunk_boundaries"), (len(table) + 1,))
    try:
        pairs = Pairs(table[:, :3], table[:, 3], table[:, 4], basis.n_atoms)
    except LayoutError as error:
        raise FormatError(path, str(error).rstrip("."), where="atom_pairs") from error
    counts = factor * basis.counts
    stored = BlockLayout(counts[pairs.i], counts[pairs.j])
    wrong = np.flatnonzero(np.any(shapes != np.column_stack([stored.rows, stored.cols]), axis=1))
    if len(wrong):
        first = int(wrong[0])
        raise FormatError(
            path,
            "blocks and orbitals disagree",
            where=f"chunk_shapes of pair {pairs.describe(first)}",
            expected=f"{int(stored.rows[first])}×{int(stored.cols[first])} from info.json"
            + (" with spin" if factor == 2 else ""),
            found=f"{shapes[first, 0]}×{shapes[first, 1]}",
            fix="info.json belongs to another calculation, or 'spinful' is wrong there.",
        )
    if not np.array_equal(boundaries, stored.starts):
        raise FormatError(
            path,
            "boundaries and shapes of the blocks disagree",
            where="chunk_boundaries",
            expected=f"running sums of the block sizes, ending at {stored.n_entries}",
            found=f"an end at {boundaries[-1]}",
            fix="The file is damaged: convert the run again.",
        )
    return BlockFile(pairs, stored, _dataset(path, file, "entries"))


def _dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    import h5py

    found = file[name]
    if not isinstance(found, h5py.Dataset):
        kind = type(found).__name__.lower()
        raise FormatError(
            path, "wrong kind of object", where=name, expected="a dataset", found=f"a {kind}"
        )
    return found


def _integers(
    path: Path, dataset: h5py.Dataset, shape: tuple[int | None, ...]
) -> NDArray[np.int64]:
    if dataset.dtype.kind not in "iu":
        raise FormatError(
            path, "wrong type", where=dataset.name, expected="integers", found=dataset.dtype
        )
    _expect_shape(path, dataset, shape)
    return _load(path, dataset).astype(np.int64, copy=False)


def _expect_shape(path: Path, dataset: h5py.Dataset, shape: tuple[int | None, ...]) -> None:
    if not is_wanted_shape(dataset.shape, shape):
        want = " × ".join("any" if length is None else str(length) for length in shape)
        have = " × ".join(str(length) for length in dataset.shape)
        raise FormatError(
            path,
            "a dataset has the wrong length",
            where=dataset.name,
            expected=want,
            found=have,
            fix="The file is damaged or belongs to another structure: convert the run again.",
        )


def _load(path: Path, dataset: h5py.Dataset) -> NDArray[Any]:
    """Read a dataset after checking that the file is long enough to hold it."""
    needed = dataset.size * dataset.dtype.itemsize
    size = path.stat().st_size
    if dataset.compression is None and dataset.chunks is None and needed > size:
        raise FormatError(
            path, "the file was cut", where=dataset.name, expected=f"{needed} bytes", found=size
        )
    if dataset.dtype.kind not in "iufc":
        raise FormatError(
            path, "wrong type", where=dataset.name, expected="numbers", found=dataset.dtype
        )
    values: NDArray[Any] = dataset[()]
    return values


def _split_spin(path: Path, raw: NDArray[Any], stored: BlockLayout, spin: Spin) -> NDArray[Any]:
    """Return the components of doubled blocks [[uu, ud], [du, dd]]."""
    single = BlockLayout(stored.rows // 2, stored.cols // 2)
    if spin is Spin.NONCOLLINEAR and not np.iscomplexobj(raw):
        raw = raw.astype(np.result_type(raw.dtype, np.complex64))
    if spin is Spin.COLLINEAR and np.iscomplexobj(raw):
        raw = _real(path, raw, "collinear matrix")
    parts = [(0, 0), (1, 1)] if spin is Spin.COLLINEAR else [(0, 0), (0, 1), (1, 0), (1, 1)]
    result = np.empty((len(parts), single.n_entries), dtype=raw.dtype)
    for group in stored.groups():
        rows, cols = group.rows // 2, group.cols // 2
        blocks = stored.read(raw, group)[0].reshape(len(group.index), 2, rows, 2, cols)
        chosen = np.stack([blocks[:, s, :, t, :] for s, t in parts])
        single.write(result, group._replace(rows=rows, cols=cols), chosen)
    return result


def _join_spin(matrix: AOMatrix) -> NDArray[Any]:
    """Return the doubled blocks [[uu, ud], [du, dd]] as one flat array, (1, 4 n_entries)."""
    single = matrix.layout
    stored = BlockLayout(2 * single.rows, 2 * single.cols)
    result = np.zeros((1, stored.n_entries), dtype=matrix.entries.dtype)
    collinear = matrix.spin is Spin.COLLINEAR
    parts = [(0, 0), (1, 1)] if collinear else [(0, 0), (0, 1), (1, 0), (1, 1)]
    for group in single.groups():
        blocks = single.read(matrix.entries, group)
        shape = (len(group.index), 2, group.rows, 2, group.cols)
        doubled = np.zeros(shape, dtype=result.dtype)
        for (s, t), block in zip(parts, blocks, strict=True):
            doubled[:, s, :, t, :] = block
        wide = group._replace(rows=2 * group.rows, cols=2 * group.cols)
        stored.write(result, wide, doubled.reshape(1, len(group.index), wide.rows, wide.cols))
    return result


def _real(path: Path, raw: NDArray[Any], what: str) -> NDArray[Any]:
    """Return the real part of entries that must be real."""
    largest = float(np.abs(raw.imag).max(initial=0.0))
    if largest > _SPIN_TOLERANCE:
        raise FormatError(
            path,
            f"the {what} should be real",
            where="entries",
            found=f"imaginary parts up to {largest:.1e}",
            fix="'spinful' in info.json is wrong, or the file is another matrix.",
        )
    return np.ascontiguousarray(raw.real)


def _fixed_text(text: str) -> NDArray[Any]:
    """Return a text as a string of fixed length.

    Strings of variable length stand in HDF5's global heap, in which one wrong bit can make the
    library search for ever.
    """
    import h5py

    data = text.encode("utf-8") or b"\0"
    return np.array(data, dtype=h5py.string_dtype("utf-8", len(data)))


def _plain(value: Any) -> Any:
    """Return an attribute as a plain Python object."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, np.generic) else value
