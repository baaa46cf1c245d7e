"""The HDF5 block files of a unified folder: four datasets, and our attributes beside them.

A file is read and written whole, or its pattern alone and its entries slab by slab, for matrices
beyond memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.deeph.info import require_version
from dock.converters.deeph.pattern import (
    FIX,
    HKB,
    BlockFile,
    Shape,
    load,
    read_pattern,
    require_shape,
    require_whole,
)
from dock.converters.deeph.stacked import (
    COMPONENTS,
    VECTORS,
    join_components,
    split_components,
)
from dock.converters.doubled_blocks import (
    PLAIN,
    QUADRANTS,
    STACKED,
    collinear_content,
    doubled_layout,
    expand,
    join_spin,
    join_stacked,
    real_part,
    reduce_expanded,
    split_spin,
    split_stacked,
)
from dock.core.basis import Basis
from dock.core.blocks import BlockLayout
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.quantity import UNKNOWN, Quantity, quantity_of
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import DockError, FormatError, LayoutError
from dock.io.hdf5 import new_hdf5, open_hdf5

if TYPE_CHECKING:
    import h5py

__all__ = [
    "ATTRIBUTES",
    "FREE",
    "LOCAL",
    "NONLOCAL",
    "QUADRANTS",
    "detect_spin",
    "has_spin_blocks",
    "holds_zeros",
    "read_attributes",
    "read_matrix",
    "write_matrix",
    "write_slabs",
]

ATTRIBUTES = (
    *("dock_format_version", "quantity", "unit", "spin", "source_code", "written_by", "spin_sum"),
    "model",
)
"""Attributes of a file that `dock` writes anew."""

LOCAL, NONLOCAL = "hamiltonian_local", "hamiltonian_nonlocal"
"""What the two files of a split Hamiltonian call themselves, so that neither is taken for H."""

FREE = ("hamiltonian0", "hamiltonian_init")
"""H of superposed free atoms, as DeepH-dock and as aimspy call it."""

_UNITS = {
    "1": {"1", "none", "dimensionless", ""},
    "angstrom": {"angstrom", "ang", "å"},
    "1/angstrom": {"1/angstrom", "1/ang", "1/å"},
    "ev": {"ev"},
    "ev/angstrom": {"ev/angstrom", "ev/ang", "ev/å"},
    "1/bohr": {"1/bohr"},
}
_PIECE = 2**17  # entries that are read at a time to see whether all are zero


def read_attributes(path: Path) -> dict[str, Any]:
    """Return the file's attributes (empty for files of other programs)."""
    with open_hdf5(path, FIX) as file:
        return {name: _plain(value) for name, value in file.attrs.items()}


def read_matrix(
    path: Path,
    quantity: str,
    structure: Structure,
    basis: Basis,
    spin: Spin,
    *,
    part: str = "",
    split: bool = False,
    atoms: tuple[int, int] | None = None,
) -> AOMatrix:
    """Read one block file, or the rows of some atoms of it.

    Parameters
    ----------
    path
        The file.
    quantity
        What it is expected to hold; an attribute that says otherwise is an error.
    structure, basis, spin
        What POSCAR and info.json say.
    part
        `LOCAL` or `NONLOCAL` for one file of a split Hamiltonian.
    split
        Whether the folder's Hamiltonian is split: an expanded overlap then is an error.
    atoms
        Keep only pairs whose first atom is first ≤ i < stop; no other entries are read.

    Raises
    ------
    FormatError
        For datasets that are missing, have the wrong type or length, contradict each other, the
        structure or the basis, or hold values that are not finite.
    """
    facts = quantity_of(quantity)
    spinful = facts.has_spin and spin is not Spin.NONE
    with open_hdf5(path, FIX) as file:
        _check_attributes(path, file, facts, part or facts.name)
        allowed = _shapes_of(facts, spin, split=split)
        blocks = read_pattern(path, file, basis, allowed, split=split or bool(part))
        length = (blocks.stored.n_entries,)
        wide = facts.n_vector == 3 and blocks.shape != COMPONENTS
        require_shape(path, blocks.entries, (3, *length) if wide else length)
        if atoms is None:
            raw = np.atleast_2d(load(path, blocks.entries))
        else:
            blocks, raw = _load_rows(path, blocks, *atoms)
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
    if not (spinful and spin is Spin.NONCOLLINEAR):
        key = "spinful" if facts.has_spin and not part else ""
        key = "spin_treatment' or 'dock.spin" if spinful else key
        raw = real_part(path, raw, "collinear matrix" if spinful else facts.name, key)
    entries = _components(path, raw, blocks, spin) if spinful else _single(path, raw, blocks)
    return AOMatrix(facts.name, structure, basis, blocks.pairs, spin, entries)


def _shapes_of(facts: Quantity, spin: Spin, *, split: bool) -> tuple[Shape, ...]:
    """Return the shapes that the blocks of a matrix may have, the usual one first."""
    if facts.name in VECTORS:
        return (COMPONENTS,)
    if split and facts.name in FREE:
        return (PLAIN, QUADRANTS)
    if spin is Spin.NONE or (split and facts.name == "overlap"):
        return (PLAIN,)
    if not facts.has_spin:
        return (PLAIN, QUADRANTS)
    return (QUADRANTS, STACKED) if spin is Spin.COLLINEAR else (QUADRANTS,)


def _components(path: Path, raw: NDArray[Any], blocks: BlockFile, spin: Spin) -> NDArray[Any]:
    """Return the spin components of blocks that carry spin."""
    if blocks.shape == PLAIN:
        none = np.zeros_like(raw[0])
        return np.stack([raw[0], none, none, raw[0]])
    if blocks.shape == STACKED:
        return split_stacked(raw[0], blocks.single)
    if spin is Spin.COLLINEAR and not collinear_content(raw[0], blocks.stored):
        raise FormatError(
            path,
            "spin is said to be collinear, but the blocks mix up and down",
            where="entries",
            fix="info.json belongs to another calculation; 'dock.spin' or 'spin_treatment' is "
            "wrong there.",
        )
    return split_spin(raw[0], blocks.single, spin)


def _single(path: Path, raw: NDArray[Any], blocks: BlockFile) -> NDArray[Any]:
    """Return the entries of an operator without spin; an expanded one must be 1₂⊗O."""
    if blocks.shape == PLAIN:
        return raw
    if blocks.shape == COMPONENTS:
        return split_components(raw[0], blocks.single)
    entries, wrong = reduce_expanded(raw, blocks.single)
    if wrong >= 0:
        raise FormatError(
            path,
            "the blocks have both spins, but are not the same for each with nothing between",
            where=f"pair {blocks.pairs.describe(wrong)}",
            expected="1₂⊗O, an operator without spin written twice",
            fix="The file is damaged or is another matrix: compute it again.",
        )
    return entries


def holds_zeros(path: Path) -> bool:
    """Say whether a file is a placeholder, all of whose entries are zero; a damaged one is not.

    Of a file with numbers only the beginning is read.
    """
    with contextlib.suppress(DockError), open_hdf5(path, FIX) as file:
        entries = file.get("entries")
        if not (hasattr(entries, "ndim") and entries.ndim in (1, 2) and entries.dtype.kind in "fc"):
            return False
        starts = range(0, entries.shape[-1], _PIECE)
        return not any(np.any(entries[..., begin : begin + _PIECE]) for begin in starts)
    return False


def _check_attributes(path: Path, file: h5py.File, facts: Quantity, name: str) -> None:
    """Refuse a file that says it is another matrix, in other units, or of another version."""
    stored = _plain(file.attrs.get("quantity", name))
    if not isinstance(stored, str) or stored not in _accepted(path, name):
        raise FormatError(
            path,
            "this file holds another matrix",
            expected=name,
            found=stored,
            fix=f"It is one part of a split H: info.json must say split_hkb, with {HKB} beside it."
            if str(stored) in (LOCAL, NONLOCAL)
            else "It was renamed or copied to the wrong place: convert the run again.",
        )
    require_version(path, _plain(file.attrs.get("dock_format_version")), "dock_format_version")
    for place in (file, file.get("entries", file)):
        for key in ("unit", "units"):
            unit = str(_plain(place.attrs.get(key, facts.unit)))
            if facts.unit != UNKNOWN and unit.casefold() not in _UNITS[facts.unit.casefold()]:
                raise FormatError(
                    path, "the unit is another", where=key, expected=facts.unit, found=unit
                )


def _accepted(path: Path, quantity: str) -> tuple[str, ...]:
    """Return what a file may say that it holds; H of free atoms may be named as the H."""
    is_named = quantity == "hamiltonian" and path.name != "hamiltonian.h5"
    return (quantity, *FREE) if is_named else (quantity,)


def write_matrix(
    path: Path,
    matrix: AOMatrix,
    attributes: Mapping[str, Any],
    *,
    shape: Shape | None = None,
    carry: Callable[[h5py.File], None] | None = None,
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
    shape
        `QUADRANTS` for an operator without spin writes it expanded, `STACKED` a collinear one
        with the up rows above the down rows.
    carry
        Adds what else belongs into the file.
    single_precision
        Store float32 or complex64.
    overwrite
        Replace an existing file.
    """
    doubled = matrix.facts.has_spin and matrix.spin is not Spin.NONE
    layout, pairs = matrix.layout, matrix.pairs
    entries = matrix.entries
    shape = shape or (QUADRANTS if doubled else PLAIN)
    if matrix.quantity in VECTORS:
        entries, shape = join_components(entries, layout)[None], COMPONENTS
    elif shape == STACKED:
        entries = join_stacked(entries, layout)[None]
    elif doubled:
        entries = join_spin(entries, layout, matrix.spin)[None]
    elif shape == QUADRANTS:
        entries = expand(entries, layout)
    if single_precision:
        entries = entries.astype(np.complex64 if np.iscomplexobj(entries) else np.float32)
    with new_hdf5(path, overwrite=overwrite) as file:
        _write_pattern(file, pairs, layout, shape)
        file.create_dataset("entries", data=entries if len(entries) > 1 else entries[0])
        _write_attributes(file, attributes)
        if carry is not None:
            carry(file)


def write_slabs(
    path: Path,
    quantity: str,
    basis: Basis,
    pairs: Pairs,
    slabs: Iterable[NDArray[Any]],
    *,
    attributes: Mapping[str, Any],
    expanded: bool = False,
    single_precision: bool = False,
    overwrite: bool = False,
) -> int:
    """Write one block file from entries that come in order, a part at a time.

    The file is the same as `write_matrix` makes of the whole matrix, and appears under its name
    only when it is complete.

    Parameters
    ----------
    path
        The file.
    quantity
        What it holds; one without spin.
    basis, pairs
        What the blocks refer to.
    slabs
        Arrays (n_components, some) that together are the entries; whole blocks if `expanded`.
    attributes
        File attributes.
    expanded
        Write 1₂⊗O, with blocks of both spins.
    single_precision
        Store float32.
    overwrite
        Replace an existing file.

    Returns
    -------
    int
        Number of entries of one component.

    Raises
    ------
    LayoutError
        When the slabs do not add up to the entries of the pattern.
    OutputError
        When the file exists or cannot be written.
    """
    counts = basis.counts
    layout = BlockLayout(counts[pairs.i], counts[pairs.j])
    n_vector, total = quantity_of(quantity).n_vector, layout.n_entries
    shape = QUADRANTS if expanded else PLAIN
    size = shape[0] * shape[1]
    dtype = np.float32 if single_precision else np.float64
    with new_hdf5(path, overwrite=overwrite) as file:
        _write_pattern(file, pairs, layout, shape)
        length = (size * total,)
        dataset = file.create_dataset(
            "entries", shape=length if n_vector == 1 else (n_vector, *length), dtype=dtype
        )
        done = 0
        for slab in slabs:
            end = done + slab.shape[1]
            if len(slab) != n_vector or end > total:
                raise LayoutError(
                    f"{quantity}: {len(slab)} × {end} entries came for {n_vector} × {total}."
                )
            blocks = expand(slab, _blocks_between(layout, done, end)) if expanded else slab
            for component, part in enumerate(blocks):
                span = slice(size * done, size * end)
                dataset[span if n_vector == 1 else (component, span)] = part
            done = end
        if done != total:
            raise LayoutError(f"{quantity}: only {done} of {total} entries came.")
        _write_attributes(file, attributes)
    return size * total


def _blocks_between(layout: BlockLayout, begin: int, end: int) -> BlockLayout:
    """Return the blocks that the entries from `begin` to `end` are."""
    first, last = np.searchsorted(layout.starts, [begin, end])
    return BlockLayout(layout.rows[first:last], layout.cols[first:last])


def _write_pattern(file: h5py.File, pairs: Pairs, layout: BlockLayout, shape: Shape) -> None:
    """Write pairs and blocks of one of the shapes."""
    stored = doubled_layout(layout, shape)
    atom_pairs = np.column_stack([pairs.R, pairs.i, pairs.j]).astype(np.int64)
    file.create_dataset("atom_pairs", data=atom_pairs)
    file.create_dataset("chunk_boundaries", data=stored.starts)
    shapes = np.column_stack([stored.rows, stored.cols]).astype(np.int64)
    file.create_dataset("chunk_shapes", data=shapes)


def _write_attributes(file: h5py.File, attributes: Mapping[str, Any]) -> None:
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
        blocks = read_pattern(path, file, basis, (QUADRANTS,))
        require_shape(path, blocks.entries, (blocks.stored.n_entries,))
        raw = load(path, blocks.entries)
    return Spin.COLLINEAR if collinear_content(raw, blocks.stored) else Spin.NONCOLLINEAR


def has_spin_blocks(path: Path, basis: Basis) -> bool:
    """Say whether the blocks of a file are doubled."""
    with open_hdf5(path, FIX) as file:
        return read_pattern(path, file, basis, (PLAIN, QUADRANTS)).shape == QUADRANTS


def _load_rows(
    path: Path, blocks: BlockFile, first: int, stop: int
) -> tuple[BlockFile, NDArray[Any]]:
    """Read the blocks whose first atom is in a range; neighbours in the file go together."""
    require_whole(path, blocks.entries)
    pairs, starts = blocks.pairs, blocks.stored.starts
    kept = np.flatnonzero((pairs.i >= first) & (pairs.i < stop))
    runs = np.split(kept, np.flatnonzero(np.diff(kept) != 1) + 1) if len(kept) else []
    spans = [slice(starts[run[0]], starts[run[-1] + 1]) for run in runs]
    lines = 1 if blocks.entries.ndim == 1 else len(blocks.entries)
    total = sum(span.stop - span.start for span in spans)
    raw = np.empty((lines, total), dtype=blocks.entries.dtype)
    done = 0
    for span in spans:
        end = done + span.stop - span.start
        raw[:, done:end] = blocks.entries[..., span]
        done = end
    some = Pairs(pairs.R[kept], pairs.i[kept], pairs.j[kept], pairs.n_atoms)
    single = BlockLayout(blocks.single.rows[kept], blocks.single.cols[kept])
    return blocks._replace(pairs=some, single=single), raw


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
