"""Block files written slab by slab, and their pattern read alone: for matrices beyond memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.deeph.blockfile import FIX, _fixed_text
from dock.core.basis import Basis
from dock.core.blocks import BlockLayout
from dock.core.pairs import Pairs
from dock.core.quantity import quantity_of
from dock.errors import FormatError, LayoutError, MissingDataError
from dock.io.hdf5 import new_hdf5, open_hdf5

__all__ = ["read_pairs", "write_slabs"]


def write_slabs(
    path: Path,
    quantity: str,
    basis: Basis,
    pairs: Pairs,
    slabs: Iterable[NDArray[Any]],
    *,
    attributes: Mapping[str, Any],
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
        Arrays (n_components, some) that together are the entries.
    attributes
        File attributes.
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
    dtype = np.float32 if single_precision else np.float64
    with new_hdf5(path, overwrite=overwrite) as file:
        atom_pairs = np.column_stack([pairs.R, pairs.i, pairs.j]).astype(np.int64)
        shapes = np.column_stack([layout.rows, layout.cols]).astype(np.int64)
        file.create_dataset("atom_pairs", data=atom_pairs)
        file.create_dataset("chunk_boundaries", data=layout.starts)
        file.create_dataset("chunk_shapes", data=shapes)
        shape = (total,) if n_vector == 1 else (n_vector, total)
        dataset = file.create_dataset("entries", shape=shape, dtype=dtype)
        done = 0
        for slab in slabs:
            end = done + slab.shape[1]
            if len(slab) != n_vector or end > total:
                raise LayoutError(
                    f"{quantity}: {len(slab)} × {end} entries came for {n_vector} × {total}."
                )
            for component, part in enumerate(slab):
                place = np.s_[done:end] if n_vector == 1 else np.s_[component, done:end]
                dataset[place] = part
            done = end
        if done != total:
            raise LayoutError(f"{quantity}: only {done} of {total} entries came.")
        for name, value in attributes.items():
            file.attrs[name] = _fixed_text(value) if isinstance(value, str) else value
    return total


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
