"""The pattern of a block file: its pairs, shapes and boundaries, held against the basis."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.converters.deeph.stacked import COMPONENTS
from dock.converters.doubled_blocks import PLAIN, QUADRANTS, STACKED, doubled_layout
from dock.core.arrays import is_wanted_shape
from dock.core.basis import Basis
from dock.core.blocks import BlockLayout
from dock.core.pairs import Pairs
from dock.errors import FormatError, LayoutError, MissingDataError
from dock.io.hdf5 import open_hdf5

if TYPE_CHECKING:
    import h5py

__all__ = [
    "DATASETS",
    "FIX",
    "HKB",
    "BlockFile",
    "Shape",
    "load",
    "read_pairs",
    "read_pattern",
    "require_shape",
    "require_whole",
]

DATASETS = ("atom_pairs", "chunk_boundaries", "chunk_shapes", "entries")

HKB = "hkb.h5"
"""The file of the nonlocal part of a split Hamiltonian."""

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
        table = _integers(path, _dataset(path, file, "atom_pairs"), (None, 5))
    try:
        return Pairs(table[:, :3], table[:, 3], table[:, 4], n_atoms)
    except LayoutError as error:
        raise FormatError(path, str(error).rstrip("."), where="atom_pairs") from error


def read_pattern(
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
    require_shape(path, dataset, shape)
    return load(path, dataset).astype(np.int64, copy=False)


def require_shape(path: Path, dataset: h5py.Dataset, shape: tuple[int | None, ...]) -> None:
    """Refuse a dataset of another shape; None stands for any length."""
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


def load(path: Path, dataset: h5py.Dataset) -> NDArray[Any]:
    """Read a dataset after checking that the file is long enough to hold it."""
    require_whole(path, dataset)
    values: NDArray[Any] = dataset[()]
    return values


def require_whole(path: Path, dataset: h5py.Dataset) -> None:
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
