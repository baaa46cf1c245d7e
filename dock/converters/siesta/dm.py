"""Density matrix files (DM, TSDE) and TranSiesta's TSHS and onlyS files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dock.converters.siesta.matrix_file import (
    SIESTA_FILES,
    MatrixFile,
    check_counts,
    check_nsc,
    damaged,
    read_k_grid,
)
from dock.io.binary import Rows, open_records

__all__ = ["read_dm", "read_tshs"]


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
    with open_records(path, refusal=SIESTA_FILES) as reader:
        length = reader.peek("the header")
        if length not in (8, 20):
            expected = "orbitals, spin components and (since 4.1) three supercell sizes"
            damaged(path, "this is no DM file", expected, f"a first record of {length} bytes")
        head = reader.numbers("i4", length // 4, "the header")
        n_orbitals, n_spin = int(head[0]), int(head[1])
        check_counts(path, n_orbitals, n_spin)
        nsc = check_nsc(path, head[2:]) if len(head) == 5 else None
        counts = reader.numbers("i4", n_orbitals, "the entries of each row").astype(np.int64)
        if counts.min() < 0:
            damaged(path, "a row has a negative length", "0 or more", counts.min())
        columns = reader.rows("i4", counts, "the columns")
        density = tuple(
            reader.rows("f8", counts, f"the density matrix, component {spin + 1}")
            for spin in range(n_spin)
        )
        sections: dict[str, tuple[Rows, ...]] = {"density_matrix": density}
        fermi, extra = None, {}
        if not reader.at_end:
            energy = tuple(
                reader.rows("f8", counts, f"the energy density matrix, component {spin + 1}")
                for spin in range(min(n_spin, 4))
            )
            fermi = float(reader.numbers("f8", 1, "the Fermi level")[0])
            if n_spin <= 4:
                sections["energy_density_matrix"] = energy
            else:
                extra["incomplete_edm"] = True
            reader.finish()
        return MatrixFile(
            path=path,
            kind="TSDE" if fermi is not None else "DM",
            n_orbitals=n_orbitals,
            n_spin=n_spin,
            counts=counts,
            columns=columns,
            sections=sections,
            n_images=int(np.prod(nsc)) if nsc is not None else None,
            nsc=nsc,
            fermi_ry=fermi,
            extra=extra,
        )


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
    with open_records(path, refusal=SIESTA_FILES) as reader:
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
        flags = reader.numbers("i4", 3, "the flags")
        k_grid = read_k_grid(reader)
        fermi, electrons, temperature = reader.numbers("f8", 3, "the Fermi level")
        reader.record("the step numbers", 8)
        offsets = reader.numbers("i4", n_atoms + 1, "the last orbitals").astype(np.int64)
        if offsets[0] != 0 or offsets[-1] != n_orbitals or np.any(np.diff(offsets) < 1):
            damaged(path, "the last orbitals are wrong", f"0 … {n_orbitals}, increasing", "others")
        counts = reader.numbers("i4", n_orbitals, "the entries of each row").astype(np.int64)
        if counts.min() < 0 or counts.sum() != n_entries:
            damaged(path, "the row lengths are wrong", f"{n_entries} in all", int(counts.sum()))
        if not np.isfinite([*geometry, fermi, electrons, temperature]).all():
            damaged(path, "the header is not finite", "finite numbers", "others")
        columns = reader.rows("i4", counts, "the columns")
        sections: dict[str, tuple[Rows, ...]] = {
            "overlap": (reader.rows("f8", counts, "the overlap"),)
        }
        only_overlap = bool(flags[2])  # the others: Gamma, Gamma of the electrodes
        if not only_overlap:
            sections["hamiltonian"] = tuple(
                reader.rows("f8", counts, f"the Hamiltonian, component {spin + 1}")
                for spin in range(n_spin)
            )
        images = np.zeros((1, 3), dtype=np.int32)
        if int(np.prod(nsc)) > 1:
            images = reader.numbers("i4", 3 * int(np.prod(nsc)), "the images").reshape(-1, 3)
        reader.finish()
    return MatrixFile(
        path=path,
        kind="onlyS" if only_overlap else "TSHS",
        n_orbitals=n_orbitals,
        n_spin=n_spin,
        counts=counts,
        columns=columns,
        sections=sections,
        n_images=len(images),
        images=images,
        nsc=nsc,
        cell=geometry[:9].reshape(3, 3),
        positions=geometry[9:].reshape(-1, 3),
        orbital_offsets=offsets,
        fermi_ry=None if only_overlap else float(fermi),
        electrons=float(electrons) or None,
        temperature_ry=float(temperature),
        k_grid=k_grid,
    )
