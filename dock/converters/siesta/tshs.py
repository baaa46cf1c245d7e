"""TranSiesta's TSHS and onlyS files: Hamiltonian and overlap, or the overlap alone."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.converters.siesta.matrix_file import (
    KGrid,
    MatrixFile,
    MatrixReader,
    check_counts,
    check_nsc,
    damaged,
    open_matrix_file,
)
from dock.io.binary import Rows

__all__ = ["read_tshs"]


class _Header(NamedTuple):
    """What stands before the matrices."""

    n_spin: int
    n_entries: int
    nsc: tuple[int, int, int]
    geometry: NDArray[np.float64]
    only_overlap: bool
    k_grid: KGrid
    levels: NDArray[np.float64]  # Fermi level, electrons, temperature
    offsets: NDArray[np.int64]


def read_tshs(path: Path) -> MatrixFile:
    """Read everything of a TSHS or onlyS file but its matrices.

    The file has no species: their labels and shells come from the run's other files.

    Raises
    ------
    FormatError
        When it is cut, damaged, another format or version.
    MissingDataError
        When it cannot be read.
    """
    with open_matrix_file(path) as reader:
        head = _read_header(reader)
        n_orbitals, n_images = int(head.offsets[-1]), int(np.prod(head.nsc))
        counts = reader.counts(n_orbitals, head.n_entries)
        columns = reader.rows("i4", counts, "the columns")
        overlap = reader.rows("f8", counts, "the overlap")
        sections: dict[str, tuple[Rows, ...]] = {"overlap": (overlap,)}
        if not head.only_overlap:
            name = "the Hamiltonian"
            sections["hamiltonian"] = reader.components("f8", counts, name, head.n_spin)
        images = np.zeros((1, 3), dtype=np.int32)
        if n_images > 1:
            images = reader.numbers("i4", 3 * n_images, "the images").reshape(-1, 3)
        reader.finish()
    fermi, electrons, temperature = (float(value) for value in head.levels)
    return MatrixFile(
        path=path,
        kind="onlyS" if head.only_overlap else "TSHS",
        n_orbitals=n_orbitals,
        n_spin=head.n_spin,
        counts=counts,
        columns=columns,
        sections=sections,
        n_images=len(images),
        images=images,
        nsc=head.nsc,
        cell=head.geometry[:9].reshape(3, 3),
        positions=head.geometry[9:].reshape(-1, 3),
        orbital_offsets=head.offsets,
        fermi_ry=None if head.only_overlap else fermi,
        electrons=electrons or None,
        temperature_ry=temperature,
        k_grid=head.k_grid,
    )


def _read_header(reader: MatrixReader) -> _Header:
    path = reader.path
    version = int(reader.numbers("i4", 1, "the version")[0])
    if version != 1:
        damaged(path, "this is no TSHS file that dock knows", "version 1", version)
    n_atoms, n_orbitals, n_supercell, n_spin, n_entries = (
        int(value) for value in reader.numbers("i4", 5, "the sizes")
    )
    check_counts(path, n_orbitals, n_spin, n_atoms)
    nsc = check_nsc(path, reader.numbers("i4", 3, "the supercell"))
    if n_supercell != n_orbitals * int(np.prod(nsc)):
        expected = f"{n_orbitals} orbitals times {nsc}"
        damaged(path, "the orbitals of the supercell are wrong", expected, n_supercell)
    geometry = reader.numbers("f8", 9 + 3 * n_atoms, "the cell and the positions")
    flags = reader.numbers("i4", 3, "the flags")  # Gamma, Gamma of the electrodes, only overlap
    k_grid = reader.k_grid()
    levels = reader.numbers("f8", 3, "the Fermi level")
    reader.record("the step numbers", 8)
    offsets = reader.numbers("i4", n_atoms + 1, "the last orbitals").astype(np.int64)
    if offsets[0] != 0 or offsets[-1] != n_orbitals or np.any(np.diff(offsets) < 1):
        damaged(path, "the last orbitals are wrong", f"0 … {n_orbitals}, increasing", "others")
    if not np.isfinite([*geometry, *levels]).all():
        damaged(path, "the header is not finite", "finite numbers", "others")
    return _Header(n_spin, n_entries, nsc, geometry, bool(flags[2]), k_grid, levels, offsets)
