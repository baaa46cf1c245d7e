"""SIESTA's density matrix files: DM, and TSDE with the energy density matrix behind it."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

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
from dock.converters.siesta.native import NativeCalculation
from dock.converters.siesta.sparse_rows import write_record, write_rows
from dock.io.binary import Rows

__all__ = ["read_dm", "write_dm", "write_tsde"]


def read_dm(path: Path) -> MatrixFile:
    """Read everything of a DM or TSDE file but its matrices.

    A TSDE file goes on after the density matrix: the energy density matrix, the Fermi level. For
    spin–orbit runs it has 4 of that matrix's 8 components, which are not enough: then it is left
    out, and ``extra["incomplete_edm"]`` says so.

    Raises
    ------
    FormatError
        When it is cut, damaged or another format.
    MissingDataError
        When it cannot be read.
    """
    with open_matrix_file(path) as reader:
        length = reader.peek("the header")
        if length not in (8, 20):
            expected = "orbitals, spin components and (since 4.1) three supercell sizes"
            damaged(path, "this is no DM file", expected, f"a first record of {length} bytes")
        head = reader.numbers("i4", length // 4, "the header")
        n_orbitals, n_spin = int(head[0]), int(head[1])
        check_counts(path, n_orbitals, n_spin)
        nsc = check_nsc(path, head[2:]) if len(head) == 5 else None
        counts = reader.counts(n_orbitals)
        columns = reader.rows("i4", counts, "the columns")
        density = reader.components("f8", counts, "the density matrix", n_spin)
        sections: dict[str, tuple[Rows, ...]] = {"density_matrix": density}
        is_tsde = not reader.at_end
        fermi = _read_energy_density(reader, counts, n_spin, sections) if is_tsde else None
    return MatrixFile(
        path=path,
        kind="TSDE" if is_tsde else "DM",
        n_orbitals=n_orbitals,
        n_spin=n_spin,
        counts=counts,
        columns=columns,
        sections=sections,
        n_images=int(np.prod(nsc)) if nsc is not None else None,
        nsc=nsc,
        fermi_ry=fermi,
        extra={"incomplete_edm": True} if is_tsde and n_spin > 4 else {},
    )


def _read_energy_density(
    reader: MatrixReader,
    counts: NDArray[np.int64],
    n_spin: int,
    sections: dict[str, tuple[Rows, ...]],
) -> float:
    """Add the second matrix of a TSDE file, where it is whole, and return the Fermi level, Ry."""
    energy = reader.components("f8", counts, "the energy density matrix", min(n_spin, 4))
    fermi = float(reader.numbers("f8", 1, "the Fermi level")[0])
    if n_spin <= 4:
        sections["energy_density_matrix"] = energy
    reader.finish()
    return fermi


def write_dm(stream: BinaryIO, native: NativeCalculation) -> None:
    """Write a DM file, from which a run restarts (``DM.UseSaveDM``)."""
    rows = native.rows
    sizes = [native.basis.n_orbitals, native.n_spin, *native.nsc]
    write_record(stream, np.array(sizes, dtype=np.int32))
    write_record(stream, rows.counts.astype(np.int32))
    write_rows(stream, rows.counts, rows.columns(), "<i4")
    for component in native.components("density_matrix"):
        write_rows(stream, rows.counts, rows.values(component), "<f8")


def write_tsde(stream: BinaryIO, native: NativeCalculation) -> None:
    """Write a TSDE file."""
    write_dm(stream, native)
    for component in native.components("energy_density_matrix"):
        write_rows(stream, native.rows.counts, native.rows.values(component), "<f8")
    fermi = (native.calc.fermi_level or 0.0) / native.constants.rydberg_ev
    write_record(stream, np.array([fermi]))
