"""TranSiesta's TSHS and onlyS files: Hamiltonian and overlap, or the overlap alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dock.converters.siesta.matrix_file import (
    MatrixFile,
    MatrixReader,
    check_counts,
    check_nsc,
    damaged,
    open_matrix_file,
)
from dock.io.binary import Rows

__all__ = ["read_tshs"]


def read_tshs(path: Path) -> MatrixFile:
    """Read everything of a TSHS or onlyS file but its matrices; raises as `read_hsx`.

    The file has no species: their labels and shells come from the run's other files.
    """
    with open_matrix_file(path) as reader:
        sizes, nsc = _read_sizes(reader)
        n_atoms, n_orbitals, n_spin, n_entries = sizes
        geometry = reader.numbers("f8", 9 + 3 * n_atoms, "the cell and the positions")
        flags = reader.numbers("i4", 3, "the flags")  # Gamma, Gamma of the electrodes, only overlap
        k_grid = reader.k_grid()
        levels = reader.numbers("f8", 3, "the Fermi level")
        reader.record("the step numbers", 8)
        offsets = _read_offsets(reader, n_atoms, n_orbitals)
        if not np.isfinite([*geometry, *levels]).all():
            damaged(path, "the header is not finite", "finite numbers", "others")
        counts = reader.counts(n_orbitals, n_entries)
        columns = reader.rows("i4", counts, "the columns")
        overlap = reader.rows("f8", counts, "the overlap")
        sections: dict[str, tuple[Rows, ...]] = {"overlap": (overlap,)}
        if not flags[2]:
            name = "the Hamiltonian"
            sections["hamiltonian"] = reader.components("f8", counts, name, n_spin)
        images = np.zeros((1, 3), dtype=np.int32)
        if nsc != (1, 1, 1) or reader.offset < reader.size:  # sisl writes those of one cell, too
            images = reader.numbers("i4", 3 * int(np.prod(nsc)), "the images").reshape(-1, 3)
        reader.finish()
    fermi, electrons, temperature = levels.tolist()
    return MatrixFile(
        path=path,
        kind="onlyS" if flags[2] else "TSHS",
        n_orbitals=n_orbitals,
        n_spin=n_spin,
        counts=counts,
        columns=columns,
        sections=sections,
        images=images,
        nsc=nsc,
        cell=geometry[:9].reshape(3, 3),
        positions=geometry[9:].reshape(-1, 3),
        orbital_offsets=offsets,
        fermi_ry=None if flags[2] else fermi,
        electrons=electrons or None,
        temperature_ry=temperature,
        k_grid=k_grid,
    )


def _read_sizes(reader: MatrixReader) -> tuple[list[int], tuple[int, int, int]]:
    """Return the numbers of atoms, orbitals, spin components and entries; the supercell."""
    path = reader.path
    version = int(reader.numbers("i4", 1, "the version")[0])
    if version != 1:
        damaged(path, "this is no TSHS file that dock knows", "version 1", version)
    sizes = reader.numbers("i4", 5, "the sizes").tolist()
    n_atoms, n_orbitals, n_supercell, n_spin, n_entries = sizes
    check_counts(path, n_orbitals, n_spin, n_atoms)
    nsc = check_nsc(path, reader.numbers("i4", 3, "the supercell"))
    if n_supercell != n_orbitals * int(np.prod(nsc)):
        expected = f"{n_orbitals} orbitals times {nsc}"
        damaged(path, "the orbitals of the supercell are wrong", expected, n_supercell)
    return [n_atoms, n_orbitals, n_spin, n_entries], nsc


def _read_offsets(reader: MatrixReader, n_atoms: int, n_orbitals: int) -> NDArray[np.int64]:
    offsets = reader.numbers("i4", n_atoms + 1, "the last orbitals").astype(np.int64)
    if offsets[0] != 0 or offsets[-1] != n_orbitals or np.any(np.diff(offsets) < 1):
        problem = "the last orbitals are wrong"
        damaged(reader.path, problem, f"0 … {n_orbitals}, increasing", "others")
    return offsets
