"""SIESTA's density matrix files: DM, and TSDE with the energy density matrix behind it."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from dock.converters.siesta.matrix_file import (
    MatrixFile,
    check_counts,
    check_nsc,
    damaged,
    open_matrix_file,
)
from dock.converters.siesta.native import NativeCalculation
from dock.converters.siesta.sparse_rows import write_record

__all__ = ["read_dm", "write_dm", "write_tsde"]


def read_dm(path: Path) -> MatrixFile:
    """Read everything of a DM or TSDE file but its matrices; raises as `read_hsx`.

    A TSDE file goes on after the density matrix: the energy density matrix, the Fermi level. For
    spin–orbit runs it has 4 of that matrix's 8 components, which are not enough: it is left out.
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
        sections, fermi = {"density_matrix": density}, None
        is_tsde = not reader.at_end
        if is_tsde:
            name = "the energy density matrix"
            energy = reader.components("f8", counts, name, min(n_spin, 4))
            fermi = float(reader.numbers("f8", 1, "the Fermi level")[0])
            reader.finish()
            if n_spin <= 4:
                sections["energy_density_matrix"] = energy
    return MatrixFile(
        path=path,
        kind="TSDE" if is_tsde else "DM",
        n_orbitals=n_orbitals,
        n_spin=n_spin,
        counts=counts,
        columns=columns,
        sections=sections,
        nsc=nsc,
        fermi_ry=fermi,
        incomplete_edm=is_tsde and n_spin > 4,
    )


def write_dm(stream: BinaryIO, native: NativeCalculation) -> None:
    """Write a DM file, from which a run restarts (``DM.UseSaveDM``)."""
    sizes = [native.calc.basis.n_orbitals, native.n_spin, *native.nsc]
    write_record(stream, np.array(sizes, dtype=np.int32))
    native.rows.write_pattern(stream)
    native.rows.write_values(stream, native.components("density_matrix"), "<f8")


def write_tsde(stream: BinaryIO, native: NativeCalculation) -> None:
    """Write a TSDE file."""
    write_dm(stream, native)
    native.rows.write_values(stream, native.components("energy_density_matrix"), "<f8")
    fermi = (native.calc.fermi_level or 0.0) / native.constants.rydberg_ev
    write_record(stream, np.array([fermi]))
