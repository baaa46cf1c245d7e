"""The HDF5 block files of a unified folder: four datasets, and our attributes beside them.

A file is read and written whole, or its pattern alone and its entries slab by slab, for matrices
beyond memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.converters.deeph.info import require_version
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
from dock.core.arrays import is_wanted_shape
from dock.core.basis import Basis
from dock.core.blocks import BlockLayout
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.quantity import UNKNOWN, Quantity, quantity_of
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import DockError, FormatError, LayoutError, MissingDataError
from dock.io.hdf5 import new_hdf5, open_hdf5

if TYPE_CHECKING:
    import h5py

__all__ = [
    "ATTRIBUTES",
    "DATASETS",
    "FREE",
    "HKB",
    "LOCAL",
    "NONLOCAL",
    "QUADRANTS",
    "BlockFile",
    "detect_spin",
    "has_spin_blocks",
    "holds_zeros",
    "read_attributes",
    "read_matrix",
    "read_pairs",
    "write_matrix",
    "write_slabs",
]

DATASETS = ("atom_pairs", "chunk_boundaries", "chunk_shapes", "entries")
ATTRIBUTES = (
    *("dock_format_version", "quantity", "unit", "spin", "source_code", "written_by", "spin_sum"),
    "model",
)
"""Attributes of a file that `dock` writes anew."""

HKB = "hkb.h5"
"""The file of the nonlocal part of a split Hamiltonian."""

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
Shape = tuple[int, int]
FIX = "It was cut, damaged, or is no HDF5 file: copy it again or convert the run again."


class BlockFile(NamedTuple):
    """The pattern of a block file, checked, with its entries still on disk.

    `single` has the shapes of one component, `stored` those on the file, `shape` times as large.
    """

    pairs: Pairs
    single: BlockLayout
    shape: Shape
    entries: h5py.Dataset

    @property
    def stored(self) -> BlockLayout:
        """The blocks as they are on the file."""
        return doubled_layout(self.single, self.shape)


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
        blocks = _read_pattern(path, file, basis, allowed, split=split or bool(part))
        length = (blocks.stored.n_entries,)
        wide = facts.n_vector == 3 and blocks.shape != COMPONENTS
        _expect_shape(path, blocks.entries, (3, *length) if wide else length)
        if atoms is None:
            raw = np.atleast_2d(_load(path, blocks.entries))
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


def read_pairs(path: str | Path, n_atoms: int) -> Pairs:
    """Read the pattern of a block file alone.

    Parameters
    ----------
    path
        ``hamiltonian.h5`` or any other matrix of a unified folder.
    n_atoms
        Atoms of the structure that it must fit.

    Raises
    ------
    MissingDataError
        When there is no such file.
    FormatError
        When it is no block file, or belongs to another structure.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingDataError("the file of the pattern", path, "Check the path of pairs=FILE.")
    with open_hdf5(path, FIX) as file:
        if "atom_pairs" not in file:
            found = ", ".join(file) or "no dataset"
            raise FormatError(
                path, "this is no block file", expected="a dataset atom_pairs", found=found
            )
        table = file["atom_pairs"][()]
    if table.ndim != 2 or table.shape[1] != 5 or table.dtype.kind not in "iu":
        raise FormatError(
            path,
            "wrong shape or type",
            where="atom_pairs",
            expected="integers (n, 5)",
            found=f"{table.dtype} {table.shape}",
        )
    try:
        return Pairs(table[:, :3], table[:, 3], table[:, 4], n_atoms)
    except LayoutError as error:
        raise FormatError(path, str(error).rstrip("."), where="atom_pairs") from error


def detect_spin(path: Path, basis: Basis) -> Spin:
    """Tell collinear from non-collinear content of a spinful file without attributes.

    Doubled blocks whose up-down parts and imaginary parts all vanish are collinear.
    """
    with open_hdf5(path, FIX) as file:
        stated = _plain(file.attrs.get("spin"))
        if isinstance(stated, str) and stated in {spin.value for spin in Spin}:
            return Spin(stated)
        blocks = _read_pattern(path, file, basis, (QUADRANTS,))
        _expect_shape(path, blocks.entries, (blocks.stored.n_entries,))
        raw = _load(path, blocks.entries)
    return Spin.COLLINEAR if collinear_content(raw, blocks.stored) else Spin.NONCOLLINEAR


def has_spin_blocks(path: Path, basis: Basis) -> bool:
    """Say whether the blocks of a file are doubled."""
    with open_hdf5(path, FIX) as file:
        return _read_pattern(path, file, basis, (PLAIN, QUADRANTS)).shape == QUADRANTS


def _read_pattern(
    path: Path,
    file: h5py.File,
    basis: Basis,
    allowed: tuple[Shape, ...],
    *,
    split: bool = False,
) -> BlockFile:
    """Read and check pairs, shapes and boundaries of blocks that have one of some shapes."""
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
    single = BlockLayout(basis.counts[pairs.i], basis.counts[pairs.j])
    shape = _find_shape(path, (pairs, single), shapes, allowed, split=split)
    stored = doubled_layout(single, shape)
    if not np.array_equal(boundaries, stored.starts):
        raise FormatError(
            path,
            "boundaries and shapes of the blocks disagree",
            where="chunk_boundaries",
            expected=f"running sums of the block sizes, ending at {stored.n_entries}",
            found=f"an end at {boundaries[-1]}",
            fix="The file is damaged: convert the run again.",
        )
    return BlockFile(pairs, single, shape, _dataset(path, file, "entries"))


_FOUND = {
    PLAIN: 'These blocks carry no spin: where H is split, info.json must say "split_hkb": true '
    f"and {HKB} with the other part must lie here; for a run without spin 'spinful' is wrong.",
    QUADRANTS: "These are blocks of both spins: 'spinful' in info.json must be true.",
    STACKED: 'This is the collinear layout of aimspy: info.json must say "spinful": true and '
    '"spin_treatment": "collinear".',
}
"""What to do about blocks that all have a shape which info.json does not speak of."""


def _find_shape(
    path: Path,
    blocks: tuple[Pairs, BlockLayout],
    shapes: NDArray[np.int64],
    allowed: tuple[Shape, ...],
    *,
    split: bool,
) -> Shape:
    """Return which of the allowed shapes all blocks have, or refuse the first that has another."""
    pairs, layout = blocks
    single = np.column_stack([layout.rows, layout.cols])
    fits = {
        shape: np.all(shapes == np.multiply(single, shape), axis=1)
        for shape in (*allowed, *(shape for shape in _FOUND if shape not in allowed))
    }
    shape = next((shape for shape, each in fits.items() if np.all(each)), None)
    if shape in allowed:
        return shape
    fix = "info.json belongs to another calculation, or 'spinful' is wrong there."
    if shape is not None:
        first, wanted, fix = 0, allowed[0], _FOUND[shape]
        if split and shape == QUADRANTS:
            fix = (
                "These are blocks of both spins: where H is split ('split_hkb' in info.json), the "
                "overlap and the local part are written without spin. Compute the file so; if H is "
                "full here, take the key out."
            )
        elif path.name == HKB:
            fix = "The nonlocal part of a split H has blocks of both spins: make the file again."
        elif shape == PLAIN and (path.parent / HKB).is_file():
            fix = (
                f"{HKB} lies beside it: if this is H without its nonlocal part, info.json must say "
                "\"split_hkb\": true. Do not change 'spinful': H would lack that part."
            )
    else:
        wanted = next((shape for shape in allowed if fits[shape][:1].all()), allowed[0])
        first = int(np.flatnonzero(~fits[wanted])[0])
        if len({shape for shape in fits if fits[shape].any()}) > 1:
            fix = "Blocks of several layouts are mixed: compute the file again."
    if allowed == (COMPONENTS,):
        fix = "Three components must stand one below another: the file is another matrix."
    words = {PLAIN: "", COMPONENTS: ", three components"}.get(wanted, " with spin")
    rows, cols = (single[first] * wanted).tolist()
    raise FormatError(
        path,
        "blocks and orbitals disagree",
        where=f"chunk_shapes of pair {pairs.describe(first)}",
        expected=f"{rows}×{cols} from info.json{words}",
        found=f"{shapes[first, 0]}×{shapes[first, 1]}",
        fix=fix,
    )


def _dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    import h5py

    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        kind = type(dataset).__name__.lower()
        raise FormatError(
            path, "wrong kind of object", where=name, expected="a dataset", found=f"a {kind}"
        )
    return dataset


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
    _require_whole(path, dataset)
    values: NDArray[Any] = dataset[()]
    return values


def _require_whole(path: Path, dataset: h5py.Dataset) -> None:
    """Refuse a dataset that the file is too short for, or that holds no numbers."""
    needed = dataset.size * dataset.dtype.itemsize
    size = Path(dataset.file.filename).stat().st_size  # a link may lead to another file
    if dataset.compression is None and dataset.chunks is None and needed > size:
        raise FormatError(
            path, "the file was cut", where=dataset.name, expected=f"{needed} bytes", found=size
        )
    if dataset.dtype.kind not in "iufc":
        raise FormatError(
            path, "wrong type", where=dataset.name, expected="numbers", found=dataset.dtype
        )


def _load_rows(
    path: Path, blocks: BlockFile, first: int, stop: int
) -> tuple[BlockFile, NDArray[Any]]:
    """Read the blocks whose first atom is in a range; neighbours in the file go together."""
    _require_whole(path, blocks.entries)
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
